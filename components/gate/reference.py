"""What linear probes say of the test images: a yardstick beside both models, never a baseline."""

import numpy as np

from components.gate import statistics
from components.gate.rule import GateRule
from components.gate.statistics import Pairs
from components.gate.verdict import Reference
from components.gate.words import p_value_words, points
from trainer.data.predictions import (
    CANDIDATE,
    REFERENCE_BOUNDARY,
    REFERENCE_TOP,
    Predictions,
)

_PLACES = {
    REFERENCE_BOUNDARY: "at the boundary",
    REFERENCE_TOP: "at the top of the frozen backbone",
}
_ADVICE = {
    REFERENCE_BOUNDARY: (
        "The blocks above the boundary lose what these images need: try a lower "
        "fits.fine_tune.boundary, or a higher fits.fine_tune.learning_rate."
    ),
    REFERENCE_TOP: (
        "The head has not learned what is in its features: try another fits.head.learning_rate, a "
        "smaller head.units, or let the search find them (tuner.enabled). With fits.schedule: "
        "fast, head.units: 0 starts from such a regression."
    ),
}


def compare_references(predictions: Predictions, rule: GateRule) -> list[Reference]:
    """Compares the candidate with each linear probe, on the same images.

    Args:
      predictions: of all test images.
      rule: gives the level.
    """
    candidate, groups = predictions.right(CANDIDATE), predictions.group_numbers()
    return [
        _compare(name, Pairs(candidate, choices == predictions.label_ids, groups), rule)
        for name, choices in predictions.references.items()
    ]


def _compare(name: str, pairs: Pairs, rule: GateRule) -> Reference:
    p_value = statistics.sign_flip_p_value(pairs.by_group())
    accuracy = float(np.mean(pairs.candidate))
    sentence = (
        f"A logistic regression on features pooled {_PLACES[name]} has a test accuracy of "
        f"{accuracy:.1%}, {points(pairs.gain)} compared with the fine-tuned model"
    )
    better = p_value < rule.alpha
    if better:
        sentence += f", more than chance explains (p {p_value_words(p_value)}). {_ADVICE[name]}"
    elif pairs.gain > 0:
        sentence += f", which can be due to chance (p {p_value_words(p_value)})."
    else:
        sentence += "."
    low, high = statistics.gain_interval(pairs)
    return Reference(name, accuracy, pairs.gain, low, high, p_value, better, sentence)
