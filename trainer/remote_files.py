"""Files on every file system that TensorFlow writes to. Light to import: TensorFlow comes later."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from trainer import records
from trainer.records import Record

_R = TypeVar("_R", bound=Record)


@contextmanager
def replacing(path: str, partial: str = "") -> Iterator[str]:
    """Gives a file its name once it is complete; an older one of that name stays until then.

    Example:
      >>> with replacing("gs://birds/state.json") as partial:
      ...     write_to(partial)

    Args:
      path: of the file.
      partial: where to write meanwhile, on the same file system; empty: beside `path`.

    Yields:
      The path to write to. What is there when the block ends without an error is moved.
    """
    import tensorflow as tf

    partial = partial or f"{path}.partial"
    yield partial
    tf.io.gfile.rename(partial, path, overwrite=True)


def write_replacing(path: str, content: bytes) -> None:
    """Writes a file; an older one stays until the new one is complete."""
    import tensorflow as tf

    with replacing(path) as partial, tf.io.gfile.GFile(partial, "wb") as file:
        file.write(content)


def write_record(record: Record, path: str, indent: int | None = None) -> None:
    """Writes a record as JSON into a folder that exists; `read_record` undoes it."""
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "w") as file:
        file.write(records.dumps(record, indent=indent))


def read_record(kind: type[_R], path: str) -> _R:
    """Reads a record that a node has written.

    Raises:
      ThawError: naming the keys that are unknown, missing or of another type.
    """
    import tensorflow as tf

    with tf.io.gfile.GFile(path) as file:
        return records.read(kind, file.read(), path)


def earlier_beside(uri: str) -> Iterator[str]:
    """Yields the folders that TFX has numbered before an artifact's own, the newest first.

    Nothing where artifacts are not numbered, as on Kubeflow Pipelines and Vertex AI.

    Args:
      uri: of the artifact, such as `<node>/examples/7`.
    """
    import tensorflow as tf

    parent, own = os.path.split(uri.rstrip("/"))
    if not own.isdigit() or not tf.io.gfile.isdir(parent):
        return
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(parent))
    for number in sorted((int(name) for name in names if name.isdigit()), reverse=True):
        if number < int(own):
            yield os.path.join(parent, str(number))
