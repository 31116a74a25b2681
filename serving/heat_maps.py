"""Where a pushed model sees a class: Grad-CAM, laid over what the model makes of a file."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import Image

from serving.model import ImageRefused, PushedModel
from trainer.data.images import decode_and_resize
from trainer.process.quiet import quiet_stderr
from trainer.specs import ServedImages

# Of the colour where the heat is highest.
_OPACITY = 0.65


@dataclass(frozen=True)
class HeatMap:
    """One image as a model sees it.

    Attributes:
      picture: uint8 [size, size, 3], the model's input.
      heat: float32 [height, width] of the boundary's feature map, 0 to 1.
    """

    picture: np.ndarray
    heat: np.ndarray


def explain(model: PushedModel, content: bytes, label_id: int) -> HeatMap:
    """Asks a model where it sees a class.

    Args:
      model: loaded; its version must have heat maps.
      content: of an image file.
      label_id: of the class.

    Raises:
      ImageRefused: if the file cannot be read, or the model has no heat maps.
    """
    if model.explain is None or model.images is None:
        raise ImageRefused("the model was exported by a version without heat maps")
    content = model.decodable(content)
    images = model.images
    try:
        with quiet_stderr():
            answer = model.explain(
                image_bytes=tf.constant([content]), label_id=tf.constant([label_id], tf.int64)
            )
            return heat_map_of(content, images, answer["heat_map"][0].numpy())
    except tf.errors.OpError as error:
        raise ImageRefused("the image data is damaged") from error


def heat_map_of(content: bytes, images: ServedImages, heat: np.ndarray) -> HeatMap:
    """Puts what a model has answered together with what it saw.

    Args:
      content: of a file that the model decodes.
      images: how it reads files.
      heat: float32 [height, width], its answer.

    Raises:
      tf.errors.OpError: if the file cannot be decoded.
    """
    picture = decode_and_resize(
        tf.constant(content), images.size_px, images.max_pixels, images.reading, images.webp
    )
    return HeatMap(picture.numpy(), np.nan_to_num(heat))


def overlay(heat_map: HeatMap, side_px: int) -> Image.Image:
    """The picture with its heat in colour, `side_px` wide and high."""
    import matplotlib

    size = (side_px, side_px)
    picture = Image.fromarray(heat_map.picture).resize(size, Image.Resampling.BICUBIC)
    heat = Image.fromarray((255 * heat_map.heat).astype(np.uint8))
    heat = heat.resize(size, Image.Resampling.BICUBIC)
    strength = np.asarray(heat, np.float32)[..., np.newaxis] / 255
    colour = 255 * matplotlib.colormaps["inferno"](strength[..., 0])[..., :3]
    mixed = np.asarray(picture) * (1 - _OPACITY * strength) + colour * _OPACITY * strength
    return Image.fromarray(mixed.astype(np.uint8))
