"""Who may change what in this service, and who may audit it."""

from typing import Annotated

from fastapi import Depends

from shared.http.auth import Principal, require
from shared.http.sight import EDITS, SEES_TENANT

Editor = Annotated[Principal, Depends(require(*EDITS))]
"""The caller, who may change plans and assignments. 403 for anybody else."""

Auditor = Annotated[Principal, Depends(require(*SEES_TENANT))]
"""The caller, who may see everything in its tenant. 403 for anybody else."""
