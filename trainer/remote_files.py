"""Files on every file system that TensorFlow writes to."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf


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
    partial = partial or f"{path}.partial"
    yield partial
    tf.io.gfile.rename(partial, path, overwrite=True)


def write_replacing(path: str, content: bytes) -> None:
    """Writes a file; an older one stays until the new one is complete."""
    with replacing(path) as partial, tf.io.gfile.GFile(partial, "wb") as file:
        file.write(content)
