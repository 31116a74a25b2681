"""The settings that travel from the config to the code that uses them, as typed records.

`pipeline.node_args` builds the record of each node (its names end in `Args`) from the
config; what the node runs reads it back. In between TFX carries it as JSON, which also
decides whether a node's cached outputs are reused: a record holds exactly the settings that
the node's result depends on. Light to import: no TensorFlow.

Example:
  >>> args = TransformArgs(image_size_px=299, max_pixels=100_000_000)
  >>> from_json(TransformArgs, to_json(args)) == args
  True
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeVar

from trainer.backbones.table import BACKBONES
from trainer.errors import ThawError
from trainer.fit_specs import FineTune, HeadFit, SearchPlan
from trainer.records import Json, Mismatch, Record, parse, to_json

SERVED_FILE = "serving.json"
"""An exported model's asset that holds its `ServedModel`."""

ARGS = "args"
"""Key of a training node's record in `custom_config`; where the node runs stands beside it."""

_R = TypeVar("_R", bound=Record)


def from_json(kind: type[_R], values: Json) -> _R:
    """Reads what `to_json` wrote.

    Raises:
      ThawError: naming each key that is unknown, missing or of another type.
    """
    try:
        record = parse(kind, json.dumps(values))
        problems = "; ".join(f"{key}: missing" for key in _missing(to_json(record), values))
    except Mismatch as error:
        problems = str(error)
    if problems:
        raise ThawError(
            f"a node's arguments do not match {kind.__name__}: {problems}.",
            to_do="The pipeline was made by another version of Thaw than runs this node. "
            "Use the same version for both: build the image again, then compile again.",
        )
    return record


def _missing(whole: Json, given: Json, path: str = "") -> Iterator[str]:
    """Keys that were filled in with a default: what was written has all of them."""
    for key, value in whole.items():
        if key not in given:
            yield f"{path}{key}"
        elif isinstance(value, dict):
            yield from _missing(value, given[key], f"{path}{key}.")


@dataclass(frozen=True)
class Augmentation(Record):
    """How far a training image may be changed. All zero: not at all.

    Attributes:
      flip: mirror half of the images, left to right.
      crop: largest share of the image's area that a random crop may cut away, 0 to 1.
      colour: how far brightness, contrast and saturation may go either way, as a share.
    """

    flip: bool = False
    crop: float = 0.0
    colour: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.flip or self.crop or self.colour)


NO_CHANGE = Augmentation()


@dataclass(frozen=True)
class Architecture(Record):
    """What the config says of a classifier's shape; the data decide the number of classes.

    Attributes:
      backbone: key of `BACKBONES`.
      image_size_px: side of the square images.
      head_units: width of the head's hidden layer.
      head_dropout: share of hidden units dropped while training.
    """

    backbone: str
    image_size_px: int
    head_units: int
    head_dropout: float

    def with_classes(self, num_classes: int) -> "ModelSpec":
        """The whole shape, once the number of classes is known."""
        return ModelSpec(**asdict(self), num_classes=num_classes)


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Architecture):
    """Everything that decides a classifier's shape.

    Attributes:
      num_classes: width of the logits.
    """

    num_classes: int


@dataclass(frozen=True)
class TrunkSpec(Record):
    """Everything, besides its weights, that decides what a trunk makes of an image.

    Attributes:
      backbone: key of `BACKBONES`.
      image_size_px: side of the square images.
      boundary: the last frozen block; its output is what is kept.
      dtype: of what is kept: `float16`, `bfloat16` or `float32`.
      precision: what the layers compute in: `float32`, `bfloat16` or `float16`.
    """

    backbone: str
    image_size_px: int
    boundary: str
    dtype: str
    precision: str

    @property
    def layer(self) -> str:
        """Name of the layer that ends the boundary block."""
        return BACKBONES[self.backbone].blocks[self.boundary]


@dataclass(frozen=True)
class ImageReading(Record):
    """How files become pictures, in training and serving alike. The defaults are the recipe's.

    Attributes:
      shape: how a picture becomes square: stretched, cropped to its middle, or padded with
        the background.
      background: red, green and blue, 0 to 255, behind transparent pixels.
      colour_profiles: whether the colours of an embedded ICC profile are converted to sRGB.
    """

    shape: Literal["stretch", "crop", "pad"] = "stretch"
    background: tuple[int, int, int] = (255, 255, 255)
    colour_profiles: Literal["convert", "ignore"] = "convert"


AS_IN_THE_RECIPE = ImageReading()


@dataclass(frozen=True)
class TransformArgs(Record):
    """Transform's settings, read by `trainer.preprocessing`.

    Attributes:
      image_size_px: side of the square images.
      max_pixels: files that claim more are not decoded.
      reading: how files become pictures.
    """

    image_size_px: int
    max_pixels: int
    reading: ImageReading = AS_IN_THE_RECIPE


