"""Who may see which deals and activities.

`app.state.organisation` tells a tenant's chart: the rooms whose edges ask do not know it.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Request

from services.tracking.viewing import Viewer
from shared.db.database import Transaction
from shared.http.auth import Principal, Role
from shared.kernel.org import OrgChart

Organisation = Callable[[Transaction, UUID], Awaitable[OrgChart]]
_SEES_TENANT: Final = (Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.SERVICE)


async def organisation(request: Request) -> Organisation:
    """Dependency: how to read a tenant's chart."""
    found: Organisation = request.app.state.organisation
    return found


Chart = Annotated[Organisation, Depends(organisation)]


async def viewer_of(tx: Transaction, caller: Principal, chart_of: Organisation) -> Viewer:
    """A rep sees its own records, a manager those of its subtree today, others with a role all of the tenant's."""
    chart = await chart_of(tx, caller.tenant_id)
    mapped = frozenset(chart.identities)
    if caller.has(*_SEES_TENANT):
        return Viewer(mapped, None)
    people = set() if caller.person_id is None else {caller.person_id}
    if caller.has(Role.MANAGER) and caller.person_id is not None:
        people |= chart.managed_people(caller.person_id, chart.calendar.business_date(tx.now))
    return Viewer(mapped, frozenset(user for person in people for user in chart.users_of(person)))
