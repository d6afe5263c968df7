"""Streams end with the rights they were opened with.

Every two seconds the revisions of the tenants that are being watched are compared with those at which their streams
were last found to be allowed; where one has moved, what each stream may watch is decided again, as when it was opened.
"""

from collections.abc import Awaitable, Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from shared.db.database import Database, Scope, Transaction
from shared.http.sse import EndReason, Mailbox, ended
from shared.kernel.errors import AttainError, Forbidden, NotFound, Unavailable
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

Watchable: TypeAlias = Callable[[Transaction], Awaitable[frozenset[UUID]]]
"""What a stream may watch now; raises NotFound or Forbidden when that is nothing."""

_CHECK_SECONDS: Final = 2.0
_log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Open:
    tenant_id: UUID
    watched: frozenset[UUID]
    watchable: Watchable
    mailbox: Mailbox
    revision: int | None = None


class StreamRights(Rounds):
    """Ends the streams of a process whose rights have changed. One per API process."""

    def __init__(
        self,
        database: Database,
        revisions: Callable[[Transaction, Collection[UUID]], Awaitable[Mapping[UUID, int]]],
        *,
        check_seconds: float = _CHECK_SECONDS,
    ) -> None:
        super().__init__("stream_rights", every_seconds=check_seconds)
        self._database = database
        self._revisions = revisions
        self._open: dict[UUID, set[_Open]] = {}

    @contextmanager
    def checking(
        self, tenant_id: UUID, watched: frozenset[UUID], watchable: Watchable, mailbox: Mailbox
    ) -> Generator[None]:
        """Close the mailbox once `watchable` returns something else than `watched`, for as long as the block lasts."""
        one = _Open(tenant_id, watched, watchable, mailbox)
        self._open.setdefault(tenant_id, set()).add(one)
        try:
            yield
        finally:
            of_tenant = self._open[tenant_id]
            of_tenant.discard(one)
            if not of_tenant:
                del self._open[tenant_id]

    async def round(self) -> bool:
        await self.check()
        return False

    async def check(self) -> None:
        """Check once. Raises Unavailable."""
        for tenant_id in tuple(self._open):
            async with self._database.transaction(Scope.of(tenant_id)) as tx:
                revision = (await self._revisions(tx, [tenant_id]))[tenant_id]
                for one in tuple(self._open.get(tenant_id, ())):
                    if one.revision != revision:
                        await self._decide(tx, one)
                        one.revision = revision

    async def _decide(self, tx: Transaction, one: _Open) -> None:
        try:
            now = await one.watchable(tx)
        except (NotFound, Forbidden):
            one.mailbox.close(ended(EndReason.RIGHTS_CHANGED))
            return
        except Unavailable:
            raise
        except AttainError as error:
            _log.warning("stream_right_undecided", code=error.code)
            one.mailbox.close(ended(EndReason.RIGHTS_CHANGED))
            return
        if now != one.watched:
            one.mailbox.close(ended(EndReason.ORGANISATION_CHANGED))
