"""The benchmarks' arithmetic; and, slowly, that each script leaves the figures it promises."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tf_keras as keras
from PIL import Image
from rich.console import Console

from benchmarks.common import make_table, median_of, run_child
from benchmarks.flops import count_flops
from benchmarks.listing import list_all
from benchmarks.pictures import with_comment, write_digits, write_photos
from benchmarks.predict import Pass
from benchmarks.predict import summarize as summarize_predict
from benchmarks.recipe import ratios
from benchmarks.recipe_data import choose_images
from benchmarks.scale import summarize as summarize_scale
from benchmarks.shell import BETWEEN, break_down
from benchmarks.transform import summarize as summarize_transform
from benchmarks.workers import summarize as summarize_workers

from ..cli.bright_model import save_bright_model
from ..conftest import ROOT

# Two operations for each weight and position of the trunk's convolutions.
GFLOP_TO_MIXED8_AT_75_PX = 0.3807


def test_median_is_taken_of_one_figure_of_all_runs():
    runs = [{"thaw": {"seconds": value}} for value in (5, 1, 3)]

    assert median_of(runs, "thaw.seconds") == 3


def printed(rows: list[dict[str, Any]]) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(make_table("title", rows))
    return console.file.getvalue()


def test_table_shows_three_significant_digits_and_a_dash_for_nothing():
    text = printed([{"name": "a", "large": 1234.5, "small": 0.12345, "none": None}])

    assert all(shown in text for shown in ("1,234", "0.123", "–"))


def test_table_of_many_figures_has_a_line_for_each():
    rows = [{"epochs": "5+5", **{f"figure {n}": float(n) for n in range(9)}}]

    lines = [line for line in printed(rows).splitlines() if "figure" in line]

    assert len(lines) == 9


def test_child_tells_its_time_its_memory_and_its_last_line():
    code = "import time; held = bytearray(10**8); time.sleep(1); print('x'); print('{\"a\": 1}')"

    child = run_child(["-c", code])

    assert child.seconds > 1
    assert child.peak_bytes > 10**8
    assert child.result() == {"a": 1}


def test_terminal_shows_how_long_a_child_has_run_and_its_last_line(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr("benchmarks.common.console", console)

    run_child(["-c", "import time; print('epoch [1]'); time.sleep(2.5)"])

    assert "0:02 epoch [1]" in console.file.getvalue()


def test_failing_child_ends_the_benchmark_with_what_it_said():
    with pytest.raises(SystemExit, match="no such thing"):
        run_child(["-c", "raise ValueError('no such thing')"])


def test_convolution_takes_two_operations_a_weight_and_position():
    inputs = keras.Input([8, 8, 3])
    outputs = keras.layers.Conv2D(5, 3, padding="same", strides=2)(inputs)
    outputs = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(outputs))
    model = keras.Model(inputs, outputs)

    flops = count_flops(model)

    assert flops == 2 * (4 * 4) * (3 * 3 * 3 * 5) + 2 * (5 * 7)


def test_separable_convolution_is_two_convolutions():
    inputs = keras.Input([8, 8, 4])
    whole = keras.Model(inputs, keras.layers.SeparableConv2D(6, 3, padding="same")(inputs))

    assert count_flops(whole) == 2 * 64 * (3 * 3 * 4 + 4 * 6)


def test_shell_is_what_is_not_work():
    nodes = [{"name": "Transform", "seconds": 10.0}, {"name": "Pusher", "seconds": 1.0}]

    rows = {row["node"]: row for row in break_down(nodes, 20.0, {"Transform": 4.0})}

    assert rows["Transform"]["shell"] == 6
    assert rows[BETWEEN]["seconds"] == 9
    assert rows["all"] == {"node": "all", "seconds": 20, "work": 4, "shell": 16}


def test_ratios_of_the_recipe_are_of_the_plain_side_to_thaw():
    plain = {"seconds": 30.0, "cpu_seconds": 50.0, "work_seconds": 24.0}
    thaw = {"seconds": 10.0, "cpu_seconds": 20.0, "work_seconds": 4.0}

    assert ratios(plain, thaw, decode=5.0) == {
        "ratio": 3.0,
        "strict_ratio": 2.0,
        "cpu_ratio": 2.5,
        "work_ratio": 6.0,
    }


def test_listing_leaves_the_seconds_of_each_of_the_three(tmp_path):
    for name in ("cat/1.jpg", "dog/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()

    seconds = list_all(str(tmp_path))

    assert seconds.keys() == {"fingerprint s", "count s", "entries s"}
    assert all(value > 0 for value in seconds.values())


@pytest.mark.slow
def test_near_duplicates_leaves_recall_and_false_pairs(tmp_path):
    rows = figures("near_duplicates", tmp_path / "n.json", "--quick")

    assert [row["mirrored"] for row in rows] == [False, True]
    assert all(row["recall"] >= 0.99 for row in rows)
    assert all(row["false_pairs"] <= 0.001 for row in rows)
    left = json.loads((tmp_path / "n.json").read_text())
    assert (left["recall"], left["false_pairs"]) == (rows[0]["recall"], rows[0]["false_pairs"])


@pytest.mark.slow
def test_new_images_pass_the_trunk_alone(tmp_path):
    (row,) = figures("new_images", tmp_path / "n.json", "--images", 100, "--size", 75)

    assert (row["images"], row["new"]) == (100, 1)
    assert row["first_seconds"] > row["known_seconds"]
    assert json.loads((tmp_path / "n.json").read_text())["ratio"] == row["ratio"]


@pytest.mark.slow
def test_label_noise_finds_planted_labels_first(tmp_path):
    (row,) = figures("label_noise", tmp_path / "l.json", "--quick")

    assert (row["images"], row["planted"]) == (400, 20)
    assert row["found_in_first_tenth"] >= 0.8


@pytest.mark.slow
def test_cross_fit_judges_pairs_of_equally_good_heads(tmp_path):
    (row,) = figures("cross_fit", tmp_path / "c.json", "--quick")

    assert (row["draws"], row["folds"], row["images"]) == (2, 4, 400)
    assert 0 <= row["promoted"] <= row["promoted_by_plain_threshold"] + 0.5


@pytest.mark.slow
def test_gate_promotes_what_is_no_better_no_more_often_than_it_may(tmp_path):
    rows = figures("gate", tmp_path / "g.json", "--draws", 100)

    assert len(rows) == 50
    found = json.loads((tmp_path / "g.json").read_text())
    # Of 100 draws at 5 %, more than 16 are less likely than one in 100,000.
    assert found["false_promotion_max"] <= 0.16
    assert found["plain_threshold_max"] > 0.3
    assert found["groups_ignored_max"] > found["false_promotion_max"]
    assert found["power_3pt_1000_at_10pct"] > 0.75
    assert found["false_promotion_20_looks_spend"] < found["false_promotion_20_looks_warn"]


def test_growth_is_a_line_in_time_and_a_share_in_memory():
    rows = [
        {"images": count, "seconds": 10 + count / 100, "peak GiB": memory}
        for count, memory in ((250, 1.0), (500, 2.0), (2000, 2.2))
    ]

    summary = summarize_scale(rows)

    assert summary["seconds an image"] == pytest.approx(0.01)
    assert summary["fixed seconds"] == pytest.approx(10)
    assert summary["r squared"] == pytest.approx(1)
    assert summary["growth"] == pytest.approx(0.1)


def test_ratio_of_transform_is_of_rates_and_without_what_is_paid_once():
    def sides(images: int, fixed: float) -> dict[str, Any]:
        node = {"images": images, "seconds": fixed + images * 0.02, "peak_bytes": 2**30}
        loop = {"images": images, "seconds": images * 0.01}
        return {"node": node, "loop": loop, "writing": loop}

    row = summarize_transform("some", [{"whole": sides(400, 8.0), "quarter": sides(100, 8.0)}])

    assert row["node / loop"] == pytest.approx(0.25)
    assert row["per image"] == pytest.approx(0.5)


def test_ratio_of_workers_is_taken_within_each_pair():
    def side(seconds: float) -> dict[str, float]:
        return {"fit 1": seconds, "fit 2": 2 * seconds, "whole": 10.0}

    runs = [{"one": side(one), "several": side(two)} for one, two in ((1, 1.2), (2, 2.2), (4, 8))]

    first, second, whole = summarize_workers(runs)

    assert (first["ratio"], first["lowest"], first["highest"]) == pytest.approx((1.2, 1.1, 2))
    assert (second["one s"], second["several s"]) == pytest.approx((4, 4.4))
    assert whole["ratio"] == 1


def test_splits_share_no_image_and_hold_every_class(tmp_path):
    write_digits(tmp_path / "digits", 100)

    choose_images(tmp_path / "digits", tmp_path / "chosen", {"train": 60, "val": 20})

    chosen = {
        split: {p.relative_to(tmp_path / "chosen" / split) for p in files}
        for split in ("train", "val")
        if (files := list((tmp_path / "chosen" / split).glob("*/*.png")))
    }
    assert {split: len(files) for split, files in chosen.items()} == {"train": 60, "val": 20}
    assert not chosen["train"] & chosen["val"]
    assert {path.parent.name for path in chosen["val"]} == set("0123456789")


def test_more_digits_than_there_are_are_all_different(tmp_path):
    write_digits(tmp_path, 1900)

    files = [path.read_bytes() for path in tmp_path.glob("*/*.png")]

    assert len(files) == len(set(files)) == 1900


def test_photos_are_all_different_and_decode_alike_with_another_comment(tmp_path):
    write_photos(tmp_path, 20, 32, 24)

    files = [path.read_bytes() for path in tmp_path.glob("*/*.jpg")]
    other = with_comment(files[0], b"other")

    assert len(set(files)) == 20
    assert Image.open(io.BytesIO(other)).tobytes() == Image.open(io.BytesIO(files[0])).tobytes()


def figures(name: str, path: Path, *options: object) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", path, *options]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(path.read_text())
    assert written["benchmark"] == name
    assert written["machine"]["cores"] >= 1
    return written["figures"]


@pytest.mark.slow
def test_recipe_leaves_times_memory_and_accuracies_of_both_sides(tmp_path):
    counts = ("--train-images", 20, "--val-images", 10, "--test-images", 10)

    (row,) = figures("recipe", tmp_path / "r.json", "--epochs", 1, "--size", 75, *counts)

    assert row["epochs"] == "1+1"
    assert all(row[f"{side} s"] > 0 and row[f"{side} GiB"] > 0 for side in ("plain", "thaw"))
    # Decoding the images once is on Thaw's side too, then.
    assert 0 < row["strict"] < row["ratio"]
    assert all(0 <= row[f"{side} tuned"] <= 1 for side in ("plain", "thaw"))


@pytest.mark.slow
def test_fit2_leaves_the_rate_of_fit_2_over_that_of_a_bare_loop(tmp_path):
    counts = ("--train-images", 40, "--val-images", 10, "--epochs", 1)

    (row,) = figures("fit2", tmp_path / "f.json", "--quick", *counts)

    assert 0 < row["ratio"] < 10
    assert row["ratio"] == pytest.approx(row["thaw images/s"] / row["bare images/s"])
    assert json.loads((tmp_path / "f.json").read_text())["ratio"] == row["ratio"]


@pytest.mark.slow
def test_transform_leaves_rates_of_the_node_and_the_loops(tmp_path):
    options = ("--size", 75, "--small-images", 200, "--large-images", 0, "--no-quarter")

    (row,) = figures("transform", tmp_path / "t.json", *options)

    assert row["images"] == "200 of 100 px"
    assert row["node"] > 1
    assert row["loop"] > 1
    assert row["node GiB"] > 0.1


@pytest.mark.slow
def test_roofline_leaves_the_share_of_the_cores_rate(tmp_path):
    options = ("--size", 75, "--batch-sizes", 4, "--precisions", "float32", "--repeats", 2)

    (row,) = figures("roofline", tmp_path / "r.json", *options, "--matrix-size", 512)

    assert row["GFLOP an image"] == pytest.approx(GFLOP_TO_MIXED8_AT_75_PX, abs=0.001)
    # Both rates are in the same unit; how they compare is noise on a busy machine.
    assert 0.01 < row["ratio"] < 100


@pytest.mark.slow
def test_input_leaves_the_share_that_reading_takes_of_an_epoch_of_either_fit(tmp_path):
    options = ("--size", 75, "--images", 32, "--batch", 8)

    rows = figures("input", tmp_path / "i.json", *options)

    assert [row["fit"] for row in rows] == ["fit 1, vectors", "fit 2, trunk's output"]
    for row in rows:
        # Reading is a part of what an epoch does.
        assert 0 < row["input's share of an epoch"] < 1


def test_ratio_of_predict_is_taken_within_each_pair():
    pairs = [(Pass(4.0, 6.0), Pass(5.0, 8.0)), (Pass(8.0, 6.0), Pass(8.0, 6.0))] * 2
    pairs.append((Pass(9.0, 9.0), Pass(18.0, 9.0)))

    row = summarize_predict("some", pairs, 80)

    assert (row["bare images/s"], row["thaw images/s"]) == (10, 10)
    assert (row["ratio"], row["cpu ratio"]) == (0.8, 1)


@pytest.mark.slow
def test_predict_leaves_rates_of_both_sides_in_process_and_of_the_whole_command(tmp_path):
    save_bright_model(tmp_path / "model")
    options = ("--model", tmp_path / "model", "--quick", "--count", 20)

    in_process, whole = figures("predict", tmp_path / "p.json", *options)

    written = json.loads((tmp_path / "p.json").read_text())
    assert written["images"] == 20
    assert written["throughput_ratio"] == in_process["ratio"] > 0
    assert written["whole_command_ratio"] == whole["ratio"] > 0
