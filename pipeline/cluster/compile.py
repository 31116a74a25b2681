"""Compiles the pipeline into what the API of a cluster takes."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import trainer  # noqa: F401 - chooses the Keras before anything imports TensorFlow
from pipeline.cluster.storage import check_places
from pipeline.cluster.target import Target, check_python, require
from pipeline.cluster.vertex_settings import check_vertex
from pipeline.config.schema import Config
from trainer.process.tf_config import WORKER_GROUP

if TYPE_CHECKING:  # imports TFX
    from pipeline.training_nodes import NodePlacement


def compile_pipeline(config: Config, target: Target) -> str:
    """The pipeline as text. The same config gives the same bytes.

    Args:
      config: `cluster.image`, `cluster.pipeline_root` and `data.images` must be set.
      target: Kubeflow gets a PipelineSpec as YAML at schema 2.1.0, the only one that an
        open-source KFP API server accepts, and a second document with what pods need,
        where the config asks for any of it; Vertex AI gets a PipelineJob as JSON.

    Raises:
      ClusterError: naming the keys that are missing or do not go together.
    """
    check_complete(config, target)
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    from pipeline.cluster import containers, parameter_inputs, pods, references
    from pipeline.cluster.parameters import parameters_of
    from pipeline.cluster.placement import place_training_nodes
    from pipeline.cluster.report_node import add_report

    placements = place_training_nodes(target, config)
    job = _compile(config, target, placements)
    spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    if target is Target.KUBEFLOW:
        references.pass_by_reference(spec, config, placements)
    add_report(spec, config, target)
    parameters = parameters_of(config, _has_worker_groups(target, placements))
    parameter_inputs.add_parameters(spec, config, target, parameters)
    containers.apply_container_settings(spec, config, target, placements)
    if target is Target.VERTEX:
        defaults = parameter_inputs.runtime_values(config, parameters)
        runtime = {**job["runtimeConfig"], "parameters": defaults}
        spec_of_job = json_format.MessageToDict(spec)
        return _json({**job, "pipelineSpec": spec_of_job, "runtimeConfig": runtime})
    # A bare spec has no other place for it.
    spec.default_pipeline_root = str(config.cluster.pipeline_root)
    platform = pods.platform_spec(spec, config, placements)
    return _yaml(json_format.MessageToDict(one) for one in (spec, platform) if one.ListFields())


def _has_worker_groups(target: Target, placements: Mapping[str, "NodePlacement"]) -> bool:
    """Whether the fits are jobs of as many workers as a run asks for: Vertex AI's are fixed."""
    return target is Target.KUBEFLOW and any(
        WORKER_GROUP in placement.config for placement in placements.values()
    )


def check_complete(config: Config, target: Target) -> None:
    """Checks what can be checked before anything heavy is loaded.

    Raises:
      ClusterError: see `compile_pipeline`.
    """
    require(config, "cluster.image", "cluster.pipeline_root", "data.images")
    check_places(config, target)
    check_vertex(config, target)
    check_python()


def _compile(
    config: Config, target: Target, placements: Mapping[str, "NodePlacement"]
) -> dict[str, Any]:
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
        KubeflowV2DagRunner,
        KubeflowV2DagRunnerConfig,
    )
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.dag import make_nodes

    root = str(config.cluster.pipeline_root)
    folder = root.rstrip("/")
    serving_dir = config.cluster.serving_dir or f"{folder}/serving/{config.name}"
    exports_dir = f"{folder}/exports/{config.name}"
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(
            default_image=config.cluster.image,
            use_pipeline_spec_2_1=target is Target.KUBEFLOW,
        )
    )
    return runner.run(
        Pipeline(
            pipeline_name=config.name,
            pipeline_root=root,
            components=make_nodes(
                config,
                str(config.data.images),
                serving_dir,
                placements,
                exports_dir=exports_dir,
            ),
        ),
        write_out=False,
    )


def _json(job: dict[str, Any]) -> str:
    # TFX names a job by the time of day and labels it with versions; the service names it again.
    kept = {key: value for key, value in job.items() if key not in ("name", "labels")}
    return json.dumps(kept, indent=2, sort_keys=True) + "\n"


def _yaml(documents: Iterable[dict[str, Any]]) -> str:
    import yaml

    return yaml.safe_dump_all(documents, sort_keys=True, width=100)
