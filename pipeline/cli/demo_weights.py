"""Chooses the demo's weights: ImageNet's where they are at hand, random ones where not.

    python -m pipeline.cli.demo_weights

Prints the value for `backbone.weights` on standard output and says why on standard error.
"""

import hashlib
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from pipeline.local.preflight import keras_models_dir
from trainer.backbones.table import BACKBONES

MAX_SECS = 20.0

_BACKBONE = BACKBONES["inception_v3"]
# As tf_keras.applications.inception_v3 checks it: a file that was cut off is none.
_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"
_CONNECT_SECS = 3.0
_CHUNK_BYTES = 2**20


class _NotDownloaded(OSError):
    """The file came too slowly, or not all of it."""


def choose_weights(models_dir: Path, url: str, max_secs: float = MAX_SECS) -> tuple[str, str]:
    """Finds ImageNet's weights in tf_keras's cache, or downloads them to it.

    Args:
      models_dir: the cache.
      url: of the file; its name is that in the cache.
      max_secs: gives up a download after so long.

    Returns:
      The value for `backbone.weights`, and a sentence that says why.
    """
    cached = models_dir / url.rpartition("/")[2]
    if _is_whole(cached):
        return "imagenet", f"ImageNet's, from {cached}."
    try:
        _download(url, cached, max_secs)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return "random", (
            f"random, calibrated on the images. ImageNet's, which are far better, are not in "
            f"{models_dir} and could not be downloaded within {max_secs:g} s ({reason})."
        )
    return "imagenet", f"ImageNet's, downloaded to {cached}."


def _is_whole(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            digest = hashlib.md5(usedforsecurity=False)
            while block := file.read(_CHUNK_BYTES):
                digest.update(block)
    except OSError:
        return False
    return digest.hexdigest() == _MD5


def _download(url: str, target: Path, max_secs: float) -> None:
    """Writes the whole file, or none.

    Raises:
      OSError: if it cannot be had, or not in time.
    """
    until = time.monotonic() + max_secs
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    try:
        with (
            urllib.request.urlopen(url, timeout=_CONNECT_SECS) as answer,
            open(partial, "wb") as file,
        ):
            while block := answer.read(_CHUNK_BYTES):
                file.write(block)
                if time.monotonic() > until:
                    raise _NotDownloaded("the download is too slow")
        if not _is_whole(partial):
            raise _NotDownloaded("the file came incomplete")
        partial.replace(target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def main() -> None:
    """Prints the choice."""
    size_px = _BACKBONE.default_size_px
    weights, why = choose_weights(keras_models_dir(), _BACKBONE.imagenet_url(size_px))
    print(f"weights: {why}", file=sys.stderr)
    print(weights)


if __name__ == "__main__":
    main()
