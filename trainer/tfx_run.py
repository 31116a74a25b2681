"""What TFX's Tuner and Trainer nodes call: unpacks TFX's arguments, does one job."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from trainer.artifact_dirs import STATE_FOLDER, node_dir
from trainer.data.card import read_card
from trainer.fits import checkpoint
from trainer.job import Job, make_job
from trainer.model.trunk import BACKBONE_FILE
from trainer.process import supervision, tf_config
from trainer.process.tf_config import WORKER_GROUP
from trainer.run_fits import run_fine_tune, run_head_fit
from trainer.specs import (
    ARGS,
    FineTunerArgs,
    HeadTrainerArgs,
    TrainingArgs,
    TunerArgs,
    from_json,
)
from trainer.store.uris import address_of
from trainer.tuning import hyperparameters
from trainer.tuning.job import make_search


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """The search. `base_model` is TrunkFeatures' trunk."""
    args = from_json(TunerArgs, fn_args.custom_config[ARGS])
    job = _job(fn_args, args)
    weights = os.path.join(_artifact_dir(fn_args.base_model), BACKBONE_FILE)
    search = make_search(job, args.plan, weights, _trials_dir(fn_args, job))
    return TunerFnResult(tuner=search, fit_kwargs={})


def _trials_dir(fn_args: FnArgs, job: Job) -> str:
    """A folder that the next execution finds again, if it gets the same arguments.

    `working_dir` is the node's folder; see `components.tuner.executor`.
    """
    return os.path.join(fn_args.working_dir, STATE_FOLDER, "trials", _digest(fn_args, job))


def _recovery_dir(fn_args: FnArgs, job: Job) -> str:
    """A folder beside the model that the next execution, or attempt, finds again."""
    return os.path.join(node_dir(job.model_dir), STATE_FOLDER, "recovery", _digest(fn_args, job))


def _digest(fn_args: FnArgs, job: Job) -> str:
    """The same for executions with the same arguments and inputs, wherever they run."""
    decisive = {
        "args": fn_args.custom_config[ARGS],
        "hyperparameters": fn_args.hyperparameters,
        "data": job.data_card.fingerprint,
        "inputs": _addresses(fn_args),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _addresses(fn_args: FnArgs) -> list[list[str] | str | None]:
    """Of the inputs, in the store: each worker may have copies of its own."""
    base_model = fn_args.base_model and address_of(fn_args.base_model)
    return [
        [address_of(path) for path in fn_args.train_files],
        [address_of(path) for path in fn_args.eval_files],
        base_model,
    ]


@contextmanager
def _recoverable(fn_args: FnArgs, job: Job) -> Iterator[Job]:
    """The job, so that it resumes where an earlier execution or attempt was lost."""
    kept = _recovery_dir(fn_args, job)
    with supervision.supervised((fn_args.custom_config.get(WORKER_GROUP) or {}).get("limits", {})):
        yield replace(job, recovery_dir=kept)
        if tf_config.own_index(os.environ) == 0:
            # With what other settings, given up meanwhile, have left.
            checkpoint.delete(os.path.dirname(kept))


def head_run_fn(fn_args: FnArgs) -> None:
    """Fit 1, with the Tuner's values in place of the config's.

    The backbone's weights are those of TrunkFeatures, if there is one (`base_model`).
    """
    args = from_json(HeadTrainerArgs, fn_args.custom_config[ARGS])
    args = hyperparameters.with_tuned(args, fn_args.hyperparameters, hyperparameters.HEAD_FIT)
    weights = args.weights
    if fn_args.base_model:
        weights = os.path.join(_artifact_dir(fn_args.base_model), BACKBONE_FILE)
    with _recoverable(fn_args, _exporting_job(fn_args, args)) as job:
        run_head_fit(job, args.fit, weights)


def fine_tune_run_fn(fn_args: FnArgs) -> None:
    """Fit 2, from `base_model`, with the Tuner's values in place of the config's."""
    args = from_json(FineTunerArgs, fn_args.custom_config[ARGS])
    args = hyperparameters.with_tuned(args, fn_args.hyperparameters, hyperparameters.FINE_TUNE)
    if not fn_args.base_model:
        raise ValueError("FineTuner needs HeadTrainer's model as base_model.")
    with _recoverable(fn_args, _exporting_job(fn_args, args)) as job:
        run_fine_tune(job, args.fit, _artifact_dir(fn_args.base_model))


def _exporting_job(fn_args: FnArgs, args: HeadTrainerArgs | FineTunerArgs) -> Job:
    job = _job(fn_args, args)
    return replace(job, config=args.config, rejected_share=args.rejected_share)


def _job(fn_args: FnArgs, args: TrainingArgs) -> Job:
    card = read_card(_examples_dir(fn_args.train_files[0]))
    # A Tuner exports nothing.
    exported = fn_args.serving_model_dir or ""
    folders = (_artifact_dir(exported), exported, fn_args.model_run_dir or "")
    return make_job(args, card, fn_args.train_files, fn_args.eval_files, folders)


def _artifact_dir(saved_model_dir: str) -> str:
    """TFX puts the SavedModel into a sub-folder of the model artifact."""
    return os.path.dirname(saved_model_dir.rstrip("/"))


def _examples_dir(file_pattern: str) -> str:
    """`<artifact>/Split-train/*` -> `<artifact>`."""
    return os.path.dirname(os.path.dirname(file_pattern))
