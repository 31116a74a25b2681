"""What stops a run before it starts."""

import importlib.util
import os
import shutil
import urllib.error
from pathlib import Path

import pytest

from pipeline.config.load import load_config
from pipeline.local import preflight
from pipeline.local.preflight import (
    PreflightError,
    check,
    check_images,
    check_output,
    check_places,
    check_weights,
)


def folder(root, *files: str) -> str:
    for file in files:
        (root / "in" / file).parent.mkdir(parents=True, exist_ok=True)
        (root / "in" / file).touch()
    (root / "in").mkdir(exist_ok=True)
    return str(root / "in")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "the folder is empty"),
        (("1.jpg",), "lie in the folder itself"),
        (("cat/1.jpg",), "one class only, cat"),
        (("cat/1.jpg", "dog/notes.txt"), "no image files in dog"),
        ((".git/1.jpg", "cat/1.jpg"), "one class only, cat"),
    ],
)
def test_unusable_image_folder(tmp_path, files, words):
    path = folder(tmp_path, *files)

    with pytest.raises(PreflightError, match=words) as error:
        check_images(path)

    assert path in str(error.value)


def test_missing_folder_and_file_in_its_place(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(PreflightError, match="no such file or folder"):
        check_images(str(tmp_path / "none"))
    with pytest.raises(PreflightError, match="is no folder"):
        check_images(str(tmp_path / "file"))
    with pytest.raises(PreflightError, match="--images"):
        check_images(None)


def test_a_malformed_manifest_is_refused_before_the_run_with_its_line(tmp_path):
    manifest = tmp_path / "photos.csv"
    manifest.write_text("path,lable\na.png,cat\n")

    with pytest.raises(PreflightError, match=r"photos\.csv, line 1: there is no column for the la"):
        check_images(str(manifest))


def test_a_manifest_of_two_classes_passes(tmp_path):
    manifest = tmp_path / "photos.csv"
    manifest.write_text("path,label\na.png,cat\nb.png,dog\n")

    check_images(str(manifest))


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "jpeg", "png", "gif", "BMP"])
def test_every_image_suffix_counts(tmp_path, suffix):
    check_images(folder(tmp_path, f"cat/1.{suffix}", "dog/1.png"))


def test_remote_places_are_left_to_the_run():
    check_images("gs://bucket/images")
    check_weights(load_config(None, ["backbone.weights=gs://bucket/w.h5"]))


def test_weights_file_must_exist_and_be_h5(tmp_path):
    (tmp_path / "w.ckpt").touch()
    (tmp_path / "w.h5").touch()

    with pytest.raises(PreflightError, match="there is no file"):
        check_weights(load_config(None, [f"backbone.weights={tmp_path}/none.h5"]))
    with pytest.raises(PreflightError, match=r"not an \.h5 file"):
        check_weights(load_config(None, [f"backbone.weights={tmp_path}/w.ckpt"]))
    check_weights(load_config(None, [f"backbone.weights={tmp_path}/w.h5"]))


