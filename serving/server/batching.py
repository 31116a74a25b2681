"""Puts the rows of several requests together, so that the model runs once for all of them."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from serving.server.loaded import Arrays, LoadedVersion, Signature
from serving.server.refused import RequestRefused
from serving.server.settings import ServerSettings

Answer = dict[str, np.ndarray]

_LOOK_SECS = 0.0005


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A request that waits for its answer."""

    version: LoadedVersion
    signature: Signature
    inputs: Arrays
    rows: int
    answer: "asyncio.Future[Answer]" = field(repr=False)

    def goes_with(self, other: "_Waiting") -> bool:
        """Whether both can be given to the model at once."""
        return (
            self.version is other.version
            and self.signature.name == other.signature.name
            and self.signature.is_batched
            and all(
                array.shape[1:] == other.inputs[name].shape[1:]
                for name, array in self.inputs.items()
            )
        )


class Batcher:
    """Runs requests in batches, one batch at a time: TensorFlow uses all cores for each."""

    def __init__(
        self, settings: ServerSettings, on_batch: Callable[[int], None] = lambda rows: None
    ) -> None:
        """Args:
        settings: sizes and times.
        on_batch: called with the number of rows of each batch.
        """
        self._settings = settings
        self._on_batch = on_batch
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._held: _Waiting | None = None
        self._threads = ThreadPoolExecutor(1, "model")
        self._task: asyncio.Task[None] | None = None
        self.queued_rows = 0

    def start(self) -> None:
        """Begins to work; inside a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Answers what waits, then ends."""
        while self.queued_rows:
            await asyncio.sleep(0.01)
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._threads.shutdown()

    async def run(self, version: LoadedVersion, signature: Signature, inputs: Arrays) -> Answer:
        """Runs a signature on the rows of one request.

        Raises:
          RequestRefused: if too many rows wait, the answer takes too long, or the model refuses.
        """
        rows = len(next(iter(inputs.values()))) if signature.is_batched and inputs else 1
        if self.queued_rows + rows > self._settings.max_queued_rows:
            raise RequestRefused(503, "The server is busy: try again.", retry_after=1)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(version, signature, inputs, rows, answer)
        self.queued_rows += rows
        answer.add_done_callback(lambda _: self._leave(rows))
        self._queue.put_nowait(waiting)
        try:
            return await asyncio.wait_for(answer, self._settings.timeout_secs)
        except asyncio.TimeoutError:
            raise RequestRefused(504, "The answer took too long.", retry_after=1) from None

    def _leave(self, rows: int) -> None:
        self.queued_rows -= rows

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            batch = [one for one in batch if not one.answer.done()]
            if batch:
                self._on_batch(sum(one.rows for one in batch))
                await loop.run_in_executor(self._threads, _run, loop, batch)

    async def _gather(self) -> list[_Waiting]:
        """The next request, and those that can be run with it."""
        first = self._held or await self._queue.get()
        self._held = None
        batch, rows = [first], first.rows
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.batch_wait_ms / 1000
        while rows < self._settings.max_batch and first.signature.is_batched:
            if self._queue.empty():
                # Not `wait_for(get())`, which can lose what arrives as the time is over.
                if (left := end - loop.time()) <= 0:
                    break
                await asyncio.sleep(min(left, _LOOK_SECS))
                continue
            following = self._queue.get_nowait()
            if rows + following.rows > self._settings.max_batch or not first.goes_with(following):
                self._held = following
                break
            batch.append(following)
            rows += following.rows
        return batch


def _run(loop: asyncio.AbstractEventLoop, batch: Sequence[_Waiting]) -> None:
    """Runs a batch; if the model refuses it, each request by itself: one must be to blame."""
    first = batch[0]
    if len(batch) > 1:
        joined = {
            name: np.concatenate([one.inputs[name] for one in batch]) for name in first.inputs
        }
        try:
            answer = first.version.run(first.signature, joined)
        except Exception:
            pass
        else:
            start = 0
            for one in batch:
                rows = slice(start, start + one.rows)
                _give(loop, one, {name: array[rows] for name, array in answer.items()})
                start += one.rows
            return
    for one in batch:
        try:
            _give(loop, one, one.version.run(one.signature, one.inputs))
        except Exception as error:
            _give(loop, one, error)


def _give(loop: asyncio.AbstractEventLoop, one: _Waiting, result: Answer | Exception) -> None:
    def set_result() -> None:
        if one.answer.done():  # the client has gone, or it took too long
            return
        if isinstance(result, Exception):
            one.answer.set_exception(result)
        else:
            one.answer.set_result(result)

    loop.call_soon_threadsafe(set_result)
