"""The canonical deal and activity as they come in: what every adapter's translation must end in, and their limits.

It is also what a Standard Webhooks sender sends. Texts are bounded so that no delivery can break a batch of others.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Final, NamedTuple, Self, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from services.tracking.intake.sources.domain import (
    InstalmentFields,
    ProductFields,
    QuarantineReason,
    SourceMapping,
    TeamShare,
    Untranslatable,
)
from services.tracking.intake.sources.rounding import rounded
from shared.contracts.base import CORRECTED_FUTURE, Amount, Correction, Currency, utc
from shared.contracts.deals import Invoice, Payment, Percent, Product, Split
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.ids import source_user_id, written_user_ids
from shared.kernel.records import is_ahead
from shared.kernel.text import composed, composed_members
from shared.kernel.words import refusal

CUSTOM_FIELDS_MAX: Final = 200
CUSTOM_CHARACTERS_MAX: Final = 2000
LABEL_CHARACTERS_MAX: Final = 500
IDENTIFIER_CHARACTERS_MAX: Final = 200
SHARES_MAX: Final = 200
PAYMENTS_MAX: Final = 200
INVOICES_MAX: Final = 200
PRODUCTS_MAX: Final = 1000
TEAM_PREFIX: Final = "team:"
"""How the owner of a deal begins that only a team owns, and that nobody is named for."""
_FIRST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2999, 1, 1, tzinfo=UTC)

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=IDENTIFIER_CHARACTERS_MAX)]
Label = Annotated[str, StringConstraints(max_length=LABEL_CHARACTERS_MAX)]
Moment = Annotated[AwareDatetime, Field(ge=_FIRST, le=_LAST)]
Corrections = Annotated[
    tuple[Correction, ...],
    Field(
        description="What is not stored as it was stated. Nothing that a sender states.",
        json_schema_extra={"readOnly": True},
    ),
]
Day = Annotated[date, Field(ge=_FIRST.date(), le=_LAST.date())]


DEAL_EXAMPLE: Final[dict[str, JsonValue]] = {
    "external_id": "746",
    "modified_at": "2026-03-31T18:40:02Z",
    "status": "won",
    "owner_external_id": "12345678",
    "name": "Acme",
    "amount": "60000",
    "currency": "USD",
    "created_at": "2026-01-05T09:12:44Z",
    "closed_at": "2026-03-31T18:40:02Z",
    "stage": "Closed won",
    "custom": {"competitor": "Initech"},
}


ACTIVITY_EXAMPLE: Final[dict[str, JsonValue]] = {
    "external_id": "8801",
    "modified_at": "2026-03-31T18:40:02Z",
    "type": "call",
    "status": "done",
    "owner_external_id": "12345678",
    "subject": "Negotiation",
    "occurred_at": "2026-03-31T18:00:00Z",
    "duration_seconds": 1500,
    "deal_external_id": "746",
}


class CanonicalSplit(Split):
    """A share of the deal."""

    owner_external_id: Identifier
    role: Label = "owner"


class CanonicalProduct(Product):
    """One line of the deal."""

    sku: Identifier
    quantity: Amount = Decimal(1)
    amount: Amount | None = None


def product_line(sku: object, quantity: object, amount: object) -> dict[str, object]:
    """A line of `CanonicalDeal.products` out of what a source states; one piece where it states no quantity.

    What is sold may be known by a name only, which is cut to the length of an id.
    """
    name = text_of(sku)
    return {
        "sku": name[:IDENTIFIER_CHARACTERS_MAX] if isinstance(name, str) else name,
        "quantity": 1 if quantity in (None, "") else quantity,
        "amount": None if amount == "" else amount,
    }


class CanonicalPayment(Payment):
    """Money that came in for the deal, in the deal's currency."""

    paid_on: Day
    paid_at: Moment | None = Field(
        None, description="When it came in, where the source states it: its day in the tenant's calendar counts."
    )


class CanonicalInvoice(Invoice):
    """What was invoiced of the deal, in the deal's currency; negative for a credit note."""

    invoiced_on: Day
    invoiced_at: Moment | None = Field(
        None, description="When, where the source states the moment: its day in the tenant's calendar counts."
    )


