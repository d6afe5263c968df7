"""Any chain of postings, of whichever kinds and forms, verifies, and shows where anything sealed was altered."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.incentives.ledger.domain import (
    EARNED,
    EARNING,
    Account,
    Cause,
    ChainCheck,
    Entry,
    Flaw,
    Head,
    LedgerTransaction,
    Posting,
    Subject,
    canonical,
    chained,
    seal,
)
from shared.kernel.deals import RecordVersion
from shared.kernel.periods import Period

TENANT = UUID(int=9)
MOMENT = datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
OTHER_ID = UUID(int=77)
WORDS = st.sampled_from(["earned", "draw", "recovery", "holdback", "paid", "payable", "spot_bonus"])
IDS = st.integers(1, 5).map(lambda number: UUID(int=number))
PERIODS = st.integers(0, 30).map(lambda n: Period(date(2026, 1, 1) + timedelta(n), date(2026, 4, 1)))


@st.composite
def balanced(draw: st.DrawFn) -> tuple[Entry, ...]:
    """Entries on any accounts that sum to zero in each of up to two currencies."""
    entries = []
    for currency in draw(st.lists(st.sampled_from(["USD", "JPY"]), min_size=1, max_size=2, unique=True)):
        amounts = draw(st.lists(st.decimals(-9999, 9999, places=2), min_size=1, max_size=3))
        for amount in [*amounts, -sum(amounts, Decimal(0))]:
            entries.append(Entry(Account(draw(WORDS), draw(st.text("abc:-", max_size=5))), amount, currency))
    return tuple(entries)


CAUSES = st.one_of(
    st.builds(Cause.of_deal, IDS, st.builds(RecordVersion, st.just(MOMENT), st.integers(0, 3), IDS)),
    st.builds(Cause.of_definitions, st.lists(st.text("ab v1", max_size=4), max_size=3)),
    st.builds(Cause, WORDS),
)
SUBJECTS = st.builds(Subject, WORDS, IDS, IDS, st.none() | IDS, st.none() | WORDS)
SECOND_FORM = st.builds(Posting, WORDS, balanced(), SUBJECTS, PERIODS, CAUSES)
POSTINGS = st.builds(Posting, WORDS, balanced(), SUBJECTS, PERIODS, CAUSES, PERIODS)
FIRST_FORM = st.builds(
    Posting, st.just(EARNED), balanced(), st.builds(Subject, st.just(EARNING), IDS, IDS, IDS, WORDS), st.none(), CAUSES
)


def of_every_form(before: Sequence[Posting], then: Sequence[Posting]) -> list[LedgerTransaction]:
    """A chain as releases before left it, gone on with."""
    chain: list[LedgerTransaction] = []
    head = Head()
    for posting in before:
        unsealed = LedgerTransaction(TENANT, head.sequence + 1, MOMENT, posting)
        head = Head(unsealed.sequence, seal(head.hash, unsealed))
        chain.append(replace(unsealed, hash=head.hash))
    return [*chain, *chained(TENANT, head, then, MOMENT)]


def walk(chain: Sequence[LedgerTransaction], last: LedgerTransaction) -> tuple[int, Flaw] | None:
    check = ChainCheck()
    for transaction in chain:
        check.take(transaction)
    check.finish(Head(last.sequence, last.hash))
    found = check.first_break
    return None if found is None else (found.sequence, found.flaw)


Alter = Callable[[Posting], Posting]


def of_subject(**members: object) -> Alter:
    return lambda posting: replace(posting, subject=replace(posting.subject, **members))  # type: ignore[arg-type]


def of_cause(**members: object) -> Alter:
    return lambda posting: replace(posting, cause=replace(posting.cause, **members))  # type: ignore[arg-type]


def of_period(**members: object) -> Alter:
    return lambda posting: replace(posting, period=replace(posting.period, **members))  # type: ignore[type-var]


def of_entry(**members: object) -> Alter:
    def alter(posting: Posting) -> Posting:
        first, *others = posting.entries
        return replace(posting, entries=(replace(first, **members), *others))  # type: ignore[arg-type]

    return alter


IN_EVERY_FORM: dict[str, Alter] = {
    "subject": of_subject(id=OTHER_ID),
    "person": of_subject(person_id=OTHER_ID),
    "plan": of_subject(plan_id=OTHER_ID),
    "component": of_subject(component="other"),
    "kind of cause": of_cause(kind="other"),
    "deal": of_cause(deal_id=OTHER_ID),
    "version of the deal": of_cause(deal_version=RecordVersion(MOMENT, 9, OTHER_ID)),
    "changes": of_cause(changes=("other",)),
    "account": of_entry(account=Account("other", "a")),
    "amount": of_entry(amount=Decimal(1_000_000)),
    "currency": of_entry(currency="XXX"),
    "one entry less": lambda posting: replace(posting, entries=posting.entries[1:]),
}
IN_THE_SECOND_FORM: dict[str, Alter] = {
    **IN_EVERY_FORM,
    "kind": lambda posting: replace(posting, kind="other"),
    "kind of subject": of_subject(kind="other"),
    "start of the period": of_period(start=date(2020, 1, 1)),
    "end of the period": of_period(end=date(2030, 1, 1)),
    "first form": lambda posting: replace(posting, period=None),
    "newest form": lambda posting: replace(posting, posted_in=Period(date(2020, 1, 1), date(2020, 2, 1))),
}
IN_THE_NEWEST_FORM: dict[str, Alter] = {
    **IN_THE_SECOND_FORM,
    "second form": lambda posting: replace(posting, posted_in=None),
}


@settings(max_examples=60)
@given(
    st.lists(FIRST_FORM, min_size=1, max_size=3),
    st.lists(SECOND_FORM, min_size=1, max_size=3),
    st.lists(POSTINGS, min_size=1, max_size=3),
    st.data(),
)
def test_what_was_posted_verifies_and_each_member_that_is_altered_shows_where_it_is(
    first: list[Posting], second: list[Posting], then: list[Posting], data: st.DataObject
) -> None:
    chain = of_every_form([*first, *second], then)
    assert walk(chain, chain[-1]) is None
    for transaction in chain:
        for currency in {entry.currency for entry in transaction.posting.entries}:
            assert sum(entry.amount for entry in transaction.posting.entries if entry.currency == currency) == 0
    at = data.draw(st.integers(0, len(chain) - 1))
    newest = IN_THE_NEWEST_FORM if at >= len(first) + len(second) else IN_THE_SECOND_FORM
    for what, alter in (IN_EVERY_FORM if at < len(first) else newest).items():
        altered = [*chain]
        altered[at] = replace(chain[at], posting=alter(chain[at].posting))
        assert walk(altered, chain[-1]) == (at + 1, Flaw.ALTERED), what
    for what, moved in {
        "moment": replace(chain[at], posted_at=MOMENT + timedelta(seconds=1)),
        "tenant": replace(chain[at], tenant_id=OTHER_ID),
    }.items():
        assert walk([*chain[:at], moved, *chain[at + 1 :]], chain[-1]) == (at + 1, Flaw.ALTERED), what
    assert walk([*chain[:at], *chain[at + 1 :]], chain[-1]) == (at + 1, Flaw.MISSING)


@settings(max_examples=60)
@given(POSTINGS, st.data())
def test_what_does_not_balance_is_not_posted(posting: Posting, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(posting.entries) - 1))
    entries = list(posting.entries)
    entries[at] = replace(entries[at], amount=entries[at].amount + 1)
    with pytest.raises(ValueError, match="does not balance"):
        chained(TENANT, Head(), [replace(posting, entries=tuple(entries))], MOMENT)


ONE = Posting(
    "draw",
    (Entry(Account("draw", "a"), Decimal(5), "USD"), Entry(Account("payable", "b"), Decimal(-5), "USD")),
    Subject("draw", UUID(int=1), UUID(int=2)),
    Period(date(2026, 1, 1), date(2026, 4, 1)),
    Cause("run"),
    Period(date(2026, 3, 1), date(2026, 4, 1)),
)


@pytest.mark.parametrize(
    "posting",
    [
        replace(ONE, entries=()),
        replace(ONE, period=None),
        replace(ONE, posted_in=None),
        replace(ONE, kind=""),
        replace(ONE, subject=replace(ONE.subject, kind="A draw")),
        replace(ONE, cause=Cause("run 1")),
        of_entry(account=Account("pay:able", "b"))(ONE),
    ],
)
def test_what_could_not_be_read_as_it_was_posted_is_not_posted(posting: Posting) -> None:
    assert len(chained(TENANT, Head(), [ONE], MOMENT)) == 1
    with pytest.raises(ValueError, match=r"small letters|no period, no entries"):
        chained(TENANT, Head(), [posting], MOMENT)


def test_the_text_of_the_first_form_is_what_the_release_before_sealed() -> None:
    ids = [f"00000000-0000-0000-0000-00000000000{n}" for n in range(10)]
    posting = Posting(
        EARNED,
        (
            Entry(Account("expense", f"commission:{ids[3]}"), Decimal("50.00"), "USD"),
            Entry(Account("payable", ids[2]), Decimal("-50.00"), "USD"),
        ),
        Subject(EARNING, UUID(int=1), UUID(int=2), UUID(int=3), "bookings"),
        None,
        Cause.of_deal(UUID(int=4), RecordVersion(MOMENT, 7, UUID(int=5))),
    )
    transaction = LedgerTransaction(TENANT, 1, MOMENT, posting)
    text = (
        '{"cause":{"changes":[],"deal_id":"'
        + ids[4]
        + '","deal_version":["2026-03-31T18:40:02+00:00",7,"'
        + ids[5]
        + '"],"kind":"deal"},"cell_id":"'
        + ids[1]
        + '","component":"bookings","entries":[["expense:commission:'
        + ids[3]
        + '","50","USD"],["payable:'
        + ids[2]
        + '","-50","USD"]],"person_id":"'
        + ids[2]
        + '","plan_id":"'
        + ids[3]
        + '","posted_at":"2026-03-31T18:40:02+00:00","sequence":1,"tenant_id":"'
        + ids[9]
        + '"}'
    ).encode()
    assert canonical(transaction) == text
    assert seal(bytes(32), transaction) == sha256(bytes(32) + text).digest()
