"""Configs for clusters, and what they compile to: compiled once, read by many tests."""

import sys

import pytest

from pipeline.cluster.target import Target
from pipeline.config.load import load_config
from pipeline.config.schema import Config

COMMON = (
    "name=birds",
    "cluster.image=example/thaw:1",
    "cluster.pipeline_root=gs://bucket/root",
    "backbone.weights=random",
)
KUBEFLOW = (
    *COMMON,
    "cluster.retries=2",
    "cluster.service_account=trainer",
    "cluster.resources={"
    "default: {cpu: 2, memory: 8Gi, env: {LEVEL: '1'}}, "
    "FineTuner: {cpu: 8, memory: 32Gi, image: example/thaw:1-gpu, accelerator: nvidia.com/gpu, "
    "accelerator_count: 2, node_selector: {pool: gpu}, "
    "tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}], "
    "shared_memory: 4Gi, secrets: {/secrets/storage: storage-key}, claims: {/data: photos}}}",
)
GROUPS = (*KUBEFLOW, "train.workers=3", "tuner.enabled=true", "gate.evidence=cross_fit")
VERTEX = (
    *COMMON,
    "cluster.project=p",
    "cluster.location=europe-west4",
    "cluster.network=projects/1/global/networks/n",
    "cluster.service_account=a@p.iam",
    "cluster.resources={default: {cpu: 4, memory: 16G, machine_type: n1-standard-8}, "
    "FineTuner: {accelerator: NVIDIA_TESLA_T4, accelerator_count: 2, spot: true}}",
    "train.workers=3",
    "tuner.enabled=true",
    "gate.evidence=auto",
    "export.formats=[onnx]",
)

needs_kfp = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="TFX brings kfp below Python 3.12 only"
)


def config_of(settings: tuple[str, ...], images: str = "gs://bucket/images") -> Config:
    return load_config(None, settings, images)


def compiled(settings: tuple[str, ...], target: Target, images: str = "gs://bucket/images") -> str:
    from pipeline.cluster.compile import compile_pipeline

    return compile_pipeline(config_of(settings, images), target)


@pytest.fixture(scope="session")
def kubeflow_text() -> str:
    return compiled(KUBEFLOW, Target.KUBEFLOW)


@pytest.fixture(scope="session")
def groups_text() -> str:
    return compiled(GROUPS, Target.KUBEFLOW)


@pytest.fixture(scope="session")
def vertex_text() -> str:
    return compiled(VERTEX, Target.VERTEX)
