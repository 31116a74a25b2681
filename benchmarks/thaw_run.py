"""One whole `thaw run`, as a user starts it, and what it says of itself."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import Child, run_child


def thaw_run(images: Path, output: Path, settings: Sequence[str]) -> tuple[Child, dict[str, Any]]:
    """Runs the whole pipeline; the child, and its `run.json`."""
    options = [part for setting in settings for part in ("--set", setting)]
    arguments = ["-m", "pipeline.cli.main", "run", "--images", images, "--output", output, *options]
    child = run_child(arguments)
    return child, json.loads((output / "run.json").read_text())


def run_settings(size: int, epochs: int, weights: str) -> list[str]:
    """Settings of a run whose fits take `epochs` each."""
    return [
        f"backbone.weights={weights}",
        f"backbone.image_size_px={size}",
        f"fits.head.max_epochs={epochs}",
        f"fits.head.patience={epochs + 1}",
        f"fits.fine_tune.max_epochs={epochs}",
        f"fits.fine_tune.patience={epochs + 1}",
    ]
