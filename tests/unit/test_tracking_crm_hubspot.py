"""HubSpot: who sent it, is it the same again, what does it say, and how its API is asked."""

import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hmac import digest
from typing import Final
from uuid import UUID

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from services.tracking.intake.inbox.events import event_of
from services.tracking.intake.sources.adapter import Fetch, PassedOver, Request, SenderRules, Statement
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import (
    InvalidSecret,
    QuarantineReason,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
    Verdict,
)
from services.tracking.intake.sources.hubspot.adapter import Hubspot
from services.tracking.intake.sources.hubspot.api import HubspotCredentials
from services.tracking.intake.sources.source_api import FetchedRecord, GoneRecord, UnexpectedAnswer
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DateField, DealKind, DealStatus
from shared.kernel.periods import CalendarChange, FiscalCalendar
from tests.played.connections import connection_of
from tests.played.conversations import Caller, NotOk
from tests.played.crms import PlainDeal
from tests.played.hubspot import PORTAL, TOKEN, PlayedHubspot

HUBSPOT: Final = Hubspot()
NO_MAPPING: Final = SourceMapping()
NOW: Final = datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
NOW_MS: Final = int(NOW.timestamp() * 1000)

VECTOR_SECRET: Final = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
VECTOR_MS: Final = 1693657560000
VECTOR_SIGNATURE: Final = "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y="
VECTOR_BODY: Final = b"{'example_field':'example_value'}"
TERMS: Final = SenderRules((VECTOR_SECRET,))


def request(
    body: bytes = VECTOR_BODY,
    *,
    signature: str | None = VECTOR_SIGNATURE,
    ms: int | str = VECTOR_MS,
    target: str = "/webhook_uri",
    base_url: str = "https://www.example.com",
    **headers: str,
) -> Request:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    named[b"x-hubspot-request-timestamp"] = str(ms).encode()
    if signature is not None:
        named[b"x-hubspot-signature-v3"] = signature.encode()
    return Request("POST", base_url, target, "", named, body)


def signed(body: bytes, *, address: str = "https://www.example.com/webhook_uri", secret: str = VECTOR_SECRET) -> str:
    content = b"POST" + address.encode() + body + str(VECTOR_MS).encode()
    return b64encode(digest(secret.encode(), content, "sha256")).decode()


