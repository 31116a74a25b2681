"""Image files made on the spot: of every format, of every colour, bombs among them."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.rules import SplitRule

SPLITS = {"train": 70, "val": 15, "test": 15}
RULE = SplitRule(SPLITS)


def encoded(format_name: str, width: int = 9, height: int = 7, seed: int = 0) -> bytes:
    """A file of noise; another seed gives other bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, [height, width, 3], "uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of 57 bytes, whole but for its pixels: there are none."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.fixture
def make_folder(tmp_path) -> Callable[[dict[str, bytes]], Path]:
    """Writes `{"cat/1.png": bytes}` below a fresh folder; a name ending in / is a folder."""

    def make(files: dict[str, bytes]) -> Path:
        folder = tmp_path / "images"
        folder.mkdir()
        for name, content in files.items():
            path = folder / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder

    return make
