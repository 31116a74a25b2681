"""Versions of a pushed model: listed, put back, removed; and the commands for it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from serving.manage import list_versions, model_dir_of, prune, roll_back
from serving.version_record import VersionRecord, to_text
from serving.versions import UnusableModel, find_model

RECORD = VersionRecord(
    version="1",
    run_id="run 1",
    pushed="2026-03-04T05:16:07+00:00",
    model="candidate",
    verdict="The fine-tuned model is better than its baseline: +15.0 points.",
    accuracy=0.85,
    test_images=20,
    fingerprint="0123456789abcdef" * 4,
)


def write_version(folder: Path, number: int, record: VersionRecord | None = RECORD) -> None:
    version = folder / str(number)
    (version / "assets").mkdir(parents=True)
    (version / "saved_model.pb").write_text(f"graph {number}")
    if record:
        text = to_text(replace(record, version=str(number)))
        (version / "assets" / "version.json").write_text(text)


@pytest.fixture
def model(tmp_path) -> Path:
    """The output folder of a run with three versions, one of which has no record."""
    folder = tmp_path / "out" / "serving" / "birds"
    for number, record in ((1, RECORD), (2, None), (10, RECORD)):
        write_version(folder, number, record)
    (folder / ".partial-11").mkdir()
    return folder


def numbers(model: Path) -> list[int]:
    return [one.number for one in list_versions(model)]


def test_versions_come_newest_first_and_the_newest_is_served(model):
    found = list_versions(model_dir_of(model.parents[1]))

    assert [(one.number, one.is_served) for one in found] == [(10, True), (2, False), (1, False)]
    assert found[0].record == replace(RECORD, version="10")
    assert found[1].record is None
    assert found[1].num_bytes == len("graph 2")


def test_rollback_is_a_new_version_with_the_older_ones_files(model):
    made = roll_back(model, 1)

    assert made.number == 11
    assert (made.path / "saved_model.pb").read_text() == "graph 1"
    assert made.record.version == "1"
    assert made.record.rolled_back
    assert numbers(model) == [11, 10, 2, 1]
    assert find_model(str(model)) == made.path


def test_rollback_without_a_number_goes_to_the_one_before(model):
    assert (roll_back(model).path / "saved_model.pb").read_text() == "graph 2"


@pytest.mark.parametrize(
    ("number", "said"),
    [(10, "version 10 is the one that is served"), (3, "has no version 3; it has 10, 2, 1")],
)
def test_rollback_to_what_is_served_or_not_there_is_refused(model, number, said):
    with pytest.raises(UnusableModel, match=said):
        roll_back(model, number)
    assert numbers(model) == [10, 2, 1]


def test_only_version_has_none_to_go_back_to(tmp_path):
    write_version(tmp_path, 1)

    with pytest.raises(UnusableModel, match="holds one version only"):
        roll_back(tmp_path)


@pytest.mark.parametrize(("keep", "left"), [(1, [10]), (2, [10, 2]), (9, [10, 2, 1]), (0, [10])])
def test_pruning_keeps_the_newest(model, keep, left):
    removed = prune(model, keep)

    assert numbers(model) == left
    assert sorted(one.number for one in removed) == sorted({1, 2, 10} - set(left))
    assert not list(model.glob(".removed-*"))


def test_several_models_have_to_be_named(model):
    write_version(model.parent / "cats", 1)

    with pytest.raises(UnusableModel, match="holds several models: birds, cats"):
        model_dir_of(model.parents[1])
    assert model_dir_of(model.parents[1], "cats").name == "cats"


def test_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(UnusableModel, match="holds no pushed model"):
        model_dir_of(tmp_path)


def run(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_command_lists_versions_as_a_table_and_as_json(model):
    table = run("versions", model.parents[1])
    lines = run("versions", model.parents[1], "--json").stdout.splitlines()

    assert table.exit_code == 0
    assert "85.0% of 20" in table.output
    assert "pushed by an earlier version of thaw" in " ".join(table.output.split())
    assert [json.loads(line)["version"] for line in lines] == [10, 2, 1]
    assert json.loads(lines[0])["record"]["run_id"] == "run 1"


def test_command_rolls_back_and_prunes(model):
    back = run("rollback", model.parents[1], 1)
    pruned = run("versions", model.parents[1], "--keep", 2)

    assert back.exit_code == 0
    assert "served now: version 11, a copy of version 1" in back.output
    assert "removed: 2, 1" in pruned.output
    assert numbers(model) == [11, 10]


@pytest.mark.parametrize("command", ["versions", "rollback"])
def test_folder_without_a_model_is_bad_usage(tmp_path, command):
    done = run(command, tmp_path)

    assert done.exit_code == 2
    assert "holds no pushed model" in " ".join(done.output.split())
