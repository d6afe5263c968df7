"""Any history of deals and definitions ends in the cells and the ledger that the oracle says."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from services.incentives.credits.domain.credit import CellKey, ComponentYear, Credit, PeriodTotal
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.earnings.domain.cells import Cell
from services.incentives.earnings.domain.explanation import Explanation, explained, explained_in_year
from services.incentives.earnings.domain.settlement import Settlement
from services.incentives.earnings.domain.years import LinkedCells, YearCredits
from services.incentives.ledger.domain import PAYABLE, Cause, Posting
from services.incentives.plans.domain.assignments import QuotaGoal
from services.incentives.plans.domain.parameters import MAIN
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus
from shared.contracts.chart import org_chart
from shared.contracts.org import ExchangeRates
from shared.kernel.deals import DealFacts
from shared.kernel.layers import Layered
from shared.kernel.measures import Counted, Unit
from shared.kernel.org import CrmUser, MembershipFact, OrgChart, OwnerKind
from shared.kernel.periods import DatedRange, Period, PeriodKind
from tests.oracles.incentives import (
    FOUNDED,
    LATER_DAYS,
    PLAN_OF,
    QUARTERS,
    Aim,
    Assigned,
    DealVersion,
    Definition,
    Known,
    Paying,
    Placed,
    Rated,
    Scored,
    Stay,
    Step,
    Terms,
    World,
    commissions,
    emptied,
    histories,
    kinds_histories,
)
from tests.stories.incentives import (
    SOURCE,
    assignment,
    cents,
    component,
    deal_event,
    measured,
    named,
    rates_event,
    team_event,
)

TENANT = UUID(int=9)
TODAY = date(2026, 6, 10)


class Book:
    """Incentives in memory: the pure rules driven as the service drives them."""

    def __init__(self, today: date = date.max) -> None:
        self.deals: dict[UUID, DealFacts] = {}
        self.credits: dict[UUID, list[Credit]] = defaultdict(list)
        self.cells: dict[CellKey, Cell] = {}
        self.postings: list[Posting] = []
        self.stays: dict[int, MembershipFact] = {}
        self.identities: dict[CrmUser, UUID] = {}
        self.rates: dict[str, ExchangeRates] = {}
        self.teams = {placed.team: team_event(TENANT, 1, placed).node() for placed in FOUNDED}
        self.definitions = Definitions(
            OrgChart(teams={node.id: node for node in self.teams.values()}),
            Layered(),
            {named("plan", n): Plan(named("plan", n), str(n), "USD", PeriodKind.QUARTER) for n in (0, 1)},
            {named("plan", n): [] for n in (0, 1)},
            {},
            today=today,
        )

    def take(self, step: Step) -> None:
        if isinstance(step, DealVersion):
            self._take_deal(deal_event(TENANT, step).facts())
            return
        before, self.definitions = self.definitions, self._defined(step)
        scored = [named("assignment", step.index)] if isinstance(step, Scored) else []
        touched = [
            a.id
            for a in self.definitions.assignments.values()
            if a != before.assignments.get(a.id) or before.inputs(a) != self.definitions.inputs(a)
        ]
        self._rebuild([*{*touched, *self.definitions.sharing_pools(touched), *scored}])

    def _take_deal(self, facts: DealFacts) -> None:
        held = self.deals.get(facts.deal_id)
        if held is not None and facts.version <= held.version:
            return
        self.deals[facts.deal_id] = facts
        credits = self.definitions.credits(facts)
        years: dict[ComponentYear, list[Credit]] = defaultdict(list)
        for credit in (credit for of_deal in self.credits.values() for credit in of_deal):
            year = self.definitions.year_of(credit)
            if year is not None:
                years[year].append(credit)
        for year in filter(None, map(self.definitions.year_of, credits)):
            years.setdefault(year, [])
        settlement = Settlement(
            self.definitions, self.cells, {year: self._known_of(year, found) for year, found in years.items()}
        )
        settlement.recredit(Cause.of_deal(facts.deal_id, facts.version), self.credits[facts.deal_id], credits)
        self.credits[facts.deal_id] = credits
        self._keep(settlement)

    def _known_of(self, year: ComponentYear, credits: Sequence[Credit]) -> YearCredits:
        if self.definitions.needs_deals(year):
            return YearCredits(credits)
        return YearCredits((), [PeriodTotal(each.cell, each.measure, each.day, each.value, 1) for each in credits])

    def explanations(self) -> dict[CellKey, Explanation]:
        """Of every cell that something pays."""
        credits = [credit for of_deal in self.credits.values() for credit in of_deal]
        found = {}
        for key, cell in self.cells.items():
            year, terms = self.definitions.linked_year(key), self.definitions.terms(key)
            if year is not None:
                of_year = YearCredits(credit for credit in credits if self.definitions.year_of(credit) == year)
                for each in LinkedCells(self.definitions, year).worked_out(of_year):
                    if each.key == key:
                        found[key] = explained_in_year(each, of_year, cell.currency)
            elif terms is not None:
                found[key] = explained(terms, [credit for credit in credits if credit.cell == key], cell.currency)
        return found

    def _rebuild(self, touched: Sequence[UUID]) -> None:
        after: list[Credit] = []
        for deal_id, facts in self.deals.items():
            fresh = self.definitions.credits(facts, only=touched)
            self.credits[deal_id] = [c for c in self.credits[deal_id] if c.assignment_id not in touched] + fresh
            after += fresh
        settlement = Settlement(self.definitions, self.cells)
        cause = Cause.of_definitions(["test"])
        settlement.rebuild(dict.fromkeys(touched, cause), [k for k in self.cells if k.assignment_id in touched], after)
        self._keep(settlement)

    def _keep(self, settlement: Settlement) -> None:
        changed = {cell.id: cell for cell in settlement.changed_cells()}
        kept = [cell for cell in self.cells.values() if cell.id not in changed]
        self.cells = {cell.key: cell for cell in (*kept, *changed.values())}
        self.postings += settlement.postings

    def _defined(self, step: Definition) -> Definitions:
        now = self.definitions
        match step:
            case Terms():
                plan_id = named("plan", step.plan)
                held = now.versions[plan_id]
                terms = tuple(component(paying) for paying in step.components)
                added = PlanVersion(plan_id, len(held) + 1, VersionStatus.ACTIVE, step.start, terms, None, None)
                return replace(now, versions={**now.versions, plan_id: [*held, added]})
            case Assigned():
                key = named("assignment", step.index)
                known = now.assignments.get(key)
                if known is not None and known.deleted:
                    return now
                person, plan = PLAN_OF[step.index]
                assigned = assignment(step, key, named("person", person), named("plan", plan))
                return replace(now, assignments={**now.assignments, key: assigned})
            case Scored():
                key = named("assignment", step.index)
                percents = {f"o{number}": Decimal(percent) for number, percent in enumerate(step.percents)}
                scores = {**now.scores.get(key, {}), (step.key, step.start): percents}
                return replace(now, scores={**now.scores, key: scores})
            case Stay():
                self.stays.pop(step.index, None)
                if not step.deleted:
                    dated = DatedRange(step.start, step.end)
                    self.stays[step.index] = MembershipFact(
                        named("person", step.person), named("team", step.team), dated
                    )
            case Known():
                self.identities.pop(CrmUser(SOURCE, str(step.user)), None)
                if step.person is not None:
                    self.identities[CrmUser(SOURCE, str(step.user))] = named("person", step.person)
            case Aim():
                period = Period(QUARTERS[step.goal], QUARTERS[step.goal + 1])
                goal = QuotaGoal(
                    period, cents(step.cents), step.counts, OwnerKind.TEAM, named("team", 0), Unit("money", "USD")
                )
                return replace(now, goals=now.goals.changed({named("goal", step.goal): goal}))
            case Rated():
                stated = rates_event(TENANT, 1, step)
                self.rates[stated.subject] = stated
            case Placed():
                self.teams[step.team] = team_event(TENANT, 1, step).node()
        chart = OrgChart(
            teams={node.id: node for node in self.teams.values()},
            memberships=list(self.stays.values()),
            identities=dict(self.identities),
            rates=org_chart(self.rates.values()).rates,
        )
        return replace(now, chart=chart)


def stated(book: Book) -> dict[tuple[UUID, str, date], tuple[Decimal, Decimal, int]]:
    return {
        (key.assignment_id, key.component, key.period.start): (cell.measure, cell.earned, cell.credits)
        for key, cell in book.cells.items()
        if cell.credits or cell.earned or cell.measure
    }


def expected(world: World) -> dict[tuple[UUID, str, date], tuple[Decimal, Decimal, int]]:
    return {
        (named("assignment", index), key, start): (
            measured(cell.measure),
            cents(cell.cents),
            cell.credits,
        )
        for (index, key, start), cell in world.cells().items()
    }


def owed(postings: Sequence[Posting]) -> dict[UUID, Decimal]:
    sums: dict[UUID, Decimal] = defaultdict(Decimal)
    for posting in postings:
        sums[posting.subject.id] -= sum(e.amount for e in posting.entries if e.account.kind == PAYABLE)
    return {cell_id: amount for cell_id, amount in sums.items() if amount}


@settings(max_examples=100, deadline=None)
@given(histories())
def test_after_every_step_cells_and_ledger_are_what_the_oracle_says(history: list[Step]) -> None:
    book, world = Book(), World()
    for step in history:
        book.take(step)
        world.take(step)
        assert stated(book) == expected(world)
        assert owed(book.postings) == {cell.id: cell.earned for cell in book.cells.values() if cell.earned}


@settings(max_examples=150, deadline=None)
@given(commissions())
def test_whatever_a_commission_is_told_its_cells_and_explanations_are_what_the_oracle_says(history: list[Step]) -> None:
    book, world = Book(), World()
    for step in history:
        book.take(step)
        world.take(step)
        assert stated(book) == expected(world)
    for key, about in book.explanations().items():
        amounts = [*(line.amount for line in about.lines), *(step.amount for step in about.steps)]
        assert sum(amounts, Decimal(0)) == book.cells[key].earned


@settings(max_examples=100, deadline=None)
@given(kinds_histories())
def test_whatever_bonuses_matrices_objectives_and_pools_are_told_their_cells_are_what_the_oracle_says(
    history: list[Step],
) -> None:
    book, world = Book(TODAY), World(today=TODAY)
    for step in history:
        book.take(step)
        world.take(step)
        assert stated(book) == expected(world)
        assert owed(book.postings) == {cell.id: cell.earned for cell in book.cells.values() if cell.earned}


@settings(max_examples=40, deadline=None)
@given(histories(changes_max=2))
def test_when_every_deal_is_taken_back_nothing_is_owed(history: list[Step]) -> None:
    book, world = Book(), World()
    for step in history:
        book.take(step)
        world.take(step)
    for gone in emptied(world.deals):
        book.take(gone)
    assert owed(book.postings) == {}
    assert all(cell.earned == cell.measure == cell.credits == 0 for cell in book.cells.values())


@settings(max_examples=40, deadline=None)
@given(histories(changes_max=0), st.randoms(use_true_random=False))
def test_the_order_of_deals_does_not_change_any_total(history: list[Step], chance: Random) -> None:
    deals = [step for step in history if isinstance(step, DealVersion)]
    others = [step for step in history if not isinstance(step, DealVersion)]
    one, other = Book(), Book()
    for step in [*others, *deals]:
        one.take(step)
    chance.shuffle(deals)
    for step in [*others, *deals]:
        other.take(step)
    assert stated(one) == stated(other)


@settings(max_examples=40, deadline=None)
@given(histories())
def test_the_amounts_attributed_to_deals_sum_to_what_the_cell_earned(history: list[Step]) -> None:
    book = Book()
    for step in history:
        book.take(step)
    for key, about in book.explanations().items():
        amounts = [*(line.amount for line in about.lines), *(step.amount for step in about.steps)]
        assert sum(amounts, Decimal(0)) == book.cells[key].earned
        for line in about.lines:
            by_rate = sum(Fraction(part.amount) for part in line.slices) + Fraction(line.rerated)
            assert by_rate + Fraction(line.multiplied) - Fraction(line.withheld) == Fraction(line.exact)
            for part in line.slices:
                assert Fraction(part.value) * Fraction(part.rate) + Fraction(part.step) == Fraction(part.amount)


@settings(max_examples=40, deadline=None)
@given(histories())
def test_every_kept_credit_is_the_one_that_is_explained_and_every_other_has_a_reason(history: list[Step]) -> None:
    book = Book()
    for step in history:
        book.take(step)
    for key in book.cells:
        assignment = book.definitions.assignments[key.assignment_id]
        for deal_id, facts in book.deals.items():
            kept = [credit for credit in book.credits[deal_id] if credit.cell == key and credit.measure == MAIN]
            why = book.definitions.why(facts, assignment, key.component, key.period)
            assert list(why.credits) == kept
            assert (why.refusal is None) == bool(kept)
            counting = [Fraction(p.outcome.value) for p in why.parts if isinstance(p.outcome, Counted)]
            terms = book.definitions.terms(key)
            main = None if terms is None else terms.component.measures[0]
            if main is not None and (main.multipliers or main.windfall):
                continue
            share = Fraction(0) if main is None else Fraction(main.allocation_percent) / 100
            assert sum(counting) * share == sum(Fraction(credit.value) for credit in kept)


def test_a_deal_is_paid_for_once_when_the_plan_goes_from_bookings_to_cash() -> None:
    booked = Paying("a", "owner", None, 100, "cumulative", "flat", "amount", ((0, 1000),))
    on_cash = replace(booked, cash=True, when_paid=True)
    deal = DealVersion(0, 1, 0, (), 5000, True, date(2026, 1, 1), "USD", False, None, ((date(2026, 4, 1), 5000),))
    book, oracle = Book(), World()
    for step in (
        Known(0, 0),
        Terms(0, date(2025, 1, 1), (booked,)),
        Terms(0, date(2026, 4, 1), (on_cash,)),
        Assigned(0, date(2025, 1, 1), None, (), deleted=False),
        deal,
    ):
        book.take(step)
        oracle.take(step)
    (credit,) = book.credits[named("deal", 0)]
    assert (credit.day, credit.value) == (date(2026, 1, 1), Decimal(50))
    assert {key[2] for key, cell in oracle.cells().items() if cell.credits} == {date(2026, 1, 1)}


@settings(max_examples=60, deadline=None)
@given(histories(changes_max=0), LATER_DAYS, st.sampled_from([0, 50_000, 200_000]))
def test_a_later_quota_pays_nothing_anew_for_what_counts_before_its_first_day(
    history: list[Step], first_day: date, quota: int
) -> None:
    book = Book()
    for step in history:
        if isinstance(step, DealVersion):
            paid = tuple((day, amount) for day, amount in step.paid if day < first_day)
            invoiced = tuple((day, amount) for day, amount in step.invoiced if day < first_day)
            counted = step.day if step.day and step.day < first_day else None
            step = replace(step, day=counted, paid=paid, invoiced=invoiced)
        book.take(replace(step, later=()) if isinstance(step, Assigned) else step)
    before = sum(owed(book.postings).values(), Decimal(0))
    for step in history:
        if isinstance(step, Assigned):
            book.take(replace(step, later=((first_day, quota),)))
    assert sum(owed(book.postings).values(), Decimal(0)) == before
