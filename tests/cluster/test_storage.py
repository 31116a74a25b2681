"""Which places a cluster's nodes can use, and what is said of others."""

import re

import pytest

from pipeline.cluster.target import ClusterError, Target

from .conftest import COMMON, KUBEFLOW, compiled, config_of, needs_kfp
from .specs import read_kubeflow

pytestmark = [pytest.mark.slow, needs_kfp]

NO_S3 = r"apart from gs://, TensorFlow reads and writes no remote storage\. Use gs://BUCKET/…"


@pytest.mark.parametrize(
    ("key", "place", "message"),
    [
        (
            "cluster.pipeline_root",
            "/data/root",
            r"Kubeflow Pipelines accepts no folder as its root",
        ),
        ("cluster.pipeline_root", "s3://bucket/root", NO_S3),
        ("cluster.pipeline_root", "minio://mlpipeline/root", NO_S3),
        ("cluster.pipeline_root", "gs://", r"names no bucket"),
        ("cluster.serving_dir", "s3://bucket/models", NO_S3),
        ("cluster.serving_dir", "/models", r"cluster\.resources\.Pusher\.claims"),
        ("data.images", "minio://bucket/images", NO_S3),
        ("data.images", "hdfs://server/images", NO_S3),
        ("data.images", "/database/images", r"cluster\.resources\.ImageExampleGen\.claims"),
        ("data.images", "/data/../photos", r"cluster\.resources\.ImageExampleGen\.claims"),
    ],
)
def test_places_that_a_cluster_cannot_use_are_refused(key, place, message):
    """No pod of FineTuner's reads images or pushes: its claim on /data is of no use there."""
    from pipeline.cluster.compile import check_complete

    chosen = [f"{key}={place}"] if key != "data.images" else []
    images = place if key == "data.images" else "gs://bucket/images"

    with pytest.raises(ClusterError, match=rf"(?s)^{re.escape(key)}: '{place}' .*{message}"):
        check_complete(config_of((*KUBEFLOW, *chosen), images), Target.KUBEFLOW)


def test_images_and_models_may_be_on_a_volume_that_their_node_mounts():
    settings = (
        *COMMON,
        "cluster.serving_dir=/models/birds",
        "cluster.resources={ImageExampleGen: {claims: {/data: photos}}, "
        "Pusher: {claims: {/models: served}}}",
    )

    spec, platform = read_kubeflow(compiled(settings, Target.KUBEFLOW, "/data/photos"))

    executors = platform.platforms["kubernetes"].deployment_spec.executors
    mounts = {name: pod["pvcMount"][0]["mountPath"] for name, pod in executors.items()}
    assert mounts == {"ImageExampleGen_executor": "/data", "Pusher_executor": "/models"}
    told = spec.root.dag.tasks["ImageExampleGen"].inputs.parameters["input_base"]
    assert told.runtime_value.constant.string_value == "/data/photos"
