"""Runs exports over the test images, and compares them with the SavedModel."""

import math
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from components.exporter.client.classify import open_model
from components.exporter.formats import FORMATS, INT8, ExportRule
from components.exporter.record import Answers, Export
from trainer.export import CALIBRATED_PROBABILITIES, PIXELS, PIXELS_SIGNATURE, PROBABILITIES
from trainer.process.progress import Counter
from trainer.process.quiet import quiet_stderr

DIFFERING_SHARE = 0.001
"""Of the test images, at most this share may have another first choice."""

Images = Iterable[np.ndarray]
"""uint8 [size, size, 3] each, as the model sees them."""

_Ask = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Outputs:
    """What one model file says of n test images.

    Attributes:
      probabilities: float32 [n, classes].
      calibrated: the same after calibration.
      milliseconds: the median time of one image.
      num_bytes: of its files.
    """

    probabilities: np.ndarray
    calibrated: np.ndarray
    milliseconds: float
    num_bytes: int

    def answers(self, label_ids: np.ndarray) -> Answers:
        """The figures of these outputs."""
        accuracy = float(np.mean(self.probabilities.argmax(axis=1) == label_ids))
        return Answers(self.num_bytes, accuracy, round(self.milliseconds, 3))


def ask_saved_model(saved_model_dir: str, images: Images, counter: Counter) -> Outputs:
    """Asks the SavedModel's signature on pixels about each image, by itself."""
    signature = tf.saved_model.load(saved_model_dir).signatures[PIXELS_SIGNATURE]

    def ask(pixels: np.ndarray) -> dict[str, np.ndarray]:
        answer = signature(**{PIXELS: tf.constant(pixels)})
        return {name: answer[name].numpy() for name in (PROBABILITIES, CALIBRATED_PROBABILITIES)}

    return _ask_each(ask, images, counter, _bytes_below(saved_model_dir))


def ask_export(path: str, images: Images, counter: Counter) -> Outputs:
    """Asks an exported file, by the very code that is written beside it."""
    with quiet_stderr():
        model = open_model(path)
    return _ask_each(model, images, counter, os.path.getsize(path))


def _ask_each(ask: _Ask, images: Images, counter: Counter, num_bytes: int) -> Outputs:
    rows, seconds = [], []
    with quiet_stderr():
        for one in images:
            start = time.perf_counter()
            rows.append(ask(one[np.newaxis]))
            seconds.append(time.perf_counter() - start)
            counter.add()
    probabilities, calibrated = (
        np.concatenate([row[name] for row in rows])
        for name in (PROBABILITIES, CALIBRATED_PROBABILITIES)
    )
    return Outputs(probabilities, calibrated, 1000 * statistics.median(seconds), num_bytes)


def _bytes_below(folder: str) -> int:
    return sum(
        tf.io.gfile.stat(os.path.join(parent, name)).length
        for parent, _, names in tf.io.gfile.walk(folder)
        for name in names
    )


def compare(
    format_name: str, own: Outputs, saved: Outputs, label_ids: np.ndarray, rule: ExportRule
) -> Export:
    """Decides whether an export agrees with the SavedModel.

    All formats but `tflite_int8` agree if their first choice is another one for at most
    `DIFFERING_SHARE` of the images, rounded down, not counting ties: images for which the
    SavedModel's own probabilities of the two choices are closer than the format's `tie`. What
    `tflite_int8` may lose is accuracy: at most `rule.int8_max_loss` points.

    Args:
      format_name: key of `FORMATS`.
      own: the export's outputs.
      saved: the SavedModel's.
      label_ids: int64 [n], the true classes.
      rule: the limits.
    """
    choices, expected = own.probabilities.argmax(axis=1), saved.probabilities.argmax(axis=1)
    (differing,) = np.nonzero(choices != expected)
    margins = (
        saved.probabilities[differing, expected[differing]]
        - saved.probabilities[differing, choices[differing]]
    )
    ties = int(np.sum(margins < FORMATS[format_name].tie))
    largest = max(
        float(np.max(np.abs(own.probabilities - saved.probabilities))),
        float(np.max(np.abs(own.calibrated - saved.calibrated))),
    )
    export = Export(
        format=format_name,
        file=FORMATS[format_name].file,
        answers=own.answers(label_ids),
        differing=len(differing),
        ties=ties,
        max_difference=largest if math.isfinite(largest) else None,
        agrees=True,
    )
    reason = _objection(export, saved.answers(label_ids).accuracy, len(label_ids), rule)
    return replace(export, agrees=not reason, reason=reason)


def _objection(export: Export, accuracy: float, num_images: int, rule: ExportRule) -> str:
    """Why an export does not agree; empty if it does."""
    if export.max_difference is None:
        return "Some of its probabilities are not numbers."
    if export.format == INT8:
        loss = 100 * (accuracy - export.answers.accuracy)
        # What is left of rounding is far below one image.
        if loss <= rule.int8_max_loss + 1e-9:
            return ""
        return (
            f"Its accuracy is {loss:.1f} points lower, {export.answers.accuracy:.1%} in place of "
            f"{accuracy:.1%}; export.int8_max_loss allows {rule.int8_max_loss:g}."
        )
    count, allowed = export.differing - export.ties, int(DIFFERING_SHARE * num_images)
    if count <= allowed:
        return ""
    return (
        f"Its first choice is another one for {count} of {num_images} test images; {allowed} "
        f"{'is' if allowed == 1 else 'are'} allowed."
    )
