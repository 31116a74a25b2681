"""The frozen trunk, run once per image: what it leaves, in which files, on which runner."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.trunk_features.executor import Executor, write_backbone, write_features
from trainer import keys
from trainer.backbones.networks import load_backbone, trunk_of
from trainer.data.card import read_card
from trainer.data.images import parse_image
from trainer.model.trunk import BACKBONE_FILE, Trunk
from trainer.specs import NO_CHANGE, Augmentation, TrunkFeaturesArgs, TrunkSpec

from ..image_examples import (
    image_example,
    noise,
    read_examples,
    value,
    write_image_examples,
    write_shard,
)

SIZE_PX = 32
SHAPE = (8, 8, 24)
# More than one batch of 32 in a file, and a file without a single image.
COUNTS = {"train": [35, 0, 4], "val": [3], "test": [2]}
SPEC = TrunkSpec("mobilenet_v2", SIZE_PX, "block_1_project_BN", "float32", "float32")
PLAIN = TrunkFeaturesArgs(SPEC, "random", "", 5, 0, NO_CHANGE)
VIEWS = replace(PLAIN, augmented_views=2, augmentation=Augmentation(True, 0.5, 0.3))

# A graph is fused and sums in another order than one layer after the other: 2.4e-6 was
# measured between features of std 0.9; this is ten times as much.
SAME = 2e-5

MULTI_PROCESSING = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    uri = tmp_path_factory.mktemp("source")
    write_image_examples(uri, COUNTS, SIZE_PX)
    return uri


@pytest.fixture(scope="module")
def weights(source, tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("weights") / BACKBONE_FILE)
    write_backbone(PLAIN, str(source), path)
    return path


@pytest.fixture(scope="module")
def by_hand(weights) -> Callable[[np.ndarray], np.ndarray]:
    """The same part of the same network, with MobileNetV2's scaling written out."""
    backbone = load_backbone("mobilenet_v2", SIZE_PX, weights)
    trunk = trunk_of(backbone, "block_1_project_BN")
    return lambda pixels: trunk(pixels.astype("float32") / 127.5 - 1, training=False).numpy()


@pytest.fixture(scope="module")
def write(source, weights, tmp_path_factory) -> Callable[..., Path]:
    def write(settings: TrunkFeaturesArgs, *options: str, images: Path = source) -> Path:
        uri = tmp_path_factory.mktemp("features")
        pipeline = beam.Pipeline(runner="DirectRunner", options=PipelineOptions(list(options)))
        write_features(pipeline, settings, str(images), str(uri), weights)
        return uri

    return write


@pytest.fixture(scope="module")
def views(write) -> Path:
    return write(VIEWS)


@pytest.fixture(scope="module")
def executed(source, tmp_path_factory) -> dict[str, standard_artifacts.Examples]:
    """What the executor leaves, given what TFX gives it."""
    root = tmp_path_factory.mktemp("executed")
    examples = standard_artifacts.Examples()
    examples.uri = str(source)
    outputs = {"features": standard_artifacts.Examples(), "trunk": standard_artifacts.Model()}
    for name, artifact in outputs.items():
        artifact.uri = str(root / name)
        (root / name).mkdir()
    Executor().Do(
        {"examples": [examples]},
        {name: [artifact] for name, artifact in outputs.items()},
        {"settings": json.dumps(asdict(PLAIN))},
    )
    return outputs


@pytest.fixture(scope="module")
def plain(executed) -> Path:
    return Path(executed["features"].uri)


def contents(uri: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(uri)): path.read_bytes()
        for path in sorted(uri.rglob("*"))
        if path.is_file()
    }


def stored(path: Path, dtype: str = "float32") -> np.ndarray:
    """Features of all images of a file."""
    return np.stack(
        [
            tf.io.parse_tensor(value(example, keys.TRUNK), dtype).numpy()
            for example in read_examples(path)
        ]
    )


def about(example: tf.train.Example) -> tf.train.Example:
    """The example without its features."""
    del example.features.feature[keys.TRUNK]
    return example


def pixels_of(path: Path) -> np.ndarray:
    return np.stack(
        [
            parse_image(value(example, keys.IMAGE), SIZE_PX).numpy()
            for example in read_examples(path)
        ]
    )


def shard(split: str, number: int) -> str:
    return (
        f"Split-{split}/transformed_examples-{number:05d}-of-{len(COUNTS[split]):05d}"  # .gz or not
    )


def view_of(view: int, split: str, number: int) -> str:
    return shard(split, number).replace("/", f"/view-{view:02d}-")


