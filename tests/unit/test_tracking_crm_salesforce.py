"""Salesforce: who sent it, is it the same again, what does it say, and how its API is asked."""

import json
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hmac import digest
from pathlib import Path
from typing import Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Received
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.tracking.intake.inbox.domain.records import Record
from services.tracking.intake.inbox.fetched import FETCHED_SEQUENCE, FetchedReply, fetched_body, statements_of_records
from services.tracking.intake.sources.adapter import Fetch, PassedOver, Request, SenderRules
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import (
    InvalidSecret,
    QuarantineReason,
    RecordChange,
    Rejection,
    SourceMapping,
    TeamShare,
    Untranslatable,
    Verdict,
)
from services.tracking.intake.sources.salesforce.adapter import Salesforce
from services.tracking.intake.sources.salesforce.api import SalesforceCredentials, record_id
from services.tracking.intake.sources.source_api import FetchedRecord, GoneRecord, RawRecord
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealStatus
from tests.played.conversations import Caller, NotOk
from tests.played.crms import PlainDeal
from tests.played.salesforce import (
    ACTION,
    CLIENT_ID,
    CLIENT_SECRET,
    ORGANIZATION,
    PlayedLine,
    PlayedMember,
    PlayedSalesforce,
    PlayedSplit,
    played_activity,
)

SALESFORCE: Final = Salesforce()
SECRET: Final = SALESFORCE.new_secret(bytes(range(32)))
OLD_SECRET: Final = SALESFORCE.new_secret(bytes(32))
NO_MAPPING: Final = SourceMapping()
TERMS: Final = SenderRules((SECRET,), {"organization_id": frozenset({ORGANIZATION})})
OUTBOUND: Final = (Path(__file__).parent.parent / "played/samples/salesforce/outbound.xml").read_bytes()
NOW: Final = datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
SESSION: Final = "00D24000000abcd!AQ8AQFm.zT9secretsecretsecret_1"


def request(body: bytes = OUTBOUND, *, trail: str = SECRET, **headers: str) -> Request:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Request("POST", "https://attain.example", f"/hooks/1/{trail}", trail, named, body)


def verdict(given: Request, terms: SenderRules = TERMS, *, now_seconds: int = 0) -> Rejection | None:
    return SALESFORCE.verify(given, terms, now_seconds=now_seconds)


def event(change: str = "UPDATE", *, header: dict[str, object] | None = None, **fields: object) -> dict[str, object]:
    head: dict[str, object] = {
        "entityName": "Opportunity",
        "recordIds": ["0060800000AbCdEAAV"],
        "changeType": change,
        "transactionKey": "0004a7c8",
        "sequenceNumber": 3,
        "commitTimestamp": 1774982402754,
        "changedFields": sorted(fields),
        "nulledFields": [],
    }
    return {"ChangeEventHeader": head | (header or {}), **fields}


def body_of(document: object) -> bytes:
    return json.dumps(document).encode()


def said(document: object) -> list[object]:
    return list(SALESFORCE.translate(body_of(document), NO_MAPPING))


def change_of(document: object) -> RecordChange:
    (change,) = said(document)
    assert isinstance(change, RecordChange)
    return change


def refusal(body: bytes) -> Untranslatable:
    with pytest.raises(Untranslatable) as refused:
        SALESFORCE.translate(body, NO_MAPPING)
    return refused.value


def deal_of(raw: dict[str, object], mapping: SourceMapping = NO_MAPPING, **record: object) -> CanonicalDeal:
    whole = {
        "Id": "0060800000AbCdEAAV",
        "StageName": "Closed Won",
        "IsClosed": True,
        "IsWon": True,
        "SystemModstamp": "2026-03-31T18:40:02.000+0000",
    } | raw
    merged = FetchedRecord("Opportunity", whole, NOW + timedelta(seconds=3), sequence=5)
    fetched = replace(merged, **record)  # type: ignore[arg-type]
    (deal,) = SALESFORCE.translate_record(fetched, mapping, pointer="/record")
    assert isinstance(deal, CanonicalDeal)
    return deal


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0060800000AbCdE", "0060800000AbCdEAAV"),
        ("0060800000AbCdEAAV", "0060800000AbCdEAAV"),
        ("04k080000004CXX", "04k080000004CXXAA2"),
        ("00D24000000abcd", "00D24000000abcdEAA"),
        ("0060800000AbCdEAAA", None),
        ("0060800000abcdeAAV", None),
        ("0060800000AbCd'", None),
        ("0060800000AbCdE' OR Name != '", None),
        ("", None),
        (15, None),
    ],
)
def test_an_id_of_fifteen_characters_is_the_one_of_eighteen(given: object, expected: str | None) -> None:
    assert record_id(given) == expected


def test_the_secret_fits_an_address_a_bearer_token_and_a_signature() -> None:
    SALESFORCE.check_secret(SECRET)
    assert SECRET.removeprefix("whsec_").isalnum()
    for unfit in ("", "whsec_", "plain", SECRET + "/", SECRET + "a", SECRET.replace("0", "+"), "whsec_" + "a" * 28):
        with pytest.raises(InvalidSecret):
            SALESFORCE.check_secret(unfit)


def test_an_outbound_message_is_known_by_the_secret_in_its_address_and_its_organisation() -> None:
    assert verdict(request()) is None
    assert verdict(request(trail=OLD_SECRET)) is Rejection.SIGNATURE
    assert verdict(request(trail=SECRET + "0")) is Rejection.SIGNATURE
    assert verdict(request(trail="")) is Rejection.HEADERS
    assert verdict(request(OUTBOUND.replace(b"00D24000000abcdEAA", b"00D24000000abceEAA"))) is Rejection.NOT_ALLOWED


def test_while_rotating_either_of_two_secrets_will_do() -> None:
    both = SenderRules((OLD_SECRET, SECRET), TERMS.allowed)
    assert verdict(request(), both) is None
    assert verdict(request(trail=OLD_SECRET), both) is None
    bearer = request(body_of(event()), trail="", authorization=f"Bearer {OLD_SECRET}")
    assert verdict(bearer, both) is None
    assert verdict(bearer, TERMS) is Rejection.SIGNATURE


def test_the_allow_list_may_have_ids_of_fifteen_characters() -> None:
    short = SenderRules(
        (SECRET,), {"organization_id": frozenset({ORGANIZATION[:15]}), "action_id": frozenset({ACTION[:15]})}
    )
    assert verdict(request(), short) is None
    assert verdict(request(OUTBOUND.replace(ACTION.encode(), b"04k080000004CXY")), short) is Rejection.NOT_ALLOWED


