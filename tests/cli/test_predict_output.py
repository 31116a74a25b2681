"""Rows of `thaw predict` on the screen and in files, and what is left of an interrupted command."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bright_model import save_bright_model
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from processes import wait_for
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.predict.formats import Format
from pipeline.predict.rows import COLUMNS, lines_of
from serving.batch_predict import Prediction
from trainer import records
from trainer.data.labels import as_utf8

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(120)

# `thaw predict` with a model that takes a tenth of a second for an image.
SLOW = """
import sys, time
from pathlib import Path
from pipeline.cli import main
from serving import model, versions
class Slow:
    max_file_bytes = 10**6
    rules = type("Rules", (), {"max_file_bytes": 10**6, "decodable": lambda _, content: content})()
    def batch_size(self):
        return 2
    def ask_batch(self, contents, top):
        time.sleep(len(contents) / 10)
        return [model.Answer([("cat", 1.0)]) for _ in contents]
versions.find_model = Path
model.load_model = lambda folder: Slow()
main.main()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("out")
    save_bright_model(folder)
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (8, 8), "white").save(folder / "a.png")
    Image.new("RGB", (8, 8), "black").save(folder / 'b, "c"\n.png')
    (folder / "text.png").write_text("no image, only text")
    return folder


def ask(model: Path, *arguments: object):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--model", str(model)])


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_a_row_an_image_under_the_documented_columns(model, photos):
    done = ask(model, photos, "--format", "csv")

    assert done.stdout.splitlines()[0] == (
        "path,class,probability,calibrated,is_known,unknown_score,label,error"
    )
    first, second, third = csv_rows(done.stdout)
    assert first == {
        "path": str(photos / "a.png"),
        "class": "bright",
        "probability": "1.0",
        "calibrated": "",
        "is_known": "",
        "unknown_score": "",
        "label": "",
        "error": "",
    }
    assert (second["path"], second["class"]) == (str(photos / 'b, "c"\n.png'), "dark")
    assert (third["class"], third["error"]) == ("", "not a JPEG, PNG, GIF or BMP file")
    assert done.exit_code == 1


def test_csv_with_all_classes_has_a_column_for_each(model, photos):
    first, second, third = csv_rows(ask(model, photos, "--format", "csv", "--all-classes").stdout)

    assert list(first) == [*COLUMNS, "bright", "dark"]
    assert (first["bright"], first["dark"]) == ("1.0", "0.0")
    assert (second["bright"], second["dark"]) == ("0.0", "1.0")
    assert (third["bright"], third["dark"]) == ("", "")


def test_output_is_written_in_the_format_of_its_name(model, photos, tmp_path):
    for name in ("r.csv", "r.jsonl", "r.txt"):
        done = ask(model, photos, "--output", tmp_path / name)
        assert done.stdout == ""
        assert done.stderr.startswith("2 images classified, 1 rejected (")
        assert done.exit_code == 1

    assert len(csv_rows((tmp_path / "r.csv").read_text())) == 3
    assert (tmp_path / "r.jsonl").read_text() == (tmp_path / "r.txt").read_text()
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    parsed = [records.parse(Prediction, line) for line in lines]
    assert parsed[0] == Prediction(str(photos / "a.png"), (("bright", 1.0), ("dark", 0.0)))
    assert sorted(os.listdir(tmp_path)) == ["photos", "r.csv", "r.jsonl", "r.txt"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--json", "--format", "csv"), "--json prints lines of its own"),
        (("--output", "r", "--format", "table"), "a table is for the screen"),
        (("--beam",), "--beam needs --output"),
        (("--output", "gs://bucket/r.csv"), "gs://bucket/r.csv: not a file of this machine."),
        (("--set", "beam.options=[]"), "--config and --set are for --beam"),
    ],
)
def test_options_that_contradict_each_other_are_bad_usage(model, photos, options, said):
    done = ask(model, photos, *options)

    assert done.exit_code == 2
    assert said in done.stderr


