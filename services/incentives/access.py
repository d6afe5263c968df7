"""Who may see and change what in this service."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Request

from shared.db.database import Transaction
from shared.http.auth import CurrentPrincipal, Principal, Role, require
from shared.kernel.org import OrgChart

_SEES_TENANT: Final = (Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.SERVICE)

Editor = Annotated[Principal, Depends(require(Role.ADMIN, Role.REVOPS, Role.SERVICE))]
"""The caller, who may change plans and assignments. 403 for anybody else."""

Auditor = Annotated[Principal, Depends(require(*_SEES_TENANT))]
"""The caller, who may see everything in its tenant. 403 for anybody else."""

Organisation = Callable[[Transaction, UUID], Awaitable[OrgChart]]
"""Reads a tenant's chart; `app.state.organisation` is one."""


class View:
    """Whose pay the caller may see: everyone's, its subtree's as of today, or its own."""

    def __init__(self, principal: Principal, organisation: Organisation) -> None:
        self._principal = principal
        self._organisation = organisation

    async def people(self, tx: Transaction) -> frozenset[UUID] | None:
        """The people in view; None is everyone."""
        principal = self._principal
        if principal.has(*_SEES_TENANT):
            return None
        if principal.person_id is None:
            return frozenset()
        itself = frozenset({principal.person_id})
        if not principal.has(Role.MANAGER):
            return itself
        chart = await self._organisation(tx, principal.tenant_id)
        return itself | chart.managed_people(principal.person_id, chart.calendar.business_date(tx.now))

    async def narrowed(self, tx: Transaction, person_id: UUID | None) -> frozenset[UUID] | None:
        """The people in view, only the one asked for if one is; nobody when that one is out of view."""
        seen = await self.people(tx)
        if person_id is None:
            return seen
        return frozenset({person_id}) if seen is None or person_id in seen else frozenset()

    async def shows(self, tx: Transaction, person_id: UUID) -> bool:
        """Whether a person is in view."""
        seen = await self.people(tx)
        return seen is None or person_id in seen


async def current_view(request: Request, principal: CurrentPrincipal) -> View:
    """Dependency behind `CurrentView`."""
    return View(principal, request.app.state.organisation)


CurrentView = Annotated[View, Depends(current_view)]
