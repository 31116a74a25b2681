"""The templates, and how they write numbers."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline.report.run_record import RunRecord
from trainer.keys import SPLITS

if TYPE_CHECKING:
    from jinja2 import Environment


def make_environment(autoescape: bool = True) -> "Environment":
    """The templates, with their filters.

    Args:
      autoescape: for HTML.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        points=points,
        number=number,
        short=_short,
        duration=duration,
        megabytes=megabytes,
        day=day,
        cell=_cell,
    )
    return environment


def splits_of(run: RunRecord) -> list[str]:
    """The splits that hold images, in the order of their use."""
    return [split for split in SPLITS if split in run.data.counts]


def percent(value: float | None) -> str:
    """A share, 0 to 1."""
    return "—" if value is None else f"{value:.1%}"


def points(value: float) -> str:
    """A difference of shares, -1 to 1."""
    return f"{100 * value:+.1f} points".replace("-", "−")


def number(value: float | None) -> str:
    """With three decimals."""
    return "—" if value is None else f"{value:.3f}"


def _short(value: Any) -> str:
    """A tuned value; numbers with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def megabytes(num_bytes: int) -> str:
    """In units of 10^6 bytes."""
    return f"{num_bytes / 1e6:.1f} MB"


def day(moment: str) -> str:
    """A time in ISO 8601, to the minute."""
    return datetime.fromisoformat(moment).strftime("%-d %B %Y, %H:%M UTC")


def _cell(text: str) -> str:
    """A name as it stands in a table of Markdown."""
    return "".join("\\" + letter if letter in "\\|`*_[]<>#" else letter for letter in text)