def test_every_file_of_images_becomes_one_of_features_and_an_empty_one_none(plain):
    assert set(contents(plain)) == {
        "data_card.json",
        view_of(0, "train", 0),
        view_of(0, "train", 2),
        view_of(0, "val", 0),
        view_of(0, "test", 0),
    }


@pytest.mark.parametrize(("split", "number"), [("train", 0), ("train", 2), ("val", 0), ("test", 0)])
def test_rows_keep_their_order_and_all_that_is_known_but_the_image(source, plain, split, number):
    before = list(read_examples(source / (shard(split, number) + ".gz")))
    after = list(read_examples(plain / view_of(0, split, number)))

    assert len(after) == COUNTS[split][number]
    known = (keys.ID, keys.PATH, keys.LABEL, keys.LABEL_ID, keys.GROUP, keys.WEIGHT)
    for one, other in zip(before, after, strict=True):
        assert set(other.features.feature) == {*known, keys.TRUNK}
        for name in known:
            assert value(other, name) == value(one, name)


@pytest.mark.parametrize(("split", "number"), [("train", 0), ("train", 2), ("val", 0), ("test", 0)])
def test_features_are_what_the_trunk_makes_of_the_same_pixels(
    source, plain, by_hand, split, number
):
    expected = by_hand(pixels_of(source / (shard(split, number) + ".gz")))

    found = stored(plain / view_of(0, split, number))

    assert found.shape == (COUNTS[split][number], *SHAPE)
    assert 0.1 < np.std(found) < 10
    np.testing.assert_allclose(found, expected, atol=SAME)


def half_a_unit(values: np.ndarray, mantissa_bits: int, smallest_exponent: int) -> np.ndarray:
    """Half the distance of neighbouring numbers of a type at some values."""
    exponents = np.floor(np.log2(np.maximum(np.abs(values), 1e-30)))
    return 2.0 ** (np.maximum(exponents, smallest_exponent) - mantissa_bits - 1)


@pytest.mark.parametrize(
    ("dtype", "mantissa_bits", "smallest_exponent"), [("float16", 10, -14), ("bfloat16", 7, -126)]
)
def test_features_of_16_bits_are_off_by_half_a_unit_in_the_last_place_at_most(
    write, source, by_hand, dtype, mantissa_bits, smallest_exponent
):
    exact = by_hand(pixels_of(source / (shard("train", 0) + ".gz")))

    uri = write(replace(PLAIN, spec=replace(SPEC, dtype=dtype)))

    found = stored(uri / view_of(0, "train", 0), dtype)
    assert found.dtype.itemsize == 2
    off = np.abs(found.astype("float32") - exact)
    assert np.all(off <= half_a_unit(exact, mantissa_bits, smallest_exponent) + SAME)
    assert np.max(off) > 1e-4, "it kept float32: this shows nothing"


def test_values_out_of_float16s_range_are_clipped_and_not_infinite(weights, tmp_path):
    backbone = load_backbone("mobilenet_v2", SIZE_PX, weights)
    scale = backbone.get_layer("block_1_project_BN").gamma
    scale.assign(tf.fill(scale.shape, 1e6))
    backbone.save_weights(str(tmp_path / "huge.h5"))
    trunk = Trunk(replace(SPEC, dtype="float16"))
    trunk.load_weights(str(tmp_path / "huge.h5"))

    found = trunk(tf.constant(noise(8, SIZE_PX, 0))).numpy()

    assert found.dtype == np.float16
    assert (found.min(), found.max()) == (-65504, 65504)


def test_card_travels_along(source, plain):
    card = read_card(str(plain))

    assert card == read_card(str(source))
    assert card.num_examples("train") == 39


def test_executor_describes_its_output_as_readers_of_examples_expect(executed):
    found = executed["features"]

    assert artifact_utils.decode_split_names(found.split_names) == ["train", "val", "test"]
    assert examples_utils.get_payload_format(found) == example_gen_pb2.FORMAT_TF_EXAMPLE
    assert examples_utils.get_file_format(found) == "tfrecords"


def test_backbone_beside_the_features_is_the_one_that_made_them(executed, source, plain):
    backbone = load_backbone(
        "mobilenet_v2", SIZE_PX, str(Path(executed["trunk"].uri) / BACKBONE_FILE)
    )
    trunk = trunk_of(backbone, SPEC.layer)
    pixels = pixels_of(source / (shard("test", 0) + ".gz"))

    expected = trunk(pixels.astype("float32") / 127.5 - 1, training=False)

    found = stored(plain / view_of(0, "test", 0))
    np.testing.assert_allclose(found, expected, atol=SAME)


