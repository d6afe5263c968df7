"""HubSpot: webhooks of version 3.

A webhook names what changed, one property of one record an event; the record as it is now is fetched. The signature is
over the address that HubSpot called, so it takes the public address of this service.

Deals that are merged become a third one. It lists those it was made of, so that a merge that no webhook stated is found
with the deal's next change.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from json import dumps
from typing import Final
from zoneinfo import ZoneInfo

from typing_extensions import override

from services.tracking.intake.sources.adapter import (
    Adapter,
    Fetch,
    PassedOver,
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
    CanonicalDeal,
    canonical_activity,
    canonical_deal,
    product_line,
)
from services.tracking.intake.sources.domain import (
    InvalidSecret,
    QuarantineReason,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.intake.sources.hubspot.api import (
    ACTIVITIES,
    DEALS,
    INVOICES,
    LINES,
    MODIFIED,
    PARTS,
    PAYMENTS,
    PROPERTIES,
    RECORD_ID,
    ActivityObject,
    HubspotApi,
    merged_ids,
)
from services.tracking.intake.sources.source_api import FetchedRecord, GoneRecord
from services.tracking.intake.sources.values import only_text, stated_moment
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.errors import FieldError
from shared.kernel.reading import read_decimal, read_whole_number

_SIGNATURE: Final = b"x-hubspot-signature-v3"
_TIMESTAMP: Final = b"x-hubspot-request-timestamp"
_TOLERANCE_MS: Final = 300_000
_SECRET: Final = re.compile(r"[!-~]{16,200}")
_DECODED: Final = re.compile(r"%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
"""Of the escapes in an address, those that are decoded before it is signed."""
_EVENTS_MAX: Final = 100
_LOST: Final = "disputed_lost"
_COLLECTED: Final = frozenset(
    {
        "succeeded",
        "processing_refund",
        "partially_refunded",
        "refunded",
        "disputed_won",
        "disputed_action_required",
        "disputed_awaiting_decision",
        _LOST,
    }
)
"""The statuses of payments that came in, whatever became of them afterwards."""
_NO_INVOICE: Final = frozenset({"draft", "voided"})
"""The statuses of invoices that are not sent yet, or were taken back."""
_DURATION_MAX: Final = 10**12 - 1
_DIAGNOSED_BYTES_MAX: Final = 64 * 1024
_HOST_CHARACTERS_MAX: Final = 255
_OBJECT_TYPES: Final = {
    "0-3": DEALS,
    "0-48": "calls",
    "0-47": "meetings",
    "0-49": "emails",
    "0-27": "tasks",
    "0-8": LINES,
    "0-101": PAYMENTS,
    "0-53": INVOICES,
}
_OBJECT_TYPE: Final = re.compile(r"[0-9]{1,2}-[0-9]{1,12}", re.ASCII)
_NOT_COUNTED: Final = frozenset({"contact", "company", "ticket", "product", "conversation", "lead", "quote"})
"""The subjects of subscriptions that are no records here."""
_SUBJECTS: Final = {"deal": DEALS, "line_item": LINES}
"""The objects of subscriptions that name one."""


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
    def verify(self, request: Request, rules: SenderRules, *, now_seconds: int) -> Rejection | None:
        given, timestamp = request.headers.get(_SIGNATURE), request.headers.get(_TIMESTAMP)
        if not given or not timestamp:
            return Rejection.HEADERS
        if not timestamp.isdigit() or abs(int(timestamp[:20]) - now_seconds * 1000) > _TOLERANCE_MS:
            return Rejection.TIMESTAMP
        if not _is_signed(request, rules, request.base_url):
            return _why_not_signed(request, rules)
        # One app signs for all the portals it is installed in with one secret.
        return None if _of_portals(request.body, rules) else Rejection.NOT_ALLOWED

    @override
    def dedupe_key(self, request: Request) -> str:
        with suppress(Untranslatable):
            keys = sorted(_event_key(event) for _, event in _events(request.body))
            if keys:
                joined = " ".join(keys).encode("utf-8", "surrogatepass")
                return keys[0] if len(keys) == 1 else f"events:{digest(joined)}"
        return f"body:{digest(request.body)}"

    @override
    def body_to_store(self, request: Request, rules: SenderRules) -> bytes:
        """Without events of portals that are not allowed."""
        allowed = _of_portals(request.body, rules)
        if not isinstance(allowed, list):
            return request.body
        with suppress(Untranslatable):
            if len(allowed) == len(list(_events(request.body))):
                return request.body
        return dumps(allowed, default=str).encode()

    @override
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Statement]:
        return statements_of_each(_events(body), lambda each: _statements_of_event(each[1], each[0]))

    @override
    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Statement]:
        if record.object_name == DEALS:
            return _deals(record, mapping, pointer)
        if record.object_name in ACTIVITIES:
            fields = _activity_fields(record, ACTIVITIES[record.object_name], pointer)
            return (canonical_activity(fields, mapping, pointer=pointer),)
        raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, pointer, f"{record.object_name} is no deal and no activity")

    @override
    def translate_gone(self, gone: GoneRecord, mapping: SourceMapping) -> Sequence[Statement]:
        return _statements_of_gone(gone.object_name, gone.external_id, gone.at, "")


def _is_signed(request: Request, rules: SenderRules, base_url: str) -> bool:
    """Whether a valid secret signed the request, had it gone to this address of the service."""
    address = _DECODED.sub(lambda escape: chr(int(escape[1], 16)), base_url + request.target)
    signed = b"%b%b%b%b" % (
        request.method.encode(),
        address.encode("utf-8", "surrogatepass"),
        request.body,
        request.headers[_TIMESTAMP],
    )
    expected = [b64encode(hmac.digest(secret.encode(), signed, "sha256")) for secret in rules.secrets]
    matches = [hmac.compare_digest(each, request.headers[_SIGNATURE]) for each in expected]
    return any(matches)


def _why_not_signed(request: Request, rules: SenderRules) -> Rejection:
    """Whether the secret is another one, or the address that was signed.

    Only so that the one to repair can be named: what is signed for another address is refused all the same. Tried
    are the addresses that the request and the proxies before this service name, of bodies of usual size.
    """
    if len(request.body) > _DIAGNOSED_BYTES_MAX:
        return Rejection.SIGNATURE
    _, _, known = request.base_url.partition("://")
    host, slash, path = known.partition("/")
    named = (request.headers.get(b"host"), request.headers.get(b"x-forwarded-host"))
    hosts = dict.fromkeys((*(name.decode("latin-1")[:_HOST_CHARACTERS_MAX] for name in named if name), host))
    addresses = {
        f"{scheme}://{each}{prefix}" for scheme in ("https", "http") for each in hosts for prefix in {slash + path, ""}
    }
    is_of_another_address = any(_is_signed(request, rules, address) for address in addresses)
    return Rejection.ADDRESS if is_of_another_address else Rejection.SIGNATURE


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


def _of_portals(body: bytes, rules: SenderRules) -> list[Mapping[str, object]] | bool:
    """The events of portals that are allowed; True where all are, or where it cannot be read."""
    if "portal_id" not in rules.allowed:
        return True
    try:
        return [event for _, event in _events(body) if rules.allows("portal_id", event.get("portalId"))]
    except Untranslatable:
        return True


def _type_of(event: Mapping[str, object]) -> object:
    """What happened to what. HubSpot's own example of a webhook has it under the name that subscribing has for it."""
    return event.get("subscriptionType", event.get("eventType"))


