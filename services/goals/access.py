"""Who may see and change what in this service."""

from typing import Annotated, Final

from fastapi import Depends

from services.goals.org.domain import Viewer
from shared.http.auth import Principal, Role, require

_SEES_TENANT: Final = (Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.SERVICE)

Editor = Annotated[Principal, Depends(require(Role.ADMIN, Role.REVOPS, Role.SERVICE))]
"""The caller, who may change the organisation and its goals. 403 for anybody else."""

RateEditor = Annotated[Principal, Depends(require(Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.SERVICE))]
"""The caller, who may state exchange rates. 403 for anybody else."""


def viewer_of(principal: Principal) -> Viewer:
    """What the caller's roles let it see: the tenant, the subtree it manages, or itself."""
    return Viewer(
        person_id=principal.person_id,
        sees_tenant=principal.has(*_SEES_TENANT),
        sees_subtree=principal.has(Role.MANAGER),
    )
