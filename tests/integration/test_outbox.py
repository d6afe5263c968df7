"""The outbox and its relay against a real Postgres; the broker is a list that can be told to fail."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import Engine, event, text

from deploy.local.databases import opened
from deploy.local.postgres import PostgresServer
from services.goals.metadata import transport
from shared.db.database import Database, Scope, Statements
from shared.outbox import relay as relays
from shared.outbox.handover import HandOver
from shared.outbox.message import Appended, Mark, OutboxMessage
from shared.outbox.outbox import Outbox
from shared.outbox.relay import Relay, Renderer
from shared.outbox.store import RelayStore
from tests.servers.infrastructure import eventually

_TENANT = uuid4()
_STATE_TOPIC = "state"
_LONG_POLL_SECONDS = 120.0


class ListedBroker:
    """Keeps what it is sent, in order; refuses what `refuses` says and waits for `gate` before it answers."""

    def __init__(self) -> None:
        self.received: list[OutboxMessage] = []
        self.refuses: Callable[[OutboxMessage], bool] = lambda _: False
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches_begun = 0

    async def send_many(self, messages: Sequence[OutboxMessage]) -> list[Exception | None]:
        self.batches_begun += 1
        outcomes: list[Exception | None] = []
        for message in messages:
            if self.refuses(message):
                outcomes.append(ConnectionError("refused"))
            else:
                self.received.append(message)
                outcomes.append(None)
        await self.gate.wait()
        return outcomes

    def values(self, key: str | None = None) -> list[str]:
        return [(message.value or b"").decode() for message in self.received if key is None or message.key == key]


@pytest.fixture
async def database(fresh_database: str) -> AsyncIterator[Database]:
    async with opened(fresh_database, "goals") as database:
        yield database


@pytest.fixture
async def administrator(fresh_database: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(fresh_database)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def broker() -> ListedBroker:
    return ListedBroker()


@asynccontextmanager
async def relaying(
    database: Database,
    broker: ListedBroker,
    renderers: Mapping[str, Renderer] | None = None,
    *,
    poll_seconds: float = _LONG_POLL_SECONDS,
) -> AsyncIterator[Relay]:
    relay = Relay(database, transport, broker, renderers or {}, poll_seconds=poll_seconds, drain_seconds=5)
    running = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        broker.gate.set()
        await relay.stop()
        await running


def message(key: str, value: str, *, topic: str = "facts") -> OutboxMessage:
    return OutboxMessage(_TENANT, topic, key, (("ce_type", b"fact"),), value.encode())


async def append(database: Database, *messages: OutboxMessage) -> None:
    async with database.transaction(Scope.of(_TENANT)) as tx:
        await Outbox(transport).append(tx, messages)


async def mark(database: Database, *subjects: str, stripe: int = 0, patient: bool = False) -> None:
    marked = [(_TENANT, subject) for subject in subjects]
    async with database.transaction(Scope.of(_TENANT)) as tx:
        await Outbox(transport).mark(tx, _STATE_TOPIC, marked, stripe=stripe, patient=patient)


async def waiting(database: Database) -> int:
    async with database.transaction(Scope.every()) as tx:
        [row] = await tx.rows(
            text("SELECT (SELECT count(*) FROM goals.outbox) + (SELECT count(*) FROM goals.outbox_marks) AS n")
        )
        return int(row["n"])


async def emptied(database: Database) -> None:
    async def is_empty() -> bool:
        return await waiting(database) == 0

    await eventually(is_empty, expectation="an empty outbox")


async def active_relays(administrator: "asyncpg.Connection[asyncpg.Record]") -> list[int]:
    rows = await administrator.fetch(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return [row["pid"] for row in rows]


class State:
    """A state to be rendered; counts how often each subject was read."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}
        self.reads: Counter[str] = Counter()
        self.failing = False

    async def render(self, _statements: Statements, subjects: Sequence[tuple[UUID, str]]) -> Sequence[OutboxMessage]:
        if self.failing:
            raise LookupError("cannot render")
        self.reads.update(subject for _, subject in subjects)
        return [
            OutboxMessage(tenant_id, _STATE_TOPIC, f"{tenant_id}/{subject}", (), self.now[subject].encode())
            for tenant_id, subject in subjects
            if subject in self.now
        ]


