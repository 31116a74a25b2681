"""What becomes of a candidate, by predictions made up for it and by a real evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tfx.types import standard_artifacts

from components.gate.executor import Executor
from components.gate.judge import judge, measure, passes_choice
from components.gate.rule import GateRule
from components.gate.statistics import Pairs
from components.gate.verdict import Verdict, read_verdict
from trainer.data.predictions import Choice, Predictions, Row
from trainer.errors import ThawError
from trainer.records import to_json

from ..predicted import predictions_of, write_predictions
from .evaluations import evaluate

LABELS = ["ant", "bee"]
Counts = dict[tuple[bool, bool], int]


def predicted(folder: Path, group_size: int = 1, **classes: Counts) -> Predictions:
    """So many images of each class of which the baseline and the candidate are right or not."""
    rows, groups = [], []
    for label, counts in classes.items():
        own = LABELS.index(label)
        for (baseline, candidate), count in counts.items():
            for _ in range(count):
                number = len(rows)
                choices = [
                    Choice(own if right else 1 - own, 0.5) for right in (baseline, candidate)
                ]
                rows.append(Row(f"{number:05d}", f"{number}.png", label, *choices))
                groups.append(f"group {number // group_size}" if group_size > 1 else "")
    return predictions_of(folder, rows, LABELS, groups)


def counts(both: int, gained: int, lost: int, neither: int = 0) -> Counts:
    return {
        (True, True): both,
        (False, True): gained,
        (True, False): lost,
        (False, False): neither,
    }


def verdict(folder: Path, rule: GateRule | None = None, **classes: Counts) -> Verdict:
    return judge(predicted(folder, **classes), rule or GateRule())


def test_a_gain_beyond_chance_is_promoted(tmp_path):
    found = verdict(tmp_path, ant=counts(40, 6, 0), bee=counts(40, 6, 1, 7))

    assert found.outcome == "promote"
    assert found.promotes
    assert found.sentence == (
        "The fine-tuned model is better than its baseline: +11.0 points on 100 test images, "
        "beyond chance."
    )
    p_value = stats.binomtest(12, 13, 0.5, "greater").pvalue
    assert found.choice.p_value == pytest.approx(p_value)
    assert (found.candidate_only, found.baseline_only) == (12, 1)
    assert found.choice.sentence.startswith(
        "Test accuracy went from 81.0% to 92.0%, +11.0 points (95 % confidence interval +"
    )


def test_one_image_more_is_undecided_and_says_what_would_decide(tmp_path):
    """The verdict that a plain threshold gave on 146 photographs, at p = 1."""
    found = verdict(tmp_path, ant=counts(50, 6, 5), bee=counts(50, 5, 5, 25))

    assert found.outcome == "undecided"
    assert not found.promotes
    assert "can be due to chance" in found.sentence
    assert "can be due to chance (exact McNemar test, p = 0.500)" in found.choice.sentence
    assert found.power.startswith("146 test images, 15% of which the two models differ on, show a")
    assert "would show a gain of 0.7 points" in found.power


@pytest.mark.parametrize(
    ("gained", "lost", "min_gain", "outcome"),
    [
        (0, 0, 0.0, "keep_baseline"),
        (3, 4, 0.0, "keep_baseline"),
        (6, 0, 0.06, "keep_baseline"),
        (6, 0, 0.059, "promote"),
        (0, 6, 0.0, "refuse"),
    ],
)
def test_a_gain_must_exceed_min_gain_and_a_loss_beyond_chance_is_refused(
    tmp_path, gained, lost, min_gain, outcome
):
    both = 100 - gained - lost
    found = verdict(
        tmp_path, GateRule(min_gain=min_gain), ant=counts(both, gained, lost), bee=counts(0, 0, 0)
    )

    assert found.outcome == outcome


def test_a_class_that_loses_beyond_chance_refuses_a_better_candidate(tmp_path):
    found = verdict(tmp_path, ant=counts(50, 40, 0), bee=counts(40, 0, 10))

    assert found.choice.passed
    assert found.outcome == "refuse"
    assert found.sentence == (
        "Refused: the fine-tuned model harms a class (+21.4 points on 140 test images overall)."
    )
    harm = found.clauses[-1]
    # Holm: twice the smaller of two p-values.
    assert harm.p_value == pytest.approx(2 * 2**-10)
    assert "bee 20.0 points (p = 0.002)" in harm.sentence


@pytest.mark.parametrize(
    ("rule", "lost"),
    [(GateRule(), 3), (GateRule(max_class_loss=0.2), 10)],
    ids=["within chance", "within the limit"],
)
def test_a_class_may_lose_a_little(tmp_path, rule, lost):
    found = verdict(tmp_path, rule, ant=counts(50, 40, 0), bee=counts(50 - lost, 0, lost))

    assert found.outcome == "promote"
    assert f"The largest loss: bee, {2 * lost:.1f} points" in found.clauses[-1].sentence


@pytest.mark.parametrize(
    ("right", "outcome", "said"),
    [
        (98, "promote", "reaches the required 90.0%"),
        (92, "undecided", "does not surely reach the required 90.0%"),
        (80, "refuse", "misses the required 90.0%"),
    ],
)
def test_the_floor_is_for_the_lower_bound_of_the_accuracy(tmp_path, right, outcome, said):
    rule = GateRule(min_accuracy=0.9)
    found = verdict(tmp_path, rule, ant=counts(right - 20, 20, 0, 100 - right), bee=counts(0, 0, 0))

    floor = found.clauses[1]
    bound = stats.binomtest(right, 100, alternative="greater").proportion_ci(0.95, "exact").low
    assert floor.low == pytest.approx(bound)
    assert found.outcome == outcome
    assert said in floor.sentence


def test_frames_of_few_scenes_are_no_evidence(tmp_path):
    """Ten images of one scene are all judged better: one scene in favour, no more."""
    one = predicted(tmp_path / "alone", ant=counts(60, 20, 0), bee=counts(20, 0, 0))
    grouped = predicted(tmp_path / "scenes", 10, ant=counts(60, 20, 0), bee=counts(20, 0, 0))

    assert judge(one, GateRule()).outcome == "promote"
    found = judge(grouped, GateRule())
    assert found.outcome == "undecided"
    assert (found.images, found.groups) == (100, 10)
    assert found.choice.p_value == pytest.approx(1 / 4)
    assert "10 groups of test images" in found.power


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200))
def test_promoted_is_what_scipy_alone_would_promote(gained, lost, alike):
    total = gained + lost + alike + 1
    difference = np.array([1] * gained + [-1] * lost + [0] * (alike + 1))
    pairs = Pairs(difference < 0, difference > 0, np.arange(total))

    gain = measure(pairs, np.zeros(total, int), GateRule()).gain
    found = passes_choice(gain.estimate, gain.p_value, GateRule(), alpha=0.05)

    p_value = stats.binomtest(gained, gained + lost, 0.5, "greater").pvalue if gained + lost else 1
    assert found == (gained > lost and p_value < 0.05)


def test_by_macro_recall_a_gain_in_the_common_class_alone_is_half_a_gain(tmp_path):
    """Accuracy rises by 9 points; the recall of ants by 10 and that of bees by none."""
    classes = {"ant": counts(162, 18, 0), "bee": counts(20, 0, 0)}
    rule = GateRule(metric="macro_recall", min_gain=0.04)

    found = verdict(tmp_path / "a", rule, **classes)
    strict = verdict(tmp_path / "b", GateRule(metric="macro_recall", min_gain=0.06), **classes)

    assert found.choice.estimate == pytest.approx(0.05)
    assert found.outcome == "promote"
    assert found.choice.sentence.startswith(
        "Mean recall of the classes went from 95.0% to 100.0%, +5.0 points ("
    )
    assert "paired bootstrap, p < 0.001" in found.choice.sentence
    assert strict.outcome == "keep_baseline"


def test_by_macro_recall_the_floor_is_of_the_mean_over_classes(tmp_path):
    """180 of 200 are right, but half of the rare class is wrong."""
    rule = GateRule(metric="macro_recall", min_accuracy=0.8)
    found = verdict(tmp_path, rule, ant=counts(130, 40, 0), bee=counts(10, 5, 0, 15))

    floor = found.clauses[1]
    assert floor.estimate == pytest.approx((1 + 0.5) / 2)
    assert floor.low < 0.75 < floor.threshold
    assert found.outcome == "refuse"


def test_without_test_images_there_is_no_verdict(tmp_path):
    with pytest.raises(ThawError, match="no test images to judge by"):
        judge(predicted(tmp_path, ant=counts(0, 0, 0)), GateRule())


def run(folder: Path, evaluation: standard_artifacts.ModelEvaluation) -> tuple[Verdict, int]:
    """The executor: its verdict, and the property that TFX's Pusher asks."""
    blessing = standard_artifacts.ModelBlessing()
    blessing.uri = str(folder / "new" / "blessing")
    models = [standard_artifacts.Model() for _ in range(2)]
    for number, model in enumerate(models, 1):
        model.uri, model.id = f"/models/{number}", number
    Executor().Do(
        {"evaluation": [evaluation], "model": models[:1], "baseline_model": models[1:]},
        {"blessing": [blessing]},
        {"rule": json.dumps(to_json(GateRule()))},
    )
    blessed = blessing.get_int_custom_property("blessed")
    name = "BLESSED" if blessed else "NOT_BLESSED"
    assert (Path(blessing.uri) / name).exists()
    assert blessing.get_string_custom_property("current_model") == "/models/1"
    assert blessing.get_int_custom_property("baseline_model_id") == 2
    return read_verdict(blessing.uri), blessed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("baseline", "candidate", "outcome", "blessed"),
    [(12, 24, "promote", 1), (23, 24, "undecided", 0), (24, 12, "refuse", 0)],
)
def test_a_real_evaluation_is_judged(tmp_path, baseline, candidate, outcome, blessed):
    evaluation = evaluate(tmp_path, 30, baseline, candidate)

    found, value = run(tmp_path, evaluation)

    assert (found.outcome, value) == (outcome, blessed)
    assert found.choice.estimate == pytest.approx((candidate - baseline) / 30)


@pytest.mark.slow
def test_predictions_that_are_not_those_of_the_metrics_are_refused(tmp_path):
    evaluation = evaluate(tmp_path, 30, 10, 20)
    for path in (tmp_path / "evaluation" / "predictions").iterdir():
        path.unlink()
    (tmp_path / "evaluation" / "predictions").rmdir()
    rows = [Row("1", "1.png", "ant", Choice(0, 0.5), Choice(0, 0.5))]
    write_predictions(tmp_path / "evaluation", rows, LABELS)

    with pytest.raises(ThawError, match="metrics and predictions do not agree: the baseline's"):
        run(tmp_path, evaluation)
