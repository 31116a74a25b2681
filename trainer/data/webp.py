"""A WebP's chunks, read inside a graph: RFC 9649 §2.5 to §2.7, RFC 6386 §9.1."""

import tensorflow as tf

from trainer.data.exif import orientation, turned_by_xmp
from trainer.data.facts import ANIMATION, IRREGULAR, XMP, FileFacts, make_facts
from trainer.data.header_bytes import (
    Blocks,
    HeaderBytes,
    big_endian,
    number_of,
    part,
    part_if,
    starts_with,
)

_RIFF_BYTES, _CHUNK_BYTES = 12, 8
_ANIMATED, _ALPHA = 0x02, 0x10
_MOST_CHUNKS = 64
_FIRST = _RIFF_BYTES + _CHUNK_BYTES


def is_webp(content: tf.Tensor) -> tf.Tensor:
    """Whether a string scalar starts like a WebP, bool."""
    return starts_with(content, b"RIFF") & tf.equal(
        part(content, tf.constant(8, tf.int64), tf.constant(4, tf.int64)), b"WEBP"
    )


def read_webp(content: tf.Tensor) -> FileFacts:
    """Reads the chunks of a string scalar that starts like a WebP."""
    data = HeaderBytes(content)
    starts, regular = _chunks(data)
    heads = data.window(starts, _CHUNK_BYTES)
    names = big_endian(heads[:, :4])

    def named(word: bytes) -> Blocks:
        return Blocks(starts, tf.equal(names, number_of(word)))

    def body(chunks: Blocks) -> tf.Tensor:
        length = data.little(chunks.place + 4, 4)
        return part_if(chunks.count > 0, content, chunks.place + _CHUNK_BYTES, length)

    lossy, lossless, alphas = named(b"VP8 "), named(b"VP8L"), named(b"ALPH")
    cameras, packets, profiles = named(b"EXIF"), named(b"XMP "), named(b"ICCP")
    is_extended = tf.equal(names[0], number_of(b"VP8X"))
    is_lossless = lossless.count > 0
    image = data.window(lossy.place + lossless.place + _CHUNK_BYTES, 10)
    size, is_marked, packed_alpha = _stream(image, is_lossless)
    extension = data.window(_FIRST, 10)
    flags = tf.where(is_extended, extension[0], 0)
    canvas = 1 + tf.reduce_sum(tf.reshape(extension[4:10], [2, 3]) * [1, 256, 65536], axis=1)
    is_animated = tf.equal(flags // _ANIMATED % 2, 1)
    has_alpha = packed_alpha | (alphas.count > 0)
    is_canvas = tf.reduce_all(tf.equal(size, tf.reverse(canvas, [0])))
    is_canvas &= tf.equal(has_alpha, tf.equal(flags // _ALPHA % 2, 1))
    regular &= tf.equal(lossy.count + lossless.count, 1) & is_marked & (is_canvas | ~is_extended)
    extras = tf.stack([alphas.count, cameras.count, packets.count, profiles.count])
    regular &= tf.reduce_all(extras <= tf.cast(is_extended, tf.int64))
    exif = orientation(body(cameras))
    return make_facts(
        tf.where(is_animated, tf.reverse(canvas, [0]), size),
        (is_animated, ANIMATION),
        (~regular, IRREGULAR),
        (~exif.found & turned_by_xmp(body(packets)), XMP),
        orientation=exif,
        has_alpha=has_alpha,
        profile=body(profiles),
    )


def _stream(head: tf.Tensor, is_lossless: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Height and width, int64 [2], in the first bytes of a picture; whether its mark is there;
    and, if it is lossless, whether it says that it has transparent pixels.
    """
    bits = tf.reduce_sum(head[1:5] * [1, 2**8, 2**16, 2**24])
    packed = 1 + tf.stack([bits // 2**14 % 2**14, bits % 2**14])
    plain = tf.stack([head[8] + head[9] * 256, head[6] + head[7] * 256]) % 2**14
    plain_mark = tf.reduce_all(tf.equal(head[3:6], list(b"\x9d\x01\x2a")))
    is_marked = tf.where(is_lossless, tf.equal(head[0], 0x2F), plain_mark)
    has_alpha = is_lossless & tf.equal(bits // 2**28 % 2, 1)
    return tf.where(is_lossless, packed, plain), is_marked, has_alpha


def _chunks(data: HeaderBytes) -> tuple[tf.Tensor, tf.Tensor]:
    """Walks from chunk to chunk.

    Returns:
      Where each begins, int64 [n]; and whether they end where the file says that it ends.
    """
    end = _CHUNK_BYTES + data.little(4, 4)

    def step(
        place: tf.Tensor, index: tf.Tensor, starts: tf.TensorArray, _: tf.Tensor
    ) -> tuple[tf.Tensor | tf.TensorArray, ...]:
        length = data.little(place + 4, 4)
        after = place + _CHUNK_BYTES + length + length % 2
        regular = after <= end
        goes_on = regular & (after < end)
        return after, index + 1, starts.write(index, place), tf.stack([goes_on, regular])

    _, _, starts, state = tf.while_loop(
        lambda _place, _index, _starts, state: state[0],
        step,
        (
            tf.constant(_RIFF_BYTES, tf.int64),
            0,
            tf.TensorArray(tf.int64, 0, dynamic_size=True, element_shape=[]),
            tf.constant([True, True]),
        ),
        parallel_iterations=1,
        maximum_iterations=_MOST_CHUNKS,
    )
    return starts.stack(), state[1] & ~state[0] & (end <= data.size)
