"""What incentives must come to, said a second time in plain integers and fractions. Imports nothing of the product.

A small company: users 0 to 4 of one CRM, people 0 to 3 of whom 3 manages team 0 with team 1 below it; plan 0 for reps,
plan 1 for managers, both by calendar quarter in USD; goals 0 and 1 are the first two quarters of 2026. Amounts are
cents, rates ten-thousandths, percents whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

from hypothesis import strategies as st

QUARTERS = (date(2026, 1, 1), date(2026, 4, 1), date(2026, 7, 1))
EVER = date(2025, 1, 1)
PLAN_OF = {0: (0, 0), 1: (1, 0), 2: (3, 1), 3: (0, 1)}
"""Assignment → person, plan."""


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


Definition = Terms | Assigned | Stay | Known | Aim
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

    def cells(self) -> dict[tuple[int, str, date], Expected]:
        """(assignment, component, first day of the quarter) → what is in it, where anything is."""
        credited: dict[tuple[int, str, date], list[Fraction]] = {}
        for index, assigned in self.assigned.items():
            for deal in self.deals.values():
                for key, start, value in self._credits(index, assigned, deal):
                    credited.setdefault((index, key, start), []).append(value)
        found = {}
        for (index, key, start), values in credited.items():
            paying = self._paying(PLAN_OF[index][1], start, key)
            assert paying is not None
            pay = _pay(paying, values, self._quota(index, key, start))
            found[index, key, start] = Expected(sum(values, Fraction(0)), _half_up(pay), len(values))
        return found

    def _credits(self, index: int, assigned: Assigned, deal: DealVersion) -> list[tuple[str, date, Fraction]]:
        if assigned.deleted or deal.gone or not deal.won or deal.day is None or deal.currency != "USD":
            return []
        if deal.day < assigned.start or (assigned.end is not None and deal.day >= assigned.end):
            return []
        person, plan = PLAN_OF[index]
        start = date(deal.day.year, (deal.day.month - 1) // 3 * 3 + 1, 1)
        in_force = self._in_force(plan, start)
        found = []
        for paying in in_force.components if in_force else ():
            percent = self._percent(person, paying, deal)
            if percent:
                found.append((paying.key, start, Fraction(deal.cents * percent * paying.allocation, 10_000)))
        return found

    def _percent(self, person: int, paying: Paying, deal: DealVersion) -> int:
        if paying.crediting == "owner":
            return 100 if deal.owner is not None and self.known.get(deal.owner) == person else 0
        parts = [(self.known.get(user), percent) for user, percent, role in deal.splits if paying.role in (None, role)]
        if not deal.splits:
            parts = [] if deal.owner is None else [(self.known.get(deal.owner), 100)]
        if paying.crediting == "split":
            return sum(percent for someone, percent in parts if someone == person)
        return sum(percent for someone, percent in parts if person == 3 and self._below(someone, deal.day))

    def _below(self, person: int | None, day: date | None) -> bool:
        assert day is not None
        return person is not None and any(
            stay.person == person and stay.start <= day and (stay.end is None or day < stay.end)
            for stay in self.stays.values()
            if not stay.deleted
        )

    def _in_force(self, plan: int, start: date) -> Terms | None:
        best = None
        for terms in self.terms:
            if terms.plan == plan and terms.start <= start and (best is None or terms.start >= best.start):
                best = terms
        return best

    def _paying(self, plan: int, start: date, key: str) -> Paying | None:
        terms = self._in_force(plan, start)
        return next((paying for paying in terms.components if paying.key == key), None) if terms else None

    def _quota(self, index: int, key: str, start: date) -> int | None:
        quotas = dict(self.assigned[index].quotas)
        if key not in quotas:
            return None
        if quotas[key] is not None:
            return quotas[key]
        for goal, begins in enumerate(QUARTERS[:2]):
            aim = self.aims.get(goal)
            if begins == start and aim is not None and aim.counts:
                return aim.cents
        return None


def _pay(paying: Paying, values: list[Fraction], quota: int | None) -> Fraction:
    if paying.by == "attainment":
        if not quota:
            return Fraction(0)
        tiers = [(Fraction(start * quota, 100), Fraction(rate, 10_000)) for start, rate in paying.tiers]
    else:
        tiers = [(Fraction(start), Fraction(rate, 10_000)) for start, rate in paying.tiers]
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
CENTS = st.one_of(st.integers(-500_000, 900_000), st.sampled_from([10_000, 50_000, 99_999, 100_000, 100_001, -100_000]))


@st.composite
def components(draw: st.DrawFn, key: str, crediting: list[str]) -> Paying:
    mode = draw(st.sampled_from(["flat", "marginal", "retroactive"]))
    basis = draw(st.sampled_from(["cumulative", "cumulative", "per_deal"]))
    by = "amount" if mode == "flat" or basis == "per_deal" else draw(st.sampled_from(["amount", "attainment"]))
    starts = [] if mode == "flat" else draw(st.lists(st.sampled_from([10, 50, 100, 125, 150]), max_size=3, unique=True))
    scale = 1 if by == "attainment" else 1000
    tiers = ((0, draw(st.integers(0, 2000))), *((s * scale, draw(st.integers(0, 2000))) for s in sorted(starts)))
    rule = draw(st.sampled_from(crediting))
    role = None if rule == "owner" else draw(st.sampled_from([None, None, "owner", "overlay"]))
    return Paying(key, rule, role, draw(st.sampled_from([100, 100, 50, 33])), basis, mode, by, tiers)


@st.composite
def terms(draw: st.DrawFn, plan: int, start: date | None = None) -> Terms:
    crediting = ["owner", "split"] if plan == 0 else ["rollup", "rollup", "split"]
    keys = ["a", "b"] if start is not None else draw(st.sampled_from([["a"], ["a", "b"], ["b"]]))
    begins = start or draw(st.sampled_from([EVER, *QUARTERS]))
    return Terms(plan, begins, tuple(draw(components(key, crediting)) for key in keys))


@st.composite
def assigned(draw: st.DrawFn, index: int) -> Assigned:
    start = draw(st.sampled_from([EVER, EVER, date(2026, 2, 10)]))
    end = draw(st.sampled_from([None, None, date(2026, 5, 20)]))
    quota = st.one_of(st.none(), st.sampled_from([0, 100_000, 400_000]))
    quotas = draw(st.dictionaries(st.sampled_from(["a", "b"]), quota, max_size=2))
    return Assigned(index, start, end, tuple(sorted(quotas.items())))


@st.composite
def deal_versions(draw: st.DrawFn, version: int) -> DealVersion:
    split = st.tuples(USERS, st.integers(0, 100), st.sampled_from(["owner", "overlay"]))
    return DealVersion(
        deal=draw(st.integers(0, 2)),
        version=version,
        owner=draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 4, None])),
        splits=tuple(draw(st.one_of(st.just([]), st.just([]), st.lists(split, min_size=1, max_size=3)))),
        cents=draw(CENTS),
        won=draw(MOSTLY),
        day=draw(DAYS) if draw(MOSTLY) else None,
        currency="USD" if draw(MOSTLY) else "EUR",
        gone=not draw(MOSTLY),
    )


@st.composite
def stays(draw: st.DrawFn, index: int) -> Stay:
    return Stay(
        index,
        person=draw(st.integers(0, 3)),
        team=draw(st.integers(0, 1)),
        start=draw(st.sampled_from([EVER, date(2026, 2, 10)])),
        end=draw(st.sampled_from([None, date(2026, 5, 20)])),
        deleted=draw(st.sampled_from([False, False, True])),
    )


CHANGES: st.SearchStrategy[Definition] = st.one_of(
    st.integers(0, 1).flatmap(terms),
    st.sampled_from(sorted(PLAN_OF)).flatmap(assigned),
    st.builds(Assigned, st.sampled_from(sorted(PLAN_OF)), st.just(EVER), st.none(), st.just(()), st.just(True)),
    st.integers(0, 2).flatmap(stays),
    st.builds(Known, USERS, st.one_of(st.integers(0, 3), st.none())),
    st.builds(Aim, st.integers(0, 1), st.sampled_from([100_000, 250_000]), st.booleans()),
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
    return [
        DealVersion(d.deal, 1_000_000 + d.version, d.owner, d.splits, d.cents, d.won, d.day, d.currency, gone=True)
        for d in deals.values()
    ]
