"""Salesforce: outbound messages and change events of one connection.

Outbound messages (SOAP) prove nothing but that they know the address, which has the secret; so the organisation they
name has to be one that is allowed. Change events (JSON, as a relay posts them) bear the same secret or are signed with
it as Standard Webhooks are. Neither kind states all of a record: what they state is merged field by field.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from io import BytesIO
from typing import Final, NamedTuple
from xml.sax import SAXException
from xml.sax.handler import ContentHandler
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from defusedxml import DefusedXmlException
from defusedxml.sax import parseString
from typing_extensions import override

from services.tracking.intake.sources.adapter import (
    Adapter,
    Fetch,
    PassedOver,
    Reply,
    Request,
    SenderRules,
    Statement,
    dated,
    digest,
    member,
    read_json,
    statements_of_each,
)
from services.tracking.intake.sources.canonical import (
    CUSTOM_CHARACTERS_MAX,
    CUSTOM_FIELDS_MAX,
    CanonicalActivity,
    TeamMember,
    canonical_activity,
    canonical_deal,
    product_line,
)
from services.tracking.intake.sources.domain import (
    InvalidSecret,
    QuarantineReason,
    RecordChange,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.intake.sources.salesforce.api import (
    ACTIVITIES,
    CURRENCY,
    LINES,
    OPPORTUNITY,
    PARTS,
    SPLITS,
    TASK,
    TEAM_MEMBERS,
    SalesforceApi,
    record_id,
    related_records,
)
from services.tracking.intake.sources.source_api import FetchedRecord, GoneRecord
from services.tracking.intake.sources.standard_webhooks.adapter import StandardWebhooks
from services.tracking.intake.sources.values import only_text, stated_moment
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealStatus
from shared.kernel.errors import FieldError
from shared.kernel.reading import read_day, read_decimal
from shared.kernel.text import composed_members

_SECRET: Final = re.compile(r"whsec_(?:[A-Za-z0-9]{4}){8,21}")
_NOTIFICATIONS_MAX: Final = 100
_EVENTS_MAX: Final = 500
_OBJECT_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}", re.ASCII)
_SIGNED: Final = StandardWebhooks()
_ACK: Final = (
    b'<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    b'<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>'
    b"</soapenv:Body></soapenv:Envelope>"
)


class Salesforce(Adapter):
    """The adapter. A secret is `whsec_…` of letters and digits only, so that it can be part of an address too."""

    source = Source.SALESFORCE
    allow_keys = {"organization_id": True, "action_id": False}  # noqa: RUF012
    api = SalesforceApi()
    merges_records = True

    @override
    def new_secret(self, entropy: bytes) -> str:
        return f"whsec_{entropy.hex()}"

    @override
    def check_secret(self, value: str) -> None:
        if not _SECRET.fullmatch(value):
            raise InvalidSecret(
                "The secret does not fit Salesforce.",
                fields=[
                    FieldError(
                        "/secret",
                        "cannot be a part of an address, a bearer token and a Standard Webhooks secret alike",
                        "whsec_ and 32 to 84 letters and digits, their number a multiple of 4",
                    )
                ],
            )

    @override
    def verify(self, request: Request, rules: SenderRules, *, now_seconds: int) -> Rejection | None:
        rejection = _proven(request, rules, now_seconds)
        if rejection is not None or _is_json(request.body):
            return rejection
        try:
            message = _outbound(request.body)
        except Untranslatable:
            return None
        allowed = _is_allowed(rules, "organization_id", message.organization_ids)
        return None if allowed and _is_allowed(rules, "action_id", message.action_ids) else Rejection.NOT_ALLOWED

    @override
    def dedupe_key(self, request: Request) -> str:
        with suppress(Untranslatable):
            if _is_json(request.body):
                parts = sorted(_event_key(event) for _, event in _events(read_json(request.body)))
                kind = "change"
            else:
                parts = sorted(each.id for each in _outbound(request.body).notifications)
                kind = "message"
            if parts and all(parts):
                joined = " ".join(parts).encode("utf-8", "surrogatepass")
                return f"{kind}:{parts[0] if len(parts) == 1 else digest(joined)}"
        return f"body:{digest(request.body)}"

    @override
    def body_to_store(self, request: Request, rules: SenderRules) -> bytes:
        if _is_json(request.body):
            return request.body
        try:
            return _outbound(request.body).without_session
        except Untranslatable:
            return _cut_before_session(request.body)

    @override
    def reply(self, request: Request, rules: SenderRules, *, now_ms: int, entropy: Callable[[int], bytes]) -> Reply:
        return Reply(200) if _is_json(request.body) else Reply(200, _ACK, "text/xml")

    @override
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Statement]:
        if _is_json(body):
            return statements_of_each(_events(read_json(body)), lambda each: _statements_of_event(each[1], each[0]))
        notifications = _outbound(body).notifications
        if not 1 <= len(notifications) <= _NOTIFICATIONS_MAX:
            raise Untranslatable(
                QuarantineReason.INVALID_FIELD,
                "/Envelope/Body/notifications",
                f"expected 1 to {_NOTIFICATIONS_MAX} notifications",
            )
        return statements_of_each(enumerate(notifications), lambda each: _statements_of_notification(each[1], each[0]))

    @override
    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Statement]:
        if record.object_name == OPPORTUNITY:
            fields = _fields(record, mapping, pointer)
            return (canonical_deal(fields, record.raw, mapping, pointer=pointer, team=_team(record.raw)),)
        if record.object_name in ACTIVITIES:
            return (_activity(record, mapping, pointer),)
        raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, pointer, f"{record.object_name} is no deal and no activity")

    @override
    def translate_gone(self, gone: GoneRecord, mapping: SourceMapping) -> Sequence[Statement]:
        return _statements_of_gone(gone.object_name, gone.external_id, gone.at, 0)


def _proven(request: Request, rules: SenderRules, now_seconds: int) -> Rejection | None:
    """Whether the request knows a secret, in whichever of the three ways it proves it."""
    if request.trail:
        return _knows(request.trail.encode("utf-8", "replace"), rules)
    scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return _knows(token.strip(), rules)
    return _SIGNED.verify(request, rules, now_seconds=now_seconds)


def _knows(given: bytes, rules: SenderRules) -> Rejection | None:
    return None if rules.knows(given) else Rejection.SIGNATURE


def _is_allowed(rules: SenderRules, name: str, given: frozenset[str]) -> bool:
    """Whether all that a message states of itself is on the list, however long the ids there are."""
    allowed = rules.allowed.get(name)
    if allowed is None:
        return True
    known = {record_id(each) for each in allowed}
    return bool(given) and all(record_id(each) in known - {None} for each in given)


def _is_json(body: bytes) -> bool:
    return body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


class _Notification(NamedTuple):
    id: str
    object_name: str
    fields: Mapping[str, str | None]


class _Outbound(NamedTuple):
    organization_ids: frozenset[str]
    action_ids: frozenset[str]
    notifications: Sequence[_Notification]
    without_session: bytes
    """The message again, without any session."""


_XML_DEPTH_MAX: Final = 32
_XML_ATTRIBUTES_MAX: Final = 50
_NOTIFICATIONS_PATH: Final = ["Envelope", "Body", "notifications"]
_SESSION: Final = re.compile(r"00D[A-Za-z0-9]{12}(?:[A-Za-z0-9]{3})?(?:!|%21)[A-Za-z0-9._~%-]+")
_SESSION_NAME: Final = re.compile(r"session[\s_-]*id", re.IGNORECASE)
_PLAIN_ENCODINGS: Final = ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1")
_DECLARED_ENCODING: Final = re.compile(rb"""encoding\s*=\s*["']([^"']*)["']""")


class _OutboundReader(ContentHandler):
    """Reads a message in one pass and writes it again without sessions, comments and processing instructions."""

    def __init__(self) -> None:
        super().__init__()
        self.organization_ids: set[str] = set()
        self.action_ids: set[str] = set()
        self.notifications: list[_Notification] = []
        self.written = BytesIO()
        self._writer = XMLGenerator(self.written, "utf-8", short_empty_elements=True)
        self._path: list[str] = []
        self._text: list[str] = []
        self._hidden_depth: int | None = None
        self._is_leaf = False
        self._is_nil = False
        self._id = ""
        self._object_name = ""
        self._fields: dict[str, str | None] = {}

    @override
    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        self._flush()
        self._path.append(_local(name))
        if len(self._path) > _XML_DEPTH_MAX or len(attrs) > _XML_ATTRIBUTES_MAX:
            raise SAXException(
                f"more than {_XML_DEPTH_MAX} elements inside one another, or {_XML_ATTRIBUTES_MAX} attributes of one"
            )
        if self._hidden_depth is None and _is_session(name):
            self._hidden_depth = len(self._path)
        masked = {key: _masked(value) for key, value in attrs.items() if not _is_session(key)}
        if self._hidden_depth is None:
            self._writer.startElement(name, AttributesImpl(masked))
        self._is_leaf = True
        named = {_local(key): value for key, value in masked.items()}
        self._is_nil = named.get("nil") in ("true", "1")
        match self._inside():
            case ["Notification"]:
                self._id, self._object_name, self._fields = "", "", {}
            case ["Notification", "sObject"]:
                self._object_name = _local(named.get("type", ""))

    @override
    def endElement(self, name: str) -> None:
        text = self._flush()
        if self._hidden_depth is None:
            self._writer.endElement(name)
            self._read(text)
        elif self._hidden_depth == len(self._path):
            self._hidden_depth = None
        self._path.pop()
        self._is_leaf = False

    @override
    def characters(self, content: str) -> None:
        self._text.append(content)

    @override
    def ignorableWhitespace(self, whitespace: str) -> None:
        self._text.append(whitespace)

    def _inside(self) -> list[str]:
        """Where in the notifications this is; empty elsewhere."""
        return self._path[3:] if self._path[:3] == _NOTIFICATIONS_PATH else []

    def _flush(self) -> str:
        text = _masked("".join(self._text))
        self._text.clear()
        if self._hidden_depth is None and text:
            self._writer.characters(text)
        return text

    def _read(self, text: str) -> None:
        match self._inside():
            case ["OrganizationId"]:
                self.organization_ids.add(text.strip())
            case ["ActionId"]:
                self.action_ids.add(text.strip())
            case ["Notification"]:
                self.notifications.append(_Notification(self._id, self._object_name, self._fields))
            case ["Notification", "Id"]:
                self._id = text.strip()
            case ["Notification", "sObject", field] if self._is_leaf:
                self._fields[field] = None if self._is_nil else text


@lru_cache(maxsize=1)
def _outbound(body: bytes) -> _Outbound:
    """An outbound message. Raises Untranslatable."""
    reader = _OutboundReader()
    try:
        parseString(body, reader, forbid_dtd=True)
    except (SAXException, DefusedXmlException, ValueError, LookupError) as error:
        raise Untranslatable(QuarantineReason.NOT_XML, "", _masked(f"{type(error).__name__}: {error}"[:300])) from error
    return _Outbound(
        frozenset(reader.organization_ids),
        frozenset(reader.action_ids),
        tuple(reader.notifications),
        reader.written.getvalue(),
    )


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _is_session(name: str) -> bool:
    return _SESSION_NAME.search(name) is not None


def _masked(text: str) -> str:
    return _SESSION.sub("(left out)", text)


def _cut_before_session(body: bytes) -> bytes:
    """What is safe to store of a body that cannot be parsed: up to where a session is named, if it is plain text."""
    declared = _DECLARED_ENCODING.search(body[:200])
    if b"\x00" in body or (declared and declared[1].decode("latin-1").lower() not in _PLAIN_ENCODINGS):
        return b"<left-out>"
    text = body.decode("utf-8", "replace")
    named = _SESSION_NAME.search(text)
    # Whatever is stored must not become readable by what was cut off.
    return (_masked(text[: named.start()]) + "<left-out>" if named else _masked(text)).encode()


def _statements_of_notification(notification: _Notification, index: int) -> Iterator[Statement]:
    pointer = f"/Envelope/Body/notifications/Notification/{index}/sObject"
    fields = notification.fields
    if notification.object_name not in (OPPORTUNITY, *ACTIVITIES):
        yield _passed_over(notification.object_name, f"{pointer}/@type")
        return
    external_id = _required_id(fields.get("Id"), f"{pointer}/Id")
    stamp = "SystemModstamp" if fields.get("SystemModstamp") else "LastModifiedDate"
    at = stated_moment(fields.get(stamp), f"{pointer}/{stamp}")
    if at is None:
        raise Untranslatable(
            QuarantineReason.MISSING_FIELD,
            f"{pointer}/SystemModstamp",
            "is missing; select it among the fields that the outbound message sends",
        )
    yield RecordChange(notification.object_name, external_id, {**fields, "Id": external_id}, at, is_whole=True)


def _events(document: object, pointer: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The change events of a document and where they are: alone, in a list, or wrapped as relays wrap them.

    Raises Untranslatable.
    """
    if isinstance(document, list) and len(document) <= _EVENTS_MAX and depth <= 4:
        for index, each in enumerate(document):
            yield from _events(each, f"{pointer}/{index}", depth + 1)
        return
    if isinstance(document, dict) and depth <= 4:
        if "ChangeEventHeader" in document:
            yield pointer, document
            return
        for name in ("data", "detail", "payload", "events"):
            if isinstance(document.get(name), dict | list):
                yield from _events(document[name], f"{pointer}/{name}", depth + 1)
                return
    raise Untranslatable(
        QuarantineReason.UNKNOWN_TYPE,
        f"{pointer}/ChangeEventHeader",
        f"expected a change event, or up to {_EVENTS_MAX} of them in a list",
    )


