"""`kubeflow/manifests` and `kubeflow/examples`: valid, no more allowed than is needed."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from launchers.kubernetes import api as kubernetes_api
from launchers.kubernetes import attempt, network, pod_log
from launchers.kubernetes import launcher as kubernetes
from launchers.kubernetes import objects as kubernetes_objects
from launchers.kubernetes.settings import WorkerPods, read_settings
from launchers.worker_group import WorkerGroupFailed
from tests.launchers.kube_api import KubeApi, check
from tests.launchers.kube_cluster import Cluster
from tests.launchers.kube_examples import FOLDER, created, examples
from tests.launchers.kube_runs import IMAGE, NAME, Running, group, settings, until
from tests.launchers.kube_tools import OVERLAYS, build, of_kind

# Kinds that come with their controllers; the real API server checks these.
DEFINED_ELSEWHERE = {"ResourceFlavor", "ClusterQueue", "LocalQueue"}


def read(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def manifests(kind: str, overlay: str = "single-user") -> list[dict[str, Any]]:
    return of_kind(build(overlay), kind)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_what_the_overlays_hold(overlay):
    objects = build(overlay)

    for one in objects:
        if one["kind"] not in DEFINED_ELSEWHERE:
            check(one)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_kubernetes_takes_what_the_examples_hold(path):
    for one in read(path):
        check(one)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_holds_what_workers_may_be(overlay):
    bindings = manifests("ValidatingAdmissionPolicyBinding", overlay)
    policies = {one["metadata"]["name"] for one in manifests("ValidatingAdmissionPolicy", overlay)}
    (settings,) = manifests("ConfigMap", overlay)
    (account,) = manifests("ServiceAccount", overlay)

    assert {one["spec"]["policyName"] for one in bindings} == policies
    assert all(one["spec"]["validationActions"] == ["Deny"] for one in bindings)
    assert settings["data"]["service_accounts"] == account["metadata"]["name"]
    assert settings["data"]["images"].endswith("thaw:")
    assert settings["metadata"]["namespace"] == account["metadata"]["namespace"]


def test_overlays_differ_in_what_they_are_for():
    assert [one["apiGroups"] for one in manifests("Role", "jobset")[0]["rules"]].count(
        ["jobset.x-k8s.io"]
    ) == 1
    (queue,) = manifests("LocalQueue", "kueue")
    assert queue["metadata"]["namespace"] == "thaw"
    (account,) = manifests("ServiceAccount", "eks")
    assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]
    (account,) = manifests("ServiceAccount", "air-gapped")
    assert account["imagePullSecrets"] == [{"name": "registry"}]
    (namespace,) = manifests("Namespace", "istio")
    assert namespace["metadata"]["labels"]["istio-injection"] == "disabled"
    assert not manifests("Namespace", "multi-user")
    (binding,) = manifests("RoleBinding", "multi-user")
    assert [one["name"] for one in binding["subjects"]] == ["default-editor"]


def test_examples_are_what_the_launcher_asks_for():
    for name, objects in examples().items():
        assert read(FOLDER / name) == objects, "run: python -m tests.launchers.kube_examples"


def allowed(overlay: str) -> set[tuple[str, str, str]]:
    (role,) = manifests("Role", overlay)
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.fixture
def quick(monkeypatch):
    for module in (kubernetes, kubernetes_api, pod_log):
        monkeypatch.setattr(module, "_PAUSE_SECS", 0.1)
    monkeypatch.setattr(attempt, "_LOOK_EVERY_SECS", 1)


def calls_of_a_groups_life(folder: Path, workload: str) -> set[tuple[str, str, str]]:
    """Requests of workers whose pods are refused at first, that lose one of them, and fail."""
    with KubeApi() as api:
        cluster = Cluster(api)
        cluster.admission.quota_wants = ("limits.cpu",)
        plural = f"{workload}s"
        launcher_settings = settings(api.kubeconfig(folder), workload=workload)
        running = Running(launcher_settings, group(folder))
        until(lambda: ("", "events", "list") in api.calls())
        cluster.admission.quota_wants = ()
        until(lambda: len(cluster.pods()) == 2)
        cluster.says(0, "a line")
        cluster.ends(1, 137)
        until(lambda: [j for j in api.store.all(plural) if j["metadata"]["name"].endswith("-1")])
        until(lambda: [pod for pod in cluster.pods() if f"{NAME}-1" in pod["metadata"]["name"]])
        cluster.ends(1, 1)
        with pytest.raises(WorkerGroupFailed):
            running.end()
        return api.calls()


def test_the_launchers_role_allows_what_it_does_and_nothing_else(tmp_path, quick):
    with_jobs = calls_of_a_groups_life(tmp_path, "job")

    assert allowed("single-user") == with_jobs
    assert allowed("jobset") == with_jobs | calls_of_a_groups_life(tmp_path, "jobset")


def test_the_role_is_bound_to_whom_the_nodes_run_as_and_workers_have_none():
    (role,) = manifests("Role")
    (binding,) = manifests("RoleBinding")
    (account,) = manifests("ServiceAccount")
    (namespace,) = manifests("Namespace")

    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [one["name"] for one in binding["subjects"]] == ["pipeline-runner"]
    assert account["metadata"]["name"] not in [one["name"] for one in binding["subjects"]]
    assert account["automountServiceAccountToken"] is False
    for one in (role, binding, account):
        assert one["metadata"]["namespace"] == namespace["metadata"]["name"]
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()


def let_in(policies: list[dict[str, Any]], pod: dict[str, str], other: dict[str, str]) -> bool:
    """Whether policies let `other` of the same namespace connect to `pod`, given by labels."""
    applying = [one["spec"] for one in policies if matches(one["spec"]["podSelector"], pod)]
    applying = [spec for spec in applying if "Ingress" in spec["policyTypes"]]
    peers = [peer for spec in applying for rule in spec.get("ingress", []) for peer in rule["from"]]
    return not applying or any(matches(peer["podSelector"], other) for peer in peers)


def worker(attempt: int, name: str = NAME) -> tuple[dict[str, str], dict[str, Any]]:
    """The labels of a worker's pod, and the policy that the launcher makes for its job."""
    asked = replace(group(Path("logs")), name=name)
    settings_ = read_settings({"image": IMAGE})
    job = kubernetes_objects.workload(asked, settings_, attempt, 1, 1)
    labels = job["spec"]["template"]["metadata"]["labels"]
    return labels, network.network_policy(created(job), jobset=False)


