"""From encoded bytes to the pixels a model sees: one path for training and serving."""

import tensorflow as tf

from trainer import features

FEATURE_SPEC = {
    features.IMAGE: tf.io.FixedLenFeature([], tf.string),
    features.LABEL_ID: tf.io.FixedLenFeature([], tf.int64),
}


def _number(image_bytes: tf.Tensor, offset: int, num_bytes: int, little: bool) -> tf.Tensor:
    """Reads an unsigned integer from a file's header; int64 scalar."""
    digits = tf.io.decode_raw(tf.strings.substr(image_bytes, offset, num_bytes), tf.uint8)
    places = range(num_bytes) if little else reversed(range(num_bytes))
    return tf.reduce_sum(
        tf.cast(digits, tf.int64) * tf.constant([256**p for p in places], tf.int64)
    )


def _starts_with(image_bytes: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(image_bytes, 0, len(magic)), magic)


def header_pixels(image_bytes: tf.Tensor) -> tf.Tensor:
    """Returns how many pixels a file claims to hold, from its header alone.

    A 24 kB PNG can decode to half a gigabyte; this asks before anything is decoded.
    Works inside a graph, so that a served model refuses such a file too. Offsets: PNG
    (ISO/IEC 15948 §11.2.2), GIF89a §18, BITMAPINFOHEADER; JPEG through TensorFlow.

    Args:
      image_bytes: string scalar: a JPEG, PNG, GIF or BMP file.

    Returns:
      int64 scalar; 0 for a file in none of these formats.
    """

    def jpeg() -> tf.Tensor:
        return tf.reduce_prod(tf.io.extract_jpeg_shape(image_bytes, tf.int64)[:2])

    def png() -> tf.Tensor:
        return _number(image_bytes, 16, 4, little=False) * _number(image_bytes, 20, 4, little=False)

    def gif() -> tf.Tensor:
        return _number(image_bytes, 6, 2, little=True) * _number(image_bytes, 8, 2, little=True)

    def bmp() -> tf.Tensor:
        # The height is signed: negative when the rows run from top to bottom.
        height = _number(image_bytes, 22, 4, little=True)
        height = tf.where(height >= 2**31, 2**32 - height, height)
        return _number(image_bytes, 18, 4, little=True) * height

    return tf.case(
        [
            (_starts_with(image_bytes, b"\xff\xd8\xff"), jpeg),
            (_starts_with(image_bytes, b"\x89PNG\r\n\x1a\n"), png),
            (_starts_with(image_bytes, b"GIF8"), gif),
            (_starts_with(image_bytes, b"BM"), bmp),
        ],
        default=lambda: tf.constant(0, tf.int64),
        exclusive=True,
    )


def decode_and_resize(image_bytes: tf.Tensor, size_px: int, max_pixels: int) -> tf.Tensor:
    """Decodes one file and resizes it to what the model sees.

    Bilinear with antialiasing, rounded back to uint8, so that the pixels can be stored
    between two steps without loss. The aspect ratio is not kept, as in the recipe.

    Args:
      image_bytes: string scalar: a JPEG, PNG, GIF (its first frame) or BMP file.
      size_px: side of the square result.
      max_pixels: refuse files whose header claims more.

    Returns:
      uint8 [size_px, size_px, 3].

    Raises:
      tf.errors.InvalidArgumentError: on a file that is no image, or too large.
    """
    pixels = header_pixels(image_bytes)
    checks = [
        tf.debugging.assert_greater(
            pixels, tf.constant(0, tf.int64), "not a JPEG, PNG, GIF or BMP file"
        ),
        tf.debugging.assert_less_equal(
            pixels, tf.constant(max_pixels, tf.int64), f"more than {max_pixels} pixels"
        ),
    ]
    # In eager mode the assertions above have raised already and are None.
    with tf.control_dependencies([check for check in checks if check is not None]):
        image = tf.io.decode_image(tf.identity(image_bytes), channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    image = tf.image.resize(image, [size_px, size_px], antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)


def decode_batch(image_bytes: tf.Tensor, size_px: int, max_pixels: int) -> tf.Tensor:
    """Decodes many files: string [batch] to uint8 [batch, size_px, size_px, 3]."""
    return tf.map_fn(
        lambda one: decode_and_resize(one, size_px, max_pixels),
        image_bytes,
        fn_output_signature=tf.TensorSpec([size_px, size_px, 3], tf.uint8),
        parallel_iterations=8,
    )


def serialize_image(image: tf.Tensor) -> tf.Tensor:
    """Packs uint8 [size, size, 3] into a string scalar: 268 kB at 299 px, no loss."""
    return tf.io.serialize_tensor(image)


def parse_image(serialized: tf.Tensor, size_px: int) -> tf.Tensor:
    """Undoes `serialize_image`: uint8 [size_px, size_px, 3]."""
    image = tf.io.parse_tensor(serialized, tf.uint8)
    return tf.ensure_shape(image, [size_px, size_px, 3])
