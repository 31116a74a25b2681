"""The hyper-parameters that can be tuned, by their keys in the config; plain values only."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from trainer.specs import FineTunerArgs, HeadTrainerArgs, Json

Value = str | int | float
Values = Mapping[str, Value]
"""What a trial tries, by the config's keys."""

HEAD_UNITS = "head.units"
HEAD_DROPOUT = "head.dropout"
HEAD_RATE = "fits.head.learning_rate"
LABEL_SMOOTHING = "train.label_smoothing"
FINE_TUNE_RATE = "fits.fine_tune.learning_rate"
BOUNDARY = "fits.fine_tune.boundary"

# Those of a trainer's `fit`, whose fields are called as in the config.
HEAD_FIT = (HEAD_RATE, LABEL_SMOOTHING)
FINE_TUNE = (FINE_TUNE_RATE, BOUNDARY, LABEL_SMOOTHING)

_ARCHITECTURE = {HEAD_UNITS: "head_units", HEAD_DROPOUT: "head_dropout"}

_Args = TypeVar("_Args", HeadTrainerArgs, FineTunerArgs)


def with_tuned(args: _Args, tuned: Json | None, of_fit: tuple[str, ...]) -> _Args:
    """Puts tuned values over those of the config, also in the record that goes into the model.

    Args:
      args: a trainer's settings.
      tuned: the Tuner's result, as keras-tuner writes it: `values` by key; None: no search.
      of_fit: `HEAD_FIT` or `FINE_TUNE`.
    """
    values = (tuned or {}).get("values", {})
    model = {name: values[key] for key, name in _ARCHITECTURE.items() if key in values}
    fit = {key.rpartition(".")[2]: values[key] for key in of_fit if key in values}
    return replace(
        args,
        model=replace(args.model, **model),
        fit=replace(args.fit, **fit),
        config=_updated(args.config, values),
    )


def _updated(config: Json, values: Mapping[str, object]) -> Json:
    """The config with these values where it has them: that of fit 1 has nothing of fit 2."""
    config = copy.deepcopy(config)
    for key, value in values.items():
        *sections, name = key.split(".")
        section = config
        for one in sections:
            section = section.get(one, {})
        if name in section:
            section[name] = value
    return config
