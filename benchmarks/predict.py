"""How near `thaw predict` comes to the bare model, on the same files.

    .venv/bin/python -m benchmarks.predict --model out --images photos

The bare side reads the files and calls the model's own signature, in a loop, at the batch that is
best for it; it checks nothing, and writes nothing. `thaw predict` reads, checks, asks, and writes
JSON Lines. In process, with the model loaded, passes of both take turns: `throughput_ratio` is the
median over the pairs, target 0.9. The whole command is compared with a script of the bare loop,
the start of Python, TensorFlow and the model included. `cpu_ratio` compares the processor time of
the passes: on a machine that does other things too it says more than the clock.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import JsonOption, machine, report, run_child
from benchmarks.pictures import write_photos
from serving.versions import find_model

_BATCHES = (8, 16, 32, 64, 128)
_BARE = """
import sys
import trainer
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
size, files = int(sys.argv[2]), open(sys.argv[3]).read().splitlines()
for start in range(0, len(files), size):
    contents = [open(file, "rb").read() for file in files[start:start + size]]
    serve(image_bytes=tf.constant(contents))["probabilities"].numpy()
"""


@dataclass(frozen=True)
class Pass:
    """Seconds of one pass over the files, by the clock and of the processor."""

    seconds: float
    cpu_seconds: float


def main(
    model: Annotated[Path, typer.Option(help="Output folder of a run, or a SavedModel.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of images; by default photos that are made.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Images, at most.")] = 800,
    pairs: Annotated[int, typer.Option(min=1, help="Passes of each side in process.")] = 7,
    commands: Annotated[int, typer.Option(min=0, help="Runs of the whole command.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute.")] = False,
    json: JsonOption = None,
) -> None:
    """Compares `thaw predict` with the bare loop."""
    host = machine()
    if quick:
        count, pairs, commands = min(count, 160), 3, 1
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as name:
        folder = Path(name)
        if images is None:
            images = folder / "photos"
            write_photos(images, count, 512, 384)
        files = _some_files(images, count, folder / "files.txt")
        best, in_process = _in_process(find_model(str(model)), files, pairs, folder)
        whole = [_whole(find_model(str(model)), folder, best) for _ in range(commands)]
    rows = [summarize("in process", in_process, len(files))]
    if whole:
        rows.append(summarize("whole command", whole, len(files)))
    figures = {
        "throughput_ratio": rows[0]["ratio"],
        "cpu_ratio": rows[0]["cpu ratio"],
        "whole_command_ratio": rows[-1]["ratio"] if whole else None,
        "batch": best,
        "images": len(files),
    }
    report("predict", f"{len(files)} images, batches of {best}", rows, figures, host, json)


def summarize(name: str, pairs: Sequence[tuple[Pass, Pass]], count: int) -> dict[str, Any]:
    """The line of one comparison.

    Args:
      name: of it.
      pairs: bare and thaw's pass, which took turns.
      count: images in a pass.
    """
    return {
        "what": name,
        "bare images/s": count / statistics.median(bare.seconds for bare, _ in pairs),
        "thaw images/s": count / statistics.median(thaw.seconds for _, thaw in pairs),
        "ratio": statistics.median(bare.seconds / thaw.seconds for bare, thaw in pairs),
        "cpu ratio": statistics.median(bare.cpu_seconds / thaw.cpu_seconds for bare, thaw in pairs),
    }


def _some_files(images: Path, count: int, listed: Path) -> list[str]:
    """Files from all over a folder, also written as a list."""
    from pipeline.predict.sources import find_images

    paths = [file.path for file in find_images([str(images)]).files()]
    step = max(1, len(paths) // count)
    chosen = paths[::step][:count]
    listed.write_text("\n".join(chosen) + "\n")
    return chosen


def _in_process(
    model_dir: Path, files: Sequence[str], pairs: int, folder: Path
) -> tuple[int, list[tuple[Pass, Pass]]]:
    """The bare loop's best batch; and pairs of passes."""
    from pipeline.cli.prediction_output import to_file
    from pipeline.predict.formats import Format
    from pipeline.predict.rows import lines_of
    from serving.batch_predict import ImageFile, predict
    from serving.model import load_model

    model = load_model(model_dir)

    def bare(size: int, files: Sequence[str] = files) -> None:
        import tensorflow as tf

        for start in range(0, len(files), size):
            contents = [Path(file).read_bytes() for file in files[start : start + size]]
            model.serve(image_bytes=tf.constant(contents))["probabilities"].numpy()

    def thaw() -> None:
        with to_file(lines_of(Format.JSONL), folder / "rows.jsonl") as write:
            for row in predict(model, map(ImageFile, files)):
                write(row)

    def seconds_at(size: int) -> float:
        some = files[: 2 * max(_BATCHES)]
        return min(_timed(lambda: bare(size, some)).seconds for _ in range(2))

    bare(_BATCHES[0])  # traces
    best = min(_BATCHES, key=seconds_at)
    thaw()
    return best, [(_timed(lambda: bare(best)), _timed(thaw)) for _ in range(pairs)]


def _timed(work: Callable[[], None]) -> Pass:
    started, cpu_before = time.perf_counter(), time.process_time()
    work()
    return Pass(time.perf_counter() - started, time.process_time() - cpu_before)


def _whole(model_dir: Path, folder: Path, batch: int) -> tuple[Pass, Pass]:
    listed = folder / "files.txt"
    bare = run_child(["-c", _BARE, model_dir, batch, listed])
    manifest = folder / "files.csv"
    manifest.write_text("path\n" + listed.read_text())
    rows = folder / "whole.jsonl"
    command = ["-m", "pipeline.cli.main", "predict", manifest, "--model", model_dir, "-o", rows]
    thaw = run_child(command)
    os.remove(rows)
    return Pass(bare.seconds, bare.cpu_seconds), Pass(thaw.seconds, thaw.cpu_seconds)


if __name__ == "__main__":
    typer.run(main)
