"""A GIF's first frame, found without decoding: TensorFlow would decode all frames.

`tf.io.decode_image` allocates by the largest frame, not by the screen that the header
claims, and reads every frame into memory though it returns the first alone: 50 frames of
2000×2000 pixels in 196 kB cost 200 MB and two seconds. So this walks from block to block
(GIF89a, §15 to §27), as the decoder does, to where the first frame ends.
"""

import tensorflow as tf

from trainer.data.facts import IRREGULAR, OTHER_KIND, TRANSPARENT_GIF, FileFacts, make_facts

_EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, b"\x3b"

# The signature and the screen; its colour table may follow, as one may follow a frame's.
_HEADER_BYTES = 13
_FRAME_BYTES = 10
_SCREEN_AT, _SCREEN_FLAGS, _FRAME_FLAGS = 6, 10, 9

# Of a graphic control extension: its label, and where its flags stand.
_CONTROL, _CONTROL_FLAGS = 0xF9, 3

# Sub-blocks of one length are passed together: encoders fill all but the last.
_MOST_TOGETHER = 1024

# Sound files need some dozens, hostile ones would take a step for every two bytes. What is
# not found by then counts as not there.
_MOST_STEPS = 2**14


def read_gif(image_bytes: tf.Tensor) -> FileFacts:
    """Reads the blocks before the first frame's data of a string scalar that starts like a GIF.

    The size is that of screen and frame together: Pillow allocates by both, TensorFlow by
    the frame. They differ, or pixels are transparent, in files that TensorFlow paints black
    where others show the background.
    """
    with tf.device("CPU:0"):
        data = _padded(image_bytes)
        frame, control, _ = _walk(data, to_the_end=False)
        is_found = frame >= 0
        start = tf.maximum(frame, 0)
        left, top, width, height = (_pair(data, start + offset) for offset in (1, 3, 5, 7))
        screen = tf.stack([_pair(data, tf.constant(8, tf.int64)), _pair(data, _SCREEN_AT)])
        size = tf.maximum(screen, tf.stack([top + height, left + width]))
        fills = tf.equal(left + top, 0) & tf.reduce_all(tf.equal(size, screen))
        fills &= tf.reduce_all(tf.equal(size, tf.stack([height, width])))
        is_transparent = (control >= 0) & tf.equal(
            _byte(data, tf.maximum(control, 0) + _CONTROL_FLAGS) % 2, 1
        )
        tables = [_byte(data, place) for place in (tf.constant(_SCREEN_FLAGS, tf.int64), start + 9)]
        has_table = tf.reduce_any(tf.stack(tables) >= 128)
        return make_facts(
            tf.where(is_found, size, tf.zeros([2], tf.int64)),
            (~is_found, IRREGULAR),
            (~fills | is_transparent, TRANSPARENT_GIF),
            (~has_table, OTHER_KIND),
        )


def cut_after_first_frame(image_bytes: tf.Tensor) -> tf.Tensor:
    """Leaves the other frames of a GIF out; string scalar to string scalar.

    A file whose first frame does not end stays one: the decoder will refuse it.
    """
    with tf.device("CPU:0"):
        _, _, end = _walk(_padded(image_bytes), to_the_end=True)
        kept = tf.strings.substr(image_bytes, tf.zeros([], tf.int64), end)
        return tf.strings.join([kept, _TRAILER])


def _padded(image_bytes: tf.Tensor) -> tf.Tensor:
    """The file's bytes, uint8; zeros at the end so that a header may reach beyond it."""
    return tf.io.decode_raw(tf.strings.join([image_bytes, bytes(_HEADER_BYTES)]), tf.uint8)


def _walk(data: tf.Tensor, to_the_end: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Passes what stands before the first frame and, `to_the_end`, its data too.

    Returns:
      Where the frame begins, -1 if none was found; where the last graphic control extension
      before it begins, likewise; and where the walk has ended, which may be beyond the end
      of the file. int64 scalars.
    """
    last = tf.size(data, tf.int64) - _HEADER_BYTES

    def step(
        position: tf.Tensor, frame: tf.Tensor, control: tf.Tensor, in_data: tf.Tensor, _: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        position = tf.minimum(position, last)  # there stands a zero
        byte = _byte(data, position)
        opens_frame = ~in_data & (byte == _FRAME)
        opens = opens_frame | (~in_data & (byte == _EXTENSION))
        ends = in_data & (byte == 0)
        frame = tf.where(opens_frame, position, frame)
        is_control = opens & ~opens_frame & (_byte(data, position + 1) == _CONTROL)
        control = tf.where(is_control, position, control)
        head = tf.where(
            opens_frame, _FRAME_BYTES + _table_bytes(data, position + _FRAME_FLAGS) + 1, 2
        )
        length = tf.where(in_data, _sub_blocks_bytes(data, position, last), head)
        goes_on = (in_data & ~ends) | opens | (ends & (frame < 0))
        if not to_the_end:
            goes_on &= ~opens_frame
        return position + length, frame, control, (in_data & ~ends) | opens, goes_on

    begin = _HEADER_BYTES + _table_bytes(data, tf.constant(_SCREEN_FLAGS, tf.int64))
    nowhere = tf.constant(-1, tf.int64)
    position, frame, control, _, _ = tf.while_loop(
        lambda *state: state[-1],
        step,
        (begin, nowhere, nowhere, tf.constant(False), tf.constant(True)),
        parallel_iterations=1,
        maximum_iterations=_MOST_STEPS,
    )
    return frame, control, position


def _sub_blocks_bytes(data: tf.Tensor, position: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """How many bytes the sub-block here and those after it take, as long as all are as long.

    A terminator, which is a sub-block of length 0, stands alone.
    """
    length = _byte(data, position)
    stride = length + 1
    end = tf.minimum(position + stride * _MOST_TOGETHER, last)
    lengths = tf.cast(data[position:end:stride], tf.int64)
    together = tf.reduce_sum(tf.math.cumprod(tf.cast(lengths == length, tf.int64)))
    return tf.where(length > 0, stride * tf.maximum(together, 1), 1)


def _table_bytes(data: tf.Tensor, flags_at: tf.Tensor) -> tf.Tensor:
    """The length of the colour table that the flags tell of."""
    flags = _byte(data, flags_at)
    return tf.where(flags >= 128, 3 * 2 ** (1 + flags % 8), 0)


def _byte(data: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    return tf.cast(data[position], tf.int64)


def _pair(data: tf.Tensor, position: tf.Tensor | int) -> tf.Tensor:
    """A little-endian integer of two bytes, int64."""
    return _byte(data, position) + 256 * _byte(data, position + 1)
