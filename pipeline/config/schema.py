"""The one config: typed, validated, the same for every runner.

Light to import: the command line checks a config before anything heavy is loaded.
"""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from pipeline.config.beam import Beam
from pipeline.config.cluster import Cluster
from pipeline.config.section import Section
from trainer.backbones.table import BACKBONES
from trainer.data.regular_files import DEFAULT_MAX_FILE_BYTES, LARGEST_MAX_FILE_BYTES

BackboneName = Literal[
    "inception_v3", "xception", "mobilenet_v2", "efficientnet_v2_b0", "resnet50_v2"
]


Precision = Literal["float32", "bfloat16", "float16"]
Share = Annotated[float, Field(ge=0, lt=1)]
RateRange = tuple[PositiveFloat, PositiveFloat]

# Far above what anybody needs, and below what a library cannot count.
MAX_PARTS = 1_000_000
MAX_EPOCHS = 100_000
MAX_UNITS = 100_000
MAX_WAIT_SECS = 30 * 86_400

# Of an augmentation. Far below it 1 + share rounds to 1, and tf.image refuses an empty range.
SMALLEST_CHANGE = 0.001


class Splits(Section):
    """How images are divided, in parts: 70, 15, 15 and 14, 3, 3 mean the same.

    A file's content decides its split, so that the same bytes never stand in two.
    """

    train: PositiveInt = Field(70, le=MAX_PARTS, description="Both fits learn from these.")
    val: PositiveInt = Field(
        15, le=MAX_PARTS, description="Early stopping of both fits watches these."
    )
    test: PositiveInt = Field(
        15, le=MAX_PARTS, description="The gate judges on these; no fit ever sees them."
    )


class Data(Section):
    """Where the images are and which of them are taken."""

    images: str | None = Field(
        None,
        description="Folder with one folder of images for each class. `thaw run --images` sets it.",
    )
    splits: Splits = Field(default_factory=Splits, description="Train, val and test.")
    max_pixels: PositiveInt = Field(
        100_000_000,
        le=1_000_000_000,
        description="Larger images are set aside by their header, before they are decoded.",
    )
    max_file_bytes: PositiveInt = Field(
        DEFAULT_MAX_FILE_BYTES,
        le=LARGEST_MAX_FILE_BYTES,
        description="Larger files are set aside unread.",
    )


class Backbone(Section):
    """The pre-trained network."""

    name: BackboneName = Field("inception_v3", description="Which network.")
    weights: str = Field(
        "imagenet",
        min_length=1,
        description=(
            "imagenet (downloaded once by tf_keras), random (calibrated on the training "
            "images; for tests), or the path of an .h5 weights file without top, local or gs://."
        ),
    )
    image_size_px: PositiveInt | None = Field(
        None,
        le=2048,
        description="Side of the square images. Unset: what the backbone was pre-trained at.",
    )


class Features(Section):
    """The output of the frozen trunk, computed once per image instead of in every epoch."""

    cache: bool = Field(
        True,
        strict=True,
        description="Whether both fits read the trunk's output. If not, every epoch runs it again.",
    )
    dtype: Precision = Field(
        "float16", description="What it is kept in. float16 takes half the room of float32."
    )


class Augmentation(Section):
    """Random changes to training images. Nothing changes unless one of them is asked for."""

    flip: bool = Field(False, strict=True, description="Mirror half of the images.")
    crop: NonNegativeFloat = Field(
        0.0, le=0.9, description="Largest share of an image's area that is cut away."
    )
    colour: NonNegativeFloat = Field(
        0.0, le=0.9, description="How far brightness, contrast and saturation go, as a share."
    )
    views: PositiveInt = Field(
        3,
        le=99,
        description=(
            "With features.cache: augmented views kept of each training image, besides the "
            "image itself. The epochs take turns over them."
        ),
    )

    @field_validator("crop", "colour")
    @classmethod
    def _none_or_some(cls, share: float) -> float:
        if 0 < share < SMALLEST_CHANGE:
            raise PydanticCustomError(
                "smallest_change", f"It should be 0, or {SMALLEST_CHANGE} or more."
            )
        return share


class Head(Section):
    """The new layers: global average pooling, one hidden layer, logits."""

    units: PositiveInt = Field(1024, le=MAX_UNITS, description="Width of the hidden layer.")
    dropout: NonNegativeFloat = Field(
        0.0, lt=1, description="Share of hidden units dropped while training."
    )


