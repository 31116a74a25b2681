"""The protocols of the server, asked over HTTP as clients ask it."""

import base64
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.server.vertex import VertexSettings, from_environment

from .servers import serving

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


# The examples of https://www.tensorflow.org/tfx/serving/api_rest, and what stands around them.
@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),
        ({"instances": [{"x": 1.0}, {"x": 2}]}, {"predictions": [2.5, 3.0]}),
        ({"inputs": [1.0, 2.0, 5.0]}, {"outputs": [2.5, 3.0, 4.5]}),
        ({"inputs": {"x": [4]}}, {"outputs": [4.0]}),
        (
            {"signature_name": "serving_default", "instances": [0]},
            {"predictions": [2.0]},
        ),
        (
            {"signature_name": "two_inputs", "instances": [{"a": 1, "b": [0.5, 1]}]},
            {"predictions": [{"sum": 2.5, "b": [0.5, 1.0]}]},
        ),
        (
            {"signature_name": "two_inputs", "inputs": {"a": [1, 2], "b": [[1, 1], [2, 2]]}},
            {"outputs": {"sum": [3.0, 6.0], "b": [[1.0, 1.0], [2.0, 2.0]]}},
        ),
        (
            {"signature_name": "texts", "instances": [{"b64": "YWJj"}, "xÿz"]},
            {
                "predictions": [
                    {"upper": "ABC", "raw_bytes": {"b64": "YWJj"}},
                    {"upper": "XÿZ", "raw_bytes": {"b64": "eMO/eg=="}},
                ]
            },
        ),
        ({"signature_name": "scalar", "inputs": 1.5}, {"outputs": 2.5}),
    ],
)
def test_predict_answers_as_tensorflow_serving_does(server, body, answer):
    response = server.predict(**body)

    assert response.status_code == 200, response.text
    assert response.json() == answer


def test_not_a_number_and_infinity_go_in_and_out(server):
    response = server.client.post(
        "/v1/models/m:predict", content='{"instances": [NaN, Infinity, -Infinity]}'
    )

    first, second, third = response.json()["predictions"]
    assert math.isnan(first)
    assert (second, third) == (math.inf, -math.inf)


@pytest.mark.parametrize("place", ["", "/versions/3", "/labels/stable"])
def test_version_and_label_can_be_named(server, place):
    url = f"/v1/models/m{place}"

    answer = server.client.post(f"{url}:predict", json={"instances": [2]})
    status = server.client.get(url).json()
    metadata = server.client.get(f"{url}/metadata").json()

    assert answer.json() == {"predictions": [3.0]}
    assert status == {
        "model_version_status": [
            {
                "version": "3",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    assert metadata["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["two_inputs"]
    assert signature["inputs"]["b"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["b"]["tensor_shape"]["dim"] == [
        {"size": "-1", "name": ""},
        {"size": "2", "name": ""},
    ]
    assert signature["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[1]", "must be a JSON object"),
        (b"{}", "either 'instances' or 'inputs'"),
        (b'{"instances": [1], "inputs": [1]}', "either 'instances' or 'inputs'"),
        (b'{"instances": []}', "one entry or more"),
        (b'{"instances": 5}', "one entry or more"),
        (b'{"instances": ["a"]}', "x: expects values of type float32"),
        (b'{"instances": [[1], [1, 2]]}', "x: its lists are of different lengths"),
        (b'{"instances": [[1, 2]]}', "x: shape [1, 2] does not fit [-1]"),
        (b'{"instances": [{"z": 1}]}', "unknown inputs: z; missing inputs: x"),
        (b'{"instances": [{"x": 1}, 2]}', "entry 1 does not have the inputs of the first"),
        (b'{"signature_name": "none", "instances": [1]}', 'name: "none" not found'),
        (b'{"signature_name": 5, "instances": [1]}', "'signature_name' must be a string"),
        (b'{"signature_name": "two_inputs", "instances": [1]}', "The inputs must be named"),
        (
            b'{"signature_name": "two_inputs", "instances": [{"a": 1.5, "b": [1, 1]}]}',
            "a: expects values of type int32",
        ),
        (
            b'{"signature_name": "two_inputs", "instances": [{"a": 5000000000, "b": [1, 1]}]}',
            "a: has values that int32 does not hold",
        ),
        (
            b'{"signature_name": "two_inputs", "inputs": {"a": [1], "b": [[1, 1], [2, 2]]}}',
            "different numbers of rows: [1, 2]",
        ),
        (b'{"signature_name": "texts", "instances": [{"b64": "!"}]}', "not valid base64"),
        (b'{"signature_name": "texts", "instances": [{"b64": 5}]}', "not valid base64"),
        (b'{"signature_name": "texts", "instances": [5]}', "text: expects strings"),
        (b'{"signature_name": "positive", "instances": [-1]}', "x must be positive"),
        (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "cannot be read"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence_and_the_server_goes_on(server, body, said):
    response = server.client.post("/v1/models/m:predict", content=body)

    assert response.status_code == 400
    assert said in response.json()["error"]
    assert server.predict(instances=[1]).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/other", 404),
        ("/v1/models/m/versions/9", 404),
        ("/v1/models/m/labels/canary", 404),
        ("/v2/models/other", 404),
        ("/v2/models/m/versions/9/ready", 404),
        ("/nothing", 404),
        ("/v1/models/m:predict", 405),
    ],
)
def test_what_is_not_there_is_said(server, path, status):
    response = server.client.get(path)

    assert response.status_code == status
    assert response.json()["error"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["x", "a", "b", "b64", "text"]) | st.text(max_size=3), inner, max_size=3
        )
    ),
    max_leaves=8,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "instances": json_values,
        "inputs": json_values,
        "outputs": json_values,
        "parameters": json_values,
        "id": json_values,
        "signature_name": st.sampled_from(
            ["serving_default", "two_inputs", "texts", "scalar", "positive"]
        )
        | json_values,
    },
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=bodies, path=st.sampled_from(["/v1/models/m:predict", "/v2/models/m/infer"]))
def test_no_request_makes_the_server_fail(server, body, path):
    response = server.client.post(path, content=json.dumps(body))

    assert response.status_code < 500, response.text


