"""Reads what Transform wrote, in an order that depends on the seed alone."""

from collections.abc import Sequence

import tensorflow as tf

from trainer import features
from trainer.images import FEATURE_SPEC, parse_image

# At 299 px a stored image takes 268 kB: this many in the shuffle buffer take 275 MB.
SHUFFLE_BUFFER = 1024


def read_examples(
    file_patterns: Sequence[str], size_px: int, shuffle_seed: int | None = None
) -> tf.data.Dataset:
    """Reads images and label ids from gzipped TFRecord files.

    Args:
      file_patterns: globs of the files of one split.
      size_px: side of the stored images.
      shuffle_seed: None keeps the order of the files. With a seed every pass over the
        data set is shuffled anew, the n-th pass always alike.

    Returns:
      Elements (uint8 [size_px, size_px, 3], int64 scalar label id).
    """
    files = sorted(path for pattern in file_patterns for path in tf.io.gfile.glob(pattern))
    if not files:
        raise ValueError(f"no examples in {', '.join(file_patterns)}.")
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    if shuffle_seed is not None:
        records = records.shuffle(SHUFFLE_BUFFER, seed=shuffle_seed)

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_single_example(record, FEATURE_SPEC)
        return parse_image(example[features.IMAGE], size_px), example[features.LABEL_ID]

    return records.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def batches(examples: tf.data.Dataset, batch_size: int, num_classes: int) -> tf.data.Dataset:
    """Groups examples into (uint8 [batch, size, size, 3], one-hot float32 [batch, classes]).

    The last batch may be smaller. Sharding is left to the caller.
    """
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return (
        examples.batch(batch_size)
        .map(
            lambda images, ids: (images, tf.one_hot(ids, num_classes)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .prefetch(2)
        .with_options(options)
    )
