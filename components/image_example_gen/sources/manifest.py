"""Manifests: a CSV or JSON Lines file that names each image and its class.

    path,label,split,group,weight
    cats/001.jpg,cat,train,house-7,0.5

Paths are relative to the manifest, absolute, or addresses in a store.
"""

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from components.image_example_gen.sources.entry import Entry, Rejected, UnusableDataset, reject
from trainer import keys
from trainer.data.labels import label_problem, printable
from trainer.store.uris import is_remote

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")

# Names of columns, in any case, and others that are taken for them.
_COLUMNS = {
    "path": ("path", "image", "image_path", "file", "file_name", "filename", "uri"),
    "label": ("label", "class", "class_name", "category"),
    "split": ("split", "subset"),
    "group": ("group", "group_id"),
    "weight": ("weight", "sample_weight"),
}
_LARGEST_WEIGHT = 1e6
SPLITS = {**{name: name for name in keys.SPLITS}, "valid": keys.VAL, "validation": keys.VAL}
_DELIMITERS = (",", ";", "\t")
LISTED_TWICE = "the manifest lists it twice"

Row = Mapping[str, object]


@dataclass(frozen=True)
class Manifest:
    """A CSV file with a header, or a file with a JSON object in each line.

    A column for the split may be left empty; such images are divided by the ordinary rule.

    Attributes:
      path: of the manifest, local or on a file system that TFX reads.
      needs_labels: whether each line must have one; if not, the column may be missing too.
    """

    path: str
    needs_labels: bool = True

    def check(self) -> int:
        """See `Source.check`."""
        labels: set[str] = set()
        count = 0
        for entry in self.entries():
            labels.add(entry.label)
            count += 1
        if len(labels) < 2:
            raise UnusableDataset(
                f"{self.path} names {len(labels)} classes in {count} lines; a classifier needs two "
                "or more.",
            )
        return count

    def entries(self) -> Iterator[Entry | Rejected]:
        """Every line in its order.

        Raises:
          UnusableDataset: naming the line that is malformed, or the two that contradict each
            other.
        """
        seen: dict[str, tuple[int, str]] = {}
        folder = os.path.dirname(self.path)
        for line, row in self._rows():
            entry = self._entry(line, row, folder)
            first, label = seen.setdefault(entry.path, (line, entry.label))
            if label != entry.label:
                raise self._malformed(
                    line, f"{entry.path} is '{entry.label}' here, and '{label}' in line {first}"
                )
            if first != line:
                yield reject(entry.path, LISTED_TWICE, entry.label)
            else:
                yield entry

    def files(self) -> Iterator[str]:
        """See `Source.files`."""
        yield self.path
        for entry in self.entries():
            yield entry.path

    def _entry(self, line: int, row: Row, folder: str) -> Entry:
        path = self._text(line, row, "path")
        label = self._text(line, row, "label", optional=not self.needs_labels)
        problem = label_problem(label) if label or self.needs_labels else None
        if problem:
            raise self._malformed(line, f"the label '{printable(label)}' {problem}")
        split = self._text(line, row, "split", optional=True).lower()
        if split and split not in SPLITS:
            raise self._malformed(line, f"the split '{split}' is none of {', '.join(keys.SPLITS)}")
        return Entry(
            path=path if is_remote(path) else os.path.join(folder, path),
            label=label,
            splits=(SPLITS[split],) if split else (),
            group=self._text(line, row, "group", optional=True),
            weight=self._weight(line, row),
        )

    def _weight(self, line: int, row: Row) -> float:
        """Of an image; 1 where the manifest says nothing."""
        value = row.get("weight")
        if value is None or value == "":
            return 1.0
        try:
            weight = float(str(value))  # not of itself: `float` takes true for 1
        except ValueError:
            weight = math.nan
        if not 0 < weight <= _LARGEST_WEIGHT:
            raise self._malformed(
                line, f"the weight '{value}' is no number above 0 and up to {_LARGEST_WEIGHT:,.0f}"
            )
        return weight

    def _text(self, line: int, row: Row, name: str, optional: bool = False) -> str:
        value = row.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is None or value == "":
            if optional:
                return ""
            raise self._malformed(line, f"there is no {name}")
        if not isinstance(value, str):
            raise self._malformed(line, f"the {name} is no text")
        return value

    def _rows(self) -> Iterator[tuple[int, Row]]:
        with self._open() as file:
            try:
                if self.path.lower().endswith((".csv", ".tsv")):
                    yield from self._csv_rows(file)
                else:
                    yield from self._json_rows(file)
            except UnicodeDecodeError as error:
                raise UnusableDataset(
                    f"is not UTF-8: {error.reason}.",
                    where=self.path,
                    to_do="Save it as UTF-8 (spreadsheets offer 'CSV UTF-8').",
                ) from error

    @contextmanager
    def _open(self) -> Iterator[TextIO]:
        """The text; a byte-order mark, as spreadsheets write one, is skipped."""
        try:
            if is_remote(self.path):
                from tfx.dsl.io import fileio

                with fileio.open(self.path, "rb") as remote:
                    content = remote.read()
                yield io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
            else:
                with open(self.path, encoding="utf-8-sig", newline="") as local:
                    yield local
        except OSError as error:
            raise UnusableDataset(f"cannot be read: {error}.", where=self.path) from error

    def _csv_rows(self, file: TextIO) -> Iterator[tuple[int, Row]]:
        header = file.readline()
        delimiter = max(_DELIMITERS, key=header.count)
        names = self._columns(next(csv.reader([header], delimiter=delimiter), []))
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                line = rows.line_num + 1
                if not row:
                    continue
                if len(row) != len(names):
                    raise self._malformed(
                        line, f"the line has {len(row)} fields, and the header {len(names)}"
                    )
                yield line, dict(zip(names, row, strict=True))
        except csv.Error as error:
            raise self._malformed(rows.line_num + 1, str(error)) from error

    def _json_rows(self, file: TextIO) -> Iterator[tuple[int, Row]]:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                raise self._malformed(line, f"this is not JSON ({error})") from error
            if not isinstance(row, dict):
                raise self._malformed(line, "this is not a JSON object")
            yield line, dict(zip(self._columns(row, line), row.values(), strict=True))

    def _columns(self, names: Iterable[str], line: int = 1) -> list[str]:
        """The columns' own names in place of what is taken for them."""
        given = [name.strip().lower() for name in names]
        meanings = {other: name for name, others in _COLUMNS.items() for other in others}
        found = [meanings.get(name, name) for name in given]
        for column in ("path", "label"):
            is_needed = column == "path" or self.needs_labels
            if found.count(column) > 1 or (is_needed and column not in found):
                number = "no column" if column not in found else "more than one column"
                raise self._malformed(
                    line,
                    f"there is {number} for the {column} (one of {', '.join(_COLUMNS[column])}); "
                    f"the columns are {', '.join(given) or 'none'}",
                )
        return found

    def _malformed(self, line: int, problem: str) -> UnusableDataset:
        return UnusableDataset(
            f"{problem}.",
            where=f"{self.path}, line {line}",
            to_do="Correct the manifest and run the same command again.",
        )
