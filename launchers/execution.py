"""Runs one execution of a node by a worker group, where its `custom_config` asks for one.

`custom_config["worker_group"]` holds `name`, of the job; `workers`, how many; `launcher`,
settings of the launcher, with its `kind`; and `limits`, the fields of `Limits`. Without it, or
with one worker on this machine, a node does its work in its own process, as TFX's own do.

The variable `THAW_WORKER_GROUP` may hold more of it, as JSON: `limits`, and settings of the
launcher that override those of `custom_config`. A cluster's cache key covers `custom_config`
only.
"""

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import standard_component_specs as specs
from tfx.utils import json_utils

from launchers import registry
from launchers.request import Artifacts, ExecProperties, Request, write_request
from launchers.settings import Settings
from launchers.worker_group import Limits, WorkerGroup
from trainer.errors import ThawError
from trainer.process import progress
from trainer.process.tf_config import WORKER_GROUP

SETTINGS_VARIABLE = "THAW_WORKER_GROUP"
SETTINGS_ANNOTATION = "thaw-worker-group"
"""Of a pod; the variable is filled from it."""

REQUEST_FILE = os.path.join("worker_group", "request.json")

# A pod is named after its job and its number, and no name is longer than 63.
_NAME_LENGTH = 40
_HASH_LENGTH = 10


@dataclass(frozen=True)
class GroupSettings:
    """How the workers of a node are started.

    Attributes:
      name: of the job.
      workers: how many.
      launcher: settings of the launcher, which say of which kind it is.
      limits: how long to wait, and how often to restart.
    """

    name: str
    workers: int
    launcher: Settings
    limits: Limits

    def to_json(self) -> dict[str, object]:
        """In JSON's types, as `custom_config["worker_group"]`."""
        return {**vars(self), "launcher": self.launcher.to_json(), "limits": vars(self.limits)}


def read_settings(exec_properties: ExecProperties) -> GroupSettings | None:
    """Reads how the workers are to be started; None where this process does the work itself.

    Raises:
      ThawError: if half of it is missing, or one of the launcher's settings is wrong.
    """
    custom = _custom_config(exec_properties).get(WORKER_GROUP)
    if not custom or (custom["workers"] == 1 and custom["launcher"]["kind"] == registry.LOCAL):
        return None
    more = json.loads(os.environ.get(SETTINGS_VARIABLE) or "{}")
    values = {**custom, **more}
    if "limits" not in values:
        raise ThawError(
            f"{SETTINGS_VARIABLE} is not set, so that it is unknown where the workers run.",
            to_do=(
                f"The pod's annotation {SETTINGS_ANNOTATION} fills it: submit both documents of "
                "the compiled pipeline."
            ),
        )
    launcher = {**custom["launcher"], **more.get("launcher", {})}
    return GroupSettings(
        values["name"],
        values["workers"],
        registry.read_settings(launcher),
        Limits(**values["limits"]),
    )


def run_by_workers(
    executor: type[BaseExecutor],
    input_dict: Artifacts,
    output_dict: Artifacts,
    exec_properties: ExecProperties,
    settings: GroupSettings,
    folder: str,
) -> None:
    """Has all workers call `executor.Do`, and waits for them.

    Args:
      executor: imported by the workers under its own name.
      input_dict: as of `Do`, like the next two.
      output_dict: every worker must reach the artifacts' folders.
      exec_properties: handed to the workers.
      settings: from `read_settings`.
      folder: of one of the outputs; the workers' request is written there.

    Raises:
      WorkerGroupFailed: if the workers could not finish.
    """
    request = Request(
        executor=f"{executor.__module__}.{executor.__name__}",
        input_dict=input_dict,
        output_dict=output_dict,
        exec_properties=_with_settings(exec_properties, settings),
    )
    uri = os.path.join(folder, REQUEST_FILE)
    write_request(request, uri)
    group = WorkerGroup(
        name=group_name(settings.name, request),
        request_uri=uri,
        num_workers=settings.workers,
        log_dir=_log_dir(settings.name),
        limits=settings.limits,
    )
    registry.make_launcher(settings.launcher).run(group)


def _custom_config(exec_properties: ExecProperties) -> dict[str, Any]:
    return json_utils.loads(exec_properties.get(specs.CUSTOM_CONFIG_KEY) or "null") or {}


def _with_settings(exec_properties: ExecProperties, settings: GroupSettings) -> ExecProperties:
    """The properties for the workers, whose environment does not hold the settings."""
    custom = {**_custom_config(exec_properties), WORKER_GROUP: settings.to_json()}
    return {**exec_properties, specs.CUSTOM_CONFIG_KEY: json_utils.dumps(custom)}


def group_name(job: str, request: Request) -> str:
    """A DNS-1123 label; the same request gives the same, any other another."""
    digest = hashlib.sha256(request.to_json().encode()).hexdigest()[:_HASH_LENGTH]
    label = re.sub(r"[^a-z0-9]+", "-", job.lower()).strip("-")
    return f"{label[:_NAME_LENGTH].strip('-')}-{digest}"


def _log_dir(job: str) -> str:
    """Beside the log of the node, where somebody watches the run; else a temporary folder."""
    events = os.environ.get(progress.EVENTS_FILE)
    if events:
        return os.path.join(
            os.path.dirname(events), f"{os.environ.get(progress.NODE, job)}-workers"
        )
    return tempfile.mkdtemp(prefix=f"{job}-")
