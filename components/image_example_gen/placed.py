"""What ingestion finds out about the images as a whole. Light to import."""

from dataclasses import dataclass, field

from trainer.records import Record


@dataclass(frozen=True)
class NearDuplicates(Record):
    """A group of pictures that are near-duplicates of each other, in the list of them.

    Attributes:
      paths: of the files, sorted.
      labels: their class names, in the same order.
      splits: where they are, in the same order.
    """

    paths: list[str]
    labels: list[str]
    splits: list[str]

    @property
    def is_conflicting(self) -> bool:
        """Whether the pictures stand in several classes."""
        return len(set(self.labels)) > 1

    @property
    def is_divided(self) -> bool:
        """Whether the pictures are in several splits, as their source or an earlier run has it."""
        return len(set(self.splits)) > 1


@dataclass(frozen=True)
class Placement:
    """What was decided about the images as a whole.

    Attributes:
      splits: hash of an image -> its split, of all images.
      moved: the part of it that the image alone would not decide.
      folded: class name -> the class that it is folded into, of folded classes.
      small_classes: class name -> number of images, of classes that some split has no image of.
      near_duplicates: groups that were found by their looks.
      groups: hash of an image -> name of its group, of images that are not alone in theirs: what
        looks alike, and what the source calls a group.
    """

    splits: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    folded: dict[str, str] = field(default_factory=dict)
    small_classes: dict[str, int] = field(default_factory=dict)
    near_duplicates: list[NearDuplicates] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
