"""Pay periods over HTTP, as paid beside as recalculated."""

from datetime import timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.incentives.earnings.comparing import Comparisons
from services.incentives.earnings.comparison_schemas import ComparisonAnswer, CorrectionAnswer
from services.incentives.earnings.domain.comparison import PersonComparison
from services.incentives.periods.domain import PayPeriodNotFound
from services.incentives.plans.service import Plans
from shared.db.database import Transaction
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import responses
from shared.http.sight import CurrentCaller, ReadsOrganisation
from shared.http.wiring import handed
from shared.kernel.org import OwnerKind
from shared.kernel.periods import Period
from shared.kernel.sight import Sight

router = APIRouter(prefix="/v1", tags=["pay periods"])

UseCases = Annotated[Comparisons, Depends(handed(Comparisons))]
KnowsPlans = Annotated[Plans, Depends(handed(Plans))]
_PEOPLE: Final = Cursor(tuple[UUID, str])
_SEQUENCES: Final = Cursor(int)
OfPerson = Annotated[UUID | None, Query(description="Only this person's.")]
OfTeam = Annotated[UUID | None, Query(description="Only of who is in this team or one below it today.")]


@router.get(
    "/pay-periods/{pay_period_id}/comparison",
    summary="A pay period as paid and as recalculated",
    responses=responses(PayPeriodNotFound),
)
async def compare_pay_period(
    pay_period_id: UUID,
    caller: CurrentCaller,
    comparisons: UseCases,
    plans: KnowsPlans,
    organisation: ReadsOrganisation,
    paging: Paging,
    person_id: OfPerson = None,
    team_id: OfTeam = None,
) -> Page[ComparisonAnswer]:
    """By person and currency. A rep sees itself, a manager its subtree.

    What was paid never changes once the pay period is approved; before, it is what has been posted in it so far.
    """
    tenant_id = caller.tenant_id
    after = _PEOPLE.after(paging)
    async with caller.reading() as (tx, sight):
        people = await _people(tx, tenant_id, sight, organisation, person_id, team_id)
        compared = await comparisons.compare(tx, tenant_id, pay_period_id, people)
        rest = [each for each in compared if after is None or _key(each) > after][: paging.fetch_limit]
        names = await plans.person_names(tx, tenant_id, {each.person_id for each in rest})
    return _PEOPLE.page(paging, rest, key=_key, item=lambda each: ComparisonAnswer.of(each, names))


@router.get(
    "/pay-periods/{pay_period_id}/corrections",
    summary="What was posted later for a pay period",
    responses=responses(PayPeriodNotFound),
)
async def list_pay_period_corrections(
    pay_period_id: UUID,
    caller: CurrentCaller,
    comparisons: UseCases,
    plans: KnowsPlans,
    organisation: ReadsOrganisation,
    paging: Paging,
    person_id: OfPerson = None,
    team_id: OfTeam = None,
) -> Page[CorrectionAnswer]:
    """In the order of posting, each with what made it and whose doing that was."""
    tenant_id = caller.tenant_id
    async with caller.reading() as (tx, sight):
        people = await _people(tx, tenant_id, sight, organisation, person_id, team_id)
        found = await comparisons.corrections(
            tx, tenant_id, pay_period_id, people, after=_SEQUENCES.after(paging) or 0, limit=paging.fetch_limit
        )
        actors = {doing.actor.person_id for each in found for doing in each.doings} - {None}
        names = await plans.person_names(tx, tenant_id, {each for each in actors if each is not None})
    return _SEQUENCES.page(
        paging, found, key=lambda each: each.transaction.sequence, item=lambda each: CorrectionAnswer.of(each, names)
    )


def _key(found: PersonComparison) -> tuple[UUID, str]:
    return found.person_id, found.currency


async def _people(
    tx: Transaction,
    tenant_id: UUID,
    sight: Sight,
    organisation: ReadsOrganisation,
    person_id: UUID | None,
    team_id: UUID | None,
) -> frozenset[UUID] | None:
    """The people in sight (None: everybody), narrowed to the one and the team that are wanted."""
    people = sight.narrowed(person_id)
    if team_id is None:
        return people
    chart = await organisation.chart(tx, tenant_id)
    today = chart.calendar.business_date(tx.now)
    reach = chart.reach(OwnerKind.TEAM, team_id, Period(today, today + timedelta(days=1)))
    team = frozenset(each.person_id for each in reach)
    return team if people is None else team & people
