"""The real pipeline, end to end: push, caching, refusal. Runs in the order written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from pyarrow import parquet
from scipy import stats

from pipeline.inspect.record import read
from trainer import keys
from trainer.data.card import read_card

from .conftest import CLASSES, GOOD, OPTIONS, PER_CLASS, modified, states, thaw

pytestmark = pytest.mark.slow

NODES = [
    "ImageExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "TrunkFeatures",
    "HeadTrainer",
    "FineTuner",
    "Evaluator",
    "ServingCheck",
    "Gate",
    "Pusher",
]


def artifact(run, node: str, output: str) -> Path:
    (found,) = [entry for entry in run.results["nodes"] if entry["name"] == node]
    (one,) = found["outputs"][output]
    return Path(one["uri"])


def examples(folder: Path) -> list[tf.train.Example]:
    files = sorted(str(path) for path in folder.glob("*.gz"))
    return [
        tf.train.Example.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(files, "GZIP")
    ]


def test_better_candidate_is_blessed_and_pushed(good_run, output):
    verdict, metrics = good_run.results["verdict"], good_run.results["metrics"]

    assert good_run.code == 0, good_run.printed
    assert (verdict["blessed"], verdict["pushed"]) == (True, True)
    gain = metrics["candidate"]["accuracy"] - metrics["baseline"]["accuracy"]
    assert verdict["gain"] == pytest.approx(gain)
    assert gain > 0
    assert "Blessed" in good_run.printed
    assert (verdict["outcome"], verdict["earlier_candidates"]) == ("promote", 0)
    assert [clause["name"] for clause in verdict["clauses"]] == ["choice", "harm"]
    pushed = output / "serving" / "hands"
    assert [path.name for path in pushed.iterdir()] == ["1"]
    assert (pushed / "1" / "saved_model.pb").exists()


def test_exports_answer_as_the_pushed_model_does_and_classify_a_photo(
    good_run, images, output, pushed_model
):
    exports = good_run.results["exports"]
    folder = output / "exports" / "hands" / "1"
    photo = next(path for path in sorted(images.rglob("*.*")) if path.name != "broken.jpg")

    onnx, int8 = exports["exports"]
    shown = subprocess.run(
        [sys.executable, folder / "classify.py", folder / "model.onnx", photo],
        stdout=subprocess.PIPE,
        text=True,
    )
    done = thaw("predict", photo, "--model", pushed_model, "--json")

    assert exports["path"] == str(folder)
    assert exports["num_images"] == good_run.results["metrics"]["test_images"]
    assert (onnx["agrees"], onnx["differing"] - onnx["ties"]) == (True, 0)
    assert onnx["max_difference"] < 1e-3
    assert int8["agrees"]
    accuracy = good_run.results["metrics"]["candidate"]["accuracy"]
    assert exports["saved_model"]["accuracy"] == pytest.approx(accuracy, abs=0.02)
    assert f"exports: {folder}" in good_run.printed
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {
        "model.onnx",
        "model_int8.tflite",
        "labels.txt",
        "exports.json",
        "preprocess.py",
        "classify.py",
    }
    name, expected = json.loads(done.stdout)["classes"][0]
    label, probability = shown.stdout.split("\t")[1].rsplit(" ", 1)
    assert label == name
    assert float(probability.rstrip("%")) == pytest.approx(100 * expected, abs=1)


def test_run_json_holds_every_figure(good_run):
    run = good_run.results

    assert [node["name"] for node in run["nodes"]] == [*NODES, "Exporter"]
    assert all(node["seconds"] > 0 and node["state"] == "done" for node in run["nodes"])
    assert run["config"]["fits"]["fine_tune"]["boundary"] == "block_14_add"
    assert run["data"]["set_aside"]["count"] == 1
    (aside,) = run["data"]["set_aside"]["files"]
    assert aside["path"].endswith("0/broken.jpg")
    assert aside["reason"] == "not an image, whatever its name says"
    counts = run["data"]["counts"]
    assert sum(sum(of_split.values()) for of_split in counts.values()) == CLASSES * PER_CLASS
    assert run["metrics"]["test_images"] == sum(counts["test"].values())
    for model in ("baseline", "candidate"):
        metrics = run["metrics"][model]
        confusion = metrics["confusion"]
        right = sum(confusion[i][i] for i in range(CLASSES))
        assert sum(map(sum, confusion)) == run["metrics"]["test_images"]
        assert metrics["accuracy"] == pytest.approx(right / run["metrics"]["test_images"])
        assert {k: v["count"] for k, v in metrics["per_class"].items()} == counts["test"]
    paired = run["verdict"]["paired"]
    difference = paired["candidate_only"] - paired["baseline_only"]
    gain = run["verdict"]["gain"]
    assert difference == pytest.approx(gain * run["metrics"]["test_images"], abs=1e-3)
    assert len(run["fits"]["head"]["history"]["val_loss"]) == 1
    assert run["fits"]["fine_tune"]["frozen_layers"] == 134


def test_the_verdict_follows_from_the_predictions_by_scipy_alone(good_run):
    folder = artifact(good_run, "Evaluator", "evaluation") / "predictions"
    table = parquet.read_table(folder).to_pylist()
    verdict = good_run.results["verdict"]

    right = {
        model: [int(np.argmax(row[f"{model}_logits"])) == row["label_id"] for row in table]
        for model in ("baseline", "candidate")
    }
    pairs = list(zip(right["baseline"], right["candidate"], strict=True))
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    choice, harm = verdict["clauses"]

    assert len(table) == good_run.results["metrics"]["test_images"]
    p_value = stats.binomtest(gained, gained + lost, 0.5, "greater").pvalue
    assert choice["p_value"] == pytest.approx(p_value)
    assert choice["estimate"] == pytest.approx((gained - lost) / len(table))
    losses = {}
    for label in {row["label"] for row in table}:
        own = [pair for pair, row in zip(pairs, table, strict=True) if row["label"] == label]
        losses[label] = (own.count((True, False)) - own.count((False, True))) / len(own)
    assert harm["estimate"] == pytest.approx(max(losses.values()))
    assert verdict["blessed"] == (p_value < 0.05) or "gate.alpha=0.5" in OPTIONS
    probes = {one["name"]: one for one in verdict["references"]}
    assert set(probes) == {"reference_boundary", "reference_top"}
    for name, probe in probes.items():
        own = [row[f"{name}_label_id"] == row["label_id"] for row in table]
        assert probe["accuracy"] == pytest.approx(np.mean(own))
        pairs = list(zip(right["candidate"], own, strict=True))
        more, fewer = pairs.count((False, True)), pairs.count((True, False))
        expected = stats.binomtest(more, more + fewer, 0.5, "greater").pvalue if more + fewer else 1
        assert probe["p_value"] == pytest.approx(expected)


def test_what_the_model_marks_as_unknown_follows_from_the_predictions(good_run):
    folder = artifact(good_run, "Evaluator", "evaluation") / "predictions"
    scores = [row["candidate_unknown_score"] for row in parquet.read_table(folder).to_pylist()]
    assets = artifact(good_run, "FineTuner", "model") / "Format-Serving" / "assets"
    fitted = json.loads((assets / "calibration.json").read_text())

    unknown = good_run.results["certainty"]["unknown"]
    assert unknown["test_share"] == pytest.approx(np.mean(np.array(scores) > fitted["threshold"]))
    assert unknown["left_out"].keys() == {"0", "1", "2"}
    assert good_run.results["certainty"]["candidate"]["temperature"] == fitted["temperature"]


def test_same_bytes_never_stand_in_two_splits(good_run):
    uri = artifact(good_run, "ImageExampleGen", "examples")

    ids = {
        split: [
            example.features.feature[keys.ID].bytes_list.value[0]
            for example in examples(uri / f"Split-{split}")
        ]
        for split in keys.SPLITS
    }

    together = [identity for found in ids.values() for identity in found]
    assert len(together) == len(set(together)) == CLASSES * PER_CLASS
    card = read_card(str(uri))
    assert {split: len(found) for split, found in ids.items()} == {
        split: card.num_examples(split) for split in keys.SPLITS
    }


def test_statistics_hold_classes_and_sizes_but_no_image_bytes(good_run):
    import tensorflow_data_validation as tfdv

    uri = artifact(good_run, "StatisticsGen", "statistics")
    statistics = tfdv.load_stats_binary(str(uri / "Split-train" / "FeatureStats.pb"))

    (dataset,) = statistics.datasets
    found = {feature.path.step[0]: feature for feature in dataset.features}
    assert set(found) == {keys.LABEL, keys.HEIGHT, keys.WIDTH}
    classes = found[keys.LABEL].string_stats.rank_histogram.buckets
    counted = {bucket.label: int(bucket.sample_count) for bucket in classes}
    assert counted == good_run.results["data"]["counts"]["train"]
    assert found[keys.WIDTH].num_stats.max == 100 or found[keys.WIDTH].num_stats.max == 64


def test_report_stands_alone(good_run, output):
    page = (output / "report.html").read_text()

    assert "Blessed and pushed" in page
    assert 'src="http' not in page
    # Each with two heat maps.
    pictures = 3 * len(good_run.results["samples"]) + len(good_run.results["doubtful_labels"])
    assert page.count("data:image/jpeg;base64,") == pictures > 0
    assert len(page) < 5_000_000


def test_label_ids_follow_the_sorted_class_names_everywhere(good_run, pushed_model, images):
    classes = sorted(path.name for path in images.iterdir())
    photo = next((images / "1").iterdir()).read_bytes()

    serve = tf.saved_model.load(str(pushed_model)).signatures["serving_default"]
    answer = serve(image_bytes=tf.constant([photo]))

    assert (pushed_model / "assets" / "labels.txt").read_text().splitlines() == classes
    assert good_run.results["data"]["classes"] == classes
    assert [name.decode() for name in answer["class_names"].numpy()[0]] == classes


def test_pushed_model_predicts_from_the_command_line(pushed_model, images, output):
    photo = next((images / "1").iterdir())

    done = thaw("predict", photo, images / "0" / "broken.jpg", "--model", output, "--json")

    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 1
    assert good["path"] == str(photo)
    assert {name for name, _ in good["classes"]} == {"0", "1", "2"}
    assert sum(probability for _, probability in good["classes"]) == pytest.approx(1, abs=1e-4)
    assert (pushed_model / "assets" / "model_card.md").read_text().startswith("# Model card: hands")
    assert good["is_known"] in (True, False)
    assert bad["error"] == "not a JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF or HEIC file"


def test_pushed_model_has_its_signatures_and_none_of_keras_own_objects(pushed_model):
    """What Keras would save of InceptionV3 beside them takes 7 to 17 s to load."""
    model = tf.saved_model.load(str(pushed_model))

    assert set(model.signatures) == {"serving_default", "pixels", "evaluate", "explain"}
    assert not hasattr(model, "layers")
    assert not (pushed_model / "keras_metadata.pb").exists()


def test_a_run_can_be_made_again_to_the_last_bit(good_run, output, tmp_path):
    target = tmp_path / "again"

    done = thaw("reproduce", output, "--output", target)

    assert done.returncode == 0, done.stdout
    assert "weights of the model of fit 1: the same to the last bit" in done.stdout
    assert "weights of the fine-tuned model: the same to the last bit" in done.stdout
    assert "verdict: the same" in done.stdout
    assert (target / "model_card.md").is_file()
    assert thaw("reproduce", output, "--output", target).returncode == 2


def test_same_command_again_touches_nothing(repeated_run, output):
    run, before = repeated_run

    assert run.code == 0, run.printed
    every = (*NODES, "Exporter", "Report")
    assert run.states == dict.fromkeys(every, "cached")
    assert modified(output) == before


def test_other_rate_of_fit_2_runs_only_what_follows_from_it(harmful_run):
    ran = [name for name, state in harmful_run.states.items() if state == "done"]

    assert ran == ["FineTuner", "Evaluator", "ServingCheck", "Gate", "Pusher", "Report"]


def test_worse_candidate_is_neither_blessed_nor_pushed(harmful_run, pushed_model):
    verdict = harmful_run.results["verdict"]

    assert harmful_run.code == 3, harmful_run.printed
    assert (verdict["blessed"], verdict["pushed"]) == (False, False)
    assert harmful_run.results["model"] is None
    assert "Not blessed" in harmful_run.printed
    assert verdict["outcome"] in ("refuse", "keep_baseline")
    assert [clause["name"] for clause in verdict["clauses"]] == ["choice", "promotion", "harm"]
    assert "The model that is served now (version 1)" in harmful_run.printed
    assert verdict["earlier_candidates"] == 1
    assert "1 other candidate was judged by these test images before" in harmful_run.printed
    assert "requires a gain of more than 0.0 points" in verdict["reasons"][0]
    assert [path.name for path in pushed_model.parent.iterdir()] == ["1"]


def test_a_refused_candidate_can_be_promoted_by_hand_and_leaves_a_trace(
    harmful_run, images, output, tmp_path
):
    import ml_metadata as mlmd
    from tfx.orchestration import metadata

    copy = tmp_path / "copy"
    shutil.copytree(output, copy)

    shown = thaw("gate", copy)
    done = thaw("gate", copy, "--override", "we know better")
    again = thaw("gate", copy, "--override", "once more")
    empty = thaw("gate", copy, "--override", " ")

    assert (shown.returncode, done.returncode) == (0, 0), shown.stdout + done.stdout
    assert harmful_run.results["verdict"]["sentence"] in shown.stdout
    assert "promoted by hand: we know better" in done.stdout
    pushed = copy / "serving" / "hands" / "2"
    assert "Why: we know better" in (pushed / "assets" / "override.txt").read_text()
    assert tf.saved_model.load(str(pushed)).signatures["serving_default"]
    run = json.loads((copy / "run.json").read_text())
    assert run["verdict"]["override"]["why"] == "we know better"
    assert run["model"]["version"] == "2"
    assert not run["verdict"]["pushed"]
    assert "promoted by hand" in (copy / "report.html").read_text()
    connection = metadata.sqlite_metadata_connection_config(str(copy / "metadata.sqlite"))
    properties = [
        artifact.custom_properties["override"].string_value
        for artifact in mlmd.MetadataStore(connection).get_artifacts_by_type("ModelBlessing")
        if "override" in artifact.custom_properties
    ]
    assert properties == ["we know better"]
    assert again.returncode == 1
    assert "was pushed already, as version 2" in again.stdout
    assert empty.returncode == 2
    assert "say why" in empty.stdout


def test_refused_push_leaves_the_earlier_model_serving(harmful_run, pushed_model):
    assert tf.saved_model.load(str(pushed_model)).signatures["serving_default"]


def test_report_can_be_built_again(harmful_run, output):
    (output / "report.html").unlink()

    done = thaw("report", output)

    assert done.returncode == 0, done.stdout
    assert "Not blessed" in (output / "report.html").read_text()


def test_inspection_and_run_share_their_nodes(harmful_run, images, output):
    settings = [f"--set={option}" for option in OPTIONS]

    done = thaw("inspect", "--images", images, "--output", output, *settings)

    assert done.returncode == 0, done.stdout
    up_to_the_trunk = NODES[: NODES.index("TrunkFeatures") + 1]
    assert states(output) == {**dict.fromkeys(up_to_the_trunk, "cached"), "Inspect": "done"}
    found = read(output / "inspect.json")
    assert found.counts == harmful_run.results["data"]["counts"]
    assert [Path(one.path).name for one in found.rejected_files] == ["broken.jpg"]
    assert found.probe.images == CLASSES * PER_CLASS
    assert found.probe.low < found.probe.accuracy < found.probe.high
    assert 0 < found.cost.low_seconds <= found.cost.high_seconds
    assert f"About {found.probe.accuracy:.1%} without fine-tuning" in done.stdout
    assert (output / "inspect.html").read_text().startswith("<!DOCTYPE html>")


def test_a_class_that_is_added_later_starts_from_the_head_of_the_run_before(
    harmful_run, images, output, tmp_path
):
    more = tmp_path / "more"
    shutil.copytree(images, more)
    shutil.copytree(more / "0", more / "new")
    for photo in (more / "new").iterdir():
        if photo.name != "broken.jpg":
            with Image.open(photo) as picture:
                ImageOps.invert(picture.convert("RGB")).save(photo.with_suffix(".png"))
        photo.unlink()
    settings = [f"--set={option}" for option in (*OPTIONS, GOOD)]

    done = thaw("run", "--images", more, "--output", output, "--from", output, *settings)

    assert done.returncode == 0, done.stdout
    run = json.loads((output / "run.json").read_text())
    since = run["since"]
    assert (since["new_classes"], since["gone_classes"]) == (["new"], [])
    assert (since["images_added"], since["images_gone"]) == (PER_CLASS, 0)
    assert since["images_moved"] == 0
    assert since["old_test_images"] == harmful_run.results["metrics"]["test_images"]
    before = harmful_run.results["metrics"]["candidate"]["accuracy"]
    assert since["accuracy_before"] == pytest.approx(before)
    assert run["data"]["from_store"] == CLASSES * PER_CLASS
    model = artifact(harmful_run, "HeadTrainer", "model")
    assert run["config"]["fits"]["head"]["start_from"] == str(model)
    log = next((output / "logs").glob(f"{run['run_id']}/HeadTrainer.log")).read_text()
    assert f"fit 1 starts from {model}: 3 classes are kept, 1 are new" in log
    assert "Since the run of" in (output / "report.html").read_text()


def test_a_folder_without_a_run_cannot_be_started_from(images, tmp_path):
    done = thaw("run", "--images", images, "--output", tmp_path / "out", "--from", tmp_path)

    assert done.returncode == 2
    assert "there is no earlier run to start from" in done.stdout
    assert not (tmp_path / "out").exists()


def test_an_inspection_without_the_cache_is_refused(images, tmp_path):
    done = thaw("inspect", "--images", images, "--output", tmp_path, "--set=features.cache=false")

    assert done.returncode == 2
    assert "an inspection needs features.cache" in done.stdout
