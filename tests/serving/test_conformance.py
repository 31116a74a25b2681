"""The Open Inference Protocol: its published schema, and the clients of Triton."""

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from ..conftest import ROOT

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

SCHEMA = ROOT.parent / "shared" / "specs" / "open_inference_rest.yaml"


@pytest.fixture(scope="module")
def schema():
    if not SCHEMA.exists():
        pytest.skip("the schema of the Open Inference Protocol is not on this machine")
    import schemathesis

    # The file writes its paths as `${NAME}`, which OpenAPI does not know: `{NAME}` is meant.
    # Nothing else of it is changed, and no check is left out.
    return schemathesis.openapi.from_file(SCHEMA.read_text().replace("${", "{"))


def statuses_of(operation, base_url: str) -> set[int]:
    """Sends requests that fit an operation's schema; checks the answers against it."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance

    places = {"MODEL_NAME": "m", "MODEL_VERSION": "3"}
    statuses = set()

    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def ask(case):
        given_places = case.path_parameters or {}
        case.path_parameters = {name: places[name] for name in given_places}
        response = case.call(base_url=base_url)
        statuses.add(response.status_code)
        case.validate_response(response, checks=[not_a_server_error, response_schema_conformance])

    ask()
    return statuses


def test_answers_conform_to_the_published_schema(schema, server):
    operations = [one.ok() for one in schema.get_all_operations()]

    statuses = {
        (one.method, one.path): statuses_of(one, str(server.client.base_url).rstrip("/"))
        for one in operations
    }

    assert len(statuses) >= 6
    for (method, path), found in statuses.items():
        assert found == {200} or (method == "post" and found <= {200, 400}), (path, found)


# In a process of its own: both stubs register messages named `inference.…`.
CLIENTS = """
import sys
import numpy as np
http_port, grpc_port = sys.argv[1:]
import tritonclient.http as http, tritonclient.grpc as grpc
for module, port in ((http, http_port), (grpc, grpc_port)):
    client = module.InferenceServerClient(f"127.0.0.1:{port}")
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("m") and client.is_model_ready("m", "3")
    assert not client.is_model_ready("m", "9")
    client.get_server_metadata(), client.get_model_metadata("m")
    x = module.InferInput("x", [2], "FP32")
    x.set_data_from_numpy(np.array([1, 2], np.float32))
    answer = client.infer("m", [x], outputs=[module.InferRequestedOutput("y")], request_id="42")
    assert answer.as_numpy("y").tolist() == [2.5, 3.0]
    assert client.infer("m", [x]).as_numpy("y").tolist() == [2.5, 3.0]
    text = module.InferInput("text", [2], "BYTES")
    text.set_data_from_numpy(np.array([b"abc", b"\\xff\\x00"], object))
    answer = client.infer("m", [text], parameters={"signature_name": "texts"})
    assert answer.as_numpy("raw_bytes").tolist() == [b"abc", b"\\xff\\x00"]
    try:
        client.infer("m", [text])
    except Exception as error:
        assert "unexpected input 'text'" in str(error), error
    else:
        raise AssertionError("not refused")
    client.close()
print("answered")
"""


def test_clients_of_triton_work_unchanged(server):
    pytest.importorskip("tritonclient.http", reason="the clients of Triton are not installed")
    done = subprocess.run(
        [sys.executable, "-c", CLIENTS, str(server.port), str(server.grpc_port)],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.stdout == "answered\n", done.stderr


@pytest.mark.parametrize(
    ("length", "inputs", "raw", "said"),
    [
        ("x", "", b"", "Inference-Header-Content-Length must be a number up to"),
        ("99999", "", b"", "Inference-Header-Content-Length must be a number up to"),
        (None, '"parameters": {"binary_data_size": 8}', b"1234", "binary data is too short"),
        (None, '"parameters": {"binary_data_size": 8}', b"123456789", "1 bytes of binary data"),
        (None, '"parameters": {"binary_data_size": -8}', b"", "binary_data_size must be a number"),
        (None, '"parameters": {"binary_data_size": 7}', b"1234567", "7 raw bytes are no multiple"),
    ],
)
def test_binary_data_that_is_wrong_is_refused(server, length, inputs, raw, said):
    inputs = inputs or '"data": [1, 2]'
    given_input = f'{{"name": "x", "datatype": "FP32", "shape": [2], {inputs}}}'
    body = f'{{"inputs": [{given_input}]}}'.encode()
    headers = {"inference-header-content-length": length or str(len(body))}

    response = server.client.post("/v2/models/m/infer", content=body + raw, headers=headers)

    assert response.status_code == 400
    assert said in response.json()["error"]
