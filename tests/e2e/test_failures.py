"""Runs that fail: the node, the cause in a sentence, the log; and what is left to resume."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import states, thaw

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    """Two classes; nothing in `b` is an image."""
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(12):
        pixels = random.integers(0, 256, [20, 20, 3], "uint8")
        Image.fromarray(pixels).save(tmp_path / "images" / "a" / f"{number}.png")
    (tmp_path / "images" / "b" / "fake.png").write_text("nothing")
    return tmp_path


def test_class_without_a_usable_image_fails_with_its_name_and_reason(folder):
    done = thaw(
        "run",
        f"--images={folder / 'images'}",
        f"--output={folder / 'out'}",
        "--set=backbone.weights=random",
        "--set=backbone.image_size_px=75",
    )

    assert done.returncode == 1
    assert "ImageExampleGen failed:" in done.stdout
    assert "not one usable image in b" in done.stdout
    assert "1 × not an image, whatever its name says" in done.stdout
    log = Path(done.stdout.split("log: ")[1].strip())
    assert "UnusableDataset" in log.read_text()
    assert states(folder / "out") == {"ImageExampleGen": "failed"}
    assert not (folder / "out" / "run.json").exists()


def test_images_that_are_not_those_of_the_fingerprint_stop_the_run(folder):
    (folder / "images" / "b" / "fake.png").unlink()
    random = np.random.default_rng(1)
    for number in range(12):
        pixels = random.integers(0, 256, [20, 20, 3], "uint8")
        Image.fromarray(pixels).save(folder / "images" / "b" / f"{number}.png")
    expected = "0" * 64

    done = thaw(
        "run",
        f"--images={folder / 'images'}",
        f"--output={folder / 'out'}",
        "--set=backbone.weights=random",
        f"--set=data.fingerprint='{expected}'",
    )

    assert done.returncode == 1
    assert f"is their fingerprint, and {expected} is expected" in done.stdout
    assert "Restore the images" in done.stdout
    assert states(folder / "out") == {"ImageExampleGen": "failed"}


def test_weights_that_do_not_fit_fail_where_they_are_read_and_the_rest_is_kept(folder):
    random = np.random.default_rng(1)
    (folder / "images" / "b" / "fake.png").unlink()
    for number in range(12):
        pixels = random.integers(0, 256, [20, 20, 3], "uint8")
        Image.fromarray(pixels).save(folder / "images" / "b" / f"{number}.png")
    (folder / "wrong.h5").write_bytes(b"no weights")
    command = (
        "run",
        f"--images={folder / 'images'}",
        f"--output={folder / 'out'}",
        f"--set=backbone.weights={folder / 'wrong.h5'}",
        "--set=backbone.image_size_px=75",
    )

    first, second = thaw(*command), thaw(*command)

    for done in (first, second):
        assert done.returncode == 1
        assert "TrunkFeatures failed: backbone.weights:" in done.stdout
        assert "wrong.h5 cannot be loaded into inception_v3" in done.stdout
    found = states(folder / "out")
    assert found.pop("TrunkFeatures") == "failed"
    assert set(found.values()) == {"cached"}
    (card,) = folder.glob("out/artifacts/ImageExampleGen/examples/*/data_card.json")
    assert json.loads(card.read_text())["counts"]["train"].keys() == {"a", "b"}
