"""Confusion matrices: what is confused stands together."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.confusion import Confusion, order_by_similarity, reorder, top_confusions


def test_most_frequent_confusions_come_first():
    matrix = [[9, 1, 0], [5, 0, 2], [0, 0, 7]]

    assert top_confusions(matrix, ["ant", "bee", "cow"]) == [
        Confusion("bee", "ant", 5),
        Confusion("bee", "cow", 2),
        Confusion("ant", "bee", 1),
    ]


def test_classes_that_are_confused_stand_side_by_side():
    """0 with 3, and 1 with 4."""
    matrix = [
        [6, 0, 0, 4, 0],
        [0, 5, 0, 0, 5],
        [0, 0, 10, 0, 0],
        [3, 0, 0, 7, 0],
        [0, 4, 0, 0, 6],
    ]

    order = order_by_similarity(matrix)

    assert abs(order.index(0) - order.index(3)) == 1
    assert abs(order.index(1) - order.index(4)) == 1


def test_without_mistakes_the_order_stays():
    assert order_by_similarity([[3, 0, 0], [0, 2, 0], [0, 0, 1]]) == [0, 1, 2]


@given(
    matrix=st.integers(1, 12).flatmap(
        lambda size: st.lists(
            st.lists(st.integers(0, 9), min_size=size, max_size=size), min_size=size, max_size=size
        )
    )
)
def test_order_has_every_class_once_and_keeps_the_counts(matrix):
    order = order_by_similarity(matrix)
    moved = reorder(matrix, order)

    assert sorted(order) == list(range(len(matrix)))
    assert [moved[place][place] for place in range(len(order))] == [matrix[i][i] for i in order]
    assert sum(map(sum, moved)) == sum(map(sum, matrix))