def verdict(given: Request, terms: SenderRules = TERMS, *, now_seconds: int = VECTOR_MS // 1000) -> Rejection | None:
    return HUBSPOT.verify(given, terms, now_seconds=now_seconds)


def event(what: str, **changes: object) -> dict[str, object]:
    return {
        "eventId": 3816279340,
        "subscriptionId": 25,
        "portalId": PORTAL,
        "occurredAt": NOW_MS,
        "subscriptionType": what,
        "attemptNumber": 0,
        "objectId": 1246965,
    } | changes


def said(*events: object) -> list[Statement]:
    return list(HUBSPOT.translate(json.dumps(list(events)).encode(), NO_MAPPING))


def deals_of(
    properties: dict[str, object], mapping: SourceMapping = NO_MAPPING, floor: datetime | None = None, **raw: object
) -> list[CanonicalDeal]:
    whole = {
        "dealstage": "closedwon",
        "hs_is_closed": "true",
        "hs_is_closed_won": "true",
        "hs_lastmodifieddate": "2026-03-31T18:40:02Z",
    } | properties
    record = FetchedRecord("deals", {"id": "1246965", "properties": whole, **raw}, NOW + timedelta(seconds=3), floor)
    return [each for each in HUBSPOT.translate_record(record, mapping, pointer="/r") if isinstance(each, CanonicalDeal)]


def deal_of(properties: dict[str, object], mapping: SourceMapping = NO_MAPPING, **raw: object) -> CanonicalDeal:
    (deal,) = deals_of(properties, mapping, **raw)  # type: ignore[arg-type]
    return deal


def test_the_published_vector_is_accepted() -> None:
    assert verdict(request()) is None


def test_any_change_of_what_is_signed_is_refused() -> None:
    assert verdict(request(VECTOR_BODY + b" ")) is Rejection.SIGNATURE
    assert verdict(request(target="/webhook_uri?x=1")) is Rejection.SIGNATURE
    assert verdict(request(ms=VECTOR_MS + 1)) is Rejection.SIGNATURE
    assert verdict(request()._replace(method="PUT")) is Rejection.SIGNATURE
    assert verdict(request(), SenderRules(("zzzzzzzz-yyyy-yyyy-yyyy-yyyyyyyyyyyy",))) is Rejection.SIGNATURE


@pytest.mark.parametrize(
    ("late_by", "expected"), [(300, None), (301, Rejection.TIMESTAMP), (-300, None), (-301, Rejection.TIMESTAMP)]
)
def test_a_delivery_is_accepted_within_five_minutes_either_way(late_by: int, expected: Rejection | None) -> None:
    assert verdict(request(), now_seconds=VECTOR_MS // 1000 + late_by) is expected


@pytest.mark.parametrize(
    ("base_url", "headers"),
    [
        ("http://www.example.com", {}),
        ("http://localhost:8002", {b"host": b"www.example.com"}),
        ("https://tracking.internal", {b"host": b"10.0.0.7", b"x-forwarded-host": b"www.example.com"}),
        ("https://www.example.com/attain", {}),
    ],
)
def test_what_is_signed_for_another_address_is_refused_for_that_and_not_for_its_secret(
    base_url: str, headers: dict[bytes, bytes]
) -> None:
    given = request(base_url=base_url)
    given = given._replace(headers={**given.headers, **headers})
    assert verdict(given) is Rejection.ADDRESS
    other = SenderRules(("zzzzzzzz-yyyy-yyyy-yyyy-yyyyyyyyyyyy",))
    assert verdict(given, other) is Rejection.SIGNATURE
    unnamed = request(base_url="https://elsewhere.example", host="10.0.0.7")
    assert verdict(unnamed) is Rejection.SIGNATURE, "no address that could be guessed was signed"


def test_a_time_in_seconds_or_that_is_no_number_is_refused() -> None:
    assert verdict(request(ms=VECTOR_MS // 1000)) is Rejection.TIMESTAMP
    assert verdict(request(ms="now")) is Rejection.TIMESTAMP
    assert verdict(request(ms="9" * 5000)) is Rejection.TIMESTAMP


def test_signatures_of_the_first_two_versions_are_refused() -> None:
    old = request(signature=None, x_hubspot_signature="0" * 64, x_hubspot_signature_version="v2")
    assert verdict(old) is Rejection.HEADERS


def test_while_rotating_either_of_two_secrets_will_do() -> None:
    assert verdict(request(), SenderRules(("another-secret-than-that", VECTOR_SECRET))) is None


def test_only_the_listed_escapes_are_decoded_before_signing() -> None:
    target = "/hooks/a%3Ab%2fc%20d%25?x=%40%21%24%27%28%29%2A%2C%3B%3F%26"
    decoded = "/hooks/a:b/c%20d%25?x=@!$'()*,;?%26"
    good = signed(VECTOR_BODY, address="https://www.example.com" + decoded)
    assert verdict(request(target=target, signature=good)) is None
    assert verdict(request(target=target, signature=signed(VECTOR_BODY, address=target))) is Rejection.SIGNATURE


def test_the_secret_is_one_that_an_app_could_have() -> None:
    HUBSPOT.check_secret(VECTOR_SECRET)
    HUBSPOT.check_secret(HUBSPOT.new_secret(bytes(range(32))))
    for unfit in ("", "short", "with a space in it, long enough", "ü" * 20):
        with pytest.raises(InvalidSecret):
            HUBSPOT.check_secret(unfit)


def of_portals(*portals: int) -> Request:
    body = json.dumps([event("deal.creation", portalId=portal, objectId=portal) for portal in portals]).encode()
    return request(body, signature=signed(body))


def test_events_of_portals_that_are_not_allowed_are_neither_taken_nor_kept() -> None:
    terms = SenderRules((VECTOR_SECRET,), {"portal_id": frozenset({"33"})})
    assert verdict(of_portals(34)) is None
    assert verdict(of_portals(34), terms) is Rejection.NOT_ALLOWED
    assert verdict(of_portals(33, 34), terms) is None
    assert HUBSPOT.translate(HUBSPOT.body_to_store(of_portals(33, 34), terms), NO_MAPPING) == [Fetch("deals", "33")]
    assert HUBSPOT.body_to_store(of_portals(33), terms) == of_portals(33).body


def test_a_signed_body_that_is_no_json_is_taken_and_put_in_quarantine() -> None:
    terms = SenderRules((VECTOR_SECRET,), {"portal_id": frozenset({"33"})})
    assert verdict(request(), terms) is None
    with pytest.raises(Untranslatable) as refused:
        HUBSPOT.translate(HUBSPOT.body_to_store(request(), terms), NO_MAPPING)
    assert refused.value.reason is QuarantineReason.NOT_JSON


def key(*events: object) -> str:
    return HUBSPOT.dedupe_key(request(json.dumps(list(events)).encode()))


def test_a_batch_is_the_same_again_in_any_order_and_at_any_attempt() -> None:
    one, other = event("deal.creation"), event("deal.propertyChange", eventId=2)
    assert key(one, other) == key(other, {**one, "attemptNumber": 3})
    assert key(one) == "33:deal.creation:1246965:3816279340:" + str(NOW_MS)


@pytest.mark.parametrize("name", ["portalId", "subscriptionType", "objectId", "eventId", "occurredAt"])
def test_events_are_told_apart_by_each_part_of_the_key(name: str) -> None:
    assert key(event("deal.creation")) != key(event("deal.creation", **{name: "7"}))


def test_what_is_no_event_is_told_apart_by_its_body() -> None:
    assert HUBSPOT.dedupe_key(request(b"x")) != HUBSPOT.dedupe_key(request(b"y"))


@pytest.mark.parametrize("what", ["creation", "propertyChange"])
def test_a_new_or_changed_deal_is_asked_for(what: str) -> None:
    assert said(event(f"deal.{what}")) == [Fetch("deals", "1246965")]
    assert said(event(f"object.{what}", objectTypeId="0-3")) == [Fetch("deals", "1246965")]


def test_a_deleted_deal_is_gone_since_it_occurred() -> None:
    (gone,) = said(event("deal.deletion"))
    assert isinstance(gone, CanonicalDeal)
    assert (gone.external_id, gone.kind, gone.modified_at) == ("1246965", DealKind.DELETED, NOW)


def test_a_restored_deal_is_asked_for_and_dated_no_earlier() -> None:
    assert said(event("deal.restore")) == [Fetch("deals", "1246965", NOW)]


def test_a_merge_makes_a_third_deal_of_two() -> None:
    merged = event("deal.merge", objectId=3, primaryObjectId=1, mergedObjectIds=[2], newObjectId=3)
    first, second, fetch = said(merged)
    assert isinstance(first, CanonicalDeal)
    assert isinstance(second, CanonicalDeal)
    assert [(deal.external_id, deal.kind, deal.merged_into, deal.modified_at) for deal in (first, second)] == [
        ("1", DealKind.MERGED, "3", NOW),
        ("2", DealKind.MERGED, "3", NOW),
    ]
    assert fetch == Fetch("deals", "3", NOW)


def test_a_merge_into_one_of_the_two_leaves_that_one() -> None:
    merged = event("deal.merge", objectId=1, primaryObjectId=1, mergedObjectIds=[2], newObjectId=None)
    (gone, fetch) = said(merged)
    assert isinstance(gone, CanonicalDeal)
    assert (gone.external_id, gone.merged_into, fetch) == ("2", "1", Fetch("deals", "1", NOW))


@pytest.mark.parametrize(
    ("told", "deals"),
    [
        ({"associationType": "DEAL_TO_CONTACT", "fromObjectId": 1, "toObjectId": 2}, ["1"]),
        ({"associationType": "CONTACT_TO_DEAL", "fromObjectId": 1, "toObjectId": 2}, ["2"]),
        ({"associationType": "DEAL_TO_DEAL", "fromObjectId": 1, "toObjectId": 2}, ["1", "2"]),
        ({"fromObjectTypeId": "0-1", "toObjectTypeId": "0-3", "fromObjectId": 1, "toObjectId": 2}, ["2"]),
    ],
)
def test_an_association_makes_the_deals_on_its_sides_asked_for(told: dict[str, object], deals: list[str]) -> None:
    changed = event("deal.associationChange", **told)
    del changed["objectId"]
    assert said(changed) == [Fetch("deals", each, NOW) for each in deals]


def test_an_association_of_no_deal_says_what_it_is_of() -> None:
    told = {"associationType": "CONTACT_TO_COMPANY", "fromObjectId": 1, "toObjectId": 2}
    assert said(event("contact.associationChange", **told)) == [PassedOver("an association of CONTACT_TO_COMPANY")]


@pytest.mark.parametrize(
    ("type_id", "object_name"), [("0-48", "calls"), ("0-47", "meetings"), ("0-49", "emails"), ("0-27", "tasks")]
)
def test_activities_are_asked_for_and_deleted(type_id: str, object_name: str) -> None:
    assert said(event("object.creation", objectTypeId=type_id)) == [Fetch(object_name, "1246965")]
    (gone,) = said(event("object.deletion", objectTypeId=type_id))
    assert isinstance(gone, CanonicalActivity)
    assert gone.is_deleted


def test_events_of_other_objects_say_which() -> None:
    about_contact, of_type = event("contact.creation"), event("object.deletion", objectTypeId="0-1")
    assert said(about_contact, of_type) == [PassedOver("contact"), PassedOver("object 0-1")]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"objectId": 1, "properties": {"dealname": {"value": "Acme"}}},
        event("invoice.creation"),
        event("object.creation"),
        event("object.creation", objectTypeId="deal"),
    ],
)
def test_a_body_that_is_no_event_of_an_app_is_not_understood_and_says_what_to_subscribe(document: object) -> None:
    with pytest.raises(Untranslatable, match="subscribe the app to deals") as refused:
        said(document)
    assert (refused.value.reason, refused.value.pointer) == (QuarantineReason.UNKNOWN_TYPE, "/0/subscriptionType")


@pytest.mark.parametrize(
    ("document", "reason", "pointer"),
    [
        ([event("deal.creation")] * 101, QuarantineReason.INVALID_FIELD, ""),
        ([1], QuarantineReason.INVALID_FIELD, "/0"),
        ([event("deal.exploded")], QuarantineReason.UNKNOWN_TYPE, "/0/subscriptionType"),
        ([event("deal.creation", objectId=None)], QuarantineReason.MISSING_FIELD, "/0/objectId"),
        ([event("deal.creation", objectId="1'")], QuarantineReason.INVALID_FIELD, "/0/objectId"),
        ([event("deal.deletion", occurredAt="x")], QuarantineReason.INVALID_FIELD, "/0/occurredAt"),
        ([event("deal.deletion", occurredAt=10**14)], QuarantineReason.INVALID_FIELD, "/0/modified_at"),
        ([event("deal.creation", occurredAt=None)], QuarantineReason.MISSING_FIELD, "/0/occurredAt"),
        ([event("deal.merge", primaryObjectId=1)], QuarantineReason.MISSING_FIELD, "/0/mergedObjectIds"),
        (
            event("deal.merge", primaryObjectId=1, mergedObjectIds=["x"]),
            QuarantineReason.INVALID_FIELD,
            "/mergedObjectIds/0",
        ),
    ],
)  # fmt: skip
def test_an_event_that_cannot_be_read_says_why_and_where(
    document: object, reason: QuarantineReason, pointer: str
) -> None:
    with pytest.raises(Untranslatable) as refused:
        HUBSPOT.translate(json.dumps(document).encode(), NO_MAPPING)
    assert (refused.value.reason, refused.value.pointer) == (reason, pointer)


def test_a_close_date_is_a_day_of_the_tenants_calendar_once_that_is_known() -> None:
    deal = deal_of({"closedate": "2026-06-30T16:00Z", "hs_is_closed": "false", "hs_is_closed_won": "false"})
    connection = connection_of(Source.HUBSPOT)
    facts = event_of(deal, connection, delivery_id=UUID(int=4), received_at=NOW).facts()
    for zone, day in (("Asia/Shanghai", date(2026, 7, 1)), ("UTC", date(2026, 6, 30))):
        calendar = FiscalCalendar(time_zone=zone)
        assert facts.day(DateField.EXPECTED_CLOSE, calendar) == day
        assert facts.dated(calendar).value_of("expected_close_on") == day
    # A change of zone moves no day that lies before it.
    changed = FiscalCalendar(1, "Asia/Shanghai", (CalendarChange(date(2026, 7, 2), 1, "UTC"),))
    assert facts.day(DateField.EXPECTED_CLOSE, changed) == date(2026, 7, 1)
    assert facts._replace(expected_close_on=date(2026, 6, 29)).day(DateField.EXPECTED_CLOSE, changed) == date(
        2026, 6, 29
    )


def test_a_record_becomes_the_deal() -> None:
    deal = deal_of(
        {
            "dealname": "Acme",
            "amount": "60000.50",
            "amount_in_home_currency": "55000.25",
            "deal_currency_code": "USD",
            "pipeline": "default",
            "closedate": "2026-03-31T22:00:00Z",
            "createdate": "1767604364000",
            "dealtype": "newbusiness",
            "hubspot_owner_id": "77",
            "hs_analytics_source": "PAID_SEARCH",
            "hs_deal_stage_probability": "0.2",
            "hs_primary_associated_company": "9001",
            "competitor": "Initech",
            "empty": "",
            "essay": "x" * 2001,
            "hs_unlisted": "no",
        },
        SourceMapping(custom_fields={"competitor": "rival"}, users={"77": "ann"}, fields={"region": "competitor"}),
        _home_currency="EUR",
        _splits=[{"properties": {"hs_deal_split_percentage": "0.333333333", "hubspot_owner_id": "77"}}],
    )
    assert (deal.external_id, deal.name, deal.stage, deal.pipeline) == ("1246965", "Acme", "closedwon", "default")
    assert (deal.amount, deal.currency) == (Decimal("60000.50"), "USD")
    assert (deal.home_amount, deal.home_currency) == (Decimal("55000.25"), "EUR")
    assert deal.closed_at == deal.expected_close_at == datetime(2026, 3, 31, 22, tzinfo=UTC)
    assert deal.expected_close_on is None
    assert deal.created_at == datetime(2026, 1, 5, 9, 12, 44, tzinfo=UTC)
    assert (deal.owner_external_id, deal.type, deal.channel) == ("ann", "newbusiness", "PAID_SEARCH")
    assert (deal.probability, deal.account_id, deal.region) == (Decimal(20), "9001", "Initech")
    assert deal.custom == {"rival": "Initech"}
    assert [(split.owner_external_id, split.percent) for split in deal.splits] == [("ann", Decimal("33.333333"))]
    assert (deal.modified_at, deal.sequence) == (NOW, NOW_MS + 3000)


@pytest.mark.parametrize(
    ("properties", "status"),
    [
        ({"hs_is_closed": "false", "hs_is_closed_won": "false"}, DealStatus.OPEN),
        ({"hs_is_closed": "true", "hs_is_closed_won": "false"}, DealStatus.LOST),
        ({"hs_is_closed": "true", "hs_is_closed_won": "true"}, DealStatus.WON),
    ],
)
def test_closed_and_won_make_the_status(properties: dict[str, object], status: DealStatus) -> None:
    deal = deal_of({**properties, "closedate": "2026-03-31T22:00:00Z"})
    assert deal.status is status
    assert (deal.closed_at is None) == (status is DealStatus.OPEN)


def test_a_mapped_stage_is_stronger() -> None:
    mapping = SourceMapping(stages={"contractsent": DealStatus.WON})
    deal = deal_of({"dealstage": "contractsent", "hs_is_closed": "", "closedate": "2026-03-31"}, mapping)
    assert deal.status is DealStatus.WON


def test_a_deal_without_a_currency_is_in_the_portals() -> None:
    assert deal_of({"amount": "5"}, _home_currency="EUR").currency == "EUR"
    assert deal_of({"amount": "5", "amount_in_home_currency": "5"}).home_amount is None


def test_a_deal_names_those_it_was_made_of() -> None:
    deal, former = deals_of({"hs_merged_object_ids": "12;1246965"})
    assert deal.kind is DealKind.UPSERTED
    assert (former.external_id, former.kind, former.merged_into) == ("12", DealKind.MERGED, "1246965")


def test_a_deal_is_dated_no_earlier_than_its_floor() -> None:
    (deal,) = deals_of({}, floor=NOW + timedelta(seconds=1))
    assert deal.modified_at == NOW + timedelta(seconds=1)


@pytest.mark.parametrize("share", ["x", "1.1", "-0.1", "NaN", "1e999999"])
def test_a_share_that_is_none_is_pointed_at(share: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        deal_of({"hs_deal_stage_probability": share})
    assert refused.value.pointer == "/r/properties/hs_deal_stage_probability"


def test_activities_of_each_kind_are_read() -> None:
    def activity(object_name: str, deals: tuple[str, ...] = (), **properties: str) -> CanonicalActivity:
        raw = {
            "id": "5",
            "properties": {"hs_lastmodifieddate": "2026-03-31T18:40:02Z", **properties},
            "_deals": [*deals],
        }
        (one,) = HUBSPOT.translate_record(FetchedRecord(object_name, raw, NOW), NO_MAPPING, pointer="")
        assert isinstance(one, CanonicalActivity)
        return one

    call = activity(
        "calls", ("7",), hs_call_duration="90500", hs_timestamp="2026-03-30T10:00:00Z", hs_call_title="Hi",
        hubspot_owner_id="77", hs_call_disposition="connected",
    )  # fmt: skip
    assert (call.type, call.status, call.duration_seconds) == (ActivityType.CALL, ActivityStatus.DONE, 90)
    assert (call.deal_external_id, call.owner_external_id, call.subject) == ("7", "77", "Hi")
    assert (call.occurred_at, call.outcome) == (datetime(2026, 3, 30, 10, tzinfo=UTC), "connected")
    meeting = activity(
        "meetings", hs_meeting_start_time="2026-03-30T10:00:00Z", hs_meeting_end_time="2026-03-30T10:30:00Z",
        hs_meeting_outcome="NO_SHOW",
    )  # fmt: skip
    assert (meeting.type, meeting.status, meeting.duration_seconds) == (
        ActivityType.MEETING,
        ActivityStatus.CANCELLED,
        1800,
    )
    assert activity("tasks", hs_task_status="COMPLETED").status is ActivityStatus.DONE
    assert activity("tasks", hs_task_status="WAITING").status is ActivityStatus.PLANNED
    assert activity("emails", hs_email_status="SENT", hs_email_subject="x" * 900).status is ActivityStatus.DONE


def test_a_gone_activity_is_an_activity() -> None:
    (gone,) = HUBSPOT.translate_gone(GoneRecord("calls", "5", NOW), NO_MAPPING)
    assert isinstance(gone, CanonicalActivity)
    (deal,) = HUBSPOT.translate_gone(GoneRecord("deals", "5", NOW), NO_MAPPING)
    assert isinstance(deal, CanonicalDeal)


def plain(number: int, *, ms: int = 0, **changes: object) -> PlainDeal:
    deal = PlainDeal(
        str(number), f"Deal {number}", Decimal("1200.5"), "USD", "won", "77", NOW - timedelta(days=9),
        NOW + timedelta(milliseconds=ms), closed_on=date(2026, 3, 31),
    )  # fmt: skip
    return replace(deal, **changes)  # type: ignore[arg-type]


class Asked:
    """A played portal and how it is asked."""

    def __init__(self, crm: PlayedHubspot, client: httpx.AsyncClient) -> None:
        self.crm = crm
        self.api = HUBSPOT.api
        self.credentials = HubspotCredentials.model_validate(crm.access())
        self.caller = Caller(client, HUBSPOT.api, self.credentials)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    crm = PlayedHubspot(secret=VECTOR_SECRET, hook_url="https://attain.example/hooks/1")
    async with crm.client() as client:
        yield Asked(crm, client)


async def test_deals_are_fetched_with_their_parts_and_the_missing_are_gone(asked: Asked) -> None:
    asked.crm.custom_names, asked.crm.custom["1"] = ("competitor",), {"competitor": "Initech"}
    asked.crm.rates["USD"] = Decimal("0.9")
    asked.crm.splits = {"1": [("77", "0.6"), ("78", "0.4")]}
    asked.crm.put(plain(1))
    asked.crm.put(plain(2))
    asked.crm.delete("2", NOW + timedelta(hours=1))
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "deals", ["1", "2", "3", "x"]))
    assert [record.external_id for record in page.records] == ["1"]
    assert [(gone.external_id, gone.at) for gone in page.gone] == [
        ("x", None),
        ("2", NOW + timedelta(hours=1)),
        ("3", None),
    ]
    (deal,) = HUBSPOT.translate_record(FetchedRecord("deals", page.records[0].raw, NOW), NO_MAPPING, pointer="")
    assert isinstance(deal, CanonicalDeal)
    assert (deal.amount, deal.home_amount, deal.home_currency) == (Decimal("1200.5"), Decimal("1080.45"), "EUR")
    assert deal.custom == {"competitor": "Initech"}
    assert [(split.owner_external_id, split.percent) for split in deal.splits] == [
        ("77", Decimal(60)),
        ("78", Decimal(40)),
    ]


