"""`kubeflow/manifests` and the launcher's objects before a real API server, with its policies.

Runs where `make cluster-test` has built the server; elsewhere `test_admission_policy.py` and
`test_kubernetes_manifests.py` evaluate the same expressions and check the same schemas.
"""

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from launchers.kubernetes import network, objects
from launchers.kubernetes.settings import read_settings
from launchers.kubernetes.workload import read_workload
from tests.launchers.kube_examples import SETTINGS, WORKER_GROUP, created
from tests.launchers.kube_policy import FORBIDDEN, pod_spec
from tests.launchers.kube_tools import OVERLAYS, build, cluster_tools, of_kind
from tests.launchers.real_api import LAUNCHER, NOTEBOOK, RealApi, running

PROFILE = "kubeflow-user-example-com"
SETTLE_SECS = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not cluster_tools().has_api_server(),
        reason="make cluster-test builds the API server that this needs; it takes minutes",
    ),
]


def namespace(name: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def put(api: RealApi, one: dict[str, Any]) -> None:
    answer = api.apply(one)
    assert answer.status in (200, 201), answer.message


def install_definitions(api: RealApi) -> None:
    """Those of Kueue and JobSet, without their controllers."""
    for path in sorted(cluster_tools().TOOLS.glob("definitions/*/*.yaml")):
        if path.stem.split("_")[1] in (
            "jobsets",
            "resourceflavors",
            "clusterqueues",
            "localqueues",
        ):
            put(api, next(filter(None, yaml.safe_load_all(path.read_text(encoding="utf-8")))))
    until(lambda: api.call("GET", "/apis/kueue.x-k8s.io/v1beta2").status == 200)
    until(lambda: api.call("GET", "/apis/jobset.x-k8s.io/v1alpha2").status == 200)


def until(true: Any) -> None:
    deadline = time.monotonic() + SETTLE_SECS
    while not true():
        assert time.monotonic() < deadline, f"still not so after {SETTLE_SECS} s"
        time.sleep(0.3)


def a_job(workload: str = "job", where: str = "thaw", **more: Any) -> dict[str, Any]:
    settings = read_settings({**SETTINGS, "workload": workload, **more})
    job = objects.workload(WORKER_GROUP, settings, 0, time.time(), time.time())
    job["metadata"]["namespace"] = where
    return job


def changed(case: str, job: dict[str, Any]) -> dict[str, Any]:
    job = copy.deepcopy(job)
    change, _ = FORBIDDEN[case]
    change(pod_spec(job))
    return job


def rights_in(*namespaces: str) -> list[dict[str, Any]]:
    """Lets a profile's account make Jobs and Pods, as Kubeflow does in the profile."""
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]},
    ]
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "editor"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": NOTEBOOK}],
    }
    return [
        {**one, "metadata": {"name": "editor", "namespace": where}}
        for where in namespaces
        for one in (role, binding)
    ]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    """A server on which the overlays for one user with JobSet and for a profile are applied."""
    with running(tmp_path_factory.mktemp("control-plane")) as server:
        put(server, namespace("kubeflow"))
        put(server, namespace(PROFILE, **{"thaw-namespace": "shared"}))
        install_definitions(server)
        for overlay in ("jobset", "multi-user"):
            for one in sorted(build(overlay), key=lambda one: one["kind"] != "Namespace"):
                put(server, one)
        for one in rights_in("thaw", PROFILE):
            put(server, one)
        # A policy is in force some time after it was created.
        until(lambda: server.create(changed("image", a_job()), LAUNCHER).status == 422)
        until(lambda: server.create(changed("image", a_job(where=PROFILE)), NOTEBOOK).status == 422)
        yield server


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_api_server_accepts_every_overlay(api, overlay):
    for one in build(overlay):
        answer = api.apply(one, dry_run=True)

        assert answer.status in (200, 201), (one["kind"], answer.message)


@pytest.mark.parametrize("workload", ["job", "jobset"])
def test_the_launcher_may_create_what_it_makes(api, workload):
    name = f"real-{workload}"
    job = a_job(workload, gpus=2, writable_dirs=["/var/cache/thaw"])
    job["metadata"]["name"] = name
    answer = api.create(job, LAUNCHER, dry_run=False)
    assert answer.status == 201, answer.message

    made = read_workload(answer.body)
    for one in (network.service(made, 2222), network.network_policy(made, workload == "jobset")):
        one["metadata"]["namespace"] = "thaw"
        answer = api.create(one, LAUNCHER, dry_run=False)
        assert answer.status == 201, answer.message


def test_pods_of_the_launchers_jobs_are_as_pod_security_restricted_wants_them(api):
    pod = {"apiVersion": "v1", "kind": "Pod", **a_job()["spec"]["template"]}
    pod["metadata"].update(name="a-pod", namespace="thaw")

    answer = api.create(pod, NOTEBOOK)

    assert answer.status == 201, answer.message


@pytest.mark.parametrize("workload", ["job", "jobset"])
@pytest.mark.parametrize("case", FORBIDDEN)
def test_a_forbidden_job_is_refused(api, case, workload):
    answer = api.create(changed(case, a_job(workload)), LAUNCHER)

    assert answer.status == 422, answer.body
    assert "ValidatingAdmissionPolicy 'thaw-worker-pods'" in answer.message
    assert FORBIDDEN[case][1] in answer.message


def test_a_forbidden_pod_is_refused_whoever_makes_it(api):
    pod = {"apiVersion": "v1", "kind": "Pod", **a_job()["spec"]["template"]}
    pod["metadata"] = {"name": "a-pod", "namespace": "thaw"}

    answer = api.create(changed("image", pod), NOTEBOOK)

    assert answer.status == 422
    assert "an image of a worker must begin with registry.example/thaw:" in answer.message


def test_a_shared_namespace_holds_workers_alone(api):
    job = changed("image", a_job(where=PROFILE))
    assert api.create(job, NOTEBOOK).status == 422

    job["metadata"]["labels"] = {"app": "other"}
    job["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    assert api.create(job, NOTEBOOK).status == 201


def test_administrators_are_not_held(api):
    assert api.create(changed("image", a_job()), "system:masters").status == 201


def test_the_launcher_may_not_open_workers_to_others(api):
    job = created(a_job())
    service, policy = network.service(job, 2222), network.network_policy(job, jobset=False)
    for one in (service, policy):
        one["metadata"].update(namespace="thaw", name="open")
    service["spec"].update(type="LoadBalancer")
    del service["spec"]["clusterIP"]
    policy["spec"]["ingress"] = [{}]

    for one, said in ((service, "Only headless Services"), (policy, "may let only the workers")):
        answer = api.create(one, LAUNCHER)
        assert answer.status == 422
        assert said in answer.message


def test_the_launcher_may_neither_read_secrets_nor_loosen_the_policy(api):
    (settings,) = of_kind(build("jobset"), "ConfigMap")
    path = api.path(settings, named=True)

    assert api.call("GET", "/api/v1/namespaces/thaw/secrets", user=LAUNCHER).status == 403
    assert api.call("PUT", path, settings, user=LAUNCHER).status == 403
    pod = {"apiVersion": "v1", "kind": "Pod", **a_job()["spec"]["template"]}
    pod["metadata"].update(name="a-pod", namespace="thaw")
    assert api.create(pod, LAUNCHER).status == 403
