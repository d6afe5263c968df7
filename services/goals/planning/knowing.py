"""What a plan is split by, where nobody states it: the organisation, the calendar, and what was won before."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final, NamedTuple
from uuid import UUID

from services.goals.calendar.domain import CalendarNotSet
from services.goals.calendar.service import Calendars
from services.goals.evidence.domain import Actuals, MonthOfPerson
from services.goals.evidence.service import Evidence
from services.goals.org.domain import Named
from services.goals.org.service import Organisation, StrengthsOf
from services.goals.planning.domain.numbers import quotient
from services.goals.planning.domain.plan import (
    AlongPeople,
    AlongTime,
    Capacity,
    OwnerFacts,
    Plan,
    PlanRefused,
    Season,
    Shape,
    Step,
)
from services.goals.planning.domain.scenario import (
    EvidenceLacking,
    OverTime,
    Slice,
    Wish,
    a_year_before,
    months_of,
)
from services.goals.planning.domain.weights import seasonal_index
from services.goals.targets.domain import Owner
from shared.db.database import Transaction
from shared.kernel.errors import FieldError
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.org import OrgChart, OwnerKind
from shared.kernel.periods import DatedRange, FiscalCalendar, Period
from shared.kernel.records import RecordKind
from shared.kernel.working_days import days_of

SEASON_YEARS: Final = 3
"""Of so many years before the plan the seasons are learned."""


class Numbers(NamedTuple):
    """The members of actuals that a measure is planned by."""

    won: str
    open: str

    def won_of(self, actuals: Actuals) -> Decimal:
        found: Decimal = getattr(actuals, self.won)
        return found

    def open_of(self, actuals: Actuals) -> Decimal:
        found: Decimal = getattr(actuals, self.open)
        return found


class Won(NamedTuple):
    """What somebody won in a month: `value`, of a rate what is divided by `by`."""

    value: Decimal
    by: Decimal | None = None


def total(won: Sequence[Won]) -> Decimal | None:
    """What all of it comes to; None for a rate of which there is nothing to divide by."""
    value = sum((each.value for each in won), Decimal(0))
    divisors = [each.by for each in won if each.by is not None]
    if not divisors:
        return value
    by = sum(divisors, Decimal(0))
    return quotient(value, by) if by else None


_VALUES: Final = Numbers("won_value", "open_value")
_COUNTS: Final = Numbers("won_number", "open_number")


class Knowledge:
    """Makes a plan of what somebody wishes, by what is known at the moment."""

    def __init__(
        self, organisation: Organisation, calendars: Calendars, evidence: Evidence, strengths: StrengthsOf
    ) -> None:
        self._organisation = organisation
        self._calendars = calendars
        self._evidence = evidence
        self._strengths = strengths

    async def plan(self, tx: Transaction, tenant_id: UUID, wish: Wish, measure: Measure) -> Plan:
        """Raises EvidenceLacking where seasons are to be learned and there is no year to learn from."""
        chart = await self._organisation.chart(tx, tenant_id)
        names = await self._organisation.names(tx, tenant_id)
        below = _below(chart, wish, names)
        people = sorted({owner.id for owners in below.values() for owner in owners if owner.kind is OwnerKind.PERSON})
        if wish.owner.kind is OwnerKind.PERSON:
            people = [wish.owner.id]
        numbers = await self._numbers(tx, tenant_id, wish.period, measure)
        calendar = await self._calendars.fiscal_calendar(tx, tenant_id)
        steps: list[Step] = []
        for number, step in enumerate(wish.steps):
            if isinstance(step, AlongPeople):
                steps.append(step)
                continue
            seasons: tuple[Season, ...] = ()
            if step.shape is Shape.SEASONAL:
                seasons = await self._seasons(tx, tenant_id, wish.period, people, numbers, f"/steps/{number}/shape")
            steps.append(
                AlongTime(
                    parts=tuple(_parts(calendar, wish.period, step.slice)),
                    shape=step.shape,
                    seasons=seasons,
                    percentages=step.percentages,
                    follows_capacity=step.follows_capacity,
                )
            )
        counted = any(
            isinstance(step, OverTime) and step.shape in (Shape.WORKING_DAYS, Shape.SEASONAL) for step in wish.steps
        )
        working = await self._calendars.working(tx, tenant_id)
        return Plan(
            target=wish.target,
            decimals=wish.decimals,
            owner=wish.owner,
            period=wish.period,
            steps=tuple(steps),
            below=below,
            facts=await self._facts(tx, tenant_id, wish, chart, people, numbers),
            working_days=tuple(day for day in days_of(wish.period) if working.on(day).is_worked) if counted else (),
            adds_up=measure.adds_up,
        )

    async def won(
        self,
        tx: Transaction,
        tenant_id: UUID,
        measure: Measure,
        within: Period,
        people: Sequence[UUID],
        months: Sequence[date],
    ) -> Mapping[MonthOfPerson, Won] | None:
        """What these people won in these months, in what the measure counts; None where actuals do not have it."""
        is_average = measure.aggregate is Aggregate.AVERAGE
        if is_average and not await self._has_values(tx, tenant_id, within, measure):
            return None
        numbers = await self._numbers(tx, tenant_id, within, measure)
        if numbers is None:
            return None
        found = await self._evidence.of(tx, tenant_id, people, months)
        if is_average:
            # Of a month with unconverted deals it is not known how many the value is of.
            return {
                key: Won(_VALUES.won_of(actuals), _COUNTS.won_of(actuals))
                for key, actuals in found.items()
                if not actuals.unconverted
            }
        return {key: Won(numbers.won_of(actuals)) for key, actuals in found.items()}

    async def _numbers(self, tx: Transaction, tenant_id: UUID, period: Period, measure: Measure) -> Numbers | None:
        """Actuals have deals by number, and by value in the home currency; of an average, what it is divided by."""
        if measure.record is not RecordKind.DEAL:
            return None
        if measure.aggregate in (Aggregate.COUNT, Aggregate.AVERAGE):
            return _COUNTS
        return _VALUES if await self._has_values(tx, tenant_id, period, measure) else None

    async def _has_values(self, tx: Transaction, tenant_id: UUID, period: Period, measure: Measure) -> bool:
        """Whether what the measure sums is the value of deals in the home currency."""
        try:
            home = (await self._calendars.get_calendar(tx, tenant_id)).on(period.start).currency
        except CalendarNotSet:
            return False
        return measure.record is RecordKind.DEAL and measure.is_money and measure.currency == home

    async def _facts(
        self,
        tx: Transaction,
        tenant_id: UUID,
        wish: Wish,
        chart: OrgChart,
        people: Sequence[UUID],
        numbers: Numbers | None,
    ) -> dict[Owner, OwnerFacts]:
        months = _months_around(wish.period)
        before = [a_year_before(month) for month in months]
        known = {} if numbers is None else await self._evidence.of(tx, tenant_id, people, [*before, *months])
        reduced: defaultdict[UUID, list[tuple[DatedRange, Decimal]]] = defaultdict(list)
        for person_id, days, share in await self._strengths(tx, tenant_id, people, wish.period):
            reduced[person_id].append((days, share))
        facts: dict[Owner, OwnerFacts] = {}
        for person_id in people:
            history = [known[key] for month in before if (key := MonthOfPerson(person_id, month)) in known]
            pipeline = [known[key] for month in months if (key := MonthOfPerson(person_id, month)) in known]
            facts[Owner(OwnerKind.PERSON, person_id)] = OwnerFacts(
                history=sum(map(numbers.won_of, history), Decimal(0)) if numbers and history else None,
                pipeline=sum(map(numbers.open_of, pipeline), Decimal(0)) if numbers and pipeline else None,
                capacity=_capacity(chart, person_id, wish.period, reduced.get(person_id, ())),
            )
        for owner, stated in wish.facts.items():
            assumed = facts.get(owner, OwnerFacts())
            facts[owner] = OwnerFacts(
                history=assumed.history if stated.history is None else stated.history,
                pipeline=assumed.pipeline if stated.pipeline is None else stated.pipeline,
                potential=stated.potential,
                capacity=_stated_capacity(stated.capacity, assumed.capacity),
            )
        return facts

    async def _seasons(
        self,
        tx: Transaction,
        tenant_id: UUID,
        period: Period,
        people: Sequence[UUID],
        numbers: Numbers | None,
        pointer: str,
    ) -> tuple[Season, ...]:
        if numbers is None:
            raise _lacking(pointer, "actuals do not have what this metric counts")
        first = period.start.replace(day=1)
        years = [_year_from(first.replace(year=first.year - back)) for back in range(1, SEASON_YEARS + 1)]
        months = [month for year in years for month in year]
        known = await self._evidence.of(tx, tenant_id, people, months)
        totals = dict.fromkeys(months, Decimal(0))
        for (_, month), actuals in known.items():
            totals[month] += max(Decimal(0), numbers.won_of(actuals))
        try:
            index = seasonal_index([[totals[month] for month in year] for year in years])
        except PlanRefused:
            raise _lacking(pointer, f"nothing was won in the {SEASON_YEARS} years before {first}") from None
        by_month = {month.month: each for month, each in zip(years[0], index, strict=True)}
        return tuple(Season(span, by_month[span.start.month]) for span in _cut_by_month(period))


def _lacking(pointer: str, why: str) -> EvidenceLacking:
    return EvidenceLacking(
        f"{pointer}: {why}", fields=[FieldError(pointer, why, "another shape, such as working_days or custom")]
    )


def _below(chart: OrgChart, wish: Wish, names: Mapping[UUID, Named]) -> dict[Owner, tuple[Owner, ...]]:
    """Who is right below whom on the day, by name: teams and the active people in each."""
    day = wish.people_on
    found: dict[Owner, list[Owner]] = {}
    if wish.owner.kind is OwnerKind.PERSON:
        return {}
    teams = chart.subtree(wish.owner.id, day)
    for team in teams:
        parent_id, _ = chart.teams[team].on(day)
        if team != wish.owner.id and parent_id is not None:
            found.setdefault(Owner(OwnerKind.TEAM, parent_id), []).append(Owner(OwnerKind.TEAM, team))
    for membership in chart.memberships:
        if membership.team_id in teams and day in membership.range and names[membership.person_id].active:
            person = Owner(OwnerKind.PERSON, membership.person_id)
            found.setdefault(Owner(OwnerKind.TEAM, membership.team_id), []).append(person)

    def by_name(owner: Owner) -> tuple[str, str, UUID]:
        return owner.kind, names[owner.id].name.casefold(), owner.id

    return {owner: tuple(sorted(set(below), key=by_name)) for owner, below in found.items()}


def _capacity(
    chart: OrgChart, person_id: UUID, period: Period, reduced: Sequence[tuple[DatedRange, Decimal]]
) -> Capacity | None:
    """A full-time employee on the days of the period on which the person is in a team, less what moves leave.

    None: on all of them, in full.
    """
    stays = [each.range.within(period) for each in chart.memberships if each.person_id == person_id]
    days = [stay for stay in stays if stay is not None]
    present = None
    if days:
        start, end = min(stay.start for stay in days), max(stay.end for stay in days)
        present = None if (start, end) == (period.start, period.end) else DatedRange(start, end)
    return Capacity(present=present, reduced=tuple(reduced)) if present or reduced else None


def _stated_capacity(stated: Capacity | None, assumed: Capacity | None) -> Capacity | None:
    """What is stated; of the days present, and of those that moves leave less of, what it does not state itself."""
    if stated is None or assumed is None:
        return stated or assumed
    return replace(
        stated, present=stated.present or assumed.present, reduced=() if stated.ramp is not None else assumed.reduced
    )


def _parts(calendar: FiscalCalendar, period: Period, wanted: Slice) -> Iterator[Period]:
    """Every part of the period, those at its ends cut."""
    if wanted.kind is None:
        yield from (Period(day, day + timedelta(1)) for day in days_of(period))
        return
    for part in calendar.periods_in(period, wanted.kind):
        yield Period(max(part.start, period.start), min(part.end, period.end))


def _cut_by_month(period: Period) -> Iterator[Period]:
    edges = [period.start, *(month for month in _months_around(period) if month > period.start), period.end]
    for start, end in pairwise(edges):
        yield Period(start, end)


def _months_around(period: Period) -> tuple[date, ...]:
    """The first days of the calendar months with a day of the period."""
    last = period.end - timedelta(1)
    whole = Period(period.start.replace(day=1), (last.replace(day=1) + timedelta(31)).replace(day=1))
    return months_of(whole) or ()


def _year_from(first: date) -> tuple[date, ...]:
    return months_of(Period(first, first.replace(year=first.year + 1))) or ()