def _passed_over(object_name: object, pointer: str) -> PassedOver:
    """That something is about another object. Raises Untranslatable where it does not name one."""
    if isinstance(object_name, str) and _OBJECT_NAME.fullmatch(object_name):
        return PassedOver(object_name)
    raise Untranslatable(
        QuarantineReason.UNKNOWN_TYPE, pointer, f"names no object of Salesforce, such as {OPPORTUNITY}"
    )


def _event_key(event: Mapping[str, object]) -> str:
    header = event.get("ChangeEventHeader")
    if not isinstance(header, Mapping) or not header.get("transactionKey"):
        return ""
    ids = header.get("recordIds")
    named = sorted(str(each) for each in ids) if isinstance(ids, list) else [str(ids)]
    return " ".join([str(header["transactionKey"]), str(header.get("sequenceNumber")), *named])


def _statements_of_event(event: Mapping[str, object], pointer: str) -> Iterator[Statement]:
    header = member(event, "ChangeEventHeader", pointer=pointer)
    within = f"{pointer}/ChangeEventHeader"
    object_name = header.get("entityName")
    if object_name not in (OPPORTUNITY, *PARTS, *ACTIVITIES):
        yield _passed_over(object_name, f"{within}/entityName")
        return
    at = stated_moment(header.get("commitTimestamp"), f"{within}/commitTimestamp")
    if at is None:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{within}/commitTimestamp", "is missing")
    change = str(header.get("changeType"))
    if change not in _CHANGE_TYPES:
        raise Untranslatable(
            QuarantineReason.UNKNOWN_TYPE, f"{within}/changeType", f"expected one of {', '.join(_CHANGE_TYPES)}"
        )
    number = _place(header)
    for external_id in _named_records(header, within):
        if object_name in PARTS:
            opportunity = record_id(event.get("OpportunityId"))
            named = (str(object_name), external_id) if opportunity is None else (OPPORTUNITY, opportunity)
            yield Fetch(*named, at)
        elif change.endswith("DELETE") and not change.endswith("UNDELETE"):
            yield from _statements_of_gone(str(object_name), external_id, at, number)
        elif change.startswith("GAP_"):
            yield Fetch(str(object_name), external_id, at)
        else:
            values = _changed_values(header, event, is_whole=change != "UPDATE")
            if values is None:
                yield Fetch(str(object_name), external_id, at)
            else:
                yield RecordChange(
                    str(object_name),
                    external_id,
                    {**values, "Id": external_id},
                    at,
                    number,
                    is_whole=change != "UPDATE",
                )