def test_a_message_that_names_two_organisations_is_refused() -> None:
    twice = OUTBOUND.replace(b"<ActionId>", b"<OrganizationId>00D24000000abceEAA</OrganizationId><ActionId>")
    assert verdict(request(twice)) is Rejection.NOT_ALLOWED


def test_a_message_that_names_no_organisation_is_refused() -> None:
    assert verdict(request(b"<Envelope/>")) is Rejection.NOT_ALLOWED


def test_a_message_with_a_bearer_token_has_to_be_of_the_organisation_too() -> None:
    foreign = OUTBOUND.replace(b"00D24000000abcdEAA", b"00D24000000abceEAA")
    assert verdict(request(foreign, trail="", authorization=f"Bearer {SECRET}")) is Rejection.NOT_ALLOWED


def test_a_change_event_bears_the_secret_or_is_signed_with_it() -> None:
    body = body_of(event())
    signed = b"msg_1.1774982402." + body
    signature = b64encode(digest(b64_key(SECRET), signed, "sha256")).decode()
    headers = {"webhook_id": "msg_1", "webhook_timestamp": "1774982402", "webhook_signature": f"v1,{signature}"}
    assert verdict(request(body, trail="", **headers), now_seconds=1774982402) is None
    assert verdict(request(body + b" ", trail="", **headers), now_seconds=1774982402) is Rejection.SIGNATURE
    assert verdict(request(body, trail="", **headers), now_seconds=1774982402 + 301) is Rejection.TIMESTAMP
    assert verdict(request(body, trail="", authorization=f"bearer {SECRET}")) is None
    assert verdict(request(body, trail="", authorization=f"Bearer {SECRET}x")) is Rejection.SIGNATURE
    assert verdict(request(body, trail="", authorization=f"Basic {SECRET}")) is Rejection.HEADERS
    assert verdict(request(body, trail="")) is Rejection.HEADERS


def b64_key(secret: str) -> bytes:
    """The key that a Standard Webhooks library makes of a secret."""
    return b64decode(secret.removeprefix("whsec_"))


def test_what_cannot_be_parsed_is_taken_acknowledged_and_put_in_quarantine() -> None:
    broken = request(OUTBOUND[:-30])
    assert verdict(broken) is None
    assert SALESFORCE.reply(broken, TERMS, now_ms=0, entropy=bytes).status == 200
    refused = refusal(SALESFORCE.body_to_store(broken, TERMS))
    assert refused.reason is QuarantineReason.NOT_XML


def test_the_acknowledgement_is_exactly_what_salesforce_waits_for() -> None:
    reply = SALESFORCE.reply(request(), TERMS, now_ms=0, entropy=bytes)
    assert (reply.status, reply.content_type) == (200, "text/xml")
    assert PlayedSalesforce().is_taken(reply.status, reply.content_type, reply.body)
    assert SALESFORCE.reply(request(body_of(event())), TERMS, now_ms=0, entropy=bytes).body == b""


def with_session(element: str) -> bytes:
    return OUTBOUND.replace(b'<SessionId xsi:nil="true"/>', element.encode())