def test_only_workers_of_the_same_job_reach_workers():
    (one, policy), (next_one, next_policy), (other, other_policy) = (
        worker(0),
        worker(1),
        worker(0, "cats"),
    )
    here = [one for one in manifests("NetworkPolicy") if one["metadata"]["namespace"] == "thaw"]
    policies = [*here, policy, next_policy, other_policy]

    assert let_in(policies, one, one)
    assert not let_in(policies, one, next_one)
    assert not let_in(policies, one, other)
    assert not let_in(policies, one, {"app.kubernetes.io/name": "thaw"})
    assert not let_in(policies, {"app": "other"}, one)
    # In a namespace without these manifests, too.
    assert not let_in([policy], one, other)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_workers_may_connect_to_names_each_other_and_a_store_alone(overlay):
    (labels, _) = worker(0)
    rules = [
        rule
        for one in manifests("NetworkPolicy", overlay)
        if "Egress" in one["spec"]["policyTypes"] and matches(one["spec"]["podSelector"], labels)
        for rule in one["spec"].get("egress", [])
    ]
    open_ports = {port["port"] for rule in rules for port in rule.get("ports", [])}
    everywhere = [
        peer["ipBlock"]
        for rule in rules
        for peer in rule["to"]
        if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    ]

    assert all(rule["to"] for rule in rules)
    assert {53} < open_ports <= {53, 80, 443, 988, 8333, 9000}
    assert (443 in open_ports) == bool(everywhere) == (overlay != "air-gapped")
    # The API server and the node's metadata are not on the internet.
    assert all("169.254.0.0/16" in block["except"] for block in everywhere)


def test_the_page_names_every_setting():
    page = (FOLDER.parents[1] / "docs" / "kubeflow.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^## Settings\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    named = [cell for line in table.splitlines() for cell in re.findall("`(.*?)`", line[:99])]

    assert set(WorkerPods.model_fields) <= set(named)
