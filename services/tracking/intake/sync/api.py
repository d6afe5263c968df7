"""Access to sources' APIs, reconciliations and backfills over HTTP."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Header

from services.tracking.intake.calling import service as calling
from services.tracking.intake.calling.caller import ApiCaller
from services.tracking.intake.calling.domain import (
    WHAT_TO_DO,
    ApiAccessMissing,
    SourceRefused,
    SourceUnavailable,
    Trouble,
)
from services.tracking.intake.connections import service as crm
from services.tracking.intake.connections.api import UseCases
from services.tracking.intake.connections.domain import (
    Connection,
    ConnectionNotFound,
    InvalidApiAccess,
)
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.inbox import fetching
from services.tracking.intake.sync import service
from services.tracking.intake.sync.domain import BackfillOpen, RunKind, RunNotFound, RunNotInState
from services.tracking.intake.sync.schemas import (
    CREDENTIALS_EXAMPLE,
    AnyCredentials,
    ApiAccessAnswer,
    ApiCheckAnswer,
    BackfillAnswer,
    QueuedAnswer,
    ReconciliationAnswer,
    ReconciliationSettings,
    RunAnswer,
)
from shared.db.database import Transaction
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion, expected_version
from shared.http.outbound import OutboundSettings, UrlRefused, check_url
from shared.http.paging import Cursor, InvalidCursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import Editor
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.errors import VersionMismatch

router: Final = APIRouter(prefix="/v1/connections/{connection_id}", tags=["synchronisation"])

Caller = Annotated[ApiCaller, Depends(handed(ApiCaller))]
Outbound = Annotated[OutboundSettings, Depends(handed(OutboundSettings))]
_PAGES: Final = Cursor(UUID)
_RECORD_PAGES: Final = Cursor(tuple[str, str])
_CHANGE: Final = (ConnectionNotFound, VersionMismatch, PreconditionRequired)
_RUN_CHANGE: Final = (RunNotFound, RunNotInState, VersionMismatch, PreconditionRequired)
_CHECK_SECONDS_MAX: Final = 45
_CHECK_ACCESS: Final = "Check that the credentials are right and may read deals, and that the addresses are."


@router.get("/api-access", responses=responses(ConnectionNotFound), summary="Read the API access")
async def get_api_access(
    connection_id: UUID, caller: Editor, reader: RequestReader, connections: UseCases, read: ConditionalRead
) -> Answered[ApiAccessAnswer]:
    """Whether the source's API may be called, for which addresses, and whether it is; never the credentials."""
    async with reader.transaction() as tx:
        answer = await _shown(tx, connections, await crm.get(tx, caller.tenant_id, connection_id))
    return read.answer(answer)


@router.put("/api-access", responses=responses(*_CHANGE, InvalidApiAccess, UrlRefused), summary="Give API access")
async def give_api_access(
    connection_id: UUID,
    body: Annotated[AnyCredentials, Body(openapi_examples={"hubspot": {"value": CREDENTIALS_EXAMPLE}})],
    caller: Editor,
    writer: RequestWriter,
    connections: UseCases,
    outbound: Outbound,
    if_match: Annotated[
        str | None,
        Header(
            description="The ETag of the access that is replaced; not needed where there is none.", examples=['"7"']
        ),
    ] = None,
) -> Answered[ApiAccessAnswer]:
    """Let the source's API be called with these credentials, which are stored sealed and not shown again.

    What waits to be fetched is fetched at once, a channel is opened where the source has such, and the connection is
    reconciled from then on.
    """
    for name, value in body.model_dump().items():
        if name.endswith("_url"):
            check_url(value, outbound, pointer=f"/{name}")

    async def give(tx: Transaction) -> ApiAccessAnswer:
        current = await crm.get(tx, caller.tenant_id, connection_id)
        is_first = if_match is None and current.api is None
        connection = await connections.give_access(
            tx,
            caller.tenant_id,
            connection_id,
            body,
            expected_version=current.version if is_first else expected_version(if_match),
        )
        await service.access_given(tx, connections, connection)
        return await _shown(tx, connections, connection)

    return await writer.commit(give)


@router.delete("/api-access", responses=responses(*_CHANGE), summary="Withdraw the API access")
async def withdraw_api_access(
    connection_id: UUID, caller: Editor, writer: RequestWriter, version: ExpectedVersion, connections: UseCases
) -> Answered[ApiAccessAnswer]:
    """Call the source's API no more, and forget the credentials."""

    async def withdraw(tx: Transaction) -> ApiAccessAnswer:
        connection = await connections.withdraw_access(tx, caller.tenant_id, connection_id, expected_version=version)
        return await _shown(tx, connections, connection)

    return await writer.commit(withdraw)