@pytest.mark.parametrize(
    "element",
    [
        f"<SessionId>{SESSION}</SessionId>",
        f"<SessionId><![CDATA[{SESSION}]]></SessionId>",
        f"<SessionId>{SESSION.replace('!', '&#33;')}</SessionId>",
        f"<SessionId><a><b>{SESSION}</b></a>{SESSION}</SessionId>",
        '<x:SessionId xmlns:x="urn:x">opaque-secretsecretsecret</x:SessionId>',
        "<sessionid>opaque-secretsecret</sessionid><SESSIONID>secretsecret</SESSIONID><Session_Id>secretsecret</Session_Id>",
        f"<SessionId>opaque-secretsecretsecret</SessionId><SessionId>{SESSION}</SessionId>",
        f'<SessionId value="{SESSION}" xsi:nil="true"/>',
        f'<Other SessionId="{SESSION}" token="{SESSION}"/>',
        f"<Other>{SESSION}</Other><!-- {SESSION} --><?session {SESSION}?>",
        f"<EnterpriseUrl>https://x/{SESSION}</EnterpriseUrl>",
        f"<Notification><Id>04l0800002nrC5CAAU</Id><SessionId>{SESSION}</SessionId></Notification>",
    ],
)
def test_a_session_is_never_kept(element: str) -> None:
    body = with_session(element)
    kept = SALESFORCE.body_to_store(request(body), TERMS)
    assert b"secretsecret" not in kept
    assert b"0060800000AbCdEAAV" in kept
    changes = SALESFORCE.translate(kept, NO_MAPPING)
    assert [each.external_id for each in changes if isinstance(each, RecordChange)] == ["0060800000AbCdEAAV"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-32", "utf-7"])
@pytest.mark.parametrize("cut", [0, 1, 60])
@pytest.mark.parametrize("session", [SESSION, "opaque-secretsecretsecret"])
def test_a_session_is_never_kept_of_what_cannot_be_parsed(encoding: str, cut: int, session: str) -> None:
    text = with_session(f"<SessionId>{session}</SessionId>").decode()
    text = text.replace('encoding="UTF-8"', f'encoding="{encoding}"')
    encoded = text.encode(encoding)
    kept = SALESFORCE.body_to_store(request(encoded[: len(encoded) - cut]), TERMS)
    assert b"secretsecret" not in kept
    assert "secretsecret" not in kept.decode("utf-16-le", "replace")
    assert "secretsecret" not in kept.decode("utf-32-le", "replace")
    with_dtd = text.encode().replace(b"<soapenv:Envelope", b"<!DOCTYPE a []><soapenv:Envelope", 1)
    assert b"secretsecret" not in SALESFORCE.body_to_store(request(with_dtd), TERMS)


def test_the_detail_of_what_cannot_be_parsed_holds_no_session() -> None:
    body = f'<!DOCTYPE a [<!ENTITY {SESSION.replace("!", "_")} "{SESSION}">]><a/>'.encode()
    assert SESSION not in refusal(body).detail


def test_what_is_kept_of_a_message_says_the_same_again() -> None:
    kept = SALESFORCE.body_to_store(request(), TERMS)
    assert SALESFORCE.translate(kept, NO_MAPPING) == SALESFORCE.translate(OUTBOUND, NO_MAPPING)
    assert SALESFORCE.body_to_store(request(kept), TERMS) == kept


def test_an_outbound_message_tells_the_whole_record() -> None:
    (change,) = SALESFORCE.translate(OUTBOUND, NO_MAPPING)
    assert isinstance(change, RecordChange)
    assert (change.object_name, change.external_id, change.is_whole) == ("Opportunity", "0060800000AbCdEAAV", True)
    assert change.at == NOW
    deal = deal_of(dict(change.values))
    assert (deal.status, deal.amount, deal.currency) == (DealStatus.WON, Decimal(60000), "USD")
    assert (deal.closed_on, deal.owner_external_id) == (date(2026, 3, 31), "00508000004abcdAAA")


def test_a_field_that_is_nil_is_empty() -> None:
    (change,) = SALESFORCE.translate(
        OUTBOUND.replace(b"<sf:Amount>60000.0</sf:Amount>", b'<sf:Amount xsi:nil="true"/>'), NO_MAPPING
    )
    assert isinstance(change, RecordChange)
    assert change.values["Amount"] is None


def test_the_same_notification_sent_again_is_recognised_and_another_is_not() -> None:
    again = SALESFORCE.dedupe_key(request(with_session(f"<SessionId>{SESSION}</SessionId>")))
    assert again == SALESFORCE.dedupe_key(request()) == "message:04l0800002nrC5BAAU"
    assert SALESFORCE.dedupe_key(request(OUTBOUND.replace(b"nrC5B", b"nrC5C"))) != again


def batch(*numbers: int) -> bytes:
    start, end = OUTBOUND.index(b"<Notification>"), OUTBOUND.index(b"</Notification>") + len(b"</Notification>")
    one = OUTBOUND[start:end]
    several = b"".join(one.replace(b"04l0800002nrC5BAAU", f"04l0800002nr{n:03d}AAA".encode()) for n in numbers)
    return OUTBOUND[:start] + several + OUTBOUND[end:]


def test_a_batch_is_the_same_in_any_order() -> None:
    assert SALESFORCE.dedupe_key(request(batch(1, 2, 3))) == SALESFORCE.dedupe_key(request(batch(3, 1, 2)))
    assert SALESFORCE.dedupe_key(request(batch(1, 2, 3))) != SALESFORCE.dedupe_key(request(batch(1, 2)))


def test_a_batch_is_of_a_hundred_notifications_at_most() -> None:
    assert len(SALESFORCE.translate(batch(*range(100)), NO_MAPPING)) == 100
    assert refusal(batch(*range(101))).pointer == "/Envelope/Body/notifications"


def test_one_bad_record_of_a_batch_is_pointed_at_and_its_neighbours_are_translated() -> None:
    body = batch(1, 2)
    last = body.rindex(b"<sf:Id>")
    broken = body[:last] + body[last:].replace(b"0060800000AbCdEAAV", b"0060800000AbCdEAAA", 1)
    change, refused = SALESFORCE.translate(broken, NO_MAPPING)
    assert isinstance(change, RecordChange)
    assert isinstance(refused, Untranslatable)
    assert refused.pointer == "/Envelope/Body/notifications/Notification/1/sObject/Id"


def test_a_message_without_the_modified_time_says_what_to_select() -> None:
    refused = refusal(OUTBOUND.replace(b"SystemModstamp", b"Description"))
    assert (refused.reason, refused.pointer.rpartition("/")[2]) == (QuarantineReason.MISSING_FIELD, "SystemModstamp")


def test_messages_about_other_objects_say_which() -> None:
    about = OUTBOUND.replace(b"sf:Opportunity", b"sf:Account")
    assert SALESFORCE.translate(about, NO_MAPPING) == [PassedOver("Account")]
    refused = refusal(OUTBOUND.replace(b'xsi:type="sf:Opportunity" ', b""))
    assert (refused.reason, refused.pointer.rpartition("/")[2]) == (QuarantineReason.UNKNOWN_TYPE, "@type")


BILLION_LAUGHS: Final = b"""<!DOCTYPE lolz [<!ENTITY lol "lol">%b]><lolz>&lol9;</lolz>""" % b"".join(
    b'<!ENTITY lol%d "%b">' % (n, (b"&lol%d;" % (n - 1) if n > 1 else b"&lol;") * 10) for n in range(1, 10)
)


@pytest.mark.parametrize(
    "body",
    [
        BILLION_LAUGHS,
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>',
        b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/a.dtd"> %x;]><a/>',
        b"<a>" * 100_000,
        b"<a>" * 100_000 + b"</a>" * 100_000,
        b"<a " + b" ".join(b'x%d="1"' % n for n in range(50_000)) + b">",
        b"<!DOCTYPE a []><a/>",
        b"<a>&undefined;</a>",
        b'<?xml version="1.0" encoding="no-such"?><a/>',
        b'<?xml version="1.0" encoding="utf-7"?><a/>',
        b'<?xml version="1.0" encoding="idna"?><a/>',
        b'<?xml version="1.0" encoding="rot13"?><a/>',
        b"",
        b"\x00",
        b"\xff\xfe<\x00",
        b"not xml",
    ],
)
def test_hostile_xml_is_refused_within_a_moment(body: bytes) -> None:
    started = time.monotonic()
    assert refusal(body).reason is QuarantineReason.NOT_XML
    assert verdict(request(body)) is None
    SALESFORCE.dedupe_key(request(body))
    SALESFORCE.body_to_store(request(body), TERMS)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda one: one,
        lambda one: [one],
        lambda one: {"payload": one, "schema": "x", "event": {"replayId": 1}},
        lambda one: {"data": {"payload": one}, "channel": "/data/OpportunityChangeEvent"},
        lambda one: {"detail-type": "OpportunityChangeEvent", "detail": {"payload": one, "id": "1"}},
        lambda one: {"events": [{"payload": one}]},
        lambda one: [{"data": one}],
    ],
)
def test_a_change_event_is_found_as_relays_wrap_it(wrapped: Callable[[object], object]) -> None:
    document = wrapped(event(Amount=5))
    change = change_of(document)
    assert (change.external_id, change.values) == ("0060800000AbCdEAAV", {"Id": "0060800000AbCdEAAV", "Amount": 5})
    assert SALESFORCE.dedupe_key(request(body_of(document))) == SALESFORCE.dedupe_key(request(body_of(event())))


def test_a_change_tells_some_fields_and_which_are_empty_now() -> None:
    change = change_of(
        event(header={"nulledFields": ["LeadSource"], "changedFields": ["Amount", "Type"]}, Amount=5, Name=None)
    )
    assert change.values == {"Id": "0060800000AbCdEAAV", "Amount": 5, "LeadSource": None, "Type": None}
    assert not change.is_whole
    assert change.at == datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC)


def test_without_a_list_of_what_changed_what_is_empty_counts() -> None:
    head = event(Amount=None)
    header = head["ChangeEventHeader"]
    assert isinstance(header, dict)
    del header["changedFields"], header["nulledFields"]
    assert change_of(head).values["Amount"] is None


