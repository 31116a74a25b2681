"""`inspect.json`: what an inspection found, as a typed record."""

from dataclasses import dataclass, field
from pathlib import Path

from trainer import records
from trainer.files import write_replacing
from trainer.records import Record

INSPECT_FILE = "inspect.json"


@dataclass(frozen=True)
class Suspect(Record):
    """An image whose label is doubtful.

    Attributes:
      path: of the file.
      label: its class.
      suggested: the class that the probe finds most probable.
      quality: 0 to 1: how well the label agrees with the probe. The list begins with the least.
      flagged: whether confident learning finds the label doubtful.
    """

    path: str
    label: str
    suggested: str
    quality: float
    flagged: bool


@dataclass(frozen=True)
class Outlier(Record):
    """An image that is unlike the others.

    Attributes:
      path: of the file.
      label: its class.
      kind: `blurred`, `dark`, `bright`, `small`, `large` or `of an odd shape`.
      value: what was measured, in the unit of the kind.
    """

    path: str
    label: str
    kind: str
    value: float


@dataclass(frozen=True)
class Point(Record):
    """One point of the learning curve: training images, and accuracy on images left out."""

    images: int
    accuracy: float


@dataclass(frozen=True)
class HelpfulClass(Record):
    """The class of which more images would help most.

    Attributes:
      label: the class.
      images: how many more: as many as there are.
      gain: of accuracy, 0 to 1, that this is expected to bring.
    """

    label: str
    images: int
    gain: float


@dataclass(frozen=True)
class Confused(Record):
    """Two classes that the probe takes for each other, and how often."""

    one: str
    other: str
    count: int


@dataclass(frozen=True)
class Probe(Record):
    """What a linear probe on pooled features says; each image is judged by a probe that has
    seen neither it nor its near-duplicates.

    Attributes:
      images: number of images that it was made with.
      left_out: class -> number of images, of classes with too few images for a probe.
      folds: parts that the images were divided into.
      accuracy: share of images that it classifies as they are labelled.
      low: lower end of the 95 % interval of the accuracy (Wilson 1927).
      high: its upper end.
      recalls: class -> share of its images.
      confused: the pairs that are most often taken for each other.
      suspects: the most doubtful labels, the worst first.
      num_flagged: number of labels that confident learning finds doubtful.
      curve: accuracy against the number of training images.
      doubled: accuracy expected with twice as many images; None if the curve does not tell.
      helpful: None if no class stands out.
    """

    images: int
    left_out: dict[str, int]
    folds: int
    accuracy: float
    low: float
    high: float
    recalls: dict[str, float]
    confused: list[Confused]
    suspects: list[Suspect]
    num_flagged: int
    curve: list[Point]
    doubled: float | None
    helpful: HelpfulClass | None


@dataclass(frozen=True)
class Cost(Record):
    """What the rest of a full run will take on this machine: an estimate.

    Attributes:
      trunk_seconds: of the trunk; its output is kept, the run will not repeat it.
      low_seconds: of everything else, if both fits stop early.
      high_seconds: if they do not.
      memory_bytes: that this inspection took: a run needs at least as much.
    """

    trunk_seconds: float
    low_seconds: float
    high_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class RejectedFile(Record):
    """A file that ingestion rejected, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Copies(Record):
    """A group of near-duplicates: its files, and their classes in the same order."""

    paths: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Ranked(Record):
    """A backbone that was tried on the same images.

    Attributes:
      backbone: its name.
      image_size_px: that the images were resized to.
      accuracy: of the probe on its features; None where there is no probe.
      low: lower end of the 95 % interval.
      high: its upper end.
      trunk_seconds: that its trunk took on all images.
    """

    backbone: str
    image_size_px: int
    accuracy: float | None
    low: float | None
    high: float | None
    trunk_seconds: float


@dataclass(frozen=True)
class Inspection(Record):
    """Everything that `thaw inspect` leaves.

    Attributes:
      images_dir: where the images are.
      backbone: the network whose features were used.
      weights: that it had.
      image_size_px: that the images were resized to.
      counts: split -> class -> number of images.
      rejected: reason -> number of files.
      rejected_files: some of them: path and reason.
      near_duplicates: groups: paths and classes of each, those in several classes first.
      num_near_duplicates: number of groups.
      outliers: images that are unlike the others.
      probe: None where a class has too few images.
      no_probe: then why.
      cost: of the run that may follow.
      ranking: the backbones that were tried, the best first; empty if it was one.
    """

    images_dir: str
    backbone: str
    weights: str
    image_size_px: int
    counts: dict[str, dict[str, int]]
    rejected: dict[str, int] = field(default_factory=dict)
    rejected_files: list[RejectedFile] = field(default_factory=list)
    near_duplicates: list[Copies] = field(default_factory=list)
    num_near_duplicates: int = 0
    outliers: list[Outlier] = field(default_factory=list)
    probe: Probe | None = None
    no_probe: str = ""
    cost: Cost = Cost(0, 0, 0, 0)
    ranking: list[Ranked] = field(default_factory=list)

    def ranked(self) -> Ranked:
        """This inspection as a line of a ranking."""
        probe = self.probe
        return Ranked(
            self.backbone,
            self.image_size_px,
            probe.accuracy if probe else None,
            probe.low if probe else None,
            probe.high if probe else None,
            self.cost.trunk_seconds,
        )


def write(inspection: Inspection, path: Path) -> None:
    """Writes the record; an older file stays until the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_replacing(path, records.dumps(inspection, indent=2))


def read(path: Path) -> Inspection:
    """Reads what `write` wrote.

    Raises:
      ThawError: naming the keys that are unknown, missing or of another type.
    """
    return records.read(Inspection, path.read_text(encoding="utf-8"), str(path))
