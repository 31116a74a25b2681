"""The command `thaw predict`: classifies images with a pushed model, here or as a Beam job."""

import time
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from pipeline.cli.terminal import (
    BAD_USAGE,
    FAILED,
    INTERRUPTED,
    ConfigOption,
    SetOption,
    err,
    load,
    out,
    stop,
)
from pipeline.predict.formats import Format
from trainer import errors
from trainer.errors import ThawError
from trainer.store.uris import is_remote

if TYPE_CHECKING:  # not for `thaw --help`
    from pipeline.cli.prediction_output import Write
    from pipeline.cli.prediction_progress import Progress
    from pipeline.predict.counts import Counts


@dataclass(frozen=True)
class _Options:
    """What the command was given, but for the images."""

    model: str
    kind: Format
    is_short: bool
    output: str | None
    top: int | None
    all_classes: bool
    batch_size: int | None


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders of images, manifests (.csv, .jsonl) or archives (.zip, "
            ".tar, .tar.gz …); - reads a list of them from standard input, one a line."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Output folder of a run, or a SavedModel.", metavar="PATH"
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Number of classes to show per image.")] = 3,
    all_classes: Annotated[
        bool, typer.Option("--all-classes", help="Show all classes; in CSV a column for each.")
    ] = False,
    kind: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Of the rows; by default a table, or what OUTPUT's name ends with."
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one line of JSON per image, with the main fields."),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="File for the rows; with --beam what the names of its files begin with.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images that the model gets at once; by default what suits it."),
    ] = None,
    on_beam: Annotated[
        bool,
        typer.Option("--beam", help="Run as an Apache Beam job, with the options beam.options."),
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Classify images with a pushed model.

    Every image gets a row, in the order of the images; one that cannot be read gets a row with
    the reason. If a manifest names the classes, the last line says how many were right.

    Example: thaw predict photo.jpg --model out
    """
    options = _Options(
        model=model,
        kind=_format(kind, as_json, output, on_beam),
        is_short=as_json,
        output=output,
        top=None if all_classes else top,
        all_classes=all_classes,
        batch_size=batch_size,
    )
    if on_beam and output:
        counts = _run_job(images, options, output, load(config, overrides).beam.options)
    elif config or overrides:
        raise stop("--config and --set are for --beam.", BAD_USAGE)
    else:
        counts = _predict_here(images, options)
    if counts and counts.rejected:
        raise typer.Exit(FAILED)


def _format(kind: Format | None, as_json: bool, output: str | None, on_beam: bool) -> Format:
    """The format of the rows; ends the command where the options contradict each other."""
    if on_beam and not output:
        raise stop("--beam needs --output: what the names of its files begin with.", BAD_USAGE)
    if as_json and (kind or output):
        raise stop("--json prints lines of its own: give --format jsonl instead.", BAD_USAGE)
    if as_json:
        return Format.JSONL
    if output and kind is Format.TABLE:
        raise stop("a table is for the screen: give --format jsonl or csv.", BAD_USAGE)
    if output and is_remote(output) and not on_beam:
        raise stop(f"{output}: not a file of this machine. With --beam rows go there.", BAD_USAGE)
    if kind or not output:
        return kind or Format.TABLE
    return Format.CSV if output.lower().endswith(".csv") else Format.JSONL


def _predict_here(images: list[str], options: _Options) -> "Counts":
    from pipeline.cli.prediction_progress import NoProgress, ProgressBar
    from pipeline.local.supervisor import terminate_like_interrupt

    rows_on_screen = out.is_terminal and not options.output and options.kind is not Format.TABLE
    is_shown = err.is_terminal and not rows_on_screen
    try:
        with terminate_like_interrupt(), ProgressBar() if is_shown else NoProgress() as progress:
            counts, seconds = _classify(images, options, progress)
    except KeyboardInterrupt as interruption:
        raise _interrupted(options.output) from interruption
    if options.output:
        rate = f"{(counts.classified + counts.rejected) / seconds:,.0f} images/s"
        err.print(f"{counts.words()} ({rate}): {escape(options.output)}")
    elif counts.labelled:
        err.print(counts.words())
    return counts


def _classify(images: list[str], options: _Options, progress: "Progress") -> tuple["Counts", float]:
    """Writes a row for each image; what they were, and seconds without loading the model."""
    from pipeline.predict.counts import Counts
    from pipeline.predict.sources import find_images
    from serving import batch_predict, versions
    from serving import model as serving_model

    try:
        model_dir = versions.find_model(options.model)
        found = find_images(images)
        model = serving_model.load_model(model_dir)
        names = model.class_names() if options.all_classes else []
    except ThawError as problem:
        raise stop(problem, BAD_USAGE) from problem
    progress.start(found.num_files)
    started = time.monotonic()
    counts = Counts()
    with _writer(options, names, progress) as write:
        files = found.files(model.max_file_bytes)
        rows = batch_predict.predict(model, files, options.top, options.batch_size)
        with closing(rows):
            for row in rows:
                write(row)
                counts = counts.plus(row)
                progress.update(counts)
    return counts, time.monotonic() - started


def _writer(
    options: _Options, class_names: list[str], progress: "Progress"
) -> AbstractContextManager["Write"]:
    from pipeline.cli import prediction_output as output
    from pipeline.predict.rows import Lines, lines_of, short_json_line

    if options.kind is Format.TABLE:
        return output.to_table(options.top, progress.paused)
    lines = Lines("", short_json_line) if options.is_short else lines_of(options.kind, class_names)
    if options.output:
        return output.to_file(lines, Path(options.output))
    return output.to_screen(lines)


def _interrupted(output: str | None) -> typer.Exit:
    from pipeline.cli.prediction_output import partial_of

    err.print("[yellow]Interrupted.[/]")
    if output and partial_of(Path(output)).exists():
        err.print(f"The rows up to here are in {escape(str(partial_of(Path(output))))}.")
    return typer.Exit(INTERRUPTED)


def _run_job(
    images: list[str], options: _Options, output: str, beam_options: list[str]
) -> "Counts | None":
    from trainer.process.quiet import quiet_stderr

    with quiet_stderr():  # TensorFlow greets
        from pipeline.predict.job import PredictJob, find_model_anywhere, run_job
    from pipeline.predict.sources import read_list

    _make_folder_of(output)
    try:
        job = PredictJob(
            paths=tuple(read_list(images)),
            model_dir=find_model_anywhere(options.model),
            output=output,
            kind=options.kind,
            top=options.top,
            all_classes=options.all_classes,
            batch_size=options.batch_size,
        )
        with err.status("classifying on Beam"):
            counts = run_job(job, beam_options)
    except KeyboardInterrupt as interruption:
        raise _interrupted(None) from interruption
    except Exception as error:
        problem = errors.find(error)
        if problem is None:
            raise
        raise stop(problem, BAD_USAGE) from error
    words = counts.words() if counts else "finished"
    err.print(f"{words}: {escape(output)}-*.{options.kind.value}")
    return counts


def _make_folder_of(output: str) -> None:
    """Finds out before a long job whether its rows can be written to this machine."""
    if not is_remote(output):
        try:
            Path(output).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise stop(f"{output} cannot be written: {error.strerror}.", FAILED) from error