def test_a_change_that_tells_by_bitmaps_what_is_empty_is_asked_for() -> None:
    fetch = Fetch("Opportunity", "0060800000AbCdEAAV", datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC))
    assert said(event(header={"changedFields": ["0x4000"], "nulledFields": ["0x01"]}, Amount=5)) == [fetch]
    assert said(event(header={"changedFields": ["0x4000", "4-0x01"], "nulledFields": None}, Amount=5)) == [fetch]
    nothing_empty = change_of(event(header={"changedFields": ["0x4000"], "nulledFields": []}, Amount=5, Name=None))
    assert nothing_empty.values == {"Id": "0060800000AbCdEAAV", "Amount": 5}


def test_events_of_one_second_are_ordered_by_commit_and_then_within_the_transaction() -> None:
    def place(commit: object, number: object) -> int:
        return change_of(event(header={"commitNumber": commit, "sequenceNumber": number}, Amount=1)).sequence

    places = [place(None, None), place(None, 2), place(1100670838951, 1), place("1100670838951", 2)]
    places += [place(1652977933433528300, 1), place(1652977933433538301, 0), place(1 << 62, 10**9)]
    assert places[-1] < FETCHED_SEQUENCE
    assert places == sorted(set(places))


@pytest.mark.parametrize("number", ["1e999999999", "-1e999999999", "NaN", "Infinity", "x", "", [], True])
def test_a_number_that_would_be_endless_is_not_written_out(number: object) -> None:
    started = time.monotonic()
    assert change_of(event(header={"commitNumber": number, "sequenceNumber": 4}, Amount=1)).sequence == 4
    endless = body_of(event(Amount=1)).replace(b'"sequenceNumber": 3', b'"sequenceNumber": 1e999999999')
    SALESFORCE.translate(endless, NO_MAPPING)
    assert time.monotonic() - started < 1


def asked_for(amount: int, *, seconds_later: int, floor: datetime | None = None) -> RecordChange:
    raw = {"Id": "0060800000AbCdEAAV", "IsClosed": False, "Amount": amount, "SystemModstamp": NOW.isoformat()}
    asked = FetchedReply(RawRecord("Opportunity", "0060800000AbCdEAAV", raw), floor)
    body = fetched_body([asked], [], fetched_at=NOW + timedelta(seconds=seconds_later))
    (change,) = statements_of_records(SALESFORCE, body, NO_MAPPING)
    assert isinstance(change, RecordChange)
    return change


def test_what_is_asked_for_after_the_second_of_a_change_is_newer_than_it_and_within_it_is_not() -> None:
    in_that_second = event(header={"commitTimestamp": int(NOW.timestamp() * 1000), "commitNumber": 10**18}, Amount=5)
    told = Record().merged(change_of(in_that_second))
    assert told.merged(asked_for(7, seconds_later=3)).values["Amount"] == 7
    assert told.merged(asked_for(7, seconds_later=1)).values["Amount"] == 5
    later = event(header={"commitTimestamp": int(NOW.timestamp() * 1000) + 1000}, Amount=9)
    assert told.merged(asked_for(7, seconds_later=3)).merged(change_of(later)).values["Amount"] == 9
    floor = NOW + timedelta(seconds=4)
    assert (asked_for(7, seconds_later=5, floor=floor).at, asked_for(7, seconds_later=5).is_whole) == (floor, True)


def test_one_event_may_be_about_many_records() -> None:
    ids = ["0060800000AbCdEAAV", "006080000000001"]
    changes = said(event(header={"recordIds": ids}, Amount=5))
    assert [each.external_id for each in changes if isinstance(each, RecordChange)] == [ids[0], record_id(ids[1])]


@pytest.mark.parametrize("change", ["CREATE", "UNDELETE"])
def test_a_new_or_restored_record_is_told_as_a_whole(change: str) -> None:
    told = change_of(event(change, StageName="Prospecting", Amount=None))
    assert told.is_whole
    assert told.values == {"Id": "0060800000AbCdEAAV", "StageName": "Prospecting"}


@pytest.mark.parametrize("change", ["DELETE", "GAP_DELETE"])
def test_a_deletion_is_told_also_in_a_gap(change: str) -> None:
    told = change_of(event(change))
    assert (told.is_deleted, told.values) == (True, {})


@pytest.mark.parametrize("change", ["GAP_CREATE", "GAP_UPDATE", "GAP_UNDELETE"])
def test_after_a_gap_the_record_is_asked_for(change: str) -> None:
    assert said(event(change)) == [
        Fetch("Opportunity", "0060800000AbCdEAAV", datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC))
    ]


def test_what_names_no_record_says_nothing_and_is_left_to_reconciliation() -> None:
    assert said(event("GAP_OVERFLOW", header={"recordIds": ["000000000000000AAA"]})) == []
    assert said(event(header={"recordIds": ["006*"]}, Amount=5)) == []


def test_events_of_other_objects_say_which() -> None:
    assert said(event(header={"entityName": "Invoice__c"})) == [PassedOver("Invoice__c")]
    with pytest.raises(Untranslatable, match="names no object of Salesforce"):
        said(event(header={"entityName": None}))


@pytest.mark.parametrize("name", ["OpportunityTeamMember", "OpportunityLineItem"])
def test_a_member_or_a_line_that_changes_makes_its_opportunity_asked_for(name: str) -> None:
    at = datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC)
    external_id = record_id("00k080000000001") or ""
    about: dict[str, object] = {"entityName": name, "recordIds": [external_id], "changeType": "DELETE"}
    assert said(event(header=about)) == [Fetch(name, external_id, at)]


def test_a_split_that_changes_makes_its_opportunity_asked_for() -> None:
    at = datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC)
    about_split: dict[str, object] = {"entityName": "OpportunitySplit", "recordIds": ["0Qs080000000001CAA"]}
    assert said(event(header=about_split, SplitPercentage=50)) == [Fetch("OpportunitySplit", "0Qs080000000001CAA", at)]
    assert said(event(header=about_split, OpportunityId="0060800000AbCdE")) == [
        Fetch("Opportunity", "0060800000AbCdEAAV", at)
    ]


