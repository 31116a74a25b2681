"""What all commands share: the two consoles, exit codes, options, and how they stop."""

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
    typer.Option("--config", "-c", help="YAML file; see configs/default.yaml for every key."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Override one value, such as fits.fine_tune.learning_rate=1e-5. May be repeated.",
    ),
]


def stop(problem: object, code: int) -> typer.Exit:
    """Prints a problem on stderr; raise what it returns."""
    err.print(f"[bold red]thaw:[/] {escape(str(problem))}")
    return typer.Exit(code)


def load(config: Path | None, overrides: list[str] | None, images: str | None = None) -> Config:
    """The effective config; a bad one ends the command."""
    try:
        return load_config(config, overrides or [], images)
    except ConfigError as problem:
        raise stop(problem, BAD_USAGE) from problem


def print_line(line: str) -> None:
    """One line, at once: somebody may be reading a pipe."""
    print(line, flush=True)
