"""Fits all that an exported model carries besides its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tf_keras as keras

from trainer.calibration.left_out import left_out_classes
from trainer.calibration.probe import Probe
from trainer.calibration.record import Calibration
from trainer.calibration.temperature import fit_temperature
from trainer.calibration.unknown import KnownImages, Pooled, fit_known

MOST_IMAGES = 5_000
"""So many images of a split tell enough."""


@dataclass(frozen=True)
class Fitted:
    """What an exported model carries besides its weights.

    Attributes:
      record: its numbers.
      known: what tells known images from others.
      probes: name of `REFERENCES` -> linear probe, of the model with the frozen backbone only.
    """

    record: Calibration
    known: KnownImages
    probes: Mapping[str, Probe] = field(default_factory=dict)


def fit_calibration(
    head: keras.Model,
    train: Pooled,
    val: Pooled,
    labels: Sequence[str],
    rejected_share: float,
    probes: Mapping[str, Probe | None] | None = None,
) -> Fitted:
    """Fits to the pooled vectors of a model.

    Args:
      head: pooled vectors to logits.
      train: training images.
      val: validation images.
      labels: class names by label id.
      rejected_share: at most this share of the validation images counts as unknown, 0 to 1.
      probes: what the record is to carry along; None: no such probe.
    """
    logits = np.asarray(head(val.vectors, training=False))
    known = fit_known(train, val, logits, rejected_share)
    record = Calibration(
        temperature=fit_temperature(logits, val.labels),
        val_images=len(val),
        rejected_share=rejected_share,
        threshold=float(known.threshold),
        left_out={labels[one]: area for one, area in left_out_classes(train, val).items()},
    )
    kept = {name: probe for name, probe in (probes or {}).items() if probe}
    return Fitted(record, known, kept)
