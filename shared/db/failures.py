"""What a database error means for the caller: try the work again, wait, or it is what it was given.

Everything unknown is taken for the database's trouble and never for the data's: a refusal that passes must not cost a
record. Only the SQLSTATEs named in `_is_of_content` are what a value can cause.
"""

from enum import Enum, auto
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.kernel.errors import Unavailable


class DatabaseUnavailable(Unavailable):
    """The database did not do the work for a reason that passes: down, restarting, or too busy."""

    code = "database_unavailable"
    title = "Database unavailable"


class Collision(Exception):
    """Raised by work that finds that another transaction changed what it had read: the same work may succeed."""


class Failure(Enum):
    """The kinds of database failure that are handled apart."""

    LOST = auto()
    """The connection is gone; whether a commit under way took place is not known."""
    CONFLICT = auto()
    """Deadlock, serialization failure or Collision: rolled back, and the same work may succeed."""
    STALE_STATEMENT = auto()
    """A prepared statement met a changed table: rolled back, and succeeds on the next try."""
    BUSY = auto()
    """A lock, a statement or the pool took longer than its limit, or the server refuses more connections."""
    REFUSED = auto()
    """The server works and refuses the work whatever it is: read-only (a failover), out of room, out of memory."""
    CONTENT = auto()
    """What was to be stored cannot be: a data exception, or a CHECK constraint it breaks. It will fail again."""
    OTHER = auto()
    """Not for the database layer to handle: no error of the database, or a statement it does not understand."""

    @property
    def passes(self) -> bool:
        """Whether the same work may succeed later, unchanged."""
        return self not in (Failure.CONTENT, Failure.OTHER)


_LOST_STATES: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})
_CONFLICT_STATES: Final = frozenset({"40001", "40P01"})
_BUSY_STATES: Final = frozenset({"55P03", "57014", "53300", "53400"})
_REFUSED_STATES: Final = frozenset({"25006"})
_REFUSED_CLASSES: Final = ("53", "57", "58")
"""Insufficient resources, operator intervention, errors of the system beneath Postgres."""
_CONTENT_CLASS: Final = "22"


def driver_error_of(error: BaseException) -> BaseException:
    """What asyncpg raised, from beneath what SQLAlchemy made of it."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def classify(error: BaseException) -> Failure:
    """The kind of a failure, from whichever layer it was raised by."""
    if isinstance(error, PoolTimeout):
        return Failure.BUSY
    if isinstance(error, Collision):
        return Failure.CONFLICT
    driver_error = driver_error_of(error)
    if isinstance(driver_error, asyncpg.InvalidCachedStatementError):
        return Failure.STALE_STATEMENT
    if isinstance(driver_error, asyncpg.PostgresError):
        state = driver_error.sqlstate or ""
        if state in _CONFLICT_STATES:
            return Failure.CONFLICT
        if state in _BUSY_STATES:
            return Failure.BUSY
        if state in _LOST_STATES or state.startswith("08"):
            return Failure.LOST
        if state in _REFUSED_STATES or state.startswith(_REFUSED_CLASSES):
            return Failure.REFUSED
    # An InternalClientError is what asyncpg makes of the server's goodbye when it has come but the close has not yet.
    if isinstance(driver_error, asyncpg.InternalClientError):
        return Failure.LOST
    if isinstance(driver_error, asyncpg.InterfaceError) and "clos" in str(driver_error):
        return Failure.LOST
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Failure.LOST
    return Failure.CONTENT if _is_of_content(driver_error) else Failure.OTHER


def of_database(error: BaseException) -> bool:
    """Whether it was the database or its driver that failed, in whatever way."""
    kinds = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    return isinstance(error, kinds)


def _is_of_content(driver_error: BaseException) -> bool:
    """Whether a value alone causes this.

    Of the integrity violations only a CHECK is: unique and foreign keys depend on what else is stored, and a NULL where
    none may be is a statement's mistake or a schema's of another release. A partition that is missing has the SQLSTATE
    of a CHECK and names no constraint. Program limits (54xxx) are not: a server that runs out of transaction ids says
    so too.
    """
    if isinstance(driver_error, asyncpg.CheckViolationError):
        return driver_error.constraint_name is not None
    if isinstance(driver_error, asyncpg.PostgresError):
        return (driver_error.sqlstate or "").startswith(_CONTENT_CLASS)
    # What the driver cannot even send: a number too large for its column's type.
    return isinstance(driver_error, asyncpg.InterfaceError) and isinstance(driver_error, ValueError)
