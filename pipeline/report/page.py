"""Writes `report.html`, a self-contained page, from `run.json` and the sample images."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.report.ablation import (
    ABLATION_FILE,
    AblationSummary,
    digest_of,
    read_ablation,
    summarize,
)
from pipeline.report.certainty_charts import coverage_chart, matrix_picture, reliability_chart
from pipeline.report.charts import learning_curves, mixing_chart
from pipeline.report.confusion import (
    MOST_TABLE_CLASSES,
    order_by_similarity,
    reorder,
    top_confusions,
)
from pipeline.report.formats import make_environment, splits_of
from pipeline.report.model_card import render_card, write_card
from pipeline.report.next_steps import next_steps
from pipeline.report.run_record import RunRecord, Sample, damaged, read_run
from pipeline.report.tuning import describe_tuning
from serving.run_report import REPORT_FILE, RUN_FILE
from trainer.files import write_replacing

if TYPE_CHECKING:
    pass

_MOST_FILES = 50


def build_report(output_dir: Path) -> Path:
    """Renders the report and the model card of a run. Older ones stay until both are complete.

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
        page, card = _render(run, output_dir), render_card(run, _backbone(run))
    except (KeyError, UndefinedError, TypeError) as error:  # such as an epoch without its loss
        raise damaged(output_dir / RUN_FILE, error) from error
    target = output_dir / REPORT_FILE
    write_replacing(target, page)
    write_card(card, run, output_dir)
    return target


def _render(run: RunRecord, output_dir: Path) -> str:
    return (
        make_environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            output=str(output_dir),
            curves=learning_curves(run.fits.head, run.fits.fine_tune),
            mixing_chart=mixing_chart(run.fits.fine_tune.mixing),
            backbone=_backbone(run),
            tuning=describe_tuning(run.tuner),
            matrices=_matrices(run),
            confusions=top_confusions(run.metrics.candidate.confusion, run.data.classes),
            samples=[_shown(sample, output_dir) for sample in run.samples],
            doubtful=[(one, _data_url(one.thumbnail, output_dir)) for one in run.doubtful_labels],
            steps=next_steps(run, str(output_dir)),
            certainty_charts=certainty_charts(run),
            ablation=_ablation(run, output_dir),
            rejected=run.data.set_aside.files[:_MOST_FILES],
            splits=splits_of(run),
            longest=max((node.seconds for node in run.nodes), default=0) or 1,
            config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        )
    )


@dataclass(frozen=True)
class Matrices:
    """The confusion matrices of both models.

    Attributes:
      classes: names in the order of the rows.
      tables: model -> rows of (count, share of the row); empty if there are too many classes.
      pictures: `<svg>` elements in their place.
    """

    classes: list[str]
    tables: dict[str, list[list[tuple[int, float]]]]
    pictures: list[str]


@dataclass(frozen=True)
class Shown:
    """A sample and its pictures, as URLs that contain them."""

    sample: Sample
    picture: str
    heat_maps: dict[str, str]


def _shown(sample: Sample, output_dir: Path) -> Shown:
    heat_maps = {name: _data_url(path, output_dir) for name, path in sample.heat_maps.items()}
    return Shown(sample, _data_url(sample.thumbnail, output_dir), heat_maps)


def _ablation(run: RunRecord, output_dir: Path) -> AblationSummary | None:
    """What `thaw ablate` has found for this very run; None: it was not run."""
    if not (output_dir / ABLATION_FILE).is_file():
        return None
    record = read_ablation(output_dir, digest_of(run))
    return summarize(record) if record and record.results else None


def certainty_charts(run: RunRecord) -> list[str]:
    """How sure the models are, as `<svg>` elements; none for a run that does not say."""
    if not run.certainty:
        return []
    return [reliability_chart(run.certainty), coverage_chart(run.certainty)]


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


def _matrices(run: RunRecord) -> Matrices:
    """Both models' counts in one order, which puts similar classes beside each other."""
    models = (("candidate", run.metrics.candidate), ("baseline", run.metrics.baseline))
    order = order_by_similarity(run.metrics.candidate.confusion)
    sorted_counts = {name: reorder(metrics.confusion, order) for name, metrics in models}
    classes = [run.data.classes[place] for place in order]
    if len(classes) > MOST_TABLE_CLASSES:
        pictures = [matrix_picture(counts, name) for name, counts in sorted_counts.items()]
        return Matrices(classes, {}, pictures)
    shares = {
        name: [[(count, count / (sum(row) or 1)) for count in row] for row in counts]
        for name, counts in sorted_counts.items()
    }
    return Matrices(classes, shares, [])


def _data_url(name: str, output_dir: Path) -> str:
    """A picture as a URL that contains it; empty if the file no longer exists."""
    path = output_dir / name
    encoded = base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
    return f"data:image/jpeg;base64,{encoded}" if encoded else ""
