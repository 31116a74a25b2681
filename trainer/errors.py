"""The one kind of error that is meant for a user, and how to find it in what others raise."""

import json
import sys
from collections.abc import Iterator

if sys.version_info < (3, 11):
    import exceptiongroup  # noqa: F401 - from here on tracebacks show the notes of errors

# Stands at the start of a line of a traceback's text; a JSON object follows.
_ENVELOPE = "thaw-error: "

# Beam makes an error once more, with the step's name between these behind its first argument.
_STEP_START, _STEP_END = " [while running '", "']"


class ThawError(Exception):
    """Something that a user can put right, said in plain words.

    Beam and TFX hand an error on as the text of its traceback, from one process to another.
    That text holds all of the attributes, on a line of its own that Python adds for the note
    of an error (PEP 678), and `find` reads them back.

    Example:
      >>> print(ThawError("there is no such folder.", where="photos", to_do="Create it."))
      photos: there is no such folder.
        Create it.

    Attributes:
      what: what is wrong, as a sentence.
      where: the file, folder or config key that it is about; empty if `what` says it.
      to_do: what the user can do about it, in full sentences; may have several lines.
    """

    def __init__(self, what: str, where: str = "", to_do: str = "") -> None:
        what = without_step(what)
        super().__init__(what, where, to_do)
        self.what = what
        self.where = where
        self.to_do = to_do
        self.__notes__ = [_ENVELOPE + json.dumps({"what": what, "where": where, "to_do": to_do})]

    def __str__(self) -> str:
        start = f"{self.where}: {self.what}" if self.where else self.what
        return "\n  ".join([start, *self.to_do.splitlines()])


def find(error: BaseException) -> ThawError | None:
    """Finds the error that is meant for the user in what has reached the caller.

    Args:
      error: a `ThawError`, or one that was raised because of one, or whose message holds the
        traceback of one: Beam's from another process, for example.

    Returns:
      The outermost, if there are several; None if there is none.
    """
    for one in _chain(error):
        found = one if isinstance(one, ThawError) else find_in_text(str(one))
        if found:
            return found
    return None


def find_in_text(text: str) -> ThawError | None:
    """Finds the last error that is meant for a user in tracebacks, such as those of a log."""
    for part in reversed(text.split(_ENVELOPE)[1:]):
        try:
            fields, _ = json.JSONDecoder().raw_decode(part)
            return ThawError(**fields)
        except (ValueError, TypeError):
            continue  # cut off, or somebody else's words
    return None


def without_step(message: str) -> str:
    """A message without the name of the step that Beam puts behind it."""
    words, start, _ = message.rpartition(_STEP_START)
    return words if start and message.endswith(_STEP_END) else message


def is_envelope(line: str) -> bool:
    """Whether a line of a log is of no use to a reader: what it says stands above it."""
    return line.startswith(_ENVELOPE)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that led to it by Python's own rules, the latest first."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
