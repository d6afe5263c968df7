"""Connections over HTTP."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends

from services.tracking.intake.connections import service
from services.tracking.intake.connections.directory import SenderDirectory
from services.tracking.intake.connections.domain import (
    ConnectionNotFound,
    InvalidAllowList,
    LastSecret,
    RotationUnderWay,
    SecretNotFound,
)
from services.tracking.intake.connections.schemas import (
    ConnectionAnswer,
    ConnectionBody,
    ConnectionChanges,
    ConnectionWithSecret,
    Rotation,
)
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.sources.domain import InvalidSecret
from shared.db.database import Transaction
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, InvalidCursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import Editor
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.errors import VersionMismatch

router: Final = APIRouter(prefix="/v1/connections", tags=["connections"])

UseCases = Annotated[Connections, Depends(handed(Connections))]
Directory = Annotated[SenderDirectory, Depends(handed(SenderDirectory))]
_PAGES: Final = Cursor(UUID)
_CHANGE: Final = (VersionMismatch, PreconditionRequired)


@router.post("", status_code=201, responses=responses(InvalidSecret, InvalidAllowList), summary="Connect a CRM")
async def create_connection(
    body: ConnectionBody, caller: Editor, writer: RequestWriter, connections: UseCases, directory: Directory
) -> Answered[ConnectionWithSecret]:
    """Make a connection. The answer has its secret, which is not shown again."""

    async def create(tx: Transaction) -> ConnectionWithSecret:
        result = await connections.create(
            tx,
            caller.tenant_id,
            source=body.source,
            name=body.name,
            identity_source=body.identity_source or body.source.value,
            secret=body.secret,
            mapping=body.mapping.mapping(),
            allowed=body.allowed,
        )
        directory.saved(tx, result.connection)
        return ConnectionWithSecret.from_result(result)

    return await writer.commit(
        create, status=201, location=lambda made: f"/v1/connections/{made.id}", seal=connections.box
    )


@router.get("", responses=responses(InvalidCursor), summary="List connections")
async def list_connections(caller: Editor, reader: RequestReader, paging: Paging) -> Page[ConnectionAnswer]:
    """In the order they were made."""
    async with reader.transaction() as tx:
        found = await service.page(tx, caller.tenant_id, after=_PAGES.after(paging), limit=paging.fetch_limit)
    return _PAGES.page(paging, found, key=lambda each: each.id, item=ConnectionAnswer.from_connection)


@router.get("/{connection_id}", responses=responses(ConnectionNotFound), summary="Read a connection")
async def get_connection(
    connection_id: UUID, caller: Editor, reader: RequestReader, read: ConditionalRead
) -> Answered[ConnectionAnswer]:
    """A connection and when its secrets expire."""
    async with reader.transaction() as tx:
        connection = await service.get(tx, caller.tenant_id, connection_id)
    return read.answer(ConnectionAnswer.from_connection(connection))


@router.patch(
    "/{connection_id}",
    responses=responses(ConnectionNotFound, *_CHANGE, InvalidAllowList),
    summary="Change a connection",
)
async def change_connection(
    connection_id: UUID,
    body: ConnectionChanges,
    caller: Editor,
    writer: RequestWriter,
    version: ExpectedVersion,
    connections: UseCases,
    directory: Directory,
) -> Answered[ConnectionAnswer]:
    """Its name, status, mapping or allow-list. A new mapping also changes what was translated before it."""

    async def edit(tx: Transaction) -> ConnectionAnswer:
        changed = await connections.edit(
            tx,
            caller.tenant_id,
            connection_id,
            expected_version=version,
            name=body.name,
            status=body.status,
            mapping=None if body.mapping is None else body.mapping.mapping(),
            allowed=body.allowed,
        )
        directory.saved(tx, changed)
        return ConnectionAnswer.from_connection(changed)

    return await writer.commit(edit)


@router.post(
    "/{connection_id}/secrets",
    status_code=201,
    responses=responses(ConnectionNotFound, *_CHANGE, RotationUnderWay, InvalidSecret),
    summary="Rotate the secret",
)
async def rotate_secret(
    connection_id: UUID,
    body: Rotation,
    caller: Editor,
    writer: RequestWriter,
    version: ExpectedVersion,
    connections: UseCases,
    directory: Directory,
) -> Answered[ConnectionWithSecret]:
    """Give the connection a new secret; both are valid until the old one expires or is retired."""

    async def rotate(tx: Transaction) -> ConnectionWithSecret:
        result = await connections.rotate(
            tx,
            caller.tenant_id,
            connection_id,
            expected_version=version,
            secret=body.secret,
            overlap=body.overlap,
        )
        directory.saved(tx, result.connection)
        return ConnectionWithSecret.from_result(result)

    return await writer.commit(rotate, status=201, seal=connections.box)


@router.delete(
    "/{connection_id}/secrets/{secret_id}",
    responses=responses(ConnectionNotFound, SecretNotFound, *_CHANGE, LastSecret),
    summary="Retire a secret",
)
async def retire_secret(
    connection_id: UUID,
    secret_id: UUID,
    caller: Editor,
    writer: RequestWriter,
    version: ExpectedVersion,
    connections: UseCases,
    directory: Directory,
) -> Answered[ConnectionAnswer]:
    """Make a secret invalid at once."""

    async def retire(tx: Transaction) -> ConnectionAnswer:
        changed = await connections.retire_secret(
            tx, caller.tenant_id, connection_id, secret_id, expected_version=version
        )
        directory.saved(tx, changed)
        return ConnectionAnswer.from_connection(changed)

    return await writer.commit(retire)
