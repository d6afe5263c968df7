"""Zoho CRM: watch notifications, which name records, and workflow webhooks, which carry what an admin mapped.

One connection takes both: a body with a `channel_id` is a notification. A notification is proven by the `token` its
channel was opened with, a workflow webhook by the same secret in the header `X-Attain-Secret`, in the query parameter
`secret` or in the body's member `secret`; neither member is stored.

A workflow webhook is to send this, any further field of the deal under its API name:

    {"event": "deal.updated", "secret": "…", "id": "${Deals.Deal Id}", "Deal_Name": "${Deals.Deal Name}",
     "Amount": "${Deals.Amount}", "Stage": "${Deals.Stage}", "Closing_Date": "${Deals.Closing Date}",
     "Owner": "${Deals.Deal Owner}", "Modified_Time": "${Deals.Modified Time}", "Currency": "${Deals.Currency}"}

Its texts are in a user's locale. What can be read in two ways is not read at all: then the deal is asked for, and
without access to the API the delivery is put in quarantine. An admin makes them plain by three more members, typed as
they are: `"decimal_separator": ","`, `"date_format": "dd/MM/yyyy"` (or `MM/dd/yyyy`) and `"time_zone": "Asia/Kolkata"`.

Zoho's times have whole seconds. Among states of one second the last fetched is the newest; a deletion comes after all.
"""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import ClassVar, Final, NamedTuple
from urllib.parse import parse_qs

from typing_extensions import override

