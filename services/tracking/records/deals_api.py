"""Deals over HTTP."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query

from services.tracking.records import deals_service as service
from services.tracking.records.deals_schemas import DEAL_EXAMPLE, DealVersionOut
from services.tracking.records.domain.deals import DealFilter, DealNotFound, UncreditedReason
from shared.contracts.deals import Deal
from shared.contracts.texts import SearchText
from shared.http.auth import CurrentPrincipal
from shared.http.paging import Cursor, InvalidCursor, Page, Paging
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.sight import CurrentSight, ReadsOrganisation
from shared.kernel.deals import DealStatus

router: Final = APIRouter(prefix="/v1/deals", tags=["deals"])

_DEALS: Final = Cursor(UUID)
_VERSIONS: Final = Cursor(tuple[datetime, int, UUID])
_DEAL_ANSWERED: Final[dict[int | str, dict[str, object]]] = {
    200: {"content": {"application/json": {"example": DEAL_EXAMPLE}}}
}
_DEALS_ANSWERED: Final[dict[int | str, dict[str, object]]] = {
    200: {"content": {"application/json": {"example": {"items": [DEAL_EXAMPLE], "next_cursor": None}}}}
}


@router.get("", responses={**_DEALS_ANSWERED, **responses(InvalidCursor)}, summary="List deals")
async def list_deals(
    caller: CurrentPrincipal,
    reader: RequestReader,
    paging: Paging,
    sight: CurrentSight,
    organisation: ReadsOrganisation,
    status: Annotated[DealStatus | None, Query(description="Only those in this status.")] = None,
    source: Annotated[SearchText | None, Query(description="Only those of this source.")] = None,
    owner: Annotated[SearchText | None, Query(description="Only those of this user, as the source names it.")] = None,
    connection_id: Annotated[UUID | None, Query(description="Only those of this connection.")] = None,
    unmapped: Annotated[
        bool,
        Query(description="Only those that belong to nobody: no identity names their owner, or the user of a split."),
    ] = False,
    uncredited: Annotated[
        UncreditedReason | None,
        Query(description="Only won ones that nobody is credited with, in whole or in part, for this reason."),
    ] = None,
) -> Page[Deal]:
    """The newest version of each deal. A rep sees those it owns or shares in, a manager those of its subtree today."""
    async with reader.transaction() as tx:
        names_users = unmapped or uncredited is not None
        mapped = frozenset((await organisation.chart(tx, caller.tenant_id)).identities) if names_users else frozenset()
        found = await service.page(
            tx,
            caller.tenant_id,
            await sight.today(tx),
            DealFilter(
                status=status,
                source=source,
                owner_external_id=owner,
                unmapped=unmapped,
                connection_id=connection_id,
                uncredited=uncredited,
                mapped=mapped,
            ),
            after=_DEALS.after(paging),
            limit=paging.fetch_limit,
        )
    return _DEALS.page(paging, found, key=lambda deal: deal.id, item=lambda deal: deal)


@router.get("/{deal_id}", responses={**_DEAL_ANSWERED, **responses(DealNotFound)}, summary="Read a deal")
async def read_deal(deal_id: UUID, caller: CurrentPrincipal, reader: RequestReader, sight: CurrentSight) -> Deal:
    """The newest version."""
    async with reader.transaction() as tx:
        return await service.get(tx, caller.tenant_id, await sight.today(tx), deal_id)


@router.get("/{deal_id}/versions", responses=responses(DealNotFound, InvalidCursor), summary="List a deal's versions")
async def list_deal_versions(
    deal_id: UUID, caller: CurrentPrincipal, reader: RequestReader, paging: Paging, sight: CurrentSight
) -> Page[DealVersionOut]:
    """Every version there ever was, newest first, in whatever order they came."""
    async with reader.transaction() as tx:
        found = await service.versions(
            tx,
            caller.tenant_id,
            await sight.today(tx),
            deal_id,
            before=_VERSIONS.after(paging),
            limit=paging.fetch_limit,
        )
    return _VERSIONS.page(
        paging,
        found,
        key=lambda version: (version.deal.modified_at, version.deal.sequence, version.deal.delivery_id),
        item=lambda version: DealVersionOut.from_version(version.deal, version.recorded_at),
    )
