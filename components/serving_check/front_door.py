"""Asks a model through the real server, over HTTP and over gRPC, as its clients will."""

import base64
import http.client
import io
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.server.process import Addresses, ServerProcess
from trainer.errors import ThawError
from trainer.export import PROBABILITIES

NAME = "candidate"
IMAGE_BYTES = "image_bytes"

_START_SECS = 300.0
_ANSWER_SECS = 60.0
_CLIENTS = 4
_ROWS = 8  # images of one request
_SIDE_PX = 256
_LOSSLESS: dict[str, dict[str, bool]] = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
}


class Refused(Exception):
    """The server's answer is no, in the client's own words: 4xx, or INVALID_ARGUMENT."""


@dataclass(frozen=True)
class FrontDoor:
    """Both ways into a server that is ready.

    Attributes:
      addresses: where it listens.
      predict: gRPC's call.
    """

    addresses: Addresses
    predict: grpc.UnaryUnaryMultiCallable

    def ask_http(self, files: Sequence[bytes]) -> np.ndarray:
        """Probabilities, float32 [files, classes].

        Raises:
          Refused: if the server refuses the files.
          ThawError: if it fails.
        """
        rows = [{IMAGE_BYTES: {"b64": base64.b64encode(one).decode()}} for one in files]
        host, _, port = self.addresses.http.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=_ANSWER_SECS)
        try:
            connection.request(
                "POST", f"/v1/models/{NAME}:predict", json.dumps({"instances": rows})
            )
            response = connection.getresponse()
            body = json.loads(response.read())
        except (OSError, http.client.HTTPException) as error:
            raise ThawError(f"the model's server stopped answering: {error}") from error
        finally:
            connection.close()
        if 400 <= response.status < 500:
            raise Refused(body["error"])
        if response.status != 200:
            raise ThawError(f"the model's server answers {response.status}: {body['error']}")
        return np.array([row[PROBABILITIES] for row in body["predictions"]], np.float32)

    def ask_grpc(self, files: Sequence[bytes]) -> np.ndarray:
        """As `ask_http`, over gRPC."""
        request = predict_pb2.PredictRequest(output_filter=[PROBABILITIES])
        request.model_spec.name = NAME
        request.inputs[IMAGE_BYTES].CopyFrom(tf.make_tensor_proto(list(files)))
        try:
            answer = self.predict(request, timeout=_ANSWER_SECS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                raise Refused(error.details()) from error
            raise ThawError(
                f"the model's server answers {error.code().name}: {error.details()}"
            ) from error
        return np.asarray(tf.make_ndarray(answer.outputs[PROBABILITIES]))


@contextmanager
def opened(server: ServerProcess) -> Iterator[FrontDoor]:
    """Waits for the server, and connects."""
    addresses = server.wait_until_ready(_START_SECS)
    with grpc.insecure_channel(addresses.grpc) as channel:
        yield FrontDoor(
            addresses, prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        )


def ask_both(door: FrontDoor, files: Sequence[bytes]) -> list[np.ndarray]:
    """Asks about all files over each protocol, several requests at once.

    Returns:
      Probabilities, float32 [files, classes]: those over HTTP, and those over gRPC.

    Raises:
      ThawError: if the server refuses a test image, or fails.
    """
    chunks = [files[start : start + _ROWS] for start in range(0, len(files), _ROWS)]
    try:
        with ThreadPoolExecutor(_CLIENTS) as clients:
            over_http = clients.map(door.ask_http, chunks)
            over_grpc = clients.map(door.ask_grpc, chunks)
            return [np.concatenate(list(over_http)), np.concatenate(list(over_grpc))]
    except Refused as refusal:
        raise ThawError(
            f"the model's server refuses a test image: {refusal}",
            to_do="Ingestion has accepted it: report this, with the image.",
        ) from refusal


def check_formats(door: FrontDoor, file: bytes, tolerance: float) -> None:
    """Sends one picture in several lossless formats, which must have the same answer.

    Args:
      door: of the server.
      file: a test image.
      tolerance: largest difference of a probability that is let pass.

    Raises:
      ThawError: naming the format that is refused, or answered otherwise.
    """
    first = None
    for name in _LOSSLESS:
        try:
            (answer,) = door.ask_http([_small_picture(file, name)])
        except Refused as refusal:
            raise ThawError(f"the model's server refuses a {name} file: {refusal}") from refusal
        first = answer if first is None else first
        if not np.allclose(answer, first, rtol=0, atol=tolerance, equal_nan=True):
            raise ThawError(
                f"the model's server answers a {name} file otherwise than the same picture as PNG."
            )


def check_refusals(door: FrontDoor, file: bytes) -> None:
    """Sends what no model can read; each must be refused, and the next image answered.

    Args:
      door: of the server.
      file: a test image.

    Raises:
      ThawError: naming what was answered, or what the server failed on.
    """
    whole = _small_picture(file, "PNG")
    bad = {
        "a truncated file": whole[: len(whole) // 2],
        "a text": b"no image",
        "a file of too many pixels": _huge_png(),
    }
    for name, content in bad.items():
        for ask in (door.ask_http, door.ask_grpc):
            try:
                ask([content])
            except Refused:
                continue
            raise ThawError(f"the model's server answers {name} as if it were an image.")
    door.ask_http([whole])
    door.ask_grpc([whole])


def _small_picture(file: bytes, format_name: str) -> bytes:
    """A test image, made small and written in another format without loss.

    The pixels alone: Pillow would write a colour profile into the formats that can hold one.
    """
    picture = Image.open(io.BytesIO(file)).convert("RGB")
    picture.thumbnail((_SIDE_PX, _SIDE_PX))
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(buffer, format_name, **_LOSSLESS[format_name])
    return buffer.getvalue()


def _huge_png() -> bytes:
    """A PNG whose header claims 50,000 × 50,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(bytes(1000))
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, pixels)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
