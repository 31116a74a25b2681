"""Looks at the same test images are counted, and share the accepted chance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.gate.judge import judge
from components.gate.ledger import Ledger, spend
from components.gate.rule import GateRule
from components.gate.verdict import Verdict
from trainer.data.predictions import CANDIDATE, Choice, Predictions, Row
from trainer.errors import ThawError

from ..predicted import predictions_of

SPEND = GateRule(reuse="spend")


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    """Predictions of a numbered candidate on images from a first to a last; 10 of them gained."""

    def make(number: int, first: int = 0, last: int = 100, gained: int = 10) -> Predictions:
        rows = [
            Row(
                f"image {image:04d}",
                "",
                "ant",
                Choice(int(image - first < gained), 0.5),
                Choice(0, 0.5),
            )
            for image in range(first, last)
        ]
        made = predictions_of(tmp_path_factory.mktemp("p") / "evaluation", rows, ["ant", "bee"])
        # Another candidate has other probabilities, be its choices the same.
        answers = made.answers[CANDIDATE]
        shifted = np.full_like(answers.probabilities, 0.5 + number / 1000)
        other = replace(answers, probabilities=shifted)
        return replace(made, answers={**made.answers, CANDIDATE: other})

    return make


def judged(ledger: Ledger, predictions: Predictions, rule: GateRule) -> Verdict:
    """As the executor does it."""
    look = ledger.look(predictions, rule)
    verdict = judge(predictions, rule, look=look)
    ledger.record(look, predictions, rule, verdict.outcome, verdict.choice.p_value)
    return verdict


def test_other_candidates_are_counted_and_a_repetition_is_not(candidates, tmp_path):
    ledger = Ledger(str(tmp_path / "new" / "ledger.sqlite"))

    first, again, second, third = (
        judged(ledger, candidates(number), GateRule()) for number in (1, 1, 2, 3)
    )

    counts = [one.earlier_candidates for one in (first, again, second, third)]
    assert counts == [0, 0, 1, 2]
    assert first.reuse == again.reuse == ""
    assert second.reuse.startswith("1 other candidate was judged by these test images before.")
    # 1 - 0.95³
    assert "up to 14% by now" in third.reuse
    assert all(one.outcome == "promote" for one in (first, second, third))


def test_images_that_judged_nobody_are_fresh(candidates, tmp_path):
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    judged(ledger, candidates(1), GateRule())

    assert judged(ledger, candidates(2, 100, 200), GateRule()).earlier_candidates == 0
    assert judged(ledger, candidates(3, 50, 150), GateRule()).earlier_candidates == 2


def test_each_look_spends_a_fifth_of_what_is_left(candidates, tmp_path):
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))

    looks = []
    for number in (1, 2, 2, 3):
        predictions = candidates(number)
        looks.append(ledger.look(predictions, SPEND))
        judged(ledger, predictions, SPEND)

    assert [look.alpha for look in looks] == pytest.approx([0.01, 0.008, 0.008, 0.0064])
    assert [look.left for look in looks] == pytest.approx([0.04, 0.032, 0.032, 0.0256])
    assert [look.is_new for look in looks] == [True, True, False, True]


def test_a_gain_that_one_look_would_pass_may_not_pass_the_tenth(candidates, tmp_path):
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))

    outcomes = [judged(ledger, candidates(n, gained=8), SPEND).outcome for n in range(8)]

    # p = 2⁻⁸ = 0.0039; the fifth look is tested at 0.2 · 0.8⁴ · 0.05 = 0.0041.
    assert outcomes == ["promote"] * 5 + ["undecided"] * 3
    last = judged(ledger, candidates(9, gained=8), SPEND)
    assert "p = 0.004; this look asks for p below 0.0017)" in last.choice.sentence


def test_fresh_test_images_add_their_share(candidates, tmp_path):
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    judged(ledger, candidates(1), SPEND)

    # Half of them are new: 0.04 + 0.05 / 2, but never more than 0.05.
    look = ledger.look(candidates(2, 50, 150), SPEND)

    assert look.alpha == pytest.approx(0.2 * 0.05)
    judged(ledger, candidates(2, 50, 150), SPEND)
    few = ledger.look(candidates(3, 60, 160), SPEND)
    assert few.alpha == pytest.approx(0.2 * min(0.05, 0.04 + 0.05 / 10))


def test_the_verdict_says_what_is_left(candidates, tmp_path):
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    judged(ledger, candidates(1), SPEND)

    found = judged(ledger, candidates(2), SPEND)

    assert found.reuse == (
        "1 other candidate was judged by these test images before. Of the accepted chance of "
        "0.05, 0.008 is spent on this one, and 0.032 is left; new test images add to it."
    )


@given(st.floats(1e-6, 0.5), st.integers(1, 200))
def test_what_is_spent_never_adds_up_to_more_than_there_is(alpha, looks):
    left, total = alpha, 0.0
    for _ in range(looks):
        spent, left = spend(left)
        total += spent

    assert 0 < total <= alpha * (1 + 1e-9)
    assert total + left == pytest.approx(alpha)


def test_a_damaged_ledger_is_named_with_what_to_do(candidates, tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no database" * 100)

    with pytest.raises(ThawError, match=r"(?s)ledger\.sqlite: cannot be used: .*or delete it"):
        Ledger(str(path)).look(candidates(1), GateRule())


def test_its_folder_is_made(candidates, tmp_path):
    path = Path(tmp_path / "a" / "b" / "ledger.sqlite")

    judged(Ledger(str(path)), candidates(1), GateRule())

    assert path.exists()


def test_without_test_images_there_is_a_look_and_no_division_by_them(candidates, tmp_path):
    look = Ledger(str(tmp_path / "ledger.sqlite")).look(candidates(1, last=0), SPEND)

    assert look.alpha == 0
