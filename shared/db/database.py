"""Units of work on Postgres: one transaction, the tenants it may see, and what to do when it fails.

A transaction costs two round trips beside its own statements: one that begins it, names its tenants and takes their
lock, one that commits. The pool runs in the driver's autocommit mode and the transaction is begun and ended here.
"""

import os
from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache, partial
from hashlib import blake2b
from random import SystemRandom
from time import monotonic
from typing import Final, TypeVar
from uuid import UUID

import asyncpg
from sqlalchemy import Executable, RowMapping, text
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from shared.db.failures import DatabaseUnavailable, Failure, classify, driver_error_of
from shared.db.listening import Channels, Listener
from shared.db.settings import database_url
from shared.db.shielding import to_the_end
from shared.kernel.approvals import UNKNOWN
from shared.kernel.errors import AttainError
from shared.kernel.ids import unix_milliseconds, uuid7
from shared.telemetry.logs import get_logger

T = TypeVar("T")
Parameters = Mapping[str, object] | Sequence[Mapping[str, object]] | None

_log = get_logger(__name__)
_chance: Final = SystemRandom()
_EVERY_TENANT: Final = "*"
_POOL_WAIT_SECONDS_MAX: Final = 10
_CONNECT_SECONDS_MAX: Final = 5
_ROLLBACK_SECONDS_MAX: Final = 5
_COMMIT_SECONDS_MAX: Final = 60
_RETRY_SECONDS_FIRST: Final = 0.02
_RETRY_SECONDS_MAX: Final = 1.0
UTC_NOW: Final = partial(datetime.now, UTC)
_NOTIFY: Final = text("SELECT pg_notify(:channel, payload) FROM unnest(CAST(:payloads AS text[])) AS t(payload)")
_SINCE: Final = "since"
"""When a connection was made, in what the pool stores with it."""
_REFUSED_SECONDS: Final = 1.0
"""How old a connection is that is given up for a refusal."""


# The schema is called like the service.
_LOGIN: Final = """
    SELECT session_user AS name,
        EXISTS (
            SELECT FROM pg_roles WHERE (rolsuper OR rolbypassrls) AND pg_has_role(session_user, oid, 'MEMBER')
        ) AS privileged,
        EXISTS (
            SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE nspname = $1 AND pg_has_role(session_user, relowner, 'MEMBER')
        ) AS owns
"""


class PrivilegedLogin(AttainError):
    """The service is connected as somebody who may do more than the service."""

    code = "privileged_login"


class TenantLock(Enum):
    """How a transaction locks tenants in its service: exclusive keeps out everybody else who locks them."""

    SHARED = "pg_advisory_xact_lock_shared"
    EXCLUSIVE = "pg_advisory_xact_lock"


@dataclass(frozen=True, slots=True)
class Scope:
    """The tenants whose rows a transaction may see and write. Naming none sees nothing."""

    setting: str
    locked: frozenset[UUID] = frozenset()
    lock: TenantLock = TenantLock.SHARED
    """How it locks those in `locked`, from its beginning: that costs no round trip of its own."""

    @classmethod
    def of(cls, *tenant_ids: UUID, lock: TenantLock | None = None) -> "Scope":
        """These tenants and no other, all of them locked if a lock is given."""
        setting = ",".join(sorted({str(tenant_id) for tenant_id in tenant_ids}))
        return cls(setting) if lock is None else cls(setting, frozenset(tenant_ids), lock)

    @classmethod
    def every(cls) -> "Scope":
        """All tenants: for the system's own work, never for a request."""
        return cls(_EVERY_TENANT)


# All in one statement and in the order of the keys, so that two lockers never wait for each other.
_LOCK: Final = "SELECT {lock}(k) FROM unnest(CAST({keys} AS bigint[])) AS t(k)"
_LOCKS: Final = {lock: text(_LOCK.format(lock=lock.value, keys=":keys")) for lock in TenantLock}
_TRY_LOCK: Final = text(
    """
    SELECT ARRAY(
        SELECT k FROM unnest(CAST(:tenants AS bigint[])) AS t(k) WHERE pg_try_advisory_xact_lock_shared(k)
    ) AS locked, (
        SELECT n FROM unnest(CAST(:places AS bigint[])) WITH ORDINALITY AS p(k, n)
        WHERE pg_try_advisory_xact_lock(k) LIMIT 1
    ) AS place
    """
)


