"""Classifies many files: read, check and re-encode, ask in batches, one typed row each.

The command line and the Beam job both go through `prepare`, `Batcher` and `ask`, so their rows
are the same.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

from serving.model import Answer, FileRules, ImageRefused, PushedModel
from serving.read_ahead import AheadLimits, read_ahead
from trainer.data.regular_files import UnreadableFile, read_regular_file
from trainer.records import Record

# Of files that wait to be asked about, and of those that are asked about at once.
_WAITING_BYTES = 2**28
_BATCH_BYTES = 2**27
_BATCHES_AHEAD = 2
_MOST_THREADS = 8

ReadFile = Callable[[str, int], bytes]
"""From a path and the largest number of bytes to the content; raises `UnreadableFile`."""


@dataclass(frozen=True)
class ImageFile:
    """A file to classify, or the reason why there is none at this path.

    Attributes:
      path: of the file; of a folder or an archive, if the error is about that.
      label: class that it is known to belong to; empty: none is known.
      content: of the file, if it is not to be read from the path, as in an archive.
      error: why it cannot be classified; empty if it can, as far as is known.
    """

    path: str
    label: str = ""
    content: bytes | None = None
    error: str = ""


@dataclass(frozen=True)
class Prediction(Record):
    """What a model predicts for one file.

    Attributes:
      path: path of the file.
      classes: (class name, probability), most probable first; empty on an error.
      error: why the file could not be classified; empty if it was.
      is_known: whether the image is like the training images; None if the model does not say.
      calibrated: calibrated probability of the first class; None if the model does not say.
      unknown_score: the higher, the less like the training images; None likewise.
      label: class that the file is known to belong to; empty: none is known.
    """

    path: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""
    is_known: bool | None = None
    calibrated: float | None = None
    unknown_score: float | None = None
    label: str = ""

    @property
    def is_correct(self) -> bool | None:
        """Whether the first class is the file's own; None if either is not known."""
        return self.classes[0][0] == self.label if self.classes and self.label else None


def predict(
    model: PushedModel,
    files: Iterable[ImageFile],
    top: int | None = 3,
    batch_size: int | None = None,
) -> Generator[Prediction, None, None]:
    """Classifies files, and yields a row for each in their order.

    Threads read ahead while the model runs. Memory is bounded by some hundred megabytes and the
    largest file, however many files there are. A bad file does not affect the others.

    Example:
      files = [ImageFile("a.jpg"), ImageFile("b.tif")]
      predictions = list(predict(load_model(Path("out/serving/thaw/1")), files, top=3))

    Args:
      model: a loaded model.
      files: one that cannot be read, or has vanished, becomes a row with an error.
      top: number of classes in a row; None: all.
      batch_size: number of images that the model gets at once; None: what suits the machine.
    """
    size = batch_size or model.batch_size()
    limits = AheadLimits(
        threads=min(os.cpu_count() or 1, _MOST_THREADS),
        items=_BATCHES_AHEAD * size,
        bytes=_WAITING_BYTES,
    )
    prepared = read_ahead(files, lambda file: prepare(file, model.rules), _num_bytes, limits)
    # Rows of one batch are made and written while the model is busy with the next.
    with closing(prepared), ThreadPoolExecutor(1, "model") as runner:
        running: Future[list[Prediction]] | None = None
        for batch in _in_batches(prepared, size):
            following = runner.submit(ask, model, batch, top)
            if running:
                yield from running.result()
            running = following
        if running:
            yield from running.result()


def prepare(file: ImageFile, rules: FileRules, read: ReadFile = read_regular_file) -> ImageFile:
    """Reads a file and makes it decodable, or says why that is not possible.

    Returns:
      The file with what the model decodes as its content, or with an error.
    """
    if file.error:
        return file
    try:
        content = file.content
        if content is None:
            content = read(file.path, rules.max_file_bytes)
        return replace(file, content=rules.decodable(content))
    except (UnreadableFile, ImageRefused) as error:
        return replace(file, content=None, error=str(error))


def ask(model: PushedModel, batch: Sequence[ImageFile], top: int | None) -> list[Prediction]:
    """The rows of a batch.

    Args:
      model: a loaded model.
      batch: files as `prepare` returns them.
      top: number of classes in a row; None: all.
    """
    contents = [file.content for file in batch if file.content is not None]
    answers = iter(model.ask_batch(contents, top))
    return [_row(file, None if file.content is None else next(answers)) for file in batch]


class Batcher:
    """Puts files together: by number, and by bytes so that a batch of large ones fits in memory."""

    def __init__(self, size: int) -> None:
        """Args:
        size: of a batch, at most.
        """
        self._size = size
        self._files: list[ImageFile] = []
        self._num_bytes = 0

    def add(self, file: ImageFile) -> list[ImageFile]:
        """Adds a file; returns the batch if it is full, and nothing else."""
        self._files.append(file)
        self._num_bytes += _num_bytes(file)
        is_full = len(self._files) >= self._size or self._num_bytes >= _BATCH_BYTES
        return self.rest() if is_full else []

    def rest(self) -> list[ImageFile]:
        """The files of the batch that is not full."""
        files, self._files, self._num_bytes = self._files, [], 0
        return files


def _in_batches(files: Iterable[ImageFile], size: int) -> Iterator[list[ImageFile]]:
    batcher = Batcher(size)
    for file in files:
        if batch := batcher.add(file):
            yield batch
    if batch := batcher.rest():
        yield batch


def _row(file: ImageFile, answer: Answer | ImageRefused | None) -> Prediction:
    """The row of a file; without an answer it has an error."""
    if not isinstance(answer, Answer):
        return Prediction(file.path, error=file.error or str(answer), label=file.label)
    return Prediction(
        file.path,
        tuple(answer.classes),
        is_known=answer.is_known,
        calibrated=answer.calibrated,
        unknown_score=answer.unknown_score,
        label=file.label,
    )


def _num_bytes(file: ImageFile) -> int:
    return len(file.content or b"")