@router.post(
    "/api-access/check", responses=responses(ConnectionNotFound, ApiAccessMissing), summary="Check the API access"
)
async def check_api_access(connection_id: UUID, caller: Editor, reader: RequestReader, calls: Caller) -> ApiCheckAnswer:
    """Call the source once, also while it is otherwise not called, and say whether that works. Changes nothing."""
    async with reader.transaction() as tx:
        connection = await crm.get(tx, caller.tenant_id, connection_id)
    access = calls.access(connection, is_requested=True)
    try:
        async with asyncio.timeout(_CHECK_SECONDS_MAX):
            await access.run(access.api.changed(access.credentials, datetime.now(UTC), None))
    except TimeoutError:
        detail = f"The source did not answer within {_CHECK_SECONDS_MAX} seconds."
        return ApiCheckAnswer(works=False, detail=detail, what_to_do=WHAT_TO_DO[Trouble.UNWELL])
    except SourceUnavailable as error:
        return ApiCheckAnswer(works=False, detail=error.detail, what_to_do=WHAT_TO_DO[error.trouble])
    except SourceRefused as error:
        return ApiCheckAnswer(works=False, detail=error.detail, what_to_do=_CHECK_ACCESS)
    return ApiCheckAnswer(works=True, detail="The source answered: records can be read.", what_to_do=None)


@router.get(
    "/fetches", responses=responses(ConnectionNotFound, InvalidCursor), summary="List what is still to be fetched"
)
async def list_fetches(
    connection_id: UUID, caller: Editor, reader: RequestReader, paging: Paging
) -> Page[QueuedAnswer]:
    """Records that deliveries named without saying what they are like, by object and id, and why not yet."""
    async with reader.transaction() as tx:
        await crm.get(tx, caller.tenant_id, connection_id)
        found = await fetching.queued(
            tx,
            caller.tenant_id,
            connection_id,
            after=_RECORD_PAGES.after(paging),
            limit=paging.fetch_limit,
        )
    return _RECORD_PAGES.page(
        paging, found, key=lambda each: (each.object_name, each.external_id), item=QueuedAnswer.from_queued
    )


@router.get("/reconciliation", responses=responses(ConnectionNotFound), summary="Read how often is reconciled")
async def get_reconciliation(
    connection_id: UUID, caller: Editor, reader: RequestReader, read: ConditionalRead
) -> Answered[ReconciliationAnswer]:
    """How often the connection is reconciled, when next, and how far it is complete."""
    async with reader.transaction() as tx:
        current = await service.reconciliation(tx, caller.tenant_id, connection_id)
    return read.answer(ReconciliationAnswer.from_reconciliation(current))


@router.put(
    "/reconciliation",
    responses=responses(ConnectionNotFound, VersionMismatch, PreconditionRequired),
    summary="Set how often to reconcile",
)
async def set_reconciliation(
    connection_id: UUID,
    body: ReconciliationSettings,
    caller: Editor,
    writer: RequestWriter,
    version: ExpectedVersion,
) -> Answered[ReconciliationAnswer]:
    """Reconcile every so many minutes from now on, or only on demand."""
    return await writer.commit(
        lambda tx: service.set_reconciliation(
            tx, caller.tenant_id, connection_id, every_minutes=body.every_minutes, expected_version=version
        ),
        ReconciliationAnswer.from_reconciliation,
    )


@router.post(
    "/reconcile",
    status_code=202,
    responses=responses(ConnectionNotFound, ApiAccessMissing, RunNotFound),
    summary="Reconcile now",
)
async def reconcile_connection(connection_id: UUID, caller: Editor, writer: RequestWriter) -> Answered[RunAnswer]:
    """Fetch everything that changed since the last time, and store what webhooks missed.

    The answer is the run, to be read until it has ended; the one under way if there is one.
    """
    return await writer.commit(
        lambda tx: service.reconcile(tx, caller.tenant_id, connection_id),
        RunAnswer.from_run,
        status=202,
        location=lambda run: f"/v1/connections/{connection_id}/reconciliations/{run.id}",
    )


@router.get("/reconciliations", responses=responses(ConnectionNotFound, InvalidCursor), summary="List reconciliations")
async def list_reconciliations(
    connection_id: UUID, caller: Editor, reader: RequestReader, paging: Paging
) -> Page[RunAnswer]:
    """Newest first."""
    async with reader.transaction() as tx:
        found = await service.runs(
            tx,
            caller.tenant_id,
            connection_id,
            RunKind.RECONCILIATION,
            before=_PAGES.after(paging),
            limit=paging.fetch_limit,
        )
    return _PAGES.page(paging, found, key=lambda each: each.id, item=RunAnswer.from_run)


