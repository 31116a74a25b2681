"""The hyper-parameters that can be tuned, by their keys in the config; plain values only."""

import copy
from collections.abc import Mapping
from typing import Any

HEAD_UNITS = "head.units"
HEAD_DROPOUT = "head.dropout"
HEAD_RATE = "fits.head.learning_rate"
LABEL_SMOOTHING = "train.label_smoothing"
FINE_TUNE_RATE = "fits.fine_tune.learning_rate"
BOUNDARY = "fits.fine_tune.boundary"

# Where a fit's `custom_config` holds each of them.
_OF_BOTH_FITS = {
    HEAD_UNITS: ("model", "head_units"),
    HEAD_DROPOUT: ("model", "head_dropout"),
    LABEL_SMOOTHING: ("fit", "label_smoothing"),
}
HEAD_FIT = {**_OF_BOTH_FITS, HEAD_RATE: ("fit", "learning_rate")}
FINE_TUNE = {
    **_OF_BOTH_FITS,
    FINE_TUNE_RATE: ("fit", "learning_rate"),
    BOUNDARY: ("fit", "boundary"),
}


def with_tuned(
    custom_config: Mapping[str, Any],
    tuned: Mapping[str, Any] | None,
    places: Mapping[str, tuple[str, str]],
) -> dict[str, Any]:
    """Puts tuned values over those of the config, also in the record that goes into the model.

    Args:
      custom_config: what a trainer was told; left as it is.
      tuned: what the Tuner found, as keras-tuner writes it: `values` by key; None: nothing.
      places: `HEAD_FIT` or `FINE_TUNE`.
    """
    changed = copy.deepcopy(dict(custom_config))
    for key, value in (tuned or {}).get("values", {}).items():
        if key in places:
            section, name = places[key]
            changed[section][name] = value
        _put(changed["config"], key.split("."), value)
    return changed


def _put(record: dict[str, Any], path: list[str], value: Any) -> None:
    """Changes a value that the record has; the record of fit 1 knows nothing of fit 2."""
    *sections, name = path
    for section in sections:
        record = record.get(section, {})
    if name in record:
        record[name] = value
