"""What `benchmarks.workers` starts: the data, the workers, and what each of these runs.

python -m benchmarks.workers_side write|launch|work REQUEST.json [WORKERS]
"""

import functools
import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

_BACKBONE = "inception_v3"
_BOUNDARY = "mixed8"
_CLASSES = 10
_MODELS = "models"


def main(arguments: list[str]) -> None:
    """Does one of the three things."""
    what, request, *more = arguments
    settings = json.loads(Path(request).read_text())
    if what == "write":
        write(settings)
    elif what == "launch":
        launch(request, int(more[0]))
    else:
        work(settings)


def launch(request: str, workers: int) -> None:
    """Runs the workers and prints what the chief measured."""
    from launchers.local.launcher import LocalLauncher
    from launchers.worker_group import Limits, WorkerGroup

    folder = Path(json.loads(Path(request).read_text())["folder"])
    shutil.rmtree(folder / _MODELS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as logs:
        group = WorkerGroup("benchmark", request, workers, logs, Limits(max_restarts=0))
        LocalLauncher([sys.executable, "-m", "benchmarks.workers_side", "work"]).run(group)
    print((folder / "measured.json").read_text())


def write(settings: dict[str, Any]) -> None:
    """Writes a backbone, and features of both splits as TrunkFeatures leaves them."""
    from benchmarks.random_features import write_random_features
    from trainer import keys
    from trainer.backbones.networks import load_backbone
    from trainer.data.card import DataCard, write_card
    from trainer.model.weight_files import save_weights

    folder = Path(settings["folder"])
    backbone = load_backbone(_BACKBONE, settings["size_px"], "random")
    save_weights(backbone, str(folder / "backbone.h5"))
    shape = tuple(backbone.get_layer(_BOUNDARY).output.shape[1:])
    counts = {"train": settings["images"], "val": max(settings["images"] // 4, 1)}
    for seed, (split, count) in enumerate(counts.items()):
        (folder / keys.split_folder(split)).mkdir()
        path = folder / keys.split_folder(split) / "features-0"
        write_random_features(path, count, shape, _CLASSES, seed)
    write_card(DataCard("", "", {s: {"a": count} for s, count in counts.items()}), str(folder))


def work(settings: dict[str, Any]) -> None:
    """Both fits with their exports; the chief leaves how long each took."""
    from trainer.distribution.strategy import make_strategy, this_worker
    from trainer.fit_specs import FineTune, HeadFit
    from trainer.run_fits import run_fine_tune, run_head_fit

    folder = Path(settings["folder"])
    head_epochs, epochs = settings["epochs"]
    # TensorFlow meets the other workers once a process.
    meet = functools.cache(make_strategy)
    is_chief = this_worker(meet()).is_chief
    head, top = (
        replace(_job(settings, str(folder / _MODELS / name)), make_strategy=meet)
        for name in ("head", "top")
    )
    started = time.monotonic()
    first = run_head_fit(
        head, HeadFit(1e-4, head_epochs, head_epochs + 1), str(folder / "backbone.h5")
    )
    fit = FineTune(_BOUNDARY, 1e-5, 0.9, epochs, epochs + 1)
    second = run_fine_tune(top, fit, head.model_dir)
    jobs_secs = time.monotonic() - started
    if is_chief:
        measured = {"fit 1": first.seconds, "fit 2": second.seconds, "both jobs": jobs_secs}
        (folder / "measured.json").write_text(json.dumps(measured))


def _job(settings: dict[str, Any], model_dir: str) -> Any:
    from trainer.data.card import read_card
    from trainer.job import Job
    from trainer.specs import NO_CHANGE, ModelSpec, TrunkSpec

    return Job(
        spec=ModelSpec(_BACKBONE, settings["size_px"], 1024, 0.0, num_classes=_CLASSES),
        labels=[str(number) for number in range(_CLASSES)],
        data_card=read_card(settings["folder"]),
        train_files=[f"{settings['folder']}/Split-train/*"],
        val_files=[f"{settings['folder']}/Split-val/*"],
        global_batch_size=settings["batch_size"],
        seed=0,
        precision="float32",
        cache=TrunkSpec(_BACKBONE, settings["size_px"], _BOUNDARY, "float16", "float32"),
        augmentation=NO_CHANGE,
        max_pixels=10**6,
        config={},
        model_dir=model_dir,
        saved_model_dir=f"{model_dir}/Format-Serving",
        log_dir=f"{model_dir}/log",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
