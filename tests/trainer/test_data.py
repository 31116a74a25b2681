"""What the fits read: which records, in which order, pass after pass."""

import itertools
import os
import zlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from trainer import keys
from trainer.data import fit_data as data
from trainer.model import trunk
from trainer.process import progress
from trainer.specs import Augmentation

from ..image_examples import image_example, noise

SIZE_PX = 4


def numbers(*of: int) -> tf.data.Dataset:
    """Records of which the parser below makes the number and, as its label, its last bit."""
    return tf.data.Dataset.from_tensor_slices(np.array(of, "int64"))


def parse_number(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return record, record % 2


def number_data(*views: range, batch_size: int = 4, seed: int = 3) -> data.FitData:
    return data.make_fit_data(
        [numbers(*view) for view in views],
        numbers(*range(100, 106)),
        parse_number,
        num_train=len(views[0]),
        batch_size=batch_size,
        num_classes=2,
        seed=seed,
    )


def passes(fit_data: data.FitData, count: int, first: int = 0) -> list[list[np.ndarray]]:
    """The batches of inputs of some passes over the training split."""
    steps = fit_data.train_steps
    batches = iter(fit_data.train_from(first))
    return [[next(batches)[0].numpy() for _ in range(steps)] for _ in range(count)]


def order(one_pass: list[np.ndarray]) -> list[int]:
    return np.concatenate(one_pass).tolist()


def test_every_pass_reads_every_record_once_in_an_order_of_its_own():
    orders = [order(one) for one in passes(number_data(range(30)), 4)]

    assert [sorted(one) for one in orders] == [list(range(30))] * 4
    assert len({tuple(one) for one in orders}) == 4
    assert list(range(30)) not in orders


def test_nth_pass_is_alike_for_one_seed_and_not_for_another():
    first, again, other = (
        [order(one) for one in passes(number_data(range(30), seed=seed), 3)] for seed in (3, 3, 4)
    )

    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_seed_0_is_a_seed_like_any_other_also_where_it_is_set_globally():
    tf.random.set_seed(0)

    first, second = passes(number_data(range(8), seed=0), 2)

    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(8))
    assert list(np.concatenate(first)) != list(np.concatenate(second))


def test_passes_take_turns_over_the_views():
    views = range(10), range(10, 20), range(20, 30)

    orders = [order(one) for one in passes(number_data(*views), 6)]

    assert [sorted(one) for one in orders] == [list(view) for view in views] * 2
    assert orders[0] != orders[3]


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("first", [1, 2, 3, 5])
def test_passes_from_the_nth_on_are_those_that_all_passes_have_there(views, first):
    fit_data = number_data(*[range(10 * view, 10 * view + 10) for view in range(views)])
    undisturbed = [order(one) for one in passes(fit_data, first + 3)]

    taken_up = [order(one) for one in passes(fit_data, 3, first)]

    assert taken_up == undisturbed[first:]


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 4, [3]), (1, 1, [1])],
)
def test_last_batch_of_a_pass_is_smaller_and_counts_as_a_step(count, batch_size, sizes):
    fit_data = number_data(range(count), range(count, 2 * count), batch_size=batch_size)

    assert fit_data.train_steps == len(sizes)
    assert [[len(batch) for batch in one] for one in passes(fit_data, 3)] == [sizes] * 3


def test_validation_is_one_pass_in_the_order_of_the_files():
    fit_data = number_data(range(30))

    for _ in range(2):
        assert np.concatenate([batch for batch, _ in fit_data.val]).tolist() == [*range(100, 106)]
    assert [len(batch) for batch, _ in fit_data.val] == [4, 2]


def test_labels_are_one_hot_float32_and_stay_with_their_inputs():
    fit_data = number_data(range(30))

    for batch, one_hot in [*itertools.islice(fit_data.train, 8), *fit_data.val]:
        assert one_hot.dtype == tf.float32
        np.testing.assert_array_equal(one_hot, np.eye(2)[batch.numpy() % 2])


def image_record(number: int) -> bytes:
    (pixels,) = noise(1, SIZE_PX, seed=number)
    return image_example(pixels, str(number), number).SerializeToString()


def example(name: str, content: bytes, label_id: int) -> bytes:
    found = tf.train.Example()
    found.features.feature[name].bytes_list.value.append(content)
    found.features.feature[keys.LABEL_ID].int64_list.value.append(label_id)
    return found.SerializeToString()


