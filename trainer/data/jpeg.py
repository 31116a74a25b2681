"""A JPEG's header, up to the first scan, read inside a graph.

Segments: ITU-T T.81 annex B; EXIF and XMP: CIPA DC-008 §4.7.2; ICC: ICC.1:2022 annex B.4;
Adobe's segment: ITU-T T.872 §6.5.3.
"""

import tensorflow as tf

from trainer.data.exif import orientation, turned_by_xmp
from trainer.data.facts import IRREGULAR, OTHER_KIND, PROFILE, XMP, FileFacts, make_facts
from trainer.data.header_bytes import Blocks, HeaderBytes, any_of, big_endian, part, part_if
from trainer.data.rare import call_if, of_bytes

_START_OF_SCAN, _APP1, _APP2, _APP14 = 0xDA, 0xE1, 0xE2, 0xEE
# Baseline, extended and progressive frames; the others of C0 to CF, but for three markers
# that are no frames, are of processes that TensorFlow does not decode.
_FRAMES = (0xC0, 0xC1, 0xC2)
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
# TEM, RST0 to RST7, SOI, EOI: markers without a length, which belong elsewhere.
_BARE = (0x00, 0x01, *range(0xD0, 0xDA), 0xFF)

_EXIF, _XMP, _ICC, _ADOBE = (
    b"Exif\0\0",
    b"http://ns.adobe.com/xap/1.0/\0",
    b"ICC_PROFILE\0",
    b"Adobe",
)
_MOST_SEGMENTS = 1024


# What a file without any peculiarity has: JFIF's segment, a comment, tables, one frame of
# three kinds, a restart interval; in that much of the file, in so many segments.
_PLAIN = (0xFFE0, 0xFFFE, 0xFFDB, 0xFFC4, 0xFFC0, 0xFFC1, 0xFFC2, 0xFFDD)
_PLAIN_BYTES, _PLAIN_SEGMENTS = 4096, 16


def read_jpeg(content: tf.Tensor) -> FileFacts:
    """Reads the header of a string scalar that starts like a JPEG, of 26 bytes or more."""
    is_plain, facts = _read_plain(content)
    return call_if(~is_plain, _read_any, content, otherwise=lambda: facts)


def _read_plain(content: tf.Tensor) -> tuple[tf.Tensor, FileFacts]:
    """Whether a file has nothing but what every JPEG has, bool scalar; and its facts if so.

    Most files are such, and a loop over their segments would take longer than decoding a
    small one. So this looks up, for every byte, where a segment that begins there ends, and
    follows that from one to the next.
    """
    head = tf.io.decode_raw(tf.strings.substr(content, 0, _PLAIN_BYTES), tf.uint8)
    head = tf.cast(head, tf.int32)
    pairs = head[:-1] * 256 + head[1:]
    lengths = pairs[2:]
    last = tf.size(lengths) - 1
    after = tf.minimum(tf.range(last + 1) + 2 + lengths, last)
    places = [tf.constant(2)]
    for _ in range(_PLAIN_SEGMENTS - 1):
        places.append(tf.gather(after, places[-1]))
    starts = tf.stack(places)
    markers = tf.gather(pairs, starts)
    is_scan = tf.equal(markers, 0xFF00 + _START_OF_SCAN)
    scan = tf.argmax(is_scan, output_type=tf.int32)
    is_before = tf.range(_PLAIN_SEGMENTS) < scan
    is_known = any_of(markers, _PLAIN)
    is_known &= tf.gather(lengths, starts) >= 2
    is_frame = is_before & (markers >= 0xFFC0) & (markers <= 0xFFC2)
    # A segment's length is read where it ends, too: no table reaches as far as the last.
    frame = tf.reduce_sum(tf.where(is_frame, starts, 0))
    precision, components = tf.unstack(tf.gather(head, tf.minimum(frame + [4, 9], last)))
    size = tf.cast(tf.gather(pairs, tf.minimum(frame + [5, 7], last)), tf.int64)
    is_plain = tf.reduce_all(is_known | ~is_before) & tf.reduce_any(is_scan)
    is_plain &= tf.equal(tf.math.count_nonzero(is_frame), 1) & (starts[scan] < last)
    is_plain &= tf.equal(precision, 8) & (tf.equal(components, 3) | tf.equal(components, 1))
    return is_plain, make_facts(size, is_grey=tf.equal(components, 1))