class Statements:
    """Runs statements on a connection, each of which sees what is committed as it begins."""

    def __init__(self, connection: AsyncConnection, *, now: datetime) -> None:
        self.connection = connection
        self.now = now
        """UTC, the same for all of them."""

    def new_id(self) -> UUID:
        """A fresh UUIDv7 of this moment."""
        return uuid7(unix_milliseconds(self.now), os.urandom(10))

    async def execute(self, statement: Executable, parameters: Parameters = None) -> CursorResult[*tuple[object, ...]]:
        """Run a statement; with a sequence of parameters, once for each."""
        return await self.connection.execute(statement, parameters)

    async def rows(self, statement: Executable, parameters: Parameters = None) -> Sequence[RowMapping]:
        """Every row the statement returns."""
        return (await self.connection.execute(statement, parameters)).mappings().all()

    async def one_or_none(self, statement: Executable, parameters: Parameters = None) -> RowMapping | None:
        """The one row the statement returns, or None; more than one is an error of the statement."""
        return (await self.connection.execute(statement, parameters)).mappings().one_or_none()


class Transaction(Statements):
    """A transaction in progress. It is committed by whoever opened it, never from inside."""

    def __init__(self, connection: AsyncConnection, *, service: str, now: datetime, scope: Scope) -> None:
        super().__init__(connection, now=now)
        self._service = service
        self._scope = scope
        self._after_commit: list[Callable[[], None]] = []
        self.actor = UNKNOWN
        """Who does it, where the opener of the transaction says so."""
        self.reason: str | None = None
        """Why, in the actor's words."""

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the commit is durable, and not at all if it does not happen. It must not block."""
        self._after_commit.append(callback)

    async def lock_tenants_shared(self, tenant_ids: Collection[UUID]) -> None:
        """Hold off definition changes of these tenants in this service until the end of the transaction."""
        await self._lock(TenantLock.SHARED, tenant_ids)

    async def lock_tenants_exclusive(self, tenant_ids: Collection[UUID]) -> None:
        """Be the only one to work on these tenants in this service until the end of the transaction."""
        await self._lock(TenantLock.EXCLUSIVE, tenant_ids)

    async def try_lock_tenants_shared(
        self, tenant_ids: Collection[UUID], *, places: int
    ) -> tuple[frozenset[UUID], int | None]:
        """Lock those tenants that nobody has or waits to have alone; and take a place that no other transaction has.

        It waits for nobody. Which tenants those are, and the first free place from 0, None when all are taken; both are
        held until the end of the transaction.
        """
        keys = {advisory_lock_key(self._service, "tenant", each.hex): each for each in tenant_ids}
        [row] = await self.rows(_TRY_LOCK, {"tenants": sorted(keys), "places": _place_keys(self._service, places)})
        return frozenset(keys[key] for key in row["locked"]), None if row["place"] is None else row["place"] - 1

    async def wait_for_tenants_shared(self, tenant_ids: Collection[UUID], *, milliseconds_max: int) -> bool:
        """Lock these tenants as `lock_tenants_shared` does, or none of them if that takes longer; whether it did."""
        quoted = f"'{{{','.join(map(str, _lock_keys(self._service, tenant_ids)))}}}'"
        driver = await _driver_of(self.connection)
        try:
            await driver.execute(
                f"SAVEPOINT patience; SET LOCAL lock_timeout = {milliseconds_max};"
                f" {_LOCK.format(lock=TenantLock.SHARED.value, keys=quoted)};"
                " SET LOCAL lock_timeout TO DEFAULT; RELEASE SAVEPOINT patience"
            )
        except asyncpg.LockNotAvailableError:
            await driver.execute("ROLLBACK TO SAVEPOINT patience; RELEASE SAVEPOINT patience")
            return False
        return True

    async def notify(self, channel: str, *payloads: str) -> None:
        """Notify the listeners of `channel` of each payload when this transaction commits."""
        await self.connection.execute(_NOTIFY, {"channel": channel, "payloads": payloads or ("",)})

    def committed(self) -> None:
        """Run what was to follow the commit; for the opener of the transaction."""
        for callback in self._after_commit:
            try:
                callback()
            except Exception:
                _log.exception("after_commit_failed")

    async def _lock(self, lock: TenantLock, tenant_ids: Collection[UUID]) -> None:
        locked = self._scope.locked if self._scope.lock in (lock, TenantLock.EXCLUSIVE) else frozenset()
        keys = _lock_keys(self._service, set(tenant_ids) - locked)
        if keys:
            await self.connection.execute(_LOCKS[lock], {"keys": keys})


class Session:
    """A connection of its own, on which every statement is a transaction by itself: one round trip.

    What it writes is seen by everybody at once, and may be undone by a crash of the server within a moment.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        driver: "asyncpg.Connection[asyncpg.Record]",
        clock: Callable[[], datetime],
    ) -> None:
        self._connection = connection
        self._clock = clock
        self.driver = driver

    def statements(self) -> Statements:
        """To run statements of this moment."""
        return Statements(self._connection, now=self._clock())


