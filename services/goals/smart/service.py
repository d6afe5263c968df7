"""The use cases of SMART checks: worked out, held against whoever activates a goal, acknowledged."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from services.goals.calendar.service import Calendars
from services.goals.evidence.domain import Actuals, MonthOfPerson, Probability
from services.goals.evidence.service import Evidence
from services.goals.org.service import Organisation, StrengthsOf
from services.goals.smart import store
from services.goals.smart.domain.capacity import full_time
from services.goals.smart.domain.checks import (
    Acknowledgement,
    Check,
    DaysOfPeriod,
    Known,
    Letter,
    check_acknowledgement,
    check_activation,
    checks_of,
    warned,
)
from services.goals.smart.domain.track import (
    Surroundings,
    months_told,
    track_of,
    untold_by_actuals,
)
from services.goals.targets.domain import Goal, GoalNotDraft, GoalTerms, Owner, Status
from services.goals.targets.service import Goals
from shared.db.database import Transaction
from shared.kernel.approvals import SERVICE, Actor
from shared.kernel.errors import Refusals, check_version
from shared.kernel.org import OrgChart
from shared.kernel.periods import DatedRange, Period
from shared.kernel.sight import Sight


class Around(NamedTuple):
    """Whose records count for an owner, and its peers."""

    people: frozenset[UUID]
    peers: tuple[frozenset[UUID], ...]

    @property
    def everybody(self) -> frozenset[UUID]:
        return self.people.union(*self.peers)


@dataclass(frozen=True, slots=True)
class Assessment:
    """A goal and its checks as of now, with what was acknowledged of this version of it."""

    goal: Goal
    checks: Sequence[Check]
    acknowledgements: Sequence[Acknowledgement]


class SmartChecks:
    """What each goal's terms, the organisation and the evidence make of the checks; decides who may activate it."""

    def __init__(
        self, organisation: Organisation, calendars: Calendars, evidence: Evidence, strengths: StrengthsOf
    ) -> None:
        self._organisation = organisation
        self._calendars = calendars
        self._evidence = evidence
        self._strengths = strengths

    async def check_drafts(
        self,
        tx: Transaction,
        tenant_id: UUID,
        drafts: Sequence[tuple[str, Goal]],
        refusals: Refusals,
        *,
        actor: Actor,
    ) -> None:
        """Note in `refusals` CheckFailed or CheckUnacknowledged of those that the actor may not let count.

        The reason of the transaction acknowledges what warns, and so does a service, with or without one; this is
        stored. A service brings in goals of any time.
        """
        assessed = await self.assess(tx, tenant_id, [goal for _, goal in drafts], actor)
        acknowledging: list[Acknowledgement] = []
        for pointer, goal in drafts:
            checks, known = assessed[goal.id].checks, _letters(assessed[goal.id].acknowledgements)
            waiting = warned(checks) - known
            if waiting and (actor.person_id is None or tx.reason is not None):
                new = Acknowledgement(tx.new_id(), goal.id, goal.version, waiting, tx.reason, actor, tx.now)
                known |= waiting
            else:
                new = None
            with refusals.at(pointer):
                check_activation(checks, known)
                if new is not None:
                    acknowledging.append(new)
        await store.add_acknowledgements(tx, tenant_id, acknowledging)

    async def assess(
        self, tx: Transaction, tenant_id: UUID, goals: Sequence[Goal], actor: Actor
    ) -> Mapping[UUID, Assessment]:
        """The checks of these goals for the actor; what is known is read once for all of them."""
        if not goals:
            return {}
        chart = await self._organisation.chart(tx, tenant_id)
        today = chart.calendar.business_date(tx.now)
        surroundings = Surroundings(chart, today)
        around = {
            owner: Around(surroundings.people_of(owner), surroundings.peers_of(owner))
            for owner in {goal.terms.owner for goal in goals}
        }
        identified = await self._organisation.identified(
            tx, tenant_id, frozenset[UUID]().union(*(each.people for each in around.values()))
        )
        untold = {goal.id: untold_by_actuals(goal.terms) for goal in goals}
        comparable = [goal.terms for goal in goals if untold[goal.id] is None]
        actuals = await self._actuals(tx, tenant_id, comparable, around, today)
        working = await self._calendars.working(tx, tenant_id)
        periods = {goal.terms.period for goal in goals}
        days = {period: DaysOfPeriod.of(period, chart.calendar, working) for period in periods}
        capacities = await self._capacities(tx, tenant_id, chart, [goal.terms for goal in goals], days)
        stored: defaultdict[UUID, list[Acknowledgement]] = defaultdict(list)
        for each in await store.acknowledgements(tx, tenant_id, [goal.id for goal in goals]):
            stored[each.goal_id].append(each)

        def known(goal: Goal) -> Known:
            terms, reason = goal.terms, untold[goal.id]
            people, peers = around[terms.owner]
            return Known(
                today=today,
                people=len(people),
                identified=len(people & identified),
                days=days[terms.period],
                full_time=capacities[terms.owner, terms.period],
                track=track_of(terms, people, peers, actuals, today) if reason is None else reason,
            )

        return {
            goal.id: Assessment(
                goal,
                checks_of(goal.terms, known(goal), past_is_allowed=actor.person_id is None),
                [each for each in stored[goal.id] if each.goal_version == goal.version],
            )
            for goal in goals
        }

    async def _capacities(
        self,
        tx: Transaction,
        tenant_id: UUID,
        chart: OrgChart,
        terms: Sequence[GoalTerms],
        days: Mapping[Period, DaysOfPeriod],
    ) -> Mapping[tuple[Owner, Period], Decimal]:
        """How many people in full each of these owners has for each of these periods."""
        reaches = {
            (each.owner, each.period): chart.reach(each.owner.kind, each.owner.id, each.period) for each in terms
        }
        people = {reach.person_id for found in reaches.values() for reach in found}
        whole = Period(min(each.period.start for each in terms), max(each.period.end for each in terms))
        reduced: defaultdict[UUID, list[tuple[DatedRange, Decimal]]] = defaultdict(list)
        for person_id, span, share in await self._strengths(tx, tenant_id, people, whole):
            reduced[person_id].append((span, share))
        return {place: full_time(found, reduced, days[place[1]].worked) for place, found in reaches.items()}

    async def chances(
        self, tx: Transaction, tenant_id: UUID, goals: Sequence[Goal]
    ) -> Mapping[UUID, Probability | None]:
        """How probable it is that each of these goals, stored or not, is attained; None where it cannot be told."""
        assessed = await self.assess(tx, tenant_id, goals, SERVICE)
        return {
            goal_id: next(check.probability for check in each.checks if check.letter is Letter.ACHIEVABLE)
            for goal_id, each in assessed.items()
        }

    async def _actuals(
        self,
        tx: Transaction,
        tenant_id: UUID,
        comparable: Sequence[GoalTerms],
        around: Mapping[Owner, Around],
        today: date,
    ) -> Mapping[MonthOfPerson, Actuals]:
        people = frozenset[UUID]().union(*(around[terms.owner].everybody for terms in comparable))
        months = frozenset[date]().union(*(months_told(terms, today) for terms in comparable))
        return await self._evidence.of(tx, tenant_id, people, months) if people else {}


