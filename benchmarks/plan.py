"""What a run of many images takes: hours, bytes and money, from what one image was measured at.

    .venv/bin/python -m benchmarks.plan --images 1e5 --images 1e6 --images 1e7

Arithmetic only: nothing is run. Processor seconds and bytes of an image were measured
(`MEASURED`, by `benchmarks.per_image`); prices, a GPU's rate and what storage lets through
are assumptions, every one of them an option. Check them before you believe the money:
`benchmarks/prices.yaml` says when and whence each price was taken.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from benchmarks.common import console, make_table


@dataclass(frozen=True)
class Image:
    """What one image costs at 299 px, InceptionV3, boundary mixed8, float32, float16 kept.

    Seconds are of one core. Intel Xeon (Emerald Rapids), 2 cores, TensorFlow 2.21.0,
    November 2026, `python -m benchmarks.per_image --fewer 30 --more 110 --epochs 2`: photos of
    500×375. Few images, on cores that others used as well: below 0.001 it is noise, and the
    trunk takes half as long on a quiet machine (`benchmarks.roofline`). An epoch of fit 1 was
    too short to be seen; it was timed apart, on 3,200 vectors.

    Attributes:
      ingestion_secs: ImageExampleGen: read, check, hash, read again, write gzipped.
      statistics_secs: StatisticsGen.
      transform_secs: Transform: both of its passes, over all splits.
      trunk_secs: TrunkFeatures, for each view.
      pool_secs: fit 1 before its first epoch: top blocks down to a vector.
      head_epoch_secs: an epoch of fit 1, of a training image.
      fine_tune_epoch_secs: an epoch of fit 2, of a training image; validation included.
      evaluator_secs: Evaluator, both models, of a test image.
      file_bytes: the photo.
      example_bytes: after ImageExampleGen.
      transformed_bytes: after Transform.
      features_bytes: after TrunkFeatures, of each view.
      vector_bytes: of fit 1, on the disk of the machine that trains.
      row_bytes: what the Evaluator writes of a test image.
    """

    ingestion_secs: float
    statistics_secs: float
    transform_secs: float
    trunk_secs: float
    pool_secs: float
    head_epoch_secs: float
    fine_tune_epoch_secs: float
    evaluator_secs: float
    file_bytes: float
    example_bytes: float
    transformed_bytes: float
    features_bytes: float
    vector_bytes: float
    row_bytes: float


MEASURED = Image(
    ingestion_secs=0.0046,
    statistics_secs=0.0009,
    transform_secs=0.0066,
    trunk_secs=0.147,
    pool_secs=0.012,
    head_epoch_secs=0.0004,
    fine_tune_epoch_secs=0.057,
    evaluator_secs=0.014,
    file_bytes=71_200.0,
    example_bytes=71_200.0,
    transformed_bytes=268_500.0,
    features_bytes=164_100.0,
    vector_bytes=8 + 4 * 2048,
    row_bytes=280.0,
)

# Operations of one forward pass of the top blocks, counted by benchmarks.flops;
# back-propagation takes twice as many again. Only for GPUs, whose rate is assumed.
_TOP_GFLOP = 1.4


@dataclass(frozen=True)
class Machine:
    """A shape that can be rented.

    Attributes:
      cores: vCPUs; each is taken to do what one of the measured cores does.
      memory_gib: of the machine.
      dollars_an_hour: on demand, without discounts. Assumed: `prices.yaml` says when and
        whence.
      gpu_tflops: what its GPU sustains on these convolutions; 0 without a GPU. Assumed: no
        GPU was measured. An eighth of the sheet's figure for dense float16.
    """

    cores: int
    memory_gib: int
    dollars_an_hour: float
    gpu_tflops: float = 0.0


_PRICES = yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text(encoding="utf-8"))

MACHINES = {name: Machine(**machine) for name, machine in _PRICES["machines"].items()}


@dataclass(frozen=True)
class Assumptions:
    """What is neither measured nor chosen by a config.

    Attributes:
      efficiency: share of the cores' time that is work, for Beam over many machines.
      startup_secs: before a Beam job's first image: machines and containers start.
      read_bytes_per_sec: one sequential reader of the object store. A fit has one a worker.
      dollars_a_gb_month: of the object store.
      dollars_a_read: of one object, GET.
      spot: share of the price that spot machines cost; 1 for on demand.
    """

    efficiency: float = 0.8
    startup_secs: float = 240.0
    read_bytes_per_sec: float = 100e6
    dollars_a_gb_month: float = _PRICES["storage"]["dollars_a_gb_month"]
    dollars_a_read: float = _PRICES["storage"]["dollars_a_read"]
    spot: float = 1.0


@dataclass(frozen=True)
class Plan:
    """What is to be run, and where.

    Attributes:
      images: of all splits.
      epochs: of fit 1 and of fit 2, as many as early stopping lets them have.
      views: augmented views of each training image, besides the image.
      shares: of the images in train, val and test.
      beam: the machines of data steps, and how many cores of them.
      fit: the machine of a fit's worker, and how many workers.
    """

    images: int
    epochs: tuple[int, int]
    views: int
    shares: tuple[float, float, float]
    beam: Machine
    beam_cores: int
    fit: Machine
    workers: int


@dataclass(frozen=True)
class Step:
    """One node of a plan.

    Attributes:
      hours: by the clock.
      machine_hours: of all machines together.
      dollars: for them.
      gb: that stay in the object store.
      bound: what the time is decided by: "cores", "GPU", "reading" or "start".
    """

    name: str
    hours: float
    machine_hours: float
    dollars: float
    gb: float
    bound: str


def steps_of(plan: Plan, image: Image = MEASURED, given: Assumptions | None = None) -> list[Step]:
    """Plans every node whose time or room grows with the images, first to last."""
    given = given or Assumptions()
    beam = functools.partial(_beam, plan, given)
    fit = functools.partial(_fit, plan, given)
    train, val, test = (share * plan.images for share in plan.shares)
    views = plan.images + plan.views * train
    head_epochs, fine_tune_epochs = plan.epochs
    pooling = (train + val) * image.pool_secs
    return [
        beam("ImageExampleGen", plan.images, image.ingestion_secs, image.example_bytes),
        beam("StatisticsGen", plan.images, image.statistics_secs, 0),
        beam("Transform", plan.images, image.transform_secs, image.transformed_bytes),
        beam("TrunkFeatures", views, image.trunk_secs, image.features_bytes),
        fit(
            "HeadTrainer",
            core_secs=pooling + head_epochs * train * image.head_epoch_secs,
            gflop=(train + val) * _TOP_GFLOP,
            read_bytes=(train + val) * image.features_bytes,
        ),
        fit(
            "FineTuner",
            core_secs=fine_tune_epochs * train * image.fine_tune_epoch_secs,
            gflop=fine_tune_epochs * (3 * train + val) * _TOP_GFLOP,
            read_bytes=fine_tune_epochs * (train + val) * image.features_bytes,
        ),
        beam("Evaluator", test, image.evaluator_secs, image.row_bytes),
    ]


def _beam(
    plan: Plan, given: Assumptions, name: str, images: float, secs: float, left_bytes: float
) -> Step:
    work = images * secs / (plan.beam_cores * given.efficiency)
    hours = (given.startup_secs + work) / 3600
    machine_hours = hours * plan.beam_cores / plan.beam.cores
    dollars = machine_hours * plan.beam.dollars_an_hour * given.spot
    bound = "cores" if work > given.startup_secs else "start"
    return Step(name, hours, machine_hours, dollars, images * left_bytes / 1e9, bound)


def _fit(
    plan: Plan, given: Assumptions, name: str, core_secs: float, gflop: float, read_bytes: float
) -> Step:
    """A fit computes at what its workers do together, but each of them reads everything."""
    if plan.fit.gpu_tflops:
        bounds = {"GPU": gflop / (1e3 * plan.fit.gpu_tflops * plan.workers)}
    else:
        bounds = {"cores": core_secs / (plan.fit.cores * plan.workers)}
    bounds["reading"] = read_bytes / given.read_bytes_per_sec
    bound = max(bounds, key=lambda name: bounds[name])
    hours = bounds[bound] / 3600
    machine_hours = hours * plan.workers
    dollars = machine_hours * plan.fit.dollars_an_hour * given.spot
    return Step(name, hours, machine_hours, dollars, 0.0, bound)


def total(plan: Plan, steps: Sequence[Step], image: Image, given: Assumptions) -> dict[str, Any]:
    """One line for a plan: what all its steps take together, storage and reads included."""
    gb = sum(step.gb for step in steps)
    stored = (gb + plan.images * image.file_bytes / 1e9) * given.dollars_a_gb_month
    reads = 2 * plan.images * given.dollars_a_read
    train, val, _ = plan.shares
    return {
        "images": plan.images,
        "hours": sum(step.hours for step in steps),
        "machines $": sum(step.dollars for step in steps),
        "reads $": reads,
        "photos GB": plan.images * image.file_bytes / 1e9,
        "left GB": gb,
        "a month $": stored,
        "vectors GB": (train + val) * plan.images * image.vector_bytes / 1e9,
    }


def rows_of(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The table's rows."""
    return [
        {
            "step": step.name,
            "hours": step.hours,
            "machine h": step.machine_hours,
            "$": step.dollars,
            "left GB": step.gb,
            "bound by": step.bound,
        }
        for step in steps
    ]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The same as a table of Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[_show(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _show(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value == 0:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, digits):,.{digits}f}"


def parse_count(text: str) -> int:
    """Reads a number of images such as 1e6."""
    return int(float(text))


def main(
    images: Annotated[
        list[str] | None,
        typer.Option(help="How many; may be repeated.  [default: 1e5, 1e6, 1e7]"),
    ] = None,
    cores: Annotated[int, typer.Option(help="vCPUs of Beam's machines, all together.")] = 64,
    beam_machine: Annotated[str, typer.Option(help="Their shape.")] = "n2-standard-16",
    fit_machine: Annotated[str, typer.Option(help="Shape of a fit's worker.")] = "g2-standard-12",
    workers: Annotated[int, typer.Option(help="Of a fit: train.workers.")] = 1,
    epochs: Annotated[int, typer.Option(help="Of each fit.")] = 10,
    views: Annotated[int, typer.Option(help="Augmented views of a training image.")] = 0,
    spot: Annotated[float, typer.Option(help="Share of the price that is paid.")] = 1.0,
    read_mb: Annotated[float, typer.Option(help="MB/s of one reader of the store.")] = 100.0,
    as_markdown: Annotated[bool, typer.Option("--markdown")] = False,
) -> None:
    """Prints what runs of so many images take, and on which step the hours go."""
    given = Assumptions(spot=spot, read_bytes_per_sec=read_mb * 1e6)
    for title, rows in tables(
        [parse_count(text) for text in images or ("1e5", "1e6", "1e7")],
        Plan(
            0,
            (epochs, epochs),
            views,
            (0.7, 0.15, 0.15),
            MACHINES[beam_machine],
            cores,
            MACHINES[fit_machine],
            workers,
        ),
        given,
    ):
        if as_markdown:
            print(f"{title}:\n\n{markdown(rows)}\n")
        else:
            console.print(make_table(title, rows))


def tables(
    counts: Sequence[int], plan: Plan, given: Assumptions
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A table of steps for each number of images, and one of what they take in all."""
    totals = []
    for count in counts:
        chosen = replace(plan, images=count)
        steps = steps_of(chosen, given=given)
        totals.append(total(chosen, steps, MEASURED, given))
        yield f"{count:,} images", rows_of(steps)
    yield "In all", totals


if __name__ == "__main__":
    typer.run(main)
