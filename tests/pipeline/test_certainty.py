"""How sure the models are, recomputed from predictions that are made up."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special
from sklearn.calibration import calibration_curve

from pipeline.report.certainty import class_changes, describe_certainty, doubtful_labels
from pipeline.report.next_steps import is_still_improving, next_steps
from pipeline.report.run_record import RunRecord
from trainer.calibration.record import Calibration
from trainer.calibration.temperature import BINS
from trainer.data.predictions import ModelAnswers, Predictions

from .hand_made import a_run

LABELS = ["ant", "bee", "cow"]
COUNT = 300


def answers(seed: int, label_ids: np.ndarray) -> ModelAnswers:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1, [COUNT, 3]) + 2 * np.eye(3)[label_ids]
    # Both models take these for the next class.
    logits[:20] = 5 * np.eye(3)[(label_ids[:20] + 1) % 3]
    return ModelAnswers(
        choices=logits.argmax(axis=1),
        probabilities=special.softmax(logits, axis=1).max(axis=1),
        logits=logits.astype(np.float32),
        unknown_scores=generator.normal(0, 1, COUNT).astype(np.float32),
    )


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    label_ids = np.arange(COUNT) % 3
    return Predictions(
        ids=[f"{number:04d}" for number in range(COUNT)],
        paths=[f"/photos/{number}.jpg" for number in range(COUNT)],
        labels=[LABELS[one] for one in label_ids],
        label_ids=label_ids,
        groups=[""] * COUNT,
        weights=np.ones(COUNT, np.float32),
        answers={"baseline": answers(1, label_ids), "candidate": answers(2, label_ids)},
    )


@pytest.fixture(scope="module")
def certainty(predictions):
    fitted = {
        "baseline": Calibration(2.0, 50, 0.02, 1.0),
        "candidate": Calibration(0.5, 50, 0.1, 1.0, {"ant": 0.8}),
    }
    return describe_certainty(predictions, fitted)


def test_reliability_is_that_of_scikit_learn(predictions, certainty):
    logits = predictions.answers["candidate"].logits / 0.5
    confidence = special.softmax(logits.astype(float), axis=1).max(axis=1)
    accuracy, mean = calibration_curve(predictions.right("candidate"), confidence, n_bins=BINS)

    assert [one.accuracy for one in certainty.candidate.after] == pytest.approx(accuracy)
    assert [one.confidence for one in certainty.candidate.after] == pytest.approx(mean)
    assert sum(one.count for one in certainty.candidate.after) == COUNT


def test_coverage_ends_with_the_accuracy_on_all_images(predictions, certainty):
    last = certainty.baseline.coverage[-1]

    assert (last.share, last.accuracy) == (1.0, predictions.right("baseline").mean())
    middle = certainty.baseline.coverage[49]
    logits = predictions.answers["baseline"].logits.astype(float)
    order = np.argsort(-special.softmax(logits / 2, axis=1).max(axis=1), kind="stable")
    surest = order[: round(middle.share * COUNT)]
    assert middle.accuracy == pytest.approx(predictions.right("baseline")[surest].mean())


def test_unknown_images_are_those_above_the_threshold(predictions, certainty):
    above = predictions.answers["candidate"].unknown_scores > 1.0

    assert certainty.unknown.test_share == pytest.approx(above.mean())
    right = predictions.right("candidate")
    assert certainty.unknown.accuracy_unknown == pytest.approx(right[above].mean())
    assert certainty.unknown.accuracy_known == pytest.approx(right[~above].mean())
    assert certainty.unknown.left_out == {"ant": 0.8}


def test_change_of_a_class_lies_in_its_interval(predictions):
    changes = class_changes(predictions)

    assert [one.label for one in changes] == LABELS
    assert all(one.low < one.after - one.before < one.high for one in changes)
    assert sum(one.count for one in changes) == COUNT


def test_doubtful_labels_are_what_both_models_surely_contradict(predictions):
    found = doubtful_labels(predictions, LABELS, temperature=0.5)

    assert found
    assert all(one.predicted != one.label and one.probability >= 0.8 for one in found)
    assert [one.probability for one in found] == sorted(one.probability for one in found)[::-1]
    for one in found:
        row = predictions.paths.index(one.path)
        choices = {int(each.choices[row]) for each in predictions.answers.values()}
        assert choices == {LABELS.index(one.predicted)}


def steps(**changes) -> list[str]:
    run = a_run()
    run["verdict"].update(changes.pop("verdict", {}))
    run.update(changes)
    return next_steps(RunRecord.model_validate(run), "out")


def test_pushed_model_is_to_be_tried_first():
    assert steps()[0] == (
        "Try the model: thaw predict IMAGE --model out, or on a page in the browser: "
        "thaw serve --model out"
    )


def test_probe_that_is_better_is_passed_on():
    probe = {"name": "reference_top", "accuracy": 0.9, "gain": 0.1, "low": 0.0, "high": 0.2}
    probe |= {"p_value": 0.01, "better": True, "sentence": "Try another rate."}
    worse = probe | {"better": False, "sentence": "Nothing to try."}

    found = steps(verdict={"references": [probe, worse]})

    assert "Try another rate." in found
    assert "Nothing to try." not in found


def test_undecided_run_asks_for_test_images():
    found = steps(verdict={"outcome": "undecided", "blessed": False, "pushed": False})

    assert found[0].startswith("Add test images, for more of them would decide")


def test_fit_that_was_still_improving_is_named():
    found = steps()

    assert any(
        one.startswith("Fit 2 was still improving when it ended after 2 epochs: raise fits.fine_")
        for one in found
    )


def test_rate_that_has_fallen_to_zero_leaves_nothing_to_improve():
    fits = a_run()["fits"]
    fits["fine_tune"]["mixing"] = {"shares": [0.0, 1.0], "val_losses": [0.5, 0.4], "chosen": 1.0}

    assert not any("Fit 2 was still improving" in one for one in steps(fits=fits))
    assert any("or try fits.schedule: fast" in one for one in steps())


def test_fit_that_stopped_early_or_was_best_before_is_not_still_improving():
    fit = RunRecord.model_validate(a_run()).fits.head

    assert is_still_improving(fit)
    assert not is_still_improving(replace(fit, stopped_early=True))
    assert not is_still_improving(replace(fit, best_epoch=2))


def test_weakest_classes_with_few_images_are_named():
    weakest = "ant (75% recognised, 61 training images)"

    assert f"Add images of the classes that are recognised least: {weakest}." in steps()


def test_labels_to_check_and_poor_calibration_are_named():
    found = steps()

    assert any(one.startswith("Check the label of this test image") for one in found)
    assert any("calibrated_probabilities" in one and "15 points" in one for one in found)
