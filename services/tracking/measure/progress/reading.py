"""Questions about progress: where goals stand, how they got there, and why a record does or does not count."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.tracking.measure.progress import contributions, stated, store
from services.tracking.measure.progress.contributions import NOTHING
from services.tracking.measure.progress.definitions import Definitions, DefinitionsCache
from services.tracking.measure.progress.domain import (
    EXACT,
    ActivityNotKnown,
    DealNotKnown,
    GoalNotTracked,
    OwnerNotSeen,
    Rule,
    Verdict,
    team_owners,
)
from services.tracking.measure.progress.schemas import (
    Explained,
    ExplainedGoal,
    ExplainedValue,
    GoalProgress,
    ProgressSeries,
    SeriesDay,
)
from services.tracking.measure.progress.service import actual_of, attained_of, progress_event, weight_of
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts.goals import GoalStatus
from shared.contracts.progress import Progress
from shared.db.database import Transaction
from shared.kernel.activities import ActivityFacts
from shared.kernel.deals import DealFacts
from shared.kernel.measures import Combine, Counted
from shared.kernel.records import RecordFacts, RecordKind
from shared.kernel.sight import Sight, Viewer

_NO_DAY: Final = date.min
_CURRENT_GOALS_MAX: Final = 1000
_NOT_KNOWN: Final = {
    RecordKind.DEAL: (DealNotKnown, "activities and no deals"),
    RecordKind.ACTIVITY: (ActivityNotKnown, "deals and no activities"),
}


class ProgressReader:
    """Answers what a viewer may see of one tenant. For one transaction."""

    def __init__(self, tx: Transaction, cache: DefinitionsCache, tenant_id: UUID, viewer: Viewer) -> None:
        self._tx = tx
        self._cache = cache
        self._tenant_id = tenant_id
        self._viewer = viewer
        self._read_definitions: Definitions | None = None
        self._seen_today: Sight | None = None

    async def goal(self, goal_id: UUID) -> GoalProgress:
        """Where a goal stands. Raises GoalNotTracked."""
        state = await self._seen(goal_id)
        return GoalProgress.now(progress_event(state), stale=state.is_stale)

    async def goal_as_of(self, goal_id: UUID, as_of: datetime) -> GoalProgress:
        """Where a goal stood by the deals recorded up to `as_of`, under today's goal and organisation.

        Raises GoalNotTracked.
        """
        state = await self._seen(goal_id)
        known = (await self._definitions()).index.rules
        rules = {each.goal_id: known[each.goal_id] for each in state.whole() if each.goal_id in known}
        totals = await contributions.totals(self._tx, self._tenant_id, rules, as_of=as_of)
        return GoalProgress.past(progress_event(_stood(state, totals)), as_of)

    async def series(self, goal_id: UUID) -> ProgressSeries:
        """How a goal got where it is, day by day. Raises GoalNotTracked."""
        state = await self._seen(goal_id)
        goal = progress_event(state)
        rule = await self._rule(goal_id)
        days = []
        if rule is not None and rule.measure.aggregate.counts_records:
            added = await contributions.series(self._tx, self._tenant_id, goal_id, rule)
            days = ProgressSeries.cumulated(rule.measure.aggregate, added)
        elif rule is not None:
            days = await self._standing_days(state)
        return ProgressSeries(
            goal_id=goal_id,
            start=goal.start,
            end=goal.end,
            target=goal.target,
            unit=goal.unit,
            days=days,
        )

    async def _standing_days(self, state: store.State) -> list[SeriesDay]:
        """Where a goal that counts no records stood at the end of each day that changed it."""
        known = (await self._definitions()).index.rules
        rules = {each.goal_id: known[each.goal_id] for each in state.whole() if each.goal_id in known}
        totals: dict[UUID, contributions.Total] = dict.fromkeys(rules, NOTHING)
        by_day: defaultdict[date, dict[UUID, contributions.Total]] = defaultdict(dict)
        for goal_id, rule in rules.items():
            counted = await contributions.series(self._tx, self._tenant_id, goal_id, rule)
            for day, total in contributions.cumulated(counted):
                by_day[day][goal_id] = total
        for goal_id, stood in (await stated.counting(self._tx, self._tenant_id, rules)).items():
            for day, total in contributions.stated_by_day(rules[goal_id].measure.combine or Combine.LATEST, stood):
                by_day[day][goal_id] = total
        days: list[SeriesDay] = []
        before = Decimal(0)
        for day in sorted(by_day):
            totals |= by_day[day]
            stands = actual_of(_stood(state, totals)).shown or Decimal(0)
            added = EXACT.subtract(stands, before)
            days.append(SeriesDay(date=day, added=added, added_denominator=None, cumulative=stands, deals=0))
            before = stands
        return days

    async def counting(
        self, goal_id: UUID, *, after: tuple[date, UUID] | None, limit: int
    ) -> list[tuple[tuple[date, UUID], Explained]]:
        """What counts for a goal by day and id, each with that key: records, stated values, or the parts it is made of.

        Raises GoalNotTracked.
        """
        state = await self._seen(goal_id)
        rule = await self._rule(goal_id)
        if rule is None:
            return []
        if not rule.measure.aggregate.counts_records:
            found = sorted(await self._made_of(state, rule), key=lambda each: each[0])
            return [each for each in found if after is None or each[0] > after][:limit]
        keys = await contributions.page(self._tx, self._tenant_id, goal_id, rule, after=after, limit=limit)
        index = (await self._definitions()).index
        ids = [record_id for _, record_id in keys]
        facts = await self._facts(rule.measure.record, ids)
        return [(key, Explained.judged(facts[key[1]], index.verdict(goal_id, facts[key[1]]), None)) for key in keys]

    async def _made_of(self, state: store.State, rule: Rule) -> list[tuple[tuple[date, UUID], Explained]]:
        """What a goal that counts no records is made of, each with its key."""
        if state.has_parts:
            parts = [ExplainedGoal.of(progress_event(each), weight_of(each), attained_of(each)) for each in state.parts]
            return [((_NO_DAY, part.goal_id), Explained(part)) for part in parts]
        values = (await stated.counting(self._tx, self._tenant_id, {state.goal_id: rule}))[state.goal_id]
        counted = values[-1:] if rule.measure.combine is Combine.LATEST else values
        return [((each.day, each.value_id), Explained(ExplainedValue(**each._asdict()))) for each in counted]

    async def explain(self, goal_id: UUID, kind: RecordKind, record_id: UUID) -> tuple[tuple[date, UUID], Explained]:
        """Why one record does or does not count for a goal.

        Raises GoalNotTracked; DealNotKnown or ActivityNotKnown, also for one out of sight that does not count.
        """
        not_known, others = _NOT_KNOWN[kind]
        measure = (await self._rule_of(goal_id)).measure
        if not measure.aggregate.counts_records:
            raise not_known(f"Goal {goal_id} counts no records.")
        if measure.record is not kind:
            raise not_known(f"Goal {goal_id} counts {others}.")
        facts = (await self._facts(kind, [record_id])).get(record_id)
        verdict = None if facts is None else await self._verdict(goal_id, facts)
        if facts is None or verdict is None:
            raise not_known(f"There is no {kind} {record_id}.")
        reason = (await self._definitions()).index.reason(goal_id, facts, verdict)
        return (verdict.day or date.min, record_id), Explained.judged(facts, verdict, reason)

    async def goals(
        self,
        *,
        person_id: UUID | None,
        team_id: UUID | None,
        status: GoalStatus | None,
        on: date | None,
        after: UUID | None,
        limit: int,
    ) -> list[GoalProgress]:
        """The goals a viewer sees, by id; of one person or team, in one status, whose period holds a day."""
        of_owners = {owner for owner in (person_id, team_id) if owner is not None}
        owners = (await self._sight()).owners
        if of_owners:
            owners = frozenset(of_owners) if owners is None else owners & of_owners
        states = await store.states_page(
            self._tx,
            self._tenant_id,
            owners=owners,
            status=None if status is None else status.value,
            on=None if on is None else on.isoformat(),
            after=after,
            limit=limit,
        )
        return [GoalProgress.now(progress_event(state), stale=state.is_stale) for state in states]

    async def watched_goal(self, goal_id: UUID) -> frozenset[UUID]:
        """What to watch to see a goal. Raises GoalNotTracked."""
        await self._seen(goal_id)
        return frozenset({goal_id})

    async def watched_person(self, person_id: UUID) -> frozenset[UUID]:
        """Whose goals to watch to see a person's. Raises OwnerNotSeen, also for one nothing here has to do with."""
        await self._check_owner(person_id)
        if (await self._sight()).is_whole and not _mentions(await self._definitions(), person_id):
            raise OwnerNotSeen(f"There is no person {person_id} with a team, a CRM user or a goal.")
        return frozenset({person_id})

    async def watched_team(self, team_id: UUID) -> frozenset[UUID]:
        """Whose goals to watch to see a team: its own, those of the teams below and of everyone there today.

        Raises OwnerNotSeen.
        """
        await self._check_owner(team_id)
        chart = (await self._definitions()).chart
        if team_id not in chart.teams:
            raise OwnerNotSeen(f"There is no team {team_id}.")
        return team_owners(chart, team_id, chart.calendar.business_date(self._tx.now))

    async def current(self, watched: Collection[UUID]) -> list[Progress]:
        """Where the watched goals, and the goals of watched owners, stand; stale ones follow once they are rebuilt."""
        known = await self._definitions()
        goals = {each for each in watched if each in known.goals}
        goals |= {goal_id for owner in watched for goal_id in known.goals_of.get(owner, ())}
        keys = [(self._tenant_id, goal_id) for goal_id in sorted(goals)[:_CURRENT_GOALS_MAX]]
        return [progress_event(state) for state in await store.states(self._tx, keys) if not state.is_stale]

    async def _seen(self, goal_id: UUID) -> store.State:
        """Where a goal stands that the viewer sees. Raises GoalNotTracked."""
        goal = (await self._definitions()).goals.get(goal_id)
        seen = goal is not None and (await self._sight()).sees_owner(goal.owner_id)
        states = await store.states(self._tx, [(self._tenant_id, goal_id)]) if seen else []
        if not states:
            raise GoalNotTracked(f"There is no progress of a goal {goal_id}.")
        return states[0]

    async def _check_owner(self, owner_id: UUID) -> None:
        if not (await self._sight()).sees_owner(owner_id):
            raise OwnerNotSeen(f"There is no person or team {owner_id}.")

    async def _sight(self) -> Sight:
        if self._seen_today is None:
            chart = (await self._definitions()).chart
            self._seen_today = Sight(self._viewer, chart, chart.calendar.business_date(self._tx.now))
        return self._seen_today

    async def _rule_of(self, goal_id: UUID) -> Rule:
        """What counts for a goal. Raises GoalNotTracked, also where nothing does."""
        await self._seen(goal_id)
        rule = await self._rule(goal_id)
        if rule is None:
            raise GoalNotTracked(f"Nothing counts for goal {goal_id}: it has been cancelled.")
        return rule

    async def _verdict(self, goal_id: UUID, facts: RecordFacts) -> Verdict | None:
        """Why a record does or does not count; None for one that neither counts nor is in sight."""
        verdict = (await self._definitions()).index.verdict(goal_id, facts)
        seen = isinstance(verdict.outcome, Counted) or (await self._sight()).sees_record(facts)
        return verdict if seen else None

    async def _facts(self, kind: RecordKind, record_ids: Collection[UUID]) -> Mapping[UUID, DealFacts | ActivityFacts]:
        if kind is RecordKind.DEAL:
            return await DEALS.facts(self._tx, self._tenant_id, record_ids)
        return await ACTIVITIES.facts(self._tx, self._tenant_id, record_ids)

    async def _rule(self, goal_id: UUID) -> Rule | None:
        return (await self._definitions()).index.rules.get(goal_id)

    async def _definitions(self) -> Definitions:
        if self._read_definitions is None:
            self._read_definitions = await self._cache.current(self._tx, self._tenant_id)
        return self._read_definitions


def _stood(state: store.State, totals: Mapping[UUID, contributions.Total]) -> store.State:
    """A goal, and what it is made of, where these totals say."""
    total = totals.get(state.goal_id, NOTHING)
    return state._replace(**total._asdict(), parts=tuple(_stood(part, totals) for part in state.parts))


def _mentions(definitions: Definitions, person_id: UUID) -> bool:
    """Whether a person is in a team, manages one, is a CRM user or owns a goal."""
    chart = definitions.chart
    return (
        person_id in chart.identities.values()
        or any(membership.person_id == person_id for membership in chart.memberships)
        or any(manager_id == person_id for team in chart.teams.values() for _, _, manager_id in team.states())
        or bool(definitions.goals_of.get(person_id))
    )
