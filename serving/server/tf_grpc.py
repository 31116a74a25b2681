"""TensorFlow Serving's gRPC services.

Codes and sentences are those of tensorflow_serving/model_servers/server_core.cc,
servables/tensorflow/predict_util.cc, get_model_metadata_impl.cc and
model_servers/get_model_status_impl.cc.
"""

import math
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server.loaded import DEFAULT_SIGNATURE, LoadedVersion, Signature
from serving.server.refused import RequestRefused
from serving.server.service import Service
from serving.server.tensors import check_rows, check_shape
from serving.server.tf_rest import describe_signatures, find_states

_UNKNOWN = 2  # of tensorflow.error.Code

# Where a TensorProto holds the values of a type; clients read these fields directly.
_VALUES = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


def add_tf_serving(service: Service, server: grpc.aio.Server) -> None:
    """Adds `PredictionService` and `ModelService` to a server."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(service), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(service), server)


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predictions and metadata."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature."""
        version = _find_version(request, self._service)
        signature = _signature(version, request.model_spec.signature_name)
        inputs = _read_inputs(request, signature, self._service)
        names = _wanted_outputs(request, signature)
        answer = await self._service.run(version, signature, inputs)
        response = predict_pb2.PredictResponse(
            model_spec=_spec(request, version, signature_name=signature.name)
        )
        for name in names:
            response.outputs[name].CopyFrom(to_proto(answer[name], signature.outputs[name].dtype))
        return response

    async def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Describes the signatures."""
        _check_spec(request)
        if not request.metadata_field:
            raise RequestRefused(
                400, "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise RequestRefused(400, f"Metadata field {field} is not supported")
        version = _find_version(request, self._service)
        response = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=_spec(request, version)
        )
        signatures = json_format.ParseDict(
            describe_signatures(version),
            get_model_metadata_pb2.SignatureDefMap(),
            ignore_unknown_fields=True,
        )
        response.metadata["signature_def"].Pack(signatures)
        return response

    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Not offered."""
        raise _not_offered("Classify")

    async def Regress(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Not offered."""
        raise _not_offered("Regress")

    async def MultiInference(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Not offered."""
        raise _not_offered("MultiInference")


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """States of the versions."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def GetModelStatus(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """States of all versions, or of one."""
        _check_spec(request)
        spec, name = request.model_spec, self._service.settings.name
        if spec.name != name:
            raise RequestRefused(404, f"Could not find any versions of model {spec.name}")
        choice = spec.WhichOneof("version_choice")
        wanted = str(spec.version.value) if choice == "version" else ""
        if choice == "version_label":
            wanted = str(_find_version(request, self._service).number)
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, state in find_states(self._service, wanted).items():
            one = response.model_version_status.add(
                version=number,
                state=get_model_status_pb2.ModelVersionStatus.State.Value(state.state),
            )
            one.status.error_code = _UNKNOWN if state.error else 0
            one.status.error_message = state.error
        return response

    async def HandleReloadConfigRequest(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> Any:
        """Not offered."""
        raise RequestRefused(
            501,
            "HandleReloadConfigRequest is not offered: the server follows its folder of versions "
            "by itself, and takes its labels from the command line.",
        )


def _not_offered(method: str) -> RequestRefused:
    return RequestRefused(501, f"{method} is not offered: call Predict.")


def _check_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise RequestRefused(400, "Missing ModelSpec")


def _find_version(request: Any, service: Service) -> LoadedVersion:
    _check_spec(request)
    spec: model_pb2.ModelSpec = request.model_spec
    if not spec.name:
        raise RequestRefused(400, "ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    number = str(spec.version.value) if choice == "version" else ""
    asked = f"Specific({spec.name}, {number})" if number else f"Latest({spec.name})"
    if spec.name != service.settings.name or (number and not _is_served(number, service)):
        raise RequestRefused(404, f"Servable not found for request: {asked}")
    if choice != "version_label":
        return service.registry.current(number)
    if spec.version_label not in service.registry.labels:
        raise RequestRefused(400, f"Unrecognized servable version label: {spec.version_label}")
    return service.registry.current(label=spec.version_label)


def _is_served(number: str, service: Service) -> bool:
    return number in map(str, service.registry.served)


def _signature(version: LoadedVersion, name: str) -> Signature:
    name = name or DEFAULT_SIGNATURE
    if name not in version.signatures:
        raise RequestRefused(412, f'Serving signature key "{name}" not found.')
    return version.signatures[name]


def _spec(request: Any, version: LoadedVersion, signature_name: str = "") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=request.model_spec.name, signature_name=signature_name)
    spec.version.value = version.number
    return spec


def _read_inputs(
    request: predict_pb2.PredictRequest, signature: Signature, service: Service
) -> dict[str, np.ndarray]:
    given, expected = set(request.inputs), set(signature.inputs)
    if given != expected:
        raise RequestRefused(
            400,
            f"input size does not match signature: {len(given)}!={len(expected)} "
            f"len({{{_names(given)}}}) != len({{{_names(expected)}}}). "
            f"Sent extra: {{{_names(given - expected)}}}. "
            f"Missing but required: {{{_names(expected - given)}}}.",
        )
    limit = service.settings.max_body_bytes
    arrays = {
        name: from_proto(request.inputs[name], signature.inputs[name], name, limit)
        for name in signature.inputs
    }
    check_rows(arrays, signature, service.settings.max_rows)
    return arrays


def _names(names: set[str]) -> str:
    return ",".join(sorted(names))


def _wanted_outputs(request: predict_pb2.PredictRequest, signature: Signature) -> list[str]:
    wanted = list(request.output_filter)
    for name in wanted:
        if name not in signature.outputs:
            raise RequestRefused(
                400,
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {{{_names(set(signature.outputs))}}}.",
            )
        if wanted.count(name) > 1:
            raise RequestRefused(400, f"duplicate output tensor alias: {name}")
    return wanted or list(signature.outputs)


def from_proto(
    tensor: tensor_pb2.TensorProto, spec: tf.TensorSpec, name: str, max_bytes: int
) -> np.ndarray:
    """Reads an input.

    Args:
      tensor: as the client sent it. One value may stand for all values of a large shape.
      spec: the input's dtype and shape.
      name: of the input.
      max_bytes: larger tensors are refused before they are made.

    Raises:
      RequestRefused: if it is none, or of another type or shape.
    """
    if tensor.dtype != spec.dtype.as_datatype_enum:
        expected = tf.as_dtype(spec.dtype).name
        raise RequestRefused(400, f"{name}: expects values of type {expected}.")
    sizes = [one.size for one in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise RequestRefused(400, f"{name}: its shape must be known.")
    if math.prod(sizes) * max(spec.dtype.size or 1, 1) > max_bytes:
        raise RequestRefused(413, f"{name}: shape {sizes} is larger than a request may be.")
    try:
        array = np.asarray(tf.make_ndarray(tensor))
    except (ValueError, TypeError, OverflowError, IndexError):
        raise RequestRefused(400, f"{name}: its values do not fit shape {sizes}.") from None
    if spec.dtype == tf.string and not all(isinstance(one, bytes) for one in array.flat):
        raise RequestRefused(400, f"{name}: has no values.")
    return check_shape(array, spec, name)


def to_proto(array: np.ndarray, dtype: tf.DType) -> tensor_pb2.TensorProto:
    """Writes an output, its values in the fields that TensorFlow Serving fills."""
    if dtype not in _VALUES:
        return tf.make_tensor_proto(array, dtype)
    tensor = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    getattr(tensor, _VALUES[dtype]).extend(array.ravel().tolist())
    return tensor