class CanonicalDeal(BaseModel):
    """The whole state of one deal after a change. Money and numbers are decimals in strings."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra={"examples": [DEAL_EXAMPLE]})

    external_id: Identifier = Field(description="The deal's id in the source, the same for ever.")
    kind: DealKind = Field(DealKind.UPSERTED, description="Only in a batch; else the type of the event decides it.")
    modified_at: Moment = Field(description="When the source changed the deal. A lower one never replaces a higher.")
    sequence: int = Field(0, ge=0, lt=1 << 63, description="Orders changes of the same modified_at.")
    status: DealStatus | None = Field(None, description="May be left out where the connection maps the stage.")
    owner_external_id: Identifier | None = None
    name: Label | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    home_amount: Amount | None = Field(None, description="The amount as the source itself converts it.")
    home_currency: Currency | None = None
    created_at: Moment | None = None
    expected_close_on: Day | None = Field(None, description="Where the source states one as a date; the stronger.")
    expected_close_at: Moment | None = Field(
        None, description="Where it states an instant: the tenant's calendar decides which day that is."
    )
    closed_at: Moment | None = None
    closed_on: Day | None = Field(None, description="The business date, where the source states one as a date.")
    stage: Label | None = None
    pipeline: Label | None = None
    probability: Percent | None = None
    type: Label | None = None
    channel: Label | None = None
    region: Label | None = None
    account_id: Identifier | None = None
    account_name: Label | None = None
    merged_into: Identifier | None = Field(None, description="The external id of the deal this one became part of.")
    corrections: Corrections = ()
    splits: tuple[CanonicalSplit, ...] = Field((), max_length=SHARES_MAX)
    products: tuple[CanonicalProduct, ...] = Field((), max_length=PRODUCTS_MAX)
    payments: tuple[CanonicalPayment, ...] = Field((), max_length=PAYMENTS_MAX)
    invoices: tuple[CanonicalInvoice, ...] = Field((), max_length=INVOICES_MAX)
    custom: dict[Label, Annotated[str, StringConstraints(max_length=CUSTOM_CHARACTERS_MAX)]] = Field(
        default_factory=dict, max_length=CUSTOM_FIELDS_MAX
    )

    @model_validator(mode="after")
    def _merged_into_one(self) -> Self:
        if self.kind is DealKind.MERGED and self.merged_into is None:
            raise ValueError("must be sent with merged_into, the deal it became part of")
        return self


class CanonicalActivity(BaseModel):
    """The whole state of one activity after a change."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra={"examples": [ACTIVITY_EXAMPLE]})

    external_id: Identifier = Field(description="The activity's id in the source, unique among its activities.")
    is_deleted: bool = False
    modified_at: Moment = Field(description="When the source changed it. A lower one never replaces a higher.")
    sequence: int = Field(0, ge=0, lt=1 << 63, description="Orders changes of the same modified_at.")
    type: ActivityType
    status: ActivityStatus = ActivityStatus.DONE
    owner_external_id: Identifier | None = None
    subject: Label | None = None
    occurred_at: Moment | None = Field(None, description="When it took place, or is to.")
    duration_seconds: int | None = Field(None, ge=0, lt=1 << 31)
    outcome: Label | None = None
    corrections: Corrections = ()
    deal_external_id: Identifier | None = None
    account_id: Identifier | None = None
    custom: dict[Label, Annotated[str, StringConstraints(max_length=CUSTOM_CHARACTERS_MAX)]] = Field(
        default_factory=dict, max_length=CUSTOM_FIELDS_MAX
    )


class TeamMember(NamedTuple):
    """Somebody who works on a deal, as the source names the user and the role."""

    owner_external_id: str
    role: str


MAPPABLE_FIELDS: Final = frozenset(CanonicalDeal.model_fields) - {
    "external_id",
    "kind",
    "sequence",
    "status",
    "splits",
    "products",
    "payments",
    "invoices",
    "custom",
    "corrections",
}
"""The fields of which a connection may say where its source has them."""
_MODIFIED_AT: Final = "modified_at"
_IDENTITY: Final = "external_id"
_ANY_MOMENT: Final = TypeAdapter(datetime)
_ANY_DAY: Final = TypeAdapter(date)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TEXTS: Final = frozenset(
    {"owner_external_id", "name", "stage", "pipeline", "type", "channel", "region", "account_id", "account_name"}
)