async def test_a_portal_without_splits_and_an_app_that_may_not_see_currencies_can_be_asked(asked: Asked) -> None:
    asked.crm.home_currency = None
    asked.crm.put(plain(1))
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "deals", ["1"]))
    assert (page.records[0].raw["_splits"], page.records[0].raw["_home_currency"]) == ([], None)


async def test_a_deal_that_was_merged_is_found_as_the_third_one_and_is_not_deleted(asked: Asked) -> None:
    asked.crm.put(plain(1))
    asked.crm.put(plain(2))
    asked.crm.merge("1", "2", plain(3, ms=5), NOW + timedelta(milliseconds=5))
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "deals", ["1", "2"]))
    assert ([record.external_id for record in page.records], page.gone) == (["3"], [])
    said_by_it = HUBSPOT.translate_record(FetchedRecord("deals", page.records[0].raw, NOW), NO_MAPPING, pointer="")
    assert {(deal.external_id, deal.kind) for deal in said_by_it if isinstance(deal, CanonicalDeal)} == {
        ("3", DealKind.UPSERTED),
        ("1", DealKind.MERGED),
        ("2", DealKind.MERGED),
    }


async def test_records_that_could_not_be_read_are_not_taken_for_gone(asked: Asked) -> None:
    failing = {"results": [], "errors": [{"category": "INTERNAL_ERROR", "context": {"ids": ["1"]}}]}
    asked.crm.fail(lambda: JSONResponse(failing, 207), path="/deals/batch/read")
    with pytest.raises(UnexpectedAnswer):
        await asked.caller.result(asked.api.fetch(asked.credentials, "deals", ["1"]))


