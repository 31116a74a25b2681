"""What is read back of a run, from the metadata of real ones."""

import time

import pytest
from tfx import v1 as tfx
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.types.standard_artifacts import Model

from pipeline.local.runner import compile_pipeline
from pipeline.report.lineage import read_nodes

WORK_SECONDS = 0.3


@tfx.dsl.components.component
def Maker(model: tfx.dsl.components.OutputArtifact[Model]):
    time.sleep(WORK_SECONDS)
    model.set_string_custom_property("pushed_version", "7")
    model.set_int_custom_property("pushed", 1)


@tfx.dsl.components.component
def Copier(
    model: tfx.dsl.components.InputArtifact[Model],
    copied: tfx.dsl.components.OutputArtifact[Model],
    fails: tfx.dsl.components.Parameter[int] = 0,
):
    if fails:
        raise ValueError("told to fail")


def run(folder, run_id: str, fails: int = 0) -> None:
    maker = Maker()
    copier = Copier(model=maker.outputs["model"], fails=fails)
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="birds",
        pipeline_root=str(folder / "artifacts"),
        components=[maker, copier],
        enable_cache=True,
        metadata_connection_config=sqlite_metadata_connection_config(
            str(folder / "metadata.sqlite")
        ),
    )
    tfx.orchestration.LocalDagRunner().run_with_ir(compile_pipeline(pipeline, run_id))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds a run, its repetition, and one whose last node fails."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder, "first")
    run(folder, "second")
    with pytest.raises(ValueError, match="told to fail"):
        run(folder, "third", fails=1)
    return folder


@pytest.fixture(scope="module")
def nodes(folder):
    return {
        run_id: read_nodes(folder / "metadata.sqlite", run_id)
        for run_id in ("first", "second", "third")
    }


def states(of_run) -> list[tuple[str, str]]:
    return [(node.name, node.state) for node in of_run.values()]


def test_nodes_of_a_run_stand_in_the_order_they_ran_in(nodes):
    assert states(nodes["first"]) == [("Maker", "done"), ("Copier", "done")]
    assert states(nodes["second"]) == [("Maker", "cached"), ("Copier", "cached")]


def test_node_that_failed_is_not_among_the_finished(nodes):
    assert states(nodes["third"]) == [("Maker", "cached")]


def test_cached_node_tells_of_the_execution_that_did_the_work(nodes):
    done, cached = nodes["first"]["Maker"], nodes["second"]["Maker"]

    assert cached.execution_id == done.execution_id
    assert cached.uri("model") == done.uri("model")
    assert cached.seconds == done.seconds
    assert WORK_SECONDS <= done.seconds < WORK_SECONDS + 10


def test_properties_of_an_output_come_as_their_own_type(nodes):
    maker = nodes["second"]["Maker"]

    assert maker.custom_property("model", "pushed_version") == "7"
    assert maker.custom_property("model", "pushed") == 1
    assert maker.custom_property("model", "pushed_destination") is None
