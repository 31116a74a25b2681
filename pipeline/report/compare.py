"""Puts finished runs side by side: figures, what differs in their configs, and paired tests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.gate import statistics
from components.gate.statistics import Pairs
from components.gate.words import p_value_words
from pipeline.report.formats import day, duration, number, percent, points
from pipeline.report.run_record import RunRecord, read_run
from trainer.data.predictions import CANDIDATE, Predictions, read_predictions
from trainer.errors import ThawError

_DIGITS_OF_FINGERPRINT = 12


@dataclass(frozen=True)
class Row:
    """One line of the comparison: what it is of, and a text for each run."""

    title: str
    values: list[str]

    @property
    def differs(self) -> bool:
        """Whether the runs differ in it."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Difference:
    """How a run's model compares with the first run's on the test images of both.

    Attributes:
      run: its folder.
      images: number of test images that both runs have; 0: nothing can be said.
      gain: in accuracy, -1 to 1.
      low: lower end of the 95 % interval.
      high: upper end.
      p_value: two-sided, exact, by groups of images.
    """

    run: str
    images: int
    gain: float = 0.0
    low: float = -1.0
    high: float = 1.0
    p_value: float = 1.0

    def __str__(self) -> str:
        if not self.images:
            return f"{self.run}: no test image is in both runs."
        return (
            f"{self.run}: {points(self.gain)} on {self.images} test images of both runs "
            f"(95 % confidence interval {points(self.low)} to {points(self.high)}; two-sided exact "
            f"test, p {p_value_words(self.p_value)})."
        )


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
      runs: their folders, as the user gave them.
      figures: what came out.
      settings: what differs in their configs.
      differences: of each further run from the first.
    """

    runs: list[str]
    figures: list[Row]
    settings: list[Row]
    differences: list[Difference]


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Compares finished runs by what they have left in their output folders.

    Example:
      compare_runs([Path("out"), Path("out2")]).differences[0].gain

    Raises:
      ReportError: if a folder holds no finished run.
    """
    runs = [read_run(folder) for folder in folders]
    names = [str(folder) for folder in folders]
    predictions = [_predictions(run) for run in runs]
    return Comparison(
        runs=names,
        figures=[Row(title, [text(run) for run in runs]) for title, text in _FIGURES.items()],
        settings=list(_settings([run.config for run in runs])),
        differences=[
            _difference(name, predictions[0], other)
            for name, other in zip(names[1:], predictions[1:], strict=True)
        ],
    )


def _verdict(run: RunRecord) -> str:
    outcome = run.verdict.outcome.replace("_", " ") or "unknown"
    return f"{outcome}, pushed" if run.model else outcome


def _epochs(run: RunRecord) -> str:
    counts = [len(fit.history.get("loss", ())) for fit in (run.fits.head, run.fits.fine_tune)]
    return " + ".join(map(str, counts))


def _calibration(run: RunRecord) -> str:
    return percent(run.certainty.candidate.error_after if run.certainty else None)


_FIGURES = {
    "verdict": _verdict,
    "accuracy, baseline": lambda run: percent(run.metrics.baseline.accuracy),
    "accuracy, fine-tuned": lambda run: percent(run.metrics.candidate.accuracy),
    "gain": lambda run: points(run.verdict.gain),
    "mean recall, fine-tuned": lambda run: percent(run.metrics.candidate.macro_recall),
    "loss, fine-tuned": lambda run: number(run.metrics.candidate.loss),
    "calibration error": _calibration,
    "test images": lambda run: str(run.metrics.test_images),
    "training images": lambda run: str(sum(run.data.counts.get("train", {}).values())),
    "classes": lambda run: str(len(run.data.classes)),
    "data": lambda run: run.data.fingerprint[:_DIGITS_OF_FINGERPRINT],
    "epochs of both fits": _epochs,
    "whole run": lambda run: "—" if run.seconds is None else duration(run.seconds),
    "finished": lambda run: day(run.finished),
}


def _settings(configs: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Settings that are not the same in all configs."""
    flat = [dict(_flatten(config)) for config in configs]
    for key in dict.fromkeys(key for one in flat for key in one):
        row = Row(key, [str(one.get(key, "—")) for one in flat])
        # The figures have it already.
        if row.differs and key != "data.fingerprint":
            yield row


def _flatten(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _predictions(run: RunRecord) -> Predictions | None:
    """What the run's Evaluator wrote; None if it is gone."""
    uri = run.uri("Evaluator", "evaluation")
    try:
        return read_predictions(uri) if uri else None
    except ThawError:
        return None


def _difference(name: str, first: Predictions | None, other: Predictions | None) -> Difference:
    if first is None or other is None:
        return Difference(name, 0)
    _, mine, theirs = np.intersect1d(first.ids, other.ids, return_indices=True)
    if not len(mine):
        return Difference(name, 0)
    pairs = Pairs(
        first.right(CANDIDATE)[mine],
        other.right(CANDIDATE)[theirs],
        first.group_numbers()[mine],
    )
    gain = statistics.accuracy_gain(pairs)
    p_value = min(1.0, 2 * min(gain.p_value, gain.p_value_of_loss))
    return Difference(name, len(mine), gain.estimate, gain.low, gain.high, p_value)
