"""Examples as Transform writes them, of noise: shards, ids, labels and a data card."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer import keys
from trainer.data.card import DataCard, write_card
from trainer.data.fit_data import read_records
from trainer.data.images import serialize_image

LABELS = ("ant", "bee")


def noise(count: int, size_px: int, seed: int) -> np.ndarray:
    """uint8 [count, size_px, size_px, 3]."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, [count, size_px, size_px, 3], "uint8")


def image_example(pixels: np.ndarray, name: str, label_id: int) -> tf.train.Example:
    """One image as Transform leaves it; its id follows from the name."""
    example = tf.train.Example()
    feature = example.features.feature
    feature[keys.IMAGE].bytes_list.value.append(serialize_image(tf.constant(pixels)).numpy())
    feature[keys.ID].bytes_list.value.append(hashlib.sha256(name.encode()).hexdigest().encode())
    feature[keys.PATH].bytes_list.value.append(name.encode())
    feature[keys.LABEL].bytes_list.value.append(LABELS[label_id % 2].encode())
    feature[keys.LABEL_ID].int64_list.value.append(label_id)
    feature[keys.GROUP].bytes_list.value.append(b"")
    feature[keys.WEIGHT].float_list.value.append(1.0)
    return example


def write_shard(path: Path, records: Sequence[bytes]) -> None:
    """A gzipped TFRecord file, empty if there are no records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for record in records:
            writer.write(record)


def write_image_examples(uri: Path, counts: dict[str, list[int]], size_px: int) -> None:
    """Writes files of so many images for each split, and the card."""
    for number, (split, sizes) in enumerate(counts.items()):
        for shard, size in enumerate(sizes):
            pixels = noise(size, size_px, seed=100 * number + shard)
            records = [
                image_example(image, f"{split}-{shard}-{index}.png", index % 2).SerializeToString()
                for index, image in enumerate(pixels)
            ]
            name = f"transformed_examples-{shard:05d}-of-{len(sizes):05d}.gz"
            write_shard(uri / f"Split-{split}" / name, records)
    halves = {
        split: {
            "ant": sum(-(-size // 2) for size in sizes),
            "bee": sum(size // 2 for size in sizes),
        }
        for split, sizes in counts.items()
    }
    write_card(DataCard("photos", "abc123", halves, {"the file is empty": 1}), str(uri))


def read_examples(path: Path) -> Iterator[tf.train.Example]:
    """The examples of one file, gzipped if its name says so."""
    for record in read_records([str(path)]).as_numpy_iterator():
        yield tf.train.Example.FromString(record)


def value(example: tf.train.Example, name: str) -> bytes | int:
    """The one value of a feature."""
    feature = example.features.feature[name]
    (found,) = getattr(feature, feature.WhichOneof("kind")).value
    return found
