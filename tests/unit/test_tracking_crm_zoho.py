"""Zoho CRM: who sent it, is it the same again, what does it say, and how its API is asked."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest
from starlette.responses import JSONResponse, Response

from services.tracking.intake.inbox.translation import Translation, translated
from services.tracking.intake.sources.adapter import Fetch, PassedOver, Request, SeenUser, SenderRules
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import (
    InvalidSecret,
    ProductFields,
    QuarantineReason,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
    Verdict,
)
from services.tracking.intake.sources.locale_texts import Unreadable, amount_of, day_of
from services.tracking.intake.sources.source_api import Answer, Call, ChannelRequest, FetchedRecord, GoneRecord
from services.tracking.intake.sources.zoho.adapter import Zoho
from services.tracking.intake.sources.zoho.api import ZohoCredentials
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealKind, DealStatus
from tests.played.connections import connection_of
from tests.played.conversations import Caller, NotOk
from tests.played.crms import PlainDeal
from tests.played.zoho import PlayedZoho

ZOHO: Final = Zoho()
SAMPLES: Final = Path(__file__).parent.parent / "played/samples/zoho"
WATCH: Final = (SAMPLES / "watch.json").read_bytes()
TOKEN: Final = "deals.all.notif"
SECRET: Final = ZOHO.new_secret(bytes(range(32)))
OLD_SECRET: Final = ZOHO.new_secret(bytes(32))
NO_MAPPING: Final = SourceMapping()
NOW: Final = datetime(2026, 3, 31, 18, 40, 5, tzinfo=UTC)
MODIFIED: Final = datetime.fromisoformat("2026-03-31T18:40:02+05:30")


def request(body: bytes, *, target: str = "/hooks/1", **headers: str) -> Request:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Request("POST", "https://attain.example", target, "", named, body)


def verdict(given: Request, *secrets: str, allowed: dict[str, frozenset[str]] | None = None) -> Rejection | None:
    return ZOHO.verify(given, SenderRules(secrets, allowed or {}), now_seconds=0)


def notified(**changes: object) -> bytes:
    return json.dumps(json.loads(WATCH) | changes).encode()


def sent(**changes: object) -> bytes:
    """A workflow webhook; a change to None leaves the member out."""
    document = json.loads((SAMPLES / "workflow.json").read_bytes()) | {"secret": SECRET} | changes
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def told(body: bytes, mapping: SourceMapping = NO_MAPPING) -> CanonicalDeal:
    deal, fetch = ZOHO.translate(body, mapping)
    assert isinstance(deal, CanonicalDeal)
    assert fetch == Fetch("Deals", "5725767000003000064")
    return deal


def problem(body: bytes, mapping: SourceMapping = NO_MAPPING) -> Untranslatable:
    """What is wrong with a workflow webhook that only names its deal."""
    (fetch,) = ZOHO.translate(body, mapping)
    assert isinstance(fetch, Fetch)
    assert fetch.otherwise is not None
    return fetch.otherwise


def refusal(body: bytes) -> Untranslatable:
    with pytest.raises(Untranslatable) as refused:
        ZOHO.translate(body, NO_MAPPING)
    return refused.value


def raw_deal(**changes: object) -> dict[str, object]:
    document = json.loads((SAMPLES / "asked.json").read_bytes(), parse_float=Decimal)
    deal: dict[str, object] = document["records"][0]["record"]
    return deal | changes


def deal_of(
    raw: dict[str, object], mapping: SourceMapping = NO_MAPPING, *, floor: datetime | None = None
) -> CanonicalDeal:
    deal = ZOHO.translate_record(FetchedRecord("Deals", raw, NOW, floor), mapping, pointer="/records/0/record")[0]
    assert isinstance(deal, CanonicalDeal)
    return deal


def test_what_is_sold_with_a_deal_is_read_from_the_subform_that_the_mapping_names() -> None:
    sold = [
        {"id": "1", "Product": {"name": "GTX-PRO", "id": "7"}, "Quantity": 12, "Line_Total": Decimal("60000.5")},
        {"id": "2", "Product": {"name": "GTK", "id": "8"}, "Quantity": None, "Line_Total": None},
        {"id": "3", "Product": None, "Quantity": None, "Line_Total": None},
        "odd",
    ]
    mapping = SourceMapping(products=ProductFields("Sold", "Product.name", "Quantity", "Line_Total"))
    deal = deal_of(raw_deal(Sold=sold), mapping)
    assert [(line.sku, line.quantity, line.amount) for line in deal.products] == [
        ("GTX-PRO", Decimal(12), Decimal("60000.5")),
        ("GTK", Decimal(1), None),
    ]
    assert deal_of(raw_deal(), mapping).products == ()
    long = [{"Product": {"name": "x" * 300}}]
    assert [line.sku for line in deal_of(raw_deal(Sold=long), mapping).products] == ["x" * 200]
    assert [
        line.quantity
        for line in deal_of(raw_deal(Sold=sold), SourceMapping(products=ProductFields("Sold", "id"))).products
    ] == [1, 1, 1]
    with pytest.raises(Untranslatable) as refused:
        deal_of(raw_deal(Sold=[{"Quantity": 2}]), mapping)
    assert (refused.value.reason, refused.value.pointer) == (
        QuarantineReason.INVALID_FIELD,
        "/records/0/record/products/0/sku",
    )


def activity_of(module: str, **fields: object) -> CanonicalActivity:
    raw = {
        "id": "7",
        "Owner": {"id": "9"},
        "Modified_Time": "2026-03-31T18:40:02+05:30",
        "What_Id": {"id": "5", "name": "Benton"},
        "$se_module": "Deals",
        **fields,
    }
    activity = ZOHO.translate_record(FetchedRecord(module, raw, NOW), NO_MAPPING, pointer="")[0]
    assert isinstance(activity, CanonicalActivity)
    return activity


def test_the_documented_notification_is_accepted_by_its_token() -> None:
    assert verdict(request(WATCH), TOKEN) is None


@pytest.mark.parametrize("token", ["", None, "deals.all.notiF", 5, ["deals.all.notif"], "\ud800"])
def test_a_notification_with_another_token_is_refused(token: object) -> None:
    assert verdict(request(notified(token=token)), TOKEN) is not None


def test_a_notification_is_not_proven_by_what_proves_a_workflow_webhook() -> None:
    given = request(notified(token="x", secret=TOKEN), target=f"/hooks/1?secret={TOKEN}", x_attain_secret=TOKEN)
    assert verdict(given, TOKEN) is Rejection.SIGNATURE


def test_a_notification_of_a_channel_that_is_not_allowed_is_refused() -> None:
    allowed = {"channel_id": frozenset({"1000000068001"})}
    assert verdict(request(WATCH), TOKEN, allowed=allowed) is None
    assert verdict(request(notified(channel_id="1000000068002")), TOKEN, allowed=allowed) is Rejection.NOT_ALLOWED


@pytest.mark.parametrize(
    "given",
    [
        request(sent()),
        request(sent(secret=None), x_attain_secret=SECRET),
        request(sent(secret=None), target=f"/hooks/1?a=b&secret={SECRET}"),
        request(sent(secret="another"), target=f"/hooks/1?secret={SECRET}"),
    ],
)
def test_a_workflow_webhook_is_proven_by_member_header_or_parameter(given: Request) -> None:
    assert verdict(given, SECRET) is None
    assert verdict(given, OLD_SECRET, SECRET) is None
    assert verdict(given, OLD_SECRET) is Rejection.SIGNATURE


@pytest.mark.parametrize("body", [sent(secret=None), b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_body_without_any_proof_is_refused(body: bytes) -> None:
    assert verdict(request(body), SECRET) is Rejection.HEADERS
    assert verdict(request(body, target="/hooks/1?" + "a=1&" * 100), SECRET) is Rejection.HEADERS


def test_while_rotating_either_secret_proves_a_notification() -> None:
    assert verdict(request(notified(token=OLD_SECRET)), OLD_SECRET, SECRET) is None
    assert verdict(request(notified(token=SECRET)), OLD_SECRET, SECRET) is None


def test_a_new_secret_fits_a_channel() -> None:
    ZOHO.check_secret(SECRET)
    assert len(SECRET) <= 50


@pytest.mark.parametrize(
    "secret", ["short", "x" * 51, "with space in the midst", "ümlaut-ümlaut-ümlaut", "a" * 20 + "\n"]
)
def test_a_secret_that_no_channel_takes_is_refused(secret: str) -> None:
    with pytest.raises(InvalidSecret):
        ZOHO.check_secret(secret)


def test_a_notification_is_the_same_whatever_the_order_of_its_ids() -> None:
    keys = {ZOHO.dedupe_key(request(notified(ids=ids))) for ids in (["1", "2"], ["2", "1"])}
    assert len(keys) == 1


@pytest.mark.parametrize("change", [{"server_time": 1}, {"operation": "edit"}, {"ids": ["1"]}, {"channel_id": "2"}])
def test_a_notification_of_something_else_is_another(change: dict[str, object]) -> None:
    assert ZOHO.dedupe_key(request(notified(**change))) != ZOHO.dedupe_key(request(WATCH))


def test_a_workflow_webhook_is_the_same_for_one_state_of_one_deal() -> None:
    key = ZOHO.dedupe_key(request(sent()))
    assert ZOHO.dedupe_key(request(sent(Amount="1"))) == key
    assert ZOHO.dedupe_key(request(sent(Modified_Time="2026-03-31T18:40:03+05:30"))) != key
    assert ZOHO.dedupe_key(request(sent(id="1"))) != key
    assert ZOHO.dedupe_key(request(sent(event="deal.deleted"))) != key


def test_a_workflow_webhook_without_a_modified_time_is_told_apart_by_its_body() -> None:
    one, other = (request(sent(Modified_Time=None, Amount=amount)) for amount in ("1", "2"))
    assert ZOHO.dedupe_key(one) != ZOHO.dedupe_key(other)
    assert ZOHO.dedupe_key(one).startswith("body:")


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"id": 1.50 , "secret" : "s\\u0065cret" }', b'{"id": 1.50 , "secret" : "" }'),
        (b' {"secret":{"secret":1},"a":{"secret":"2"},"token":[]}', b' {"secret":"","a":{"secret":"2"},"token":""}'),
        (b'{"secret":1,"secret":2}', b'{"secret":"","secret":""}'),
        (b'{"s\\u0065cret":"x"}', b'{"s\\u0065cret":""}'),
        (b"{}", b"{}"),
        (b"no json", b"no json"),
    ],
)
def test_the_secret_is_not_kept_and_all_else_is_as_it_came(body: bytes, kept: bytes) -> None:
    assert ZOHO.body_to_store(request(body), SenderRules((SECRET,))) == kept


def test_what_is_kept_of_a_notification_reads_as_before() -> None:
    kept = ZOHO.body_to_store(request(WATCH), SenderRules((TOKEN,)))
    assert TOKEN.encode() not in kept
    assert ZOHO.translate(kept, NO_MAPPING) == ZOHO.translate(WATCH, NO_MAPPING)


@pytest.mark.parametrize("operation", ["insert", "create", "edit", "update"])
def test_a_notification_of_a_change_asks_for_each_record_once(operation: str) -> None:
    body = notified(operation=operation, ids=["1", "2", "1", 3])
    assert ZOHO.translate(body, NO_MAPPING) == [Fetch("Deals", "1"), Fetch("Deals", "2"), Fetch("Deals", "3")]


def test_a_notification_of_a_deletion_says_it_as_of_the_servers_time() -> None:
    (deal,) = ZOHO.translate(notified(operation="delete"), NO_MAPPING)
    assert isinstance(deal, CanonicalDeal)
    assert (deal.kind, deal.external_id) == (DealKind.DELETED, "5725767000003000064")
    assert deal.modified_at == datetime(2024, 6, 11, 14, 45, 26, 473000, tzinfo=UTC)


def test_a_notification_of_a_restoration_asks_for_the_record_dated_no_earlier() -> None:
    (fetch,) = ZOHO.translate(notified(operation="restore"), NO_MAPPING)
    assert fetch == Fetch("Deals", "5725767000003000064", floor=datetime(2024, 6, 11, 14, 45, 26, 473000, tzinfo=UTC))


def test_a_deleted_call_is_a_deleted_activity() -> None:
    (activity,) = ZOHO.translate(notified(module="Calls", operation="delete"), NO_MAPPING)
    assert isinstance(activity, CanonicalActivity)
    assert (activity.is_deleted, activity.type) == (True, ActivityType.CALL)


@pytest.mark.parametrize(("module", "name"), [("Leads", "Leads"), ({"api_name": "Contacts"}, "Contacts")])
def test_a_notification_about_another_module_says_which(module: object, name: str) -> None:
    assert ZOHO.translate(notified(module=module, operation="whatever"), NO_MAPPING) == (PassedOver(name),)


@pytest.mark.parametrize("module", ["", None, 5, {"id": "1"}])
def test_a_notification_that_names_no_module_is_not_understood(module: object) -> None:
    refused = refusal(notified(module=module))
    assert (refused.reason, refused.pointer) == (QuarantineReason.UNKNOWN_TYPE, "/module")


def test_a_module_may_come_as_an_object() -> None:
    assert ZOHO.translate(notified(module={"api_name": "Deals", "id": "1"}, ids=["1"]), NO_MAPPING) == [
        Fetch("Deals", "1")
    ]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"operation": "merge"}, "/operation"),
        ({"operation": None}, "/operation"),
        ({"ids": None}, "/ids"),
        ({"ids": ["1", "2,3"]}, "/ids/1"),
        ({"ids": [""]}, "/ids/0"),
        ({"ids": ["１"]}, "/ids/0"),
        ({"operation": "delete", "server_time": None}, "/server_time"),
        ({"operation": "restore", "server_time": 10**40}, "/server_time"),
    ],
)
def test_a_notification_that_is_not_as_documented_is_refused(change: dict[str, object], pointer: str) -> None:
    assert refusal(notified(**change)).pointer == pointer


def test_a_workflow_webhook_says_the_deal_and_that_it_may_be_asked_for() -> None:
    deal = told(sent())
    assert deal.external_id == "5725767000003000064"
    assert (deal.amount, deal.currency, deal.status) == (Decimal("60000.00"), "USD", DealStatus.WON)
    assert (deal.closed_on, deal.expected_close_on) == (date(2026, 3, 31), None)
    assert deal.modified_at == MODIFIED
    assert deal.owner_external_id == "Patricia Boyle"
    assert deal.custom == {}


def test_the_deal_of_a_workflow_webhook_gives_way_to_what_is_fetched_of_the_same_second() -> None:
    assert told(sent()).sequence < deal_of(raw_deal()).sequence


def test_an_owners_id_is_taken_before_the_name() -> None:
    assert told(sent(Owner_Id="42")).owner_external_id == "42"


def test_further_fields_of_a_template_are_custom_fields() -> None:
    assert told(sent(Competitor="Initech", Score=3, Empty="")).custom == {"Competitor": "Initech", "Score": "3"}


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("$ 60,000.00", "60000.00"),
        ("¥60,000.00", "60000.00"),
        ("￥60,000.00", "60000.00"),
        ("60.000,00 €", "60000.00"),
        ("60 000,00 €", "60000.00"),
        ("60\u202f000,00\u00a0€", "60000.00"),
        ("₹12,34,567.50", "1234567.50"),
        ("₹ 1,23,45,678", "12345678"),
        ("CHF 1'234'567.50", "1234567.50"),
        ("1\u2019234\u2019567.50", "1234567.50"),
        ("R$ 1.234,56", "1234.56"),
        ("-$5.00", "-5.00"),
        ("$-5.00", "-5.00"),
        ("($5.00)", "-5.00"),
        ("\u22125.00 kr", "-5.00"),
        ("1,234,567", "1234567"),
        ("1.234.567", "1234567"),
        ("60000", "60000"),
        ("60000.5", "60000.5"),
        ("6000.000", "6000.000"),
        ("0.500", "0.500"),
        ("USD 60,000.123", "60000.123"),
        ("Rs. 500", "500"),
    ],
)
def test_an_amount_is_read_in_the_locale_that_it_shows(text: str, amount: str) -> None:
    assert amount_of(text) == Decimal(amount)
    assert told(sent(Amount=text)).amount == Decimal(amount)


@pytest.mark.parametrize(
    "text",
    [
        "60,000",
        "60.000",
        "$1,234",
        "1.234 €",
        "60K",
        "60 Mio",
        "60 M$",
        "MM$ 60",
        "60万",
        "5 %",
        "1,2,3",
        "1,234,56",
        "12 34",
        "1,234.56.7",
        "1.234,56,78",
        ".5",
        "Rs.500",
        "--5",
        "-(5)",
        "5-",
        "1e3",
        "1/2",
        "½",
        "six",
        "٦٠",
        "$" * 61,
        "1 234,567 890",
    ],
)
def test_an_amount_with_two_readings_or_none_is_never_a_number(text: str) -> None:
    with pytest.raises(Unreadable):
        amount_of(text)
    assert problem(sent(Amount=text)).pointer == "/Amount"
    assert problem(sent(Amount=text)).reason is QuarantineReason.INVALID_FIELD


@pytest.mark.parametrize(
    ("separator", "text", "amount"),
    [(".", "60,000", "60000"), (",", "60.000", "60000"), (".", "60.000", "60"), (",", "60,5", "60.5")],
)
def test_a_webhook_may_say_which_separator_is_the_decimal_one(separator: str, text: str, amount: str) -> None:
    assert told(sent(Amount=text, decimal_separator=separator)).amount == Decimal(amount)


@pytest.mark.parametrize(("separator", "text"), [(".", "60.000,00"), (",", "60,000.00"), (".", "6.0.0")])
def test_an_amount_that_contradicts_the_separator_is_not_read(separator: str, text: str) -> None:
    assert problem(sent(Amount=text, decimal_separator=separator)).pointer == "/Amount"


def test_an_ambiguous_amount_says_what_would_help() -> None:
    assert "decimal_separator" in problem(sent(Amount="60,000")).detail


def test_an_empty_amount_is_none_and_a_number_is_taken_as_it_is() -> None:
    assert told(sent(Amount="")).amount is None
    assert told(sent(Amount=60000.25)).amount == Decimal("60000.25")


def test_an_amount_of_a_mapped_field_is_read_like_the_amount() -> None:
    mapping = SourceMapping(fields={"amount": "Contract_Value"})
    assert told(sent(Contract_Value="1.234,50 €"), mapping).amount == Decimal("1234.50")
    assert problem(sent(Contract_Value="60.000"), mapping).pointer == "/Contract_Value"


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-03-31", date(2026, 3, 31)),
        ("2026/3/1", date(2026, 3, 1)),
        ("31/03/2026", date(2026, 3, 31)),
        ("03/31/2026", date(2026, 3, 31)),
        ("31.03.2026", date(2026, 3, 31)),
        ("05-05-2026", date(2026, 5, 5)),
        ("Mar 31, 2026", date(2026, 3, 31)),
        ("31 March 2026", date(2026, 3, 31)),
        ("31-Mar-2026", date(2026, 3, 31)),
    ],
)
def test_a_day_is_read_in_the_form_that_it_shows(text: str, day: date) -> None:
    assert day_of(text) == day
    assert told(sent(Closing_Date=text)).closed_on == day


@pytest.mark.parametrize(
    "text",
    ["03/04/2026", "3.4.2026", "31/03/26", "2026-02-30", "31/13/2026", "Mär 31, 2026", "Ju 1, 2026", "20260331", "x"],
)
def test_a_day_with_two_readings_or_none_is_not_read(text: str) -> None:
    assert problem(sent(Closing_Date=text)).pointer == "/Closing_Date"


@pytest.mark.parametrize(("form", "day"), [("dd/MM/yyyy", date(2026, 4, 3)), ("MM/dd/yyyy", date(2026, 3, 4))])
def test_a_webhook_may_say_whether_the_day_comes_first(form: str, day: date) -> None:
    assert told(sent(Closing_Date="03/04/2026", date_format=form)).closed_on == day
    assert told(sent(Closing_Date="03-04-2026", date_format=form)).closed_on == day


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-03-31T18:40:02+05:30", None, "2026-03-31T13:10:02Z"),
        ("2026-03-31 18:40:02", "Asia/Kolkata", "2026-03-31T13:10:02Z"),
        ("2026-03-31 18:40:02", "+05:30", "2026-03-31T13:10:02Z"),
        ("31/03/2026 06:40 PM", "America/New_York", "2026-03-31T22:40:00Z"),
        ("Mar 31, 2026 12:05:07 AM", "UTC", "2026-03-31T00:05:07Z"),
    ],
)
def test_a_time_is_read_with_its_offset_or_in_the_zone_that_the_webhook_names(
    text: str, zone: str | None, moment: str
) -> None:
    assert told(sent(Modified_Time=text, time_zone=zone)).modified_at == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-03-31 18:40:02", None),
        ("2026-11-01 01:30:00", "America/New_York"),
        ("2026-03-08 02:30:00", "America/New_York"),
        ("2026-03-31 18:40:02", "Mars/Olympus"),
        ("2026-03-31 18:40:02", "../../etc/passwd"),
        ("2026-03-31 18:40:02", "America"),
        ("2026-03-31", "UTC"),
        ("31/03/2026 13:40 PM", "UTC"),
        ("31/03/2026 25:40", "UTC"),
        ("0001-01-01 00:00:00", "Asia/Kolkata"),
        ("", None),
    ],
)
def test_a_time_with_two_readings_or_none_is_not_read(text: str, zone: str | None) -> None:
    assert problem(sent(Modified_Time=text, time_zone=zone)).pointer.lower() in ("/modified_time", "/modified_at")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"Stage": "${Deals.Stage}"}, "/Stage"),
        ({"Stage": "Verbal"}, "/stage"),
        ({"Probability": "high"}, "/probability"),
        ({"decimal_separator": ";"}, "/decimal_separator"),
        ({"date_format": "yy"}, "/date_format"),
    ],
)
def test_a_workflow_webhook_that_cannot_be_read_only_names_its_deal(change: dict[str, object], pointer: str) -> None:
    assert problem(sent(**change)).pointer == pointer


@pytest.mark.parametrize("record_id", [None, "", "a", "1,2", {}])
def test_a_workflow_webhook_without_the_id_of_a_record_is_refused(record_id: object) -> None:
    assert refusal(sent(id=record_id)).pointer == "/id"


def test_a_workflow_webhook_about_something_else_says_nothing() -> None:
    assert ZOHO.translate(sent(event="call.created"), NO_MAPPING) == (PassedOver("call"),)
    assert refusal(sent(event="deals.updated")).pointer == "/event"
    assert refusal(sent(event="Deal.updated")).pointer == "/event"


def test_a_workflow_webhook_of_a_deletion_comes_after_every_state_of_its_second() -> None:
    deal = told(sent(event="deal.deleted", Amount="garbage"))
    assert deal.kind is DealKind.DELETED
    assert (deal.modified_at, deal.sequence) > (MODIFIED, deal_of(raw_deal()).sequence)


def test_a_fetched_deal_is_translated_field_by_field() -> None:
    deal = deal_of(raw_deal(Competitor="Initech", Is_Hot=True, Contact_Name={"id": "1", "name": "Ann"}, Notes=None))
    assert deal == CanonicalDeal(
        external_id="5725767000003000064",
        modified_at=MODIFIED,
        sequence=int(NOW.timestamp() * 1000),
        status=DealStatus.WON,
        owner_external_id="5725767000000411001",
        name="Benton – renewal",
        amount=Decimal(60000),
        currency="USD",
        created_at=datetime.fromisoformat("2026-01-05T09:12:44+05:30"),
        closed_on=date(2026, 3, 31),
        stage="Closed Won",
        pipeline="Standard (Standard)",
        probability=Decimal(100),
        type="New Business",
        channel="Partner",
        account_id="5725767000002700001",
        account_name="Benton",
        custom={"Competitor": "Initech", "Contact_Name": "Ann", "Is_Hot": "true"},
    )


def test_a_fetched_deal_tells_of_its_owner() -> None:
    said = ZOHO.translate_record(FetchedRecord("Deals", raw_deal(), NOW), NO_MAPPING, pointer="")
    assert said[1] == SeenUser("5725767000000411001", "Patricia Boyle", "p@zylker.com")


@pytest.mark.parametrize(
    ("stage", "status"),
    [
        ("Qualification", DealStatus.OPEN),
        ("Negotiation/Review", DealStatus.OPEN),
        ("Closed Won", DealStatus.WON),
        ("Closed Lost", DealStatus.LOST),
        ("Closed-Lost to Competition", DealStatus.LOST),
    ],
)
def test_zohos_own_stages_need_no_mapping(stage: str, status: DealStatus) -> None:
    assert deal_of(raw_deal(Stage=stage, Probability=0)).status is status


def test_a_stage_of_the_companys_own_is_open_while_its_probability_is_neither_0_nor_100() -> None:
    assert deal_of(raw_deal(Stage="Verbal", Probability=95)).status is DealStatus.OPEN


@pytest.mark.parametrize("probability", [0, 100, None])
def test_a_stage_of_the_companys_own_that_may_be_closed_has_to_be_mapped(probability: object) -> None:
    with pytest.raises(Untranslatable) as refused:
        deal_of(raw_deal(Stage="Signed", Probability=probability))
    assert refused.value.reason is QuarantineReason.STAGE_UNMAPPED
    mapped = deal_of(
        raw_deal(Stage="Signed", Probability=probability), SourceMapping(stages={"Signed": DealStatus.WON})
    )
    assert (mapped.status, mapped.closed_on) == (DealStatus.WON, date(2026, 3, 31))


def test_the_mapping_of_stages_is_stronger_and_decides_what_the_closing_date_means() -> None:
    deal = deal_of(raw_deal(), SourceMapping(stages={"Closed Won": DealStatus.OPEN}))
    assert (deal.status, deal.closed_on, deal.expected_close_on) == (DealStatus.OPEN, None, date(2026, 3, 31))


def test_a_mapped_day_is_left_as_it_is_mapped() -> None:
    raw = raw_deal(Signed_On="2026-03-15", Stage="Qualification")
    assert deal_of(raw, SourceMapping(fields={"closed_on": "Signed_On"})).closed_on == date(2026, 3, 15)
    assert deal_of(raw, SourceMapping(fields={"closed_on": "Signed_On"})).expected_close_on == date(2026, 3, 31)


@pytest.mark.parametrize(
    ("raw", "home"),
    [
        ({"Amount": 60000, "Exchange_Rate": Decimal("0.8")}, Decimal(75000)),
        ({"Amount": "60000.5", "Exchange_Rate": "2"}, Decimal("30000.25")),
        ({"Amount": 1, "Exchange_Rate": 3}, Decimal("0.333333")),
        ({"Amount": 1, "Exchange_Rate": 0}, None),
        ({"Amount": 1, "Exchange_Rate": None}, None),
        ({"Amount": None, "Exchange_Rate": 1}, None),
        ({"Amount": 1, "Exchange_Rate": "NaN"}, None),
    ],
)
def test_the_home_amount_goes_by_the_records_own_rate(raw: dict[str, object], home: Decimal | None) -> None:
    deal = deal_of(raw_deal(**raw, _home_currency="INR"))
    assert (deal.home_amount, deal.home_currency) == (home, "INR")
    assert deal_of(raw_deal(**raw)).home_amount is None


def test_long_and_surplus_custom_fields_are_left_out_but_for_those_that_are_mapped() -> None:
    many = {f"Field_{number:04d}": "x" for number in range(300)}
    deal = deal_of(
        raw_deal(**many, Zone="north", Description="x" * 2001), SourceMapping(custom_fields={"Zone": "area"})
    )
    assert len(deal.custom) == 200
    assert deal.custom["area"] == "north"
    assert "Description" not in deal.custom


def test_a_restored_deal_is_newer_than_its_deletion() -> None:
    deleted_at = MODIFIED + timedelta(hours=1)
    (deletion,) = ZOHO.translate_gone(GoneRecord("Deals", "1", deleted_at), NO_MAPPING)
    assert isinstance(deletion, CanonicalDeal)
    restored = deal_of(raw_deal(), floor=deleted_at + timedelta(milliseconds=1))
    assert (restored.modified_at, restored.sequence) > (deletion.modified_at, deletion.sequence)


def test_a_deletion_comes_after_every_state_of_the_same_second() -> None:
    (deletion,) = ZOHO.translate_gone(GoneRecord("Deals", "1", MODIFIED), NO_MAPPING)
    assert isinstance(deletion, CanonicalDeal)
    state = deal_of(raw_deal())
    assert (deletion.modified_at, deletion.sequence) > (state.modified_at, state.sequence)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"Modified_Time": None}, "/records/0/record/Modified_Time"),
        ({"Modified_Time": "2026-03-31T18:40:02"}, "/records/0/record/Modified_Time"),
        ({"Closing_Date": "20260331"}, "/records/0/record/Closing_Date"),
        ({"Closing_Date": 0}, "/records/0/record/Closing_Date"),
        ({"Amount": "sixty"}, "/records/0/record/amount"),
        ({"Currency": "Dollar"}, "/records/0/record/currency"),
        ({"id": None}, "/records/0/record/external_id"),
    ],
)
def test_a_fetched_deal_that_is_not_as_documented_is_refused_where_it_is_wrong(
    change: dict[str, object], pointer: str
) -> None:
    with pytest.raises(Untranslatable) as refused:
        deal_of(raw_deal(**change))
    assert refused.value.pointer == pointer


def test_a_call_is_an_activity_with_its_deal_and_duration() -> None:
    call = activity_of(
        "Calls",
        Subject="Kick-off",
        Call_Type="Outbound",
        Call_Start_Time="2026-03-31T10:00:00+05:30",
        Call_Duration_in_seconds=95,
        Outgoing_Call_Status="Completed",
        Call_Result="Interested",
    )
    assert (call.type, call.status, call.duration_seconds) == (ActivityType.CALL, ActivityStatus.DONE, 95)
    assert (call.subject, call.outcome, call.deal_external_id) == ("Kick-off", "Interested", "5")
    assert call.occurred_at == datetime.fromisoformat("2026-03-31T10:00:00+05:30")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Outgoing_Call_Status": "Scheduled"}, ActivityStatus.PLANNED),
        ({"Call_Status": "Cancelled"}, ActivityStatus.CANCELLED),
        ({"Call_Type": "Missed"}, ActivityStatus.CANCELLED),
        ({"Call_Type": "Inbound"}, ActivityStatus.DONE),
    ],
)
def test_a_call_is_done_unless_it_says_otherwise(fields: dict[str, object], status: ActivityStatus) -> None:
    assert activity_of("Calls", **fields).status is status


@pytest.mark.parametrize(
    ("end", "status"),
    [("2026-03-31T18:40:05+00:00", ActivityStatus.DONE), ("2026-03-31T18:40:06+00:00", ActivityStatus.PLANNED)],
)
def test_a_meeting_is_done_once_it_was_over_when_it_was_fetched(end: str, status: ActivityStatus) -> None:
    meeting = activity_of("Events", Event_Title="Demo", Start_DateTime="2026-03-31T18:00:00+00:00", End_DateTime=end)
    assert (meeting.type, meeting.status) == (ActivityType.MEETING, status)
    assert meeting.duration_seconds in (2405, 2406)


def test_a_task_is_done_when_it_is_completed() -> None:
    assert activity_of("Tasks", Status="Completed").status is ActivityStatus.DONE
    assert activity_of("Tasks", Status="In Progress").status is ActivityStatus.PLANNED


def test_an_activity_about_an_account_names_no_deal() -> None:
    call = activity_of("Calls", **{"$se_module": "Accounts"})
    assert (call.deal_external_id, call.account_id) == (None, "5")


def come_to(body: bytes, *, has_api_access: bool) -> Translation:
    """What a delivery comes to at a connection with or without access to the API."""
    connection = connection_of(Source.ZOHO, api="sealed" if has_api_access else None)
    return translated(connection, ZOHO.translate(body, NO_MAPPING), {}, NO_MAPPING, NOW)


def test_with_access_to_the_api_a_workflow_webhook_counts_at_once_and_is_asked_for() -> None:
    result = come_to(sent(), has_api_access=True)
    assert ([deal.amount for deal in result.deals], len(result.fetches)) == ([Decimal("60000.00")], 1)
    unclear = come_to(sent(Amount="60,000"), has_api_access=True)
    assert (unclear.deals, len(unclear.fetches)) == ([], 1)


def test_without_access_to_the_api_a_workflow_webhook_stands_by_itself_or_says_what_is_unclear() -> None:
    result = come_to(sent(), has_api_access=False)
    assert ([deal.amount for deal in result.deals], result.fetches) == ([Decimal("60000.00")], [])
    (refused,) = come_to(sent(Amount="60,000"), has_api_access=False).problems
    assert (refused.reason, refused.pointer) == (QuarantineReason.INVALID_FIELD, "/Amount")


def test_without_access_to_the_api_a_notification_says_that_it_is_needed() -> None:
    (refused,) = come_to(WATCH, has_api_access=False).problems
    assert refused.reason is QuarantineReason.API_ACCESS_MISSING


DEAL: Final = PlainDeal(
    id="5725767000003000064",
    name="Benton",
    amount=Decimal("60000.10"),
    currency="USD",
    status="won",
    owner_id="9001",
    created_at=datetime(2026, 1, 5, 3, 42, 44, tzinfo=UTC),
    modified_at=datetime(2026, 3, 31, 13, 10, 2, tzinfo=UTC),
    closed_on=date(2026, 3, 31),
)


@pytest.fixture
def crm() -> PlayedZoho:
    return PlayedZoho(hook_url="https://attain.example/hooks/1", secret=SECRET)


@pytest.fixture
async def caller(crm: PlayedZoho) -> AsyncIterator[Caller]:
    async with crm.client() as client:
        yield Caller(client, ZOHO.api, ZohoCredentials.model_validate(crm.access()))


def credentials(crm: PlayedZoho, **changes: object) -> ZohoCredentials:
    return ZohoCredentials.model_validate(crm.access() | changes)


def many(number: int, *, a_second: int = 1) -> dict[str, PlainDeal]:
    return {
        str(index): replace(DEAL, id=str(index), modified_at=DEAL.modified_at + timedelta(seconds=index // a_second))
        for index in range(1, number + 1)
    }


async def test_what_the_played_crm_sends_is_accepted_and_says_its_deal(crm: PlayedZoho) -> None:
    crm.put(DEAL)
    crm.delete(DEAL.id, DEAL.modified_at + timedelta(seconds=1))
    crm.tells = "workflow"
    crm.put(DEAL)
    changed, deleted, workflow = (request(webhook.body) for webhook in crm.drained())
    assert [verdict(each, SECRET) for each in (changed, deleted, workflow)] == [None, None, None]
    assert ZOHO.translate(changed.body, NO_MAPPING) == [Fetch("Deals", DEAL.id)]
    assert told(workflow.body).amount == DEAL.amount


async def test_records_are_fetched_by_their_ids_and_the_missing_ones_are_gone(crm: PlayedZoho, caller: Caller) -> None:
    crm.put(DEAL)
    page = await caller.result(ZOHO.api.fetch(credentials(crm, home_currency="INR"), "Deals", [DEAL.id, "1", "2"]))
    (record,) = page.records
    assert (record.object_name, record.external_id, record.raw["_home_currency"]) == ("Deals", DEAL.id, "INR")
    assert [(each.external_id, each.at) for each in page.gone] == [("1", None), ("2", None)]
    assert len(caller.calls) == 2
    assert deal_of(dict(record.raw)).amount == DEAL.amount


async def test_when_none_of_the_ids_is_there_all_are_gone(crm: PlayedZoho, caller: Caller) -> None:
    page = await caller.result(ZOHO.api.fetch(credentials(crm), "Deals", ["1"]))
    assert [each.external_id for each in page.gone] == ["1"]


async def test_one_id_that_zoho_calls_invalid_does_not_hide_the_others(crm: PlayedZoho, caller: Caller) -> None:
    crm.deals = many(20)
    crm.refused_ids = {"7"}
    page = await caller.result(ZOHO.api.fetch(credentials(crm), "Deals", list(crm.deals)))
    assert [each.external_id for each in page.gone] == ["7"]
    assert {each.external_id for each in page.records} == set(crm.deals) - {"7"}


async def test_more_than_a_hundred_ids_are_refused_by_zoho_and_never_asked_for(crm: PlayedZoho, caller: Caller) -> None:
    with pytest.raises(NotOk) as refused:
        await caller.result(ZOHO.api.fetch(credentials(crm), "Deals", list(many(101))))
    assert refused.value.judgement.verdict is Verdict.REFUSED
    assert "LIMIT_EXCEEDED" in refused.value.judgement.detail
    assert ZOHO.api.fetch_ids_max == 100


async def test_every_record_is_walked_with_all_its_fields_beyond_two_thousand(crm: PlayedZoho, caller: Caller) -> None:
    crm.deals = many(2250, a_second=500)
    crm.custom = {"2249": {"Competitor": "Initech"}}
    pages = await caller.every_page(lambda cursor: ZOHO.api.changed(credentials(crm), None, cursor))
    found = [each.external_id for page in pages for each in page.records]
    assert sorted(found, key=int) == list(crm.deals)
    (custom,) = [each.raw for page in pages for each in page.records if each.external_id == "2249"]
    assert custom["Competitor"] == "Initech"
    assert max(len(page.records) for page in pages) == 200


async def test_only_what_was_modified_since_then_is_walked_the_second_of_then_included(
    crm: PlayedZoho, caller: Caller
) -> None:
    crm.deals = many(10)
    since = crm.deals["4"].modified_at + timedelta(milliseconds=700)
    pages = await caller.every_page(lambda cursor: ZOHO.api.changed(credentials(crm), since, cursor))
    assert [each.external_id for page in pages for each in page.records] == ["4", "5", "6", "7", "8", "9", "10"]
    later = crm.deals["10"].modified_at + timedelta(hours=1)
    pages = await caller.every_page(lambda cursor: ZOHO.api.changed(credentials(crm), later, cursor))
    assert [page.records for page in pages] == [[], [], [], []]


async def test_activities_are_walked_too(crm: PlayedZoho, caller: Caller) -> None:
    crm.put(DEAL)
    crm.put_activity("Calls", {"id": "70", "Subject": "Hello", "Modified_Time": "2026-03-31T18:40:02+05:30"})
    pages = await caller.every_page(lambda cursor: ZOHO.api.changed(credentials(crm), None, cursor))
    assert [(each.object_name, each.external_id) for page in pages for each in page.records] == [
        ("Deals", DEAL.id),
        ("Calls", "70"),
    ]


async def test_a_walk_that_was_paused_until_its_page_token_expired_goes_on_where_it_was(
    crm: PlayedZoho, caller: Caller
) -> None:
    crm.deals = many(650, a_second=7)
    walked: list[str] = []
    cursor: str | None = None
    for number in range(10):
        page = await caller.result(ZOHO.api.changed(credentials(crm), None, cursor))
        walked += [each.external_id for each in page.records]
        cursor = page.next_cursor
        if cursor is None:
            break
        if number == 1:
            crm.expire_pages()
    assert cursor is None
    assert set(walked) == set(crm.deals)
    assert len(walked) < 650 + 20


async def test_a_walk_is_begun_anew_where_it_is_before_a_page_token_leads_no_further(
    crm: PlayedZoho, caller: Caller
) -> None:
    crm.deals = many(450, a_second=7)
    first = await caller.result(ZOHO.api.changed(credentials(crm), None, None))
    assert first.next_cursor is not None
    module, since, token, seen, latest = json.loads(first.next_cursor)
    assert (module, since, seen) == ("Deals", None, 200)
    far = json.dumps([module, since, token, 89_900, latest])
    pages = [await caller.result(ZOHO.api.changed(credentials(crm), None, far))]
    assert json.loads(pages[0].next_cursor or "[]")[2:4] == [None, 0]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(await caller.result(ZOHO.api.changed(credentials(crm), None, cursor)))
    walked = [each.external_id for page in (first, *pages) for each in page.records]
    assert set(walked) == set(crm.deals)
    assert len(walked) < 450 + 20


async def test_a_record_modified_while_the_pages_are_walked_is_not_left_out(crm: PlayedZoho, caller: Caller) -> None:
    crm.deals = many(250)
    page = await caller.result(ZOHO.api.changed(credentials(crm), None, None))
    latest = DEAL.modified_at + timedelta(days=1)
    crm.deals["1"] = replace(crm.deals["1"], modified_at=latest)
    walked = [each.external_id for each in page.records]
    while page.next_cursor is not None:
        page = await caller.result(ZOHO.api.changed(credentials(crm), None, page.next_cursor))
        walked += [each.external_id for each in page.records]
    assert walked[-1] == "1"


async def test_the_deleted_are_told_with_when_they_were(crm: PlayedZoho, caller: Caller) -> None:
    crm.deals = many(250)
    for number in range(1, 251):
        crm.delete(str(number), DEAL.modified_at + timedelta(seconds=number))
    crm.gone_activities["Tasks"]["70"] = DEAL.modified_at + timedelta(seconds=900)
    since = DEAL.modified_at + timedelta(seconds=11)
    pages = await caller.every_page(lambda cursor: ZOHO.api.deleted(credentials(crm), since, cursor))
    gone = [each for page in pages for each in page.gone]
    assert [each.external_id for each in gone] == [*map(str, range(11, 251)), "70"]
    assert (gone[0].at, gone[-1].object_name) == (since, "Tasks")


async def test_records_and_users_are_counted_and_listed(crm: PlayedZoho, caller: Caller) -> None:
    crm.put(DEAL)
    crm.put_activity("Calls", {"id": "70", "Modified_Time": "2026-03-31T18:40:02+05:30"})
    crm.users = [
        {
            "id": str(number),
            "full_name": f"U{number}",
            "email": f"{number}@x.com",
            "status": "active" if number else "deleted",
        }
        for number in range(201)
    ]
    assert await caller.result(ZOHO.api.count(credentials(crm))) == 2
    users = [user for page in await caller.every_user_page() for user in page.users]
    assert len(users) == 201
    assert [user.is_active for user in users[:2]] == [False, True]
    assert users[200].email == "200@x.com"


async def test_an_expired_token_is_replaced_once(crm: PlayedZoho, caller: Caller) -> None:
    await caller.result(ZOHO.api.count(credentials(crm)))
    crm.expire_tokens()
    assert await caller.result(ZOHO.api.count(credentials(crm))) == 0
    assert [each.verdict for each in caller.judgements].count(Verdict.TOKEN_EXPIRED) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [({"refresh_token": "revoked"}, "invalid_code"), ({"client_secret": "wrong"}, "invalid_client")],
)
async def test_credentials_that_are_wrong_are_refused_although_the_answer_is_a_200(
    crm: PlayedZoho, change: dict[str, object], code: str
) -> None:
    async with crm.client() as client:
        caller = Caller(client, ZOHO.api, credentials(crm, **change))
        with pytest.raises(NotOk) as refused:
            await caller.result(ZOHO.api.count(credentials(crm, **change)))
    assert refused.value.judgement.verdict is Verdict.REFUSED
    assert code in refused.value.judgement.detail


async def test_the_credits_that_are_left_are_noticed_and_none_left_is_a_used_up_quota(
    crm: PlayedZoho, caller: Caller
) -> None:
    crm.put(DEAL)
    crm.credits_remaining = 1
    await caller.result(ZOHO.api.fetch(credentials(crm), "Deals", [DEAL.id]))
    assert caller.judgements[-1].credits_remaining == 1
    with pytest.raises(NotOk) as refused:
        await caller.result(ZOHO.api.fetch(credentials(crm), "Deals", [DEAL.id]))
    assert refused.value.judgement.verdict is Verdict.QUOTA_EXHAUSTED


@pytest.mark.parametrize(
    ("status", "code", "headers", "verdict_wanted", "pause"),
    [
        (429, "TOO_MANY_REQUESTS", {"Retry-After": "7"}, Verdict.RATE_LIMITED, timedelta(seconds=7)),
        (429, "TOO_MANY_REQUESTS", {"Retry-After": "soon"}, Verdict.RATE_LIMITED, None),
        (500, "INTERNAL_ERROR", {}, Verdict.TRANSIENT, None),
        (401, "OAUTH_SCOPE_MISMATCH", {}, Verdict.REFUSED, None),
        (403, "NO_PERMISSION", {}, Verdict.REFUSED, None),
        (400, "INVALID_MODULE", {}, Verdict.REFUSED, None),
    ],
)
async def test_what_zoho_refuses_is_judged_by_its_code(
    crm: PlayedZoho,
    caller: Caller,
    status: int,
    code: str,
    headers: dict[str, str],
    verdict_wanted: Verdict,
    pause: timedelta | None,
) -> None:
    body = {"code": code, "message": "no", "status": "error"}
    crm.fail(lambda: JSONResponse(body, status, headers), path="/crm/v7/Deals")
    with pytest.raises(NotOk) as refused:
        await caller.result(ZOHO.api.fetch(credentials(crm), "Deals", ["1"]))
    judgement = refused.value.judgement
    assert (judgement.verdict, judgement.retry_after) == (verdict_wanted, pause)
    assert code in judgement.detail


async def test_too_many_tokens_are_waited_for(crm: PlayedZoho, caller: Caller) -> None:
    crm.fail(lambda: JSONResponse({"error": "Access Denied", "error_description": "too many requests"}, 400))
    with pytest.raises(NotOk) as refused:
        await caller.result(ZOHO.api.count(credentials(crm)))
    assert refused.value.judgement.verdict is Verdict.RATE_LIMITED


def test_no_answer_at_all_keeps_the_judge_from_a_judgement() -> None:
    for body in (b"", b"[]", b"\xff", b'{"code":' + b"1" * 5000 + b"}", b'{"watch":[[]]}', b"[" * 100_000):
        for status in (100, 200, 204, 304, 400, 401, 429, 500):
            ZOHO.api.judge(
                Call("GET", "https://x", endpoint="token"), Answer(status, {"retry-after": "x" * 9999}, body)
            )


async def test_a_channel_is_opened_with_the_secret_as_its_token_and_for_no_related_actions(
    crm: PlayedZoho, caller: Caller
) -> None:
    assert ZOHO.api.channel_lifetime is not None
    expires_at = (crm.clock() + ZOHO.api.channel_lifetime).replace(microsecond=0)
    terms = ChannelRequest("1000000068077", crm.hook_url, SECRET, expires_at, is_renewal=False)
    channel = await caller.result(ZOHO.api.open_channel(credentials(crm), terms))
    assert (channel.id, channel.expires_at) == ("1000000068077", expires_at)
    opened = crm.channels["1000000068077"]
    assert (opened.token, opened.url, opened.notifies_related) == (SECRET, crm.hook_url, False)
    assert opened.events == ("Deals.all", "Calls.all", "Events.all", "Tasks.all")
    crm.put(DEAL)
    (webhook,) = crm.drained()
    assert verdict(request(webhook.body), SECRET, allowed={"channel_id": frozenset({"1000000068077"})}) is None


async def test_an_expiry_too_far_ahead_is_an_hour_and_is_told_as_such(crm: PlayedZoho, caller: Caller) -> None:
    asked = crm.clock() + timedelta(days=8)
    channel = await caller.result(
        ZOHO.api.open_channel(credentials(crm), ChannelRequest("1", crm.hook_url, SECRET, asked, is_renewal=False))
    )
    assert channel.expires_at <= crm.clock() + timedelta(hours=1)


async def test_a_channel_is_renewed_and_one_that_had_expired_is_opened_anew(crm: PlayedZoho, caller: Caller) -> None:
    start = datetime(2026, 3, 31, tzinfo=UTC)
    crm.clock = lambda: start
    terms = ChannelRequest("1", crm.hook_url, OLD_SECRET, start + timedelta(days=6), is_renewal=False)
    await caller.result(ZOHO.api.open_channel(credentials(crm), terms))
    crm.clock = lambda: start + timedelta(days=5)
    renewal = replace(terms, secret=SECRET, expires_at=start + timedelta(days=11), is_renewal=True)
    renewed = await caller.result(ZOHO.api.open_channel(credentials(crm), renewal))
    assert (renewed.expires_at, crm.channels["1"].token) == (start + timedelta(days=11), SECRET)
    assert caller.calls[-1].method == "PATCH"
    crm.put(replace(DEAL, modified_at=start + timedelta(days=12)))
    assert crm.drained() == []
    crm.clock = lambda: start + timedelta(days=13)
    anew = await caller.result(
        ZOHO.api.open_channel(credentials(crm), replace(renewal, expires_at=start + timedelta(days=19)))
    )
    assert [call.method for call in caller.calls[-2:]] == ["PATCH", "POST"]
    assert anew.expires_at == start + timedelta(days=19)
    crm.put(replace(DEAL, modified_at=start + timedelta(days=14)))
    assert len(crm.drained()) == 1


async def test_a_channel_that_cannot_be_opened_says_why(crm: PlayedZoho, caller: Caller) -> None:
    terms = ChannelRequest("1", crm.hook_url, "x" * 51, crm.clock() + timedelta(days=1), is_renewal=False)
    with pytest.raises(Exception, match="INVALID_DATA"):
        await caller.result(ZOHO.api.open_channel(credentials(crm), terms))


async def test_an_answer_that_is_no_json_is_not_taken_for_one(crm: PlayedZoho, caller: Caller) -> None:
    crm.fail(lambda: Response("<html>", 200), path="/crm/v7/Deals")
    with pytest.raises(Exception, match="Expecting value"):
        await caller.result(ZOHO.api.fetch(credentials(crm), "Deals", ["1"]))
