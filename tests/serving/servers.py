"""A real server in a thread, and models for it."""

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import tensorflow as tf
import uvicorn
from tensorflow.core.framework import tensor_pb2

from serving.server.app import make_app
from serving.server.settings import ServerSettings
from serving.server.slow_headers import with_header_timeout
from serving.server.vertex import VertexSettings


@dataclass(frozen=True)
class Server:
    """A running server: its client, and where it listens."""

    client: httpx.Client
    port: int
    grpc_port: int

    def predict(self, **body: object) -> httpx.Response:
        return self.client.post("/v1/models/m:predict", json=body)

    def answer(self, image: bytes) -> dict[str, Any]:
        """What the API answers about one file."""
        row = {"image_bytes": {"b64": base64.b64encode(image).decode()}}
        return self.predict(instances=[row]).json()["predictions"][0]


@contextlib.contextmanager
def serving(
    model: Path, vertex: VertexSettings | None = None, **settings: object
) -> Iterator[Server]:
    """Serves a model as `m` while the block runs."""
    limits = ServerSettings(name="m", poll_secs=0.1, **settings)
    app = make_app(model, limits, vertex, "127.0.0.1:0")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            app, log_config=None, lifespan="on", http=with_header_timeout(limits.timeout_secs)
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        assert server.started
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield Server(client, port, app.state.grpc_port)
        finally:
            server.should_exit = True
            thread.join()


def tensor(dtype: tf.DType, *sizes: int, **values: object) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, **values)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


class Arithmetic(tf.Module):
    """y = x / 2 + shift, the model of TensorFlow Serving's own documentation; and others."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = tf.Variable(shift)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def half_plus(self, x):
        return {"y": x / 2 + self.shift}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32, name="a"),
            tf.TensorSpec([None, 2], tf.float32, name="b"),
        ]
    )
    def two_inputs(self, a, b):
        return {"sum": tf.cast(a, tf.float32) + tf.reduce_sum(b, axis=1), "b": b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def texts(self, text):
        return {"upper": tf.strings.upper(text), "raw_bytes": text}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
    def scalar(self, x):
        return {"y": x + 1}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def positive(self, x):
        with tf.control_dependencies([tf.debugging.assert_positive(x, "x must be positive")]):
            return {"y": tf.identity(x)}


def save_arithmetic(folder: Path, shift: float = 2.0) -> Path:
    """Writes the model whole, as a push does."""
    module = Arithmetic(shift)
    partial = folder.with_name(f".partial-{folder.name}")
    tf.saved_model.save(
        module,
        str(partial),
        signatures={
            "serving_default": module.half_plus,
            "two_inputs": module.two_inputs,
            "texts": module.texts,
            "scalar": module.scalar,
            "positive": module.positive,
        },
    )
    partial.rename(folder)
    return folder
