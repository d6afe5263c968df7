"""Progress over HTTP."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.domain import ActivityNotKnown, DealNotKnown, GoalNotTracked
from services.tracking.measure.progress.reading import ProgressReader
from services.tracking.measure.progress.schemas import Explained, GoalProgress, ProgressSeries
from shared.contracts.base import Instant
from shared.contracts.goals import GoalStatus
from shared.contracts.progress import Progress
from shared.db.database import Transaction
from shared.http.auth import CurrentPrincipal, Principal
from shared.http.named_deals import NamedDeal, named_deal
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.sight import viewer_of
from shared.http.wiring import handed
from shared.kernel.records import RecordKind

router = APIRouter(prefix="/v1", tags=["progress"])

Cache = Annotated[DefinitionsCache, Depends(handed(DefinitionsCache))]
_GOALS: Final = Cursor(UUID)
_RECORDS: Final = Cursor(tuple[date, UUID])


@router.get("/progress", summary="Where goals stand")
async def list_progress(
    principal: CurrentPrincipal,
    reader: RequestReader,
    cache: Cache,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only goals of this person.")] = None,
    team_id: Annotated[UUID | None, Query(description="Only goals of this team.")] = None,
    status: Annotated[GoalStatus | None, Query(description="Only goals in this state.")] = None,
    on: Annotated[date | None, Query(description="Only goals whose period contains this day.")] = None,
) -> Page[GoalProgress]:
    """A rep sees its own goals; a manager also those of its teams and of whoever is in its subtree today."""
    async with reader.transaction() as tx:
        found = await _reader(tx, cache, principal).goals(
            person_id=person_id,
            team_id=team_id,
            status=status,
            on=on,
            after=_GOALS.after(paging),
            limit=paging.fetch_limit,
        )
    return _GOALS.page(paging, found, key=lambda goal: goal.goal_id, item=lambda goal: goal)


@router.get("/goals/{goal_id}/progress", summary="Where a goal stands", responses=responses(GoalNotTracked))
async def get_goal_progress(
    goal_id: UUID,
    principal: CurrentPrincipal,
    reader: RequestReader,
    cache: Cache,
    as_of: Annotated[
        Instant | None,
        Query(
            description="A past moment: where the goal stood by what was recorded until then, under the goal and the "
            "organisation as they are now."
        ),
    ] = None,
) -> GoalProgress:
    """Drafts have no progress; a cancelled goal stands at zero; a closed one follows late changes of what counts."""
    async with reader.transaction() as tx:
        progress = _reader(tx, cache, principal)
        return await (progress.goal(goal_id) if as_of is None else progress.goal_as_of(goal_id, as_of))


@router.get(
    "/goals/{goal_id}/progress/series", summary="A goal's progress day by day", responses=responses(GoalNotTracked)
)
async def get_progress_series(
    goal_id: UUID, principal: CurrentPrincipal, reader: RequestReader, cache: Cache
) -> ProgressSeries:
    """What each day added, by the deals or activities as they are now. A distinct value is added on its first day."""
    async with reader.transaction() as tx:
        return await _reader(tx, cache, principal).series(goal_id)


@router.get(
    "/goals/{goal_id}/progress/explain",
    summary="The deals or activities behind a goal's progress",
    responses=responses(GoalNotTracked, DealNotKnown, ActivityNotKnown),
)
async def explain_progress(
    goal_id: UUID,
    principal: CurrentPrincipal,
    reader: RequestReader,
    cache: Cache,
    paging: Paging,
    named: Annotated[NamedDeal, Depends(named_deal("Only this deal, whether it counts or why it does not."))],
    activity_id: Annotated[
        UUID | None, Query(description="Only this activity, whether it counts or why it does not.")
    ] = None,
) -> Page[Explained]:
    """Everything that counts, by its day, with what it adds and the delivery that brought its version.

    A goal counts deals or activities, as its metric says.
    """
    async with reader.transaction() as tx:
        progress = _reader(tx, cache, principal)
        deal_id = await named.id(tx)
        if deal_id is not None:
            rows = [await progress.explain(goal_id, RecordKind.DEAL, deal_id)]
        elif activity_id is not None:
            rows = [await progress.explain(goal_id, RecordKind.ACTIVITY, activity_id)]
        else:
            rows = await progress.counting(goal_id, after=_RECORDS.after(paging), limit=paging.fetch_limit)
    return _RECORDS.page(paging, rows, key=lambda row: row[0], item=lambda row: row[1])


class ProgressSource:
    """What the live streams need of progress; see `services.tracking.tell.live.api.ProgressSource`."""

    def __init__(self, cache: DefinitionsCache) -> None:
        self._cache = cache

    async def watched_goal(self, tx: Transaction, principal: Principal, goal_id: UUID) -> frozenset[UUID]:
        """What to watch to see a goal. Raises GoalNotTracked."""
        return await _reader(tx, self._cache, principal).watched_goal(goal_id)

    async def watched_person(self, tx: Transaction, principal: Principal, person_id: UUID) -> frozenset[UUID]:
        """What to watch to see a person's goals. Raises OwnerNotSeen."""
        return await _reader(tx, self._cache, principal).watched_person(person_id)

    async def watched_team(self, tx: Transaction, principal: Principal, team_id: UUID) -> frozenset[UUID]:
        """What to watch to see a team's goals and those of everyone in it. Raises OwnerNotSeen."""
        return await _reader(tx, self._cache, principal).watched_team(team_id)

    async def current(self, tx: Transaction, principal: Principal, watched: frozenset[UUID]) -> Sequence[Progress]:
        """Where the watched goals stand."""
        return await _reader(tx, self._cache, principal).current(watched)

    async def revisions(self, tx: Transaction, tenant_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """The revisions of the tenants' organisations and goals."""
        return await self._cache.revisions(tx, tenant_ids)


def _reader(tx: Transaction, cache: DefinitionsCache, principal: Principal) -> ProgressReader:
    return ProgressReader(tx, cache, principal.tenant_id, viewer_of(principal))
