"""What a compiled pipeline says of its store: to tasks' pods, to workers' pods, to the launcher."""

import json

import pytest
from google.protobuf import json_format

from pipeline.cluster.report_inputs import NODE as REPORT
from pipeline.cluster.target import Target
from trainer.store.uris import VARIABLE

from .conftest import COMMON, GROUPS, compiled, needs_kfp
from .specs import container_of, group_of, pod_environment, read_kubeflow

pytestmark = [pytest.mark.slow, needs_kfp]

SECRETS = {"store-keys": {"access": "A", "secretkey": "S"}}
STAGED = (
    "cluster.pipeline_root=s3://bucket/root",
    "cluster.store={kind: staged, endpoint: 'https://store:9000', region: eu, "
    "secret: store-keys, access_key: access, ca_secret: store-ca}",
    "cluster.num_images=1000",
)
MOUNTED = (
    "cluster.pipeline_root=minio://mlpipeline/thaw",
    "cluster.store={kind: mounted, claim: thaw, group: 2000}",
)


@pytest.fixture(scope="module")
def staged():
    text = compiled((*GROUPS, *STAGED), Target.KUBEFLOW, "s3://bucket/images")
    return read_kubeflow(text)


@pytest.fixture(scope="module")
def mounted():
    text = compiled((*GROUPS, *MOUNTED), Target.KUBEFLOW, "minio://mlpipeline/thaw/images")
    return read_kubeflow(text)


@pytest.fixture(scope="module")
def alone():
    """Staged, with every node in its own pod."""
    return read_kubeflow(compiled((*COMMON, *STAGED), Target.KUBEFLOW, "s3://bucket/images"))


def inputs_of(spec, node):
    inputs = spec.root.dag.tasks[node].inputs
    references = {name for name in inputs.parameters if name.endswith("_reference")}
    return set(inputs.artifacts), references


def pod_of(platform, node):
    executors = platform.platforms["kubernetes"].deployment_spec.executors
    return json_format.MessageToDict(executors[f"{node}_executor"])


def test_features_reach_the_pods_that_start_workers_by_their_address_alone(staged):
    spec, _ = staged

    for node in ("HeadTrainer", "FineTuner"):
        artifacts, references = inputs_of(spec, node)
        assert references == {"examples_reference"}
        assert "examples" not in artifacts
        assert "TrunkFeatures" in spec.root.dag.tasks[node].dependent_tasks
    source = spec.root.dag.tasks["FineTuner"].inputs.parameters["examples_reference"]
    assert source.task_output_parameter.producer_task == "TrunkFeatures"
    made = spec.components["TrunkFeatures"].output_definitions.parameters
    assert list(made) == [source.task_output_parameter.output_parameter_key]


def test_a_node_in_its_own_pod_reads_the_launchers_copies(alone):
    spec, _ = alone

    assert inputs_of(spec, "FineTuner") == ({"base_model", "examples", "transform_graph"}, set())
    arguments = container_of(spec, "FineTuner").args
    assert "--local_input=examples={{$.inputs.artifacts['examples'].path}}" in arguments
    assert "--local_output=model={{$.outputs.artifacts['model'].path}}" in arguments


@pytest.mark.parametrize("settings", [(), MOUNTED])
def test_a_store_that_nodes_read_themselves_has_no_copies_of_examples(settings):
    images = "minio://mlpipeline/thaw/images" if settings else "gs://bucket/images"
    spec, _ = read_kubeflow(compiled((*COMMON, *settings), Target.KUBEFLOW, images))

    for node in spec.root.dag.tasks:
        artifacts, _ = inputs_of(spec, node)
        assert not artifacts & {"examples", "images"}, node
        # The Report's outputs are for the service's own user interface, which shows the copies.
        local = [a for a in container_of(spec, node).args if a.startswith("--local")]
        assert node == REPORT or not local, node


def test_a_staged_stores_access_reaches_tasks(staged):
    spec, platform = staged
    env = {one.name: one.value for one in container_of(spec, "Transform").env}

    assert json.loads(env[VARIABLE])["kind"] == "staged"
    assert (env["AWS_ENDPOINT_URL_S3"], env["AWS_REGION"]) == ("https://store:9000", "eu")
    assert env["SSL_CERT_FILE"] == "/etc/thaw-store/ca.crt"
    assert pod_environment(platform, SECRETS)["Transform"] == {
        "AWS_ACCESS_KEY_ID": "A",
        "AWS_SECRET_ACCESS_KEY": "S",
    }
    (mount,) = pod_of(platform, "Transform")["secretAsVolume"]
    assert (mount["secretName"], mount["mountPath"]) == ("store-ca", "/etc/thaw-store")


def test_a_staged_stores_access_reaches_workers(staged):
    launcher = group_of(*staged, "FineTuner")["launcher"]

    assert launcher["env"]["AWS_ENDPOINT_URL_S3"] == "https://store:9000"
    assert json.loads(launcher["env"][VARIABLE])["kind"] == "staged"
    assert launcher["secret_env"]["AWS_ACCESS_KEY_ID"] == {"secret": "store-keys", "key": "access"}
    assert launcher["secrets"]["/etc/thaw-store"] == "store-ca"


def test_workers_request_disk_for_their_copies(staged):
    """1,000 images of 164 kB each, an exported model, and vectors."""
    assert group_of(*staged, "HeadTrainer")["launcher"]["disk"] == "1Gi"


def test_every_pod_mounts_the_store(mounted):
    spec, platform = mounted

    for node in spec.root.dag.tasks:
        claims = {one["mountPath"]: one["constant"] for one in pod_of(platform, node)["pvcMount"]}
        assert claims["/thaw-store"] == "thaw", node
        assert pod_of(platform, node)["securityContext"] == {"runAsGroup": "2000"}
    launcher = group_of(*mounted, "HeadTrainer")["launcher"]
    assert launcher["claims"]["/thaw-store"] == "thaw"
    assert launcher["fs_group"] == 2000


def test_a_mounted_root_stays_the_pipelines_own(mounted):
    spec, _ = mounted
    env = {one.name: one.value for one in container_of(spec, "Pusher").env}

    assert spec.default_pipeline_root == "minio://mlpipeline/thaw"
    assert json.loads(env[VARIABLE]) == {
        "kind": "mounted",
        "holds": "minio://mlpipeline/thaw",
        "mount_path": "/thaw-store",
    }