@pytest.mark.slow
def test_two_processes_write_the_files_of_one_process(write, views):
    """Their batches differ, so that some processors sum in another order."""
    made = write(VIEWS, *MULTI_PROCESSING)

    found, expected = contents(made), contents(views)
    assert set(found) == set(expected)
    assert found["data_card.json"] == expected["data_card.json"]
    for path in views.glob("Split-*/*"):
        other = made / path.relative_to(views)
        np.testing.assert_allclose(stored(other), stored(path), rtol=0, atol=SAME)
        assert list(map(about, read_examples(other))) == list(map(about, read_examples(path)))


def test_only_training_images_get_views_and_each_view_is_a_file(views):
    assert set(contents(views)) == {
        "data_card.json",
        *(view_of(view, "train", number) for view in range(3) for number in (0, 2)),
        view_of(0, "val", 0),
        view_of(0, "test", 0),
    }


def test_view_0_is_the_image_as_it_is(views, plain):
    for number in (0, 2):
        path = view_of(0, "train", number)
        np.testing.assert_allclose(stored(views / path), stored(plain / path), atol=SAME)


def test_views_of_one_image_differ_from_it_and_from_each_other(views):
    original, first, second = (stored(views / view_of(view, "train", 0)) for view in range(3))

    for one, other in ((original, first), (original, second), (first, second)):
        assert np.all(np.abs(one - other).max(axis=(1, 2, 3)) > 1e-2)


def test_another_seed_gives_other_views_of_the_same_images(write, views):
    other = write(replace(VIEWS, seed=VIEWS.seed + 1))

    for view, same in ((0, True), (1, False), (2, False)):
        path = view_of(view, "train", 2)
        assert np.allclose(stored(other / path), stored(views / path), atol=SAME) == same


def test_each_image_draws_its_own_luck_by_its_id(write, source, by_hand, tmp_path):
    """With mirroring alone every view is the image or its mirror image."""
    (image,) = noise(1, SIZE_PX, seed=9)
    write_image_examples(tmp_path, {**COUNTS, "train": [0]}, SIZE_PX)
    twins = [image_example(image, f"twin {n}", 0).SerializeToString() for n in range(40)]
    write_shard(tmp_path / (shard("train", 0).replace("00003", "00001") + ".gz"), twins)
    mirror = replace(VIEWS, augmentation=Augmentation(flip=True))

    uri = write(mirror, images=tmp_path)

    as_is, mirrored = by_hand(np.stack([image, image[:, ::-1]]))
    luck = []
    for path in sorted(uri.glob("Split-train/view-*")):
        found = stored(path)
        is_mirrored = np.abs(found - mirrored).max(axis=(1, 2, 3)) < SAME
        assert np.all(is_mirrored | (np.abs(found - as_is).max(axis=(1, 2, 3)) < SAME))
        luck.append(is_mirrored)
    assert not luck[0].any()
    assert all(8 <= view.sum() <= 32 for view in luck[1:])
    assert 8 <= (luck[1] != luck[2]).sum() <= 32


def test_run_that_fails_midway_leaves_nothing_but_whole_files(write, source, weights, tmp_path):
    images, uri = tmp_path / "images", tmp_path / "features"
    write_image_examples(images, {**COUNTS, "train": [3, 40]}, SIZE_PX)
    damaged = images / "Split-train" / "transformed_examples-00001-of-00002.gz"
    records = [example.SerializeToString() for example in read_examples(damaged)]
    broken = tf.train.Example.FromString(records[36])
    broken.features.feature[keys.IMAGE].bytes_list.value[0] = b"no tensor"
    write_shard(damaged, [*records[:36], broken.SerializeToString(), *records[37:]])

    with pytest.raises(Exception, match="tensor"):
        write_features(beam.Pipeline(), PLAIN, str(images), str(uri), weights)

    written = [path for path in uri.glob("Split-*/*") if path.is_file()]
    assert not list(uri.glob("Split-train/*00001-of-00002*"))
    for path in written:
        split, name = path.parent.name, path.name.removeprefix("view-00-")
        assert len(list(read_examples(path))) == len(
            list(read_examples(images / split / f"{name}.gz"))
        )
    assert not (uri / "data_card.json").exists()
    assert list((uri / "partial").iterdir()), "it failed before it had begun: this shows nothing"


def test_nothing_temporary_is_left_by_a_run_that_ends_well(plain, views):
    for uri in (plain, views):
        assert {path.name for path in uri.iterdir()} == {
            "data_card.json",
            *(f"Split-{split}" for split in COUNTS),
        }
