"""Which image files are read, and where each format is decoded. Imports nothing heavy.

A format that TensorFlow decodes as people see it stays as it is, and the served model
decodes it from the same bytes. The others are re-encoded as PNG, without loss, by
`trainer.data.transcode`. Files of the first kind may need that too: `trainer.data.facts`
decides file by file.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageFormat:
    """One row of the table.

    Attributes:
      name: what Pillow calls the format.
      extensions: lower case, with the dot.
      in_graph: whether TensorFlow decodes the format.
    """

    name: str
    extensions: tuple[str, ...]
    in_graph: bool


FORMATS = (
    ImageFormat("JPEG", (".jpg", ".jpeg"), in_graph=True),
    ImageFormat("MPO", (), in_graph=True),  # a JPEG with more pictures behind it
    ImageFormat("PNG", (".png", ".apng"), in_graph=True),
    ImageFormat("GIF", (".gif",), in_graph=True),
    ImageFormat("BMP", (".bmp",), in_graph=True),
    ImageFormat("WEBP", (".webp",), in_graph=True),
    ImageFormat("TIFF", (".tif", ".tiff"), in_graph=False),
    ImageFormat("AVIF", (".avif",), in_graph=False),
    ImageFormat("HEIF", (".heic", ".heif"), in_graph=False),
)

NAMES = frozenset(row.name for row in FORMATS)
EXTENSIONS = frozenset(extension for row in FORMATS for extension in row.extensions)

# As in the table.
WEBP = "WEBP"


def has_image_name(name: str) -> bool:
    """Whether the file name ends in one of the extensions that are read."""
    return name.lower().endswith(tuple(EXTENSIONS))
