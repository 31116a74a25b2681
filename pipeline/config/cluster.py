"""The config's section for clusters: where nodes run and what each of them gets."""

import difflib
import re
from typing import Annotated, Any

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)
from pydantic_core import PydanticCustomError

from launchers.kubernetes.settings import Toleration, WorkerPods
from pipeline.config.credentials import Credentials
from pipeline.config.labels import Labels
from pipeline.config.section import Section
from pipeline.config.store import Store
from pipeline.config.vertex import Vertex

NODES = (
    "ImageExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "TrunkFeatures",
    "Tuner",
    "HeadTrainer",
    "FineTuner",
    "CrossFitter",
    "Evaluator",
    "Gate",
    "ServingCheck",
    "Pusher",
    "Exporter",
    "Report",
)
# What these do can be spread over machines of their own.
TRAINING_NODES = ("Tuner", "HeadTrainer", "FineTuner")

DEFAULT = "default"

Text = Annotated[str, Field(min_length=1)]
# Kubernetes' notation, as kfp takes it: whole numbers, 8Gi or 8G.
Amount = Annotated[str, Field(pattern=r"^[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?$")]

_CRON_FIELD = re.compile(r"^[\d*/,\-?A-Za-z]+$")


class Resources(Section):
    """What the container of a node gets. What is unset comes from `default`."""

    image: Text | None = Field(
        None, description="Container image of this node alone, such as one for GPUs."
    )
    cpu: PositiveFloat | None = Field(None, le=10_000, description="CPU limit, in cores.")
    memory: Amount | None = Field(None, description="Memory limit, such as 8Gi.")
    accelerator: Text | None = Field(
        None,
        description=(
            "Type of accelerator: nvidia.com/gpu on Kubernetes, NVIDIA_TESLA_T4 or the like on "
            "Vertex AI."
        ),
    )
    accelerator_count: PositiveInt | None = Field(
        None,
        le=1000,
        description="Accelerators in one container. Unset: 1, if there is an accelerator.",
    )
    machine_type: Text | None = Field(
        None,
        description=(
            "Vertex AI: machine type for Tuner, HeadTrainer or FineTuner, such as "
            "n1-standard-8. Required where train.workers is above 1."
        ),
    )
    spot: bool | None = Field(
        None,
        strict=True,
        description="Vertex AI, with machine_type: use cheaper machines that may be preempted.",
    )
    env: dict[str, str] | None = Field(None, description="Environment variables of the container.")
    node_selector: dict[str, str] | None = Field(
        None, description="Kubernetes: labels that a node must have to run the pods."
    )
    tolerations: list[Toleration] | None = Field(
        None, description="Kubernetes tolerations: taints the pods may be scheduled on."
    )
    shared_memory: Amount | None = Field(
        None, description="Kubernetes: size of /dev/shm, which NCCL needs between GPUs."
    )
    secrets: dict[str, str] | None = Field(
        None, description="Kubernetes: secrets by the folder where their files are mounted."
    )
    claims: dict[str, str] | None = Field(
        None, description="Kubernetes: PersistentVolumeClaims by the folder where each is mounted."
    )

    def over(self, default: "Resources") -> "Resources":
        """These values; where there is none, those of `default`."""
        own = {name: value for name, value in self if value is not None}
        return default.model_copy(update=own)


class Launcher(Section, WorkerPods):
    """Kubeflow: how the jobs of several workers are launched.

    What is unset comes from `cluster.resources` and `cluster.service_account`. Any value that is
    not the default puts the fits into a job of their own, even with one worker.
    """

    def chosen(self) -> dict[str, Any]:
        """The values that differ from the defaults, as plain values: what the config asks for."""
        return self.model_dump(exclude_defaults=True)


