"""The Open Inference Protocol's REST API, version 2, which KServe and Triton speak.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md.
Bytes are strings of text, or base64 where an input's parameters say `"content_type": "base64"`, as
MLServer has it.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.server.answers import json_response
from serving.server.loaded import LoadedVersion, Signature
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
from serving.server.requests import parse_json, read_body, text_of
from serving.server.service import Service
from serving.server.tensors import from_base64
from trainer.records import Json

_HEADER_LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class _Output:
    """An output that a request asks for, and how it is to be sent."""

    name: str
    is_binary: bool


def oip_routes(service: Service) -> list[Route]:
    """Health, metadata and inference."""

    async def live(request: Request) -> Response:
        return json_response({"live": True})

    async def ready(request: Request) -> Response:
        return service.readiness()

    async def server(request: Request) -> Response:
        from importlib.metadata import version

        return json_response(
            {"name": "thaw", "version": version("thaw"), "extensions": ["binary_tensor_data"]}
        )

    async def model_ready(request: Request) -> Response:
        _version(request, service)
        return json_response({"name": service.settings.name, "ready": True})

    async def model(request: Request) -> Response:
        return json_response(_metadata(_version(request, service), service))

    async def infer(request: Request) -> Response:
        return await _infer(request, service)

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
    place = request.path_params
    return find_version(service, place["name"], place.get("version", ""))


def _metadata(version: LoadedVersion, service: Service) -> Json:
    signature = version.signature("")
    return {
        "name": service.settings.name,
        "versions": [str(version.number)],
        "platform": PLATFORM,
        "inputs": [_describe(name, spec) for name, spec in signature.inputs.items()],
        "outputs": [_describe(name, spec) for name, spec in signature.outputs.items()],
    }


def _describe(name: str, spec: tf.TensorSpec) -> Json:
    return {"name": name, "datatype": datatype_of(spec, name), "shape": shape_of(spec)}


async def _infer(request: Request, service: Service) -> Response:
    content, binary = _split(request, await read_body(request, service.settings))
    body = parse_json(content)
    version = _version(request, service)
    parameters = _object(body, "parameters")
    signature = version.signature(text_of(parameters, "signature_name"))
    inputs = _read_inputs(body, binary, signature, service.settings.max_rows)
    wanted = _wanted_outputs(body, parameters, signature)
    answer = await service.run(version, signature, inputs)
    written = [_write_output(one, answer[one.name], signature) for one in wanted]
    response: Json = {
        "model_name": service.settings.name,
        "model_version": str(version.number),
        "outputs": [described for described, _ in written],
    }
    if identity := text_of(body, "id"):
        response["id"] = identity
    return _join(response, b"".join(raw for _, raw in written))


def _split(request: Request, body: bytes) -> tuple[bytes, bytes]:
    """JSON, and the raw tensors that the binary data extension puts behind it.

    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
    """
    declared = request.headers.get(_HEADER_LENGTH)
    if declared is None:
        return body, b""
    if not declared.isdecimal() or int(declared) > len(body):
        raise RequestRefused(
            400, f"Inference-Header-Content-Length must be a number up to {len(body)}."
        )
    return body[: int(declared)], body[int(declared) :]


def _join(response: Json, raw: bytes) -> Response:
    """JSON alone, or with raw tensors behind it."""
    head = json_response(response)
    if not raw:
        return head
    headers = {_HEADER_LENGTH: str(len(head.body))}
    content = bytes(head.body) + raw
    return Response(content, headers=headers, media_type="application/octet-stream")


def _object(body: Json, key: str) -> Json:
    value = body.get(key, {})
    if not isinstance(value, dict):
        raise RequestRefused(400, f"'{key}' must be an object.")
    return value


def _read_inputs(
    body: Json, binary: bytes, signature: Signature, max_rows: int
) -> dict[str, np.ndarray]:
    given = body.get("inputs")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise RequestRefused(400, "'inputs' must be a list of objects.")
    arrays: dict[str, np.ndarray] = {}
    at = 0
    for one in given:
        name = text_of(one, "name")
        spec = check_input(name, text_of(one, "datatype"), signature, arrays)
        shape = _shape(one, name)
        size = _binary_size(one, name)
        if size is None:
            values = _json_values(one, spec, name)
        else:
            if at + size > len(binary):
                raise RequestRefused(400, f"{name}: the binary data is too short.")
            values = from_raw(binary[at : at + size], spec, name)
            at += size
        arrays[name] = shaped(values, shape, spec, name)
    if at < len(binary):
        raise RequestRefused(400, f"{len(binary) - at} bytes of binary data belong to no input.")
    check_inputs(arrays, signature, max_rows)
    return arrays


def _shape(given: Json, name: str) -> list[int]:
    shape = given.get("shape")
    if not isinstance(shape, list) or not all(type(one) is int for one in shape):
        raise RequestRefused(400, f"{name}: shape must be a list of numbers, 0 or more.")
    return shape


def _binary_size(given: Json, name: str) -> int | None:
    """Bytes of an input behind the JSON; None if its values are in the JSON."""
    size = _object(given, "parameters").get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0 or "data" in given:
        raise RequestRefused(
            400, f"{name}: binary_data_size must be a number of bytes, in place of data."
        )
    return size


def _json_values(given: Json, spec: tf.TensorSpec, name: str) -> np.ndarray:
    values = _flat(given.get("data"), name)
    if spec.dtype != tf.string:
        return _numbers(values, spec, name)
    is_base64 = _object(given, "parameters").get("content_type") == "base64"
    array = np.empty(len(values), object)
    array[:] = [_one_bytes(value, name, is_base64) for value in values]
    return array


def _numbers(values: list[Any], spec: tf.TensorSpec, name: str) -> np.ndarray:
    kinds = (bool,) if spec.dtype == tf.bool else (int, float) if spec.dtype.is_floating else (int,)
    if not all(type(value) in kinds for value in values):
        raise RequestRefused(400, f"{name}: expects values of type {datatype_of(spec, name)}.")
    try:
        return np.array(values, spec.dtype.as_numpy_dtype)
    except OverflowError:
        raise RequestRefused(
            400, f"{name}: has values that {datatype_of(spec, name)} does not hold."
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


def _wanted_outputs(body: Json, parameters: Json, signature: Signature) -> list[_Output]:
    asked = body.get("outputs", [])
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise RequestRefused(400, "'outputs' must be a list of objects.")
    by_default = parameters.get("binary_data_output") is True
    binary = {
        text_of(one, "name"): _object(one, "parameters").get("binary_data", by_default) is True
        for one in asked
    }
    names = wanted_outputs(list(binary), signature)
    return [_Output(name, binary.get(name, by_default)) for name in names]


def _write_output(wanted: _Output, array: np.ndarray, signature: Signature) -> tuple[Json, bytes]:
    """Describes an output, and gives its raw form if that is asked for."""
    name = wanted.name
    written: Json = {
        "name": name,
        "datatype": datatype_of(signature.outputs[name], name),
        "shape": list(array.shape),
    }
    if wanted.is_binary:
        raw = to_raw(array)
        return {**written, "parameters": {"binary_data_size": len(raw)}}, raw
    values = array.ravel().tolist()
    if array.dtype.kind in "OS":
        as_bytes = name.endswith("_bytes")
        values = [
            base64.b64encode(one).decode() if as_bytes else one.decode("utf-8", "replace")
            for one in values
        ]
        if as_bytes:
            written["parameters"] = {"content_type": "base64"}
    return {**written, "data": values}, b""