def _is_record(event: Mapping[str, object]) -> bool:
    """Whether it is a record, as workflows send them, which is no event but names what it is of."""
    return _type_of(event) is None and "objectTypeId" in event and "objectId" in event


def _event_key(event: Mapping[str, object]) -> str:
    if _is_record(event):
        # It has neither an id nor a time of its own.
        return f"record:{digest(dumps(event, default=str, sort_keys=True).encode())}"
    object_id = event.get("objectId", f"{event.get('fromObjectId')}-{event.get('toObjectId')}")
    parts = (
        event.get("portalId"),
        _type_of(event),
        object_id,
        event.get("eventId"),
        event.get("occurredAt"),
    )
    return ":".join(str(part) for part in parts)


def _statements_of_event(event: Mapping[str, object], pointer: str) -> Iterator[Statement]:
    if _is_record(event):
        yield _statement_of_record(event, pointer)
        return
    subject, _, what = str(_type_of(event)).partition(".")
    object_name = _OBJECT_TYPES.get(str(event.get("objectTypeId"))) if subject == "object" else _SUBJECTS.get(subject)
    if what == "associationChange":
        # It leaves the deal's own time as it was.
        associated_at = stated_moment(event.get("occurredAt"), f"{pointer}/occurredAt")
        deal_ids = list(_associated_deals(event, pointer))
        for deal_id in deal_ids:
            yield Fetch(DEALS, deal_id, associated_at)
        if not deal_ids:
            yield PassedOver(f"an association of {event.get('associationType') or subject}")
        return
    if object_name is None:
        yield _passed_over(event, subject, what, pointer)
        return
    at = stated_moment(event.get("occurredAt"), f"{pointer}/occurredAt")
    if at is None:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/occurredAt", "is missing")
    if what == "merge" and object_name == DEALS:
        yield from _statements_of_merge(event, at, pointer)
        return
    external_id = _record_id(event.get("objectId"), f"{pointer}/objectId")
    if what == "deletion":
        yield from _statements_of_gone(object_name, external_id, at, pointer)
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


