"""What a deal and an activity are made of: one list of columns each.

From a list come the columns of both tables of its kind, the statements on them, how an event is stored and read back,
and what the rules see of a stored record: a fact has the name of its column.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import TypeAdapter

from shared.contracts.base import Correction
from shared.contracts.deals import Invoice, Payment, Product, Split
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.deals import Split as SplitFacts


@dataclass(frozen=True, slots=True)
class Document:
    """A field of several parts, stored as JSON; as NULL where it has none."""

    adapter: TypeAdapter[object]
    empty: Callable[[], object] = tuple

    def write(self, value: object) -> str | None:
        """The JSON of a value."""
        return self.adapter.dump_json(value).decode() if value else None

    def read(self, stored: object) -> object:
        """The value of what `write` made."""
        return self.adapter.validate_json(stored) if isinstance(stored, str) else self.empty()


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a record."""

    name: str
    type: str
    """The SQL type."""
    is_required: bool = False
    attribute: str = ""
    """What the event calls it, where not by its name."""
    document: Document | None = None
    """What its JSON is for the event."""
    fact: Callable[[object], object] | None = None
    """Makes the fact of what is stored, where that is not the fact itself."""


def _member_of(words: type[StrEnum]) -> Callable[[object], object]:
    members: dict[object, object] = {each.value: each for each in words}
    return members.__getitem__


def _facts_of(
    stored_as: TypeAdapter[tuple[Payment, ...]] | TypeAdapter[tuple[Invoice, ...]],
) -> Callable[[object], object]:
    def read(stored: object) -> object:
        return tuple([each.facts() for each in stored_as.validate_json(stored)]) if isinstance(stored, str) else ()

    return read


_CUSTOM: Final = Document(TypeAdapter(dict[str, str]), dict)
_VERSION: Final = (
    Column("modified_at", "timestamptz", True),
    Column("sequence", "bigint", True),
    Column("delivery_id", "uuid", True),
    Column("connection_id", "uuid", True),
    Column("received_at", "timestamptz", True),
    Column("source", "text", True),
    Column("external_id", "text", True),
)
_OPEN: Final = (
    Column("custom", "jsonb", document=_CUSTOM, fact=_CUSTOM.read),
    Column("corrections", "jsonb", document=Document(TypeAdapter(tuple[Correction, ...]))),
)

DEAL_COLUMNS: Final = (
    Column("tenant_id", "uuid", True),
    Column("deal_id", "uuid", True, "id"),
    *_VERSION,
    Column("kind", "text", True, fact=_member_of(DealKind)),
    Column("status", "text", True, fact=_member_of(DealStatus)),
    Column("owner_external_id", "text"),
    Column("name", "text"),
    Column("amount", "numeric"),
    Column("currency", "text"),
    Column("quantity", "numeric"),
    Column("created_at", "timestamptz"),
    Column("expected_close_on", "date"),
    Column("closed_at", "timestamptz"),
    Column("closed_on", "date"),
    Column("stage", "text"),
    Column("pipeline", "text"),
    Column("probability", "numeric"),
    Column("type", "text"),
    Column("channel", "text"),
    Column("region", "text"),
    Column("account_id", "text"),
    Column("account_name", "text"),
    Column("merged_into", "text"),
    Column(
        "splits",
        "jsonb",
        document=Document(TypeAdapter(tuple[Split, ...])),
        fact=Document(TypeAdapter(tuple[SplitFacts, ...])).read,
    ),
    Column("products", "jsonb", document=Document(TypeAdapter(tuple[Product, ...]))),
    Column("home_amount", "numeric"),
    Column("home_currency", "text"),
    Column(
        "payments",
        "jsonb",
        document=Document(TypeAdapter(tuple[Payment, ...])),
        fact=_facts_of(TypeAdapter(tuple[Payment, ...])),
    ),
    Column("paid_amount", "numeric"),
    Column("expected_close_at", "timestamptz"),
    Column(
        "invoices",
        "jsonb",
        document=Document(TypeAdapter(tuple[Invoice, ...])),
        fact=_facts_of(TypeAdapter(tuple[Invoice, ...])),
    ),
    Column("invoiced_amount", "numeric"),
    *_OPEN,
)

ACTIVITY_COLUMNS: Final = (
    Column("tenant_id", "uuid", True),
    Column("activity_id", "uuid", True, "id"),
    *_VERSION,
    Column("is_deleted", "boolean", True),
    Column("type", "text", True, fact=_member_of(ActivityType)),
    Column("status", "text", True, fact=_member_of(ActivityStatus)),
    Column("owner_external_id", "text"),
    Column("subject", "text", attribute="subject_line"),
    Column("occurred_at", "timestamptz"),
    Column("duration_seconds", "numeric"),
    Column("outcome", "text"),
    Column("deal_external_id", "text"),
    Column("account_id", "text"),
    *_OPEN,
)
