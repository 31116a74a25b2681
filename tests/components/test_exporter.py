"""Every export answers as the SavedModel does, or is not published; the code beside it runs."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tfx.types import standard_artifacts

from components.exporter import executor as exporting
from components.exporter import formats
from components.exporter.client.classify import open_model
from components.exporter.executor import Executor, export
from components.exporter.formats import FORMATS, ExportRule, require_packages
from components.exporter.prove import Outputs, compare
from components.exporter.publish import publish
from components.exporter.record import read_exports
from trainer.data.fit_data import image_parser
from trainer.errors import ThawError
from trainer.export import ExportInfo, export_saved_model
from trainer.model.classifier import build_classifier
from trainer.records import to_json
from trainer.specs import ModelSpec, ServedImages

from ..image_examples import LABELS, write_image_examples
from ..trainer.conftest import SIZE_PX, parts_of, tiny_backbone
from ..trainer.photographs import encode, photograph
from ..trainer.test_export import random_fit

NUM_TEST = 7
ALL = ExportRule(tuple(FORMATS), int8_max_loss=100.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model artifact, whose head tells images of noise apart."""
    keras.utils.set_random_seed(4)
    classifier = build_classifier(
        ModelSpec("inception_v3", SIZE_PX, 8, 0.0, num_classes=3), tiny_backbone()
    )
    for layer in ("hidden", "logits"):
        kernel = classifier.get_layer(layer).kernel
        kernel.assign(kernel * 10)
    folder = tmp_path_factory.mktemp("model")
    images = ServedImages(SIZE_PX, 10**6)
    info = ExportInfo([*LABELS, "cat"], {}, {})
    parse = image_parser(SIZE_PX)
    target = str(folder / "Format-Serving")
    export_saved_model(parts_of(classifier), images, parse, random_fit(), info, target)
    return folder


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("examples")
    write_image_examples(folder, {"train": [12], "test": [4, NUM_TEST - 4]}, SIZE_PX)
    return str(folder)


