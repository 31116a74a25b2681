"""The base class of every section of the config."""

from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A part of the config: unknown keys are rejected, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_booleans(cls, value: object, info: ValidationInfo) -> object:
        """Rejects `true` and `false` for a number; pydantic would read `true` as 1."""
        field = cls.model_fields[str(info.field_name)]
        values = value if isinstance(value, list) else [value]
        takes_bool = bool in (field.annotation, *get_args(field.annotation))
        if not takes_bool and any(isinstance(one, bool) for one in values):
            raise PydanticCustomError("truth_value", "It should not be true or false.")
        return value