def _statement_of_record(event: Mapping[str, object], pointer: str) -> Statement:
    """A record is fetched like one that changed: what a workflow sends of it may be older. Raises Untranslatable."""
    object_name = _OBJECT_TYPES.get(str(event["objectTypeId"]))
    if object_name is None:
        return _passed_over(event, "object", "record", pointer)
    return Fetch(object_name, _record_id(event["objectId"], f"{pointer}/objectId"))


def _passed_over(event: Mapping[str, object], subject: str, what: str, pointer: str) -> PassedOver:
    """That an event is about another object. Raises Untranslatable where it does not name one."""
    kind = event.get("objectTypeId")
    if what and subject == "object" and isinstance(kind, str) and _OBJECT_TYPE.fullmatch(kind):
        return PassedOver(f"object {kind}")
    if what and subject in _NOT_COUNTED:
        return PassedOver(subject)
    raise Untranslatable(
        QuarantineReason.UNKNOWN_TYPE,
        f"{pointer}/subscriptionType",
        "is not one of an app's webhooks, such as deal.propertyChange, and the body is no record as workflows send it:"
        " it names no objectTypeId and objectId; subscribe the app to deals",
    )


def _statements_of_merge(event: Mapping[str, object], at: datetime, pointer: str) -> Iterator[Statement]:
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


def _statements_of_gone(object_name: str, external_id: str, at: datetime, pointer: str) -> Sequence[Statement]:
    if object_name in PARTS:
        return ()
    fields: dict[str, object] = {"external_id": external_id, "modified_at": at}
    activity = ACTIVITIES.get(object_name)
    if activity is None:
        return (canonical_deal({**fields, "kind": DealKind.DELETED}, {}, SourceMapping(), pointer=pointer),)
    gone = {**fields, "is_deleted": True, "type": activity.type}
    return (canonical_activity(gone, SourceMapping(), pointer=pointer),)


