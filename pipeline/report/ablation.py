"""What an ablation found, as the report shows it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from pipeline import node_args
from pipeline.config.schema import Config
from pipeline.report.run_record import RunRecord
from trainer.errors import ThawError
from trainer.experiments.ablation_record import (
    BOTH_FITS,
    HEAD_ONLY,
    SINGLE_FIT,
    AblationRecord,
    SeedResult,
)
from trainer.records import dumps, read, to_json
from trainer.specs import FineTunerArgs, HeadTrainerArgs
from trainer.tuning import hyperparameters as tuning

ABLATION_FILE = "ablation.json"

TITLES = {
    HEAD_ONLY: "head only",
    BOTH_FITS: "both fits",
    SINGLE_FIT: "one fit, top blocks thawed from the start",
}


@dataclass(frozen=True)
class VariantSummary:
    """One variant over all seeds.

    Attributes:
      title: its name in words.
      accuracy: mean, 0 to 1.
      low: lower end of the 95 % interval of the mean over seeds (Student's t); None for one seed.
      high: its upper end.
      similarity: mean, 0 to 1.
      epochs: mean number of epochs of the last fit.
    """

    title: str
    accuracy: float
    low: float | None
    high: float | None
    similarity: float
    epochs: float


@dataclass(frozen=True)
class AblationSummary:
    """An ablation as the report shows it.

    Attributes:
      seeds: how many.
      test_images: number of test images.
      variants: in the order of the table.
      gradient_ratio: how many times larger the gradient that enters the blocks above the boundary
        is under a random head than under a warmed one.
      sentence: what follows, in words.
    """

    seeds: int
    test_images: int
    variants: list[VariantSummary]
    gradient_ratio: float
    sentence: str


def digest_of(run: RunRecord) -> str:
    """The same for runs whose ablation would come out the same."""
    head, fine_tune = arguments_of(run)
    decisive = [run.data.fingerprint, to_json(head), to_json(fine_tune)]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def arguments_of(run: RunRecord) -> tuple[HeadTrainerArgs, FineTunerArgs]:
    """What both trainers of the run were given, tuned values included."""
    try:
        config = Config.model_validate(run.config)
    except ValueError as error:
        raise ThawError(
            f"the recorded config is not one that this version of Thaw reads: {error}",
            to_do="Run the same command again.",
        ) from error
    tuned = {"values": run.tuner.best} if run.tuner else None
    return (
        tuning.with_tuned(node_args.head_trainer(config), tuned, tuning.HEAD_FIT),
        tuning.with_tuned(node_args.fine_tuner(config), tuned, tuning.FINE_TUNE),
    )


def read_ablation(output_dir: Path, digest: str) -> AblationRecord | None:
    """Reads the ablation of a run; None if there is none, or if it is of other settings or data.

    Raises:
      ThawError: if the file is damaged.
    """
    path = output_dir / ABLATION_FILE
    if not path.is_file():
        return None
    record = read(AblationRecord, path.read_text(encoding="utf-8"), str(path))
    return record if record.digest == digest else None


def write_ablation(record: AblationRecord, output_dir: Path) -> None:
    """Writes `ablation.json`; an older one stays until it is complete."""
    from trainer.files import write_replacing

    write_replacing(output_dir / ABLATION_FILE, dumps(record, indent=2))


def summarize(record: AblationRecord) -> AblationSummary:
    """Means and intervals over the seeds."""
    results = record.results
    if not results:
        raise ThawError("the ablation holds no result.", to_do="Run thaw ablate again.")
    ratio = float(
        np.mean([one.gradient_fresh / max(one.gradient_warmed, 1e-12) for one in results])
    )
    return AblationSummary(
        seeds=len(results),
        test_images=record.test_images,
        variants=[_summary(variant, results) for variant in TITLES],
        gradient_ratio=ratio,
        sentence=_sentence(results),
    )


def _summary(variant: str, results: Sequence[SeedResult]) -> VariantSummary:
    accuracies = [one.accuracy[variant] for one in results]
    low = high = None
    if len(accuracies) > 1:
        error = float(stats.sem(accuracies))
        margin = float(stats.t.ppf(0.975, len(accuracies) - 1)) * error
        low, high = np.mean(accuracies) - margin, np.mean(accuracies) + margin
    return VariantSummary(
        title=TITLES[variant],
        accuracy=float(np.mean(accuracies)),
        low=None if low is None else max(0.0, float(low)),
        high=None if high is None else min(1.0, float(high)),
        similarity=float(np.mean([one.similarity[variant] for one in results])),
        epochs=float(np.mean([one.epochs[variant] for one in results])),
    )


def _sentence(results: Sequence[SeedResult]) -> str:
    gains = [one.accuracy[BOTH_FITS] - one.accuracy[SINGLE_FIT] for one in results]
    mean = f"{100 * np.mean(gains):+.1f} points"
    better = sum(gain > 0 for gain in gains)
    seeds = f"{better} of {len(gains)} seeds"
    if len(gains) < 2:
        return f"Two fits against one: {mean}. One seed says little; give --seeds 3 or more."
    p_value = (
        float(stats.ttest_1samp(gains, 0).pvalue) if np.std(gains) else float(not np.mean(gains))
    )
    beyond = "beyond chance" if p_value < 0.05 else "which can be due to chance"
    return (
        f"Two fits against one: {mean} on average, better in {seeds}, {beyond} (p = {p_value:.3f})."
    )
