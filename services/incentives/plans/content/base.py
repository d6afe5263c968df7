"""What every part of the JSON form of plan terms is: values that are never changed, without members nobody knows."""

from pydantic import BaseModel, ConfigDict


class Content(BaseModel):
    """A part of the JSON form."""

    model_config = ConfigDict(frozen=True, extra="forbid")
