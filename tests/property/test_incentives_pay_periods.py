"""Any history of deals, definitions and cut-offs ends in the ledger that integers say, by cell and pay period."""

from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from services.incentives.earnings.domain.comparison import compared
from services.incentives.ledger.domain import PAYABLE, ChainCheck, Head, LedgerTransaction, Posted, chained
from services.incentives.periods.domain import PayCalendar, PayPeriod, PayState
from shared.kernel.periods import FiscalCalendar, Period
from shared.kernel.years import Weekday, Weeks, YearEnd, YearPattern
from tests.oracles.incentives import Step, World, histories
from tests.property.test_incentives_oracle import TENANT, Book
from tests.stories.incentives import cell_id, cents, named

NOW = datetime(2026, 10, 1, tzinfo=UTC)
Month = int
"""Months since the year 0."""


def first_day(month: Month) -> date:
    return date(month // 12, month % 12 + 1, 1)


def due(start: date) -> Month:
    """The last month of the quarter that starts on a day."""
    return start.year * 12 + start.month - 1 + 2


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
            (cell_id(named("assignment", index), key, start), start): cell.cents
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
        due_now = [amount for (_, start), amount in earned.items() if first <= due(start) <= last]
        assert sum(one.as_paid for one in compared_ones) == cents(
            sum(amount for (_, month), amount in posted.items() if first <= month <= last)
        )
        assert sum(one.as_recalculated for one in compared_ones) == cents(sum(due_now))
    check = ChainCheck()
    for transaction in chain:
        check.take(transaction)
    assert check.first_break is None


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
