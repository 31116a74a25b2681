"""Models as they are found on a disk: whole, half written, of others."""

import builtins
import json
import os
import shutil
from pathlib import Path

import pytest
from bright_model import save_bright_model
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.main import app
from serving.model import load_model
from serving.versions import UnusableModel, find_model

# Nothing here may hang.
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("whole") / "1"
    save_bright_model(folder)
    return folder


@pytest.fixture
def model(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "out" / "serving" / "thaw" / "1"))


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (30, 30), "white").save(tmp_path / "a.bmp")
    return tmp_path / "a.bmp"


def ask(*arguments: object):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def sentence(done) -> str:
    """What the user reads on stderr, in one line; there is no traceback."""
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""
    return " ".join(done.stderr.split())


@pytest.mark.parametrize("given", ["", "serving/thaw", "serving/thaw/12"])
def test_model_is_found_and_the_newest_version_wins(tmp_path, given):
    for version in ("2", "12", "9", "²", "temporary"):
        (tmp_path / "serving" / "thaw" / version).mkdir(parents=True)
        (tmp_path / "serving" / "thaw" / version / "saved_model.pb").touch()

    assert find_model(str(tmp_path / given)).name == "12"


def test_model_is_found_whatever_its_folder_is_called(tmp_path):
    (tmp_path / "p [2024] *").mkdir()
    (tmp_path / "p [2024] *" / "saved_model.pb").touch()

    assert find_model(str(tmp_path / "p [2024] *")) == tmp_path / "p [2024] *"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("out", "out: holds no pushed model. Give a run's output folder or a SavedModel. A run"),
        ("missing", "missing: there is no such folder."),
        ("file", "file is a file. Give a run's output folder or a SavedModel's."),
        ("x" * 300, "cannot be read: File name too long."),
    ],
)
def test_where_no_model_is_the_sentence_says_what_to_give(tmp_path, given, expected):
    (tmp_path / "out" / "serving").mkdir(parents=True)
    (tmp_path / "file").touch()

    assert expected in sentence(ask("x.png", "--model", tmp_path / given))


def test_url_is_not_taken_for_a_folder():
    expected = "thaw: gs://bucket/out: not a folder of this machine. Copy the model here"

    assert sentence(ask("x.png", "--model", "gs://bucket/out")).startswith(expected)


def cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut(folder / "saved_model.pb", 0),
        lambda folder: cut(folder / "saved_model.pb", 0.5),
        lambda folder: cut(folder / "saved_model.pb", 0.99),
        lambda folder: (folder / "saved_model.pb").write_bytes(b"\xff" * 999),
        lambda folder: shutil.rmtree(folder / "variables"),
        lambda folder: (folder / "variables" / "variables.index").unlink(),
        lambda folder: cut(folder / "variables" / "variables.index", 0.5),
        lambda folder: cut(folder / "variables" / "variables.data-00000-of-00001", 0.5),
    ],
)
def test_damaged_or_half_written_model_is_one_sentence(model, photo, damage):
    damage(model)

    said = sentence(ask(photo, "--model", model))

    assert said.startswith(
        f"thaw: {model}: the model cannot be loaded; it is damaged or incomplete. "
        "Give another version with --model, or push this one again. TensorFlow says: "
    )


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index"])
@pytest.mark.parametrize("target", [None, "/dev/zero"])
def test_special_file_in_a_model_does_not_hang_its_loading(model, photo, name, target):
    (model / name).unlink()
    os.symlink(target, model / name) if target else os.mkfifo(model / name)

    said = sentence(ask(photo, "--model", model.parents[2]))

    assert said.startswith(f"thaw: {model / name}: not a regular file, so the model cannot be")


def save(folder: Path, signatures: dict) -> None:
    """Saves a model of functions of one string tensor."""
    import tensorflow as tf

    module = tf.Module()
    module.served = {
        name: tf.function(
            function, input_signature=[tf.TensorSpec([None], tf.string, name=input_name)]
        )
        for name, (input_name, function) in signatures.items()
    }
    tf.saved_model.save(module, str(folder), signatures=module.served)


def _only_probabilities(files):
    import tensorflow as tf

    return {"probabilities": tf.zeros([tf.shape(files)[0], 2])}


