"""What stands between a Job's controller and its pods: injected sidecars, and refusals.

The messages are those of Kubernetes' sources:

- `pkg/quota/v1/evaluator/core/pods.go` (Constraints) and
  `plugin/pkg/admission/resourcequota`: "failed quota: NAME: must specify limits.cpu for: …",
  "exceeded quota: NAME, requested: …, used: …, limited: …";
- `plugin/pkg/admission/serviceaccount/admission.go`: "error looking up service account …";
- `staging/src/k8s.io/pod-security-admission/admission/admission.go`:
  'violates PodSecurity "restricted:latest": …'.

Istio decides as `pkg/kube/inject/inject.go` (injectRequired): the pod's label goes before its
annotation, and where neither says anything, the namespace decides.
"""

from collections.abc import Iterator
from typing import Any

INJECT_ISTIO = "sidecar.istio.io/inject"
INJECT_LINKERD = "linkerd.io/inject"


class Admission:
    """The rules of one namespace."""

    def __init__(self) -> None:
        self.mesh = ""
        """istio or linkerd: injects its sidecar into every pod that does not object."""
        self.quota_wants: tuple[str, ...] = ()
        """What every container must state, such as limits.cpu."""
        self.room: int | None = None
        """How many pods the quota has room for. None: any number."""
        self.accounts: set[str] | None = None
        """Service accounts there are. None: any."""
        self.restricted = False
        """Whether Pod Security's level is enforced (of which only capabilities count here)."""

    def admit(self, pod: dict[str, Any]) -> str | None:
        """Changes a pod as webhooks do; why it is refused, or None."""
        if self._injects(pod["metadata"]):
            _inject(pod["spec"], self.mesh)
        said = next(self._refusals(pod), None)
        if not said and self.room is not None:
            self.room -= 1
        return said and f'pods "{pod["metadata"]["name"]}" is forbidden: {said}'

    def _injects(self, metadata: dict[str, Any]) -> bool:
        labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
        if self.mesh == "istio":
            asked = labels.get(INJECT_ISTIO, annotations.get(INJECT_ISTIO, ""))
            return bool(asked != "false")
        return self.mesh == "linkerd" and annotations.get(INJECT_LINKERD) != "disabled"

    def _refusals(self, pod: dict[str, Any]) -> Iterator[str]:
        namespace, spec = pod["metadata"]["namespace"], pod["spec"]
        account = spec.get("serviceAccountName", "default")
        if self.accounts is not None and account not in self.accounts:
            yield (
                f"error looking up service account {namespace}/{account}: "
                f'serviceaccount "{account}" not found'
            )
        for one in [*spec.get("initContainers", []), *spec["containers"]]:
            dropped = one.get("securityContext", {}).get("capabilities", {}).get("drop", [])
            if self.restricted and "ALL" not in dropped:
                yield (
                    'violates PodSecurity "restricted:latest": unrestricted capabilities '
                    f'(container "{one["name"]}" must set '
                    'securityContext.capabilities.drop=["ALL"])'
                )
            missing = [want for want in self.quota_wants if not _states(one, want)]
            if self.room == 0:
                amounts = "requested: pods=1, used: pods=1, limited: pods=1"
                yield f"exceeded quota: team, {amounts}"
            if missing:
                yield f"failed quota: team: must specify {','.join(missing)} for: {one['name']}"


def _states(container: dict[str, Any], want: str) -> bool:
    """Whether a container states an amount; a limit without a request is a request too."""
    kind, _, resource = want.partition(".")
    resources = container.get("resources", {})
    return any(resource in resources.get(one, {}) for one in {kind, "limits"})


def _inject(spec: dict[str, Any], mesh: str) -> None:
    proxy = {"name": f"{mesh}-proxy", "image": f"{mesh}/proxy"}
    init = {
        "name": f"{mesh}-init",
        "image": f"{mesh}/init",
        "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
    }
    spec["containers"] = [proxy, *spec["containers"]]
    spec["initContainers"] = [init, *spec.get("initContainers", [])]