def image_data(augmentation: Augmentation, seed: int = 3) -> data.FitData:
    records = tf.data.Dataset.from_tensor_slices([image_record(number) for number in range(6)])
    return data.make_fit_data(
        [records], records, data.image_parser(SIZE_PX), 6, 6, 6, seed, augmentation
    )


def images_by_label(fit_data: data.FitData, count: int) -> list[list[int]]:
    """Checksums of the images of each pass, in the order of their labels."""
    found = []
    for images, one_hot in itertools.islice(fit_data.train, count):
        order = np.argsort(one_hot.numpy().argmax(-1))
        assert images.dtype == tf.uint8
        found.append([zlib.crc32(images.numpy()[index].tobytes()) for index in order])
    return found


def test_augmentation_changes_every_image_anew_in_every_pass():
    strong = Augmentation(flip=True, crop=0.8, colour=0.5)
    (as_it_is,) = images_by_label(image_data(Augmentation()), 1)

    found = images_by_label(image_data(strong), 4)

    for images in zip(as_it_is, *found, strict=True):
        assert len(set(images)) == 5


def test_augmentation_is_the_same_for_the_same_seed_and_another_for_another():
    strong = Augmentation(flip=True, crop=0.8, colour=0.5)
    first, again, other = (images_by_label(image_data(strong, seed), 3) for seed in (3, 3, 4))

    assert first == again
    assert not {*itertools.chain(*first)} & {*itertools.chain(*other)}


def test_validation_images_are_never_changed():
    fit_data = image_data(Augmentation(flip=True, crop=0.8, colour=0.5))

    ((images, _),) = fit_data.val

    for number, image in enumerate(images):
        parsed, _ = data.image_parser(SIZE_PX)(tf.constant(image_record(number)))
        np.testing.assert_array_equal(image, parsed)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_trunk_parser_gives_the_stored_values_as_float32(dtype):
    values = tf.cast(tf.random.stateless_normal([2, 3, 5], (1, 2), stddev=9.0), dtype)
    record = example(keys.TRUNK, tf.io.serialize_tensor(values).numpy(), 4)

    for parse in (
        data.trunk_parser((2, 3, 5), dtype),
        tf.function(data.trunk_parser((2, 3, 5), dtype)),
    ):
        found, label_id = parse(tf.constant(record))
        assert (found.dtype, label_id.dtype) == (tf.float32, tf.int64)
        assert label_id == 4
        np.testing.assert_array_equal(found, tf.cast(values, tf.float32))


def test_features_of_another_shape_or_type_than_expected_are_refused():
    values = tf.zeros([2, 3, 5], tf.float16)
    record = tf.constant(example(keys.TRUNK, tf.io.serialize_tensor(values).numpy(), 0))

    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible"):
        data.trunk_parser((2, 3, 4), "float16")(record)
    with pytest.raises(tf.errors.InvalidArgumentError, match="bfloat16"):
        data.trunk_parser((2, 3, 5), "bfloat16")(record)


@pytest.fixture
def pooled(tmp_path) -> tuple[str, np.ndarray, np.ndarray]:
    """A file of pooled vectors, the vectors and the labels it should hold."""
    maps = np.random.default_rng(0).normal(size=[7, 2, 2, 3]).astype("float32")
    ids = np.array([5, 0, 2**40, 1, 1, 3, 2])
    pool = keras.Sequential([keras.Input([2, 2, 3]), keras.layers.GlobalAveragePooling2D()])
    batches = tf.data.Dataset.from_tensor_slices((maps, ids)).batch(3)
    path = str(tmp_path / "deep" / "vectors-0")
    data.write_vectors(batches, pool, path, progress.Counter("images", 7))
    return path, maps.mean((1, 2)), ids


