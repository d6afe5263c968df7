"""What every event has in common: value types, the model base, the topic it belongs to."""

from abc import abstractmethod
from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from shared.kernel.money import AMOUNT_DECIMALS_MAX, format_amount


def _refuse_float(value: object) -> object:
    if isinstance(value, float | bool):
        raise ValueError('must be a decimal in a string, such as "1200.50"')
    return value


AMOUNT_LIMITS = Field(max_digits=15 + AMOUNT_DECIMALS_MAX, decimal_places=AMOUNT_DECIMALS_MAX)
NO_FLOAT = BeforeValidator(_refuse_float, json_schema_input_type=str)
AS_TEXT = PlainSerializer(format_amount, return_type=str, when_used="json")

Exact = Annotated[Decimal, NO_FLOAT, AS_TEXT]
"""A number of any size that travels as a decimal string."""

# Limits right behind the number are checked natively; behind the refusal of floats they would cost four times as much.
Amount = Annotated[Decimal, AMOUNT_LIMITS, NO_FLOAT, AS_TEXT]
"""An Exact within the limits of `shared.kernel.money.parse_amount`: below 10^15, at most six decimals."""

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["USD"], description="ISO 4217 code")]
Instant = AwareDatetime
Version = Annotated[int, Field(ge=1, description="Grows with every change of the subject; a lower one is older.")]


class Event(BaseModel):
    """A versioned snapshot of one thing. Fields a reader does not know are ignored, so fields may be added."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_type: ClassVar[str]
    topic: ClassVar[str]

    tenant_id: UUID

    @property
    @abstractmethod
    def subject(self) -> str:
        """What the snapshot is of, unique within the tenant and topic: the key under which a topic is compacted."""


class Value(BaseModel):
    """A part of an event."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def utc(instant: datetime) -> str:
    """RFC 3339 in UTC."""
    return instant.isoformat().replace("+00:00", "Z")