@of_bytes
def _read_any(content: tf.Tensor) -> FileFacts:
    data = HeaderBytes(content)
    starts, regular = _segments(data)
    heads = data.window(starts, 4 + len(_XMP))
    markers, lengths = heads[:, 1], heads[:, 2] * 256 + heads[:, 3]

    def named(marker: int, word: bytes) -> tuple[Blocks, tf.Tensor]:
        """The segments that begin with a word, and what follows it in the last of them."""
        is_named = tf.equal(markers, marker) & (lengths >= 2 + len(word))
        is_word = tf.reduce_all(tf.equal(heads[:, 4 : 4 + len(word)], list(word)), axis=1)
        segments = Blocks(starts, is_named & is_word)
        length = tf.reduce_max(tf.where(segments.mask, lengths, 0)) - 2 - len(word)
        start = segments.place + 4 + len(word)
        return segments, part_if(segments.count > 0, content, start, length)

    frames = Blocks(starts, any_of(markers, _FRAMES))
    has_frame = regular & tf.equal(frames.count, 1)
    frame = data.window(frames.place, 10)
    components = frame[9]
    is_decoded = tf.equal(frame[4], 8) & any_of(components, (1, 3, 4))
    is_decoded &= ~tf.reduce_any(any_of(markers, _OTHER_FRAMES))
    is_cmyk = tf.equal(components, 4)
    inks, _ = named(_APP14, _ADOBE)
    cameras, camera = named(_APP1, _EXIF)
    packets, packet = named(_APP1, _XMP)
    profiles, profile = named(_APP2, _ICC)
    exif = orientation(camera)
    return make_facts(
        tf.where(has_frame, big_endian(tf.reshape(frame[5:9], [2, 2])), [0, 0]),
        (~has_frame | (cameras.count > 1), IRREGULAR),
        # Without Adobe's segment TensorFlow does not invert inks, everybody else does.
        (~is_decoded | (is_cmyk & tf.not_equal(inks.count, 1)), OTHER_KIND),
        (~exif.found & ((packets.count > 1) | turned_by_xmp(packet)), XMP),
        ((profiles.count > 1) | (is_cmyk & (profiles.count > 0)), PROFILE),
        orientation=exif,
        is_grey=tf.equal(components, 1),
        # A number and a count of chunks stand before it.
        profile=part(profile, tf.constant(2, tf.int64), tf.constant(2**31, tf.int64)),
    )


def _segments(data: HeaderBytes) -> tuple[tf.Tensor, tf.Tensor]:
    """Walks from segment to segment.

    Returns:
      Where each begins, int64 [n], the first scan's included; and whether all are regular.
    """

    def step(
        place: tf.Tensor, index: tf.Tensor, starts: tf.TensorArray, _: tf.Tensor
    ) -> tuple[tf.Tensor | tf.TensorArray, ...]:
        digits = data.window(place, 4)
        length = digits[2] * 256 + digits[3]
        after = place + 2 + length
        regular = tf.equal(digits[0], 0xFF) & (length >= 2) & (after <= data.size)
        regular &= ~any_of(digits[1], _BARE)
        goes_on = regular & tf.not_equal(digits[1], _START_OF_SCAN)
        return after, index + 1, starts.write(index, place), tf.stack([goes_on, regular])

    _, _, starts, state = tf.while_loop(
        lambda _place, _index, _starts, state: state[0],
        step,
        (
            tf.constant(2, tf.int64),
            0,
            tf.TensorArray(tf.int64, 0, dynamic_size=True, element_shape=[]),
            tf.constant([True, True]),
        ),
        parallel_iterations=1,
        maximum_iterations=_MOST_SEGMENTS,
    )
    return starts.stack(), state[1] & ~state[0]
