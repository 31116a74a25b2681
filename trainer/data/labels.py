"""Which names a class may have. Imports no TensorFlow, so the command line may use it."""

import unicodedata
from collections.abc import Iterable

# Control characters, line and paragraph separators: a list of labels has one a line.
_BREAKING = frozenset({"Cc", "Zl", "Zp"})
_MOST_NAMES = 10


def label_problem(name: str) -> str | None:
    """Says why a name cannot be a class's label; None if it can.

    Transform's vocabulary and the model's `labels.txt` hold one label a line, in UTF-8: a
    name that is not one such line would silently get no id.

    Args:
      name: as the operating system gives it: bytes that are not UTF-8 as surrogates.

    Returns:
      What follows the name in a sentence, such as "is blank".
    """
    if not is_utf8(name):
        return "is not UTF-8"
    if not name.strip():
        return "is blank"
    if any(unicodedata.category(character) in _BREAKING for character in name):
        return "contains a line break or another control character"
    return None


def name_problems(names: Iterable[str]) -> str | None:
    """Lists the class folders' names that cannot be labels, for a message; None if all can."""
    problems = [
        f"  '{printable(name)}' {problem}"
        for name in sorted(names)
        if (problem := label_problem(name))
    ]
    if not problems:
        return None
    more = len(problems) - _MOST_NAMES
    return "\n".join(
        [
            "these folders' names cannot be class names:",
            *problems[:_MOST_NAMES],
            *([f"  and {more} more"] if more > 0 else []),
            "  Rename them.",
        ]
    )


def is_utf8(name: str) -> bool:
    """Whether a name from the operating system can be written as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_utf8(name: str) -> str:
    r"""Returns a name with `\xff` in place of bytes that are not UTF-8."""
    try:
        content = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # of no file system: half a surrogate pair, as JSON may hold it
        content = name.encode("utf-8", "backslashreplace")
    return content.decode("utf-8", "backslashreplace")


def printable(name: str) -> str:
    r"""Returns a name with `\xff` in place of bytes that are not UTF-8, `\n` of a newline.

    Everything that can be shown stays as it is, accents included.
    """
    return "".join(
        character if character.isprintable() else _escaped(character) for character in as_utf8(name)
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
