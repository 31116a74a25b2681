"""What the report says of a search."""

import re
from typing import Any

from pipeline.report.charts import TrialPoint, tuning_chart
from pipeline.report.page import build_report
from pipeline.report.run_record import Search
from pipeline.report.tuning import Tuning, describe_tuning

from .hand_made import a_run, write_run


def trial(number: int, objective: float | None, stage: str = "head") -> dict[str, Any]:
    values: dict[str, Any] = {"fits.head.learning_rate": 1e-3 * (1 + number), "head.units": 256}
    if stage == "fine_tune":
        values = {
            "fits.fine_tune.learning_rate": 1e-4 * (1 + number),
            "fits.fine_tune.boundary": "mixed8",
        }
    return {
        "stage": stage,
        "trial": f"{number:02d}",
        "values": values,
        "objective": objective,
        "epochs": 3,
        "seconds": 0.5,
        "status": "failed" if objective is None else "completed",
    }


def tuner(*trials: dict[str, Any]) -> dict[str, Any]:
    return {"algorithm": "hyperband", "best": {"head.units": 256}, "trials": list(trials)}


def described(*trials: dict[str, Any]) -> Tuning:
    tuning = describe_tuning(Search.model_validate(tuner(*trials)))
    assert tuning is not None
    return tuning


def points(svg: str) -> int:
    return len(re.findall(r"<use ", svg))


def test_untuned_run_has_no_section(tmp_path):
    page = build_report(write_run(tmp_path, a_run())).read_text()

    assert ">Tuning</h2>" not in page
    assert describe_tuning(None) is None


def test_section_stands_after_the_learning_curves_with_chosen_values_and_trials(tmp_path):
    run = a_run()
    run["tuner"] = tuner(trial(0, 0.531), trial(1, 0.257), trial(0, 0.125, "fine_tune"))

    page = build_report(write_run(tmp_path, run)).read_text()

    headings = re.findall("<h2.*?>(.*?)</h2>", page)
    assert headings.index("Tuning") == headings.index("Learning curves") + 1
    assert "best of 3 trials (hyperband)" in page
    assert "<code>head.units</code></td><td>256</td>" in page
    assert page.index("<td>0.257</td>") < page.index("<td>0.531</td>")
    assert "Fine-tuning: 1 trial, best first" in page


def test_best_trials_come_first_and_failed_ones_last():
    found = described(trial(0, None), trial(1, 0.5), trial(2, 0.25))

    assert [one.trial for one in found.stages[0].top] == ["02", "01", "00"]


def test_only_twenty_trials_are_shown_at_once():
    found = described(*(trial(n, 0.1 + n) for n in range(33)))

    assert (len(found.stages[0].top), len(found.stages[0].rest)) == (20, 13)


def test_failed_trial_is_in_the_table_but_not_on_the_chart():
    all_finished = described(trial(0, 0.5), trial(1, 0.25))
    one_failed = described(trial(0, 0.5), trial(1, 0.25), trial(2, None))

    assert one_failed.chart == all_finished.chart
    assert one_failed.stages[0].top[-1].status == "failed"


def test_every_trial_is_a_point_and_stages_stand_apart():
    head = [TrialPoint(1e-3 * n, 0.5, f"units {2**n}") for n in range(1, 5)]
    fine_tune = [TrialPoint(1e-4 * n, 0.5, "boundary mixed8") for n in range(1, 3)]

    one, both = tuning_chart({"Head": head}), tuning_chart({"Head": head, "Fine": fine_tune})

    assert one.count("validation cross-entropy") == 1
    assert both.count("validation cross-entropy") == 2
    assert both.count("Validation cross-entropy of each trial") == 1
    assert points(both) > points(one)
    assert 'href="http' not in both


def test_search_without_a_finished_trial_of_one_stage_is_drawn_all_the_same():
    found = described(trial(0, 0.5), trial(0, None, "fine_tune"))

    assert found.chart.endswith("</svg>\n")