from services.tracking.intake.sources.adapter import (
    Adapter,
    Fetch,
    PassedOver,
    Request,
    SeenUser,
    SenderRules,
    Statement,
    dated,
    digest,
    read_document,
    read_document_or_empty,
)
from services.tracking.intake.sources.canonical import (
    CanonicalActivity,
    CanonicalDeal,
    canonical_activity,
    canonical_deal,
)
from services.tracking.intake.sources.domain import (
    InvalidSecret,
    QuarantineReason,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.intake.sources.locale_texts import (
    DAY_FIRST,
    MONTH_FIRST,
    Unreadable,
    amount_of,
    day_of,
    moment_of,
)
from services.tracking.intake.sources.source_api import FetchedRecord, GoneRecord
from services.tracking.intake.sources.values import custom_texts, text_or_number
from services.tracking.intake.sources.zoho.api import DEALS, HOME_CURRENCY, MODULES, ZohoApi, offset_moment
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.errors import FieldError
from shared.kernel.money import AMOUNT_DECIMALS_MAX
from shared.kernel.reading import read_decimal, read_unix_milliseconds, read_whole_number

_ACTIVITIES: Final = {"Calls": ActivityType.CALL, "Events": ActivityType.MEETING, "Tasks": ActivityType.TASK}
_MODULE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
_NOT_COUNTED: Final = frozenset(
    {"lead", "contact", "account", "product", "quote", "invoice", "call", "event", "task", "campaign", "case"}
)
"""What the event of a workflow webhook may name that is no record here."""
_OPERATIONS: Final = ("insert", "create", "edit", "update", "delete", "restore")
_DELETIONS: Final = ("deal.delete", "deal.deleted")
_STAGES: Final = {
    "Qualification": DealStatus.OPEN,
    "Needs Analysis": DealStatus.OPEN,
    "Value Proposition": DealStatus.OPEN,
    "Identify Decision Makers": DealStatus.OPEN,
    "Id. Decision Makers": DealStatus.OPEN,
    "Perception Analysis": DealStatus.OPEN,
    "Proposal/Price Quote": DealStatus.OPEN,
    "Negotiation/Review": DealStatus.OPEN,
    "Closed Won": DealStatus.WON,
    "Closed Lost": DealStatus.LOST,
    "Closed-Lost to Competition": DealStatus.LOST,
    "Closed Lost to Competition": DealStatus.LOST,
}
"""Zoho's own stages."""
_LAST_OF_ITS_MOMENT: Final = 1 << 62
"""The sequence of a deletion: after every state that was fetched, whose sequence is milliseconds since 1970."""
_SECRET_HEADER: Final = b"x-attain-secret"
_SECRET: Final = "secret"  # noqa: S105
"""The query parameter and the member of a workflow webhook's body."""
_SECRET_MEMBERS: Final = frozenset({_SECRET, "token"})
_SECRET_CHARACTERS: Final = range(16, 51)
_PARAMETERS_MAX: Final = 50
_ID: Final = re.compile(r"[0-9]{1,30}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_AMOUNTS: Final = frozenset({"amount", "home_amount"})
_DAYS: Final = frozenset({"expected_close_on", "closed_on"})
_MOMENTS: Final = frozenset({"created_at", "expected_close_at", "closed_at", "modified_at"})
_PRINTABLE: Final = re.compile(r"[!-~]+")
_SECOND: Final = timedelta(seconds=1)
_DONE: Final = ActivityStatus.DONE
_CALL_STATES: Final = {
    "scheduled": ActivityStatus.PLANNED,
    "overdue": ActivityStatus.PLANNED,
    "cancelled": ActivityStatus.CANCELLED,
    "canceled": ActivityStatus.CANCELLED,
    "missed": ActivityStatus.CANCELLED,
}
_TASK_STATES: Final = {
    "completed": ActivityStatus.DONE,
    "cancelled": ActivityStatus.CANCELLED,
    "canceled": ActivityStatus.CANCELLED,
}
_KNOWN_FIELDS: Final = frozenset(
    {
        "id",
        "Deal_Name",
        "Amount",
        "Currency",
        "Exchange_Rate",
        "Stage",
        "Probability",
        "Closing_Date",
        "Pipeline",
        "Type",
        "Lead_Source",
        "Owner",
        "Owner_Id",
        "Account_Name",
        "Created_Time",
        "Modified_Time",
        "event",
        "decimal_separator",
        "date_format",
        "time_zone",
        *_SECRET_MEMBERS,
    }
)


class Zoho(Adapter):
    """The adapter. A secret is any text of 16 to 50 characters, as a channel's token is at most 50."""

    source = Source.ZOHO
    allow_keys: ClassVar[Mapping[str, bool]] = {"channel_id": False}
    api = ZohoApi()

    @override
    def new_secret(self, entropy: bytes) -> str:
        return urlsafe_b64encode(entropy).rstrip(b"=").decode()

    @override
    def check_secret(self, value: str) -> None:
        if len(value) not in _SECRET_CHARACTERS or not _PRINTABLE.fullmatch(value):
            raise InvalidSecret(
                "The secret does not fit Zoho CRM.",
                fields=[
                    FieldError(
                        "/secret",
                        "is not a token that Zoho CRM takes",
                        f"{_SECRET_CHARACTERS[0]} to {_SECRET_CHARACTERS[-1]} ASCII characters without spaces",
                    )
                ],
            )

    @override
    def verify(self, request: Request, rules: SenderRules, *, now_seconds: int) -> Rejection | None:
        document = read_document_or_empty(request.body)
        if "channel_id" in document:
            given = [document.get("token")]
            is_allowed = rules.allows("channel_id", document.get("channel_id"))
        else:
            header = request.headers.get(_SECRET_HEADER)
            given = [
                None if header is None else header.decode("latin-1"),
                *_parameters(request.target),
                document.get(_SECRET),
            ]
            is_allowed = True
        texts = [value.encode("utf-8", "surrogatepass") for value in given if isinstance(value, str) and value]
        if not texts:
            return Rejection.HEADERS
        matches = [rules.knows(text) for text in texts]
        if not any(matches):
            return Rejection.SIGNATURE
        return None if is_allowed else Rejection.NOT_ALLOWED

    @override
    def dedupe_key(self, request: Request) -> str:
        document = read_document_or_empty(request.body)
        if "channel_id" in document:
            ids = document.get("ids")
            parts = [document.get(name) for name in ("channel_id", "server_time", "operation")]
            parts.append(sorted(map(str, ids)) if isinstance(ids, list) else ids)
            return f"watch:{digest(json.dumps(parts, default=str).encode())}"
        record_id, modified_at = document.get("id"), document.get("Modified_Time")
        if isinstance(record_id, str | int) and isinstance(modified_at, str) and modified_at:
            # A record that is deleted has the modified time of the change before.
            kind = ":deleted" if document.get("event") in _DELETIONS else ""
            return f"deal:{record_id}:{modified_at}{kind}"
        return f"body:{digest(request.body)}"

    @override
    def body_to_store(self, request: Request, rules: SenderRules) -> bytes:
        """Without the secret: its member is emptied, everything else stays as it came."""
        document = read_document_or_empty(request.body)
        if not _SECRET_MEMBERS & document.keys():
            return request.body
        text = request.body.decode(json.detect_encoding(request.body), "surrogatepass")
        pieces: list[str] = []
        end = 0
        for name, start, stop in _members(text):
            if name in _SECRET_MEMBERS:
                pieces += (text[end:start], '""')
                end = stop
        return "".join((*pieces, text[end:])).encode("utf-8", "surrogatepass")

    @override
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Statement]:
        document = read_document(body)
        return _notified(document, mapping) if "channel_id" in document else _sent(document, mapping)

    @override
    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Statement]:
        modified_at = offset_moment(record.raw.get("Modified_Time"))
        if modified_at is None:
            raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/Modified_Time", "is not a time")
        version = dated(record, modified_at)
        owner = record.raw.get("Owner")
        statements: list[Statement] = []
        if record.object_name == DEALS:
            statements.append(_deal(_fields(record.raw, mapping, pointer) | version, record.raw, mapping, pointer))
        elif record.object_name in _ACTIVITIES:
            fields = _activity(record.object_name, record.raw, record.fetched_at) | version
            statements.append(canonical_activity(fields, mapping, pointer=pointer))
        else:
            raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, pointer, f"expected one of {', '.join(MODULES)}")
        if isinstance(owner, Mapping) and (owner_id := text_or_number(owner.get("id"))) is not None:
            statements.append(SeenUser(owner_id, text_or_number(owner.get("name")), text_or_number(owner.get("email"))))
        return statements

    @override
    def translate_gone(self, gone: GoneRecord, mapping: SourceMapping) -> Sequence[Statement]:
        return (_gone(gone.object_name, gone.external_id, gone.at, mapping),)


