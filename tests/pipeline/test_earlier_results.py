"""What a run makes of the results of earlier ones that were deleted, damaged or swapped."""

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tfx import v1 as tfx
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.types.standard_artifacts import Model

from pipeline import events
from pipeline.local import runner

SIZE = 1000


@tfx.dsl.components.component
def Maker(model: tfx.dsl.components.OutputArtifact[Model]):
    Path(model.uri, "records.gz").write_bytes(b"x" * SIZE)


@tfx.dsl.components.component
def Pusher(
    model: tfx.dsl.components.InputArtifact[Model],
    pushed_model: tfx.dsl.components.OutputArtifact[Model],
    serving_dir: tfx.dsl.components.Parameter[str],
):
    records = Path(model.uri, "records.gz").read_bytes()
    if len(records) != SIZE:
        raise ValueError("{{function_node __wrapped__IteratorGetNext}} truncated record at 12")
    version = Path(serving_dir) / str(len(os.listdir(serving_dir)) + 1)
    version.mkdir()
    (version / "saved_model.pb").write_bytes(records)
    pushed_model.set_string_custom_property("pushed_destination", str(version))


def report(output: Path) -> str:
    (output / "report.html").write_text("report")
    return events.DONE


class Runs:
    """Runs two nodes in one output folder, again and again."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.events: list[dict] = []
        self._count = 0

    def __call__(self, before_push: Callable[[], None] = lambda: None) -> dict[str, str]:
        """Returns the state of each node."""
        self._count += 1
        run_dir = self.output / "logs" / f"run-{self._count}"
        run_dir.mkdir(parents=True)
        (self.output / "serving").mkdir(exist_ok=True)
        os.environ[events.EVENTS_FILE] = str(run_dir / "events.jsonl")
        maker = Maker()
        pusher = Pusher(model=maker.outputs["model"], serving_dir=str(self.output / "serving"))
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="birds",
            pipeline_root=str(self.output / "artifacts"),
            components=[maker, pusher],
            enable_cache=True,
            metadata_connection_config=sqlite_metadata_connection_config(
                str(self.output / "metadata.sqlite")
            ),
        )
        self.code = runner.run_nodes(
            pipeline, self.output, run_dir, functools.partial(report, self.output)
        )
        lines = (run_dir / "events.jsonl").read_text().splitlines()
        self.events = [json.loads(line) for line in lines]
        return {event["node"]: event["state"] for event in self.events if event["event"] == "node"}

    def said(self, kind: str, key: str) -> str:
        return "\n".join(event.get(key, "") for event in self.events if event["event"] == kind)

    def file(self, name: str, number: int = -1) -> Path:
        return sorted(self.output.glob(f"artifacts/{name}"))[number]


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Runs:
    monkeypatch.setenv(events.EVENTS_FILE, "")
    found = Runs(tmp_path / "out [1]")
    assert found() == {"Maker": "done", "Pusher": "done", "Report": "done"}
    return found


def test_nothing_is_said_or_made_again_where_all_is_whole(runs):
    states = runs()

    assert (states["Maker"], states["Pusher"]) == ("cached", "cached")
    assert runs.said("note", "text") == ""


DAMAGES = {
    "truncated": (lambda path: os.truncate(path, SIZE // 2), "records.gz has changed"),
    "changed": (lambda path: path.write_bytes(b"y" * SIZE), "records.gz has changed"),
    "deleted": (lambda path: path.unlink(), "records.gz is missing"),
    "folder deleted": (lambda path: shutil.rmtree(path.parent), "is missing"),
    "added": (lambda path: path.with_name("stale.gz").touch(), "stale.gz was added"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_node_whose_artifact_is_damaged_runs_again_and_the_file_is_named(runs, damage):
    harm, words = DAMAGES[damage]
    path = runs.file("Maker/model/*/records.gz")
    harm(path)

    states = runs()

    assert states == {"Maker": "done", "Pusher": "done", "Report": "done"}
    assert words in runs.said("note", "text")
    assert str(path.parent) in runs.said("note", "text")
    assert "this result of Maker is not reused" in runs.said("note", "text")
    assert runs()["Pusher"] == "cached"


def test_hidden_files_of_a_file_manager_do_no_harm(runs):
    runs.file("Maker/model/*/records.gz").with_name(".DS_Store").touch()

    assert runs()["Maker"] == "cached"


def test_push_that_is_gone_is_made_again_from_the_artifacts(runs):
    shutil.rmtree(runs.output / "serving")

    states = runs()

    assert (states["Maker"], states["Pusher"]) == ("cached", "done")
    assert (runs.output / "serving" / "1" / "saved_model.pb").stat().st_size == SIZE
    assert "serving/1 is missing: this result of Pusher is not reused." in runs.said("note", "text")


def test_truncated_pushed_model_is_noticed(runs):
    os.truncate(runs.output / "serving" / "1" / "saved_model.pb", 7)

    assert runs()["Pusher"] == "done"
    assert (runs.output / "serving" / "2" / "saved_model.pb").stat().st_size == SIZE


def test_record_truncated_while_nodes_run_is_named_and_the_next_run_mends_it(runs, monkeypatch):
    shutil.rmtree(runs.output / "serving")
    launch = runner._launch

    def truncate_before_push(ir, node):
        if node == "Pusher":
            os.truncate(runs.file("Maker/model/*/records.gz"), 1)
        return launch(ir, node)

    with monkeypatch.context() as patched:
        patched.setattr(runner, "_launch", truncate_before_push)
        assert runs()["Pusher"] == "failed"
    error = runs.said("node", "error")
    assert "records.gz has changed since an earlier node wrote it" in error
    assert "Run the same command again" in error
    assert "function_node" not in error

    assert runs() == {"Maker": "done", "Pusher": "done", "Report": "done"}


def test_deleted_store_is_noticed_before_anything_is_written(runs):
    (runs.output / "metadata.sqlite").unlink()
    before = sorted(runs.output.glob("artifacts/**/*"))

    assert runs() == {}

    assert runs.code == 1
    error = runs.said("end", "error")
    assert f"{runs.output / 'metadata.sqlite'} does not know the artifacts" in error
    assert f"delete\n  {runs.output / 'artifacts'} and metadata.sqlite" in error
    assert sorted(runs.output.glob("artifacts/**/*")) == before


def test_older_store_is_noticed(runs):
    shutil.copy(runs.output / "metadata.sqlite", runs.output / "old")
    os.truncate(runs.file("Maker/model/*/records.gz"), 1)
    runs()
    (runs.output / "old").replace(runs.output / "metadata.sqlite")

    assert runs() == {}

    assert "replaced by an older one" in runs.said("end", "error")


def test_after_deleting_store_and_artifacts_all_begins_again(runs):
    (runs.output / "metadata.sqlite").unlink()
    shutil.rmtree(runs.output / "artifacts")

    assert runs() == {"Maker": "done", "Pusher": "done", "Report": "done"}
    assert sorted(path.name for path in (runs.output / "serving").iterdir()) == ["1", "2"]


@pytest.mark.parametrize("content", [b"no database at all", None])
def test_damaged_store_is_named_with_what_to_do(runs, content):
    store = runs.output / "metadata.sqlite"
    if content is None:
        whole = store.read_bytes()
        content = whole[:4096] + os.urandom(4096) + whole[8192:]
    store.write_bytes(content)

    assert runs() == {}

    error = runs.said("end", "error")
    assert error.startswith(f"{store} is damaged (")
    assert "SELECT" not in error
    assert "Put a copy of it back; or delete it" in error


def test_copied_output_folder_makes_its_own_artifacts(runs, tmp_path):
    shutil.copytree(runs.output, tmp_path / "copy")
    copy = Runs(tmp_path / "copy")
    copy._count = 10

    states = copy()

    assert states == {"Maker": "done", "Pusher": "done", "Report": "done"}
    assert f"is not in {copy.output / 'artifacts'}" in copy.said("note", "text")
    assert str(copy.output) in str(copy.file("Maker/model/*/records.gz"))


def test_node_does_not_write_into_a_folder_that_holds_files(runs):
    os.truncate(runs.file("Maker/model/*/records.gz"), 1)
    number = max(int(path.parent.name) for path in runs.output.glob("artifacts/*/*/*/records.gz"))
    planted = runs.output / "artifacts" / "Maker" / "model" / ".hidden"
    planted.mkdir()
    # Hidden until the checks are over.
    launch = runner._launch

    def plant(ir, node):
        for execution in range(number, number + 9):
            target = planted.with_name(str(execution))
            if not target.exists():
                target.mkdir()
                (target / "stale.gz").touch()
        return launch(ir, node)

    runner._launch = plant
    try:
        assert runs()["Maker"] == "failed"
    finally:
        runner._launch = launch
    assert "is not empty: it holds files of another run" in runs.said("node", "error")
