"""Runtime parameters: values of the config that a run can be started with, without compiling again.

The user interfaces of Kubeflow Pipelines and Vertex AI show them in the form that starts a run.
A compiled node takes its arguments as text; the process that runs it (`pipeline.cluster.task`)
puts the values in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import ValidationError

from pipeline.cluster.target import ClusterError
from pipeline.config.schema import Config

Value: TypeAlias = str | int | float

IMAGES_ARGUMENT = "input_base"
CUSTOM_CONFIG = "custom_config"
GATE_RULE = "rule"

_RECORDED = "args.config."  # the config as the model's own record has it
_WORKER_GROUP = "worker_group.workers"


@dataclass(frozen=True)
class RuntimeParameter:
    """One value of the config that can be chosen when a run starts.

    Attributes:
      name: as the user interface shows it.
      key: of the config, in dots; it has the default, the limits and the description.
      kind: type of the value.
      places: node -> where its arguments hold the value: the name of an argument, or a name and
        the keys of the JSON in it, in dots.
    """

    name: str
    key: str
    kind: type[str] | type[int] | type[float]
    places: Mapping[str, tuple[str, ...]]


def _fit(name: str, key: str, kind: type[int] | type[float], *nodes: str) -> RuntimeParameter:
    """A field of a fit: the first node trains by it, and all record it with their model."""
    recorded = f"{CUSTOM_CONFIG}.{_RECORDED}{key}"
    places = dict.fromkeys(nodes, (recorded,))
    trained_by = f"{CUSTOM_CONFIG}.args.fit.{key.rsplit('.', 1)[1]}"
    return RuntimeParameter(name, key, kind, {**places, nodes[0]: (trained_by, recorded)})


def _recorded_by_both(key: str, *more: str) -> dict[str, tuple[str, ...]]:
    places = (f"{CUSTOM_CONFIG}.{_RECORDED}{key}", *more)
    return {"HeadTrainer": places, "FineTuner": places}


PARAMETERS = (
    RuntimeParameter(
        "images",
        "data.images",
        str,
        {"ImageExampleGen": (IMAGES_ARGUMENT,), **_recorded_by_both("data.images")},
    ),
    _fit("head_epochs", "fits.head.max_epochs", int, "HeadTrainer", "FineTuner"),
    _fit("head_learning_rate", "fits.head.learning_rate", float, "HeadTrainer", "FineTuner"),
    _fit("fine_tune_epochs", "fits.fine_tune.max_epochs", int, "FineTuner"),
    _fit("fine_tune_learning_rate", "fits.fine_tune.learning_rate", float, "FineTuner"),
    RuntimeParameter(
        "workers",
        "train.workers",
        int,
        _recorded_by_both("train.workers", f"{CUSTOM_CONFIG}.{_WORKER_GROUP}"),
    ),
    RuntimeParameter("min_gain", "gate.min_gain", float, {"Gate": (f"{GATE_RULE}.min_gain",)}),
    RuntimeParameter(
        "min_accuracy", "gate.min_accuracy", float, {"Gate": (f"{GATE_RULE}.min_accuracy",)}
    ),
)

WITH_PARAMETERS = frozenset(node for parameter in PARAMETERS for node in parameter.places)

# The search chooses these itself.
_TUNED = frozenset({"head_learning_rate", "fine_tune_learning_rate"})


def parameters_of(config: Config, has_worker_groups: bool) -> list[RuntimeParameter]:
    """The parameters that a pipeline of this config can have.

    Args:
      config: effective values.
      has_worker_groups: whether the fits run as jobs whose number of workers may differ.
    """
    tuned = _TUNED if config.tuner.enabled else frozenset()
    left_out = tuned | (frozenset() if has_worker_groups else {"workers"})
    return [parameter for parameter in PARAMETERS if parameter.name not in left_out]


def value_in(config: Config, parameter: RuntimeParameter) -> Value:
    """The config's value: the parameter's default. A limit that is not set is 0."""
    value: Any = config
    for part in parameter.key.split("."):
        value = getattr(value, part)
    return parameter.kind(value or 0) if parameter.kind is not str else str(value)


def with_values(config: Config, values: Mapping[str, Value]) -> Config:
    """The config of a run that was started with these values, by the parameters' names.

    Raises:
      ClusterError: naming the parameter and its config key if a value is not allowed.
    """
    by_name = {parameter.name: parameter for parameter in PARAMETERS}
    settings = config.model_dump()
    for name, value in values.items():
        *sections, last = by_name[name].key.split(".")
        section = settings
        for part in sections:
            section = section[part]
        section[last] = value
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise _not_allowed(error, by_name) from error


def _not_allowed(error: ValidationError, by_name: Mapping[str, RuntimeParameter]) -> ClusterError:
    details = error.errors()[0]
    key = ".".join(str(part) for part in details["loc"])
    names = [parameter.name for parameter in by_name.values() if parameter.key == key]
    return ClusterError(
        f"{details['input']!r} is not allowed: {details['msg']}.",
        where=f"parameter {', '.join(names) or key}",
        to_do=f"Start the run with another value; `thaw config --defaults` describes {key}.",
    )