_COMMIT_MAX: Final = 1 << 61
_WHOLE_MAX: Final = 10**20


def _place(header: Mapping[str, object]) -> int:
    """The place of an event among those of the same second: by its commit, then within its transaction.

    Commits are numbered further apart than a transaction has events of one record.
    """
    commit, sequence = _whole(header.get("commitNumber")), _whole(header.get("sequenceNumber"))
    return min(max(commit or 0, 0), _COMMIT_MAX) + min(max(sequence or 0, 0), 9_999)


_CHANGE_TYPES: Final = (
    "CREATE",
    "UPDATE",
    "DELETE",
    "UNDELETE",
    "GAP_CREATE",
    "GAP_UPDATE",
    "GAP_DELETE",
    "GAP_UNDELETE",
    "GAP_OVERFLOW",
)
_NOBODY: Final = "000000000000000"


def _named_records(header: Mapping[str, object], pointer: str) -> Iterator[str]:
    """The ids of an event. An overflow, or a change of all records of an object, names none: reconciliation's part."""
    ids = header.get("recordIds")
    if header.get("changeType") == "GAP_OVERFLOW":
        return
    for index, each in enumerate(ids if isinstance(ids, list) else [ids]):
        if isinstance(each, str) and (each.startswith(_NOBODY) or each.endswith("*")):
            continue
        yield _required_id(each, f"{pointer}/recordIds/{index}")


