"""What the gate asks of a candidate. Light to import."""

from dataclasses import dataclass
from typing import Literal

from trainer.records import Record


@dataclass(frozen=True)
class GateRule(Record):
    """Limits of the gate. Fields as in the config, which describes them.

    Attributes:
      metric: what `min_gain` and `min_accuracy` are of.
      alpha: chance of a false promotion that is accepted, for each test.
      min_gain: the gain must be above this.
      min_accuracy: lowest accuracy, or mean recall; 0: none.
      max_class_loss: largest loss of recall of a class, 0 to 1.
      max_calibration_error: highest expected calibration error, 0 to 1; 0: none.
      served_margin: by how much the accuracy may be below that of the model that is served now.
      must_beat_served: whether it must be above it, beyond chance.
      fallback: whether the baseline is pushed where the candidate is not promoted.
      reuse: whether further looks at the same test images are only counted, or spend what is left
        of alpha.
    """

    metric: Literal["accuracy", "macro_recall"] = "accuracy"
    alpha: float = 0.05
    min_gain: float = 0.0
    min_accuracy: float = 0.0
    max_class_loss: float = 0.1
    max_calibration_error: float = 0.0
    served_margin: float = 0.03
    must_beat_served: bool = False
    fallback: Literal["nothing", "baseline"] = "nothing"
    reuse: Literal["warn", "spend"] = "warn"

    def __str__(self) -> str:
        name, test = {
            "accuracy": ("accuracy", "exact McNemar test"),
            "macro_recall": ("mean recall of the classes", "paired bootstrap"),
        }[self.metric]
        rule = (
            f"the candidate's {name} on the test split must be above the baseline's by more than "
            f"{100 * self.min_gain:.1f} percentage points, and beyond chance ({test}, "
            f"p below {self.alpha:g}); no class may lose more than "
            f"{100 * self.max_class_loss:.1f} points of recall beyond chance"
        )
        if self.min_accuracy:
            rule += (
                f"; and its {name} must be at least {self.min_accuracy:.1%}, with "
                f"{1 - self.alpha:.0%} confidence"
            )
        if self.max_calibration_error:
            rule += (
                "; and its expected calibration error may not be above "
                f"{100 * self.max_calibration_error:.1f} points beyond chance"
            )
        return rule