def test_unreachable_imagenet_names_file_folder_url_and_alternative(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = []

    def refuse(request, timeout):
        asked.append((request.get_method(), request.full_url))
        raise urllib.error.URLError("offline")

    monkeypatch.setattr(preflight.urllib.request, "urlopen", refuse)

    with pytest.raises(PreflightError) as error:
        check_weights(load_config(None))

    ((method, url),) = asked
    assert method == "HEAD"
    name = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
    for part in (name, str(tmp_path / ".keras" / "models"), url, "--set backbone.weights=PATH"):
        assert part in str(error.value)


def test_imagenet_weights_already_here_ask_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(preflight, "reachable", lambda url: pytest.fail("asked the network"))
    (tmp_path / ".keras" / "models").mkdir(parents=True)
    name = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
    (tmp_path / ".keras" / "models" / name).touch()

    check_weights(load_config(None))


def test_output_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(PreflightError, match="cannot be written"):
        check_output(tmp_path / "file" / "out")


def refusal_of_images(images: str) -> str:
    with pytest.raises(PreflightError) as error:
        check_images(images)
    return str(error.value)


def test_class_names_that_cannot_be_labels_are_all_named(tmp_path):
    names = ["ca\nt", "cat", " ", os.fsdecode(b"caf\xe9"), "été", "tab\there"]
    images = folder(tmp_path, *(f"{name}/1.jpg" for name in names))

    assert refusal_of_images(images) == (
        f"{images}: these folders' names cannot be class names:\n"
        "  ' ' is blank\n"
        "  'ca\\nt' contains a line break or another control character\n"
        "  'caf\\xe9' is not UTF-8\n"
        "  'tab\\there' contains a line break or another control character\n"
        "  Rename them."
    )


def test_hidden_folders_may_have_any_name(tmp_path):
    check_images(folder(tmp_path, ".ca\nt/1.jpg", "cat/1.jpg", "dog/1.jpg"))


def test_path_that_is_not_utf8_is_refused(tmp_path):
    images = folder(tmp_path / os.fsdecode(b"caf\xe9"), "cat/1.jpg", "dog/1.jpg")

    message = refusal_of_images(images)

    assert message == f"{tmp_path}/caf\\xe9/in: this path is not UTF-8. Rename the folder."


def test_hidden_files_are_no_images(tmp_path):
    images = folder(tmp_path, "cat/1.jpg", "dog/.1.jpg")

    assert "no image files in dog" in refusal_of_images(images)


def refusal_of_places(images: Path, output: Path) -> str:
    with pytest.raises(PreflightError) as error:
        check_places(str(images), output)
    return str(error.value)


@pytest.mark.parametrize("below", ["", "out", "cat/out", ".hidden/out", "not/yet/there"])
def test_output_in_the_images_folder_is_refused(tmp_path, below):
    images = Path(folder(tmp_path, "cat/1.jpg", "dog/1.jpg"))

    message = refusal_of_places(images, images / below)

    where = "is" if not below else "is inside"
    assert message == (
        f"{images / below}: the output folder {where} the images folder, {images}: the run would "
        "take what it writes for images.\n  Give an --output elsewhere."
    )


def test_links_do_not_hide_that_output_lies_in_the_images_folder(tmp_path):
    images = Path(folder(tmp_path, "cat/1.jpg", "dog/1.jpg"))
    (tmp_path / "link").symlink_to(images)
    (tmp_path / "elsewhere" / "bee").mkdir(parents=True)
    (images / "bee").symlink_to(tmp_path / "elsewhere" / "bee")

    assert "is the images folder" in refusal_of_places(images, tmp_path / "link")
    assert "is inside the images folder" in refusal_of_places(tmp_path / "link", images / "out")
    assert "is inside the class folder bee" in refusal_of_places(
        images, tmp_path / "elsewhere" / "bee" / "out"
    )


@pytest.mark.parametrize(
    "name", ["artifacts", "serving", "logs", "samples", "inspect", "trunk_store"]
)
@pytest.mark.parametrize("below", ["", "photos"])
def test_images_where_a_run_writes_are_refused(tmp_path, name, below):
    images = tmp_path / name / below

    assert refusal_of_places(images, tmp_path) == (
        f"{images}: the images are in {tmp_path / name}, which the run writes to.\n"
        "  Move them, or give another --output."
    )


@pytest.mark.parametrize("images", ["images", "logs of bees", "in/serving"])
def test_images_elsewhere_in_the_output_folder_are_fine(tmp_path, images):
    check_places(str(tmp_path / images), tmp_path)


def test_folders_side_by_side_and_remote_ones_are_fine(tmp_path):
    images = folder(tmp_path, "cat/1.jpg", "dog/1.jpg")

    check_places(images, tmp_path / "input")
    check_places(images, tmp_path / "not" / "yet")
    check_places("gs://bucket/images", tmp_path)


def test_nothing_is_written_before_the_places_are_checked(tmp_path):
    images = Path(folder(tmp_path, "cat/1.jpg", "dog/1.jpg"))
    config = load_config(None, ["backbone.weights=random"], str(images))

    with pytest.raises(PreflightError, match="is inside the images folder"):
        check(config, images / "out")

    assert sorted(path.name for path in images.iterdir()) == ["cat", "dog"]


@pytest.mark.parametrize("name", ["out [2024]", "o*", "wh?t", "back\\slash"])
def test_output_path_that_would_be_read_as_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(PreflightError) as error:
        check_output(tmp_path / name / "out")

    assert str(error.value) == (
        f"{tmp_path / name / 'out'}: TensorFlow and Beam read *, ?, [ and \\ in a path as a "
        "pattern.\n  Give an --output without them. (In the images folder's path they are fine.)"
    )
    assert not (tmp_path / name).exists()


def test_other_punctuation_in_the_output_path_is_fine(tmp_path):
    check_output(tmp_path / "out {a}, 'b' & (c)!")


def test_weights_belong_where_tf_keras_looks_for_them(tmp_path, monkeypatch):
    """What `tf_keras.utils.get_file` does: it does not ask for KERAS_HOME."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "elsewhere"))
    assert preflight.keras_models_dir() == Path("/tmp/.keras/models")

    (tmp_path / ".keras").mkdir()
    assert preflight.keras_models_dir() == tmp_path / ".keras" / "models"

    monkeypatch.setattr(preflight.os, "access", lambda path, mode: False)
    assert preflight.keras_models_dir() == Path("/tmp/.keras/models")


def test_temporary_folder_without_room_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight.tempfile, "tempdir", str(tmp_path))
    usage = shutil._ntuple_diskusage(9, 9, 7 * 2**20)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage)

    with pytest.raises(PreflightError) as error:
        preflight.check_temporary_folder()

    assert str(error.value) == (
        f"{tmp_path}: has 7 MB free for temporary files; 256 MB are needed.\n"
        "  Free some space there, or set TMPDIR to another folder."
    )


def test_machine_without_any_temporary_folder_is_told_to_set_one(monkeypatch):
    def none_usable():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(preflight.tempfile, "gettempdir", none_usable)

    with pytest.raises(PreflightError, match="Set TMPDIR to one"):
        preflight.check_temporary_folder()


def test_formats_whose_packages_are_missing_stop_the_run_before_it_starts(tmp_path, monkeypatch):
    settings = ["backbone.weights=random", "export.formats=[tflite, onnx]"]
    config = load_config(None, settings, folder(tmp_path, "cat/1.jpg", "dog/1.jpg"))
    check(config, tmp_path / "out")
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else there(name)
    )

    with pytest.raises(PreflightError) as error:
        check(config, tmp_path / "out")

    assert str(error.value) == (
        "export.formats: onnx needs packages that are not installed: tf2onnx.\n"
        '  Install them: pip install "thaw[onnx]", or leave onnx out.'
    )
