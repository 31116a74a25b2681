"""The live view of a run: one row per node."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipeline.events import End, Event, NodeState, Note, Plan, Progress

_PLAIN_INTERVAL_SECS = 10.0


@dataclass
class NodeView:
    """The state of one node, as far as its events tell. Times are Unix seconds."""

    state: str = "waiting"
    started: float = 0.0
    ended: float = 0.0
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    detail: str = ""
    log: str = ""
    error: str = ""

    def seconds(self, now: float) -> float:
        """Seconds that the node has been running, or ran."""
        return (self.ended or now) - self.started if self.started else 0.0

    def amount(self) -> str:
        """`3/50 epochs`, `3.4/50 epochs`, or nothing if the work cannot be counted."""
        if not self.total:
            return ""
        # Rounded down: only finished work is counted.
        done = f"{math.floor(self.done * 10) / 10:.1f}".removesuffix(".0")
        return f"{done}/{self.total:.0f} {self.unit}"


@dataclass
class RunView:
    """All nodes of a run, kept up to date from its events."""

    nodes: dict[str, NodeView] = field(default_factory=dict)
    finished: bool = False
    error: str = ""

    def update(self, event: Event) -> None:
        """Applies one event."""
        match event:
            case Plan():
                self.nodes = {name: NodeView() for name in event.nodes}
            case NodeState():
                self._update_node(self.nodes.setdefault(event.node, NodeView()), event)
            case Progress() if event.node in self.nodes:
                node = self.nodes[event.node]
                node.done, node.total = event.done, event.total
                node.unit, node.detail = event.unit, event.detail
            case End():
                self.finished = True
                self.error = event.error or ""

    def _update_node(self, node: NodeView, event: NodeState) -> None:
        node.state = event.state
        node.log = event.log or node.log
        node.error = event.error or ""
        if node.state == "running":
            node.started = event.time
        else:
            node.ended = event.time

    def failed(self) -> tuple[str, NodeView] | None:
        """The node that failed, if one did; otherwise the one that was running."""
        for state in ("failed", "running"):
            for name, node in self.nodes.items():
                if node.state == state:
                    return name, node
        return None


_STYLES = {"waiting": "dim", "cached": "cyan", "done": "green", "failed": "bold red"}
_MARKS = {"waiting": "·", "cached": "=", "done": "✓", "failed": "✗"}


class LiveView:
    """Draws a `RunView` on a terminal.

    Example:
      with LiveView(console, RunView()) as display:
        display.on_event(Plan(("Transform",), time.time()))
    """

    def __init__(self, console: Console, view: RunView) -> None:
        self._view = view
        self._spinner = Spinner("dots", style="yellow")
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=8)

    def __enter__(self) -> "LiveView":
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def on_event(self, event: Event) -> None:
        """Applies one event; the next refresh shows it."""
        self._view.update(event)
        if isinstance(event, Note):
            self._live.console.print(event.text, style="yellow", markup=False)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        now = time.time()
        if not self._view.nodes:
            table.add_row(self._spinner, Text("loading TensorFlow and TFX", style="dim"))
        for name, node in self._view.nodes.items():
            table.add_row(*self._row(name, node, now))
        return table

    def _row(self, name: str, node: NodeView, now: float) -> tuple[Any, ...]:
        style = _STYLES.get(node.state, "yellow")
        mark = self._spinner if node.state == "running" else Text(_MARKS[node.state], style=style)
        clock = Text(f"{node.seconds(now):6.1f} s" if node.started else "", style=style)
        if node.state != "running":
            return mark, Text(name, style=style), Text(node.state, style=style), clock, "", ""
        bar = ProgressBar(node.total, node.done, width=24) if node.total else ""
        words = "  ".join(filter(None, (node.amount(), node.detail)))
        return mark, Text(name, style=style), Text("running", style=style), clock, bar, Text(words)


class PlainView:
    """Prints one line per change, for output that is not a terminal."""

    def __init__(self, write: Callable[[str], None], view: RunView) -> None:
        self._write = write
        self._view = view
        self._last = 0.0

    def __enter__(self) -> "PlainView":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def on_event(self, event: Event) -> None:
        """Applies one event and prints what is new."""
        self._view.update(event)
        match event:
            case NodeState():
                node = self._view.nodes[event.node]
                clock = f" {node.seconds(time.time()):.1f} s" if node.ended else ""
                self._write(f"{event.node}: {node.state}{clock}")
            case Note():
                self._write(event.text)
            case Progress() if event.node in self._view.nodes and self._due():
                node = self._view.nodes[event.node]
                self._write(f"{event.node}: {node.amount()} {node.detail}".rstrip())

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < _PLAIN_INTERVAL_SECS:
            return False
        self._last = now
        return True
