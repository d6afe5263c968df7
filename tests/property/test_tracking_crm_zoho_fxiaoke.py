"""Zoho CRM and Fxiaoke against what nobody foresaw, and against readings and ciphers of their own."""

import json
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from time import time
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.tracking.intake.inbox.fetched import statements_of_records
from services.tracking.intake.sources.adapter import Adapter, Request, SenderRules
from services.tracking.intake.sources.domain import InvalidSecret, SourceMapping, Untranslatable
from services.tracking.intake.sources.fxiaoke.adapter import Fxiaoke
from services.tracking.intake.sources.locale_texts import (
    DAY_FIRST,
    MONTH_FIRST,
    Unreadable,
    amount_of,
    day_of,
    moment_of,
)
from services.tracking.intake.sources.source_api import Answer, Call
from services.tracking.intake.sources.zoho.adapter import Zoho
from shared.kernel.deals import DealStatus
from tests.played.fxiaoke import ENTERPRISE, PlayedFxiaoke

SAMPLES: Final = Path(__file__).parents[1] / "played" / "samples"
ADAPTERS: Final[dict[str, Adapter]] = {"zoho": Zoho(), "fxiaoke": Fxiaoke()}
JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["1e999999", "NaN", "9999-12-31T23:59:59+14:00", "0001-01-01T00:00:00-14:00", "1" * 5000, "１２"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
MAPPING: Final = SourceMapping(
    stages={"5": DealStatus.WON},
    fields={"amount": "Contract_Value", "closed_on": "Signed_On", "closed_at": "Signed_At", "region": "a.b"},
    custom_fields={"Zone": "area"},
    users={"1": "2"},
    currency="CNY",
)
SYMBOLS: Final = ("$", "€", "¥", "₹", "£", "USD", "R$", "kr", "")


def documents(source: str) -> list[dict[str, object]]:
    paths = sorted((SAMPLES / source).glob("*.json"))
    return [json.loads(path.read_bytes()) for path in paths if path.name != "asked.json"]


def asked(source: str) -> dict[str, object]:
    document: dict[str, object] = json.loads((SAMPLES / source / "asked.json").read_bytes())
    return document


def read(adapter: Adapter, body: bytes) -> None:
    """All that reads a body does so or refuses in the way it says it does."""
    request = Request("POST", "https://attain.example", "/hooks/1?secret=x", "", {b"x-attain-secret": b"\xff"}, body)
    terms = SenderRules((adapter.new_secret(bytes(32)),), {})
    adapter.verify(request, terms, now_seconds=0)
    assert adapter.dedupe_key(request)
    adapter.reply(request, terms, now_ms=0, entropy=bytes)
    for mapping in (SourceMapping(), MAPPING):
        with suppress(Untranslatable):
            adapter.translate(adapter.body_to_store(request, terms), mapping)


@pytest.mark.parametrize("source", ADAPTERS)
@given(body=st.binary(max_size=300) | JSON.map(lambda document: json.dumps(document).encode()))
@settings(max_examples=100, deadline=timedelta(seconds=1))
def test_any_body_is_read_or_refused_with_a_reason(source: str, body: bytes) -> None:
    read(ADAPTERS[source], body)


@pytest.mark.parametrize("source", ADAPTERS)
@given(data=st.data())
@settings(max_examples=100, deadline=timedelta(seconds=1))
def test_a_documented_body_with_anything_in_its_members_is_read_or_refused(source: str, data: st.DataObject) -> None:
    document = data.draw(st.sampled_from(documents(source)))
    more = ["Contract_Value", "Signed_On", "Signed_At", "time_zone", "date_format", "decimal_separator", "Owner_Id"]
    changes = data.draw(st.dictionaries(st.sampled_from([*sorted(document), *more]), JSON, max_size=4))
    read(ADAPTERS[source], json.dumps(document | changes).encode())


@pytest.mark.parametrize("source", ADAPTERS)
@given(data=st.data())
@settings(max_examples=100, deadline=timedelta(seconds=1))
def test_a_fetched_record_with_anything_in_its_fields_is_translated_or_refused(
    source: str, data: st.DataObject
) -> None:
    document = asked(source)
    records = document["records"]
    assert isinstance(records, list)
    (record,) = records
    objects = ["Deals", "Calls", "Events", "Tasks", "SalesOrderObj", "ActiveRecordObj", record["object_name"]]
    record["object_name"] = data.draw(st.sampled_from(objects))
    more = ["_payments", "related_object", "related_object_data", "payment_time", "Start_DateTime", "End_DateTime"]
    names = st.sampled_from([*sorted(record["record"]), *more])
    record["record"] |= data.draw(st.dictionaries(names, JSON, max_size=4))
    with suppress(Untranslatable):
        statements_of_records(ADAPTERS[source], json.dumps(document).encode(), MAPPING)


@pytest.mark.parametrize("source", ADAPTERS)
@given(
    status=st.integers(100, 599),
    headers=st.dictionaries(st.sampled_from(["retry-after", "x-api-credits-remaining"]), st.text(max_size=30)),
    body=st.binary(max_size=200) | JSON.map(lambda document: json.dumps(document).encode()),
    endpoint=st.sampled_from(["", "token", "records", "watch", "/cgi/crm/v2/data/get"]),
)
@settings(max_examples=100, deadline=timedelta(seconds=1))
def test_any_answer_is_judged(source: str, status: int, headers: dict[str, str], body: bytes, endpoint: str) -> None:
    api = ADAPTERS[source].api
    assert api is not None
    api.judge(Call("GET", "https://x", {"ids": "1"}, endpoint=endpoint), Answer(status, headers, body))


@pytest.mark.parametrize("source", ADAPTERS)
@given(secret=st.text(max_size=60))
@settings(max_examples=100)
def test_any_secret_is_taken_or_refused(source: str, secret: str) -> None:
    with suppress(InvalidSecret):
        ADAPTERS[source].check_secret(secret)


def grouped(digits: str, separator: str, *, is_indian: bool) -> str:
    """Digits with a separator between thousands, or as India writes them."""
    head, tail = digits[:-3], digits[-3:]
    size = 2 if is_indian else 3
    groups = [head[max(0, end - size) : end] for end in range(len(head), 0, -size)][::-1]
    return separator.join([*groups, tail]) if separator else digits


@given(
    whole=st.integers(0, 10**14),
    cents=st.integers(0, 99),
    style=st.sampled_from([(",", "."), (".", ","), (" ", ","), ("\u202f", ","), ("'", "."), ("", "."), ("", ",")]),
    is_indian=st.booleans(),
    symbol=st.sampled_from(SYMBOLS),
    is_behind=st.booleans(),
    sign=st.sampled_from(["", "-", "\u2212", "()"]),
)
@settings(max_examples=300)
def test_an_amount_written_in_any_locale_with_its_cents_is_that_amount(
    whole: int, cents: int, style: tuple[str, str], is_indian: bool, symbol: str, is_behind: bool, sign: str
) -> None:
    separator, decimal = style
    number = f"{grouped(str(whole), separator, is_indian=is_indian)}{decimal}{cents:02d}"
    text = f"{number} {symbol}" if is_behind else f"{symbol} {number}"
    text = f"({text})" if sign == "()" else f"{sign}{text}"
    expected = Decimal(whole * 100 + cents) / 100
    assert amount_of(text) == (-expected if sign else expected)


@given(text=st.text(st.sampled_from("0123456789.,' $€-()K"), max_size=16))
@example(text="0.500")
@example(text="6000.000")
@settings(max_examples=300)
def test_an_amount_read_without_a_hint_has_no_other_reading(text: str) -> None:
    try:
        amount = amount_of(text)
    except Unreadable:
        return
    for separator in (".", ","):
        with suppress(Unreadable):
            assert amount_of(text, decimal_separator=separator) == amount


@given(text=st.text(max_size=80), zone=st.text(max_size=20) | st.sampled_from(["UTC", "Asia/Kolkata", "+05:30"]))
@settings(max_examples=200)
def test_any_text_is_an_amount_a_day_a_moment_or_unreadable(text: str, zone: str) -> None:
    for reading in (amount_of, day_of, lambda given: moment_of(given, time_zone=zone)):
        with suppress(Unreadable):
            reading(text)


@given(day=st.dates(date(1900, 1, 1), date(2999, 1, 1)), separator=st.sampled_from("/.-"))
@settings(max_examples=200)
def test_a_day_is_read_as_it_was_written_or_not_at_all(day: date, separator: str) -> None:
    forms = {DAY_FIRST: ("%d", "%m"), MONTH_FIRST: ("%m", "%d")}
    for form, parts in forms.items():
        text = f"{day.strftime(separator.join(parts))}{separator}{day.year:04d}"
        assert day_of(text, date_format=form) == day
        with suppress(Unreadable):
            assert day_of(text) == day


@given(seconds=st.integers(0, 32_000_000_000), minutes=st.integers(-12 * 60, 14 * 60))
@settings(max_examples=200)
def test_a_moment_with_an_offset_is_that_moment(seconds: int, minutes: int) -> None:
    told = datetime.fromtimestamp(seconds, timezone(timedelta(minutes=minutes)))
    assert moment_of(told.isoformat()) == told.astimezone(UTC)


@given(content=st.binary(max_size=200) | JSON.map(lambda document: json.dumps(document).encode()))
@settings(max_examples=100)
def test_whatever_was_encrypted_is_kept_readable_or_as_it_came(content: bytes) -> None:
    adapter = Fxiaoke()
    crm = PlayedFxiaoke(secret=adapter.new_secret(bytes(range(32))))
    webhook = crm.sealed(content, "M1")
    request = Request("POST", "https://attain.example", "/hooks/1", "", {}, webhook.body)
    terms = SenderRules((crm.secret,), {"enterprise_account": frozenset({ENTERPRISE})})
    assert adapter.verify(request, terms, now_seconds=int(time())) is None
    reply = adapter.reply(request, terms, now_ms=1, entropy=bytes)
    assert crm.is_taken(reply.status, reply.content_type, reply.body)
    with suppress(Untranslatable):
        adapter.translate(adapter.body_to_store(request, terms), SourceMapping())
