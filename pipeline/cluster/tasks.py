"""The tasks of a compiled pipeline."""

from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import Any


def task_names(spec: Mapping[str, Any]) -> list[str]:
    """Names of a pipeline's tasks such that each comes after those that it depends on.

    Args:
      spec: a PipelineSpec as JSON, or a document that holds one: a PipelineJob, or what
        Kubeflow Pipelines stores of a run.
    """
    tasks = pipeline_spec(spec)["root"]["dag"]["tasks"]
    return in_order({name: task.get("dependentTasks", []) for name, task in tasks.items()})


def pipeline_spec(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The PipelineSpec in a document that may hold more than that."""
    for key in ("pipelineSpec", "pipeline_spec"):
        if key in document:
            return dict(document[key])
    return document


def in_order(dependencies: dict[str, list[str]]) -> list[str]:
    """Names such that each comes after those that it depends on."""
    return list(TopologicalSorter(dependencies).static_order())