async def test_what_was_committed_is_published_as_it_was_written_and_deleted(
    database: Database, broker: ListedBroker
) -> None:
    written = [
        OutboxMessage(_TENANT, "facts", "a", (("ce_id", b"\x00\xff"), ("ce_type", b"t")), b"\x00\x01"),
        OutboxMessage(_TENANT, "facts", "b", (), None),
    ]
    await append(database, *written)
    async with relaying(database, broker):
        await emptied(database)
    assert broker.received == written


async def test_what_was_rolled_back_is_never_published(database: Database, broker: ListedBroker) -> None:
    with pytest.raises(LookupError):
        async with database.transaction(Scope.of(_TENANT)) as tx:
            await Outbox(transport).append(tx, [message("a", "never")])
            raise LookupError
    async with relaying(database, broker):
        await append(database, message("a", "always"))
        await emptied(database)
    assert broker.values() == ["always"]


async def test_a_commit_elsewhere_wakes_the_relay_long_before_it_would_poll(
    fresh_database: str, database: Database, broker: ListedBroker
) -> None:
    async with relaying(database, broker):
        await append(database, message("a", "1"))
        await emptied(database)
        async with opened(fresh_database, "goals") as elsewhere:
            await append(elsewhere, message("a", "2"))
            await eventually(lambda: broker.values() == ["1", "2"])
            await mark(elsewhere, "nothing renders this")


