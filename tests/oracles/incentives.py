"""What incentives must come to, said a second time in plain integers and fractions. Imports nothing of the product.

A small company: users 0 to 4 of one CRM, people 0 to 3 of whom 3 manages team 0 with team 1 below it, until that is
changed from some day on; plan 0 for reps, plan 1 for managers, both by calendar quarter in USD; goals 0 and 1 are the
first two quarters of 2026. Amounts are cents, rates of pay and of exchange ten-thousandths, percents whole. Exchange
rates are told in CNY.

What a deal adds is a list of parts: each has its person, its day and its value. A payment counts on its own day.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from fractions import Fraction
from typing import TypeVar
from uuid import UUID, uuid5

from hypothesis import strategies as st

QUARTERS = (date(2026, 1, 1), date(2026, 4, 1), date(2026, 7, 1))
EVER = date(2025, 1, 1)
DAY = timedelta(days=1)
PLAN_OF = {0: (0, 0), 1: (1, 0), 2: (3, 1), 3: (0, 1)}
"""Assignment → person, plan."""
PLAN_RATES = {"EUR": 11_000, "JPY": 67}
"""What components with fixed rates make of a unit, in USD."""


@dataclass(frozen=True)
class DealVersion:
    deal: int
    version: int
    owner: int | None
    splits: tuple[tuple[int, int, str], ...]
    cents: int
    won: bool
    day: date | None
    currency: str
    gone: bool
    home_cents: int | None = None
    """What the CRM made of the amount in USD."""
    paid: tuple[tuple[date, int], ...] = ()
    invoiced: tuple[tuple[date, int], ...] = ()


@dataclass(frozen=True)
class Paying:
    key: str
    crediting: str
    role: str | None
    allocation: int
    basis: str
    mode: str
    by: str
    tiers: tuple[tuple[int, int], ...]
    exchange: str = "none"
    cash: bool = False
    """Whether what was paid counts instead of what was agreed."""
    when_paid: bool = False
    """Whether each payment counts, on its own day: of the amount what was paid of it."""
    when_invoiced: bool = False
    """Whether each invoice counts, on its own day."""
    depth: int | None = None
    """How many levels of teams a roll-up looks down."""
    exclusive: bool = False
    """Whether what is exactly on a bound belongs below it."""
    restart: bool = False
    threshold: tuple[int, bool] | None = None
    """In what the tiers count in, and whether only what is above it is paid."""
    gate: tuple[int, str, bool] | None = None
    """How many deals in euros in which period, and whether for the last tier alone."""
    multiplier: tuple[int, bool] | None = None
    """Of deals in euros: percent, and whether of what is paid instead of what counts."""
    cap_deal: int | None = None
    cap_period: int | None = None
    cap_year: int | None = None
    carry: bool = False
    windfall: tuple[int, int] | None = None
    """What of a whole deal counts fully, and the percent of what is above it that does."""
    pays: str = "amount"
    """What a reward, what objectives pay at target and the cells of a matrix are: amount, target_percent, or rate."""
    columns: tuple[int, ...] = ()
    """From how many deals in euros each column of a matrix is; its rows are from where the tiers start."""
    by_columns: str = "amount"
    cells: tuple[tuple[int, ...], ...] = ()
    """Of a matrix by row and column: cents, percents or ten-thousandths."""
    weights: tuple[int, ...] = ()
    """Percents of objectives."""
    reward: int = 0
    """Cents or percents: what objectives pay at target, and the pot of a pool, of what all on the plan bring in."""

    @property
    def way(self) -> str:
        """What of a deal is paid for."""
        return "paid" if self.when_paid else "invoiced" if self.when_invoiced else "whole"


@dataclass(frozen=True)
class Terms:
    plan: int
    start: date
    components: tuple[Paying, ...]


@dataclass(frozen=True)
class Assigned:
    index: int
    start: date
    end: date | None
    quotas: tuple[tuple[str, int | None], ...]
    """Component → cents, or None for the goals."""
    deleted: bool = False
    prorated: bool = False
    ramp: tuple[tuple[date, int], ...] = ()
    """First days, each with the percent of the quota."""
    leave: tuple[tuple[date, date], ...] = ()
    later: tuple[tuple[date, int], ...] = ()
    """Cents that every quota by cents becomes, from any day on."""
    target: int | None = None
    """The target variable of a quarter, in cents."""
    target_later: tuple[tuple[date, int], ...] = ()


@dataclass(frozen=True)
class Scored:
    """The percents of the objectives of a component in the cell that starts on a day."""

    index: int
    key: str
    start: date
    percents: tuple[int, ...]


@dataclass(frozen=True)
class Stay:
    index: int
    person: int
    team: int
    start: date
    end: date | None
    deleted: bool


@dataclass(frozen=True)
class Known:
    user: int
    person: int | None


@dataclass(frozen=True)
class Aim:
    goal: int
    cents: int
    counts: bool


@dataclass(frozen=True)
class Rated:
    """Every rate of a currency stated for the days of one month."""

    currency: str
    month: date
    rates: tuple[tuple[date, int], ...]


@dataclass(frozen=True)
class Placed:
    """Where a team stands and who manages it, from the beginning and from each later first day on."""

    team: int
    states: tuple[tuple[date | None, int | None, int | None], ...]
    """First day, parent and manager, in order."""


FOUNDED = (Placed(0, ((None, None, 3),)), Placed(1, ((None, 0, None),)))

Definition = Terms | Assigned | Scored | Stay | Known | Aim | Rated | Placed
Step = DealVersion | Definition


@dataclass(frozen=True)
class Expected:
    measure: Fraction
    cents: int
    credits: int
    end: date
    """First day after the cell: the plan's period ends, or other terms or amounts begin."""


