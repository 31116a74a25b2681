"""What every benchmark does alike: run children, take medians, print and keep figures."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

_SAMPLE_SECS = 0.2
# The kernel walks all pages to tell what several processes share: looking all the time would
# take a seventh of a core from what is timed.
_PAUSE_PER_LOOK = 50
_TAIL_BYTES = 300
_MOST_COLUMNS = 8

JsonOption = Annotated[
    Path | None,
    typer.Option("--json", help="File for all figures; by default benchmarks/results/NAME.json."),
]

# Also for scripts that use TensorFlow themselves; before they import it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

console = Console(highlight=False)


@dataclass(frozen=True)
class Child:
    """A finished child process.

    Attributes:
      seconds: from its start to its end.
      cpu_seconds: processor time of it and its descendants. Where a host lends cores by
        the moment, two runs compare better by this than by the clock.
      peak_bytes: most memory that it and its descendants held at once, looked at five
        times a second, or less often so that looking takes a fiftieth of a core at most;
        pages that several of them share count once.
      printed: its standard output.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    printed: str

    def result(self) -> dict[str, Any]:
        """The JSON in the last line it printed."""
        return json.loads(self.printed.strip().splitlines()[-1])


def run_child(arguments: Sequence[object]) -> Child:
    """Runs `python ARGUMENTS` in the project's folder and watches its memory.

    On a terminal a line shows how long it has run and the last that it printed.

    Raises:
      SystemExit: if it fails, with the end of what it said.
    """
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (
        tempfile.TemporaryFile("w+") as printed,
        tempfile.TemporaryFile("w+") as errors,
        console.status("", refresh_per_second=1) as status,
    ):
        started, cpu_before = time.monotonic(), _cpu_of_ended_children()
        child = psutil.Popen(command, stdout=printed, stderr=errors, cwd=ROOT, env=environment)
        try:
            peak = 0
            while child.poll() is None:
                looked = time.monotonic()
                peak = max(peak, _tree_bytes(child))
                pause = max(_SAMPLE_SECS, _PAUSE_PER_LOOK * (time.monotonic() - looked))
                elapsed = timedelta(seconds=int(time.monotonic() - started))
                status.update(f"{elapsed} {escape(_last_line(printed.fileno()))}")
                with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
                    child.wait(timeout=pause)
            seconds = time.monotonic() - started
        finally:
            if child.poll() is None:
                child.terminate()
        for file in (printed, errors):
            file.seek(0)
        if child.returncode:
            tail = (printed.read() + errors.read())[-3000:]
            raise SystemExit(f"{' '.join(command)} failed with {child.returncode}:\n{tail}")
        return Child(seconds, _cpu_of_ended_children() - cpu_before, peak, printed.read())


def _last_line(descriptor: int) -> str:
    # Not by seek and read: the child writes at the same offset.
    end = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _TAIL_BYTES, max(0, end - _TAIL_BYTES)).decode(errors="replace")
    return (tail.splitlines() or [""])[-1].strip()


def _cpu_of_ended_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tree_bytes(child: psutil.Process) -> int:
    with suppress(psutil.Error):
        family = [child, *child.children(recursive=True)]
        if len(family) == 1:
            return child.memory_info().rss
        return sum(_own_bytes(process) for process in family)
    return 0


def _own_bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        memory = process.memory_full_info()
        return getattr(memory, "pss", memory.rss)  # only Linux knows the former
    return 0


def seconds_since_start() -> float:
    """How long this process has lived: its interpreter's start and imports are part of it."""
    return time.time() - psutil.Process().create_time()


def median_of(rows: Iterable[dict[str, Any]], key: str) -> float:
    """Median of one figure over runs; a dotted key goes into dictionaries."""

    def pick(row: dict[str, Any]) -> float:
        value: Any = row
        for part in key.split("."):
            value = value[part]
        return float(value)

    return statistics.median(pick(row) for row in rows)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "tensorflow": metadata.version("tensorflow"),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def make_table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """One line a row, one column a key; the other way round where the keys are many."""
    if len(rows[0]) > _MOST_COLUMNS:
        name, *others = rows[0]
        rows = [{name: key, **{str(row[name]): row[key] for row in rows}} for key in others]
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right" if _is_number(rows[0][name]) else "left")
    for row in rows:
        table.add_row(*(_show(value) for value in row.values()))
    return table


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _show(value: Any) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return f"{value:,}" if _is_number(value) else str(value)
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def report(
    name: str,
    title: str,
    rows: Sequence[dict[str, Any]],
    details: dict[str, Any],
    host: dict[str, Any],
    path: Path | None,
) -> None:
    """Prints a table and the machine, and writes everything as JSON.

    Args:
      name: of the benchmark.
      title: of the table.
      rows: what the table shows, all with the same keys.
      details: settings and single runs; only written.
      host: `machine()`, asked before the work began.
      path: where to; None: `benchmarks/results/<name>.json`.
    """
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "benchmark": name,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": " ".join(["python -m", f"benchmarks.{name}", *sys.argv[1:]]),
        "machine": host,
        "figures": list(rows),
        **details,
    }
    path.write_text(json.dumps(written, indent=2) + "\n")
    console.print(make_table(title, rows))
    console.print(
        f"{host['processor']}, {host['cores']} cores, {host['memory_gib']} GiB, "
        f"TensorFlow {host['tensorflow']}, load {host['load_at_start']} before it began"
    )
    console.print(f"all figures: {path}", soft_wrap=True)