def canonical_deal(
    fields: Mapping[str, object],
    raw: Mapping[str, object],
    mapping: SourceMapping,
    *,
    pointer: str,
    team: Sequence[TeamMember] = (),
    owner_teams: Sequence[str | None] = (),
) -> CanonicalDeal:
    """A deal out of an adapter's `fields` and what the mapping finds in the source's `raw` deal at `pointer`.

    `team`: who works on it. `owner_teams`: the teams that own it, the nearest first, which count where no user does.
    Raises Untranslatable.
    """
    mapped = _texts_composed(fields)
    instalments = (("payments", "paid", mapping.payments), ("invoices", "invoiced", mapping.invoices))
    if mapping.fields or any(each is not None for each in (mapping.products, mapping.payments, mapping.invoices)):
        raw = _members_composed(raw)
    for name, path in mapping.fields.items():
        value = _at(raw, path)
        if value is not None and name == _MODIFIED_AT:
            mapped[name] = _latest(
                (mapped.get(name), f"{pointer}/{name}"), (value, f"{pointer}/{path.replace('.', '/')}")
            )
        elif value is not None:
            mapped[name] = text_of(value) if name in _TEXTS else value
    if mapping.products is not None and (products := _products(raw, mapping.products)) is not None:
        mapped["products"] = products
    for name, prefix, paths in instalments:
        if paths is not None and (found := _instalments(raw, paths, prefix, mapped.get("amount"), pointer)) is not None:
            mapped[name] = found
    if mapping.custom_fields and isinstance(custom := mapped.get("custom"), dict):
        mapped["custom"] = {mapping.custom_fields.get(name, name): value for name, value in custom.items()}
    mapped["owner_external_id"] = mapped_user(mapped.get("owner_external_id"), mapping)
    mapped["splits"] = _splits(mapped.get("splits"), mapping)
    if mapped.get("owner_external_id") is None:
        mapped["owner_external_id"] = _owner_of_teams(owner_teams, mapping)
    if mapping.team_roles:
        mapped["splits"] = _with_team(mapped.get("splits"), mapped.get("owner_external_id"), team, mapping)
    if mapping.pipelines and isinstance(pipeline := mapped.get("pipeline"), str):
        mapped["pipeline"] = mapping.pipelines.get(pipeline, pipeline)
    if mapping.currency is not None and mapped.get("currency") is None:
        mapped["currency"] = mapping.currency
    mapped["status"] = mapping.status_of(mapped.get("stage"), mapped.get("status"))
    mapped, corrections = rounded(mapped)
    try:
        deal = CanonicalDeal.model_validate({**mapped, "corrections": corrections})
    except ValidationError as error:
        raise _untranslatable(error, pointer) from error
    if deal.status is None and deal.kind in (DealKind.UPSERTED, DealKind.RESTORED):
        raise Untranslatable(
            QuarantineReason.STAGE_UNMAPPED,
            f"{pointer}/stage",
            "the deal has no status and the connection does not map its stage to one",
        )
    return deal


def canonical_activity(fields: Mapping[str, object], mapping: SourceMapping, *, pointer: str) -> CanonicalActivity:
    """An activity out of an adapter's `fields`, its owner and custom fields mapped. Raises Untranslatable."""
    mapped = _texts_composed(fields)
    if mapping.custom_fields and isinstance(custom := mapped.get("custom"), dict):
        mapped["custom"] = {mapping.custom_fields.get(name, name): value for name, value in custom.items()}
    mapped["owner_external_id"] = mapped_user(mapped.get("owner_external_id"), mapping)
    try:
        return CanonicalActivity.model_validate({**mapped, "corrections": ()})
    except ValidationError as error:
        raise _untranslatable(error, pointer) from error


RecordT = TypeVar("RecordT", CanonicalDeal, CanonicalActivity)


def not_ahead(record: RecordT, received_at: datetime) -> RecordT:
    """The record; modified when it was received, and saying so, where its own time is ahead of that."""
    if not is_ahead(record.modified_at, received_at):
        return record
    correction = Correction(
        field="/modified_at", stated=utc(record.modified_at), kept=utc(received_at), reason=CORRECTED_FUTURE
    )
    return record.model_copy(update={"modified_at": received_at, "corrections": (correction, *record.corrections)})


