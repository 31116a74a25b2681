"""Tells that a run failed because its folder could not be written, and what to do."""

import shutil
from pathlib import Path

_WORDS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "Read-only file system",
    "disk is full",  # SQLite
    "readonly database",
)
_FULL_BYTES = 1 << 20

ADVICE = (
    "  The disk of the output folder, or that of TMPDIR, is full or cannot be written.\n"
    "  Free some space and run the same command again: it resumes where it stopped. Models\n"
    "  already pushed are unaffected."
)


def with_advice(message: str, error: BaseException) -> str:
    """The message of an error, and what to do if it is of this kind, or was caused by one."""
    chain: BaseException | None = error
    while chain:
        if any(word in str(chain) for word in _WORDS):
            return f"{message}\n{ADVICE}"
        chain = chain.__cause__ or chain.__context__
    return message


def is_full(directory: Path) -> bool:
    """Whether there is next to no room left: then a run cannot even say why it failed."""
    return shutil.disk_usage(directory).free < _FULL_BYTES
