"""Learning curves as drawn: read back from the SVG's paths."""

import re

import pytest

from pipeline.report.charts import learning_curves
from trainer.fits.record import FitRecord


def record(losses: list[float | None], best_epoch: int = 1) -> FitRecord:
    names = ("loss", "val_loss", "accuracy", "val_accuracy")
    return FitRecord(
        history={name: list(losses) for name in names},
        best_epoch=best_epoch,
        stopped_early=False,
        seconds=1.0,
        trainable_parameters=1,
        frozen_parameters=1,
        frozen_layers=1,
    )


def lines(svg: str) -> list[list[list[tuple[float, float]]]]:
    """Every data line of a chart, as strokes of (x, y) points in pixels."""
    found = []
    for path in re.findall(r'<path d="([^"]*)" clip-path', svg):
        strokes: list[list[tuple[float, float]]] = []
        for command, x, y in re.findall(r"([ML]) ([\d.-]+) ([\d.-]+)", path):
            if command == "M":
                strokes.append([])
            strokes[-1].append((float(x), float(y)))
        found.append(strokes)
    return found


def of_lengths(svg: str, *lengths: int) -> list:
    """The lines whose strokes have these numbers of points."""
    return [line for line in lines(svg) if [len(stroke) for stroke in line] == list(lengths)]


def test_loss_comes_first_and_accuracy_second():
    loss, accuracy = learning_curves(record([0.9, 0.5]), record([0.4, 0.3]))

    assert 'aria-label="Loss of both fits' in loss
    assert 'aria-label="Accuracy of both fits' in accuracy


def test_every_epoch_of_both_fits_is_a_point():
    svg, _ = learning_curves(record([0.9, 0.8, 0.7]), record([0.6, 0.5, 0.4, 0.3, 0.2]))

    assert len(of_lengths(svg, 3)) == 2  # training and validation of fit 1
    assert len(of_lengths(svg, 5)) == 2


def test_epochs_of_fit_2_follow_those_of_fit_1():
    svg, _ = learning_curves(record([0.9, 0.8, 0.7]), record([0.6, 0.5, 0.4, 0.3, 0.2]))

    ((head,), _), ((fine_tune,), _) = of_lengths(svg, 3), of_lengths(svg, 5)
    epoch_px = head[1][0] - head[0][0]
    assert fine_tune[0][0] - head[-1][0] == pytest.approx(epoch_px, abs=0.01)
    assert fine_tune[0][1] > head[-1][1]  # pixels grow downwards, and the loss falls


def test_value_that_is_none_leaves_a_gap():
    svg, _ = learning_curves(record([0.9, 0.8, None, 0.6, 0.5]), record([0.4, 0.3, 0.2]))

    assert len(of_lengths(svg, 2, 2)) == 2
    assert of_lengths(svg, 5) == []


def test_curves_without_a_single_number_are_drawn_all_the_same():
    svg, _ = learning_curves(record([None, None], best_epoch=0), record([None], best_epoch=1))

    assert svg.endswith("</svg>\n")


def test_same_run_gives_the_same_bytes():
    fits = record([0.9, 0.8]), record([0.6])

    assert learning_curves(*fits) == learning_curves(*fits)


def test_chart_stands_alone_in_a_page():
    for svg in learning_curves(record([0.9, 0.8]), record([0.6])):
        assert svg.startswith("<svg ")
        assert "<metadata>" not in svg
        assert "<image" not in svg
