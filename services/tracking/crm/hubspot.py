"""HubSpot: webhooks of version 3, and its CRM API.

A webhook names what changed, one property of one record an event; how the record is now is asked for. The signature is
over the address that HubSpot called, so it takes the public address of this service.

Deals that are merged become a third one. It lists those it was made of, so that a merge that no webhook told is found
with the deal's next change.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from json import dumps
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, StringConstraints
from typing_extensions import override

from services.tracking.crm.adapter import (
    Adapter,
    Fetch,
    Request,
    Said,
    Terms,
    dated,
    member,
    read_answer,
    read_json,
)
from services.tracking.crm.canonical import CUSTOM_FIELDS_MAX, CanonicalDeal, canonical_activity, canonical_deal
from services.tracking.crm.domain import (
    InvalidSecret,
    QuarantineReason,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.crm.source_api import (
    Answer,
    ApiCredentials,
    ApiUser,
    Call,
    Conversation,
    FetchedRecord,
    Gone,
    GoneRecord,
    Judgement,
    Limit,
    RawRecord,
    RecordPage,
    SourceApi,
    UnexpectedAnswer,
    UserPage,
    Verdict,
)
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.errors import FieldError

DEALS: Final = "deals"

_SIGNATURE: Final = b"x-hubspot-signature-v3"
_TIMESTAMP: Final = b"x-hubspot-request-timestamp"
_TOLERANCE_MS: Final = 300_000
_SECRET: Final = re.compile(r"[!-~]{16,200}")
_DECODED: Final = re.compile(r"%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
"""Of the escapes in an address, those that are decoded before it is signed."""
_EVENTS_MAX: Final = 100
_ID: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_CUSTOM_CHARACTERS_MAX: Final = 2000
_OBJECT_TYPES: Final = {"0-3": DEALS, "0-48": "calls", "0-47": "meetings", "0-49": "emails", "0-27": "tasks"}


class _Activity(NamedTuple):
    """How HubSpot has one kind of activity."""

    type: ActivityType
    subject: str
    status: str
    statuses: Mapping[str, ActivityStatus]
    otherwise: ActivityStatus
    others: tuple[str, ...] = ()


_ACTIVITIES: Final = {
    "calls": _Activity(
        ActivityType.CALL,
        "hs_call_title",
        "hs_call_status",
        {"CANCELED": ActivityStatus.CANCELLED, "SCHEDULED": ActivityStatus.PLANNED, "QUEUED": ActivityStatus.PLANNED},
        ActivityStatus.DONE,
        ("hs_call_duration", "hs_call_disposition"),
    ),
    "meetings": _Activity(
        ActivityType.MEETING,
        "hs_meeting_title",
        "hs_meeting_outcome",
        {
            "SCHEDULED": ActivityStatus.PLANNED,
            "CANCELED": ActivityStatus.CANCELLED,
            "NO_SHOW": ActivityStatus.CANCELLED,
            "RESCHEDULED": ActivityStatus.CANCELLED,
        },
        ActivityStatus.DONE,
        ("hs_meeting_start_time", "hs_meeting_end_time"),
    ),
    "emails": _Activity(
        ActivityType.EMAIL,
        "hs_email_subject",
        "hs_email_status",
        {
            "SCHEDULED": ActivityStatus.PLANNED,
            "SENDING": ActivityStatus.PLANNED,
            "BOUNCED": ActivityStatus.CANCELLED,
            "FAILED": ActivityStatus.CANCELLED,
        },
        ActivityStatus.DONE,
    ),
    "tasks": _Activity(
        ActivityType.TASK,
        "hs_task_subject",
        "hs_task_status",
        {"COMPLETED": ActivityStatus.DONE, "DEFERRED": ActivityStatus.CANCELLED},
        ActivityStatus.PLANNED,
    ),
}


class HubspotCredentials(ApiCredentials):
    """The access token of a private app."""

    source: Literal["hubspot"] = "hubspot"
    api_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+$", max_length=200)] = (
        "https://api.hubapi.com"
    )
    access_token: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)


_PAGE_SEARCH_MAX: Final = 200
_PAGE_LIST_MAX: Final = 100
_MODIFIED: Final = "hs_lastmodifieddate"
_MERGED: Final = "hs_merged_object_ids"
_PROPERTIES: Final = (
    "dealname",
    "amount",
    "amount_in_home_currency",
    "dealstage",
    "pipeline",
    "closedate",
    "createdate",
    "dealtype",
    "deal_currency_code",
    "hubspot_owner_id",
    "hs_analytics_source",
    "hs_deal_stage_probability",
    "hs_is_closed",
    "hs_is_closed_won",
    _MODIFIED,
    _MERGED,
    "hs_primary_associated_company",
)
_POSITION: Final = re.compile(r"(from|at):([0-9]{1,15})(?::([0-9]{1,20}))?", re.ASCII)
_OPTIONAL: Final = frozenset({"properties", "currency", "splits", "associations"})
"""What a portal may not have, or the app not be allowed to see, while deals can be read."""
_DAILY: Final = "DAILY"
_PASSING: Final = (423, 477)
"""A record that is locked, and an account that is being moved."""


class _Portal(NamedTuple):
    """What is asked for of deals here, and the currency that the portal converts amounts to."""

    properties: tuple[str, ...]
    home_currency: str | None


class HubspotApi(SourceApi):
    """The CRM API of version 3. Search pages start at the last modified time of the page before, not at an offset:
    what is modified meanwhile moves to the end and would shift all others, and no search gives more than 10,000."""

    credentials = HubspotCredentials
    limits = (Limit(100, timedelta(seconds=10)), Limit(4, timedelta(seconds=1), is_per_endpoint=True))

    @override
    def authorised(self, call: Call, credentials: ApiCredentials, token: str | None) -> Call:
        headers = {**call.headers, "authorization": f"Bearer {_own(credentials).access_token}"}
        if call.json is not None:
            headers["content-type"] = "application/json"
        return Call(call.method, call.url, call.params, headers, call.json, call.form, call.endpoint)

    @override
    def judge(self, call: Call, answer: Answer) -> Judgement:
        remaining = _number(answer.headers.get("x-hubspot-ratelimit-daily-remaining"))
        if 200 <= answer.status < 300:
            return Judgement(Verdict.OK, credits_remaining=remaining)
        error = _error(answer)
        detail = f"{answer.status} {error.category}: {error.message}"[:500]
        retry_after = _seconds(answer.headers.get("retry-after"))
        if answer.status == 429:
            if error.policy == _DAILY:
                return Judgement(Verdict.QUOTA_EXHAUSTED, retry_after, detail, remaining)
            interval = _number(answer.headers.get("x-hubspot-ratelimit-interval-milliseconds"))
            if retry_after is None and interval is not None:
                retry_after = timedelta(milliseconds=min(interval, 60_000))
            return Judgement(Verdict.RATE_LIMITED, retry_after, detail, remaining)
        if answer.status >= 500 or answer.status in _PASSING:
            return Judgement(Verdict.TRANSIENT, retry_after, detail, remaining)
        is_absent = call.endpoint in _OPTIONAL and answer.status in (400, 403, 404)
        is_none_found = call.endpoint == "read" and answer.status == 404 and error.category == "OBJECT_NOT_FOUND"
        verdict = Verdict.OK if is_absent or is_none_found else Verdict.REFUSED
        return Judgement(verdict, retry_after, detail, remaining)

    @override
    def fetch(
        self, credentials: ApiCredentials, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        own = _own(credentials)
        ids = sorted({each for each in external_ids if _ID.fullmatch(each)})
        gone = [Gone(object_name, each) for each in external_ids if not _ID.fullmatch(each)]
        if not ids:
            return RecordPage(gone=gone)
        activity = _ACTIVITIES.get(object_name)
        if activity is None and object_name != DEALS:
            raise UnexpectedAnswer(f"{object_name} is no deal and no activity")
        portal = (yield from _portal(own)) if activity is None else _Portal(_properties_of(activity), None)
        found = yield from _read(own, object_name, ids, portal.properties, archived=False)
        elsewhere = {each for raw in found.values() for each in _merged_ids(raw)}
        missing = [each for each in ids if each not in found and each not in elsewhere]
        if missing:
            archived = yield from _read(own, object_name, missing, portal.properties, archived=True)
            gone += [
                Gone(object_name, each, _instant_or_none(archived.get(each, {}).get("archivedAt"))) for each in missing
            ]
        if activity is None:
            records = yield from _with_splits(own, portal, found)
        else:
            records = yield from _with_deals(own, object_name, found)
        return RecordPage(records, gone)

    @override
    def changed(
        self, credentials: ApiCredentials, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        own = _own(credentials)
        position = _POSITION.fullmatch(cursor or "")
        begin = 0 if since is None else max(0, int(since.timestamp() * 1000))
        phase, at, after = (position[1], int(position[2]), position[3]) if position else ("from", begin, None)
        portal = yield from _portal(own)
        if phase == "at":
            filters = [_filter(_MODIFIED, "EQ", str(at)), _filter("hs_object_id", "GT", after or "0")]
            answer = yield _search(own, filters, "hs_object_id", portal.properties)
        else:
            answer = yield _search(own, [_filter(_MODIFIED, "GTE", str(at))], _MODIFIED, portal.properties)
        found = _results(read_answer(answer))
        records = yield from _with_splits(own, portal, found)
        return RecordPage(records, next_cursor=_next_position(phase, at, found))

    @override
    def deleted(self, credentials: ApiCredentials, since: datetime, cursor: str | None) -> Conversation[RecordPage]:
        own = _own(credentials)
        params = {"archived": "true", "limit": str(_PAGE_LIST_MAX), "properties": _MODIFIED}
        if cursor is not None:
            params["after"] = cursor
        answer = read_answer((yield Call("GET", f"{own.api_url}/crm/v3/objects/deals", params, endpoint="list")))
        dates = {external_id: _instant_or_none(raw.get("archivedAt")) for external_id, raw in _results(answer).items()}
        gone = [Gone(DEALS, external_id, at) for external_id, at in dates.items() if at is None or at >= since]
        return RecordPage(gone=gone, next_cursor=_after(answer))

    @override
    def count(self, credentials: ApiCredentials) -> Conversation[int | None]:
        answer = yield Call(
            "POST", f"{_own(credentials).api_url}/crm/v3/objects/deals/search", json={"limit": 1}, endpoint="search"
        )
        total = read_answer(answer).get("total")
        return total if isinstance(total, int) else None

    @override
    def users(self, credentials: ApiCredentials, cursor: str | None) -> Conversation[UserPage]:
        params = {"limit": str(_PAGE_LIST_MAX)}
        if cursor is not None:
            params["after"] = cursor
        call = Call("GET", f"{_own(credentials).api_url}/crm/v3/owners", params, endpoint="owners")
        answer = read_answer((yield call))
        users = []
        for owner_id, raw in _results(answer).items():
            names = [raw.get("firstName"), raw.get("lastName")]
            name = " ".join(each for each in names if isinstance(each, str) and each)
            email = raw.get("email")
            is_active = raw.get("archived") is not True
            users.append(ApiUser(owner_id, name or None, email if isinstance(email, str) else None, is_active))
        return UserPage(users, _after(answer))


class Hubspot(Adapter):
    """The adapter. The secret is the client secret of the app that sends."""

    source = Source.HUBSPOT
    allow_keys = {"portal_id": False}  # noqa: RUF012
    api = HubspotApi()

    @override
    def new_secret(self, entropy: bytes) -> str:
        return entropy.hex()

    @override
    def check_secret(self, value: str) -> None:
        if not _SECRET.fullmatch(value):
            raise InvalidSecret(
                "The secret does not fit HubSpot.",
                fields=[FieldError("/secret", "is not a client secret", "the app's client secret: 16 to 200 of ASCII")],
            )

    @override
    def verify(self, request: Request, terms: Terms, *, now_seconds: int) -> Rejection | None:
        given, timestamp = request.headers.get(_SIGNATURE), request.headers.get(_TIMESTAMP)
        if not given or not timestamp:
            return Rejection.HEADERS
        if not timestamp.isdigit() or abs(int(timestamp[:20]) - now_seconds * 1000) > _TOLERANCE_MS:
            return Rejection.TIMESTAMP
        address = _DECODED.sub(lambda escape: chr(int(escape[1], 16)), request.base_url + request.target)
        signed = request.method.encode() + address.encode("utf-8", "surrogatepass") + request.body + timestamp
        expected = [b64encode(hmac.digest(secret.encode(), signed, "sha256")) for secret in terms.secrets]
        matches = [hmac.compare_digest(each, given) for each in expected]
        if not any(matches):
            return Rejection.SIGNATURE
        # One app signs for all the portals it is installed in with one secret.
        return None if _of_portals(request.body, terms) else Rejection.SIGNATURE

    @override
    def dedupe_key(self, request: Request) -> str:
        with suppress(Untranslatable):
            keys = sorted(_event_key(event) for _, event in _events(request.body))
            if keys:
                return keys[0] if len(keys) == 1 else f"events:{_digest(' '.join(keys).encode())}"
        return f"body:{_digest(request.body)}"

    @override
    def kept(self, request: Request, terms: Terms) -> bytes:
        """Without events of portals that are not allowed."""
        allowed = _of_portals(request.body, terms)
        if not isinstance(allowed, list):
            return request.body
        with suppress(Untranslatable):
            if len(allowed) == len(list(_events(request.body))):
                return request.body
        return dumps(allowed, default=str).encode()

    @override
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Said]:
        return [said for pointer, event in _events(body) for said in _said_by_event(event, pointer)]

    @override
    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Said]:
        if record.object_name == DEALS:
            return _deals(record, mapping, pointer)
        if record.object_name in _ACTIVITIES:
            fields = _activity_fields(record, _ACTIVITIES[record.object_name], pointer)
            return (canonical_activity(fields, mapping, pointer=pointer),)
        raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, pointer, f"{record.object_name} is no deal and no activity")

    @override
    def translate_gone(self, gone: GoneRecord, mapping: SourceMapping) -> Sequence[Said]:
        return _said_gone(gone.object_name, gone.external_id, gone.at, "")


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()


def _events(body: bytes) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The events of a delivery and where they are. Raises Untranslatable."""
    document = read_json(body)
    events = document if isinstance(document, list) else [document]
    if len(events) > _EVENTS_MAX:
        raise Untranslatable(QuarantineReason.INVALID_FIELD, "", f"expected {_EVENTS_MAX} events at most")
    for index, event in enumerate(events):
        pointer = f"/{index}" if events is document else ""
        if not isinstance(event, dict):
            raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not an event")
        yield pointer, event


