"""Asking a model; the model here knows bright from dark."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.predict import PredictError, find_images, find_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tf = pytest.importorskip("tensorflow")

    class Bright(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def serve(self, image_bytes):
            def share(encoded):
                image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
                return tf.reduce_mean(tf.cast(image, tf.float32)) / 255

            bright = tf.map_fn(share, image_bytes, fn_output_signature=tf.float32)
            label = tf.cast(bright > 0.5, tf.int64)
            names = tf.tile([["dark", "bright"]], [tf.shape(image_bytes)[0], 1])
            return {
                "probabilities": tf.stack([1 - bright, bright], axis=1),
                "label_id": label,
                "class_name": tf.gather(["dark", "bright"], label),
                "class_names": names,
            }

    module = Bright()
    output = tmp_path_factory.mktemp("out")
    folder = str(output / "serving" / "thaw" / "1")
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
    return output


@pytest.fixture
def photos(tmp_path):
    Image.new("RGB", (8, 8), "white").save(tmp_path / "a.png")
    Image.new("RGB", (8, 8), "black").save(tmp_path / "b.png")
    return tmp_path


def ask(*arguments: object):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_classes_come_most_probable_first(model, photos):
    done = ask(photos, "--model", model, "--json")

    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert done.exit_code == 0
    assert first["classes"] == [["bright", 1.0], ["dark", 0.0]]
    assert second["classes"] == [["dark", 1.0], ["bright", 0.0]]


def test_top_limits_the_classes(model, photos):
    done = ask(photos / "a.png", "--model", model, "--json", "--top", 1)

    assert json.loads(done.stdout)["classes"] == [["bright", 1.0]]


def test_bad_and_missing_files_are_named_and_stop_no_other(model, photos):
    (photos / "0.png").write_text("no image")

    done = ask(photos / "0.png", photos / "no.png", photos / "a.png", "--model", model, "--json")

    bad, missing, good = (json.loads(line) for line in done.stdout.splitlines())
    assert done.exit_code == 1
    assert bad["path"].endswith("0.png")
    assert bad["error"]
    assert "No such file" in missing["error"]
    assert good["classes"][0][0] == "bright"


def test_table_shows_class_and_share(model, photos):
    done = ask(photos / "a.png", "--model", model / "serving" / "thaw" / "1")

    assert "bright 100.0%" in done.stdout


@pytest.mark.parametrize("given", ["", "serving/thaw", "serving/thaw/12"])
def test_model_is_found_and_the_newest_version_wins(tmp_path, given):
    for version in ("2", "12", "9"):
        (tmp_path / "serving" / "thaw" / version).mkdir(parents=True)
        (tmp_path / "serving" / "thaw" / version / "saved_model.pb").touch()

    assert find_model(tmp_path / given).name == "12"


def test_no_model_says_that_only_a_blessed_one_is_pushed(tmp_path):
    with pytest.raises(PredictError, match="not blessed"):
        find_model(tmp_path)


def test_a_folder_that_is_not_there_is_no_run_without_a_push(tmp_path):
    with pytest.raises(PredictError, match="no such folder"):
        find_model(tmp_path / "missing")


def test_folders_become_the_images_below_them(photos):
    (photos / "deep").mkdir()
    (photos / "deep" / "c.JPG").touch()
    (photos / "notes.txt").touch()

    names = [path.name for path in find_images([photos, photos / "notes.txt"])]

    assert names == ["a.png", "b.png", "c.JPG", "notes.txt"]


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(PredictError, match="no images"):
        find_images([tmp_path])
