"""The command `thaw inspect`: an answer about the images before anything is trained."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from pipeline.cli.local_runs import ImagesOption, absolute, run_here
from pipeline.cli.terminal import BAD_USAGE, ConfigOption, SetOption, load, out, stop
from pipeline.config.schema import Config

if TYPE_CHECKING:  # not for `thaw --help`
    from pipeline.inspect.record import Inspection


def inspect(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder that a run may follow in: it goes on there."),
    ],
    images: ImagesOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    backbones: Annotated[
        str | None,
        typer.Option(help="Several to compare, such as inception_v3,mobilenet_v2."),
    ] = None,
) -> None:
    """Say what the images are worth, without training: a first answer in minutes.

    Reads them, runs the trunk once, and looks at labels, copies, outliers, and at how well a
    linear probe does. `thaw run` with the same images and output goes on from there. Writes
    OUTPUT/inspect.html and OUTPUT/inspect.json.

    Example: thaw inspect --images photos --output out
    """
    settings = load(config, overrides, absolute(images))
    if not settings.features.cache:
        raise stop("an inspection needs features.cache: it looks at what is kept.", BAD_USAGE)
    names = [name.strip() for name in backbones.split(",")] if backbones else []
    output = Path(os.path.realpath(output))
    wanted = [settings.backbone.name, *(n for n in names if n != settings.backbone.name)]
    if names and settings.backbone.name not in names:
        wanted = names
    configs = [
        settings
        if name == settings.backbone.name
        else load(config, _of(name, overrides), absolute(images))
        for name in wanted
    ]
    records = [_run(one, output) for one in configs]
    _finish(records, output)


def _of(backbone: str, overrides: list[str] | None) -> list[str]:
    return [*(overrides or []), f"backbone.name={backbone}"]


def _run(settings: Config, output: Path) -> "Inspection":
    """Runs the nodes up to the trunk, and inspects what they leave."""
    path = output / "inspect" / f"{settings.backbone.name}.json"
    run_here(settings, output, path)
    from pipeline.inspect.record import read

    return read(path)


def _finish(records: list["Inspection"], output: Path) -> None:
    """Ranks the backbones, writes record and page, and says what matters most."""
    from dataclasses import replace

    from pipeline.inspect.page import write_page
    from pipeline.inspect.record import INSPECT_FILE, write

    records = sorted(records, key=lambda one: -(one.probe.accuracy if one.probe else 0))
    ranking = [one.ranked() for one in records] if len(records) > 1 else []
    best = replace(records[0], ranking=ranking)
    write(best, output / INSPECT_FILE)
    page = write_page(best, output)
    for one in ranking:
        accuracy = "no probe" if one.accuracy is None else f"{one.accuracy:.1%}"
        out.print(f"  {one.backbone}: {accuracy}, its trunk took {one.trunk_seconds:.0f} s")
    _show(best)
    out.print(f"page: {escape(str(page))}")


def _show(found: "Inspection") -> None:
    probe = found.probe
    if probe is None:
        out.print(f"\n[bold yellow]No probe:[/] {escape(found.no_probe)}")
    else:
        out.print(
            f"\n[bold green]About {probe.accuracy:.1%} without fine-tuning[/] "
            f"({probe.low:.1%} to {probe.high:.1%}), on features of {escape(found.backbone)}"
        )
        out.print(f"  doubtful labels: {probe.num_flagged}")
        if probe.doubled is not None:
            out.print(f"  with twice as many images: about {probe.doubled:.1%}")
        if probe.helpful:
            helpful = probe.helpful
            out.print(f"  {helpful.images} more of {escape(helpful.label)} would help most")
    out.print(
        f"  rejected files: {sum(found.rejected.values())}, groups of near-duplicates: "
        f"{found.num_near_duplicates}, unlike the others: {len(found.outliers)}"
    )
    cost = found.cost
    low, high = (max(1, round(secs / 60)) for secs in (cost.low_seconds, cost.high_seconds))
    minutes = f"{low} to {high} minutes" if high > low else f"{high} min"
    out.print(f"  a full run will take about another {minutes} here")
