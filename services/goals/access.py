"""Who may change what in this service."""

from typing import Annotated

from fastapi import Depends

from shared.http.auth import Principal, Role, require
from shared.http.sight import EDITS

Editor = Annotated[Principal, Depends(require(*EDITS))]
"""The caller, who may change the organisation and its goals. 403 for anybody else."""

RateEditor = Annotated[Principal, Depends(require(Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.SERVICE))]
"""The caller, who may state exchange rates. 403 for anybody else."""