@pytest.mark.parametrize(
    ("document", "reason", "pointer"),
    [
        ({"a": 1}, QuarantineReason.UNKNOWN_TYPE, "/ChangeEventHeader"),
        ([1], QuarantineReason.UNKNOWN_TYPE, "/0/ChangeEventHeader"),
        ([event(Amount=1)] * 501, QuarantineReason.UNKNOWN_TYPE, "/ChangeEventHeader"),
        (event("MERGE"), QuarantineReason.UNKNOWN_TYPE, "/ChangeEventHeader/changeType"),
        (event(header={"recordIds": ["x"]}), QuarantineReason.INVALID_FIELD, "/ChangeEventHeader/recordIds/0"),
        (event(header={"recordIds": None}), QuarantineReason.MISSING_FIELD, "/ChangeEventHeader/recordIds/0"),
        (event(header={"commitTimestamp": None}), QuarantineReason.MISSING_FIELD, "/ChangeEventHeader/commitTimestamp"),
        (
            event(header={"commitTimestamp": 10**30}),
            QuarantineReason.INVALID_FIELD,
            "/ChangeEventHeader/commitTimestamp",
        ),
    ],
)
def test_an_event_that_cannot_be_read_says_why_and_where(
    document: object, reason: QuarantineReason, pointer: str
) -> None:
    refused = refusal(body_of(document))
    assert (refused.reason, refused.pointer) == (reason, pointer)


def test_events_are_told_apart_by_transaction_sequence_and_records() -> None:
    def key(*events: object) -> str:
        return SALESFORCE.dedupe_key(request(body_of(list(events))))

    assert key(event(Amount=1)) == key(event(Name="x"))
    assert key(event()) != key(event(header={"sequenceNumber": 4}))
    assert key(event()) != key(event(header={"transactionKey": "1"}))
    assert key(event()) != key(event(header={"recordIds": ["006080000000001AAA"]}))
    other = event(header={"sequenceNumber": 4})
    assert key(event(), other) == key(other, event())
    assert SALESFORCE.dedupe_key(request(b"{}")).startswith("body:")


def test_a_record_becomes_the_deal() -> None:
    deal = deal_of(
        {
            "Name": "Acme",
            "Amount": Decimal("60000.5"),
            "CurrencyIsoCode": "EUR",
            "CloseDate": "2026-03-31",
            "CreatedDate": "2026-01-05T09:12:44.000+0000",
            "OwnerId": "00508000004abcd",
            "Probability": Decimal(100),
            "ForecastCategory": "Closed",
            "Type": "New Business",
            "LeadSource": "Partner",
            "AccountId": "001080000000001AAA",
            "Account": {"Id": "001080000000001AAA", "Name": "Benton"},
            "Region__c": "EMEA",
            "Strategic__c": True,
            "Essay__c": "x" * 2001,
        },
        SourceMapping(custom_fields={"Region__c": "region"}),
    )
    assert deal.external_id == "0060800000AbCdEAAV"
    assert (deal.name, deal.amount, deal.currency, deal.stage) == ("Acme", Decimal("60000.5"), "EUR", "Closed Won")
    assert (deal.closed_on, deal.expected_close_on) == (date(2026, 3, 31), date(2026, 3, 31))
    assert deal.created_at == datetime(2026, 1, 5, 9, 12, 44, tzinfo=UTC)
    assert (deal.owner_external_id, deal.probability) == ("00508000004abcdAAA", Decimal(100))
    assert (deal.type, deal.channel) == ("New Business", "Partner")
    assert (deal.account_id, deal.account_name) == ("001080000000001AAA", "Benton")
    assert deal.custom == {"region": "EMEA", "Strategic__c": "true", "ForecastCategory": "Closed"}
    assert (deal.modified_at, deal.sequence) == (NOW, 5)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ({"IsClosed": False, "IsWon": False}, DealStatus.OPEN),
        ({"IsClosed": True, "IsWon": False}, DealStatus.LOST),
        ({"IsClosed": "true", "IsWon": "true"}, DealStatus.WON),
        ({"IsClosed": "false", "IsWon": "false"}, DealStatus.OPEN),
    ],
)
def test_closed_and_won_make_the_status(raw: dict[str, object], status: DealStatus) -> None:
    deal = deal_of({**raw, "CloseDate": "2026-03-31"})
    assert deal.status is status
    assert (deal.closed_on is None) == (status is DealStatus.OPEN)


def test_a_mapped_stage_is_stronger_and_closes_the_deal() -> None:
    mapping = SourceMapping(stages={"Signed": DealStatus.WON})
    deal = deal_of({"StageName": "Signed", "IsClosed": None, "IsWon": None, "CloseDate": "2026-03-31"}, mapping)
    assert (deal.status, deal.closed_on) == (DealStatus.WON, date(2026, 3, 31))
    with pytest.raises(Untranslatable) as refused:
        deal_of({"StageName": "Signed", "IsClosed": None, "IsWon": None})
    assert refused.value.reason is QuarantineReason.STAGE_UNMAPPED


def test_days_and_times_may_come_in_milliseconds() -> None:
    deal = deal_of({"CloseDate": 1774915200000, "CreatedDate": "1767604364000"})
    assert (deal.closed_on, deal.created_at) == (date(2026, 3, 31), datetime(2026, 1, 5, 9, 12, 44, tzinfo=UTC))


def test_a_record_is_dated_no_earlier_than_its_floor_and_counts_its_merges() -> None:
    floor = NOW + timedelta(seconds=1)
    assert deal_of({}, floor=floor, sequence=7).modified_at == floor
    assert deal_of({}, floor=floor, sequence=7).sequence == 7
    assert deal_of({"SystemModstamp": None}, floor=floor).modified_at == floor
    assert deal_of({}, floor=NOW - timedelta(days=1)).modified_at == NOW


def test_the_name_of_an_account_that_changed_is_not_taken_for_the_new_ones() -> None:
    deal = deal_of({"AccountId": "001080000000002AAA", "Account": {"Id": "001080000000001AAA", "Name": "Benton"}})
    assert (deal.account_id, deal.account_name) == ("001080000000002AAA", None)


SPLITS: Final[dict[str, object]] = {
    "records": [
        {
            "SplitOwnerId": "00508000004abcdAAA",
            "SplitPercentage": 60,
            "SplitTypeId": "149080000000001AAA",
            "SplitType": {"DeveloperName": "Revenue", "MasterLabel": "Revenue split"},
            "SystemModstamp": "2026-04-01T00:00:00.000+0000",
        },
        {
            "SplitOwnerId": "005080000000002",
            "SplitPercentage": 100,
            "SplitTypeId": "149080000000002AAA",
            "SplitType": {"DeveloperName": "Overlay", "MasterLabel": "Overlay split"},
        },
    ]
}


