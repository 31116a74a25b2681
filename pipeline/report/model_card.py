"""Writes the model card: what a model is, what it was made of, how good it is and where it ends.

The sections are those of Mitchell et al., Model Cards for Model Reporting, 2019.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from scipy import stats

from pipeline.report.formats import make_environment, splits_of
from pipeline.report.run_record import RunRecord
from serving.version_record import CARD_FILE, VERSION_FILE, VersionRecord, to_text
from trainer.errors import ThawError
from trainer.files import write_replacing
from trainer.store.uris import Kind, from_environment, is_remote, to_mount

_WEAKEST = 3
_WEAK_RECALL = 0.9


def render_card(run: RunRecord, backbone: str) -> str:
    """The card in Markdown; the intended use is left to the owner of the model.

    Args:
      run: the finished run.
      backbone: what the run began with, in words.
    """
    mine = "baseline" if run.verdict.baseline_pushed else "candidate"
    recall = (lambda one: one.before) if mine == "baseline" else (lambda one: one.after)
    weak = [one for one in run.class_changes if recall(one) < _WEAK_RECALL]
    left_out = run.certainty.unknown.left_out if run.certainty else {}
    return (
        make_environment(autoescape=False)
        .get_template("model_card.md.j2")
        .render(
            run=run,
            backbone=backbone,
            splits=splits_of(run),
            mine=mine,
            accuracy_interval=_accuracy_interval(run, mine),
            weakest=sorted(weak, key=recall)[:_WEAKEST],
            worst_left_out=min(left_out, key=lambda label: left_out[label]) if left_out else "",
        )
    )


def _accuracy_interval(run: RunRecord, model: str) -> tuple[float, float] | None:
    total = run.metrics.test_images
    if not total:
        return None
    accuracy = {"baseline": run.metrics.baseline, "candidate": run.metrics.candidate}[
        model
    ].accuracy
    right = round(accuracy * total)
    found = stats.binomtest(right, total).proportion_ci(method="exact")
    return float(found.low), float(found.high)


def write_card(text: str, run: RunRecord, output_dir: Path) -> None:
    """Writes the card beside the report, and into the assets of the version that was pushed.

    The version also gets its record, which `thaw versions` reads.
    """
    write_replacing(output_dir / CARD_FILE, text)
    if not run.model:
        return
    assets = {CARD_FILE: text, VERSION_FILE: to_text(_version(run, run.model.version))}
    store = from_environment()
    # Where a volume stands for the store, only what is written through it is seen by others.
    path = to_mount(run.model.path, store) if store.kind is Kind.MOUNTED else run.model.path
    folder = f"{path}/assets"
    if is_remote(path):
        try:
            _write_remote(folder, assets)
        except (OSError, ThawError) as problem:  # a report may lack permission to push
            print(f"the model card is not beside the model: {problem}", file=sys.stderr)
    elif Path(folder).is_dir():
        for name, content in assets.items():
            write_replacing(Path(folder) / name, content)


def _version(run: RunRecord, version: str) -> VersionRecord:
    baseline = run.verdict.baseline_pushed
    measured = run.metrics.baseline if baseline else run.metrics.candidate
    return VersionRecord(
        run_id=run.run_id,
        version=version,
        pushed=run.finished,
        model="baseline" if baseline else "candidate",
        verdict=run.verdict.sentence,
        accuracy=measured.accuracy,
        test_images=run.metrics.test_images,
        fingerprint=run.data.fingerprint,
    )


def _write_remote(folder: str, assets: Mapping[str, str]) -> None:
    from tfx.dsl.io import fileio

    for name, content in assets.items():
        with fileio.open(f"{folder}/{name}", "w") as file:
            file.write(content)
