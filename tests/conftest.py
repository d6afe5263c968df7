"""Fixtures that every kind of test shares; nothing is started before a test asks for it."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings

from deploy.local.kafka import Broker
from deploy.local.postgres import PostgresServer
from deploy.local.stack import Stack
from tests.infrastructure import (
    configured,
    migrated_template,
    running_kafka,
    running_postgres,
    running_stack,
    temporary_database,
)

# A test run tries the same examples every time, so that it is red for the change it is run on; `make fuzz` explores.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("exploring", deadline=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """An embedded server for the session; a test that stops or kills it starts it again."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """Superuser URL of the session's server: ATTAIN_DATABASE_URL or else the embedded one."""
    url = configured("ATTAIN_DATABASE_URL")
    if url is None:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url()
    return url


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    """A broker of our own for the session; a test that stops or kills it starts it again."""
    with running_kafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> str:
    """host:port of the session's broker: ATTAIN_KAFKA_BOOTSTRAP or else our own."""
    bootstrap = configured("ATTAIN_KAFKA_BOOTSTRAP")
    if bootstrap is None:
        broker: Broker = request.getfixturevalue("kafka_broker")
        bootstrap = broker.bootstrap
    return bootstrap


@pytest.fixture
def topic_prefix() -> str:
    """For topics and groups that no other test sees."""
    return f"test-{uuid.uuid4().hex[:12]}-"


@pytest.fixture(scope="session")
async def migrated_database_template(postgres_url: str) -> AsyncIterator[str]:
    """Name of the database that migrated databases are copied from."""
    async with migrated_template(postgres_url) as name:
        yield name


@pytest.fixture(scope="session")
async def database_url(postgres_url: str, migrated_database_template: str) -> AsyncIterator[str]:
    """A migrated database that all tests of the session share: use ids and tenants of your own in it."""
    async with temporary_database(postgres_url, template=migrated_database_template) as url:
        yield url


@pytest.fixture(scope="module")
async def module_database(postgres_url: str, migrated_database_template: str) -> AsyncIterator[str]:
    """A migrated database without rows for one test module."""
    async with temporary_database(postgres_url, template=migrated_database_template) as url:
        yield url


@pytest.fixture
async def fresh_database(postgres_url: str, migrated_database_template: str) -> AsyncIterator[str]:
    """A migrated database without rows for one test."""
    async with temporary_database(postgres_url, template=migrated_database_template) as url:
        yield url


@pytest.fixture
async def empty_database(postgres_url: str) -> AsyncIterator[str]:
    """A database without any schema for one test."""
    async with temporary_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole product, shared by the session's end-to-end tests: use a tenant of your own in it."""
    with running_stack() as running:
        yield running


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """The whole product for one test, which may kill and restart what it likes."""
    with running_stack() as running:
        yield running
