"""Compiled pipelines, read by the loaders of those who will run them."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from google.protobuf import json_format

from pipeline.cluster.references import title_of
from pipeline.cluster.target import ClusterError, Target
from pipeline.config.cluster import NODES
from pipeline.config.load import ConfigError

from ..conftest import ROOT
from .conftest import COMMON, KUBEFLOW, VERTEX, compiled, config_of, needs_kfp
from .specs import container_of, custom_config, deployment_of, group_of, read_kubeflow, read_vertex

pytestmark = [pytest.mark.slow, needs_kfp]


def test_kubeflow_reads_its_spec_at_schema_2_1(kubeflow_text, tmp_path):
    from kfp import components

    path = tmp_path / "pipeline.yaml"
    path.write_text(kubeflow_text)

    spec, _ = read_kubeflow(kubeflow_text)
    loaded = components.load_component_from_file(str(path))

    assert loaded.name == "birds"
    assert spec.schema_version == "2.1.0"
    assert spec.default_pipeline_root == "gs://bucket/root"
    assert "gs://bucket/root/serving/birds" in kubeflow_text


def test_vertex_reads_its_job(vertex_text, tmp_path):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    path = tmp_path / "job.json"
    path.write_text(vertex_text)

    _, written = read_vertex(vertex_text)
    job = aiplatform.PipelineJob(
        display_name="birds",
        template_path=str(path),
        project="p",
        location="europe-west4",
        credentials=AnonymousCredentials(),
    )

    assert job.runtime_config.gcs_output_directory == "gs://bucket/root"
    assert set(job.pipeline_spec["root"]["dag"]["tasks"]) == set(NODES)
    assert written.name == ""
    assert not written.labels


@pytest.mark.parametrize("text", ["kubeflow_text", "groups_text", "vertex_text"])
def test_nothing_is_compiled_that_a_cluster_cannot_run(text, request):
    text = request.getfixturevalue(text)
    spec, _ = (read_vertex if text.startswith("{") else read_kubeflow)(text)

    for executor in deployment_of(spec).executors.values():
        assert executor.WhichOneof("spec") == "container"  # Kubeflow knows no resolver
        assert executor.container.image.startswith("example/thaw:1")
        assert {"TF_USE_LEGACY_KERAS": "1"}.items() <= {
            one.name: one.value for one in executor.container.env
        }.items()
    titles = {
        title_of(artifact.artifact_type)
        for component in spec.components.values()
        for artifact in component.output_definitions.artifacts.values()
    }
    assert len(titles) > 5
    assert all(re.fullmatch(r"(tfx|system)\.[A-Z]\w+", title) for title in titles), titles


def test_each_node_gets_its_resources_and_the_rest_the_default(kubeflow_text):
    spec, _ = read_kubeflow(kubeflow_text)

    usual, special = container_of(spec, "Transform"), container_of(spec, "FineTuner")

    assert usual.image == "example/thaw:1"
    assert (usual.resources.cpu_limit, usual.resources.resource_cpu_limit) == (2, "2")
    assert usual.resources.resource_memory_limit == "8Gi"
    assert usual.resources.memory_limit == pytest.approx(8.589934592)  # GB
    assert not usual.resources.HasField("accelerator")
    assert special.image == "example/thaw:1-gpu"
    assert (special.resources.resource_cpu_limit, special.resources.resource_memory_limit) == (
        "8",
        "32Gi",
    )
    accelerator = special.resources.accelerator
    assert (accelerator.type, accelerator.count) == ("nvidia.com/gpu", 2)
    assert (accelerator.resource_type, accelerator.resource_count) == ("nvidia.com/gpu", "2")
    for container in (usual, special):
        assert {one.name: one.value for one in container.env}["LEVEL"] == "1"


def test_what_only_pods_have_stands_in_a_second_document(kubeflow_text):
    from kfp.kubernetes import kubernetes_executor_config_pb2 as pods_pb2

    _, platform = read_kubeflow(kubeflow_text)

    executors = platform.platforms["kubernetes"].deployment_spec.executors
    assert list(executors) == ["FineTuner_executor"]
    pod = json_format.ParseDict(
        json_format.MessageToDict(executors["FineTuner_executor"]),
        pods_pb2.KubernetesExecutorConfig(),
    )
    assert dict(pod.node_selector.labels) == {"pool": "gpu"}
    (toleration,) = pod.tolerations
    assert (toleration.key, toleration.operator, toleration.effect) == (
        "nvidia.com/gpu",
        "Exists",
        "NoSchedule",
    )
    (memory,) = pod.empty_dir_mounts
    assert (memory.mount_path, memory.medium, memory.size_limit) == ("/dev/shm", "Memory", "4Gi")
    (secret,) = pod.secret_as_volume
    assert (secret.secret_name, secret.mount_path) == ("storage-key", "/secrets/storage")
    (claim,) = pod.pvc_mount
    assert (claim.constant, claim.mount_path) == ("photos", "/data")


def test_a_pod_with_a_gpu_tolerates_the_taint_of_gpu_nodes():
    settings = (
        *COMMON,
        "cluster.resources={default: {accelerator: amd.com/gpu}, "
        "Pusher: {tolerations: [{key: team, value: vision, tolerationSeconds: 60}]}}",
    )

    _, platform = read_kubeflow(compiled(settings, Target.KUBEFLOW))

    kubernetes = json_format.MessageToDict(platform)["platforms"]["kubernetes"]
    pods = kubernetes["deploymentSpec"]["executors"]
    assert len(pods) == len(NODES) - 3  # there are no Tuner, no CrossFitter and no Exporter
    taint = {"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    team = {"key": "team", "operator": "Equal", "value": "vision", "tolerationSeconds": "60"}
    for name, pod in pods.items():
        assert pod["tolerations"] == ([team, taint] if name == "Pusher_executor" else [taint])


def test_pods_that_need_nothing_special_get_no_second_document():
    text = compiled(COMMON, Target.KUBEFLOW)

    assert len(list(yaml.safe_load_all(text))) == 1


def test_retries_and_caching_come_from_the_config(kubeflow_text, vertex_text):
    for text, read, retries in ((kubeflow_text, read_kubeflow, 2), (vertex_text, read_vertex, 0)):
        tasks = read(text)[0].root.dag.tasks

        assert {task.retry_policy.max_retry_count for task in tasks.values()} == {retries}
        cached = {name for name, task in tasks.items() if task.caching_options.enable_cache}
        # Only Vertex AI looks whether there are new images before it spares the node.
        assert set(tasks) - cached == (
            {"ImageExampleGen", "Report"} if read is read_kubeflow else {"Report"}
        )
    policy = read_kubeflow(kubeflow_text)[0].root.dag.tasks["FineTuner"].retry_policy
    assert (policy.backoff_duration.seconds, policy.backoff_factor) == (60, 2)
    off = read_kubeflow(compiled((*COMMON, "cluster.caching=false"), Target.KUBEFLOW))[0]
    assert not any(task.caching_options.enable_cache for task in off.root.dag.tasks.values())


def test_one_worker_trains_in_its_own_pod(kubeflow_text):
    spec, _ = read_kubeflow(kubeflow_text)

    for node in ("HeadTrainer", "FineTuner"):
        assert "worker_group" not in custom_config(spec, node)


def test_several_workers_are_a_job_with_the_nodes_resources(groups_text):
    from launchers.kubernetes.settings import read_settings

    spec, platform = read_kubeflow(groups_text)

    group = group_of(spec, platform, "FineTuner")
    assert (group["workers"], group["launcher"].pop("kind")) == (3, "kubernetes")
    worker = read_settings(group["launcher"])
    assert (worker.image, worker.cpu, worker.memory) == ("example/thaw:1-gpu", "8", "32Gi")
    assert (worker.gpus, worker.gpu_resource) == (2, "nvidia.com/gpu")
    assert worker.node_selector == {"pool": "gpu"}
    assert [toleration.key for toleration in worker.tolerations] == ["nvidia.com/gpu"]
    assert worker.claims == {"/data": "photos"}
    assert worker.service_account == "trainer"
    assert worker.env == {"LEVEL": "1"}
    # The pod that starts them and waits needs no GPU.
    waiting = container_of(spec, "FineTuner")
    assert (waiting.image, waiting.resources.resource_cpu_limit) == ("example/thaw:1", "2")
    assert not waiting.resources.HasField("accelerator")
    pods = platform.platforms["kubernetes"].deployment_spec.executors
    assert sorted(pods) == ["FineTuner_executor", "HeadTrainer_executor"]
    assert all(set(pod) == {"podMetadata", "fieldPathAsEnv"} for pod in pods.values())
    # A search goes one trial after the other.
    assert "worker_group" not in custom_config(spec, "Tuner")


def test_a_launcher_in_the_config_is_used_even_by_one_worker():
    settings = (*COMMON, "tuner.enabled=true", "cluster.launcher={workload: jobset, memory: 4Gi}")

    spec, platform = read_kubeflow(compiled(settings, Target.KUBEFLOW))

    for node in ("Tuner", "HeadTrainer", "FineTuner"):
        group = group_of(spec, platform, node)
        assert group["workers"] == 1
        assert (group["launcher"]["workload"], group["launcher"]["memory"]) == ("jobset", "4Gi")


def test_vertex_trains_in_custom_jobs_whose_first_pool_is_the_chief(vertex_text):
    from google.cloud.aiplatform_v1 import types

    spec, _ = read_vertex(vertex_text)

    custom = custom_config(spec, "FineTuner")
    assert custom["ai_platform_enable_vertex"] is True
    assert custom["ai_platform_vertex_region"] == "europe-west4"
    arguments = custom["ai_platform_training_args"]
    assert (arguments["project"], arguments["display_name"]) == ("p", "birds-finetuner")
    job = types.CustomJobSpec(arguments["job_spec"])  # refuses what the service does not know
    chief, workers = job.worker_pool_specs
    assert (chief.replica_count, workers.replica_count) == (1, 2)
    for pool in (chief, workers):
        assert pool.machine_spec.machine_type == "n1-standard-8"
        assert pool.machine_spec.accelerator_type == types.AcceleratorType.NVIDIA_TESLA_T4
        assert pool.machine_spec.accelerator_count == 2
        assert pool.container_spec.image_uri == "example/thaw:1"
        assert {one.name: one.value for one in pool.container_spec.env} == {
            "TF_USE_LEGACY_KERAS": "1"
        }
    assert job.scheduling.strategy == types.Scheduling.Strategy.SPOT
    assert job.scheduling.restart_job_on_worker_restart
    assert (job.service_account, job.network) == ("a@p.iam", "projects/1/global/networks/n")
    assert container_of(spec, "FineTuner").args[1] == (
        "tfx.extensions.google_cloud_ai_platform.trainer.executor.GenericExecutor"
    )
    # Only what waits runs here.
    assert not container_of(spec, "FineTuner").resources.HasField("accelerator")
    head = types.CustomJobSpec(
        custom_config(spec, "HeadTrainer")["ai_platform_training_args"]["job_spec"]
    )
    assert head.scheduling.strategy != types.Scheduling.Strategy.SPOT
    (search,) = custom_config(spec, "Tuner")["ai_platform_training_args"]["job_spec"][
        "worker_pool_specs"
    ]
    assert search["replica_count"] == 1


def test_vertex_without_machines_of_their_own_trains_in_the_nodes_themselves():
    settings = (*COMMON, "cluster.resources={FineTuner: {accelerator: NVIDIA_TESLA_T4}}")

    spec, _ = read_vertex(compiled(settings, Target.VERTEX))

    container = container_of(spec, "FineTuner")
    assert container.args[1] == "components.trainer.executor.Executor"
    assert container.resources.accelerator.type == "NVIDIA_TESLA_T4"
    assert "ai_platform_training_args" not in custom_config(spec, "FineTuner")


@pytest.mark.parametrize("target", list(Target))
def test_the_command_writes_the_same_bytes_in_another_process(target, request, tmp_path):
    """It also leaves out of its process what a compiler never uses; this one has it all."""
    output = tmp_path / "again"
    settings = VERTEX if target is Target.VERTEX else KUBEFLOW

    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.cli.main", "compile", "--target", target.value),
            *("--images", "gs://bucket/images", "--output", str(output)),
            *(argument for setting in settings for argument in ("--set", setting)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert output.read_text() == request.getfixturevalue(f"{target.value}_text")


@pytest.mark.parametrize(
    ("settings", "images", "target", "message"),
    [
        ((), None, "vertex", r"cluster\.image, cluster\.pipeline_root, data\.images: must be set"),
        (COMMON, "photos", "kubeflow", r"data\.images: 'photos' is a folder of this machine"),
        (COMMON, "/photos", "vertex", r"data\.images: '/photos' is in no bucket"),
        (COMMON, "s3://photos", "vertex", r"data\.images: 's3://photos' is in no bucket"),
        (
            (*COMMON, "train.workers=2"),
            "gs://b/i",
            "vertex",
            r"cluster\.resources\.HeadTrainer\.machine_type: must be set .* train\.workers is 2",
        ),
        (
            (*COMMON, "cluster.resources={default: {machine_type: n1-standard-8}}"),
            "gs://b/i",
            "vertex",
            r"cluster\.project, cluster\.location: must be set",
        ),
    ],
)
def test_what_cannot_be_compiled_says_which_key_is_wrong(settings, images, target, message):
    from pipeline.cluster.compile import compile_pipeline
    from pipeline.config.load import load_config

    with pytest.raises(ClusterError, match=f"(?s){message}"):
        compile_pipeline(load_config(None, settings, images), Target(target))


def test_nodes_of_the_config_are_those_of_the_pipeline():
    from pipeline.dag import make_nodes

    nodes = make_nodes(
        config_of((*COMMON, "tuner.enabled=true", "gate.evidence=auto", "export.formats=[onnx]")),
        "/images",
        "/serving",
    )

    assert (*(node.id for node in nodes), "Report") == NODES


def test_resources_of_an_unknown_node_are_refused():
    with pytest.raises(ConfigError, match=r"FineTunr is no node\. Did you mean FineTuner\?"):
        config_of(("cluster.resources={FineTunr: {cpu: 2}}",))


def test_an_unknown_resource_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"cluster\.resources\.FineTuner\.memry: .*Did you mean memory\?"
    ):
        config_of(("cluster.resources={FineTuner: {memry: 2Gi}}",))


@pytest.mark.parametrize("target", list(Target))
def test_the_example_configs_compile(target):
    from pipeline.cluster.compile import compile_pipeline
    from pipeline.config.load import load_config

    text = compile_pipeline(load_config(ROOT / "configs" / f"{target.value}.yaml"), target)

    spec, platform = (read_vertex if target is Target.VERTEX else read_kubeflow)(text)
    if target is Target.VERTEX:
        custom = custom_config(spec, "FineTuner")
        pools = custom["ai_platform_training_args"]["job_spec"]["worker_pool_specs"]
        assert [pool["replica_count"] for pool in pools] == [1, 1]
    else:
        group = group_of(spec, platform, "FineTuner")
        assert group["workers"] == 2
        assert group["launcher"]["service_account"] == "thaw-worker"
        assert group["launcher"]["gpus"] == 1


@pytest.mark.parametrize("text", ["kubeflow_text", "groups_text", "vertex_text"])
def test_the_last_task_shows_the_run_in_the_user_interface(text, request):
    text = request.getfixturevalue(text)
    spec, _ = (read_vertex if text.startswith("{") else read_kubeflow)(text)

    task = spec.root.dag.tasks["Report"]
    component = spec.components[task.component_ref.name]

    shown = {
        name: title_of(output.artifact_type)
        for name, output in component.output_definitions.artifacts.items()
    }
    assert shown == {
        "report": "system.HTML",
        "summary": "system.Markdown",
        "metrics": "system.Metrics",
        "classification": "system.ClassificationMetrics",
    }
    # A service copies what a task reads into its pod: no images, no features.
    read = {title_of(one.artifact_type) for one in component.input_definitions.artifacts.values()}
    assert "tfx.Examples" not in read
    assert "tfx.ModelEvaluation" in read
    assert "Pusher" in task.dependent_tasks
    assert not task.caching_options.enable_cache
