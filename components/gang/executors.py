"""Executors that run their node in a gang, where `custom_config["gang"]` asks for one.

It holds `name`, of the job; `workers`, how many; `launcher`, settings for `make_launcher`;
and `limits`, the fields of `Limits`. Without it, or with one worker on this machine, a
node runs in this process, as TFX's own does.

The variable `THAW_GANG_SETTINGS` may hold more of it, as JSON: `limits`, and settings of the
launcher that go over those of `custom_config`. A cluster's cache goes by `custom_config`.
"""

import hashlib
import json
import os
import re
import tempfile
from typing import Any

from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs
from tfx.utils import json_utils, path_utils

from components.gang.launcher import LOCAL, Gang, Limits, make_launcher
from components.gang.request import Artifacts, Request, write_request
from components.tuner.executor import Executor as TunerExecutor
from trainer import progress
from trainer.tasks import GANG

SETTINGS_VARIABLE = "THAW_GANG_SETTINGS"
SETTINGS_ANNOTATION = "thaw-gang-settings"
"""Of a pod; the variable is filled from it."""

REQUEST_FILE = os.path.join("gang", "request.json")

# A pod is named after its job and its number, and no name is longer than 63.
_NAME_LENGTH = 40
_HASH_LENGTH = 10


class GangTrainerExecutor(GenericExecutor):
    """TFX's Trainer, by one worker here or by several that train together."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Trains; only the chief's export is the model.

        Raises:
          GangFailed: if the workers could not finish.
          RuntimeError: if they left no model.
        """
        settings = _elsewhere(exec_properties)
        if settings is None:
            super().Do(input_dict, output_dict, exec_properties)
            return
        folder = artifact_utils.get_single_uri(output_dict[specs.MODEL_RUN_KEY])
        told = _with_settings(exec_properties, settings)
        request = _request(GenericExecutor, input_dict, output_dict, told)
        _run(request, settings, folder)
        _check_model(artifact_utils.get_single_uri(output_dict[specs.MODEL_KEY]))


class GangTunerExecutor(TunerExecutor):
    """The search, here or as a job of its own on a cluster; by one worker always.

    Each trial depends on those before it, and one of a head takes a second.
    """

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Searches.

        Raises:
          GangFailed: if the worker could not finish.
        """
        settings = _elsewhere(exec_properties)
        if settings is None:
            super().Do(input_dict, output_dict, exec_properties)
            return
        folder = artifact_utils.get_single_uri(output_dict[specs.TUNER_RESULTS_KEY])
        told = _with_settings(exec_properties, settings)
        request = _request(TunerExecutor, input_dict, output_dict, told)
        _run(request, settings, folder)


def _elsewhere(exec_properties: dict[str, Any]) -> dict[str, Any] | None:
    """How the gang is to be made; None where this process does the work itself.

    Raises:
      ValueError: if half of it is missing.
    """
    settings = _custom_config(exec_properties).get(GANG)
    if not settings or (settings["workers"] == 1 and settings["launcher"]["kind"] == LOCAL):
        return None
    more = json.loads(os.environ.get(SETTINGS_VARIABLE) or "{}")
    settings = {
        **settings,
        **more,
        "launcher": {**settings["launcher"], **more.get("launcher", {})},
    }
    if "limits" not in settings:
        raise ValueError(
            f"{SETTINGS_VARIABLE} is not set, so that it is unknown where the workers run.\n"
            f"  The pod's annotation {SETTINGS_ANNOTATION} fills it: submit both documents of "
            "the compiled pipeline."
        )
    return settings


def _custom_config(exec_properties: dict[str, Any]) -> dict[str, Any]:
    return json_utils.loads(exec_properties.get(specs.CUSTOM_CONFIG_KEY) or "null") or {}


def _with_settings(exec_properties: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The properties for the workers, whose environment does not hold the settings."""
    custom = {**_custom_config(exec_properties), GANG: settings}
    return {**exec_properties, specs.CUSTOM_CONFIG_KEY: json_utils.dumps(custom)}


def _request(
    executor: type[BaseExecutor],
    input_dict: Artifacts,
    output_dict: Artifacts,
    exec_properties: dict[str, Any],
) -> Request:
    return Request(
        executor=f"{executor.__module__}.{executor.__name__}",
        input_dict=input_dict,
        output_dict=output_dict,
        exec_properties=exec_properties,
    )


def _run(request: Request, settings: dict[str, Any], folder: str) -> None:
    """Runs a request by the launcher of `settings`; `folder` is one of its outputs."""
    uri = os.path.join(folder, REQUEST_FILE)
    write_request(request, uri)
    gang = Gang(
        name=gang_name(settings["name"], request),
        request_uri=uri,
        num_workers=settings["workers"],
        log_dir=_log_dir(settings["name"]),
        limits=Limits(**settings["limits"]),
    )
    make_launcher(settings["launcher"]).run(gang)


def gang_name(job: str, request: Request) -> str:
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


def _check_model(uri: str) -> None:
    """Raises `RuntimeError` if the chief has exported nothing."""
    folder = path_utils.serving_model_dir(uri)
    if not fileio.exists(folder):
        raise RuntimeError(
            f"all workers have ended well, but {folder} is missing.\n"
            "  Every worker must reach the same folder of the pipeline's artifacts."
        )
