"""What the settings of every launcher are made from, and how they are read and written."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.errors import ThawError

_T = TypeVar("_T", bound="Settings")


class Settings(BaseModel):
    """Settings of a launcher: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> dict[str, object]:
        """The values that were given, in JSON's types; `read` undoes it."""
        return self.model_dump(mode="json", exclude_unset=True)


def read(kind: type[_T], values: Mapping[str, object]) -> _T:
    """Checks settings that arrive as plain values.

    Args:
      kind: the class of the settings.
      values: by key.

    Raises:
      ThawError: naming each key that is missing, unknown or wrong.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        known = ", ".join(kind.model_fields)
        raise ThawError(
            f"{kind.__name__} cannot be read:\n  " + "\n  ".join(problems),
            to_do=f"Correct cluster.launcher or cluster.resources. The keys are: {known}.",
        ) from error