@pytest.fixture(scope="module")
def exported(model, examples, tmp_path_factory):
    """All formats: the artifact's folder, and the record."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "artifact").mkdir()
    target = str(folder / "exports" / "3")
    found = export(str(model / "Format-Serving"), examples, ALL, str(folder / "artifact"), target)
    return folder, found


def ask_saved_model(model: Path, pixels: np.ndarray) -> dict[str, np.ndarray]:
    loaded = tf.saved_model.load(str(model / "Format-Serving"))
    answer = loaded.signatures["pixels"](pixels=tf.constant(pixels))
    return {name: answer[name].numpy() for name in ("probabilities", "calibrated_probabilities")}


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("tflite", 1e-5), ("onnx", 1e-5), ("tflite_float16", 1e-2), ("tflite_int8", 0.2)],
)
def test_each_export_takes_pixels_and_gives_both_probabilities_in_the_order_of_the_labels(
    model, exported, name, tolerance
):
    folder, _ = exported
    pixels = np.random.default_rng(2).integers(0, 256, [1, SIZE_PX, SIZE_PX, 3], "uint8")

    answer = open_model(str(folder / "exports" / "3" / FORMATS[name].file))(pixels)

    expected = ask_saved_model(model, pixels)
    assert answer.keys() == expected.keys()
    for output, values in expected.items():
        assert answer[output].dtype == np.float32
        np.testing.assert_allclose(answer[output], values, atol=tolerance)
    # Of this model they differ, by its temperature: they have not been swapped.
    assert np.abs(expected["probabilities"] - expected["calibrated_probabilities"]).max() > 0.01


def test_what_is_measured_is_recorded_with_the_exports_and_beside_them(exported):
    folder, found = exported

    published = folder / "exports" / "3"
    assert found.num_images == NUM_TEST
    assert [one.format for one in found.exports] == list(FORMATS)
    assert all(one.agrees and not one.reason for one in found.exports)
    assert found.path == str(published)
    for one in found.exports:
        assert one.answers.num_bytes == (published / one.file).stat().st_size
        assert one.answers.milliseconds > 0
        assert 0 <= one.answers.accuracy <= 1
    assert found.saved_model.num_bytes > 0
    assert read_exports(str(folder / "artifact")) == found
    assert json.loads((published / "exports.json").read_text())["num_images"] == NUM_TEST
    names = {path.name for path in published.iterdir()}
    files = {one.file for one in FORMATS.values()}
    assert names == {*files, "exports.json", "labels.txt", "preprocess.py", "classify.py"}


def test_int8_is_of_integers_from_the_pixels_on(exported):
    from ai_edge_litert.interpreter import Interpreter

    path = exported[0] / "exports" / "3" / FORMATS["tflite_int8"].file
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()

    (pixels,), outputs = interpreter.get_input_details(), interpreter.get_output_details()

    assert (pixels["dtype"], pixels["quantization"]) == (np.uint8, (1.0, 0))
    assert {(one["dtype"], one["quantization"]) for one in outputs} == {(np.uint8, (1 / 256, 0))}
    kinds = {one["dtype"] for one in interpreter.get_tensor_details()}
    assert np.float32 not in kinds


def test_onnx_is_of_opset_17(exported):
    import onnx

    loaded = onnx.load(str(exported[0] / "exports" / "3" / "model.onnx"))

    assert {one.version for one in loaded.opset_import if not one.domain} == {17}
    onnx.checker.check_model(loaded)


def test_exported_files_classify_an_image_as_written(exported, tmp_path):
    """Copied to a place of their own, where Python finds nothing of Thaw."""
    folder = tmp_path / "somewhere"
    shutil.copytree(exported[0] / "exports" / "3", folder)
    image = tmp_path / "photo.jpg"
    image.write_bytes(encode(photograph(0, 60, 40, enlarged=False)))

    for name in ("model.onnx", "model.tflite"):
        done = subprocess.run(
            [sys.executable, str(folder / "classify.py"), str(folder / name), str(image)],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdout=subprocess.PIPE,
            text=True,
        )
        path, *classes = done.stdout.strip().split("\t")
        assert (done.returncode, path, len(classes)) == (0, str(image), 3)
        assert {one.rsplit(" ", 1)[0] for one in classes} == {*LABELS, "cat"}


def outputs(first_choices: list[int], margin: float = 0.5, num_bytes: int = 100) -> Outputs:
    """Of images whose second choice is the other of two classes, this far behind."""
    high, low = (1 + margin) / 2, (1 - margin) / 2
    rows = np.array([[high, low] if one == 0 else [low, high] for one in first_choices], np.float32)
    return Outputs(rows, rows, milliseconds=1.0, num_bytes=num_bytes)


def judged(name: str, own: Outputs, saved: Outputs, max_loss: float = 1.0):
    truth = saved.probabilities.argmax(axis=1)
    return compare(name, own, saved, truth, ExportRule((name,), max_loss))


@pytest.mark.parametrize("name", ["tflite", "tflite_float16", "onnx"])
@pytest.mark.parametrize(
    ("images", "differing", "agrees"),
    [(999, 0, True), (999, 1, False), (1000, 1, True), (1999, 2, False), (2000, 2, True)],
)
def test_at_most_one_first_choice_in_a_thousand_may_differ(name, images, differing, agrees):
    saved = outputs([0] * images)

    found = judged(name, outputs([1] * differing + [0] * (images - differing)), saved)

    assert (found.agrees, found.differing, found.ties) == (agrees, differing, 0)
    assert found.answers.accuracy == pytest.approx(1 - differing / images)
    if not agrees:
        assert f"for {differing} of {images} test images" in found.reason


@pytest.mark.parametrize(
    ("name", "margin", "agrees"),
    [
        ("tflite", 0.0019, True),
        ("tflite", 0.0021, False),
        ("onnx", 0.0021, False),
        ("tflite_float16", 0.019, True),
        ("tflite_float16", 0.021, False),
    ],
)
def test_images_that_the_model_cannot_tell_apart_itself_do_not_count(name, margin, agrees):
    saved = outputs([0] * 10, margin)

    found = judged(name, outputs([1] + [0] * 9, margin), saved)

    assert (found.agrees, found.differing, found.ties) == (agrees, 1, int(agrees))


@pytest.mark.parametrize(
    ("wrong", "max_loss", "agrees"),
    [(1, 1.0, True), (2, 1.0, False), (0, 0.0, True), (1, 0, False)],
)
def test_int8_may_lose_so_much_accuracy(wrong, max_loss, agrees):
    saved = outputs([0] * 100)

    found = judged("tflite_int8", outputs([1] * wrong + [0] * (100 - wrong)), saved, max_loss)

    assert found.agrees == agrees
    if not agrees:
        assert f"Its accuracy is {wrong:.1f} points lower" in found.reason
        assert f"export.int8_max_loss allows {max_loss:g}." in found.reason


def test_int8_that_is_better_by_chance_agrees():
    saved = outputs([0] * 100)
    truth = np.array([1] + [0] * 99)

    found = compare(
        "tflite_int8", outputs([1] + [0] * 99), saved, truth, ExportRule(("tflite_int8",), 0.0)
    )

    assert found.agrees


@pytest.mark.parametrize("name", FORMATS)
def test_answers_that_are_not_numbers_do_not_agree(name):
    saved = outputs([0] * 10)
    broken = outputs([0] * 10)
    broken.probabilities[3] = np.nan

    found = judged(name, broken, saved, 100.0)

    assert (found.agrees, found.max_difference) == (False, None)
    assert found.reason == "Some of its probabilities are not numbers."


def as_artifact(kind, uri: Path, **properties: int | str):
    artifact = kind()
    artifact.uri = str(uri)
    for name, value in properties.items():
        put = "set_int" if isinstance(value, int) else "set_string"
        getattr(artifact, f"{put}_custom_property")(name, value)
    return artifact


def run(tmp_path: Path, model: Path, examples: str, blessed: int = 1, **pushed: int | str):
    """What Exporter's executor leaves; the candidate is a folder without a model."""
    result = as_artifact(standard_artifacts.PushedModel, tmp_path / "exports")
    given = {
        "pushed_model": as_artifact(standard_artifacts.PushedModel, tmp_path / "push", **pushed),
        "model_blessing": as_artifact(
            standard_artifacts.ModelBlessing, tmp_path / "blessing", blessed=blessed
        ),
        "model": as_artifact(standard_artifacts.Model, tmp_path / "none"),
        "baseline_model": as_artifact(standard_artifacts.Model, model),
        "examples": as_artifact(standard_artifacts.Examples, Path(examples)),
    }
    rule = json.dumps(to_json(ExportRule(("onnx",), 1.0)))
    Executor().Do(
        {name: [one] for name, one in given.items()},
        {"exports": [result]},
        {"rule": rule, "exports_dir": str(tmp_path / "out" / "thaw")},
    )
    return result


