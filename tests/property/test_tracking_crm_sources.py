"""What any source may send or answer: read, or refused with a reason, and in either case within a moment."""

import json
import time
from base64 import b64encode
from collections.abc import Generator, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from hmac import digest
from pathlib import Path
from random import Random
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from services.tracking.intake.connections.domain import Connection, ConnectionStatus
from services.tracking.intake.inbox.domain.records import Record
from services.tracking.intake.inbox.events import activity_event_of, event_of
from services.tracking.intake.sources.adapter import Adapter, Request, SenderRules, Statement
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import Judgement, RecordChange, Source, SourceMapping, Untranslatable
from services.tracking.intake.sources.hubspot.adapter import Hubspot
from services.tracking.intake.sources.hubspot.api import HubspotCredentials
from services.tracking.intake.sources.pipedrive.adapter import Pipedrive
from services.tracking.intake.sources.pipedrive.api import PipedriveCredentials
from services.tracking.intake.sources.salesforce.adapter import Salesforce
from services.tracking.intake.sources.salesforce.api import SalesforceCredentials, record_id
from services.tracking.intake.sources.source_api import (
    Answer,
    AnySourceApi,
    ApiCredentials,
    Call,
    FetchedRecord,
    GoneRecord,
    UnexpectedAnswer,
)
from services.tracking.intake.sources.standard_webhooks.adapter import StandardWebhooks
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.kernel.deals import DealStatus

SAMPLES: Final = Path(__file__).parent.parent / "played" / "samples"
ADAPTERS: Final[Sequence[Adapter]] = (StandardWebhooks(), Pipedrive(), Salesforce(), Hubspot())
APIS: Final[Sequence[tuple[AnySourceApi, ApiCredentials]]] = (
    (
        Salesforce.api,
        SalesforceCredentials(instance_url="https://x.my.salesforce.com", client_id="a", client_secret="b"),
    ),
    (Hubspot.api, HubspotCredentials(access_token="t")),
    (Pipedrive.api, PipedriveCredentials(api_url="https://x.pipedrive.com", api_token="t")),
)
MAPPING: Final = SourceMapping(
    stages={"Closed Won": DealStatus.WON}, fields={"region": "a.b"}, custom_fields={"x__c": "x"}, users={"1": "ann"}
)
NOW: Final = datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
MOMENT_SECONDS_MAX: Final = 1.0
ODD: Final[SearchStrategy[object]] = st.sampled_from(
    [None, True, "", " ", "0", "-1", "1e999999999", "NaN", "\ud800", "²", "0001-01-01", "9999-12-31T23:59:59Z",
     "x" * 3000, 10**30, -(10**30), 2**63, 1e308, 0.1, [], {}, [[]], {"": ""}, "00D24000000abcdEAA", "true"]
)  # fmt: skip
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
CONNECTION: Final = Connection(
    UUID(int=1), UUID(int=2), Source.HUBSPOT, "x", "x", ConnectionStatus.ACTIVE, (), MAPPING, 1, NOW, NOW
)


def samples(adapter: Adapter) -> list[bytes]:
    return [path.read_bytes() for path in sorted((SAMPLES / adapter.source.value).iterdir())]


def documents(adapter: Adapter) -> list[object]:
    return [json.loads(each) for each in samples(adapter) if each.lstrip()[:1] in (b"{", b"[")]


def places(document: object) -> list[tuple[object, object]]:
    """Everywhere in a document that something can be put in the place of what is there."""
    found: list[tuple[object, object]] = []
    if isinstance(document, dict):
        pairs: list[tuple[object, object]] = list(document.items())
    elif isinstance(document, list):
        pairs = list(enumerate(document))
    else:
        return found
    for key, inner in pairs:
        found += [(document, key), *places(inner)]
    return found


def spoilt(document: object, data: DataObject) -> object:
    """The document with some of its parts replaced by anything, or left out."""
    changed = deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        everywhere = places(changed)
        if not everywhere:
            break
        held, key = data.draw(st.sampled_from(everywhere))
        if isinstance(held, dict):
            if data.draw(st.booleans()):
                held[key] = deepcopy(data.draw(JSON))
            else:
                del held[key]
        elif isinstance(held, list) and isinstance(key, int):
            held[key] = deepcopy(data.draw(JSON))
    return changed


def request(body: bytes, *, trail: str = "", headers: dict[bytes, bytes] | None = None) -> Request:
    return Request("POST", "https://attain.example", "/hooks/1", trail, headers or {b"webhook-id": b"x"}, body)


