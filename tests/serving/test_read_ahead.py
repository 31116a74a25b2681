"""Items are prepared ahead, in order, and no further ahead than is allowed."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.read_ahead import AheadLimits, read_ahead

pytestmark = pytest.mark.timeout(60)


class Numbers:
    """Counts up, and knows how many were taken."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            self.taken += 1
            yield number


def settled(numbers: Numbers) -> int:
    """How many were taken, once no more are."""
    before = -1
    while before != numbers.taken:
        before = numbers.taken
        time.sleep(0.1)
    return before


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 50), max_size=40),
    threads=st.integers(1, 4),
    items=st.integers(1, 6),
    num_bytes=st.integers(0, 60),
)
def test_order_is_that_of_the_items_whatever_the_limits(sizes, threads, items, num_bytes):
    limits = AheadLimits(threads, items, num_bytes)

    found = list(read_ahead(sizes, lambda size: size, lambda size: size, limits))

    assert found == sizes


def test_threads_are_no_more_items_ahead_than_they_may():
    numbers = Numbers(100)
    ahead = read_ahead(numbers, lambda n: n, lambda n: 1, AheadLimits(3, 10, 10**9))

    assert next(ahead) == 0
    assert settled(numbers) == 11
    assert [next(ahead) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert settled(numbers) == 16
    ahead.close()


def test_bytes_that_wait_are_bounded_but_for_one_item_of_each_thread():
    numbers = Numbers(100)
    ahead = read_ahead(numbers, lambda n: n, lambda n: 30, AheadLimits(2, 50, 100))

    assert next(ahead) == 0
    # Three wait for the consumer, and both threads hold one that waits for room.
    assert settled(numbers) == 1 + 3 + 2
    ahead.close()


def test_item_above_the_limit_of_bytes_is_let_through_in_its_turn():
    found = list(read_ahead([5, 500, 5], lambda n: n, lambda n: n, AheadLimits(2, 4, 10)))

    assert found == [5, 500, 5]


def test_error_comes_in_its_place_and_ends_the_threads():
    def prepare(number: int) -> int:
        if number == 3:
            raise RuntimeError("three")
        return number

    before = threading.active_count()
    ahead = read_ahead(range(9), prepare, lambda n: 1, AheadLimits(3, 9, 100))

    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="three"):
        next(ahead)
    assert threading.active_count() == before


def test_error_of_the_iterator_itself_reaches_the_consumer():
    def items() -> Iterator[int]:
        yield 0
        raise OSError("gone")

    ahead = read_ahead(items(), lambda n: n, lambda n: 1, AheadLimits(2, 4, 100))

    assert next(ahead) == 0
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def test_consumer_that_leaves_ends_the_threads():
    before = threading.active_count()
    numbers = Numbers(10**6)
    ahead = read_ahead(numbers, lambda n: n, lambda n: 1, AheadLimits(4, 8, 100))
    next(ahead)

    ahead.close()

    assert threading.active_count() == before
    assert numbers.taken < 100
