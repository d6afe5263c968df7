"""Any history of deals, definitions and cut-offs ends in the ledger that integers say, by cell and pay period."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from uuid import UUID, uuid5

from hypothesis import given, settings
from hypothesis import strategies as st

from services.incentives.earnings.domain.comparison import compared
from services.incentives.ledger.domain import EARNED, PAYABLE, ChainCheck, Head, LedgerTransaction, Posted, chained
from services.incentives.payouts.domain.pay import EarnedAmount, LineKind, PayInput, pay_of
from services.incentives.payouts.domain.pay import PayState as Carried
from services.incentives.payouts.domain.runs import Payout, postings_of
from services.incentives.periods.domain import PayCalendar, PayPeriod, PayState
from services.incentives.plans.domain.rules import Draw, DrawKind, PeriodRules
from shared.kernel.periods import FiscalCalendar, Period
from shared.kernel.years import Weekday, Weeks, YearEnd, YearPattern
from tests.oracles.incentives import PLAN_OF, Step, World, histories
from tests.property.test_incentives_oracle import TENANT, Book
from tests.stories.incentives import cell_id, cents, named

NOW = datetime(2026, 10, 1, tzinfo=UTC)
Month = int
"""Months since the year 0."""


def first_day(month: Month) -> date:
    return date(month // 12, month % 12 + 1, 1)


def due(end: date) -> Month:
    """The month with the last day of a cell that ends before a day."""
    last = end - timedelta(days=1)
    return last.year * 12 + last.month - 1


@st.composite
def with_cut_offs(draw: st.DrawFn) -> list[Step | Month]:
    """A history, in the course of which months are cut off one after another."""
    steps: list[Step | Month] = list(draw(histories(deals_max=10, changes_max=4)))
    places = draw(st.lists(st.integers(0, len(steps)), max_size=4))
    months = sorted(
        draw(
            st.lists(
                st.integers(2025 * 12 + 10, 2026 * 12 + 9), min_size=len(places), max_size=len(places), unique=True
            )
        )
    )
    for shift, (place, month) in enumerate(zip(sorted(places), months, strict=True)):
        steps.insert(place + shift, month)
    return steps


@settings(max_examples=60, deadline=None)
@given(with_cut_offs())
def test_what_changes_after_a_cut_off_is_posted_in_the_first_open_pay_period_and_closed_ones_never_change(
    history: list[Step | Month],
) -> None:
    book, world, first_open = Book(), World(), 0
    chain: list[LedgerTransaction] = []
    posted: dict[tuple[UUID, Month], int] = defaultdict(int)
    earned: dict[tuple[UUID, date], int] = defaultdict(int)
    closed: dict[tuple[UUID, Month], Decimal] = {}
    moved_ones: tuple[PayPeriod, ...] = ()
    moved_at: list[Month] = []
    for step in history:
        if isinstance(step, int):
            between = first_day(moved_at[-1] + 1) if moved_at else first_day(step)
            days = Period(between, first_day(step + 1))
            moved_ones = (*moved_ones, PayPeriod(UUID(int=step), days, PayState.APPROVED, None, 1))
            moved_at.append(step)
            first_open = step + 1
            closed = {key: amount for key, amount in by_pay_period(chain).items() if key[1] < first_open}
            continue
        book.take(step)
        world.take(step)
        opens = Period(first_day(first_open), first_day(first_open + 1)) if first_open else None
        head = Head(chain[-1].sequence, chain[-1].hash, opens) if chain else Head(opens=opens)
        chain += chained(TENANT, head, book.postings[len(chain) :], NOW)
        now = {
            (cell_id(named("assignment", index), key, start), cell.end): cell.cents
            for (index, key, start), cell in world.cells().items()
        }
        for cell in earned.keys() | now.keys():
            posted[cell[0], max(due(cell[1]), first_open)] += now.get(cell, 0) - earned[cell]
            earned[cell] = now.get(cell, 0)
        assert by_pay_period(chain) == {key: cents(amount) for key, amount in posted.items() if amount}
        assert {key: amount for key, amount in by_pay_period(chain).items() if key[1] < first_open} == closed
    assert sum(by_pay_period(chain).values(), Decimal(0)) == cents(sum(earned.values()))
    calendar = PayCalendar(TENANT, FiscalCalendar(), moved_ones)
    for number, each in enumerate(moved_ones):
        first, last = (moved_at[number - 1] + 1 if number else 0), moved_at[number]
        compared_ones = compared(calendar, each, posted_of(chain))
        due_now = [amount for (_, end), amount in earned.items() if first <= due(end) <= last]
        assert sum(one.as_paid for one in compared_ones) == cents(
            sum(amount for (_, month), amount in posted.items() if first <= month <= last)
        )
        assert sum(one.as_recalculated for one in compared_ones) == cents(sum(due_now))
    check = ChainCheck()
    for transaction in chain:
        check.take(transaction)
    assert check.first_break is None


@settings(max_examples=60, deadline=None)
@given(with_cut_offs(), st.none() | st.integers(1, 200_000))
def test_any_history_with_cut_offs_draws_and_runs_ends_in_its_ledger(
    history: list[Step | Month], draw: int | None
) -> None:
    """Each month that is cut off is paid by a run; what it pays, owes and carries is worked out in integers."""
    rules = PeriodRules(draw=None if draw is None else Draw(DrawKind.RECOVERABLE, cents(draw)))
    book, world, first_open, taken = Book(), World(), 0, 0
    chain: list[LedgerTransaction] = []
    states: dict[tuple[UUID, UUID], Carried] = defaultdict(Carried)
    waiting: dict[int, dict[Month, int]] = {index: defaultdict(int) for index in PLAN_OF}
    earned: dict[tuple[int, str, date, date], int] = defaultdict(int)
    owed, short, paid = dict.fromkeys(PLAN_OF, 0), dict.fromkeys(PLAN_OF, 0), dict.fromkeys(PLAN_OF, 0)
    run = 0
    for step in history:
        if isinstance(step, int):
            before, first_open, run = first_open, step + 1, run + 1
            opens = Period(first_day(first_open), first_day(first_open + 1))
            amounts = due_amounts(chain, before, first_open)
            for person, plan in sorted(amounts.keys() | states.keys()):
                state = states[person, plan]
                pay = pay_of(rules, "USD", state, PayInput(run, amounts.get((person, plan), []), Decimal(0), []))
                result = "USD", pay.paid, pay.line(LineKind.EARNED), pay.lines, pay.state, state.owed
                payout = Payout(uuid5(person, f"{plan}/{run}"), UUID(int=run), person, plan, *result)
                states[person, plan] = pay.state
                head = Head(chain[-1].sequence, chain[-1].hash, opens) if chain else Head(opens=opens)
                chain += chained(TENANT, head, postings_of(payout, opens), NOW)
            for index, by_month in waiting.items():
                if who(index) not in states:
                    continue
                due_now = sum(by_month.pop(month) for month in sorted(by_month) if month < first_open)
                net = due_now - short[index]
                recovered = min(owed[index], max(0, net - draw)) if draw is not None else 0
                net -= recovered
                short[index], net = max(0, -net), max(0, net)
                advanced = max(0, draw - net) if draw is not None else 0
                owed[index] += advanced - recovered
                paid[index] += net + advanced
            continue
        book.take(step)
        world.take(step)
        opened = Period(first_day(first_open), first_day(first_open + 1)) if first_open else None
        head = Head(chain[-1].sequence, chain[-1].hash, opened) if chain else Head(opens=opened)
        chain += chained(TENANT, head, book.postings[taken:], NOW)
        taken = len(book.postings)
        now = {(*key, cell.end): cell.cents for key, cell in world.cells().items()}
        for key in earned.keys() | now.keys():
            waiting[key[0]][max(due(key[3]), first_open)] += now.get(key, 0) - earned[key]
            earned[key] = now.get(key, 0)
    accounts = balances(chain)
    for person in {who(index)[0] for index in PLAN_OF}:
        of_person = [index for index in PLAN_OF if who(index)[0] == person]
        name = str(person)
        assert accounts["paid", name] == -cents(sum(paid[index] for index in of_person))
        assert accounts["advance", name] == cents(sum(owed[index] for index in of_person))
        left = sum(sum(waiting[index].values()) - short[index] for index in of_person)
        assert accounts[PAYABLE, name] == -cents(left)
    check = ChainCheck()
    for transaction in chain:
        check.take(transaction)
    assert check.first_break is None


def who(index: int) -> tuple[UUID, UUID]:
    """The person and the plan of an assignment."""
    person, plan = PLAN_OF[index]
    return named("person", person), named("plan", plan)


def due_amounts(
    chain: list[LedgerTransaction], first: Month, until: Month
) -> dict[tuple[UUID, UUID], list[EarnedAmount]]:
    """What the ledger has of earnings in the months from one up to, not including, another, by person and plan."""
    found: dict[tuple[UUID, UUID], list[EarnedAmount]] = defaultdict(list)
    for each in posted_of([each for each in chain if each.posting.kind == EARNED]):
        month = due(each.posted_until)
        if first <= month < until:
            assert each.plan_id is not None
            assert each.component is not None
            found[each.person_id, each.plan_id].append(EarnedAmount(each.amount, each.component, None))
    return found


def balances(chain: list[LedgerTransaction]) -> dict[tuple[str, str], Decimal]:
    """The balance of every account, by kind and name; debits are above 0."""
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for transaction in chain:
        for entry in transaction.posting.entries:
            found[entry.account.kind, entry.account.name] += entry.amount
    return found


def posted_of(chain: list[LedgerTransaction]) -> list[Posted]:
    found = []
    for transaction in chain:
        posting, subject = transaction.posting, transaction.posting.subject
        assert posting.posted_in is not None
        assert posting.period is not None
        amount = -sum((e.amount for e in posting.entries if e.account.kind == PAYABLE), Decimal(0))
        about = subject.id, subject.person_id, subject.plan_id, subject.component
        found.append(Posted(*about, posting.period, posting.posted_in.end, "USD", amount))
    return found


def by_pay_period(chain: list[LedgerTransaction]) -> dict[tuple[UUID, Month], Decimal]:
    sums: dict[tuple[UUID, Month], Decimal] = defaultdict(Decimal)
    for transaction in chain:
        posting = transaction.posting
        assert posting.posted_in is not None
        assert posting.posted_in.start.day == posting.posted_in.end.day == 1
        month = posting.posted_in.start.year * 12 + posting.posted_in.start.month - 1
        sums[posting.subject.id, month] -= sum(e.amount for e in posting.entries if e.account.kind == PAYABLE)
    return {key: amount for key, amount in sums.items() if amount}


CALENDARS = st.builds(
    FiscalCalendar,
    start_month=st.integers(1, 12),
    weeks=st.builds(Weeks, st.sampled_from(Weekday), st.sampled_from(YearPattern), st.sampled_from(YearEnd)),
)
DAYS = st.dates(date(2025, 1, 1), date(2027, 12, 31))


@settings(max_examples=100, deadline=None)
@given(st.lists(CALENDARS, min_size=1, max_size=6), DAYS, st.lists(DAYS, max_size=20))
def test_pay_periods_that_were_moved_under_any_calendars_stay_and_those_after_them_follow_without_a_gap(
    calendars: list[FiscalCalendar], day: date, days: list[date]
) -> None:
    stored: tuple[PayPeriod, ...] = ()
    for fiscal in calendars:
        found = PayCalendar(TENANT, fiscal, stored).containing(stored[-1].period.end if stored else day)
        stored = (*stored, PayPeriod(found.id, found.period, PayState.APPROVED, None, 1))
    assert all(one.period.end == other.period.start for one, other in pairwise(stored))
    assert len({each.id for each in stored}) == len(stored)
    for fiscal in calendars:
        calendar = PayCalendar(TENANT, fiscal, stored)
        assert calendar.until(stored[-1].period.start) == list(stored)
        for each in days:
            found = calendar.containing(each)
            assert each in calendar.span(found)
            assert calendar.named(found.id, max(each, stored[0].period.start)) == found
            following = calendar.containing(found.period.end)
            assert following.period.start == found.period.end
