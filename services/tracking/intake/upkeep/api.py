"""Upkeep of connections over HTTP."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends

from services.tracking.intake.connections.api import UseCases
from services.tracking.intake.connections.domain import ConnectionNotFound
from services.tracking.intake.upkeep import service
from services.tracking.intake.upkeep.domain import MappingTooLarge, RetranslationNotFound
from services.tracking.intake.upkeep.schemas import (
    HealthAnswer,
    MappingTrial,
    MappingTrialAnswer,
    RepairAnswer,
    RepairBody,
    RetranslationAnswer,
    UncreditedOfTenantAnswer,
    UnmappedAnswer,
)
from shared.http.auth import Principal, Role, require
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import Editor, ReadsOrganisation
from shared.http.writer import RequestWriter
from shared.kernel.errors import VersionMismatch

router: Final = APIRouter(prefix="/v1/connections/{connection_id}", tags=["upkeep"])
of_tenant: Final = APIRouter(prefix="/v1/health", tags=["upkeep"])

MoneyReader = Annotated[Principal, Depends(require(Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.SERVICE))]
"""Who may know what all of the tenant's deals come to."""


@router.post("/mapping/test", responses=responses(ConnectionNotFound), summary="Test a mapping")
async def try_mapping(
    connection_id: UUID, body: MappingTrial, caller: Editor, reader: RequestReader, organisation: ReadsOrganisation
) -> MappingTrialAnswer:
    """What saving a mapping would change, tried on the newest stored deliveries. Changes nothing."""
    async with reader.transaction() as tx:
        trial = await service.try_mapping(
            tx,
            caller.tenant_id,
            connection_id,
            body.mapping.mapping(),
            chart=await organisation.chart(tx, caller.tenant_id),
            deliveries_max=body.deliveries_max,
        )
    return MappingTrialAnswer.from_trial(trial)


@router.get(
    "/retranslation",
    responses=responses(ConnectionNotFound, RetranslationNotFound),
    summary="Read how far the mapping has got",
)
async def get_retranslation(connection_id: UUID, caller: Editor, reader: RequestReader) -> RetranslationAnswer:
    """A mapping that is saved is applied to what was translated before it; this is how far that is."""
    async with reader.transaction() as tx:
        return RetranslationAnswer.from_work(await service.work_of(tx, caller.tenant_id, connection_id))


@router.get("/unmapped", responses=responses(ConnectionNotFound), summary="Read what is unmapped")
async def get_unmapped(
    connection_id: UUID, caller: Editor, reader: RequestReader, organisation: ReadsOrganisation, read: ConditionalRead
) -> Answered[UnmappedAnswer]:
    """Owners nobody is, stages without a status, and what is in quarantine, each with its counts.

    Owners are mapped in the goals service: the suggestion has the body for `POST /v1/identities`.
    """
    async with reader.transaction() as tx:
        found = await service.unmapped(
            tx, caller.tenant_id, connection_id, chart=await organisation.chart(tx, caller.tenant_id)
        )
    return read.answer(UnmappedAnswer.from_unmapped(found))


@router.post(
    "/repairs",
    status_code=202,
    responses=responses(ConnectionNotFound, VersionMismatch, PreconditionRequired, MappingTooLarge),
    summary="Repair the mapping",
)
async def repair_connection(
    connection_id: UUID,
    body: RepairBody,
    caller: Editor,
    writer: RequestWriter,
    version: ExpectedVersion,
    connections: UseCases,
) -> Answered[RepairAnswer]:
    """Add to the mapping, and translate again what that changes and what was in quarantine for want of it."""
    return await writer.commit(
        lambda tx: service.repair(
            tx, connections, caller.tenant_id, connection_id, body.repair(), expected_version=version
        ),
        RepairAnswer.from_repaired,
        status=202,
    )


@of_tenant.get("/uncredited", summary="Read what nobody is credited with")
async def get_uncredited(caller: MoneyReader, reader: RequestReader) -> UncreditedOfTenantAnswer:
    """Won deals, and shares of them, that nobody is credited with, of all connections: why, how many, how much.

    Counted whenever a deal, an identity or a mapping changes. `GET /v1/deals?uncredited=` lists the deals themselves.
    """
    async with reader.transaction() as tx:
        return UncreditedOfTenantAnswer.from_found(await service.uncredited_of(tx, caller.tenant_id))


@router.get("/health", responses=responses(ConnectionNotFound), summary="Read how a connection is")
async def get_health(connection_id: UUID, caller: Editor, reader: RequestReader) -> HealthAnswer:
    """Numbers, and for each check a sentence with what is the matter and what to do."""
    async with reader.transaction() as tx:
        facts = await service.facts_of(tx, caller.tenant_id, connection_id)
        return HealthAnswer.from_facts(facts, service.health_of(facts, tx), tx.now)
