"""The data steps on other engines: several processes, and Apache Flink, give the same.

Each node of a finished run runs once more on the run's own inputs, so that nothing but the
engine differs: no result of an earlier node, and no order in which a fit read.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv

from trainer import keys
from trainer.data.fit_data import read_records

from ..conftest import ROOT
from ..h5_files import assert_same

pytestmark = pytest.mark.slow

NODES = ("ImageExampleGen", "StatisticsGen", "Transform", "TrunkFeatures", "Evaluator")
SEVERAL_PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
FLINK = (
    "--runner=FlinkRunner",
    "--flink_master=[local]",
    "--environment_type=LOOPBACK",
    "--parallelism=2",
)


def job_server() -> Path:
    spec = importlib.util.spec_from_file_location(
        "flink_job_server", ROOT / "scripts" / "flink_job_server.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.job_server()
    except module.NoJobServer as problem:
        pytest.skip(f"no Flink job server: {problem}")


@pytest.fixture(scope="module", params=["several processes", "flink"])
def engine(request) -> tuple[str, ...]:
    if request.param == "flink":
        return (*FLINK, f"--flink_job_server_jar={job_server()}")
    return SEVERAL_PROCESSES


@pytest.fixture(scope="module")
def rerun(engine, good_run, output, tmp_path_factory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Where the nodes left what they made on the engine, and how each of them ended."""
    new = tmp_path_factory.mktemp("engine")
    (new / "tmp").mkdir()
    first = min((output / "logs").iterdir(), key=lambda path: path.stat().st_mtime)
    command = ["-m", "tests.e2e.rerun_nodes", first, output, new, ",".join(NODES), *engine]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(new / "tmp")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    print(outcomes)
    return new, outcomes


@pytest.fixture(scope="module")
def pairs(rerun, good_run) -> Callable[[str, str], tuple[Path, Path]]:
    """Where the run left an output of a node, and where the same node left it here."""
    new, outcomes = rerun
    before = {
        node["name"]: {key: Path(one["uri"]) for key, (one,) in node["outputs"].items()}
        for node in good_run.results["nodes"]
    }

    def pair(node: str, key: str) -> tuple[Path, Path]:
        assert outcomes[node]["ok"], outcomes[node]
        (made,) = (new / "artifacts" / node / key).iterdir()
        return before[node][key], made

    return pair


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in patterns
        for path in folder.glob(pattern)
    }
    assert found
    return found


def records(folder: Path, split: str) -> Iterator[tf.train.Example]:
    paths = [str(path) for path in sorted((folder / f"Split-{split}").iterdir())]
    for record in read_records(paths).as_numpy_iterator():
        yield tf.train.Example.FromString(record)


def test_ingestion_writes_the_same_bytes_into_the_same_files(pairs):
    before, made = pairs("ImageExampleGen", "examples")

    kept = ("Split-*/*", "set_aside/*", "data_card.json")
    assert contents(made, *kept) == contents(before, *kept)
    assert len(contents(made, "set_aside/*")) == 1


@pytest.mark.parametrize("split", keys.SPLITS)
def test_statistics_are_the_same(pairs, split):
    before, made = (
        tfdv.load_stats_binary(str(folder / f"Split-{split}" / "FeatureStats.pb"))
        for folder in pairs("StatisticsGen", "statistics")
    )

    assert made.datasets[0].num_examples > 0
    assert made == before


def test_transform_writes_the_same_bytes_into_the_same_files(pairs):
    before, made = pairs("Transform", "transformed_examples")

    assert contents(made, "Split-*/*") == contents(before, "Split-*/*")


def test_transform_hands_on_the_same_classes(pairs):
    before, made = pairs("Transform", "transformed_examples")

    assert contents(made, "data_card.json") == contents(before, "data_card.json")


def trunk_of(example: tf.train.Example) -> np.ndarray:
    (stored,) = example.features.feature[keys.TRUNK].bytes_list.value
    return tf.io.parse_tensor(stored, tf.float16).numpy()


@pytest.mark.parametrize("split", keys.SPLITS)
def test_features_are_the_same_in_the_same_files_and_order(pairs, split):
    before, made = pairs("TrunkFeatures", "features")

    names = [
        sorted(path.name for path in (folder / f"Split-{split}").iterdir())
        for folder in (before, made)
    ]
    assert names[0] == names[1]
    for one, other in zip(records(before, split), records(made, split), strict=True):
        was, found = trunk_of(one), trunk_of(other)
        del one.features.feature[keys.TRUNK], other.features.feature[keys.TRUNK]
        assert other == one
        # Other batches: some processors then sum in another order, which can tip a number
        # to its neighbour in float16, and moves one near zero by what its terms, of about 10,
        # are rounded by.
        np.testing.assert_allclose(found, was, rtol=2**-10, atol=10 * 2**-18)


def test_weights_of_the_trunk_are_the_same(pairs):
    before, made = pairs("TrunkFeatures", "trunk")

    (weights,) = contents(before, "**/*.h5")
    assert_same(before / weights, made / weights)


def metrics(evaluation: Path) -> dict[str, Any]:
    from pipeline.report.evaluation import read_metrics
    from trainer.data.predictions import MODELS

    return {model: read_metrics(str(evaluation), model) for model in MODELS}


def test_evaluation_finds_the_same_metrics_and_predictions(pairs):
    from trainer.data.predictions import read_predictions

    before, made = pairs("Evaluator", "evaluation")

    assert metrics(made) == metrics(before)
    rows = [list(read_predictions(str(folder)).rows()) for folder in (before, made)]
    assert rows[0] == rows[1]
    assert rows[0]


def test_neither_processes_nor_temporary_files_are_left(rerun):
    new, _ = rerun

    commands = [
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    ]
    assert not [command for command in commands if str(new / "tmp") in command]
    assert not list((new / "tmp").iterdir())
