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
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from pipeline.config.beam import Beam
from pipeline.config.cluster import Cluster
from pipeline.config.data import Data
from pipeline.config.export import Export
from pipeline.config.fits import Fits, Head
from pipeline.config.gate import Gate
from pipeline.config.limits import (
    MAX_WAIT_SECS,
    SMALLEST_CHANGE,
)
from pipeline.config.section import Section
from pipeline.config.tuner import Tuner
from trainer.backbones.table import BACKBONES
from trainer.store.uris import is_remote, scheme_of

BackboneName = Literal[
    "inception_v3",
    "xception",
    "mobilenet_v2",
    "efficientnet_v2_b0",
    "efficientnet_v2_b3",
    "efficientnet_v2_s",
    "convnext_tiny",
    "resnet50_v2",
    "resnet_rs50",
]
Precision = Literal["float32", "bfloat16", "float16"]
ClassWeight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
ClassWeights = Literal["none", "balanced"] | dict[str, ClassWeight]


class Backbone(Section):
    """The pre-trained network that the classifier is built on."""

    name: BackboneName = Field("inception_v3", description="Architecture of the backbone.")
    weights: str = Field(
        "imagenet",
        min_length=1,
        description=(
            "Initial weights: imagenet (downloaded once by tf_keras), random (calibrated on the "
            "training images; for tests), or the path of an .h5 weights file without the "
            "classifier layers, local or on gs://."
        ),
    )
    image_size_px: PositiveInt | None = Field(
        None,
        le=2048,
        validate_default=True,
        description=(
            "Side of the square images that the network is given. If unset: the size that the "
            "backbone was pre-trained on (299 for inception_v3)."
        ),
    )

    @field_validator("image_size_px")
    @classmethod
    def _fill_in(cls, size_px: int | None, info: ValidationInfo) -> int | None:
        """Puts the backbone's own size where none is set; a wrong name has its own error."""
        name = info.data.get("name")
        return size_px or (BACKBONES[name].default_size_px if name else None)


class Features(Section):
    """The output of the frozen trunk, computed once per image instead of in every epoch."""

    cache: bool = Field(
        True,
        strict=True,
        description=(
            "Train both fits on the cached output of the trunk. If false, the trunk runs in "
            "every epoch."
        ),
    )
    dtype: Precision = Field(
        "float16",
        description="Data type of the cached output. float16 takes half the space of float32.",
    )
    store: str = Field(
        "auto",
        min_length=1,
        description=(
            "Folder, local or gs://, that keeps the output for later runs, by the images' pixels: "
            "new images then cost only themselves. auto: trunk_store in the output folder of runs "
            "on this machine, and nothing on a cluster; none: nothing is kept."
        ),
    )
    store_gb: PositiveFloat = Field(
        50.0,
        description=(
            "The store's largest size, in 10^9 bytes: after each run, what was used longest ago is "
            "removed. What is kept stands in the artifacts of each run as well."
        ),
    )

    @field_validator("store")
    @classmethod
    def _is_local_or_gs(cls, path: str) -> str:
        if is_remote(path) and scheme_of(path) != "gs":
            raise ValueError("must be a local folder or gs://…, which TensorFlow reads and writes")
        return path