def _of_portals(body: bytes, terms: Terms) -> list[Mapping[str, object]] | bool:
    """The events of portals that are allowed; True where all are, or where it cannot be told as it cannot be read."""
    if "portal_id" not in terms.allowed:
        return True
    try:
        return [event for _, event in _events(body) if terms.allows("portal_id", event.get("portalId"))]
    except Untranslatable:
        return True


def _event_key(event: Mapping[str, object]) -> str:
    object_id = event.get("objectId", f"{event.get('fromObjectId')}-{event.get('toObjectId')}")
    parts = (
        event.get("portalId"),
        event.get("subscriptionType"),
        object_id,
        event.get("eventId"),
        event.get("occurredAt"),
    )
    return ":".join(str(part) for part in parts)


def _said_by_event(event: Mapping[str, object], pointer: str) -> Iterator[Said]:
    subject, _, what = str(event.get("subscriptionType")).partition(".")
    if subject == "object":
        object_name = _OBJECT_TYPES.get(str(event.get("objectTypeId")))
    else:
        object_name = DEALS if subject == "deal" else None
    if what == "associationChange":
        for deal_id in _associated_deals(event, pointer):
            yield Fetch(DEALS, deal_id)
        return
    if object_name is None:
        return
    at = _instant(event.get("occurredAt"), f"{pointer}/occurredAt")
    if at is None:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/occurredAt", "is missing")
    if what == "merge" and object_name == DEALS:
        yield from _said_by_merge(event, at, pointer)
        return
    external_id = _record_id(event.get("objectId"), f"{pointer}/objectId")
    if what == "deletion":
        yield from _said_gone(object_name, external_id, at, pointer)
    elif what in ("restore", "merge"):
        yield Fetch(object_name, external_id, at)
    elif what in ("creation", "propertyChange"):
        yield Fetch(object_name, external_id)
    else:
        raise Untranslatable(
            QuarantineReason.UNKNOWN_TYPE,
            f"{pointer}/subscriptionType",
            "expected a creation, deletion, propertyChange, merge, restore or associationChange",
        )


