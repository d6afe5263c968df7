"""Fixtures that every kind of test shares; nothing is started before a test asks for it."""

import gc
import logging
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import pytest
import structlog
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from deploy.local.kafka import Broker
from deploy.local.postgres import PostgresServer
from shared.http.collector import relax_garbage_collection
from tests.servers.infrastructure import (
    TESTS_FOLDER,
    Report,
    configured,
    migrated_template,
    running_kafka,
    running_postgres,
    temporary_database,
)

# A test run tries the same examples every time, so that it is red for the change it is run on; `make fuzz` explores.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("exploring", deadline=None, print_blob=True)
settings.load_profile("repeatable")

# A test's broker lives for seconds or minutes: it starts in two thirds of the time without the compiler for long runs.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
# What a test logs is shown when it fails. Rich's tracebacks with all local variables take seconds each to format.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

gc.disable()

_MEASURED = "measured"
_SHARING_A_STACK = ("tests/e2e", "tests/faults")
_LONGEST_FIRST = (
    "e2e/test_replay",
    "bench",
    # The worker with the one test of the first file gets this to follow: what is timed does not run beside the replay.
    "e2e/test_repairs_under_traffic",
    "e2e",
    "faults",
    "integration",
    "contract",
    "fuzz",
    "property",
    "unit",
)
"""How the paths of test files begin, in the order that parallel workers take them."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have parallel workers begin with the files that take minutes, so that all end together."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(TESTS_FOLDER).as_posix()
        ranks = (nth for nth, beginning in enumerate(_LONGEST_FIRST) if path.startswith(beginning))
        return next(ranks, len(_LONGEST_FIRST))

    if hasattr(config, "workerinput"):
        items.sort(key=rank)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Have the collector of garbage pass over what stays until the end, as the product's processes do.

    A tenth of what a property test takes. Until here it is off: what is collected stays.
    """
    relax_garbage_collection()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give a worker whole files, and those that share a stack together, so that it is started once."""
    if config.getoption("dist") != "loadfile":
        return None
    scheduling = LoadFileScheduling(config, log)
    scheduling._split_scope = _stack_or_file
    return scheduling


def _stack_or_file(node_id: str) -> str:
    path = node_id.partition("::")[0]
    folder = path.rpartition("/")[0]
    return folder if folder in _SHARING_A_STACK and not path.endswith("/test_replay.py") else path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests measured. Parallel workers hand it over with the outcome of the test."""
    for reports in terminalreporter.stats.values():
        for outcome in reports:
            if isinstance(outcome, pytest.TestReport) and outcome.when == "call":
                for name, measured in outcome.user_properties:
                    if name == _MEASURED:
                        terminalreporter.write_line(f"\n{outcome.nodeid}\n{measured}")


@pytest.fixture
def logs_to_configure() -> Iterator[None]:
    """Logging as it is, and as it will be again after the test, which may configure it as a process does."""
    root, settings_of_structlog = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**settings_of_structlog)


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


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """For what a test measured: shown at the end of the run, whether the test passed or not."""
    return partial(record_property, _MEASURED)
