"""Who is who among the workers of one job, as `TF_CONFIG` says it."""

import json
from collections.abc import Mapping, Sequence

TF_CONFIG = "TF_CONFIG"
WORKER_GROUP = "worker_group"
"""In `custom_config`: how a node's workers are started; see `launchers.execution`."""

CHIEF = "chief"
WORKER = "worker"


def worker_name(index: int) -> str:
    """What messages and logs call a task. Its number is that in the job, and of its pod;
    TensorFlow counts the workers without the chief, so one less.
    """
    return CHIEF if index == 0 else f"{WORKER} {index}"


def addresses(environ: Mapping[str, str]) -> list[str]:
    """`host:port` of every task, the chief's first; empty without `TF_CONFIG`."""
    cluster = json.loads(environ.get(TF_CONFIG) or "{}").get("cluster", {})
    return [*cluster.get(CHIEF, []), *cluster.get(WORKER, [])]


def own_index(environ: Mapping[str, str]) -> int:
    """Number of this process in the job; 0 without `TF_CONFIG`."""
    settings = json.loads(environ.get(TF_CONFIG) or "{}")
    task = settings.get("task", {})
    if task.get("type", CHIEF) == CHIEF:
        return 0
    return len(settings["cluster"].get(CHIEF, [])) + int(task["index"])


def tf_config(addresses: Sequence[str], index: int) -> str:
    """`TF_CONFIG` of one task.

    Args:
      addresses: `host:port` of every task. Task 0 is named chief, as TFX asks for.
      index: of the task, in the worker group.
    """
    cluster = {CHIEF: list(addresses[:1])}
    if len(addresses) > 1:
        cluster[WORKER] = list(addresses[1:])
    task = {"type": CHIEF, "index": 0} if index == 0 else {"type": WORKER, "index": index - 1}
    return json.dumps({"cluster": cluster, "task": task})
