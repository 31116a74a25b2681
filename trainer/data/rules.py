"""The rules of ingestion that travel from the config to its nodes, as typed records.

Light to import: no TensorFlow.
"""

from dataclasses import dataclass
from typing import Literal

from trainer.records import Record


@dataclass(frozen=True)
class SplitRule(Record):
    """How images are divided.

    Attributes:
      parts: split name -> parts, e.g. 70, 15, 15.
      near_duplicates: whether copies that were resized, cropped and the like stay together:
        `group`, or `group_mirrored` if a mirrored picture is a copy too, or `ignore`.
      stratify: whether each class is divided by itself, as near to the parts as its groups allow.
      small_classes: what becomes of a class that some split has no image of: `warn`, `refuse`,
        or `fold` into the class `folded_class`.
      folded_class: name of the class that small classes are folded into.
    """

    parts: dict[str, int]
    near_duplicates: Literal["group", "group_mirrored", "ignore"] = "group"
    stratify: bool = False
    small_classes: Literal["warn", "refuse", "fold"] = "warn"
    folded_class: str = "other"


@dataclass(frozen=True)
class DriftRule(Record):
    """How far new training images may be from those of the last run, and what follows.

    Attributes:
      label_share: largest change of a class's share, 0 to 1 (L-infinity distance).
      size: largest change of the distribution of heights and of widths, 0 to 1 (Jensen-Shannon
        divergence).
      fatal: whether more ends the run; otherwise the report says it.
    """

    label_share: float = 0.1
    size: float = 0.1
    fatal: bool = False