@pytest.mark.parametrize("name", ["Revenue", "Revenue split", "149080000000001", "149080000000001AAA"])
def test_only_splits_of_the_mapped_kind_count(name: str) -> None:
    deal = deal_of({"OpportunitySplits": SPLITS}, SourceMapping(split_type=name))
    assert [(split.owner_external_id, split.percent, split.role) for split in deal.splits] == [
        ("00508000004abcdAAA", Decimal(60), "Revenue")
    ]
    assert len(deal_of({"OpportunitySplits": SPLITS}).splits) == 2


def test_a_split_that_changed_last_dates_the_deal() -> None:
    assert deal_of({"OpportunitySplits": SPLITS}).modified_at == datetime(2026, 4, 1, tzinfo=UTC)


def test_a_gone_record_is_merged_as_deleted() -> None:
    assert SALESFORCE.translate_gone(GoneRecord("Opportunity", "0060800000AbCdEAAV", NOW), NO_MAPPING) == (
        RecordChange("Opportunity", "0060800000AbCdEAAV", {}, NOW, is_deleted=True),
    )
    assert SALESFORCE.translate_gone(GoneRecord("OpportunitySplit", "0Qs080000000001CAA", NOW), NO_MAPPING) == ()


def test_tasks_and_events_become_activities() -> None:
    task = {
        "Id": "00T080000000001EAA",
        "TaskSubtype": "Call",
        "Status": "Completed",
        "OwnerId": "00508000004abcdAAA",
        "WhatId": "0060800000AbCdEAAV",
        "AccountId": "001080000000001AAA",
        "Subject": "Call",
        "CompletedDateTime": "2026-03-30T10:00:00.000+0000",
        "CallDurationInSeconds": 90,
        "SystemModstamp": "2026-03-31T18:40:02.000+0000",
    }
    (call,) = SALESFORCE.translate_record(FetchedRecord("Task", task, NOW), NO_MAPPING, pointer="")
    assert isinstance(call, CanonicalActivity)
    assert (call.type, call.status, call.duration_seconds) == (ActivityType.CALL, ActivityStatus.DONE, 90)
    assert (call.deal_external_id, call.account_id) == ("0060800000AbCdEAAV", "001080000000001AAA")
    assert call.occurred_at == datetime(2026, 3, 30, 10, tzinfo=UTC)
    meeting = {
        "Id": "00U080000000001EAA",
        "ActivityDate": "2026-03-30",
        "DurationInMinutes": 30,
        "SystemModstamp": "2026-03-31T18:40:02.000+0000",
    }
    (held,) = SALESFORCE.translate_record(FetchedRecord("Event", meeting, NOW), NO_MAPPING, pointer="")
    assert isinstance(held, CanonicalActivity)
    assert (held.type, held.duration_seconds) == (ActivityType.MEETING, 1800)
    assert held.occurred_at == datetime(2026, 3, 30, tzinfo=UTC)
    (gone,) = said(event("DELETE", header={"entityName": "Task", "recordIds": ["00T080000000001EAA"]}))
    assert isinstance(gone, CanonicalActivity)
    assert gone.is_deleted


def plain(number: int, *, seconds: int = 0, owner: str = "1", **changes: object) -> PlainDeal:
    deal = PlainDeal(
        str(number), f"Deal {number}", Decimal("1200.5"), "EUR", "won", owner, NOW - timedelta(days=9),
        NOW + timedelta(seconds=seconds), closed_on=date(2026, 3, 31),
    )  # fmt: skip
    return replace(deal, **changes)  # type: ignore[arg-type]


def opportunity(number: int) -> str:
    whole = record_id(f"006{number:012d}")
    assert whole is not None
    return whole


class Asked:
    """A played organisation and how it is asked."""

    def __init__(self, crm: PlayedSalesforce, caller: Caller, credentials: SalesforceCredentials) -> None:
        self.crm = crm
        self.caller = caller
        self.credentials = credentials
        self.api = SALESFORCE.api


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    crm = PlayedSalesforce(secret=SECRET)
    async with crm.client() as client:
        credentials = SalesforceCredentials.model_validate(crm.access())
        yield Asked(crm, Caller(client, SALESFORCE.api, credentials), credentials)


async def test_records_are_fetched_with_their_splits_and_the_missing_are_gone(asked: Asked) -> None:
    asked.crm.custom_names = ("Region__c",)
    asked.crm.custom["1"] = {"Region__c": "EMEA"}
    asked.crm.put(plain(1))
    asked.crm.put(plain(2))
    asked.crm.delete("2", NOW + timedelta(hours=1))
    asked.crm.splits["1"] = PlayedSplit("1", "1", "7", 100, NOW)
    ids = [opportunity(1), opportunity(2), opportunity(3), opportunity(1)[:15], "x' OR Name != '"]
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "Opportunity", ids))
    assert [record.external_id for record in page.records] == [opportunity(1), opportunity(1)]
    assert [(gone.external_id, gone.at) for gone in page.gone] == [
        (opportunity(2), NOW + timedelta(hours=1)),
        (opportunity(3), None),
        ("x' OR Name != '", None),
    ]
    raw = page.records[0].raw
    deal = deal_of(dict(raw))
    assert (deal.amount, deal.currency, deal.account_name) == (Decimal("1200.5"), "EUR", "Acme")
    assert deal.custom["Region__c"] == "EMEA"
    assert [(split.owner_external_id, split.percent) for split in deal.splits] == [(asked.crm.user("7"), Decimal(100))]


async def test_an_organisation_without_currencies_and_splits_can_be_asked(asked: Asked) -> None:
    asked.crm.has_currencies = asked.crm.has_splits = False
    asked.crm.put(plain(1))
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "Opportunity", [opportunity(1)]))
    assert deal_of(dict(page.records[0].raw)).currency is None
    first = await asked.caller.result(asked.api.changed(asked.credentials, NOW, None))
    assert (len(first.records), first.next_cursor) == (1, "OpportunityLineItem::")


async def test_the_team_of_an_opportunity_has_the_shares_of_its_roles(asked: Asked) -> None:
    asked.crm.has_splits = False
    asked.crm.put(plain(1))
    asked.crm.has_teams = True
    asked.crm.members["1"] = PlayedMember("1", "1", "70", "Sales Engineer", NOW)
    asked.crm.members["2"] = PlayedMember("2", "1", "71", "Channel Manager", NOW)
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "Opportunity", [opportunity(1)]))
    mapping = SourceMapping(team_roles={"Sales Engineer": TeamShare("engineer", Decimal(30))})
    deal = deal_of(dict(page.records[0].raw), mapping)
    assert [(split.owner_external_id, split.role, split.percent) for split in deal.splits] == [
        (deal.owner_external_id, "owner", Decimal(100)),
        (asked.crm.user("70"), "engineer", Decimal(30)),
    ]


