"""What the views make of events."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.cli import live_view
from pipeline.cli.live_view import LiveView, PlainView, RunView
from pipeline.events import NodeState, Plan, Progress

PLAN = Plan(("Gen", "Fit", "Gate", "Push"), 0.0)


def node(name: str, state: str, time: float = 100.0, **more: str) -> NodeState:
    return NodeState(name, state, time, **more)


def step(done: float) -> Progress:
    return Progress("Fit", done, 50, "epochs", "val 0.9")


@pytest.fixture
def plain():
    lines: list[str] = []
    return PlainView(lines.append, RunView()), lines


def test_plain_view_prints_one_line_for_each_change(plain):
    view, lines = plain

    for event in (PLAN, node("Gen", "running"), node("Gen", "done", 103.5), node("Fit", "cached")):
        view.on_event(event)

    assert lines[:2] == ["Gen: running", "Gen: done 3.5 s"]
    assert lines[2].startswith("Fit: cached")


def test_plain_view_reports_progress_at_most_every_ten_seconds(plain, monkeypatch):
    view, lines = plain
    clock = 1000.0
    monkeypatch.setattr(live_view.time, "monotonic", lambda: clock)
    view.on_event(PLAN)
    view.on_event(node("Fit", "running"))

    for clock in (1000.0, 1005.0, 1009.9, 1010.1):
        view.on_event(step(int(clock - 999)))

    assert lines[1:] == ["Fit: 1/50 epochs val 0.9", "Fit: 11/50 epochs val 0.9"]


@pytest.mark.parametrize(
    ("done", "shown"), [(0, "0/50"), (5.96, "5.9/50"), (6, "6/50"), (6.04, "6/50"), (50, "50/50")]
)
def test_an_epoch_at_work_is_never_shown_as_finished(plain, done, shown):
    view, lines = plain

    for event in (PLAN, node("Fit", "running"), step(done)):
        view.on_event(event)

    assert lines[-1] == f"Fit: {shown} epochs val 0.9"


def test_live_view_has_a_row_for_each_node():
    screen = io.StringIO()
    console = Console(file=screen, width=120, force_terminal=True, color_system=None)
    view = LiveView(console, RunView())

    for event in (PLAN, node("Gen", "done"), node("Fit", "running"), step(3),
                  node("Gate", "failed")):  # fmt: skip
        view.on_event(event)
    console.print(view._table())

    rows = {line.split()[1]: line for line in screen.getvalue().splitlines() if line.strip()}
    assert list(rows) == ["Gen", "Fit", "Gate", "Push"]
    assert [rows[name].split()[2] for name in rows] == ["done", "running", "failed", "waiting"]
    assert "3/50 epochs" in rows["Fit"]
    assert "val 0.9" in rows["Fit"]


def test_failed_node_is_found_before_a_running_one():
    view = RunView()
    for event in (PLAN, node("Gen", "running"), node("Fit", "failed", error="why", log="l")):
        view.update(event)

    name, failed = view.failed() or ("", None)

    assert (name, failed and failed.error, failed and failed.log) == ("Fit", "why", "l")


def test_progress_of_an_unknown_node_is_passed_over():
    view = RunView()

    view.update(replace(step(1), node="Elsewhere"))

    assert view.nodes == {}