def test_inference_protocol_answers_and_describes_itself(server):
    assert server.client.get("/v2/health/live").status_code == 200
    assert server.client.get("/v2/health/ready").status_code == 200
    assert server.client.get("/v2").json()["name"] == "thaw"
    model = server.client.get("/v2/models/m").json()
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1]}]
    assert server.client.get("/v2/models/m/versions/3/ready").json()["ready"] is True
    body = {
        "id": "42",
        "inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2.0]}],
        "outputs": [{"name": "y"}],
    }

    answer = server.client.post("/v2/models/m/infer", json=body).json()

    assert answer == {
        "model_name": "m",
        "model_version": "3",
        "id": "42",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [2.5, 3.0]}],
    }


def test_inference_protocol_takes_bytes_as_base64(server):
    body = {
        "parameters": {"signature_name": "texts"},
        "inputs": [
            {
                "name": "text",
                "shape": [2],
                "datatype": "BYTES",
                "parameters": {"content_type": "base64"},
                "data": [base64.b64encode(b"abc").decode(), ""],
            }
        ],
    }

    answer = server.client.post("/v2/models/m/infer", json=body).json()

    outputs = {one["name"]: one for one in answer["outputs"]}
    assert outputs["upper"]["data"] == ["ABC", ""]
    assert outputs["raw_bytes"]["data"] == ["YWJj", ""]
    assert outputs["raw_bytes"]["parameters"] == {"content_type": "base64"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": 5}, "'inputs' must be a list of objects"),
        ({"inputs": []}, "missing inputs: x"),
        ({"inputs": [{"name": "z"}]}, "unexpected input 'z'"),
        ({"outputs": [{"name": "z"}]}, "unexpected outputs: z"),
        ({"shape": [3]}, "shape [3] and 1 values do not match"),
        ({"shape": [-1]}, "shape must be a list of numbers"),
        ({"datatype": "INT32"}, "datatype must be FP32"),
        ({"data": ["a"]}, "expects values of type FP32"),
        ({"data": 5}, "data must be a list"),
    ],
)
def test_inference_protocol_says_what_is_wrong(server, change, said):
    given_input = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    body = {"inputs": [{**given_input, **change}]}
    if change.keys() & {"inputs", "outputs"}:
        body = {"inputs": [given_input], **change}

    response = server.client.post("/v2/models/m/infer", json=body)

    assert response.status_code == 400
    assert said in response.json()["error"]


def test_vertex_gets_as_many_predictions_as_instances(model):
    vertex = VertexSettings(8080, "/health", "/predict", "")
    with serving(model, vertex) as server:
        assert server.client.get("/health").status_code == 200
        answer = server.client.post("/predict", json={"instances": [{"x": 1}, {"x": 2}]})
        assert answer.json() == {"predictions": [2.5, 3.0]}
        assert server.client.post("/predict", json={"inputs": [1]}).status_code == 400


def test_route_of_vertex_may_be_that_of_the_page_and_still_needs_the_token(model):
    vertex = VertexSettings(8080, "/health", "/", "")
    body = {"instances": [{"x": 1}]}
    with serving(model, vertex, token="s3cret") as server:
        page = server.client.get("/")
        refused = server.client.post("/", json=body)
        answer = server.client.post("/", json=body, headers={"authorization": "Bearer s3cret"})

    assert page.headers["content-type"].startswith("text/html")
    assert refused.status_code == 401
    assert answer.json() == {"predictions": [2.5]}


def test_vertex_settings_come_from_the_environment():
    environ = {
        "AIP_HTTP_PORT": "7080",
        "AIP_HEALTH_ROUTE": "/ping",
        "AIP_PREDICT_ROUTE": "/p",
        "AIP_STORAGE_URI": "gs://bucket/model",
    }

    assert from_environment({}) is None
    assert from_environment(environ) == VertexSettings(7080, "/ping", "/p", "gs://bucket/model")
