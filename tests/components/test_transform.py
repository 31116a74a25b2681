"""What Transform makes of ingested examples: pixels, label ids, batches that fit in memory."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.image_example_gen.checking import Limits
from components.image_example_gen.write_examples import write_examples
from components.transform.executor import Executor
from components.transform.materialize import UnknownLabel
from trainer import keys
from trainer.data.card import DataCard, read_card, write_card
from trainer.data.fit_data import read_records
from trainer.data.images import decode_and_resize, parse_image
from trainer.data.transcode import make_decodable
from trainer.records import to_json
from trainer.specs import AS_IN_THE_RECIPE, TransformArgs

from .conftest import RULE, SPLITS, encoded
from .statistics import infer_schema, write_statistics

pytestmark = pytest.mark.slow

SIZE_PX = 8
MAX_PIXELS = 10_000
# Most frequent first: "cow", "ant", "bee".
COUNTS = {"ant": 40, "bee": 30, "cow": 70}
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
SUFFIXES = dict(zip(FORMATS, ("png", "jpg", "gif", "bmp", "webp", "tif"), strict=True))


def rows_in_batch(inputs: dict[str, tf.Tensor], custom_config: object) -> dict[str, tf.Tensor]:
    """Stands in for the real preprocessing: tells each row how many it came with."""
    rows = tf.shape(inputs[keys.ID])[0]
    return {"rows": tf.fill([rows], tf.cast(rows, tf.int64))}


def write_split(examples: Path, split: str, images: dict[str, bytes]) -> None:
    """Writes examples of (label, content) without ingestion's checks."""
    (examples / f"Split-{split}").mkdir(parents=True)
    with tf.io.TFRecordWriter(str(examples / f"Split-{split}" / "images-0.gz"), "GZIP") as writer:
        for label, content in images.items():
            values = {
                keys.IMAGE_BYTES: content,
                keys.LABEL: label.encode(),
                keys.ID: b"id",
                keys.PATH: b"path",
                keys.GROUP: b"",
            }
            example = tf.train.Example()
            for name, value in values.items():
                example.features.feature[name].bytes_list.value.append(value)
            for name in (keys.HEIGHT, keys.WIDTH):
                example.features.feature[name].int64_list.value.append(8)
            example.features.feature[keys.WEIGHT].float_list.value.append(1.0)
            writer.write(example.SerializeToString())


