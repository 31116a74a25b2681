"""How long `thaw compile` takes, from its start to the file, in fresh processes.

    python -m benchmarks.compile [--runs 5]

Prints the median and the range for both targets. What counts is the imports: the
compiler's own work takes a second.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs"
TARGETS = {"kubeflow": "pipeline.yaml", "vertex": "pipeline.json"}
MOST_SECS = 10.0


def seconds(target: str, output: Path) -> float:
    """Compiles once with the target's example config."""
    command = [
        *(sys.executable, "-m", "pipeline.cli.main", "compile", "--target", target),
        *("--config", str(CONFIGS / f"{target}.yaml"), "--output", str(output)),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> int:
    """Prints a line a target; 1 if a median is above `MOST_SECS`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    slow = False
    with tempfile.TemporaryDirectory() as folder:
        for target, name in TARGETS.items():
            taken = sorted(seconds(target, Path(folder, name)) for _ in range(runs))
            median = statistics.median(taken)
            slow |= median > MOST_SECS
            print(f"{target}: {median:.1f} s ({taken[0]:.1f} to {taken[-1]:.1f}, {runs} runs)")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