async def test_activities_are_fetched_with_the_deals_they_are_about(asked: Asked) -> None:
    asked.crm.activities["calls"] = {"5": {"hs_call_title": "Hi", "hs_lastmodifieddate": "2026-03-31T18:40:02Z"}}
    asked.crm.deals_of_activities["5"] = "1"
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "calls", ["5", "6"]))
    (call,) = HUBSPOT.translate_record(FetchedRecord("calls", page.records[0].raw, NOW), NO_MAPPING, pointer="")
    assert isinstance(call, CanonicalActivity)
    assert (call.deal_external_id, call.subject) == ("1", "Hi")
    assert [gone.external_id for gone in page.gone] == ["6"]


def line_of(asked: Asked, line_id: str, deal_id: str, **properties: str) -> None:
    told = {"hs_lastmodifieddate": NOW.isoformat(), **properties}
    asked.crm.activities.setdefault("line_items", {})[line_id] = told
    asked.crm.deals_of_activities[line_id] = deal_id


async def test_what_is_sold_with_a_deal_comes_with_it(asked: Asked) -> None:
    asked.crm.put(plain(1))
    asked.crm.put(plain(2))
    later = NOW + timedelta(minutes=3)
    line_of(asked, "71", "1", hs_sku="GTX-PRO", hs_product_id="5", quantity="12", amount="60000")
    line_of(asked, "72", "1", hs_product_id="6", amount="33.3333333", hs_lastmodifieddate=later.isoformat())
    line_of(asked, "73", "1", quantity="2")
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "deals", ["1", "2"]))
    records = {record.external_id: FetchedRecord("deals", record.raw, NOW) for record in page.records}
    (deal,) = HUBSPOT.translate_record(records["1"], NO_MAPPING, pointer="")
    assert isinstance(deal, CanonicalDeal)
    assert [(line.sku, line.quantity, line.amount) for line in deal.products] == [
        ("GTX-PRO", Decimal(12), Decimal(60000)),
        ("6", Decimal(1), Decimal("33.333333")),
        ("73", Decimal(2), None),
    ]
    assert deal.modified_at == later
    (other,) = HUBSPOT.translate_record(records["2"], NO_MAPPING, pointer="")
    assert isinstance(other, CanonicalDeal)
    assert (other.products, other.modified_at) == ((), NOW)


