"""Compiled pipelines, read by the loaders of those who will run them."""

import json
import re
import sys

import pytest
import yaml
from google.protobuf import json_format

from pipeline.cluster import ClusterError, Target, compile_pipeline, submit_pipeline
from pipeline.config_io import load_config

pytestmark = pytest.mark.slow

SETTINGS = [
    "name=birds",
    "cluster.image=example/thaw:1",
    "cluster.pipeline_root=gs://bucket/root",
    "backbone.weights=random",
]


@pytest.fixture(scope="module")
def config():
    return load_config(None, SETTINGS, "gs://bucket/images")


@pytest.fixture(scope="module")
def compiled(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    for target in Target:
        compile_pipeline(config, target, folder / target.value)
    return {target: (folder / target.value).read_text() for target in Target}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="TFX brings kfp below Python 3.12 only")
def test_kubeflow_reads_its_spec_at_schema_2_1(compiled, tmp_path):
    from kfp import components
    from kfp.pipeline_spec import pipeline_spec_pb2

    spec = yaml.safe_load(compiled[Target.KUBEFLOW])
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())  # strict: unknown keys raise
    loaded = components.load_component_from_text(compiled[Target.KUBEFLOW])

    assert loaded.name == "birds"
    assert spec["schemaVersion"] == "2.1.0"
    images = re.findall(r"image: (\S+)", compiled[Target.KUBEFLOW])
    assert set(images) == {"example/thaw:1"}


def test_vertex_reads_its_job(compiled, tmp_path):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    path = tmp_path / "job.json"
    path.write_text(compiled[Target.VERTEX])

    job = aiplatform.PipelineJob(
        display_name="birds",
        template_path=str(path),
        project="p",
        location="europe-west4",
        credentials=AnonymousCredentials(),
    )

    assert job._gca_resource.display_name == "birds"
    spec = json.loads(compiled[Target.VERTEX])["pipelineSpec"]
    assert {name.split("_")[0] for name in spec["root"]["dag"]["tasks"]} >= {"Transform", "Pusher"}


def test_same_config_gives_the_same_bytes(compiled, config, tmp_path):
    for target in Target:
        compile_pipeline(config, target, tmp_path / "again")

        assert (tmp_path / "again").read_text() == compiled[target]


def test_models_are_pushed_below_the_pipeline_root_unless_told_otherwise(compiled):
    assert "gs://bucket/root/serving/birds" in compiled[Target.KUBEFLOW]


def test_missing_keys_are_named(tmp_path):
    with pytest.raises(ClusterError, match=r"cluster\.image, cluster\.pipeline_root, data\.images"):
        compile_pipeline(load_config(None), Target.VERTEX, tmp_path / "x")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="TFX brings kfp below Python 3.12 only")
def test_kubeflow_that_does_not_answer_is_a_clear_error():
    config = load_config(None, [*SETTINGS, "cluster.host=http://127.0.0.1:9"], "gs://b/i")

    with pytest.raises(ClusterError, match="kubeflow did not take the pipeline"):
        submit_pipeline(config, Target.KUBEFLOW)


def test_vertex_needs_a_project_and_a_location(config):
    with pytest.raises(ClusterError, match=r"cluster\.project, cluster\.location"):
        submit_pipeline(config, Target.VERTEX)
