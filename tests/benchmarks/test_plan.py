"""The plan's arithmetic, on an image whose figures can be checked by hand."""

from dataclasses import fields, replace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.per_image import per_image
from benchmarks.plan import (
    MEASURED,
    Assumptions,
    Image,
    Machine,
    Plan,
    Step,
    main,
    markdown,
    parse_count,
    rows_of,
    steps_of,
    total,
)

from ..conftest import ROOT

app = typer.Typer()
app.command()(main)

ONE_SECOND = Image(**{field.name: 1.0 for field in fields(Image)})
CPU = Machine(cores=10, memory_gib=1, dollars_an_hour=2.0)
GPU = Machine(cores=10, memory_gib=1, dollars_an_hour=4.0, gpu_tflops=14.0)
GIVEN = Assumptions(efficiency=0.5, startup_secs=360.0, read_bytes_per_sec=1e12)
PLAN = Plan(
    images=36_000,
    epochs=(3, 2),
    views=0,
    shares=(0.5, 0.25, 0.25),
    beam=CPU,
    beam_cores=20,
    fit=CPU,
    workers=1,
)


def steps(
    image: Image = ONE_SECOND, given: Assumptions = GIVEN, **changes: object
) -> dict[str, Step]:
    return {step.name: step for step in steps_of(replace(PLAN, **changes), image, given)}


def test_data_step_takes_its_start_and_its_share_of_all_cores():
    step = steps()["Transform"]

    # 36,000 s of work on 20 cores, half of whose time is work: one hour, and 6 minutes to start.
    assert step.hours == pytest.approx(1.1)
    assert step.machine_hours == pytest.approx(2.2)
    assert step.dollars == pytest.approx(4.4)
    assert step.gb == pytest.approx(36_000 / 1e9)
    assert step.bound == "cores"


def test_evaluator_sees_the_test_split_alone_and_views_are_of_training_images_alone():
    assert steps()["Evaluator"].hours == pytest.approx(0.1 + 0.25)
    assert steps(views=2)["TrunkFeatures"].hours == pytest.approx(0.1 + 1 + 2 * 0.5)
    assert steps(views=2)["Transform"].hours == pytest.approx(1.1)


def test_fits_take_an_epoch_of_training_images_each_time_and_fit_1_pools_once_before():
    found = steps()

    # 27,000 s of pooling, three epochs of 18,000 s; two epochs of 18,000 s; on 10 cores.
    assert found["HeadTrainer"].hours == pytest.approx((27_000 + 54_000) / 10 / 3600)
    assert found["FineTuner"].hours == pytest.approx(36_000 / 10 / 3600)


def test_fit_on_a_gpu_takes_what_its_rate_says():
    step = steps(fit=GPU)["FineTuner"]

    # 2 epochs of (3 × 18,000 + 9,000) × 1.4 GFLOP at 14,000 GFLOP/s.
    assert step.hours == pytest.approx(2 * 63_000 * 1.4 / 14_000 / 3600)
    assert step.bound == "GPU"
    assert step.dollars == pytest.approx(step.hours * 4.0)


def test_more_workers_do_not_help_a_fit_that_waits_for_what_it_reads():
    slow = replace(GIVEN, read_bytes_per_sec=0.1)

    alone, four = (steps(given=slow, workers=workers)["FineTuner"] for workers in (1, 4))

    assert alone.bound == "reading"
    assert four.hours == alone.hours == pytest.approx(2 * 27_000 / 0.1 / 3600)
    assert four.dollars == pytest.approx(4 * alone.dollars)


def test_few_images_cost_the_start_of_machines():
    assert steps(images=100)["Transform"].bound == "start"


def test_total_adds_steps_storage_and_reads():
    chosen = steps_of(PLAN, ONE_SECOND, GIVEN)

    found = total(PLAN, chosen, ONE_SECOND, GIVEN)

    assert found["hours"] == pytest.approx(sum(step.hours for step in chosen))
    assert found["left GB"] == pytest.approx((3 * 36_000 + 9_000) / 1e9)
    assert found["a month $"] == pytest.approx((4 * 36_000 + 9_000) / 1e9 * 0.02)
    assert found["vectors GB"] == pytest.approx(27_000 / 1e9)


def test_spot_price_is_a_share_of_the_price():
    spot = replace(GIVEN, spot=0.3)

    assert steps(given=spot)["Transform"].dollars == pytest.approx(0.3 * 4.4)


def test_every_figure_of_an_image_was_measured():
    assert all(getattr(MEASURED, field.name) > 0 for field in fields(Image))


def test_docs_show_what_the_script_prints():
    shown = (ROOT / "docs" / "scale.md").read_text()

    done = CliRunner().invoke(app, ["--markdown"])

    tables = done.output.split("\n\n")
    assert len(tables) > 7
    assert all(table.strip() in shown for table in tables)


def test_table_has_two_digits_of_every_number():
    lines = markdown(rows_of(steps_of(PLAN, ONE_SECOND, GIVEN))).splitlines()

    assert lines[0] == "| step | hours | machine h | $ | left GB | bound by |"
    assert "| Transform | 1.1 | 2.2 | 4.4 | 0.000036 | cores |" in lines


@pytest.mark.parametrize(("text", "count"), [("1e6", 1_000_000), ("250", 250)])
def test_counts_are_read_in_either_notation(text, count):
    assert parse_count(text) == count


def run_of(train: int, head_cpu: float, tune_cpu: float, trunk_cpu: float) -> dict[str, Any]:
    images = {"train": train, "val": train // 2, "test": train // 2}
    count = sum(images.values())
    cpu = {"TrunkFeatures": trunk_cpu, "HeadTrainer": head_cpu, "FineTuner": tune_cpu}
    return {
        "images": images,
        "nodes": {
            **{name: {"cpu": seconds} for name, seconds in cpu.items()},
            "Evaluator": {"cpu": 5 + images["test"]},
        },
        "bytes": {"files": 2_000 * count, "TrunkFeatures": 164_000 * count + 99, "Evaluator": 0},
    }


def test_cost_of_an_image_is_what_more_images_add_and_that_of_an_epoch_what_more_epochs_add():
    fewer = run_of(train=100, head_cpu=20 + 150 * 0.2 + 100 * 0.1, tune_cpu=30, trunk_cpu=7 + 200)
    more = run_of(train=300, head_cpu=20 + 450 * 0.2 + 300 * 0.1, tune_cpu=60, trunk_cpu=7 + 600)
    longer = run_of(train=300, head_cpu=20 + 450 * 0.2 + 900 * 0.1, tune_cpu=240, trunk_cpu=0)

    rows = {row["step"]: row for row in per_image(fewer, more, longer, epochs=2)}

    assert rows["TrunkFeatures"]["CPU s"] == pytest.approx(1)
    assert rows["TrunkFeatures"]["kB left"] == pytest.approx(164)
    assert rows["Evaluator"]["CPU s"] == pytest.approx(1)
    assert rows["HeadTrainer, an epoch"]["CPU s"] == pytest.approx(0.1)
    # An image of training or validation: pooled, and two thirds of them in one epoch.
    assert rows["HeadTrainer"]["CPU s"] == pytest.approx(0.2 + 0.1 * 2 / 3)
    assert rows["FineTuner, an epoch"]["CPU s"] == pytest.approx(180 / 600)
    assert rows["the file itself"]["kB left"] == pytest.approx(2)
