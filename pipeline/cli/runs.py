"""The commands `thaw runs …`: the runs of a cluster, and what can be done with them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from pipeline.cli.cluster import TargetOption, show_progress, target_named
from pipeline.cli.terminal import (
    FAILED,
    INTERRUPTED,
    ConfigOption,
    SetOption,
    load,
    out,
    print_line,
    stop,
)

if TYPE_CHECKING:  # not for `thaw --help`
    from pipeline.cluster.client import ClusterClient, RunSummary

app = typer.Typer(
    name="runs",
    help="List, watch, retry and end the runs of a cluster; read the logs of their nodes.",
    no_args_is_help=True,
)

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Id of a run: see `thaw runs list`.")
]
OptionalRun = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="Id of a run. Unset: the newest of this pipeline."),
]

_COLUMNS = ("RUN", "NAME", "STATE", "AGE", "TOOK", "VERSION")
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@app.command("list")
def list_(
    target: TargetOption,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most runs to show.")] = 20,
    of_all: Annotated[
        bool, typer.Option("--all", help="Also runs of other pipelines and experiments.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON per run.")
    ] = False,
) -> None:
    """Show this pipeline's runs, newest first.

    Example: thaw runs list --target kubeflow --config mine.yaml
    """
    with _client(target, config, overrides) as client:
        runs = client.list_runs(limit, of_all)
    if as_json:
        for run in runs:
            print_line(json.dumps(vars(run), default=_as_text))
    else:
        _print_table(runs)


@app.command()
def watch(
    target: TargetOption,
    run: OptionalRun = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Show a run's progress until it has ended.

    Example: thaw runs watch --target kubeflow --config mine.yaml
    """
    with _client(target, config, overrides) as client:
        run_id = run or _newest(client)
        nodes, url = client.get_tasks(run_id), client.get_url(run_id)
    from pipeline.cluster import follow

    show_progress(
        lambda on_event: follow.follow(lambda: client.get_status(run_id), nodes, url, on_event), url
    )


@app.command()
def logs(
    target: TargetOption,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Such as FineTuner.")],
    run: OptionalRun = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Print what a node of a run has written so far.

    Example: thaw runs logs FineTuner --target kubeflow --config mine.yaml
    """
    with _client(target, config, overrides) as client:
        for line in client.read_log(run or _newest(client), node):
            print_line(line)


@app.command()
def retry(
    target: TargetOption,
    run: RunArgument,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Run the nodes of a failed run again that did not succeed.

    Example: thaw runs retry RUN --target kubeflow --config mine.yaml
    """
    with _client(target, config, overrides) as client:
        client.retry(run)
        url = client.get_url(run)
    out.print(f"retrying: {escape(url)}")


@app.command()
def terminate(
    target: TargetOption,
    run: RunArgument,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """End a run. What it has written stays.

    Example: thaw runs terminate RUN --target kubeflow --config mine.yaml
    """
    with _client(target, config, overrides) as client:
        client.terminate(run)
        url = client.get_url(run)
    out.print(f"terminating: {escape(url)}")
    if target == "vertex":
        out.print(
            "Fits on machines of their own are custom jobs, which go on: "
            "gcloud ai custom-jobs list and cancel."
        )


@contextmanager
def _client(
    target: str, config: Path | None, overrides: list[str] | None
) -> Iterator["ClusterClient"]:
    """A client of the config's cluster. Ends the command when the service refuses something."""
    settings, where = load(config, overrides), target_named(target)
    from pipeline.cluster.target import ClusterError
    from trainer.process.quiet import quiet_stderr

    try:
        with quiet_stderr():
            from pipeline.cluster.connect import connect

            client = connect(settings, where)
        yield client
    except ClusterError as problem:
        raise stop(problem, FAILED) from problem
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _newest(client: "ClusterClient") -> str:
    from pipeline.cluster.target import ClusterError

    runs = client.list_runs(1, of_all=False)
    if not runs:
        raise ClusterError(
            "this pipeline has no run yet.", to_do="Start one with thaw submit, or name a run."
        )
    return runs[0].run_id


def _print_table(runs: "list[RunSummary]") -> None:
    if not runs:
        out.print("no runs")
        return
    now = datetime.now(timezone.utc)
    rows = [_COLUMNS, *(_row(run, now) for run in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        print_line("  ".join(cells).rstrip())


def _row(run: "RunSummary", now: datetime) -> tuple[str, ...]:
    age = _duration(run.created, now)
    took = _duration(run.created, run.ended)
    return run.run_id, run.name, run.state, age, took, run.version or "–"


def _duration(start: datetime | None, end: datetime | None) -> str:
    """The time between two times, in its largest unit: 45s, 12m, 3h, 2d."""
    if start is None or end is None:
        return "–"
    seconds = max(int((end - start).total_seconds()), 0)
    size, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    return f"{seconds // size}{unit}"


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
