"""Replaces one name of a library for as long as a call takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Gives a module or class another value under one of its names, and puts the old one back.

    For libraries that name a class in the middle of a method and take none as an argument.

    Example:
      with replaced(dependency_utils, "make_beam_dependency_flags", lambda args: args):
          operator.run_executor(...)

    Args:
      owner: module or class.
      name: must be there.
      value: what the library finds meanwhile, in every thread of this process.

    Raises:
      AttributeError: if there is no such name, as after an update of the library.
    """
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
