"""What all parts of `run.json` have in common."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of `run.json`. Numbers are finite; where one is not, the record has None."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False
    )