@router.get("/reconciliations/{run_id}", responses=responses(RunNotFound), summary="Read a reconciliation")
async def get_reconciliation_run(
    connection_id: UUID, run_id: UUID, caller: Editor, reader: RequestReader, read: ConditionalRead
) -> Answered[RunAnswer]:
    """How far it is and what it found."""
    async with reader.transaction() as tx:
        found = await service.run(tx, caller.tenant_id, connection_id, RunKind.RECONCILIATION, run_id)
    return read.answer(RunAnswer.from_run(found))


@router.post(
    "/backfills",
    status_code=201,
    responses=responses(ConnectionNotFound, ApiAccessMissing, BackfillOpen),
    summary="Start a backfill",
)
async def start_backfill(connection_id: UUID, caller: Editor, writer: RequestWriter) -> Answered[BackfillAnswer]:
    """Bring in everything the source has, also from before the connection was made. One at a time."""
    return await writer.commit(
        lambda tx: service.backfill(tx, caller.tenant_id, connection_id),
        BackfillAnswer.from_run,
        status=201,
        location=lambda run: f"/v1/connections/{connection_id}/backfills/{run.id}",
    )


@router.get("/backfills", responses=responses(ConnectionNotFound, InvalidCursor), summary="List backfills")
async def list_backfills(
    connection_id: UUID, caller: Editor, reader: RequestReader, paging: Paging
) -> Page[BackfillAnswer]:
    """Newest first."""
    async with reader.transaction() as tx:
        found = await service.runs(
            tx,
            caller.tenant_id,
            connection_id,
            RunKind.BACKFILL,
            before=_PAGES.after(paging),
            limit=paging.fetch_limit,
        )
    return _PAGES.page(paging, found, key=lambda each: each.id, item=BackfillAnswer.from_run)


@router.get("/backfills/{run_id}", responses=responses(RunNotFound), summary="Read a backfill")
async def get_backfill(
    connection_id: UUID, run_id: UUID, caller: Editor, reader: RequestReader, read: ConditionalRead
) -> Answered[BackfillAnswer]:
    """How far it is, how fast, and how long it still takes."""
    async with reader.transaction() as tx:
        found = await service.run(tx, caller.tenant_id, connection_id, RunKind.BACKFILL, run_id)
    return read.answer(BackfillAnswer.from_run(found))


@router.post("/backfills/{run_id}/pause", responses=responses(*_RUN_CHANGE), summary="Pause a backfill")
async def pause_backfill(
    connection_id: UUID, run_id: UUID, caller: Editor, writer: RequestWriter, version: ExpectedVersion
) -> Answered[BackfillAnswer]:
    """Stop it where it is."""
    return await writer.commit(
        lambda tx: service.pause(tx, caller.tenant_id, connection_id, run_id, expected_version=version),
        BackfillAnswer.from_run,
    )


@router.post("/backfills/{run_id}/resume", responses=responses(*_RUN_CHANGE, BackfillOpen), summary="Resume a backfill")
async def resume_backfill(
    connection_id: UUID, run_id: UUID, caller: Editor, writer: RequestWriter, version: ExpectedVersion
) -> Answered[BackfillAnswer]:
    """Go on with one that was paused or has failed, where it stopped."""
    return await writer.commit(
        lambda tx: service.resume(tx, caller.tenant_id, connection_id, run_id, expected_version=version),
        BackfillAnswer.from_run,
    )


@router.post("/backfills/{run_id}/cancel", responses=responses(*_RUN_CHANGE), summary="Cancel a backfill")
async def cancel_backfill(
    connection_id: UUID, run_id: UUID, caller: Editor, writer: RequestWriter, version: ExpectedVersion
) -> Answered[BackfillAnswer]:
    """Give it up. What it has brought in stays."""
    return await writer.commit(
        lambda tx: service.cancel(tx, caller.tenant_id, connection_id, run_id, expected_version=version),
        BackfillAnswer.from_run,
    )


async def _shown(tx: Transaction, connections: Connections, connection: Connection) -> ApiAccessAnswer:
    return ApiAccessAnswer.from_parts(
        connection,
        addresses=connections.addresses(connection),
        calls=await calling.call_state(tx, connection),
        backlog=await fetching.backlog(tx, connection.tenant_id, connection.id),
        channel=await service.channel(tx, connection.tenant_id, connection.id),
    )
