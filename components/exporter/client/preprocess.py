"""Reads an image file as the model was trained to see it. Needs numpy and Pillow alone."""

import io

import numpy as np
from PIL import Image, ImageCms, ImageOps

# Of this model: side of its images; stretch, crop or pad; behind transparency; profiles.
SIZE_PX, SHAPE, BACKGROUND, CONVERTS = 224, "stretch", (255, 255, 255), True


def read_image(path: str) -> np.ndarray:
    """Returns uint8 [1, SIZE_PX, SIZE_PX, 3]: RGB, upright, in sRGB."""
    image: Image.Image = Image.open(path)
    profile, orientation = image.info.get("icc_profile"), image.getexif().get(0x0112, 1)
    # A large JPEG is scaled down while it is decoded, to no less than twice the size.
    drafted = image.draft("RGB", (2 * SIZE_PX, 2 * SIZE_PX))
    width, height = drafted[1][2:] if drafted else image.size
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    columns, rows, left, top = SIZE_PX, SIZE_PX, 0.0, 0.0
    if SHAPE == "crop":
        left, top = ((one - min(width, height)) / 2 for one in (width, height))
    if SHAPE == "pad":
        scale = SIZE_PX / max(width, height)
        columns, rows = (max(1, round(one * scale)) for one in (width, height))
    # Band by band as float32: Pillow would round between its two passes.
    bands = [one.convert("F") for one in image.convert("RGB").split()]
    box = (left, top, width - left, height - top)
    bands = [one.resize((columns, rows), Image.Resampling.BILINEAR, box) for one in bands]
    pixels = np.stack([np.asarray(one) for one in bands], axis=-1)
    square = Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))
    if CONVERTS and profile:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() == "RGB":
            ImageCms.profileToProfile(square, source, ImageCms.createProfile("sRGB"), inPlace=True)
    square.getexif()[0x0112] = orientation
    square = ImageOps.exif_transpose(square)
    whole = Image.new("RGB", (SIZE_PX, SIZE_PX), BACKGROUND)
    whole.paste(square, ((SIZE_PX - square.width) // 2, (SIZE_PX - square.height) // 2))
    return np.asarray(whole)[np.newaxis]
