"""The sight of a caller: what its roles let it see, by the organisation that its service reads."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar
from uuid import UUID

from fastapi import Depends

from shared.db.database import Transaction
from shared.http.auth import CurrentPrincipal, Principal, Role, require
from shared.http.reader import Reader, RequestReader
from shared.http.wiring import handed
from shared.kernel.org import OrgChart
from shared.kernel.sight import WHOLE_TENANT, Breadth, Sight, Viewer

ResultT = TypeVar("ResultT")

SEES_TENANT: Final = (Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.SERVICE)
EDITS: Final = (Role.ADMIN, Role.REVOPS, Role.SERVICE)

Editor = Annotated[Principal, Depends(require(*EDITS))]
"""The caller, who may change the organisation, goals and plans, and connect other systems. 403 for anybody else."""

Auditor = Annotated[Principal, Depends(require(*SEES_TENANT))]
"""The caller, who sees all of its tenant. 403 for anybody else."""


@dataclass(frozen=True, slots=True)
class Organisation:
    """How a service reads the organisation: the chart of a tenant."""

    chart: Callable[[Transaction, UUID], Awaitable[OrgChart]]


ReadsOrganisation = Annotated[Organisation, Depends(handed(Organisation))]


def viewer_of(principal: Principal) -> Viewer:
    """The caller as somebody who looks."""
    if principal.has(*SEES_TENANT):
        breadth = Breadth.TENANT
    else:
        breadth = Breadth.SUBTREE if principal.has(Role.MANAGER) else Breadth.ITSELF
    return Viewer(principal.person_id, breadth, edits=principal.has(*EDITS))


class Caller:
    """Who calls, in which tenant, and what it sees there, once there is a transaction to read the organisation in."""

    def __init__(self, principal: Principal, organisation: Organisation, reader: Reader) -> None:
        self.tenant_id = principal.tenant_id
        self.actor = principal.actor
        self._viewer = viewer_of(principal)
        self._organisation = organisation
        self._reader = reader

    async def sight(self, tx: Transaction) -> Sight:
        """On the tenant's day of the transaction."""
        if self._viewer.breadth is Breadth.TENANT:
            return Sight(self._viewer, WHOLE_TENANT.chart, WHOLE_TENANT.today)
        chart = await self._organisation.chart(tx, self.tenant_id)
        return Sight(self._viewer, chart, chart.calendar.business_date(tx.now))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[tuple[Transaction, Sight]]:
        """A transaction to read in, with what the caller sees in it: everything of one moment."""
        async with self._reader.snapshot() as tx:
            yield tx, await self.sight(tx)

    def seeing(
        self, use_case: Callable[[Transaction, Sight], Awaitable[ResultT]]
    ) -> Callable[[Transaction], Awaitable[ResultT]]:
        """A use case for a writer to commit, with what the caller sees in the writer's transaction."""

        async def with_sight(tx: Transaction) -> ResultT:
            return await use_case(tx, await self.sight(tx))

        return with_sight


async def current_caller(principal: CurrentPrincipal, organisation: ReadsOrganisation, reader: RequestReader) -> Caller:
    """Dependency behind `CurrentCaller`."""
    return Caller(principal, organisation, reader)


CurrentCaller = Annotated[Caller, Depends(current_caller)]
