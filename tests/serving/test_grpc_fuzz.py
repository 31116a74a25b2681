"""Messages that no client sends: the gRPC port answers them all with a code of its own."""

import grpc
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from open_inference.grpc import protocol as oip
from tensorflow_serving.apis import model_pb2, predict_pb2

from .servers import tensor

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


METHODS = [
    "/tensorflow.serving.PredictionService/Predict",
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelMetadata",
]

names = st.sampled_from(["m", "x", "y", "text", "a", "b", ""]) | st.text(max_size=4)
shapes = st.lists(st.integers(-2, 4) | st.integers(-(2**63), 2**63 - 1), max_size=4)


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from([tf.float32, tf.int32, tf.string, tf.bool, tf.complex64]))
    proto = tensor(
        dtype,
        *draw(shapes),
        tensor_content=draw(st.binary(max_size=8)),
        float_val=draw(st.lists(st.floats(width=32), max_size=3)),
        string_val=draw(st.lists(st.binary(max_size=3), max_size=3)),
        int_val=draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3)),
    )
    proto.tensor_shape.unknown_rank = draw(st.booleans())
    return proto


@st.composite
def predictions(draw):
    signature = draw(st.sampled_from(["", "two_inputs", "texts", "scalar", "positive"]))
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name="m", signature_name=signature),
        output_filter=draw(st.lists(names, max_size=2)),
    )
    for name in draw(st.lists(names, max_size=3)):
        request.inputs[name].CopyFrom(draw(tensors()))
    return METHODS[0], request.SerializeToString()


@st.composite
def inferences(draw):
    request = oip.ModelInferRequest(
        model_name="m", raw_input_contents=draw(st.lists(st.binary(max_size=9), max_size=2))
    )
    for name in draw(st.lists(names, max_size=2)):
        one = request.inputs.add(
            name=name,
            datatype=draw(st.sampled_from(["FP32", "BYTES", "INT32", "FP16", "?"])),
            shape=draw(shapes),
        )
        one.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=3)))
        one.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=3), max_size=3)))
    signature = draw(st.sampled_from(["", "two_inputs", "texts", "scalar"]))
    request.parameters["signature_name"].string_param = signature
    return METHODS[3], request.SerializeToString()


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
)
@given(predictions() | inferences() | st.tuples(st.sampled_from(METHODS), st.binary(max_size=40)))
def test_no_message_makes_the_server_fail(channel, asked):
    method, message = asked

    call = channel.unary_unary(method).future(message, timeout=30)

    assert call.code() not in (Code.INTERNAL, Code.UNKNOWN), call.details()
