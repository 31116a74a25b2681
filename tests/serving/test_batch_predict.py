"""Rows of many files: the same whatever the batches, in order, bad files beside good ones."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from serving import batch_predict
from serving.batch_predict import ImageFile, Prediction, predict
from serving.model import PushedModel, load_model

from .exported_model import LABELS, save_exported_model

pytestmark = pytest.mark.timeout(180)

DAMAGED = "the image data is damaged"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> PushedModel:
    folder = tmp_path_factory.mktemp("model") / "1"
    save_exported_model(folder)
    return load_model(folder)


def picture(format_name: str, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, [40, 50, 3], "uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name)
    return buffer.getvalue()


# The graph decodes the first four; the next is re-encoded; the others have an error, the last but
# one only once it is decoded.
CONTENTS = (
    picture("PNG", 0),
    picture("JPEG", 1),
    picture("GIF", 2),
    picture("BMP", 3),
    picture("TIFF", 4),
    b"",
    b"no image at all",
    picture("JPEG", 5)[:700],
    picture("PPM", 6),
)


def files(kinds: list[int]) -> list[ImageFile]:
    return [ImageFile(f"{number}", content=CONTENTS[kind]) for number, kind in enumerate(kinds)]


def assert_same(found: list[Prediction], expected: list[Prediction]) -> None:
    """Sums of floats depend on the batch in their last digits."""
    assert [(row.path, row.error) for row in found] == [(row.path, row.error) for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert dict(one.classes) == pytest.approx(dict(other.classes), abs=1e-5)
        assert one.is_known == other.is_known
        assert one.calibrated == pytest.approx(other.calibrated, abs=1e-5)


def test_row_says_all_that_the_model_says(model):
    (row,) = predict(model, [ImageFile("a.png", label="bee", content=CONTENTS[0])], top=None)

    said = model.serve(image_bytes=np.array([CONTENTS[0]], object))
    assert {name for name, _ in row.classes} == set(LABELS)
    probabilities = [probability for _, probability in row.classes]
    assert probabilities == sorted(probabilities, reverse=True)
    assert row.classes[0][0].encode() == said["class_name"].numpy()[0]
    assert probabilities[0] == pytest.approx(said["probabilities"].numpy().max())
    assert row.calibrated == pytest.approx(said["calibrated_probabilities"].numpy().max())
    assert row.is_known == said["is_known"].numpy()[0]
    assert (row.path, row.label, row.error) == ("a.png", "bee", "")
    assert row.is_correct == (row.classes[0][0] == "bee")


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kinds=st.lists(st.integers(0, len(CONTENTS) - 1), max_size=12), batch_size=st.integers(1, 13)
)
def test_rows_do_not_depend_on_the_batches(model, kinds, batch_size):
    alone = [next(predict(model, [file])) for file in files(kinds)]

    together = list(predict(model, files(kinds), batch_size=batch_size))

    assert_same(together, alone)


def test_file_that_fails_in_the_model_costs_no_other_its_answer(model):
    asked: list[int] = []

    def serve(image_bytes):
        asked.append(len(image_bytes))
        return model.serve(image_bytes=image_bytes)

    rows = list(predict(replace(model, serve=serve), files([7, *[0] * 15]), batch_size=16))

    assert [row.error for row in rows] == [DAMAGED, *[""] * 15]
    # Halves that fail are halved again: 16 images of one bad one take nine calls, not 17.
    assert sorted(asked) == [1, 1, 2, 2, 4, 4, 8, 8, 16]


def test_model_that_fails_on_every_batch_gives_every_row_the_reason(model):
    def serve(image_bytes):
        raise ValueError("no luck")

    rows = list(predict(replace(model, serve=serve), files([0, 1, 2])))

    assert [row.error for row in rows] == ["the model fails: no luck"] * 3


def test_large_files_make_small_batches(model, monkeypatch):
    monkeypatch.setattr(batch_predict, "_BATCH_BYTES", 2 * len(CONTENTS[3]))
    asked: list[int] = []

    def serve(image_bytes):
        asked.append(len(image_bytes))
        return model.serve(image_bytes=image_bytes)

    rows = list(predict(replace(model, serve=serve), files([3] * 5), batch_size=5))

    assert asked == [2, 2, 1]
    assert not any(row.error for row in rows)


def test_no_more_files_are_read_than_two_batches_ahead(model):
    taken: list[int] = []

    def endless():
        while True:
            taken.append(1)
            yield ImageFile("a", content=CONTENTS[0])

    rows = predict(model, endless(), batch_size=2)
    for _ in range(3):
        next(rows)
    rows.close()

    # Rows of two batches were yielded, one more is in the model, one is put together.
    assert len(taken) <= 4 + 2 + 2 + 2 * 2 + 1


def test_files_are_read_from_their_paths(model, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(CONTENTS[0])

    rows = list(predict(model, [ImageFile(str(tmp_path / name)) for name in ("a.png", "b.png")]))

    assert rows[0].classes
    assert rows[1].error == "cannot be read: No such file or directory"


def test_batch_fits_the_size_of_the_models_pictures(model):
    sizes = {
        size_px: replace(model, images=replace(model.images, size_px=size_px)).batch_size()
        for size_px in (32, 224, 299, 1000)
    }

    assert sizes == {32: 128, 224: 64, 299: 35, 1000: 8}


def test_class_names_are_those_of_the_label_ids(model):
    assert model.class_names() == sorted(LABELS)
