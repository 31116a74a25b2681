"""A PNG's chunks, read inside a graph: ISO/IEC 15948 §5, §11; eXIf: PNG third edition §11.3.3.2."""

import tensorflow as tf

from trainer.data.exif import orientation, turned_by_xmp
from trainer.data.facts import IRREGULAR, PROFILE, XMP, FileFacts, make_facts
from trainer.data.header_bytes import (
    Blocks,
    HeaderBytes,
    any_of,
    big_endian,
    number_of,
    part,
    part_if,
)
from trainer.data.rare import call_if, of_bytes

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp\0", b"Raw profile type exif"[: len(b"XML:com.adobe.xmp\0")]
_PALETTE, _ALPHA_BIT = 3, 4
# Colour types are sums: 1 a palette, 2 colour, 4 alpha.
_PALETTE_OR_COLOUR = 4
# As much of a chunk as tells its length, its name, the longest keyword, and whether the text
# behind XMP's is compressed.
_TEXT_HEAD_BYTES = 8 + len(_XMP) + 1

# Pixel data comes in many chunks of one length, which are passed together.
_MOST_TOGETHER = 1024
_MOST_STEPS = 2**12

# The longest name of a profile, and the longest compressed profile that is decompressed:
# deflate expands a thousand times at most.
_NAME_BYTES = 80
_MOST_PROFILE_BYTES = 2**16


# What a file without any peculiarity has before its pixels, in that much of the file.
_PLAIN = (b"IHDR", b"PLTE", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"sBIT", b"tIME", b"bKGD")
_PLAIN_BYTES, _PLAIN_CHUNKS = 2048, 10


def read_png(content: tf.Tensor) -> FileFacts:
    """Reads the chunks of a string scalar that starts like a PNG, of 26 bytes or more."""
    is_plain, facts = _read_plain(content)
    return call_if(~is_plain, _read_any, content, otherwise=lambda: facts)


def _read_plain(content: tf.Tensor) -> tuple[tf.Tensor, FileFacts]:
    """Whether a file has nothing but opaque pixels, bool scalar; and its facts if so.

    As in `trainer.data.jpeg`: looked up for every byte, without a loop.
    """
    head = tf.io.decode_raw(tf.strings.substr(content, 0, _PLAIN_BYTES), tf.uint8)
    head = tf.cast(head, tf.int64)
    pairs = head[:-1] * 256 + head[1:]
    words = pairs[:-2] * 65536 + pairs[2:]
    last = tf.size(words, tf.int64) - 5
    after = tf.minimum(tf.range(last + 1) + 12 + words[:-4], last)
    places = [tf.constant(8, tf.int64)]
    for _ in range(_PLAIN_CHUNKS - 1):
        places.append(tf.gather(after, places[-1]))
    starts = tf.stack(places)
    names = tf.gather(words, starts + 4)
    is_pixels = tf.equal(names, number_of(b"IDAT"))
    index = tf.argmax(is_pixels)
    is_before = tf.range(_PLAIN_CHUNKS, dtype=tf.int64) < index
    is_known = any_of(names, [number_of(name) for name in _PLAIN])
    num_palettes = tf.math.count_nonzero(is_before & tf.equal(names, number_of(b"PLTE")))
    colour = head[25]
    is_plain = tf.reduce_any(is_pixels) & tf.reduce_all(is_known | ~is_before)
    is_plain &= tf.equal(words[8], 13) & tf.equal(words[12], number_of(b"IHDR"))
    is_plain &= (num_palettes <= 1) & (colour < _ALPHA_BIT)
    is_plain &= tf.not_equal(colour, _PALETTE) | tf.equal(num_palettes, 1)
    is_plain &= (starts[index] < last) & _ends_after_pixels(HeaderBytes(content), starts[index])
    size = tf.reverse(tf.gather(words, [16, 20]), [0])
    return is_plain, make_facts(size, is_grey=tf.equal(colour, 0))


def _ends_after_pixels(data: HeaderBytes, place: tf.Tensor) -> tf.Tensor:
    """Whether only chunks of one length, at most one other, and the end follow; bool scalar."""
    digits = data.window(place, 8)
    stride = big_endian(digits[:4]) + 12
    place += stride * _pixel_chunks(data, place, stride, digits)
    place += tf.where(data.has(place + 4, b"IDAT"), 12 + data.big(place, 4), 0)
    return data.has(place, b"\0\0\0\0IEND") & (place + 12 <= data.size)


