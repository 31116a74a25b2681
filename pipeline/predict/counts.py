"""How many files were classified, and how many of them as what they are."""

from dataclasses import dataclass

from serving.batch_predict import Prediction


@dataclass(frozen=True)
class Counts:
    """Of the files of one command.

    Attributes:
      classified: that the model gave an answer for.
      rejected: that have an error.
      labelled: of those classified, how many had a label.
      correct: of those, how many were classified as that.
    """

    classified: int = 0
    rejected: int = 0
    labelled: int = 0
    correct: int = 0

    def plus(self, prediction: Prediction) -> "Counts":
        """With one more."""
        return Counts(
            self.classified + (not prediction.error),
            self.rejected + bool(prediction.error),
            self.labelled + (prediction.is_correct is not None),
            self.correct + bool(prediction.is_correct),
        )

    def words(self) -> str:
        """For people, such as `99 images classified, 1 rejected, correct: 93 of 99 (93.9%)`."""
        parts = [f"{self.classified:,} images classified"]
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        if self.labelled:
            share = self.correct / self.labelled
            parts.append(f"correct: {self.correct:,} of {self.labelled:,} ({share:.1%})")
        return ", ".join(parts)
