"""What incentives must come to, said a second time in plain integers and fractions. Imports nothing of the product.

A small company: users 0 to 4 of one CRM, people 0 to 3 of whom 3 manages team 0 with team 1 below it, until that is
changed from some day on; plan 0 for reps, plan 1 for managers, both by calendar quarter in USD; goals 0 and 1 are the
first two quarters of 2026. Amounts are cents, rates of pay and of exchange ten-thousandths, percents whole. Exchange
rates are told in CNY.

What a deal adds is a list of parts: each has its person, its day and its value. A payment counts on its own day.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction

from hypothesis import strategies as st

QUARTERS = (date(2026, 1, 1), date(2026, 4, 1), date(2026, 7, 1))
EVER = date(2025, 1, 1)
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
    depth: int | None = None
    """How many levels of teams a roll-up looks down."""


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
    """Cents that every quota by cents becomes from the first day of a quarter on."""


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

Definition = Terms | Assigned | Stay | Known | Aim | Rated | Placed
Step = DealVersion | Definition


@dataclass(frozen=True)
class Expected:
    measure: Fraction
    cents: int
    credits: int


@dataclass
class World:
    """The newest of everything, and what it comes to."""

    deals: dict[int, DealVersion] = field(default_factory=dict)
    terms: list[Terms] = field(default_factory=list)
    assigned: dict[int, Assigned] = field(default_factory=dict)
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
        """(assignment, component, first day of the quarter) → what is in it, where anything is."""
        credited: dict[tuple[int, str, date], list[tuple[int, Fraction]]] = {}
        for index, assigned in self.assigned.items():
            for deal in self.deals.values():
                for key, start, value in self._credits(index, assigned, deal):
                    credited.setdefault((index, key, start), []).append((deal.deal, value))
        found = {}
        for (index, key, start), values in credited.items():
            paying = self._paying(PLAN_OF[index][1], start, key)
            assert paying is not None
            of_deals: dict[int, Fraction] = {}
            for number, value in values:
                of_deals[number] = of_deals.get(number, Fraction(0)) + value
            pay = _pay(paying, list(of_deals.values()), self._quota(index, key, start))
            found[index, key, start] = Expected(sum(of_deals.values(), Fraction(0)), _half_up(pay), len(values))
        return found

    def _credits(self, index: int, assigned: Assigned, deal: DealVersion) -> list[tuple[str, date, Fraction]]:
        if assigned.deleted or deal.gone or not deal.won:
            return []
        person, plan = PLAN_OF[index]
        found: dict[str, list[tuple[bool, date, Fraction]]] = {}
        for day in sorted({deal.day, *(paid_on for paid_on, _ in deal.paid)} - {None}, key=str):
            assert day is not None
            if day < assigned.start or (assigned.end is not None and day >= assigned.end):
                continue
            start = date(day.year, (day.month - 1) // 3 * 3 + 1, 1)
            in_force = self._in_force(plan, start)
            for paying in in_force.components if in_force else ():
                amounts = [value for on, value in self._amounts(paying, deal) if on == day]
                percent = self._percent(person, paying, deal, day)
                if percent and amounts:
                    value = sum(amounts, Fraction(0)) * percent * paying.allocation / 10_000
                    found.setdefault(paying.key, []).append((paying.when_paid, start, value))
        # A component pays for a deal as a whole or for its payments, whichever its versions came to first, not both.
        return [
            (key, start, value)
            for key, credits in found.items()
            for number, (by_payment, start, value) in enumerate(credits)
            if (by_payment if credits[0][0] else number == 0)
        ]

    def _amounts(self, paying: Paying, deal: DealVersion) -> list[tuple[date, Fraction]]:
        """What the component counts of the deal, in cents of USD, and on which days."""
        if paying.when_paid:
            counted = [(day, self._value(paying, deal, paid, day)) for day, paid in deal.paid]
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
        if deal.home_cents is not None and not paying.cash and not paying.when_paid:
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

    def _percent(self, person: int, paying: Paying, deal: DealVersion, day: date) -> int:
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

    def _quota(self, index: int, key: str, start: date) -> Fraction | None:
        assigned = self.assigned[index]
        quotas = dict(assigned.quotas)
        if key not in quotas:
            return None
        cents = quotas[key]
        if cents is not None:
            month = start.month + 3
            days = [date.fromordinal(n) for n in range(start.toordinal(), date(start.year, month, 1).toordinal())]
            for begins, later in assigned.later:
                cents = later if begins <= start else cents
            expected = sum(Fraction(cents * _percent_on(assigned, day), 100 * len(days)) for day in days)
            # Half-up, to six decimals of a dollar.
            return Fraction((2 * expected * 10**4 + 1) // 2, 10**4)
        for goal, begins in enumerate(QUARTERS[:2]):
            aim = self.aims.get(goal)
            if begins == start and aim is not None and aim.counts:
                return Fraction(aim.cents)
        return None


def _percent_on(assigned: Assigned, day: date) -> int:
    """Of the quota of a quarter, on one of its days."""
    is_outside = day < assigned.start or (assigned.end is not None and day >= assigned.end)
    if assigned.prorated and is_outside:
        return 0
    if any(away <= day < back for away, back in assigned.leave):
        return 0
    begun = [percent for first, percent in assigned.ramp if first <= day]
    return begun[-1] if begun else 100


def _pay(paying: Paying, values: list[Fraction], quota: Fraction | None) -> Fraction:
    if paying.by == "attainment":
        if not quota:
            return Fraction(0)
        tiers = [(start * quota / 100, Fraction(rate, 10_000)) for start, rate in paying.tiers]
    else:
        tiers = [(Fraction(start), Fraction(rate, 10_000)) for start, rate in paying.tiers]
    if paying.mode in ("milestone", "each_deal"):
        # The last tier's start is the bound, its rate the reward in cents.
        bound, reward = tiers[-1][0], paying.tiers[-1][1]
        if paying.mode == "milestone":
            return Fraction(reward if sum(values, Fraction(0)) >= bound else 0)
        return Fraction(reward * sum((value >= bound) - (value <= -bound) for value in values))
    if paying.basis == "per_deal":
        return sum((_rated(paying.mode, tiers, abs(v)) * (1 if v >= 0 else -1) for v in values), Fraction(0))
    total = sum(values, Fraction(0))
    return total * tiers[0][1] if total < 0 else _rated(paying.mode, tiers, total)


def _rated(mode: str, tiers: list[tuple[Fraction, Fraction]], reached: Fraction) -> Fraction:
    if mode == "retroactive":
        return reached * [rate for start, rate in tiers if start <= reached][-1]
    pay = Fraction(0)
    for number, (start, rate) in enumerate(tiers):
        end = tiers[number + 1][0] if number + 1 < len(tiers) else max(reached, start)
        pay += max(Fraction(0), min(reached, end) - start) * rate
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


MODES = st.sampled_from(["flat", "marginal", "marginal", "retroactive", "milestone", "each_deal"])
BASES = st.sampled_from(["cumulative", "cumulative", "per_deal"])
SCALES = st.sampled_from(["amount", "attainment"])
STARTS = st.lists(st.sampled_from([10, 50, 100, 125, 150]), max_size=3, unique=True)
BOUNDS = st.lists(st.sampled_from([1, 50, 100, 125]), min_size=1, max_size=1)
RATES = st.integers(0, 2000)
ROLES = st.sampled_from([None, None, "owner", "overlay"])
ALLOCATIONS = st.sampled_from([100, 100, 50, 33])
EXCHANGES = st.sampled_from(["none", "deal_date", "deal_date", "fixed"])
CASH = st.sampled_from([(False, False), (False, False), (True, False), (True, True), (False, True)])
"""Whether what was paid counts, and whether on the day it was."""
CREDITINGS = (st.sampled_from(["owner", "split", "team"]), st.sampled_from(["rollup", "rollup", "split"]))
DEPTHS = st.sampled_from([None, None, 1, 2])
"""By plan."""
KEYS = st.sampled_from([["a"], ["a", "b"], ["b"]])
BEGINNINGS = st.sampled_from([EVER, *QUARTERS])


@st.composite
def components(draw: st.DrawFn, key: str, plan: int) -> Paying:
    mode = draw(MODES)
    is_bonus = mode in ("milestone", "each_deal")
    basis = "cumulative" if is_bonus else draw(BASES)
    by = "amount" if mode in ("flat", "each_deal") or basis == "per_deal" else draw(SCALES)
    starts = [] if mode == "flat" else draw(BOUNDS if is_bonus else STARTS)
    scale = 1 if by == "attainment" else 1000
    tiers = ((0, draw(RATES)), *((s * scale, draw(RATES) + is_bonus) for s in sorted(starts)))
    rule = draw(CREDITINGS[plan])
    role = None if rule == "owner" else draw(ROLES)
    depth = draw(DEPTHS) if rule == "rollup" and not is_bonus else None
    return Paying(key, rule, role, draw(ALLOCATIONS), basis, mode, by, tiers, draw(EXCHANGES), *draw(CASH), depth)


@st.composite
def terms(draw: st.DrawFn, plan: int, start: date | None = None) -> Terms:
    keys = ["a", "b"] if start is not None else draw(KEYS)
    begins = start or draw(BEGINNINGS)
    return Terms(plan, begins, tuple(draw(components(key, plan)) for key in keys))


QUOTAS = st.dictionaries(
    st.sampled_from(["a", "b"]), st.one_of(st.none(), st.sampled_from([0, 100_000, 400_000])), max_size=2
).map(lambda quotas: tuple(sorted(quotas.items())))
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
    later=st.sampled_from([(), (), ((date(2026, 4, 1), 200_000),)]),
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


def emptied(deals: Mapping[int, DealVersion]) -> list[DealVersion]:
    """Newer versions that say every deal is deleted."""
    return [replace(deal, version=1_000_000 + deal.version, gone=True) for deal in deals.values()]
