"""Writes `report.html`, a self-contained page, from `run.json` and the sample images."""

import base64
import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from pipeline.report.charts import learning_curves
from pipeline.report.tuning import describe_tuning
from trainer.errors import ThawError

RUN_FILE = "run.json"
REPORT_FILE = "report.html"

# Version of `run.json`; raised when a change would mislead a reader of the older version.
SCHEMA = 2
_MOST_MATRIX_CLASSES = 40
_MOST_CONFUSIONS = 15
_MOST_FILES = 50


class ReportError(ThawError):
    """The report cannot be written. The message names the file and says what to do."""


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
    except KeyError as error:
        raise _damaged(output_dir / RUN_FILE, f"{error} is missing") from error
    except (UndefinedError, TypeError) as error:  # a filter is given what is not there
        raise _damaged(output_dir / RUN_FILE, error) from error
    target = output_dir / REPORT_FILE
    partial = target.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, target)
    return target


def read_run(output_dir: Path) -> dict[str, Any]:
    """Reads `run.json`.

    Raises:
      ReportError: if it is missing, damaged or of another version.
    """
    path = output_dir / RUN_FILE
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(
            f"{path}: cannot be read: {error.strerror}. `thaw run --output {output_dir}` writes it."
        ) from error
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(run, dict) or run.get("schema") != SCHEMA:
        raise ReportError(
            f"{path}: was not written by this version of thaw. `thaw run` writes it again."
        )
    return run


def _damaged(path: Path, why: object) -> ReportError:
    return ReportError(f"{path}: is damaged: {why}. `thaw run` writes it again.")


def _render(run: dict[str, Any], output_dir: Path) -> str:
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
    return environment.get_template("report.html.j2").render(
        run=run,
        output=str(output_dir),
        curves=learning_curves(run["fits"]["head"], run["fits"]["fine_tune"]),
        tuning=describe_tuning(run.get("tuner")),
        matrix=_matrix(run),
        confusions=top_confusions(run),
        samples=[_with_image(sample, output_dir) for sample in run["samples"]],
        set_aside=run["data"]["set_aside"]["files"][:_MOST_FILES],
        longest=max((node["seconds"] for node in run["nodes"]), default=0) or 1,
        config=yaml.safe_dump(run["config"], sort_keys=False, allow_unicode=True),
    )


def top_confusions(run: dict[str, Any]) -> list[Confusion]:
    """Returns the candidate's most frequent confusions, most frequent first."""
    classes = run["data"]["classes"]
    counts = run["metrics"]["candidate"]["confusion"]
    mistakes = [
        Confusion(classes[row], classes[column], count)
        for row, of_class in enumerate(counts)
        for column, count in enumerate(of_class)
        if row != column and count
    ]
    return sorted(mistakes, key=lambda mistake: -mistake.count)[:_MOST_CONFUSIONS]


def _matrix(run: dict[str, Any]) -> dict[str, list[list[tuple[int, float]]]] | None:
    """Both models' counts with their share of the row; None if there are too many classes."""
    if len(run["data"]["classes"]) > _MOST_MATRIX_CLASSES:
        return None
    return {
        model: [
            [(count, count / (sum(row) or 1)) for count in row]
            for row in run["metrics"][model]["confusion"]
        ]
        for model in ("candidate", "baseline")
    }


def _with_image(sample: dict[str, Any], output_dir: Path) -> dict[str, Any]:
    path = output_dir / sample["thumbnail"]
    encoded = base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
    return {**sample, "image": f"data:image/jpeg;base64,{encoded}" if encoded else ""}


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
