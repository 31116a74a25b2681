"""The Tuner's executor: where it works, and what it leaves."""

import json
from types import SimpleNamespace

import pytest
from tfx.components.tuner import executor as tfx_tuner
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import standard_artifacts

from components.tuner.executor import Executor
from trainer.tuning.trials import SearchRecord


@pytest.fixture
def search(monkeypatch):
    """Takes the place of the search; tells what it was called with."""
    called = SimpleNamespace()

    def searched(inputs, properties, working_dir):
        called.working_dir = working_dir
        return SimpleNamespace(results=lambda: SearchRecord("hyperband", {}, ()))

    monkeypatch.setattr(tfx_tuner, "search", searched)
    monkeypatch.setattr(tfx_tuner, "write_best_hyperparameters", lambda *_: None)
    return called


def test_trials_are_kept_beside_the_outputs_not_where_the_pod_has_its_own_files(search, tmp_path):
    """As on Kubeflow, whose launcher names a place of the pod: no folder can be made there."""
    results = standard_artifacts.TunerResults()
    results.uri = str(tmp_path / "root" / "Tuner" / "salt" / "tuner_results")
    (tmp_path / "gcs").write_text("a file, so that nothing can be written below it")

    Executor(BaseExecutor.Context(tmp_dir=str(tmp_path / "gcs"), unique_id="1")).Do(
        {}, {"tuner_results": [results]}, {}
    )

    assert search.working_dir == str(tmp_path / "root" / "Tuner" / "salt")
    assert json.loads((tmp_path / "root/Tuner/salt/tuner_results/trials.json").read_text()) == {
        "algorithm": "hyperband",
        "best": {},
        "trials": [],
    }