def _changed_values(
    header: Mapping[str, object], event: Mapping[str, object], *, is_whole: bool
) -> Mapping[str, object] | None:
    """The fields that an event states, None for those that are empty now. None where it states those by bitmaps only.

    A client that decodes all fields of an event has an empty value too for each that did not change: what is empty
    counts only where the header names it.
    """
    values = {name: value for name, value in event.items() if name != "ChangeEventHeader"}
    stated = {name: value for name, value in values.items() if value is not None}
    if is_whole:
        return stated
    changed, nulled = header.get("changedFields"), header.get("nulledFields")
    if changed is None and nulled is None:
        return values
    if _is_bitmap(nulled) or (nulled is None and _is_bitmap(changed)):
        return None
    for listed in (changed, nulled):
        for name in listed if isinstance(listed, list) and not _is_bitmap(listed) else ():
            if isinstance(name, str) and "." not in name:
                stated.setdefault(name, None)
    return stated


def _is_bitmap(listed: object) -> bool:
    """Whether fields are stated as clients get them that do not decode the header: by bits of the event's schema."""
    return isinstance(listed, list) and any("0x" in str(name) for name in listed)


def _statements_of_gone(object_name: str, external_id: str, at: datetime, sequence: int) -> Sequence[Statement]:
    if object_name == OPPORTUNITY:
        return (RecordChange(OPPORTUNITY, external_id, {}, at, sequence, is_deleted=True),)
    if object_name in ACTIVITIES:
        kind = ActivityType.TASK if object_name == TASK else ActivityType.MEETING
        fields = {"external_id": external_id, "is_deleted": True, "modified_at": at, "type": kind}
        return (canonical_activity(fields, SourceMapping(), pointer="/gone"),)
    return ()


