"""What a source says of its images, before anything has read them. Light to import."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from trainer import records
from trainer.data.labels import as_utf8
from trainer.errors import ThawError
from trainer.records import Record


class UnusableDataset(ThawError):
    """The images as a whole cannot be learned from. The message says what to do."""


@dataclass(frozen=True)
class Entry:
    """One image of a source.

    Attributes:
      path: the name by which people know the file. It is in the examples and the report.
      label: class name.
      splits: the splits that the source allows; empty: all, one: that.
      group: name of what must not be divided by the splits, such as a patient, a session or a
        photographer; empty: none.
      stored_at: where the bytes are, if not at `path`.
      weight: how much the image counts in the losses; above 0.
    """

    path: str
    label: str
    splits: tuple[str, ...] = ()
    group: str = ""
    stored_at: str = ""
    weight: float = 1.0


@dataclass(frozen=True, order=True)
class Rejected(Record):
    """A file that was left out.

    Attributes:
      path: of the file; UTF-8, whatever the file system holds.
      reason: the same for similar files.
      label: class that the file would belong to; empty where none is known.
    """

    path: str
    reason: str
    label: str = ""


def reject(path: str, reason: object, label: str = "") -> Rejected:
    """Makes an entry of the list from a path as the operating system gives it."""
    return Rejected(as_utf8(path), str(reason), label)


def read_list(path: str) -> Iterator[Rejected]:
    """Yields the entries of a list that a source has written, one a line."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield records.read(Rejected, line, path)


@runtime_checkable  # Beam checks types at run time
class Source(Protocol):
    """Where images come from. It must be picklable: Beam lists it in a worker."""

    def check(self) -> int:
        """Counts the files.

        Raises:
          UnusableDataset: if nothing can be learned from them, whatever they hold.
        """

    def entries(self) -> Iterator[Entry | Rejected]:
        """Every file, as an image to be read or as rejected."""

    def files(self) -> Iterator[str]:
        """Paths whose state decides whether anything has changed."""
