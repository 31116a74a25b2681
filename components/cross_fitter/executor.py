"""The work: a fold is an element of a Beam pipeline, so that workers share the folds.

A fold that is finished is kept until all are, and not run again after an interruption.
"""

import hashlib
import json
import os
import tempfile
import threading
from dataclasses import replace
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils

from trainer.artifact_dirs import STATE_FOLDER, node_dir
from trainer.data.card import read_card
from trainer.data.predictions import FOLDER, fold_columns, write_rows
from trainer.experiments.both_fits import BothFits, predict_rows, run_both
from trainer.experiments.folds import assign_folds, splits_of_fold
from trainer.experiments.images import (
    ImageInfo,
    card_of_splits,
    read_all,
    read_examples_of,
    read_infos,
    write_splits,
)
from trainer.keys import TEST, TRAIN
from trainer.model.trunk import BACKBONE_FILE
from trainer.process import progress
from trainer.records import to_json
from trainer.specs import CrossFitArgs, from_json
from trainer.tuning import hyperparameters as tuning

SETTINGS = "settings"
FEATURES = "features"
TRUNK = "trunk"
HYPERPARAMETERS = "hyperparameters"
EVIDENCE = "evidence"

# Property of the evidence: number of folds; 0 where the test split is enough.
FOLDS = "folds"

_BEST = "best_hyperparameters.txt"

# Keras and TensorFlow keep seeds and names for a whole process.
_one_at_a_time = threading.Lock()


class Executor(BaseBeamExecutor):
    """Writes the predictions of all folds."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpacks TFX's arguments; see `cross_fit`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = from_json(CrossFitArgs, json.loads(exec_properties[SETTINGS]))
        features_uri = artifact_utils.get_single_uri(input_dict[FEATURES])
        evidence = artifact_utils.get_single_instance(output_dict[EVIDENCE])
        # The local runner makes the folder; the one in a pod does not.
        tf.io.gfile.makedirs(evidence.uri)
        evidence.set_int_custom_property(FOLDS, 0)
        if read_card(features_uri).num_examples(TEST) >= settings.enough_test_images:
            return
        settings = _with_tuned(settings, input_dict.get(HYPERPARAMETERS, []))
        weights = os.path.join(artifact_utils.get_single_uri(input_dict[TRUNK]), BACKBONE_FILE)
        cross_fit(self._make_beam_pipeline(), settings, features_uri, weights, evidence.uri)
        evidence.set_int_custom_property(FOLDS, settings.folds)


def _with_tuned(settings: CrossFitArgs, found: list[types.Artifact]) -> CrossFitArgs:
    if not found:
        return settings
    path = os.path.join(artifact_utils.get_single_uri(found), _BEST)
    with tf.io.gfile.GFile(path) as file:
        tuned = json.loads(file.read())
    return replace(
        settings,
        head=tuning.with_tuned(settings.head, tuned, tuning.HEAD_FIT),
        fine_tune=tuning.with_tuned(settings.fine_tune, tuned, tuning.FINE_TUNE),
    )


def cross_fit(
    pipeline: beam.Pipeline,
    settings: CrossFitArgs,
    features_uri: str,
    backbone_weights: str,
    evidence_uri: str,
) -> None:
    """Runs all folds and writes `predictions/` of every image.

    Args:
      pipeline: an empty one; its workers share the folds.
      settings: of both fits and of the folds.
      features_uri: what TrunkFeatures wrote.
      backbone_weights: path of the weights that it used.
      evidence_uri: where to.

    Raises:
      ThawError: if there are fewer groups of images than folds.
    """
    infos = read_infos(features_uri)
    folds = assign_folds(infos, settings.folds, settings.head.seed)
    state = _state_dir(settings, features_uri, backbone_weights, evidence_uri)
    targets = [
        os.path.join(state, f"fold-{fold:02d}-of-{settings.folds:02d}.parquet")
        for fold in range(settings.folds)
    ]
    run_fold = _RunFold(settings, features_uri, backbone_weights, infos, folds)
    with pipeline:
        _ = (
            pipeline
            | beam.Create(list(enumerate(targets)), reshuffle=True)
            | "RunFold" >> beam.ParDo(run_fold)
        )
    tf.io.gfile.makedirs(os.path.join(evidence_uri, FOLDER))
    for target in targets:
        final = os.path.join(evidence_uri, FOLDER, os.path.basename(target))
        tf.io.gfile.copy(target, final, overwrite=True)
    tf.io.gfile.rmtree(os.path.dirname(state))


def _state_dir(
    settings: CrossFitArgs, features_uri: str, backbone_weights: str, evidence_uri: str
) -> str:
    """A folder that the next execution finds again, if it gets the same arguments."""
    decisive = json.dumps([to_json(settings), features_uri, backbone_weights], sort_keys=True)
    digest = hashlib.sha256(decisive.encode()).hexdigest()[:16]
    return os.path.join(node_dir(evidence_uri), STATE_FOLDER, "folds", digest)


class _RunFold(beam.DoFn):
    """Runs both fits of one fold and writes the predictions of its images."""

    def __init__(
        self,
        settings: CrossFitArgs,
        features_uri: str,
        backbone_weights: str,
        infos: list[ImageInfo],
        folds: dict[str, int],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._features_uri = features_uri
        self._weights = backbone_weights
        self._infos = infos
        self._folds = folds

    def process(self, element: tuple[int, str]) -> None:
        """Runs the fold, unless its predictions are there."""
        fold, target = element
        with _one_at_a_time:
            if not tf.io.gfile.exists(target):
                self._run(fold, target)
        done = tf.io.gfile.glob(os.path.join(os.path.dirname(target), "*.parquet"))
        progress.report(len(done), self._settings.folds, "folds")

    def _run(self, fold: int, target: str) -> None:
        settings = self._settings
        splits = splits_of_fold(self._folds, settings.folds, fold)
        card = card_of_splits(read_card(self._features_uri), self._infos, splits)
        fits = BothFits(settings.head, settings.fine_tune, self._weights)
        with tempfile.TemporaryDirectory(prefix="thaw-fold-") as folder:
            files = write_splits(read_all(self._features_uri), splits, folder)
            models = run_both(fits, card, files, folder)
            of_fold = fold_columns(fold, card.num_examples(TRAIN))
            test = list(read_examples_of(files[TEST]))
            rows = predict_rows(settings.fine_tune, card, test, models)
            write_rows(({**row, **of_fold} for row in rows), target)
