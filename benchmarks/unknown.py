"""How well a run's model tells foreign images from its own.

    .venv/bin/python -m benchmarks.unknown --run OUT --foreign FOLDER

Asks the fine-tuned model of a finished run about foreign images, and about made ones: noise and
plain colours. `auroc` is the area under the ROC curve of `unknown_score` between these and the
run's test images; `recognised` the share of them with `is_known: false`, where of the run's own
test images `own_rejected` have it.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
import typer
from PIL import Image
from sklearn.metrics import roc_auc_score
from tfx.utils import path_utils

from benchmarks.common import JsonOption, console, machine, report
from pipeline.report.run_record import read_run
from serving.model import ImageRefused, PushedModel, load_model
from trainer.calibration.record import read_calibration
from trainer.data.formats import EXTENSIONS
from trainer.data.predictions import CANDIDATE, read_predictions

_MADE = 100
_SIDE_PX = 256


def main(
    run: Annotated[Path, typer.Option(help="Output folder of a finished run.")],
    foreign: Annotated[
        list[Path] | None, typer.Option(help="Folder of foreign images; may be repeated.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="At most so many images of a folder.")] = 300,
    json: JsonOption = None,
) -> None:
    """Compares the scores of foreign images with those of the test split."""
    host = machine()
    record = read_run(run)
    folder = path_utils.serving_model_path(record.uri("FineTuner", "model"))
    model, threshold = load_model(Path(folder)), read_calibration(folder).threshold
    own = read_predictions(record.uri("Evaluator", "evaluation")).answers[CANDIDATE].unknown_scores
    sources = {str(path): _files(path, most) for path in foreign or []}
    rows = [
        _compare(name, own, _scores(model, files), threshold)
        for name, files in {"noise": _noise(), "plain colours": _colours(), **sources}.items()
    ]
    figures = {"test_images": len(own), "own_rejected": float(np.mean(own > threshold))}
    report("unknown", f"{record.name}, {folder}", rows, figures, host, json)


def _compare(name: str, own: np.ndarray, other: np.ndarray, threshold: float) -> dict[str, Any]:
    is_foreign = np.r_[np.zeros(len(own)), np.ones(len(other))]
    return {
        "images": name,
        "count": len(other),
        "auroc": float(roc_auc_score(is_foreign, np.r_[own, other])),
        "recognised": float(np.mean(other > threshold)),
    }


def _scores(model: PushedModel, files: Sequence[bytes]) -> np.ndarray:
    scores = []
    for content in files:
        try:
            answer = model.serve(image_bytes=tf.constant([model.decodable(content)]))
        except ImageRefused as reason:
            console.print(f"left out: {reason}")
            continue
        scores.append(float(answer["unknown_score"][0]))
    return np.array(scores)


def _files(folder: Path, most: int) -> list[bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    return [path.read_bytes() for path in paths[:: -(-len(paths) // most) or 1]]


def _noise() -> list[bytes]:
    random = np.random.default_rng(0)
    return [
        _png(random.integers(0, 256, [_SIDE_PX, _SIDE_PX, 3], dtype=np.uint8)) for _ in range(_MADE)
    ]


def _colours() -> list[bytes]:
    random = np.random.default_rng(1)
    plain = np.ones([_SIDE_PX, _SIDE_PX, 1], np.uint8)
    return [_png(plain * random.integers(0, 256, 3, dtype=np.uint8)) for _ in range(_MADE)]


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    typer.run(main)
