"""Who is credited with how much of a deal: deal facts × assignments × organisation → credits.

Everything here is a pure function of the newest facts of a deal and of the definitions as they are; a change of
either is handled by working the credits out again and comparing with those that are stored.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import MAXYEAR, date, timedelta
from decimal import Context, Decimal
from functools import cached_property
from typing import Final, NamedTuple
from uuid import UUID

from services.incentives.credits.domain.credit import (
    CellDays,
    CellKey,
    ComponentYear,
    Credit,
    CreditChanges,
    CreditedToNobody,
    CreditExclusion,
    CreditInputs,
    DealOfCell,
    DirectLine,
    Expected,
    NotCredited,
    Owners,
    PartInCell,
    PayTerms,
    ReachedUser,
    furthest,
)
from services.incentives.credits.domain.hierarchy import Hierarchy
from services.incentives.plans.domain.active_days import Prorated
from services.incentives.plans.domain.assignments import (
    Assignment,
    QuotaGap,
    QuotaGoal,
    first_days,
    stated_quota,
    target_variable_of,
)
from services.incentives.plans.domain.components import Component, main_counted, main_measure, needs_deals
from services.incentives.plans.domain.crediting import (
    PLAIN_CREDITING,
    CreditedOwner,
    CreditingRules,
    Inheritor,
    LeaverRule,
)
from services.incentives.plans.domain.kinds.pool import WEIGHT, Pool
from services.incentives.plans.domain.parameters import (
    MAIN,
    ComponentMeasure,
    Multiplier,
    Windfall,
    quota_key,
)
from services.incentives.plans.domain.scores import Scores
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus, timeline
from shared.kernel.deals import DateField, DealFacts
from shared.kernel.filters import first_failing
from shared.kernel.layers import Layered
from shared.kernel.measures import Conversion, Counted, Crediting, Exclusion, Measure, NotCounted, RatePolicy
from shared.kernel.org import CrmUser, OrgChart
from shared.kernel.parts import Part, parts_of, share_value
from shared.kernel.periods import DAY_MAX, DatedRange, FiscalCalendar, Period, PeriodKind
from shared.kernel.rates import RatesInto
from shared.kernel.reasons import Circumstances, Reason, reason_of, unknown_users

_EXACT: Final = Context(prec=100)
_ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class _Line:
    """A measure of a component of one version of a plan, ready to credit by."""

    component: str
    counted: ComponentMeasure
    version_number: int
    measure_index: int
    rules: CreditingRules


@dataclass(frozen=True, slots=True)
class _Leaver:
    """Somebody's assignment ended on the day before `end`, and a rule says whose the open deals are from there on."""

    assignment_id: UUID
    person_id: UUID
    end: date
    rule: LeaverRule

    def rules_on(self, day: date) -> bool:
        """Whether the rule decides about what counts on a day."""
        return self.end <= day and (self.rule.days is None or (day - self.end).days < self.rule.days)


class _Owned(NamedTuple):
    """A part with the share of whoever the rules credit with it; `refusal` is why that is not who has it now."""

    part: Part
    refusal: CreditExclusion | None


class _Taken(NamedTuple):
    """A part that counts, and the person who has it."""

    person: UUID
    part: Part
    counted: Counted


@dataclass(slots=True)
class _OnDay:
    """What of a deal is an assignment's on one day; `instalment` is the first payment or invoice that counted."""

    instalment: int
    percent: Decimal = _ZERO
    value: Decimal = _ZERO


_OF_OTHERS: Final = (
    CreditExclusion.NOT_ON_SPLIT,
    CreditExclusion.NOT_IN_SUBTREE,
    CreditExclusion.NOT_IN_TEAM,
    CreditExclusion.NOT_ON_PLAN,
)
_OF_SEVERAL: Final = {
    Crediting.ROLLUP: CreditExclusion.NOT_IN_SUBTREE,
    Crediting.TEAM: CreditExclusion.NOT_IN_TEAM,
}
"""Why a share is not credited where those of several people are."""