class HeadFit(Section):
    """Fit 1: the new head learns on the frozen backbone, with RMSprop."""

    learning_rate: PositiveFloat = Field(1e-3, description="Of RMSprop.")
    max_epochs: PositiveInt = Field(
        50, le=MAX_EPOCHS, description="Early stopping usually ends the fit before."
    )
    patience: PositiveInt = Field(
        5, le=MAX_EPOCHS, description="Epochs without a better validation loss before stopping."
    )


class FineTune(Section):
    """Fit 2: the blocks above `boundary` thaw and follow the data, slowly."""

    boundary: str | None = Field(
        None,
        description=(
            "Last frozen layer, by name. Everything after it trains. "
            "Unset: below the backbone's top two blocks (mixed8 of inception_v3)."
        ),
    )
    learning_rate: PositiveFloat = Field(
        1e-4, description="Of SGD. Low on purpose: these weights are good already."
    )
    momentum: NonNegativeFloat = Field(0.9, lt=1, description="Of SGD.")
    max_epochs: PositiveInt = Field(
        50, le=MAX_EPOCHS, description="Early stopping usually ends the fit before."
    )
    patience: PositiveInt = Field(
        5, le=MAX_EPOCHS, description="Epochs without a better validation loss before stopping."
    )
    batch_norm: Literal["frozen", "train"] = Field(
        "frozen",
        description="Whether the statistics of thawed BatchNorm layers follow the data.",
    )


class Fits(Section):
    """The two fits of the recipe."""

    head: HeadFit = Field(default_factory=HeadFit, description="Fit 1.")
    fine_tune: FineTune = Field(default_factory=FineTune, description="Fit 2.")


class Tuner(Section):
    """A search for better values before the fits, judged on the validation split.

    What head, fits and train say is tried first; the best values found go over it.
    """

    enabled: bool = Field(False, strict=True, description="Whether there is a search.")
    algorithm: Literal["hyperband", "bayesian"] = Field(
        "hyperband",
        description=(
            "How values of the head are chosen. hyperband stops poor trials after few epochs; "
            "bayesian runs each to its end and learns from all, at one to two seconds more a trial."
        ),
    )
    head_trials: PositiveInt = Field(
        30, le=10_000, description="Of the head, each on a fixed backbone: a second or less."
    )
    max_epochs: PositiveInt = Field(
        12,
        le=MAX_EPOCHS,
        description="Of a trial of the head. With hyperband only the best get as many.",
    )
    head_learning_rates: RateRange = Field(
        (1e-4, 1e-2), description="Lowest and highest learning rate of fit 1."
    )
    units: list[Annotated[int, Field(gt=0, le=MAX_UNITS)]] = Field(
        [256, 512, 1024], description="Widths of the hidden layer, besides head.units."
    )
    dropouts: list[Share] = Field(
        [0.0, 0.25, 0.5], description="Shares of hidden units dropped, besides head.dropout."
    )
    label_smoothings: list[Share] = Field(
        [0.0, 0.05, 0.1], description="Besides train.label_smoothing."
    )
    fine_tune_trials: NonNegativeInt = Field(
        4, le=1000, description="Of fit 2, from the best head on. 0: its values are not tuned."
    )
    fine_tune_max_epochs: PositiveInt = Field(5, le=MAX_EPOCHS, description="Of a trial of fit 2.")
    fine_tune_learning_rates: RateRange = Field(
        (1e-5, 1e-2), description="Lowest and highest learning rate of fit 2."
    )
    boundaries: list[str] = Field(
        [],
        description=(
            "Boundaries to try, besides fits.fine_tune.boundary. The features are then kept at "
            "the lowest of them."
        ),
    )

    @field_validator("head_learning_rates", "fine_tune_learning_rates")
    @classmethod
    def _lowest_first(cls, rates: RateRange) -> RateRange:
        if rates[0] >= rates[1]:
            raise PydanticCustomError("rate_range", "It should be [lowest, highest].")
        return rates


