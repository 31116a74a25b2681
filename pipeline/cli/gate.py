"""The command `thaw gate`: the verdict of a run, and how to override it."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pipeline.cli.terminal import BAD_USAGE, FAILED, out, stop
from trainer.errors import ThawError


def gate(
    output: Annotated[Path, typer.Argument(help="Output folder of a run on this machine.")],
    override: Annotated[
        str | None,
        typer.Option(
            metavar="WHY",
            help="Promote the candidate by hand, against the verdict. WHY is kept with the model.",
        ),
    ] = None,
) -> None:
    """Show what the gate has decided, or promote the candidate against its verdict.

    Example: thaw gate out --override "the client has looked at all test images"
    """
    from pipeline.report.run_record import ReportError, read_run

    output = Path(os.path.realpath(output))
    if override is not None:
        if not override.strip():
            raise stop("--override: say why; the reason is kept with the model.", BAD_USAGE)
        _override(output, override.strip())
    try:
        run = read_run(output)
    except ReportError as problem:
        raise stop(problem, FAILED) from problem
    out.print(f"[bold]{escape(run.verdict.sentence)}[/]")
    for sentence in run.verdict.explanations:
        out.print(f"  {escape(sentence)}")
    if run.verdict.override:
        out.print(f"promoted by hand: {escape(run.verdict.override.why)}")
    if run.model:
        out.print(f"model:  {escape(run.model.path)}")


def _override(output: Path, why: str) -> None:
    from pipeline.local.override import promote_by_hand
    from pipeline.local.supervisor import only_run
    from pipeline.report.page import build_report

    if not (output / "run.json").exists():
        raise stop(f"{output}: holds no finished run.", BAD_USAGE)
    try:
        with only_run(output):
            promote_by_hand(output, why)
            build_report(output)
    except ThawError as problem:
        raise stop(problem, FAILED) from problem
