"""Who is credited with how much of a deal: deal facts × assignments × organisation → credits.

Everything here is a pure function of the newest facts of a deal and of the definitions as they stand; a change of
either is handled by working the credits out again and comparing with those that are kept.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import MAXYEAR, date
from decimal import Context, Decimal
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Final
from uuid import UUID, uuid5

from services.incentives.plans.domain.assignments import Assignment, QuotaGoal, quota_of
from services.incentives.plans.domain.components import Component, Crediting
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus, in_force
from shared.kernel.deals import DealFacts, Split
from shared.kernel.filters import Filter
from shared.kernel.measures import Conversion, Counted, Measure, NotCounted, RatePolicy
from shared.kernel.org import CrmUser, OrgChart
from shared.kernel.periods import DAY_MAX, DatedRange, Period, PeriodKind
from shared.kernel.rates import RatesInto

_EXACT: Final = Context(prec=80)
_WHOLE: Final = Decimal(100)
_OWNER_ROLE: Final = "owner"


class CreditExclusion(StrEnum):
    """Why a deal is not credited, beside the words of `shared.kernel.measures.Exclusion`."""

    DEAL_UNKNOWN = "deal_unknown"
    NO_ASSIGNMENT = "no_assignment"
    NO_PLAN_VERSION = "no_plan_version"
    NO_COMPONENT = "no_component"
    OWNER_UNMAPPED = "owner_unmapped"
    NOT_OWNER = "not_owner"
    NOT_ON_SPLIT = "not_on_split"
    NOT_IN_SUBTREE = "not_in_subtree"
    OUTSIDE_PERIOD = "outside_period"


@dataclass(frozen=True, slots=True)
class CellKey:
    """One component of one assignment in one period."""

    assignment_id: UUID
    component: str
    period: Period

    @property
    def id(self) -> UUID:
        """The cell's identity: the same key is the same cell, for ever."""
        return _cell_id(self.assignment_id, self.component, self.period.start)


@dataclass(frozen=True, slots=True)
class Credit:
    """A share of a deal for an assignment's component. `value` = what the measure counted × `percent` ÷ 100, exact."""

    assignment_id: UUID
    component: str
    deal_id: UUID
    day: date
    period: Period
    percent: Decimal
    value: Decimal

    @property
    def key(self) -> tuple[UUID, UUID, str]:
        """A deal is credited at most once to a component of an assignment."""
        return self.deal_id, self.assignment_id, self.component

    @property
    def cell(self) -> CellKey:
        """The cell it counts in."""
        return CellKey(self.assignment_id, self.component, self.period)

    @property
    def order(self) -> tuple[date, UUID]:
        """The order in which credits reach the tiers: business date, then deal id."""
        return self.day, self.deal_id


@dataclass(frozen=True, slots=True)
class NotCredited:
    """Why a deal is not in a cell.

    `failing` is the part of the filter it does not pass, `period` the one it counts in instead.
    """

    reason: str
    failing: Filter | None = None
    period: Period | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a cell is paid by."""

    component: Component
    plan: Plan
    plan_version: int
    quota: Decimal | None


@dataclass(frozen=True, slots=True)
class CreditInputs:
    """Everything outside an assignment and its deals that its cells depend on. Equal inputs give equal cells."""

    calendar: object
    users: frozenset[tuple[CrmUser, DatedRange | None]]
    goals: tuple[QuotaGoal | None, ...]
    terms: tuple[tuple[date, int], ...]
    rates: tuple[RatesInto, ...]
    """The daily rates of the assignment's years into the plan's currency, where its components convert at them."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A component of one version of a plan, ready to be asked."""

    component: Component
    version_number: int
    measure_index: int


