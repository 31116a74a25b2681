"""The first pass: lists the files of a source and looks at each of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from components.image_example_gen.grouping import Sketched
from components.image_example_gen.inspect import ImageRejected, inspect_image
from components.image_example_gen.near_duplicates.sketch import sketch_of
from components.image_example_gen.reading import read_file
from components.image_example_gen.sources.entry import Entry, Rejected, Source, reject
from components.image_example_gen.splitting import ImageFile
from trainer.data.labels import is_utf8
from trainer.process import progress
from trainer.specs import ImageReading

REJECTED = "rejected"
SKETCHED = "sketched"


@dataclass(frozen=True)
class Limits:
    """Files beyond these are rejected: pixels before decoding, bytes before reading."""

    max_pixels: int
    max_file_bytes: int


def rejected_output(path: str, reason: object, label: str) -> beam.pvalue.TaggedOutput:
    """A file for the list of those that are left out."""
    return beam.pvalue.TaggedOutput(REJECTED, reject(path, reason, label))


class ListFiles(beam.DoFn):
    """A source to an `Entry` for each file. Beam and TensorFlow take no paths but UTF-8."""

    def process(self, source: Source) -> Iterator[Any]:
        """Yields entries, and what is rejected by its name."""
        for entry in source.entries():
            if isinstance(entry, Rejected):
                yield beam.pvalue.TaggedOutput(REJECTED, entry)
            elif is_utf8(entry.path):
                yield entry
            else:
                yield rejected_output(
                    entry.path, "the file name is not UTF-8: rename it", entry.label
                )


class CheckFile(beam.DoFn):
    """`Entry` to `ImageFile`, and beside it `Sketched`; or rejected."""

    def __init__(
        self, limits: Limits, reading: ImageReading, sketch: bool, counter: progress.Counter
    ) -> None:
        self._limits = limits
        self._reading = reading
        self._sketch = sketch
        self._counter = counter

    def process(self, entry: Entry) -> Iterator[Any]:
        """Yields the image twice, or the reason why it is rejected."""
        self._counter.add()
        try:
            content = read_file(entry.stored_at or entry.path, self._limits.max_file_bytes)
            found = inspect_image(entry.path, content, self._limits.max_pixels, self._reading)
        except ImageRejected as reason:
            yield rejected_output(entry.path, reason, entry.label)
            return
        seen = dict(vars(found))
        thumbnail = seen.pop("thumbnail")
        image = ImageFile(**vars(entry), **seen)
        yield image
        sketch = sketch_of(thumbnail) if self._sketch else None
        yield beam.pvalue.TaggedOutput(SKETCHED, Sketched(image, sketch))
