"""How near the server comes to the bare model, under a real load generator.

    .venv/bin/python -m benchmarks.serving --model out

Asks `wrk` (Debian: apt-get install wrk) for requests of one image each, over 1, 8 and 32
connections, and compares with a loop over the same signature at its best batch in a process of its
own. Also: seconds from the start of `thaw serve` to the first answer, and requests that fail while
versions are switched under load. `throughput_ratio` is that of 8 connections; target 0.9.
"""

import base64
import io
import json as json_module
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from PIL import Image

from benchmarks.common import ROOT, JsonOption, console, machine, report, run_child
from serving.versions import find_model

_BATCHES = (1, 8, 32)
_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read
      + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d\\n", summary.requests, summary.duration, bad,
      latency:percentile(99)))
end
"""
_BARE = """
import sys, time
import trainer
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
serve = model.signatures["serving_default"]
content = open(sys.argv[2], "rb").read()
best = {}
for size in (1, 8, 32):
    batch = tf.constant([content] * size)
    for _ in range(3):
        serve(image_bytes=batch)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < float(sys.argv[3]):
        serve(image_bytes=batch)
        count += size
    seconds = time.perf_counter() - started
    best[size] = (count / seconds, seconds / (count / size))
import json
print(json.dumps(best))
"""


def main(
    model: Annotated[Path, typer.Option(help="Output folder of a run, or a SavedModel.")],
    seconds: Annotated[float, typer.Option(min=1, help="Of each load.")] = 20.0,
    switches: Annotated[int, typer.Option(min=0, help="New versions under load.")] = 20,
    quick: Annotated[bool, typer.Option("--quick", help="Short loads, three switches.")] = False,
    json: JsonOption = None,
) -> None:
    """Compares the server with the bare loop."""
    if not shutil.which("wrk"):
        console.print("wrk is missing. Debian: apt-get install wrk")
        raise typer.Exit(2)
    host = machine()
    if quick:
        seconds, switches = 4.0, 3
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as name:
        folder = Path(name)
        image = _write_request(folder)
        versions = folder / "m"
        shutil.copytree(find_model(str(model)), versions / "1")
        bare = _bare(versions / "1", image, seconds)
        best = max(bare.values(), key=lambda one: one[0])
        with _server(versions) as (port, start_secs):
            rows = [_load(port, folder, connections, seconds, best) for connections in (1, 8, 32)]
            failed = _switch(port, folder, versions, switches) if switches else 0
    figures = {
        "bare_images_per_second": best[0],
        "start_to_first_answer_secs": start_secs,
        "throughput_ratio": rows[1]["ratio"],
        "failed_requests": failed + sum(row["failed"] for row in rows),
        "switches": switches,
    }
    report("serving", str(model), rows, figures, host, json)
    console.print(figures)


def _write_request(folder: Path) -> Path:
    """A photo-like JPEG of 512×384 pixels, and the request that asks about it."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, [24, 32, 3], dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((512, 384), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    image = folder / "image.jpg"
    image.write_bytes(buffer.getvalue())
    row = {"image_bytes": {"b64": base64.b64encode(buffer.getvalue()).decode()}}
    (folder / "body.json").write_text(json_module.dumps({"instances": [row]}))
    (folder / "load.lua").write_text(_LUA.format(body=folder / "body.json"))
    return image


def _bare(version: Path, image: Path, seconds: float) -> dict[str, list[float]]:
    child = run_child(["-c", _BARE, str(version), str(image), str(seconds / 2)])
    found: dict[str, list[float]] = json_module.loads(child.printed.splitlines()[-1])
    return found


@contextmanager
def _server(versions: Path) -> Iterator[tuple[int, float]]:
    """Runs `thaw serve`; yields its port, and the seconds to its first answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    command = [sys.executable, "-m", "pipeline.cli.main", "serve", "--model", str(versions)]
    command += ["--grpc-port", "0"]
    started = time.monotonic()
    process = subprocess.Popen([*command, "--port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        yield port, time.monotonic() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wrk(port: int, folder: Path, connections: int, seconds: float) -> subprocess.Popen[str]:
    url = f"http://127.0.0.1:{port}/v1/models/m:predict"
    options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    command = ["wrk", *options, "-s", str(folder / "load.lua"), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _result(process: subprocess.Popen[str]) -> tuple[int, float, int, float]:
    """Requests, seconds, failures, and the 99th percentile in seconds."""
    printed, _ = process.communicate()
    match = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+)", printed)
    assert match, printed
    requests, micros, bad, percentile = map(int, match.groups())
    return requests, micros / 1e6, bad, percentile / 1e6


def _load(
    port: int, folder: Path, connections: int, seconds: float, best: list[float]
) -> dict[str, Any]:
    requests, took, bad, percentile = _result(_wrk(port, folder, connections, seconds))
    rate = requests / took
    return {
        "connections": connections,
        "images_per_second": rate,
        "ratio": rate / best[0],
        "p99_ms": 1000 * percentile,
        "p99_over_batch": percentile / best[1],
        "failed": bad,
    }


def _switch(port: int, folder: Path, versions: Path, switches: int) -> int:
    """Failed requests while new versions appear, one as soon as the one before is served."""
    process = _wrk(port, folder, 8, 6.0 * switches)
    for number in range(2, switches + 2):
        shutil.copytree(versions / "1", versions / f".partial-{number}")
        (versions / f".partial-{number}").rename(versions / str(number))
        while True:
            status = httpx.get(f"http://127.0.0.1:{port}/v1/models/m", timeout=60).json()
            if status["model_version_status"][0] == {
                "version": str(number),
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }:
                break
            time.sleep(0.2)
    return _result(process)[2]


if __name__ == "__main__":
    typer.run(main)