@of_bytes
def _read_any(content: tf.Tensor) -> FileFacts:
    data = HeaderBytes(content)
    starts, regular = _chunks(data)
    heads = data.window(starts, _TEXT_HEAD_BYTES)
    lengths, names = big_endian(heads[:, :4]), big_endian(heads[:, 4:8])
    is_text = any_of(names, [number_of(word) for word in _TEXTS])

    def named(word: bytes) -> Blocks:
        return Blocks(starts, tf.equal(names, number_of(word)))

    def text(keyword: bytes) -> Blocks:
        has_keyword = tf.equal(heads[:, 8 : 8 + len(keyword)], list(keyword))
        return Blocks(starts, is_text & tf.reduce_all(has_keyword, axis=1))

    def body(chunks: Blocks) -> tf.Tensor:
        length = tf.reduce_max(tf.where(chunks.mask, lengths, 0))
        return part_if(chunks.count > 0, content, chunks.place + 8, length)

    palettes, masks, profiles = named(b"PLTE"), named(b"tRNS"), named(b"iCCP")
    cameras, packets, raw = named(b"eXIf"), text(_XMP), text(_RAW_EXIF)
    colour = data.window(25, 1)[0]
    own_alpha = colour >= _ALPHA_BIT
    # Decoders agree only on what stands once and in its place.
    is_pixels = tf.equal(names, number_of(b"IDAT"))
    pixels = starts[tf.argmax(is_pixels)]
    regular &= tf.equal(named(b"IHDR").count, 1) & data.has(8, b"\0\0\0\rIHDR")
    regular &= tf.reduce_any(is_pixels) & (cameras.count <= 1)
    counts = tf.stack([palettes.count, masks.count, profiles.count])
    places = tf.stack([palettes.place, masks.place, profiles.place])
    regular &= tf.reduce_all((counts <= 1) & (places < pixels))
    regular &= ~(own_alpha & (masks.count > 0))
    regular &= tf.equal(masks.count, 0) | (masks.place > palettes.place)
    regular &= tf.not_equal(colour, _PALETTE) | (palettes.count > 0)
    exif = orientation(body(cameras))
    flags = tf.where(packets.mask & tf.not_equal(names, number_of(b"tEXt")), heads[:, -1], 0)
    is_readable = tf.equal(tf.reduce_max(flags), 0) & (packets.count <= 1)
    is_turned = ~is_readable | turned_by_xmp(body(packets)) | (raw.count > 0)
    profile, is_read = call_if(profiles.count > 0, _profile, body(profiles), otherwise=_no_profile)
    return make_facts(
        tf.where(data.has(12, b"IHDR"), _size(data), tf.zeros([2], tf.int64)),
        (~regular, IRREGULAR),
        (~exif.found & is_turned, XMP),
        (~is_read, PROFILE),
        orientation=exif,
        is_grey=tf.equal(colour % _PALETTE_OR_COLOUR, 0),
        has_alpha=own_alpha | (masks.count > 0),
        profile=profile,
    )


def _size(data: HeaderBytes) -> tf.Tensor:
    return tf.reverse(big_endian(tf.reshape(data.window(16, 8), [2, 4])), [0])


def _no_profile() -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(b""), tf.constant(True)


@of_bytes
def _profile(body: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The profile in a chunk, decompressed; and whether it could be, bool."""
    name = HeaderBytes(tf.strings.join([body, b"\1"])).window(0, _NAME_BYTES)
    is_end = tf.equal(name, 0)
    # A zero ends the name, another byte is the method, always 0.
    skipped = tf.argmax(is_end) + 2
    compressed = part(body, skipped, tf.constant(_MOST_PROFILE_BYTES, tf.int64))
    is_read = tf.strings.length(body) <= _MOST_PROFILE_BYTES
    is_read &= tf.reduce_any(is_end) & (tf.strings.length(compressed) > 0)
    return tf.cond(
        is_read,
        lambda: (tf.io.decode_compressed(compressed, "ZLIB"), tf.constant(True)),
        lambda: (tf.constant(b""), tf.constant(False)),
    )


def _chunks(data: HeaderBytes) -> tuple[tf.Tensor, tf.Tensor]:
    """Walks from chunk to chunk; of a row of pixel chunks it keeps one.

    Returns:
      Where the chunks begin, int64 [n]; and whether the last one is the file's proper end.
    """

    def step(
        place: tf.Tensor, index: tf.Tensor, starts: tf.TensorArray, _: tf.Tensor
    ) -> tuple[tf.Tensor | tf.TensorArray, ...]:
        digits = data.window(place, 8)
        stride = big_endian(digits[:4]) + 12
        is_pixels = tf.reduce_all(tf.equal(digits[4:], list(b"IDAT")))
        together = tf.cond(
            is_pixels,
            lambda: _pixel_chunks(data, place, stride, digits),
            lambda: tf.constant(1, tf.int64),
        )
        after = place + stride * together
        fits = after <= data.size
        ends = tf.reduce_all(tf.equal(digits[4:], list(b"IEND")))
        return after, index + 1, starts.write(index, place), tf.stack([fits & ~ends, fits & ends])

    _, _, starts, state = tf.while_loop(
        lambda _place, _index, _starts, state: state[0],
        step,
        (
            tf.constant(8, tf.int64),
            0,
            tf.TensorArray(tf.int64, 0, dynamic_size=True, element_shape=[]),
            tf.constant([True, False]),
        ),
        parallel_iterations=1,
        maximum_iterations=_MOST_STEPS,
    )
    return starts.stack(), state[1]


def _pixel_chunks(
    data: HeaderBytes, place: tf.Tensor, stride: tf.Tensor, digits: tf.Tensor
) -> tf.Tensor:
    """How many chunks like the one at `place` follow each other, it included."""
    count = tf.clip_by_value((data.size - place) // stride, 1, _MOST_TOGETHER)
    windows = data.window(place + stride * tf.range(count), 8)
    alike = tf.reduce_all(tf.equal(windows, digits), axis=1)
    return tf.maximum(tf.reduce_sum(tf.math.cumprod(tf.cast(alike, tf.int64))), 1)
