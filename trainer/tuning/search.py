"""The search for hyper-parameters: keras-tuner's oracles propose, our own trials answer.

keras-tuner's `Tuner` would build models with Keras 3, which is what it finds beside TensorFlow;
the fits use tf_keras. So only its oracles and the bookkeeping of `BaseTuner` are used.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from keras_tuner import HyperParameters, Objective
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle

from trainer.errors import ThawError
from trainer.fit_specs import Stage
from trainer.process import progress
from trainer.records import Json
from trainer.remote_files import write_replacing
from trainer.tuning.head_trials import TrialResult
from trainer.tuning.hyperparameters import Values
from trainer.tuning.trials import SearchRecord, TrialRecord

HYPERBAND = "hyperband"

_OBJECTIVE = Objective("val_cross_entropy", "min")
_EPOCHS = "tuner/epochs"  # how keras-tuner's Hyperband names the epochs it grants a trial

RunTrial = Callable[[Values, int], TrialResult]


class ResumableOracle:
    """What both oracles need besides: a first trial, and state that survives a kill."""

    start: Values

    def populate_space(self, trial_id: str) -> Json:
        """Proposes values that depend on the seed and the trials so far alone."""
        # The Bayesian oracle does not save its random state: resumed, it would go elsewhere.
        self._random_state = np.random.RandomState(self.seed + len(self.trials))
        return super().populate_space(trial_id)  # type: ignore[misc]

    def _random_values(self) -> Values | None:
        """The configured values first: the search can only improve on them."""
        if not self.trials:
            return dict(self.start)
        return super()._random_values()  # type: ignore[misc]

    def save(self) -> None:
        """Writes the state as keras-tuner does, but whole or not at all."""
        _write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial: Trial) -> None:
        path = os.path.join(self._get_trial_dir(trial.trial_id), "trial.json")
        _write_json(path, trial.get_state())

    def reload(self) -> None:
        """Reads the state. A trial whose file was written last before a kill, and of which
        the oracle's own file knows nothing yet, is proposed again.
        """
        super().reload()  # type: ignore[misc]
        self.trials = {name: self.trials[name] for name in self.start_order}

    # Attributes of keras-tuner's Oracle.
    seed: int
    trials: dict[str, Trial]
    start_order: list[str]
    _get_oracle_fname: Callable[[], str]
    _get_trial_dir: Callable[[str], str]
    get_state: Callable[[], Json]


class _Hyperband(ResumableOracle, HyperbandOracle):
    pass


class _Bayesian(ResumableOracle, BayesianOptimizationOracle):
    pass


def make_oracle(stage: Stage, seed: int) -> Any:
    """A keras-tuner oracle that minimises over the stage's space. One seed, same proposals."""
    common = {
        "objective": _OBJECTIVE,
        "hyperparameters": _space(stage.space),
        # keras-tuner takes 0 for "no seed".
        "seed": seed + 1,
    }
    if stage.algorithm == HYPERBAND:
        oracle = _Hyperband(max_epochs=stage.max_epochs, hyperband_iterations=None, **common)
        oracle.max_trials = stage.trials
    else:
        tuned = sum("between" in one or len(one["of"]) > 1 for one in stage.space.values())
        oracle = _Bayesian(
            max_trials=stage.trials,
            # keras-tuner's own default, 3 a dimension, would leave a short search random.
            num_initial_points=max(2, min(3 * tuned, stage.trials // 2)),
            **common,
        )
    oracle.start = stage.start
    oracle.verbose = 0
    return oracle


def _space(space: Mapping[str, Mapping[str, Sequence[Any]]]) -> HyperParameters:
    parameters = HyperParameters()
    for name, allowed in space.items():
        if "between" in allowed:
            lowest, highest = allowed["between"]
            parameters.Float(name, lowest, highest, sampling="log")
        elif len(allowed["of"]) > 1:
            parameters.Choice(name, list(allowed["of"]))
        else:
            parameters.Fixed(name, allowed["of"][0])
    return parameters


class StageTuner(BaseTuner):
    """Runs the trials of one stage; resumes where a killed process stopped."""

    def __init__(self, stage: Stage, seed: int, run: RunTrial, directory: str) -> None:
        """Args:
        stage: what to search.
        seed: of the proposals.
        run: makes a trial of values, with at most so many epochs. It should depend on
            nothing else, for a trial that was cut off is run again.
        directory: keeps the trials in a folder of the stage's name.
        """
        self.stage = stage
        self._run = run
        # Called after each trial.
        self.on_progress: Callable[[], None] = lambda: None
        super().__init__(
            make_oracle(stage, seed), directory=directory, project_name=stage.name, overwrite=False
        )

    def run_trial(self, trial: Trial, *_: Any, **__: Any) -> dict[str, float]:
        """Runs one trial; the objective and what it cost become its metrics."""
        values = trial.hyperparameters.values
        result = self._run(_tried(values), int(values.get(_EPOCHS, self.stage.max_epochs)))
        return {
            _OBJECTIVE.name: result.objective,
            "epochs": result.epochs,
            "best_epoch": result.best_epoch,
            "seconds": result.seconds,
        }

    def on_trial_end(self, trial: Trial) -> None:
        """Keeps the result, then says so."""
        super().on_trial_end(trial)
        print(self.record(self.oracle.get_trial(trial.trial_id)), trial.message or "", flush=True)
        self.on_progress()

    def save(self) -> None:
        """As `ResumableOracle.save`."""
        self.oracle.save()
        _write_json(self._get_tuner_fname(), self.get_state())

    def best(self) -> Trial:
        """The finished trial with the lowest objective.

        Raises:
          ThawError: if none finished.
        """
        (trial,) = self.oracle.get_best_trials(1)
        if trial.status != TrialStatus.COMPLETED:
            raise ThawError(
                f"not one {self.stage.name} trial finished. The last one said:\n{trial.message}",
                where="tuner",
                to_do="Fix that, and run the same command again. `--set tuner.enabled=false` runs "
                "without the search.",
            )
        return trial

    def best_values(self) -> Values:
        """Values of the best trial."""
        return _tried(self.best().hyperparameters.values)

    def best_epoch(self) -> int:
        """Epoch of the best trial that its objective was taken at; counts from 1."""
        return int(self.best().metrics.get_last_value("best_epoch"))

    def record(self, trial: Trial) -> TrialRecord:
        """What there is to say of one trial."""
        finished = trial.status == TrialStatus.COMPLETED
        metric = trial.metrics.get_last_value
        return TrialRecord(
            stage=self.stage.name,
            trial=trial.trial_id,
            values=_tried(trial.hyperparameters.values),
            objective=float(trial.score) if finished else None,
            epochs=int(metric("epochs")) if finished else 0,
            seconds=round(float(metric("seconds")), 3) if finished else 0.0,
            status=trial.status.lower(),
        )

    def records(self) -> list[TrialRecord]:
        """All trials in the order they were started."""
        return [self.record(self.oracle.trials[name]) for name in self.oracle.start_order]


def _tried(values: Values) -> Values:
    """Without what Hyperband notes for itself."""
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


class Search:
    """First the head, then, from the best head on, fine-tuning. What TFX calls a tuner.

    TFX's executor asks it for what `BaseTuner` offers: `search`, the best hyper-parameters
    and, through `oracle`, all trials.
    """

    tuner_id = "tuner0"

    def __init__(
        self,
        head: StageTuner,
        make_fine_tune: Callable[[StageTuner], StageTuner] | None,
        total: int,
    ) -> None:
        """Args:
        head: the first stage.
        make_fine_tune: the second, given the finished first; None: there is none.
        total: trials of both, for the progress shown.
        """
        self._stages = [head]
        self._make_fine_tune = make_fine_tune
        self._total = total
        self.oracle = _AllTrials(self)

    def search(self, **_: Any) -> None:
        """Runs the trials that are not finished yet."""
        self._run(self._stages[0])
        if self._make_fine_tune:
            self._stages.append(self._make_fine_tune(self._stages[0]))
            self._run(self._stages[1])
        progress.report(len(self.trials()), len(self.trials()), "trials", self._best_so_far())

    def _run(self, stage: StageTuner) -> None:
        stage.on_progress = self._report
        self._report()
        stage.search()
        stage.best()

    def _report(self) -> None:
        done = sum(len(stage.oracle.end_order) for stage in self._stages)
        progress.report(done, self._total, "trials", self._best_so_far())

    def _best_so_far(self) -> str:
        found = [record.objective for record in self.records() if record.objective is not None]
        return f"best val cross-entropy {min(found):.3f}" if found else ""

    def trials(self) -> list[Trial]:
        """keras-tuner's own trials of both stages."""
        return [trial for stage in self._stages for trial in stage.oracle.trials.values()]

    def records(self) -> list[TrialRecord]:
        """All trials, those of the head first."""
        return [record for stage in self._stages for record in stage.records()]

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[HyperParameters]:
        """The best values of both stages, together, whatever `num_trials` says."""
        merged = HyperParameters()
        for name, value in self._best_values().items():
            merged.Fixed(name, value)
        return [merged]

    def _best_values(self) -> Values:
        return {
            name: value for stage in self._stages for name, value in stage.best_values().items()
        }

    def results(self) -> SearchRecord:
        """Algorithm, best values and all trials."""
        algorithm = self._stages[0].stage.algorithm
        return SearchRecord(algorithm, self._best_values(), tuple(self.records()))

    def search_space_summary(self) -> None:
        """Prints what will be searched."""
        for stage in self._stages:
            print(stage.stage)

    def results_summary(self) -> None:
        """Prints what was found."""
        print(f"Best: {self._best_values()}")


class _AllTrials:
    """The part of an oracle that TFX reads the results from."""

    def __init__(self, search: Search) -> None:
        self._search = search

    @property
    def max_trials(self) -> int:
        return len(self._search.trials())

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        finished = [t for t in self._search.trials() if t.status == TrialStatus.COMPLETED]
        return sorted(finished, key=lambda trial: trial.score)[:num_trials]


def _write_json(path: str, state: Json) -> None:
    write_replacing(path, json.dumps(state).encode())