class Cluster(Section):
    """Where `thaw compile` and `thaw submit` run the pipeline. `thaw run` needs none of it."""

    image: Text | None = Field(None, description="Container image that holds this project.")
    pipeline_root: Text | None = Field(
        None,
        description=(
            "Folder that all artifacts are written to: on gs:// with a direct store, on s3:// or "
            "minio:// with a mounted or staged one."
        ),
    )
    store: Store = Field(
        default_factory=Store,
        description="How the nodes reach artifacts: direct, mounted or staged.",
    )
    num_images: PositiveInt | None = Field(
        None,
        description=(
            "How many images there will be, for the disk and memory that `thaw compile` prints "
            "and that workers request. Unset: counted, if data.images is a folder of this machine."
        ),
    )
    serving_dir: Text | None = Field(
        None,
        description=(
            "Folder that models are pushed to. Unset: serving/NAME below the pipeline root."
        ),
    )
    service_account: Text | None = Field(None, description="Account that the nodes run as.")
    resources: dict[str, Resources] = Field(
        {}, description="Resources of each node, by its name; `default` applies to all of them."
    )
    labels: Labels = Field(
        {},
        description=(
            "Labels for accounting, such as {team: vision}: on the pods of all nodes, workers' "
            "jobs, jobs of Vertex AI, and as tags on pipelines uploaded to Kubeflow."
        ),
    )
    retries: NonNegativeInt = Field(
        0, le=10, description="How many times a node that failed is retried."
    )
    retry_wait_secs: NonNegativeInt = Field(
        60,
        le=3600,
        description=(
            "Seconds to wait before the first retry; twice as long before each further one."
        ),
    )
    caching: bool = Field(
        True,
        strict=True,
        description="Reuse a node's cached outputs when its inputs are unchanged.",
    )
    schedule: Text | None = Field(
        None,
        description=(
            "When recurring runs start: a cron line of five fields. `thaw submit --schedule` "
            "sets it."
        ),
    )
    host: Text | None = Field(None, description="Kubeflow: address of the Pipelines API.")
    namespace: Text | None = Field(
        None, description="Kubeflow with several users: namespace that the run belongs to."
    )
    experiment: Text | None = Field(
        None, description="Kubeflow: experiment that runs belong to. Unset: the pipeline's name."
    )
    credentials: Credentials = Field(
        default_factory=Credentials,
        description="Kubeflow: how `thaw submit` and `thaw runs` log in.",
    )
    launcher: Launcher = Field(
        default_factory=Launcher,
        description=(
            "Kubeflow: how the jobs of several workers are launched. Any value here that is not "
            "the default puts the fits into a job of their own, even with one worker."
        ),
    )
    project: Text | None = Field(None, description="Vertex AI: Google Cloud project to run in.")
    location: Text | None = Field(
        None, description="Vertex AI: region to run in, such as europe-west4."
    )
    network: Text | None = Field(
        None,
        description=(
            "Vertex AI: peered network of the jobs, projects/NUMBER/global/networks/NAME."
        ),
    )
    vertex: Vertex = Field(
        default_factory=Vertex, description="What only Vertex AI has: encryption, disks, networks."
    )

    @field_validator("resources")
    @classmethod
    def _are_nodes(cls, resources: dict[str, Resources]) -> dict[str, Resources]:
        for name in resources:
            if name not in (DEFAULT, *NODES):
                close = difflib.get_close_matches(name, NODES, n=1)
                hint = f"Did you mean {close[0]}? " if close else ""
                raise PydanticCustomError(
                    "no_node",
                    "{name} is no node. {hint}Nodes: {nodes}, and {default}.",
                    {"name": name, "hint": hint, "nodes": ", ".join(NODES), "default": DEFAULT},
                )
        return resources

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, schedule: str | None) -> str | None:
        fields = (schedule or "* * * * *").split()
        if len(fields) != 5 or not all(_CRON_FIELD.match(field) for field in fields):
            raise PydanticCustomError(
                "cron",
                "A schedule has five fields, minute hour day month weekday: "
                "'0 3 * * 1' is 3 o'clock on Mondays.",
            )
        return schedule

    def resources_of(self, node: str) -> Resources:
        """What a node gets: its own values over the default ones."""
        default = self.resources.get(DEFAULT, Resources())
        return self.resources.get(node, Resources()).over(default)
