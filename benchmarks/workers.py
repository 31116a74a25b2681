"""What it costs that two workers share a fit: two on this machine against one.

    python -m benchmarks.workers

Both fits on the cached features of random images, as HeadTrainer and FineTuner run them,
one after the other in one process a worker, with the same global batch. The cores are the
same for one worker and for two: what is measured is what working together costs, not what
a second machine gains. Runs come in pairs, one worker first in every other; a ratio is the
median over the pairs. "whole" is from the workers' start to their end: TensorFlow's import,
compilation and the export are part of it.
"""

import json as json_module
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import JsonOption, machine, report, run_child

_PARTS = ("fit 1", "fit 2", "whole")


def main(
    images: Annotated[int, typer.Option(help="Training images; a quarter more to watch.")] = 256,
    size: Annotated[int, typer.Option(help="Image side in pixels.")] = 299,
    batch: Annotated[int, typer.Option(help="Global batch.")] = 32,
    head_epochs: Annotated[int, typer.Option(help="Of fit 1.")] = 20,
    epochs: Annotated[int, typer.Option(help="Of fit 2.")] = 6,
    workers: Annotated[int, typer.Option(help="Against one.")] = 2,
    pairs: Annotated[int, typer.Option(help="Of runs.")] = 3,
    json: JsonOption = None,
) -> None:
    """Time of both fits by several workers of this machine over that of one."""
    host = machine()
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as folder:
        settings = {
            "folder": folder,
            "images": images,
            "size_px": size,
            "batch_size": batch,
            "epochs": [head_epochs, epochs],
        }
        request = Path(folder) / "request.json"
        request.write_text(json_module.dumps(settings))
        run_child(["-m", "benchmarks.workers_side", "write", request])
        runs = [_pair(request, workers, first=number % 2) for number in range(pairs)]
    report(
        "workers",
        f"{workers} workers against one, global batch {batch}",
        summarize(runs),
        {"settings": {**settings, "folder": ""}, "runs": runs},
        host,
        json,
    )


def _pair(request: Path, workers: int, first: int) -> dict[str, dict[str, float]]:
    """Runs both sides; `first` 0: one worker first."""
    order = [("one", 1), ("several", workers)]
    found = {}
    for name, count in order[first:] + order[:first]:
        child = run_child(["-m", "benchmarks.workers_side", "launch", request, count])
        found[name] = {
            **child.result(),
            "whole": child.seconds,
            "cpu": child.cpu_seconds,
            "GiB": child.peak_bytes / 2**30,
        }
    return found


def summarize(runs: list[dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """A row for each part of the job: seconds of both sides, and their ratio in the pairs."""
    rows = []
    for part in _PARTS:
        ratios = [run["several"][part] / run["one"][part] for run in runs]
        rows.append(
            {
                "part": part,
                "one s": statistics.median(run["one"][part] for run in runs),
                "several s": statistics.median(run["several"][part] for run in runs),
                "ratio": statistics.median(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
            }
        )
    return rows


if __name__ == "__main__":
    typer.run(main)
