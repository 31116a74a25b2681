"""A push counts up, appears whole, and leaves what was pushed before alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

from components.pusher.executor import Executor
from serving import push as pushing
from serving.push import push_atomically
from serving.versions import next_version


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_model(folder: Path, saved: bytes = b"graph") -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "assets").mkdir()
    (folder / "saved_model.pb").write_bytes(saved)
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "assets" / "labels.txt").write_bytes("ant\nØrsted\n".encode())
    return folder


@given(
    versions=st.sets(st.integers(1, 10**12), max_size=8),
    others=st.sets(st.sampled_from([".partial-9999", "tmp", "v7", "-3", "1.5", "latest"])),
)
def test_next_version_is_above_every_version_and_minds_no_other_name(
    tmp_path_factory, versions, others
):
    folder = tmp_path_factory.mktemp("serving")
    for name in [*map(str, versions), *others]:
        (folder / name).mkdir()

    assert next_version(str(folder)) == max(versions, default=0) + 1


def test_first_version_is_1_where_there_is_no_folder_yet(tmp_path):
    assert next_version(str(tmp_path / "none")) == 1


def test_versions_count_up_and_older_ones_stay(tmp_path):
    first, second = write_model(tmp_path / "a", b"1"), write_model(tmp_path / "b", b"2")

    paths = [push_atomically(str(model), str(tmp_path / "out")) for model in (first, second, first)]

    assert paths == [str(tmp_path / "out" / version) for version in "123"]
    assert contents(tmp_path / "out" / "1") == contents(first)
    assert contents(tmp_path / "out" / "2") == contents(second)
    assert contents(tmp_path / "out" / "3") == contents(first)


def test_leftover_of_a_push_that_was_cut_off_is_replaced(tmp_path):
    model = write_model(tmp_path / "model")
    (tmp_path / "out" / ".partial-1").mkdir(parents=True)
    (tmp_path / "out" / ".partial-1" / "stale").write_bytes(b"stale")

    path = push_atomically(str(model), str(tmp_path / "out"))

    assert contents(Path(path)) == contents(model)
    assert [found.name for found in (tmp_path / "out").iterdir()] == ["1"]


def test_push_that_fails_midway_shows_no_version(tmp_path, monkeypatch):
    model = write_model(tmp_path / "model")

    def copy_half(_, target: str) -> None:
        fileio.makedirs(target)
        (Path(target) / "saved_model.pb").write_bytes(b"gra")
        raise OSError("disk full")

    monkeypatch.setattr(pushing.io_utils, "copy_dir", copy_half)
    with pytest.raises(OSError, match="disk full"):
        push_atomically(str(model), str(tmp_path / "out"))

    assert [found.name for found in (tmp_path / "out").iterdir() if found.name.isdecimal()] == []
    assert next_version(str(tmp_path / "out")) == 1


@pytest.fixture
def push(tmp_path):
    """Runs AtomicPusher's executor on a model with or without a blessing."""

    def push(blessed: bool) -> standard_artifacts.PushedModel:
        model, blessing = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
        pushed = standard_artifacts.PushedModel()
        model.uri, blessing.uri = str(tmp_path / "model"), str(tmp_path / "blessing")
        pushed.uri = str(tmp_path / "pushed")
        write_model(tmp_path / "model" / "Format-Serving")
        (tmp_path / "blessing").mkdir()
        (tmp_path / "blessing" / ("BLESSED" if blessed else "NOT_BLESSED")).touch()
        blessing.set_int_custom_property("blessed", int(blessed))
        Executor().Do(
            {"model": [model], "model_blessing": [blessing]},
            {"pushed_model": [pushed]},
            {
                "push_destination": '{"filesystem": {"base_directory": "%s"}}'
                % (tmp_path / "serving")
            },
        )
        return pushed

    return push


def test_blessed_model_is_pushed_and_the_record_says_where(push, tmp_path):
    pushed = push(blessed=True)

    assert contents(tmp_path / "serving" / "1") == contents(tmp_path / "model" / "Format-Serving")
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_destination") == str(
        tmp_path / "serving" / "1"
    )
    assert pushed.get_string_custom_property("pushed_version") == "1"


def test_model_that_is_not_blessed_is_not_pushed(push, tmp_path):
    pushed = push(blessed=False)

    assert not (tmp_path / "serving").exists()
    assert pushed.get_int_custom_property("pushed") == 0
    assert not pushed.get_string_custom_property("pushed_destination")


@pytest.mark.parametrize(
    ("blessed", "asked", "agrees", "given", "pushes"),
    [
        (False, 1, 1, True, "baseline"),
        (False, 0, 1, True, ""),
        (False, 1, 0, True, ""),
        (False, 1, 1, False, ""),
        (True, 0, 1, True, "candidate"),
    ],
)
def test_baseline_is_pushed_only_where_gate_and_serving_check_agree(
    tmp_path, blessed, asked, agrees, given, pushes
):
    models = {name: standard_artifacts.Model() for name in ("candidate", "baseline")}
    for name, model in models.items():
        model.uri = str(tmp_path / name)
        write_model(tmp_path / name / "Format-Serving")
        (tmp_path / name / "Format-Serving" / "name").write_text(name)
    gate, infra = standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
    gate.set_int_custom_property("blessed", int(blessed))
    gate.set_int_custom_property("push_baseline", asked)
    infra.set_int_custom_property("blessed", 1)
    infra.set_int_custom_property("baseline_agrees", agrees)
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")
    inputs = {"model": [models["candidate"]], "model_blessing": [gate], "infra_blessing": [infra]}
    if given:
        inputs["baseline_model"] = [models["baseline"]]

    Executor().Do(
        inputs,
        {"pushed_model": [pushed]},
        {"push_destination": '{"filesystem": {"base_directory": "%s"}}' % (tmp_path / "serving")},
    )

    assert pushed.get_int_custom_property("pushed") == int(bool(pushes))
    if pushes:
        assert (tmp_path / "serving" / "1" / "name").read_text() == pushes
