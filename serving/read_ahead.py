"""Prepares items in threads ahead of their consumer, in order and in bounded memory."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class AheadLimits:
    """How far ahead of the consumer the threads may be.

    Attributes:
      threads: that prepare items. Each holds one item that counts nowhere below.
      items: that are prepared and wait for the consumer, at most.
      bytes: that these hold together; one item is let through whatever its size.
    """

    threads: int
    items: int
    bytes: int


def read_ahead(
    items: Iterable[_T],
    prepare: Callable[[_T], _R],
    size_of: Callable[[_R], int],
    limits: AheadLimits,
) -> Generator[_R, None, None]:
    """Yields what `prepare` makes of each item, in the order of the items.

    The threads take the items from the iterator too, one thread at a time: an archive that has to
    be decompressed does not keep the consumer waiting. The threads have ended when this has.

    Args:
      items: taken one at a time, no earlier than there is room for one.
      prepare: called in several threads at once.
      size_of: bytes that a prepared item holds.
      limits: see there.

    Raises:
      BaseException: what the iterator or `prepare` has raised, in its place in the order.
    """
    work = _Work(iter(items), prepare, size_of, limits)
    threads = [threading.Thread(target=work.run, daemon=True) for _ in range(limits.threads)]
    try:
        for thread in threads:
            thread.start()
        yield from work.results()
    finally:
        work.close()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class _Failure:
    error: BaseException


class _End:
    """Stands behind the last item."""


class _Work(Generic[_T, _R]):
    """What the threads and the consumer share.

    Items are numbered as they are taken. The one that the consumer waits for may always be handed
    over, so the limit of bytes never blocks it; its thread has it already, or takes it next.
    """

    def __init__(
        self,
        items: Iterator[_T],
        prepare: Callable[[_T], _R],
        size_of: Callable[[_R], int],
        limits: AheadLimits,
    ) -> None:
        self._items, self._prepare, self._size_of, self._limits = items, prepare, size_of, limits
        self._taking = threading.Lock()
        self._changed = threading.Condition()
        self._ready: dict[int, tuple[_R | _Failure | _End, int]] = {}
        self._held_bytes = 0
        self._taken = 0
        self._due = 0
        self._closed = False

    def run(self) -> None:
        """A thread's whole life."""
        while True:
            with self._taking:
                position, item = self._take()
            if isinstance(item, _End | _Failure):
                self._hand_over(position, item, 0)
                return
            self._hand_over(position, *self._prepared(item))
            del item  # which may be large, before the wait for the next

    def _prepared(self, item: _T) -> tuple[_R | _Failure, int]:
        """What is made of an item, and its size."""
        try:
            result = self._prepare(item)
            return result, self._size_of(result)
        except BaseException as error:
            return _Failure(error), 0

    def _take(self) -> tuple[int, _T | _Failure | _End]:
        """The next item and its number; waits until there is room for one."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._taken - self._due < self._limits.items
            )
            if self._closed:
                return self._taken, _End()
            position = self._taken
            self._taken += 1
        try:
            return position, next(self._items)
        except StopIteration:
            return position, _End()
        except BaseException as error:
            return position, _Failure(error)

    def _hand_over(self, position: int, result: _R | _Failure | _End, size: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._closed
                    or position == self._due
                    or self._held_bytes + size <= self._limits.bytes
                )
            )
            self._held_bytes += size
            self._ready[position] = result, size
            self._changed.notify_all()

    def results(self) -> Iterator[_R]:
        """What is ready, in order; waits for it."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due in self._ready)
                result, size = self._ready.pop(self._due)
                self._held_bytes -= size
                self._due += 1
                self._changed.notify_all()
            if isinstance(result, _End):
                return
            if isinstance(result, _Failure):
                raise result.error
            yield result

    def close(self) -> None:
        """Lets the threads end, whatever they wait for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
