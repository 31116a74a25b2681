"""The server among many clients: batches, limits, versions that come and go, the end."""

import contextlib
import json
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from .servers import Server, save_arithmetic, serving

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


def test_requests_at_once_are_run_together(model):
    with serving(model, batch_wait_ms=50.0) as server, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: server.predict(instances=[n]).json(), range(8)))
        metrics = server.client.get("/metrics").text

    assert answers == [{"predictions": [n / 2 + 2]} for n in range(8)]
    (batches,) = [line for line in metrics.splitlines() if line.startswith("thaw_batch_rows_count")]
    assert float(batches.split()[1]) < 8


def test_bad_request_in_a_batch_costs_no_other_its_answer(model):
    def ask(value: float) -> httpx.Response:
        return server.predict(signature_name="positive", instances=[value])

    with serving(model, batch_wait_ms=50.0) as server, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, [1, 2, -3, 4]))

    assert [one.status_code for one in answers] == [200, 200, 400, 200]
    assert answers[3].json() == {"predictions": [4.0]}


def test_request_with_too_many_rows_or_bytes_is_refused(model):
    with serving(model, max_rows=3, max_body_bytes=1000) as server:
        many = server.predict(instances=[1, 2, 3, 4])
        large = server.client.post("/v1/models/m:predict", content=b" " * 1001)
        chunked = server.client.post("/v1/models/m:predict", content=(b" " * 400 for _ in range(4)))

        assert many.status_code == 413
        assert "at most 3" in many.json()["error"]
        assert [large.status_code, chunked.status_code] == [413, 413]
        assert server.predict(instances=[1]).status_code == 200


def test_server_that_is_busy_says_when_to_come_again(model):
    with serving(model, max_queued_rows=2) as server:
        response = server.predict(instances=[1, 2, 3])

        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert server.predict(instances=[1, 2]).status_code == 200


