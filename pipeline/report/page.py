"""Writes `report.html`, a self-contained page, from `run.json` and the sample images."""

import base64
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.report.charts import learning_curves
from pipeline.report.run_record import RUN_FILE, RunRecord, Sample, damaged, read_run
from pipeline.report.tuning import describe_tuning
from trainer.files import write_replacing

if TYPE_CHECKING:
    from jinja2 import Environment

REPORT_FILE = "report.html"
_MOST_MATRIX_CLASSES = 40
_MOST_CONFUSIONS = 15
_MOST_FILES = 50


@dataclass(frozen=True)
class Confusion:
    """How often images of one class were predicted as another."""

    label: str
    predicted: str
    count: int


def build_report(output_dir: Path) -> Path:
    """Renders the report of a run. An older report stays until the new one is complete.

    Example:
      build_report(Path("out"))  # writes and returns out/report.html

    Args:
      output_dir: output folder of a run, with `run.json` and `samples/`.

    Raises:
      ReportError: if `run.json` is missing, damaged, or of another version.
    """
    from jinja2 import UndefinedError

    run = read_run(output_dir)
    try:
        page = _render(run, output_dir)
    except (KeyError, UndefinedError, TypeError) as error:  # such as an epoch without its loss
        raise damaged(output_dir / RUN_FILE, error) from error
    target = output_dir / REPORT_FILE
    write_replacing(target, page)
    return target


def make_environment() -> "Environment":
    """The templates, with their filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent,
        points=_points,
        number=_number,
        short=_short,
        duration=_duration,
        day=_day,
    )
    return environment


def _render(run: RunRecord, output_dir: Path) -> str:
    return (
        make_environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            output=str(output_dir),
            curves=learning_curves(run.fits.head, run.fits.fine_tune),
            backbone=_backbone(run),
            tuning=describe_tuning(run.tuner),
            matrix=_matrix(run),
            confusions=top_confusions(run),
            samples=[(sample, _data_url(sample, output_dir)) for sample in run.samples],
            rejected=run.data.set_aside.files[:_MOST_FILES],
            longest=max((node.seconds for node in run.nodes), default=0) or 1,
            config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        )
    )


def _backbone(run: RunRecord) -> str:
    """Says which network the run began with; empty where its config does not say."""
    backbone = run.config.get("backbone", {})
    kinds = {
        "imagenet": "pre-trained on ImageNet",
        "random": "with random weights, calibrated on the training images. "
        "Pre-trained weights would do far better",
    }
    weights = backbone.get("weights")
    return (
        f"{backbone['name']}, {kinds.get(weights, f'with the weights of {weights}')}"
        if weights
        else ""
    )


def top_confusions(run: RunRecord) -> list[Confusion]:
    """Returns the candidate's most frequent confusions, most frequent first."""
    classes = run.data.classes
    mistakes = [
        Confusion(classes[row], classes[column], count)
        for row, of_class in enumerate(run.metrics.candidate.confusion)
        for column, count in enumerate(of_class)
        if row != column and count
    ]
    return sorted(mistakes, key=lambda mistake: -mistake.count)[:_MOST_CONFUSIONS]


def _matrix(run: RunRecord) -> dict[str, list[list[tuple[int, float]]]] | None:
    """Both models' counts with their share of the row; None if there are too many classes."""
    if len(run.data.classes) > _MOST_MATRIX_CLASSES:
        return None
    return {
        model: [[(count, count / (sum(row) or 1)) for count in row] for row in metrics.confusion]
        for model, metrics in (
            ("candidate", run.metrics.candidate),
            ("baseline", run.metrics.baseline),
        )
    }


def _data_url(sample: Sample, output_dir: Path) -> str:
    """The thumbnail as a URL that contains it; empty if the file no longer exists."""
    path = output_dir / sample.thumbnail
    encoded = base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
    return f"data:image/jpeg;base64,{encoded}" if encoded else ""


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{value:.1%}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points".replace("-", "−")


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def _short(value: Any) -> str:
    """A tuned value; numbers with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _day(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%-d %B %Y, %H:%M UTC")