def _notified(document: Mapping[str, object], mapping: SourceMapping) -> Sequence[Statement]:
    """What a notification states: which records to fetch, and which are gone. Raises Untranslatable."""
    module = document.get("module")
    if isinstance(module, Mapping):
        module = module.get("api_name")
    if module not in MODULES:
        if isinstance(module, str) and _MODULE.fullmatch(module):
            return (PassedOver(module),)
        raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, "/module", f"names no module of Zoho CRM, such as {DEALS}")
    operation = document.get("operation")
    if operation not in _OPERATIONS:
        raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, "/operation", f"expected one of {', '.join(_OPERATIONS)}")
    ids = document.get("ids")
    if not isinstance(ids, list):
        raise Untranslatable(QuarantineReason.MISSING_FIELD, "/ids", "is not a list of ids")
    record_ids = [_record_id(each, f"/ids/{index}") for index, each in enumerate(ids)]
    named = dict.fromkeys(record_ids)
    if operation not in ("delete", "restore"):
        return [Fetch(str(module), record_id) for record_id in named]
    at = _server_time(document)
    if operation == "restore":
        return [Fetch(str(module), record_id, floor=at) for record_id in named]
    return [_gone(str(module), record_id, at, mapping) for record_id in named]


def _sent(document: Mapping[str, object], mapping: SourceMapping) -> Sequence[Statement]:
    """What a workflow webhook states: the deal as far as it was mapped, and that all of it may be fetched.

    Raises Untranslatable.
    """
    event = document.get("event")
    if isinstance(event, str) and not event.startswith("deal."):
        subject, dot, _ = event.partition(".")
        if dot and subject in _NOT_COUNTED:
            return (PassedOver(subject),)
        raise Untranslatable(
            QuarantineReason.UNKNOWN_TYPE, "/event", "expected deal.updated, or deal.deleted, as in the template"
        )
    record_id = _record_id(document.get("id"), "/id")
    try:
        deal = _stated_deal(document, record_id, mapping, is_deleted=event in _DELETIONS)
    except Untranslatable as problem:
        return (Fetch(DEALS, record_id, otherwise=problem),)
    return (deal, Fetch(DEALS, record_id))


