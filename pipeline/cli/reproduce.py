"""The command `thaw reproduce`: a run made again, and whether it came out the same."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pipeline.cli.local_runs import run_here
from pipeline.cli.terminal import BAD_USAGE, FAILED, out, stop
from trainer.errors import ThawError


def reproduce(
    run: Annotated[Path, typer.Argument(help="Output folder of a run on this machine.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="New folder to run in.  [default: RUN-reproduced]"),
    ] = None,
) -> None:
    """Make a run again from its recorded config, and say whether weights and verdict are the same.

    The images must be those of the run, by their fingerprint. What was pushed stays as it is: the
    new run pushes into its own folder. Exit code 1 if something differs.

    Example: thaw reproduce out
    """
    from pipeline.local.reproduce import compare, config_of, versions_that_differ
    from pipeline.report.run_record import read_run

    run = Path(os.path.realpath(run))
    target = Path(os.path.realpath(output)) if output else run.with_name(f"{run.name}-reproduced")
    try:
        before = read_run(run)
        config = config_of(before)
    except ThawError as problem:
        raise stop(problem, BAD_USAGE) from problem
    if target.exists() and any(target.iterdir()):
        raise stop(
            f"{target}: is not empty. A run is reproduced from nothing: name another folder with "
            "--output, or remove this one.",
            BAD_USAGE,
        )
    run_here(config, target)
    after = read_run(target)
    try:
        findings = compare(before, after)
    except ThawError as problem:
        raise stop(problem, FAILED) from problem
    for finding in findings:
        colour = "green" if finding.same else "yellow"
        out.print(f"[{colour}]{escape(str(finding))}[/]")
    for version in versions_that_differ(before, after):
        out.print(f"  other version: {escape(version)}")
    out.print(f"report: {escape(str(target / 'report.html'))}")
    if not all(finding.same for finding in findings):
        raise typer.Exit(FAILED)
