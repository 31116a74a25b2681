"""The head and the two fits that train it: the config's sections `fits` and `head`."""

from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from pipeline.config.limits import MAX_EPOCHS, MAX_UNITS
from pipeline.config.section import Section

Schedule = Literal["recipe", "fast"]

# docs/fast.md and benchmarks/time_to_accuracy.py have the evidence for those of `fast`.
DEFAULT_RATES: dict[Schedule, float] = {"recipe": 1e-4, "fast": 1e-3}
_DEFAULT_EPOCHS: dict[Schedule, int] = {"recipe": 50, "fast": 0}


class Head(Section):
    """The new layers: global average pooling, a hidden layer or none, logits."""

    units: NonNegativeInt = Field(
        1024,
        le=MAX_UNITS,
        description="Width of the hidden layer; 0: the pooled features go straight to the logits.",
    )
    dropout: NonNegativeFloat = Field(
        0.0,
        lt=1,
        description=(
            "Share of the hidden units that is dropped in training; of the pooled features where "
            "there is no hidden layer."
        ),
    )


class HeadFit(Section):
    """Fit 1: RMSprop trains the new head on the frozen backbone.

    With `fits.schedule: fast` a head without a hidden layer is not trained in steps: L-BFGS
    solves it, as a logistic regression on the pooled features, and these settings do not count.
    """

    learning_rate: PositiveFloat = Field(1e-3, description="Learning rate of RMSprop in fit 1.")
    max_epochs: PositiveInt = Field(
        50,
        le=MAX_EPOCHS,
        description="Maximum number of epochs. Early stopping usually ends the fit sooner.",
    )
    patience: PositiveInt = Field(
        5,
        le=MAX_EPOCHS,
        description="Stop after this many epochs without a lower validation loss.",
    )
    start_from: str = Field(
        "",
        description=(
            "Folder of an earlier run's HeadTrainer model, local or in a store. Fit 1 starts from "
            "its head: kept classes keep their weights, new ones get new weights. `thaw run --from "
            "RUN` finds it. If empty: the head starts from random weights."
        ),
    )


class FineTune(Section):
    """Fit 2 trains the head and the thawed blocks above `boundary`.

    The recipe does so slowly, by SGD, until the validation loss stops improving. With
    `fits.schedule: fast` AdamW runs a few epochs, in which its rate rises to `learning_rate` and
    falls to 0. Then the weights from before and after fit 2 are mixed as validation prefers.
    """

    boundary: str | None = Field(
        None,
        description=(
            "Name of the last frozen layer. All layers after it train. If unset: the layer below "
            "the backbone's top two blocks (mixed8 for inception_v3)."
        ),
    )
    learning_rate: PositiveFloat | None = Field(
        None,
        description=(
            "Learning rate of SGD in fit 2, low on purpose: the pre-trained weights are good "
            "already. With fits.schedule: fast, the highest rate of AdamW. If unset: 1e-4 and 1e-3."
        ),
    )
    momentum: NonNegativeFloat = Field(
        0.9, lt=1, description="Momentum of SGD in fit 2. Not used with fits.schedule: fast."
    )
    weight_decay: NonNegativeFloat = Field(
        0.05,
        lt=1,
        description=(
            "Weight decay of AdamW in fit 2, as a share of the learning rate. Used with "
            "fits.schedule: fast only."
        ),
    )
    max_epochs: NonNegativeInt | None = Field(
        None,
        le=MAX_EPOCHS,
        description=(
            "Maximum number of epochs: early stopping usually ends the fit sooner. With "
            "fits.schedule: fast, the exact number; 0: four, or more if there are so few images "
            "that four make less than 80 steps. If unset: 50 and 0."
        ),
    )
    patience: PositiveInt = Field(
        5,
        le=MAX_EPOCHS,
        description=(
            "Stop after this many epochs without a lower validation loss. Not used with "
            "fits.schedule: fast."
        ),
    )
    batch_norm: Literal["frozen", "train"] = Field(
        "frozen",
        description=(
            "Moving statistics of the thawed BatchNorm layers: frozen keeps those of "
            "pre-training, train updates them with each batch."
        ),
    )


class Fits(Section):
    """The two fits, and how they run."""

    schedule: Schedule = Field(
        "recipe",
        description=(
            "How fit 2 runs: recipe (slow SGD with early stopping) or fast (a few epochs of AdamW, "
            "then a mixture of the weights from before and after them, chosen on validation; "
            "docs/fast.md)."
        ),
    )
    head: HeadFit = Field(default_factory=HeadFit, description="Fit 1: the head.")
    fine_tune: FineTune = Field(default_factory=FineTune, description="Fit 2: fine-tuning.")

    @model_validator(mode="after")
    def _fill_in(self) -> Self:
        """Puts the schedule's own rate and epochs where none are set."""
        unset = {
            "learning_rate": DEFAULT_RATES[self.schedule],
            "max_epochs": _DEFAULT_EPOCHS[self.schedule],
        }
        given = self.fine_tune
        values = {key: value for key, value in unset.items() if getattr(given, key) is None}
        if self.schedule == "recipe" and given.max_epochs == 0:
            raise PydanticCustomError(
                "no_epochs", "fine_tune.max_epochs: It should be 1 or more with schedule: recipe."
            )
        # Frozen is what users see; the section is not complete before this.
        self.__dict__["fine_tune"] = given.model_copy(update=values)
        return self