def _deals(record: FetchedRecord, mapping: SourceMapping, pointer: str) -> Sequence[CanonicalDeal]:
    """The deal, and those that became part of it."""
    raw = record.raw
    properties = _properties(raw, pointer)
    within = f"{pointer}/properties"
    stage, closing = properties.get("dealstage"), stated_moment(properties.get("closedate"), f"{within}/closedate")
    status = mapping.status_of(stage, _status(properties))
    lines, paid, invoiced = (list(_parts(raw, name, pointer)) for name in ("_lines", "_payments", "_invoices"))
    times = [stated_moment(part.get(MODIFIED), f"{pointer}/{MODIFIED}") for part in (*lines, *paid, *invoiced)]
    at = max([_modified_at(record, properties, pointer), *(time for time in times if time is not None)])
    currency = properties.get("deal_currency_code") or only_text(raw.get("_home_currency"))
    version = dated(record, at)
    fields: dict[str, object] = {
        **version,
        "external_id": _record_id(raw.get("id"), f"{pointer}/id"),
        "status": status,
        "owner_external_id": properties.get("hubspot_owner_id"),
        "name": properties.get("dealname"),
        "amount": properties.get("amount"),
        "currency": currency,
        "home_amount": properties.get("amount_in_home_currency") if raw.get("_home_currency") else None,
        "home_currency": raw.get("_home_currency") if properties.get("amount_in_home_currency") else None,
        "created_at": stated_moment(properties.get("createdate"), f"{within}/createdate"),
        "expected_close_at": closing,
        "closed_at": closing if status in (DealStatus.WON, DealStatus.LOST) else None,
        "stage": stage,
        "pipeline": properties.get("pipeline"),
        "probability": _percent(properties.get("hs_deal_stage_probability"), f"{within}/hs_deal_stage_probability"),
        "type": properties.get("dealtype"),
        "channel": properties.get("hs_analytics_source"),
        "account_id": properties.get("hs_primary_associated_company"),
        "splits": list(_splits(raw.get("_splits"), pointer)),
        "products": [
            product_line(line.get("hs_sku") or line.get("hs_product_id"), line.get("quantity"), line.get("amount"))
            for line in lines
        ],
        "payments": list(_payments(paid, currency, raw.get("_time_zone"), pointer)),
        "invoices": list(_invoices(invoiced, currency, raw.get("_time_zone"), pointer)),
        "custom": _custom(properties, mapping),
    }
    owner_teams = [properties.get("hubspot_team_id")]
    deal = canonical_deal(fields, {**properties, **raw}, mapping, pointer=pointer, owner_teams=owner_teams)
    former = [
        _merged_deal(each, deal.external_id, deal.modified_at, pointer)
        for each in merged_ids(raw)
        if each != deal.external_id
    ]
    return (deal, *former)


def _parts(raw: Mapping[str, object], name: str, pointer: str) -> Iterator[dict[str, str]]:
    """The properties of what belongs to a deal; a line that is of no product is known by its own id."""
    parts = raw.get(name)
    for index, part in enumerate(parts if isinstance(parts, list) else ()):
        if not isinstance(part, Mapping):
            raise Untranslatable(QuarantineReason.INVALID_FIELD, f"{pointer}/{name}/{index}", "is not an object")
        yield {"hs_product_id": str(part.get("id")), **_properties(part, f"{pointer}/{name}/{index}")}


def _payments(
    paid: Sequence[Mapping[str, str]], currency: str | None, time_zone: object, pointer: str
) -> Iterator[dict[str, object]]:
    """What came in, and what of it was given back: on the same day, as HubSpot does not state when that was.

    The tenant's calendar decides the day of the moment; beside it is that of the portal's time zone, or of UTC where
    that cannot be seen. Raises Untranslatable.
    """
    for index, payment in enumerate(paid):
        status, within = payment.get("hs_latest_status"), f"{pointer}/_payments/{index}"
        if status not in _COLLECTED:
            continue
        at = _moment_of(payment, "hs_initiated_date", "hs_currency_code", currency, within)
        day, amount = at.astimezone(_zone(time_zone)).date(), payment.get("hs_initial_amount")
        yield {"paid_on": day, "paid_at": at, "amount": amount}
        returned = amount if status == _LOST else payment.get("hs_refunds_amount")
        with suppress(ArithmeticError):
            if returned is not None and Decimal(returned):
                yield {"paid_on": day, "paid_at": at, "amount": -Decimal(returned)}


def _invoices(
    invoiced: Sequence[Mapping[str, str]], currency: str | None, time_zone: object, pointer: str
) -> Iterator[dict[str, object]]:
    """What was invoiced, with its days as `_payments` has them. Raises Untranslatable."""
    for index, invoice in enumerate(invoiced):
        if invoice.get("hs_invoice_status") in _NO_INVOICE or "hs_amount_billed" not in invoice:
            continue
        at = _moment_of(invoice, "hs_invoice_date", "hs_currency", currency, f"{pointer}/_invoices/{index}")
        day = at.astimezone(_zone(time_zone)).date()
        yield {"invoiced_on": day, "invoiced_at": at, "amount": invoice["hs_amount_billed"]}


