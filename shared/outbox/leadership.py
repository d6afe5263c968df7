"""Being the one active relay of a service: the process with the service's advisory lock, on its own connection."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import asyncpg

from shared.db.database import Database, Scope, Session, advisory_lock_key
from shared.db.failures import DatabaseUnavailable

_ANSWER_SECONDS_MAX: Final = 5.0


class Candidate:
    """A connection that holds the lock or waits for it. A lost connection is a lost lock, here and for Postgres."""

    def __init__(self, session: Session, *, service: str) -> None:
        self.session = session
        """Sees every tenant. Only the holder of the lock reads and writes on it."""
        self._lock_key = advisory_lock_key(service, "relay")

    @classmethod
    @asynccontextmanager
    async def standing(
        cls, database: Database, channel: str, wake: Callable[[], None], *, own: str
    ) -> "AsyncIterator[Candidate]":
        """Connect, and call `wake` on every NOTIFY of the channel but `own` ones, and when the connection is lost.

        Raises DatabaseUnavailable. Leaving the block gives the lock back.
        """

        def on_notification(*notified: object) -> None:
            if notified[-1] != own:
                wake()

        async with database.session(Scope.every()) as session:
            session.driver.add_termination_listener(lambda _: wake())
            with _translated():
                await session.driver.add_listener(channel, on_notification)
            yield cls(session, service=database.service)

    @property
    def lost(self) -> bool:
        """Whether the connection is known to be gone; another may lead by now."""
        return self.session.driver.is_closed()

    async def elected(self) -> bool:
        """Take the lock if nobody has it. Raises DatabaseUnavailable."""
        with _translated():
            return bool(
                await self.session.driver.fetchval(
                    "SELECT pg_try_advisory_lock($1)", self._lock_key, timeout=_ANSWER_SECONDS_MAX
                )
            )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable("The relay's own connection failed.") from error