@dataclass
class World:
    """The newest of everything, and what it comes to. What is paid without deals is paid for what began by `today`."""

    today: date = date.max
    deals: dict[int, DealVersion] = field(default_factory=dict)
    terms: list[Terms] = field(default_factory=list)
    assigned: dict[int, Assigned] = field(default_factory=dict)
    scores: dict[tuple[int, str, date], tuple[int, ...]] = field(default_factory=dict)
    stays: dict[int, Stay] = field(default_factory=dict)
    known: dict[int, int | None] = field(default_factory=dict)
    aims: dict[int, Aim] = field(default_factory=dict)
    rated: dict[tuple[str, date], Rated] = field(default_factory=dict)
    placed: dict[int, Placed] = field(default_factory=lambda: {placed.team: placed for placed in FOUNDED})

    def take(self, step: Step) -> None:
        match step:
            case DealVersion():
                held = self.deals.get(step.deal)
                if held is None or held.version < step.version:
                    self.deals[step.deal] = step
            case Terms():
                self.terms.append(step)
            case Assigned():
                held_assigned = self.assigned.get(step.index)
                if held_assigned is None or not held_assigned.deleted:
                    self.assigned[step.index] = step
            case Scored():
                self.scores[step.index, step.key, step.start] = step.percents
            case Stay():
                self.stays[step.index] = step
            case Known():
                self.known[step.user] = step.person
            case Aim():
                self.aims[step.goal] = step
            case Rated():
                self.rated[step.currency, step.month] = step
            case Placed():
                self.placed[step.team] = step

    def cells(self) -> dict[tuple[int, str, date], Expected]:
        """(assignment, component, first day of the cell) → what is in it, where anything is."""
        found = {}
        for index, assigned in self.assigned.items():
            credited: dict[str, list[_Credited]] = {}
            for deal in self.deals.values():
                for key, credit in self._credits(index, assigned, deal):
                    credited.setdefault(key, []).append(credit)
            for key in sorted({paying.key for terms in self.terms for paying in terms.components}):
                for start, cell in self._year(index, assigned, key, credited.get(key, [])).items():
                    if cell.credits or cell.cents:
                        found[index, key, start] = cell
        return found

    def _year(self, index: int, assigned: Assigned, key: str, credits: list["_Credited"]) -> dict[date, Expected]:
        """The cells of 2026 in the order of time, each with what the ones before leave to it."""
        plan = PLAN_OF[index][1]
        starts = {*QUARTERS, date(2026, 10, 1)}
        starts |= {terms.start for terms in self.terms if terms.plan == plan and terms.start.year == 2026}
        starts |= {day for day, _ in assigned.later if self._is_cut(plan, assigned, key, day, by_quota=True)}
        starts |= {day for day, _ in assigned.target_later if self._is_cut(plan, assigned, key, day, by_quota=False)}
        cuts = sorted(starts)
        found = {}
        total_of_year = total_of_period = rewarded = due = paid = carried = year_due = Fraction(0)
        last_kind: tuple[str, ...] | None = None
        seconds_of_period = Fraction(0)
        is_credited = False
        for number, start in enumerate(cuts):
            end = cuts[number + 1] if number + 1 < len(cuts) else date(2027, 1, 1)
            in_force = self._in_force(plan, start)
            paying = self._paying(plan, start, key)
            if paying is None or in_force is None or assigned.deleted:
                last_kind = None
                continue
            if assigned.start >= end or (assigned.end is not None and assigned.end <= start):
                carried = Fraction(0)
            if _is_uncounted(paying) and start > self.today:
                break
            kind = _kind(paying)
            if kind != last_kind or (paying.restart and in_force.start == start):
                total_of_year = total_of_period = seconds_of_period = Fraction(0)
                is_credited = False
            quarter = _quarter(start)
            if start == quarter[0]:
                total_of_period = seconds_of_period = Fraction(0)
                is_credited = False
            last_kind = kind
            own = [credit for credit in credits if not credit.of_gate and start <= credit.day < end]
            window = (date(2026, 1, 1), date(2027, 1, 1)) if paying.gate and paying.gate[1] == "year" else quarter
            gated = [credit for credit in credits if credit.of_gate and window[0] <= credit.day < window[1]]
            is_met = paying.gate is None or sum((c.value for c in gated), Fraction(0)) >= paying.gate[0]
            before = total_of_year if paying.basis == "year_to_date" else total_of_period
            days = (date(2026, 1, 1), date(2027, 1, 1)) if paying.basis == "year_to_date" else quarter
            total = sum((credit.value for credit in own), Fraction(0))
            if paying.mode == "objective":
                earned = self._objectives(index, paying, start, end)
            elif paying.mode == "pool":
                earned = self._share(index, paying, start, end, before, before + total)
            elif paying.mode == "matrix":
                second = [credit.value for credit in credits if credit.of_gate and start <= credit.day < end]
                seconds = seconds_of_period + sum(second, Fraction(0))
                earned = Fraction(0)
                if is_credited or own or second:
                    earned = self._matrix(index, paying, start, end, before + total, seconds)
                if is_credited:
                    earned -= self._matrix(index, paying, start, end, before, seconds_of_period)
                is_credited, seconds_of_period = is_credited or bool(own or second), seconds
            else:
                earned = _pay(paying, before, own, self._quota(index, key, *days, end), is_met=is_met)
            if paying.mode in ("milestone", "each_deal") and paying.pays == "target_percent":
                earned *= self._target(index, start, end) / 100
            if paying.mode == "milestone":
                # Once a period and terms.
                if start == quarter[0] or in_force.start == start:
                    rewarded = Fraction(0)
                earned = earned if earned <= 0 or rewarded <= 0 else Fraction(0)
                rewarded += earned
            owed = earned + carried
            within = _room(paying.cap_period, due, owed)
            pays = _room(paying.cap_year, year_due, within)
            found[start] = Expected(total, _half_up(pays), len(own), end)
            total_of_year += total
            total_of_period += total
            due, paid, carried, year_due = due + owed, paid + within, Fraction(0), year_due + within
            if end == quarter[1]:
                carried = max(Fraction(0), due - paid) if paying.carry else Fraction(0)
                due = paid = Fraction(0)
            if kind[0] not in ("rate", "override"):
                due = paid = carried = year_due = Fraction(0)
        return found

    def _is_cut(self, plan: int, assigned: Assigned, key: str, day: date, *, by_quota: bool) -> bool:
        """Whether the component pays by another amount from the day on."""
        paying = self._paying(plan, day, key)
        if paying is None or paying.mode in ("objective", "pool"):
            return False
        if not by_quota:
            return assigned.target is not None and paying.pays == "target_percent"
        quotas = dict(assigned.quotas)
        by_first = paying.by == "attainment" and quotas.get(key) is not None
        return by_first or (paying.by_columns == "attainment" and f"{key}.second" in quotas)

    def _objectives(self, index: int, paying: Paying, start: date, end: date) -> Fraction:
        if not _overlaps(self.assigned[index], start, end):
            return Fraction(0)
        whole = Fraction(paying.reward)
        if paying.pays == "target_percent":
            whole *= self._target(index, start, end) / 100
        percents = self.scores.get((index, paying.key, start), ())
        scored = sum(weight * percent for weight, percent in zip(paying.weights, percents, strict=False))
        return whole * scored / 10_000 * _part(start, end)

    def _share(self, index: int, paying: Paying, start: date, end: date, before: Fraction, total: Fraction) -> Fraction:
        """The largest remainders of the shares, rounded down, get what is left of the pot, the first of equals."""
        sharing = [
            other
            for other, assigned in self.assigned.items()
            if PLAN_OF[other][1] == PLAN_OF[index][1] and not assigned.deleted and _overlaps(assigned, start, end)
        ]
        sharing.sort(key=lambda other: uuid5(UUID(int=7), f"assignment {other}"))
        weights = [self._weight(other, paying.key, start, end) for other in sharing]
        if index not in sharing or not sum(weights):
            return Fraction(0)

        def shared(pot: Fraction) -> int:
            cents = abs(_half_up(pot))
            parts = [cents * weight // sum(weights) for weight in weights]
            lost = [cents * weight % sum(weights) for weight in weights]
            for other in sorted(range(len(parts)), key=lambda each: (-lost[each], each))[: cents - sum(parts)]:
                parts[other] += 1
            return parts[sharing.index(index)] * (1 if pot >= 0 else -1)

        if _is_uncounted(paying):
            return Fraction(shared(paying.reward * _part(start, end)))
        return Fraction(shared(total * paying.reward / 100) - shared(before * paying.reward / 100))

    def _weight(self, index: int, key: str, start: date, end: date) -> int:
        """The sum of the weights of each day in the cell."""
        assigned = self.assigned[index]
        own = dict(assigned.quotas).get(f"{key}.weight")
        total = 0
        for day in _days(max(start, assigned.start), min(end, assigned.end or end)):
            weight = 100 if own is None else own
            for begins, later in () if own is None else assigned.later:
                weight = later if begins <= day else weight
            total += weight
        return total

    def _matrix(
        self, index: int, paying: Paying, start: date, end: date, total: Fraction, seconds: Fraction
    ) -> Fraction:
        parts = []
        for key, by, bounds, reached in (
            (paying.key, paying.by, [start for start, _ in paying.tiers], total),
            (f"{paying.key}.second", paying.by_columns, paying.columns, seconds * 100),
        ):
            unit = Fraction(1)
            if by == "attainment":
                quota = self._quota(index, key, *_quarter(start), end)
                if not quota:
                    return Fraction(0)
                unit = quota / 100
            parts.append(max((n for n, bound in enumerate(bounds) if reached >= bound * unit), default=0))
        cell = paying.cells[parts[0]][parts[1]]
        if paying.pays == "target_percent":
            return self._target(index, start, end) * cell / 100
        return total * cell / 10_000 if paying.pays == "rate" else Fraction(cell)

    def _target(self, index: int, start: date, end: date) -> Fraction:
        """The target variable of a cell: the amount of its days in full; where there are several, each by its days."""
        assigned = self.assigned[index]
        if assigned.target is None:
            return Fraction(0)
        states = [(date.min, assigned.target), *assigned.target_later]
        ends = [*(begins for begins, _ in assigned.target_later), date.max]
        within = [state for state, until in zip(states, ends, strict=True) if state[0] < end and until > start]
        first, last = _quarter(start) if len(within) == 1 else (start, end)
        whole = 0
        for day in _days(first, last):
            amount = within[0][1]
            for begins, later in within:
                amount = later if begins <= day else amount
            whole += amount * _is_there(assigned, day)
        # Half-up, to six decimals of a dollar.
        return Fraction((2 * Fraction(whole, (last - first).days) * 10**4 + 1) // 2, 10**4)

    def _credits(self, index: int, assigned: Assigned, deal: DealVersion) -> list[tuple[str, "_Credited"]]:
        if assigned.deleted or deal.gone or not deal.won:
            return []
        person, plan = PLAN_OF[index]
        found: dict[tuple[str, bool], list[tuple[str, _Credited]]] = {}
        for day in sorted({deal.day, *(on for on, _ in (*deal.paid, *deal.invoiced))} - {None}, key=str):
            assert day is not None
            in_force = self._in_force(plan, day)
            for paying in in_force.components if in_force else ():
                days = self._terms_days(plan, day) if paying.mode == "pool" else (day, day + DAY)
                if not _overlaps(assigned, *days) or _is_uncounted(paying):
                    continue
                amount = _counting(paying, self._amounts(paying, deal)).get(day)
                percent = self._percent(person, plan, paying, deal, day)
                if percent and amount is not None:
                    value = amount * percent * paying.allocation / 10_000
                    factor = Fraction(1)
                    if paying.multiplier is not None and deal.currency == "EUR":
                        times, of_pay = Fraction(paying.multiplier[0], 100), paying.multiplier[1]
                        value, factor = (value, times) if of_pay else (value * times, factor)
                    credit = _Credited(deal.deal, day, value, factor)
                    found.setdefault((paying.key, False), []).append((paying.way, credit))
                is_second = paying.gate is not None or paying.mode == "matrix"
                if percent and is_second and deal.currency == "EUR" and deal.day == day:
                    value = Fraction(percent, 100) * (paying.allocation if paying.mode == "matrix" else 100) / 100
                    credit = _Credited(deal.deal, day, value, Fraction(1), of_gate=True)
                    found.setdefault((paying.key, True), []).append(("whole", credit))
        # A component pays for a deal as a whole, for its payments or for its invoices: what its versions came to first.
        return [
            (key, credit)
            for (key, _), credits in found.items()
            for number, (way, credit) in enumerate(credits)
            if (number == 0 if credits[0][0] == "whole" else way == credits[0][0])
        ]

    def _amounts(self, paying: Paying, deal: DealVersion) -> list[tuple[date, Fraction]]:
        """What the component counts of the deal, in cents of USD, and on which days."""
        if paying.when_paid:
            counted = [(day, self._value(paying, deal, paid, day)) for day, paid in deal.paid]
        elif paying.when_invoiced:
            counted = [(day, self._value(paying, deal, invoiced, day)) for day, invoiced in deal.invoiced]
        elif deal.day is None or (paying.cash and not deal.paid):
            return []
        else:
            amount = sum(paid for _, paid in deal.paid) if paying.cash else deal.cents
            counted = [(deal.day, self._value(paying, deal, amount, deal.day))]
        return [(day, value) for day, value in counted if value is not None]

    def _value(self, paying: Paying, deal: DealVersion, amount: int, day: date) -> Fraction | None:
        if deal.currency == "USD":
            return Fraction(amount)
        if paying.exchange == "fixed" and deal.currency in PLAN_RATES:
            return Fraction(amount * PLAN_RATES[deal.currency], 10_000)
        if paying.exchange != "deal_date":
            return None
        if deal.home_cents is not None and not (paying.cash or paying.when_paid or paying.when_invoiced):
            return Fraction(deal.home_cents)
        one, other = (
            Fraction(1) if currency == "CNY" else self._rate(currency, day) for currency in (deal.currency, "USD")
        )
        # Half-up, to 16 decimals.
        return None if not one or not other else amount * Fraction((2 * one * 10**16 / other + 1) // 2, 10**16)

    def _rate(self, currency: str, day: date) -> Fraction | None:
        stated = [each for rated in self.rated.values() if rated.currency == currency for each in rated.rates]
        before = [each for each in stated if each[0] <= day]
        return Fraction(max(before)[1], 10_000) if before else None

    def _terms_days(self, plan: int, day: date) -> tuple[date, date]:
        """The days of the quarter around a day on which the same terms are in force."""
        start, end = _quarter(day)
        starts = [terms.start for terms in self.terms if terms.plan == plan]
        return max(start, *(each for each in starts if each <= day)), min(
            [end, *(each for each in starts if each > day)]
        )

    def _percent(self, person: int, plan: int, paying: Paying, deal: DealVersion, day: date) -> int:
        if paying.mode == "pool":
            owner = None if deal.owner is None else self.known.get(deal.owner)
            return 100 * any(
                PLAN_OF[other] == (owner, plan) and not assigned.deleted and _overlaps(assigned, day, day + DAY)
                for other, assigned in self.assigned.items()
            )
        if paying.crediting == "owner":
            return 100 if deal.owner is not None and self.known.get(deal.owner) == person else 0
        parts = [(self.known.get(user), percent) for user, percent, role in deal.splits if paying.role in (None, role)]
        if not deal.splits:
            parts = [] if deal.owner is None else [(self.known.get(deal.owner), 100)]
        if paying.crediting == "split":
            return sum(percent for someone, percent in parts if someone == person)
        if paying.crediting == "team":
            return sum(percent for someone, percent in parts if self._is_beside(person, someone, day))
        return sum(percent for someone, percent in parts if self._manages(person, someone, day, paying.depth))

    def _manages(self, manager: int, person: int | None, day: date, depth: int | None) -> bool:
        """Whether the person was, on the day, in a team that the manager managed that day, or below one."""
        for own in self._teams(person, day):
            over = self._up(own, day)
            if any(its_manager == manager for _, its_manager in over[:depth]):
                return True
        return False

    def _is_beside(self, member: int, person: int | None, day: date) -> bool:
        """Whether the person was, on the day, in a team of the member, or below one."""
        own = self._teams(member, day)
        return any(team in own for below in self._teams(person, day) for team, _ in self._up(below, day))

    def _teams(self, person: int | None, day: date) -> list[int]:
        return [
            stay.team
            for stay in self.stays.values()
            if not stay.deleted and stay.person == person and stay.start <= day and (not stay.end or day < stay.end)
        ]

    def _up(self, team: int | None, day: date) -> list[tuple[int, int | None]]:
        """The team and those above it on a day, each with its manager."""
        found = []
        while team is not None:
            begun = [state for state in self.placed[team].states if state[0] is None or state[0] <= day]
            _, parent, manager = begun[-1]
            found.append((team, manager))
            team = parent
        return found

    def _in_force(self, plan: int, start: date) -> Terms | None:
        best = None
        for terms in self.terms:
            if terms.plan == plan and terms.start <= start and (best is None or terms.start >= best.start):
                best = terms
        return best

    def _paying(self, plan: int, start: date, key: str) -> Paying | None:
        terms = self._in_force(plan, start)
        return next((paying for paying in terms.components if paying.key == key), None) if terms else None

    def _quota(self, index: int, key: str, start: date, end: date, paid_until: date) -> Fraction | None:
        assigned = self.assigned[index]
        quotas = dict(assigned.quotas)
        if key not in quotas:
            return None
        cents = quotas[key]
        if cents is not None:
            days = [date.fromordinal(n) for n in range(start.toordinal(), end.toordinal())]
            changes = [(begins, later) for begins, later in assigned.later if begins < paid_until]
            hundredths = 0
            for day in days:
                in_force = cents
                for begins, later in changes:
                    in_force = later if begins <= day else in_force
                hundredths += in_force * _percent_on(assigned, day)
            expected = Fraction(hundredths, 100 * len(days))
            # Half-up, to six decimals of a dollar.
            return Fraction((2 * expected * 10**4 + 1) // 2, 10**4)
        for goal, begins in enumerate(QUARTERS[:2]):
            aim = self.aims.get(goal)
            if (begins, QUARTERS[goal + 1]) == (start, end) and aim is not None and aim.counts:
                return Fraction(aim.cents)
        return None


def _days(start: date, end: date) -> list[date]:
    return [date.fromordinal(number) for number in range(start.toordinal(), end.toordinal())]


def _part(start: date, end: date) -> Fraction:
    """The days of a cell of those of its quarter."""
    first, last = _quarter(start)
    return Fraction((end - start).days, (last - first).days)


def _overlaps(assigned: Assigned, start: date, end: date) -> bool:
    return assigned.start < end and (assigned.end is None or assigned.end > start)


def _is_uncounted(paying: Paying) -> bool:
    """Whether it is paid without deals."""
    return paying.mode == "objective" or (paying.mode == "pool" and paying.pays == "amount")


def _kind(paying: Paying) -> tuple[str, ...]:
    """Totals go on from one component to another that is alike in this."""
    if paying.mode in ("milestone", "each_deal"):
        return ("bonus",)
    if paying.mode in ("objective", "pool", "matrix"):
        return paying.mode, str(_is_uncounted(paying))
    return ("rate",) if paying.depth is None else ("override",)


def _is_there(assigned: Assigned, day: date) -> bool:
    """Whether anything is expected on a day."""
    is_outside = day < assigned.start or (assigned.end is not None and day >= assigned.end)
    if assigned.prorated and is_outside:
        return False
    return not any(away <= day < back for away, back in assigned.leave)


def _percent_on(assigned: Assigned, day: date) -> int:
    """Of the quota of a quarter, on one of its days."""
    if not _is_there(assigned, day):
        return 0
    percent = 100
    for first, share in assigned.ramp:
        percent = share if first <= day else percent
    return percent


@dataclass(frozen=True)
class _Credited:
    deal: int
    day: date
    value: Fraction
    factor: Fraction
    """How many times what it is paid is paid."""
    of_gate: bool = False


def _quarter(day: date) -> tuple[date, date]:
    month = (day.month - 1) // 3 * 3 + 1
    return date(day.year, month, 1), date(day.year + month // 10, (month + 2) % 12 + 1, 1)


def _counting(paying: Paying, amounts: list[tuple[date, Fraction]]) -> dict[date, Fraction]:
    """What all of a deal counts by day, after the rule for giant deals."""
    by_day: dict[date, Fraction] = {}
    for day, value in amounts:
        by_day[day] = by_day.get(day, Fraction(0)) + value
    if paying.windfall is None:
        return by_day
    found, so_far = {}, Fraction(0)
    for day in sorted(by_day):
        found[day] = _left(paying.windfall, so_far + by_day[day]) - _left(paying.windfall, so_far)
        so_far += by_day[day]
    return found


def _left(windfall: tuple[int, int], whole: Fraction) -> Fraction:
    fully, percent = windfall
    above = max(Fraction(0), abs(whole) - fully)
    left = min(abs(whole), Fraction(fully)) + above * percent / 100
    return left if whole >= 0 else -left


def _room(cap: int | None, before: Fraction, more: Fraction) -> Fraction:
    return more if cap is None else min(Fraction(cap), before + more) - min(Fraction(cap), before)


def _pay(
    paying: Paying, before: Fraction, credits: list[_Credited], quota: Fraction | None, *, is_met: bool
) -> Fraction:
    """What a cell is paid by its rate, before the caps of its period and its year."""
    unit = Fraction(1)
    if paying.by == "attainment":
        if not quota:
            return Fraction(0)
        unit = quota / 100
    tiers = [(start * unit, Fraction(rate, 10_000)) for start, rate in paying.tiers]
    own = [credit.value for credit in credits]
    if paying.mode == "milestone":
        # The last tier starts at the bound, its rate is the reward in cents; what came earlier is not paid again.
        bound, reward = tiers[-1][0], paying.tiers[-1][1]
        return Fraction(reward * ((before + sum(own, Fraction(0)) >= bound) - (before > 0 and before >= bound)))
    if paying.mode == "each_deal":
        bound, reward = tiers[-1][0], paying.tiers[-1][1]
        sums = [sum((c.value for c in credits if c.deal == deal), Fraction(0)) for deal in {c.deal for c in credits}]
        return Fraction(reward * sum((value >= bound) - (value <= -bound) for value in sums))
    if paying.gate is not None and paying.gate[2]:
        tiers = tiers if is_met else tiers[:-1]
    elif not is_met:
        return Fraction(0)
    curve = _Curve(paying, tiers, unit, (paying.tiers[1][0] * unit) if paying.mode == "mixed" else None)
    of_deals: dict[int, Fraction] = {}
    first: dict[int, date] = {}
    factors = {}
    for credit in sorted(credits, key=lambda each: each.day):
        of_deals[credit.deal] = of_deals.get(credit.deal, Fraction(0)) + credit.value
        first.setdefault(credit.deal, credit.day)
        factors[credit.deal] = credit.factor
    reached = before + sum(of_deals.values(), Fraction(0))
    pay = Fraction(0) if paying.basis == "per_deal" else curve.at(reached, reached) - curve.at(before, before)
    so_far = before
    for deal in sorted(of_deals, key=lambda number: (first[number], uuid5(UUID(int=7), f"deal {number}"))):
        value = of_deals[deal]
        if paying.basis == "per_deal":
            base = curve.at(abs(value), abs(value)) * (1 if value >= 0 else -1)
            pay += base
        else:
            base = curve.at(so_far + value, reached) - curve.at(so_far, reached)
        so_far += value
        times = base * factors[deal]
        if paying.cap_deal is not None:
            times = max(min(times, Fraction(paying.cap_deal)), -Fraction(paying.cap_deal))
        pay += times - base
    return pay


@dataclass(frozen=True)
class _Curve:
    paying: Paying
    tiers: list[tuple[Fraction, Fraction]]
    unit: Fraction
    marginal_from: Fraction | None

    def at(self, total: Fraction, reached: Fraction) -> Fraction:
        """What a total pays where so much was reached."""
        threshold = self.paying.threshold
        if threshold is None:
            return self._line(total, reached)
        start = threshold[0] * self.unit
        if reached < start:
            return Fraction(0)
        if not threshold[1]:
            return self._line(total, reached)
        return Fraction(0) if total < start else self._line(total, reached) - self._line(start, reached)

    def _line(self, total: Fraction, reached: Fraction) -> Fraction:
        match self.paying.mode:
            case "retroactive":
                return total * self._rate(reached)
            case "points":
                return total * self._drawn(reached)
            case "mixed" if self.marginal_from is not None:
                below = [tier for tier in self.tiers if tier[0] < self.marginal_from]
                above = [tier for tier in self.tiers if tier[0] >= self.marginal_from]
                if not above or not self._has_come_to(above[0][0], reached):
                    return total * self._rate(reached)
                return _marginal([(Fraction(0), below[-1][1]), *above], total)
            case _:
                return _marginal(self.tiers, total)

    def _has_come_to(self, start: Fraction, reached: Fraction) -> bool:
        return reached > start if self.paying.exclusive and start else reached >= start

    def _rate(self, reached: Fraction) -> Fraction:
        rates = [rate for start, rate in self.tiers if self._has_come_to(start, reached)]
        return rates[-1] if rates else self.tiers[0][1]

    def _drawn(self, reached: Fraction) -> Fraction:
        if reached < self.tiers[0][0]:
            return Fraction(0)
        for (low, one), (high, other) in zip(self.tiers, self.tiers[1:], strict=False):
            if reached < high:
                exact = one + (other - one) * (reached - low) / (high - low)
                # Half-up, to 20 decimals.
                return Fraction((2 * exact * 10**20 + 1) // 2, 10**20)
        return self.tiers[-1][1]


def _marginal(tiers: list[tuple[Fraction, Fraction]], total: Fraction) -> Fraction:
    if total < 0:
        return total * tiers[0][1]
    pay = Fraction(0)
    for number, (start, rate) in enumerate(tiers):
        end = tiers[number + 1][0] if number + 1 < len(tiers) else max(total, start)
        pay += max(Fraction(0), min(total, end) - start) * rate
    return pay


def _half_up(cents: Fraction) -> int:
    whole = (abs(cents) + Fraction(1, 2)).__floor__()
    return whole if cents >= 0 else -whole


DAYS = st.sampled_from([date(2026, m, d) for m in (1, 2, 3, 4, 5, 6, 7) for d in (1, 15, 28)])
USERS = st.integers(0, 4)
MOSTLY = st.sampled_from([True] * 9 + [False])
CENTS = st.one_of(
    st.integers(-500_000, 900_000),
    st.sampled_from([10_000, 50_000, 99_999, 100_000, 100_001, -100_000, 98_765_432_109, -98_765_432_109]),
)


MODES = st.sampled_from(["flat", "marginal", "retroactive", "mixed", "points"])
BONUSES = st.sampled_from(["milestone", "each_deal"])
BASES = st.sampled_from(["cumulative", "cumulative", "per_deal", "year_to_date"])
SCALES = st.sampled_from(["amount", "attainment"])
STARTS = st.lists(st.sampled_from([10, 50, 100, 125, 150]), max_size=3, unique=True)
BOUNDS = st.lists(st.sampled_from([1, 50, 100, 125]), min_size=1, max_size=1)
RATES = st.integers(0, 2000)
ROLES = st.sampled_from([None, None, "owner", "overlay"])
ALLOCATIONS = st.sampled_from([100, 100, 50, 33])
EXCHANGES = st.sampled_from(["none", "deal_date", "deal_date", "fixed"])
CASH = st.sampled_from(
    [
        (False, False, False),
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (False, True, False),
        (False, False, True),
    ]
)
"""Whether what was paid counts, whether on the day it was, and whether invoices count instead."""
NEVER: st.SearchStrategy[bool] = st.just(False)
T = TypeVar("T")
CREDITINGS = (st.sampled_from(["owner", "split", "team"]), st.sampled_from(["rollup", "rollup", "split"]))
DEPTHS = st.sampled_from([None, None, 1, 2])
"""By plan."""
SEAMS = (date(2026, 2, 15), date(2026, 2, 15), date(2026, 5, 28))
KEYS = st.sampled_from([["a"], ["a", "b"], ["b"]])
BEGINNINGS = st.sampled_from([EVER, *QUARTERS, *SEAMS])
SELDOM = st.sampled_from([True, False, False, False])


@st.composite
def components(draw: st.DrawFn, key: str, plan: int) -> Paying:
    rule = draw(CREDITINGS[plan])
    role = None if rule == "owner" else draw(ROLES)
    is_bonus = draw(SELDOM)
    depth = draw(DEPTHS) if rule == "rollup" and not is_bonus else None
    found = draw(bonuses(key, rule) if is_bonus else rated_components(key, rule))
    found = replace(found, role=role, allocation=draw(ALLOCATIONS), exchange=draw(EXCHANGES), depth=depth)
    cash, when_paid, when_invoiced = draw(CASH)
    found = replace(found, cash=cash, when_paid=when_paid, when_invoiced=when_invoiced)
    return found if is_bonus or depth is not None or draw(st.booleans()) else draw(conditions(found))


@st.composite
def bonuses(draw: st.DrawFn, key: str, rule: str) -> Paying:
    """A reward in cents as the rate of the last tier, which starts at the bound."""
    mode = draw(BONUSES)
    by = "amount" if mode == "each_deal" else draw(SCALES)
    (start,) = draw(BOUNDS)
    tiers = ((0, draw(RATES)), (start * (1 if by == "attainment" else 1000), draw(RATES) + 1))
    return Paying(key, rule, None, 100, "cumulative", mode, by, tiers, "fixed")


@st.composite
def rated_components(draw: st.DrawFn, key: str, rule: str = "owner") -> Paying:
    """With a basis and a rate, and nothing else."""
    mode = draw(MODES)
    basis = draw(BASES)
    by = "amount" if mode == "flat" or basis == "per_deal" else draw(SCALES)
    starts = [] if mode == "flat" else draw(STARTS)
    if mode in ("mixed", "points") and not starts:
        mode = "retroactive"
    scale = 1 if by == "attainment" else 1000
    tiers = ((0, draw(RATES)), *((s * scale, draw(RATES)) for s in sorted(starts)))
    if mode == "points" and len(tiers) > 2 and draw(st.booleans()):
        tiers = tiers[1:]
    return Paying(key, rule, None, 100, basis, mode, by, tiers, "fixed")


@st.composite
def conditions(draw: st.DrawFn, plain: Paying) -> Paying:
    """The component with some of what can be told of a commission beside its rate."""

    chance = draw(st.sampled_from([SELDOM, st.booleans(), MOSTLY]))

    def sometimes(strategy: st.SearchStrategy[T]) -> T | None:
        return draw(strategy) if draw(chance) else None

    scale = 1 if plain.by == "attainment" else 1000
    is_tiered = plain.mode in ("marginal", "retroactive", "mixed") and len(plain.tiers) > 1
    cap_period = sometimes(st.sampled_from([5_000, 20_000]))
    return replace(
        plain,
        exclusive=is_tiered and draw(chance),
        restart=plain.basis != "per_deal" and draw(chance),
        threshold=None
        if plain.mode == "points"
        else sometimes(st.tuples(st.sampled_from([10 * scale, 60 * scale, 100 * scale]), st.booleans())),
        gate=sometimes(
            st.tuples(st.integers(1, 2), st.sampled_from(["quarter", "year"]), st.booleans() if is_tiered else NEVER)
        ),
        multiplier=sometimes(st.tuples(st.sampled_from([0, 50, 120, 333]), st.booleans())),
        cap_deal=sometimes(st.sampled_from([2_000, 10_000])),
        cap_period=cap_period,
        cap_year=sometimes(st.sampled_from([8_000, 30_000])),
        carry=cap_period is not None and draw(st.booleans()),
        windfall=sometimes(st.tuples(st.sampled_from([50_000, 300_000]), st.sampled_from([0, 25]))),
    )


@st.composite
def terms(draw: st.DrawFn, plan: int, start: date | None = None) -> Terms:
    keys = ["a", "b"] if start is not None else draw(KEYS)
    begins = start or draw(BEGINNINGS)
    return Terms(plan, begins, tuple(draw(components(key, plan)) for key in keys))


QUOTAS = st.dictionaries(
    st.sampled_from(["a", "b"]), st.one_of(st.none(), st.sampled_from([0, 100_000, 400_000])), max_size=2
).map(lambda quotas: tuple(sorted(quotas.items())))
LATER_DAYS = st.sampled_from([date(2026, m, d) for m in (1, 2, 4, 5, 6) for d in (1, 15, 16)])
LATER = st.one_of(
    st.just({}),
    st.dictionaries(
        LATER_DAYS,
        st.sampled_from([0, 50_000, 200_000]),
        max_size=2,
    ),
).map(lambda later: tuple(sorted(later.items())))
ASSIGNED = st.builds(
    Assigned,
    index=st.just(0),
    start=st.sampled_from([EVER, EVER, date(2026, 2, 10)]),
    end=st.sampled_from([None, None, date(2026, 5, 20)]),
    quotas=QUOTAS,
    prorated=st.booleans(),
    ramp=st.sampled_from(
        [(), (), ((date(2026, 1, 1), 50), (date(2026, 2, 1), 75), (date(2026, 4, 1), 100)), ((date(2026, 5, 7), 33),)]
    ),
    leave=st.sampled_from([(), (), ((date(2026, 2, 3), date(2026, 2, 17)), (date(2026, 3, 25), date(2026, 4, 8)))]),
    later=LATER,
)


def assigned(index: int) -> st.SearchStrategy[Assigned]:
    return ASSIGNED.map(lambda anyone: replace(anyone, index=index))


NOTHING: st.SearchStrategy[tuple[()]] = st.just(())
SPLITS = st.lists(
    st.tuples(USERS, st.integers(0, 100), st.sampled_from(["owner", "overlay"])), min_size=1, max_size=3
).map(tuple)
DEAL_VERSIONS = st.builds(
    DealVersion,
    deal=st.integers(0, 2),
    version=st.just(0),
    owner=st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 4, None]),
    splits=st.integers(0, 2).flatmap(lambda nth: SPLITS if nth == 2 else NOTHING),
    cents=CENTS,
    won=MOSTLY,
    day=MOSTLY.flatmap(lambda is_known: DAYS if is_known else st.none()),
    currency=st.sampled_from(["USD", "USD", "EUR", "EUR", "CNY", "JPY"]),
    gone=MOSTLY.map(lambda stays: not stays),
    home_cents=st.sampled_from([None, None, None, 777, 123_456]),
    paid=st.one_of(NOTHING, st.lists(st.tuples(DAYS, CENTS), max_size=3).map(tuple)),
    invoiced=st.one_of(NOTHING, st.lists(st.tuples(DAYS, CENTS), max_size=3).map(tuple)),
)


def deal_versions(version: int) -> st.SearchStrategy[DealVersion]:
    return DEAL_VERSIONS.map(lambda deal: replace(deal, version=version))


STAYS = st.builds(
    Stay,
    index=st.just(0),
    person=st.integers(0, 3),
    team=st.integers(0, 1),
    start=st.sampled_from([EVER, date(2026, 2, 10)]),
    end=st.sampled_from([None, date(2026, 5, 20)]),
    deleted=st.sampled_from([False, False, True]),
)


def stays(index: int) -> st.SearchStrategy[Stay]:
    return STAYS.map(lambda stay: replace(stay, index=index))


@st.composite
def rated(draw: st.DrawFn) -> Rated:
    month = date(2026, draw(st.integers(1, 6)), 1)
    days = st.sampled_from([month.replace(day=day) for day in (1, 2, 15, 28)])
    rates = draw(st.dictionaries(days, st.sampled_from([1, 10_000, 72_415, 71_999, 78_541, 9_999_999]), max_size=3))
    return Rated(draw(st.sampled_from(["USD", "EUR", "EUR"])), month, tuple(sorted(rates.items())))


@st.composite
def placed(draw: st.DrawFn) -> Placed:
    """Team 1 below team 0 or at the top: so there is never a circle."""
    team = draw(st.integers(0, 1))
    days = draw(st.lists(st.sampled_from([date(2026, 2, 15), date(2026, 4, 1), date(2026, 5, 15)]), unique=True))
    parents = st.none() if team == 0 else st.sampled_from([0, 0, None])
    managers = st.sampled_from([3, 3, 0, 1, None])
    return Placed(team, tuple((day, draw(parents), draw(managers)) for day in (None, *sorted(days))))


CHANGES: st.SearchStrategy[Definition] = st.one_of(
    st.integers(0, 1).flatmap(terms),
    st.sampled_from(sorted(PLAN_OF)).flatmap(assigned),
    st.builds(Assigned, st.sampled_from(sorted(PLAN_OF)), st.just(EVER), st.none(), st.just(()), st.just(True)),
    st.integers(0, 2).flatmap(stays),
    st.builds(Known, USERS, st.one_of(st.integers(0, 3), st.none())),
    placed(),
    placed(),
    st.builds(Aim, st.integers(0, 1), st.sampled_from([100_000, 250_000]), st.booleans()),
    rated(),
    rated(),
    rated(),
)


@st.composite
def histories(draw: st.DrawFn, deals_max: int = 12, changes_max: int = 5) -> list[Step]:
    """A beginning, then versions of deals (duplicated, in any order, late) among changes of definitions."""
    beginning: list[Step] = [
        *(Known(user, user % 4 if draw(MOSTLY) else None) for user in range(5)),
        *(draw(stays(index)) for index in range(2)),
        draw(terms(0, EVER)),
        draw(terms(1, EVER)),
        draw(assigned(0)),
        *(draw(assigned(index)) for index in draw(st.lists(st.sampled_from([1, 2, 3]), unique=True))),
        Aim(0, 200_000, True),
        Rated("USD", date(2025, 12, 1), ((date(2025, 12, 31), 72_000),)),
        Rated("EUR", date(2026, 1, 1), ((date(2026, 1, 2), 78_000), (date(2026, 1, 20), 79_500))),
    ]
    count = draw(st.integers(deals_max // 2, deals_max))
    versions = [draw(deal_versions(number)) for number in range(1, count + 1)]
    arriving = draw(st.permutations([*versions, *draw(st.lists(st.sampled_from(versions), max_size=4))]))
    steps: list[Step] = list(arriving)
    for change in draw(st.lists(CHANGES, max_size=changes_max)):
        steps.insert(draw(st.integers(0, len(steps))), change)
    return [*beginning, *steps]


@st.composite
def commissions(draw: st.DrawFn) -> list[Step]:
    """One person, one component with much that can be told of a commission, other terms within a quarter, and deals."""
    component = draw(rated_components("a").flatmap(conditions))
    other = component if draw(st.booleans()) else draw(rated_components("a").flatmap(conditions))
    restart = draw(st.booleans()) and other.basis != "per_deal"
    days = st.sampled_from([date(2026, m, d) for m in (1, 2, 3, 4) for d in (1, 14, 15, 28)])
    deals = st.builds(
        DealVersion,
        deal=st.integers(0, 7),
        version=st.just(0),
        owner=st.just(0),
        splits=st.just(()),
        cents=st.one_of(st.integers(-50_000, 150_000), st.sampled_from([10_000, 50_000, 100_000, -100_000, 400_000])),
        won=st.just(True),
        day=days,
        currency=st.sampled_from(["USD", "EUR"]),
        gone=MOSTLY.map(lambda stays: not stays),
    )
    arriving = draw(st.lists(deals, min_size=3, max_size=10))
    return [
        Known(0, 0),
        Assigned(0, EVER, draw(st.sampled_from([None, None, date(2026, 4, 10)])), (("a", 100_000),), later=draw(LATER)),
        Terms(0, EVER, (component,)),
        Terms(0, draw(st.sampled_from([date(2026, 2, 15), date(2026, 4, 1)])), (replace(other, restart=restart),)),
        *(replace(deal, version=number) for number, deal in enumerate(arriving, start=1)),
    ]


MONEY_REWARDS = st.sampled_from(["amount", "target_percent"])
SMALL = st.sampled_from([0, 20, 50, 100, 130])


@st.composite
def other_kinds(draw: st.DrawFn, key: str, modes: list[str]) -> Paying:
    """A bonus, a matrix, objectives or a pool."""
    mode = draw(st.sampled_from(modes))
    plain = Paying(key, "owner", None, draw(ALLOCATIONS), "cumulative", mode, "amount", ((0, 0),), "deal_date")
    pays = draw(MONEY_REWARDS)
    amounts = st.sampled_from([10_000, 99_999] if pays == "amount" else [1, 10, 100])
    match mode:
        case "objective":
            weights = draw(st.sampled_from([(100,), (60, 40), (33, 33, 34)]))
            return replace(plain, pays=pays, weights=weights, reward=draw(amounts))
        case "pool":
            return replace(plain, allocation=100, pays=pays, reward=draw(amounts))
    by = draw(SCALES)
    if mode == "milestone":
        start = draw(st.sampled_from([50, 100])) * (1 if by == "attainment" else 1000)
        return replace(plain, by=by, pays=pays, tiers=((0, 0), (start, draw(st.sampled_from([10, 100])))))
    starts = [0, *sorted(draw(st.lists(st.sampled_from([50, 80, 100]), max_size=2, unique=True)))]
    rows = tuple((start * (1 if by == "attainment" else 1000), 0) for start in starts)
    columns = (0, *sorted(draw(st.lists(st.sampled_from([100, 200]), max_size=1))))
    return replace(
        plain,
        by=by,
        pays=draw(st.sampled_from([pays, "rate"])),
        tiers=rows,
        columns=columns,
        by_columns=draw(SCALES),
        cells=tuple(tuple(draw(SMALL) for _ in columns) for _ in rows),
    )


@st.composite
def kinds_histories(draw: st.DrawFn) -> list[Step]:
    """Two people on a plan of bonuses, matrices, objectives and pools, with changes of everything they are paid by."""

    modes = draw(
        st.sampled_from([["milestone"], ["matrix"], ["pool"], ["pool"], ["objective", "pool"], ["matrix", "milestone"]])
    )
    first = tuple(draw(other_kinds(key, modes)) for key in draw(st.sampled_from([["a"], ["a"], ["a", "b"]])))

    def someone() -> Assigned:
        stated = {
            "a": st.sampled_from([100_000, 100_000, 50_000, 0]),
            "a.second": st.sampled_from([100, 200]),
            "a.weight": st.sampled_from([0, 100, 300]),
        }
        return Assigned(
            draw(st.integers(0, 1)),
            draw(st.sampled_from([QUARTERS[0], QUARTERS[0], date(2026, 2, 10)])),
            draw(st.sampled_from([None, None, QUARTERS[1], date(2026, 5, 20)])),
            tuple(sorted(draw(st.fixed_dictionaries(stated)).items())),
            deleted=draw(st.sampled_from([False] * 9 + [True])),
            prorated=draw(st.booleans()),
            leave=draw(st.sampled_from([(), (), ((date(2026, 2, 3), date(2026, 2, 17)),)])),
            later=draw(LATER),
            target=draw(st.sampled_from([None, 10_000, 33_333, 33_333])),
            target_later=draw(LATER),
        )

    versions = [draw(deal_versions(number)) for number in range(1, draw(st.integers(2, 7)))]
    amounts = st.sampled_from([30_000, 50_000, 100_000, 150_000, -30_000])
    steps: list[Step] = [
        replace(
            deal,
            deal=draw(st.integers(0, 4)),
            owner=draw(st.sampled_from([0, 0, 1])),
            day=draw(
                st.sampled_from([date(2026, m, d) for m, d in ((1, 1), (2, 1), (2, 15), (3, 28), (4, 1), (5, 28))])
            ),
            splits=(),
            won=True,
            cents=draw(amounts),
            currency=draw(st.sampled_from(["USD", "EUR"])),
        )
        for deal in versions
    ]
    scored = st.builds(
        Scored,
        st.integers(0, 1),
        st.sampled_from(["a", "b"]),
        st.sampled_from([*QUARTERS[:2], date(2026, 2, 15)]),
        st.lists(st.integers(0, 100), min_size=1, max_size=3).map(tuple),
    )
    changes: list[Step] = [
        *draw(st.lists(scored, max_size=5)),
        *(
            Terms(
                0,
                draw(st.sampled_from([QUARTERS[1], *SEAMS])),
                first if draw(st.booleans()) else tuple(draw(other_kinds(each.key, modes)) for each in first),
            )
            for _ in range(draw(st.integers(0, 2)))
        ),
        *(someone() for _ in range(draw(st.integers(1, 3)))),
    ]
    for change in changes:
        steps.insert(draw(st.integers(0, len(steps))), change)
    begun = [replace(someone(), index=index) for index in (0, 1)]
    rates = Rated("USD", date(2025, 12, 1), ((date(2025, 12, 31), 72_000),))
    euros = Rated("EUR", date(2026, 1, 1), ((date(2026, 1, 2), 78_000), (date(2026, 1, 20), 79_500)))
    return [Known(0, 0), Known(1, 1), rates, euros, Terms(0, QUARTERS[0], first), *begun, *steps]


def emptied(deals: Mapping[int, DealVersion]) -> list[DealVersion]:
    """Newer versions that say every deal is deleted."""
    return [replace(deal, version=1_000_000 + deal.version, gone=True) for deal in deals.values()]
