"""What the launcher asks for: as settings say, and as Kubernetes takes it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.kubernetes import indexed_job, network, objects
from launchers.kubernetes.settings import read_settings
from launchers.worker_group import Limits, WorkerGroup
from tests.launchers.kube_api import Refused, check
from tests.launchers.kube_examples import created
from trainer.errors import ThawError

IMAGE = "registry.example/thaw:1"


def group(name: str = "birds-fit-0123456789", **more: Any) -> WorkerGroup:
    values = {"request_uri": "gs://b/request.json", "num_workers": 3, "log_dir": "logs", **more}
    return WorkerGroup(name=name, **values)


def workload(asked: WorkerGroup | None = None, attempt: int = 0, **values: Any) -> dict[str, Any]:
    settings = read_settings({"image": IMAGE, **values})
    return objects.workload(asked or group(), settings, attempt, 1000, 1000)


def pod_spec(**values: Any) -> dict[str, Any]:
    job = workload(**values)
    check(job)
    return job["spec"]["template"]["spec"]


def test_the_first_pod_that_fails_ends_the_job():
    job = workload()

    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 3


def test_a_worker_runs_the_request_and_no_more_than_it_needs():
    spec = pod_spec(service_account="thaw-worker")
    (container,) = spec["containers"]

    command = ["python", "-m", "launchers.worker", "gs://b/request.json"]
    assert container["command"] == command
    assert container["image"] == IMAGE
    assert container["ports"][0]["containerPort"] == 2222
    assert spec["serviceAccountName"] == "thaw-worker"
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "nodeSelector" not in spec
    assert "resources" not in container


def test_resources_gpus_and_nodes_come_from_the_settings():
    spec = pod_spec(
        cpu="4",
        memory="16Gi",
        gpus=2,
        shared_memory="1Gi",
        node_selector={"gpu": "l4"},
        tolerations=[{"key": "team", "value": "birds", "effect": "NoExecute"}],
        priority_class="low",
        grace_secs=90,
    )
    (container,) = spec["containers"]

    assert container["resources"] == {
        "requests": {"cpu": "4", "memory": "16Gi"},
        "limits": {"memory": "16Gi", "nvidia.com/gpu": "2"},
    }
    assert spec["nodeSelector"] == {"gpu": "l4"}
    assert spec["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "birds", "effect": "NoExecute"},
    ]
    shm = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}
    assert spec["volumes"][0] == shm
    assert container["volumeMounts"][0] == {"name": "shm", "mountPath": "/dev/shm"}
    assert spec["priorityClassName"] == "low"
    assert spec["terminationGracePeriodSeconds"] == 90


@pytest.mark.parametrize(
    ("kind", "label", "tolerated"),
    [
        ("gke", "cloud.google.com/gke-spot", ["cloud.google.com/gke-spot"]),
        ("eks", "eks.amazonaws.com/capacityType", []),
        ("karpenter", "karpenter.sh/capacity-type", []),
        ("aks", "kubernetes.azure.com/scalesetpriority", ["kubernetes.azure.com/scalesetpriority"]),
    ],
)
def test_spot_nodes_are_chosen_as_the_cluster_marks_them(kind, label, tolerated):
    spec = pod_spec(spot=kind, node_selector={"disk": "ssd"})

    assert set(spec["nodeSelector"]) == {label, "disk"}
    assert [one["key"] for one in spec.get("tolerations", [])] == tolerated


def test_claims_secrets_and_variables_reach_the_worker():
    spec = pod_spec(
        claims={"/mnt/root": "thaw-root"},
        secrets={"/var/key": "gcs-key"},
        env={"GOOGLE_APPLICATION_CREDENTIALS": "/var/key/key.json"},
        image_pull_secrets=["registry"],
    )
    (container,) = spec["containers"]

    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    volumes = {one["name"]: one for one in spec["volumes"]}
    claim = volumes[mounts["/mnt/root"]["name"]]
    assert claim["persistentVolumeClaim"] == {"claimName": "thaw-root"}
    assert volumes[mounts["/var/key"]["name"]]["secret"] == {"secretName": "gcs-key"}
    assert mounts["/var/key"]["readOnly"] is True
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert variables["GOOGLE_APPLICATION_CREDENTIALS"] == "/var/key/key.json"


def writable(spec: dict[str, Any]) -> list[str]:
    """Where the pods find an empty folder of their own."""
    (container,) = spec["containers"]
    empty = {one["name"] for one in spec["volumes"] if one.get("emptyDir") == {}}
    return [one["mountPath"] for one in container["volumeMounts"] if one["name"] in empty]


def test_the_image_is_read_only_but_for_the_folders_that_are_named():
    spec = pod_spec(writable_dirs=["/var/cache/thaw", "/tmp"], env={"LANG": "C"})
    (container,) = spec["containers"]

    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert writable(spec) == ["/tmp", "/home/thaw", "/var/cache/thaw"]
    assert {"name": "HOME", "value": "/home/thaw"} in container["env"]


def test_a_claim_on_a_writable_folder_takes_its_place():
    spec = pod_spec(claims={"/tmp": "scratch"})
    (container,) = spec["containers"]

    assert writable(spec) == ["/home/thaw"]
    assert [one["mountPath"] for one in container["volumeMounts"]] == ["/tmp", "/home/thaw"]


def test_another_home_is_kept():
    (container,) = pod_spec(env={"HOME": "/root"})["containers"]

    assert [one["value"] for one in container["env"] if one["name"] == "HOME"] == ["/root"]


def test_workers_of_a_job_are_spread_over_the_nodes():
    job = workload(attempt=1)
    (spread,) = pod_spec()["topologySpreadConstraints"]
    (of_second,) = job["spec"]["template"]["spec"]["topologySpreadConstraints"]

    assert (spread["topologyKey"], spread["whenUnsatisfiable"], spread["maxSkew"]) == (
        "kubernetes.io/hostname",
        "ScheduleAnyway",
        1,
    )
    # Pods of the attempt before may still be ending.
    chosen = of_second["labelSelector"]["matchLabels"]
    assert chosen == {"thaw-worker-group": "birds-fit-0123456789", "thaw-attempt": "1"}
    assert chosen.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert "topologySpreadConstraints" not in pod_spec(topology_spread={})


def test_pods_stay_out_of_a_mesh_that_would_hide_their_ports():
    def mode(**values: Any) -> str:
        labels = workload(**values)["spec"]["template"]["metadata"]["labels"]
        return labels["istio.io/dataplane-mode"]

    assert mode() == "none"
    assert mode(labels={"istio.io/dataplane-mode": "ambient"}) == "ambient"


def test_a_runtime_class_is_passed_on():
    assert pod_spec(runtime_class="nvidia")["runtimeClassName"] == "nvidia"


@pytest.mark.parametrize(
    ("kind", "owner"),
    [("job", ("batch/v1", "Job")), ("jobset", ("jobset.x-k8s.io/v1alpha2", "JobSet"))],
)
def test_only_pods_of_the_same_attempt_may_connect(kind, owner):
    job = workload(attempt=2, workload=kind)
    policy = network.network_policy(created(job, uid="7"), jobset=kind == "jobset")
    check(policy)

    own = {"thaw-worker-group": "birds-fit-0123456789", "thaw-attempt": "2"}
    assert policy["spec"] == {
        "podSelector": {"matchLabels": own},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": own}}]}],
    }
    (reference,) = policy["metadata"]["ownerReferences"]
    assert (reference["apiVersion"], reference["kind"]) == owner
    assert (reference["name"], reference["uid"]) == (job["metadata"]["name"], "7")


def test_labels_of_a_team_do_not_replace_our_own():
    job = workload(labels={"kueue.x-k8s.io/queue-name": "team", "thaw-worker-group": "other"})
    check(job)

    labels = job["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "team"
    assert labels["thaw-worker-group"] == "birds-fit-0123456789"


def test_what_is_left_of_the_deadline_is_the_jobs():
    settings = read_settings({"image": IMAGE})
    asked = group(limits=Limits(deadline_secs=1000))

    def left(now: float) -> int:
        job = objects.workload(asked, settings, 1, 5000, now)
        return job["spec"]["activeDeadlineSeconds"]

    assert left(5000) == 1000
    assert left(5400) == 600
    assert left(9000) == 1  # 0 is not allowed
    assert "activeDeadlineSeconds" not in workload()["spec"]


def tf_config_of(job: dict[str, Any], index: int) -> dict[str, Any]:
    spec = job["spec"]
    if job["kind"] == "JobSet":
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    environ = {one["name"]: one["value"] for one in container["env"]}
    return json.loads(indexed_job.tf_config({**environ, "JOB_COMPLETION_INDEX": str(index)}) or "")


def test_pods_of_a_job_know_each_other_by_name():
    config = tf_config_of(workload(port=3333), 2)

    host = "birds-fit-0123456789-0-{}.birds-fit-0123456789-0:3333"
    assert config == {
        "cluster": {"chief": [host.format(0)], "worker": [host.format(1), host.format(2)]},
        "task": {"type": "worker", "index": 1},
    }
    assert tf_config_of(workload(), 0)["task"] == {"type": "chief", "index": 0}


def test_pods_of_a_jobset_know_each_other_by_name():
    jobset = workload(workload="jobset")
    check(jobset)

    # As its API documents it: <jobset>-<replicated job>-<job index>-<pod index>.<subdomain>
    name = jobset["metadata"]["name"]
    (part,) = jobset["spec"]["replicatedJobs"]
    host = f"{name}-{part['name']}-0-1.{jobset['spec']['network']['subdomain']}:2222"
    assert tf_config_of(jobset, 0)["cluster"]["worker"][0] == host


@given(
    st.from_regex(r"[a-z]([a-z0-9-]{0,100}[a-z0-9])?", fullmatch=True),
    st.integers(0, 99),
    st.sampled_from(["job", "jobset"]),
)
def test_no_name_is_longer_than_kubernetes_takes(name, attempt, kind):
    asked = group(name, num_workers=9999)
    job = workload(asked, attempt, workload=kind)
    other = objects.attempt_name(group(name + "x"), attempt)

    assert job["metadata"]["name"] != other
    host = tf_config_of(job, 9998)["cluster"]["worker"][-1].split(".")[0]
    assert len(host) <= 63
    assert len(f"{host}-abcde") <= 63 or kind == "job"
    assert all(len(value) <= 63 for value in job["metadata"]["labels"].values())
    first = objects.workload(asked, read_settings({"image": IMAGE}), 0, 1, 1)
    assert (
        job["metadata"]["labels"]["thaw-worker-group"]
        == first["metadata"]["labels"]["thaw-worker-group"]
    )


def test_another_request_image_or_number_of_workers_is_another_job():
    settings = read_settings({"image": IMAGE})
    same = objects.fingerprint(group(), settings)

    others = {
        objects.fingerprint(group(request_uri="gs://b/other.json"), settings),
        objects.fingerprint(group(num_workers=2), settings),
        objects.fingerprint(group(), read_settings({"image": IMAGE + "2"})),
        objects.fingerprint(group(), read_settings({"image": IMAGE, "memory": "1Gi"})),
    }
    assert len(others) == 4
    assert same not in others
    patient = read_settings({"image": IMAGE, "api_retry_secs": 1, "pending_secs": 2})
    assert objects.fingerprint(group(limits=Limits(start_secs=1)), patient) == same


@pytest.mark.parametrize("kind", ["job", "jobset"])
def test_the_schemas_of_the_stand_in_refuse_what_is_wrong(kind):
    job = workload(workload=kind)
    check(job)
    spec = job["spec"]
    if kind == "jobset":
        spec["nework"] = {}
        with pytest.raises(Refused, match="nework"):
            check(job)
        del spec["nework"]
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    spec["template"]["spec"]["containers"][0]["comand"] = []

    with pytest.raises(Refused, match="comand"):
        check(job)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "image: Field required"),
        ({"image": IMAGE, "imge": "x"}, "imge: Extra inputs are not permitted"),
        ({"image": IMAGE, "gpus": -1}, "gpus: Input should be greater than or equal to 0"),
        ({"image": IMAGE, "spot": "sun"}, "spot: Input should be 'gke', 'eks'"),
        ({"image": IMAGE, "workload": "tfjob"}, "workload: Input should be 'job' or 'jobset'"),
        ({"image": IMAGE, "tolerations": [{"kye": "x"}]}, "tolerations.0.kye: Extra inputs"),
    ],
)
def test_wrong_settings_are_named(values, said):
    with pytest.raises(ThawError, match=r"cannot be read[\s\S]*The keys are: image") as e:
        read_settings(values)

    assert said in str(e.value)


def test_a_pod_that_is_no_part_of_a_group_has_no_tf_config():
    assert indexed_job.tf_config({}) is None
    assert indexed_job.tf_config({"JOB_COMPLETION_INDEX": "0"}) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"THAW_HOSTS": ""}, "THAW_HOSTS: not set in this pod"),
        ({"THAW_PORT": "http"}, "THAW_PORT must be a number, not 'http'"),
        ({"JOB_COMPLETION_INDEX": "3"}, "JOB_COMPLETION_INDEX is 3, but THAW_NUM_WORKERS is 3"),
    ],
)
def test_a_pod_with_half_its_variables_says_so(change, said):
    environ = {"JOB_COMPLETION_INDEX": "0", **indexed_job.variables(3, "hosts", "service", 2222)}

    with pytest.raises(ValueError, match=said):
        indexed_job.tf_config({**environ, **change})