def storable(said: Sequence[Statement]) -> None:
    """Whatever is said can be stored and published, and whoever reads it reads what was counted."""
    for each in said:
        if isinstance(each, CanonicalDeal):
            deal = event_of(each, CONNECTION, delivery_id=UUID(int=3), received_at=NOW)
            read = Deal.from_json(deal.model_dump_json().encode())
            assert (read.model_dump(), read.facts()) == (deal.model_dump(), deal.facts())
        elif isinstance(each, CanonicalActivity):
            activity = activity_event_of(each, CONNECTION, delivery_id=UUID(int=3), received_at=NOW)
            again = Activity.from_json(activity.model_dump_json().encode())
            assert (again.model_dump(), again.facts()) == (activity.model_dump(), activity.facts())
        elif isinstance(each, RecordChange):
            json.dumps(each.values, default=str, ensure_ascii=False)


def read(adapter: Adapter, body: bytes) -> None:
    """All that is done with a body of a valid sender."""
    started = time.monotonic()
    given = request(body)
    adapter.dedupe_key(given)
    kept = adapter.body_to_store(given, SenderRules(()))
    with suppress(Untranslatable):
        said = adapter.translate(kept, MAPPING)
        storable(said)
        for each in said:
            if isinstance(each, RecordChange) and not each.is_deleted:
                merged = Record().merged(each)
                whole = FetchedRecord(each.object_name, merged.values, NOW, merged.newest_at, merged.merges)
                storable(adapter.translate_record(whole, MAPPING, pointer=""))
    assert time.monotonic() - started < MOMENT_SECONDS_MAX


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.source.value)
@given(body=st.binary(max_size=300) | JSON.map(lambda document: json.dumps(document).encode()))
@settings(max_examples=60)
def test_any_body_is_translated_or_refused_with_a_reason(adapter: Adapter, body: bytes) -> None:
    read(adapter, body)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.source.value)
@given(data=st.data())
@settings(max_examples=80)
def test_any_change_of_a_real_delivery_is_translated_or_refused_with_a_reason(
    adapter: Adapter, data: DataObject
) -> None:
    document = spoilt(data.draw(st.sampled_from(documents(adapter))), data)
    read(adapter, json.dumps(document).encode())