def _fields(record: FetchedRecord, mapping: SourceMapping, pointer: str) -> dict[str, object]:
    raw = record.raw
    stage, closing = raw.get("StageName"), _day(raw.get("CloseDate"), f"{pointer}/CloseDate")
    status = mapping.status_of(stage, _status(raw))
    account_id = record_id(raw.get("AccountId"))
    account = raw.get("Account")
    account_name = None
    # A change of the account states its id alone: a name that is still known may be the one of the account before.
    if isinstance(account, Mapping) and record_id(account.get("Id")) == account_id:
        account_name = account.get("Name")
    return {
        **dated(record, _modified_at(record, pointer)),
        "external_id": _required_id(raw.get("Id"), f"{pointer}/Id"),
        "status": status,
        "owner_external_id": record_id(raw.get("OwnerId")) or raw.get("OwnerId"),
        "name": raw.get("Name"),
        "amount": raw.get("Amount"),
        "currency": raw.get(CURRENCY),
        "created_at": stated_moment(raw.get("CreatedDate"), f"{pointer}/CreatedDate"),
        "expected_close_on": closing,
        "closed_on": closing if status in (DealStatus.WON, DealStatus.LOST) else None,
        "stage": stage,
        "probability": raw.get("Probability"),
        "type": raw.get("Type"),
        "channel": raw.get("LeadSource"),
        "account_id": account_id,
        "account_name": account_name,
        "splits": [
            {
                "owner_external_id": record_id(split.get("SplitOwnerId")) or split.get("SplitOwnerId"),
                "percent": split.get("SplitPercentage"),
                "role": _split_type(split).get("DeveloperName") or "owner",
            }
            for split in related_records(raw, SPLITS)
            if mapping.split_type is None or mapping.split_type in _split_names(split)
        ],
        "products": [
            product_line(
                line.get("ProductCode") or line.get("Product2Id") or line.get("Id"),
                line.get("Quantity"),
                line.get("TotalPrice"),
            )
            for line in related_records(raw, LINES)
        ],
        "custom": _custom(raw, mapping),
    }


