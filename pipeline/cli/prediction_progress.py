"""A bar on standard error while images are classified: how many, how fast, how long yet."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from pipeline.predict.counts import Counts

_INTERVAL_SECS = 0.1


class Progress(Protocol):
    """What is shown of the work."""

    def start(self, total: int | None) -> None:
        """The model is loaded, and so many images are to be classified, if that is known."""

    def update(self, counts: Counts) -> None:
        """So many are done."""

    def paused(self) -> AbstractContextManager[None]:
        """Leaves the screen to somebody else meanwhile."""


class NoProgress:
    """Shows nothing."""

    def __enter__(self) -> "NoProgress":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def start(self, total: int | None) -> None:
        """See `Progress`."""

    def update(self, counts: Counts) -> None:
        """See `Progress`."""

    def paused(self) -> AbstractContextManager[None]:
        """See `Progress`."""
        return nullcontext()


class ProgressBar:
    """Draws a bar on standard error, which has to be a terminal; removes it at the end."""

    def __init__(self) -> None:
        # A descriptor of its own: standard error is silenced while TensorFlow works.
        self._file = os.fdopen(os.dup(2), "w")
        self._bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            _Amount(),
            TimeRemainingColumn(),
            console=Console(file=self._file, highlight=False),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("loading the model", total=None)
        self._updated = 0.0

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.stop()
        self._file.close()

    def start(self, total: int | None) -> None:
        """See `Progress`."""
        self._bar.reset(self._task, total=total, description="classifying")
        self._bar.update(self._task, total=total)

    def update(self, counts: Counts) -> None:
        """See `Progress`."""
        now = time.monotonic()
        if now - self._updated > _INTERVAL_SECS:
            self._updated = now
            done = counts.classified + counts.rejected
            self._bar.update(self._task, completed=done, rejected=counts.rejected)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """See `Progress`."""
        self._bar.stop()
        yield
        self._bar.start()


class _Amount(ProgressColumn):
    """`640/804 images, 2 rejected, 118 images/s`."""

    def render(self, task: Task) -> Text:
        """See rich."""
        if not task.completed:
            return Text("")
        total = f"/{task.total:,.0f}" if task.total else ""
        words = [f"{task.completed:,.0f}{total} images"]
        if rejected := task.fields.get("rejected"):
            words.append(f"{rejected:,} rejected")
        if task.speed:
            words.append(f"{task.speed:,.0f} images/s")
        return Text(", ".join(words))
