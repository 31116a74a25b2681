"""What stops a run before it starts."""

import urllib.error

import pytest

from pipeline import preflight
from pipeline.config_io import load_config
from pipeline.preflight import PreflightError, check_images, check_output, check_weights


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

    with pytest.raises(PreflightError, match="no such folder"):
        check_images(str(tmp_path / "none"))
    with pytest.raises(PreflightError, match="is a file"):
        check_images(str(tmp_path / "file"))
    with pytest.raises(PreflightError, match="--images"):
        check_images(None)


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
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
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
    for part in (name, str(tmp_path / "models"), url, "--set backbone.weights=PATH"):
        assert part in str(error.value)


def test_imagenet_weights_already_here_ask_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(preflight, "reachable", lambda url: pytest.fail("asked the network"))
    (tmp_path / "models").mkdir()
    name = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
    (tmp_path / "models" / name).touch()

    check_weights(load_config(None))


def test_output_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(PreflightError, match="cannot be written"):
        check_output(tmp_path / "file" / "out")
