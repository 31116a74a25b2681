"""Prints predictions as lines of JSON or as a table, whatever the names of the files."""

import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.table import Table
from rich.text import Text

from pipeline.cli.predict import Prediction
from pipeline.cli.terminal import FAILED, out, print_line, stop


def print_json(prediction: Prediction) -> None:
    """Prints one line of ASCII JSON and flushes it."""
    line = json.dumps({**vars(prediction), "path": _as_unicode(prediction.path)}, allow_nan=False)
    with _writing():
        print_line(line)


def print_table(predictions: Sequence[Prediction], top: int) -> None:
    """Prints one row per prediction, with at most `top` classes."""
    table = Table(box=None, header_style="dim")
    table.add_column("image", overflow="fold")
    for rank in range(min(top, max((len(p.classes) for p in predictions), default=0))):
        table.add_column("class" if rank == 0 else f"{rank + 1}")
    for prediction in predictions:
        path = Text(_printable(_as_unicode(prediction.path)))
        table.add_row(path, *_cells(prediction))
    with _writing():
        out.print(table)


def _cells(prediction: Prediction) -> list[Text]:
    if prediction.error:
        return [Text(_printable(prediction.error), "red")]
    cells = [
        Text.assemble((_printable(name), "bold" if rank == 0 else ""), f" {probability:.1%}")
        for rank, (name, probability) in enumerate(prediction.classes)
    ]
    if prediction.is_known is False and cells:
        cells[0].append(", unlike the training images", "yellow")
    return cells


def _as_unicode(path: str) -> str:
    """The path with bytes that are not UTF-8 escaped, as Python escapes them."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _printable(text: str) -> str:
    """The text with control characters escaped, so that it cannot move the cursor."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


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
