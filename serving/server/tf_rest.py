"""TensorFlow Serving's REST API: https://www.tensorflow.org/tfx/serving/api_rest."""

import tensorflow as tf
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow.core.framework import types_pb2

from serving.server.answers import json_response
from serving.server.loaded import LoadedVersion, Signature
from serving.server.refused import RequestRefused
from serving.server.registry import VersionState
from serving.server.requests import parse_json, read_body, text_of
from serving.server.service import Service
from serving.server.tensors import columns_to_arrays, to_columns
from trainer.records import Json


class _Word(Convertor[str]):
    """A part of a path up to the colon in front of a verb."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("word", _Word())


def tf_routes(service: Service) -> list[Route]:
    """Status, metadata and predict, by version, by label, or of whichever is served."""

    async def predict(request: Request) -> Response:
        return await _predict(request, service)

    async def status(request: Request) -> Response:
        _check_name(request, service)
        return json_response({"model_version_status": _states(request, service)})

    async def metadata(request: Request) -> Response:
        return _metadata(request, service)

    routes = []
    for place in (
        "/v1/models/{name:word}",
        "/v1/models/{name:word}/versions/{version:word}",
        "/v1/models/{name:word}/labels/{label:word}",
    ):
        routes += [
            Route(f"{place}:predict", predict, methods=["POST"]),
            Route(f"{place}/metadata", metadata, methods=["GET"]),
            Route(place, status, methods=["GET"]),
        ]
    return routes


def _check_name(request: Request, service: Service) -> None:
    name = request.path_params["name"]
    if name != service.settings.name:
        raise RequestRefused(
            404,
            f"Could not find any versions of model {name}; this server has "
            f"{service.settings.name}.",
        )


def _version(request: Request, service: Service) -> LoadedVersion:
    _check_name(request, service)
    place = request.path_params
    return service.registry.current(place.get("version", ""), place.get("label", ""))


async def _predict(request: Request, service: Service) -> Response:
    _check_name(request, service)
    body = parse_json(await read_body(request, service.settings))
    version = _version(request, service)
    signature = version.signature(text_of(body, "signature_name"))
    by_rows = "instances" in body
    if by_rows == ("inputs" in body):
        raise RequestRefused(400, "The request must have either 'instances' or 'inputs'.")
    if by_rows:
        return await service.predict_rows(version, signature, body["instances"])
    inputs = columns_to_arrays(body["inputs"], signature, service.settings.max_rows)
    answer = await service.run(version, signature, inputs)
    return json_response({"outputs": to_columns(answer)})


def _states(request: Request, service: Service) -> list[Json]:
    wanted = request.path_params.get("version", "")
    if "label" in request.path_params:
        wanted = str(_version(request, service).number)
    return [
        {
            "version": str(number),
            "state": one.state,
            "status": {
                "error_code": "UNKNOWN" if one.error else "OK",
                "error_message": one.error,
            },
        }
        for number, one in find_states(service, wanted).items()
    ]


def find_states(service: Service, version: str) -> dict[int, VersionState]:
    """The states of versions, the newest first.

    Args:
      service: whose versions.
      version: number of the only one that is asked for; empty: all.

    Raises:
      RequestRefused: if there is none.
    """
    states = service.registry.states
    found = {one: states[one] for one in sorted(states, reverse=True) if version in ("", str(one))}
    if not found:
        raise RequestRefused(
            404, f"Could not find version {version} of model {service.settings.name}"
        )
    return found


def _metadata(request: Request, service: Service) -> Response:
    version = _version(request, service)
    return json_response(
        {
            "model_spec": {
                "name": service.settings.name,
                "signature_name": "",
                "version": str(version.number),
            },
            "metadata": {"signature_def": describe_signatures(version)},
        }
    )


def describe_signatures(version: LoadedVersion) -> Json:
    """The JSON form of TensorFlow Serving's `SignatureDefMap`."""
    return {"signature_def": {name: _describe(one) for name, one in version.signatures.items()}}


def _describe(signature: Signature) -> Json:
    return {
        "inputs": {name: _tensor_info(name, spec) for name, spec in signature.inputs.items()},
        "outputs": {name: _tensor_info(name, spec) for name, spec in signature.outputs.items()},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }


def _tensor_info(name: str, spec: tf.TensorSpec) -> Json:
    known = spec.shape.rank is not None
    sizes = [-1 if size is None else size for size in spec.shape] if known else []
    return {
        "dtype": types_pb2.DataType.Name(spec.dtype.as_datatype_enum),
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in sizes],
            "unknown_rank": not known,
        },
        "name": name,
    }
