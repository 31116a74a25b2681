"""The Open Inference Protocol's gRPC service, version 2, which KServe and Triton speak.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto.
A request with raw contents gets a raw answer, one with typed contents a typed one.
"""

from importlib.metadata import version as version_of
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from open_inference.grpc import protocol
from open_inference.grpc import service as stubs

from serving.server.loaded import Signature
from serving.server.oip import (
    PLATFORM,
    check_input,
    check_inputs,
    datatype_of,
    find_version,
    from_raw,
    shape_of,
    shaped,
    to_raw,
    wanted_outputs,
)
from serving.server.refused import RequestRefused
from serving.server.service import Service

_SERVICE = "/inference.GRPCInferenceService"

# What orchestrators ask without a token.
OPEN_METHODS = (f"{_SERVICE}/ServerLive", f"{_SERVICE}/ServerReady")

# Where typed contents of a datatype stand; 16-bit floats have no such place.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def add_oip(service: Service, server: grpc.aio.Server) -> None:
    """Adds `GRPCInferenceService` to a server."""
    stubs.add_GRPCInferenceServiceServicer_to_server(_InferenceService(service), server)


class _InferenceService(stubs.GRPCInferenceServiceServicer):
    """Health, metadata and inference."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def ServerLive(
        self, request: protocol.ServerLiveRequest, context: grpc.aio.ServicerContext
    ) -> protocol.ServerLiveResponse:
        """Whether the server answers at all."""
        return protocol.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: protocol.ServerReadyRequest, context: grpc.aio.ServicerContext
    ) -> protocol.ServerReadyResponse:
        """Whether there is a version to ask."""
        return protocol.ServerReadyResponse(ready=self._service.registry.is_ready)

    async def ModelReady(
        self, request: protocol.ModelReadyRequest, context: grpc.aio.ServicerContext
    ) -> protocol.ModelReadyResponse:
        """Whether a version can be asked. What does not exist is not ready, as Triton has it."""
        try:
            find_version(self._service, request.name, request.version)
        except RequestRefused:
            return protocol.ModelReadyResponse(ready=False)
        return protocol.ModelReadyResponse(ready=True)

    async def ServerMetadata(
        self, request: protocol.ServerMetadataRequest, context: grpc.aio.ServicerContext
    ) -> protocol.ServerMetadataResponse:
        """Name and version of the server."""
        return protocol.ServerMetadataResponse(name="thaw", version=version_of("thaw"))

    async def ModelMetadata(
        self, request: protocol.ModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> protocol.ModelMetadataResponse:
        """Inputs and outputs of the default signature."""
        version = find_version(self._service, request.name, request.version)
        signature = version.signature("")
        response = protocol.ModelMetadataResponse(
            name=self._service.settings.name, versions=[str(version.number)], platform=PLATFORM
        )
        for described, specs in (
            (response.inputs, signature.inputs),
            (response.outputs, signature.outputs),
        ):
            for name, spec in specs.items():
                described.add(name=name, datatype=datatype_of(spec, name), shape=shape_of(spec))
        return response

    async def ModelInfer(
        self, request: protocol.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> protocol.ModelInferResponse:
        """Runs a signature."""
        version = find_version(self._service, request.model_name, request.model_version)
        signature = version.signature(_text(request, "signature_name"))
        inputs = _read_inputs(request, signature, self._service.settings.max_rows)
        wanted = wanted_outputs([one.name for one in request.outputs], signature)
        answer = await self._service.run(version, signature, inputs)
        response = protocol.ModelInferResponse(
            model_name=self._service.settings.name,
            model_version=str(version.number),
            id=request.id,
        )
        datatypes = {name: datatype_of(signature.outputs[name], name) for name in wanted}
        is_raw = bool(request.raw_input_contents) or not _CONTENTS.keys() >= set(datatypes.values())
        for name, datatype in datatypes.items():
            _write_output(response, name, datatype, answer[name], is_raw)
        return response


def _text(request: protocol.ModelInferRequest, key: str) -> str:
    """A text among the parameters; empty if it is not there."""
    if key not in request.parameters:
        return ""
    value = request.parameters[key]
    if value.WhichOneof("parameter_choice") != "string_param":
        raise RequestRefused(400, f"'{key}' must be a string.")
    return str(value.string_param)


def _read_inputs(
    request: protocol.ModelInferRequest, signature: Signature, max_rows: int
) -> dict[str, np.ndarray]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise RequestRefused(
            400, f"There are {len(request.inputs)} inputs, and {len(raw)} raw contents."
        )
    arrays: dict[str, np.ndarray] = {}
    for number, one in enumerate(request.inputs):
        spec = check_input(one.name, one.datatype, signature, arrays)
        if raw and one.HasField("contents"):
            raise RequestRefused(400, f"{one.name}: has typed contents beside the raw ones.")
        values = from_raw(raw[number], spec, one.name) if raw else _typed(one, spec)
        arrays[one.name] = shaped(values, one.shape, spec, one.name)
    check_inputs(arrays, signature, max_rows)
    return arrays


def _typed(given: Any, spec: tf.TensorSpec) -> np.ndarray:
    if given.datatype not in _CONTENTS:
        raise RequestRefused(400, f"{given.name}: {given.datatype} must be sent as raw contents.")
    values = getattr(given.contents, _CONTENTS[given.datatype])
    if spec.dtype == tf.string:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    try:
        return np.array(values, spec.dtype.as_numpy_dtype)
    except OverflowError:
        raise RequestRefused(
            400, f"{given.name}: has values that {given.datatype} does not hold."
        ) from None


def _write_output(
    response: protocol.ModelInferResponse,
    name: str,
    datatype: str,
    array: np.ndarray,
    is_raw: bool,
) -> None:
    written = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
    if is_raw:
        response.raw_output_contents.append(to_raw(array))
    else:
        getattr(written.contents, _CONTENTS[datatype]).extend(array.ravel().tolist())
