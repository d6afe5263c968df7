"""Whose statements there are in some days, and each of them.

A statement is read in a snapshot of its own, so that what is on it is of one moment; the statements of many people are
of one moment each.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import PersonNotInSight, TeamNotInSight
from services.incentives.credits.service import Credits
from services.incentives.earnings.explaining import Explanations, Statement
from services.incentives.plans.service import Plans
from services.incentives.statements.domain.statement import Payee
from shared.db.database import Transaction
from shared.kernel.errors import InvalidInput
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, Period
from shared.kernel.sight import Sight

PEOPLE_MAX: Final = 5000


class TooManyPeople(InvalidInput):
    """More people than one file has statements of."""

    code = "too_many_people"
    title = "Too many people"


@dataclass(frozen=True, slots=True)
class StatedPerson:
    """A person's statement, with the names of the plans on it."""

    statement: Statement
    plan_names: dict[UUID, str]


class Statements:
    """Reads statements of people, of teams, and of everybody."""

    def __init__(self, plans: Plans, credits: Credits, explanations: Explanations) -> None:
        self._plans = plans
        self._credits = credits
        self._explanations = explanations

    async def get(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        person_id: UUID,
        start: date,
        end: date,
        deal_id: UUID | None = None,
    ) -> StatedPerson:
        """What a person earned in the periods that lie within [start, end), and what became of one deal.

        Raises PersonNotInSight, StatementTooLong.
        """
        if not sight.sees_person(person_id):
            raise PersonNotInSight(f"There is no person {person_id}.")
        found = await self._explanations.get_statement(tx, tenant_id, sight, person_id, start, end, deal_id)
        known = await self._credits.definitions(tx, tenant_id)
        return StatedPerson(found, {plan.id: plan.name for plan in known.plans.values()})

    async def payees(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, team_id: UUID | None, start: date, end: date
    ) -> list[Payee]:
        """Everybody in sight who was on a plan within [start, end) or has an earning there, by name.

        With a team, who of them is in its subtree on the last of these days, or today while that lies ahead.
        Raises TeamNotInSight, TooManyPeople.
        """
        known = await self._credits.definitions(tx, tenant_id)
        people = sight.people
        if team_id is not None:
            chart = known.chart
            if team_id not in chart.teams or not sight.sees_owner(team_id):
                raise TeamNotInSight(f"There is no team {team_id}.")
            day = min(end - timedelta(days=1), chart.calendar.business_date(tx.now))
            members = chart.reach(OwnerKind.TEAM, team_id, Period(day, day + timedelta(days=1)))
            below = frozenset(member.person_id for member in members)
            people = below if people is None else people & below
        asked = DatedRange(start, end)
        on_plan = {
            each.person_id
            for each in known.assignments.values()
            if not each.deleted and each.range.intersection(asked) is not None
        }
        paid = await self._explanations.paid_within(tx, tenant_id, people, start, end)
        wanted = paid | (on_plan if people is None else on_plan & people)
        if len(wanted) > PEOPLE_MAX:
            raise TooManyPeople.field("/team_id", f"{len(wanted)} people", f"a team of at most {PEOPLE_MAX}")
        named = await self._plans.people(tx, tenant_id, wanted)
        found = [
            Payee(each, named[each].name, named[each].employee_number) if each in named else Payee(each)
            for each in wanted
        ]
        return sorted(found, key=lambda payee: (payee.name or "", payee.person_id))
