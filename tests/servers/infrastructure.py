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
from itertools import cycle, islice
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy.engine import make_url

from deploy.local.configuration import StackConfiguration
from deploy.local.errors import StackError
from deploy.local.kafka import Broker, create_broker
from deploy.local.logins import create_logins, login_url
from deploy.local.migrations import migrate
from deploy.local.ports import Ports, require_free
from deploy.local.postgres import PostgresServer
from deploy.local.stack import Stack

Report = Callable[[str], None]
"""Says what a test measured."""
TESTS_FOLDER = Path(__file__).resolve().parents[1]
PROJECT_FOLDER = TESTS_FOLDER.parent
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PORT_BASES = range(13_000, 32_000, 200)[_WORKER::_WORKERS]
"""Below the ports that the system gives out by itself. No two workers of a test run have one in common, and runs that
are started at the same moment begin at different ones."""
_port_bases = islice(cycle(_PORT_BASES), os.getpid() % len(_PORT_BASES), None)
_POLL_SECONDS = 0.02
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES_MIN = 8 * 2**30


def _scratch_folder() -> str:
    """Where temporary folders are: in memory, where there is plenty.

    Databases and brokers make and delete files by the thousand, and a disk takes ten times as long: ext4 looks past
    every file that was deleted within a minute to make another one.
    """
    if _MEMORY.is_dir():
        room = min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available)
        if room >= _MEMORY_BYTES_MIN:
            return str(_MEMORY)
    return tempfile.gettempdir()


SCRATCH = _scratch_folder()


def free_port_base() -> int:
    """For ATTAIN_PORT_BASE: all ports of a stack can be bound from it now, and the next calls return others."""
    for base in islice(_port_bases, len(_PORT_BASES)):
        try:
            for port in astuple(Ports.from_base(base)):
                require_free(port, "a test")
        except StackError:
            continue
        return base
    raise AssertionError(f"no free ports from {_PORT_BASES.start} to {_PORT_BASES.stop}")


def own_ports() -> Ports:
    """Those of a stack, free now and not given to another test."""
    return Ports.from_base(free_port_base())


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder that other accounts can pass through, as Postgres runs as one when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix=f"attain-{purpose}-", dir=SCRATCH))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """An empty embedded server on a free port."""
    with temporary_folder("postgres") as folder:
        server = PostgresServer(folder, port=own_ports().postgres)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def start(broker: Broker) -> None:
    """Launch it and wait until it serves clients."""
    broker.launch()
    broker.wait_until_ready()


@contextmanager
def running_kafka() -> Iterator[Broker]:
    """An empty broker on free ports."""
    with temporary_folder("kafka") as folder:
        ports = own_ports()
        broker = create_broker(folder, port=ports.kafka, controller_port=ports.kafka_controller)
        try:
            start(broker)
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
            state_folder=folder, ports=own_ports(), database_url=database_url, kafka_bootstrap=kafka_bootstrap
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
        await asyncio.to_thread(create_logins, url, lambda service: service)
        database = make_url(url).database
        assert database is not None
        yield database


def service_url(owner_url: str, service: str) -> str:
    """The URL with which a service's process connects to a migrated database."""
    return login_url(owner_url, service, service)


async def eventually(
    predicate: Callable[[], bool | Awaitable[bool]],
    deadline_seconds: float = 15.0,
    *,
    expectation: str = "the expected state",
) -> None:
    """Poll until `predicate` is true; AssertionError with the expectation's name when the deadline passes.

    It looks a third of the time at most: a look that costs much would hold up what is waited for.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        looked = time.monotonic()
        outcome = predicate()
        if await outcome if isawaitable(outcome) else outcome:
            return
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"{expectation} did not come within {deadline_seconds} s")
        await asyncio.sleep(max(_POLL_SECONDS, 2 * (now - looked)))


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
