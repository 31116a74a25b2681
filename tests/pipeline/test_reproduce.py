"""Whether a run that was made again came out the same."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.local.reproduce import compare, config_of, versions_that_differ
from pipeline.report.run_record import RunRecord
from trainer.data.predictions import Choice, Row
from trainer.errors import ThawError

from ..predicted import write_predictions
from .hand_made import a_run


def make(
    folder: Path,
    weight: float = 1.0,
    choices: tuple[int, ...] = (0, 1, 1),
    outcome: str = "promote",
) -> RunRecord:
    """A run with weights and predictions."""
    nodes = []
    for node in ("HeadTrainer", "FineTuner"):
        model = folder / node
        (model / "warm_start").mkdir(parents=True)
        with h5py.File(model / "warm_start" / "classifier.weights.h5", "w") as file:
            value = weight if node == "FineTuner" else 1.0
            file.create_dataset("dense/kernel", data=np.array([value, np.nan], np.float32))
        nodes.append((node, "model", model))
    rows = [
        Row(str(number), f"{number}.png", "ant", Choice(0, 0.5), Choice(choice, 0.5))
        for number, choice in enumerate(choices)
    ]
    write_predictions(folder / "evaluation", rows, ["ant", "bee"])
    nodes.append(("Evaluator", "evaluation", folder / "evaluation"))
    run = a_run()
    run["verdict"]["outcome"] = outcome
    run["nodes"] = [
        {
            "name": name,
            "state": "done",
            "seconds": 1.0,
            "log": "",
            "execution_id": 1,
            "outputs": {output: [{"id": 1, "uri": str(uri)}]},
        }
        for name, output, uri in nodes
    ]
    return RunRecord.model_validate(run)


def said(before: RunRecord, after: RunRecord) -> list[str]:
    return [str(one) for one in compare(before, after)]


def test_same_run_is_the_same_in_everything(tmp_path):
    found = compare(make(tmp_path / "a"), make(tmp_path / "b"))

    assert all(one.same for one in found)
    assert str(found[1]) == "weights of the fine-tuned model: the same to the last bit"
    assert str(found[2]) == "answers to the test images: the same for all 3 images"


def test_what_differs_is_named_with_how_far(tmp_path):
    other = make(tmp_path / "b", weight=1.25, choices=(0, 0, 1), outcome="undecided")

    found = said(make(tmp_path / "a"), other)

    assert found[0] == "weights of the model of fit 1: the same to the last bit"
    assert found[1] == "weights of the fine-tuned model: differs by up to 0.25"
    assert found[2] == "answers to the test images: differs for 1 of 3 images"
    assert found[3].startswith("verdict: differs: ")


def test_other_test_images_are_said(tmp_path):
    found = said(make(tmp_path / "a"), make(tmp_path / "b", choices=(0, 1)))

    assert found[2] == "answers to the test images: differs: the test split holds other images"


def test_weights_that_are_gone_are_named(tmp_path):
    before = make(tmp_path / "a")
    (tmp_path / "a" / "FineTuner" / "warm_start" / "classifier.weights.h5").unlink()

    with pytest.raises(ThawError, match=r"classifier\.weights\.h5: is missing"):
        compare(before, make(tmp_path / "b"))


def test_run_is_made_again_for_its_own_images():
    run = a_run()
    run["config"] = {"name": "birds", "data": {"images": "/photos"}}

    config = config_of(RunRecord.model_validate(run))

    assert config.data.fingerprint == run["data"]["fingerprint"]
    assert (config.name, config.data.images) == ("birds", "/photos")


def test_config_of_another_version_is_refused():
    run = a_run()
    run["config"] = {"data": {"images": "/photos", "colour": "blue"}}

    with pytest.raises(ThawError, match="not one that this version of Thaw reads"):
        config_of(RunRecord.model_validate(run))


def test_other_versions_are_named():
    before = RunRecord.model_validate(a_run())
    after = before.model_copy(update={"versions": {**before.versions, "tfx": "2.0"}})

    assert list(versions_that_differ(before, after)) == ["tfx 1.21.0 → 2.0"]
