"""The report's charts, as inline SVG that follows the page's colours."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.fits.record import FitRecord, Mixing

BASELINE_COLOUR = "#d97706"
CANDIDATE_COLOUR = "#2563eb"
_MOST_LINEAR = 5.0  # ratio of highest to lowest objective that a linear axis still shows well
_LEAST_OBJECTIVE = 1e-6  # a logarithmic axis has no zero
INK = "#7c8290"  # readable on light and on dark
_CHOICE_COLOURS = ("#2563eb", "#d97706", "#0d9488", "#be185d", "#7c3aed", "#65a30d")
TITLE = {"color": INK, "fontsize": 10, "loc": "left"}


def learning_curves(head: FitRecord, fine_tune: FitRecord) -> list[str]:
    """Draws loss and accuracy of both fits, with the epochs of fit 2 after those of fit 1.

    Args:
      head: record of fit 1.
      fine_tune: record of fit 2.

    Returns:
      Two `<svg>` elements. Values that are None leave a gap.
    """
    return [_curve(head, fine_tune, name) for name in ("loss", "accuracy")]


def _curve(head: FitRecord, fine_tune: FitRecord, name: str) -> str:
    figure, (axis,) = new_figure(1)
    head_epochs = len(head.history["loss"])
    for record, offset, colour, label in (
        (head, 0, BASELINE_COLOUR, "fit 1, head"),
        (fine_tune, head_epochs, CANDIDATE_COLOUR, "fit 2, fine-tuning"),
    ):
        _draw_fit(axis, record, offset, colour, label, name)
    axis.axvline(head_epochs + 0.5, color=INK, linestyle=":", linewidth=1)
    axis.set_title(f"{name} (solid: validation, dashed: training)", **TITLE)
    axis.set_xlabel("epoch", color=INK, fontsize=9)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(frameon=False, fontsize=8, labelcolor=INK)
    return to_svg(figure, f"{name.capitalize()} of both fits by epoch, separated by a dotted line")


def _draw_fit(
    axis: Any, record: FitRecord, offset: int, colour: str, label: str, name: str
) -> None:
    training, validation = record.history[name], record.history[f"val_{name}"]
    epochs = range(offset + 1, offset + len(training) + 1)
    axis.plot(epochs, _gaps(training), color=colour, alpha=0.45, linewidth=1.2, linestyle="--")
    axis.plot(
        epochs,
        _gaps(validation),
        color=colour,
        linewidth=1.8,
        marker="o" if len(training) == 1 else None,
        label=label,
    )
    best = record.best_epoch
    if 0 < best <= len(validation) and validation[best - 1] is not None:
        axis.plot([offset + best], [validation[best - 1]], "o", color=colour, markersize=7)


def mixing_chart(mixing: Mixing | None) -> str:
    """Draws the validation loss of each mixture of the weights from before and after fit 2.

    Returns:
      An `<svg>` element; empty if nothing was mixed.
    """
    if not mixing:
        return ""
    figure, (axis,) = new_figure(1)
    shares = [100 * share for share in mixing.shares]
    losses = _gaps(mixing.val_losses)
    axis.plot(shares, losses, color=CANDIDATE_COLOUR, marker="o", markersize=4, linewidth=1.8)
    chosen = mixing.shares.index(mixing.chosen)
    axis.plot([shares[chosen]], [losses[chosen]], "o", color=CANDIDATE_COLOUR, markersize=9)
    axis.set_title("validation loss of mixed weights", **TITLE)
    axis.set_xlabel("share of the weights from after fit 2, in %", color=INK, fontsize=9)
    axis.set_xticks(shares)
    return to_svg(figure, "Validation loss by the share of the weights from after fit 2")


def curve_chart(points: Sequence[tuple[int, float]]) -> str:
    """Draws accuracy, 0 to 1, against the number of training images, as SVG."""
    figure, (axis,) = new_figure(1)
    images, accuracies = zip(*points, strict=True)
    axis.plot(images, [100 * value for value in accuracies], marker="o", markersize=4)
    axis.set_xscale("log", base=2)
    axis.set_xticks(images, [f"{count:,}" for count in images])
    axis.minorticks_off()
    axis.set_xlabel("training images", color=INK, fontsize=9)
    axis.set_ylabel("accuracy in %", color=INK, fontsize=9)
    return to_svg(figure, "Accuracy of the probe against the number of training images")


@dataclass(frozen=True)
class TrialPoint:
    """One finished trial on the chart: its position, and the choice that its colour shows."""

    learning_rate: float
    objective: float
    choice: str


def tuning_chart(stages: Mapping[str, Sequence[TrialPoint]]) -> str:
    """Draws the objective of every trial by its learning rate, stages side by side.

    Args:
      stages: title -> trials. Each choice has its own colour; a ring marks the best trial.

    Returns:
      An `<svg>` element.
    """
    figure, axes = new_figure(len(stages))
    for axis, (title, points) in zip(axes, stages.items(), strict=True):
        _draw_trials(axis, points)
        axis.set_title(f"{title}: validation cross-entropy", **TITLE)
        axis.set_xlabel("learning rate", color=INK, fontsize=9)
    return to_svg(figure, "Validation cross-entropy of each trial by its learning rate")


def _draw_trials(axis: Any, points: Sequence[TrialPoint]) -> None:
    from matplotlib.ticker import LogLocator

    axis.set_xscale("log")
    objectives = [point.objective for point in points if point.objective > 0] or [1.0]
    if max(objectives) > _MOST_LINEAR * min(objectives):
        # A trial that diverged would squeeze all others into one line.
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_minor_formatter("")
        axis.yaxis.set_major_formatter("{x:g}")
    choices = list(dict.fromkeys(point.choice for point in sorted(points, key=_by_choice)))
    for number, choice in enumerate(choices):
        matches = [point for point in points if point.choice == choice]
        axis.plot(
            [point.learning_rate for point in matches],
            [max(point.objective, _LEAST_OBJECTIVE) for point in matches],
            "o",
            color=_CHOICE_COLOURS[number % len(_CHOICE_COLOURS)],
            markersize=5,
            alpha=0.8,
            label=choice,
        )
    if points:
        best = min(points, key=lambda point: point.objective)
        ring = {"markersize": 11, "markerfacecolor": "none", "markeredgecolor": INK}
        axis.plot([best.learning_rate], [max(best.objective, _LEAST_OBJECTIVE)], "o", **ring)
        axis.legend(frameon=False, fontsize=8, labelcolor=INK)


def _by_choice(point: TrialPoint) -> tuple[int, str]:
    """Sorts numbers by size and names alphabetically."""
    return len(point.choice), point.choice


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def new_figure(columns: int, height: float = 3.2) -> tuple[Any, Any]:
    """A transparent figure of so many charts side by side, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * columns, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.patch.set_alpha(0)
        axis.tick_params(colors=INK, labelsize=8)
        axis.grid(alpha=0.25, linewidth=0.6)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axis.spines[side].set_color(INK)
    return figure, axes


def to_svg(figure: Any, alternative: str) -> str:
    """The figure as one `<svg>` element, with what a screen reader says of it."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "thaw"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # The SVG's metadata links to vocabularies on the web; the page must be self-contained.
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace("<svg", f'<svg role="img" aria-label="{alternative}"', 1)
