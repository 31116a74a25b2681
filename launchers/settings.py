"""What the settings of every launcher are made from, and how they are read."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

_T = TypeVar("_T", bound="Settings")


class Settings(BaseModel):
    """Settings of a launcher: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read(kind: type[_T], values: Mapping[str, object], launcher: str) -> _T:
    """Checks settings that arrive as plain values.

    Args:
      kind: the class of the settings.
      values: by key.
      launcher: its name in messages.

    Raises:
      ValueError: naming each key that is missing, unknown or wrong.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        wrong = "\n".join(
            f"  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        )
        known = ", ".join(kind.model_fields)
        raise ValueError(
            f"The {launcher} launcher's settings are not right:\n{wrong}\n  The keys are: {known}."
        ) from error
