"""The hyperparameter search: the config's section `tuner`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator
from pydantic_core import PydanticCustomError

from pipeline.config.limits import MAX_EPOCHS, MAX_UNITS
from pipeline.config.section import Section

Share = Annotated[float, Field(ge=0, lt=1)]
RateRange = tuple[PositiveFloat, PositiveFloat]


class Tuner(Section):
    """A hyperparameter search before the two fits, judged by the loss on the validation split.

    The values set in `head`, `fits` and `train` are tried first. Both fits use the best values.
    """

    enabled: bool = Field(False, strict=True, description="Run the search.")
    algorithm: Literal["hyperband", "bayesian"] = Field(
        "hyperband",
        description=(
            "Algorithm that chooses the values of the head. hyperband stops poor trials after a "
            "few epochs; bayesian completes every trial and learns from all of them, which takes "
            "one to two seconds longer per trial."
        ),
    )
    head_trials: PositiveInt = Field(
        30,
        le=10_000,
        description="Number of head trials. Each trains on a fixed backbone, in about a second.",
    )
    max_epochs: PositiveInt = Field(
        12,
        le=MAX_EPOCHS,
        description=(
            "Maximum number of epochs of a head trial. hyperband gives that many to the best only."
        ),
    )
    head_learning_rates: RateRange = Field(
        (1e-4, 1e-2), description="Lowest and highest learning rate to try in fit 1."
    )
    units: list[Annotated[int, Field(gt=0, le=MAX_UNITS)]] = Field(
        [256, 512, 1024], description="Widths of the hidden layer to try, besides head.units."
    )
    dropouts: list[Share] = Field(
        [0.0, 0.25, 0.5], description="Dropout shares to try, besides head.dropout."
    )
    label_smoothings: list[Share] = Field(
        [0.0, 0.05, 0.1],
        description="Label smoothing shares to try, besides train.label_smoothing.",
    )
    fine_tune_trials: NonNegativeInt = Field(
        4,
        le=1000,
        description=(
            "Number of trials of fit 2, each starting from the best head. With 0, the values of "
            "fit 2 are not tuned."
        ),
    )
    fine_tune_max_epochs: PositiveInt = Field(
        5,
        le=MAX_EPOCHS,
        description=(
            "Maximum number of epochs of a trial of fit 2. With fits.schedule: fast a trial is as "
            "long as fit 2."
        ),
    )
    fine_tune_learning_rates: RateRange = Field(
        (1e-5, 1e-2), description="Lowest and highest learning rate to try in fit 2."
    )
    boundaries: list[str] = Field(
        [],
        description=(
            "Boundaries to try, besides fits.fine_tune.boundary. The trunk's output is then "
            "cached at the lowest of them."
        ),
    )

    @field_validator("head_learning_rates", "fine_tune_learning_rates")
    @classmethod
    def _lowest_first(cls, rates: RateRange) -> RateRange:
        if rates[0] >= rates[1]:
            raise PydanticCustomError("rate_range", "It should be [lowest, highest].")
        return rates