def _said_by_merge(event: Mapping[str, object], at: datetime, pointer: str) -> Iterator[Said]:
    primary = _record_id(event.get("primaryObjectId"), f"{pointer}/primaryObjectId")
    given = event.get("newObjectId")
    merged_into = primary if given is None else _record_id(given, f"{pointer}/newObjectId")
    others = event.get("mergedObjectIds")
    if not isinstance(others, list):
        raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/mergedObjectIds", "is not a list")
    former = [_record_id(each, f"{pointer}/mergedObjectIds/{index}") for index, each in enumerate(others)]
    for external_id in dict.fromkeys([primary, *former]):
        if external_id != merged_into:
            yield _merged_deal(external_id, merged_into, at, pointer)
    yield Fetch(DEALS, merged_into, at)


def _merged_deal(external_id: str, merged_into: str, at: datetime, pointer: str) -> CanonicalDeal:
    fields: dict[str, object] = {
        "external_id": external_id,
        "kind": DealKind.MERGED,
        "merged_into": merged_into,
        "modified_at": at,
    }
    return canonical_deal(fields, {}, SourceMapping(), pointer=pointer)


def _associated_deals(event: Mapping[str, object], pointer: str) -> Iterator[str]:
    """The deals on either side of an association that was made or ended."""
    one, _, other = str(event.get("associationType")).upper().partition("_TO_")
    for side, kind in (("from", one), ("to", other)):
        if event.get(f"{side}ObjectTypeId") == "0-3" or kind == "DEAL":
            yield _record_id(event.get(f"{side}ObjectId"), f"{pointer}/{side}ObjectId")