EDITS: Final = st.lists(
    st.tuples(
        st.integers(0, 700),
        st.integers(0, 5),
        st.binary(max_size=12) | st.sampled_from([b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<!DOCTYPE a>", b"&x;"]),
    ),
    max_size=3,
)


def edited(part: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, piece in edits:
        part = part[:place] + piece + part[place + removed :]
    return part


@given(before=EDITS, after=EDITS)
@settings(max_examples=100)
def test_any_change_of_a_real_message_is_translated_or_refused_and_keeps_no_session(
    before: list[tuple[int, int, bytes]], after: list[tuple[int, int, bytes]]
) -> None:
    text = (SAMPLES / "salesforce" / "outbound.xml").read_bytes()
    start, rest = text.split(b'<SessionId xsi:nil="true"/>')
    session = b"<SessionId>00D24000000abcd!AQ8AQFm.secretsecretsecret</SessionId>"
    body = edited(start, before) + session + edited(rest, after)
    adapter = Salesforce()
    read(adapter, body)
    assert b"secretsecret" not in adapter.body_to_store(request(body), SenderRules(()))


@pytest.mark.parametrize("adapter", ADAPTERS[1:], ids=lambda adapter: adapter.source.value)
@given(data=st.data())
@settings(max_examples=80)
def test_any_record_of_an_api_is_translated_or_refused_with_a_reason(adapter: Adapter, data: DataObject) -> None:
    asked = json.loads((SAMPLES / adapter.source.value / "asked.json").read_bytes())
    (held,) = asked["records"]
    raw = spoilt(held["record"], data)
    extra = data.draw(st.dictionaries(st.sampled_from(["_splits", "OpportunitySplits", "products", "x__c"]), JSON))
    assert isinstance(raw, dict)
    object_names = {
        Source.SALESFORCE: ["Opportunity", "Task", "Event"],
        Source.HUBSPOT: ["deals", "calls", "meetings", "emails", "tasks"],
        Source.PIPEDRIVE: ["deal", "activity"],
    }[adapter.source]
    floor = data.draw(st.none() | st.just(NOW))
    record = FetchedRecord(data.draw(st.sampled_from(object_names)), raw | extra, NOW, floor)
    with suppress(Untranslatable):
        storable(adapter.translate_record(record, MAPPING, pointer="/record"))


@given(
    external_id=st.text(max_size=250),
    at=st.datetimes(timezones=st.just(UTC)),
    name=st.sampled_from(["Opportunity", "Task", "Event", "OpportunitySplit", "deals", "calls", "deal", "activity"]),
)
@settings(max_examples=100)
def test_any_gone_record_is_told_or_refused_with_a_reason(external_id: str, at: datetime, name: str) -> None:
    for adapter in ADAPTERS:
        with suppress(Untranslatable):
            storable(adapter.translate_gone(GoneRecord(name, external_id, at), MAPPING))


@given(
    headers=st.dictionaries(
        st.sampled_from(
            [b"authorization", b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"x-hubspot-signature-v3",
             b"x-hubspot-request-timestamp"]
        ),
        st.binary(max_size=40) | st.sampled_from([b"Bearer x", b"Basic eA==", b"1774982402", b"1774982402000"]),
    ),
    trail=st.text(max_size=30),
    target=st.text(max_size=30),
    body=st.binary(max_size=60),
)  # fmt: skip
@settings(max_examples=100)
def test_nobody_is_taken_for_the_sender_by_chance(
    headers: dict[bytes, bytes], trail: str, target: str, body: bytes
) -> None:
    for adapter in ADAPTERS:
        secret = adapter.new_secret(bytes(range(32)))
        given_request = Request("POST", "https://attain.example", target, trail, headers, body)
        assert adapter.verify(given_request, SenderRules((secret,)), now_seconds=1774982402) is not None


@given(body=st.binary(max_size=80), path=st.text("abc/?&=%:@!$'()*,;-_ é", max_size=30))
@settings(max_examples=60)
def test_whatever_hubspot_signs_is_accepted(body: bytes, path: str) -> None:
    hubspot = Hubspot()
    secret = hubspot.new_secret(bytes(range(32)))
    target = "/" + "".join(f"%{byte:02X}" if chr(byte) not in "abc/?&=-_" else chr(byte) for byte in path.encode())
    decoded = target
    for escape in ("%3A", "%2F", "%3F", "%40", "%21", "%24", "%27", "%28", "%29", "%2A", "%2C", "%3B"):
        decoded = decoded.replace(escape, chr(int(escape[1:], 16)))
    signed = b"POST" + f"https://attain.example{decoded}".encode() + body + b"1774982402000"
    headers = {
        b"x-hubspot-request-timestamp": b"1774982402000",
        b"x-hubspot-signature-v3": b64encode(digest(secret.encode(), signed, "sha256")),
    }
    given_request = Request("POST", "https://attain.example", target, "", headers, body)
    assert hubspot.verify(given_request, SenderRules((secret,)), now_seconds=1774982402) is None


def converse(conversation: Generator[Call, Answer, object], bodies: list[bytes], api: AnySourceApi) -> None:
    """Answer a conversation with anything; it ends, or says that the answer is not as documented."""
    try:
        call = next(conversation)
        for number in range(300):
            answer = Answer(200, {"date": "Tue, 31 Mar 2026 18:40:02 GMT"}, bodies[number % len(bodies)])
            assert isinstance(api.judge(call, answer), Judgement)
            call = conversation.send(answer)
    except (StopIteration, UnexpectedAnswer):
        return
    raise AssertionError("the conversation does not end")


ANSWERS: Final = st.fixed_dictionaries(
    {},
    optional={
        "results": st.lists(
            JSON | st.fixed_dictionaries({"id": JSON, "properties": JSON, "archivedAt": JSON}), max_size=2
        ),
        "records": st.lists(JSON | st.fixed_dictionaries({"Id": st.just("0060800000AbCdEAAV") | JSON}), max_size=2),
        "data": JSON | st.lists(st.fixed_dictionaries({"id": JSON, "update_time": JSON}), max_size=2),
        "fields": st.lists(JSON, max_size=2) | st.just([{"name": "Id"}, {"name": "x__c"}]),
        "childRelationships": st.lists(JSON, max_size=2) | st.just([{"relationshipName": "OpportunitySplits"}]),
        "deletedRecords": JSON,
        "additional_data": JSON,
        "paging": JSON,
        "access_token": JSON,
        "errors": JSON,
        "done": JSON,
    },
)  # fmt: skip


CURSORS: Final = st.sampled_from(["all:2026-03-31T18:40:02Z:0060800000AbCdEAAV", "at:1:2", "from:9", "deals:x"])


@pytest.mark.parametrize("place", range(len(APIS)))
@given(
    answers=st.lists(ANSWERS.map(json.dumps).map(str.encode) | st.binary(max_size=20), min_size=1),
    ids=st.lists(st.sampled_from(["0060800000AbCdEAAV", "1", "x' OR '1'='1", ""]) | st.text(max_size=20), max_size=4),
    cursor=st.none() | st.text(max_size=30) | CURSORS,
)
@settings(max_examples=60)
def test_a_conversation_ends_or_says_what_is_unexpected(
    place: int, answers: list[bytes], ids: list[str], cursor: str | None
) -> None:
    api, credentials = APIS[place]
    names = ("Opportunity", "OpportunitySplit", "Task", "deals", "calls", "deal", "activity")
    conversations: list[Generator[Call, Answer, object]] = [
        *(api.fetch(credentials, name, ids) for name in names),
        api.changed(credentials, NOW, cursor),
        api.changed(credentials, None, cursor),
        api.deleted(credentials, NOW, cursor),
        api.count(credentials),
        api.users(credentials, cursor),
    ]
    obtaining = api.obtain_token(credentials)
    if obtaining is not None:
        conversations.append(obtaining)
    for conversation in conversations:
        converse(conversation, answers, api)


HEADERS: Final = st.sampled_from(
    ["retry-after", "sforce-limit-info", "x-ratelimit-reset", "x-hubspot-ratelimit-daily-remaining"]
)


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=60) | JSON.map(json.dumps).map(str.encode),
    headers=st.dictionaries(HEADERS, st.text(max_size=12)),
)
@settings(max_examples=100)
def test_any_answer_is_judged(status: int, body: bytes, headers: dict[str, str]) -> None:
    for api, _ in APIS:
        for endpoint in ("", "token", "read", "one", "splits"):
            judged = api.judge(Call("GET", "https://x.example", endpoint=endpoint), Answer(status, headers, body))
            assert judged.retry_after is None or timedelta(0) <= judged.retry_after <= timedelta(days=30)


@given(
    ids=st.lists(st.text(max_size=25) | st.from_regex(r"[A-Za-z0-9]{15,18}", fullmatch=True), min_size=1, max_size=5),
    cursor=st.text(max_size=60),
)
@settings(max_examples=100)
def test_no_query_holds_more_than_ids_of_letters_and_digits(ids: list[str], cursor: str) -> None:
    api, credentials = APIS[0]
    described = {"fields": [{"name": "Id"}, {"name": "x', Id FROM User--__c"}], "childRelationships": []}
    for conversation in (api.fetch(credentials, "Opportunity", ids), api.changed(credentials, None, cursor)):
        with suppress(StopIteration):
            next(conversation)
            query = conversation.send(Answer(200, {}, json.dumps(described).encode())).params["q"]
            literals = query.split("'")[1::2]
            assert all(record_id(each) == each for each in literals)
            assert query.count("'") == 2 * len(literals)
            assert "--" not in query


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Amount", "StageName", "OwnerId"]),
            st.none() | st.integers(0, 9),
            st.integers(0, 1000),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda each: (each[2], each[3]),
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100)
def test_change_events_come_to_the_same_in_any_order(
    changes: list[tuple[str, int | None, int, int]], chance: Random
) -> None:
    salesforce = Salesforce()

    def merged(order: list[tuple[str, int | None, int, int]]) -> dict[str, object]:
        record = Record()
        for name, value, ms, number in order:
            header = {
                "entityName": "Opportunity",
                "recordIds": ["0060800000AbCdEAAV"],
                "changeType": "UPDATE",
                "transactionKey": "x",
                "sequenceNumber": number,
                "commitTimestamp": 1774982402000 + ms,
                "changedFields": [name],
                "nulledFields": [name] if value is None else [],
            }
            (change,) = salesforce.translate(
                json.dumps({"ChangeEventHeader": header, name: value}).encode(), SourceMapping()
            )
            assert isinstance(change, RecordChange)
            record = record.merged(change)
        return record.values

    shuffled = list(changes)
    chance.shuffle(shuffled)
    newest = {name: value for name, value, *_ in sorted(changes, key=lambda each: (each[2], each[3]))}
    expected = {name: value for name, value in newest.items() if value is not None} | {"Id": "0060800000AbCdEAAV"}
    assert merged(shuffled) == expected
