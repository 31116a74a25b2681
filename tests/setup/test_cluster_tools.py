"""The script that fetches kubectl and builds an API server, without fetching or building."""

import json
import shutil
from pathlib import Path

import pytest

from tests.launchers.kube_tools import cluster_tools

tools = cluster_tools()


def put(folder: Path, name: str, lock: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("program")
    shutil.copy(lock, folder / f"{name}.lock")
    return folder / name


def test_what_is_there_is_not_fetched_again(tmp_path):
    program = put(tmp_path, "kubectl", tools.LOCKS / "kubectl.txt")

    assert tools.kubectl(tmp_path) == program


def test_another_lock_is_fetched_again(tmp_path, monkeypatch):
    put(tmp_path, "kubectl", tools.LOCKS / "go.txt")

    def refuse(lock: Path, folder: Path) -> None:
        raise tools.NoTool(f"asked for {lock.name}")

    monkeypatch.setattr(tools, "_install", refuse)
    with pytest.raises(tools.NoTool, match=r"asked for kubectl\.txt"):
        tools.kubectl(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kubectl", "kubectl.lock"]


def test_other_systems_are_told_why_there_is_no_kubectl(tmp_path, monkeypatch):
    monkeypatch.setattr(tools.platform, "machine", lambda: "aarch64")

    with pytest.raises(tools.NoTool, match="for Linux on x86-64 alone"):
        tools.kubectl(tmp_path)


def test_a_module_with_another_hash_is_refused(tmp_path, monkeypatch):
    answer = json.dumps({"Sum": "h1:other=", "Dir": str(tmp_path)})
    monkeypatch.setattr(tools, "_run", lambda command, folder: answer)

    with pytest.raises(tools.NoTool, match=r"jobset@v0\.10\.1 has the hash h1:other=, not h1:"):
        tools._fetch_definitions("go", tmp_path / "definitions")


@pytest.mark.parametrize(("version", "own"), [("go1.26.8", True), ("go1.19.8", False)])
def test_an_old_go_is_replaced_by_one_from_pypi(version, own, tmp_path, monkeypatch):
    fetched: list[str] = []
    monkeypatch.setattr(tools.shutil, "which", lambda name: "/usr/bin/go")
    monkeypatch.setattr(tools, "_run", lambda command, folder: version)

    def install(lock: Path, folder: Path) -> None:
        fetched.append(lock.name)
        folder.mkdir()

    monkeypatch.setattr(tools, "_install", install)
    go = tools._go(tmp_path)

    assert (go == "/usr/bin/go") is own
    assert fetched == ([] if own else ["go.txt"])


def test_an_api_server_is_there_with_its_definitions_alone(tmp_path):
    for name in ("kube-apiserver", "etcd"):
        put(tmp_path, name, tools.LOCKS / "go.sum")
    assert not tools.has_api_server(tmp_path)

    for name in ("a", "b"):
        (tmp_path / "definitions" / name).mkdir(parents=True)
    assert tools.has_api_server(tmp_path)
