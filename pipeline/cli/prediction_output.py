"""Writes predictions to the screen or a file, whatever the names of the images."""

import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from pipeline.cli.terminal import BAD_USAGE, FAILED, out, print_line, stop
from pipeline.predict.rows import Lines
from serving.batch_predict import Prediction
from trainer.data.labels import printable

Write = Callable[[Prediction], None]

# A longer table is printed in parts: its columns' widths depend on all of its rows.
_TABLE_ROWS = 1000


@contextmanager
def to_screen(lines: Lines) -> Iterator[Write]:
    """Prints each line and flushes it."""

    def write(prediction: Prediction) -> None:
        with _writing():
            print_line(lines.line(prediction))

    if lines.header:
        with _writing():
            print_line(lines.header)
    yield write


@contextmanager
def to_table(
    top: int | None, paused: Callable[[], AbstractContextManager[None]]
) -> Iterator[Write]:
    """Prints a table at the end, also of an interruption; a long one in parts.

    Args:
      top: number of classes in a row, at most; None: all.
      paused: keeps others off the screen.
    """
    rows: list[Prediction] = []
    printed = 0

    def show() -> None:
        nonlocal rows, printed
        shown, rows = rows, []
        if shown:
            with paused():
                print_table(shown, top, has_header=not printed)
        printed += len(shown)

    def write(prediction: Prediction) -> None:
        rows.append(prediction)
        if len(rows) == _TABLE_ROWS:
            show()

    try:
        yield write
    finally:
        show()


def partial_of(output: Path) -> Path:
    """Where the rows are until all are there."""
    return output.with_name(f"{output.name}.partial")


@contextmanager
def to_file(lines: Lines, output: Path) -> Iterator[Write]:
    """Writes row by row beside the file, and gives it its name once all rows are there.

    After an interruption the rows up to there are in `partial_of(output)`. What is no regular
    file, such as a named pipe, is written to as it is.
    """
    target = output if _is_special(output) else partial_of(output)
    with _saving(output):
        # A line is written when it ends: no row that was made is lost with the process.
        file = open(target, "w", encoding="utf-8", newline="", buffering=1)  # noqa: SIM115

    def write_line(line: str) -> None:
        with _saving(output):
            file.write(line + "\n")

    with file:
        if lines.header:
            write_line(lines.header)
        yield lambda prediction: write_line(lines.line(prediction))
    if target != output:
        with _saving(output):
            os.replace(target, output)


@contextmanager
def _saving(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise stop(f"{output} cannot be written: {error.strerror}.", FAILED) from error


def _is_special(path: Path) -> bool:
    """Whether there is something that cannot be replaced by a file."""
    if path.is_dir():
        raise stop(f"{path} is a folder: give the name of a file.", BAD_USAGE)
    return path.exists() and not stat.S_ISREG(path.stat().st_mode)


def print_table(
    predictions: Sequence[Prediction], top: int | None, has_header: bool = True
) -> None:
    """Prints one row per prediction, with at most `top` classes."""
    table = Table(box=None, header_style="dim", show_header=has_header)
    table.add_column("image", overflow="fold")
    most = max((len(prediction.classes) for prediction in predictions), default=0)
    for rank in range(most if top is None else min(top, most)):
        table.add_column("class" if rank == 0 else f"{rank + 1}")
    for prediction in predictions:
        table.add_row(Text(printable(prediction.path)), *_cells(prediction))
    with _writing():
        out.print(table)


def _cells(prediction: Prediction) -> list[Text]:
    if prediction.error:
        return [Text(printable(prediction.error), "red")]
    cells = [
        Text.assemble((printable(name), "bold" if rank == 0 else ""), f" {probability:.1%}")
        for rank, (name, probability) in enumerate(prediction.classes)
    ]
    if prediction.is_known is False and cells:
        cells[0].append(", unlike the training images", "yellow")
    if prediction.is_correct is False and cells:
        cells[0].append(f", not {printable(prediction.label)}", "red")
    return cells


@contextmanager
def _writing() -> Iterator[None]:
    """Ends the command if its output cannot be written.

    It ends silently if the reader of a pipe has closed it, as `head` does. Characters that the
    terminal's encoding lacks are escaped.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except OSError as error:
        # Otherwise Python would flush again at exit, and fail with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            raise typer.Exit(FAILED) from error
        raise stop(f"the predictions cannot be written: {error.strerror}.", FAILED) from error