def _stated_deal(
    document: Mapping[str, object], record_id: str, mapping: SourceMapping, *, is_deleted: bool
) -> CanonicalDeal:
    """The deal in the texts of a workflow webhook. Raises Untranslatable."""
    raw = {name: _readable(value, f"/{name}") for name, value in document.items() if name not in _SECRET_MEMBERS}
    reader = _Reader(
        _choice(raw, "decimal_separator", (".", ",")),
        _choice(raw, "date_format", (DAY_FIRST, MONTH_FIRST)),
        text_or_number(raw.get("time_zone")),
    )
    mapped = mapping.fields.get("modified_at")
    modified_at = reader.moment(raw, "Modified_Time") or (None if mapped is None else reader.moment(raw, mapped))
    if modified_at is None:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, "/Modified_Time", "is missing")
    if is_deleted:
        return _gone_deal(record_id, modified_at, mapping)
    plain = {
        **raw,
        "id": record_id,
        "Amount": reader.amount(raw, "Amount"),
        "Probability": _percent(raw.get("Probability")),
        "Closing_Date": reader.day(raw, "Closing_Date"),
        "Exchange_Rate": None,
    }
    for name, path in mapping.fields.items():
        if path not in raw:
            continue
        if name in _AMOUNTS:
            plain[path] = reader.amount(raw, path)
        elif name in _DAYS:
            plain[path] = reader.day(raw, path)
        elif name in _MOMENTS:
            plain[path] = reader.moment(raw, path)
    fields = _fields(plain, mapping, "") | {
        "modified_at": modified_at,
        "created_at": reader.moment(raw, "Created_Time"),
        "owner_external_id": text_or_number(raw.get("Owner_Id")) or text_or_number(raw.get("Owner")),
    }
    return _deal(fields, plain, mapping, "")


class _Reader(NamedTuple):
    """Reads the texts of a workflow webhook, as far as the webhook states how they are written."""

    decimal_separator: str | None
    date_format: str | None
    time_zone: str | None

    def amount(self, raw: Mapping[str, object], name: str) -> object:
        """Also a number, as it is. Raises Untranslatable."""
        value = raw.get(name)
        with _reading(name):
            return amount_of(value, decimal_separator=self.decimal_separator) if isinstance(value, str) else value

    def day(self, raw: Mapping[str, object], name: str) -> str | None:
        """In ISO 8601. Raises Untranslatable."""
        text = text_or_number(raw.get(name))
        with _reading(name):
            return None if text is None else day_of(text, date_format=self.date_format).isoformat()

    def moment(self, raw: Mapping[str, object], name: str) -> datetime | None:
        """Raises Untranslatable."""
        text = text_or_number(raw.get(name))
        with _reading(name):
            return None if text is None else moment_of(text, date_format=self.date_format, time_zone=self.time_zone)


def _fields(raw: Mapping[str, object], mapping: SourceMapping, pointer: str) -> dict[str, object]:
    """The fields of a deal. Raises Untranslatable."""
    stage = text_or_number(raw.get("Stage"))
    owner, account = raw.get("Owner"), raw.get("Account_Name")
    closing = _day(raw.get("Closing_Date"), f"{pointer}/Closing_Date")
    home_currency = raw.get(HOME_CURRENCY)
    return {
        "external_id": text_or_number(raw.get("id")),
        "status": _status(stage, raw.get("Probability")),
        "owner_external_id": text_or_number(owner.get("id")) if isinstance(owner, Mapping) else None,
        "name": text_or_number(raw.get("Deal_Name")),
        "amount": raw.get("Amount"),
        "currency": text_or_number(raw.get("Currency")),
        "home_amount": _home_amount(raw) if home_currency or "home_currency" in mapping.fields else None,
        "home_currency": home_currency,
        "created_at": offset_moment(raw.get("Created_Time")),
        "expected_close_on": closing,
        "closed_on": closing,
        "stage": stage,
        "pipeline": _named(raw.get("Pipeline")),
        "probability": raw.get("Probability"),
        "type": _named(raw.get("Type")),
        "channel": _named(raw.get("Lead_Source")),
        "account_id": text_or_number(account.get("id")) if isinstance(account, Mapping) else None,
        "account_name": _named(account),
        "custom": _custom(raw, mapping),
    }


