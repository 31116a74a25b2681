"""Asking a model; the model here knows bright from dark."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from bright_model import save_bright_model
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.main import app

ROOT = Path(__file__).parents[2]

# Nothing here may hang.
pytestmark = pytest.mark.timeout(120)

# `thaw predict` with a model that needs no TensorFlow.
WITHOUT_TENSORFLOW = """
from pathlib import Path
from pipeline.cli import main
from serving import model, versions
class Cat:
    max_file_bytes = 10**6
    rules = type("Rules", (), {"max_file_bytes": 10**6, "decodable": lambda _, content: content})()
    def batch_size(self):
        return 2
    def ask_batch(self, contents, top):
        return [model.Answer([("cat", 1.0)]) for _ in contents]
versions.find_model = Path
model.load_model = lambda folder: Cat()
main.main()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("tensorflow")
    output = tmp_path_factory.mktemp("out")
    save_bright_model(output / "serving" / "thaw" / "1")
    return output


@pytest.fixture
def photos(tmp_path):
    Image.new("RGB", (8, 8), "white").save(tmp_path / "a.png")
    Image.new("RGB", (8, 8), "black").save(tmp_path / "b.png")
    return tmp_path


def ask(*arguments: object):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def ask_for_json(*arguments: object) -> dict[str, dict]:
    """What is said of each path; nothing beyond the documented exit codes may happen."""
    done = ask(*arguments, "--json")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == (1 if any(answer["error"] for answer in answers) else 0), done.output
    return {answer["path"]: answer for answer in answers}


def test_classes_come_most_probable_first(model, photos):
    answers = ask_for_json(photos, "--model", model)

    assert list(answers) == [str(photos / "a.png"), str(photos / "b.png")]
    assert answers[str(photos / "a.png")]["classes"] == [["bright", 1.0], ["dark", 0.0]]
    assert answers[str(photos / "b.png")]["classes"] == [["dark", 1.0], ["bright", 0.0]]


def test_top_limits_the_classes(model, photos):
    answers = ask_for_json(photos / "a.png", "--model", model, "--top", 1)

    assert answers[str(photos / "a.png")]["classes"] == [["bright", 1.0]]


def test_top_zero_is_bad_usage(model, photos):
    done = ask(photos, "--model", model, "--top", 0)

    assert done.exit_code == 2
    assert "--top" in done.output


def test_table_shows_class_and_share(model, photos):
    done = ask(photos / "a.png", "--model", model / "serving" / "thaw" / "1")

    assert "bright 100.0%" in done.stdout


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("short.png", b"\x89PNG\r\n\x1a\n", "not a JPEG, PNG, GIF or BMP file"),
        ("text.png", b"no image, only text", "not a JPEG, PNG, GIF or BMP file"),
        ("long text.png", b"no image" * 99, "not a JPEG, PNG, GIF or BMP file"),
        ("empty.png", b"", "not a JPEG, PNG, GIF or BMP file"),
        ("header.jpg", b"\xff\xd8\xff" + b"\0" * 99, "the image data is damaged"),
        ("missing.png", None, "cannot be read: No such file or directory"),
    ],
)
def test_bad_file_costs_no_other_its_answer(model, photos, name, content, reason):
    if content is not None:
        (photos / name).write_bytes(content)

    answers = ask_for_json(photos / name, photos / "a.png", "--model", model)
    table = ask(photos / name, photos / "a.png", "--model", model)

    assert answers[str(photos / name)] == {
        "path": str(photos / name),
        "classes": [],
        "error": reason,
        "is_known": None,
    }
    assert answers[str(photos / "a.png")]["classes"][0] == ["bright", 1.0]
    assert table.exit_code == 1
    assert "bright 100.0%" in table.stdout
    assert reason.split()[0] in table.stdout


def test_only_regular_files_and_links_to_them_are_read(model, photos, monkeypatch):
    monkeypatch.chdir(photos)  # the path of a socket may have 107 bytes
    os.mkfifo("pipe.png")
    os.mkdir("folder.png")
    targets = {"zero": "/dev/zero", "nowhere": "gone", "itself": "itself.png", "good": "a.png"}
    for name, target in targets.items():
        os.symlink(target, f"{name}.png")

    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        answers = ask_for_json(".", "pipe.png", "--model", model)

    errors = {path.removeprefix("./"): answer["error"] for path, answer in answers.items()}
    assert errors == {
        "a.png": "",
        "b.png": "",
        "good.png": "",
        "itself.png": "cannot be read: Too many levels of symbolic links",
        "nowhere.png": "cannot be read: No such file or directory",
        "pipe.png": "a named pipe, not a regular file",
        "socket.png": "a socket, not a regular file",
        "zero.png": "a device, not a regular file",
    }


def test_files_larger_than_the_default_limit_are_refused_unread(model, photos):
    os.truncate(photos / "b.png", 2**26 + 1)

    answers = ask_for_json(photos, "--model", model)

    assert answers[str(photos / "b.png")]["error"] == "larger than 67,108,864 bytes"
    assert answers[str(photos / "a.png")]["error"] == ""


def test_names_that_are_not_utf_8_are_escaped(model, photos, monkeypatch):
    monkeypatch.chdir(photos)
    os.rename(b"b.png", b"\xff\xc3\xb8.png")

    listed = ask_for_json(".", "--model", model)
    named = ask_for_json(os.fsdecode(b"\xff\xc3\xb8.png"), "--model", model)
    table = ask(".", "--model", model)

    assert listed["./\\xffø.png"]["classes"][0] == ["dark", 1.0]
    assert set(named) == {"\\xffø.png"}
    assert "./\\xffø.png" in table.stdout


