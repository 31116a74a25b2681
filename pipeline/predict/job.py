"""`thaw predict --beam`: the same rows from a Beam job, on as many machines as its runner has."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricResults
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from components.image_example_gen.inspect import ImageRejected
from components.image_example_gen.reading import read_file
from components.image_example_gen.sources.archive import Archive
from pipeline.predict.counts import Counts
from pipeline.predict.formats import Format
from pipeline.predict.rows import lines_of
from pipeline.predict.sources import files_in_archive, images_at
from serving.batch_predict import Batcher, ImageFile, Prediction, ask, prepare
from serving.model import FileRules, PushedModel, load_model
from serving.versions import UnusableModel, find_model, newest_remote_version
from trainer.data.regular_files import UnreadableFile, read_regular_file
from trainer.store.uris import is_remote

_METRICS = "predict"


@dataclass(frozen=True)
class PredictJob:
    """What a job is to do.

    Attributes:
      paths: files, folders, manifests and archives; local, or on a file system that Beam reads.
      model_dir: from `find_model_anywhere`; every worker loads it.
      output: what the names of the files of rows begin with, likewise local or in a store.
      kind: JSONL or CSV.
      top: number of classes in a row; None: all.
      all_classes: whether CSV has a column for each class.
      batch_size: number of images that the model gets at once; None: what suits this machine.
    """

    paths: tuple[str, ...]
    model_dir: str
    output: str
    kind: Format
    top: int | None = 3
    all_classes: bool = False
    batch_size: int | None = None


def find_model_anywhere(path: str) -> str:
    """As `find_model`; in a store, a SavedModel or the newest in a folder of versions.

    Raises:
      UnusableModel: if there is none.
    """
    if not is_remote(path):
        return str(find_model(path).absolute())
    path = path.rstrip("/")
    if fileio.exists(f"{path}/saved_model.pb"):
        return path
    newest = newest_remote_version(path)
    if newest is None:
        raise UnusableModel(
            "holds no model.",
            where=path,
            to_do="Give the folder of a version, such as out/serving/thaw/1, or that of versions.",
        )
    return newest


@contextmanager
def local_model(model_dir: str) -> Iterator[Path]:
    """The folder of a model on this machine, a copy if it is in a store."""
    if not is_remote(model_dir):
        yield Path(model_dir)
        return
    with tempfile.TemporaryDirectory(prefix="thaw-model-") as folder:
        copy = Path(folder) / "model"
        io_utils.copy_dir(model_dir, str(copy))
        yield copy


def run_job(job: PredictJob, options: Sequence[str] = ()) -> Counts | None:
    """Classifies what the paths stand for, and writes the rows, in no order.

    Args:
      job: see there.
      options: Beam's, such as `--runner=DataflowRunner`.

    Returns:
      What Beam has counted; None if the runner does not count.

    Raises:
      ThawError: if a manifest is malformed or the model is damaged; Beam may wrap it.
    """
    with local_model(job.model_dir) as folder:
        model = load_model(folder)
    lines = lines_of(job.kind, model.class_names() if job.all_classes else ())
    handler = _Handler(job.model_dir, job.top)
    pipeline = beam.Pipeline(options=PipelineOptions(list(options)))
    with pipeline as p:
        _ = (
            p
            # As bytes: Beam's strings are UTF-8, and names of files need not be.
            | "Paths" >> beam.Create([os.fsencode(path) for path in job.paths])
            | "List" >> beam.FlatMap(_list)
            # Archives pass as names: what is spread, some runners hold in memory.
            | "Spread" >> beam.Reshuffle()
            | "Batches"
            >> beam.ParDo(_ReadBatches(model.rules, job.batch_size or model.batch_size()))
            | "Ask" >> RunInference(handler.with_no_batching())
            | "Count" >> beam.Map(_count)
            | "Lines" >> beam.Map(lines.line)
            | "Write"
            >> beam.io.WriteToText(
                job.output, file_name_suffix=f".{job.kind.value}", header=lines.header or None
            )
        )
    return _counts(pipeline)


def _list(path: bytes) -> Iterable[ImageFile | Archive]:
    found = images_at(os.fsdecode(path), in_store=True)
    return [found] if isinstance(found, Archive) else found


class _ReadBatches(beam.DoFn):
    """Files, and archives of files, to lists of files as `prepare` returns them.

    Not Beam's own batches, which are limited by number only: files may be large.
    """

    def __init__(self, rules: FileRules, size: int) -> None:
        self._rules = rules
        self._size = size

    def start_bundle(self) -> None:
        """See Beam's."""
        self._batcher = Batcher(self._size)

    def process(self, found: ImageFile | Archive) -> Iterator[list[ImageFile]]:
        """Yields a batch as soon as it is full."""
        for file in self._prepared(found):
            if batch := self._batcher.add(file):
                yield batch

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Yields the last batch."""
        if batch := self._batcher.rest():
            yield GlobalWindows.windowed_value(batch)

    def _prepared(self, found: ImageFile | Archive) -> Iterator[ImageFile]:
        if isinstance(found, Archive):
            limited = replace(found, max_file_bytes=self._rules.max_file_bytes)
            files = files_in_archive(limited)
        else:
            files = iter((found,))
        for file in files:
            yield prepare(file, self._rules, _read)


def _read(path: str, max_bytes: int) -> bytes:
    """As the command line reads local files, and ingestion those of a store."""
    if not is_remote(path):
        return read_regular_file(path, max_bytes)
    try:
        return read_file(path, max_bytes)
    except ImageRejected as error:
        raise UnreadableFile(str(error)) from error


class _Handler(ModelHandler[ImageFile, Prediction, PushedModel]):
    """Has Beam load a pushed model once a process, and ask it about batches of prepared files."""

    def __init__(self, model_dir: str, top: int | None) -> None:
        super().__init__()
        self._model_dir = model_dir
        self._top = top

    def load_model(self) -> PushedModel:
        """See Beam's."""
        with local_model(self._model_dir) as folder:
            return load_model(folder)

    def run_inference(
        self,
        batch: Sequence[ImageFile],
        model: PushedModel,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[Prediction]:
        """See Beam's."""
        return ask(model, batch, self._top)

    def get_num_bytes(self, batch: Sequence[ImageFile]) -> int:
        """See Beam's, which would pickle the batch for that."""
        return sum(len(file.content or b"") for file in batch)

    def get_metrics_namespace(self) -> str:
        """See Beam's."""
        return _METRICS


def _count(row: Prediction) -> Prediction:
    for name, number in vars(Counts().plus(row)).items():
        Metrics.counter(_METRICS, name).inc(number)
    return row


def _counts(pipeline: beam.Pipeline) -> Counts | None:
    names = vars(Counts())
    found = {
        counter.key.metric.name: counter.result
        for counter in pipeline.result.metrics().query()[MetricResults.COUNTERS]
        if counter.key.metric.namespace == _METRICS and counter.key.metric.name in names
    }
    return Counts(**found) if found else None
