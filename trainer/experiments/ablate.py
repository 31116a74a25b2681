"""Why two fits: the same images, with one thing changed at a time, over several seeds."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from trainer import keys
from trainer.backbones.networks import load_backbone
from trainer.data.card import DataCard
from trainer.data.predictions import BASELINE, CANDIDATE
from trainer.distribution.strategy import make_deterministic
from trainer.earlier_head import WEIGHTS_FILE
from trainer.experiments.ablation_record import BOTH_FITS, HEAD_ONLY, SINGLE_FIT, SeedResult
from trainer.experiments.both_fits import (
    AskedClassifier,
    BothFits,
    SplitFiles,
    fine_tune_from,
    run_both,
)
from trainer.experiments.images import read_examples_of
from trainer.experiments.similarity import linear_cka
from trainer.fits.record import read_fit
from trainer.model.weight_files import save_weights

# Enough for a mean norm, and bounded in memory.
_GRADIENT_IMAGES = 128


def run_seed(fits: BothFits, card: DataCard, files: SplitFiles) -> SeedResult:
    """Runs all variants from one seed.

    A single fit takes the optimizer and the rate of fit 2, has as many epochs as both fits
    together, and begins with a random head and all blocks above the boundary thawed.

    Args:
      fits: what both fits do, with the seed.
      card: of the images.
      files: that hold them.
    """
    splits = {split: list(read_examples_of(files[split])) for split in (keys.VAL, keys.TEST)}
    with tempfile.TemporaryDirectory(prefix="thaw-ablation-") as folder:
        fresh = os.path.join(folder, "fresh")
        asked = AskedClassifier(fits.fine_tune, card)
        _write_fresh(fits, asked, fresh)
        folders = run_both(fits, card, files, folder)
        single = os.path.join(folder, SINGLE_FIT)
        fine_tune_from(_single(fits), card, files, fresh, single)
        left = {HEAD_ONLY: folders[BASELINE], BOTH_FITS: folders[CANDIDATE], SINGLE_FIT: single}
        asked = AskedClassifier(fits.fine_tune, card)
        train = list(read_examples_of(files[keys.TRAIN], _GRADIENT_IMAGES))
        gradients = [_gradient(asked, one, train, card) for one in (fresh, left[HEAD_ONLY])]
        asked.load(fresh)
        before, _ = asked.ask(splits[keys.VAL])
        accuracy, similarity = {}, {}
        for variant, model_dir in left.items():
            asked.load(model_dir)
            vectors, _ = asked.ask(splits[keys.VAL])
            similarity[variant] = linear_cka(before, vectors)
            accuracy[variant] = _accuracy(asked, splits[keys.TEST], card)
        return SeedResult(
            seed=fits.head.seed,
            accuracy=accuracy,
            epochs={name: _epochs(model_dir) for name, model_dir in left.items()},
            similarity=similarity,
            gradient_fresh=gradients[0],
            gradient_warmed=gradients[1],
        )


def _single(fits: BothFits) -> BothFits:
    epochs = fits.head.fit.max_epochs + fits.fine_tune.fit.max_epochs
    fit = replace(fits.fine_tune.fit, max_epochs=epochs)
    return replace(fits, fine_tune=replace(fits.fine_tune, fit=fit))


def _write_fresh(fits: BothFits, asked: AskedClassifier, model_dir: str) -> None:
    """Writes the weights that training begins with: the backbone's own, and a random head."""
    spec = fits.head.model
    make_deterministic(fits.head.seed)
    start = load_backbone(spec.backbone, spec.image_size_px, fits.backbone_weights)
    asked.backbone.set_weights(start.get_weights())
    save_weights(asked.classifier, os.path.join(model_dir, WEIGHTS_FILE))


def _gradient(
    asked: AskedClassifier, model_dir: str, examples: list[tf.train.Example], card: DataCard
) -> float:
    asked.load(model_dir)
    vectors = tf.constant(asked.ask(examples)[0])
    labels = tf.constant([card.labels.index(_label(one)) for one in examples])
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        logits = asked.head(vectors, training=False)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    gradient = tape.gradient(loss, vectors)
    return float(tf.reduce_mean(tf.norm(gradient, axis=1)))


def _accuracy(asked: AskedClassifier, test: Sequence[tf.train.Example], card: DataCard) -> float:
    _, logits = asked.ask(test)
    labels = [card.labels.index(_label(one)) for one in test]
    return float(np.mean(logits.argmax(axis=1) == labels))


def _label(example: tf.train.Example) -> str:
    (label,) = example.features.feature[keys.LABEL].bytes_list.value
    return str(label.decode())


def _epochs(model_dir: str) -> int:
    return len(read_fit(model_dir).history["loss"])