@dataclass(frozen=True)
class Definitions:
    """One tenant's organisation, quota goals, plans, versions and assignments. Rebuilt whenever one of them changes."""

    chart: OrgChart = field(default_factory=OrgChart)
    goals: Mapping[UUID, QuotaGoal] = field(default_factory=dict)
    plans: Mapping[UUID, Plan] = field(default_factory=dict)
    versions: Mapping[UUID, Sequence[PlanVersion]] = field(default_factory=dict)
    assignments: Mapping[UUID, Assignment] = field(default_factory=dict)

    def credits(
        self, deal: DealFacts, *, only: Collection[UUID] | None = None, skipping: Collection[UUID] = ()
    ) -> list[Credit]:
        """The credits of a deal, to all assignments or `only` some, by assignment and component."""
        if deal.is_gone:
            return []
        shares = self._shares(deal)
        people = {person for person, _, _ in shares}
        owner = self.chart.person_of(deal.source, deal.owner_external_id)
        if owner is not None:
            people.add(owner)
        counted: dict[int, Counted | NotCounted] = {}
        found: list[Credit] = []
        for assignment in self._candidates(people):
            if assignment.id not in skipping and (only is None or assignment.id in only):
                self._credit(deal, assignment, shares, owner, counted, found)
        found.sort(key=lambda credit: credit.key)
        return found

    def why(self, deal: DealFacts, assignment: Assignment, component_key: str, period: Period) -> Credit | NotCredited:
        """The credit of a deal in one cell, or why it is not there."""
        version = self.version_in_force(assignment.plan_id, period.start)
        if version is None:
            return NotCredited(CreditExclusion.NO_PLAN_VERSION)
        component = version.component(component_key)
        if component is None:
            return NotCredited(CreditExclusion.NO_COMPONENT)
        counted = self._count(component, deal)
        if isinstance(counted, NotCounted):
            return NotCredited(counted.reason, counted.failing)
        shares = self._shares(deal)
        owner = self.chart.person_of(deal.source, deal.owner_external_id)
        percent = self._percent(assignment, component, deal, shares, owner, counted.day)
        if percent == 0:
            return NotCredited(self._not_shared(deal, component, shares, owner))
        if assignment.deleted or counted.day not in assignment.range:
            return NotCredited(CreditExclusion.NO_ASSIGNMENT)
        actual = self.period_of(self.plans[assignment.plan_id].period, counted.day)
        if actual != period:
            return NotCredited(CreditExclusion.OUTSIDE_PERIOD, period=actual)
        for credit in self.credits(deal, only=[assignment.id]):
            if credit.component == component_key:
                is_here = credit.period == period
                return credit if is_here else NotCredited(CreditExclusion.OUTSIDE_PERIOD, period=credit.period)
        return _credit(assignment, component, deal, counted, actual, percent)

    def conversion(self, component: Component, deal: DealFacts) -> Conversion | None:
        """How money of a deal that counts was converted into the plan's currency; None where there was no need."""
        counted = self._count(component, deal)
        return counted.conversion if isinstance(counted, Counted) else None

    def terms(self, cell: CellKey) -> Terms | None:
        """What a cell is paid by, or None when nothing pays it: no assignment, version or component any more."""
        assignment = self.assignments.get(cell.assignment_id)
        if assignment is None or assignment.deleted:
            return None
        version = self.version_in_force(assignment.plan_id, cell.period.start)
        component = None if version is None else version.component(cell.component)
        if version is None or component is None:
            return None
        quota = quota_of(assignment, cell.component, cell.period, self.goals)
        return Terms(component, self.plans[assignment.plan_id], version.number, quota)

    def version_in_force(self, plan_id: UUID, period_start: date) -> PlanVersion | None:
        """The terms of a plan for the period that starts on that day."""
        known = self._versions_by_start
        key = plan_id, period_start
        if key not in known:
            known[key] = in_force(self.versions.get(plan_id, ()), period_start)
        return known[key]

    def period_of(self, kind: PeriodKind, day: date) -> Period:
        """The fiscal period that contains a day."""
        key = kind, day.year, day.month
        period = self._periods.get(key)
        if period is None:
            period = self._periods[key] = self.chart.calendar.period_of(day, kind)
        return period

    def rolls_up(self, assignment: Assignment) -> bool:
        """Whether any active terms of the assignment credit a subtree."""
        return any(line.component.crediting is Crediting.ROLLUP for line in self._lines.get(assignment.plan_id, ()))

    def users_of(self, assignment: Assignment) -> frozenset[CrmUser]:
        """Every CRM user whose deals the assignment could be credited with."""
        return frozenset(user for user, _ in self._reach(assignment))

    def inputs(self, assignment: Assignment) -> CreditInputs:
        """What the cells of the assignment depend on."""
        goal_ids = sorted({goal_id for quota in assignment.quotas.values() for goal_id in quota.goal_ids})
        return CreditInputs(
            calendar=self.chart.calendar,
            users=self._reach(assignment),
            goals=tuple(self.goals.get(goal_id) for goal_id in goal_ids),
            terms=tuple(
                sorted(
                    v.precedence for v in self.versions.get(assignment.plan_id, ()) if v.status is VersionStatus.ACTIVE
                )
            ),
            rates=self._rates(assignment),
        )

    def _count(self, component: Component, deal: DealFacts) -> Counted | NotCounted:
        return component.measure.count(deal, self.chart.calendar, self.chart.rates)

    def _rates(self, assignment: Assignment) -> tuple[RatesInto, ...]:
        currencies = {
            line.component.measure.currency
            for line in self._lines.get(assignment.plan_id, ())
            if line.component.measure.rate_policy is RatePolicy.DEAL_DATE
        }
        # Whole years, so that assignments of any days have few different periods between them.
        first, end = assignment.range.start.replace(month=1, day=1), assignment.range.end
        days = Period(first, DAY_MAX if end is None or end.year == MAXYEAR else date(end.year + 1, 1, 1))
        return tuple(self.chart.rates.into(currency, days) for currency in sorted(filter(None, currencies)))

    def _credit(
        self,
        deal: DealFacts,
        assignment: Assignment,
        shares: Sequence[tuple[UUID, Decimal, str]],
        owner: UUID | None,
        counted: dict[int, Counted | NotCounted],
        found: list[Credit],
    ) -> None:
        kind = self.plans[assignment.plan_id].period
        # Two versions of a plan may count a deal on different days, each within its own time: the earliest day is the
        # one it is paid for.
        earliest: dict[str, Credit] = {}
        for line in self._lines.get(assignment.plan_id, ()):
            outcome = counted.get(line.measure_index)
            if outcome is None:
                outcome = counted[line.measure_index] = self._count(line.component, deal)
            if isinstance(outcome, NotCounted) or outcome.day not in assignment.range:
                continue
            period = self.period_of(kind, outcome.day)
            version = self.version_in_force(assignment.plan_id, period.start)
            if version is None or version.number != line.version_number:
                continue
            percent = self._percent(assignment, line.component, deal, shares, owner, outcome.day)
            if percent:
                credit = _credit(assignment, line.component, deal, outcome, period, percent)
                known = earliest.get(credit.component)
                if known is None or credit.day < known.day:
                    earliest[credit.component] = credit
        found.extend(earliest.values())

    def _shares(self, deal: DealFacts) -> list[tuple[UUID, Decimal, str]]:
        """Who has which percent of a deal in which role, as far as its users are mapped to people."""
        splits = deal.splits
        if not splits:
            if deal.owner_external_id is None:
                return []
            splits = (Split(deal.owner_external_id, _WHOLE, _OWNER_ROLE),)
        resolved = ((self.chart.person_of(deal.source, split.owner_external_id), split) for split in splits)
        return [(person, split.percent, split.role) for person, split in resolved if person is not None]

    def _candidates(self, people: Iterable[UUID]) -> list[Assignment]:
        found: dict[UUID, Assignment] = {}
        for person in people:
            for assignment in self._by_person.get(person, ()):
                found[assignment.id] = assignment
            for manager in self._managers_ever.get(person, ()):
                for assignment in self._by_person.get(manager, ()):
                    found[assignment.id] = assignment
        return list(found.values())

    def _percent(
        self,
        assignment: Assignment,
        component: Component,
        deal: DealFacts,
        shares: Sequence[tuple[UUID, Decimal, str]],
        owner: UUID | None,
        day: date,
    ) -> Decimal:
        """The share of the deal that the component credits to the assignment, in percent and before its allocation."""
        if component.crediting is Crediting.OWNER:
            return _WHOLE if owner == assignment.person_id else Decimal(0)
        # The one share of a deal without splits is the owner's, whichever role is asked for.
        role = component.role if deal.splits else None
        if component.crediting is Crediting.SPLIT:
            counting = (p for person, p, r in shares if person == assignment.person_id and role in (None, r))
        else:
            counting = (
                p
                for person, p, r in shares
                if role in (None, r) and self._in_subtree(assignment.person_id, person, day)
            )
        return sum(counting, Decimal(0))

    def _not_shared(
        self,
        deal: DealFacts,
        component: Component,
        shares: Sequence[tuple[UUID, Decimal, str]],
        owner: UUID | None,
    ) -> CreditExclusion:
        by_owner = component.crediting is Crediting.OWNER or not deal.splits
        if (by_owner and owner is None) or not (by_owner or shares):
            return CreditExclusion.OWNER_UNMAPPED
        if component.crediting is Crediting.ROLLUP:
            return CreditExclusion.NOT_IN_SUBTREE
        return CreditExclusion.NOT_OWNER if by_owner else CreditExclusion.NOT_ON_SPLIT

    def _in_subtree(self, manager: UUID, person: UUID, day: date) -> bool:
        return any(
            manager in self._managers_of_team.get(team, ()) and day in stay
            for team, stay in self._stays.get(person, ())
        )

    def _reach(self, assignment: Assignment) -> frozenset[tuple[CrmUser, DatedRange | None]]:
        own: set[tuple[CrmUser, DatedRange | None]] = {
            (user, None) for user in self.chart.users_of(assignment.person_id)
        }
        if self.rolls_up(assignment):
            for person in self._people_managed.get(assignment.person_id, ()):
                users = self.chart.users_of(person)
                for team, stay in self._stays.get(person, ()):
                    if assignment.person_id in self._managers_of_team.get(team, ()):
                        own.update((user, stay) for user in users)
        return frozenset(own)

    @cached_property
    def _by_person(self) -> Mapping[UUID, list[Assignment]]:
        found: dict[UUID, list[Assignment]] = defaultdict(list)
        for assignment in self.assignments.values():
            if not assignment.deleted:
                found[assignment.person_id].append(assignment)
        return found

    @cached_property
    def _lines(self) -> Mapping[UUID, list[_Line]]:
        """The components of every active version, with equal measures known by one number."""
        measures: dict[Measure, int] = {}
        return {
            plan_id: [
                _Line(component, version.number, measures.setdefault(component.measure, len(measures)))
                for version in versions
                if version.status is VersionStatus.ACTIVE
                for component in version.components
            ]
            for plan_id, versions in self.versions.items()
        }

    @cached_property
    def _stays(self) -> Mapping[UUID, list[tuple[UUID, DatedRange]]]:
        found: dict[UUID, list[tuple[UUID, DatedRange]]] = defaultdict(list)
        for membership in self.chart.memberships:
            found[membership.person_id].append((membership.team_id, membership.range))
        return found

    @cached_property
    def _managers_of_team(self) -> Mapping[UUID, set[UUID]]:
        """Who manages a team or one above it."""
        found: dict[UUID, set[UUID]] = defaultdict(set)
        for node in self.chart.teams.values():
            if node.manager_id is not None:
                for team in self.chart.subtree(node.id):
                    found[team].add(node.manager_id)
        return found

    @cached_property
    def _managers_ever(self) -> Mapping[UUID, frozenset[UUID]]:
        """Those with a roll-up who have managed a person on some day."""
        rolling = {a.person_id for a in self.assignments.values() if not a.deleted and self.rolls_up(a)}
        return {
            person: frozenset(
                manager for team, _ in stays for manager in self._managers_of_team.get(team, ()) if manager in rolling
            )
            for person, stays in self._stays.items()
        }

    @cached_property
    def _people_managed(self) -> Mapping[UUID, list[UUID]]:
        found: dict[UUID, list[UUID]] = defaultdict(list)
        for person, managers in self._managers_ever.items():
            for manager in managers:
                found[manager].append(person)
        return found

    @cached_property
    def _versions_by_start(self) -> dict[tuple[UUID, date], PlanVersion | None]:
        return {}

    @cached_property
    def _periods(self) -> dict[tuple[PeriodKind, int, int], Period]:
        return {}


@lru_cache(maxsize=1 << 16)
def _cell_id(assignment_id: UUID, component: str, start: date) -> UUID:
    return uuid5(assignment_id, f"{component}/{start}")


def _credit(
    assignment: Assignment,
    component: Component,
    deal: DealFacts,
    counted: Counted,
    period: Period,
    percent: Decimal,
) -> Credit:
    share = _EXACT.multiply(percent, component.allocation_percent).scaleb(-2, context=_EXACT)
    value = _EXACT.multiply(counted.value, share).scaleb(-2, context=_EXACT)
    return Credit(assignment.id, component.key, deal.deal_id, counted.day, period, share, value)
