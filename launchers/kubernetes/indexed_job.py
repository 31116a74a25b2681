"""What a pod of an Indexed Job knows of its worker group, and `TF_CONFIG` made from it.

Kubernetes gives each pod its number; the names of the others follow from the job's. The
launcher writes these variables, `launchers.worker` reads them.
"""

from collections.abc import Mapping

from trainer.process import tf_config as tasks

INDEX = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes: this pod's number in the job."""

NUM_WORKERS = "THAW_NUM_WORKERS"
HOSTS = "THAW_HOSTS"
"""What all host names begin with; `-<number>` follows."""

SERVICE = "THAW_SERVICE"
"""The headless Service below which the host names are known."""

PORT = "THAW_PORT"


def variables(num_workers: int, hosts: str, service: str, port: int) -> dict[str, str]:
    """What the launcher puts into every pod's environment."""
    return {NUM_WORKERS: str(num_workers), HOSTS: hosts, SERVICE: service, PORT: str(port)}


def tf_config(environ: Mapping[str, str]) -> str | None:
    """`TF_CONFIG` of this pod; None where this is no pod of a worker group.

    Raises:
      ValueError: if the pod belongs to a worker group but a variable is missing or is no number.
    """
    if INDEX not in environ or NUM_WORKERS not in environ:
        return None
    missing = [name for name in (HOSTS, SERVICE, PORT) if not environ.get(name)]
    if missing:
        raise ValueError(f"{', '.join(missing)}: not set in this pod; the launcher sets them.")
    index, num_workers, port = (_number(environ, name) for name in (INDEX, NUM_WORKERS, PORT))
    if index >= num_workers:
        raise ValueError(f"{INDEX} is {index}, but {NUM_WORKERS} is {num_workers}.")
    addresses = [
        f"{environ[HOSTS]}-{number}.{environ[SERVICE]}:{port}" for number in range(num_workers)
    ]
    return tasks.tf_config(addresses, index)


def _number(environ: Mapping[str, str], name: str) -> int:
    if not environ[name].isdecimal():
        raise ValueError(f"{name} must be a number, not {environ[name]!r}.")
    return int(environ[name])
