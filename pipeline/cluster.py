"""Compiles the pipeline for a cluster and hands it to one: Kubeflow Pipelines or Vertex AI."""

import json
import os
import tempfile
from enum import Enum
from pathlib import Path
from typing import Any

import trainer  # noqa: F401 - chooses the Keras before anything imports TensorFlow
from pipeline.config import Config


class Target(str, Enum):
    """Where a compiled pipeline runs."""

    KUBEFLOW = "kubeflow"
    VERTEX = "vertex"


class ClusterError(ValueError):
    """The pipeline cannot be compiled or submitted; the message says what is missing."""


def compile_pipeline(config: Config, target: Target, output: Path) -> None:
    """Writes what the target's API takes. The same config gives the same bytes.

    Args:
      config: `cluster.image`, `cluster.pipeline_root` and `data.images` must be set.
      target: Kubeflow gets a PipelineSpec as YAML at schema 2.1.0, the only one that an
        open-source KFP API server accepts; Vertex AI gets a PipelineJob as JSON.
      output: the file.

    Raises:
      ClusterError: naming the keys that are missing.
    """
    _require(config, "cluster.image", "cluster.pipeline_root", "data.images")
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
        KubeflowV2DagRunner,
        KubeflowV2DagRunnerConfig,
    )
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.dag import make_nodes

    root = str(config.cluster.pipeline_root)
    serving_dir = config.cluster.serving_dir or f"{root.rstrip('/')}/serving/{config.name}"
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(
            default_image=config.cluster.image,
            use_pipeline_spec_2_1=target is Target.KUBEFLOW,
        )
    )
    job = runner.run(
        Pipeline(
            pipeline_name=config.name,
            pipeline_root=root,
            components=make_nodes(config, str(config.data.images), serving_dir),
            enable_cache=True,
        ),
        write_out=False,
    )
    output.write_text(_text(job, target), encoding="utf-8")


def _text(job: dict[str, Any], target: Target) -> str:
    import yaml

    if target is Target.KUBEFLOW:
        return yaml.safe_dump(job["pipelineSpec"], sort_keys=True)
    job = {key: value for key, value in job.items() if key != "labels"}
    # TFX names a job by the time of day; the service adds what makes a name unique.
    job.pop("name", None)
    return json.dumps(job, indent=2, sort_keys=True)


def submit_pipeline(config: Config, target: Target) -> str:
    """Compiles and starts a run; returns the address where it can be watched.

    Raises:
      ClusterError: naming what is missing or refused.
    """
    suffix = ".yaml" if target is Target.KUBEFLOW else ".json"
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / f"{config.name}{suffix}"
        compile_pipeline(config, target, spec)
        submit = _submit_to_kubeflow if target is Target.KUBEFLOW else _submit_to_vertex
        try:
            return submit(config, str(spec))
        except ClusterError:
            raise
        except Exception as error:
            raise ClusterError(f"{target.value} did not take the pipeline: {error}") from error


def _submit_to_kubeflow(config: Config, spec: str) -> str:
    _require(config, "cluster.host")
    import kfp

    client = kfp.Client(
        host=config.cluster.host, existing_token=os.environ.get("KF_PIPELINES_TOKEN")
    )
    run = client.create_run_from_pipeline_package(spec, arguments={})
    return f"{str(config.cluster.host).rstrip('/')}/#/runs/details/{run.run_id}"


def _submit_to_vertex(config: Config, spec: str) -> str:
    _require(config, "cluster.project", "cluster.location")
    from google.cloud import aiplatform

    job = aiplatform.PipelineJob(
        display_name=config.name,
        template_path=spec,
        pipeline_root=config.cluster.pipeline_root,
        project=config.cluster.project,
        location=config.cluster.location,
    )
    job.submit(service_account=config.cluster.service_account)
    return str(job._dashboard_uri())


def _require(config: Config, *keys: str) -> None:
    missing = []
    for key in keys:
        section, name = key.split(".")
        if not getattr(getattr(config, section), name):
            missing.append(key)
    if missing:
        raise ClusterError(
            f"{', '.join(missing)}: must be set for a cluster, in the config or with --set."
        )
