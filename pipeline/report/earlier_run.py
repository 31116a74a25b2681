"""An earlier run that a new one starts from and is compared with. Light to import."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.report.run_record import ReportError, read_run
from trainer import records
from trainer.errors import ThawError
from trainer.records import Record

_FILE = "earlier_run.json"


@dataclass(frozen=True)
class EarlierRun(Record):
    """What a later run needs to know of an earlier one.

    Attributes:
      folder: its output folder.
      run_id: its id in that folder.
      finished: when, in ISO 8601.
      labels: class names by label id.
      model: folder of HeadTrainer's model.
      examples: folder of the ingested examples.
      evaluation: folder of the Evaluator's results.
    """

    folder: str
    run_id: str
    finished: str
    labels: list[str]
    model: str
    examples: str
    evaluation: str


def find_earlier_run(output_dir: Path) -> EarlierRun:
    """Finds what the last finished run in an output folder has left.

    Example:
      find_earlier_run(Path("out")).labels

    Raises:
      ThawError: if there is none, or if its artifacts are not on this machine.
    """
    try:
        run = read_run(output_dir)
    except ReportError as problem:
        raise ThawError(
            f"there is no earlier run to start from: {problem}",
            to_do="Give the output folder of a run that has finished.",
        ) from problem
    found = EarlierRun(
        folder=str(output_dir),
        run_id=run.run_id,
        finished=run.finished,
        labels=run.data.classes,
        model=run.uri("HeadTrainer", "model"),
        examples=run.uri("ImageExampleGen", "examples"),
        evaluation=run.uri("Evaluator", "evaluation"),
    )
    for folder in (found.model, found.examples, found.evaluation):
        if not Path(folder).is_dir():
            raise ThawError(
                "is missing: it was written by the run to start from.",
                where=folder,
                to_do=f"Run the command that wrote {output_dir} again, or start from another run.",
            )
    return found


def write_earlier_run(earlier: EarlierRun, run_dir: Path) -> None:
    """Leaves it in the folder of a run's logs, for the report."""
    (run_dir / _FILE).write_text(records.dumps(earlier, indent=2), encoding="utf-8")


def read_earlier_run(run_dir: Path) -> EarlierRun | None:
    """Reads what `write_earlier_run` has left; None if the run starts from no other."""
    path = run_dir / _FILE
    if not path.exists():
        return None
    return records.read(EarlierRun, path.read_text(encoding="utf-8"), str(path))
