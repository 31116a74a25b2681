"""Names that can be a class's label, and how the others are shown."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.labels import is_utf8, label_problem, name_problems, printable


@pytest.mark.parametrize(
    "name", ["cat", "große Katze", "猫", "0", "👩‍🔬", "a'b\"c", "[a]*?{b}", " cat "]
)
def test_names_in_any_language_and_with_any_punctuation_are_labels(name):
    assert label_problem(name) is None
    assert printable(name) == name or "\u200d" in name


@pytest.mark.parametrize(
    ("name", "problem", "shown"),
    [
        ("ca\nt", "contains a line break or another control character", "ca\\nt"),
        ("cat\r", "contains a line break or another control character", "cat\\r"),
        ("ca\x00t", "contains a line break or another control character", "ca\\x00t"),
        ("ca\x85t", "contains a line break or another control character", "ca\\x85t"),
        ("ca\u2028t", "contains a line break or another control character", "ca\\u2028t"),
        ("\n", "is blank", "\\n"),
        ("   ", "is blank", "   "),
        ("", "is blank", ""),
        (os.fsdecode(b"caf\xe9"), "is not UTF-8", "caf\\xe9"),
    ],
)
def test_name_that_no_line_of_text_can_hold_is_none(name, problem, shown):
    assert label_problem(name) == problem
    assert printable(name) == shown


@given(st.binary())
def test_every_name_can_be_shown(content):
    name = content.decode("utf-8", "surrogateescape")

    shown = printable(name)

    assert shown.isprintable()
    assert is_utf8(shown)


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_label_is_one_line_by_every_rule_of_lines(name):
    if label_problem(name) is None:
        assert name.splitlines() == [name]


def test_problems_are_listed_sorted_and_not_without_end():
    assert name_problems(["cat", "dog"]) is None
    assert name_problems(["cat", "d\tg", " "]) == (
        "these folders' names cannot be class names:\n"
        "  ' ' is blank\n"
        "  'd\\tg' contains a line break or another control character\n"
        "  Rename them."
    )

    many = name_problems(f"{number:02d}\n" for number in range(30))

    assert many is not None
    assert many.splitlines()[10:] == [
        "  '09\\n' contains a line break or another control character",
        "  and 20 more",
        "  Rename them.",
    ]
