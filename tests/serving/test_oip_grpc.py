"""The Open Inference Protocol over gRPC, asked with the stubs of the specification."""

import re

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor
from open_inference.grpc import protocol as oip
from open_inference.grpc.service import GRPCInferenceServiceStub

from ..conftest import ROOT

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def inference(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield GRPCInferenceServiceStub(channel)


def refusal(call, request) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    return caught.value


def infer_request(raw: bytes | None = None, **changes: object) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="m", id="42")
    one = request.inputs.add(**{"name": "x", "datatype": "FP32", "shape": [2], **changes})
    if raw is None:
        one.contents.fp32_contents.extend([1.0, 2.0])
    else:
        request.raw_input_contents.append(raw)
    return request


def test_inference_protocol_describes_itself(inference):
    assert inference.ServerLive(oip.ServerLiveRequest()).live
    assert inference.ServerReady(oip.ServerReadyRequest()).ready
    assert inference.ServerMetadata(oip.ServerMetadataRequest()).name == "thaw"
    assert inference.ModelReady(oip.ModelReadyRequest(name="m", version="3")).ready
    assert not inference.ModelReady(oip.ModelReadyRequest(name="m", version="4")).ready
    model = inference.ModelMetadata(oip.ModelMetadataRequest(name="m"))
    assert (model.name, list(model.versions)) == ("m", ["3"])
    assert [(one.name, one.datatype, list(one.shape)) for one in model.inputs] == [
        ("x", "FP32", [-1])
    ]


def test_typed_request_gets_a_typed_answer_and_a_raw_one_a_raw_answer(inference):
    typed = inference.ModelInfer(infer_request())
    raw = inference.ModelInfer(infer_request(np.array([1, 2], "<f4").tobytes()))

    assert (typed.model_version, typed.id) == ("3", "42")
    assert list(typed.outputs[0].contents.fp32_contents) == [2.5, 3.0]
    assert not typed.raw_output_contents
    assert np.frombuffer(raw.raw_output_contents[0], "<f4").tolist() == [2.5, 3.0]
    assert not raw.outputs[0].HasField("contents")


def test_raw_bytes_stand_behind_their_lengths(inference):
    request = oip.ModelInferRequest(model_name="m")
    request.parameters["signature_name"].string_param = "texts"
    request.inputs.add(name="text", datatype="BYTES", shape=[2])
    request.raw_input_contents.append(b"\x03\x00\x00\x00abc\x00\x00\x00\x00")
    request.outputs.add(name="upper")

    answer = inference.ModelInfer(request)

    assert list(answer.raw_output_contents) == [b"\x03\x00\x00\x00ABC\x00\x00\x00\x00"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (infer_request(name="z"), "unexpected input 'z'"),
        (infer_request(datatype="INT32"), "datatype must be FP32"),
        (infer_request(shape=[3]), "shape [3] and 2 values do not match"),
        (infer_request(shape=[-2]), "shape must be a list of numbers, 0 or more"),
        (infer_request(b"abc"), "3 raw bytes are no multiple of 4"),
        (oip.ModelInferRequest(model_name="m"), "missing inputs: x"),
    ],
)
def test_inference_protocol_says_what_is_wrong(inference, request_, said):
    error = refusal(inference.ModelInfer, request_)

    assert error.code() == Code.INVALID_ARGUMENT
    assert said in error.details()


def facts_of_text(proto: str) -> set[str]:
    """Messages, fields and methods of a proto file, by their full names."""
    proto = re.sub(r"//[^\n]*", "", proto)
    facts, places = set(), []
    token = (
        r"(?:message|service|oneof)\s+(\w+)\s*\{|rpc (\w+)\((\w+)\) returns \((\w+)\) \{\}"
        r"|(repeated )?(map<string, \w+>|\w+) (\w+) = (\d+);|(\})"
    )
    for name, rpc, asks, answers, many, kind, field, number, end in re.findall(token, proto):
        if name:
            places.append(name)
        elif end:
            places.pop()
        elif rpc:
            facts.add(f"{rpc}: {asks} -> {answers}")
        else:
            owner = ".".join(one for one in places if one != "parameter_choice")
            facts.add(f"{owner}: {many}{kind} {field} = {number}")
    return facts


def facts_of_descriptor(file) -> set[str]:
    facts = {
        f"{method.name}: {method.input_type.name} -> {method.output_type.name}"
        for service in file.services_by_name.values()
        for method in service.methods
    }
    messages = list(file.message_types_by_name.values())
    while messages:
        message = messages.pop()
        messages += [one for one in message.nested_types if not one.GetOptions().map_entry]
        owner = message.full_name.removeprefix("inference.")
        facts |= {
            f"{owner}: {kind_of(field)} {field.name} = {field.number}" for field in message.fields
        }
    return facts


def kind_of(field) -> str:
    if field.message_type and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        return f"map<string, {kind_of(value)}>"
    kinds = {
        value: name.removeprefix("TYPE_").lower()
        for name, value in vars(descriptor.FieldDescriptor).items()
        if name.startswith("TYPE_")
    }
    kind = field.message_type.name if field.message_type else kinds[field.type]
    return f"repeated {kind}" if field.is_repeated else kind


def test_stub_speaks_the_protocol_of_the_specification():
    shared = ROOT.parent / "shared" / "specs" / "open_inference_grpc.proto"
    if not shared.exists():
        pytest.skip("the specification of the Open Inference Protocol is not on this machine")

    expected = facts_of_text(shared.read_text())

    assert len(expected) > 50
    assert facts_of_descriptor(oip.DESCRIPTOR) == expected
