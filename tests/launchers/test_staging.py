"""Workers of a job on copies of their own of what is in a real S3 server."""

import os

import pytest
from tfx.types import standard_artifacts

import trainer  # noqa: F401 - chooses the Keras
from launchers.request import Request
from launchers.staging import on_local_copies
from trainer.store import s3

from ..cluster.s3_server import S3Server

pytestmark = pytest.mark.slow
TASK = "minio://mlpipeline/root/birds/run/FineTuner/0b5a3cf0-16a1-4d2e-9d6a-4b1a0c6cbd6e"
STATE = "root/birds/run/FineTuner/.system/recovery/epoch-1.npz"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S3Server(tmp_path_factory.mktemp("seaweedfs")) as running:
        running.put("root/examples/Split-train/images", b"pixels")
        yield running


@pytest.fixture(autouse=True)
def machine(server, monkeypatch, tmp_path):
    """One with temporary files of its own, and a pod's variables."""
    for name, value in {**server.variables(), "TMPDIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    s3._filesystem.cache_clear()
    yield
    s3._filesystem.cache_clear()


@pytest.fixture
def request_(server) -> Request:
    examples, model = standard_artifacts.Examples(), standard_artifacts.Model()
    examples.uri, model.uri = "minio://mlpipeline/root/examples", f"{TASK}/model"
    return Request("no.Executor", {"examples": [examples]}, {"model": [model]}, {})


def write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def state_of(model_dir: str) -> str:
    return os.path.join(os.path.dirname(model_dir), "..", ".system", "recovery", "epoch-1.npz")


def test_the_chief_reads_copies_and_its_outputs_reach_the_store(request_, server, tmp_path):
    with on_local_copies(request_, is_chief=True):
        examples = request_.input_dict["examples"][0].uri
        model = request_.output_dict["model"][0].uri
        assert read(f"{examples}/Split-train/images") == "pixels"
        assert examples.startswith(str(tmp_path))
        write(f"{model}/Format-Serving/saved_model.pb", "graph")

    assert server.get(f"{TASK[19:]}/model/Format-Serving/saved_model.pb") == b"graph"
    assert request_.output_dict["model"][0].uri == f"{TASK}/model"


def test_other_workers_leave_nothing_but_find_the_export_that_tfx_looks_for(request_, server):
    before = server.keys()

    with on_local_copies(request_, is_chief=False):
        model = request_.output_dict["model"][0].uri
        assert os.path.isdir(f"{model}/Format-Serving")
        write(f"{model}/Format-Serving/scratch", "x")
        write(state_of(model), "one")

    assert server.keys() == before


def test_a_chief_that_fails_leaves_its_state_to_all_workers_of_the_next_attempt(request_, server):
    with pytest.raises(RuntimeError), on_local_copies(request_, is_chief=True):  # noqa: PT012
        model = request_.output_dict["model"][0].uri
        write(f"{model}/half", "x")
        write(state_of(model), "one")
        raise RuntimeError("a peer was lost")

    assert server.get(STATE) == b"one"
    assert not [key for key in server.keys("root/birds") if key.endswith("/half")]
    for index in range(2):
        with on_local_copies(request_, is_chief=index == 0):
            assert read(state_of(request_.output_dict["model"][0].uri)) == "one"
