"""Who may audit this service."""

from typing import Annotated

from fastapi import Depends

from shared.http.auth import Principal, require
from shared.http.sight import SEES_TENANT

Auditor = Annotated[Principal, Depends(require(*SEES_TENANT))]
"""The caller, who may see everything in its tenant. 403 for anybody else."""
