"""The Open Inference Protocol's REST API, version 2, which KServe and Triton speak.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md.
Bytes are strings of text, or base64 where an input's parameters say `"content_type": "base64"`, as
MLServer has it.
"""

import base64
from typing import Any

import numpy as np
import tensorflow as tf
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.server.answers import json_response
from serving.server.loaded import LoadedVersion, Signature
from serving.server.refused import RequestRefused
from serving.server.requests import parse_json, read_body, text_of
from serving.server.service import Service
from serving.server.tensors import check_shape, from_base64
from trainer.records import Json

_DATATYPES = {
    tf.bool: "BOOL",
    tf.uint8: "UINT8",
    tf.uint16: "UINT16",
    tf.uint32: "UINT32",
    tf.uint64: "UINT64",
    tf.int8: "INT8",
    tf.int16: "INT16",
    tf.int32: "INT32",
    tf.int64: "INT64",
    tf.float16: "FP16",
    tf.float32: "FP32",
    tf.float64: "FP64",
    tf.string: "BYTES",
}


def oip_routes(service: Service) -> list[Route]:
    """Health, metadata and inference."""

    async def live(request: Request) -> Response:
        return json_response({"live": True})

    async def ready(request: Request) -> Response:
        return service.readiness()

    async def server(request: Request) -> Response:
        from importlib.metadata import version

        return json_response({"name": "thaw", "version": version("thaw"), "extensions": []})

    async def model_ready(request: Request) -> Response:
        _version(request, service)
        return json_response({"name": service.settings.name, "ready": True})

    async def model(request: Request) -> Response:
        return json_response(_metadata(_version(request, service), service))

    async def infer(request: Request) -> Response:
        return json_response(await _infer(request, service))

    routes = [
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2", server),
        Route("/v2/", server),
    ]
    for place in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route(f"{place}/ready", model_ready),
            Route(f"{place}/infer", infer, methods=["POST"]),
            Route(place, model),
        ]
    return routes


def _version(request: Request, service: Service) -> LoadedVersion:
    name = request.path_params["name"]
    if name != service.settings.name:
        raise RequestRefused(
            404, f"There is no model {name}; this server has {service.settings.name}."
        )
    return service.registry.current(request.path_params.get("version", ""))


def _metadata(version: LoadedVersion, service: Service) -> Json:
    signature = version.signature("")
    return {
        "name": service.settings.name,
        "versions": [str(version.number)],
        "platform": "tensorflow_savedmodel",
        "inputs": [_describe(name, spec) for name, spec in signature.inputs.items()],
        "outputs": [_describe(name, spec) for name, spec in signature.outputs.items()],
    }


def _describe(name: str, spec: tf.TensorSpec) -> Json:
    sizes = [] if spec.shape.rank is None else [-1 if one is None else one for one in spec.shape]
    return {"name": name, "datatype": _DATATYPES[spec.dtype], "shape": sizes}


async def _infer(request: Request, service: Service) -> Json:
    body = parse_json(await read_body(request, service.settings))
    version = _version(request, service)
    parameters = _object(body, "parameters")
    signature = version.signature(text_of(parameters, "signature_name"))
    inputs = _read_inputs(body, signature, service.settings.max_rows)
    wanted = _wanted_outputs(body, signature)
    answer = await service.run(version, signature, inputs)
    response = {
        "model_name": service.settings.name,
        "model_version": str(version.number),
        "outputs": [
            _write_output(name, array, signature)
            for name, array in answer.items()
            if name in wanted
        ],
    }
    if identity := text_of(body, "id"):
        response["id"] = identity
    return response


def _object(body: Json, key: str) -> Json:
    value = body.get(key, {})
    if not isinstance(value, dict):
        raise RequestRefused(400, f"'{key}' must be an object.")
    return value


