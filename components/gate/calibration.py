"""Do the candidate's probabilities mean what they say?"""

from components.gate.rule import GateRule
from components.gate.verdict import Clause
from trainer.calibration.temperature import calibration_error, confidences, noise_of_error
from trainer.data.predictions import CANDIDATE, Predictions


def calibration_clause(predictions: Predictions, temperature: float, rule: GateRule) -> Clause:
    """Is the expected calibration error above its bound, by more than chance explains?

    Args:
      predictions: of all test images.
      temperature: of the candidate.
      rule: gives the bound and the level.
    """
    logits, right = predictions.answers[CANDIDATE].logits, predictions.right(CANDIDATE)
    confidence = confidences(logits, temperature)
    error = calibration_error(confidence, right)
    plain = calibration_error(confidences(logits), right)
    bound = rule.max_calibration_error
    if error is None or plain is None:
        return _clause(
            False, "The fine-tuned model's probabilities are not numbers.", 1.0, 1.0, bound
        )
    noise = noise_of_error(confidence, 1 - rule.alpha)
    passed = error <= bound + noise
    sentence = (
        f"Confidence and accuracy differ by {100 * error:.1f} points on average (expected "
        f"calibration error; {100 * plain:.1f} without the temperature of {temperature:.2f}); "
        f"{100 * bound:.1f} are allowed, and up to {100 * noise:.1f} more can be due to chance."
    )
    return _clause(passed, sentence, error, max(0.0, error - noise), bound)


def _clause(passed: bool, sentence: str, error: float, low: float, bound: float) -> Clause:
    return Clause(
        name="calibration",
        passed=passed,
        sentence=sentence,
        estimate=error,
        low=low,
        high=None,
        p_value=None,
        threshold=bound,
    )