async def test_what_is_sold_with_a_deal_comes_whole_also_when_it_is_told_on_pages(asked: Asked) -> None:
    asked.crm.put(plain(1))
    asked.crm.put(plain(2))
    for number in range(601):
        line_of(asked, str(1000 + number), "1", hs_sku=f"S{number}", quantity="2")
    line_of(asked, "5000", "2", quantity="7")
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "deals", ["1", "2"]))
    sold = {}
    for record in page.records:
        (deal,) = HUBSPOT.translate_record(FetchedRecord("deals", record.raw, NOW), NO_MAPPING, pointer="")
        assert isinstance(deal, CanonicalDeal)
        sold[deal.external_id] = (len(deal.products), sum(line.quantity for line in deal.products))
    assert sold == {"1": (601, 1202), "2": (1, 7)}
    assert sum("associations/deals/line_items" in call.url for call in asked.caller.calls) == 2


async def test_an_app_that_may_not_see_what_is_sold_is_told_the_deals_without(asked: Asked) -> None:
    asked.crm.put(plain(1))
    line_of(asked, "71", "1")
    asked.crm.fail(lambda: JSONResponse({"category": "MISSING_SCOPES"}, 403), path="/line_items/batch/read")
    asked.crm.hidden = frozenset({"line_items"})
    for since in (None, NOW):
        assert await walked(asked, since) == ["1"]