def _team(raw: Mapping[str, object]) -> list[TeamMember]:
    return [
        TeamMember(user_id, str(member.get("TeamMemberRole")))
        for member in related_records(raw, TEAM_MEMBERS)
        if (user_id := record_id(member.get("UserId"))) is not None
    ]


def _status(raw: Mapping[str, object]) -> DealStatus | None:
    if _flag(raw.get("IsWon")):
        return DealStatus.WON
    is_closed = _flag(raw.get("IsClosed"))
    if is_closed is None:
        return None
    return DealStatus.LOST if is_closed else DealStatus.OPEN


def _split_type(split: Mapping[str, object]) -> Mapping[str, object]:
    split_type = split.get("SplitType")
    return split_type if isinstance(split_type, Mapping) else {}


def _split_names(split: Mapping[str, object]) -> set[object]:
    """What a split's kind can be called: its id of either length, its name or its label."""
    type_id, kind = record_id(split.get("SplitTypeId")), _split_type(split)
    names = (type_id, type_id and type_id[:15], kind.get("DeveloperName"), kind.get("MasterLabel"))
    return {composed_members(name) for name in names} - {None}


def _modified_at(record: FetchedRecord, pointer: str) -> datetime:
    """When a record or anything that belongs to it was last changed. Raises Untranslatable."""
    raw = record.raw
    stamps = [
        stated_moment(raw.get("SystemModstamp"), f"{pointer}/SystemModstamp")
        or stated_moment(raw.get("LastModifiedDate"), f"{pointer}/LastModifiedDate")
        or record.floor,
        *(
            stated_moment(each.get("SystemModstamp"), f"{pointer}/{part.relation}")
            for part in PARTS.values()
            for each in related_records(raw, part.relation)
        ),
    ]
    known = [stamp for stamp in stamps if stamp is not None]
    if not known:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/SystemModstamp", "is missing")
    return max(known)


