"""What the config says of workers, and what the nodes learn of it."""

from typing import Any

import pytest

from pipeline import node_args
from pipeline.config.cluster import TRAINING_NODES
from pipeline.config.load import ConfigError, load_config
from pipeline.config.schema import Config
from pipeline.training_nodes import workers_of

CLUSTER = {"kind": "kubernetes", "namespace": "a"}
LIMITS = {"start_secs": 600, "stall_secs": 600, "max_restarts": 3}


def group(node: str, workers: int, launcher: dict[str, Any] = node_args.LOCAL_LAUNCHER) -> Any:
    config = load_config(None, ["name=hands", "train.stall_secs=90"])
    return node_args.worker_group(config, node, launcher, workers).get("worker_group")


def test_one_worker_on_this_machine_is_told_nothing():
    assert group("HeadTrainer", 1) is None


@pytest.mark.parametrize(("workers", "launcher"), [(3, {"kind": "local"}), (1, CLUSTER)])
def test_others_are_told_who_works_and_how_long_to_wait(workers, launcher):
    assert group("HeadTrainer", workers, launcher) == {
        "name": "hands-headtrainer",
        "workers": workers,
        "launcher": launcher,
        "limits": {**LIMITS, "stall_secs": 90},
    }


def test_search_has_one_worker_always():
    config = load_config(None, ["train.workers=3"])

    assert {node: workers_of(config, node) for node in TRAINING_NODES} == {
        "Tuner": 1,
        "HeadTrainer": 3,
        "FineTuner": 3,
    }


def test_how_long_to_wait_changes_nothing_that_a_fit_depends_on():
    patient = load_config(
        None, ["train.stall_secs=5000", "train.start_secs=5000", "train.max_restarts=9"]
    )

    for make_args in (node_args.head_trainer, node_args.fine_tuner):
        assert make_args(patient) == make_args(Config())


@pytest.mark.parametrize(
    "setting",
    ["train.workers=0", "train.workers=true", "train.start_secs=0", "train.max_restarts=-1"],
)
def test_impossible_value_is_refused_by_its_key(setting):
    with pytest.raises(ConfigError, match=setting.split("=")[0].replace(".", r"\.")):
        load_config(None, [setting])
