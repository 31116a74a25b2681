"""What the admission policies say of Jobs that the launcher makes, and of others."""

import copy
from typing import Any

import pytest

from launchers.kubernetes import network, objects
from tests.launchers.kube_examples import (
    SETTINGS,
    WORKER_GROUP,
    created,
    examples,
    read_settings,
)
from tests.launchers.kube_policy import FORBIDDEN, pod_spec, policies, refusals

pytest.importorskip("cel_expr_python", reason="its wheels are for Python 3.11 and newer")

PARAMS = {"images": "registry.example/thaw:", "service_accounts": "thaw-worker", "secrets": ""}
POLICIES = policies()
PODS, NETWORK = POLICIES["thaw-worker-pods"], POLICIES["thaw-worker-network"]


def a_job(workload: str = "job", **more: Any) -> dict[str, Any]:
    settings = read_settings({**SETTINGS, "workload": workload, **more})
    return objects.workload(WORKER_GROUP, settings, 0, 1, 1)


def a_pod() -> dict[str, Any]:
    template = a_job()["spec"]["template"]
    return {"apiVersion": "v1", "kind": "Pod", **template}


def said(asked: dict[str, Any], mode: str = "dedicated", **params: str) -> list[str]:
    return refusals(PODS, asked, mode, {**PARAMS, **params})


@pytest.mark.parametrize("mode", ["dedicated", "shared"])
@pytest.mark.parametrize("asked", [a_job(), a_job("jobset"), a_pod()], ids=["job", "jobset", "pod"])
def test_what_the_launcher_makes_is_allowed(asked, mode):
    assert said(asked, mode) == []


@pytest.mark.parametrize("asked", [a_job(), a_job("jobset"), a_pod()], ids=["job", "jobset", "pod"])
@pytest.mark.parametrize("case", FORBIDDEN)
def test_what_is_forbidden_is_refused_by_name(case, asked):
    change, message = FORBIDDEN[case]
    asked = copy.deepcopy(asked)
    change(pod_spec(asked))

    assert [message in one for one in said(asked)].count(True) == 1


def test_what_the_settings_of_a_namespace_add_is_allowed():
    asked = a_job(
        image="mirror.example/a/thaw@sha256:0",
        service_account="birds",
        secrets={"/var/key": "gcs-key"},
        claims={"/mnt": "data"},
        gpus=2,
    )

    assert len(said(asked)) == 3
    allowed = {
        "images": "registry.example/thaw:\n mirror.example/a/thaw@\n",
        "service_accounts": "thaw-worker\nbirds\n",
        "secrets": "gcs-key\n",
    }
    assert said(asked, **allowed) == []


def test_an_empty_list_of_images_allows_none():
    (message,) = said(a_job(), images="\n")

    assert "must begin with" in message


def test_beside_workers_only_a_dedicated_namespace_is_held():
    change, _ = FORBIDDEN["image"]
    notebook = a_pod()
    change(pod_spec(notebook))
    notebook["metadata"] = {"name": "notebook"}

    assert said(notebook, "shared") == []
    assert len(said(notebook, "dedicated")) == 1


def networked() -> tuple[dict[str, Any], dict[str, Any]]:
    (job, service) = examples()["job.yaml"]
    return service, network.network_policy(created(job), jobset=False)


def refused_network(asked: dict[str, Any], mode: str = "dedicated") -> list[str]:
    return refusals(NETWORK, asked, mode, {})


def test_services_and_network_policies_of_a_job_are_allowed():
    assert [refused_network(one) for one in networked()] == [[], []]


@pytest.mark.parametrize(
    "change",
    [{"type": "LoadBalancer"}, {"clusterIP": ""}, {"externalIPs": ["10.0.0.1"]}],
    ids=str,
)
def test_a_service_that_opens_workers_is_refused(change):
    service, _ = networked()
    service["spec"].update(change)

    assert "Only headless Services" in refused_network(service)[0]


@pytest.mark.parametrize(
    "change",
    [
        {"podSelector": {}},
        {"ingress": [{}]},
        {"ingress": [{"from": [{"podSelector": {}}]}]},
        {"ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]},
        {"ingress": [{"from": [{"namespaceSelector": {}}]}]},
        {"egress": [{}]},
    ],
    ids=str,
)
def test_a_network_policy_that_opens_workers_is_refused(change):
    _, policy = networked()
    policy["spec"].update(change)

    assert "may let only the workers of a group" in refused_network(policy)[0]
    policy["metadata"]["labels"] = {}
    assert refused_network(policy, "shared") == []