@pytest.fixture(scope="module")
def ingested(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ingested")
    for number, (label, count) in enumerate(COUNTS.items()):
        (root / "images" / label).mkdir(parents=True)
        for index in range(count):
            kind = FORMATS[index % len(FORMATS)]
            path = root / "images" / label / f"{index:03d}.{SUFFIXES[kind]}"
            path.write_bytes(encoded(kind, 20, 12, seed=1000 * number + index))
    write_examples(
        beam.Pipeline(runner="DirectRunner"),
        str(root / "images"),
        str(root / "examples"),
        RULE,
        Limits(MAX_PIXELS, 10**6),
    )
    return root


def transform(root: Path, target: Path, preprocessing_fn: str) -> Path:
    """Runs ImageTransform's executor on the examples; the transformed ones' folder."""
    labels = {split: list(read_card(str(root / "examples")).counts[split]) for split in SPLITS}
    statistics = write_statistics(target / "statistics", labels)
    schema, _ = infer_schema(statistics, target / "schema")
    examples = standard_artifacts.Examples()
    examples.uri = str(root / "examples")
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    outputs = {
        "transform_graph": standard_artifacts.TransformGraph(),
        "transformed_examples": standard_artifacts.Examples(),
    }
    for name, artifact in outputs.items():
        artifact.uri = str(target / name)
    Executor().Do(
        {"examples": [examples], "schema": [schema]},
        {name: [artifact] for name, artifact in outputs.items()},
        {
            "preprocessing_fn": preprocessing_fn,
            "custom_config": json.dumps(to_json(TransformArgs(SIZE_PX, MAX_PIXELS))),
            "disable_statistics": 1,
        },
    )
    # Readers inside TFX ask the artifact, those of the trainer the files' names.
    assert examples_utils.get_file_format(outputs["transformed_examples"]) == "tfrecords"
    assert not list((target / "transformed_examples").rglob("*.gz"))
    return target / "transformed_examples"


def read(folder: Path, split: str) -> Iterator[dict[str, bytes | int]]:
    paths = [str(path) for path in sorted(folder.glob(f"Split-{split}/*"))]
    for record in read_records(paths).as_numpy_iterator():
        found = tf.train.Example.FromString(record).features.feature
        yield {
            name: getattr(feature, feature.WhichOneof("kind")).value[0]
            for name, feature in found.items()
        }


@pytest.fixture(scope="module")
def transformed(ingested, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("transformed")
    return transform(ingested, target, "trainer.preprocessing.preprocessing_fn")


@pytest.fixture(scope="module")
def rows(transformed) -> list[dict[str, bytes | int]]:
    return [row for split in SPLITS for row in read(transformed, split)]


def test_stored_image_is_what_serving_makes_of_the_files_bytes(rows):
    for row in rows[::10]:
        content = Path(row[keys.PATH].decode()).read_bytes()

        stored = parse_image(tf.constant(row[keys.IMAGE]), SIZE_PX)

        served = make_decodable(content, MAX_PIXELS, AS_IN_THE_RECIPE, webp=False).content
        seen = decode_and_resize(tf.constant(served), SIZE_PX, MAX_PIXELS, webp=False)
        np.testing.assert_array_equal(stored, seen)


def test_stored_images_differ_as_the_files_do(rows):
    assert len({row[keys.IMAGE] for row in rows}) == len(rows) == sum(COUNTS.values())


def test_every_image_keeps_its_split_its_label_and_its_place(ingested, transformed):
    for split in SPLITS:
        before = {row[keys.ID]: row for row in read(ingested / "examples", split)}
        after = {row[keys.ID]: row for row in read(transformed, split)}

        assert after.keys() == before.keys()
        for identity, row in after.items():
            for name in (keys.LABEL, keys.PATH):
                assert row[name] == before[identity][name]


def test_label_ids_follow_the_sorted_class_names_whatever_their_frequency(transformed, rows):
    assert COUNTS["cow"] > COUNTS["ant"] > COUNTS["bee"]

    assert read_card(str(transformed)).labels == ["ant", "bee", "cow"]
    assert {(row[keys.LABEL], row[keys.LABEL_ID]) for row in rows} == {
        (b"ant", 0),
        (b"bee", 1),
        (b"cow", 2),
    }


def test_label_that_was_not_ingested_is_an_error_that_names_it(tmp_path):
    """Both fits would train with -1."""
    image = encoded("PNG")
    for split, label in {"train": "ant", "val": "ant", "test": "ow\nl"}.items():
        write_split(tmp_path / "examples", split, {label: image})
    write_card(
        DataCard("photos", "", {split: {"ant": 1} for split in SPLITS}), str(tmp_path / "examples")
    )

    with pytest.raises(UnknownLabel) as caught:
        transform(tmp_path, tmp_path, "trainer.preprocessing.preprocessing_fn")

    assert str(caught.value) == (
        "the label 'ow\\nl' is none of the ingested classes.\n"
        "  Delete the artifacts of ImageExampleGen and run again."
    )


def test_data_card_travels_along(ingested, transformed):
    card = read_card(str(transformed))

    assert card == read_card(str(ingested / "examples"))
    assert sum(card.num_examples(split) for split in SPLITS) == sum(COUNTS.values())


def test_no_batch_is_larger_than_32_images(ingested, tmp_path):
    folder = transform(ingested, tmp_path, f"{__name__}.rows_in_batch")

    sizes = [row["rows"] for row in read(folder, "train")]

    assert 70 < len(sizes) <= 140
    assert 1 < max(sizes) <= 32


def test_image_that_became_a_bomb_after_ingestion_is_refused():
    from trainer.preprocessing import preprocessing_fn

    buffer = io.BytesIO()
    Image.new("1", (200, 200)).save(buffer, "PNG")
    inputs = {
        keys.IMAGE_BYTES: tf.constant([[buffer.getvalue()]]),
        **{name: tf.constant([["x"]]) for name in (keys.LABEL, keys.ID, keys.PATH, keys.GROUP)},
        keys.WEIGHT: tf.constant([[1.0]]),
    }

    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 10000 pixels"):
        preprocessing_fn(inputs, to_json(TransformArgs(SIZE_PX, MAX_PIXELS)))