def _lock_keys(service: str, tenant_ids: Iterable[UUID]) -> list[int]:
    return sorted({advisory_lock_key(service, "tenant", tenant_id.hex) for tenant_id in tenant_ids})


@cache
def _place_keys(service: str, count: int) -> list[int]:
    return [advisory_lock_key(service, "place", str(number)) for number in range(count)]


def advisory_lock_key(service: str, kind: str, name: str = "") -> int:
    """The key of an advisory lock for something of a service: 64 bits of a hash, so a clash is only a longer wait."""
    digest = blake2b(f"{service}/{kind}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class Database:
    """A process's connections to the database, as one service's role. Create one per process and close it."""

    def __init__(
        self,
        url: str,
        *,
        service: str,
        pool_size: int = 5,
        clock: Callable[[], datetime] = UTC_NOW,
        lock_seconds_max: int = 10,
        statement_seconds_max: int = 60,
    ) -> None:
        """Connects on first use. ValueError when the URL is not one of Postgres."""
        self.service = service
        self._clock = clock
        self._pool_size = pool_size
        self._url = database_url(url)
        self._settings = {
            "role": f"{service}_app",
            "application_name": f"attain-{service}",
            "lock_timeout": str(lock_seconds_max * 1000),
            "statement_timeout": str(statement_seconds_max * 1000),
            "idle_in_transaction_session_timeout": str(2 * statement_seconds_max * 1000),
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
            "jit": "off",
            "timezone": "UTC",
        }
        self._engine = create_async_engine(
            self._url,
            isolation_level="AUTOCOMMIT",
            poolclass=AsyncAdaptedQueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_WAIT_SECONDS_MAX,
            pool_use_lifo=True,
            connect_args=_connect_arguments(self._settings),
        )
        _, arguments = self._engine.dialect.create_connect_args(self._url)
        self._connect_arguments = {**arguments, "server_settings": self._settings, "timeout": _CONNECT_SECONDS_MAX}
        self._listener = Listener(self.connect)

    def transaction(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        """One transaction: committed when the block ends, rolled back when it raises.

        The commit has happened when the block is left without an error, whatever cancels the caller meanwhile. Raises
        DatabaseUnavailable for what passes (server gone, read-only or out of room, deadlock, a wait over its limit);
        nothing is retried, and after a lost connection it is not known whether a commit under way took place.
        """
        return self._translated(scope)

    def snapshot(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that only reads, and sees everything as it was when it began, however long it lasts.

        Nobody waits for it: what other transactions change together it sees together, or not at all.
        """
        return self._translated(scope, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    async def run(self, scope: Scope, work: Callable[[Transaction], Awaitable[T]], *, attempts: int = 5) -> T:
        """Do idempotent work in a transaction, again after a deadlock, serialization failure or lost connection.

        `work` gets a new transaction each time and must not use anything of an earlier one. DatabaseUnavailable when
        the attempts are used up, and at once when a lock or the pool took too long or the server refuses the work.
        """
        for attempt in range(1, attempts + 1):
            try:
                async with self._begun(scope) as transaction:
                    result = await work(transaction)
                transaction.committed()
                return result
            except Exception as error:
                failure = _failure_of(error)
                if not failure.passes:
                    raise
                if failure in (Failure.BUSY, Failure.REFUSED) or attempt == attempts:
                    raise _unavailable(failure) from error
                _log.info("transaction_retried", failure=failure.name.lower(), attempt=attempt)
                if failure is not Failure.STALE_STATEMENT:
                    longest = min(_RETRY_SECONDS_MAX, _RETRY_SECONDS_FIRST * 4**attempt)
                    await sleep(_chance.uniform(longest / 4, longest))
        raise ValueError("attempts must be at least 1")

    def channels(self, *names: str) -> Channels:
        """Channels to listen to, over the one connection of this process that does.

        It reconnects, and notifies its subscribers once after every connect, so that they look for what they missed.
        """
        return Channels(self._listener, names)

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection of its own outside the pool, in the service's role; the caller closes it.

        Raises DatabaseUnavailable.
        """
        try:
            return await asyncpg.connect(**self._connect_arguments)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _cannot_connect(error) from error

    @asynccontextmanager
    async def session(self, scope: Scope) -> AsyncIterator[Session]:
        """A session outside the pool for as long as the block lasts. Raises DatabaseUnavailable as `transaction` does.

        For work that bears being done twice: see `Session`.
        """
        settings = {**self._settings, "app.tenants": scope.setting, "synchronous_commit": "off"}
        engine = create_async_engine(
            self._url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args=_connect_arguments(settings)
        )
        try:
            connection = await _connected(engine)
            try:
                yield Session(connection, await _driver_of(connection), self._clock)
            finally:
                await to_the_end(_discard(connection))
        except Exception as error:
            failure = _failure_of(error)
            if not failure.passes:
                raise
            raise _unavailable(failure) from error

    async def ready(self) -> None:
        """Raises DatabaseUnavailable unless a transaction can be had."""
        async with self.transaction(Scope.of()) as transaction:
            await transaction.execute(text("SELECT 1"))

    async def require_plain_login(self) -> None:
        """Raises PrivilegedLogin when whoever connected could leave the service's role for more than it may.

        Raises DatabaseUnavailable when that cannot be found out.
        """
        connection = await self.connect()
        try:
            login = await connection.fetchrow(_LOGIN, self.service)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _cannot_connect(error) from error
        finally:
            await connection.close()
        if login is None or not (login["privileged"] or login["owns"]):
            return
        what = "is a superuser or may bypass row-level security" if login["privileged"] else "owns the service's tables"
        raise PrivilegedLogin(
            f"ATTAIN_DATABASE_URL connects as {login['name']}, who {what}: "
            f"give it a login that owns nothing and is a member of {self.service}_app alone"
        )

    async def close(self) -> None:
        """Close the pool's idle connections; those in use are closed as they come back."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _translated(self, scope: Scope, begin: str = "BEGIN") -> AsyncIterator[Transaction]:
        try:
            async with self._begun(scope, begin) as transaction:
                yield transaction
        except Exception as error:
            failure = _failure_of(error)
            if not failure.passes:
                raise
            raise _unavailable(failure) from error
        transaction.committed()

    @asynccontextmanager
    async def _begun(self, scope: Scope, begin: str = "BEGIN") -> AsyncIterator[Transaction]:
        connection, driver = await self._begin(scope, begin)
        try:
            yield Transaction(connection, service=self.service, now=self._clock(), scope=scope)
        except BaseException as error:
            # A server that has become a read-only standby does not close its connections: a new one finds its
            # successor. Made for every refusal, new ones would cost more than all the work that is refused.
            leave = classify(error) is Failure.REFUSED and monotonic() - connection.info[_SINCE] >= _REFUSED_SECONDS
            await to_the_end(_discard(connection) if leave else _roll_back(connection, driver))
            raise
        await to_the_end(_commit(connection, driver))

    async def _begin(self, scope: Scope, begin: str) -> "tuple[AsyncConnection, asyncpg.Connection[asyncpg.Record]]":
        # The setting is made of UUIDs and commas, or is one star.
        statements = f"{begin}; SELECT set_config('app.tenants', '{scope.setting}', true)"
        if scope.locked:
            keys = ",".join(map(str, _lock_keys(self.service, scope.locked)))
            statements += "; " + _LOCK.format(lock=scope.lock.value, keys=f"'{{{keys}}}'")
        # After a restart of the server every pooled connection is dead: each is met and dropped at most once.
        for stale_allowed in reversed(range(self._pool_size + 1)):
            connection = await _connected(self._engine)
            connection.info.setdefault(_SINCE, monotonic())
            driver = await _driver_of(connection)
            try:
                await driver.execute(statements)
                return connection, driver
            except BaseException as error:
                await to_the_end(_discard(connection))
                if not stale_allowed or classify(error) is not Failure.LOST:
                    raise
        raise AssertionError("the loop returns or raises")


def _connect_arguments(settings: Mapping[str, str]) -> dict[str, object]:
    return {
        "server_settings": settings,
        "timeout": _CONNECT_SECONDS_MAX,
        "prepared_statement_cache_size": 500,
    }


async def _connected(engine: AsyncEngine) -> AsyncConnection:
    try:
        return await engine.connect()
    except (OSError, TimeoutError, DBAPIError) as error:
        if classify(error) is Failure.BUSY:
            raise
        raise _cannot_connect(error) from error


async def _driver_of(connection: AsyncConnection) -> "asyncpg.Connection[asyncpg.Record]":
    driver = (await connection.get_raw_connection()).driver_connection
    if not isinstance(driver, asyncpg.Connection):
        raise TypeError("the engine's driver is not asyncpg")
    return driver


async def _commit(connection: AsyncConnection, driver: "asyncpg.Connection[asyncpg.Record]") -> None:
    try:
        status = await driver.execute("COMMIT", timeout=_COMMIT_SECONDS_MAX)
    except BaseException:
        await _discard(connection)
        raise
    await connection.close()
    if status != "COMMIT":
        # A statement failed, its error was swallowed, and Postgres rolled back instead.
        raise RuntimeError("the transaction was already aborted when it came to its commit")


async def _roll_back(connection: AsyncConnection, driver: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Leaves the caller's error to be raised, whatever happens here."""
    try:
        await driver.execute("ROLLBACK", timeout=_ROLLBACK_SECONDS_MAX)
        await connection.close()
    except Exception:
        await _discard(connection)


async def _discard(connection: AsyncConnection) -> None:
    if not connection.invalidated:
        await connection.invalidate()
    await connection.close()


def _failure_of(error: Exception) -> Failure:
    return Failure.LOST if isinstance(error, _CannotConnect) else classify(error)


class _CannotConnect(DatabaseUnavailable):
    """No connection could be made."""


def _cannot_connect(error: Exception) -> _CannotConnect:
    cause = driver_error_of(error)
    reason = str(cause) or type(cause).__name__
    return _CannotConnect(f"The database cannot be reached: {reason}", retry_after_seconds=5)


def _unavailable(failure: Failure) -> DatabaseUnavailable:
    match failure:
        case Failure.LOST:
            return DatabaseUnavailable("The database cannot be reached.", retry_after_seconds=5)
        case Failure.BUSY:
            return DatabaseUnavailable("The database is too busy.", retry_after_seconds=2)
        case Failure.REFUSED:
            return DatabaseUnavailable("The database takes no work for now.", retry_after_seconds=5)
        case _:
            return DatabaseUnavailable("The work kept colliding with other work.", retry_after_seconds=1)
