"""Real Postgres and Kafka for the tests: started once a session, with a database of its own for who wants one."""

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import astuple
from inspect import isawaitable
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from deploy.local.configuration import StackConfiguration
from deploy.local.errors import StackError
from deploy.local.kafka import Broker, create_broker
from deploy.local.migrations import migrate
from deploy.local.ports import Ports, free_ports, require_free
from deploy.local.postgres import PostgresServer
from deploy.local.stack import Stack

PROJECT_FOLDER = Path(__file__).resolve().parents[1]
_PORT_BASES = range(13_000, 30_000, 200)
_POLL_SECONDS = 0.02


def free_port_base() -> int:
    """For ATTAIN_PORT_BASE: all ports of a stack can be bound from it now."""
    for base in _PORT_BASES:
        try:
            for port in astuple(Ports.from_base(base)):
                require_free(port, "a test")
        except StackError:
            continue
        return base
    raise AssertionError(f"no free ports from {_PORT_BASES.start} to {_PORT_BASES.stop}")


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder that other accounts can pass through, as Postgres runs as one when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix=f"attain-{purpose}-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """An empty embedded server on a free port."""
    with temporary_folder("postgres") as folder:
        server = PostgresServer(folder, port=free_ports(1)[0])
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def running_kafka() -> Iterator[Broker]:
    """An empty broker on free ports."""
    with temporary_folder("kafka") as folder:
        port, controller_port = free_ports(2)
        broker = create_broker(folder, port=port, controller_port=controller_port)
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


@contextmanager
def running_stack(*, database_url: str | None = None, kafka_bootstrap: str | None = None) -> Iterator[Stack]:
    """Everything on free ports with an empty state folder, ready; with servers of its own unless given others.

    It looks after alerts every two seconds, not every half minute.
    """
    with temporary_folder("stack") as folder, pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATTAIN_ALERT_LOOK_SECONDS", "2")
        configuration = StackConfiguration(
            state_folder=folder, ports=Ports.free(), database_url=database_url, kafka_bootstrap=kafka_bootstrap
        )
        with Stack(configuration) as stack:
            yield stack


@asynccontextmanager
async def temporary_database(server_url: str, *, template: str = "template0") -> AsyncIterator[str]:
    """The URL of a new copy of `template`, dropped at the end whoever is still connected to it."""
    name = f"test_{uuid.uuid4().hex}"
    await _administer(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        await _administer(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@asynccontextmanager
async def migrated_template(server_url: str) -> AsyncIterator[str]:
    """The name of a database with every migration applied and no rows, to copy from."""
    async with temporary_database(server_url) as url:
        await asyncio.to_thread(migrate, url)
        database = make_url(url).database
        assert database is not None
        yield database


async def eventually(
    predicate: Callable[[], bool | Awaitable[bool]],
    deadline_seconds: float = 15.0,
    *,
    expectation: str = "the expected state",
) -> None:
    """Poll until `predicate` is true; AssertionError with the expectation's name when the deadline passes."""
    deadline = time.monotonic() + deadline_seconds
    while True:
        outcome = predicate()
        if await outcome if isawaitable(outcome) else outcome:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{expectation} did not come within {deadline_seconds} s")
        await asyncio.sleep(_POLL_SECONDS)


def configured(name: str) -> str | None:
    """The environment variable that points the tests at a real server, if set."""
    return os.environ.get(name) or None


async def _administer(server_url: str, statement: str) -> None:
    connection = await asyncpg.connect(
        make_url(server_url).set(drivername="postgresql").render_as_string(hide_password=False)
    )
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
