"""A Kubernetes API server for tests: the protocol and the schemas are real, the store is a dict.

It keeps objects (`kube_store.py`), gives each change a resource version, streams watches and
logs in chunks, and refuses what the schemas of Kubernetes and of JobSet refuse. It can be
told to fail.
What happens to the objects then (pods, nodes) is `kube_cluster.py`'s.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import kubernetes_validate

from tests.launchers.kube_store import Refused, Store, fits, has_fields, name_of, now

VERSION = "1.34"
JOBSET_SCHEMA = Path(__file__).with_name("jobset_schema.json")
PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/(?P<version>[^/]+))/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?$"
)
KNOWN = {
    (None, "services"),
    (None, "pods"),
    (None, "events"),
    ("batch", "jobs"),
    ("jobset.x-k8s.io", "jobsets"),
    ("networking.k8s.io", "networkpolicies"),
}


@dataclass
class Fault:
    """The next requests that fit get `status`; 0: the connection is cut after the work is done."""

    method: str
    path: str
    status: int
    times: int = 1


def check(body: dict[str, Any]) -> None:
    """Refuses what the real schemas refuse, unknown keys included."""
    try:
        if body["kind"] != "JobSet":
            kubernetes_validate.validate(body, VERSION, strict=True)
            return
        jsonschema.validate(body, json.loads(JOBSET_SCHEMA.read_text()))
        for part in body["spec"]["replicatedJobs"]:
            job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}
            kubernetes_validate.validate({**job, **part["template"]}, VERSION, strict=True)
    except jsonschema.ValidationError as error:
        raise Refused(422, f"{body['kind']} is invalid: {error.message}") from error


class KubeApi(ThreadingHTTPServer):
    """The server; `with` starts and stops it."""

    daemon_threads = True

    def __init__(self, namespace: str = "birds") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = Store()
        self.namespace = namespace
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.webhooks: list[Callable[[dict[str, Any]], None]] = []
        """Change an object before it is stored, as mutating admission webhooks do."""
        self.cut_watches_after: int | None = None
        self.cut_logs_after: int | None = None
        self.stopping = False

    def __enter__(self) -> "KubeApi":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopping = True
        with self.store.changed:
            self.store.changed.notify_all()
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def kubeconfig(self, folder: Path) -> str:
        """Writes a file that leads here, as a user `tester` in the server's namespace."""
        context = {"cluster": "c", "user": "tester", "namespace": self.namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "tester", "user": {"token": "secret"}}],
            "contexts": [{"name": "c", "context": context}],
        }
        path = folder / "kubeconfig.json"
        path.write_text(json.dumps(config))
        return str(path)

    def calls(self) -> set[tuple[str, str, str]]:
        """What a Role must allow for the requests so far: (API group, resource, verb)."""
        return {_call(method, path) for method, path in self.requests}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server's."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: KubeApi

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, work: Callable[..., dict[str, Any] | None]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        self.query = dict(parse_qsl(url.query))
        self.server.requests.append((self.command, self.path))
        fault = self._fault(url.path)
        try:
            if fault and fault.status:
                raise Refused(fault.status, "told to fail")
            answer = work(self._place(url.path), json.loads(body or "null"))
        except Refused as refused:
            answer = {"kind": "Status", "message": str(refused), "code": refused.status}
            self._send(refused.status, answer)
            return
        if fault:
            self.close_connection = True
            self.connection.close()
        elif answer is not None:
            self._send(200, answer)

    def _fault(self, path: str) -> Fault | None:
        for fault in self.server.faults:
            if fault.times and fault.method == self.command and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def _place(self, path: str) -> dict[str, str]:
        place = PATH.match(path)
        if not place or (place["group"], place["plural"]) not in KNOWN:
            raise Refused(404, "the server could not find the requested resource")
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if (scheme.lower(), token) != ("bearer", "secret"):
            raise Refused(401, "Unauthorized")
        if place["namespace"] != self.server.namespace:
            raise Refused(404, f'namespaces "{place["namespace"]}" not found')
        return place.groupdict()

    def _get(self, place: dict[str, str], body: None) -> dict[str, Any] | None:
        store, plural = self.server.store, place["plural"]
        labels = self.query.get("labelSelector", "")
        fields = self.query.get("fieldSelector", "")
        if place["sub"] == "log":
            self._log(place["name"])
            return None
        if place["name"]:
            return self._found(place)
        if self.query.get("watch") == "True":
            self._watch(plural, labels, fields)
            return None
        items = store.all(plural, labels, fields=fields)
        for item in items:
            # As the real one: what all items are is said once, for the list.
            item.pop("kind", None)
            item.pop("apiVersion", None)
        metadata = {"resourceVersion": str(store.version())}
        return {"kind": "List", "metadata": metadata, "items": items}

    def _found(self, place: dict[str, str]) -> dict[str, Any]:
        key = (place["namespace"], place["plural"], place["name"])
        found = self.server.store.objects.get(key)
        if found is None:
            raise Refused(404, f'{place["plural"]} "{place["name"]}" not found')
        return found

    def _post(self, place: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        check(body)
        key = (place["namespace"], place["plural"], name_of(body))
        if key in self.server.store.objects:
            raise Refused(409, f'{place["plural"]} "{name_of(body)}" already exists')
        body["metadata"] |= {
            "namespace": place["namespace"],
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now(),
        }
        for webhook in self.server.webhooks:
            webhook(body)
        return self.server.store.put("ADDED", place["plural"], body)

    def _delete(self, place: dict[str, str], body: None) -> dict[str, Any]:
        found = self._found(place)
        self.server.store.put("DELETED", place["plural"], found)
        return {"kind": "Status", "status": "Success"}

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _begin_stream(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _watch(self, plural: str, labels: str, fields: str) -> None:
        store = self.server.store
        seen, sent = int(self.query["resourceVersion"]), 0
        until = time.monotonic() + float(self.query.get("timeoutSeconds", 60))
        self._begin_stream("application/json")
        if seen < store.forgotten:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            self._chunk(json.dumps({"type": "ERROR", "object": gone}) + "\n")
            self._chunk("")
            return
        while time.monotonic() < until and not self.server.stopping:
            with store.changed:
                news = [event for event in store.events if event[0] > seen]
                if not news:
                    store.changed.wait(0.1)
            for version, kind, of, one in news:
                seen = version
                if of == plural and fits(one, labels) and has_fields(one, of, fields):
                    if sent == self.server.cut_watches_after:
                        self.server.cut_watches_after = None
                        self._cut()
                        return
                    self._chunk(json.dumps({"type": kind, "object": one}) + "\n")
                    sent += 1
        self._chunk("")

    def _cut(self) -> None:
        """Ends in the middle of a line and of a chunk."""
        self.wfile.write(b'ff\r\n{"type": "MODI')
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)

    def _container(self, name: str) -> str:
        """Whose log is asked for; the words are those of pkg/registry/core/pod/strategy.go."""
        pods = self.server.store.all("pods", name=name)
        if not pods:
            raise Refused(404, f'pods "{name}" not found')
        names = [one["name"] for one in pods[0]["spec"]["containers"]]
        asked = self.query.get("container") or (names[0] if len(names) == 1 else "")
        if not asked:
            said = f"a container name must be specified for pod {name}, choose one of: {names}"
            raise Refused(400, said)
        if asked not in names:
            raise Refused(400, f"container {asked} is not valid for pod {name}")
        return asked

    def _log(self, pod: str) -> None:
        store = self.server.store
        container = self._container(pod)
        if pod not in store.logs:
            raise Refused(400, "container is waiting to start: ContainerCreating")
        lines = store.logs[pod]
        follow = self.query.get("follow") == "True"
        sent = max(0, len(lines) - int(self.query.get("tailLines", len(lines))))
        self._begin_stream("text/plain")
        while True:
            with store.changed:
                news = lines[sent:]
                sent += len(news)
                ended = has_ended(store.all("pods", name=pod), container)
                if follow and not news and not ended:
                    store.changed.wait(0.1)
            for stamp, line in news:
                if self.server.cut_logs_after == 0:
                    self.server.cut_logs_after = None
                    self._cut()
                    return
                if self.server.cut_logs_after:
                    self.server.cut_logs_after -= 1
                stamped = f"{stamp} {line}\n" if "timestamps" in self.query else line + "\n"
                self._chunk(stamped)
            if self.server.stopping or (not news and (ended or not follow)):
                break
        self._chunk("")


def has_ended(pods: list[dict[str, Any]], container: str) -> bool:
    """Whether a container has: its log ends then, whatever the others of its pod do."""
    if not pods or pods[0].get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return True
    statuses = pods[0].get("status", {}).get("containerStatuses", [])
    return any(one["name"] == container and "terminated" in one["state"] for one in statuses)


def _call(method: str, path: str) -> tuple[str, str, str]:
    url = urlsplit(path)
    place = PATH.match(url.path)
    assert place is not None
    verb = {"POST": "create", "DELETE": "delete"}.get(method, "get" if place["name"] else "list")
    if "watch=True" in url.query:
        verb = "watch"
    resource = f"{place['plural']}/{place['sub']}" if place["sub"] else place["plural"]
    return place["group"] or "", resource, verb