async def test_the_products_of_an_opportunity_come_with_it(asked: Asked) -> None:
    asked.crm.put(plain(1))
    asked.crm.put(plain(2))
    asked.crm.lines["1"] = PlayedLine("1", "1", "GTX-PRO", 12.0, 60000.0, NOW)
    asked.crm.lines["2"] = PlayedLine("2", "1", None, 0.333333333, None, NOW + timedelta(seconds=9))
    page = await asked.caller.result(
        asked.api.fetch(asked.credentials, "Opportunity", [opportunity(1), opportunity(2)])
    )
    deal, other = (deal_of(dict(record.raw)) for record in page.records)
    assert [(line.sku, line.quantity, line.amount) for line in deal.products] == [
        ("GTX-PRO", Decimal(12), Decimal(60000)),
        ("01t000000000002AAA", Decimal("0.333333"), None),
    ]
    assert (deal.modified_at, other.products) == (NOW + timedelta(seconds=9), ())


PARTS: Final = [
    ("OpportunitySplit", "0Qs", lambda crm: crm.splits.update({"5": PlayedSplit("5", "1", "7", 100, NOW)})),
    ("OpportunityTeamMember", "00q", lambda crm: crm.members.update({"5": PlayedMember("5", "1", "7", "Lead", NOW)})),
    ("OpportunityLineItem", "00k", lambda crm: crm.lines.update({"5": PlayedLine("5", "1", "A", 1, 1, NOW)})),
]


@pytest.mark.parametrize(("name", "prefix", "put"), PARTS)
async def test_what_belongs_to_an_opportunity_leads_to_it(
    asked: Asked, name: str, prefix: str, put: Callable[[PlayedSalesforce], None]
) -> None:
    asked.crm.has_teams = True
    asked.crm.put(plain(1))
    put(asked.crm)
    ids = [record_id(f"{prefix}{number:012d}") or "" for number in (5, 6)]
    page = await asked.caller.result(asked.api.fetch(asked.credentials, name, ids))
    assert [(record.object_name, record.external_id) for record in page.records] == [("Opportunity", opportunity(1))]
    assert [(gone.object_name, gone.external_id) for gone in page.gone] == [(name, ids[1])]


@pytest.mark.parametrize("page_records_max", [2000, 150, 60])
async def test_everything_changed_is_walked_once_however_large_the_pages(asked: Asked, page_records_max: int) -> None:
    asked.crm.page_records_max = page_records_max
    for number in range(450):
        asked.crm.put(plain(number, seconds=number // 100))
    pages = await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, None, at))
    walked = [record.external_id for page in pages for record in page.records]
    assert sorted(walked) == sorted(opportunity(number) for number in range(450))
    assert await asked.caller.result(asked.api.count(asked.credentials)) == 450
    since = NOW + timedelta(seconds=3)
    pages = await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, since, at))
    walked = [record.external_id for page in pages for record in page.records]
    assert sorted(walked) == sorted(opportunity(number) for number in range(300, 450))


async def test_a_record_that_changes_during_the_walk_is_not_left_out(asked: Asked) -> None:
    for number in range(300):
        asked.crm.put(plain(number))
    first = await asked.caller.result(asked.api.changed(asked.credentials, None, None))
    asked.crm.put(plain(250, seconds=50, name="Changed"))
    asked.crm.put(plain(0, seconds=51, name="Changed"))
    second = await asked.caller.result(asked.api.changed(asked.credentials, None, first.next_cursor))
    assert second.next_cursor == "Task::"
    names = {record.external_id: record.raw["Name"] for page in (first, second) for record in page.records}
    assert len(names) == 300
    assert (names[opportunity(250)], names[opportunity(0)]) == ("Changed", "Changed")


@pytest.mark.parametrize(("name", "prefix", "put"), PARTS)
async def test_an_opportunity_of_which_only_a_part_changed_is_walked_too(
    asked: Asked, name: str, prefix: str, put: Callable[[PlayedSalesforce], None]
) -> None:
    asked.crm.has_teams = True
    asked.crm.put(plain(1, seconds=-5000))
    asked.crm.put(plain(2, seconds=-5000))
    put(asked.crm)
    pages = await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, NOW, at))
    assert [record.external_id for page in pages for record in page.records] == [opportunity(1)]


@pytest.mark.parametrize("days", [-90, -2, 0, 9])
async def test_what_was_deleted_is_asked_for_within_what_salesforce_allows(asked: Asked, days: int) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    asked.crm.put(plain(1))
    asked.crm.delete("1", now - timedelta(days=1))
    page = await asked.caller.result(asked.api.deleted(asked.credentials, now + timedelta(days=days), None))
    expected = [(opportunity(1), now - timedelta(days=1))] if days < 0 else []
    assert [(gone.external_id, gone.at) for gone in page.gone] == expected
    assert page.next_cursor == "Task"


async def test_what_was_deleted_a_moment_ago_is_found_among_what_changed(asked: Asked) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    asked.crm.put(plain(1))
    asked.crm.put(plain(2))
    asked.crm.delete("1", now)
    since = NOW - timedelta(hours=1)
    pages = await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, since, at))
    assert [(each.external_id, each.at) for page in pages for each in page.gone] == [(opportunity(1), now)]
    assert [each.external_id for page in pages for each in page.records] == [opportunity(2)]
    history = await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, None, at))
    assert [each.external_id for page in history for each in page.records] == [opportunity(2)]
    assert not any(page.gone for page in history)