def test_body_that_does_not_arrive_times_out_while_others_are_answered(model):
    with (
        serving(model, timeout_secs=3.0) as server,
        socket.create_connection(("127.0.0.1", server.port)) as slow,
    ):
        slow.sendall(
            b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: 99\r\n\r\n{"
        )
        assert server.predict(instances=[1]).status_code == 200
        # Head and body may come in two pieces; the server closes after them.
        answer = b"".join(iter(lambda: slow.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within 3 s" in answer


def test_slow_headers_time_out_while_others_are_answered(model):
    started = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\n"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(model, timeout_secs=2.0))
        address = ("127.0.0.1", server.port)
        slow = [stack.enter_context(socket.create_connection(address)) for _ in range(100)]
        silent = stack.enter_context(socket.create_connection(address))
        began, sent = time.monotonic(), 0
        for one in slow:
            one.sendall(started)
        while time.monotonic() - began < 1.5:  # a byte now and then does not extend the time
            slow[sent % 100].sendall(b"X")
            assert server.predict(instances=[1]).status_code == 200
            sent += 1
            time.sleep(0.02)
        answers = [b"".join(iter(lambda s=one: s.recv(4096), b"")) for one in slow]
        ended = silent.recv(4096)
        assert server.predict(instances=[1]).status_code == 200

    assert sent > 10
    assert all(one.startswith(b"HTTP/1.1 408") for one in answers)
    assert b"headers of the request did not arrive within 2 s" in answers[0]
    assert ended == b""


def test_later_request_of_a_connection_has_the_same_time_for_its_headers(model):
    request = b"GET /v2/health/live HTTP/1.1\r\nHost: m\r\n\r\n"
    with (
        serving(model, timeout_secs=1.0) as server,
        socket.create_connection(("127.0.0.1", server.port)) as kept,
    ):
        for _ in range(2):
            kept.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):  # head and body may come in two pieces
                answer += kept.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(1.2)  # idle between requests: not what is timed
        kept.sendall(request[:20])
        answer = b"".join(iter(lambda: kept.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 408")


def test_client_that_leaves_costs_no_other_its_answer(model):
    with serving(model) as server:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as gone:
                gone.sendall(
                    b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: 99\r\n\r\n{"
                )
        assert server.predict(instances=[1]).status_code == 200


def test_token_is_asked_for_except_by_health_checks(model):
    with serving(model, token="secret") as server:
        without = server.predict(instances=[1])
        wrong = server.client.get("/v1/models/m", headers={"authorization": "Bearer secre"})
        right = server.client.get("/v1/models/m", headers={"authorization": "Bearer secret"})

        assert [without.status_code, wrong.status_code, right.status_code] == [401, 401, 200]
        assert without.headers["www-authenticate"] == "Bearer"
        assert server.client.get("/v2/health/ready").status_code == 200


def test_request_keeps_its_id_and_an_odd_one_is_replaced(server):
    kept = server.client.get("/v2/health/live", headers={"x-request-id": "abc-1"})
    odd = server.client.get("/v2/health/live", headers={"x-request-id": "a b<script>"})

    assert kept.headers["x-request-id"] == "abc-1"
    assert len(odd.headers["x-request-id"]) == 32


def wait_for(server: Server, version: int) -> None:
    for _ in range(300):
        states = server.client.get("/v1/models/m").json()["model_version_status"]
        if {"version": str(version), "state": "AVAILABLE"}.items() <= states[0].items():
            return
        time.sleep(0.05)
    raise AssertionError(states)


def test_newer_versions_take_over_without_a_failed_request(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    save_arithmetic(folder / "1", 1.0)
    save_arithmetic(tmp_path / "two", 2.0)
    statuses, stop = [], threading.Event()

    def ask(server: Server) -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=30) as client:
            while not stop.is_set():
                answer = client.post("/v1/models/m:predict", json={"instances": [0]})
                statuses.append((answer.status_code, tuple(answer.json()["predictions"])))

    with serving(folder) as server, ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(ask, server)
        for number in range(2, 8):
            shutil.copytree(tmp_path / "two", folder / f".partial-{number}")
            (folder / f".partial-{number}").rename(folder / str(number))
            wait_for(server, number)
        stop.set()
        metrics = server.client.get("/metrics").text

    assert {status for status, _ in statuses} == {200}
    assert {values for _, values in statuses} == {(1.0,), (2.0,)}
    assert "thaw_model_version 7.0" in metrics


def test_broken_version_is_refused_and_the_old_one_stays(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    save_arithmetic(folder / "1")
    with serving(folder) as server:
        (folder / "2").mkdir()
        (folder / "2" / "saved_model.pb").write_bytes(b"damaged")
        states = []
        for _ in range(200):
            states = server.client.get("/v1/models/m").json()["model_version_status"]
            if states[0]["version"] == "2" and states[0]["state"] == "END":
                break
            time.sleep(0.05)

        assert states[0]["status"]["error_code"] == "UNKNOWN"
        assert "cannot be loaded" in states[0]["status"]["error_message"]
        assert str(tmp_path) not in json.dumps(states)
        assert server.predict(instances=[0]).json() == {"predictions": [2.0]}


def test_folder_without_a_model_is_not_served(tmp_path):
    with pytest.raises(AssertionError), serving(tmp_path):
        pass


def test_answers_that_wait_are_given_before_the_server_ends(model):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(model, batch_wait_ms=500.0))
        threads = stack.enter_context(ThreadPoolExecutor(1))
        asked = threads.submit(server.predict, instances=[1])
        time.sleep(0.2)
        stopped = time.monotonic()
    assert asked.result().status_code == 200
    assert time.monotonic() - stopped < 20


def test_grpc_calls_that_wait_are_answered_before_the_server_ends(model):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(model, batch_wait_ms=500.0))
        channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(request)
        time.sleep(0.2)
    assert list(call.result(timeout=5).outputs["y"].float_val) == [2.5]
    channel.close()
