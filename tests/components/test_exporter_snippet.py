"""The snippet beside exports, as it is written: from a file to the pixels of the graph."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageCms

from components.exporter import client
from components.exporter.executor import with_settings
from trainer.data.images import decode_and_resize
from trainer.specs import ImageReading, ServedImages

from ..trainer.photographs import encode, photograph


def snippet(images: ServedImages, folder: Path):
    """The snippet beside an export of such a model, imported as a client does."""
    lines = (Path(client.__file__).parent / "preprocess.py").read_text()
    path = folder / "preprocess.py"
    path.write_text("".join(with_settings(lines.splitlines(keepends=True), images)))
    spec = importlib.util.spec_from_file_location("preprocess_of_a_client", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("shape", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("kind", ["plain", "full colour", "progressive", "grey", "turned"])
@pytest.mark.parametrize("size", [(1900, 1400), (640, 427), (300, 517), (50, 70)])
def test_snippet_gives_the_pixels_of_the_graph_within_one_level(shape, kind, size, tmp_path):
    reading = ImageReading(shape, (10, 20, 250))
    content = encode(photograph(1, *size, enlarged=False), kind)
    (tmp_path / "photo.jpg").write_bytes(content)

    pixels = snippet(ServedImages(96, 10**8, reading), tmp_path).read_image(
        str(tmp_path / "photo.jpg")
    )

    expected = decode_and_resize(tf.constant(content), 96, 10**8, reading).numpy()
    assert (pixels.shape, pixels.dtype) == ((1, 96, 96, 3), np.uint8)
    difference = np.abs(pixels[0].astype(int) - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_snippet_lays_transparency_on_the_background_and_converts_profiles(tmp_path):
    random = np.random.default_rng(3)
    soft = Image.fromarray(random.integers(0, 256, [12, 16, 4], "uint8"), "RGBA").resize((200, 150))
    photo = photograph(0, 300, 200, enlarged=True)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    contents = []
    for image, options in ((soft, {}), (photo, {"icc_profile": profile})):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        contents.append(buffer.getvalue())

    for content in contents:
        (tmp_path / "image.png").write_bytes(content)
        pixels = snippet(ServedImages(64, 10**8), tmp_path).read_image(str(tmp_path / "image.png"))

        expected = decode_and_resize(tf.constant(content), 64, 10**8).numpy()
        assert np.abs(pixels[0].astype(int) - expected).max() <= 2
