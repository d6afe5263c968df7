"""Nothing of an event's values may stand in the reason it was refused for: not in the detail, a header or the log."""

import json
import traceback
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from structlog.testing import capture_logs

from services.incentives.earnings.consumer import DealsHandler as CreditedDeals
from services.incentives.earnings.consumer import DefinitionsHandler as IncentivesDefinitions
from services.tracking.measure.progress.consumer import ActivitiesHandler, DealsHandler
from services.tracking.measure.progress.definitions import DefinitionsCache, UnusableDefinition, check_usable
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.tell.channels.consumer import OutgoingHandler
from services.tracking.tell.channels.people import People
from services.tracking.tell.live.hub import LiveHub
from shared.contracts.examples import EXAMPLES
from shared.http.sse import Mailbox
from shared.kafka.domain import Poison, Record, Refusal, dead_letter_headers
from shared.kafka.events import event_of, events_of, tenants_of, time_of
from shared.kafka.settings import KafkaSettings
from shared.outbox.outbox import Outbox
from shared.telemetry import logs
from tests.servers.consumers import TABLES
from tests.stories.pay import EARNINGS

PART = 4
"""So many letters of a secret in a row are a part of it; no word of ours is made of these letters."""
secrets = st.text("QZXWJ", min_size=PART, max_size=12)
TENANT = UUID("018f0000-0000-7000-8000-000000000001")


@st.composite
def records_with_secrets(draw: st.DrawFn) -> tuple[str, Record]:
    """A record whose value, or header, holds a secret somewhere where it does not belong."""
    secret = draw(secrets)
    event = EXAMPLES[draw(st.sampled_from(sorted(EXAMPLES)))]
    value: JsonValue = json.loads(event.model_dump_json())
    plants: list[JsonValue] = [
        secret,
        {secret: secret},
        {secret: [secret]},
        [secret],
        f"12{secret}",
        f"2026-01-01T{secret}",
        {"kind": secret},
    ]
    planted = draw(st.sampled_from(plants))
    places = list(_places(value))
    draw(st.sampled_from(places))(planted)
    text = json.dumps(value)
    headers = {
        "ce_type": event.event_type.encode(),
        "ce_tenantid": str(event.tenant_id).encode(),
        "ce_time": b"2026-11-23T12:00:00Z",
    }
    match draw(st.sampled_from(["value", "value", "value", "json", "header", "another tenant"])):
        case "json":
            cut = draw(st.integers(0, len(text)))
            text = text[:cut] + secret + text[cut:]
        case "header":
            headers[draw(st.sampled_from(sorted(headers)))] = secret.encode()
        case "another tenant":
            headers["ce_tenantid"] = str(TENANT).encode()
    return secret, Record("topic", 0, 7, "key", headers, text.encode(), 0)


def _places(value: JsonValue) -> Iterator[Callable[[JsonValue], None]]:
    """How to put something into each place of a value."""
    if isinstance(value, dict):
        for name, item in list(value.items()):
            yield lambda planted, name=name: value.__setitem__(name, planted)  # type: ignore[misc]
            yield from _places(item)
    elif isinstance(value, list):
        for index, item in enumerate(list(value)):
            yield lambda planted, index=index: value.__setitem__(index, planted)  # type: ignore[misc]
            yield from _places(item)


def parts(secret: str) -> list[str]:
    return [secret[start : start + PART] for start in range(len(secret) - PART + 1)]


def assert_tells_nothing_of(secret: str, text: str) -> None:
    assert not [part for part in parts(secret) if part in text.upper()], text


@given(records_with_secrets())
def test_no_part_of_a_value_stands_in_the_detail_the_headers_or_the_traceback_of_what_is_refused(
    planted: tuple[str, Record],
) -> None:
    secret, record = planted
    try:
        tenants_of([record])
        event = event_of(record)
        time_of(record)
        if event is not None:
            check_usable(event)
    except (Poison, UnusableDefinition) as error:
        assert_tells_nothing_of(secret, error.detail)
        assert_tells_nothing_of(secret, "".join(traceback.format_exception(error)))
        if isinstance(error, Poison):
            added = dead_letter_headers(Refusal(record, error.reason, error.detail), "group")[len(record.headers) :]
            assert_tells_nothing_of(secret, str(added))


@given(records_with_secrets())
def test_no_part_of_a_value_stands_in_the_log_of_the_live_streams(planted: tuple[str, Record]) -> None:
    secret, record = planted
    hub = LiveHub(KafkaSettings(bootstrap="nowhere:9092"))
    tenants = {TENANT, *(event.tenant_id for event in EXAMPLES.values())}
    watched = ((tenant, TENANT) for tenant in tenants)
    with hub.watching(Mailbox(subjects_max=10), watched), capture_logs() as lines:
        hub.publish(record)
    assert_tells_nothing_of(secret, str(lines))


@given(secrets)
def test_no_part_of_a_refused_value_stands_in_a_logged_error(secret: str) -> None:
    for event in EXAMPLES.values():
        try:
            type(event).model_validate_json(json.dumps({"tenant_id": secret}))
        except ValueError as error:
            assert_tells_nothing_of(secret, logs.scrub("".join(traceback.format_exception(error))))


@given(st.sampled_from(sorted(EXAMPLES)), st.booleans())
def test_a_tombstone_is_passed_over_by_every_reader_with_headers_or_without(name: str, has_headers: bool) -> None:
    event = EXAMPLES[name]
    headers = {"ce_type": name.encode(), "ce_tenantid": str(event.tenant_id).encode()} if has_headers else {}
    tombstone = Record("topic", 0, 7, "key", headers, None, 0)
    tracker = ProgressTracker(Outbox(TABLES), DefinitionsCache())
    for handler in (
        DealsHandler(tracker),
        ActivitiesHandler(tracker),
        OutgoingHandler(People(DefinitionsCache())),
        CreditedDeals(EARNINGS),
        IncentivesDefinitions(EARNINGS),
    ):
        assert handler.scope([tombstone]).setting == ""
    assert list(events_of([tombstone])) == []


def test_the_detail_names_the_member_and_the_kind_of_error() -> None:
    value = json.loads(EXAMPLES["attain.deal.v1"].model_dump_json())
    headers = {"ce_type": b"attain.deal.v1", "ce_tenantid": value["tenant_id"].encode()}
    broken = {**value, "amount": 1.5, "splits": [{"owner_external_id": "7", "role": "closer", "percent": "x"}]}
    with pytest.raises(Poison) as refused:
        event_of(Record("topic", 0, 7, "key", headers, json.dumps(broken).encode(), 0))
    assert refused.value.detail == (
        "the value is no attain.deal.v1: /amount: value_error; /splits/0/percent: decimal_parsing"
    )
