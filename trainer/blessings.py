"""Properties of blessings, besides TFX's own `blessed`, by which nodes tell the Pusher."""

PUSH_BASELINE = "push_baseline"
"""Of Gate's: 1 if the baseline is to be pushed in place of a candidate that is not promoted."""

BASELINE_AGREES = "baseline_agrees"
"""Of ServingCheck's: 1 if the baseline's export answers as the model that was judged."""
