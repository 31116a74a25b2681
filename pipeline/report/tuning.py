"""Prepares the report's section on tuning: stages, trials ranked by loss, a chart."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.charts import TrialPoint, tuning_chart
from pipeline.report.run_record import Search, Trial
from trainer.tuning.hyperparameters import BOUNDARY, FINE_TUNE_RATE, HEAD_RATE, HEAD_UNITS, Value

_MOST_TRIALS = 20

# Stage -> its title, the hyperparameter on the x axis, the one shown by colour, its label.
_STAGES = {
    "head": ("Head", HEAD_RATE, HEAD_UNITS, "units"),
    "fine_tune": ("Fine-tuning", FINE_TUNE_RATE, BOUNDARY, "boundary"),
}


@dataclass(frozen=True)
class Stage:
    """A table of trials, best first and failed ones last: the `top` ones, and the `rest`."""

    title: str
    keys: list[str]
    top: list[Trial]
    rest: list[Trial]


@dataclass(frozen=True)
class Tuning:
    """What the template shows of `tuner` in `run.json`."""

    best: dict[str, Value]
    chart: str
    stages: list[Stage]


def describe_tuning(search: Search | None) -> Tuning | None:
    """Prepares `tuner` of `run.json` for the template; None if nothing was tuned."""
    if not search:
        return None
    by_stage = {name: [trial for trial in search.trials if trial.stage == name] for name in _STAGES}
    present = {name: trials for name, trials in by_stage.items() if trials}
    return Tuning(
        best=search.best,
        chart=tuning_chart({_STAGES[name][0]: _points(name, t) for name, t in present.items()}),
        stages=[_stage(name, trials) for name, trials in present.items()],
    )


def _stage(name: str, trials: Sequence[Trial]) -> Stage:
    ranked = sorted(trials, key=lambda t: (t.objective is None, t.objective or 0.0, t.trial))
    return Stage(
        title=_STAGES[name][0],
        keys=list(trials[0].values),
        top=ranked[:_MOST_TRIALS],
        rest=ranked[_MOST_TRIALS:],
    )


def _points(name: str, trials: Sequence[Trial]) -> list[TrialPoint]:
    _, rate, choice, word = _STAGES[name]
    return [
        TrialPoint(float(trial.values[rate]), trial.objective, f"{word} {trial.values[choice]}")
        for trial in trials
        if trial.objective is not None
    ]
