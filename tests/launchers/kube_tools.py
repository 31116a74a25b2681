"""`kubeflow/manifests` as kubectl builds them, by the kubectl that the project fetches."""

import functools
import importlib.util
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

MANIFESTS = ROOT / "kubeflow" / "manifests"
OVERLAYS = sorted(path.parent.name for path in MANIFESTS.glob("overlays/*/kustomization.yaml"))


@functools.cache
def cluster_tools() -> ModuleType:
    """The script, which is no package."""
    path = ROOT / "scripts" / "cluster_tools.py"
    spec = importlib.util.spec_from_file_location("cluster_tools", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cluster_tools"] = module
    spec.loader.exec_module(module)
    return module


@functools.cache
def _built(overlay: str) -> str:
    try:
        program = cluster_tools().kubectl()
    except cluster_tools().NoTool as missing:
        pytest.skip(f"no kubectl to build the manifests with: {missing}")
    command = [str(program), "kustomize", str(MANIFESTS / "overlays" / overlay)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def build(overlay: str) -> list[dict[str, Any]]:
    """The objects of an overlay. Skips the test where there is no kubectl."""
    return list(yaml.safe_load_all(_built(overlay)))


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in objects if one["kind"] == kind]
