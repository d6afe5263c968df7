"""Whoever moves when, and whatever is handed on: nothing is lost that was not given up on purpose."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.goals.moves.domain.effects import Known, plan_of
from services.goals.moves.domain.move import Handling, MoveKind, MoveTerms
from services.goals.targets.domain import Direction, GoalTerms, Owner, draft
from shared.kernel.deals import DateField
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, Period

PERSON, SUCCESSOR, TEAM = UUID(int=1), UUID(int=2), UUID(int=3)
FIRST = date(2026, 1, 1)
WON = Measure(Aggregate.COUNT, None, DateField.CLOSED)


def won(number: int, owner: UUID, target: int, period: Period) -> GoalTerms:
    person = Owner(OwnerKind.PERSON, owner)
    return GoalTerms(
        f"{number}", person, WON, Decimal(target), Decimal(0), "deals", Direction.HIGHER, period, None, Decimal(1)
    )


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


@given(
    kind=st.sampled_from(MoveKind),
    handling=st.sampled_from(Handling),
    first=st.integers(0, 120),
    away=st.integers(1, 60) | st.none(),
    shares=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    goals=st.lists(
        st.tuples(st.integers(0, 100), st.integers(1, 100), st.integers(1, 10**6), st.integers(0, 1)),
        min_size=1,
        max_size=4,
    ),
)
def test_what_is_kept_and_handed_on_is_what_there_was_and_what_is_reduced_is_by_days(
    kind: MoveKind,
    handling: Handling,
    first: int,
    away: int | None,
    shares: list[int],
    goals: list[tuple[int, int, int, int]],
) -> None:
    if kind in (MoveKind.HIRE, MoveKind.RAMP) and handling is Handling.HAND_ON:
        handling = Handling.REDUCE
    until = first + away if kind is MoveKind.LEAVE and away is not None else None
    ramp = tuple(Decimal(share) / 4 for share in shares) if kind in (MoveKind.HIRE, MoveKind.RAMP) else ()
    terms = MoveTerms(
        PERSON,
        kind,
        DatedRange(day(first), None if until is None else day(until)),
        team_id=TEAM if kind in (MoveKind.HIRE, MoveKind.TRANSFER) else None,
        successor_id=SUCCESSOR,
        handling=handling,
        ramp=ramp,
    )
    mine = [
        draft(UUID(int=100 + at), won(at, PERSON, target, Period(day(start), day(start + length))))
        for at, (start, length, target, _) in enumerate(goals)
    ]
    theirs = [
        draft(UUID(int=200 + at), won(at, SUCCESSOR, 7, Period(day(start), day(start + length))))
        for at, (start, length, _, has_alike) in enumerate(goals)
        if has_alike
    ]
    plan = plan_of(terms, Known([], mine, theirs))
    effects = {effect.goal_id.int - 100: effect for effect in plan.effect.goals}
    for at, (start, length, target, _) in enumerate(goals):
        ends = start + length
        if ends <= first or (until is not None and start >= until):
            assert at not in effects
            continue
        effect = effects[at]
        kept = int(effect.targets[0].after or 0)
        if handling is Handling.STAY:
            assert (kept, len(effect.targets)) == (target, 1)
            continue
        if handling is Handling.HAND_ON:
            assert effect.sum_before == effect.sum_after
            expected = Fraction(
                target * sum(n < first or (until is not None and n >= until) for n in range(start, ends))
            )
        else:
            assert len(effect.targets) == 1
            expected = target * sum(
                (_strength(kind, n, first, until, shares) for n in range(start, ends)), start=Fraction(0)
            )
        assert abs(kept - expected / length) < 1
    changed = [each.stored.id for each in plan.changed]
    assert len(changed) == len(set(changed))


def _strength(kind: MoveKind, n: int, first: int, until: int | None, shares: list[int]) -> Fraction:
    """How much of a person is there on a day."""
    if kind in (MoveKind.HIRE, MoveKind.RAMP):
        if n < first:
            return Fraction(0 if kind is MoveKind.HIRE else 1)
        today, start = day(n), day(first)
        month = (today.year - start.year) * 12 + today.month - start.month
        # The first day lies no later in any month than the month is long, or the month before goes on to its end.
        last = (date(today.year + today.month // 12, today.month % 12 + 1, 1) - timedelta(days=1)).day
        if today.day < min(start.day, last):
            month -= 1
        return Fraction(shares[month], 4) if month < len(shares) else Fraction(1)
    return Fraction(n < first or (until is not None and n >= until))