def _said_gone(object_name: str, external_id: str, at: datetime, pointer: str) -> Sequence[Said]:
    fields: dict[str, object] = {"external_id": external_id, "modified_at": at}
    activity = _ACTIVITIES.get(object_name)
    if activity is None:
        return (canonical_deal({**fields, "kind": DealKind.DELETED}, {}, SourceMapping(), pointer=pointer),)
    gone = {**fields, "is_deleted": True, "type": activity.type}
    return (canonical_activity(gone, SourceMapping(), pointer=pointer),)


def _deals(record: FetchedRecord, mapping: SourceMapping, pointer: str) -> Sequence[CanonicalDeal]:
    """The deal, and those that became part of it."""
    raw = record.raw
    told = _told(raw, pointer)
    within = f"{pointer}/properties"
    stage, closing = told.get("dealstage"), _instant(told.get("closedate"), f"{within}/closedate")
    status = mapping.stages.get(stage or "", _status(told))
    version = dated(record, _modified_at(record, told, pointer))
    fields: dict[str, object] = {
        **version,
        "external_id": _record_id(raw.get("id"), f"{pointer}/id"),
        "status": status,
        "owner_external_id": told.get("hubspot_owner_id"),
        "name": told.get("dealname"),
        "amount": told.get("amount"),
        "currency": told.get("deal_currency_code") or raw.get("_home_currency"),
        "home_amount": told.get("amount_in_home_currency") if raw.get("_home_currency") else None,
        "home_currency": raw.get("_home_currency") if told.get("amount_in_home_currency") else None,
        "created_at": _instant(told.get("createdate"), f"{within}/createdate"),
        "expected_close_on": None if closing is None else closing.date(),
        "closed_at": closing if status in (DealStatus.WON, DealStatus.LOST) else None,
        "stage": stage,
        "pipeline": told.get("pipeline"),
        "probability": _percent(told.get("hs_deal_stage_probability"), f"{within}/hs_deal_stage_probability"),
        "type": told.get("dealtype"),
        "channel": told.get("hs_analytics_source"),
        "account_id": told.get("hs_primary_associated_company"),
        "splits": list(_splits(raw.get("_splits"), pointer)),
        "custom": _custom(told, mapping),
    }
    deal = canonical_deal(fields, {**told, **raw}, mapping, pointer=pointer)
    former = [
        _merged_deal(each, deal.external_id, deal.modified_at, pointer)
        for each in _merged_ids(raw)
        if each != deal.external_id
    ]
    return (deal, *former)


