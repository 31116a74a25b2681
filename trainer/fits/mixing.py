"""Mixes the weights from before and after a fit, as validation prefers.

WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models") interpolates linearly
between a model and its fine-tuned self, which lie in one basin of the loss. Here the share is
chosen on the validation split. A share of 0 is the model from before the fit, so that a fit which
went too far does no harm.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from trainer.fits.record import Mixing

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the weights from after the fit."""

Weights = Sequence[np.ndarray]


def choose_share(
    before: Weights, after: Weights, loss_of: Callable[[Weights], float]
) -> tuple[Weights, Mixing]:
    """Tries each of `SHARES`.

    Args:
      before: weights from before the fit.
      after: those from after it, in the same order.
      loss_of: the loss on validation of a model with such weights.

    Returns:
      The mixture with the lowest loss, of equal ones that with the smaller share, and the record.
    """
    losses = [loss_of(mix(before, after, share)) for share in SHARES]
    finite = [loss if math.isfinite(loss) else math.inf for loss in losses]
    chosen = SHARES[int(np.argmin(finite))]
    known = tuple(loss if math.isfinite(loss) else None for loss in losses)
    return mix(before, after, chosen), Mixing(SHARES, known, chosen)


def mix(before: Weights, after: Weights, share: float) -> Weights:
    """Interpolates linearly; shares of 0 and 1 give exactly `before` and `after`."""
    if share in (0.0, 1.0):
        return after if share else before
    kept = np.float32(1.0 - share)
    return [old * kept + new * np.float32(share) for old, new in zip(before, after, strict=True)]
