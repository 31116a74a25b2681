"""Class folders to measure with, made from what scikit-learn brings."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from pipeline.cli.demo_images import write_sample_images

_DIGITS = 1797
_DISTINCT_PHOTOS = 8


def write_digits(directory: Path, count: int) -> None:
    """Writes `count` scanned digits, ten classes; copies beyond 1,797 are turned a little."""
    write_sample_images(directory)
    scans = sorted(directory.glob("*/*.png"), key=lambda path: (path.name, path.parent.name))
    for extra in range(_DIGITS, count):
        turn, number = divmod(extra, _DIGITS)
        scan = scans[number]
        turned = Image.open(scan).rotate(4 * turn, fillcolor=255)
        turned.save(scan.with_name(f"turned-{turn}-{scan.name}"))
    for scan in scans[count:]:
        scan.unlink()


def write_photos(directory: Path, count: int, width: int, height: int, seed: int = 0) -> None:
    """Writes `count` JPEGs of quality 90: noisy cuts of two photographs, two classes.

    A few are drawn and encoded; the others are these with another comment inside, so
    that no two files are alike and a thousand large ones are written in seconds.
    """
    random = np.random.default_rng(seed)
    sources = load_sample_images().images
    distinct = [_photo(sources[n % 2], width, height, random) for n in range(_DISTINCT_PHOTOS)]
    for number in range(count):
        label = f"photo{number % 2}"
        (directory / label).mkdir(parents=True, exist_ok=True)
        content = with_comment(distinct[number % _DISTINCT_PHOTOS], f"number {number}".encode())
        (directory / label / f"{number:06d}.jpg").write_bytes(content)


def _photo(source: np.ndarray, width: int, height: int, random: np.random.Generator) -> bytes:
    top, left = random.integers(0, [len(source) // 3, len(source[0]) // 3])
    cut = Image.fromarray(source[top:, left:]).resize((width, height), Image.Resampling.BICUBIC)
    noise = random.normal(0, 6, [height, width, 3])
    pixels = np.clip(np.asarray(cut) + noise, 0, 255).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def with_comment(jpeg: bytes, comment: bytes) -> bytes:
    """The same JPEG with a COM segment (ITU-T T.81, B.2.4.5) behind its first marker."""
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return jpeg[:2] + segment + jpeg[2:]