@dataclass(frozen=True)
class ServedImages(Record):
    """What the served model makes of files: squares, none from a file that is too large.

    Attributes:
      size_px: side of the squares.
      max_pixels: files that claim more are refused.
      reading: how files become pictures.
      webp: whether WebP is among the formats. Its decoder is the one operation that servers
        older than `lowest_tensorflow` lack.
    """

    size_px: int
    max_pixels: int
    reading: ImageReading = AS_IN_THE_RECIPE
    webp: bool = False

    @property
    def lowest_tensorflow(self) -> str:
        """The oldest version of TensorFlow that knows all decoders of the model."""
        return _WEBP_TENSORFLOW if self.webp else _IMAGE_TENSORFLOW


@dataclass(frozen=True)
class ServedModel(Record):
    """An exported model's own record: what it needs, and how it reads files.

    Attributes:
      images: how it reads files.
      lowest_tensorflow: the oldest version of TensorFlow, or its server, that loads it.
    """

    images: ServedImages
    lowest_tensorflow: str


# `tf.io.decode_webp` is in the version that this project runs on, and was not tried in an
# older one; of the other operations, `DecodeImage` came last.
_WEBP_TENSORFLOW, _IMAGE_TENSORFLOW = "2.21", "2.3"


@dataclass(frozen=True)
class TrunkStoreArgs(Record):
    """Where TrunkFeatures keeps what it has computed for later runs.

    Attributes:
      path: folder of the store, local or on Google Cloud Storage.
      max_bytes: what was used longest ago is removed beyond this.
    """

    path: str
    max_bytes: int


@dataclass(frozen=True)
class TrunkFeaturesArgs(Record):
    """What the features depend on besides the images.

    Attributes:
      spec: the trunk and what is kept of its output.
      weights: of the backbone: `imagenet`, `random`, or the path of an `.h5` file.
      weights_fingerprint: of a weights file; only there to be noticed when it changes.
      seed: of random weights and of augmentation.
      augmented_views: how many augmented views of each training image come on top of the
        image as it is.
      augmentation: how far these differ from it.
    """

    spec: TrunkSpec
    weights: str
    weights_fingerprint: str
    seed: int
    augmented_views: int
    augmentation: Augmentation


@dataclass(frozen=True)
class TrainingArgs(Record):
    """What Tuner, HeadTrainer and FineTuner share.

    Attributes:
      model: the classifier's shape.
      global_batch_size: images in one step over all replicas.
      seed: decides the head's first weights and the order of the images.
      precision: what the layers compute in.
      cache: what the examples hold if TrunkFeatures wrote them; None: images.
      augmentation: of training images, on the fly; only if the examples hold images.
      max_pixels: the exported model refuses larger files.
      reading: how the exported model makes pictures of files.
      class_weights: see `trainer.fits.class_weights`.
    """

    model: Architecture
    global_batch_size: int
    seed: int
    precision: str
    cache: TrunkSpec | None
    augmentation: Augmentation
    max_pixels: int
    reading: ImageReading = field(default=AS_IN_THE_RECIPE, kw_only=True)
    class_weights: str | dict[str, float] = field(default="none", kw_only=True)


@dataclass(frozen=True)
class ExportingArgs(TrainingArgs):
    """What HeadTrainer and FineTuner share besides.

    Attributes:
      rejected_share: at most this share of the validation images counts as not known.
    """

    rejected_share: float = field(default=0.02, kw_only=True)


@dataclass(frozen=True)
class HeadTrainerArgs(ExportingArgs):
    """HeadTrainer's settings.

    Attributes:
      weights: of the backbone, where TrunkFeatures has not written them already.
      weights_fingerprint: as for `TrunkFeaturesArgs`.
      fit: fit 1.
      config: the part of the config that made the model, for the model's own record.
    """

    weights: str
    weights_fingerprint: str
    fit: HeadFit
    config: Json


@dataclass(frozen=True)
class FineTunerArgs(ExportingArgs):
    """FineTuner's settings.

    Attributes:
      fit: fit 2.
      config: as for `HeadTrainerArgs`.
    """

    fit: FineTune
    config: Json


@dataclass(frozen=True)
class TunerArgs(TrainingArgs):
    """The Tuner's settings.

    Attributes:
      weights: of the backbone; here, as below, so that trials of an earlier execution are
        reused only if they would come out the same.
      weights_fingerprint: as for `TrunkFeaturesArgs`.
      thaw_version: of this project.
      plan: what is searched. The head of `model` does not matter.
    """

    weights: str
    weights_fingerprint: str
    thaw_version: str
    plan: SearchPlan


@dataclass(frozen=True)
class CrossFitArgs(Record):
    """CrossFitter's settings.

    Attributes:
      head: fit 1 and what it needs; its cache must be set.
      fine_tune: fit 2 likewise.
      folds: number of parts that the images are divided into.
      enough_test_images: with at least so many test images nothing is done.
    """

    head: HeadTrainerArgs
    fine_tune: FineTunerArgs
    folds: int
    enough_test_images: int