def _deal(
    fields: Mapping[str, object], raw: Mapping[str, object], mapping: SourceMapping, pointer: str
) -> CanonicalDeal:
    """The deal; its closing date is when it closed once it has, else when it is expected to. Raises Untranslatable."""
    deal = canonical_deal(fields, raw, mapping, pointer=pointer)
    other = "closed_on" if deal.status is DealStatus.OPEN else "expected_close_on"
    return deal if other in mapping.fields else deal.model_copy(update={other: None})


def _status(stage: str | None, probability: object) -> DealStatus | None:
    """Zoho's own stages, and any that is neither certain nor impossible is open; of others the mapping has to say."""
    known = _STAGES.get(stage or "")
    if known is not None or stage is None:
        return known
    percent = _decimal(probability)
    return DealStatus.OPEN if percent is not None and 0 < percent < 100 else None


def _home_amount(raw: Mapping[str, object]) -> Decimal | None:
    """The amount by the record's own rate, which is how much of its currency one of the home currency is."""
    amount, rate = _decimal(raw.get("Amount")), _decimal(raw.get("Exchange_Rate"))
    if amount is None or rate is None or rate <= 0:
        return None
    with localcontext() as context:
        context.prec = 40
        try:
            return (amount / rate).quantize(Decimal(1).scaleb(-AMOUNT_DECIMALS_MAX))
        except ArithmeticError:
            return None


def _custom(raw: Mapping[str, object], mapping: SourceMapping) -> dict[str, object]:
    """Every other field with a plain value or the name of a record."""
    others = {
        name: _named(value) if isinstance(value, Mapping) else value
        for name, value in raw.items()
        if name not in _KNOWN_FIELDS and name[:1] not in ("$", "_")
    }
    return custom_texts(others, mapping)


