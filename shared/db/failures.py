"""What a database error means for the caller: try the work again, give up for now, or it is the caller's own."""

from enum import Enum, auto
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.kernel.errors import Unavailable


class DatabaseUnavailable(Unavailable):
    """The database did not do the work for a reason that passes: down, restarting, or too busy."""

    code = "database_unavailable"
    title = "Database unavailable"


class Failure(Enum):
    """The kinds of database failure that are handled apart."""

    LOST = auto()
    """The connection is gone; whether a commit under way took place is not known."""
    CONFLICT = auto()
    """Deadlock or serialization failure: rolled back, and the same work may succeed."""
    STALE_STATEMENT = auto()
    """A prepared statement met a changed table: rolled back, and succeeds on the next try."""
    BUSY = auto()
    """A lock, a statement or the pool took longer than its limit, or the server refuses more connections."""
    OTHER = auto()
    """Not for the database layer to handle."""


_LOST_STATES: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})
_CONFLICT_STATES: Final = frozenset({"40001", "40P01"})
_BUSY_STATES: Final = frozenset({"55P03", "57014", "53300", "53400"})


def driver_error_of(error: BaseException) -> BaseException:
    """What asyncpg raised, from beneath what SQLAlchemy made of it."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def classify(error: BaseException) -> Failure:
    """The kind of a failure, from whichever layer it was raised by."""
    if isinstance(error, PoolTimeout):
        return Failure.BUSY
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
    # An InternalClientError is what asyncpg makes of the server's goodbye when it has come but the close has not yet.
    if isinstance(driver_error, asyncpg.InternalClientError):
        return Failure.LOST
    if isinstance(driver_error, asyncpg.InterfaceError) and "clos" in str(driver_error):
        return Failure.LOST
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Failure.LOST
    return Failure.OTHER