@dataclass(frozen=True)
class Definitions:
    """One tenant's organisation, quota goals, plans, versions and assignments. Rebuilt whenever one of them changes.

    What is paid without deals is paid for periods that have begun by `today`.
    """

    chart: OrgChart = field(default_factory=OrgChart)
    goals: Layered[UUID, QuotaGoal] = field(default_factory=Layered)
    plans: Mapping[UUID, Plan] = field(default_factory=dict)
    versions: Mapping[UUID, Sequence[PlanVersion]] = field(default_factory=dict)
    assignments: Mapping[UUID, Assignment] = field(default_factory=dict)
    scores: Mapping[UUID, Scores] = field(default_factory=dict)
    today: date = date.max

    def credits(
        self,
        deal: DealFacts,
        owners: Owners = (),
        *,
        only: Collection[UUID] | None = None,
    ) -> list[Credit]:
        """The credits of a deal, to all assignments or `only` some, by assignment and component.

        `owners` are those of its versions, in their order, where a rule asks for them (`asks_for_owners`).
        """
        if deal.is_gone:
            return []
        taken: dict[int, Sequence[_Taken]] = {}
        found: list[Credit] = []
        for assignment in self._candidates(self._people_of(deal, owners)):
            if only is None or assignment.id in only:
                self._credit(deal, owners, assignment, taken, found)
        found.sort(key=lambda credit: credit.key)
        return found

    def concerned(self, deal: DealFacts, owners: Owners = ()) -> list[UUID]:
        """The assignments that a deal could be credited to; `owners` are those of its versions, as far as one asks."""
        return [assignment.id for assignment in self._candidates(self._people_of(deal, owners))]

    def why(
        self, deal: DealFacts, assignment: Assignment, component_key: str, period: Period, owners: Owners = ()
    ) -> DealOfCell:
        """The credits of a deal in one cell, or why there are none."""
        version = self.version_in_force(assignment.plan_id, period.start)
        if version is None:
            return DealOfCell((), NotCredited(self._no_terms(assignment.plan_id, period.start)))
        component = version.component(component_key)
        counted = None if component is None else main_counted(component)
        if counted is None:
            return DealOfCell((), NotCredited(CreditExclusion.NO_COMPONENT))
        found = self._parts(counted.measure, deal)
        if isinstance(found, NotCounted):
            return DealOfCell((), NotCredited(found.reason, found.failing))
        rules = version.rules.crediting
        key = CellKey(assignment.id, component_key, period)
        parts = [
            self._part_in_cell(self._owned(part, counted.measure, deal, owners, rules), deal, key, counted, part)
            for part in found
        ]
        credited = [
            c
            for c in self.credits(deal, owners, only=[assignment.id])
            if (c.component, c.measure) == (component_key, MAIN)
        ]
        here = tuple(credit for credit in credited if credit.period == period)
        if here:
            return DealOfCell(here, None, tuple(parts))
        if credited:
            # Other terms of the component pay for it, on another day.
            elsewhere = NotCredited(CreditExclusion.OUTSIDE_PERIOD, period=credited[0].period)
            parts = [replace(p, outcome=elsewhere) if isinstance(p.outcome, Counted) else p for p in parts]
        refusals = [p.outcome for p in parts if isinstance(p.outcome, NotCredited)]
        found_reason = furthest(refusals)
        is_unknown = any(refused.reason == CreditExclusion.OWNER_UNMAPPED for refused in refusals)
        if found_reason.reason in _OF_OTHERS and is_unknown:
            found_reason = NotCredited(Exclusion.SPLIT_UNMAPPED)
        return DealOfCell((), found_reason, tuple(parts))

    def reason(self, deal: DealFacts, key: CellKey, found: DealOfCell) -> Reason | None:
        """In words why a deal has no credit in a cell; None where it has one."""
        if found.refusal is None:
            return None
        assignment = self.assignments[key.assignment_id]
        version = self.version_in_force(assignment.plan_id, key.period.start)
        component = None if version is None else version.component(key.component)
        measure = None if component is None else main_measure(component)
        own = [p for p in found.parts if p.person_id == assignment.person_id]
        return reason_of(
            found.refusal.reason,
            Circumstances(
                facts=deal.dated(self.chart.calendar),
                measure=measure,
                failing=found.refusal.failing,
                day=None if measure is None else deal.day(measure.date_field, self.chart.calendar),
                period=key.period,
                unknown_users=unknown_users((p.part, p.person_id) for p in found.parts),
                roles=tuple(dict.fromkeys(p.part.share.role for p in own or found.parts)),
                role=None if measure is None else measure.role,
                terms_start=self.first_terms(assignment.plan_id),
            ),
        )

    def direct_lines(self) -> list[DirectLine]:
        """Every component that credits assignments with their own shares of money, by assignment and component."""
        found: dict[tuple[UUID, str], DirectLine] = {}
        numbers: dict[tuple[UUID, str], int] = {}
        for assignment in self.assignments.values():
            for line in self._lines.get(assignment.plan_id, ()):
                currency = _direct_currency(line.counted)
                if currency is not None:
                    number = numbers.setdefault((assignment.plan_id, line.component), len(numbers))
                    found[assignment.id, line.component] = DirectLine(
                        assignment.id, line.component, number, line.counted.allocation_percent, currency
                    )
        return list(found.values())

    def to_nobody(self, deal: DealFacts, days: Period, owners: Owners = ()) -> CreditedToNobody | None:
        """What of a deal counts within some days and is credited to nobody, by the first plan that leaves some.

        The share of a user whom no identity names, or of a house account; and the whole of a deal of people whom no
        plan pays for it, unless it is credited to somebody else, such as a manager of theirs.
        """
        if deal.is_gone:
            return None
        is_credited = bool(self.credits(deal, owners))
        for plan_id in sorted(self._lines):
            for line in self._lines[plan_id]:
                currency = _direct_currency(line.counted)
                if currency is None:
                    continue
                left = self._left_to_nobody(plan_id, line, deal, days, owners, is_credited=is_credited)
                if left is not None:
                    day, value, reason = left
                    return CreditedToNobody(deal.deal_id, plan_id, day, value, currency, reason)
        return None

    def _left_to_nobody(
        self, plan_id: UUID, line: _Line, deal: DealFacts, days: Period, owners: Owners, *, is_credited: bool
    ) -> tuple[date, Decimal, str] | None:
        """The first day, the sum and the first reason of the shares that a line leaves to nobody."""
        parts = self._parts(line.counted.measure, deal)
        left: list[tuple[date, Decimal, str]] = []
        for stated in () if isinstance(parts, NotCounted) else parts:
            part, refusal = self._owned(stated, line.counted.measure, deal, owners, line.rules)
            outcome = part.outcome
            if not isinstance(outcome, Counted) or outcome.day not in days:
                continue
            version = self.version_in_force(plan_id, outcome.day)
            if version is None or version.number != line.version_number:
                continue
            reason: str | None = None
            if refusal is CreditExclusion.HOUSE_ACCOUNT:
                reason = refusal
            elif self._person_of(part) is None:
                reason = Exclusion.OWNER_MISSING if part.share.user is None else CreditExclusion.OWNER_UNMAPPED
            elif not is_credited:
                reason = CreditExclusion.NO_ASSIGNMENT
            if reason is not None:
                value = share_value(outcome.value, line.counted.allocation_percent)
                left.append((outcome.day, value, reason))
        total = _ZERO
        for _, value, _ in left:
            total = _EXACT.add(total, value)
        return (left[0][0], total, left[0][2]) if total else None

    def first_terms(self, plan_id: UUID) -> date | None:
        """The first day of the first active terms of a plan."""
        active = (v.effective_from for v in self.versions.get(plan_id, ()) if v.status is VersionStatus.ACTIVE)
        return min(active, default=None)

    def _no_terms(self, plan_id: UUID, day: date) -> CreditExclusion:
        """Why there are no terms on a day."""
        start = self.first_terms(plan_id)
        is_later = start is not None and start > day
        return CreditExclusion.TERMS_START_LATER if is_later else CreditExclusion.NO_PLAN_VERSION

    def conversion(self, component: Component, deal: DealFacts, day: date) -> Conversion | None:
        """How money of a deal that counts on a day was converted into the plan's currency; None for no need.

        Payments of one day are summed: they have one rate.
        """
        measure = main_measure(component)
        if measure is None:
            return None
        wholes = measure.wholes(deal, self.chart.calendar, self.chart.rates)
        if isinstance(wholes, NotCounted):
            return None
        found = [
            whole.outcome.conversion
            for whole in wholes
            if isinstance(whole.outcome, Counted) and whole.outcome.day == day and whole.outcome.conversion is not None
        ]
        if not found:
            return None
        amount = _ZERO
        for conversion in found:
            amount = _EXACT.add(amount, conversion.amount)
        return replace(found[0], amount=amount)

    def terms(self, cell: CellKey) -> PayTerms | None:
        """What a cell is paid by, or None when nothing pays it: no assignment, version or component any more."""
        assignment = self.assignments.get(cell.assignment_id)
        if assignment is None or assignment.deleted:
            return None
        found = self.cell_on(assignment, cell.component, cell.period.start)
        if found is None or found.period.start != cell.period.start:
            return None
        component = found.version.component(cell.component)
        if component is None:
            return None
        plan = self.plans[assignment.plan_id]
        quota = self._quota(assignment, component, found.period)
        target = self._target_variable(assignment, found.period)
        return PayTerms(
            component,
            plan,
            found.version.number,
            quota if isinstance(quota, QuotaGap) else quota.value,
            None if target is None else target.value,
        )

    def expected(self, cell: CellKey, terms: PayTerms) -> Expected:
        """How the quota and the target variable of a cell with these terms come to what they are."""
        assignment = self.assignments[cell.assignment_id]
        quota = self._quota(assignment, terms.component, cell.period)
        target = self._target_variable(assignment, cell.period)
        return Expected(None if isinstance(quota, QuotaGap) else quota, target)

    def quotas(self, assignment: Assignment, component: Component, days: Period) -> dict[str, Decimal | QuotaGap]:
        """The quota of each measure of a component in a cell of these days, of the period that its totals run for."""
        found = {}
        for counted in component.measures:
            quota = self._stated_quota(assignment, component.key, counted, days)
            found[counted.name] = quota if isinstance(quota, QuotaGap) else quota.value
        return found

    def scores_of(self, cell: CellKey) -> Mapping[str, Decimal]:
        """The scores of the objectives of a cell, in percent; what is not scored is left out."""
        return self.scores.get(cell.assignment_id, {}).get((cell.component, cell.period.start), {})

    def pool_weights(self, cell: CellKey) -> tuple[list[Decimal], int]:
        """The weights of everybody who shares the pool of a cell, by assignment, and whose place is the cell's.

        A weight is the assignment's own, 1 where it states none, times its days on the plan in the period of the cell;
        where it changes, each counts for its own days.
        """
        plan_id = self.assignments[cell.assignment_id].plan_id
        days = DatedRange(cell.period.start, cell.period.end)
        sharing = [each for each in self._on_plan.get(plan_id, ()) if each.range.overlaps(days)]
        weights = [_weight(each, quota_key(cell.component, WEIGHT), cell.period) for each in sharing]
        return weights, [each.id for each in sharing].index(cell.assignment_id)

    def uncounted_years(self, assignment: Assignment) -> Iterator[ComponentYear]:
        """The years up to today in which an assignment has components that are paid without deals."""
        keys = {
            component.key
            for version in self._timelines.get(assignment.plan_id, ())
            for component in version.components
            if not component.measures
        }
        first = self.first_terms(assignment.plan_id)
        if not keys or first is None or assignment.deleted:
            return
        day = max(first, assignment.range.start)
        until = min(self.today, assignment.range.end or date.max)
        while day <= until:
            year = self.period_of(PeriodKind.YEAR, day)
            for key in sorted(keys):
                yield ComponentYear(assignment.id, key, year)
            day = year.end

    def _quota(self, assignment: Assignment, component: Component, days: Period) -> Prorated | QuotaGap:
        """That of what a component pays on, in a cell of these days."""
        for counted in component.measures:
            if counted.name == MAIN:
                return self._stated_quota(assignment, component.key, counted, days)
        return QuotaGap.MISSING

    def _stated_quota(
        self, assignment: Assignment, component: str, counted: ComponentMeasure, days: Period
    ) -> Prorated | QuotaGap:
        plan = self.plans[assignment.plan_id]
        key, period = quota_key(component, counted.name), self.period_of(counted.period or plan.period, days.start)
        unit, work = counted.measure.unit, self.chart.work
        return stated_quota(assignment, key, unit, period, self.goals, work, known_before=days.end)

    def _target_variable(self, assignment: Assignment, days: Period) -> Prorated | None:
        kind = self.plans[assignment.plan_id].period
        return target_variable_of(assignment, kind, self.period_of(kind, days.start), self.chart.work, days=days)

    def version_in_force(self, plan_id: UUID, day: date) -> PlanVersion | None:
        """The terms of a plan on a day."""
        found = self.terms_on(plan_id, day)
        return None if found is None else found.version

    def terms_on(self, plan_id: UUID, day: date) -> CellDays | None:
        """The days of the period around a day on which the same terms are in force, whoever is on the plan."""
        known = self._terms_days
        key = plan_id, day
        if key not in known:
            known[key] = self._cut(plan_id, day)
        return known[key]

    def cell_on(self, assignment: Assignment, component: str, day: date) -> CellDays | None:
        """The days of the cell that a day is in: those with the same terms and the same amounts that are expected."""
        found = self.terms_on(assignment.plan_id, day)
        if found is None or assignment.id not in self._changing:
            return found
        paid = found.version.component(component)
        start, end = found.period.start, found.period.end
        for first_day in () if paid is None else first_days(assignment, paid):
            if first_day <= day:
                start = max(start, first_day)
            else:
                end = min(end, first_day)
        return CellDays(Period(start, end), found.version)

    def terms_within(self, plan_id: UUID, days: Period) -> list[CellDays]:
        """What `terms_on` finds, of every day within some that it begins on, in order."""
        return self._beginning_within(plan_id, days, lambda day: self.terms_on(plan_id, day))

    def cells_within(self, assignment: Assignment, component: str, days: Period) -> list[CellDays]:
        """The days of every cell that begins within some, in order."""
        return self._beginning_within(assignment.plan_id, days, lambda day: self.cell_on(assignment, component, day))

    def _beginning_within(
        self, plan_id: UUID, days: Period, around: Callable[[date], CellDays | None]
    ) -> list[CellDays]:
        found = []
        day = days.start
        while day < days.end:
            cell = around(day)
            if cell is None:
                first = self.first_terms(plan_id)
                if first is None or first <= day:
                    break
                day = first
                continue
            if cell.period.start >= days.start:
                found.append(cell)
            day = cell.period.end
        return found

    def linked_year(self, cell: CellKey) -> ComponentYear | None:
        """The cells that depend on one another and that this is one of; None where its own credits are all it needs."""
        assignment = self.assignments[cell.assignment_id]
        # Everybody's cells on a plan are linked alike, but of those with amounts of their own days.
        alike = assignment.id if assignment.id in self._changing else assignment.plan_id
        key = alike, cell.component, cell.period.start
        if key not in self._linked:
            year = self.period_of(PeriodKind.YEAR, cell.period.start)
            self._linked[key] = year if self._is_linked(assignment, cell.component, year) else None
        linked = self._linked[key]
        return None if linked is None else ComponentYear(cell.assignment_id, cell.component, linked)

    def year_of(self, credit: Credit) -> ComponentYear | None:
        """The cells that depend on one another and that a credit counts for; None where it counts in one alone."""
        return self.linked_year(CellKey(credit.assignment_id, credit.component, credit.period))

    def needs_deals(self, key: ComponentYear) -> bool:
        """Whether one of the cells depends on its deals one by one; else on what its credits come to."""
        cells = self.cells_within(self.assignments[key.assignment_id], key.component, key.year)
        components = (cell.version.component(key.component) for cell in cells)
        return any(component is not None and needs_deals(component) for component in components)

    def changes(self, component: Component, deal: DealFacts, day: date) -> CreditChanges:
        """What multipliers and a windfall made of what a deal adds on a day."""
        counted = next((each for each in component.measures if each.name == MAIN), None)
        if counted is None:
            return CreditChanges()
        passed = _passed(counted.multipliers, deal, self.chart.calendar)
        if counted.windfall is None:
            return CreditChanges(passed)
        whole, kept = self._after_windfall(counted.measure, counted.windfall, deal).get(day, (_ZERO, _ZERO))
        return CreditChanges(passed, _EXACT.subtract(whole, kept))

    def _after_windfall(
        self, measure: Measure, windfall: Windfall, deal: DealFacts
    ) -> dict[date, tuple[Decimal, Decimal]]:
        """What all of a deal adds by day, and what a windfall leaves of it: of payments in the order of their days."""
        wholes = measure.wholes(deal, self.chart.calendar, self.chart.rates)
        by_day: dict[date, Decimal] = {}
        for whole in () if isinstance(wholes, NotCounted) else wholes:
            if isinstance(whole.outcome, Counted):
                day = whole.outcome.day
                by_day[day] = _EXACT.add(by_day.get(day, _ZERO), whole.outcome.value)
        found = {}
        total = _ZERO
        for day, value in sorted(by_day.items()):
            after = _EXACT.add(total, value)
            found[day] = value, _EXACT.subtract(_left(windfall, after), _left(windfall, total))
            total = after
        return found

    def _is_linked(self, assignment: Assignment, component_key: str, year: Period) -> bool:
        kind = self.plans[assignment.plan_id].period
        for cell in self.cells_within(assignment, component_key, year):
            component = cell.version.component(component_key)
            if component is not None and (
                component.is_linked or cell.period.start != self.period_of(kind, cell.period.start).start
            ):
                return True
        return False

    def _cut(self, plan_id: UUID, day: date) -> CellDays | None:
        versions = self._timelines.get(plan_id, ())
        index = bisect_right(versions, day, key=lambda version: version.effective_from) - 1
        if index < 0:
            return None
        period = self.period_of(self.plans[plan_id].period, day)
        start, end = max(period.start, versions[index].effective_from), period.end
        if index + 1 < len(versions):
            end = min(end, versions[index + 1].effective_from)
        return CellDays(Period(start, end), versions[index])

    def period_of(self, kind: PeriodKind, day: date) -> Period:
        """The fiscal period that contains a day."""
        key = kind, day
        period = self._periods.get(key)
        if period is None:
            period = self._periods[key] = self.chart.calendar.period_of(day, kind)
        return period

    def cut_now(self, cell: CellKey) -> CellKey:
        """The cell with the end that it has now: a change of the calendar, new terms or another quota may cut it."""
        found = self.cell_on(self.assignments[cell.assignment_id], cell.component, cell.period.start)
        return replace(cell, period=found.period) if found and found.period.start == cell.period.start else cell

    def _credits_by(self, assignment: Assignment, crediting: Crediting) -> bool:
        """Whether any active terms of the assignment credit so."""
        lines = self._lines.get(assignment.plan_id, ())
        return any(line.counted.measure.crediting is crediting for line in lines)

    def users_of(self, assignment: Assignment) -> frozenset[CrmUser]:
        """Every CRM user whose deals the assignment could be credited with."""
        return frozenset(reached.user for reached in self._reach(assignment))

    def inputs(self, assignment: Assignment) -> CreditInputs:
        """What the cells of the assignment depend on."""
        goal_ids = sorted({goal_id for quota in assignment.quotas.values() for _, goal_id in quota.named_goals()})
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
            work=self.chart.work if assignment.depends_on_days else None,
        )

    def touched_since(self, before: "Definitions") -> list[UUID]:
        """The assignments whose cells depend on something else than they did."""
        return [
            assignment.id
            for assignment in self.assignments.values()
            if not assignment.deleted and before.inputs(assignment) != self.inputs(assignment)
        ]

    def sharing_pools(self, assignment_ids: Iterable[UUID]) -> set[UUID]:
        """Everybody who shares a pool with one of these: all on a plan that has one in active terms."""
        return {
            other.id
            for plan_id in {self.assignments[each].plan_id for each in assignment_ids}
            if any(
                isinstance(component, Pool)
                for version in self.versions.get(plan_id, ())
                if version.status is VersionStatus.ACTIVE
                for component in version.components
            )
            for other in self._on_plan.get(plan_id, ())
        }

    @cached_property
    def asks_for_owners(self) -> bool:
        """Whether a rule in force asks who owned a deal before."""
        return any(
            rules.owner is CreditedOwner.ON_DAY or rules.leaver.pays is not Inheritor.NEW_OWNER
            for versions in self.versions.values()
            for version in versions
            if version.status is VersionStatus.ACTIVE
            for rules in [version.rules.crediting]
        )

    def hands_over(self, assignment: Assignment) -> bool:
        """Whether its end, or that of another one of the person, may decide whose deals of others are."""
        return any(
            version.status is VersionStatus.ACTIVE and version.rules.crediting.leaver.pays is not Inheritor.NEW_OWNER
            for other in self.assignments.values()
            if other.person_id == assignment.person_id
            for version in self.versions.get(other.plan_id, ())
        )

    @cached_property
    def _leavers(self) -> Mapping[UUID, list[_Leaver]]:
        """By person, the latest first."""
        found: dict[UUID, list[_Leaver]] = defaultdict(list)
        for person, assignments in self._by_person.items() if self.asks_for_owners else ():
            for each in assignments:
                end = each.range.end
                if end is None or any(end in other.range for other in assignments):
                    continue
                last = self.period_of(self.plans[each.plan_id].period, end - timedelta(days=1))
                version = self.version_in_force(each.plan_id, last.start)
                if version is not None and version.rules.crediting.leaver.pays is not Inheritor.NEW_OWNER:
                    found[person].append(_Leaver(each.id, person, end, version.rules.crediting.leaver))
            found[person].sort(key=lambda leaver: (leaver.end, leaver.assignment_id), reverse=True)
        return found

    def _people_of(self, deal: DealFacts, owners: Owners) -> set[UUID]:
        """Everybody who has, or had, something of a deal."""
        users = {
            deal.owner_external_id,
            *(split.owner_external_id for split in deal.splits),
            *(owner.user for owner in owners),
        }
        return {person for user in users if (person := self.chart.person_of(deal.source, user)) is not None}

    def _was_there(self, deal: DealFacts, day: date) -> bool:
        """Whether the deal was made before a day, as far as that is known."""
        created = deal.day(DateField.CREATED, self.chart.calendar)
        return created is None or created < day

    def _owned(self, part: Part, measure: Measure, deal: DealFacts, owners: Owners, rules: CreditingRules) -> _Owned:
        """The part as the rules credit it."""
        outcome = part.outcome
        if not isinstance(outcome, Counted):
            return _Owned(part, None)
        refusal = None
        if measure.crediting is Crediting.OWNER or not deal.splits:
            owner, refusal = self._credited_owner(deal, owners, outcome.day, rules)
            user = None if owner is None else CrmUser(deal.source, owner)
            if user != part.share.user:
                part = replace(part, share=replace(part.share, user=user))
        if self._person_of(part) in rules.house_accounts:
            refusal = CreditExclusion.HOUSE_ACCOUNT
        return _Owned(part, refusal)

    def _credited_owner(
        self, deal: DealFacts, owners: Owners, day: date, rules: CreditingRules
    ) -> tuple[str | None, CreditExclusion | None]:
        """The user who is credited as the owner of what counts on a day, and why that is not the owner now."""
        now = deal.owner_external_id
        for leaver in self._leavers_with(deal, owners):
            owner = self._owner_on(deal, owners, leaver.end - timedelta(days=1))
            if (
                leaver.rules_on(day)
                and self._was_there(deal, leaver.end)
                and self.chart.person_of(deal.source, owner) == leaver.person_id
            ):
                if leaver.rule.pays is Inheritor.HOUSE:
                    return now, CreditExclusion.HOUSE_ACCOUNT
                return owner, None if owner == now else CreditExclusion.LEAVERS_DEAL
        owner = self._owner_on(deal, owners, day) if rules.owner is CreditedOwner.ON_DAY else now
        return owner, None if owner == now else CreditExclusion.OWNED_BY_ANOTHER

    def _owner_on(self, deal: DealFacts, owners: Owners, day: date) -> str | None:
        """Who owned a deal at the end of a day, as far as its versions tell: else the first owner that is known."""
        begun = [owner for owner in owners if self.chart.calendar.business_date(owner.moment) <= day]
        known = begun[-1:] or owners[:1]
        return known[0].user if known else deal.owner_external_id

    def _leavers_with(self, deal: DealFacts, owners: Owners) -> list[_Leaver]:
        """Those who left of all who have or had the deal, the latest first."""
        found = [leaver for person in self._people_of(deal, owners) for leaver in self._leavers.get(person, ())]
        return sorted(found, key=lambda leaver: (leaver.end, leaver.assignment_id), reverse=True)

    def _pays_on(self, assignment: Assignment, deal: DealFacts, day: date) -> bool:
        """Whether the assignment is paid for what counts of a deal on a day: within its days, or as a leaver's."""
        if day in assignment.range:
            return True
        return any(
            leaver.assignment_id == assignment.id
            and leaver.rule.pays is Inheritor.LEAVER
            and leaver.rules_on(day)
            and self._was_there(deal, leaver.end)
            for leaver in self._leavers.get(assignment.person_id, ())
        )

    def _parts(self, measure: Measure, deal: DealFacts) -> tuple[Part, ...] | NotCounted:
        return parts_of(measure, deal, self.chart.calendar, self.chart.rates)

    def _taken(self, measure: Measure, deal: DealFacts, owners: Owners, rules: CreditingRules) -> Sequence[_Taken]:
        """The parts that count of people who are known."""
        parts = self._parts(measure, deal)
        found: list[_Taken] = []
        is_plain = rules is PLAIN_CREDITING and not self._leavers
        for stated in () if isinstance(parts, NotCounted) else parts:
            part, refusal = _Owned(stated, None) if is_plain else self._owned(stated, measure, deal, owners, rules)
            person = None if refusal is CreditExclusion.HOUSE_ACCOUNT else self._person_of(part)
            if person is not None and isinstance(part.outcome, Counted):
                found.append(_Taken(person, part, part.outcome))
        return found

    def _person_of(self, part: Part) -> UUID | None:
        user = part.share.user
        return None if user is None else self.chart.person_of(user.source, user.external_id)

    def _rates(self, assignment: Assignment) -> tuple[RatesInto, ...]:
        currencies = {
            line.counted.measure.currency
            for line in self._lines.get(assignment.plan_id, ())
            if line.counted.measure.rate_policy is RatePolicy.DEAL_DATE
        }
        # Whole years, so that assignments of any days have few different periods between them.
        first, end = assignment.range.start.replace(month=1, day=1), assignment.range.end
        days = Period(first, DAY_MAX if end is None or end.year == MAXYEAR else date(end.year + 1, 1, 1))
        return tuple(self.chart.rates.into(currency, days) for currency in sorted(filter(None, currencies)))

    def _credit(
        self,
        deal: DealFacts,
        owners: Owners,
        assignment: Assignment,
        taken: dict[int, Sequence[_Taken]],
        found: list[Credit],
    ) -> None:
        by_measure: dict[tuple[str, str], list[tuple[Credit, DateField | None]]] = {}
        for line in self._lines.get(assignment.plan_id, ()):
            parts = taken.get(line.measure_index)
            measure = line.counted.measure
            if parts is None:
                parts = taken[line.measure_index] = self._taken(measure, deal, owners, line.rules)
            for day, on_day in self._by_day(assignment, line.counted, parts).items():
                cell = self.cell_on(assignment, line.component, day)
                if cell is None or not self._is_on_it(assignment, line.counted, deal, day, cell.period):
                    continue
                if cell.version.number == line.version_number:
                    credit = self._credit_of(assignment, line, deal, day, cell.period, on_day)
                    by_measure.setdefault((line.component, credit.measure), []).append(
                        (credit, measure.date_field if measure.by_instalment else None)
                    )
        for credits in by_measure.values():
            found.extend(_paid_once(credits))

    def _credit_of(
        self, assignment: Assignment, line: _Line, deal: DealFacts, day: date, cell: Period, on_day: _OnDay
    ) -> Credit:
        counted = line.counted
        is_apart = counted.period is not None and counted.name != MAIN
        value, factor = on_day.value, _ONE
        if counted.windfall is not None:
            _, kept = self._after_windfall(counted.measure, counted.windfall, deal)[day]
            value = share_value(kept, on_day.percent)
        for multiplier in _passed(counted.multipliers, deal, self.chart.calendar):
            if multiplier.is_of_credit:
                value = _EXACT.multiply(value, multiplier.factor)
            else:
                factor = _EXACT.multiply(factor, multiplier.factor)
        return Credit(
            assignment.id,
            line.component,
            deal.deal_id,
            day,
            self.period_of(counted.period, day) if is_apart and counted.period is not None else cell,
            share_value(on_day.percent, counted.allocation_percent),
            share_value(value, counted.allocation_percent),
            counted.name,
            factor,
        )

    def _by_day(
        self, assignment: Assignment, counted_by: ComponentMeasure, parts: Iterable[_Taken]
    ) -> dict[date, _OnDay]:
        """What of a deal is the assignment's, before the component's allocation."""
        days: dict[date, _OnDay] = {}
        for person, part, counted in parts:
            if self._is_of(assignment, counted_by, person, counted.day):
                on_day = days.setdefault(counted.day, _OnDay(part.instalment))
                on_day.value = _EXACT.add(on_day.value, counted.value)
                # Every payment and invoice of the day is shared alike.
                if part.instalment == on_day.instalment:
                    on_day.percent = _EXACT.add(on_day.percent, part.share.percent)
        return days

    def _is_on_it(
        self, assignment: Assignment, counted: ComponentMeasure, deal: DealFacts, day: date, period: Period
    ) -> bool:
        """Whether what counts on a day, in a cell of a period, counts for an assignment by its own days."""
        if counted.of_plan:
            return assignment.range.overlaps(DatedRange(period.start, period.end))
        return self._pays_on(assignment, deal, day)

    def _is_of(self, assignment: Assignment, counted: ComponentMeasure, person: UUID, day: date) -> bool:
        """Whether the share of a person on a day is credited to an assignment."""
        if counted.of_plan:
            own = self._by_person.get(person, ())
            return any(each.plan_id == assignment.plan_id and day in each.range for each in own)
        match counted.measure.crediting:
            case Crediting.ROLLUP:
                return any(
                    day in stay for stay in self._hierarchy.stays_under(assignment.person_id, person, counted.depth)
                )
            case Crediting.TEAM:
                return any(day in stay for stay in self._hierarchy.stays_beside(assignment.person_id, person))
            case _:
                return person == assignment.person_id

    def _part_in_cell(
        self, owned: _Owned, deal: DealFacts, key: CellKey, counted: ComponentMeasure, stated: Part
    ) -> PartInCell:
        part, refusal = owned
        assignment, period = self.assignments[key.assignment_id], key.period
        person = self._person_of(part)
        found = self._of_assignment(part, person, deal, assignment, counted)
        if refusal is not None and isinstance(part.outcome, Counted):
            now = self._of_assignment(stated, self._person_of(stated), deal, assignment, counted)
            if isinstance(found, NotCredited) and isinstance(now, Counted):
                return PartInCell(part, person, NotCredited(refusal))
        if isinstance(found, NotCredited):
            return PartInCell(part, person, found)
        if refusal is CreditExclusion.HOUSE_ACCOUNT:
            return PartInCell(part, person, NotCredited(refusal))
        actual = self.cell_on(assignment, key.component, found.day)
        within = period if actual is None else actual.period
        if assignment.deleted or not self._is_on_it(assignment, counted, deal, found.day, within):
            return PartInCell(part, person, NotCredited(CreditExclusion.NO_ASSIGNMENT))
        if actual is None:
            return PartInCell(part, person, NotCredited(self._no_terms(assignment.plan_id, found.day)))
        if actual.period == period:
            return PartInCell(part, person, found)
        return PartInCell(part, person, NotCredited(CreditExclusion.OUTSIDE_PERIOD, period=actual.period))

    def _of_assignment(
        self, part: Part, person: UUID | None, deal: DealFacts, assignment: Assignment, counted: ComponentMeasure
    ) -> Counted | NotCredited:
        """What of a part is the assignment's, whatever the period."""
        outcome, crediting = part.outcome, counted.measure.crediting
        of_several = CreditExclusion.NOT_ON_PLAN if counted.of_plan else _OF_SEVERAL.get(crediting)
        if isinstance(outcome, NotCounted) and part.share.refusal is None:
            return NotCredited(outcome.reason)
        if person is None:
            is_missing = part.share.user is None
            return NotCredited(Exclusion.OWNER_MISSING if is_missing else CreditExclusion.OWNER_UNMAPPED)
        if of_several is None and person != assignment.person_id:
            by_owner = crediting is Crediting.OWNER or not deal.splits
            return NotCredited(CreditExclusion.NOT_OWNER if by_owner else CreditExclusion.NOT_ON_SPLIT)
        if isinstance(outcome, NotCounted):
            return NotCredited(outcome.reason)
        if of_several is not None and not self._is_of(assignment, counted, person, outcome.day):
            return NotCredited(of_several)
        return outcome

    def _candidates(self, people: Iterable[UUID]) -> list[Assignment]:
        found: dict[UUID, Assignment] = {}
        for person in people:
            for assignment in self._by_person.get(person, ()):
                found[assignment.id] = assignment
                for other in self._sharing.get(assignment.plan_id, ()):
                    found[other.id] = other
            for near in (*self._managers_ever.get(person, ()), *self._teammates_ever.get(person, ())):
                for assignment in self._by_person.get(near, ()):
                    found[assignment.id] = assignment
        return list(found.values())

    def _reach(self, assignment: Assignment) -> frozenset[ReachedUser]:
        own = {ReachedUser(user) for user in self.chart.users_of(assignment.person_id)}
        if self._credits_by(assignment, Crediting.ROLLUP):
            depths = {line.counted.depth for line in self._lines.get(assignment.plan_id, ())}
            for person in self._people_managed.get(assignment.person_id, ()):
                users = self.chart.users_of(person)
                for depth in depths:
                    for under in self._hierarchy.stays_under(assignment.person_id, person, depth):
                        own.update(ReachedUser(user, under, depth) for user in users)
        if self._credits_by(assignment, Crediting.TEAM):
            for person, teammates in self._teammates_ever.items():
                if assignment.person_id in teammates:
                    users = self.chart.users_of(person)
                    for beside in self._hierarchy.stays_beside(assignment.person_id, person):
                        own.update(ReachedUser(user, beside) for user in users)
        for other in self._sharing.get(assignment.plan_id, ()):
            own.update(ReachedUser(user, other.range) for user in self.chart.users_of(other.person_id))
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
        """The measures of every active version's components; those that credit alike are known by one number."""
        measures: dict[tuple[Measure, CreditingRules], int] = {}
        return {
            plan_id: [
                _Line(
                    component.key,
                    counted,
                    version.number,
                    measures.setdefault((counted.measure, version.rules.crediting), len(measures)),
                    PLAIN_CREDITING if version.rules.crediting == PLAIN_CREDITING else version.rules.crediting,
                )
                for version in versions
                if version.status is VersionStatus.ACTIVE
                for component in version.components
                for counted in component.measures
            ]
            for plan_id, versions in self.versions.items()
        }

    @cached_property
    def _hierarchy(self) -> Hierarchy:
        return Hierarchy(self.chart)

    @cached_property
    def _teammates_ever(self) -> Mapping[UUID, frozenset[UUID]]:
        """Those credited by team who were in a team of the person or in one above it, on whichever days."""
        members: dict[UUID, set[UUID]] = defaultdict(set)
        for assignment in self.assignments.values():
            if not assignment.deleted and self._credits_by(assignment, Crediting.TEAM):
                for team, _ in self._hierarchy.stays.get(assignment.person_id, ()):
                    members[team].add(assignment.person_id)
        if not members:
            return {}
        return {
            person: frozenset(
                member
                for team, _ in stays
                for over, _ in self._hierarchy.teams_of_team(team)
                for member in members.get(over, ())
            )
            for person, stays in self._hierarchy.stays.items()
        }

    @cached_property
    def _on_plan(self) -> Mapping[UUID, list[Assignment]]:
        """By plan, everybody who ever was or will be on it, by assignment."""
        found: dict[UUID, list[Assignment]] = defaultdict(list)
        for assignment in sorted(self.assignments.values(), key=lambda each: each.id):
            if not assignment.deleted:
                found[assignment.plan_id].append(assignment)
        return found

    @cached_property
    def _sharing(self) -> Mapping[UUID, list[Assignment]]:
        """By plan, everybody on it, where a component credits the shares of all of them to each."""
        return {
            plan_id: found
            for plan_id, found in self._on_plan.items()
            if any(line.counted.of_plan for line in self._lines.get(plan_id, ()))
        }

    @cached_property
    def _managers_ever(self) -> Mapping[UUID, frozenset[UUID]]:
        """Those with a roll-up who have managed a team that the person is or was in, on whichever days."""
        rolling = {
            a.person_id for a in self.assignments.values() if not a.deleted and self._credits_by(a, Crediting.ROLLUP)
        }
        return {
            person: frozenset(
                manager for team, _ in stays for manager in self._hierarchy.managers_of_team(team) if manager in rolling
            )
            for person, stays in self._hierarchy.stays.items()
        }

    @cached_property
    def _people_managed(self) -> Mapping[UUID, list[UUID]]:
        found: dict[UUID, list[UUID]] = defaultdict(list)
        for person, managers in self._managers_ever.items():
            for manager in managers:
                found[manager].append(person)
        return found

    @cached_property
    def _timelines(self) -> Mapping[UUID, tuple[PlanVersion, ...]]:
        return {plan_id: timeline(versions) for plan_id, versions in self.versions.items()}

    @cached_property
    def _changing(self) -> frozenset[UUID]:
        """The assignments with amounts that begin later than they do."""
        return frozenset(each.id for each in self.assignments.values() if each.has_later_amounts)

    @cached_property
    def _terms_days(self) -> dict[tuple[UUID, date], CellDays | None]:
        return {}

    @cached_property
    def _linked(self) -> dict[tuple[UUID, str, date], Period | None]:
        return {}

    @cached_property
    def _periods(self) -> dict[tuple[PeriodKind, date], Period]:
        return {}