def _told(raw: Mapping[str, object], pointer: str) -> dict[str, str]:
    """The properties that are not empty; all are texts. Raises Untranslatable."""
    properties = member(raw, "properties", pointer=pointer)
    return {name: str(value) for name, value in properties.items() if value is not None and value != ""}


def _status(told: Mapping[str, str]) -> DealStatus | None:
    if told.get("hs_is_closed_won") == "true":
        return DealStatus.WON
    return {"true": DealStatus.LOST, "false": DealStatus.OPEN}.get(told.get("hs_is_closed", ""))


def _modified_at(record: FetchedRecord, told: Mapping[str, str], pointer: str) -> datetime:
    at = _instant(told.get(_MODIFIED), f"{pointer}/properties/{_MODIFIED}") or _instant(
        record.raw.get("updatedAt"), f"{pointer}/updatedAt"
    )
    if at is None:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/properties/{_MODIFIED}", "is missing")
    return at


def _splits(held: object, pointer: str) -> Iterator[dict[str, object]]:
    for index, split in enumerate(held if isinstance(held, list) else ()):
        properties = split.get("properties") if isinstance(split, Mapping) else None
        if not isinstance(properties, Mapping):
            raise Untranslatable(QuarantineReason.INVALID_FIELD, f"{pointer}/_splits/{index}", "has no properties")
        yield {
            "owner_external_id": properties.get("hubspot_owner_id"),
            "percent": _percent(properties.get("hs_deal_split_percentage"), f"{pointer}/_splits/{index}"),
        }


