"""Secrets rotated under load, with two API processes of which one hears of it later, and real Postgres."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text
from typing_extensions import override

from services.tracking.intake.connections.directory import SenderDirectory, SendersUnknown
from services.tracking.intake.connections.domain import Sender
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.sources.domain import Source, SourceMapping
from shared.db.database import Database, Scope, Transaction
from shared.db.sealing import SecretsBox
from shared.http.auth import Role
from tests.servers.infrastructure import eventually
from tests.stories.connections import Answered, Caller, Tracking, deal, running_tracking, send

ROTATIONS = 8
NEVER_VALID = "whsec_" + "A" * 32


class Processes(NamedTuple):
    """Two API processes on one database; who calls the one, and who sends to the other."""

    one: Caller
    other: Caller


@pytest.fixture(scope="module")
async def running(module_database: str) -> AsyncIterator[tuple[Tracking, Tracking]]:
    key = Fernet.generate_key().decode()
    async with (
        running_tracking(module_database, secrets_key=key) as one,
        running_tracking(module_database, secrets_key=key) as other,
    ):
        yield one, other


@pytest.fixture
def processes(running: tuple[Tracking, Tracking]) -> Processes:
    tenant = uuid4()
    return Processes(*(Caller(each, Role.ADMIN, tenant=tenant) for each in running))


@asynccontextmanager
async def hearing(callers: Sequence[Caller]) -> AsyncIterator[None]:
    """With the processes told of what others change, as they are in production."""
    following = [asyncio.create_task(caller.tracking.app.state.parts[SenderDirectory].run()) for caller in callers]
    try:
        yield
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


@dataclass
class Signer:
    """A sender that signs with the secret it was given last."""

    connection: Answered
    secret: str
    answers: Counter[int] = field(default_factory=Counter)
    signed_with: dict[int, str] = field(default_factory=dict)
    """What each of its workers signed the delivery with that was answered last."""
    stopped: bool = False

    @asynccontextmanager
    async def sending(self, *to: Caller) -> AsyncIterator[None]:
        """With a worker sending to each of these, one delivery after the other."""
        workers = [asyncio.create_task(self._send_until_stopped(each, number)) for number, each in enumerate(to)]
        try:
            yield
        finally:
            self.stopped = True
            await asyncio.gather(*workers)

    async def _send_until_stopped(self, to: Caller, worker: int) -> None:
        while not self.stopped:
            secret = self.secret
            self.answers[await send(to, self.connection, deal(), secret=secret)] += 1
            self.signed_with[worker] = secret
            # What is refused at once leaves the others no time.
            await asyncio.sleep(0)

    def has_changed_over(self) -> bool:
        """Whether nothing signed with another secret is under way."""
        return set(self.signed_with.values()) == {self.secret}


async def rotate(caller: Caller, connection: Answered) -> tuple[str, str]:
    """Give the connection a new secret: its value, and the id of the one before."""
    held = (await caller.client.get(f"/v1/connections/{connection.id}")).json()
    rotated = await caller.change("POST", f"/v1/connections/{connection.id}/secrets", held["version"], {})
    assert rotated.status_code == 201, rotated.text
    return rotated.json()["secret"], held["secrets"][0]["id"]


async def retire(caller: Caller, connection: Answered, secret_id: str) -> None:
    held = (await caller.client.get(f"/v1/connections/{connection.id}")).json()
    path = f"/v1/connections/{connection.id}/secrets/{secret_id}"
    assert (await caller.change("DELETE", path, held["version"])).status_code == 200


async def test_no_delivery_is_refused_while_secrets_are_rotated_and_retired_again_and_again(
    processes: Processes,
) -> None:
    one, other = processes
    connection = await one.connect()
    source = Signer(connection, connection.secret)
    async with hearing(processes), source.sending(one, one, other, other):
        for _ in range(ROTATIONS):
            new, old_id = await rotate(one, connection)
            before, source.secret = source.secret, new
            await eventually(source.has_changed_over, expectation="deliveries with the new secret")
            await retire(one, connection, old_id)
            await eventually(partial(_is_refused, other, connection, before), expectation="the old secret is refused")
    assert set(source.answers) == {202}
    async with one.tracking.database.transaction(Scope.of(one.tenant)) as tx:
        (row,) = await tx.rows(
            text("SELECT count(*) AS deliveries FROM tracking.deliveries WHERE dedupe_key <> 'late'")
        )
    assert row["deliveries"] == source.answers.total()


async def _is_refused(caller: Caller, connection: Answered, secret: str) -> bool:
    return await send(caller, connection, deal(), webhook_id="late", secret=secret) == 401


async def test_a_process_that_has_not_heard_of_a_new_secret_takes_what_is_signed_with_it(
    processes: Processes,
) -> None:
    one, other = processes
    connection = await one.connect()
    assert await send(other, connection, deal()) == 202, "nor of the connection"
    new, old_id = await rotate(one, connection)
    assert await send(other, connection, deal(), secret=new) == 202
    await retire(one, connection, old_id)
    assert await send(one, connection, deal()) == 401
    assert await send(other, connection, deal(), secret=new) == 202


class CountedConnections(Connections):
    """Counts how often they are read, and how many there were each time."""

    readings = 0
    found: Sequence[int] = ()

    @override
    async def senders(self, tx: Transaction, ids: Collection[UUID] | None = None) -> list[Sender]:
        self.readings += 1
        senders = await super().senders(tx, ids)
        self.found = (*self.found, len(senders))
        return senders


async def test_however_many_deliveries_are_forged_the_connections_are_read_a_few_times_a_second(
    module_database: str,
) -> None:
    database = Database(module_database, service="tracking")
    connections = CountedConnections(SecretsBox(Fernet.generate_key().decode()))
    async with database.transaction(Scope.every()) as tx:
        # Sealed with another key than this test's.
        await tx.execute(text("UPDATE tracking.connections SET status = 'disabled'"))
    directory = SenderDirectory(database, connections)
    began = monotonic()
    for _ in range(3):
        await asyncio.gather(*(directory.catch_up(str(uuid4())) for _ in range(150)))
    seconds = monotonic() - began
    assert connections.readings <= 1 + 4 * seconds
    assert connections.readings == 3
    crowd = [asyncio.create_task(directory.catch_up(str(uuid4()))) for _ in range(250)]
    outcomes = await asyncio.gather(*crowd, return_exceptions=True)
    assert sum(isinstance(outcome, SendersUnknown) for outcome in outcomes) == 50
    readings = connections.readings
    known_to_nobody = str(uuid4())
    await directory.catch_up(known_to_nobody)
    assert connections.readings == readings + 1
    for path in (known_to_nobody, "nonsense", known_to_nobody.upper()):
        await asyncio.gather(*(directory.catch_up(path) for _ in range(250)))
    assert connections.readings == readings + 1
    await database.close()


async def test_what_is_asked_for_and_what_changes_is_read_alone_however_many_connections_there_are(
    fresh_database: str,
) -> None:
    """And all are read at the start and after what was notified may have gone unheard."""
    key, tenant = Fernet.generate_key().decode(), uuid4()
    database = Database(fresh_database, service="tracking")
    box = SecretsBox(key)

    async def make() -> UUID:
        async with database.transaction(Scope.of(tenant)) as tx:
            made = await Connections(box).create(
                tx,
                tenant,
                source=Source.STANDARD_WEBHOOKS,
                name="CRM",
                identity_source="crm",
                secret=None,
                mapping=SourceMapping(),
                allowed={},
            )
        return made.connection.id

    async def read_with(connections: int, *, of_them_new: int) -> Sequence[int]:
        for _ in range(of_them_new):
            await make()
        counted = CountedConnections(box)
        directory = SenderDirectory(database, counted)
        following = asyncio.create_task(directory.run())
        await eventually(lambda: len(counted.found) == 2, expectation="all are read at the start and once it hears")
        assert set(counted.found) == {connections}
        await asyncio.gather(*(directory.catch_up(str(uuid4())) for _ in range(20)))
        new = await make()
        await eventually(lambda: directory.find(str(new)) is not None, expectation="the connection is heard of")
        await directory.catch_up(str(new))
        await stop_listening(fresh_database)
        await eventually(lambda: counted.found[-1] == connections + 1, expectation="all are read again")
        await directory.stop()
        await asyncio.wait_for(following, 1)
        return counted.found[2:-1]

    few = await read_with(5, of_them_new=5)
    assert few == (0, 1, 1)
    assert await read_with(500, of_them_new=494) == few
    await database.close()


async def stop_listening(url: str) -> None:
    """Have the server end the connection that listens."""
    administrator = await asyncpg.connect(url)
    await administrator.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query ILIKE 'listen%'"
    )
    await administrator.close()


async def test_a_true_delivery_among_forged_ones_is_taken(processes: Processes) -> None:
    one, other = processes
    connection = await one.connect()
    new, _ = await rotate(one, connection)
    forged = [asyncio.create_task(send(other, connection, deal(), secret=NEVER_VALID)) for _ in range(60)]
    true = await send(other, connection, deal(), secret=new)
    assert (true, set(await asyncio.gather(*forged))) == (202, {401})
