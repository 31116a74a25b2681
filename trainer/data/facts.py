"""What a file's header says, read inside a graph: ingestion and the served model ask the same.

A format's reader states either how the file is to be decoded so that it looks as people see
it, or a problem. A file with a problem is never decoded as it is: the graph refuses it, and
whatever has Pillow at hand re-encodes it (`trainer.data.transcode`).
"""

from typing import NamedTuple

import tensorflow as tf

from trainer.data.exif import Orientation, upright

NO_PROBLEM, NO_IMAGE, IRREGULAR, OTHER_KIND, TRANSPARENT_GIF, ANIMATION, XMP, PROFILE = range(8)

PROBLEMS = (
    "",
    "not a JPEG, PNG, GIF, BMP or WebP file",
    "the header of the file is damaged or unusual",
    "this kind of JPEG, GIF or BMP file is not decoded here",
    "the first frame of the GIF is transparent or does not fill the picture",
    "animated WebP files are not decoded here",
    "the orientation is recorded in a text block of the file",
    "the colour profile is of a kind that is not applied here",
)
"""Sentences by problem; each but the first two is followed by advice."""


class FileFacts(NamedTuple):
    """Scalars that describe a file of one of the formats.

    Attributes:
      size: int64 [2], the height and width of the picture as stored.
      problem: int64, a position in `PROBLEMS`.
      orientation: int64, 1 to 8 as in EXIF.
      is_grey: bool, whether there is a single colour channel.
      has_alpha: bool, whether pixels may be transparent.
      profile: string, the embedded ICC profile; empty if there is none.
    """

    size: tf.Tensor
    problem: tf.Tensor
    orientation: tf.Tensor
    is_grey: tf.Tensor
    has_alpha: tf.Tensor
    profile: tf.Tensor


def make_facts(
    size: tf.Tensor,
    *problems: tuple[tf.Tensor, int],
    orientation: Orientation | None = None,
    is_grey: tf.Tensor | bool = False,
    has_alpha: tf.Tensor | bool = False,
    profile: tf.Tensor | bytes = b"",
) -> FileFacts:
    """Gathers a reader's facts; of several (condition, problem) the first counts."""
    orientation = orientation or upright()
    problem = tf.constant(NO_PROBLEM, tf.int64)
    for condition, number in reversed([*problems, (~orientation.regular, IRREGULAR)]):
        problem = tf.where(condition, tf.constant(number, tf.int64), problem)
    return FileFacts(
        size=tf.ensure_shape(tf.cast(size, tf.int64), [2]),
        problem=problem,
        orientation=orientation.value,
        is_grey=tf.convert_to_tensor(is_grey),
        has_alpha=tf.convert_to_tensor(has_alpha),
        profile=tf.convert_to_tensor(profile, tf.string),
    )


def no_image() -> FileFacts:
    """The facts of what is in none of the formats."""
    return make_facts(tf.zeros([2], tf.int64), (tf.constant(True), NO_IMAGE))