def _percent(share: object, pointer: str) -> Decimal | None:
    """A share of 1 as one of 100. Raises Untranslatable."""
    if share is None:
        return None
    with suppress(ArithmeticError):
        percent = Decimal(str(share)) * 100
        if 0 <= percent <= 100:
            return percent.quantize(Decimal("0.000001")).normalize() + 0
    raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a share between 0 and 1")


def _custom(told: Mapping[str, str], mapping: SourceMapping) -> dict[str, str]:
    """The properties of the portal's own, those with a name of ours first if they are too many."""
    names = [
        name
        for name, value in told.items()
        if name not in _PROPERTIES and not name.startswith("hs_") and len(value) <= _CUSTOM_CHARACTERS_MAX
    ]
    names.sort(key=lambda name: (name not in mapping.custom_fields, name))
    return {name: told[name] for name in names[:CUSTOM_FIELDS_MAX]}


def _merged_ids(raw: Mapping[str, object]) -> list[str]:
    """The deals that a deal was made of."""
    properties = raw.get("properties")
    listed = properties.get(_MERGED) if isinstance(properties, Mapping) else None
    return [each for each in listed.split(";") if _ID.fullmatch(each)] if isinstance(listed, str) else []


def _activity_fields(record: FetchedRecord, activity: _Activity, pointer: str) -> dict[str, object]:
    raw = record.raw
    told = _told(raw, pointer)
    within = f"{pointer}/properties"
    start = _instant(told.get("hs_meeting_start_time"), within) or _instant(told.get("hs_timestamp"), within)
    end = _instant(told.get("hs_meeting_end_time"), within)
    duration: object = None
    if _number(told.get("hs_call_duration")) is not None:
        duration = int(told["hs_call_duration"]) // 1000
    elif start is not None and end is not None and end >= start:
        duration = int((end - start).total_seconds())
    deals = raw.get("_deals")
    return {
        **dated(record, _modified_at(record, told, pointer)),
        "external_id": _record_id(raw.get("id"), f"{pointer}/id"),
        "type": activity.type,
        "status": activity.statuses.get(told.get(activity.status, ""), activity.otherwise),
        "owner_external_id": told.get("hubspot_owner_id"),
        "subject": told.get(activity.subject, "")[:500] or None,
        "occurred_at": start,
        "duration_seconds": duration,
        "outcome": told.get("hs_call_disposition") or told.get("hs_meeting_outcome"),
        "deal_external_id": str(deals[0]) if isinstance(deals, list) and deals else None,
    }


