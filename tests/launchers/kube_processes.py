"""Nodes of the stand-in cluster that really run the pods: each as a process on this machine.

A pod's command, environment and number are the pod's own. Only its host names must be made
to lead to this machine, where every pod needs a port of its own:

    python -m tests.launchers.kube_processes PORTS COMMAND...

is what a node starts. It makes `TF_CONFIG` from the pod's environment as the worker would,
replaces each address by one on loopback, and becomes the command.

Where this user may (root on Linux), each pod has a mount namespace of its own: all is read-only
there but the pod's empty folders and the folder that stands for the store.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from launchers.kubernetes import indexed_job
from tests.launchers.kube_cluster import INDEX, Cluster

ROOT = Path(__file__).parents[2]

# The store is under /tmp, which becomes an empty folder: it waits at /mnt meanwhile.
_MAKE_READ_ONLY = """
set -e
store=$1 folders=$2; shift 2
mount --bind "$store" /mnt
for folder in $folders; do
  if [ ! -d "$folder" ]; then
    parent=$(dirname "$folder")
    mount -t tmpfs tmpfs "$parent"; mkdir "$folder"; mount -t tmpfs tmpfs "$folder"
    mount -o remount,ro "$parent"
  else
    mount -t tmpfs tmpfs "$folder"
  fi
done
mkdir -p "$store"; mount --move /mnt "$store"
mount -o remount,bind,ro /
exec "$@"
"""


def can_isolate() -> bool:
    """Whether this user may give a process mounts of its own, an empty /tmp among them."""
    if shutil.which("unshare") is None or ROOT.is_relative_to("/tmp"):
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


def _isolated(container: dict[str, Any], volumes: list[dict[str, Any]], store: Path) -> list[str]:
    """What starts a container's command on its own mounts."""
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    empty = {one["name"] for one in volumes if "emptyDir" in one}
    folders = [one["mountPath"] for one in container["volumeMounts"] if one["name"] in empty]
    shell = ["sh", "-c", _MAKE_READ_ONLY, "sh", str(store), " ".join(folders)]
    return ["unshare", "--mount", "--propagation", "private", *shell]


class Processes:
    """Starts what is to run on the cluster and tells it how that ended.

    With `pods`, a folder, each pod has temporary files of its own, which no other reads. With
    `store`, a folder, all else is read-only, where this user may see to that.
    """

    def __init__(
        self,
        cluster: Cluster,
        pods: Path | None = None,
        secrets: dict[str, dict[str, str]] | None = None,
        store: Path | None = None,
    ) -> None:
        cluster.runs_at_once = False
        self._pods = pods
        self._secrets = secrets or {}
        self._store = store if store and can_isolate() else None
        self._cluster = cluster
        self._running: dict[str, subprocess.Popen] = {}
        self._ports: dict[str, list[int]] = {}
        cluster.store.on_change.append(self._act)

    def _act(self, event: str, plural: str, pod: dict[str, Any]) -> None:
        if plural != "pods":
            return
        name = pod["metadata"]["name"]
        if event == "ADDED":
            threading.Thread(target=self._run, args=(pod,), daemon=True).start()
        elif event == "DELETED" and name in self._running:
            self._running[name].kill()

    def _run(self, pod: dict[str, Any]) -> None:
        name, index = pod["metadata"]["name"], int(pod["metadata"]["annotations"][INDEX])
        (container,) = pod["spec"]["containers"]
        environ = {one["name"]: self._value(one) for one in container["env"]}
        if self._pods:
            environ["TMPDIR"] = str(self._pods / name)
            (self._pods / name).mkdir(parents=True)
        python, *command = container["command"]
        assert python == "python"
        ports = self._ports_of(environ[indexed_job.HOSTS], int(environ[indexed_job.NUM_WORKERS]))
        node = [sys.executable, "-m", "tests.launchers.kube_processes", json.dumps(ports)]
        if self._store:
            node = [*_isolated(container, pod["spec"]["volumes"], self._store), *node]
        else:
            del environ["HOME"]  # there is no such folder here
        process = subprocess.Popen(
            [*node, sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **environ, indexed_job.INDEX: str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._running[name] = process
        self._cluster.runs(index)
        assert process.stdout is not None
        for line in process.stdout:
            self._cluster.store.add_log(name, line.rstrip("\n"))
        code = process.wait()
        if self._cluster.store.all("pods", name=name):
            self._cluster.ends(index, code if code >= 0 else 128 - code)

    def _value(self, variable: dict[str, Any]) -> str:
        """Of a variable of a container, which may be an entry of a Secret."""
        if "value" in variable:
            return str(variable["value"])
        entry = variable["valueFrom"]["secretKeyRef"]
        return self._secrets[entry["name"]][entry["key"]]

    def _ports_of(self, hosts: str, number: int) -> list[int]:
        """Free ports, the same for all pods of a job."""
        with self._cluster._lock:
            if hosts not in self._ports:
                sockets = [socket.socket() for _ in range(number)]
                for one in sockets:
                    one.bind(("127.0.0.1", 0))
                self._ports[hosts] = [one.getsockname()[1] for one in sockets]
                for one in sockets:
                    one.close()
            return self._ports[hosts]

    def kill(self, index: int) -> None:
        """Ends the newest pod of that number, as want of memory or a lost machine would."""
        self._running[self._cluster.pod(index)["metadata"]["name"]].kill()

    def stop(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


def main(ports: str, *command: str) -> None:
    """What a node starts."""
    config = indexed_job.tf_config(os.environ)
    assert config is not None
    port = iter(json.loads(ports))
    addresses = re.compile(
        rf"{os.environ[indexed_job.HOSTS]}-\d+\.{os.environ[indexed_job.SERVICE]}"
        rf":{os.environ[indexed_job.PORT]}"
    )
    places = {"the image": ROOT, "/tmp": "/tmp", "home": os.environ["HOME"]}
    writable = [name for name, place in places.items() if os.access(place, os.W_OK)]
    print(f"this pod may write to {', '.join(writable)}", flush=True)
    os.environ["TF_CONFIG"] = addresses.sub(lambda _: f"127.0.0.1:{next(port)}", config)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