def _moment_of(part: Mapping[str, str], date: str, stated_in: str, currency: str | None, pointer: str) -> datetime:
    """When money of a deal's own currency was paid or invoiced. Raises Untranslatable."""
    at = stated_moment(part.get(date), f"{pointer}/{date}")
    if at is None:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/{date}", "is missing")
    if part.get(stated_in, currency) != currency:
        raise Untranslatable(
            QuarantineReason.INVALID_FIELD, f"{pointer}/{stated_in}", "is another currency than the deal's"
        )
    return at


def _zone(name: object) -> tzinfo:
    with suppress(KeyError, ValueError, OSError):
        return ZoneInfo(name) if isinstance(name, str) and name else UTC
    return UTC


def _properties(raw: Mapping[str, object], pointer: str) -> dict[str, str]:
    """The properties that are not empty; all are texts. Raises Untranslatable."""
    properties = member(raw, "properties", pointer=pointer)
    return {name: str(value) for name, value in properties.items() if value is not None and value != ""}


def _status(properties: Mapping[str, str]) -> DealStatus | None:
    if properties.get("hs_is_closed_won") == "true":
        return DealStatus.WON
    return {"true": DealStatus.LOST, "false": DealStatus.OPEN}.get(properties.get("hs_is_closed", ""))


def _modified_at(record: FetchedRecord, properties: Mapping[str, str], pointer: str) -> datetime:
    at = stated_moment(properties.get(MODIFIED), f"{pointer}/properties/{MODIFIED}") or stated_moment(
        record.raw.get("updatedAt"), f"{pointer}/updatedAt"
    )
    if at is None:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/properties/{MODIFIED}", "is missing")
    return at


def _splits(parts: object, pointer: str) -> Iterator[dict[str, object]]:
    for index, split in enumerate(parts if isinstance(parts, list) else ()):
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
    number = read_decimal(share)
    if number is not None and 0 <= number <= 1:
        return number * 100
    raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a share between 0 and 1")


def _custom(properties: Mapping[str, str], mapping: SourceMapping) -> dict[str, str]:
    """The properties of the portal's own, those with a name of ours first if they are too many."""
    names = [
        name
        for name, value in properties.items()
        if name not in PROPERTIES and not name.startswith("hs_") and len(value) <= CUSTOM_CHARACTERS_MAX
    ]
    names.sort(key=lambda name: (name not in mapping.custom_fields, name))
    return {name: properties[name] for name in names[:CUSTOM_FIELDS_MAX]}


def _activity_fields(record: FetchedRecord, activity: ActivityObject, pointer: str) -> dict[str, object]:
    raw = record.raw
    properties = _properties(raw, pointer)
    within = f"{pointer}/properties"
    start = stated_moment(properties.get("hs_meeting_start_time"), within) or stated_moment(
        properties.get("hs_timestamp"), within
    )
    end = stated_moment(properties.get("hs_meeting_end_time"), within)
    duration: object = None
    if read_whole_number(properties.get("hs_call_duration"), maximum=_DURATION_MAX) is not None:
        duration = int(properties["hs_call_duration"]) // 1000
    elif start is not None and end is not None and end >= start:
        duration = int((end - start).total_seconds())
    deals = raw.get("_deals")
    return {
        **dated(record, _modified_at(record, properties, pointer)),
        "external_id": _record_id(raw.get("id"), f"{pointer}/id"),
        "type": activity.type,
        "status": activity.statuses.get(properties.get(activity.status, ""), activity.otherwise),
        "owner_external_id": properties.get("hubspot_owner_id"),
        "subject": properties.get(activity.subject, "")[:500] or None,
        "occurred_at": start,
        "duration_seconds": duration,
        "outcome": properties.get("hs_call_disposition") or properties.get("hs_meeting_outcome"),
        "deal_external_id": str(deals[0]) if isinstance(deals, list) and deals else None,
    }


def _record_id(value: object, pointer: str) -> str:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not RECORD_ID.fullmatch(text):
        reason = QuarantineReason.MISSING_FIELD if value is None else QuarantineReason.INVALID_FIELD
        raise Untranslatable(reason, pointer, "is not the id of a record")
    return text