async def test_without_a_notification_the_relay_finds_the_rows_by_polling(
    database: Database, broker: ListedBroker, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with relaying(database, broker, poll_seconds=0.05):
        await eventually(lambda: _one_leads(administrator))
        await administrator.execute(
            "INSERT INTO goals.outbox (tenant_id, topic, key, headers, value) VALUES ($1, 't', 'k', '[]', 'silent')",
            _TENANT,
        )
        await eventually(lambda: broker.values() == ["silent"])


async def test_a_local_wake_makes_the_relay_look(
    database: Database, broker: ListedBroker, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with relaying(database, broker) as relay:
        await append(database, message("k", "first"))
        await emptied(database)
        await administrator.execute(
            "INSERT INTO goals.outbox (tenant_id, topic, key, headers, value) VALUES ($1, 't', 'k', '[]', 'silent')",
            _TENANT,
        )
        relay.wake()
        await eventually(lambda: broker.values() == ["first", "silent"])


class HeardRelay:
    """A relay of the process that is not there: it only hears that it is woken."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.handover: HandOver | None = None
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def wake_patient(self) -> None:
        self.wake()


async def test_an_outbox_that_knows_the_relay_of_its_process_wakes_it_by_the_commit_alone(
    database: Database, broker: ListedBroker
) -> None:
    async with relaying(database, broker) as relay:
        await append(database, message("k", "first"))
        await emptied(database)
        # In the relay's own name the NOTIFY alone says nothing: it is the commit that wakes it.
        deaf = HeardRelay(relay.name)
        with pytest.raises(ZeroDivisionError):
            async with database.transaction(Scope.of(_TENANT)) as tx:
                await Outbox(transport, relay=deaf).append(tx, [message("k", "rolled back")])
                raise ZeroDivisionError
        assert deaf.woken == 0
        async with database.transaction(Scope.of(_TENANT)) as tx:
            await Outbox(transport, relay=deaf).append(tx, [message("k", "unheard")])
        assert deaf.woken == 1
        await asyncio.sleep(0.5)
        assert broker.values() == ["first"]
        async with database.transaction(Scope.of(_TENANT)) as tx:
            await Outbox(transport, relay=relay).append(tx, [message("k", "last")])
        await eventually(lambda: broker.values() == ["first", "unheard", "last"])


async def test_the_relay_that_leads_hears_of_the_commits_of_other_processes(
    database: Database, broker: ListedBroker
) -> None:
    async with relaying(database, broker):
        await append(database, message("k", "first"))
        await emptied(database)
        async with database.transaction(Scope.of(_TENANT)) as tx:
            await Outbox(transport, relay=HeardRelay("of another process")).append(tx, [message("k", "told")])
        await eventually(lambda: broker.values() == ["first", "told"])


async def test_a_row_whose_number_is_older_but_commits_later_is_published(
    database: Database, broker: ListedBroker
) -> None:
    async with relaying(database, broker):
        async with database.transaction(Scope.of(_TENANT)) as slow:
            await Outbox(transport).append(slow, [message("slow", "lower number")])
            await append(database, message("fast", "higher number"))
            await eventually(lambda: broker.values() == ["higher number"])
        await eventually(lambda: broker.values() == ["higher number", "lower number"])


async def test_a_failing_key_waits_in_order_while_others_go_on(database: Database, broker: ListedBroker) -> None:
    broker.refuses = lambda sent: sent.value == b"a1"
    await append(database, message("a", "a1"), message("b", "b1"), message("a", "a2"), message("b", "b2"))
    async with relaying(database, broker):
        await eventually(lambda: broker.values() == ["b1", "b2"])
        await append(database, message("a", "a3"), message("b", "b3"))
        await eventually(lambda: broker.values() == ["b1", "b2", "b3"])
        broker.refuses = lambda _: False
        await emptied(database)
    assert broker.values("a") == ["a1", "a2", "a3"]


async def test_more_than_a_page_of_held_rows_does_not_block_the_others(
    database: Database, broker: ListedBroker
) -> None:
    broker.refuses = lambda sent: sent.key.startswith("bad")
    await append(database, *(message(f"bad{n % 700}", str(n)) for n in range(2500)))
    await append(database, message("good", "through"))
    async with relaying(database, broker):
        await eventually(lambda: broker.values() == ["through"])
        broker.refuses = lambda _: False
        await emptied(database)
    for n in range(700):
        assert broker.values(f"bad{n}") == [str(value) for value in range(n, 2500, 700)]


async def test_an_outage_with_more_keys_than_are_remembered_loses_nothing(
    database: Database, broker: ListedBroker
) -> None:
    broker.refuses = lambda _: True
    await append(database, *(message(f"k{n}", str(n)) for n in range(6500)))
    async with relaying(database, broker):
        await eventually(lambda: broker.batches_begun >= 6)
        broker.refuses = lambda _: False
        await emptied(database)
    assert sorted(broker.values(), key=int) == [str(n) for n in range(6500)]


async def test_only_one_relay_publishes_and_another_takes_over_when_its_connection_dies(
    fresh_database: str, database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    first, second = ListedBroker(), ListedBroker()
    async with opened(fresh_database, "goals") as second_database, relaying(database, first, poll_seconds=5):
        await eventually(lambda: _one_leads(administrator))
        [leader] = await active_relays(administrator)
        async with relaying(second_database, second, poll_seconds=0.02):
            for n in range(20):
                await append(database, message("k", str(n)))
            await emptied(database)
            assert (len(first.received), second.received) == (20, [])
            await administrator.execute("SELECT pg_terminate_backend($1)", leader)
            await eventually(lambda: _one_leads(administrator, other_than=leader))
            for n in range(20, 40):
                await append(database, message("k", str(n)))
            await emptied(database)
    assert first.values() + second.values() == [str(n) for n in range(40)]


async def test_a_relay_that_stops_hands_over_to_the_one_that_waits(
    fresh_database: str, database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    first, second = ListedBroker(), ListedBroker()
    async with opened(fresh_database, "goals") as second_database, relaying(database, first) as leader:
        await eventually(lambda: _one_leads(administrator))
        async with relaying(second_database, second, poll_seconds=0.02):
            await leader.stop()
            await append(database, message("k", "after"))
            await eventually(lambda: second.values() == ["after"])
    assert first.received == []


async def test_a_relay_that_dies_after_publishing_leaves_the_rows_to_be_published_again(
    database: Database, broker: ListedBroker
) -> None:
    await append(database, message("a", "1"), message("a", "2"))
    broker.gate.clear()
    dying = Relay(database, transport, broker, {}, poll_seconds=_LONG_POLL_SECONDS)
    running = asyncio.create_task(dying.run())
    await eventually(lambda: broker.values() == ["1"])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    broker.gate.set()
    assert await waiting(database) == 2
    async with relaying(database, broker):
        await emptied(database)
    assert broker.values() == ["1", "1", "2"]


async def test_marks_coalesce_to_the_newest_state(database: Database, broker: ListedBroker) -> None:
    state = State()
    for n in range(20):
        state.now = {"g": f"state {n}", "h": "other"}
        await mark(database, "g", "h", "g", stripe=n % 4)
    async with relaying(database, broker, {_STATE_TOPIC: state.render}):
        await emptied(database)
    assert sorted(broker.values()) == ["other", "state 19"]
    assert state.reads == {"g": 1, "h": 1}


class Slow(State):
    """A state of which reading takes until it may be answered."""

    def __init__(self, *subjects: str) -> None:
        super().__init__()
        self.slow = frozenset(subjects)
        self.read, self.answers = asyncio.Event(), asyncio.Event()
        self.pages: list[list[str]] = []

    async def render(self, statements: Statements, subjects: Sequence[tuple[UUID, str]]) -> Sequence[OutboxMessage]:
        self.pages.append([subject for _, subject in subjects])
        rendered = await super().render(statements, subjects)
        if not self.slow.isdisjoint(subject for _, subject in subjects):
            self.read.set()
            await self.answers.wait()
        return rendered


async def test_nothing_else_waits_for_what_is_patient(database: Database, broker: ListedBroker) -> None:
    state = Slow("many 0")
    many = [f"many {number}" for number in range(100)]
    state.now = dict.fromkeys([*many, "one"], "state")
    await mark(database, *many, patient=True)
    async with relaying(database, broker, {_STATE_TOPIC: state.render}):
        await state.read.wait()
        await mark(database, "one")
        await append(database, message("a", "fact"))
        await eventually(lambda: sorted(broker.values()) == ["fact", "state"])
        state.answers.set()
        await emptied(database)
    assert sorted(broker.values()) == ["fact", *["state"] * 101]


async def test_what_is_patient_is_published_a_few_at_a_time_beside_something_else(
    database: Database, broker: ListedBroker
) -> None:
    state = Slow()
    async with relaying(database, broker, {_STATE_TOPIC: state.render}):
        await append(database, message("a", "fact"))
        await emptied(database)
        many = [f"many {number:03}" for number in range(100)]
        await mark(database, *many, patient=True)
        # What was patient is no longer once somebody does not have the patience.
        await mark(database, "many 099")
        await emptied(database)
    pages = [many[first : first + 20] for first in (0, 20, 40, 60)] + [many[80:99]]
    assert sorted(state.pages) == [*pages, ["many 099"]]


@pytest.mark.parametrize("first_is_patient", [True, False])
async def test_of_a_subject_one_state_is_under_way_at_a_time(
    database: Database, broker: ListedBroker, first_is_patient: bool
) -> None:
    state = Slow("g")
    state.now = {"g": "old", "h": "h"}
    await mark(database, "g", patient=first_is_patient)
    async with relaying(database, broker, {_STATE_TOPIC: state.render}) as relay:
        await state.read.wait()
        state.now["g"] = "new"
        async with database.transaction(Scope.of(_TENANT)) as tx:
            marked = [(_TENANT, "g")]
            later = not first_is_patient
            await Outbox(transport, relay=relay).mark(tx, _STATE_TOPIC, marked, stripe=1, patient=later)
        await mark(database, "h", "g", stripe=2, patient=not first_is_patient)
        await eventually(lambda: broker.values() == ["h"], expectation="what is not under way is published")
        state.answers.set()
        await emptied(database)
    published = [value for value in broker.values() if value != "h"]
    assert published == ["old", *["new"] * (len(published) - 1)]
    assert "new" in published


async def test_a_mark_changed_during_its_publication_is_published_again(
    database: Database, broker: ListedBroker
) -> None:
    state = State()
    state.now = {"g": "old"}
    broker.gate.clear()
    await mark(database, "g")
    async with relaying(database, broker, {_STATE_TOPIC: state.render}):
        await eventually(lambda: broker.values() == ["old"])
        state.now = {"g": "new"}
        await mark(database, "g")
        broker.gate.set()
        await emptied(database)
    assert broker.values() == ["old", "new"]


async def test_a_mark_being_changed_by_a_running_transaction_does_not_stop_the_relay(
    database: Database, broker: ListedBroker
) -> None:
    state = State()
    state.now = {"g": "old", "h": "h"}
    await mark(database, "g")
    async with relaying(database, broker, {_STATE_TOPIC: state.render}):
        await emptied(database)
        broker.gate.clear()
        await mark(database, "g")
        await eventually(lambda: broker.values() == ["old", "old"])
        async with database.transaction(Scope.of(_TENANT)) as slow:
            await Outbox(transport).mark(slow, _STATE_TOPIC, [(_TENANT, "g")])
            broker.gate.set()
            await mark(database, "h")
            await eventually(lambda: "h" in broker.values(), 5)
            state.now = {"g": "new"}
        await emptied(database)
    assert broker.values()[-1] == "new"


async def test_a_subject_without_state_is_settled_without_a_message(database: Database, broker: ListedBroker) -> None:
    await mark(database, "gone")
    async with relaying(database, broker, {_STATE_TOPIC: State().render}):
        await emptied(database)
    assert broker.received == []


async def test_a_mark_whose_message_failed_is_rendered_again(database: Database, broker: ListedBroker) -> None:
    state = State()
    state.now = {"bad": "v1", "good": "fine"}
    broker.refuses = lambda sent: sent.key.endswith("/bad")
    await mark(database, "bad", "good")
    async with relaying(database, broker, {_STATE_TOPIC: state.render}):
        await eventually(lambda: broker.values() == ["fine"])
        state.now["bad"] = "v2"
        broker.refuses = lambda _: False
        await emptied(database)
    assert broker.values() == ["fine", "v2"]


async def test_a_renderer_that_fails_stops_only_its_topic(database: Database, broker: ListedBroker) -> None:
    state = State()
    state.now = {"g": "rendered"}
    state.failing = True
    await mark(database, "g")
    async with relaying(database, broker, {_STATE_TOPIC: state.render}):
        await append(database, message("k", "fact"))
        await eventually(lambda: broker.values() == ["fact"])
        state.failing = False
        await emptied(database)
    assert broker.values() == ["fact", "rendered"]


async def test_two_who_mark_the_same_subjects_in_opposite_orders_do_not_deadlock(database: Database) -> None:
    subjects = [f"s{n}" for n in range(200)]

    async def keep_marking(order: Sequence[str]) -> None:
        for _ in range(10):
            await mark(database, *order)

    async with asyncio.timeout(30):
        await asyncio.gather(keep_marking(subjects), keep_marking(subjects[::-1]))


async def test_stopping_publishes_what_waits(database: Database, broker: ListedBroker) -> None:
    async with relaying(database, broker) as relay:
        await append(database, message("k", "warm"))
        await emptied(database)
        await append(database, *(message("k", str(n)) for n in range(50)))
        await relay.stop()
    assert broker.values() == ["warm", *(str(n) for n in range(50))]
    assert await waiting(database) == 0


async def test_stopping_is_bounded_when_the_broker_does_not_answer(database: Database, broker: ListedBroker) -> None:
    broker.gate.clear()
    relay = Relay(database, transport, broker, {}, drain_seconds=0.2)
    running = asyncio.create_task(relay.run())
    await append(database, message("k", "stuck"))
    await eventually(lambda: broker.batches_begun == 1)
    started = time.monotonic()
    await relay.stop()
    await running
    assert time.monotonic() - started < 5
    assert await waiting(database) == 1


async def test_no_transaction_is_open_while_the_broker_is_waited_for(
    database: Database, broker: ListedBroker, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    broker.gate.clear()
    await append(database, message("k", "slow"))
    async with relaying(database, broker):
        await eventually(lambda: broker.batches_begun == 1)
        open_transactions = await administrator.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        )
        assert open_transactions == 0


async def test_the_relay_goes_on_after_a_restart_of_the_server(
    database: Database, broker: ListedBroker, postgres_server: PostgresServer
) -> None:
    async with relaying(database, broker, poll_seconds=1):
        await append(database, message("k", "before"))
        await emptied(database)
        await asyncio.to_thread(postgres_server.stop)
        await asyncio.to_thread(postgres_server.start)
        await append(database, message("k", "after"))
        await eventually(lambda: broker.values() == ["before", "after"], 30)


class Looks:
    """Lets a relay look at the outbox, and have its answer, only while it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.answered = asyncio.Event()
        self.answered.set()
        self.done = 0
        look = RelayStore.look

        async def looking(
            store: RelayStore, statements: Statements, **wanted: object
        ) -> tuple[list[Appended], list[Mark]]:
            await self.allowed.wait()
            found = await look(store, statements, **wanted)  # type: ignore[arg-type]
            self.done += 1
            await self.answered.wait()
            return found

        monkeypatch.setattr(RelayStore, "look", looking)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


async def handed(database: Database, relay: Relay, *messages: OutboxMessage) -> None:
    async with database.transaction(Scope.of(_TENANT)) as tx:
        await Outbox(transport, relay=relay).append(tx, messages)


async def leads(relay: Relay) -> None:
    await eventually(lambda: relay.handover is not None)


async def test_what_this_process_commits_is_published_without_being_read(
    database: Database, broker: ListedBroker, looks: Looks
) -> None:
    state = State()
    state.now = {"g": "newest"}
    async with relaying(database, broker, {_STATE_TOPIC: state.render}) as relay:
        await eventually(lambda: looks.done == 1)
        async with database.transaction(Scope.of(_TENANT)) as tx:
            outbox = Outbox(transport, relay=relay)
            await outbox.append(tx, [message("k", "1"), message("k", "2"), message("other", "3")])
            await outbox.mark(tx, _STATE_TOPIC, [(_TENANT, "g")])
            await outbox.append(tx, [message("k", "4")])
            looks.allowed.clear()
        await eventually(lambda: len(broker.received) == 5)
        assert broker.values("k") == ["1", "2", "4"]
        assert broker.values(f"{_TENANT}/g") == ["newest"]
        assert await waiting(database) == 5
        looks.allowed.set()
        await emptied(database)
    assert len(broker.received) == 5


async def test_a_hand_over_costs_the_relay_one_statement_to_render_a_mark_and_one_look_afterwards(
    database: Database, broker: ListedBroker, administrator: "asyncpg.Connection[asyncpg.Record]", looks: Looks
) -> None:
    async def render(statements: Statements, subjects: Sequence[tuple[UUID, str]]) -> Sequence[OutboxMessage]:
        await statements.rows(text("SELECT 'the newest state'"))
        return [OutboxMessage(tenant_id, _STATE_TOPIC, f"{tenant_id}/{each}", (), b"") for tenant_id, each in subjects]

    async def is_empty() -> bool:
        return not await administrator.fetchval(
            "SELECT (SELECT count(*) FROM goals.outbox) + (SELECT count(*) FROM goals.outbox_marks)"
        )

    executed: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        # Every few seconds the relay also counts what waits.
        if "count(*) FROM (SELECT" not in statement:
            executed.append(" ".join(statement.split())[:35])

    async with relaying(database, broker, {_STATE_TOPIC: render}) as relay:
        await eventually(lambda: looks.done == 1)
        await asyncio.sleep(0.1)
        event.listen(Engine, "before_cursor_execute", record)
        try:
            async with database.transaction(Scope.of(_TENANT)) as tx:
                await Outbox(transport, relay=relay).append(tx, [message("k", "1")])
                await Outbox(transport, relay=relay).mark(tx, _STATE_TOPIC, [(_TENANT, "g")])
            await eventually(is_empty, expectation="an empty outbox")
        finally:
            event.remove(Engine, "before_cursor_execute", record)
    assert executed == [
        "WITH appended AS ( INSERT INTO goal",
        "INSERT INTO goals.outbox_marks AS m",
        "SELECT 'the newest state'",
        "WITH deleted AS (DELETE FROM goals.",
    ]


async def test_what_is_handed_over_waits_for_what_others_committed_before_it(
    database: Database, broker: ListedBroker, looks: Looks
) -> None:
    async with relaying(database, broker) as relay:
        await eventually(lambda: looks.done == 1)
        looks.answered.clear()
        relay.wake()
        await eventually(lambda: looks.done == 2)
        await append(database, message("k", "1, from elsewhere"))
        await handed(database, relay, message("k", "2"), message("free", "not held up"))
        await handed(database, relay, message("k", "3"))
        await handed(database, relay, message("another", "goes at once"))
        looks.answered.set()
        await emptied(database)
    assert broker.values("k") == ["1, from elsewhere", "2", "3"]
    assert sorted(broker.values()) == sorted({"1, from elsewhere", "2", "3", "not held up", "goes at once"})


async def test_what_a_transaction_that_was_rolled_back_wrote_is_not_handed_over(
    database: Database, broker: ListedBroker
) -> None:
    async with relaying(database, broker) as relay:
        await leads(relay)
        with pytest.raises(ZeroDivisionError):
            async with database.transaction(Scope.of(_TENANT)) as tx:
                outbox = Outbox(transport, relay=relay)
                await outbox.append(tx, [message("k", "never")])
                await outbox.mark(tx, _STATE_TOPIC, [(_TENANT, "g")])
                raise ZeroDivisionError
        assert relay.handover is not None
        assert relay.handover.is_empty
        await handed(database, relay, message("k", "always"))
        await emptied(database)
    assert broker.values() == ["always"]


async def test_while_another_process_leads_nothing_is_handed_over_and_it_hears_of_every_commit(
    fresh_database: str, database: Database, broker: ListedBroker
) -> None:
    leading = ListedBroker()
    async with opened(fresh_database, "goals") as elsewhere, relaying(elsewhere, leading) as leader:
        await leads(leader)
        async with relaying(database, broker) as relay:
            await handed(database, relay, message("k", "1"))
            await handed(database, relay, message("k", "2"))
            await eventually(lambda: leading.values() == ["1", "2"])
            assert relay.handover is None
    assert broker.received == []


async def test_more_than_is_taken_over_is_found_in_order(database: Database, broker: ListedBroker) -> None:
    broker.gate.clear()
    async with relaying(database, broker) as relay:
        await leads(relay)
        await handed(database, relay, message("k0", "0"))
        await eventually(lambda: broker.batches_begun == 1)
        for first in range(1, 2501, 500):
            await handed(database, relay, *(message(f"k{n % 7}", str(n)) for n in range(first, first + 500)))
        broker.gate.set()
        await emptied(database)
    assert sorted(broker.values(), key=int) == [str(n) for n in range(2501)]
    for key in range(7):
        assert broker.values(f"k{key}") == [str(n) for n in range(key, 2501, 7)]


async def test_a_relay_that_dies_before_it_deletes_what_was_handed_over_loses_nothing(
    database: Database, broker: ListedBroker, looks: Looks
) -> None:
    dying = Relay(database, transport, broker, {}, poll_seconds=_LONG_POLL_SECONDS)
    running = asyncio.create_task(dying.run())
    await eventually(lambda: looks.done == 1)
    looks.allowed.clear()
    await handed(database, dying, message("a", "1"), message("b", "2"))
    await eventually(lambda: broker.values() == ["1", "2"])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert dying.handover is None
    assert await waiting(database) == 2
    looks.allowed.set()
    async with relaying(database, broker) as relay:
        await leads(relay)
        await handed(database, relay, message("a", "3"))
        await emptied(database)
    assert broker.values("a") == ["1", "1", "3"]
    assert broker.values("b") == ["2", "2"]


async def test_a_key_whose_handed_over_message_fails_waits_in_order(database: Database, broker: ListedBroker) -> None:
    broker.refuses = lambda sent: sent.value == b"a1"
    async with relaying(database, broker) as relay:
        await leads(relay)
        await handed(database, relay, message("a", "a1"), message("b", "b1"))
        await handed(database, relay, message("a", "a2"), message("b", "b2"))
        await eventually(lambda: broker.values() == ["b1", "b2"])
        await handed(database, relay, message("a", "a3"))
        broker.refuses = lambda _: False
        await emptied(database)
    assert broker.values("a") == ["a1", "a2", "a3"]


async def test_a_handed_over_mark_that_is_set_again_meanwhile_is_published_again(
    database: Database, broker: ListedBroker
) -> None:
    state = State()
    state.now = {"g": "old"}
    async with relaying(database, broker, {_STATE_TOPIC: state.render}) as relay:
        await leads(relay)
        broker.gate.clear()
        for now in ("old", "new"):
            state.now = {"g": now}
            async with database.transaction(Scope.of(_TENANT)) as tx:
                await Outbox(transport, relay=relay).mark(tx, _STATE_TOPIC, [(_TENANT, "g")])
            await eventually(lambda: broker.received != [])
        broker.gate.set()
        await emptied(database)
    assert broker.values() == ["old", "new"]


class SlowBroker(ListedBroker):
    """Takes longer for a batch than a transaction takes to commit."""

    async def send_many(self, messages: Sequence[OutboxMessage]) -> list[Exception | None]:
        await asyncio.sleep(0.1)
        return await super().send_many(messages)


async def test_what_others_commit_has_its_turn_however_much_is_handed_over(database: Database) -> None:
    broker = SlowBroker()
    async with relaying(database, broker) as relay:
        await leads(relay)
        handing = asyncio.create_task(_keep_handing_over(database, relay))
        try:
            await eventually(lambda: len(broker.received) > 10)
            await append(database, message("elsewhere", "heard"))
            await eventually(lambda: broker.values("elsewhere") == ["heard"], 5)
        finally:
            handing.cancel()
            await asyncio.wait([handing])
        await emptied(database)
    assert len(broker.values()) == len(set(broker.values()))


async def _keep_handing_over(database: Database, relay: Relay) -> None:
    number = 0
    while True:
        await handed(database, relay, message(f"k{number}", str(number)))
        number += 1


async def _one_leads(administrator: "asyncpg.Connection[asyncpg.Record]", *, other_than: int | None = None) -> bool:
    leaders = await active_relays(administrator)
    return len(leaders) == 1 and other_than not in leaders


async def test_what_comes_one_by_one_after_many_is_published_together(
    database: Database, broker: ListedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "_GATHER_SECONDS_MAX", 1.0)
    monkeypatch.setattr(relays, "_GATHER_SECONDS_A_MESSAGE", 1.0)
    async with relaying(database, broker) as relay:
        await leads(relay)
        await handed(database, relay, message("first", "1"), message("first", "2"))
        await eventually(lambda: len(broker.received) == 2)
        before = broker.batches_begun
        for number in range(4):
            await handed(database, relay, message(str(number), "alone"))
        await emptied(database)
    assert len(broker.received) == 6
    assert broker.batches_begun - before < 4
