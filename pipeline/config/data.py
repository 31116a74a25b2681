"""Where the images are and how they are read: the config's section `data`."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from pipeline.config.limits import MAX_PARTS
from pipeline.config.section import Section
from trainer.data.labels import label_problem
from trainer.data.regular_files import DEFAULT_MAX_FILE_BYTES, LARGEST_MAX_FILE_BYTES


class Splits(Section):
    """Size of each split, in parts: 70, 15, 15 means the same as 14, 3, 3.

    A file's content decides its split, so identical files are never in two splits.
    """

    train: PositiveInt = Field(
        70, le=MAX_PARTS, description="Part of the images that both fits train on."
    )
    val: PositiveInt = Field(
        15, le=MAX_PARTS, description="Part whose loss tells each fit when to stop early."
    )
    test: PositiveInt = Field(
        15,
        le=MAX_PARTS,
        description="Part that the gate judges the models on. No fit ever sees these images.",
    )


class RecordKeys(Section):
    """Features of TFRecords. The defaults are those of TensorFlow's own ImageNet scripts."""

    image: str = Field(
        "image/encoded", min_length=1, description="Feature that holds the image file's bytes."
    )
    label: str = Field(
        "image/class/text",
        min_length=1,
        description="Feature that holds the class name, as bytes or as a whole number.",
    )
    split: str = Field(
        "split", min_length=1, description="Feature that names the image's split, if it is there."
    )
    group: str = Field(
        "group",
        min_length=1,
        description=(
            "Feature that names the image's group, if it is there: a group is never divided by the "
            "splits."
        ),
    )


class Drift(Section):
    """How far the training images may be from those of the run before in the same output folder."""

    label_share: PositiveFloat = Field(
        0.1, le=1, description="Largest change of a class's share of the training images, 0 to 1."
    )
    size: PositiveFloat = Field(
        0.1,
        le=1,
        description=(
            "Largest change of the distributions of heights and of widths, 0 to 1, as "
            "Jensen-Shannon divergence."
        ),
    )
    fatal: bool = Field(
        False,
        strict=True,
        description="Whether a larger change ends the run. Otherwise the report says it.",
    )


class Data(Section):
    """Where the images are, and which of them are accepted."""

    images: str | None = Field(
        None,
        description=(
            "Folder with one folder of images per class, a manifest (.csv, .tsv, .jsonl), an "
            "archive of class folders (.zip, .tar…) or TFRecords. `thaw run --images` sets it."
        ),
    )
    fingerprint: str = Field(
        "",
        pattern="^([0-9a-f]{64})?$",
        description=(
            "Fingerprint that the images must have, as run.json has it: with other images the run "
            "stops before anything is trained. If unset: any images will do."
        ),
    )
    record_keys: RecordKeys = Field(
        default_factory=RecordKeys, description="Names of the features of TFRecords."
    )
    splits: Splits = Field(default_factory=Splits, description="Sizes of the splits.")
    near_duplicates: Literal["group", "group_mirrored", "ignore"] = Field(
        "group",
        description=(
            "Copies of a picture that were resized, recompressed, cropped a little or made "
            "brighter: group keeps them in one split, group_mirrored takes a mirrored picture for "
            "a copy too, ignore does not look for them."
        ),
    )
    stratify: bool = Field(
        False,
        description=(
            "Whether to divide each class by itself, as near to the parts as its groups allow. "
            "Otherwise its share of each split varies by chance."
        ),
    )
    small_classes: Literal["warn", "refuse", "fold"] = Field(
        "warn",
        description=(
            "What to do with a class of which some split has no image: warn in the report, refuse "
            "to train, or fold all such classes into one."
        ),
    )
    folded_class: str = Field(
        "other",
        min_length=1,
        max_length=255,
        description="Name of the class that small classes are folded into.",
    )
    drift: Drift = Field(
        default_factory=Drift, description="What may change from run to run without a word."
    )
    max_pixels: PositiveInt = Field(
        100_000_000,
        le=1_000_000_000,
        description="Images with more pixels are rejected by their header, without being decoded.",
    )
    max_file_bytes: PositiveInt = Field(
        DEFAULT_MAX_FILE_BYTES,
        le=LARGEST_MAX_FILE_BYTES,
        description="Larger files are rejected without being read.",
    )
    shape: Literal["stretch", "crop", "pad"] = Field(
        "stretch",
        description=(
            "How pictures become squares: stretch changes the aspect ratio, crop keeps the middle, "
            "pad keeps everything and fills the rest with data.background."
        ),
    )
    background: str = Field(
        "#ffffff",
        pattern=r"^#[0-9a-fA-F]{6}$",
        description="Colour behind transparent pixels and around padded pictures, as #rrggbb.",
    )
    colour_profiles: Literal["convert", "ignore"] = Field(
        "convert",
        description=(
            "What to do with an embedded ICC profile: convert the colours to sRGB, or ignore it "
            "and take the stored values as sRGB."
        ),
    )

    @field_validator("folded_class")
    @classmethod
    def _is_a_class_name(cls, name: str) -> str:
        if problem := label_problem(name):
            raise ValueError(f"the name {problem}")
        return name