def test_output_that_cannot_be_written_is_one_sentence(model, photos, tmp_path):
    missing = ask(model, photos, "--output", tmp_path / "no" / "r.csv")
    folder = ask(model, photos, "--output", tmp_path)

    assert missing.exit_code == 1
    assert "r.csv cannot be written: No such file or directory." in missing.stderr
    assert folder.exit_code == 2
    assert "is a folder: give the name of a file." in folder.stderr


def test_long_table_is_printed_in_parts_under_one_header(model, photos, monkeypatch):
    monkeypatch.setattr("pipeline.cli.prediction_output._TABLE_ROWS", 2)

    done = ask(model, *[photos / "a.png"] * 5)

    assert done.stdout.count("bright 100.0%") == 5
    assert done.stdout.count("image ") == 1


names = st.text(st.characters(codec="utf-8"), max_size=20)
# Bytes that are not UTF-8, as Python has them, and what no file system has: half a pair.
odd_names = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from('\udcff\ud800,;"\n\r\t\\=+-@\x1b'),
    ),
    min_size=1,
)
shares = st.floats(0, 1, width=32)
predictions = st.builds(
    Prediction,
    path=odd_names,
    classes=st.lists(st.tuples(names, shares), max_size=3).map(tuple),
    error=names,
    is_known=st.none() | st.booleans(),
    calibrated=st.none() | shares,
    unknown_score=st.none() | st.floats(-1e6, 1e6),
    label=names,
)


@given(predictions)
def test_every_row_can_be_read_back_from_json_lines(prediction):
    line = lines_of(Format.JSONL).line(prediction)

    assert line.isascii()
    assert "\n" not in line
    found = records.parse(Prediction, line)
    assert found.path == as_utf8(prediction.path)
    assert found.classes == prediction.classes
    assert vars(found) == {**vars(prediction), "path": found.path}


@given(st.lists(predictions, max_size=4))
def test_every_row_can_be_read_back_from_csv(rows):
    lines = lines_of(Format.CSV)
    text = "".join(line + "\n" for line in [lines.header, *map(lines.line, rows)])

    found = csv_rows(text)

    assert [row["path"] for row in found] == [as_utf8(row.path) for row in rows]
    assert [row["label"] for row in found] == [row.label for row in rows]
    assert [row["error"] for row in found] == [row.error for row in rows]
    tops = [row.classes[0] if row.classes else ("", None) for row in rows]
    assert [row["class"] for row in found] == [name for name, _ in tops]
    read = [float(row["probability"]) if row["probability"] else None for row in found]
    assert read == [share for _, share in tops]


def start_slowly(*arguments: object, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, "predict", "--model", "x", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        **options,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_the_rows_so_far_and_the_earlier_file(photos, tmp_path, number):
    output, partial = tmp_path / "r.jsonl", tmp_path / "r.jsonl.partial"
    output.write_text("earlier\n")
    images = [photos / "a.png"] * 1000
    process = start_slowly(*images, "--output", output, stderr=subprocess.PIPE)

    assert wait_for(lambda: partial.exists() and len(partial.read_text().splitlines()) > 3)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)

    assert process.returncode == 130
    assert f"Interrupted.\nThe rows up to here are in {partial}.\n" == said
    assert output.read_text() == "earlier\n"
    rows = [json.loads(line) for line in partial.read_text().splitlines()]
    assert 3 < len(rows) < 100
    assert all(row["classes"] == [["cat", 1.0]] for row in rows)


def test_interrupted_table_shows_what_there_is(photos):
    images = [photos / "a.png"] * 1000
    process = start_slowly(*images, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    time.sleep(3)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=20)

    assert (process.returncode, said) == (130, "Interrupted.\n")
    assert printed.count("cat 100.0%") >= 2


def test_terminal_shows_a_bar_and_a_pipe_does_not(photos, tmp_path):
    images = [photos / "a.png"] * 20
    ours, theirs = pty.openpty()
    process = start_slowly(*images, "--output", tmp_path / "r.csv", stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 2**16):
            shown += chunk
    except OSError:  # Linux's way to say that the other side is closed
        pass
    process.wait(timeout=20)

    assert process.returncode == 0
    assert b"/20 images" in shown
    assert b"images/s" in shown
    quiet = start_slowly(images[0], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert quiet.communicate(timeout=20)[1] == ""
