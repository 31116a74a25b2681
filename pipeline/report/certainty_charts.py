"""Charts of how sure the models are, and the confusion matrix of many classes, as inline SVG."""

from collections.abc import Sequence
from typing import Any

from pipeline.report.certainty_record import Certainty
from pipeline.report.charts import BASELINE_COLOUR, CANDIDATE_COLOUR, INK, TITLE, new_figure, to_svg
from trainer.calibration.record import Bin


def reliability_chart(certainty: Certainty) -> str:
    """Draws accuracy against confidence, before and after calibration, for both models."""
    figure, axes = new_figure(2)
    models = (
        ("baseline", certainty.baseline, BASELINE_COLOUR),
        ("candidate", certainty.candidate, CANDIDATE_COLOUR),
    )
    for axis, (name, model, colour) in zip(axes, models, strict=True):
        axis.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1)
        _draw_bins(axis, model.before, colour, "as it is", filled=False)
        _draw_bins(axis, model.after, colour, f"temperature {model.temperature:.2f}", filled=True)
        axis.set_title(f"{name}: accuracy by confidence", **TITLE)
        axis.set_xlabel("confidence", color=INK, fontsize=9)
        axis.set_xlim(0, 1.03)
        axis.set_ylim(-0.03, 1.03)
        axis.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left")
    return to_svg(
        figure, "Accuracy of both models against their confidence, before and after calibration"
    )


def _draw_bins(axis: Any, bins: Sequence[Bin], colour: str, label: str, filled: bool) -> None:
    largest = max((one.count for one in bins), default=1)
    axis.scatter(
        [one.confidence for one in bins],
        [one.accuracy for one in bins],
        s=[12 + 110 * one.count / largest for one in bins],
        facecolors=colour if filled else "none",
        edgecolors=colour,
        alpha=0.75,
        label=label,
    )


def coverage_chart(certainty: Certainty) -> str:
    """Draws the accuracy of the surest share of images against that share."""
    figure, (axis,) = new_figure(1)
    for name, model, colour in (
        ("baseline", certainty.baseline, BASELINE_COLOUR),
        ("candidate", certainty.candidate, CANDIDATE_COLOUR),
    ):
        axis.plot(
            [100 * one.share for one in model.coverage],
            [100 * one.accuracy for one in model.coverage],
            color=colour,
            linewidth=1.8,
            label=name,
        )
    axis.set_title("accuracy in % by share of images answered", **TITLE)
    axis.set_xlabel("share of images answered, the surest first, in %", color=INK, fontsize=9)
    axis.legend(frameon=False, fontsize=8, labelcolor=INK)
    return to_svg(figure, "Accuracy if only the surest share of the images is answered")


def matrix_picture(matrix: Sequence[Sequence[int]], title: str) -> str:
    """Draws a confusion matrix, each row by its shares, without names."""
    import numpy as np

    figure, (axis,) = new_figure(1, height=5)
    counts = np.asarray(matrix, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(np.ma.masked_equal(shares, 0), cmap="viridis", vmin=0, vmax=1)
    axis.grid(visible=False)
    axis.set_title(title, **TITLE)
    axis.set_xlabel("predicted class", color=INK, fontsize=9)
    axis.set_ylabel("true class", color=INK, fontsize=9)
    return to_svg(figure, f"Confusion matrix of the {title}, {len(counts)} classes")