async def test_a_line_that_changes_leads_to_its_deal(asked: Asked) -> None:
    asked.crm.put(plain(1, ms=-5_000_000))
    asked.crm.put(plain(2, ms=-5_000_000))
    line_of(asked, "71", "1")
    line_of(asked, "72", "3")
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "line_items", ["71", "74"]))
    assert ([record.external_id for record in page.records], page.gone) == (["1"], [])
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "line_items", ["72"]))
    assert [(each.object_name, each.external_id) for each in page.gone] == [("deals", "3")]
    assert await walked(asked, NOW) == ["1"]


def payment_of(asked: Asked, payment_id: str, deal_id: str, **properties: str) -> None:
    told = {"hs_lastmodifieddate": NOW.isoformat(), "hs_latest_status": "succeeded", **properties}
    asked.crm.activities.setdefault("commerce_payments", {})[payment_id] = told
    asked.crm.deals_of_activities[payment_id] = deal_id


async def paid_for(asked: Asked, deal_id: str = "1") -> CanonicalDeal:
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "deals", [deal_id]))
    (deal,) = HUBSPOT.translate_record(FetchedRecord("deals", page.records[0].raw, NOW), NO_MAPPING, pointer="")
    assert isinstance(deal, CanonicalDeal)
    return deal


async def test_what_was_paid_for_a_deal_comes_with_its_moment_and_the_day_of_the_portal(asked: Asked) -> None:
    asked.crm.put(plain(1))
    late, next_day = "2026-04-01T03:30:00Z", "2026-04-01T04:30:00Z"
    payment_of(asked, "81", "1", hs_initial_amount="200.50", hs_initiated_date=late)
    payment_of(asked, "82", "1", hs_initial_amount="100", hs_initiated_date=next_day)
    payment_of(asked, "83", "1", hs_initial_amount="7", hs_initiated_date=late, hs_latest_status="failed")
    payment_of(asked, "84", "2", hs_initial_amount="7", hs_initiated_date=late)
    deal = await paid_for(asked)
    assert [(each.paid_on, each.paid_at, each.amount) for each in deal.payments] == [
        (date(2026, 3, 31), datetime.fromisoformat(late), Decimal("200.50")),
        (date(2026, 4, 1), datetime.fromisoformat(next_day), Decimal(100)),
    ]
    asked.crm.fail(lambda: JSONResponse({"category": "MISSING_SCOPES"}, 403), path="/account-info/v3/details")
    assert {each.paid_on for each in (await paid_for(asked)).payments} == {date(2026, 4, 1)}


@pytest.mark.parametrize(
    ("status", "refunds", "amounts"),
    [
        ("partially_refunded", "30.25", ["100", "-30.25"]),
        ("refunded", "100", ["100", "-100"]),
        ("disputed_lost", "0", ["100", "-100"]),
        ("disputed_won", "0", ["100"]),
        ("processing", "0", []),
    ],
)
async def test_what_was_given_back_of_a_payment_is_a_negative_one(
    asked: Asked, status: str, refunds: str, amounts: list[str]
) -> None:
    asked.crm.put(plain(1))
    initiated = "2026-03-31T18:00:00Z"
    payment_of(
        asked,
        "81",
        "1",
        hs_initial_amount="100",
        hs_initiated_date=initiated,
        hs_latest_status=status,
        hs_refunds_amount=refunds,
    )
    assert [each.amount for each in (await paid_for(asked)).payments] == [Decimal(each) for each in amounts]


async def test_a_payment_that_changes_leads_to_its_deal_and_dates_it(asked: Asked) -> None:
    asked.crm.put(plain(1, ms=-5_000_000))
    payment_of(asked, "81", "1", hs_initial_amount="100", hs_initiated_date="2026-03-31T18:00:00Z")
    assert (await paid_for(asked)).modified_at == NOW
    assert await walked(asked, NOW) == ["1"]
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "commerce_payments", ["81"]))
    assert [record.external_id for record in page.records] == ["1"]
    assert said(event("object.propertyChange", objectTypeId="0-101", objectId=81)) == [Fetch("commerce_payments", "81")]
    asked.crm.hidden = frozenset({"commerce_payments"})
    assert (await paid_for(asked)).payments == ()


