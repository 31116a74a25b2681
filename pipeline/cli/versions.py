"""The commands `thaw versions` and `thaw rollback`: what is served, and what was before."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipeline.cli.terminal import BAD_USAGE, FAILED, out, print_line, stop

if TYPE_CHECKING:  # not for `thaw --help`
    from serving.manage import Version

_MEGABYTE = 10**6
_DIGITS = 12

ModelArgument = Annotated[
    Path, typer.Argument(help="Output folder of a run, or folder of a model's versions.")
]


def versions(
    model: ModelArgument,
    prune: Annotated[
        int | None,
        typer.Option(
            "--keep", min=1, help="Remove all but so many of the newest; the served one stays."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON per version.")
    ] = False,
) -> None:
    """List the versions of a pushed model: verdict, accuracy, data, run, size.

    Model servers serve the newest one.

    Example: thaw versions out --keep 5
    """
    from serving import manage
    from serving.versions import UnusableModel

    try:
        folder = manage.model_dir_of(Path(os.path.realpath(model)))
        removed = manage.prune(folder, prune) if prune else []
    except UnusableModel as problem:
        raise stop(problem, BAD_USAGE) from problem
    except OSError as problem:
        raise stop(f"{problem.filename}: {problem.strerror}.", FAILED) from problem
    found = manage.list_versions(folder)
    if as_json:
        for one in found:
            print_line(json.dumps(_as_json(one)))
        return
    _show(found)
    if removed:
        out.print(f"removed: {', '.join(str(one.number) for one in removed)}")
    out.print(escape(str(folder)))


def rollback(
    model: ModelArgument,
    version: Annotated[
        int | None, typer.Argument(help="Version to serve again.  [default: the one before]")
    ] = None,
) -> None:
    """Serve an older version again: it is copied to the next number, which servers take up.

    Example: thaw rollback out 3
    """
    from serving import manage
    from serving.versions import UnusableModel

    try:
        folder = manage.model_dir_of(Path(os.path.realpath(model)))
        made = manage.roll_back(folder, version)
    except UnusableModel as problem:
        raise stop(problem, BAD_USAGE) from problem
    except OSError as problem:
        raise stop(f"{problem.filename}: {problem.strerror}.", FAILED) from problem
    of = f", a copy of version {made.record.version}" if made.record else ""
    out.print(f"served now: version {made.number}{of}: {escape(str(made.path))}")


def _as_json(version: "Version") -> dict[str, object]:
    return {
        "version": version.number,
        "path": str(version.path),
        "served": version.is_served,
        "bytes": version.num_bytes,
        **({"record": vars(version.record)} if version.record else {}),
    }


def _show(found: "list[Version]") -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("", "version", "accuracy", "model", "data", "run", "size", "verdict"):
        table.add_column(column, no_wrap=column != "verdict", overflow="fold")
    for one in found:
        table.add_row(
            "[green]served[/]" if one.is_served else "",
            str(one.number),
            *_described(one),
        )
    out.print(table)


def _described(version: "Version") -> list[str]:
    size, record = f"{version.num_bytes / _MEGABYTE:.1f} MB", version.record
    if record is None:
        return ["—", "—", "—", "—", size, "pushed by an earlier version of thaw"]
    again = f"copy of {record.version}; " if record.rolled_back else ""
    return [
        f"{record.accuracy:.1%} of {record.test_images}",
        "fine-tuned" if record.model == "candidate" else "head only",
        record.fingerprint[:_DIGITS],
        record.run_id,
        size,
        escape(f"{again}{record.verdict}"),
    ]
