"""What a user reads when a node fails: the error's own words, or how its process ended."""

from pipeline.local import disk
from trainer import errors

_TRACEBACK = "Traceback (most recent call last):"


def cause(error: BaseException) -> str:
    """Says why a node failed: in the words meant for the user, wherever Beam or TFX put them.

    Of any other error, its type and the first paragraph of its message.
    """
    found = errors.find(error)
    return disk.with_advice(str(found) if found else _own_words(error), error)


def cause_of_exit(exitcode: int | None) -> str:
    """Says why a node failed whose process ended without a word, as when memory runs out."""
    if exitcode is not None and exitcode < 0:
        hint = " (out of memory?)" if exitcode == -9 else ""
        return f"the process was killed by signal {-exitcode}{hint}."
    return f"the process ended with exit code {exitcode} before it had finished."


def _own_words(error: BaseException) -> str:
    before, traceback, _ = str(error).strip().partition(_TRACEBACK)
    raised = _first_paragraph(_last_raised(str(error))) if traceback else ""
    if raised and not before.strip():  # an error of another process of Beam's
        return raised
    words = _first_paragraph(before)
    name = type(error).__name__
    return "\n".join(filter(None, [f"{name}: {words}" if words else name, raised]))


def _last_raised(text: str) -> str:
    """The type and the message of the error at the end of a traceback's text."""
    lines = text.rpartition(_TRACEBACK)[2].splitlines()[1:]
    start = next((i for i, line in enumerate(lines) if line and not line[0].isspace()), 0)
    return "\n".join(lines[start:])


def _first_paragraph(text: str) -> str:
    return errors.without_step(text.strip().split("\n\n")[0])
