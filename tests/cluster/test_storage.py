"""Which places a cluster's nodes can use with each kind of store, and what is said of others."""

import re

import pytest

from pipeline.cluster.target import ClusterError, Target

from .conftest import COMMON, KUBEFLOW, VERTEX, compiled, config_of, needs_kfp
from .specs import read_kubeflow

pytestmark = [pytest.mark.slow, needs_kfp]

NOT_DIRECT = r"TensorFlow reads and writes gs:// only\. .*cluster\.store: mounted or staged"
MOUNTED = (
    "cluster.pipeline_root=minio://mlpipeline/thaw",
    "cluster.store={kind: mounted, claim: thaw}",
)
STAGED = ("cluster.pipeline_root=s3://bucket/thaw", "cluster.store=staged")


def check(settings, images, target=Target.KUBEFLOW):
    from pipeline.cluster.compile import check_complete

    check_complete(config_of(settings, images), target)


def refused(settings, key, place, message, images):
    chosen = [f"{key}={place}"] if key != "data.images" else []
    images = place if key == "data.images" else images
    with pytest.raises(ClusterError, match=rf"(?s)^{re.escape(key)}: '{place}' .*{message}"):
        check((*KUBEFLOW, *settings, *chosen), images)


@pytest.mark.parametrize(
    ("key", "place", "message"),
    [
        (
            "cluster.pipeline_root",
            "/data/root",
            r"Kubeflow Pipelines accepts no folder as its root",
        ),
        ("cluster.pipeline_root", "s3://bucket/root", NOT_DIRECT),
        ("cluster.pipeline_root", "minio://mlpipeline/root", NOT_DIRECT),
        ("cluster.pipeline_root", "gs://", r"names no bucket"),
        ("cluster.serving_dir", "s3://bucket/models", NOT_DIRECT),
        ("cluster.serving_dir", "/models", r"cluster\.resources\.Pusher\.claims"),
        ("data.images", "minio://bucket/images", NOT_DIRECT),
        ("data.images", "hdfs://server/images", r"no node reads this kind of storage"),
        ("data.images", "/database/images", r"cluster\.resources\.ImageExampleGen\.claims"),
        ("data.images", "/data/../photos", r"cluster\.resources\.ImageExampleGen\.claims"),
    ],
)
def test_places_that_tensorflow_cannot_use_are_refused(key, place, message):
    """No pod of FineTuner's reads images or pushes: its claim on /data is of no use there."""
    refused((), key, place, message, "gs://bucket/images")


@pytest.mark.parametrize(
    ("key", "place", "message"),
    [
        ("cluster.pipeline_root", "/thaw-store", r"accepts an object store alone as its root"),
        ("data.images", "minio://mlpipeline/photos", r"is not on the mounted volume, which stands"),
        ("data.images", "gs://bucket/photos", r"minio://mlpipeline/thaw \(cluster\.store\.holds"),
        ("data.images", "/thaw-store/photos", r"write its address, minio://mlpipeline/thaw/…"),
        ("cluster.serving_dir", "s3://bucket/models", r"is not on the mounted volume"),
        ("cluster.serving_dir", "/models", r"cluster\.resources\.Pusher\.claims"),
    ],
)
def test_places_off_the_mounted_volume_are_refused(key, place, message):
    holds = "cluster.store.holds=minio://mlpipeline/thaw"
    refused((*MOUNTED, holds), key, place, message, "minio://mlpipeline/thaw/images")


@pytest.mark.parametrize(
    ("key", "place", "message"),
    [
        ("cluster.pipeline_root", "gs://bucket/root", r"Use cluster\.store: direct"),
        ("data.images", "photos", r"is a folder of this machine, which no cluster can reach"),
        ("cluster.serving_dir", "/models", r"Use s3://BUCKET/… or minio://BUCKET/…, or mount"),
    ],
)
def test_places_that_are_not_on_s3_are_refused_for_staged(key, place, message):
    refused(STAGED, key, place, message, "s3://bucket/images")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("cluster.store=mounted",), r"cluster\.store\.claim: must be set"),
        (("cluster.store.claim=thaw",), r"cluster\.store\.claim: has no meaning .*direct"),
        ((*STAGED, "cluster.store={kind: staged, group: 5}"), r"cluster\.store\.group: has no"),
        ((*STAGED, "beam.options=[--runner=FlinkRunner]"), r"--runner=FlinkRunner runs on mach"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ClusterError, match=message):
        check((*KUBEFLOW, *settings), "s3://bucket/images")


def test_vertex_ai_has_a_direct_store_alone():
    with pytest.raises(ClusterError, match=r"staged is for Kubeflow Pipelines"):
        check((*VERTEX, "cluster.store=staged"), "gs://bucket/images", Target.VERTEX)


@pytest.mark.parametrize(
    ("settings", "images"),
    [
        (MOUNTED, "minio://mlpipeline/thaw/images"),
        (
            (*MOUNTED, "cluster.store.holds=minio://mlpipeline"),
            "minio://mlpipeline/photos/2026",
        ),
        (STAGED, "minio://bucket/images"),
        ((*STAGED, "beam.options=[--runner=DirectRunner]"), "s3://other/images"),
    ],
)
def test_places_that_every_pod_reaches_are_accepted(settings, images):
    check((*KUBEFLOW, *settings), images)


def test_the_gate_must_reach_the_served_model_or_be_told_to_ignore_it():
    settings = (
        *COMMON,
        "cluster.serving_dir=/models/birds",
        "cluster.resources={Pusher: {claims: {/models: served}}}",
    )

    with pytest.raises(ClusterError, match=r"cluster\.serving_dir: '/models/birds'"):
        check(settings, "gs://bucket/images")
    check((*settings, "gate.served=ignore"), "gs://bucket/images")


def test_images_and_models_may_be_on_a_volume_that_their_node_mounts():
    settings = (
        *COMMON,
        "cluster.serving_dir=/models/birds",
        "cluster.resources={ImageExampleGen: {claims: {/data: photos}}, "
        "Pusher: {claims: {/models: served}}, Gate: {claims: {/models: served}}}",
    )

    spec, platform = read_kubeflow(compiled(settings, Target.KUBEFLOW, "/data/photos"))

    executors = platform.platforms["kubernetes"].deployment_spec.executors
    mounts = {name: pod["pvcMount"][0]["mountPath"] for name, pod in executors.items()}
    assert mounts == {
        "ImageExampleGen_executor": "/data",
        "Pusher_executor": "/models",
        "Gate_executor": "/models",
    }
    parameter = spec.root.dag.tasks["ImageExampleGen"].inputs.parameters["input_base"]
    assert parameter.runtime_value.constant.string_value == "/data/photos"