def text_of(value: object) -> object:
    """A number as the text an id or label travels as; anything else as it is."""
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def _texts_composed(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields with their texts in NFC; the external id to the letter, as the record's id is made of it."""
    return {name: value if name == _IDENTITY else composed_members(value) for name, value in fields.items()}


def _members_composed(raw: Mapping[str, object]) -> dict[str, object]:
    return {composed(name): composed_members(value) for name, value in raw.items()}


def _at(raw: Mapping[str, object], path: str) -> object:
    """What is at a dotted path; a key that itself has dots is found too. None where there is nothing."""
    if path in raw:
        return raw[path]
    head, _, rest = path.partition(".")
    inner = raw.get(head)
    return _at(inner, rest) if rest and isinstance(inner, Mapping) else None


def _latest(*times: tuple[object, str]) -> datetime:
    """When a deal was modified: the later of what the adapter found and what the mapping does, each with its place.

    Never earlier than by the adapter, as it also dates what leaves the record's own time as it was, such as its
    deletion. ISO 8601, without a zone taken as UTC, or seconds or milliseconds since 1970. Raises Untranslatable.
    """
    moments = []
    for value, pointer in times:
        if value is None:
            continue
        try:
            moment = _ANY_MOMENT.validate_python(value)
        except ValidationError:
            raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a time") from None
        moments.append(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    return max(moments)


def mapped_user(value: object, mapping: SourceMapping) -> object:
    """Whom the mapping names for a user, in whichever form it has the user's id; else the user."""
    if not isinstance(value, str):
        return value
    forms = written_user_ids(value)
    return source_user_id(next((mapping.users[each] for each in forms if each in mapping.users), forms[0]))


def _splits(value: object, mapping: SourceMapping) -> object:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return value if value is not None else ()
    return tuple(
        {**split, "owner_external_id": mapped_user(split.get("owner_external_id"), mapping)}
        if isinstance(split, Mapping)
        else split
        for split in value
    )


def _products(raw: Mapping[str, object], mapped: ProductFields) -> list[dict[str, object]] | None:
    """What the mapping finds to be sold with a deal, without rows that are empty; None where there is no such list."""
    lines = _at(raw, mapped.lines)
    if not isinstance(lines, list):
        return None
    found = [
        tuple(None if path is None else _at(row, path) for path in (mapped.sku, mapped.quantity, mapped.amount))
        for row in lines
        if isinstance(row, Mapping)
    ]
    return [product_line(*values) for values in found if any(value is not None for value in values)]


def _instalments(
    raw: Mapping[str, object], paths: InstalmentFields, prefix: str, whole: object, pointer: str
) -> list[dict[str, object]] | None:
    """What the mapping finds to be paid or invoiced, without rows that have no day or no amount; None for no such list.

    A day is one, or the day of a moment in the tenant's calendar. Raises Untranslatable.
    """
    lines = [raw] if paths.lines is None else _at(raw, paths.lines)
    if not isinstance(lines, list):
        return None
    found: list[dict[str, object]] = []
    for index, row in enumerate(lines):
        if not isinstance(row, Mapping):
            continue
        on, amount = _at(row, paths.on), whole if paths.amount is None else _at(row, paths.amount)
        if on in (None, "") or amount in (None, ""):
            continue
        within = pointer if paths.lines is None else f"{pointer}/{paths.lines.replace('.', '/')}/{index}"
        found.append({**_day_or_moment(on, prefix, f"{within}/{paths.on.replace('.', '/')}"), "amount": amount})
    return found


def _day_or_moment(value: object, prefix: str, pointer: str) -> dict[str, object]:
    if isinstance(value, str) and _DAY.fullmatch(value):
        with suppress(ValidationError):
            return {f"{prefix}_on": _ANY_DAY.validate_python(value)}
    moment = _latest((value, pointer))
    return {f"{prefix}_on": moment.date(), f"{prefix}_at": moment}


def _owner_of_teams(teams: Sequence[str | None], mapping: SourceMapping) -> str | None:
    """Whom the mapping names for the nearest team it knows; the nearest team itself where it knows none."""
    named = [composed(each) for each in teams if each]
    known = next((mapping.teams[each] for each in named if each in mapping.teams), None)
    return f"{TEAM_PREFIX}{named[0]}" if known is None and named else known


def _with_team(splits: object, owner: object, team: Sequence[TeamMember], mapping: SourceMapping) -> object:
    """Splits with the shares of the team behind them. Where there was none, the owner has the whole unless named.

    Of several of the source's roles that are one of ours, a member with more than one has the greatest share.
    """
    if splits is not None and (not isinstance(splits, Sequence) or isinstance(splits, str)):
        return splits
    shares: dict[tuple[str, str], TeamShare] = {}
    for member in team:
        share = mapping.team_roles.get(composed(member.role))
        if share is None:
            continue
        user = composed(member.owner_external_id)
        key = (mapping.users.get(user, user), share.role)
        if key not in shares or shares[key].percent < share.percent:
            shares[key] = share
    if not shares:
        return splits or ()
    of_owner: tuple[dict[str, object], ...] = ()
    if not splits and isinstance(owner, str) and all(user != owner for user, _ in shares):
        of_owner = ({"owner_external_id": owner, "role": "owner", "percent": Decimal(100)},)
    own = {
        (each.get("owner_external_id"), each.get("role", "owner")) for each in splits or () if isinstance(each, Mapping)
    }
    of_team = (
        {"owner_external_id": user, "role": role, "percent": share.percent}
        for (user, role), share in shares.items()
        if (user, role) not in own
    )
    return (*(splits or of_owner), *of_team)


def _untranslatable(error: ValidationError, pointer: str) -> Untranslatable:
    first = error.errors(include_url=False, include_input=False)[0]
    where = "".join(f"/{part}" for part in first["loc"])
    if first["type"] == "missing":
        return Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}{where}", "is missing")
    wrong, accepted = refusal(first["type"], first["msg"], first.get("ctx", {}))
    is_repeated = wrong.removeprefix("is not ") in accepted
    detail = f"is not {accepted}" if is_repeated else f"{wrong}; accepted: {accepted}" if accepted else wrong
    return Untranslatable(QuarantineReason.INVALID_FIELD, f"{pointer}{where}", detail)
