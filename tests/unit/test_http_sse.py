import asyncio
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from fastapi.sse import ServerSentEvent

from shared.http.auth import Principal, Role
from shared.http.sse import (
    Mailbox,
    StreamLimits,
    Streams,
    TooManyStreams,
    TooManyStreamsOfPerson,
    TooManyStreamsOfTenant,
)
from tests.servers.infrastructure import eventually

TENANT = uuid4()


def principal(tenant: UUID = TENANT) -> Principal:
    return Principal(tenant, uuid4(), frozenset({Role.REP}))


def event(value: int) -> ServerSentEvent:
    return ServerSentEvent(id=str(value), event="progress", data={"value": value})


async def read(mailbox: Mailbox) -> list[str | None]:
    mailbox.close()
    return [waiting.id async for waiting in mailbox]


async def test_a_slow_reader_gets_the_newest_event_of_each_subject() -> None:
    mailbox = Mailbox(subjects_max=10)
    for value in range(100):
        mailbox.put(f"goal-{value % 2}", event(value))
    assert await read(mailbox) == ["98", "99"]


async def test_a_mailbox_ends_the_stream_rather_than_grow() -> None:
    mailbox = Mailbox(subjects_max=2)
    for value in range(3):
        mailbox.put(f"goal-{value}", event(value))
    async with asyncio.timeout(5):
        assert [waiting.id async for waiting in mailbox] == []


async def test_a_waiting_reader_is_woken_by_an_event() -> None:
    mailbox = Mailbox(subjects_max=2)
    received: list[str | None] = []

    async def watch() -> None:
        async for waiting in mailbox:
            received.append(waiting.id)

    def has_received(identity: str) -> bool:
        return received[-1:] == [identity]

    watching = asyncio.create_task(watch())
    for value in range(3):
        mailbox.put("goal", event(value))
        await eventually(partial(has_received, str(value)))
    mailbox.close()
    await watching


def test_a_process_serves_a_bounded_number_of_streams() -> None:
    streams = Streams(StreamLimits(streams_max=1, per_tenant_max=2, per_person_max=2))
    with streams.open(principal()), pytest.raises(TooManyStreams), streams.open(principal()):
        pass
    with streams.open(principal()):
        pass
    streams.close()
    with pytest.raises(TooManyStreams), streams.open(principal()):
        pass


def test_one_person_and_one_tenant_do_not_take_the_streams_of_others() -> None:
    streams = Streams(StreamLimits(streams_max=10, per_tenant_max=4, per_person_max=2))
    greedy, colleague, stranger = principal(), principal(), principal(tenant=uuid4())
    machine = Principal(TENANT, None, frozenset({Role.SERVICE}))
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(streams.open(greedy))
        with pytest.raises(TooManyStreamsOfPerson, match="2 event streams"), streams.open(greedy):
            pass
        stack.enter_context(streams.open(colleague))
        stack.enter_context(streams.open(machine))
        with pytest.raises(TooManyStreamsOfTenant, match="4 event streams"), streams.open(colleague):
            pass
        stack.enter_context(streams.open(stranger))
    for each in (greedy, colleague, stranger):
        with streams.open(each):
            pass


async def test_a_stream_ends_when_its_token_expires_and_says_why() -> None:
    streams = Streams(StreamLimits(streams_max=1, per_tenant_max=2, per_person_max=2))
    expiring = replace(principal(), expires_at=datetime.now(UTC) + timedelta(seconds=0.2))
    with streams.open(expiring) as mailbox:
        mailbox.put("goal", event(1))
        async with asyncio.timeout(5):
            received = [each async for each in mailbox]
    assert [each.event for each in received] == ["progress", "ended"]
    assert "token_expired" in str(received[-1].raw_data)
