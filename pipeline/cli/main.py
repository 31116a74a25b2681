"""The command line. It imports nothing heavy, so that `--help` answers at once."""

import gc
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from pipeline import __version__
from pipeline.cli import cluster as cluster_commands
from pipeline.cli import runs as run_commands
from pipeline.cli.ablate import ablate
from pipeline.cli.cache import cache
from pipeline.cli.compare import compare
from pipeline.cli.gate import gate
from pipeline.cli.inspect import inspect
from pipeline.cli.local_runs import ImagesOption, absolute, run_here
from pipeline.cli.predict import predict
from pipeline.cli.reproduce import reproduce
from pipeline.cli.serve import serve
from pipeline.cli.terminal import (
    BAD_USAGE,
    FAILED,
    NOT_BLESSED,
    ConfigOption,
    SetOption,
    load,
    out,
    stop,
)
from pipeline.cli.versions import rollback, versions
from pipeline.cluster.stub_imports import stub_unused_imports
from pipeline.config.load import to_yaml
from pipeline.config.schema import Config
from trainer.errors import ThawError
from trainer.store.uris import is_remote

if TYPE_CHECKING:
    from pipeline.report.earlier_run import EarlierRun
    from pipeline.report.run_record import Data, RunRecord

app = typer.Typer(
    name="thaw",
    help="Turn a folder of labelled images into a served classifier: two fits and one honest gate.",
    epilog=(
        "Exit codes: 0 finished, 1 failed, 2 bad usage or config, "
        "3 not blessed (with --require-blessing), 130 interrupted."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

app.command("compile")(cluster_commands.compile_)
app.command()(cluster_commands.submit)
app.add_typer(run_commands.app)
app.command()(cache)
app.command()(gate)
app.command()(inspect)
app.command()(ablate)
app.command()(compare)
app.command()(reproduce)
app.command()(predict)
app.command()(serve)
app.command()(versions)
app.command()(rollback)


def main() -> None:
    """Entry point of the `thaw` command."""
    if sys.argv[1:2] == ["compile"]:
        gc.disable()  # the process is short-lived and spends most of its time importing
        stub_unused_imports()
    app()


def _version(requested: bool) -> None:
    if requested:
        out.print(f"thaw {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for everything that the run writes.")
    ],
    images: ImagesOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    from_run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Output folder of an earlier run, which may be the same. Fit 1 starts from its "
            "head, with new weights for new classes, and the report says what has changed.",
        ),
    ] = None,
    require_blessing: Annotated[
        bool, typer.Option(help="Exit with code 3 unless the candidate is blessed and pushed.")
    ] = False,
) -> None:
    """Train, evaluate and push a model on this machine.

    Only what depends on a change runs again. After an interruption, the same command resumes
    where the run stopped. Writes OUTPUT/report.html, OUTPUT/run.json and, if the candidate is
    blessed, OUTPUT/serving/NAME/VERSION.

    Example: thaw run --images photos --output out --set fits.fine_tune.boundary=mixed7
    """
    output = Path(os.path.realpath(output))  # unlike resolve(), accepts a link to itself
    earlier = _find_earlier(from_run) if from_run else None
    start = [f"fits.head.start_from={json.dumps(earlier.model)}"] if earlier else []
    settings = load(config, [*(overrides or []), *start], absolute(images))
    run_here(settings, output, earlier=earlier)
    from pipeline.report.run_record import read_run

    record = read_run(output)
    _show_verdict(record, output)
    if require_blessing and not (record.verdict.blessed and record.verdict.pushed):
        raise typer.Exit(NOT_BLESSED)


def _find_earlier(folder: Path) -> "EarlierRun":
    from pipeline.report.earlier_run import find_earlier_run

    try:
        return find_earlier_run(Path(os.path.realpath(folder)))
    except ThawError as problem:
        raise stop(problem, BAD_USAGE) from problem


