"""What each worker of `test_workers.py` runs: jobs of both fits, one after the other.

    python -m tests.trainer.fits_of_workers REQUEST.json

`TF_CONFIG` says which worker it is. Of each fit it leaves a digest of the weights it holds.
The backbone has three blocks: who shares its work, and how, does not depend on its size.
"""

import functools
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import tensorflow as tf
import tf_keras as keras

from trainer.backbones.table import BACKBONES
from trainer.data.card import read_card
from trainer.distribution.strategy import make_strategy, this_worker
from trainer.fit_specs import LBFGS, FineTune, HeadFit
from trainer.job import Job
from trainer.run_fits import run_fine_tune, run_head_fit
from trainer.specs import NO_CHANGE, Augmentation, ModelSpec, TrunkSpec

from .conftest import SIZE_PX, tiny_backbone

TINY = "tiny"
BOUNDARY = "block2"
CACHE = TrunkSpec(TINY, SIZE_PX, BOUNDARY, "float32", "float32")
HEAD = HeadFit(1e-2, max_epochs=4, patience=4, label_smoothing=0.1)
TOP = FineTune(BOUNDARY, 1e-2, 0.9, max_epochs=4, patience=4)
FAST = replace(TOP, schedule="fast")


# TensorFlow connects to the other workers once a process.
strategy_of_this_process = functools.cache(make_strategy)


def use_tiny_backbone() -> None:
    """Makes this process know one more backbone."""
    BACKBONES[TINY] = replace(BACKBONES["inception_v3"], name=TINY, blocks={BOUNDARY: BOUNDARY})


def _load_backbone(name: str, size_px: int, weights: str) -> keras.Model:
    backbone = tiny_backbone()
    if weights != "random":
        backbone.load_weights(weights)
    return backbone


def main(request_path: str) -> None:
    request = json.loads(Path(request_path).read_text())
    folder = Path(request["folder"])
    use_tiny_backbone()
    for name in request["jobs"]:
        JOBS[name](request, folder / name)


def _export(folder: Path, *_: object) -> None:
    """In place of the export, which is slow and has tests of its own: says who was asked."""
    index = this_worker(strategy_of_this_process()).index
    (folder / f"exported-by-{index}").touch()


def _keep_digest(folder: Path, strategy: tf.distribute.Strategy, weights: list) -> None:
    """In place of the check, so that a test sees what it would have refused."""
    digest = hashlib.sha256(b"".join(array.tobytes() for array in weights)).hexdigest()
    with open(folder / f"digests-{this_worker(strategy).index}", "a") as file:
        file.write(f"{digest}\n")


def make_job(
    request: dict, folder: Path, kept: bool, augmentation: Augmentation = NO_CHANGE
) -> Job:
    """What a worker has to do, on images or on what the trunk kept of them."""
    data = request["features"] if kept else request["images"]
    return Job(
        spec=ModelSpec(TINY, SIZE_PX, 8, 0.0, num_classes=2),
        labels=["ant", "bee"],
        data_card=read_card(data),
        train_files=[f"{data}/Split-train/*"],
        val_files=[f"{data}/Split-val/*"],
        global_batch_size=request["batch_size"],
        seed=7,
        precision="float32",
        cache=CACHE if kept else None,
        augmentation=augmentation,
        max_pixels=10**6,
        config={},
        model_dir=str(folder),
        saved_model_dir=str(folder / "Format-Serving"),
        log_dir=str(folder / "log"),
        load_backbone=_load_backbone,
        make_strategy=strategy_of_this_process,
        check_weights=functools.partial(_keep_digest, Path(request["folder"])),
        export=functools.partial(_export, Path(request["folder"])),
    )


def on_features(request: dict, folder: Path) -> None:
    """Both fits on what the trunk made once."""
    run_head_fit(make_job(request, folder / "head", kept=True), HEAD, request["weights"])
    run_fine_tune(make_job(request, folder / "top", kept=True), TOP, str(folder / "head"))


def on_images(request: dict, folder: Path) -> None:
    """Fit 1 on images that change in every epoch, from random weights, with weighted classes."""
    strong = Augmentation(flip=True, crop=0.5, colour=0.3)
    job = make_job(request, folder / "head", kept=False, augmentation=strong)
    run_head_fit(replace(job, class_weights=(3.0, 0.5)), HEAD, "random")


def batch_norm(request: dict, folder: Path) -> None:
    """Fit 2 with statistics that follow the data; after `on_features`."""
    start = str(folder.parent / "on_features" / "head")
    run_fine_tune(
        make_job(request, folder / "top", kept=True), replace(TOP, batch_norm="train"), start
    )


def weighted(request: dict, folder: Path) -> None:
    """Both fits on images that count more or less than others."""
    head, top = (make_job(request, folder / name, kept=True) for name in ("head", "top"))
    card = replace(head.data_card, weighted=True)
    run_head_fit(replace(head, data_card=card), HEAD, request["weights"])
    run_fine_tune(replace(top, data_card=card), TOP, str(folder / "head"))


def fast(request: dict, folder: Path) -> None:
    """Both fits of the fast schedule, on images that count more or less than others."""
    head, top = (make_job(request, folder / name, kept=True) for name in ("head", "top"))
    card = replace(head.data_card, weighted=True)
    head, top = (
        replace(one, data_card=card, spec=replace(one.spec, head_units=0)) for one in (head, top)
    )
    run_head_fit(head, replace(HEAD, solver=LBFGS), request["weights"])
    run_fine_tune(top, FAST, str(folder / "head"))


JOBS = {one.__name__: one for one in (on_features, on_images, batch_norm, weighted, fast)}

if __name__ == "__main__":
    main(sys.argv[1])