def _direct_currency(counted: ComponentMeasure) -> str | None:
    """The currency of a component's own measure where it credits people with their own shares of money, else None."""
    measure = counted.measure
    is_direct = counted.name == MAIN and not counted.of_plan
    return measure.currency if is_direct and measure.crediting in (Crediting.OWNER, Crediting.SPLIT) else None


def _weight(assignment: Assignment, key: str, period: Period) -> Decimal:
    """What an assignment states for a period, each amount times its days in it."""
    days = assignment.range.within(period)
    if days is None:
        return _ZERO
    quota = assignment.quotas.get(key)
    states = [] if quota is None else list(quota.states())
    starts = [start for start, _ in states] or [date.min]
    amounts = [state.amount for _, state in states] or [None]
    weight = _ZERO
    for amount, start, end in zip(amounts, starts, [*starts[1:], DAY_MAX], strict=True):
        part = DatedRange(start, end).within(days)
        if part is not None:
            own = _ONE if amount is None else amount
            weight = _EXACT.add(weight, _EXACT.multiply(own, Decimal((part.end - part.start).days)))
    return weight


def _passed(multipliers: tuple[Multiplier, ...], deal: DealFacts, calendar: FiscalCalendar) -> tuple[Multiplier, ...]:
    """The multipliers whose filter a deal passes."""
    if not multipliers:
        return ()
    facts = deal.dated(calendar)
    return tuple(each for each in multipliers if first_failing(each.filter, facts.value_of) is None)


def _left(windfall: Windfall, whole: Decimal) -> Decimal:
    """What a windfall leaves of a whole deal, mirrored at zero."""
    above = _EXACT.subtract(whole.copy_abs(), windfall.above)
    if above <= 0:
        return whole
    left = _EXACT.add(windfall.above, share_value(above, windfall.percent))
    return left.copy_negate() if whole < 0 else left


def _paid_once(credits: Sequence[tuple[Credit, DateField | None]]) -> Iterable[Credit]:
    """Of what the versions of a component credit of a deal, each within its own time: what is paid.

    Terms that count a deal as a whole pay for it, and those that count its payments or its invoices pay for each of
    these; not two of the three. What came first decides: the deal as a whole on its day, its payments, or its invoices.
    """
    first, counted = min(credits, key=lambda each: each[0].day)
    return [first] if counted is None else [credit for credit, each in credits if each is counted]