def _custom(raw: Mapping[str, object], mapping: SourceMapping) -> dict[str, str]:
    """The fields of the organisation's own, those with a name of ours first if they are too many."""
    names = [name for name in raw if name.endswith("__c")]
    names.sort(key=lambda name: (name not in mapping.custom_fields, name))
    texts: dict[str, str] = {}
    for name in ["ForecastCategory", *names[: CUSTOM_FIELDS_MAX - 1]]:
        value = raw.get(name)
        if isinstance(value, bool):
            texts[name] = "true" if value else "false"
        elif isinstance(value, str | int | Decimal) and len(str(value)) <= CUSTOM_CHARACTERS_MAX:
            texts[name] = str(value)
    return texts


_TASK_TYPES: Final = {"Call": ActivityType.CALL, "Email": ActivityType.EMAIL, "ListEmail": ActivityType.EMAIL}


def _activity(record: FetchedRecord, mapping: SourceMapping, pointer: str) -> CanonicalActivity:
    raw, is_task = record.raw, record.object_name == TASK
    moments = ("CompletedDateTime",) if is_task else ("StartDateTime", "ActivityDateTime")
    occurred_at = next((at for name in moments if (at := stated_moment(raw.get(name), f"{pointer}/{name}"))), None)
    day = _day(raw.get("ActivityDate"), f"{pointer}/ActivityDate")
    if occurred_at is None and day is not None:
        occurred_at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    seconds, minutes = _whole(raw.get("CallDurationInSeconds")), _whole(raw.get("DurationInMinutes"))
    about = record_id(raw.get("WhatId")) or ""
    fields = {
        **dated(record, _modified_at(record, pointer)),
        "external_id": _required_id(raw.get("Id"), f"{pointer}/Id"),
        "type": _TASK_TYPES.get(str(raw.get("TaskSubtype")), ActivityType.TASK) if is_task else ActivityType.MEETING,
        "status": _TASK_STATUS.get(str(raw.get("Status")), ActivityStatus.PLANNED) if is_task else ActivityStatus.DONE,
        "owner_external_id": record_id(raw.get("OwnerId")),
        "subject": only_text(raw.get("Subject")),
        "occurred_at": occurred_at,
        "duration_seconds": seconds if minutes is None else minutes * 60,
        "outcome": only_text(raw.get("CallDisposition")),
        "deal_external_id": about if about.startswith("006") else None,
        "account_id": record_id(raw.get("AccountId")) or (about if about.startswith("001") else None),
        "custom": _custom(raw, mapping),
    }
    return canonical_activity(fields, mapping, pointer=pointer)


_TASK_STATUS: Final = {"Completed": ActivityStatus.DONE, "Deferred": ActivityStatus.CANCELLED}


def _required_id(value: object, pointer: str) -> str:
    external_id = record_id(value)
    if external_id is None:
        reason = QuarantineReason.MISSING_FIELD if value in (None, "") else QuarantineReason.INVALID_FIELD
        raise Untranslatable(reason, pointer, "is not the id of a record")
    return external_id


def _flag(value: object) -> bool | None:
    return {"true": True, "false": False}.get(str(value).lower())


def _whole(value: object) -> int | None:
    """A whole number of at most twenty digits. A longer one, which could be written shortly, is not even made."""
    number = read_decimal(value)
    return int(number) if number is not None and abs(number) < _WHOLE_MAX else None


def _day(value: object, pointer: str) -> date | None:
    """A date, or the moment it begins in UTC, which is how some relays write one. Raises Untranslatable."""
    if isinstance(value, str) and len(value) == 10:
        day = read_day(value)
        if day is not None:
            return day
    moment = stated_moment(value, pointer)
    return None if moment is None else moment.date()
