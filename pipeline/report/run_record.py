"""`run.json`: everything that a run leaves for programs and for the report, as a typed record.

`pipeline.report.collect` writes it; the report, the command line and the benchmarks read it.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from components.exporter.record import Exports
from pipeline.report.certainty_record import Certainty, ClassChange, DoubtfulLabel
from pipeline.report.part import Part
from pipeline.report.verdict_record import Verdict
from serving.run_report import RUN_FILE
from trainer.errors import ThawError
from trainer.files import write_replacing
from trainer.fits.record import FitRecord
from trainer.tuning.hyperparameters import Value

# Version of `run.json`; raised when a change would mislead a reader of the older version.
SCHEMA: Final = 2


class ReportError(ThawError):
    """`run.json` or the report cannot be used. The message names the file and what to do."""


class RejectedFile(Part):
    """A file that was rejected, and why."""

    path: str
    reason: str


class RejectedFiles(Part):
    """The files that ingestion rejected.

    Attributes:
      count: how many.
      reasons: reason -> number of files.
      files: the first of them.
      pattern: glob pattern of the files that list all of them; `list` in JSON.
    """

    count: int
    reasons: dict[str, int]
    files: list[RejectedFile]
    pattern: str = Field(validation_alias="list", serialization_alias="list")


class Copies(Part):
    """A group of near-duplicates: its files, with their classes and splits in the same order."""

    paths: list[str]
    labels: list[str]
    splits: list[str]


class NearDuplicates(Part):
    """Near-duplicates that ingestion found; see `trainer.data.card.NearDuplicateCounts`.

    `shown` are the first of those groups that stand in several classes or in several splits;
    `list` is the file that lists all.
    """

    groups: int = 0
    images: int = 0
    largest: int = 0
    conflicting: int = 0
    divided: int = 0
    shown: list[Copies] = Field(default_factory=list)
    path: str = Field("", validation_alias="list", serialization_alias="list")


class Data(Part):
    """The images of the run.

    Attributes:
      images_dir: where they came from.
      fingerprint: of their contents and classes.
      image_size_px: what they were resized to.
      classes: sorted.
      counts: split -> class -> number of images.
      set_aside: the files that were rejected.
      near_duplicates: what was found of them.
      small_classes: class -> number of images, of classes that some split had no image of.
      folded_into: the class that these became; empty: they stayed.
      drift: what has changed since the run before, more than it may.
      from_store: number of images whose features an earlier run had kept; of all views.
      through_trunk: number of images that passed the trunk. Both are 0 if the node was cached.
    """

    images_dir: str
    fingerprint: str
    image_size_px: int
    classes: list[str]
    counts: dict[str, dict[str, int]]
    set_aside: RejectedFiles
    near_duplicates: NearDuplicates = NearDuplicates()
    small_classes: dict[str, int] = Field(default_factory=dict)
    folded_into: str = ""
    drift: list[str] = Field(default_factory=list)
    from_store: int = 0
    through_trunk: int = 0


class Fits(Part):
    """Both fits."""

    head: FitRecord
    fine_tune: FitRecord


class Trial(Part):
    """One trial of the search. `objective` is None if the trial failed."""

    stage: str
    trial: str
    values: dict[str, Value]
    objective: float | None
    epochs: int
    seconds: float
    status: str


class Search(Part):
    """The hyperparameter search: its best values, and all trials in the order they started."""

    algorithm: str
    best: dict[str, Value]
    trials: list[Trial]


class ClassMetrics(Part):
    """Accuracy of one model on the test images of one class."""

    accuracy: float
    count: int


class Measures(Part):
    """What the Evaluator measured of one model on the test split."""

    accuracy: float
    macro_recall: float | None = None
    top_k_accuracy: float | None
    loss: float | None
    count: int
    per_class: dict[str, ClassMetrics]


class ModelMetrics(Measures):
    """Metrics of one model on the test split.

    `confusion` counts true classes (rows) against predicted ones (columns), in the order of
    `Data.classes`. In `weighted_accuracy` each image counts by its weight; None: all count alike.
    """

    confusion: list[list[int]]
    weighted_accuracy: float | None = None


class Metrics(Part):
    """Metrics of both models on the same test images."""

    test_images: int
    top_k: int
    baseline: ModelMetrics
    candidate: ModelMetrics


class Since(Part):
    """What has changed since the run that this one started from.

    Attributes:
      folder: its output folder.
      run_id: its id there.
      finished: when, in ISO 8601.
      new_classes: that it did not have.
      gone_classes: that it alone had.
      images_added: number of images that it did not have.
      images_gone: number of images that it alone had.
      images_moved: number of images of both that are in another split now.
      old_test_images: number of test images of both.
      accuracy_before: of its candidate on those, 0 to 1; None if there are none.
      accuracy_now: of this run's candidate.
    """

    folder: str
    run_id: str
    finished: str
    new_classes: list[str]
    gone_classes: list[str]
    images_added: int
    images_gone: int
    images_moved: int
    old_test_images: int
    accuracy_before: float | None
    accuracy_now: float | None


class PushedModel(Part):
    """The model that this run, or an earlier one with the same result, pushed."""

    name: str
    version: str
    path: str


class Prediction(Part):
    """A model's most probable class for one image."""

    class_name: str = Field(validation_alias="class", serialization_alias="class")
    probability: float | None


