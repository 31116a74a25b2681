"""The command `thaw compare`: finished runs side by side."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipeline.cli.terminal import BAD_USAGE, out, print_line, stop
from trainer.errors import ThawError
from trainer.process.quiet import quiet_stderr

if TYPE_CHECKING:  # not for `thaw --help`
    from pipeline.report.compare import Comparison

_FEWEST = 2


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of finished runs.")],
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write the comparison as a page.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Put finished runs side by side: figures, settings that differ, and a paired test.

    The test is of the fine-tuned models' answers to the test images that two runs share.

    Example: thaw compare out out2 --html compare.html
    """
    if len(runs) < _FEWEST:
        raise stop("give two runs or more: thaw compare out out2", BAD_USAGE)
    with quiet_stderr():
        from pipeline.report.compare import compare_runs
        from pipeline.report.compare_page import write_comparison
    try:
        found = compare_runs([Path(os.path.realpath(run)) for run in runs])
        if html:
            write_comparison(found, html)
    except (ThawError, OSError) as problem:
        raise stop(problem, BAD_USAGE) from problem
    if as_json:
        print_line(json.dumps(asdict(found)))
        return
    _show(found)
    if html:
        out.print(f"page: {escape(str(html))}")


def _show(found: "Comparison") -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("", no_wrap=True)
    for run in found.runs:
        table.add_column(escape(run), overflow="fold")
    for row in [*found.figures, *found.settings]:
        table.add_row(escape(row.title), *map(escape, row.values))
    out.print(table)
    out.print(f"\nFine-tuned models compared with that of {escape(found.runs[0])}:")
    for difference in found.differences:
        out.print(f"  {escape(str(difference))}")