def _show_verdict(record: "RunRecord", output: Path) -> None:
    verdict, metrics = record.verdict, record.metrics
    if verdict.blessed and verdict.pushed:
        headline = "[bold green]Blessed:[/]"
    elif verdict.blessed:
        headline = "[bold red]Blessed, but not pushed.[/]"
    else:
        headline = "[bold yellow]Not blessed:[/]"
    out.print(f"\n{headline} {escape(verdict.sentence)}")
    for reason in verdict.explanations:
        out.print(f"  {escape(reason)}")
    out.print(
        f"  baseline {metrics.baseline.accuracy:.1%}, "
        f"candidate {metrics.candidate.accuracy:.1%}, "
        f"on {metrics.test_images} test images that no fit has seen"
    )
    _show_data(record.data)
    for refusal in record.exports.refusals if record.exports else ():
        out.print(f"  {escape(refusal)}")
    _show_places(record, output / "report.html")


def _show_data(data: "Data") -> None:
    """What is worth a look at the images."""
    copies, rejected = data.near_duplicates, data.set_aside.count
    if rejected:
        out.print(f"  rejected files: {rejected}; the report lists them with the reasons")
    if data.from_store:
        total = data.from_store + data.through_trunk
        out.print(f"  {data.from_store:,} of {total:,} images came from the trunk store")
    for change in data.drift:
        out.print(f"  changed since the run before: {escape(change)}")
    if copies.conflicting:
        out.print(
            f"  groups of near-duplicates in several classes: {copies.conflicting}; "
            "the report lists them"
        )
    if data.small_classes and not data.folded_into:
        few = ", ".join(data.small_classes)
        out.print(f"  classes without images in every split: {escape(few)}")


def _show_places(record: "RunRecord", page: Path) -> None:
    out.print(f"report: {escape(str(page))}")
    if record.model:
        path = record.model.path
        out.print(f"model:  {escape(path)}")
        if not is_remote(path):
            versions = shlex.quote(os.path.dirname(path))
            out.print(f"serve:  thaw serve --model {escape(versions)}")
    if record.exports and record.exports.path:
        out.print(f"exports: {escape(record.exports.path)}")


@app.command()
def report(
    output: Annotated[Path, typer.Argument(help="Output folder of a run.")],
) -> None:
    """Write OUTPUT/report.html again, from OUTPUT/run.json.

    Example: thaw report out
    """
    from pipeline.report.page import build_report
    from pipeline.report.run_record import ReportError, read_run

    output = Path(os.path.realpath(output))
    try:
        page = build_report(output)
        record = read_run(output)
    except ReportError as problem:
        raise stop(problem, FAILED) from problem
    _show_places(record, page)


@app.command()
def config(
    config: ConfigOption = None,
    overrides: SetOption = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of a config, for editors.")
    ] = False,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Print every setting, its default and what it does.")
    ] = False,
) -> None:
    """Print the effective config, with defaults filled in.

    Example: thaw config --schema > thaw.schema.json
    """
    if defaults:
        from pipeline.config.default_file import default_yaml

        print(default_yaml(), end="")
        return
    if schema:
        print(json.dumps(Config.model_json_schema(), indent=2))
        return
    print(to_yaml(load(config, overrides)), end="")


@app.command()
def doctor() -> None:
    """Check this machine (versions, devices, weights, disk, memory) and say what to fix."""
    from pipeline.cli.doctor import checks, show

    raise typer.Exit(show(checks(), out))


@app.command("sample-images")
def sample_images(
    directory: Annotated[Path, typer.Argument(help="Folder to create.")],
    per_class: Annotated[
        int | None,
        typer.Option(help="Number of images per class; by default all of them (174 to 183)."),
    ] = None,
) -> None:
    """Write a small example dataset: scikit-learn's scanned digits, one folder per class.

    Example: thaw sample-images digits --per-class 30
    """
    from pipeline.cli.demo_images import SamplesError, write_sample_images

    try:
        count = write_sample_images(directory, per_class)
    except SamplesError as problem:
        raise stop(problem, BAD_USAGE) from problem
    out.print(f"{count} images in {escape(str(directory))}")


if __name__ == "__main__":
    main()
