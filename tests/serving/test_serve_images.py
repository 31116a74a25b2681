"""The server with an exported model: images as people have them; and the command that starts it."""

import base64
import contextlib
import io
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.model import load_model
from trainer.data.fit_data import image_parser
from trainer.export import ExportInfo, export_saved_model
from trainer.model.classifier import build_classifier
from trainer.specs import ModelSpec, ServedImages

from ..conftest import ROOT
from ..trainer.conftest import SIZE_PX, WIDTH, nothing_fitted, parts_of, tiny_backbone
from .servers import serving

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

LABELS = ["ant", "bee", "Ørsted's cat"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "serving" / "birds"
    classifier = build_classifier(
        ModelSpec("inception_v3", SIZE_PX, 8, 0.0, num_classes=3), tiny_backbone()
    )
    export_saved_model(
        parts_of(classifier),
        ServedImages(SIZE_PX, 1_000_000),
        image_parser(SIZE_PX),
        nothing_fitted(WIDTH),
        ExportInfo(LABELS, {}, {}),
        str(folder / "1"),
    )
    return folder


@pytest.fixture(scope="module")
def server(model):
    with serving(model) as running:
        yield running


def picture(format_name: str, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, [40, 50, 3], "uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name)
    return buffer.getvalue()


def row(content: bytes) -> dict:
    return {"image_bytes": {"b64": base64.b64encode(content).decode()}}


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_answer_is_that_of_the_model_asked_directly(server, model, format_name):
    content = picture(format_name)

    (answer,) = server.predict(instances=[row(content)]).json()["predictions"]

    expected = dict(load_model(model / "1").ask(content).classes)
    found = dict(zip(answer["class_names"], answer["probabilities"], strict=True))
    assert found == pytest.approx(expected, abs=1e-5)
    assert answer["class_names"] == LABELS


def test_many_images_in_one_request_and_in_columns(server):
    contents = [picture("PNG", seed) for seed in range(40)]
    rows = server.predict(instances=[row(one) for one in contents]).json()["predictions"]
    columns = server.predict(
        inputs={"image_bytes": [row(one)["image_bytes"] for one in contents]}
    ).json()["outputs"]

    assert len(rows) == 40
    assert [one["label_id"] for one in rows] == columns["label_id"]


def huge_png() -> bytes:
    """A PNG whose header claims 50,000 times 50,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(bytes(1000))
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, pixels)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "image 1: not a JPEG"),
        (b"no image", "image 1: not a JPEG"),
        (picture("JPEG")[:200], "image"),
        (huge_png(), "image 1: more than 1,000,000 pixels"),
    ],
)
def test_file_that_cannot_be_read_is_named_by_its_number(server, content, said):
    response = server.predict(instances=[row(picture("PNG")), row(content)])

    assert response.status_code == 400
    assert said in response.json()["error"]
    assert server.predict(instances=[row(picture("PNG"))]).status_code == 200


def test_files_of_the_page_are_asked_for_once_and_counted_apart(server):
    first = server.client.get("/page/page.css")
    again = server.client.get("/page/page.css", headers={"if-none-match": first.headers["etag"]})
    served = server.client.get("/")
    metrics = server.client.get("/metrics").text

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert served.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert served.headers["x-content-type-options"] == "nosniff"
    assert served.headers["referrer-policy"] == "no-referrer"
    assert 'thaw_requests_total{route="page_file",status="200"}' in metrics


@pytest.mark.parametrize("label_id", ["", "x", "-1", "99", "٣", "9" * 30])
def test_heat_map_of_no_class_is_refused(server, label_id):
    path = "/page/heat_map"
    response = server.client.post(path, params={"label_id": label_id}, content=picture("PNG"))

    assert response.status_code == 400


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "image 1: not a JPEG"),
        (b"no image", "image 1: not a JPEG"),
        (picture("JPEG")[:200], ""),
        (huge_png(), "image 1: more than 1,000,000 pixels"),
    ],
)
def test_file_that_cannot_be_read_is_refused_over_grpc_too(server, content, said):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        with pytest.raises(grpc.RpcError) as refused:
            predict(request_of(picture("PNG"), content), timeout=30)
        answer = predict(request_of(picture("PNG")), timeout=30)

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert said in refused.value.details()
    assert "Traceback" not in refused.value.details()
    assert len(answer.outputs["label_id"].int64_val) == 1


def request_of(*contents: bytes) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(contents)))
    return request


def test_request_of_a_hundred_megabytes_is_refused_over_grpc_too(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        with pytest.raises(grpc.RpcError) as refused:
            predict(request_of(bytes(100_000_000)), timeout=60)
        answer = predict(request_of(picture("PNG")), timeout=30)

    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max (100000" in refused.value.details()
    assert answer.outputs


def test_request_of_a_hundred_megabytes_is_refused_by_its_header(server):
    with socket.create_connection(("127.0.0.1", server.port)) as large:
        large.sendall(
            b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: 100000000\r\n\r\n"
        )
        assert large.recv(4096).startswith(b"HTTP/1.1 413")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_ready(client: httpx.Client, path: str) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            if client.get(path).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the server does not answer")


def command(*arguments: object) -> list[str]:
    # Not gRPC's usual port, which another server of this machine may have.
    arguments = ("--grpc-port", 0, *arguments)
    return [sys.executable, "-m", "pipeline.cli.main", "serve", *map(str, arguments)]


def test_command_serves_until_it_is_told_to_stop(model):
    port = free_port()
    terminal, errors_to = pty.openpty()
    process = subprocess.Popen(
        command("--model", model.parents[1], "--port", port),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=errors_to,
        text=True,
    )
    os.close(errors_to)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_ready(client, "/v2/health/ready")
            answer = client.post(
                "/v1/models/birds:predict", json={"instances": [row(picture("PNG"))]}
            )
    finally:
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=60)
        errors = os.read(terminal, 10_000).decode()
        os.close(terminal)

    assert answer.status_code == 200
    lines = [json.loads(line) for line in printed.splitlines()]
    assert any(line["message"] == "listening" for line in lines)
    (asked,) = [line for line in lines if line.get("path") == "/v1/models/birds:predict"]
    assert asked["status"] == 200
    assert asked["request_id"] == answer.headers["x-request-id"]
    assert errors == f"Open http://127.0.0.1:{port}/ to try it.\r\n"
    assert process.returncode in (0, -signal.SIGTERM)


def test_vertex_needs_nothing_but_its_variables(model):
    port = free_port()
    environ = {
        **os.environ,
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": "/health",
        "AIP_PREDICT_ROUTE": "/predict",
        "AIP_STORAGE_URI": f"{model}/1/",
    }
    process = subprocess.Popen(command(), cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_ready(client, "/health")
            answer = client.post("/predict", json={"instances": [row(picture("PNG"))]})
    finally:
        process.terminate()
        process.wait(timeout=60)

    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 1


def test_port_that_is_taken_and_a_folder_without_a_model_are_one_sentence(model, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        taken = subprocess.run(
            command("--model", model, "--port", port), cwd=ROOT, capture_output=True, text=True
        )
        grpc_taken = subprocess.run(
            command("--model", model, "--port", 0, "--grpc-port", port),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    label = subprocess.run(
        command("--model", model, "--port", 0, "--label", "canary=7"),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    unnamed = subprocess.run(command(), cwd=ROOT, capture_output=True, text=True)
    none = subprocess.run(command("--model", tmp_path), cwd=ROOT, capture_output=True, text=True)

    assert taken.returncode == none.returncode == unnamed.returncode == 2
    assert "--model: name the output folder" in unnamed.stderr
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in taken.stderr
    assert "holds no pushed model" in none.stderr
    assert grpc_taken.returncode == 2
    assert "Give another --grpc-port." in grpc_taken.stderr
    assert label.returncode == 2
    assert "Request to assign label canary to version 7 of model birds" in label.stderr
    assert "Traceback" not in taken.stderr + none.stderr
