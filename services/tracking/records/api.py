"""Deals and activities over HTTP."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import JsonValue

from services.tracking.records.domain.records import ActivityFilter, ActivityNotFound, DealFilter, DealNotFound
from services.tracking.records.domain.uncredited import UncreditedReason
from services.tracking.records.schemas import ACTIVITY_EXAMPLE, DEAL_EXAMPLE, ActivityVersionAnswer, DealVersionAnswer
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts.activities import Activity
from shared.contracts.base import Instant
from shared.contracts.deals import Deal
from shared.contracts.texts import SearchText
from shared.http.paging import Cursor, InvalidCursor, Page, Paging
from shared.http.problems import responses
from shared.http.sight import CurrentCaller, ReadsOrganisation
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealStatus

deals_router: Final = APIRouter(prefix="/v1/deals", tags=["deals"])
activities_router: Final = APIRouter(prefix="/v1/activities", tags=["activities"])

Answered = dict[int | str, dict[str, object]]
_RECORDS: Final = Cursor(UUID)
_VERSIONS: Final = Cursor(tuple[datetime, int, UUID])


def _answered(example: JsonValue) -> Answered:
    return {200: {"content": {"application/json": {"example": example}}}}


def _listed(example: JsonValue) -> Answered:
    return _answered({"items": [example], "next_cursor": None})


@deals_router.get("", responses={**_listed(DEAL_EXAMPLE), **responses(InvalidCursor)}, summary="List deals")
async def list_deals(
    caller: CurrentCaller,
    paging: Paging,
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
    async with caller.reading() as (tx, sight):
        names_users = unmapped or uncredited is not None
        mapped = frozenset((await organisation.chart(tx, caller.tenant_id)).identities) if names_users else frozenset()
        found = await DEALS.page(
            tx,
            caller.tenant_id,
            sight,
            DealFilter(
                status=status,
                source=source,
                owner_external_id=owner,
                unmapped=unmapped,
                connection_id=connection_id,
                uncredited=uncredited,
                mapped=mapped,
            ),
            after=_RECORDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _RECORDS.page(paging, found, key=lambda record: record.id, item=lambda record: record)


@deals_router.get("/{deal_id}", responses={**_answered(DEAL_EXAMPLE), **responses(DealNotFound)}, summary="Read a deal")
async def get_deal(deal_id: UUID, caller: CurrentCaller) -> Deal:
    """The newest version."""
    async with caller.reading() as (tx, sight):
        return await DEALS.get(tx, caller.tenant_id, sight, deal_id)


@deals_router.get(
    "/{deal_id}/versions", responses=responses(DealNotFound, InvalidCursor), summary="List a deal's versions"
)
async def list_deal_versions(deal_id: UUID, caller: CurrentCaller, paging: Paging) -> Page[DealVersionAnswer]:
    """Every version there ever was, newest first, in whatever order they came."""
    async with caller.reading() as (tx, sight):
        found = await DEALS.versions(
            tx, caller.tenant_id, sight, deal_id, before=_VERSIONS.after(paging), limit=paging.fetch_limit
        )
    return _VERSIONS.page(paging, found, key=lambda version: version.key, item=DealVersionAnswer.from_version)


@activities_router.get(
    "", responses={**_listed(ACTIVITY_EXAMPLE), **responses(InvalidCursor)}, summary="List activities"
)
async def list_activities(
    caller: CurrentCaller,
    paging: Paging,
    type: Annotated[ActivityType | None, Query(description="Only those of this type.")] = None,
    status: Annotated[ActivityStatus | None, Query(description="Only those in this status.")] = None,
    source: Annotated[SearchText | None, Query(description="Only those of this source.")] = None,
    owner: Annotated[SearchText | None, Query(description="Only those of this user, as the source names it.")] = None,
    deal: Annotated[SearchText | None, Query(description="Only those for this deal, as the source names it.")] = None,
    occurred_from: Annotated[
        Instant | None, Query(alias="from", description="Only those that took place, or are to, then or later.")
    ] = None,
    occurred_before: Annotated[
        Instant | None, Query(alias="to", description="Only those that took place, or are to, before then.")
    ] = None,
) -> Page[Activity]:
    """The newest version of each activity. A rep sees its own, a manager those of its subtree today."""
    async with caller.reading() as (tx, sight):
        found = await ACTIVITIES.page(
            tx,
            caller.tenant_id,
            sight,
            ActivityFilter(type, status, source, owner, deal, occurred_from, occurred_before),
            after=_RECORDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _RECORDS.page(paging, found, key=lambda record: record.id, item=lambda record: record)


@activities_router.get(
    "/{activity_id}",
    responses={**_answered(ACTIVITY_EXAMPLE), **responses(ActivityNotFound)},
    summary="Read an activity",
)
async def get_activity(activity_id: UUID, caller: CurrentCaller) -> Activity:
    """The newest version."""
    async with caller.reading() as (tx, sight):
        return await ACTIVITIES.get(tx, caller.tenant_id, sight, activity_id)


@activities_router.get(
    "/{activity_id}/versions",
    responses=responses(ActivityNotFound, InvalidCursor),
    summary="List an activity's versions",
)
async def list_activity_versions(
    activity_id: UUID, caller: CurrentCaller, paging: Paging
) -> Page[ActivityVersionAnswer]:
    """Every version there ever was, newest first, in whatever order they came."""
    async with caller.reading() as (tx, sight):
        found = await ACTIVITIES.versions(
            tx, caller.tenant_id, sight, activity_id, before=_VERSIONS.after(paging), limit=paging.fetch_limit
        )
    return _VERSIONS.page(paging, found, key=lambda version: version.key, item=ActivityVersionAnswer.from_version)
