"""The gRPC port, asked with the official stubs of both protocols."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from open_inference.grpc import protocol as oip
from open_inference.grpc.service import GRPCInferenceServiceStub
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from .servers import Server, save_arithmetic, serving, tensor

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def status(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def predict_request(signature: str = "", **inputs: object) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def refusal(call, request, **options: object) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30, **options)
    return caught.value


def test_predict_answers_with_the_model_that_it_used(prediction):
    answer = prediction.Predict(predict_request(x=np.array([1, 2, 5], "float32")))

    assert list(answer.outputs["y"].float_val) == [2.5, 3.0, 4.5]
    assert answer.model_spec.name == "m"
    assert answer.model_spec.version.value == 3
    assert answer.model_spec.signature_name == "serving_default"


def test_signature_and_outputs_can_be_named(prediction):
    request = predict_request(
        "two_inputs", a=np.array([1, 2], "int32"), b=np.array([[1, 1], [2, 2]], "float32")
    )
    request.output_filter.append("b")

    answer = prediction.Predict(request)

    assert list(answer.outputs) == ["b"]
    assert tf.make_ndarray(answer.outputs["b"]).tolist() == [[1, 1], [2, 2]]


def test_bytes_come_back_as_bytes(prediction):
    answer = prediction.Predict(predict_request("texts", text=[b"abc", b"\xff\x00"]))

    assert list(answer.outputs["raw_bytes"].string_val) == [b"abc", b"\xff\x00"]
    assert answer.outputs["upper"].string_val[0] == b"ABC"


def changed(**changes: object) -> predict_pb2.PredictRequest:
    request = predict_request(x=np.array([1], "float32"))
    spec = request.model_spec
    for name, value in changes.items():
        if name == "version":
            spec.version.value = value
        elif name == "output_filter":
            request.output_filter.extend(value)
        elif name == "x":
            request.inputs["x"].CopyFrom(value)
        else:
            setattr(spec, name, value)
    return request


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (predict_pb2.PredictRequest(), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (changed(name=""), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (changed(name="z"), Code.NOT_FOUND, "Servable not found for request: Latest(z)"),
        (changed(version=9), Code.NOT_FOUND, "Servable not found for request: Specific(m, 9)"),
        (changed(version=-1), Code.NOT_FOUND, "Specific(m, -1)"),
        (
            changed(version_label="canary"),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: canary",
        ),
        (
            changed(signature_name="none"),
            Code.FAILED_PRECONDITION,
            'Serving signature key "none" not found.',
        ),
        (
            changed(output_filter=["z"]),
            Code.INVALID_ARGUMENT,
            "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
        ),
        (
            changed(output_filter=["y", "y"]),
            Code.INVALID_ARGUMENT,
            "duplicate output tensor alias: y",
        ),
        (
            predict_request(z=np.array([1], "float32")),
            Code.INVALID_ARGUMENT,
            "Sent extra: {z}. Missing but required: {x}.",
        ),
        (predict_request(x=["a"]), Code.INVALID_ARGUMENT, "x: expects values of type float32"),
        (
            predict_request(x=np.ones([1, 2], "float32")),
            Code.INVALID_ARGUMENT,
            "x: shape [1, 2] does not fit [-1]",
        ),
        (
            changed(x=tensor(tf.float32, 10**12, float_val=[1.0])),
            Code.RESOURCE_EXHAUSTED,
            "is larger than a request may be",
        ),
        (
            changed(x=tensor(tf.float32, 2, tensor_content=b"abc")),
            Code.INVALID_ARGUMENT,
            "x: its values do not fit shape [2]",
        ),
        (changed(x=tensor(tf.float32, -1)), Code.INVALID_ARGUMENT, "x: its shape must be known"),
        (
            predict_request("positive", x=np.array([-1], "float32")),
            Code.INVALID_ARGUMENT,
            "x must be positive",
        ),
    ],
)
def test_what_cannot_be_answered_has_tensorflow_servings_code(prediction, request_, code, said):
    error = refusal(prediction.Predict, request_)

    assert error.code() == code
    assert said in error.details()
    assert prediction.Predict(predict_request(x=np.array([1], "float32"))).outputs


def test_what_is_not_offered_is_unimplemented(prediction, status):
    for call, request in (
        (prediction.Classify, classification_pb2.ClassificationRequest()),
        (prediction.Regress, regression_pb2.RegressionRequest()),
        (prediction.MultiInference, inference_pb2.MultiInferenceRequest()),
        (status.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest()),
    ):
        error = refusal(call, request)
        assert error.code() == Code.UNIMPLEMENTED
        assert "is not offered" in error.details()


def test_metadata_describes_the_signatures(prediction):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"

    answer = prediction.GetModelMetadata(request)

    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    given_input = signatures.signature_def["two_inputs"].inputs["b"]
    assert given_input.dtype == tf.float32.as_datatype_enum
    assert [one.size for one in given_input.tensor_shape.dim] == [-1, 2]
    assert answer.model_spec.version.value == 3
    del request.metadata_field[:]
    error = refusal(prediction.GetModelMetadata, request)
    assert error.code() == Code.INVALID_ARGUMENT
    assert "must specify at least one metadata_field" in error.details()


def test_status_is_that_of_the_version(status):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"

    (one,) = status.GetModelStatus(request).model_version_status

    assert (one.version, one.state, one.status.error_code) == (3, 30, 0)
    request.model_spec.version.value = 9
    error = refusal(status.GetModelStatus, request)
    assert (error.code(), error.details()) == (
        Code.NOT_FOUND,
        "Could not find version 9 of model m",
    )


def test_limits_are_those_of_http(model):
    with (
        serving(model, max_rows=3, max_body_bytes=1000, max_queued_rows=2) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        large = refusal(stub.Predict, predict_request(x=np.ones([300], "float32")))
        rows = refusal(stub.Predict, predict_request(x=np.ones([4], "float32")))
        busy = refusal(stub.Predict, predict_request(x=np.ones([3], "float32")))
        answer = stub.Predict(predict_request(x=np.ones([2], "float32")))

    assert large.code() == rows.code() == Code.RESOURCE_EXHAUSTED
    assert "larger than max" in large.details()
    assert "at most 3" in rows.details()
    assert busy.code() == Code.UNAVAILABLE
    assert dict(busy.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
    assert len(answer.outputs["y"].float_val) == 2


def test_late_answers_are_deadline_exceeded_whoevers_deadline_it_is(model):
    request = predict_request(x=np.ones([1], "float32"))
    with (
        serving(model, timeout_secs=0.2, batch_wait_ms=1500.0) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        ours = refusal(stub.Predict, request)
        with pytest.raises(grpc.RpcError) as theirs:
            stub.Predict(request, timeout=0.05)

    assert ours.code() == theirs.value.code() == Code.DEADLINE_EXCEEDED
    assert ours.details() == "The answer took too long."


def test_token_and_request_id_travel_in_the_metadata(model):
    request = predict_request(x=np.ones([1], "float32"))
    with (
        serving(model, token="secret") as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        without = refusal(stub.Predict, request)
        wrong = refusal(stub.Predict, request, metadata=[("authorization", "Bearer secre")])
        right, call = stub.Predict.with_call(
            request, metadata=[("authorization", "Bearer secret"), ("x-request-id", "abc-1")]
        )
        live = GRPCInferenceServiceStub(channel).ServerLive(oip.ServerLiveRequest())
        metrics = server.client.get("/metrics", headers={"authorization": "Bearer secret"}).text

    assert without.code() == wrong.code() == Code.UNAUTHENTICATED
    assert right.outputs
    assert live.live
    assert dict(call.trailing_metadata())["x-request-id"] == "abc-1"
    route = "/tensorflow.serving.PredictionService/Predict"
    assert f'thaw_requests_total{{route="{route}",status="OK"}} 1.0' in metrics
    assert f'thaw_requests_total{{route="{route}",status="UNAUTHENTICATED"}} 2.0' in metrics


def ask_label(server: Server, label: str) -> float:
    answer = server.client.post(f"/v1/models/m/labels/{label}:predict", json={"instances": [0]})
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        request = predict_request(x=np.zeros([1], "float32"))
        request.model_spec.version_label = label
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        (over_grpc,) = stub.Predict(request).outputs["y"].float_val
    assert answer.json() == {"predictions": [over_grpc]}
    return over_grpc


def test_labels_keep_older_versions_served(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    for number in (1, 2, 3):
        save_arithmetic(folder / str(number), float(number))

    with serving(folder, labels={"stable": 1, "canary": 3}) as server:
        values = {label: ask_label(server, label) for label in ("stable", "canary", "latest")}
        by_number = [
            server.client.post(f"/v1/models/m/versions/{n}:predict", json={"instances": [0]})
            for n in (1, 2, 3)
        ]
        states = server.client.get("/v1/models/m").json()["model_version_status"]

    assert values == {"stable": 1.0, "canary": 3.0, "latest": 3.0}
    assert [one.status_code for one in by_number] == [200, 404, 200]
    assert [(one["version"], one["state"]) for one in states] == [
        ("3", "AVAILABLE"),
        ("1", "AVAILABLE"),
    ]