async def test_a_payment_in_another_currency_than_its_deal_is_pointed_at(asked: Asked) -> None:
    asked.crm.put(plain(1))
    payment_of(
        asked, "81", "1", hs_initial_amount="1", hs_initiated_date="2026-03-31T18:00:00Z", hs_currency_code="JPY"
    )
    with pytest.raises(Untranslatable, match="another currency") as refused:
        await paid_for(asked)
    assert refused.value.pointer == "/_payments/0/hs_currency_code"


async def test_what_was_invoiced_of_a_deal_comes_with_it_without_drafts_and_what_was_voided(asked: Asked) -> None:
    asked.crm.put(plain(1, ms=-5_000_000))
    late = "2026-04-01T03:30:00Z"
    for number, (status, amount) in enumerate((("open", "400"), ("paid", "600"), ("draft", "7"), ("voided", "9"))):
        told = {"hs_lastmodifieddate": NOW.isoformat(), "hs_invoice_status": status, "hs_amount_billed": amount}
        asked.crm.activities.setdefault("invoices", {})[str(91 + number)] = {**told, "hs_invoice_date": late}
        asked.crm.deals_of_activities[str(91 + number)] = "1"
    deal = await paid_for(asked)
    assert [(each.invoiced_on, each.invoiced_at, each.amount) for each in deal.invoices] == [
        (date(2026, 3, 31), datetime.fromisoformat(late), Decimal(400)),
        (date(2026, 3, 31), datetime.fromisoformat(late), Decimal(600)),
    ]
    assert (deal.modified_at, deal.payments) == (NOW, ())
    assert await walked(asked, NOW) == ["1"]
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "invoices", ["91"]))
    assert [record.external_id for record in page.records] == ["1"]
    assert said(event("object.propertyChange", objectTypeId="0-53", objectId=91)) == [Fetch("invoices", "91")]
    for name, value in (("hs_currency", "JPY"), ("hs_invoice_date", "")):
        asked.crm.activities["invoices"]["91"][name] = value
        with pytest.raises(Untranslatable) as refused:
            await paid_for(asked)
        assert refused.value.pointer == f"/_invoices/0/{name}"
        asked.crm.activities["invoices"]["91"] |= {"hs_currency": "", "hs_invoice_date": late}
    asked.crm.hidden = frozenset({"invoices"})
    assert (await paid_for(asked)).invoices == ()


def test_events_of_lines_ask_for_their_deals() -> None:
    for told in (
        event("line_item.propertyChange", objectId=71, propertyName="quantity"),
        event("object.creation", objectTypeId="0-8", objectId=71),
    ):
        assert said(told) == [Fetch("line_items", "71")]
    assert said(event("line_item.deletion", objectId=71)) == []
    assert HUBSPOT.translate_gone(GoneRecord("line_items", "71", NOW), NO_MAPPING) == ()


async def walked(asked: Asked, since: datetime | None) -> list[str]:
    pages = await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, since, at))
    return [record.external_id for page in pages for record in page.records]


async def test_everything_changed_is_walked(asked: Asked) -> None:
    for number in range(1, 451):
        asked.crm.put(plain(number, ms=number // 3))
    assert set(await walked(asked, None)) == {str(number) for number in range(1, 451)}
    since = NOW + timedelta(milliseconds=100)
    assert set(await walked(asked, since)) == {str(number) for number in range(300, 451)}
    assert await asked.caller.result(asked.api.count(asked.credentials)) == 450


async def test_activities_are_walked_after_the_deals_as_far_as_the_app_may_see_them(asked: Asked) -> None:
    asked.crm.put(plain(1))
    for number in range(450):
        time = (NOW + timedelta(seconds=number // 300)).isoformat()
        asked.crm.activities.setdefault("calls", {})[str(number)] = {"hs_lastmodifieddate": time}
    asked.crm.activities["tasks"] = {"7": {"hs_lastmodifieddate": NOW.isoformat()}}
    asked.crm.deals_of_activities["7"] = "1"
    asked.crm.archived_activities["meetings"] = {str(number): NOW for number in range(120)}
    asked.crm.hidden = frozenset({"emails"})

    async def walked_of(since: datetime | None) -> set[tuple[str, str]]:
        pages = await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, since, at))
        return {(record.object_name, record.external_id) for page in pages for record in page.records}

    calls = {("calls", str(number)) for number in range(450)}
    assert await walked_of(None) == {("deals", "1"), ("tasks", "7"), *calls}
    assert len(await walked_of(NOW + timedelta(seconds=1))) == 150
    assert await asked.caller.result(asked.api.count(asked.credentials)) == 452
    pages = await asked.caller.every_page(lambda at: asked.api.deleted(asked.credentials, NOW, at))
    gone = {(each.object_name, each.external_id) for page in pages for each in page.gone}
    assert gone == {("meetings", str(number)) for number in range(120)}


def test_a_deal_that_only_a_team_owns_is_owned_by_whom_the_mapping_names() -> None:
    mapping = SourceMapping(teams={"55": "lead"})
    assert deal_of({"hubspot_team_id": "55"}, mapping).owner_external_id == "lead"
    assert deal_of({"hubspot_team_id": "55", "hubspot_owner_id": "7"}, mapping).owner_external_id == "7"


async def test_a_walk_of_activities_that_goes_wrong_is_not_taken_for_one_without_any(asked: Asked) -> None:
    asked.crm.fail(lambda: JSONResponse({"category": "VALIDATION_ERROR"}, 400), path="/calls/search")
    with pytest.raises(NotOk) as refused:
        await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, NOW, at))
    assert refused.value.judgement.verdict is Verdict.REFUSED


