"""Says whether a run that was made again came out the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pipeline.config.schema import Config
from pipeline.report.run_record import RunRecord
from trainer.data.predictions import CANDIDATE, Predictions, read_predictions
from trainer.earlier_head import WEIGHTS_FILE
from trainer.errors import ThawError

_MODELS = {"HeadTrainer": "the model of fit 1", "FineTuner": "the fine-tuned model"}


@dataclass(frozen=True)
class Finding:
    """One thing that was compared: what, whether it is the same, and how far it is not."""

    what: str
    same: bool
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {'the same' if self.same else 'differs'}{self.detail}"


def config_of(run: RunRecord) -> Config:
    """The config to make a run again by: its own, for the very images that it had.

    Raises:
      ThawError: if this version of Thaw does not read it.
    """
    values = {**run.config, "data": {**run.config["data"], "fingerprint": run.data.fingerprint}}
    try:
        return Config.model_validate(values)
    except ValueError as error:
        raise ThawError(
            f"the recorded config is not one that this version of Thaw reads: {error}",
            to_do=f"Use version {run.thaw_version}, which made the run.",
        ) from error


def compare(before: RunRecord, after: RunRecord) -> list[Finding]:
    """Compares the weights, the answers to the test images, and the verdict of two runs.

    Raises:
      ThawError: if a model or predictions of either run are gone.
    """
    weights = [
        _weights(title, *(Path(one.uri(node, "model")) / WEIGHTS_FILE for one in (before, after)))
        for node, title in _MODELS.items()
    ]
    predictions = [read_predictions(one.uri("Evaluator", "evaluation")) for one in (before, after)]
    return [*weights, _answers(*predictions), _verdict(before, after)]


def versions_that_differ(before: RunRecord, after: RunRecord) -> Iterator[str]:
    """Names the packages that another version of was used, one by one."""
    yield from (
        f"{name} {before.versions.get(name, 'unknown')} → {version}"
        for name, version in {**after.versions, "thaw": after.thaw_version}.items()
        if {**before.versions, "thaw": before.thaw_version}.get(name) != version
    )


def _weights(title: str, before: Path, after: Path) -> Finding:
    first, second = _read_weights(before), _read_weights(after)
    what = f"weights of {title}"
    if first.keys() != second.keys() or any(first[k].shape != second[k].shape for k in first):
        return Finding(what, same=False, detail=" in the shape of its layers")
    if all(np.array_equal(first[name], second[name], equal_nan=True) for name in first):
        return Finding(what, same=True, detail=" to the last bit")
    # What is no number on both sides is the same.
    largest = max(float(np.nanmax(np.abs(first[k] - second[k]), initial=0.0)) for k in first)
    return Finding(what, same=False, detail=f" by up to {largest:.2g}")


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ThawError("is missing, so that weights cannot be compared.", where=str(path))
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]})
                if isinstance(item, h5py.Dataset) and item.dtype.kind == "f"
                else None
            )
        )
    return found


def _answers(before: Predictions, after: Predictions) -> Finding:
    what = "answers to the test images"
    if before.ids != after.ids:
        return Finding(what, same=False, detail=": the test split holds other images")
    changed = int(np.sum(before.answers[CANDIDATE].choices != after.answers[CANDIDATE].choices))
    if changed:
        return Finding(what, same=False, detail=f" for {changed} of {len(before)} images")
    return Finding(what, same=True, detail=f" for all {len(before)} images")


def _verdict(before: RunRecord, after: RunRecord) -> Finding:
    same = before.verdict.outcome == after.verdict.outcome
    detail = "" if same else f": {before.verdict.sentence} → {after.verdict.sentence}"
    return Finding("verdict", same, detail or f": {after.verdict.sentence}")
