"""A model of arithmetic, and a server that has it."""

from pathlib import Path

import pytest

from .servers import save_arithmetic, serving


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    folder.mkdir()
    save_arithmetic(folder / "3")
    return folder


@pytest.fixture(scope="module")
def server(model):
    with serving(model) as running:
        yield running
