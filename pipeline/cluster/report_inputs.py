"""Names that the compiled Report task and the process that runs it must agree on."""

from dataclasses import dataclass
from enum import Enum

NODE = "Report"


@dataclass(frozen=True)
class Source:
    """An output of a node, which the task reads."""

    node: str
    output: str


# No images and no features: a service copies every input into the task's pod.
INPUTS = {
    "baseline": Source("HeadTrainer", "model"),
    "candidate": Source("FineTuner", "model"),
    "evaluation": Source("Evaluator", "evaluation"),
    "blessing": Source("Gate", "blessing"),
    "serving_check": Source("ServingCheck", "blessing"),
    "pushed_model": Source("Pusher", "pushed_model"),
    "exports": Source("Exporter", "exports"),
    "tuner_results": Source("Tuner", "tuner_results"),
}

REPORT = "report"
SUMMARY = "summary"
METRICS = "metrics"
CLASSIFICATION = "classification"

# Types that the user interfaces of Kubeflow Pipelines and Vertex AI know how to draw.
OUTPUTS = {
    REPORT: "system.HTML",
    SUMMARY: "system.Markdown",
    METRICS: "system.Metrics",
    CLASSIFICATION: "system.ClassificationMetrics",
}


class Parameter(str, Enum):
    """Parameters of the task."""

    CONFIG = "config"
    RUN_ID = "run_id"
    RUN_NAME = "run_name"
    STARTED = "started"
