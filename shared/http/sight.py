"""The sight of a caller: what its roles let it see, by the organisation that its service reads."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends

from shared.db.database import Transaction
from shared.http.auth import CurrentPrincipal, Principal, Role, require
from shared.http.wiring import handed
from shared.kernel.org import OrgChart
from shared.kernel.sight import WHOLE_TENANT, Breadth, Sight, Viewer

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


class CallersSight:
    """What the caller sees, once there is a transaction to read the organisation in."""

    def __init__(self, principal: Principal, organisation: Organisation) -> None:
        self._viewer = viewer_of(principal)
        self._tenant_id = principal.tenant_id
        self._organisation = organisation

    async def today(self, tx: Transaction) -> Sight:
        """On the tenant's day of the transaction."""
        if self._viewer.breadth is Breadth.TENANT:
            return Sight(self._viewer, WHOLE_TENANT.chart, WHOLE_TENANT.today)
        chart = await self._organisation.chart(tx, self._tenant_id)
        return Sight(self._viewer, chart, chart.calendar.business_date(tx.now))


async def callers_sight(principal: CurrentPrincipal, organisation: ReadsOrganisation) -> CallersSight:
    """Dependency behind `CurrentSight`."""
    return CallersSight(principal, organisation)


CurrentSight = Annotated[CallersSight, Depends(callers_sight)]
