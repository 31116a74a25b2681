"""When a candidate is promoted. Light to import."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from pipeline.config.section import Section


class Gate(Section):
    """When the fine-tuned candidate is promoted over the head-only baseline, on the test split."""

    metric: Literal["accuracy", "macro_recall"] = Field(
        "accuracy",
        description=(
            "What the models are compared by: accuracy (all images count alike) or macro_recall "
            "(all classes count alike)."
        ),
    )
    evidence: Literal["test", "cross_fit", "auto"] = Field(
        "test",
        description=(
            "What the choice between baseline and candidate is judged by. test: the test split; "
            "cross_fit: both fits are repeated on folds of all images, so that each is a test "
            "image once, at the cost of that many more fits; auto: cross_fit where the test split "
            "holds fewer images than gate.enough_test_images."
        ),
    )
    folds: PositiveInt = Field(
        6,
        ge=4,
        le=20,
        description="Number of folds of gate.evidence: cross_fit. Each costs both fits once.",
    )
    enough_test_images: PositiveInt = Field(
        1000,
        le=1_000_000_000,
        description="With so many test images gate.evidence: auto uses the test split.",
    )
    alpha: PositiveFloat = Field(
        0.05,
        le=0.5,
        description=(
            "Accepted chance that a candidate is promoted although it is no better than the "
            "baseline: the level of the gate's tests."
        ),
    )
    min_gain: NonNegativeFloat = Field(
        0.0,
        lt=1,
        description=(
            "The candidate's accuracy, or gate.metric, must exceed the baseline's by more than "
            "this (0.01 is one percentage point), and by more than chance explains."
        ),
    )
    min_accuracy: NonNegativeFloat | None = Field(
        None,
        le=1,
        description=(
            "The candidate's accuracy, or gate.metric, must be at least this, with confidence "
            "1 - alpha. If unset: no minimum."
        ),
    )
    max_class_loss: NonNegativeFloat = Field(
        0.1,
        le=1,
        description=(
            "A class may lose at most this much recall (0.1 is ten points); a larger loss refuses "
            "the candidate if it is beyond chance."
        ),
    )
    max_calibration_error: NonNegativeFloat | None = Field(
        None,
        gt=0,
        le=1,
        description=(
            "How far the candidate's calibrated probabilities may be from its accuracy, on average "
            "(expected calibration error; 0.05 is five points); a larger error refuses the "
            "candidate if it is beyond chance. If unset: no limit."
        ),
    )
    served: Literal["compare", "ignore"] = Field(
        "compare",
        description=(
            "What the model that was pushed last means for a candidate: compare asks it about the "
            "same test images; with ignore only the baseline counts."
        ),
    )
    served_margin: NonNegativeFloat = Field(
        0.03,
        lt=1,
        description=(
            "By how much the candidate's accuracy may be below that of the served model (0.03 is "
            "three points); the test images must show that it is not further below."
        ),
    )
    must_beat_served: bool = Field(
        False,
        strict=True,
        description="Whether the candidate must be better than the served model, beyond chance.",
    )
    fallback: Literal["nothing", "baseline"] = Field(
        "nothing",
        description=(
            "What is pushed when the candidate is not promoted: nothing, or the baseline, the "
            "head-only model, if it meets gate.min_accuracy and is no worse than the served model. "
            "Small data sets, and images like those of ImageNet, often need no more."
        ),
    )
    reuse: Literal["warn", "spend"] = Field(
        "warn",
        description=(
            "What happens when the same test images judge one candidate after the other, in runs "
            "on this machine: warn says how many they were; spend divides alpha among them, so "
            "that it holds for all of them together."
        ),
    )
    top_k: PositiveInt = Field(
        5,
        le=1_000_000,
        description="The k of the reported top-k accuracy; capped at the number of classes.",
    )
