"""What the settings of Vertex AI and the labels become, and which do not go together."""

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from pipeline.cluster.compile import check_complete
from pipeline.cluster.placement import launcher_settings
from pipeline.cluster.target import ClusterError, Target
from pipeline.config.load import ConfigError

from .conftest import GROUPS, KUBEFLOW, VERTEX, config_of, needs_kfp

KEY = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
SETTINGS = (
    *VERTEX,
    "cluster.network=null",
    "cluster.labels={team: vision}",
    f"cluster.vertex.kms_key={KEY}",
    "cluster.vertex.network_attachment=attachment",
    "cluster.vertex.dns_peering=[{domain: a.b., target_project: q, target_network: n}]",
    "cluster.vertex.boot_disk_type=pd-standard",
    "cluster.vertex.boot_disk_gb=500",
    "cluster.vertex.persistent_resource=machines",
    "cluster.vertex.timeout_secs=7200",
)


@needs_kfp
@pytest.mark.slow
def test_a_custom_job_gets_all_settings():
    from tfx.extensions.google_cloud_ai_platform.training_clients import VertexJobClient

    from pipeline.cluster.vertex_jobs import place_as_job

    args = place_as_job(config_of(SETTINGS), "FineTuner").config["ai_platform_training_args"]
    client = VertexJobClient.__new__(VertexJobClient)  # without a connection
    made = client.create_training_job({}, {}, {}, "an.Executor", args, None, None)
    job = json_format.ParseDict(made, types.CustomJob.pb(types.CustomJob()))

    spec = job.job_spec
    assert job.encryption_spec.kms_key_name == KEY
    assert job.labels["team"] == "vision"
    assert spec.persistent_resource_id == "machines"
    assert spec.scheduling.timeout.seconds == 7200
    assert spec.psc_interface_config.network_attachment == "attachment"
    (peering,) = spec.psc_interface_config.dns_peering_configs
    assert (peering.domain, peering.target_project, peering.target_network) == ("a.b.", "q", "n")
    assert spec.network == ""
    for pool in spec.worker_pool_specs:
        assert pool.disk_spec.boot_disk_type == "pd-standard"
        assert pool.disk_spec.boot_disk_size_gb == 500


@needs_kfp
@pytest.mark.slow
def test_a_custom_job_without_settings_leaves_them_to_the_service():
    from pipeline.cluster.vertex_jobs import job_spec

    settings = (*VERTEX, "cluster.vertex.reserved_ip_ranges=[range]")
    spec = job_spec(config_of(settings), "FineTuner")

    assert spec["network"] == "projects/1/global/networks/n"
    assert spec["reserved_ip_ranges"] == ["range"]
    assert set(spec["scheduling"]) == {"restart_job_on_worker_restart", "strategy"}
    assert all("disk_spec" not in pool for pool in spec["worker_pool_specs"])
    assert "persistent_resource_id" not in spec


@needs_kfp
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("cluster.vertex.network_attachment=a",),
            "cluster.network, cluster.vertex.network_attachment: exclude each other",
        ),
        (
            ("cluster.vertex.dns_peering=[{domain: a., target_project: q, target_network: n}]",),
            "cluster.vertex.dns_peering: needs cluster.vertex.network_attachment",
        ),
        (
            ("cluster.network=null", "cluster.vertex.reserved_ip_ranges=[r]"),
            "cluster.vertex.reserved_ip_ranges: needs cluster.network",
        ),
        (
            (f"cluster.vertex.kms_key={KEY}", "cluster.location=us-central1"),
            "cluster.vertex.kms_key: the key is in europe-west4, but jobs run in us-central1",
        ),
        (("cluster.labels={Team: Vision}",), "cluster.labels: Team: Vision cannot be used"),
    ],
)
def test_settings_that_do_not_go_together_are_rejected(settings, message):
    with pytest.raises(ClusterError) as raised:
        check_complete(config_of((*VERTEX, *settings)), Target.VERTEX)
    assert str(raised.value).startswith(message)

    kubeflow = (*KUBEFLOW, *settings)
    check_complete(config_of(kubeflow), Target.KUBEFLOW)


@pytest.mark.parametrize(
    "setting",
    [
        "kms_key=k",
        "network_attachment=Upper",
        "dns_peering=[{domain: a.b, target_project: q, target_network: n}]",
        "boot_disk_type=ssd",
        "boot_disk_gb=50",
        "persistent_resource=9",
        "timeout_secs=0",
        "template_registry=http://europe-west4-kfp.pkg.dev/p/r",
    ],
)
def test_a_value_of_another_form_is_rejected(setting):
    name = setting.partition("=")[0]

    with pytest.raises(ConfigError, match=rf"cluster\.vertex\.{name}"):
        config_of((f"cluster.vertex.{setting}",))


def test_workers_get_the_labels_and_their_own():
    settings = (
        *GROUPS,
        "cluster.labels={team: vision, tier: low}",
        "cluster.launcher.labels={tier: high}",
    )

    labels = launcher_settings(config_of(settings), "FineTuner")["labels"]

    assert labels == {"team": "vision", "tier": "high"}
    assert "labels" not in launcher_settings(config_of(GROUPS), "FineTuner")
