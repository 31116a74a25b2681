"""Which Python is taken, when the environment is made anew, and what errors say."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _pythons(monkeypatch: pytest.MonkeyPatch, setup_env, versions: dict[str, str]) -> None:
    """Pretends that the PATH holds these commands, of these versions."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in versions else None)
    monkeypatch.setattr(
        setup_env, "version_of", lambda path: versions.get(path.removeprefix("/bin/"))
    )


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"python3.13": "3.13", "python3.11": "3.11", "python3.10": "3.10"}, "/bin/python3.11"),
        ({"python3.13": "3.13", "python3.12": "3.12", "python3.10": "3.10"}, "/bin/python3.10"),
        ({"python3.13": "3.13", "python3.12": "3.12"}, "/bin/python3.12"),
        ({"python3": "3.13"}, "/bin/python3"),
        ({"python3.11": None, "python3": "3.12"}, "/bin/python3"),  # a shim that does not run
        ({"python3": "3.9"}, "3.11"),  # for uv to fetch
        ({}, "3.11"),
    ],
)
def test_the_first_suitable_python_is_taken(setup_env, monkeypatch, versions, expected):
    _pythons(monkeypatch, setup_env, versions)

    assert setup_env.choose_python() == expected


def test_the_users_python_wins_if_it_is_suitable(setup_env, monkeypatch):
    _pythons(monkeypatch, setup_env, {"python3.11": "3.11", "mine": "3.13", "old": "3.8"})

    assert setup_env.choose_python("/bin/mine") == "/bin/mine"
    with pytest.raises(setup_env.SetupError, match=r"PYTHON=/bin/old is not a CPython 3\.11"):
        setup_env.choose_python("/bin/old")


def test_the_version_of_what_is_no_python_is_none(setup_env, tmp_path):
    assert setup_env.version_of(sys.executable) == "{}.{}".format(*sys.version_info)
    assert setup_env.version_of("/bin/sh") is None
    assert setup_env.version_of(str(tmp_path / "missing")) is None


def _inputs(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"content of {name}")


def test_the_key_changes_with_each_input_and_with_nothing_else(setup_env, tmp_path):
    _inputs(tmp_path, setup_env.INPUTS)
    first = setup_env.inputs_key(tmp_path)
    (tmp_path / "README.md").write_text("new")
    assert setup_env.inputs_key(tmp_path) == first

    keys = {first}
    for name in setup_env.INPUTS:
        (tmp_path / name).write_text("changed")
        keys.add(setup_env.inputs_key(tmp_path))

    assert len(keys) == 1 + len(setup_env.INPUTS)


def test_every_input_exists(setup_env):
    assert all((ROOT / name).is_file() for name in setup_env.INPUTS)


@pytest.fixture
def made(setup_env, monkeypatch) -> list[str | None]:
    """Replaces the making of an environment; holds the Python asked for, of each."""
    calls: list[str | None] = []

    def make(asked: str | None) -> None:
        calls.append(asked)
        inside = setup_env.VENV / "bin" / "python"
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.unlink(missing_ok=True)
        inside.symlink_to(sys.executable)

    monkeypatch.setattr(setup_env, "make_environment", make)
    return calls


def test_a_finished_environment_is_not_made_again(setup_env, made):
    assert (setup_env.main(), setup_env.main()) == (0, 0)

    assert len(made) == 1
    assert setup_env.STAMP.read_text() == setup_env.inputs_key(ROOT)


@pytest.mark.parametrize("damage", ["stamp", "no stamp", "no python"])
def test_a_damaged_environment_is_made_again(setup_env, made, damage):
    setup_env.main()
    if damage == "stamp":
        setup_env.STAMP.write_text("half a st")
    elif damage == "no stamp":
        setup_env.STAMP.unlink()
    else:
        (setup_env.VENV / "bin" / "python").unlink()

    assert setup_env.main() == 0

    assert len(made) == 2


def test_another_python_asked_for_makes_the_environment_again(setup_env, made, monkeypatch):
    setup_env.main()
    monkeypatch.setenv("PYTHON", sys.executable)
    setup_env.main()
    assert len(made) == 1  # the same version

    monkeypatch.setenv("PYTHON", "/bin/another")
    real = setup_env.version_of
    monkeypatch.setattr(
        setup_env, "version_of", lambda path: "3.10" if path == "/bin/another" else real(path)
    )
    setup_env.main()

    assert made[1:] == ["/bin/another"]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        ("SetupError", 1, "set-up failed: no room"),
        ("KeyboardInterrupt", 130, "`make setup` starts it again"),
    ],
)
def test_a_failed_set_up_leaves_no_stamp(setup_env, monkeypatch, capsys, error, status, said):
    def fail(asked: str | None) -> None:
        raise getattr(setup_env, error, KeyboardInterrupt)("no room")

    monkeypatch.setattr(setup_env, "make_environment", fail)

    assert setup_env.main() == status

    assert said in capsys.readouterr().err
    assert not setup_env.STAMP.exists()


@pytest.mark.parametrize(
    ("system", "machine"), [("Linux", "aarch64"), ("Darwin", "x86_64"), ("Windows", "AMD64")]
)
def test_a_system_without_wheels_is_refused(setup_env, system, machine):
    with pytest.raises(setup_env.SetupError, match=f"no wheels for {system} on {machine}"):
        setup_env.check_platform(system, machine)


@pytest.mark.parametrize(("system", "machine"), [("Linux", "x86_64"), ("Darwin", "arm64")])
def test_a_system_with_wheels_is_accepted(setup_env, system, machine):
    setup_env.check_platform(system, machine)


@pytest.mark.parametrize(
    ("system", "libc", "expected"),
    [
        ("Linux", ("glibc", "2.36"), ["--python-platform", "x86_64-manylinux_2_39"]),
        ("Linux", ("glibc", "2.38"), ["--python-platform", "x86_64-manylinux_2_39"]),
        ("Linux", ("glibc", "2.39"), []),
        ("Darwin", ("", ""), []),
    ],
)
def test_only_a_glibc_before_2_39_is_told_to_uv_as_newer(setup_env, system, libc, expected):
    assert setup_env.platform_arguments(system, "x86_64", libc) == expected


def test_a_failed_installation_names_a_missing_compiler_and_headers(
    setup_env, monkeypatch, tmp_path
):
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    headers = tmp_path / "Python.h"
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\necho {headers}\n")
    fake.chmod(0o755)
    headers.touch()
    assert "compiled" not in setup_env.install_advice(str(fake))

    headers.unlink()
    assert f"Python's headers ({headers}) cannot be found" in setup_env.install_advice(str(fake))

    monkeypatch.setattr(shutil, "which", lambda name: None)
    advice = setup_env.install_advice(str(fake))
    assert "a C++ compiler (g++) and Python's headers" in advice
    assert advice.endswith("apt-get install g++ python3-dev")
