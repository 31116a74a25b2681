"""Which executions go to a worker group, what its workers get, and what is expected of them."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import Artifact, artifact_utils, standard_artifacts
from tfx.utils import json_utils

from components.trainer.executor import Executor
from launchers.execution import GroupSettings, group_name, read_settings
from launchers.kubernetes.settings import KubernetesSettings
from launchers.request import Request, read_request, write_request
from launchers.worker_group import Limits, WorkerGroupFailed
from trainer.errors import ThawError

# Workers that do without TensorFlow: each says that it was there; the chief exports.
WORKER = """
import json, os, sys
request = json.load(open(sys.argv[-1]))
(model,) = json.loads(request["outputs"])["model"]
uri = model["artifact"]["uri"]
task = json.loads(os.environ["TF_CONFIG"])["task"]
os.makedirs(f"{uri}/seen", exist_ok=True)
open(f"{uri}/seen/{task['type']}-{task['index']}", "w").write(request["executor"])
if task["type"] == "chief" and "exports" in sys.argv:
    os.makedirs(f"{uri}/Format-Serving")
"""


def artifact(kind: type[Artifact], uri: str, number: int = 1) -> Artifact:
    made = kind()
    made.uri, made.id = uri, number
    return made


@pytest.fixture
def outputs(tmp_path) -> dict[str, list[Artifact]]:
    return {
        "model": [artifact(standard_artifacts.Model, str(tmp_path / "model" / "7"))],
        "model_run": [artifact(standard_artifacts.ModelRun, str(tmp_path / "run" / "7"))],
    }


def properties(workers: int, *command: str) -> dict[str, Any]:
    group = {
        "name": "hands-headtrainer",
        "workers": workers,
        "launcher": {"kind": "local", "command": list(command)},
        "limits": {"start_secs": 60, "stall_secs": 60, "max_restarts": 0, "deadline_secs": 0.0},
    }
    return {"custom_config": json_utils.dumps({"worker_group": group}), "module_path": None}


def test_workers_are_told_of_no_place_but_the_outputs(outputs, tmp_path):
    """As on Kubeflow: the folder that TFX gives the node is in its own pod, not in theirs."""
    (tmp_path / "gcs").write_text("a file, so that nothing can be written below it")
    exec_properties = properties(2, sys.executable, "-c", WORKER, "exports")

    executor(tmp_path / "gcs").Do({}, outputs, exec_properties)

    assert "gcs" not in (tmp_path / "run/7/worker_group/request.json").read_text()


def executor(tmp_path: Path) -> Executor:
    return Executor(BaseExecutor.Context(tmp_dir=str(tmp_path), unique_id="7"))


def test_several_workers_are_started_each_with_the_whole_request(outputs, tmp_path, monkeypatch):
    monkeypatch.setenv("THAW_EVENTS_FILE", str(tmp_path / "logs" / "events.jsonl"))
    monkeypatch.setenv("THAW_NODE", "HeadTrainer")
    exec_properties = properties(3, sys.executable, "-c", WORKER, "exports")

    executor(tmp_path).Do({}, outputs, exec_properties)

    seen = {path.name: path.read_text() for path in (tmp_path / "model/7/seen").iterdir()}
    own = "tfx.components.trainer.executor.GenericExecutor"
    assert seen == {"chief-0": own, "worker-0": own, "worker-1": own}
    request = read_request(str(tmp_path / "run/7/worker_group/request.json"))
    assert request.exec_properties == exec_properties
    assert artifact_utils.get_single_uri(request.output_dict["model"]) == str(tmp_path / "model/7")
    assert len(list((tmp_path / "logs" / "HeadTrainer-workers").iterdir())) == 3


def test_settings_that_no_cache_is_to_see_come_from_the_environment(outputs, tmp_path, monkeypatch):
    """On Kubeflow: the pod has them from an annotation. Workers need them as well."""
    exec_properties = properties(2)
    group = json_utils.loads(exec_properties["custom_config"])["worker_group"]
    command = group["launcher"].pop("command")
    limits = group.pop("limits")
    command += [sys.executable, "-c", WORKER, "exports"]
    more = {"launcher": {"command": command}, "limits": {**limits, "stall_secs": 7}}
    monkeypatch.setenv("THAW_WORKER_GROUP", json.dumps(more))
    config = json_utils.dumps({"seed": 5, "worker_group": group})

    executor(tmp_path).Do({}, outputs, {"custom_config": config})

    assert (tmp_path / "model/7/seen/worker-0").exists()
    request = read_request(str(tmp_path / "run/7/worker_group/request.json"))
    read = json_utils.loads(request.exec_properties["custom_config"])
    assert (read["seed"], read["worker_group"]["workers"]) == (5, 2)
    assert read["worker_group"]["limits"] == {**limits, "stall_secs": 7}


def test_settings_that_did_not_reach_the_pod_are_missed(outputs, tmp_path):
    exec_properties = properties(2)
    group = json_utils.loads(exec_properties["custom_config"])["worker_group"]
    del group["limits"]

    with pytest.raises(ThawError, match=r"THAW_WORKER_GROUP is not set.*\n.*thaw-worker-group"):
        executor(tmp_path).Do(
            {}, outputs, {"custom_config": json_utils.dumps({"worker_group": group})}
        )


def test_workers_that_end_well_without_a_model_are_an_error(outputs, tmp_path):
    exec_properties = properties(2, sys.executable, "-c", WORKER)

    with pytest.raises(ThawError, match=r"model/7/Format-Serving: is missing"):
        executor(tmp_path).Do({}, outputs, exec_properties)


def test_worker_that_fails_is_named_with_its_last_words(outputs, tmp_path):
    exec_properties = properties(2, sys.executable, "-c", "raise SystemExit('no such thing')")

    with pytest.raises(WorkerGroupFailed, match=r"(?s)hands-headtrainer-.*no such thing"):
        executor(tmp_path).Do({}, outputs, exec_properties)


@pytest.mark.parametrize(
    "custom", [None, {}, {"worker_group": {"workers": 1, "launcher": {"kind": "local"}}}]
)
def test_one_worker_on_this_machine_is_this_process(custom, outputs, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(GenericExecutor, "Do", lambda self, *arguments: called.append(arguments))
    exec_properties = {"custom_config": json_utils.dumps(custom)}

    executor(tmp_path).Do({}, outputs, exec_properties)

    assert called == [({}, outputs, exec_properties)]


def test_one_worker_elsewhere_is_a_group():
    launcher = {"kind": "kubernetes", "image": "thaw:1"}
    group = {"name": "a", "workers": 1, "launcher": launcher, "limits": {}}

    read = read_settings({"custom_config": json_utils.dumps({"worker_group": group})})

    assert read == GroupSettings("a", 1, KubernetesSettings(image="thaw:1"), Limits())
    assert read.to_json() == {**group, "limits": vars(Limits())}


def request(outputs: dict[str, list[Artifact]], **properties: Any) -> Request:
    return Request("a.b.C", {"examples": []}, outputs, {"seed": 1, **properties})


def test_request_is_read_as_it_was_written(outputs, tmp_path):
    uri = str(tmp_path / "deep" / "request.json")
    written = request(outputs, name="é", nothing=None)

    write_request(written, uri)

    assert read_request(uri).to_json() == written.to_json()
    assert json.loads(Path(uri).read_text())["exec_properties"]["name"] == "é"


def test_missing_request_says_what_every_worker_needs(tmp_path):
    with pytest.raises(ThawError, match=r"nothing\.json: is missing.*\n.*every worker reach"):
        read_request(str(tmp_path / "nothing.json"))


@given(st.text(max_size=80).map(lambda text: f"a{text}"))
def test_name_is_a_label_that_leaves_room_for_a_pods_number(job):
    name = group_name(job, request({}))

    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) <= 51


def test_name_is_the_same_for_the_same_execution_only(outputs):
    again = request(outputs)
    other = {**outputs, "model": [artifact(standard_artifacts.Model, "/elsewhere", 2)]}

    assert group_name("a", request(outputs)) == group_name("a", again)
    assert group_name("a", request(other)) != group_name("a", again)
    assert group_name("a", request(outputs, seed=2)) != group_name("a", again)
