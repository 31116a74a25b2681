"""How predictions can be written. Light: the command line's options are made of it."""

from enum import Enum


class Format(str, Enum):
    """A format of rows."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"
