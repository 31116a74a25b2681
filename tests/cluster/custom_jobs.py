"""What Vertex AI does with a custom job: starts every replica's command at once, each with
the environment that the service gives it.
"""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from google.cloud.aiplatform_v1 import types

from .containers import ColdPython, Command


def run_replicas(job: types.CustomJob, directory: Path) -> str:
    """Runs a job to its end; the job's state. Logs are `replica-0` and so on."""
    directory.mkdir()
    pools = job.job_spec.worker_pool_specs
    replicas = [
        (number, index, pool)
        for number, pool in enumerate(pools)
        for index in range(pool.replica_count)
    ]
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(replicas))]
    python = ColdPython()
    with ThreadPoolExecutor(len(replicas)) as threads:
        running = [
            threads.submit(
                python.run,
                Command(
                    [*pool.container_spec.command, *pool.container_spec.args],
                    {
                        **{one.name: one.value for one in pool.container_spec.env},
                        **replica_environment(addresses, number, index),
                    },
                ),
                directory / f"replica-{order}",
            )
            for order, (number, index, pool) in enumerate(replicas)
        ]
        failed = [error for error in (one.exception() for one in running) if error]
    return "JOB_STATE_FAILED" if failed else "JOB_STATE_SUCCEEDED"


def replica_environment(addresses: list[str], pool: int, index: int) -> dict[str, str]:
    """`TF_CONFIG` and `CLUSTER_SPEC`, as the service documents them for two pools."""
    names: dict[int, tuple[str, str]] = {0: ("chief", "workerpool0"), 1: ("worker", "workerpool1")}
    members = {0: addresses[:1], 1: addresses[1:]}

    def described(which: int, environment: str) -> str:
        cluster_spec: dict[str, Any] = {
            "cluster": {names[number][which]: who for number, who in members.items() if who},
            "task": {"type": names[pool][which], "index": index},
            "environment": environment,
        }
        return json.dumps(cluster_spec)

    return {"TF_CONFIG": described(0, "cloud"), "CLUSTER_SPEC": described(1, "cloud")}


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
