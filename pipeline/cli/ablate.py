"""The command `thaw ablate`: why two fits, on the user's own images."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipeline.cli.terminal import BAD_USAGE, FAILED, INTERRUPTED, out, stop
from trainer.errors import ThawError
from trainer.process.quiet import quiet_stderr

if TYPE_CHECKING:  # not for `thaw --help`
    from pipeline.report.ablation import AblationSummary
    from trainer.experiments.ablation_record import SeedResult


def ablate(
    output: Annotated[Path, typer.Argument(help="Output folder of a finished run.")],
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="How often; each costs the fits of a run twice.")
    ] = 3,
) -> None:
    """Train the head only, both fits, and one fit from the start, from the run's own features.

    Says how much two fits are worth on these images, and why; the report shows it. Seeds that are
    finished are not run again.

    Example: thaw ablate out --seeds 5
    """
    from pipeline.local.supervisor import only_run
    from pipeline.report.run_record import ReportError, read_run

    output = Path(os.path.realpath(output))
    try:
        run = read_run(output)
    except ReportError as problem:
        raise stop(problem, BAD_USAGE) from problem
    with quiet_stderr():
        import trainer  # noqa: F401 - chooses the Keras before anything imports TensorFlow
        from pipeline.local.ablate import run_ablation
        from pipeline.report.ablation import summarize
        from pipeline.report.page import build_report
    try:
        with (
            only_run(output),
            out.status(f"{seeds} seeds, three ways to train each"),
            quiet_stderr(),
        ):
            record = run_ablation(run, output, seeds, _show_seed)
            page = build_report(output)
    except KeyboardInterrupt:
        out.print("Interrupted. The same command goes on with the seed that it stopped at.")
        raise typer.Exit(INTERRUPTED) from None
    except ThawError as problem:
        raise stop(problem, FAILED) from problem
    _show(summarize(record))
    out.print(f"report: {escape(str(page))}")


def _show_seed(found: "SeedResult") -> None:
    accuracies = ", ".join(f"{name} {value:.1%}" for name, value in found.accuracy.items())
    out.print(f"seed {found.seed}: {accuracies}".replace("_", " "))


def _show(found: "AblationSummary") -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("", "test accuracy", "95 % interval", "features kept"):
        table.add_column(column)
    for one in found.variants:
        interval = "—" if one.low is None else f"{one.low:.1%} to {one.high:.1%}"
        table.add_row(one.title, f"{one.accuracy:.1%}", interval, f"{one.similarity:.3f}")
    out.print(table)
    out.print(escape(found.sentence))
    out.print(
        "Under a random head, the gradient that enters the top blocks is "
        f"{found.gradient_ratio:.1f} times as large as under the head that fit 1 leaves."
    )
