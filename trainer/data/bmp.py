"""A BMP's header, read inside a graph: Microsoft's BITMAPFILEHEADER and BITMAPINFOHEADER."""

import tensorflow as tf

from trainer.data.facts import OTHER_KIND, FileFacts, make_facts
from trainer.data.header_bytes import HeaderBytes

# Headers that begin like BITMAPINFOHEADER; what follows in the longer ones concerns masks
# and colour spaces, which nothing that shows BMP files applies.
_HEADERS = (40, 52, 56, 108, 124)
_SMALLEST_BYTES = 54
_TRUE_COLOUR_BITS = 24


def read_bmp(content: tf.Tensor) -> FileFacts:
    """Reads the header of a string scalar that starts like a BMP.

    TensorFlow ignores palettes, masks and compression, and refuses surplus bytes: only plain
    files of 24 bits for each pixel are right.
    """
    data = HeaderBytes(content)
    height, width = data.little(22, 4), data.little(18, 4)
    # The height is signed: negative when the rows run from top to bottom.
    height = tf.where(height >= 2**31, 2**32 - height, height)
    row_bytes = (width * 3 + 3) // 4 * 4
    is_plain = tf.reduce_any(tf.equal(data.little(14, 4), _HEADERS)) & (
        data.size >= _SMALLEST_BYTES
    )
    is_plain &= tf.equal(data.little(28, 2), _TRUE_COLOUR_BITS) & tf.equal(data.little(30, 4), 0)
    is_plain &= tf.equal(data.little(10, 4) + row_bytes * height, data.size)
    return make_facts(tf.stack([height, width]), (~is_plain, OTHER_KIND))
