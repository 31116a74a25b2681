"""Writes the model card: what a model is, what it was made of, how good it is and where it ends.

The sections are those of Mitchell et al., Model Cards for Model Reporting, 2019.
"""

from pathlib import Path

from scipy import stats

from pipeline.report.formats import make_environment, splits_of
from pipeline.report.run_record import RunRecord
from trainer.files import write_replacing
from trainer.store.uris import is_remote

CARD_FILE = "model_card.md"
_WEAKEST = 3
_WEAK_RECALL = 0.9


def render_card(run: RunRecord, backbone: str) -> str:
    """The card in Markdown; the intended use is left to the owner of the model.

    Args:
      run: the finished run.
      backbone: what the run began with, in words.
    """
    weak = [one for one in run.class_changes if one.after < _WEAK_RECALL]
    left_out = run.certainty.unknown.left_out if run.certainty else {}
    return (
        make_environment(autoescape=False)
        .get_template("model_card.md.j2")
        .render(
            run=run,
            backbone=backbone,
            splits=splits_of(run),
            accuracy_interval=_accuracy_interval(run),
            weakest=sorted(weak, key=lambda one: one.after)[:_WEAKEST],
            worst_left_out=min(left_out, key=lambda label: left_out[label]) if left_out else "",
        )
    )


def _accuracy_interval(run: RunRecord) -> tuple[float, float] | None:
    total = run.metrics.test_images
    if not total:
        return None
    right = round(run.metrics.candidate.accuracy * total)
    found = stats.binomtest(right, total).proportion_ci(method="exact")
    return float(found.low), float(found.high)


def write_card(text: str, run: RunRecord, output_dir: Path) -> None:
    """Writes the card beside the report, and into the assets of the version that was pushed."""
    write_replacing(output_dir / CARD_FILE, text)
    if not run.model:
        return
    if is_remote(run.model.path):
        _write_remote(f"{run.model.path}/assets/{CARD_FILE}", text)
    elif (assets := Path(run.model.path) / "assets").is_dir():
        write_replacing(assets / CARD_FILE, text)


def _write_remote(path: str, text: str) -> None:
    from tfx.dsl.io import fileio

    with fileio.open(path, "w") as file:
        file.write(text)
