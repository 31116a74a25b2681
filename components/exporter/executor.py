"""Exports the model that was pushed, and publishes what agrees with it."""

import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.exporter import client
from components.exporter.convert import convert, load_source
from components.exporter.formats import FORMATS, INT8, ExportRule, require_packages
from components.exporter.prove import ask_export, ask_saved_model, compare
from components.exporter.publish import publish
from components.exporter.record import RESULT_FILE, Export, Exports
from trainer import keys
from trainer.data.examples import bytes_of, read_examples
from trainer.errors import ThawError
from trainer.export import LABELS_FILE
from trainer.process.progress import Counter
from trainer.records import dumps
from trainer.remote_files import read_record, write_record
from trainer.specs import SERVED_FILE, ServedImages, ServedModel, from_json

MODEL = "model"
BASELINE_MODEL = "baseline_model"
MODEL_BLESSING = "model_blessing"
PUSHED_MODEL = "pushed_model"
EXAMPLES = "examples"
EXPORTS = "exports"
RULE = "rule"
EXPORTS_DIR = "exports_dir"

PREPROCESS_FILE, CLASSIFY_FILE = "preprocess.py", "classify.py"

# How many training images choose the ranges of int8.
_REPRESENTATIVE = 100

# What stands for this model's own settings in the snippet.
_SETTINGS = "SIZE_PX, SHAPE, BACKGROUND, CONVERTS ="


class Executor(base_executor.BaseExecutor):
    """Writes all exports and `exports.json`; copies those that agree to the folder of exports."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpacks TFX's arguments; see `export`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        rule = from_json(ExportRule, json.loads(exec_properties[RULE]))
        exports = artifact_utils.get_single_instance(output_dict[EXPORTS])
        # The local runner makes the folder; the one in a pod does not.
        tf.io.gfile.makedirs(exports.uri)
        pushed = artifact_utils.get_single_instance(input_dict[PUSHED_MODEL])
        if pushed.get_int_custom_property("pushed") != 1:
            exports.set_int_custom_property("pushed", 0)
            return
        version = pushed.get_string_custom_property("pushed_version")
        found = export(
            path_utils.serving_model_path(_pushed_uri(input_dict)),
            artifact_utils.get_single_uri(input_dict[EXAMPLES]),
            rule,
            exports.uri,
            os.path.join(exec_properties[EXPORTS_DIR], version),
        )
        exports.set_int_custom_property("pushed", int(bool(found.path)))
        if found.path:
            exports.set_string_custom_property("pushed_destination", found.path)
            exports.set_string_custom_property("pushed_version", version)


def _pushed_uri(input_dict: dict[str, list[types.Artifact]]) -> str:
    """The candidate's, or that of the baseline that was pushed in its place."""
    blessing = artifact_utils.get_single_instance(input_dict[MODEL_BLESSING])
    is_candidate = blessing.get_int_custom_property("blessed") == 1
    return str(artifact_utils.get_single_uri(input_dict[MODEL if is_candidate else BASELINE_MODEL]))


def export(
    saved_model_dir: str, examples_uri: str, rule: ExportRule, uri: str, target: str
) -> Exports:
    """Converts a model, compares each export with it on every test image, and publishes.

    Args:
      saved_model_dir: the model.
      examples_uri: what Transform wrote: the images as the model sees them.
      rule: what to export, and what it may lose.
      uri: gets all exports, and `exports.json`.
      target: folder that gets those that agree, whole or not at all; replaced if it is there.

    Raises:
      ThawError: if a package is missing, or there are no test images.
    """
    require_packages(rule.formats)
    label_ids, images = _label_ids(examples_uri), _Pixels(examples_uri, keys.TEST)
    training = _representative(examples_uri) if INT8 in rule.formats else []
    counter = Counter("answers to test images", len(label_ids) * (1 + len(rule.formats)))
    source = load_source(saved_model_dir)
    saved = ask_saved_model(saved_model_dir, images, counter)
    exports: list[Export] = []
    with tempfile.TemporaryDirectory(prefix="thaw-exports-") as folder:
        for name in rule.formats:
            path = os.path.join(folder, FORMATS[name].file)
            convert(source, name, training, path)
            outputs = ask_export(path, images, counter)
            exports.append(compare(name, outputs, saved, label_ids, rule))
            tf.io.gfile.copy(path, os.path.join(uri, FORMATS[name].file), overwrite=True)
        _write_companions(saved_model_dir, folder)
        found = Exports(
            num_images=len(label_ids),
            threads=os.cpu_count() or 1,
            saved_model=saved.answers(label_ids),
            exports=tuple(exports),
            path=target if any(one.agrees for one in exports) else "",
        )
        if found.path:
            _publish(found, folder)
    write_record(found, os.path.join(uri, RESULT_FILE), indent=2)
    return found


@dataclass(frozen=True)
class _Pixels:
    """The images of a split as the model sees them, read again each time: uint8 [size, size, 3]."""

    examples_uri: str
    split: str

    def __iter__(self) -> Iterator[np.ndarray]:
        for example in read_examples(self.examples_uri, self.split):
            stored = bytes_of(example, keys.IMAGE)
            yield np.asarray(tf.io.parse_tensor(stored, tf.uint8))


def _label_ids(examples_uri: str) -> np.ndarray:
    """int64 [n], the true classes of the test images.

    Raises:
      ThawError: if there are none.
    """
    ids = [
        example.features.feature[keys.LABEL_ID].int64_list.value[0]
        for example in read_examples(examples_uri, keys.TEST)
    ]
    if not ids:
        raise ThawError(
            "holds no test images.",
            where=examples_uri,
            to_do="Raise data.splits.test, or add images.",
        )
    return np.array(ids, np.int64)


def _representative(examples_uri: str) -> list[np.ndarray]:
    """The first training images, which are any."""
    return list(itertools.islice(_Pixels(examples_uri, keys.TRAIN), _REPRESENTATIVE))


def _write_companions(saved_model_dir: str, folder: str) -> None:
    """Writes the class names, and the code that a client needs."""
    assets = os.path.join(saved_model_dir, "assets")
    images = read_record(ServedModel, os.path.join(assets, SERVED_FILE)).images
    labels = os.path.join(folder, LABELS_FILE)
    tf.io.gfile.copy(os.path.join(assets, LABELS_FILE), labels)
    code = resources.files(client)
    for name in (PREPROCESS_FILE, CLASSIFY_FILE):
        text = code.joinpath(name).read_text(encoding="utf-8")
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write("".join(with_settings(text.splitlines(keepends=True), images)))


def with_settings(lines: Sequence[str], images: ServedImages) -> Iterator[str]:
    """Fills a model's own settings into the lines of the snippet."""
    reading = images.reading
    converts = reading.colour_profiles == "convert"
    values = (images.size_px, reading.shape, tuple(reading.background), converts)
    for line in lines:
        yield (
            f"{_SETTINGS} {', '.join(map(repr, values))}\n" if line.startswith(_SETTINGS) else line
        )


def _publish(found: Exports, folder: str) -> None:
    """Publishes a local folder, without the exports that do not agree."""
    for one in found.exports:
        if not one.agrees:
            os.remove(os.path.join(folder, one.file))
    with open(os.path.join(folder, RESULT_FILE), "w", encoding="utf-8") as file:
        file.write(dumps(found, indent=2))
    publish(folder, found.path)
