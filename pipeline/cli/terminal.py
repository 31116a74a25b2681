"""What all commands share: the two consoles, exit codes, options and error output."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.config.load import ConfigError, load_config
from pipeline.config.schema import Config

FINISHED = 0
FAILED = 1
BAD_USAGE = 2
NOT_BLESSED = 3
INTERRUPTED = 130

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML file; `thaw config --defaults` lists every key."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Override one value, such as fits.fine_tune.learning_rate=1e-5. Can be repeated.",
    ),
]


def stop(problem: object, code: int) -> typer.Exit:
    """Prints a problem on stderr and returns the exception that ends the command.

    Example:
      raise stop(problem, BAD_USAGE) from problem
    """
    err.print(f"[bold red]thaw:[/] {escape(str(problem))}")
    return typer.Exit(code)


def load(config: Path | None, overrides: list[str] | None, images: str | None = None) -> Config:
    """Returns the effective config. Ends the command if the config is invalid."""
    try:
        return load_config(config, overrides or [], images)
    except ConfigError as problem:
        raise stop(problem, BAD_USAGE) from problem


def print_line(line: str) -> None:
    """Prints one line and flushes it: the reader of a pipe should not have to wait."""
    print(line, flush=True)