async def test_an_app_that_may_not_see_deals_is_refused(asked: Asked) -> None:
    asked.crm.hidden = frozenset({"deals"})
    with pytest.raises(NotOk):
        await asked.caller.result(asked.api.changed(asked.credentials, None, None))


async def test_an_import_of_many_deals_within_one_moment_is_walked(asked: Asked) -> None:
    for number in range(1, 651):
        asked.crm.put(plain(number, ms=0 if number <= 600 else 1))
    found = await walked(asked, NOW)
    assert set(found) == {str(number) for number in range(1, 651)}


async def test_a_deal_that_changes_during_the_walk_shifts_no_other_out_of_it(asked: Asked) -> None:
    for number in range(1, 401):
        asked.crm.put(plain(number, ms=number))
    first = await asked.caller.result(asked.api.changed(asked.credentials, None, None))
    for number in range(1, 101):
        asked.crm.put(plain(number, ms=1000 + number, name="Changed"))
    found = {record.external_id for record in first.records}
    cursor = first.next_cursor
    while cursor is not None:
        page = await asked.caller.result(asked.api.changed(asked.credentials, None, cursor))
        found |= {record.external_id for record in page.records}
        cursor = page.next_cursor
    assert found == {str(number) for number in range(1, 401)}


async def test_what_was_deleted_since_is_walked(asked: Asked) -> None:
    for number in range(250):
        asked.crm.put(plain(number))
        asked.crm.delete(str(number), NOW + timedelta(seconds=number))
    since = NOW + timedelta(seconds=120)
    pages = await asked.caller.every_page(lambda at: asked.api.deleted(asked.credentials, since, at))
    gone = {each.external_id: each.at for page in pages for each in page.gone}
    assert gone == {str(number): NOW + timedelta(seconds=number) for number in range(120, 250)}


async def test_owners_are_walked_page_by_page(asked: Asked) -> None:
    asked.crm.owners = {str(number): f"Owner {number}" for number in range(250)}
    users = [user for page in await asked.caller.every_user_page() for user in page.users]
    assert len(users) == 250
    assert (users[7].external_id, users[7].name, users[7].email) == ("7", "Owner 7", "7@example.com")


async def test_a_wrong_token_is_access_that_is_not_taken_any_more(asked: Asked) -> None:
    wrong = asked.credentials.model_copy(update={"access_token": "other"})
    async with asked.crm.client() as client:
        with pytest.raises(NotOk) as refused:
            await Caller(client, asked.api, wrong).result(asked.api.count(wrong))
    assert refused.value.judgement.verdict is Verdict.TOKEN_EXPIRED
    assert TOKEN not in repr(asked.credentials)


async def test_ten_seconds_limits_pass_and_daily_ones_do_not(asked: Asked) -> None:
    asked.crm.calls_in_ten_seconds_max = 1
    await asked.caller.result(asked.api.users(asked.credentials, None))
    assert asked.caller.judgements[-1].credits_remaining == 249_999
    with pytest.raises(NotOk) as refused:
        await asked.caller.result(asked.api.users(asked.credentials, None))
    assert refused.value.judgement.verdict is Verdict.RATE_LIMITED
    asked.crm.calls_a_day_max = 1
    with pytest.raises(NotOk) as refused:
        await asked.caller.result(asked.api.users(asked.credentials, None))
    assert refused.value.judgement.verdict is Verdict.QUOTA_EXHAUSTED


@pytest.mark.parametrize(
    ("status", "expected"),
    [(500, Verdict.TRANSIENT), (502, Verdict.TRANSIENT), (423, Verdict.TRANSIENT), (477, Verdict.TRANSIENT),
     (400, Verdict.REFUSED), (403, Verdict.REFUSED), (404, Verdict.REFUSED), (429, Verdict.RATE_LIMITED)],
)  # fmt: skip
async def test_what_an_answer_means(asked: Asked, status: int, expected: Verdict) -> None:
    asked.crm.fail(lambda: Response("?", status, {"retry-after": "3"}), path="/search")
    with pytest.raises(NotOk) as refused:
        await asked.caller.result(asked.api.count(asked.credentials))
    assert (refused.value.judgement.verdict, refused.value.judgement.retry_after) == (expected, timedelta(seconds=3))


def received(crm: PlayedHubspot, body: bytes, headers: dict[str, str]) -> Request:
    named = {name.encode(): value.encode() for name, value in headers.items()}
    return Request("POST", "https://attain.example", "/hooks/1", "", named, body)


async def test_what_a_played_portal_sends_is_taken_and_its_repetition_recognised() -> None:
    crm = PlayedHubspot(secret=VECTOR_SECRET, hook_url="https://attain.example/hooks/1")
    crm.put(plain(1))
    crm.put(plain(1, ms=5, amount=Decimal(7)))
    crm.delete("1", NOW)
    keys = set()
    for webhook in crm.drained():
        given = received(crm, webhook.body, dict(webhook.headers))
        assert verdict(given, now_seconds=int(time.time())) is None
        again = crm.again(webhook)
        assert again is not None
        repeated = received(crm, again.body, dict(again.headers))
        assert verdict(repeated, now_seconds=int(time.time())) is None
        assert HUBSPOT.dedupe_key(repeated) == HUBSPOT.dedupe_key(given)
        keys.add(HUBSPOT.dedupe_key(given))
        assert HUBSPOT.translate(given.body, NO_MAPPING)
    assert len(keys) == 3


async def test_a_played_portal_gives_up_after_ten_repetitions() -> None:
    crm = PlayedHubspot(secret=VECTOR_SECRET)
    crm.put(plain(1))
    (webhook,) = crm.drained()
    repeated = 0
    current = crm.again(webhook)
    while current is not None:
        repeated += 1
        current = crm.again(current)
    assert repeated == 10
