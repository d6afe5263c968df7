"""Fxiaoke: who sent it, is it the same again, what it is answered, what it says, and how its API is asked."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha1
from pathlib import Path
from typing import Final

import pytest
from starlette.responses import JSONResponse, Response

from services.tracking.intake.sources.adapter import Fetch, PassedOver, Request, SeenUser, SenderRules
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal, CanonicalPayment
from services.tracking.intake.sources.domain import (
    InstalmentFields,
    InvalidSecret,
    QuarantineReason,
    Rejection,
    SourceMapping,
    TeamShare,
    Untranslatable,
    Verdict,
)
from services.tracking.intake.sources.fxiaoke.adapter import Fxiaoke
from services.tracking.intake.sources.fxiaoke.api import OBJECTS, FxiaokeCredentials
from services.tracking.intake.sources.source_api import Answer, Call, FetchedRecord, GoneRecord, UnexpectedAnswer
from shared.kernel.activities import ActivityType
from shared.kernel.deals import DealKind, DealStatus
from tests.played.conversations import Caller, NotOk
from tests.played.crms import PlainDeal
from tests.played.fxiaoke import (
    ENTERPRISE,
    OPPORTUNITY,
    ORDER,
    PlayedFxiaoke,
    decrypted,
    encrypted,
    midnight,
    milliseconds,
)

FXIAOKE: Final = Fxiaoke()
SAMPLES: Final = Path(__file__).parent.parent / "played/samples/fxiaoke"
VECTOR: Final = (SAMPLES / "event.json").read_bytes()
VECTOR_KEY: Final = "O0YjM0EDOygzNykzMzUjLwUTN3MjL5ADN1QjM5gTM0A="
VECTOR_CONTENT: Final = {
    "tenantId": 691413,
    "eventType": "update",
    "apiName": "AccountObj",
    "dataId": "5f9cd4e6e4400e0001217faa",
    "timestamp": 1604644208525,
    "messageId": "AC11291700002A9F00000608C038697A0",
}
SECRET: Final = FXIAOKE.new_secret(bytes(range(32)))
OLD_SECRET: Final = FXIAOKE.new_secret(bytes(32))
NO_MAPPING: Final = SourceMapping()
NOW: Final = datetime(2026, 3, 31, 18, 40, 5, tzinfo=UTC)
MODIFIED: Final = datetime(2024, 12, 15, 8, 23, 20, tzinfo=UTC)
EVENT_ID: Final = "5f9cd4e6e4400e0001217faa"
DEAL_ID: Final = "650c09e8dc044f0001973eab"


VECTOR_SECONDS: Final = 1604644770
CONTENT: Final[str] = json.loads(VECTOR)["encryptedContent"]


def terms(*secrets: str, accounts: tuple[str, ...] = (ENTERPRISE,)) -> SenderRules:
    return SenderRules(secrets, {"enterprise_account": frozenset(accounts)})


def request(body: bytes) -> Request:
    return Request("POST", "https://attain.example", "/hooks/1", "", {}, body)


def verdict(body: bytes, given: SenderRules | None = None, now_seconds: int = VECTOR_SECONDS) -> Rejection | None:
    return FXIAOKE.verify(request(body), given or terms(VECTOR_KEY), now_seconds=now_seconds)


def changed(**changes: object) -> bytes:
    """The published callback with another signature where one is not given: what anybody could send."""
    return json.dumps(json.loads(VECTOR) | changes).encode()


def signed(key: str = SECRET, **changes: object) -> bytes:
    """A callback that is signed right, whatever is in it. A change to None is sent as null."""
    envelope = {name: value for name, value in json.loads(VECTOR).items() if name != "signature"} | changes
    text = "".join(str(value) for value in envelope.values() if value is not None) + key
    return json.dumps({"signature": sha1(text.encode()).hexdigest()} | envelope).encode()


def event(**changes: object) -> bytes:
    content = VECTOR_CONTENT | {"apiName": OPPORTUNITY} | changes
    return json.dumps({name: value for name, value in content.items() if value is not None}).encode()


def refusal(body: bytes) -> Untranslatable:
    with pytest.raises(Untranslatable) as refused:
        FXIAOKE.translate(body, NO_MAPPING)
    return refused.value


def raw_deal(**changes: object) -> dict[str, object]:
    deal: dict[str, object] = json.loads((SAMPLES / "asked.json").read_bytes())["records"][0]["record"]
    return deal | changes


def raw_order(**changes: object) -> dict[str, object]:
    return {
        "_id": "650c0000000000000000aaaa",
        "name": "SO-1",
        "order_amount": "1200.50",
        "order_time": 1735228800000,
        "owner": ["FSUID_9"],
        "life_status": "normal",
        "last_modified_time": milliseconds(MODIFIED),
        **changes,
    }


def payment(amount: str | None = "100.00", **changes: object) -> dict[str, object]:
    return {
        "_id": "p1",
        "payment_amount": amount,
        "payment_time": 1735228800000,
        "life_status": "normal",
        "last_modified_time": milliseconds(MODIFIED),
        **changes,
    }


def deal_of(
    raw: dict[str, object],
    mapping: SourceMapping = NO_MAPPING,
    *,
    name: str = OPPORTUNITY,
    floor: datetime | None = None,
) -> CanonicalDeal:
    deal = FXIAOKE.translate_record(FetchedRecord(name, raw, NOW, floor), mapping, pointer="/records/0/record")[0]
    assert isinstance(deal, CanonicalDeal)
    return deal


def test_the_published_callback_is_accepted() -> None:
    assert verdict(VECTOR) is None


def test_the_published_callback_decrypts_to_the_published_content() -> None:
    kept = json.loads(FXIAOKE.body_to_store(request(VECTOR), terms(VECTOR_KEY)))
    assert kept == VECTOR_CONTENT | {"enterpriseAccount": "gxcxkj", "retryTimes": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": 1604644770245},
        {"nonce": "mi3wrpKNnq4YdIZD"},
        {"messageId": "AC11291700002A9F00000608C038697A1"},
        {"retryTimes": 2},
        {"retryTimes": None},
        {"enterpriseAccount": "gxcxkk"},
        {"encryptedContent": "tRPD30ygQKxFurdWxHQKpQ=="},
        {"signature": "4d7c6742d8efed705054fe895ee487df738c8c51"},
        {"signature": ""},
        {"signature": "é"},
        {"signature": None},
        {"timestamp": 1604644770244.5},
        {"nonce": None},
        {"encryptedContent": ["x"]},
        {"encryptedContent": "not base64!"},
        {"encryptedContent": ""},
        {"timestamp": 160464477024},
        {"timestamp": "1604644770244.0"},
        {"nonce": "mi3w.pKNnq4YdIZC"},
        {"messageId": ""},
        {"retryTimes": -1},
    ],
)
def test_a_callback_changed_in_any_part_is_refused(change: dict[str, object]) -> None:
    assert verdict(changed(**change), terms(VECTOR_KEY, accounts=("gxcxkj", "gxcxkk"))) is not None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_callback_is_refused(body: bytes) -> None:
    assert verdict(body) is Rejection.HEADERS


def test_a_first_sending_has_no_number_of_retries_in_its_signature() -> None:
    assert verdict(signed(retryTimes=None), terms(SECRET)) is None
    envelope = json.loads(signed(retryTimes=None))
    del envelope["retryTimes"]
    assert verdict(json.dumps(envelope).encode(), terms(SECRET)) is None


def test_while_rotating_either_key_will_do_and_both_are_read_and_answered_with_their_own() -> None:
    for key in (OLD_SECRET, SECRET):
        body = signed(key, encryptedContent=encrypted(event(), key))
        both = terms(OLD_SECRET, SECRET)
        assert verdict(body, both) is None
        assert json.loads(FXIAOKE.body_to_store(request(body), both))["apiName"] == OPPORTUNITY
        reply = json.loads(FXIAOKE.reply(request(body), both, now_ms=1, entropy=bytes).body)
        assert decrypted(reply["encryptedResult"], key) == b"success"


def test_a_company_that_is_not_allowed_is_refused_although_it_signs_right() -> None:
    assert verdict(VECTOR, terms(VECTOR_KEY, accounts=("another",))) is Rejection.NOT_ALLOWED
    assert FXIAOKE.allow_keys == {"enterprise_account": True}


def test_the_answer_is_success_signed_and_encrypted() -> None:
    reply = FXIAOKE.reply(request(VECTOR), terms(VECTOR_KEY), now_ms=1604644770999, entropy=lambda size: b"\xab" * size)
    assert (reply.status, reply.content_type) == (200, "application/json")
    answer = json.loads(reply.body)
    assert list(answer) == ["timestamp", "nonce", "encryptedResult", "signature"]
    assert (answer["timestamp"], answer["nonce"]) == (1604644770999, "ab" * 8)
    assert decrypted(answer["encryptedResult"], VECTOR_KEY) == b"success"
    text = f"{answer['timestamp']}{answer['nonce']}{answer['encryptedResult']}{VECTOR_KEY}"
    assert answer["signature"] == sha1(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "content",
    [
        b64encode(b"x" * 15).decode(),
        b64encode(b"x" * 32).decode(),
        encrypted(b"no json", SECRET),
        encrypted(b"[]", SECRET),
        encrypted(b"\xff\xfe", SECRET),
        encrypted(event(), OLD_SECRET),
    ],
)
def test_what_is_signed_right_but_does_not_decrypt_is_kept_as_it_came_and_ends_in_quarantine(content: str) -> None:
    body = signed(encryptedContent=content)
    assert verdict(body, terms(SECRET)) is None
    assert FXIAOKE.body_to_store(request(body), terms(SECRET)) == body
    assert refusal(body).pointer == "/encryptedContent"
    assert FXIAOKE.reply(request(body), terms(SECRET), now_ms=1, entropy=bytes).status == 200


def test_what_is_kept_holds_no_key_and_reads_after_a_rotation() -> None:
    body = signed(encryptedContent=encrypted(event(), SECRET))
    kept = FXIAOKE.body_to_store(request(body), terms(SECRET))
    assert SECRET.encode() not in kept
    assert FXIAOKE.translate(kept, NO_MAPPING) == (Fetch(OPPORTUNITY, EVENT_ID),)


@pytest.mark.parametrize("content", [b"{}", b' {"a": 1.50} '])
def test_whatever_object_was_encrypted_is_kept_to_the_letter(content: bytes) -> None:
    kept = FXIAOKE.body_to_store(request(signed(encryptedContent=encrypted(content, SECRET))), terms(SECRET))
    assert kept.endswith(content.strip()[1:])
    assert json.loads(kept)["messageId"] == VECTOR_CONTENT["messageId"]


@pytest.mark.parametrize("seconds", [-899, 0, 900])
def test_a_callback_is_taken_within_a_quarter_of_an_hour_of_its_signed_time(seconds: int) -> None:
    assert verdict(VECTOR, now_seconds=VECTOR_SECONDS + seconds) is None


@pytest.mark.parametrize("seconds", [-901, 901, 86_400 * 365])
def test_a_callback_cannot_be_replayed_for_ever(seconds: int) -> None:
    assert verdict(VECTOR, now_seconds=VECTOR_SECONDS + seconds) is Rejection.TIMESTAMP


@pytest.mark.parametrize(
    ("moved", "from_part", "to_part"),
    [
        ({"nonce": "mi3wrpKNnq4YdIZ", "messageId": "CAC11291700002A9F00000608C038697A0"}, "nonce", "messageId"),
        ({"nonce": "mi3wrpKNnq4YdIZCA", "messageId": "C11291700002A9F00000608C038697A0"}, "messageId", "nonce"),
        ({"messageId": "AC11291700002A9F00000608C038697A01", "retryTimes": None}, "retryTimes", "messageId"),
        ({"messageId": "AC11291700002A9F00000608C038697A", "retryTimes": "01"}, "messageId", "retryTimes"),
        ({"timestamp": 160464477024, "nonce": "4mi3wrpKNnq4YdIZC"}, "timestamp", "nonce"),
        ({"retryTimes": "1g", "enterpriseAccount": "xcxkj"}, "enterpriseAccount", "retryTimes"),
        ({"enterpriseAccount": "gxcxkjt", "encryptedContent": CONTENT[1:]}, "encryptedContent", "enterpriseAccount"),
    ],
)
def test_letters_cannot_wander_from_one_signed_part_to_another(
    moved: dict[str, object], from_part: str, to_part: str
) -> None:
    names = ("timestamp", "nonce", "messageId", "retryTimes", "enterpriseAccount", "encryptedContent")
    documents = [json.loads(body) for body in (changed(**moved), VECTOR)]
    joined = {"".join(str(each[name]) for name in names if each[name] is not None) for each in documents}
    assert len(joined) == 1, (from_part, to_part)
    assert verdict(changed(**moved), terms(VECTOR_KEY, accounts=("gxcxkj", "xcxkj", "gxcxkjt"))) is not None


def test_a_callback_is_the_same_again_by_its_message() -> None:
    assert FXIAOKE.dedupe_key(request(VECTOR)) == "message:AC11291700002A9F00000608C038697A0"
    assert FXIAOKE.dedupe_key(request(signed(retryTimes=5))) == FXIAOKE.dedupe_key(request(VECTOR))
    assert FXIAOKE.dedupe_key(request(signed(messageId="B"))) != FXIAOKE.dedupe_key(request(VECTOR))


def test_a_new_secret_is_a_key() -> None:
    FXIAOKE.check_secret(SECRET)
    FXIAOKE.check_secret(VECTOR_KEY)


@pytest.mark.parametrize("secret", ["", "x", b64encode(bytes(31)).decode(), SECRET + " ", SECRET[:-1], "é" * 44])
def test_a_secret_that_is_no_key_is_refused(secret: str) -> None:
    with pytest.raises(InvalidSecret):
        FXIAOKE.check_secret(secret)


@pytest.mark.parametrize("name", [OPPORTUNITY, ORDER, "PaymentObj", "OrderPaymentObj", "ActiveRecordObj"])
@pytest.mark.parametrize("kind", ["create", "update", "changeOwner", "unheard-of"])
def test_an_event_asks_for_its_record(name: str, kind: str) -> None:
    assert FXIAOKE.translate(event(apiName=name, eventType=kind), NO_MAPPING) == (Fetch(name, EVENT_ID),)


@pytest.mark.parametrize("kind", ["invalid", "invalidBulk", "Recover"])
def test_what_leaves_the_records_own_time_is_dated_by_the_event(kind: str) -> None:
    (fetch,) = FXIAOKE.translate(event(eventType=kind), NO_MAPPING)
    assert isinstance(fetch, Fetch)
    assert fetch.floor == datetime(2020, 11, 6, 6, 30, 8, 525000, tzinfo=UTC)


@pytest.mark.parametrize(("name", "prefix"), [(OPPORTUNITY, ""), (ORDER, "SalesOrderObj:")])
def test_a_deletion_of_a_deal_is_said_at_once(name: str, prefix: str) -> None:
    (deal,) = FXIAOKE.translate(event(apiName=name, eventType="delete"), NO_MAPPING)
    assert isinstance(deal, CanonicalDeal)
    assert (deal.kind, deal.external_id) == (DealKind.DELETED, f"{prefix}{EVENT_ID}")
    assert deal.modified_at == datetime(2020, 11, 6, 6, 30, 8, 525000, tzinfo=UTC)


def test_a_deletion_of_a_payment_deletes_no_deal() -> None:
    (fetch,) = FXIAOKE.translate(event(apiName="PaymentObj", eventType="delete"), NO_MAPPING)
    assert isinstance(fetch, Fetch)
    for name in ("PaymentObj", "OrderPaymentObj"):
        assert FXIAOKE.translate_gone(GoneRecord(name, "1", NOW), NO_MAPPING) == ()


def test_a_deletion_of_an_activity_deletes_the_activity() -> None:
    (activity,) = FXIAOKE.translate(event(apiName="ActiveRecordObj", eventType="delete"), NO_MAPPING)
    assert isinstance(activity, CanonicalActivity)
    assert activity.is_deleted


@pytest.mark.parametrize("name", ["AccountObj", "LeadsObj", "object_50hj8__c"])
def test_an_event_about_another_object_says_which(name: str) -> None:
    assert FXIAOKE.translate(event(apiName=name, eventType=None, dataId=None), NO_MAPPING) == (PassedOver(name),)


@pytest.mark.parametrize("name", [None, 5, ["NewOpportunityObj"], "", "a b"])
def test_an_event_that_names_no_object_is_not_understood(name: object) -> None:
    refused = refusal(event(apiName=name))
    assert (refused.reason, refused.pointer) == (QuarantineReason.UNKNOWN_TYPE, "/apiName")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"dataId": None}, "/dataId"),
        ({"dataId": "a b"}, "/dataId"),
        ({"dataId": 5}, "/dataId"),
        ({"eventType": None}, "/eventType"),
        ({"eventType": "delete", "timestamp": None}, "/timestamp"),
        ({"eventType": "recover", "timestamp": 10**40}, "/timestamp"),
    ],
)
def test_an_event_that_is_not_as_documented_is_refused(change: dict[str, object], pointer: str) -> None:
    assert refusal(event(**change)).pointer == pointer


def test_a_fetched_opportunity_is_translated_field_by_field() -> None:
    deal = deal_of(raw_deal(mc_currency="CNY", account_id="a1", account_id__r="华为", probability="100", area="north"))
    assert deal == CanonicalDeal(
        external_id=DEAL_ID,
        modified_at=MODIFIED,
        sequence=int(NOW.timestamp() * 1000),
        status=DealStatus.WON,
        owner_external_id="FSUID_CBF443F942C4ABE8A46BE859066A5CD1",
        name="设备采购",
        amount=Decimal("5000000.00"),
        currency="CNY",
        created_at=datetime(2023, 9, 21, 12, 40, tzinfo=UTC),
        closed_on=date(2024, 12, 27),
        stage="赢单",
        probability=Decimal(100),
        type="opportunity",
        account_id="a1",
        account_name="华为",
        custom={"area": "north", "life_status": "normal", "mc_currency": "CNY", "sales_status": "2"},
    )


def test_a_day_is_the_one_that_begins_in_china_at_that_moment() -> None:
    assert datetime.fromtimestamp(1735228800, UTC).date() == date(2024, 12, 26)
    assert deal_of(raw_deal(close_date=1735228800000)).closed_on == date(2024, 12, 27)
    assert deal_of(raw_deal(close_date="1735228799999")).closed_on == date(2024, 12, 26)


@pytest.mark.parametrize(
    ("code", "status"),
    [("1", DealStatus.OPEN), ("2", DealStatus.WON), ("3", DealStatus.LOST), ("4", DealStatus.LOST)],
)
def test_the_sales_status_is_the_status(code: str, status: DealStatus) -> None:
    deal = deal_of(raw_deal(sales_status=code))
    assert deal.status is status
    assert (deal.closed_on is None) == (status is DealStatus.OPEN)
    assert (deal.expected_close_on is None) == (status is not DealStatus.OPEN)


@pytest.mark.parametrize("stage", ["赢单", "5"])
def test_a_stage_may_be_mapped_by_its_name_or_its_code(stage: str) -> None:
    assert deal_of(raw_deal(sales_status="1"), SourceMapping(stages={stage: DealStatus.WON})).status is DealStatus.WON


def test_an_opportunity_without_a_status_has_to_be_mapped() -> None:
    with pytest.raises(Untranslatable) as refused:
        deal_of(raw_deal(sales_status="9"))
    assert refused.value.reason is QuarantineReason.STAGE_UNMAPPED


def test_what_is_absent_or_empty_is_none() -> None:
    bare = {"_id": "1", "sales_status": "1", "last_modified_time": 1734251000000, "amount": "", "close_date": ""}
    deal = deal_of(dict(bare))
    assert (deal.amount, deal.owner_external_id, deal.expected_close_on, deal.currency) == (None, None, None, None)
    assert deal_of(dict(bare), SourceMapping(currency="CNY")).currency == "CNY"


@pytest.mark.parametrize("change", [{"life_status": "invalid"}, {"is_deleted": True}, {"is_deleted": "1"}])
def test_an_invalid_record_is_a_deleted_deal_and_its_recovery_is_newer(change: dict[str, object]) -> None:
    invalid_at = MODIFIED + timedelta(days=1)
    gone = deal_of(raw_deal(**change), floor=invalid_at)
    back = deal_of(raw_deal(), floor=invalid_at + timedelta(milliseconds=1))
    assert (gone.kind, back.kind) == (DealKind.DELETED, DealKind.UPSERTED)
    assert (back.modified_at, back.sequence) > (gone.modified_at, gone.sequence)


def test_a_fetched_record_tells_of_its_owner() -> None:
    record = FetchedRecord(OPPORTUNITY, raw_deal(owner__r={"id": "1000", "name": "张三"}), NOW)
    assert FXIAOKE.translate_record(record, NO_MAPPING, pointer="")[1] == SeenUser(
        "FSUID_CBF443F942C4ABE8A46BE859066A5CD1", "张三", None
    )


@pytest.mark.parametrize(
    ("life_status", "status"),
    [
        ("normal", DealStatus.WON),
        ("in_change", DealStatus.WON),
        ("ineffective", DealStatus.OPEN),
        ("under_review", DealStatus.OPEN),
        (None, DealStatus.WON),
    ],
)
def test_an_order_is_won_once_it_is_in_effect(life_status: str | None, status: DealStatus) -> None:
    deal = deal_of(raw_order(life_status=life_status), name=ORDER)
    assert (deal.status, deal.type, deal.external_id) == (status, "order", "SalesOrderObj:650c0000000000000000aaaa")
    assert (deal.closed_on if status is DealStatus.WON else deal.expected_close_on) == date(2024, 12, 27)


def test_an_opportunity_and_an_order_of_the_same_id_are_two_deals() -> None:
    assert deal_of(raw_deal(_id="1")).external_id != deal_of(raw_order(_id="1"), name=ORDER).external_id


def test_an_order_has_what_was_paid_for_it() -> None:
    parts = [payment("100.00"), payment("50.25", payment_time=1735315200000), payment(None), payment("-10")]
    assert deal_of(raw_order(_payments=parts), name=ORDER).payments == (
        CanonicalPayment(paid_on=date(2024, 12, 27), amount=Decimal("100.00")),
        CanonicalPayment(paid_on=date(2024, 12, 28), amount=Decimal("50.25")),
        CanonicalPayment(paid_on=date(2024, 12, 27), amount=Decimal("-10")),
    )


@pytest.mark.parametrize("life_status", ["invalid", "ineffective", "under_review"])
def test_a_payment_that_is_not_in_effect_does_not_count_but_makes_the_order_newer(life_status: str) -> None:
    later = MODIFIED + timedelta(days=2)
    part = payment(life_status=life_status, last_modified_time=milliseconds(later))
    deal = deal_of(raw_order(_payments=[part]), name=ORDER)
    assert (deal.payments, deal.modified_at) == ((), later)


@pytest.mark.parametrize(
    ("part", "pointer"),
    [
        (payment(payment_time=None), "payment_time"),
        (payment(payment_time="yesterday"), "payment_time"),
        (payment(mc_currency="USD"), "mc_currency"),
    ],
)
def test_a_payment_that_cannot_be_counted_right_keeps_the_order_back(part: dict[str, object], pointer: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        deal_of(raw_order(mc_currency="CNY", _payments=[part]), name=ORDER)
    assert refused.value.pointer == f"/records/0/record/_payments/0/{pointer}"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"last_modified_time": None}, "/records/0/record/last_modified_time"),
        ({"last_modified_time": "2024-12-15"}, "/records/0/record/last_modified_time"),
        ({"close_date": "2024-12-27"}, "/records/0/record/close_date"),
        ({"amount": "5,000"}, "/records/0/record/amount"),
        ({"_id": None}, "/records/0/record/external_id"),
    ],
)
def test_a_fetched_record_that_is_not_as_documented_is_refused_where_it_is_wrong(
    change: dict[str, object], pointer: str
) -> None:
    with pytest.raises(Untranslatable) as refused:
        deal_of(raw_deal(**change))
    assert refused.value.pointer == pointer


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("电话", ActivityType.CALL),
        ("上门拜访", ActivityType.MEETING),
        ("邮件", ActivityType.EMAIL),
        ("其他", ActivityType.TASK),
        (None, ActivityType.TASK),
    ],
)
def test_a_sales_record_is_an_activity_of_its_kind(label: str | None, kind: ActivityType) -> None:
    raw = {
        "_id": "7",
        "owner": ["FSUID_9"],
        "create_time": 1734251000000,
        "last_modified_time": 1734251000001,
        "active_record_type": "1",
        "active_record_type__r": label,
        "related_object_data": [
            {"describe_api_name": ORDER, "id": "5"},
            {"describe_api_name": "AccountObj", "id": "a"},
        ],
    }
    activity = FXIAOKE.translate_record(FetchedRecord("ActiveRecordObj", raw, NOW), NO_MAPPING, pointer="")[0]
    assert isinstance(activity, CanonicalActivity)
    assert (activity.type, activity.owner_external_id, activity.account_id) == (kind, "FSUID_9", "a")
    assert activity.deal_external_id == "SalesOrderObj:5"


DEAL: Final = PlainDeal(
    id=DEAL_ID,
    name="设备采购",
    amount=Decimal("5000000.25"),
    currency="USD",
    status="won",
    owner_id="9001",
    created_at=datetime(2026, 1, 5, 3, 42, 44, tzinfo=UTC),
    modified_at=datetime(2026, 3, 31, 13, 10, 2, tzinfo=UTC),
    closed_on=date(2026, 3, 31),
)


@pytest.fixture
def crm() -> PlayedFxiaoke:
    return PlayedFxiaoke(hook_url="https://attain.example/hooks/1", secret=SECRET)


@pytest.fixture
async def caller(crm: PlayedFxiaoke) -> AsyncIterator[Caller]:
    async with crm.client() as client:
        yield Caller(client, FXIAOKE.api, credentials(crm))


def credentials(crm: PlayedFxiaoke, **changes: object) -> FxiaokeCredentials:
    return FxiaokeCredentials.model_validate(crm.access() | changes)


def many(number: int) -> dict[str, PlainDeal]:
    return {
        f"d{index:05d}": replace(DEAL, id=f"d{index:05d}", modified_at=DEAL.modified_at + timedelta(seconds=index))
        for index in range(number)
    }


def row(record_id: str, **fields: object) -> dict[str, object]:
    return {"_id": record_id, "last_modified_time": milliseconds(DEAL.modified_at), "life_status": "normal", **fields}


def ordered(crm: PlayedFxiaoke) -> None:
    """Two orders; one payment divided between them, one of one order as a whole, one invalid."""
    for number in ("o1", "o2"):
        crm.put_row(ORDER, row(number, order_amount="300.00", order_time=midnight(date(2026, 3, 1)), owner=["FSUID_9"]))
    paid = {"payment_time": midnight(date(2026, 3, 5))}
    crm.put_row("PaymentObj", row("p1", payment_amount="300.00", order_id=["o1", "o2"], **paid))
    crm.put_row("OrderPaymentObj", row("q1", payment_id="p1", payment_amount="100.00", order_id="o1", **paid))
    crm.put_row("OrderPaymentObj", row("q2", payment_id="p1", payment_amount="200.00", order_id="o2", **paid))
    crm.put_row("PaymentObj", row("p2", payment_amount="50.00", order_id="o1", **paid))
    crm.put_row("PaymentObj", row("p3", payment_amount="999.00", order_id="o1", **paid) | {"life_status": "invalid"})


async def test_what_the_played_crm_sends_is_accepted_answered_and_says_its_deal(crm: PlayedFxiaoke) -> None:
    crm.put(DEAL)
    crm.put(replace(DEAL, owner_id="9002"))
    crm.delete(DEAL.id, DEAL.modified_at + timedelta(seconds=1))
    at = DEAL.modified_at + timedelta(seconds=1)
    said = []
    for webhook in crm.drained():
        assert verdict(webhook.body, terms(SECRET), now_seconds=int(datetime.now(UTC).timestamp())) is None
        said.append(FXIAOKE.translate(FXIAOKE.body_to_store(request(webhook.body), terms(SECRET)), NO_MAPPING)[0])
        reply = FXIAOKE.reply(request(webhook.body), terms(SECRET), now_ms=1, entropy=bytes)
        assert crm.is_taken(reply.status, reply.content_type, reply.body)
        assert not crm.is_taken(200, "text/plain", b"success")
    assert said == [Fetch(OPPORTUNITY, DEAL_ID), Fetch(OPPORTUNITY, DEAL_ID), Fetch(OPPORTUNITY, DEAL_ID, floor=at)]


async def test_a_hundred_records_are_one_call_and_the_missing_ones_are_gone(crm: PlayedFxiaoke, caller: Caller) -> None:
    crm.deals = many(98)
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), OPPORTUNITY, [*crm.deals, "no", "none"]))
    assert [each.external_id for each in page.records] == list(crm.deals)
    assert [(each.object_name, each.external_id) for each in page.gone] == [(OPPORTUNITY, "no"), (OPPORTUNITY, "none")]
    assert [call.url.rpartition("/")[2] for call in caller.calls[1:]] == ["query", "get", "get"]
    deal = deal_of(dict(page.records[0].raw))
    assert (deal.amount, deal.owner_external_id, deal.closed_on) == (DEAL.amount, "FSUID_9001", date(2026, 3, 31))


@pytest.mark.parametrize("hides_invalid", [False, True])
async def test_an_invalid_record_is_fetched_as_such_whether_or_not_queries_give_it(
    crm: PlayedFxiaoke, caller: Caller, hides_invalid: bool
) -> None:
    crm.hides_invalid = hides_invalid
    crm.put(DEAL)
    crm.delete(DEAL.id, DEAL.modified_at)
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), OPPORTUNITY, [DEAL.id]))
    assert deal_of(dict(page.records[0].raw)).kind is DealKind.DELETED
    crm.recover(DEAL.id, DEAL.modified_at + timedelta(seconds=2))
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), OPPORTUNITY, [DEAL.id]))
    assert deal_of(dict(page.records[0].raw)).kind is DealKind.UPSERTED


async def test_what_the_employee_may_not_see_is_not_taken_for_deleted(crm: PlayedFxiaoke, caller: Caller) -> None:
    crm.put(DEAL)
    crm.forbidden = {DEAL.id}
    with pytest.raises(NotOk) as refused:
        await caller.result(FXIAOKE.api.fetch(credentials(crm), OPPORTUNITY, [DEAL.id]))
    assert refused.value.judgement.verdict is Verdict.REFUSED
    assert "权限" in refused.value.judgement.detail


async def test_an_order_is_fetched_with_its_payments_each_sum_once(crm: PlayedFxiaoke, caller: Caller) -> None:
    ordered(crm)
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), ORDER, ["o1", "o2"]))
    paid = {
        each.external_id: sorted(part.amount for part in deal_of(dict(each.raw), name=ORDER).payments)
        for each in page.records
    }
    assert paid == {"o1": [Decimal(50), Decimal(100)], "o2": [Decimal(200)]}


async def test_a_payment_of_one_order_with_a_part_counts_by_its_part_alone(crm: PlayedFxiaoke, caller: Caller) -> None:
    ordered(crm)
    paid = {"payment_time": midnight(date(2026, 3, 5)), "order_id": "o2"}
    crm.put_row("PaymentObj", row("p4", payment_amount="70.00", **paid))
    crm.put_row("OrderPaymentObj", row("q4", payment_id="p4", payment_amount="70.00", **paid))
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), ORDER, ["o2"]))
    payments = deal_of(dict(page.records[0].raw), name=ORDER).payments
    assert sorted(part.amount for part in payments) == [Decimal(70), Decimal(200)]


async def test_a_payment_whose_parts_are_all_of_another_order_is_not_of_this_one(
    crm: PlayedFxiaoke, caller: Caller
) -> None:
    ordered(crm)
    del crm.objects["OrderPaymentObj"]["q2"]
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), ORDER, ["o2"]))
    assert deal_of(dict(page.records[0].raw), name=ORDER).payments == ()


async def test_a_payment_of_several_orders_without_parts_keeps_them_back(crm: PlayedFxiaoke, caller: Caller) -> None:
    ordered(crm)
    del crm.objects["OrderPaymentObj"]
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), ORDER, ["o2"]))
    with pytest.raises(Untranslatable) as refused:
        deal_of(dict(page.records[0].raw), name=ORDER)
    assert refused.value.pointer.endswith("/order_id")


async def test_parts_that_do_not_name_their_payment_keep_whole_payments_from_counting_twice(
    crm: PlayedFxiaoke, caller: Caller
) -> None:
    ordered(crm)
    del crm.objects["OrderPaymentObj"]["q1"]["payment_id"]
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), ORDER, ["o1"]))
    assert [part.amount for part in deal_of(dict(page.records[0].raw), name=ORDER).payments] == [Decimal(100)]


@pytest.mark.parametrize(
    ("name", "record_id", "orders"),
    [("PaymentObj", "p1", ["o1", "o2"]), ("PaymentObj", "p2", ["o1"]), ("OrderPaymentObj", "q2", ["o2"])],
)
async def test_a_payment_is_fetched_as_the_orders_that_it_is_of(
    crm: PlayedFxiaoke, caller: Caller, name: str, record_id: str, orders: list[str]
) -> None:
    ordered(crm)
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), name, [record_id]))
    assert [(each.object_name, each.external_id) for each in page.records] == [(ORDER, each) for each in orders]
    assert page.gone == []
    assert all(deal_of(dict(each.raw), name=ORDER).payments for each in page.records)


async def test_a_payment_without_an_order_of_its_own_is_found_by_its_parts(crm: PlayedFxiaoke, caller: Caller) -> None:
    ordered(crm)
    del crm.objects["PaymentObj"]["p1"]["order_id"]
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), "PaymentObj", ["p1"]))
    assert [each.external_id for each in page.records] == ["o1", "o2"]


async def test_a_payment_of_an_order_that_is_gone_says_that_the_order_is(crm: PlayedFxiaoke, caller: Caller) -> None:
    ordered(crm)
    del crm.objects[ORDER]["o1"]
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), "PaymentObj", ["p2"]))
    assert [(each.object_name, each.external_id) for each in page.gone] == [(ORDER, "o1")]


async def test_everything_is_walked_by_ids_and_orders_bring_their_payments(crm: PlayedFxiaoke, caller: Caller) -> None:
    crm.deals = many(250)
    ordered(crm)
    crm.put_row("ActiveRecordObj", row("a1"))
    pages = await caller.every_page(lambda cursor: FXIAOKE.api.changed(credentials(crm), None, cursor))
    found = [(each.object_name, each.external_id) for page in pages for each in page.records]
    assert found == [
        (ORDER, "o1"),
        (ORDER, "o2"),
        *((OPPORTUNITY, each) for each in crm.deals),
        ("ActiveRecordObj", "a1"),
    ]
    asked = [call.json for call in caller.calls if call.url.endswith("query")]
    assert "'offset': 0" in str(asked[0])
    assert all("'offset': 0" in str(each) for each in asked)


async def test_what_was_modified_since_then_is_walked_payments_as_their_orders(
    crm: PlayedFxiaoke, caller: Caller
) -> None:
    crm.deals = many(10)
    ordered(crm)
    since = DEAL.modified_at + timedelta(seconds=7)
    crm.objects["PaymentObj"]["p2"]["last_modified_time"] = milliseconds(since)
    pages = await caller.every_page(lambda cursor: FXIAOKE.api.changed(credentials(crm), since, cursor))
    found = [(each.object_name, each.external_id) for page in pages for each in page.records]
    assert found == [(ORDER, "o1"), *((OPPORTUNITY, f"d{number:05d}") for number in (7, 8, 9))]
    order = next(each for page in pages for each in page.records if each.object_name == ORDER)
    assert deal_of(dict(order.raw), name=ORDER).modified_at == since


async def test_what_is_sold_with_opportunities_and_orders_comes_with_them(crm: PlayedFxiaoke, caller: Caller) -> None:
    crm.deals = many(3)
    ordered(crm)
    later = DEAL.modified_at + timedelta(seconds=7)
    crm.put_row("SalesOrderProductObj", row("l1", order_id="o1", product_id="x", quantity="2.00", subtotal="300.00"))
    crm.put_row("SalesOrderProductObj", row("l2", order_id="o1", product_id="y") | {"life_status": "invalid"})
    sold = row("l3", new_opportunity_id="d00001", quantity="5", total_amount="10.123456789")
    crm.put_row("NewOpportunityLinesObj", sold | {"last_modified_time": milliseconds(later)})
    everything = credentials(crm, objects=OBJECTS)
    pages = await caller.every_page(lambda cursor: FXIAOKE.api.changed(everything, None, cursor))
    deals = {
        each.external_id: deal_of(dict(each.raw), name=each.object_name) for page in pages for each in page.records
    }
    assert {
        name: [(line.sku, line.quantity, line.amount) for line in deal.products] for name, deal in deals.items()
    } == {
        "o1": [("x", Decimal(2), Decimal(300))],
        "o2": [],
        "d00000": [],
        "d00001": [("l3", Decimal(5), Decimal("10.123457"))],
        "d00002": [],
    }
    assert (deals["d00001"].modified_at, len(deals["o1"].payments)) == (later, 2)
    pages = await caller.every_page(lambda cursor: FXIAOKE.api.changed(everything, later, cursor))
    assert [each.external_id for page in pages for each in page.records] == ["d00001"]
    assert await caller.result(FXIAOKE.api.count(everything)) == 5


async def test_what_was_invoiced_of_an_order_comes_with_it_where_the_objects_and_the_mapping_say_so(
    crm: PlayedFxiaoke, caller: Caller
) -> None:
    ordered(crm)
    later = DEAL.modified_at + timedelta(seconds=7)
    on = {"issued_on__c": midnight(date(2026, 3, 5)), "order_id": "o1"}
    crm.put_row("InvoiceApplicationObj", row("i1", sum__c="400.00", **on))
    note = row("i2", sum__c="-50.00", **on) | {"last_modified_time": milliseconds(later)}
    crm.put_row("InvoiceApplicationObj", note)
    crm.put_row("InvoiceApplicationObj", row("i3", sum__c="9", **on) | {"life_status": "invalid"})
    crm.put_row("InvoiceApplicationObj", row("i4", sum__c="9", **on) | {"life_status": "under_review"})
    mapping = SourceMapping(invoices=InstalmentFields("issued_on__c", "sum__c", "_invoices"))
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm, objects=OBJECTS), ORDER, ["o1"]))
    deal = deal_of(dict(page.records[0].raw), mapping, name=ORDER)
    midnight_in_china = datetime(2026, 3, 4, 16, tzinfo=UTC)
    assert [(each.invoiced_at, each.amount) for each in deal.invoices] == [
        (midnight_in_china, Decimal(400)),
        (midnight_in_china, Decimal(-50)),
    ]
    assert (deal.modified_at, len(deal.payments)) == (later, 2)
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm, objects=OBJECTS), "InvoiceApplicationObj", ["i1"]))
    assert [each.external_id for each in page.records] == ["o1"]
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), ORDER, ["o1"]))
    assert deal_of(dict(page.records[0].raw), mapping, name=ORDER).invoices == ()


@pytest.mark.parametrize(("name", "deal"), [("SalesOrderProductObj", "o1"), ("NewOpportunityLinesObj", "d00001")])
async def test_a_line_that_changes_leads_to_its_deal(crm: PlayedFxiaoke, caller: Caller, name: str, deal: str) -> None:
    crm.deals = many(3)
    ordered(crm)
    crm.put_row(name, row("l1", order_id="o1", new_opportunity_id="d00001", product_id="x"))
    told = request(crm.drained()[-1].body)
    assert FXIAOKE.translate(FXIAOKE.body_to_store(told, terms(SECRET)), NO_MAPPING) == (Fetch(name, "l1"),)
    page = await caller.result(FXIAOKE.api.fetch(credentials(crm), name, ["l1", "l2"]))
    assert [each.external_id for each in page.records] == [deal]
    assert FXIAOKE.translate_gone(GoneRecord(name, "l1", NOW), NO_MAPPING) == ()
    # Without the object among those asked for the deal comes as it came before.
    assert deal_of(dict(page.records[0].raw), name=page.records[0].object_name).products == ()


async def test_what_a_company_does_not_use_is_not_asked_for(crm: PlayedFxiaoke, caller: Caller) -> None:
    crm.put(DEAL)
    only = credentials(crm, objects=[OPPORTUNITY])
    pages = await caller.every_page(lambda cursor: FXIAOKE.api.changed(only, DEAL.modified_at, cursor))
    assert [each.external_id for page in pages for each in page.records] == [DEAL.id]
    assert len(caller.calls) == 2


async def test_the_invalid_are_told_as_deleted_with_when_they_became_so(crm: PlayedFxiaoke, caller: Caller) -> None:
    crm.hides_invalid = True
    crm.deals = many(130)
    for number, deal_id in enumerate(list(crm.deals)):
        crm.delete(deal_id, DEAL.modified_at + timedelta(seconds=number))
    since = DEAL.modified_at + timedelta(seconds=10)
    pages = await caller.every_page(lambda cursor: FXIAOKE.api.deleted(credentials(crm), since, cursor))
    gone = [each for page in pages for each in page.gone]
    assert [each.external_id for each in gone] == [f"d{number:05d}" for number in range(10, 130)]
    assert (gone[0].object_name, gone[0].at) == (OPPORTUNITY, since)


async def test_records_and_users_are_counted_and_listed(crm: PlayedFxiaoke, caller: Caller) -> None:
    crm.deals = many(3)
    ordered(crm)
    crm.users = [
        {"openUserId": "FSUID_1", "name": "张三", "email": "z@x.cn", "isStop": False},
        {"openUserId": "FSUID_2", "nickName": "李四", "isStop": True},
    ]
    assert await caller.result(FXIAOKE.api.count(credentials(crm))) == 5
    (page,) = await caller.every_user_page()
    assert [(user.external_id, user.name, user.email, user.is_active) for user in page.users] == [
        ("FSUID_1", "张三", "z@x.cn", True),
        ("FSUID_2", "李四", None, False),
    ]


async def test_the_token_stands_in_the_body_and_an_expired_one_is_replaced_once(
    crm: PlayedFxiaoke, caller: Caller
) -> None:
    await caller.result(FXIAOKE.api.count(credentials(crm)))
    crm.expire_tokens()
    assert await caller.result(FXIAOKE.api.count(credentials(crm))) == 0
    assert [each.verdict for each in caller.judgements].count(Verdict.TOKEN_EXPIRED) == 1
    body = await crm.calls[-1].json()
    assert {"corpAccessToken", "corpId", "currentOpenUserId", "data"} == set(body)


async def test_credentials_that_are_wrong_are_refused_although_the_answer_is_a_200(crm: PlayedFxiaoke) -> None:
    wrong = credentials(crm, app_secret="wrong")
    async with crm.client() as client:
        with pytest.raises(NotOk) as refused:
            await Caller(client, FXIAOKE.api, wrong).result(FXIAOKE.api.count(wrong))
    assert refused.value.judgement.verdict is Verdict.REFUSED
    assert "10006" in refused.value.judgement.detail


async def test_access_to_another_company_is_not_taken(crm: PlayedFxiaoke) -> None:
    wrong = credentials(crm, corp_id="FSCID_OTHER")
    async with crm.client() as client:
        with pytest.raises(UnexpectedAnswer, match="another company"):
            await Caller(client, FXIAOKE.api, wrong).result(FXIAOKE.api.count(wrong))


async def test_the_hundred_and_first_call_of_a_window_is_told_to_wait(crm: PlayedFxiaoke, caller: Caller) -> None:
    crm.calls_a_window_max = 3
    (limit,) = FXIAOKE.api.limits
    assert (limit.calls, limit.window, limit.is_per_endpoint) == (100, timedelta(seconds=20), True)
    with pytest.raises(NotOk) as refused:
        for _ in range(2):
            await caller.result(FXIAOKE.api.count(credentials(crm)))
    assert (refused.value.judgement.verdict, refused.value.judgement.retry_after) == (
        Verdict.RATE_LIMITED,
        limit.window,
    )
    assert {call.endpoint for call in caller.calls} >= {"/cgi/crm/v2/data/query", "/cgi/corpAccessToken/get/V2"}


async def test_a_used_up_quota_is_no_reason_to_call_again(crm: PlayedFxiaoke, caller: Caller) -> None:
    crm.quota_remaining = 0
    with pytest.raises(NotOk) as refused:
        await caller.result(FXIAOKE.api.count(credentials(crm)))
    assert refused.value.judgement.verdict is Verdict.QUOTA_EXHAUSTED


@pytest.mark.parametrize(
    ("answer", "verdict_wanted"),
    [
        ({"errorCode": 0}, Verdict.OK),
        ({"errorCode": "0"}, Verdict.OK),
        ({"errorCode": 20016}, Verdict.TOKEN_EXPIRED),
        ({"errorCode": 14001}, Verdict.RATE_LIMITED),
        ({"errorCode": -1}, Verdict.TRANSIENT),
        ({"errorCode": 50009}, Verdict.TRANSIENT),
        ({"errorCode": 30003, "errorMessage": "客户没有购买"}, Verdict.REFUSED),
        ({"errorCode": 20017}, Verdict.REFUSED),
        ({"errorCode": False}, Verdict.REFUSED),
        ({}, Verdict.REFUSED),
    ],
)
def test_an_answer_is_judged_by_its_error_code(answer: dict[str, object], verdict_wanted: Verdict) -> None:
    call = Call("POST", "https://x", endpoint="/cgi/crm/v2/data/query")
    assert FXIAOKE.api.judge(call, Answer(200, {}, json.dumps(answer).encode())).verdict is verdict_wanted


@pytest.mark.parametrize(
    ("status", "verdict_wanted"),
    [(302, Verdict.REFUSED), (404, Verdict.REFUSED), (429, Verdict.RATE_LIMITED), (502, Verdict.TRANSIENT)],
)
def test_an_answer_that_is_no_200_is_judged_by_its_status(status: int, verdict_wanted: Verdict) -> None:
    assert FXIAOKE.api.judge(Call("POST", "https://x"), Answer(status, {}, b"")).verdict is verdict_wanted


def test_no_answer_at_all_keeps_the_judge_from_a_judgement() -> None:
    for body in (b"", b"[]", b"\xff", b'{"errorCode":' + b"1" * 5000 + b"}", b'{"errorCode":[]}', b"[" * 100_000):
        for endpoint in ("/cgi/crm/v2/data/get", "/cgi/crm/v2/data/query", ""):
            FXIAOKE.api.judge(Call("POST", "https://x", endpoint=endpoint), Answer(200, {}, body))


@pytest.mark.parametrize("answer", [{"errorCode": 0}, {"errorCode": 0, "data": {"dataList": [5]}}])
async def test_an_answer_that_is_not_as_documented_deletes_nothing(
    crm: PlayedFxiaoke, caller: Caller, answer: dict[str, object]
) -> None:
    crm.fail(lambda: JSONResponse(answer), path="/query")
    with pytest.raises(UnexpectedAnswer):
        await caller.result(FXIAOKE.api.fetch(credentials(crm), OPPORTUNITY, ["1"]))


async def test_a_page_of_another_site_is_refused_with_a_hint(crm: PlayedFxiaoke, caller: Caller) -> None:
    crm.fail(lambda: Response("<html>", 200), path="/query")
    with pytest.raises(NotOk, match="api_url"):
        await caller.result(FXIAOKE.api.fetch(credentials(crm), OPPORTUNITY, ["1"]))


def test_the_team_and_the_departments_of_an_opportunity_are_told() -> None:
    team = [
        {"teamMemberEmployee": ["FSUID_1"], "teamMemberRole": "1"},
        {"teamMemberEmployee": ["FSUID_2", "FSUID_3"], "teamMemberRole": "4"},
        {"teamMemberEmployee": None},
        "odd",
    ]
    mapping = SourceMapping(teams={"1001": "lead"}, team_roles={"4": TeamShare("overlay", Decimal(20))})
    deal = deal_of(raw_deal(owner=["FSUID_1"], relevant_team=team), mapping)
    assert [(split.owner_external_id, split.role, split.percent) for split in deal.splits] == [
        ("FSUID_1", "owner", Decimal(100)),
        ("FSUID_2", "overlay", Decimal(20)),
        ("FSUID_3", "overlay", Decimal(20)),
    ]
    raw = raw_deal(owner=[], data_own_department=["1001"])
    assert deal_of(raw, mapping).owner_external_id == "lead"
    assert deal_of(raw).owner_external_id == "team:1001"
