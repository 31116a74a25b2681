"""What commands that run nodes on this machine share: paths, and the view of a run."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from pipeline.cli.terminal import (
    BAD_USAGE,
    FAILED,
    FINISHED,
    INTERRUPTED,
    err,
    out,
    print_line,
    stop,
)
from pipeline.config.schema import Config
from pipeline.local import disk
from trainer.store.uris import is_remote

if TYPE_CHECKING:
    from pipeline.cli.live_view import RunView
    from pipeline.local.supervisor import RunFiles
    from pipeline.report.earlier_run import EarlierRun

ImagesOption = Annotated[
    str | None,
    typer.Option(
        "--images", "-i", help="Folder of class folders, manifest (.csv, .jsonl) or archive."
    ),
]


def absolute(images: str | None) -> str | None:
    """Makes a local path absolute, so that the run is the same from any directory."""
    # An empty path would resolve to the current folder.
    return os.path.realpath(images) if images and not is_remote(images) else images


def run_here(
    settings: Config,
    output: Path,
    inspection: Path | None = None,
    earlier: "EarlierRun | None" = None,
) -> None:
    """Runs a config's nodes and shows them; ends the command unless all goes well.

    Args:
      settings: the config.
      output: of the run.
      inspection: where an inspection is to be written in place of a whole run.
      earlier: the run that this one starts from and is compared with.
    """
    from pipeline.local import preflight, supervisor
    from pipeline.report.earlier_run import write_earlier_run

    try:
        preflight.check(settings, output)
        with supervisor.only_run(output) as lock:
            files = supervisor.new_run(settings, output)
            if earlier:
                write_earlier_run(earlier, files.directory)
            command = supervisor.local_command(files, output, inspection)
            code = _watch_run(files, command, lock)
    except preflight.PreflightError as problem:
        raise stop(problem, BAD_USAGE) from problem
    except supervisor.AlreadyRunning as problem:
        raise stop(problem, FAILED) from problem
    if code:
        raise typer.Exit(code)


def _watch_run(files: "RunFiles", command: list[str], lock: int) -> int:
    """Shows a run until it ends, then what went wrong, if anything. Returns an exit code."""
    from pipeline.cli.live_view import LiveView, PlainView, RunView
    from pipeline.local import supervisor

    view = RunView()
    out.print(f"[dim]logs: {escape(str(files.directory))}[/]")
    display = LiveView(out, view) if out.is_terminal else PlainView(print_line, view)
    try:
        with display, supervisor.terminate_like_interrupt():
            code = supervisor.watch(command, files, display.on_event, lock)
    except KeyboardInterrupt:
        err.print(
            "[yellow]Interrupted.[/] Run the same command again to resume where this run stopped."
        )
        return INTERRUPTED
    if code == 0 and view.finished:
        return FINISHED
    _show_failure(view, code, files)
    return FAILED


def _show_failure(view: "RunView", code: int, files: "RunFiles") -> None:
    name, node = view.failed() or ("", None)
    if node and node.error:
        err.print(f"[bold red]{name} failed:[/] {escape(node.error)}")
    elif view.error:
        err.print(f"[bold red]thaw:[/] {escape(view.error)}")
    else:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        where = f" while {name} was running" if name else " before the first node"
        err.print(f"[bold red]The run {how}{where}.[/]")
        if disk.is_full(files.directory):
            err.print(disk.ADVICE)
    err.print(f"log: {escape(node.log if node and node.log else str(files.log))}")
