"""Reads: a transaction in the caller's tenant, open only for as long as the block that reads.

It is not a dependency that yields: such a one would keep its connection until the response has been sent.
"""

from contextlib import AbstractAsyncContextManager
from typing import Annotated

from fastapi import Depends, Request

from shared.db.database import Database, Scope, Transaction
from shared.http.auth import CurrentPrincipal, Principal


class Reader:
    """Opens transactions that see the caller's tenant."""

    def __init__(self, database: Database, principal: Principal) -> None:
        self._database = database
        self._principal = principal

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._database.transaction(Scope.of(self._principal.tenant_id))

    def snapshot(self) -> AbstractAsyncContextManager[Transaction]:
        """One that sees everything as it was when it began, for what is read in several pieces."""
        return self._database.snapshot(Scope.of(self._principal.tenant_id))


async def request_reader(request: Request, principal: CurrentPrincipal) -> Reader:
    """Dependency behind `RequestReader`."""
    return Reader(request.app.state.database, principal)


RequestReader = Annotated[Reader, Depends(request_reader)]
