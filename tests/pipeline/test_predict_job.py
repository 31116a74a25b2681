"""The Beam job of `thaw predict`: the same rows as without Beam."""

import csv
import io
import os
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.predict.job import find_model_anywhere, local_model
from pipeline.predict.sources import images_at
from serving.batch_predict import ImageFile, Prediction
from serving.model import load_model
from serving.versions import UnusableModel
from trainer import records

from ..serving.exported_model import LABELS, save_exported_model

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    save_exported_model(folder / "serving" / "birds" / "1")
    return folder


def picture(format_name: str, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, [40, 50, 3], "uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> list[str]:
    """A folder, a manifest, an archive, an empty folder, a file that is missing, an odd name."""
    folder = tmp_path_factory.mktemp("inputs")
    photos = folder / "photos"
    (photos / "deep").mkdir(parents=True)
    for seed, name in enumerate(("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")):
        (photos / "deep" / f"{seed}.{name.lower()}").write_bytes(picture(name, seed))
    with open(os.fsencode(photos) + b"/\xff.png", "wb") as file:
        file.write(picture("PNG", 6))
    (photos / "damaged.jpg").write_bytes(picture("JPEG", 7)[:700])
    (photos / 'text, "quoted".png').write_text("no image")
    lines = [
        f"{path},{LABELS[number % 3]}"
        for number, path in enumerate(folder / "listed" / f"{seed}.png" for seed in range(10, 20))
    ]
    (folder / "listed").mkdir()
    for seed in range(10, 19):
        (folder / "listed" / f"{seed}.png").write_bytes(picture("PNG", seed))
    (folder / "m.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        for seed in range(20, 25):
            archive.writestr(f"in/{seed}.tiff", picture("TIFF", seed))
        archive.writestr("../out.png", b"x")
    (folder / "empty").mkdir()
    with open(os.fsencode(folder) + b"/\xfe.png", "wb") as file:
        file.write(picture("PNG", 8))
    names = ("photos", "m.csv", "z.zip", "empty", "missing.png", os.fsdecode(b"\xfe.png"))
    return [str(folder / name) for name in names]


def thaw(*arguments: object):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def read_lines(folder: Path) -> list[Prediction]:
    files = sorted(folder.glob("rows*.jsonl"))
    assert files
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [records.parse(Prediction, line) for line in lines]


def test_rows_are_those_without_beam(model, inputs, tmp_path):
    options = ("--model", model, "--batch-size", 4, "--top", 2)

    here = thaw(*inputs, *options, "--output", tmp_path / "rows-here.jsonl")
    expected = {row.path: row for row in read_lines(tmp_path)}
    job = thaw(*inputs, *options, "--output", tmp_path / "job" / "rows", "--beam")
    found = read_lines(tmp_path / "job")

    assert here.exit_code == job.exit_code == 1
    assert Counter(row.path for row in found) == Counter(expected.keys())
    assert len(found) == 9 + 10 + 6 + 2 + 1
    for row in found:
        other = expected[row.path]
        assert (row.error, row.label, row.is_known) == (other.error, other.label, other.is_known)
        assert dict(row.classes) == pytest.approx(dict(other.classes), abs=1e-5)
        assert row.calibrated == pytest.approx(other.calibrated, abs=1e-5)
    summary = job.stderr.splitlines()[-1]
    assert summary.startswith("22 images classified, 6 rejected, correct: ")
    assert summary.split(" (")[0] == here.stderr.splitlines()[-1].split(" (")[0]


def test_csv_files_of_a_job_have_the_header_and_all_classes(model, inputs, tmp_path):
    options = ("--model", model, "--beam", "--format", "csv", "--all-classes")
    beam = ("--set", "beam.options=[--direct_num_workers=1]")

    done = thaw(inputs[0], *options, *beam, "--output", tmp_path / "rows")

    (file,) = tmp_path.glob("rows-*.csv")
    rows = list(csv.DictReader(io.StringIO(file.read_text(), newline="")))
    assert len(rows) == 9
    assert list(rows[0])[-3:] == sorted(LABELS)
    good = [row for row in rows if not row["error"]]
    assert len(good) == 7
    for row in good:
        assert sum(float(row[name]) for name in LABELS) == pytest.approx(1, abs=1e-5)
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [("a,b\n1,2\n", "m.csv, line 1: there is no column for the path"), ("\xff", "is not UTF-8")],
)
def test_malformed_manifest_is_one_sentence(model, tmp_path, text, said):
    (tmp_path / "m.csv").write_text(text, encoding="latin-1")

    done = thaw(tmp_path / "m.csv", "--model", model, "--output", tmp_path / "rows", "--beam")

    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("rows*"))


def test_output_that_cannot_be_written_is_one_sentence(model, tmp_path):
    (tmp_path / "file").touch()

    done = thaw("x.png", "--model", model, "--output", tmp_path / "file" / "rows", "--beam")

    assert done.exit_code == 1
    assert "rows cannot be written: " in done.stderr


def test_missing_model_is_one_sentence(tmp_path):
    done = thaw("x.png", "--model", tmp_path / "none", "--output", tmp_path / "r", "--beam")

    assert done.exit_code == 2
    assert "there is no such folder" in done.stderr


# TensorFlow's file system in memory stands for any store: it is reached by an address as well.
def test_model_in_a_store_is_copied_and_loaded(model):
    here = model / "serving" / "birds" / "1"
    for version in ("1", "3"):
        for path in here.rglob("*"):
            if path.is_file():
                target = f"ram://models/{version}/{path.relative_to(here)}"
                tf.io.gfile.makedirs(str(Path(target).parent).replace("ram:/", "ram://", 1))
                with tf.io.gfile.GFile(target, "wb") as file:
                    file.write(path.read_bytes())

    assert find_model_anywhere("ram://models/1/") == "ram://models/1"
    assert find_model_anywhere("ram://models") == "ram://models/3"
    with local_model("ram://models/3") as folder:
        assert load_model(folder).class_names() == sorted(LABELS)
    assert not folder.exists()
    with pytest.raises(UnusableModel, match="ram://models/7: holds no model"):
        find_model_anywhere("ram://models/7")


def test_folder_in_a_store_becomes_its_images():
    for name in ("a.png", "b.JPG", "notes.txt", ".hidden.png"):
        path = f"ram://photos/{name}"
        tf.io.gfile.makedirs(path.rpartition("/")[0])
        with tf.io.gfile.GFile(path, "w") as file:
            file.write("x")
    tf.io.gfile.makedirs("ram://photos/none")

    found = images_at("ram://photos", in_store=True)

    assert isinstance(found, list)
    assert sorted(file.path for file in found) == [
        "ram://photos/a.png",
        "ram://photos/b.JPG",
    ]
    assert images_at("ram://photos/a.png", in_store=True) == [ImageFile("ram://photos/a.png")]
    (nothing,) = images_at("ram://photos/none", in_store=True)
    assert nothing.error == "holds no images"
    (archive,) = images_at("ram://photos/a.zip", in_store=True)
    assert archive.error == "archives are read from a local disk only"
    (not_here,) = images_at("ram://photos")
    assert not_here.error == "not a local file: download it first"