class Augmentation(Section):
    """Random changes to the training images. By default none is made."""

    flip: bool = Field(False, strict=True, description="Mirror half of the images, left to right.")
    crop: NonNegativeFloat = Field(
        0.0, le=0.9, description="Largest share of an image's area that is cropped away."
    )
    colour: NonNegativeFloat = Field(
        0.0,
        le=0.9,
        description="Largest relative change of brightness, contrast and saturation.",
    )
    views: PositiveInt = Field(
        3,
        le=99,
        description=(
            "Number of augmented views stored for each training image, besides the image itself. "
            "The epochs cycle through them. Used with features.cache only."
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


class Train(Section):
    """Settings that both fits share."""

    global_batch_size: PositiveInt = Field(
        32, le=1_000_000, description="Images per training step, over all replicas."
    )
    class_weights: ClassWeights = Field(
        "none",
        description=(
            "How much the images of a class count in the losses: none (all alike), balanced (each "
            "class has the same share), or weights by class name, such as {rare: 3}; other classes "
            "weigh 1."
        ),
    )
    workers: PositiveInt = Field(
        1,
        le=1000,
        description=(
            "Number of processes that share each fit: on this machine, in a Kubernetes job or on "
            "Vertex AI. Apart from rounding the weights do not depend on it; docs/workers.md lists "
            "the exceptions."
        ),
    )
    start_secs: PositiveFloat = Field(
        600,
        le=MAX_WAIT_SECS,
        description=(
            "Seconds to wait for all workers to connect before the job fails (train.workers > 1)."
        ),
    )
    stall_secs: PositiveFloat = Field(
        600,
        le=MAX_WAIT_SECS,
        description=(
            "Seconds without progress after which the workers are restarted (train.workers > 1)."
        ),
    )
    max_restarts: NonNegativeInt = Field(
        3,
        le=100,
        description=(
            "How often a fit that lost a worker is resumed from its last completed epoch before "
            "the job fails."
        ),
    )
    label_smoothing: NonNegativeFloat = Field(
        0.0,
        lt=1,
        description="Share of each label that the loss spreads over all classes.",
    )
    seed: NonNegativeInt = Field(
        0,
        le=2**32 - 1,
        description=(
            "Seed of the head's initial weights and of the order of the images. The same seed "
            "gives the same weights."
        ),
    )


class Config(Section):
    """Everything that a run depends on."""

    name: str = Field(
        "thaw",
        pattern=r"^[a-z][a-z0-9-]{0,62}$",
        description=(
            "Name of the pipeline and of the served model: lower-case letters, digits and "
            "hyphens, starting with a letter."
        ),
    )
    data: Data = Field(default_factory=Data, description="The images.")
    backbone: Backbone = Field(default_factory=Backbone, description="The pre-trained network.")
    precision: Precision = Field(
        "float32",
        description=(
            "Data type that the trunk and both fits compute in; weights are always float32. Use "
            "bfloat16 on processors that support it (AMX), float16 on GPUs."
        ),
    )
    features: Features = Field(default_factory=Features, description="The cached trunk output.")
    augmentation: Augmentation = Field(
        default_factory=Augmentation, description="Random changes to the training images."
    )
    head: Head = Field(default_factory=Head, description="The new layers.")
    fits: Fits = Field(default_factory=Fits, validate_default=True, description="The two fits.")
    tuner: Tuner = Field(default_factory=Tuner, description="The hyperparameter search.")
    train: Train = Field(default_factory=Train, description="Settings of both fits.")
    export: Export = Field(default_factory=Export, description="The exported model.")
    gate: Gate = Field(default_factory=Gate, description="The promotion rule.")
    beam: Beam = Field(default_factory=Beam, description="How Beam runs the data steps.")
    cluster: Cluster = Field(default_factory=Cluster, description="Where a cluster runs the nodes.")

    @field_validator("fits")
    @classmethod
    def _fill_in_boundary(cls, fits: Fits, info: ValidationInfo) -> Fits:
        """Puts the backbone's own boundary where none is set: the effective config is complete."""
        backbone = info.data.get("backbone")
        if fits.fine_tune.boundary or backbone is None:
            return fits
        boundary = BACKBONES[backbone.name].default_boundary
        fine_tune = fits.fine_tune.model_copy(update={"boundary": boundary})
        return fits.model_copy(update={"fine_tune": fine_tune})

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Rejects what the backbone cannot do."""
        backbone = BACKBONES[self.backbone.name]
        size_px = self.backbone.image_size_px or backbone.default_size_px
        problems = []
        if size_px < backbone.min_size_px:
            problems.append(
                f"backbone.image_size_px: {size_px} is too small for {backbone.name}: "
                f"at least {backbone.min_size_px}."
            )
        for key, name in [
            ("fits.fine_tune.boundary", self.fits.fine_tune.boundary),
            *(("tuner.boundaries", name) for name in self.tuner.boundaries),
        ]:
            if name not in backbone.boundaries:
                problems.append(
                    f"{key}: {name!r} is not a block of {backbone.name}.\n"
                    f"  Blocks: {', '.join(backbone.boundaries)}. The recipe's choice is "
                    f"{backbone.default_boundary} (the top two blocks train)."
                )
        if self.gate.evidence != "test" and not self.features.cache:
            problems.append(
                "gate.evidence: cross-fitting needs features.cache: the folds train on the cached "
                "output of the trunk.\n  Set features.cache to true, or gate.evidence to test."
            )
        if self.gate.evidence != "test" and self.gate.metric != "accuracy":
            problems.append(
                "gate.evidence: cross-fitted evidence is of the accuracy.\n"
                "  Set gate.metric to accuracy, or gate.evidence to test."
            )
        if self.tuner.enabled and not self.features.cache:
            problems.append(
                "tuner.enabled: needs features.cache: the trials train on the cached output of "
                "the trunk; without it each would run the whole backbone.\n"
                "  Set features.cache to true, or tuner.enabled to false."
            )
        if self.tuner.enabled and self.fits.head.start_from:
            problems.append(
                "fits.head.start_from: the tuner chooses the width of the head, so that it cannot "
                "start from another one.\n  Set tuner.enabled to false, or start from no other run."
            )
        if problems:
            raise PydanticCustomError("impossible", "{problems}", {"problems": "\n".join(problems)})
        return self