class Train(Section):
    """What both fits share."""

    global_batch_size: PositiveInt = Field(
        32, le=1_000_000, description="Images in a step, over all replicas."
    )
    workers: PositiveInt = Field(
        1,
        le=1000,
        description=(
            "Processes that share each fit: here, in a job of Kubernetes, or on Vertex AI. The "
            "weights do not depend on it but for rounding; docs/workers.md says when they do."
        ),
    )
    start_secs: PositiveFloat = Field(
        600,
        le=MAX_WAIT_SECS,
        description="With several workers: how long they may take to meet before it fails.",
    )
    stall_secs: PositiveFloat = Field(
        600,
        le=MAX_WAIT_SECS,
        description="With several workers: how long they may stand still before it fails.",
    )
    max_restarts: NonNegativeInt = Field(
        3,
        le=100,
        description="How often a fit that lost a worker goes on from its last completed epoch.",
    )
    label_smoothing: NonNegativeFloat = Field(
        0.0, lt=1, description="Share of the label that is spread over all classes, in the loss."
    )
    seed: NonNegativeInt = Field(
        0,
        le=2**32 - 1,
        description="Decides first weights and order; the same seed gives the same weights.",
    )


class Gate(Section):
    """When a candidate is promoted: judged on the test split, against the head-only baseline."""

    min_gain: NonNegativeFloat = Field(
        0.0, lt=1, description="Accuracy must gain more than this (0.01: one point)."
    )
    min_accuracy: NonNegativeFloat | None = Field(
        None, le=1, description="Accuracy must be at least this, if set."
    )
    top_k: PositiveInt = Field(
        5,
        le=1_000_000,
        description="Top-k accuracy is reported for this k; at most the number of classes.",
    )


class Config(Section):
    """Everything a run depends on."""

    name: str = Field(
        "thaw",
        pattern=r"^[a-z][a-z0-9-]{0,62}$",
        description="Of the pipeline and of the served model: lower case, digits, hyphens.",
    )
    data: Data = Field(default_factory=Data, description="Images.")
    backbone: Backbone = Field(default_factory=Backbone, description="Pre-trained network.")
    precision: Precision = Field(
        "float32",
        description=(
            "What the trunk and both fits compute in; weights are float32 always. bfloat16 "
            "is for processors that have it, float16 for GPUs."
        ),
    )
    features: Features = Field(default_factory=Features, description="The trunk's output.")
    augmentation: Augmentation = Field(
        default_factory=Augmentation, description="Changes to training images."
    )
    head: Head = Field(default_factory=Head, description="New layers.")
    fits: Fits = Field(default_factory=Fits, description="The two fits.")
    tuner: Tuner = Field(default_factory=Tuner, description="The search for better values.")
    train: Train = Field(default_factory=Train, description="Shared by both fits.")
    gate: Gate = Field(default_factory=Gate, description="The promotion rule.")
    beam: Beam = Field(default_factory=Beam, description="Data steps.")
    cluster: Cluster = Field(default_factory=Cluster, description="Kubeflow or Vertex AI.")

    @model_validator(mode="after")
    def _fill_in_and_check(self) -> Self:
        """Puts the backbone's own defaults where nothing is set, so that the effective
        config says everything, and refuses what the backbone cannot do.
        """
        backbone = BACKBONES[self.backbone.name]
        size_px = self.backbone.image_size_px or backbone.default_size_px
        boundary = self.fits.fine_tune.boundary or backbone.default_boundary
        problems = []
        if size_px < backbone.min_size_px:
            problems.append(
                f"backbone.image_size_px: {size_px} is too small for {backbone.name}: "
                f"at least {backbone.min_size_px}."
            )
        for key, name in [
            ("fits.fine_tune.boundary", boundary),
            *(("tuner.boundaries", name) for name in self.tuner.boundaries),
        ]:
            if name not in backbone.boundaries:
                problems.append(
                    f"{key}: {name!r} is not a block of {backbone.name}.\n"
                    f"  Blocks: {', '.join(backbone.boundaries)}. The recipe's choice is "
                    f"{backbone.default_boundary} (the top two blocks train)."
                )
        if self.tuner.enabled and not self.features.cache:
            problems.append(
                "tuner.enabled: needs features.cache: trials are made of the trunk's output, "
                "or each would run the whole backbone.\n"
                "  Set features.cache to true, or tuner.enabled to false."
            )
        if problems:
            raise PydanticCustomError("impossible", "{problems}", {"problems": "\n".join(problems)})
        # Frozen for everyone else; nothing has seen these objects yet.
        object.__setattr__(
            self, "backbone", self.backbone.model_copy(update={"image_size_px": size_px})
        )
        fine_tune = self.fits.fine_tune.model_copy(update={"boundary": boundary})
        object.__setattr__(self, "fits", self.fits.model_copy(update={"fine_tune": fine_tune}))
        return self
