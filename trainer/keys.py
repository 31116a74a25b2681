"""Names shared by everything that reads or writes examples: features, splits, files."""

# Features of an ingested example.
IMAGE_BYTES = "image_bytes"  # the file as it is: JPEG, PNG, GIF or BMP
LABEL = "label"  # class name: the folder's
ID = "id"  # SHA-256 of the file, hexadecimal
PATH = "path"  # where the file was read
HEIGHT = "height_px"
WIDTH = "width_px"
GROUP = "group"  # of images that belong together; empty: the image is alone
WEIGHT = "weight"  # float32: how much the image counts in the losses

# Features that Transform adds.
IMAGE = "image"  # uint8 [size, size, 3], serialized: what the model sees, no loss
LABEL_ID = "label_id"  # int64, position among the sorted class names

# The feature that TrunkFeatures puts in place of the image.
TRUNK = "trunk"  # [height, width, channels], serialized: what the trunk made of the image

TRAIN = "train"
VAL = "val"
TEST = "test"
SPLITS = (TRAIN, VAL, TEST)


def split_folder(split: str) -> str:
    """Name of the folder, inside an examples artifact, that holds a split: as TFX names it."""
    return f"Split-{split}"