class Smart:
    """The checks of single goals, for those who see and decide on them."""

    def __init__(self, goals: Goals, checks: SmartChecks) -> None:
        self._goals = goals
        self._checks = checks

    async def get_assessment(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight, actor: Actor
    ) -> Assessment:
        """Raises GoalNotFound."""
        goal = await self._goals.get_goal(tx, tenant_id, goal_id, sight)
        return (await self._checks.assess(tx, tenant_id, [goal], actor))[goal_id]

    async def acknowledge(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        expected_version: int,
        letters: Sequence[Letter],
        reason: str,
        *,
        actor: Actor,
        sight: Sight,
    ) -> Assessment:
        """Say why a draft may count although these checks warn; an edit of the draft needs it again.

        Raises GoalNotFound, VersionMismatch, GoalNotDraft, GoalOutOfReach, OwnInterest; InvalidInput for a check that
        does not warn.
        """
        assessment = await self.get_assessment(tx, tenant_id, goal_id, sight, actor)
        goal = assessment.goal
        check_version(goal.version, expected_version)
        if goal.status is not Status.DRAFT:
            raise GoalNotDraft(f"This goal is {goal.status}: only of a draft are warnings acknowledged.")
        await self._goals.check_decides(tx, tenant_id, goal, actor, sight)
        check_acknowledgement(assessment.checks, letters)
        new = Acknowledgement(tx.new_id(), goal_id, goal.version, frozenset(letters), reason, actor, tx.now)
        await store.add_acknowledgements(tx, tenant_id, [new])
        return Assessment(goal, assessment.checks, [*assessment.acknowledgements, new])

    async def list_acknowledgements(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight, *, after: UUID | None, limit: int
    ) -> list[Acknowledgement]:
        """Those of every version of a goal, the oldest first. Raises GoalNotFound."""
        await self._goals.get_goal(tx, tenant_id, goal_id, sight)
        return await store.acknowledgements(tx, tenant_id, [goal_id], after=after, limit=limit)


def _letters(acknowledgements: Collection[Acknowledgement]) -> frozenset[Letter]:
    return frozenset(letter for each in acknowledgements for letter in each.checks)
