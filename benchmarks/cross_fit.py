"""How often cross-fitting promotes a candidate that is no better than its baseline.

    .venv/bin/python -m benchmarks.cross_fit --run OUT

Baseline and candidate are the same head trained from two seeds, on the pooled features of a
finished run, or on made ones without a run. Each draw divides all images into folds and judges the
pair as the gate does with gate.evidence: cross_fit. `promoted` is the share of draws that are
promoted; at most 0.05 may be, but for chance. Beside it: the share that a plain threshold (a gain
above 0 on one fold) would promote.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import trainer  # noqa: F401 - chooses the Keras before TensorFlow is imported
from benchmarks.common import JsonOption, console, machine, report
from components.gate import statistics
from components.gate.judge import passes_choice
from components.gate.rule import GateRule
from components.gate.statistics import Pairs
from trainer.experiments.folds import assign_folds, splits_of_fold
from trainer.experiments.images import ImageInfo

_UNITS = 256
_RATE = 1e-3
_EPOCHS, _PATIENCE = 30, 5
_BATCH_SIZE = 32


def main(
    run: Annotated[Path | None, typer.Option(help="Output folder of a finished run.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Pairs of heads.")] = 20,
    folds: Annotated[int, typer.Option(min=4, max=20, help="Folds of each draw.")] = 6,
    quick: Annotated[bool, typer.Option("--quick", help="Two draws of four folds.")] = False,
    json: JsonOption = None,
) -> None:
    """Judges pairs of equally good models."""
    host = machine()
    if quick:
        draws, folds = 2, 4
    vectors, infos, name = _from_run(run) if run else _made()
    rule, rows = GateRule(), []
    for draw in range(draws):
        rows.append(_draw(vectors, infos, folds, draw, rule))
        console.print(f"draw {draw + 1} of {draws}: gain {rows[-1]['gain']:+.3f}")
    figures = {
        "images": len(infos),
        "promoted": float(np.mean([row["promoted"] for row in rows])),
        "promoted_by_plain_threshold": float(np.mean([row["plain"] for row in rows])),
    }
    report("cross_fit", name, [{"draws": draws, "folds": folds, **figures}], figures, host, json)


def _draw(
    vectors: np.ndarray, infos: list[ImageInfo], folds: int, draw: int, rule: GateRule
) -> dict[str, Any]:
    classes, labels = np.unique([info.label for info in infos], return_inverse=True)
    of_fold = assign_folds(infos, folds, seed=draw)
    numbers = np.array([of_fold[info.id] for info in infos])
    right = np.zeros([2, len(infos)], bool)
    train_images = {}
    for fold in range(folds):
        splits = splits_of_fold(of_fold, folds, fold)
        rows = {
            name: np.array([splits[info.id] == name for info in infos])
            for name in ("train", "val", "test")
        }
        train_images[fold] = int(rows["train"].sum())
        for model in range(2):
            seed = 1000 * draw + 2 * fold + model
            choices = _fit_head(vectors, labels, rows, len(classes), seed)
            right[model, rows["test"]] = choices == labels[rows["test"]]
    groups = np.unique([info.group or info.id for info in infos], return_inverse=True)[1]
    pairs = Pairs(right[0], right[1], groups)
    gain = statistics.cross_fitted_gain(pairs, numbers, train_images)
    return {
        "gain": gain.estimate,
        "promoted": passes_choice(gain.estimate, gain.p_value, rule, rule.alpha),
        "plain": pairs.of(numbers == 0).gain > 0,
    }


def _fit_head(
    vectors: np.ndarray, labels: np.ndarray, rows: dict[str, np.ndarray], classes: int, seed: int
) -> np.ndarray:
    """The choices of a head, trained as fit 1 trains it, for the test rows."""
    import tf_keras as keras

    from trainer.model.classifier import head_layers

    keras.utils.set_random_seed(seed)
    head = keras.Sequential(head_layers(_UNITS, 0.0, classes))
    head.compile(
        keras.optimizers.RMSprop(_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    head.fit(
        vectors[rows["train"]],
        labels[rows["train"]],
        batch_size=_BATCH_SIZE,
        epochs=_EPOCHS,
        validation_data=(vectors[rows["val"]], labels[rows["val"]]),
        callbacks=[keras.callbacks.EarlyStopping(patience=_PATIENCE, restore_best_weights=True)],
        verbose=0,
    )
    choices = np.asarray(head(vectors[rows["test"]])).argmax(axis=1)
    keras.backend.clear_session()
    return choices


def _from_run(folder: Path) -> tuple[np.ndarray, list[ImageInfo], str]:
    from pipeline.config.schema import Config
    from pipeline.inspect.features import read_features
    from pipeline.node_args import trunk_features
    from pipeline.report.run_record import read_run
    from trainer.experiments.images import read_infos

    record = read_run(folder)
    features = record.uri("TrunkFeatures", "features")
    infos = {info.id: info for info in read_infos(features)}
    spec = trunk_features(Config.model_validate(record.config)).spec
    found = read_features(features, record.uri("TrunkFeatures", "trunk"), spec, len(infos))
    return found.vectors, [infos[one] for one in found.ids], f"{record.name}, {folder}"


def _made() -> tuple[np.ndarray, list[ImageInfo], str]:
    """Five classes that overlap."""
    random = np.random.default_rng(0)
    places = random.normal(0, 1, [5, 32])
    labels = np.arange(400) % 5
    vectors = places[labels] + random.normal(0, 2.2, [400, 32])
    infos = [ImageInfo(f"{number:04d}", str(label), "") for number, label in enumerate(labels)]
    return vectors.astype(np.float32), infos, "made features"


if __name__ == "__main__":
    typer.run(main)