class Sample(Part):
    """A test image that the report shows.

    `thumbnail` is relative to the output folder, as are `heat_maps`: model -> the same picture with
    what speaks for the model's choice in colour.
    """

    path: str
    thumbnail: str
    label: str
    baseline: Prediction
    candidate: Prediction
    heat_maps: dict[str, str] = Field(default_factory=dict)


class Artifact(Part):
    """An artifact, by its id in ML Metadata and its folder."""

    id: int
    uri: str


class Node(Part):
    """One node of the run. `state` is `done` or `cached`; `outputs` maps name -> artifacts."""

    name: str
    state: str
    seconds: float
    log: str
    execution_id: int
    outputs: dict[str, list[Artifact]]


class RunRecord(Part):
    """All of `run.json`. `started` and `finished` are ISO 8601, in UTC; on a cluster the start may
    be unknown, `seconds` is None then, and the times of the nodes are not known.
    """

    schema_version: Literal[2] = Field(
        SCHEMA, validation_alias="schema", serialization_alias="schema"
    )
    name: str
    thaw_version: str
    run_id: str
    started: str
    finished: str
    seconds: float | None
    config: dict[str, Any]
    data: Data
    fits: Fits
    tuner: Search | None = None
    metrics: Metrics
    verdict: Verdict
    model: PushedModel | None
    samples: list[Sample]
    nodes: list[Node]
    versions: dict[str, str]
    since: Since | None = None
    certainty: Certainty | None = None
    class_changes: list[ClassChange] = Field(default_factory=list)
    doubtful_labels: list[DoubtfulLabel] = Field(default_factory=list)
    exports: Exports | None = None

    def uri(self, node: str, output: str) -> str:
        """Folder of a node's only artifact; empty where the run does not know its nodes."""
        outputs = next((one.outputs for one in self.nodes if one.name == node), {})
        return outputs[output][0].uri if output in outputs else ""


def write_run(record: RunRecord, output_dir: Path) -> None:
    """Writes `run.json`. An older one stays until the new one is complete."""
    values = record.model_dump(mode="json", by_alias=True)
    write_replacing(output_dir / RUN_FILE, json.dumps(values, indent=2, allow_nan=False))


def read_run(output_dir: Path) -> RunRecord:
    """Reads `run.json`.

    Example:
      read_run(Path("out")).verdict.blessed

    Raises:
      ReportError: if it is missing, damaged or of another version.
    """
    path = output_dir / RUN_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(
            f"{path}: cannot be read: {error.strerror}. `thaw run --output {output_dir}` writes it."
        ) from error
    except ValueError as error:
        raise damaged(path, error) from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise ReportError(
            f"{path}: was not written by this version of thaw. `thaw run` writes it again."
        )
    try:
        return RunRecord.model_validate(values)
    except ValidationError as error:
        raise damaged(path, _first_problem(error)) from error


def _first_problem(error: ValidationError) -> str:
    details = error.errors()[0]
    key = ".".join(str(part) for part in details["loc"])
    return f"'{key}' is missing" if details["type"] == "missing" else f"'{key}': {details['msg']}"


def damaged(path: Path, why: object) -> ReportError:
    """The error for a file that lacks something, or holds something else."""
    return ReportError(f"{path}: is damaged: {why}. `thaw run` writes it again.")