def _record_id(value: object, pointer: str) -> str:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not _ID.fullmatch(text):
        reason = QuarantineReason.MISSING_FIELD if value is None else QuarantineReason.INVALID_FIELD
        raise Untranslatable(reason, pointer, "is not the id of a record")
    return text


def _instant(value: object, pointer: str) -> datetime | None:
    """ISO 8601, or Unix milliseconds as a number or as digits. Raises Untranslatable."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, int) or (isinstance(value, str) and value.isascii() and value.isdigit()):
            return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(value))
        instant = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError):
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a time") from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _own(credentials: ApiCredentials) -> HubspotCredentials:
    if not isinstance(credentials, HubspotCredentials):
        raise TypeError(f"credentials of {credentials.source}")
    return credentials


def _portal(own: HubspotCredentials) -> Conversation[_Portal]:
    properties = list(_PROPERTIES)
    answer = yield Call("GET", f"{own.api_url}/crm/v3/properties/deals", endpoint="properties")
    if answer.status == 200:
        listed = read_answer(answer).get("results")
        names = [
            str(each.get("name"))
            for each in (listed if isinstance(listed, list) else ())
            if isinstance(each, Mapping) and each.get("hubspotDefined") is not True and each.get("archived") is not True
        ]
        properties += sorted(name for name in names if name not in _PROPERTIES)[:CUSTOM_FIELDS_MAX]
    answer = yield Call("GET", f"{own.api_url}/settings/v3/currencies/company-currency", endpoint="currency")
    code = read_answer(answer).get("currencyCode") if answer.status == 200 else None
    return _Portal(tuple(properties), code if isinstance(code, str) else None)


def _properties_of(activity: _Activity) -> tuple[str, ...]:
    return (_MODIFIED, "hs_timestamp", "hubspot_owner_id", activity.subject, activity.status, *activity.others)


def _read(
    own: HubspotCredentials, object_name: str, ids: Sequence[str], properties: Sequence[str], *, archived: bool
) -> Conversation[dict[str, Mapping[str, object]]]:
    """The records with these ids, by the ids they have now."""
    answer = yield Call(
        "POST",
        f"{own.api_url}/crm/v3/objects/{object_name}/batch/read",
        {"archived": "true"} if archived else {},
        json={"inputs": [{"id": each} for each in ids], "properties": list(properties)},
        endpoint="read",
    )
    if answer.status == 404:
        return {}
    document = read_answer(answer)
    errors = document.get("errors")
    for error in errors if isinstance(errors, list) else ():
        if not isinstance(error, Mapping) or error.get("category") != "OBJECT_NOT_FOUND":
            raise UnexpectedAnswer(f"some of the records could not be read: {str(error)[:300]}")
    return _results(document)


def _with_splits(
    own: HubspotCredentials, portal: _Portal, found: Mapping[str, Mapping[str, object]]
) -> Conversation[list[RawRecord]]:
    """Deals with how they are split, where they are."""
    splits: dict[str, object] = {}
    ids = list(found)
    for start in range(0, len(ids), _PAGE_LIST_MAX):
        answer = yield Call(
            "POST",
            f"{own.api_url}/crm/v3/objects/deals/splits/batch/read",
            json={"inputs": [{"id": each} for each in ids[start : start + _PAGE_LIST_MAX]]},
            endpoint="splits",
        )
        if answer.status not in (200, 207):
            break
        splits |= {deal_id: raw.get("splits") for deal_id, raw in _results(read_answer(answer)).items()}
    return [
        RawRecord(
            DEALS,
            deal_id,
            {**raw, "_home_currency": portal.home_currency, "_splits": splits.get(deal_id) or []},
        )
        for deal_id, raw in found.items()
    ]


def _with_deals(
    own: HubspotCredentials, object_name: str, found: Mapping[str, Mapping[str, object]]
) -> Conversation[list[RawRecord]]:
    """Activities with the deals they are about."""
    deals: dict[str, list[str]] = {}
    if found:
        answer = yield Call(
            "POST",
            f"{own.api_url}/crm/v4/associations/{object_name}/deals/batch/read",
            json={"inputs": [{"id": each} for each in found]},
            endpoint="associations",
        )
        listed = read_answer(answer).get("results") if answer.status in (200, 207) else None
        for each in listed if isinstance(listed, list) else ():
            source, targets = (each.get("from"), each.get("to")) if isinstance(each, Mapping) else (None, None)
            if isinstance(source, Mapping) and isinstance(targets, list):
                ids = [str(target.get("toObjectId")) for target in targets if isinstance(target, Mapping)]
                deals[str(source.get("id"))] = sorted(ids)
    return [
        RawRecord(object_name, external_id, {**raw, "_deals": deals.get(external_id, [])})
        for external_id, raw in found.items()
    ]


def _filter(name: str, operator: str, value: str) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": value}


def _search(
    own: HubspotCredentials, filters: Sequence[Mapping[str, str]], sort: str, properties: Sequence[str]
) -> Call:
    return Call(
        "POST",
        f"{own.api_url}/crm/v3/objects/deals/search",
        json={
            "filterGroups": [{"filters": [dict(each) for each in filters]}],
            "sorts": [{"propertyName": sort, "direction": "ASCENDING"}],
            "properties": list(properties),
            "limit": _PAGE_SEARCH_MAX,
        },
        endpoint="search",
    )


def _next_position(phase: str, at: int, found: Mapping[str, Mapping[str, object]]) -> str | None:
    """Where the walk goes on. A page that is full of one moment is followed by the rest of that moment, by id."""
    is_full = len(found) >= _PAGE_SEARCH_MAX
    if phase == "at":
        return f"at:{at}:{max(int(each) for each in found)}" if is_full else f"from:{at + 1}"
    if not is_full:
        return None
    last = max(_modified_ms(raw) for raw in found.values())
    return f"from:{last}" if last > at else f"at:{at}:0"


def _modified_ms(raw: Mapping[str, object]) -> int:
    properties = raw.get("properties")
    at = _instant_or_none(properties.get(_MODIFIED) if isinstance(properties, Mapping) else None)
    if at is None:
        raise UnexpectedAnswer(f"a deal has no {_MODIFIED}")
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def _results(document: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    results = document.get("results")
    if not isinstance(results, list):
        raise UnexpectedAnswer("the answer has no results")
    found: dict[str, Mapping[str, object]] = {}
    for each in results:
        external_id = str(each.get("id")) if isinstance(each, Mapping) else ""
        if not _ID.fullmatch(external_id):
            raise UnexpectedAnswer("a result has no id")
        found[external_id] = each
    return found


def _after(document: Mapping[str, object]) -> str | None:
    """Where the next page of a list begins."""
    paging = document.get("paging")
    following = paging.get("next") if isinstance(paging, Mapping) else None
    after = following.get("after") if isinstance(following, Mapping) else None
    return None if after is None else str(after)


def _instant_or_none(value: object) -> datetime | None:
    try:
        return _instant(value, "")
    except Untranslatable as error:
        raise UnexpectedAnswer(f"{str(value)[:100]} is not a time") from error


class _Error(NamedTuple):
    category: str
    message: str
    policy: str


def _error(answer: Answer) -> _Error:
    with suppress(Untranslatable):
        document = read_json(answer.body)
        if isinstance(document, Mapping):
            category = document.get("category") or document.get("errorType") or ""
            return _Error(str(category), str(document.get("message") or ""), str(document.get("policyName") or ""))
    return _Error("", "", "")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,12}", text, re.ASCII) else None


def _seconds(text: str | None) -> timedelta | None:
    seconds = _number(text)
    return None if seconds is None or seconds > 10**6 else timedelta(seconds=seconds)
