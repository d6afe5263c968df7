"""Pipedrive: who sent it, is it the same again, what does it say, and how its API is asked."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Received
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.tracking.intake.sources.adapter import Fetch, PassedOver, Request, SenderRules
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import (
    InvalidSecret,
    QuarantineReason,
    Rejection,
    SourceMapping,
    Untranslatable,
    Verdict,
)
from services.tracking.intake.sources.pipedrive.adapter import Pipedrive
from services.tracking.intake.sources.pipedrive.api import PipedriveCredentials
from services.tracking.intake.sources.source_api import FetchedRecord, GoneRecord
from services.tracking.intake.upkeep.domain import in_raw_words
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealKind, DealStatus
from tests.played.conversations import Caller, NotOk
from tests.played.crms import PlainDeal
from tests.played.pipedrive import TOKEN, PlayedPipedrive

PIPEDRIVE: Final = Pipedrive()
NO_MAPPING: Final = SourceMapping()
NOW: Final = datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)


def pipedrive_event(
    *,
    action: str = "change",
    meta: dict[str, object] | None = None,
    data: dict[str, object] | None = None,
    previous: dict[str, object] | None = None,
    without_data: bool = False,
) -> bytes:
    deal = {
        "id": 746,
        "title": "Acme",
        "value": 60000,
        "currency": "EUR",
        "status": "won",
        "stage_id": 5,
        "pipeline_id": 1,
        "owner_id": 12345678,
        "org_id": 2,
        "probability": None,
        "expected_close_date": "2026-03-31",
        "won_time": "2026-03-31T18:40:02Z",
        "lost_time": None,
        "add_time": "2026-01-05T09:12:44Z",
        "update_time": "2026-03-31T18:40:02Z",
        "custom_fields": {},
    } | (data or {})
    head = {
        "action": action,
        "entity": "deal",
        "entity_id": "746",
        "company_id": "12345678",
        "id": "5a1c0c3e",
        "attempt": 1,
        "timestamp": "2026-03-31T18:40:02.754Z",
        "version": "2.0",
    } | (meta or {})
    return json.dumps({"meta": head, "data": None if without_data else deal, "previous": previous}).encode()


def pipedrive_deal(body: bytes, mapping: SourceMapping = NO_MAPPING) -> CanonicalDeal:
    (deal,) = PIPEDRIVE.translate(body, mapping)
    assert isinstance(deal, CanonicalDeal)
    return deal


def request(authorization: bytes | None, body: bytes = b"") -> Request:
    headers = {} if authorization is None else {b"authorization": authorization}
    return Request("POST", "https://attain.example", "/hooks/1", "", headers, body)


def verdict(authorization: bytes | None, *secrets: str) -> Rejection | None:
    return PIPEDRIVE.verify(request(authorization), SenderRules(secrets), now_seconds=0)


def key(body: bytes) -> str:
    return PIPEDRIVE.dedupe_key(request(None, body))


def test_pipedrive_is_recognised_by_its_user_and_password() -> None:
    secret = PIPEDRIVE.new_secret(bytes(32))
    good = b"Basic " + b64encode(secret.encode())
    assert verdict(good, "other:password", secret) is None
    assert verdict(good.lower()[:6] + good[6:], secret) is None
    assert verdict(good, "attain:other") is Rejection.SIGNATURE
    assert verdict(None, secret) is Rejection.HEADERS
    assert verdict(b"Bearer x", secret) is Rejection.HEADERS
    assert verdict(b"Basic !!", secret) is Rejection.HEADERS


@pytest.mark.parametrize(
    "secret", ["", "user", "user:short", ":password-long-enough", "us\u00e9r:password-long-enough"]
)
def test_a_secret_that_is_no_user_and_password_is_refused(secret: str) -> None:
    PIPEDRIVE.check_secret(PIPEDRIVE.new_secret(bytes(range(32))))
    with pytest.raises(InvalidSecret):
        PIPEDRIVE.check_secret(secret)


def test_a_pipedrive_change_becomes_the_deal() -> None:
    deal = pipedrive_deal(pipedrive_event(previous={"status": "open", "stage_id": 4}))
    assert deal.external_id == "746"
    assert deal.kind is DealKind.UPSERTED
    assert deal.status is DealStatus.WON
    assert (deal.amount, deal.currency) == (Decimal(60000), "EUR")
    assert (deal.stage, deal.pipeline, deal.owner_external_id, deal.account_id) == ("5", "1", "12345678", "2")
    assert deal.modified_at == datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
    assert deal.closed_at == datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
    assert deal.expected_close_on == date(2026, 3, 31)


def test_pipedrive_changes_within_a_second_are_ordered_by_the_event() -> None:
    first = pipedrive_deal(pipedrive_event(meta={"timestamp": "2026-03-31T18:40:02.100Z"}))
    second = pipedrive_deal(pipedrive_event(meta={"timestamp": "2026-03-31T18:40:02.101Z"}))
    assert first.modified_at == second.modified_at
    assert first.sequence < second.sequence


def test_a_pipedrive_value_keeps_its_cents() -> None:
    body = pipedrive_event().replace(b'"value": 60000', b'"value": 60000.1')
    assert pipedrive_deal(body).amount == Decimal("60000.1")


@pytest.mark.parametrize("time", ["2026-03-31 18:40:02", 1774982402, "1774982402", "2026-03-31T20:40:02+02:00"])
def test_pipedrive_times_come_in_several_forms(time: str | int) -> None:
    deal = pipedrive_deal(pipedrive_event(data={"update_time": time}))
    assert deal.modified_at == datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)


def test_a_pipedrive_deletion_takes_the_last_state_and_comes_after_it() -> None:
    previous: dict[str, object] = {
        "id": 746,
        "value": 60000,
        "currency": "EUR",
        "status": "won",
        "owner_id": 1,
        "update_time": "2026-03-31T18:40:02Z",
    }
    deal = pipedrive_deal(pipedrive_event(action="delete", without_data=True, previous=previous))
    assert deal.kind is DealKind.DELETED
    assert deal.amount == Decimal(60000)
    assert deal.modified_at == datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC)


def test_a_pipedrive_merge_says_what_the_deal_became_part_of() -> None:
    deal = pipedrive_deal(
        pipedrive_event(action="delete", without_data=True, meta={"merged_to_id": 800}, previous={"id": 746})
    )
    assert deal.kind is DealKind.MERGED
    assert deal.merged_into == "800"


def test_a_pipedrive_deal_with_status_deleted_is_gone_and_can_come_back() -> None:
    assert pipedrive_deal(pipedrive_event(data={"status": "deleted"})).kind is DealKind.DELETED
    assert pipedrive_deal(pipedrive_event(previous={"status": "deleted"})).kind is DealKind.RESTORED


def test_pipedrive_custom_fields_come_as_texts_and_can_be_named() -> None:
    fields = {"9dc8": {"type": "enum", "id": 12}, "3b5e": "Initech", "77": {"value": 5, "currency": "EUR"}, "no": None}
    mapping = SourceMapping(fields={"channel": "custom_fields.3b5e"}, custom_fields={"3b5e": "competitor"})
    deal = pipedrive_deal(pipedrive_event(data={"custom_fields": fields}), mapping)
    assert deal.custom == {"9dc8": "12", "competitor": "Initech", "77": "5"}
    assert deal.channel == "Initech"


@pytest.mark.parametrize("entity", ["person", "activityType", "lead", "user"])
def test_what_pipedrive_says_of_other_things_says_of_which(entity: str) -> None:
    assert PIPEDRIVE.translate(pipedrive_event(meta={"entity": entity}), NO_MAPPING) == (PassedOver(entity),)


@pytest.mark.parametrize("entity", [None, "deals", 5, ["deal"], {}])
def test_a_pipedrive_body_that_is_about_nothing_known_is_not_understood(entity: object) -> None:
    with pytest.raises(Untranslatable, match="have it send those") as refused:
        PIPEDRIVE.translate(pipedrive_event(meta={"entity": entity}), NO_MAPPING)
    assert (refused.value.reason, refused.value.pointer) == (QuarantineReason.UNKNOWN_TYPE, "/meta/entity")


def documented(name: str) -> bytes:
    return (Path(__file__).parents[1] / "played" / "samples" / "pipedrive" / f"{name}.json").read_bytes()


def test_the_documented_activity_of_a_webhook_of_version_2_keeps_its_time_and_its_duration() -> None:
    (activity,) = PIPEDRIVE.translate(documented("activity"), NO_MAPPING)
    assert isinstance(activity, CanonicalActivity)
    assert activity.occurred_at == datetime(2024, 7, 31, 11, 30, tzinfo=UTC)
    assert activity.duration_seconds == 5400
    assert (activity.owner_external_id, activity.deal_external_id) == ("12345678", "746")


@pytest.mark.parametrize(
    ("due_time", "expected"),
    [
        ({"value": "10:00:00", "timezone_id": "Europe/Tallinn"}, datetime(2024, 7, 31, 7, tzinfo=UTC)),
        ({"value": "10:00:30", "timezone_id": None}, datetime(2024, 7, 31, 10, 0, 30, tzinfo=UTC)),
        ({"value": None, "timezone_id": None}, datetime(2024, 7, 31, tzinfo=UTC)),
        ("10:00", datetime(2024, 7, 31, 10, tzinfo=UTC)),
    ],
)
def test_the_time_of_an_activity_is_read_with_its_zone_and_without(due_time: object, expected: datetime) -> None:
    document = json.loads(documented("activity"))
    document["data"]["due_time"] = due_time
    (activity,) = PIPEDRIVE.translate(json.dumps(document).encode(), NO_MAPPING)
    assert isinstance(activity, CanonicalActivity)
    assert activity.occurred_at == expected


def test_a_zone_that_is_no_place_is_pointed_at() -> None:
    document = json.loads(documented("activity"))
    document["data"]["due_time"] = {"value": "10:00", "timezone_id": "Nowhere/At_All"}
    with pytest.raises(Untranslatable) as refused:
        PIPEDRIVE.translate(json.dumps(document).encode(), NO_MAPPING)
    assert refused.value.pointer == "/data/due_time"


def test_the_documented_deal_of_a_webhook_of_version_1_becomes_the_deal() -> None:
    deal = pipedrive_deal(documented("v1_deal"))
    assert (deal.external_id, deal.owner_external_id, deal.currency, deal.amount) == (
        "9",
        "1234567890",
        "USD",
        Decimal(0),
    )
    assert (deal.name, deal.stage, deal.pipeline) == ("Updated Deal Title", "1", "1")
    assert deal.modified_at == datetime(2025, 2, 17, 21, 22, 41, tzinfo=UTC)
    assert deal.sequence == 1739827361322
    assert deal.kind is DealKind.UPSERTED


def version_1(action: str = "updated", **changes: object) -> bytes:
    document = json.loads(documented("v1_deal"))
    return json.dumps(
        document | {"event": f"{action}.deal"} | changes | {"meta": {**document["meta"], "action": action}}
    ).encode()


def test_a_deletion_of_version_1_is_one() -> None:
    last = json.loads(documented("v1_deal"))["current"]
    deal = pipedrive_deal(version_1("deleted", current=None, previous=last))
    assert (deal.kind, deal.external_id) == (DealKind.DELETED, "9")
    assert deal.modified_at == datetime(2025, 2, 17, 21, 22, 41, 322000, tzinfo=UTC)


def test_custom_fields_of_version_1_stand_beside_the_others() -> None:
    key_of_field = "a" * 40
    current = json.loads(documented("v1_deal"))["current"] | {key_of_field: "Initech", "user_id": {"id": 7}}
    deal = pipedrive_deal(version_1(current=current), SourceMapping(custom_fields={key_of_field: "competitor"}))
    assert (deal.custom, deal.owner_external_id) == ({"competitor": "Initech"}, "7")


def test_every_attempt_of_version_1_has_one_key_and_every_change_its_own() -> None:
    current = json.loads(documented("v1_deal"))["current"]
    assert key(version_1()) == key(version_1(retry=2))
    assert key(version_1()) != key(version_1(current=current | {"value": 5}))


def test_a_pipedrive_deletion_that_tells_no_state_is_one_all_the_same() -> None:
    deal = pipedrive_deal(pipedrive_event(action="delete", without_data=True, previous=None))
    assert (deal.kind, deal.external_id) == (DealKind.DELETED, "746")
    assert deal.modified_at == datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC)
    gone = json.dumps(json.loads(documented("activity")) | {"data": None, "previous": None})
    (activity,) = PIPEDRIVE.translate(gone.replace('"action": "create"', '"action": "delete"').encode(), NO_MAPPING)
    assert isinstance(activity, CanonicalActivity)
    assert (activity.is_deleted, activity.external_id) == (True, "2001")


def test_every_attempt_of_a_pipedrive_delivery_has_one_key() -> None:
    again = pipedrive_event(meta={"attempt": 2})
    assert key(pipedrive_event()) == key(again)
    assert key(b"{}") != key(b"[]")
    assert key(pipedrive_event()) != key(pipedrive_event(meta={"id": "other"}))


def test_a_merge_is_told_by_the_change_of_the_other_deal_too() -> None:
    said = PIPEDRIVE.translate(pipedrive_event(meta={"merged_from_id": 500}), NO_MAPPING)
    deal, former = said
    assert isinstance(deal, CanonicalDeal)
    assert isinstance(former, CanonicalDeal)
    assert (deal.external_id, deal.kind) == ("746", DealKind.UPSERTED)
    assert (former.external_id, former.kind, former.merged_into) == ("500", DealKind.MERGED, "746")
    assert former.modified_at == datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC)


def test_a_deal_marked_as_deleted_is_gone() -> None:
    assert pipedrive_deal(pipedrive_event(data={"is_deleted": True})).kind is DealKind.DELETED


def test_the_products_of_a_deal_are_taken_where_they_are_told() -> None:
    lines = [
        {"product_id": 7, "quantity": 2, "sum": 30},
        {"code": "SKU-1", "sum": None},
        {"product_id": 8, "is_enabled": False},
        "odd",
    ]
    deal = pipedrive_deal(pipedrive_event(data={"products": lines}))
    assert [(line.sku, line.quantity, line.amount) for line in deal.products] == [
        ("7", Decimal(2), Decimal(30)),
        ("SKU-1", Decimal(1), None),
    ]


def test_a_deal_is_asked_for_where_its_products_are_wanted_and_not_told() -> None:
    wanted = SourceMapping(asks_products=True)

    def said(body: bytes) -> list[object]:
        return list(PIPEDRIVE.translate(body, wanted))

    assert said(pipedrive_event()) == [Fetch("deal", "746")]
    happened_at = datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC)
    assert said(pipedrive_event(previous={"is_deleted": True})) == [Fetch("deal", "746", happened_at)]
    (told,) = said(pipedrive_event(data={"products": []}))
    assert isinstance(told, CanonicalDeal)
    (gone,) = said(pipedrive_event(data={"is_deleted": True}))
    assert isinstance(gone, CanonicalDeal)
    named, former = said(pipedrive_event(meta={"merged_from_id": 500}))
    assert named == Fetch("deal", "746")
    assert isinstance(former, CanonicalDeal)
    # What a deal's words are is read from the webhook all the same.
    assert isinstance(PIPEDRIVE.translate(pipedrive_event(), in_raw_words(wanted))[0], CanonicalDeal)


@pytest.mark.parametrize(
    ("body", "reason", "pointer"),
    [
        (b"x", QuarantineReason.NOT_JSON, ""),
        (b"{}", QuarantineReason.MISSING_FIELD, "/meta"),
        (pipedrive_event(action="merged"), QuarantineReason.UNKNOWN_TYPE, "/meta/action"),
        (pipedrive_event(without_data=True), QuarantineReason.MISSING_FIELD, "/previous"),
        (pipedrive_event(meta={"timestamp": None}), QuarantineReason.MISSING_FIELD, "/meta/timestamp"),
        (pipedrive_event(meta={"timestamp": "x"}), QuarantineReason.INVALID_FIELD, "/meta/timestamp"),
        (pipedrive_event(data={"update_time": [1]}), QuarantineReason.INVALID_FIELD, "/data/update_time"),
        (pipedrive_event(data={"value": "x"}), QuarantineReason.INVALID_FIELD, "/data/amount"),
        (pipedrive_event(data={"status": {}}), QuarantineReason.STAGE_UNMAPPED, "/data/stage"),
        (
            pipedrive_event(meta={"merged_from_id": {}}),
            QuarantineReason.INVALID_FIELD,
            "/meta/merged_from_id/external_id",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_says_why_and_where(body: bytes, reason: QuarantineReason, pointer: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        PIPEDRIVE.translate(body, NO_MAPPING)
    assert (refused.value.reason, refused.value.pointer) == (reason, pointer)


def activity(raw: dict[str, object], mapping: SourceMapping = NO_MAPPING, **meta: object) -> CanonicalActivity:
    head = {
        "entity": "activity", "action": "change", "entity_id": "9", "timestamp": "2026-03-31T18:40:02.754Z"
    } | meta  # fmt: skip
    whole = {"id": 9, "type": "call", "done": True, "update_time": "2026-03-31T18:40:02Z"} | raw
    deleting = head["action"] == "delete"
    document = {"meta": head, "data": None if deleting else whole, "previous": whole if deleting else {}}
    (one,) = PIPEDRIVE.translate(json.dumps(document).encode(), mapping)
    assert isinstance(one, CanonicalActivity)
    return one


def test_an_activity_is_told_as_a_whole() -> None:
    call = activity(
        {
            "subject": "Call",
            "due_date": "2026-03-30",
            "due_time": "10:30",
            "duration": "00:45",
            "owner_id": 77,
            "deal_id": 746,
            "org_id": 2,
            "custom_fields": {"cf": "x"},
        },
        SourceMapping(users={"77": "ann"}, custom_fields={"cf": "topic"}),
    )
    assert (call.external_id, call.type, call.status) == ("9", ActivityType.CALL, ActivityStatus.DONE)
    assert (call.occurred_at, call.duration_seconds) == (datetime(2026, 3, 30, 10, 30, tzinfo=UTC), 2700)
    assert (call.owner_external_id, call.deal_external_id, call.account_id) == ("ann", "746", "2")
    assert (call.custom, call.modified_at, call.sequence) == ({"topic": "x"}, NOW, 1774982402754)


@pytest.mark.parametrize(
    ("raw", "type_expected", "status"),
    [
        ({"type": "lunch"}, ActivityType.MEETING, ActivityStatus.DONE),
        ({"type": "email", "done": False}, ActivityType.EMAIL, ActivityStatus.PLANNED),
        ({"type": "deadline", "done": 1}, ActivityType.TASK, ActivityStatus.DONE),
    ],
)
def test_kinds_of_activities(raw: dict[str, object], type_expected: ActivityType, status: ActivityStatus) -> None:
    assert (activity(raw).type, activity(raw).status) == (type_expected, status)


def test_an_activity_without_a_time_is_of_its_day_and_without_a_day_of_when_it_was_done() -> None:
    assert activity({"due_date": "2026-03-30", "due_time": None}).occurred_at == datetime(2026, 3, 30, tzinfo=UTC)
    assert activity({"marked_as_done_time": "2026-03-30 11:00:00"}).occurred_at == datetime(2026, 3, 30, 11, tzinfo=UTC)
    with pytest.raises(Untranslatable) as refused:
        activity({"due_date": "2026-03-30", "due_time": "25:00"})
    assert refused.value.pointer == "/data/due_time"


def test_a_deleted_activity_is_gone_since_the_event() -> None:
    gone = activity({}, action="delete")
    assert (gone.is_deleted, gone.modified_at) == (True, datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC))
    (asked_gone,) = PIPEDRIVE.translate_gone(GoneRecord("activity", "9", NOW), NO_MAPPING)
    assert isinstance(asked_gone, CanonicalActivity)
    (deal,) = PIPEDRIVE.translate_gone(GoneRecord("deal", "9", NOW), NO_MAPPING)
    assert isinstance(deal, CanonicalDeal)


def plain(number: int, *, seconds: int = 0, **changes: object) -> PlainDeal:
    deal = PlainDeal(
        str(number), f"Deal {number}", Decimal("1200.5"), "EUR", "won", "77", NOW - timedelta(days=9),
        NOW + timedelta(seconds=seconds), closed_on=date(2026, 3, 31),
    )  # fmt: skip
    return replace(deal, **changes)  # type: ignore[arg-type]


class Asked:
    """A played company and how it is asked."""

    def __init__(self, crm: PlayedPipedrive, client: httpx.AsyncClient) -> None:
        self.crm = crm
        self.api = PIPEDRIVE.api
        self.credentials = PipedriveCredentials.model_validate(crm.access())
        self.caller = Caller(client, PIPEDRIVE.api, self.credentials)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    crm = PlayedPipedrive(secret="attain:a-long-enough-password")
    async with crm.client() as client:
        yield Asked(crm, client)


async def test_deals_are_fetched_with_what_is_sold_with_them(asked: Asked) -> None:
    asked.crm.page_products_max = 2
    for number in range(1, 121):
        asked.crm.put(plain(number))
    asked.crm.products = {
        "1": [
            {"id": 11, "product_id": 7, "quantity": 2, "sum": 30.1},
            {"id": 12, "product_id": 8, "is_enabled": False},
        ],
        "120": [{"id": number, "product_id": number, "quantity": 1.5, "sum": None} for number in (13, 14, 15)],
    }
    page = await asked.caller.result(asked.api.changed(asked.credentials, None, None))
    records = {record.external_id: FetchedRecord("deal", record.raw, NOW) for record in page.records}

    def sold(deal_id: str, mapping: SourceMapping) -> list[tuple[str, Decimal, Decimal | None]]:
        (deal,) = PIPEDRIVE.translate_record(records[deal_id], mapping, pointer="")
        assert isinstance(deal, CanonicalDeal)
        return [(line.sku, line.quantity, line.amount) for line in deal.products]

    wanted = SourceMapping(asks_products=True)
    assert sold("1", wanted) == [("7", Decimal(2), Decimal("30.1"))]
    assert sold("120", wanted) == [(str(number), Decimal("1.5"), None) for number in (13, 14, 15)]
    assert (sold("2", wanted), sold("1", NO_MAPPING)) == ([], [])


async def test_a_company_whose_plan_has_no_products_is_asked_for_its_deals(asked: Asked) -> None:
    asked.crm.put(plain(1))
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "deal", ["1"]))
    assert [record.raw["_products"] for record in page.records] == [[]]


async def test_deals_are_fetched_archived_ones_too_and_the_missing_are_gone(asked: Asked) -> None:
    for number in (1, 2, 3):
        asked.crm.put(plain(number))
    asked.crm.archived.add("2")
    asked.crm.delete("3", NOW + timedelta(hours=1))
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "deal", ["1", "2", "3", "4", "x&y"]))
    assert [record.external_id for record in page.records] == ["1", "2"]
    assert {gone.external_id: gone.at for gone in page.gone} == {
        "3": NOW + timedelta(hours=1),
        "4": None,
        "x&y": None,
    }
    fetched = FetchedRecord("deal", page.records[0].raw, NOW + timedelta(seconds=3), NOW + timedelta(seconds=1))
    (deal,) = PIPEDRIVE.translate_record(fetched, NO_MAPPING, pointer="/r")
    assert isinstance(deal, CanonicalDeal)
    assert (deal.amount, deal.status, deal.owner_external_id) == (Decimal("1200.5"), DealStatus.WON, "77")
    assert (deal.modified_at, deal.sequence) == (NOW + timedelta(seconds=1), int(NOW.timestamp() * 1000) + 3000)


async def test_a_hundred_deals_and_their_products_are_fetched_by_two_calls(asked: Asked) -> None:
    for number in range(100):
        asked.crm.put(plain(number))
    ids = [str(number) for number in range(100)]
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "deal", ids))
    assert (len(page.records), len(asked.caller.calls)) == (100, 2)


async def test_activities_are_fetched(asked: Asked) -> None:
    asked.crm.activities["9"] = {"id": 9, "type": "call", "done": True, "update_time": "2026-03-31T18:40:02Z"}
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "activity", ["9", "8"]))
    assert [gone.external_id for gone in page.gone] == ["8"]
    (call,) = PIPEDRIVE.translate_record(FetchedRecord("activity", page.records[0].raw, NOW), NO_MAPPING, pointer="")
    assert isinstance(call, CanonicalActivity)


@pytest.mark.parametrize("has_archive", [True, False])
async def test_everything_changed_is_walked_archived_deals_too(asked: Asked, has_archive: bool) -> None:
    asked.crm.has_archive = has_archive
    for number in range(1200):
        asked.crm.put(plain(number, seconds=number // 100))
    if has_archive:
        asked.crm.archived = {"5", "1150"}

    async def walked(since: datetime | None) -> list[int]:
        pages = await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, since, at))
        return sorted(int(record.external_id) for page in pages for record in page.records)

    assert await walked(None) == list(range(1200))
    assert await walked(NOW + timedelta(seconds=10)) == list(range(1000, 1200))
    assert await asked.caller.result(asked.api.count(asked.credentials)) == 1200


async def test_activities_are_walked_after_the_deals(asked: Asked) -> None:
    asked.crm.put(plain(1))
    for number in range(700):
        time = (NOW + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
        asked.crm.activities[str(number)] = {"id": number, "type": "call", "done": True, "update_time": time}

    async def walked(since: datetime | None) -> list[tuple[str, str]]:
        pages = await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, since, at))
        return [(record.object_name, record.external_id) for page in pages for record in page.records]

    assert await walked(None) == [("deal", "1"), *(("activity", str(number)) for number in range(700))]
    assert await walked(NOW + timedelta(seconds=698)) == [("activity", "698"), ("activity", "699")]
    asked.crm.has_activities = False
    assert await walked(None) == [("deal", "1")]


async def test_what_was_deleted_since_is_walked(asked: Asked) -> None:
    for number in range(20):
        asked.crm.put(plain(number))
        asked.crm.delete(str(number), NOW + timedelta(seconds=number))
    since = NOW + timedelta(seconds=12)
    pages = await asked.caller.every_page(lambda at: asked.api.deleted(asked.credentials, since, at))
    gone = {each.external_id: each.at for page in pages for each in page.gone}
    assert gone == {str(number): NOW + timedelta(seconds=number) for number in range(12, 20)}


async def test_users_are_listed(asked: Asked) -> None:
    asked.crm.users = {"77": "Ann"}
    (page,) = await asked.caller.every_user_page()
    assert [(user.external_id, user.name, user.email) for user in page.users] == [("77", "Ann", "77@example.com")]


async def test_a_wrong_token_is_access_that_is_not_taken_any_more(asked: Asked) -> None:
    wrong = asked.credentials.model_copy(update={"api_token": "other"})
    async with asked.crm.client() as client:
        with pytest.raises(NotOk) as refused:
            await Caller(client, asked.api, wrong).result(asked.api.users(wrong, None))
    assert refused.value.judgement.verdict is Verdict.TOKEN_EXPIRED
    assert TOKEN not in repr(asked.credentials)


async def test_a_budget_that_is_used_up_is_no_passing_trouble(asked: Asked) -> None:
    asked.crm.tokens_left = 15
    await asked.caller.result(asked.api.users(asked.credentials, None))
    assert asked.caller.judgements[-1].credits_remaining == 5
    with pytest.raises(NotOk) as refused:
        await asked.caller.result(asked.api.users(asked.credentials, None))
    assert refused.value.judgement.verdict is Verdict.QUOTA_EXHAUSTED


@pytest.mark.parametrize(
    ("status", "expected"),
    [(429, Verdict.RATE_LIMITED), (503, Verdict.TRANSIENT), (400, Verdict.REFUSED), (403, Verdict.REFUSED)],
)
async def test_what_an_answer_means(asked: Asked, status: int, expected: Verdict) -> None:
    def answer() -> Response:
        left = {"x-ratelimit-reset": "2", "x-daily-ratelimit-token-remaining": "90"}
        return JSONResponse({"error": "Request over limit"}, status, left)

    asked.crm.fail(answer, path="/users")
    with pytest.raises(NotOk) as refused:
        await asked.caller.result(asked.api.users(asked.credentials, None))
    judgement = refused.value.judgement
    assert (judgement.verdict, judgement.credits_remaining) == (expected, 90)
    assert (judgement.retry_after == timedelta(seconds=2)) == (expected is Verdict.RATE_LIMITED)


def test_a_played_merge_is_told_by_either_event_alone() -> None:
    crm = PlayedPipedrive(secret="attain:a-long-enough-password")
    crm.put(plain(1))
    crm.put(plain(2))
    crm.drained()
    crm.merge("1", plain(2, seconds=5), NOW + timedelta(seconds=5))
    for webhook in crm.drained():
        given = request(webhook.headers["authorization"].encode(), webhook.body)
        assert PIPEDRIVE.verify(given, SenderRules((crm.secret,)), now_seconds=0) is None
        said = {each.external_id: each for each in PIPEDRIVE.translate(webhook.body, NO_MAPPING)
                if isinstance(each, CanonicalDeal)}  # fmt: skip
        assert (said["1"].kind, said["1"].merged_into) == (DealKind.MERGED, "2")


async def sent(crm: PlayedPipedrive, status: int, times: int) -> None:
    """Send what waits to a hook that answers so."""

    async def hook(_: Received) -> Response:
        return Response(status_code=status)

    transport = httpx.ASGITransport(app=Starlette(routes=[Route("/hook", hook, methods=["POST"])]))
    async with httpx.AsyncClient(transport=transport, base_url="http://attain.example") as client:
        for _ in range(times):
            await crm.send(client, "/hook")


async def test_a_played_webhook_is_tried_four_times() -> None:
    crm = PlayedPipedrive(secret="attain:a-long-enough-password")
    crm.put(plain(1))
    await sent(crm, 503, 3)
    (webhook,) = crm.webhooks
    assert json.loads(webhook.body)["meta"]["attempt"] == 4
    assert key(webhook.body) == key(webhook.body.replace(b'"attempt": 4', b'"attempt": 1'))
    await sent(crm, 503, 1)
    assert not crm.webhooks


async def test_ten_failures_at_the_first_try_lose_what_comes_after() -> None:
    crm = PlayedPipedrive(secret="attain:a-long-enough-password")
    for number in range(9):
        crm.put(plain(number))
    await sent(crm, 503, 1)
    assert not crm.is_banned
    crm.put(plain(10))
    await sent(crm, 503, 1)
    assert crm.is_banned
    crm.put(plain(11))
    assert not crm.webhooks
    crm.lift_ban()
    crm.put(plain(12))
    assert [webhook.about for webhook in crm.webhooks] == [frozenset({"12"})]