def _read_inputs(body: Json, signature: Signature, max_rows: int) -> dict[str, np.ndarray]:
    given = body.get("inputs")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise RequestRefused(400, "'inputs' must be a list of objects.")
    arrays: dict[str, np.ndarray] = {}
    for one in given:
        name = text_of(one, "name")
        if name not in signature.inputs or name in arrays:
            have = ", ".join(signature.inputs)
            raise RequestRefused(400, f"unexpected input {name!r}; the inputs are {have}.")
        arrays[name] = _read_input(one, signature.inputs[name], name)
        if signature.is_batched and len(arrays[name]) > max_rows:
            raise RequestRefused(413, f"{name}: at most {max_rows} rows are taken at once.")
    if missing := sorted(set(signature.inputs) - set(arrays)):
        raise RequestRefused(400, f"missing inputs: {', '.join(missing)}.")
    return arrays


def _read_input(given: Json, spec: tf.TensorSpec, name: str) -> np.ndarray:
    datatype = text_of(given, "datatype")
    if datatype != _DATATYPES[spec.dtype]:
        raise RequestRefused(400, f"{name}: datatype must be {_DATATYPES[spec.dtype]}.")
    shape = given.get("shape")
    if not isinstance(shape, list) or not all(type(one) is int and one >= 0 for one in shape):
        raise RequestRefused(400, f"{name}: shape must be a list of numbers, 0 or more.")
    values = _flat(given.get("data"), name)
    if len(values) != int(np.prod(shape, dtype=object)):
        raise RequestRefused(400, f"{name}: shape {shape} and {len(values)} values do not match.")
    if spec.dtype == tf.string:
        is_base64 = _object(given, "parameters").get("content_type") == "base64"
        array = np.empty(len(values), object)
        array[:] = [_one_bytes(value, name, is_base64) for value in values]
    else:
        array = _numbers(values, spec, name)
    return check_shape(array.reshape(shape), spec, name)


def _numbers(values: list[Any], spec: tf.TensorSpec, name: str) -> np.ndarray:
    kinds = (bool,) if spec.dtype == tf.bool else (int, float) if spec.dtype.is_floating else (int,)
    if not all(type(value) in kinds for value in values):
        raise RequestRefused(400, f"{name}: expects values of type {_DATATYPES[spec.dtype]}.")
    try:
        return np.array(values, spec.dtype.as_numpy_dtype)
    except OverflowError:
        raise RequestRefused(
            400, f"{name}: has values that {_DATATYPES[spec.dtype]} does not hold."
        ) from None


def _flat(data: Any, name: str) -> list[Any]:
    """The values of a tensor, given flat or as nested lists."""
    if not isinstance(data, list):
        raise RequestRefused(400, f"{name}: data must be a list.")
    values: list[Any] = []
    for one in data:
        values += _flat(one, name) if isinstance(one, list) else [one]
    return values


def _one_bytes(value: Any, name: str, is_base64: bool) -> bytes:
    if not isinstance(value, str):
        raise RequestRefused(400, f"{name}: expects strings.")
    return from_base64(value, name) if is_base64 else value.encode("utf-8", "surrogatepass")


def _wanted_outputs(body: Json, signature: Signature) -> set[str]:
    asked = body.get("outputs", [])
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise RequestRefused(400, "'outputs' must be a list of objects.")
    names = {text_of(one, "name") for one in asked}
    if unknown := sorted(names - set(signature.outputs)):
        raise RequestRefused(400, f"unexpected outputs: {', '.join(unknown)}.")
    return names or set(signature.outputs)


def _write_output(name: str, array: np.ndarray, signature: Signature) -> Json:
    values = array.ravel().tolist()
    if array.dtype.kind in "OS":
        as_bytes = name.endswith("_bytes")
        values = [
            base64.b64encode(one).decode() if as_bytes else one.decode("utf-8", "replace")
            for one in values
        ]
    written: Json = {
        "name": name,
        "datatype": _DATATYPES[signature.outputs[name].dtype],
        "shape": list(array.shape),
        "data": values,
    }
    if name.endswith("_bytes") and array.dtype.kind in "OS":
        written["parameters"] = {"content_type": "base64"}
    return written
