"""Does a fit wait for data? Time of the input pipeline alone against time of a step.

    python -m benchmarks.input

Both fits on the cached features of random images. "Input alone" is one pass over what the
fit reads with nothing else to do; a step runs while the next batch is being made. The
share says how much of an epoch the input would take if nothing overlapped.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import common
from benchmarks.random_features import write_random_features
from trainer.backbones.networks import load_backbone
from trainer.backbones.table import BACKBONES
from trainer.data import fit_data as data
from trainer.distribution.strategy import make_strategy
from trainer.fit_specs import FineTune, HeadFit
from trainer.fits import recipe
from trainer.model.classifier import build_classifier, on_pooled, on_trunk_features, pooling
from trainer.process import progress
from trainer.specs import ModelSpec

_BACKBONE = "inception_v3"
_CLASSES = 10
_EPOCHS = 2
_FIT_1_PASSES = 20


def main(
    images: Annotated[int, typer.Option(help="Training images.")] = 256,
    size: Annotated[int, typer.Option(help="Image side in pixels.")] = 299,
    batch: Annotated[int, typer.Option(help="Images in a step.")] = 32,
    json: common.JsonOption = None,
) -> None:
    """Time of the input pipeline alone against time of an epoch, for both fits."""
    host = common.machine()
    spec = ModelSpec(_BACKBONE, size, 1024, 0.0, num_classes=_CLASSES)
    known = BACKBONES[_BACKBONE]
    layer = known.blocks[known.default_boundary]
    with make_strategy().scope():
        backbone = load_backbone(_BACKBONE, size, "random")
        classifier = build_classifier(spec, backbone)
        above, head = on_trunk_features(classifier, backbone, layer), on_pooled(classifier)
    pool = pooling(classifier, backbone, layer)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "features"
        write_random_features(written, images, above.input_shape[1:], _CLASSES, seed=0)
        records = data.read_records([str(written)])
        parse = data.trunk_parser(above.input_shape[1:], "float16")
        path = f"{folder}/vectors"
        data.write_vectors(
            data.in_batches(records, parse, batch), pool, path, progress.Counter("images", images)
        )
        width = head.input_shape[-1]
        vectors = data.read_vectors(path, width)
        head_data = data.make_fit_data(
            [vectors], vectors, data.vector_parser(width), images, batch, _CLASSES, seed=0
        )
        top_data = data.make_fit_data([records], records, parse, images, batch, _CLASSES, seed=0)
        started = time.monotonic()
        head_record = recipe.fit_head(
            recipe.Network(classifier, backbone, head),
            head_data,
            HeadFit(1e-4, _FIT_1_PASSES, _FIT_1_PASSES + 1),
            folder,
        )
        top_fit = FineTune(known.default_boundary, 1e-5, 0.9, _EPOCHS, _EPOCHS + 1)
        top_record = recipe.fine_tune(
            recipe.Network(classifier, backbone, above),
            top_data,
            top_fit,
            folder,
            boundary_layer=layer,
        )
        rows = [
            _row("fit 1, vectors", head_data, head_record, _FIT_1_PASSES, images),
            _row("fit 2, trunk's output", top_data, top_record, _EPOCHS, images),
        ]
        seconds = time.monotonic() - started
    common.report("input", "Input pipeline against epochs", rows, {"seconds": seconds}, host, json)


def _row(
    name: str, fit_data: data.FitData, record: recipe.FitRecord, epochs: int, images: int
) -> dict[str, object]:
    passes = []
    for _ in range(3):
        started = time.monotonic()
        for _batch in fit_data.train_from(0).take(fit_data.train_steps):
            pass
        passes.append(time.monotonic() - started)
    alone = min(passes)
    epoch = record.seconds / epochs
    return {
        "fit": name,
        "input alone, images/s": images / alone,
        "fit, images/s": images / epoch,
        "input's share of an epoch": alone / epoch,
    }


if __name__ == "__main__":
    typer.run(main)
