"""The admission policies as the API server evaluates them, by Google's implementation of CEL.

Variables and validations are evaluated in their order, as
staging/src/k8s.io/apiserver/pkg/admission/plugin/policy/validating/validator.go does: an
expression that fails is a refusal (`failurePolicy: Fail`), and the message is that of
`messageExpression`, or else `message`. Who asks (`matchConditions`) is not looked at: that
needs a real server's authorizer.
"""

from collections.abc import Callable
from typing import Any

import yaml

from tests.launchers.kube_tools import MANIFESTS

JOBSET = "jobset.x-k8s.io/v1alpha2"
Change = Callable[[dict[str, Any]], None]


def policies() -> dict[str, dict[str, Any]]:
    """The policies by name."""
    text = (MANIFESTS / "cluster" / "admission-policy.yaml").read_text(encoding="utf-8")
    found = [one for one in yaml.safe_load_all(text) if one["kind"] == "ValidatingAdmissionPolicy"]
    return {one["metadata"]["name"]: one for one in found}


def refusals(
    policy: dict[str, Any], asked: dict[str, Any], mode: str, params: dict[str, str]
) -> list[str]:
    """What a policy says of an object in a namespace that is `mode` (dedicated or shared)."""
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_optional, ext_strings

    names = ("object", "request", "namespaceObject", "params", "variables")
    env = cel.NewEnv(
        variables=dict.fromkeys(names, cel.Type.DYN),
        extensions=[ext_optional.ExtOptional(), ext_strings.ExtStrings()],
    )
    data: dict[str, Any] = {
        "object": asked,
        "request": {"operation": "CREATE", "kind": {"kind": asked["kind"]}},
        "namespaceObject": {"metadata": {"labels": {"thaw-namespace": mode}}},
        "params": {"data": params},
        "variables": {},
    }

    def evaluate(expression: str) -> Any:
        return env.compile(expression).eval(data=data).plain_value()

    for variable in policy["spec"]["variables"]:
        data["variables"][variable["name"]] = evaluate(variable["expression"])
    return [
        evaluate(one["messageExpression"]) if "messageExpression" in one else one["message"]
        for one in policy["spec"]["validations"]
        if evaluate(one["expression"]) is not True
    ]


def pod_spec(one: dict[str, Any]) -> dict[str, Any]:
    """Of a Job, a JobSet or a Pod."""
    spec: dict[str, Any] = one["spec"]
    if one["kind"] == "JobSet":
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    return spec if one["kind"] == "Pod" else spec["template"]["spec"]


def _container(pod: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = pod["containers"][0]
    return container


def _volume(**source: Any) -> Change:
    return lambda pod: pod["volumes"].append({"name": "more", **source})


def _security(**change: Any) -> Change:
    return lambda pod: _container(pod)["securityContext"].update(change)


_OTHER = {"name": "other", "image": "docker.io/library/alpine:3"}
_FROM_SECRET = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "key", "key": "a"}}}
_SECRET = "read a secret that is not allowed"
_PLAIN = "must run as a plain user"

FORBIDDEN: dict[str, tuple[Change, str]] = {
    "image": (
        lambda pod: _container(pod).update(image="docker.io/library/alpine:3"),
        "an image of a worker must begin with registry.example/thaw:.",
    ),
    "image that only begins alike": (
        lambda pod: _container(pod).update(image="registry.example/thawed:1"),
        "an image of a worker must begin with",
    ),
    "second container": (
        lambda pod: pod["containers"].append(_OTHER),
        "an image of a worker must begin with",
    ),
    "init container": (
        lambda pod: pod.update(initContainers=[_OTHER]),
        "an image of a worker must begin with",
    ),
    "account": (
        lambda pod: pod.update(serviceAccountName="default"),
        "cluster.launcher.service_account must be thaw-worker.",
    ),
    "no account": (
        lambda pod: pod.pop("serviceAccountName"),
        "cluster.launcher.service_account must be thaw-worker.",
    ),
    "token": (
        lambda pod: pod.update(automountServiceAccountToken=True),
        "automountServiceAccountToken must be false",
    ),
    "secret": (_volume(secret={"secretName": "key"}), _SECRET),
    "projected secret": (_volume(projected={"sources": [{"secret": {"name": "key"}}]}), _SECRET),
    "variable from a secret": (
        lambda pod: _container(pod)["env"].append(_FROM_SECRET),
        _SECRET,
    ),
    "variables from a secret": (
        lambda pod: _container(pod).update(envFrom=[{"secretRef": {"name": "key"}}]),
        _SECRET,
    ),
    "folder of the node": (_volume(hostPath={"path": "/"}), "Volumes of workers may be emptyDir"),
    "driver of its own": (
        _volume(csi={"driver": "secrets-store.csi.k8s.io"}),
        "Volumes of workers may be emptyDir",
    ),
    "network of the node": (lambda pod: pod.update(hostNetwork=True), "network or the processes"),
    "processes of the node": (lambda pod: pod.update(hostPID=True), "network or the processes"),
    "port of the node": (
        lambda pod: _container(pod).update(ports=[{"containerPort": 2222, "hostPort": 2222}]),
        "must not open a port of their node",
    ),
    "root": (lambda pod: pod["securityContext"].pop("runAsNonRoot"), _PLAIN),
    "writable image": (_security(readOnlyRootFilesystem=False), _PLAIN),
    "privileged": (_security(privileged=True, allowPrivilegeEscalation=True), _PLAIN),
    "capability": (
        _security(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        _PLAIN,
    ),
    "no security": (lambda pod: _container(pod).pop("securityContext"), _PLAIN),
}
"""What no worker may be, with a part of the message."""
