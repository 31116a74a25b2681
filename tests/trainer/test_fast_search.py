"""The search for the fast schedule, with a head that is solved: real trials of a tiny backbone."""

import pytest

from trainer.fit_specs import LBFGS, SearchPlan, Stage
from trainer.tuning import job as tuning_job
from trainer.tuning.hyperparameters import (
    BOUNDARY,
    FINE_TUNE_RATE,
    HEAD_DROPOUT,
    HEAD_RATE,
    HEAD_UNITS,
    LABEL_SMOOTHING,
)

from . import fits_of_workers, test_workers

pytestmark = pytest.mark.slow

data = test_workers.data

HEAD = {HEAD_RATE: 1e-3, HEAD_UNITS: 0, HEAD_DROPOUT: 0.0, LABEL_SMOOTHING: 0.0}
TOP = {FINE_TUNE_RATE: 1e-2, BOUNDARY: fits_of_workers.BOUNDARY}
PLAN = SearchPlan(
    Stage("head", "bayesian", 1, 1, {key: {"of": [value]} for key, value in HEAD.items()}, HEAD),
    4,
    Stage(
        "fine_tune",
        "bayesian",
        2,
        3,
        {FINE_TUNE_RATE: {"between": [1e-4, 1e-1]}, BOUNDARY: {"of": [TOP[BOUNDARY]]}},
        TOP,
    ),
    fits_of_workers.FAST,
    LBFGS,
)


def test_head_is_solved_once_and_trials_of_fit_2_are_judged_by_their_mixtures(
    data, strategy, tmp_path, monkeypatch
):
    fits_of_workers.use_tiny_backbone()
    monkeypatch.setattr(tuning_job, "make_strategy", lambda: strategy)
    records = []
    fine_tune = tuning_job.recipe.fine_tune

    def keeping(*arguments, **named):
        records.append((fine_tune(*arguments, **named), named["start_head"]))
        return records[-1][0]

    monkeypatch.setattr(tuning_job.recipe, "fine_tune", keeping)
    job = fits_of_workers.make_job(
        {**data, "batch_size": 8, "folder": str(tmp_path)}, tmp_path, kept=True
    )

    search = tuning_job.make_search(job, PLAN, data["weights"], str(tmp_path / "trials"))
    search.search()

    head, *trials = search.results().trials
    assert (head.stage, head.epochs, head.status) == ("head", 1, "completed")
    assert [trial.epochs for trial in trials] == [3, 3]
    for trial, (record, start) in zip(trials, records, strict=True):
        assert trial.objective == pytest.approx(record.mixing.lowest_loss)
        assert len(start) == 2  # kernel and bias: there is no hidden layer
        # Where nothing is mixed in, the model is that of the head's own trial.
        assert record.mixing.val_losses[0] == pytest.approx(head.objective, abs=1e-5)
    assert search.results().best[HEAD_UNITS] == 0