def _numbers_for_names(files):
    probabilities = _only_probabilities(files)["probabilities"]
    return {"probabilities": probabilities, "class_names": probabilities}


@pytest.mark.parametrize(
    "signatures",
    [
        {},
        {"other": ("image_bytes", _only_probabilities)},
        {"serving_default": ("examples", _only_probabilities)},
        {"serving_default": ("image_bytes", _only_probabilities)},
        {"serving_default": ("image_bytes", _numbers_for_names)},
    ],
)
def test_model_that_thaw_did_not_export_is_one_sentence(tmp_path, photo, signatures):
    pytest.importorskip("tensorflow")
    save(tmp_path / "other", signatures)

    said = sentence(ask(photo, "--model", tmp_path / "other"))

    assert said.startswith(
        f"thaw: {tmp_path / 'other'}: not a model that Thaw exported: it has no "
        "`serving_default` from `image_bytes` to `class_names` and `probabilities`."
    )


def _names_without_numbers(files):
    import tensorflow as tf

    return {
        "probabilities": tf.fill([tf.shape(files)[0], 2], float("nan")),
        "class_names": tf.fill([tf.shape(files)[0], 2], "cat"),
    }


def _more_names_than_numbers(files):
    import tensorflow as tf

    names = tf.fill([tf.shape(files)[0], 3], "cat")
    return {**_only_probabilities(files), "class_names": names}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_names_without_numbers, "the model's probabilities are not numbers"),
        (_more_names_than_numbers, "the model fails: zip() argument 2 is shorter"),
    ],
)
def test_answers_that_make_no_sense_are_errors(tmp_path, photo, function, reason):
    pytest.importorskip("tensorflow")
    save(tmp_path / "odd", {"serving_default": ("image_bytes", function)})

    done = ask(photo, "--model", tmp_path / "odd", "--json")

    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"].startswith(reason)


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ('{"data": {"max_file_bytes": 1000}}', 1000),
        ('{"data": {"max_file_bytes": "many"}}', 2**26),
        ('{"data": []}', 2**26),
        ("[" * 100_000, 2**26),
        (None, 2**26),
    ],
)
def test_limit_is_the_one_that_the_models_own_images_had(model, config, limit):
    if config:
        (model / "assets" / "config.json").write_text(config)

    assert load_model(model).max_file_bytes == limit


def test_file_over_the_models_limit_is_refused(model, photo):
    (model / "assets" / "config.json").write_text('{"data": {"max_file_bytes": 1000}}')

    done = ask(photo, "--model", model, "--json")

    assert json.loads(done.stdout)["error"] == "larger than 1,000 bytes"


def test_file_of_more_pixels_than_the_models_limit_is_refused_by_its_header(model, photo):
    (model / "assets" / "config.json").write_text('{"data": {"max_pixels": 899}}')

    done = ask(photo, "--model", model, "--json")

    assert json.loads(done.stdout)["error"] == "more than 899 pixels"


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ('{"data": {"max_pixels": 900}}', 900),
        ('{"data": {"max_pixels": true}}', None),
        ('{"data": {"max_pixels": "many"}}', None),
        ("{}", None),
    ],
)
def test_image_within_the_models_limit_of_pixels_is_judged(model, photo, config, limit):
    (model / "assets" / "config.json").write_text(config)

    done = ask(photo, "--model", model, "--json")

    assert load_model(model).max_pixels == limit
    assert json.loads(done.stdout)["classes"][0] == ["bright", 1.0]


def test_image_that_ends_too_early_is_damaged_in_one_short_sentence(model, photo):
    photo.write_bytes(photo.read_bytes()[:-1])

    done = ask(photo, "--model", model, "--json")

    assert json.loads(done.stdout)["error"] == "the image data is damaged"


def test_without_any_temporary_folder_the_sentence_names_tmpdir(model, monkeypatch):
    real = builtins.__import__

    def find_no_folder(name, *more):
        if name == "tensorflow":
            raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", find_no_folder)

    with pytest.raises(UnusableModel, match=r"No usable temporary directory.*\n  Set TMPDIR"):
        load_model(model)
