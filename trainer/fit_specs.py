"""The settings of the two fits and of the search for them, as typed records.

Light to import: no TensorFlow.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from trainer.records import Record

RMSPROP: Final = "rmsprop"
LBFGS: Final = "lbfgs"
Solver = Literal["rmsprop", "lbfgs"]


@dataclass(frozen=True)
class HeadFit(Record):
    """Fit 1: the head, the backbone frozen. Fields as in the config, and:

    Attributes:
      solver: `lbfgs` solves a head without a hidden layer on the pooled vectors, where these are
        few enough for it; `rmsprop` trains it in steps.
    """

    learning_rate: float
    max_epochs: int
    patience: int
    start_from: str = ""
    label_smoothing: float = 0.0
    solver: Solver = RMSPROP


_FAST_EPOCHS = 4
_LEAST_FAST_STEPS = 80


def fast_epochs(steps_per_epoch: int) -> int:
    """How many epochs fit 2 takes with the fast schedule, unless the config says so.

    Measured with 210 images of sign digits, 7 steps an epoch, on MobileNetV2: after 4 epochs the
    validation loss was 0.42, worse than the 0.30 of fit 1; after 12 it was 0.05.
    """
    return max(_FAST_EPOCHS, math.ceil(_LEAST_FAST_STEPS / steps_per_epoch))


@dataclass(frozen=True)
class FineTune(Record):
    """Fit 2: the head and the layers above `boundary`. Fields as in the config, which describes
    them; one that is added there is added here, and nowhere else.

    Attributes:
      schedule: `recipe` is SGD with momentum and early stopping; `fast` is AdamW over exactly
        `max_epochs`, or `fast_epochs` where these are 0, then a mixture of the weights before and
        after.
    """

    boundary: str
    learning_rate: float
    momentum: float
    max_epochs: int
    patience: int
    weight_decay: float = 0.05
    batch_norm: Literal["frozen", "train"] = "frozen"
    label_smoothing: float = 0.0
    schedule: Literal["recipe", "fast"] = "recipe"

    @property
    def is_fast(self) -> bool:
        """Whether the number of epochs is fixed and the weights are mixed after them."""
        return self.schedule == "fast"

    @property
    def train_batch_norm(self) -> bool:
        """Whether the statistics of thawed BatchNorm layers follow the data."""
        return self.batch_norm == "train"


@dataclass(frozen=True)
class Stage(Record):
    """One stage of the search.

    Attributes:
      name: `head` or `fine_tune`.
      algorithm: `hyperband` or `bayesian`.
      trials: how many, at most.
      max_epochs: of a trial; Hyperband grants fewer to most.
      space: name -> {"of": [values]} or {"between": [lowest, highest]}, tried evenly on a
        logarithmic scale.
      start: name -> value of the first trial.
    """

    name: str
    algorithm: str
    trials: int
    max_epochs: int
    space: Mapping[str, Mapping[str, Sequence[Any]]]
    start: Mapping[str, Any]


@dataclass(frozen=True)
class SearchPlan(Record):
    """What the Tuner searches.

    Attributes:
      head: the first stage.
      head_patience: early stopping of its trials.
      fine_tune: the second stage, if there is one.
      fine_tune_fit: fit 2 as the trials of that stage run it, but for the values they try.
      head_solver: `lbfgs`: the first stage has one trial, which solves the head.
    """

    head: Stage
    head_patience: int
    fine_tune: Stage | None
    fine_tune_fit: FineTune | None
    head_solver: Solver = RMSPROP