def test_table_shows_names_as_they_are_but_for_control_characters(model, photos, monkeypatch):
    monkeypatch.chdir(photos)
    os.rename("b.png", "[red]:cat:\x1b[2J\n.png")

    done = ask(".", "--model", model)

    assert "[red]:cat:\\x1b[2J\\n.png" in done.stdout


def test_glob_characters_are_characters(model, photos):
    folder = photos / "p [2024] x"
    folder.mkdir()
    os.rename(photos / "a.png", folder / "im*g?.png")

    assert set(ask_for_json(folder, "--model", model)) == {str(folder / "im*g?.png")}
    assert set(ask_for_json(folder / "im*g?.png", "--model", model)) == {str(folder / "im*g?.png")}


def test_folder_that_links_to_itself_is_walked_once(model, photos):
    (photos / "loop").symlink_to(photos)

    assert set(ask_for_json(photos, "--model", model)) == {
        str(photos / "a.png"),
        str(photos / "b.png"),
    }


def test_folder_that_cannot_be_listed_is_an_error_of_its_own(model, photos, monkeypatch):
    locked, real = str(photos / "locked"), os.scandir
    os.mkdir(locked)

    def scandir(path):
        if path == locked:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    answers = ask_for_json(photos, "--model", model)

    assert answers[locked]["error"] == "cannot be listed: Permission denied"
    assert answers[str(photos / "a.png")]["error"] == ""


def test_empty_folder_is_an_error_of_its_own(model, photos):
    (photos / "none").mkdir()

    answers = ask_for_json(photos / "none", photos / "a.png", "--model", model)
    alone = ask(photos / "none", "--model", model)

    assert answers[str(photos / "none")]["error"] == "holds no images"
    assert answers[str(photos / "a.png")]["error"] == ""
    assert alone.exit_code == 2
    assert f"no images in {photos / 'none'}." in alone.stderr.replace("\n", "")


def test_url_is_not_taken_for_a_path(model, photos):
    url = "https://example.com/a.png"

    answers = ask_for_json(url, photos / "a.png", "--model", model)

    assert answers[url]["error"] == "not a local file: download it first"
    assert answers[str(photos / "a.png")]["error"] == ""


def test_file_that_vanishes_after_it_was_listed_is_an_error_of_its_own(photos):
    from pipeline.predict.sources import find_images
    from serving.batch_predict import predict
    from serving.model import Answer, PushedModel

    class White(PushedModel):
        def ask_batch(self, contents, top=None):
            return [Answer([("white", 1.0)], is_known=False) for _ in contents]

    found = find_images([str(photos)])
    (photos / "a.png").unlink()

    gone, there = predict(White(serve=dict, max_file_bytes=10**6), found.files(), top=3)

    assert gone.error == "cannot be read: No such file or directory"
    assert there.classes == (("white", 1.0),)
    assert there.is_known is False


def test_folders_become_the_images_below_them(photos):
    from pipeline.predict.sources import find_images

    (photos / "deep").mkdir()
    (photos / "deep" / "c.JPG").touch()
    (photos / "notes.txt").touch()

    found = find_images([str(photos), str(photos / "notes.txt")])

    names = [Path(file.path).name for file in found.files()]
    assert names == ["a.png", "b.png", "c.JPG", "notes.txt"]


def run_with_shell(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `thaw predict` without TensorFlow, as "$@" in a shell command."""
    return subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-c", WITHOUT_TENSORFLOW]
        + ["predict", "--model", "x", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_reader_that_leaves_ends_the_command_in_silence(photos, options):
    done = run_with_shell('"$@" | head -c 5', *[photos] * 2000, *options)

    assert len(done.stdout) == 5
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_answers_that_cannot_be_written_are_one_sentence(photos, options):
    done = run_with_shell('"$@" > /dev/full', photos, *options)

    assert done.returncode == 1
    assert done.stderr == "thaw: the predictions cannot be written: No space left on device.\n"


@pytest.mark.parametrize(
    "environment",
    [
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"HOME": "/proc", "TMPDIR": "/proc"},  # neither can be written
    ],
)
def test_neither_locale_nor_home_nor_temporary_folder_is_needed(model, photos, environment):
    os.rename(photos / "b.png", photos / "ø.png")
    if "HOME" not in environment:
        environment = {**environment, "TMPDIR": "/nonexistent"}
    kept = {name: value for name, value in os.environ.items() if name != "HOME"}

    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", "predict", ".", "--model", model],
        cwd=photos,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        timeout=100,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"100.0%") == 2
    assert (b"\\xf8.png" if "LANG" in environment else "ø.png".encode()) in done.stdout


def test_table_marks_an_image_that_is_unlike_the_training_images(capsys):
    from pipeline.cli.prediction_output import print_table
    from serving.batch_predict import Prediction

    foreign = Prediction("a.png", (("cat", 0.9),), is_known=False)
    print_table([foreign, Prediction("b.png", (("cat", 0.9),), is_known=True)], top=1)

    first, second = capsys.readouterr().out.splitlines()[1:]
    assert "cat 90.0%, unlike the training images" in first
    assert "unlike" not in second