def parsed(records: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    vectors, ids = zip(*records.map(data.vector_parser(3)), strict=True)
    return np.stack(vectors), np.stack(ids)


def test_vectors_come_back_as_they_were_written(pooled):
    path, vectors, ids = pooled

    found, found_ids = parsed(data.read_vectors(path, 3))

    assert (found.dtype, found_ids.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(found, vectors, atol=1e-6)
    np.testing.assert_array_equal(found_ids, ids)


def test_weights_of_images_are_kept_with_their_vectors(tmp_path):
    maps, ids = np.ones([5, 2, 2, 3], "float32"), np.arange(5)
    weights = np.array([0.5, 1, 2, 3, 4], "float32")
    pool = keras.Sequential([keras.Input([2, 2, 3]), keras.layers.GlobalAveragePooling2D()])
    batches = tf.data.Dataset.from_tensor_slices((maps, ids, weights)).batch(2)
    path = str(tmp_path / "vectors-0")

    data.write_vectors(batches, pool, path, progress.Counter("images", 5))

    np.testing.assert_array_equal(data.load_vectors(path, 3)[2], weights)
    records = data.read_vectors(path, 3)
    parse = data.vector_parser(3, weighted=True)
    fit_data = data.make_fit_data([records], records, parse, 5, 4, 5, seed=3, weighted=True)
    first, last = fit_data.val
    np.testing.assert_allclose(first[2], [[0.25, weight] for weight in weights[:4]])
    np.testing.assert_allclose(last[2], [[1.0, 4.0]])


def test_vectors_are_read_once_where_they_fit_in_memory_and_streamed_where_not(pooled, monkeypatch):
    path, *_ = pooled
    kept = data.read_vectors(path, 3)
    monkeypatch.setattr(data, "_VECTOR_MEMORY_SHARE", 0.0)
    streamed = data.read_vectors(path, 3)

    for one, other in zip(parsed(kept), parsed(streamed), strict=True):
        np.testing.assert_array_equal(one, other)
    with open(path, "r+b") as file:
        file.write(b"\x07")  # another label for the first image
    assert parsed(kept)[1][0] == 5
    assert parsed(streamed)[1][0] == 7


def test_all_passes_of_a_fit_share_what_is_kept_in_memory(pooled):
    path, vectors, _ = pooled
    records = data.read_vectors(path, 3)
    fit_data = data.make_fit_data([records], records, data.vector_parser(3), 7, 7, 9, seed=3)
    batches = iter(fit_data.train)
    next(batches)

    with open(path, "wb"):
        pass

    assert next(batches)[0].shape == vectors.shape


def test_what_may_be_kept_in_memory_is_a_share_of_what_is_free(monkeypatch):
    class Memory:
        available = 1000

    monkeypatch.setattr(data.psutil, "virtual_memory", Memory)

    assert data.fits_in_memory(250)
    assert not data.fits_in_memory(251)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=rf"no examples in {tmp_path}/a\*, {tmp_path}/b\*\."):
        data.list_files([f"{tmp_path}/a*", f"{tmp_path}/b*"])


def test_files_are_read_in_the_order_of_their_names_gzipped_or_not(tmp_path):
    for compression, suffix in (("", ""), ("GZIP", ".gz")):
        for name in ("2", "10", "1"):
            path = str(tmp_path / f"part-{name}{suffix}")
            with tf.io.TFRecordWriter(path, compression) as writer:
                writer.write(name.encode())

    for pattern in ("part-*[0-9]", "part-*.gz"):
        files = data.list_files([str(tmp_path / pattern)])
        assert [*data.read_records(files).as_numpy_iterator()] == [b"1", b"10", b"2"]


def test_views_are_told_apart_by_their_names_and_plain_files_are_one_view():
    files = [f"data/{trunk.view_name(view, f'part-{n}')}" for view in (0, 1, 10) for n in (0, 1)]

    assert trunk.files_by_view(sorted(files)) == [files[:2], files[2:4], files[4:]]
    assert trunk.files_by_view(["data/part-0", "data/part-1"]) == [["data/part-0", "data/part-1"]]


@pytest.mark.parametrize(("compression", "suffix"), [("", ""), ("GZIP", ".gz")])
def test_file_with_a_truncated_record_is_named_with_what_to_do(tmp_path, compression, suffix):
    for name in ("1", "2"):
        with tf.io.TFRecordWriter(str(tmp_path / f"part-{name}{suffix}"), compression) as writer:
            writer.write(np.random.default_rng(0).bytes(10_000))
    damaged = tmp_path / f"part-2{suffix}"
    os.truncate(damaged, damaged.stat().st_size // 2)
    patterns = [str(tmp_path / "part-*")]

    with (
        pytest.raises(data.DamagedRecords) as caught,
        data.naming_damaged_files(patterns),
    ):
        list(data.read_records(data.list_files(patterns)))

    assert str(caught.value).startswith(f"{damaged} is damaged: a truncated record.\n  Delete the")


def test_file_with_a_changed_byte_is_named(tmp_path):
    path = tmp_path / "part"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"x" * 1000)
    path.write_bytes(path.read_bytes().replace(b"xxx", b"xyx", 1))

    with (
        pytest.raises(data.DamagedRecords, match=f"{path} is damaged: a corrupted record"),
        data.naming_damaged_files([str(path)]),
    ):
        list(data.read_records([str(path)]))
