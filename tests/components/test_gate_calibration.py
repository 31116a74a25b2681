"""What the gate says beside its choice: linear probes, and whether probabilities are right."""

from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from components.gate.judge import judge
from components.gate.rule import GateRule
from trainer.calibration.temperature import fit_temperature
from trainer.data.predictions import REFERENCE_BOUNDARY, REFERENCE_TOP, Choice, Predictions, Row

from ..predicted import predictions_of

LABELS = ["ant", "bee"]


def predicted(
    folder: Path, right: int, total: int = 200, scale: float = 1.0, **references: int
) -> Predictions:
    """The baseline is right on half of the images, the candidate and the probes on so many."""
    rows = []
    for number in range(total):
        own = number % 2
        choices = [Choice(own if number < limit else 1 - own, 0.5) for limit in (total // 2, right)]
        rows.append(Row(f"{number:05d}", f"{number}.png", LABELS[own], *choices))
    answers = {
        name: [number % 2 if number < limit else 1 - number % 2 for number in range(total)]
        for name, limit in references.items()
    }
    return predictions_of(folder, rows, LABELS, references=answers, scale=scale)


def test_probe_that_beats_the_candidate_beyond_chance_says_what_to_try(tmp_path):
    found = judge(predicted(tmp_path, 150, reference_boundary=170, reference_top=152), GateRule())

    boundary, top = found.references
    assert (boundary.name, top.name) == (REFERENCE_BOUNDARY, REFERENCE_TOP)
    assert boundary.accuracy == 0.85
    assert boundary.gain == pytest.approx(0.1)
    assert boundary.p_value == pytest.approx(stats.binomtest(20, 20, 0.5, "greater").pvalue)
    assert boundary.better
    assert "try a lower fits.fine_tune.boundary" in boundary.sentence
    assert not top.better
    assert top.sentence == (
        "A logistic regression on features pooled at the top of the frozen backbone has a test "
        "accuracy of 76.0%, +1.0 points compared with the fine-tuned model, which can be due to "
        "chance (p = 0.250)."
    )


def test_probe_decides_nothing(tmp_path):
    found = judge(predicted(tmp_path, 150, reference_top=200), GateRule())

    assert found.references[0].better
    assert found.outcome == "promote"


def test_without_probes_nothing_is_said_of_them(tmp_path):
    assert judge(predicted(tmp_path, 150), GateRule()).references == []


def test_overconfident_candidate_is_refused(tmp_path):
    """Sure to 99.99 %, and right in three cases of four."""
    rule = GateRule(max_calibration_error=0.05)
    found = judge(predicted(tmp_path, 150, scale=10.0), rule)

    clause = found.clauses[-1]
    confidence = special.softmax([10.0, 0.0])[0]
    assert clause.name == "calibration"
    assert clause.estimate == pytest.approx(confidence - 0.75)
    assert not clause.passed
    assert found.outcome == "refuse"
    assert found.sentence == (
        "Refused: the fine-tuned model's probabilities are too far off (+25.0 points on 200 test "
        "images)."
    )


def test_temperature_makes_the_same_candidate_pass(tmp_path):
    one = predicted(tmp_path, 150, scale=10.0)
    temperature = fit_temperature(one.answers["candidate"].logits, one.label_ids)

    found = judge(one, GateRule(max_calibration_error=0.05), temperature=temperature)

    assert found.outcome == "promote"
    assert found.clauses[-1].estimate == pytest.approx(0, abs=0.01)
    assert (
        f"{100 * (special.softmax([10.0, 0.0])[0] - 0.75):.1f} without"
        in found.clauses[-1].sentence
    )


def test_few_images_do_not_show_a_small_error(tmp_path):
    """Of 40 images right in 32: nothing against a confidence of 73 %, whatever the bound."""
    found = judge(predicted(tmp_path, 32, 40), GateRule(max_calibration_error=0.001))

    clause = found.clauses[-1]
    assert clause.estimate == pytest.approx(0.8 - special.softmax([1.0, 0.0])[0])
    assert clause.passed
    assert clause.low == 0


def test_candidate_without_numbers_is_refused(tmp_path):
    one = predicted(tmp_path, 150, scale=np.nan)

    found = judge(one, GateRule(max_calibration_error=0.5))

    assert found.outcome == "refuse"
    assert found.clauses[-1].sentence == "The fine-tuned model's probabilities are not numbers."
