"""What a source says of one image, before anything has read it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One image of a source.

    Attributes:
      path: of the file, as its file system has it.
      label: class name.
      split: the split that the source demands; empty: the image's group decides.
      weight: how much the image counts in the losses, 1 as a rule.
      group: name of what must not be torn apart by the splits, such as a patient, a session
        or a photographer; empty: none.
    """

    path: str
    label: str
    split: str = ""
    weight: float = 1.0
    group: str = ""
