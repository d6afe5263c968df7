"""Activities over HTTP."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query

from services.tracking.records import activities_service as service
from services.tracking.records.activities_schemas import ACTIVITY_EXAMPLE, ActivityVersionOut
from services.tracking.records.domain.activities import ActivityFilter, ActivityNotFound
from shared.contracts.activities import Activity
from shared.contracts.base import Instant
from shared.contracts.texts import SearchText
from shared.http.auth import CurrentPrincipal
from shared.http.paging import Cursor, InvalidCursor, Page, Paging
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.sight import CurrentSight
from shared.kernel.activities import ActivityStatus, ActivityType

router: Final = APIRouter(prefix="/v1/activities", tags=["activities"])

_ACTIVITIES: Final = Cursor(UUID)
_VERSIONS: Final = Cursor(tuple[datetime, int, UUID])
_ACTIVITY_ANSWERED: Final[dict[int | str, dict[str, object]]] = {
    200: {"content": {"application/json": {"example": ACTIVITY_EXAMPLE}}}
}
_ACTIVITIES_ANSWERED: Final[dict[int | str, dict[str, object]]] = {
    200: {"content": {"application/json": {"example": {"items": [ACTIVITY_EXAMPLE], "next_cursor": None}}}}
}


@router.get("", responses={**_ACTIVITIES_ANSWERED, **responses(InvalidCursor)}, summary="List activities")
async def list_activities(
    caller: CurrentPrincipal,
    reader: RequestReader,
    paging: Paging,
    sight: CurrentSight,
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
    async with reader.transaction() as tx:
        found = await service.page(
            tx,
            caller.tenant_id,
            await sight.today(tx),
            ActivityFilter(type, status, source, owner, deal, occurred_from, occurred_before),
            after=_ACTIVITIES.after(paging),
            limit=paging.fetch_limit,
        )
    return _ACTIVITIES.page(paging, found, key=lambda activity: activity.id, item=lambda activity: activity)


@router.get(
    "/{activity_id}", responses={**_ACTIVITY_ANSWERED, **responses(ActivityNotFound)}, summary="Read an activity"
)
async def read_activity(
    activity_id: UUID, caller: CurrentPrincipal, reader: RequestReader, sight: CurrentSight
) -> Activity:
    """The newest version."""
    async with reader.transaction() as tx:
        return await service.get(tx, caller.tenant_id, await sight.today(tx), activity_id)


@router.get(
    "/{activity_id}/versions",
    responses=responses(ActivityNotFound, InvalidCursor),
    summary="List an activity's versions",
)
async def list_activity_versions(
    activity_id: UUID, caller: CurrentPrincipal, reader: RequestReader, paging: Paging, sight: CurrentSight
) -> Page[ActivityVersionOut]:
    """Every version there ever was, newest first, in whatever order they came."""
    async with reader.transaction() as tx:
        found = await service.versions(
            tx,
            caller.tenant_id,
            await sight.today(tx),
            activity_id,
            before=_VERSIONS.after(paging),
            limit=paging.fetch_limit,
        )
    return _VERSIONS.page(
        paging,
        found,
        key=lambda version: (version.activity.modified_at, version.activity.sequence, version.activity.delivery_id),
        item=lambda version: ActivityVersionOut.from_version(version.activity, version.recorded_at),
    )