def _activity(module: str, raw: Mapping[str, object], fetched_at: datetime) -> dict[str, object]:
    what, owner = raw.get("What_Id"), raw.get("Owner")
    what_id = text_or_number(what.get("id")) if isinstance(what, Mapping) else None
    about = raw.get("$se_module")
    fields: dict[str, object] = {
        "external_id": text_or_number(raw.get("id")),
        "type": _ACTIVITIES[module],
        "owner_external_id": text_or_number(owner.get("id")) if isinstance(owner, Mapping) else None,
        "deal_external_id": what_id if about == DEALS else None,
        "account_id": what_id if about == "Accounts" else None,
    }
    match module:
        case "Calls":
            state = _named(raw.get("Outgoing_Call_Status")) or _named(raw.get("Call_Status")) or ""
            outcome = _named(raw.get("Call_Result")) or _named(raw.get("Call_Outcome")) or state or None
            seconds = read_whole_number(raw.get("Call_Duration_in_seconds"))
            is_missed = (_named(raw.get("Call_Type")) or "").lower() == "missed"
            fields |= {
                "subject": text_or_number(raw.get("Subject")),
                "status": _CALL_STATES.get(state.lower(), ActivityStatus.CANCELLED if is_missed else _DONE),
                "occurred_at": offset_moment(raw.get("Call_Start_Time")),
                "duration_seconds": seconds,
                "outcome": "Missed" if is_missed and outcome is None else outcome,
            }
        case "Events":
            start, end = offset_moment(raw.get("Start_DateTime")), offset_moment(raw.get("End_DateTime"))
            is_over = end is None or end <= fetched_at
            fields |= {
                "subject": text_or_number(raw.get("Event_Title")) or text_or_number(raw.get("Subject")),
                "status": _DONE if is_over else ActivityStatus.PLANNED,
                "occurred_at": start,
                "duration_seconds": None if start is None or end is None else max(0, (end - start) // _SECOND),
            }
        case _:
            state = _named(raw.get("Status")) or ""
            fields |= {
                "subject": text_or_number(raw.get("Subject")),
                "status": _TASK_STATES.get(state.lower(), ActivityStatus.PLANNED),
                "occurred_at": offset_moment(raw.get("Closed_Time")),
                "outcome": state or None,
            }
    return fields


def _gone(module: str, external_id: str, at: datetime, mapping: SourceMapping) -> CanonicalDeal | CanonicalActivity:
    """That a record is no more. Raises Untranslatable."""
    if module in _ACTIVITIES:
        fields = {"external_id": external_id, "is_deleted": True, "type": _ACTIVITIES[module]}
        return canonical_activity(fields | _gone_version(at), mapping, pointer="")
    return _gone_deal(external_id, at, mapping)


def _gone_deal(external_id: str, at: datetime, mapping: SourceMapping) -> CanonicalDeal:
    fields = {"external_id": external_id, "kind": DealKind.DELETED}
    return canonical_deal(fields | _gone_version(at), {}, mapping, pointer="")


def _gone_version(at: datetime) -> dict[str, object]:
    return {"modified_at": at, "sequence": _LAST_OF_ITS_MOMENT}


def _readable(value: object, pointer: str) -> object:
    """A value of a template: None when it is empty. Raises Untranslatable when it was not filled in."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("${"):
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is a merge field that Zoho did not fill in")
    return None if text in ("", "null") else text


def _choice(raw: Mapping[str, object], name: str, accepted: Sequence[str]) -> str | None:
    value = raw.get(name)
    if value is None or value in accepted:
        return None if value is None else str(value)
    raise Untranslatable(QuarantineReason.INVALID_FIELD, f"/{name}", f"expected one of {' '.join(accepted)}")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """What cannot be read is the field's fault. Raises Untranslatable."""
    try:
        yield
    except Unreadable as error:
        raise Untranslatable(QuarantineReason.INVALID_FIELD, f"/{name}", str(error)) from error


def _day(value: object, pointer: str) -> str | None:
    """A day in ISO 8601. Raises Untranslatable."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and _DAY.fullmatch(value):
        return value
    raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a day such as 2026-03-31")


def _percent(value: object) -> object:
    return value.removesuffix("%").strip() if isinstance(value, str) else value


def _record_id(value: object, pointer: str) -> str:
    """The id of a record. Raises Untranslatable."""
    text = text_or_number(value)
    if text is None or not _ID.fullmatch(text):
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not the id of a record")
    return text


def _server_time(document: Mapping[str, object]) -> datetime:
    value = document.get("server_time")
    moment = read_unix_milliseconds(value)
    if moment is None:
        reason = QuarantineReason.MISSING_FIELD if value is None else QuarantineReason.INVALID_FIELD
        raise Untranslatable(reason, "/server_time", "is not a time in milliseconds")
    return moment


def _named(value: object) -> str | None:
    """A text, or the name of a record that is looked up."""
    return text_or_number(value.get("name")) if isinstance(value, Mapping) else text_or_number(value)


def _decimal(value: object) -> Decimal | None:
    """A finite number of a size there is."""
    number = read_decimal(value)
    return number if number is not None and abs(number.adjusted()) <= 30 else None


def _parameters(target: str) -> Sequence[str]:
    """The secrets among the query parameters of a request."""
    try:
        return parse_qs(target.partition("?")[2], max_num_fields=_PARAMETERS_MAX).get(_SECRET, ())
    except ValueError:
        return ()


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """The members of a JSON object, which the text is: the name, and where the value begins and ends."""
    decoder = json.JSONDecoder()
    at = _after_space(text, text.index("{") + 1)
    while text[at] == '"':
        name, at = decoder.raw_decode(text, at)
        start = _after_space(text, _after_space(text, at) + 1)
        _, at = decoder.raw_decode(text, start)
        yield name, start, at
        at = _after_space(text, at)
        if text[at] == ",":
            at = _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    while text[at] in " \t\n\r":
        at += 1
    return at