def test_baseline_that_was_pushed_in_the_candidates_place_is_exported(model, examples, tmp_path):
    result = run(tmp_path, model, examples, blessed=0, pushed=1, pushed_version="4")

    folder = tmp_path / "out" / "thaw" / "4"
    assert (folder / "model.onnx").exists()
    assert result.get_int_custom_property("pushed") == 1
    assert result.get_string_custom_property("pushed_destination") == str(folder)
    assert result.get_string_custom_property("pushed_version") == "4"


def test_nothing_is_exported_where_nothing_was_pushed(model, examples, tmp_path):
    result = run(tmp_path, model, examples, blessed=0, pushed=0)

    assert result.get_int_custom_property("pushed") == 0
    assert read_exports(result.uri) is None
    assert not (tmp_path / "out").exists()


def test_export_that_disagrees_is_kept_with_the_artifact_and_not_published(
    model, examples, tmp_path, monkeypatch
):
    """The ONNX file is that of another model: one that has the classes in another order."""
    whole = exporting.convert

    def converted(source, name, images, path):
        whole(source, name, images, path)
        if name == "onnx":
            swap_classes(path)

    monkeypatch.setattr(exporting, "convert", converted)
    (tmp_path / "artifact").mkdir()
    rule = ExportRule(("onnx", "tflite"), 1.0)
    target = tmp_path / "exports" / "1"

    found = export(
        str(model / "Format-Serving"), examples, rule, str(tmp_path / "artifact"), str(target)
    )

    onnx, tflite = found.exports
    assert (onnx.agrees, tflite.agrees) == (False, True)
    assert onnx.differing > 0
    assert f"of {NUM_TEST} test images; 0 are allowed." in onnx.reason
    assert (tmp_path / "artifact" / "model.onnx").exists()
    assert not (target / "model.onnx").exists()
    assert (target / "model.tflite").exists()


def swap_classes(path: str) -> None:
    import onnx
    from onnx import helper

    loaded = onnx.load(path)
    (output,) = (one for one in loaded.graph.output if one.name == "probabilities")
    (maker,) = (node for node in loaded.graph.node if "probabilities" in node.output)
    maker.output[list(maker.output).index("probabilities")] = "in_order"
    order = helper.make_tensor("order", onnx.TensorProto.INT64, [3], [2, 0, 1])
    loaded.graph.initializer.append(order)
    loaded.graph.node.append(
        helper.make_node("Gather", ["in_order", "order"], [output.name], axis=1)
    )
    onnx.save(loaded, path)


def test_model_of_an_earlier_version_is_refused(tmp_path, examples):
    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path / "old"))

    with pytest.raises(ThawError, match="an earlier version of Thaw exported this model"):
        export(str(tmp_path / "old"), examples, ALL, str(tmp_path), str(tmp_path / "out"))


def test_missing_packages_are_named_with_what_installs_them(monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        formats.importlib.util,
        "find_spec",
        lambda name: None if name in ("onnxruntime", "tf2onnx") else there(name),
    )

    require_packages(["tflite"])
    with pytest.raises(ThawError) as caught:
        require_packages(["tflite", "onnx"])

    assert str(caught.value) == (
        "export.formats: onnx needs packages that are not installed: onnxruntime, tf2onnx.\n"
        '  Install them: pip install "thaw[onnx]", or leave onnx out.'
    )


def test_published_folder_is_replaced_whole_and_leaves_nothing_else(tmp_path):
    for number, names in enumerate((["a", "exports.json"], ["b", "exports.json"])):
        folder = tmp_path / f"source-{number}"
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
        publish(str(folder), str(tmp_path / "exports" / "1"))

    assert [path.name for path in (tmp_path / "exports").iterdir()] == ["1"]
    assert {path.name for path in (tmp_path / "exports" / "1").iterdir()} == {"b", "exports.json"}
