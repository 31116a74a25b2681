"""`kubeflow/manifests` and `kubeflow/examples`: valid, no more allowed than is needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from launchers.kubernetes import api as kubernetes_api
from launchers.kubernetes import attempt, pod_log
from launchers.kubernetes import launcher as kubernetes
from launchers.kubernetes import objects as kubernetes_objects
from launchers.kubernetes.settings import WorkerPods
from launchers.worker_group import WorkerGroupFailed
from tests.launchers.kube_api import KubeApi, check
from tests.launchers.kube_cluster import Cluster
from tests.launchers.kube_examples import FOLDER, examples
from tests.launchers.kube_runs import NAME, Running, group, settings, until

MANIFESTS = FOLDER.parent / "manifests"


def read(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def manifests(kind: str) -> list[dict[str, Any]]:
    return [one for path in MANIFESTS.glob("*.yaml") for one in read(path) if one["kind"] == kind]


@pytest.mark.parametrize(
    "path",
    sorted([*MANIFESTS.glob("*.yaml"), *FOLDER.glob("*.yaml")]),
    ids=lambda path: path.name,
)
def test_kubernetes_takes_what_the_files_hold(path):
    for one in read(path):
        check(one)


def test_there_is_one_of_each_kind():
    kinds = [one["kind"] for path in MANIFESTS.glob("*.yaml") for one in read(path)]

    assert sorted(kinds) == [
        "Namespace",
        "NetworkPolicy",
        "NetworkPolicy",
        "Role",
        "RoleBinding",
        "ServiceAccount",
    ]


def test_examples_are_what_the_launcher_asks_for():
    for name, objects in examples().items():
        assert read(FOLDER / name) == objects, "run: python -m tests.launchers.kube_examples"


def allowed() -> set[tuple[str, str, str]]:
    (role,) = manifests("Role")
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
        told = settings(api.kubeconfig(folder), workload=workload)
        running = Running(told, group(folder))
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
    calls = calls_of_a_groups_life(tmp_path, "job") | calls_of_a_groups_life(tmp_path, "jobset")
    assert allowed() == calls


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


def let_in(pod: dict[str, str], other: dict[str, str]) -> bool:
    """Whether the policies let `other` connect to `pod`, both given by their labels."""
    applying = [
        one["spec"]
        for one in manifests("NetworkPolicy")
        if one["spec"]["podSelector"].get("matchLabels", {}).items() <= pod.items()
    ]
    assert all(spec["policyTypes"] == ["Ingress"] for spec in applying)
    peers = [
        peer["podSelector"]["matchLabels"]
        for spec in applying
        for rule in spec.get("ingress", [])
        for peer in rule["from"]
    ]
    return not applying or any(labels.items() <= other.items() for labels in peers)


def test_only_workers_reach_workers():
    (job, _) = examples()["job.yaml"]
    worker = job["spec"]["template"]["metadata"]["labels"]

    assert let_in(worker, worker)
    assert not let_in(worker, {"app.kubernetes.io/name": "thaw"})
    assert not let_in(worker, {"thaw-worker-group": worker["thaw-worker-group"]})
    assert not let_in({"app": "other"}, worker)
    assert kubernetes_objects.COMPONENT_LABELS.items() <= worker.items()


def test_the_page_names_every_setting():
    page = (FOLDER.parents[1] / "docs" / "kubeflow.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^## Settings\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    named = [cell for line in table.splitlines() for cell in re.findall("`(.*?)`", line[:99])]

    assert set(WorkerPods.model_fields) <= set(named)
