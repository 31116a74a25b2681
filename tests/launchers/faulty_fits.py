"""What each worker of `test_faults.py` runs: both fits, and what it does to itself meanwhile.

    python -m tests.launchers.faulty_fits REQUEST.json

The request names `faults`: a fit, an epoch and a step in it, a worker's number, a signal.
Each is done once, in their order, over all starts of the workers.
"""

import json
import os
import sys
from pathlib import Path

import trainer  # noqa: F401
from tests.trainer.conftest import CLASSES, SIZE_PX, tiny_backbone
from tests.trainer.fits_of_workers import (
    BOUNDARY,
    TINY,
    strategy_of_this_process,
    use_tiny_backbone,
)
from trainer.data.card import read_card
from trainer.fit_specs import FineTune, HeadFit
from trainer.fits import checkpoint, resume
from trainer.job import Job
from trainer.process import supervision, tf_config
from trainer.run_fits import run_fine_tune, run_head_fit
from trainer.specs import Augmentation, ModelSpec

EPOCHS = 5
HEAD = HeadFit(1e-3, EPOCHS, EPOCHS)
TOP = FineTune(BOUNDARY, 1e-2, 0.9, EPOCHS, EPOCHS, batch_norm="train")


def main(request_path: str) -> None:
    request = json.loads(Path(request_path).read_text())
    folder = Path(request["folder"])
    resume.FitCheckpointer.on_train_batch_end = hurting(request["faults"], folder / "done")
    use_tiny_backbone()
    with supervision.supervised(request.get("limits", {})):
        head, top = job(request, folder, "head"), job(request, folder, "top")
        run_head_fit(head, HEAD, "random")
        run_fine_tune(top, TOP, head.model_dir)
        if tf_config.own_index(os.environ) == 0:
            checkpoint.delete(str(folder / "kept"))


def hurting(faults: list, done: Path):
    """`on_train_batch_end` which does the next of the faults when its time has come."""
    keep = resume.FitCheckpointer.on_train_batch_end
    number = len(done.read_text().split()) if done.exists() else 0
    own = tf_config.own_index(os.environ)

    def end_batch(
        checkpointer: resume.FitCheckpointer, batch: int, logs: dict | None = None
    ) -> None:
        if number < len(faults):
            fit, epoch, step, index, signum = faults[number]
            at = (
                os.path.basename(checkpointer._checkpoint.directory),
                checkpointer.epochs,
                batch,
                own,
            )
            if at == (fit, epoch, step, index):
                with open(done, "a") as file:
                    file.write("fault\n")
                os.kill(os.getpid(), signum)
        keep(checkpointer, batch, logs)

    return end_batch


def job(request: dict, folder: Path, name: str) -> Job:
    data = request["images"]
    return Job(
        spec=ModelSpec(TINY, SIZE_PX, 8, head_dropout=0.3, num_classes=CLASSES),
        labels=["a", "b"],
        data_card=read_card(data),
        train_files=[f"{data}/Split-train/*"],
        val_files=[f"{data}/Split-val/*"],
        global_batch_size=8,
        seed=7,
        precision="float32",
        cache=None,
        augmentation=Augmentation(flip=True, crop=0.5, colour=0.3),
        max_pixels=10**6,
        config={},
        model_dir=str(folder / name),
        saved_model_dir=str(folder / name / "Format-Serving"),
        log_dir=str(folder / name / "log"),
        recovery_dir=str(folder / "kept" / name),
        # A backbone of three blocks, of which every start compiles both fits in seconds.
        load_backbone=lambda *arguments: tiny_backbone(),
        make_strategy=strategy_of_this_process,
        # Slow, and has tests of its own.
        export=lambda *arguments: None,
    )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(sys.argv[1])
