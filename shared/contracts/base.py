"""What every event has in common: value types, the model base, the topic it belongs to."""

import json
from abc import abstractmethod
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from shared.kernel.activities import ActivityFacts
from shared.kernel.deals import DealFacts, RecordVersion
from shared.kernel.money import AMOUNT_DECIMALS_MAX, format_amount, format_posted
from shared.kernel.reading import FIRST_INSTANT, LAST_INSTANT
from shared.kernel.records import ordered_at
from shared.kernel.text import composed_members, is_composed

_ESCAPED: Final = "\\u"


def _refuse_float(value: object) -> object:
    wrong = "_" in value or not value.isascii() if isinstance(value, str) else isinstance(value, float | bool)
    if wrong:
        raise ValueError('must be a decimal in a string, such as "1200.50"')
    return value


AMOUNT_LIMITS = Field(max_digits=15 + AMOUNT_DECIMALS_MAX, decimal_places=AMOUNT_DECIMALS_MAX)
NO_FLOAT = BeforeValidator(_refuse_float, json_schema_input_type=str)
AS_TEXT = PlainSerializer(format_amount, return_type=str, when_used="json")

Exact = Annotated[Decimal, NO_FLOAT, AS_TEXT]
"""A number of any size that travels as a decimal string."""

Posted = Annotated[Decimal, NO_FLOAT, PlainSerializer(format_posted, return_type=str, when_used="json")]
"""Money of the ledger, in units of its currency with all of that currency's decimals: "2.50", or "2" in JPY.

Whoever makes one rounds it with `shared.kernel.money.round_to_minor_unit`, which gives it these decimals.
"""

# Limits right behind the number are checked natively; behind the refusal of floats they would cost four times as much.
Amount = Annotated[Decimal, AMOUNT_LIMITS, NO_FLOAT, AS_TEXT]
"""An Exact within the limits of `shared.kernel.money.parse_amount`: below 10^15, at most six decimals."""

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["USD"], description="ISO 4217 code")]
Instant = Annotated[AwareDatetime, Field(ge=FIRST_INSTANT, le=LAST_INSTANT)]
"""A moment with its offset, which is one in UTC as well."""
Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(3000, 1, 1))]
"""A calendar day; the limits keep every period that a calendar can make of it a valid one."""
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

    @classmethod
    def from_json(cls, document: bytes | str) -> Self:
        """The event in a document, all its texts in NFC: earlier releases published them as they came.

        Raises ValidationError.
        """
        return cls.model_validate_json(_composed(document))


def _composed(document: bytes | str) -> bytes | str:
    """The document with all texts in NFC, itself where they are; what is not JSON stays as it is."""
    try:
        text = document if isinstance(document, str) else document.decode()
        # Quotes and what else stands around a text compose with nothing, so a document in NFC has all texts in it,
        # except for characters that are escaped.
        if is_composed(text) and _ESCAPED not in text:
            return document
        return json.dumps(composed_members(json.loads(text)))
    except (ValueError, RecursionError):
        return document


class Value(BaseModel):
    """A part of an event."""

    model_config = ConfigDict(frozen=True, extra="ignore")


CORRECTED_DECIMALS: Final = "decimals"
"""The reason for a number that was rounded half to even to the decimals that are stored."""
CORRECTED_FUTURE: Final = "future"
"""The reason for a time that was later than a delivery can have been sent."""


class Correction(Value):
    """A member of a record that is not stored as its source states it."""

    field: str = Field(description="JSON pointer to the member.", examples=["/amount"])
    stated: str = Field(description="What the source states, as a text.")
    kept: str = Field(description="What is kept instead.")
    reason: str = Field(
        description="`decimals`: a number had more of them than are kept, and was rounded half to even. `future`: a"
        " modified time was later than the delivery can have been sent, and is that of the receipt. More may be added."
    )


class RecordEvent(Event):
    """One version of a record of a source: of a deal or an activity."""

    id: UUID
    connection_id: UUID
    source: str
    external_id: str
    modified_at: Instant
    sequence: int
    delivery_id: UUID
    received_at: Instant = Field(description="When the delivery was accepted.")
    custom: dict[str, str]
    corrections: tuple[Correction, ...] = Field(
        default=(), description="What is not kept as the source states it: the first of it, where it is much."
    )

    @property
    def version(self) -> RecordVersion:
        """Its place among the snapshots of the same record."""
        return RecordVersion(self.modified_at, self.sequence, self.delivery_id)

    @classmethod
    def from_json(cls, document: bytes | str) -> Self:
        """The version in a document. Raises ValidationError.

        Releases that state their corrections publish texts in NFC and times that are not ahead. In what earlier ones
        published, texts are composed, and a `modified_at` that is ahead is read as `received_at`.
        """
        event = cls.model_validate_json(document)
        if "corrections" in event.model_fields_set:
            return event
        event = super().from_json(document)
        return event.model_copy(update={"modified_at": ordered_at(event.modified_at, event.received_at)})


def fact_attributes(facts: type[DealFacts | ActivityFacts], **elsewhere: str) -> list[str]:
    """The attribute of an event for each of the `facts`, in their order: of the same name, else by `elsewhere`."""
    return [elsewhere.get(each, each) for each in facts._fields]


def utc(instant: datetime) -> str:
    """RFC 3339 in UTC."""
    return instant.isoformat().replace("+00:00", "Z")
