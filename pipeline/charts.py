"""The report's charts, as inline SVG that follows the page's colours."""

import io
import re
from collections.abc import Sequence
from typing import Any

_HEAD_COLOUR = "#d97706"
_FINE_TUNE_COLOUR = "#2563eb"
_INK = "#7c8290"  # readable on light and on dark
_TITLE = {"color": _INK, "fontsize": 10, "loc": "left"}


def learning_curves(head: dict[str, Any], fine_tune: dict[str, Any]) -> list[str]:
    """Draws loss and accuracy of both fits, the epochs of fit 2 following those of fit 1.

    Args:
      head: record of fit 1; see `trainer.fits.FitRecord`.
      fine_tune: record of fit 2.

    Returns:
      Two `<svg>` elements. Values that are None leave a gap.
    """
    return [_curve(head, fine_tune, name) for name in ("loss", "accuracy")]


def _curve(head: dict[str, Any], fine_tune: dict[str, Any], name: str) -> str:
    figure, axis = _figure()
    head_epochs = len(head["history"]["loss"])
    for record, offset, colour, label in (
        (head, 0, _HEAD_COLOUR, "fit 1, head"),
        (fine_tune, head_epochs, _FINE_TUNE_COLOUR, "fit 2, fine-tuning"),
    ):
        _draw_fit(axis, record, offset, colour, label, name)
    axis.axvline(head_epochs + 0.5, color=_INK, linestyle=":", linewidth=1)
    axis.set_title(f"{name} (solid: validation, dashed: training)", **_TITLE)
    axis.set_xlabel("epoch", color=_INK, fontsize=9)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(frameon=False, fontsize=8, labelcolor=_INK)
    return _svg(figure, f"{name.capitalize()} of both fits by epoch; they meet at a dotted line")


def _draw_fit(
    axis: Any, record: dict[str, Any], offset: int, colour: str, label: str, name: str
) -> None:
    training, validation = record["history"][name], record["history"][f"val_{name}"]
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
    best = record["best_epoch"]
    if 0 < best <= len(validation) and validation[best - 1] is not None:
        axis.plot([offset + best], [validation[best - 1]], "o", color=colour, markersize=7)


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    figure.patch.set_alpha(0)
    axis = figure.subplots()
    axis.patch.set_alpha(0)
    axis.tick_params(colors=_INK, labelsize=8)
    axis.grid(alpha=0.25, linewidth=0.6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(_INK)
    return figure, axis


def _svg(figure: Any, alternative: str) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "thaw"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Its own metadata links to vocabularies on the web; the page must stand alone.
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace("<svg", f'<svg role="img" aria-label="{alternative}"', 1)
