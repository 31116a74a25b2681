"""The commands for clusters: `thaw compile` and `thaw submit`."""

from collections.abc import Callable
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
    print_line,
    stop,
)
from pipeline.config.schema import Config

if TYPE_CHECKING:  # not for `thaw --help`
    from pipeline.cluster.client import PipelineVersion
    from pipeline.cluster.follow import OnEvent
    from pipeline.cluster.target import Target

TargetOption = Annotated[
    str, typer.Option("--target", "-t", metavar="kubeflow|vertex", help="Which cluster.")
]
ImagesOption = Annotated[
    str | None, typer.Option("--images", "-i", help="Image folder the cluster can read.")
]


def compile_(
    target: TargetOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    images: ImagesOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Write the pipeline for a cluster: YAML for Kubeflow Pipelines, JSON for Vertex AI.

    The same config gives the same bytes, so that two versions can be compared.

    Example: thaw compile --target kubeflow --config mine.yaml --output pipeline.yaml
    """
    chosen, where = _for_cluster(config, overrides, images, target)
    from pipeline.cluster.target import ClusterError
    from trainer.process.quiet import quiet_stderr

    try:
        with quiet_stderr():
            from pipeline.cluster.compile import compile_pipeline

            text = compile_pipeline(chosen, where)
        output.write_text(text, encoding="utf-8")
    except ClusterError as problem:
        raise stop(problem, BAD_USAGE) from problem
    except OSError as problem:
        raise stop(f"{output}: cannot be written: {problem.strerror}.", FAILED) from problem
    out.print(f"{target} pipeline: {escape(str(output))}")
    _print_sizes(chosen, where)


def _print_sizes(config: Config, target: "Target") -> None:
    """What each pod needs, where it is known how many images there are."""
    from pipeline.cluster import sizes

    num_images = sizes.count_images(config)
    if num_images is None:
        return
    from pipeline.cli.sizes_table import print_sizes
    from pipeline.cluster.placement import place_training_nodes
    from trainer.process.quiet import quiet_stderr

    with quiet_stderr():
        found = sizes.node_sizes(config, place_training_nodes(target, config), num_images)
    print_sizes(found, num_images)


def submit(
    target: TargetOption,
    images: ImagesOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    run_name: Annotated[
        str | None, typer.Option(help="Name of the run, or of the recurring runs.")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="CRON",
            help="Start recurring runs instead: minute hour day month weekday, as in '0 3 * * 1'.",
        ),
    ] = None,
    caching: Annotated[
        bool | None,
        typer.Option(
            "--caching/--no-caching",
            help="Reuse a task's cached outputs when its inputs are unchanged.",
        ),
    ] = None,
    upload: Annotated[
        bool,
        typer.Option(
            "--upload", help="Keep the pipeline at the service, as a version of the run's name."
        ),
    ] = False,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="With --upload: whether a run is started too.")
    ] = True,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show the run's progress until it has ended.")
    ] = False,
) -> None:
    """Compile the pipeline and start it on a cluster; print where to watch it.

    Example: thaw submit --target kubeflow --config mine.yaml --wait
    """
    settings = list(overrides or [])
    settings += [f"cluster.schedule='{schedule}'"] if schedule is not None else []
    settings += [f"cluster.caching={str(caching).lower()}"] if caching is not None else []
    chosen, where = _for_cluster(config, settings, images, target)
    recurring = chosen.cluster.schedule is not None and run
    if recurring and wait:
        raise stop("--wait: recurring runs have no end to wait for.", BAD_USAGE)
    if not run and (wait or not upload):
        raise stop("--no-run: goes with --upload, and without --wait.", BAD_USAGE)
    from pipeline.cluster.target import ClusterError
    from trainer.process.quiet import quiet_stderr

    try:
        with quiet_stderr():
            from pipeline.cluster import submit as submitting

            if not run:
                _show_version(submitting.upload(chosen, where, run_name))
                return
            if recurring:
                scheduled = submitting.schedule(chosen, where, run_name, upload)
            else:
                started = submitting.submit(chosen, where, run_name, upload)
    except ClusterError as problem:
        raise stop(problem, FAILED) from problem
    if recurring:
        _show_version(scheduled.version)
        out.print(f"recurring runs at {chosen.cluster.schedule}: {escape(scheduled.url)}")
        return
    _show_version(started.version)
    out.print(f"started: {escape(started.url)}")
    if wait:
        show_progress(started.follow, started.url)


def _show_version(version: "PipelineVersion | None") -> None:
    if version:
        out.print(f"uploaded: {escape(version.pipeline)}, version {escape(version.version)}")
        out.print(f"  pipeline id {escape(version.pipeline_id)}")
        out.print(f"  version id  {escape(version.version_id)}")
        out.print(f"  {escape(version.url)}")


def show_progress(follow: "Callable[[OnEvent], None]", url: str) -> None:
    """Draws a run as `thaw run` draws its own, until it has ended.

    Args:
      follow: reports the run's events; raises `RunFailed` or `ClusterError`.
      url: where the run can be watched.
    """
    from pipeline.cli.live_view import LiveView, PlainView, RunView
    from pipeline.cluster.target import ClusterError, RunFailed

    view = RunView()
    drawn = LiveView(out, view) if out.is_terminal else PlainView(print_line, view)
    try:
        with drawn:
            follow(drawn.on_event)
    except RunFailed as problem:
        raise stop(problem, FAILED) from problem
    except ClusterError as problem:
        exit_ = stop(problem, FAILED)
        err.print(f"The run itself is not affected: {escape(url)}")
        raise exit_ from problem
    except KeyboardInterrupt:
        err.print(f"[yellow]no longer waiting.[/] The run continues: {escape(url)}")
        raise typer.Exit(INTERRUPTED) from None
    out.print(f"finished: {escape(url)}")


def target_named(name: str) -> "Target":
    """The target of a --target option. Ends the command if there is none of that name."""
    from pipeline.cluster.target import Target

    if name not in list(Target):
        raise stop(f"--target {name}: write kubeflow or vertex.", BAD_USAGE)
    return Target(name)


def _for_cluster(
    config: Path | None, overrides: list[str] | None, images: str | None, target: str
) -> tuple[Config, "Target"]:
    chosen = load(config, overrides, images)
    from pipeline.cluster.compile import check_complete
    from pipeline.cluster.target import ClusterError

    where = target_named(target)
    try:
        check_complete(chosen, where)
    except ClusterError as problem:
        raise stop(problem, BAD_USAGE) from problem
    return chosen, where