async def test_tasks_and_events_are_walked_after_the_opportunities(asked: Asked) -> None:
    asked.crm.put(plain(1))
    tasks = [played_activity("00T", number, NOW + timedelta(seconds=number // 100)) for number in range(450)]
    event = played_activity("00U", 1, NOW, DurationInMinutes=30, StartDateTime="2026-03-31T18:00:00.000+0000")
    deleted = played_activity("00U", 2, NOW + timedelta(seconds=9), IsDeleted=True)
    asked.crm.activities["Task"] = {str(task["Id"]): task for task in tasks}
    asked.crm.activities["Event"] = {str(each["Id"]): each for each in (event, deleted)}

    async def walked(since: datetime | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        pages = await asked.caller.every_page(lambda at: asked.api.changed(asked.credentials, since, at))
        records = [(each.object_name, each.external_id) for page in pages for each in page.records]
        return records, [(each.object_name, each.external_id) for page in pages for each in page.gone]

    everything, gone = await walked(None)
    assert sorted(everything) == sorted(
        [("Opportunity", opportunity(1)), ("Event", str(event["Id"])), *(("Task", str(task["Id"])) for task in tasks)]
    )
    assert gone == []
    latest, gone = await walked(NOW + timedelta(seconds=4))
    assert latest == [("Task", str(task["Id"])) for task in tasks[400:]]
    assert gone == [("Event", str(deleted["Id"]))]
    assert await asked.caller.result(asked.api.count(asked.credentials)) == 452


async def test_deletions_of_tasks_and_events_are_told(asked: Asked) -> None:
    before = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    task = played_activity("00T", 1, before, IsDeleted=True)
    asked.crm.activities["Task"] = {str(task["Id"]): task}
    since = before - timedelta(hours=1)
    pages = await asked.caller.every_page(lambda at: asked.api.deleted(asked.credentials, since, at))
    assert [(each.object_name, each.external_id, each.at) for page in pages for each in page.gone] == [
        ("Task", str(task["Id"]), before)
    ]


async def test_users_are_walked_page_by_page(asked: Asked) -> None:
    asked.crm.users = {str(number): f"User {number}" for number in range(30)}
    asked.crm.page_records_max = 12
    users = [user for page in await asked.caller.every_user_page() for user in page.users]
    assert sorted(user.external_id for user in users) == sorted(asked.crm.user(str(number)) for number in range(30))
    assert (users[0].name, users[0].email, users[0].is_active) == ("User 0", "0@example.com", True)


async def test_a_hundred_records_with_many_own_fields_are_asked_for_in_one_address(asked: Asked) -> None:
    asked.crm.custom_names = tuple(f"A_rather_long_name_of_a_field_{number:03d}__c" for number in range(500))
    for number in range(100):
        asked.crm.put(plain(number))
    ids = [opportunity(number) for number in range(100)]
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "Opportunity", ids))
    assert len(page.records) == 100


async def test_a_session_that_has_ended_is_replaced(asked: Asked) -> None:
    asked.crm.put(plain(1))
    fetching = asked.api.fetch(asked.credentials, "Opportunity", [opportunity(1)])
    await asked.caller.result(fetching)
    asked.crm.tokens.clear()
    page = await asked.caller.result(asked.api.fetch(asked.credentials, "Opportunity", [opportunity(1)]))
    assert len(page.records) == 1
    assert Verdict.TOKEN_EXPIRED in [each.verdict for each in asked.caller.judgements]


async def test_how_many_calls_are_left_is_told_and_none_left_is_no_passing_trouble(asked: Asked) -> None:
    asked.crm.calls_a_day_max = 2
    await asked.caller.result(asked.api.users(asked.credentials, None))
    assert asked.caller.judgements[-1].credits_remaining == 1
    await asked.caller.result(asked.api.users(asked.credentials, None))
    with pytest.raises(NotOk) as refused:
        await asked.caller.result(asked.api.users(asked.credentials, None))
    assert refused.value.judgement.verdict is Verdict.QUOTA_EXHAUSTED


@pytest.mark.parametrize(
    ("status", "body", "verdict_expected"),
    [
        (503, [{"errorCode": "SERVER_UNAVAILABLE", "message": "busy"}], Verdict.TRANSIENT),
        (500, "no json", Verdict.TRANSIENT),
        (400, [{"errorCode": "QUERY_TIMEOUT", "message": "long"}], Verdict.TRANSIENT),
        (403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "ConcurrentRequests"}], Verdict.RATE_LIMITED),
        (429, {}, Verdict.RATE_LIMITED),
        (403, [{"errorCode": "INSUFFICIENT_ACCESS", "message": "no"}], Verdict.REFUSED),
        (400, [{"errorCode": "MALFORMED_QUERY", "message": "no"}], Verdict.REFUSED),
        (404, [], Verdict.REFUSED),
    ],
)  # fmt: skip
async def test_what_an_answer_means(asked: Asked, status: int, body: object, verdict_expected: Verdict) -> None:
    asked.crm.fail(lambda: JSONResponse(body, status, {"retry-after": "7"}), path="/query")
    with pytest.raises(NotOk) as refused:
        await asked.caller.result(asked.api.count(asked.credentials))
    assert refused.value.judgement.verdict is verdict_expected
    assert refused.value.judgement.retry_after == timedelta(seconds=7)


async def test_wrong_credentials_are_refused_for_good(asked: Asked) -> None:
    wrong = asked.credentials.model_copy(update={"client_secret": "other"})
    async with asked.crm.client() as client:
        with pytest.raises(NotOk) as refused:
            await Caller(client, asked.api, wrong).result(asked.api.count(wrong))
    assert refused.value.judgement.verdict is Verdict.REFUSED
    assert "invalid_client" in refused.value.judgement.detail
    assert CLIENT_SECRET not in repr(asked.credentials)
    assert CLIENT_ID in repr(asked.credentials)


async def test_messages_of_a_played_organisation_are_taken_and_told_apart() -> None:
    crm = PlayedSalesforce(secret=SECRET, session=SESSION)
    crm.put(plain(1))
    crm.put(plain(1, seconds=5, amount=Decimal(7)))
    keys, amounts = [], []
    for webhook in crm.drained():
        given = request(webhook.body, trail=webhook.path.removeprefix("/"))
        assert verdict(given) is None
        keys.append(SALESFORCE.dedupe_key(given))
        (change,) = SALESFORCE.translate(SALESFORCE.body_to_store(given, TERMS), NO_MAPPING)
        assert isinstance(change, RecordChange)
        amounts.append(deal_of(dict(change.values)).amount)
    assert len(set(keys)) == 2
    assert amounts == [Decimal("1200.5"), Decimal(7)]


async def test_a_played_organisation_sends_again_until_it_gets_the_exact_acknowledgement() -> None:
    crm = PlayedSalesforce(secret=SECRET)
    crm.put(plain(1))
    seen: list[bytes] = []
    exact = SALESFORCE.reply(request(), TERMS, now_ms=0, entropy=bytes).body
    answers = iter(
        [
            Response(status_code=503),
            Response(status_code=200),
            Response(exact.replace(b"true", b"false"), media_type="text/xml"),
            Response(exact, media_type="text/plain"),
            Response(exact, media_type="text/xml"),
        ]
    )

    async def hook(received: Received) -> Response:
        seen.append(await received.body())
        return next(answers)

    transport = httpx.ASGITransport(app=Starlette(routes=[Route(f"/hook/{SECRET}", hook, methods=["POST"])]))
    async with httpx.AsyncClient(transport=transport, base_url="http://attain.example") as client:
        taken = [await crm.send(client, "/hook") for _ in range(6)]
    assert taken == [0, 0, 0, 0, 1, 0]
    assert len({SALESFORCE.dedupe_key(request(body)) for body in seen}) == 1
