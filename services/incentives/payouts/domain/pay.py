"""What one person is paid by one plan in one pay period: what was earned, less deductions, with what tops it up.

    paid = Σ lines, each in the person's favour where it is above 0

What is not paid now is carried in a `PayState`: what a draw advanced and is owed, what is held back, what a cap left,
a negative balance, what rounding left. So over any number of pay periods, in every one of them,

    Σ paid + carried = Σ earned + Σ given − Σ forfeited

where carried = held + excess + rounding − owed advances − negative balance; given is what the company pays beyond what
was earned (waived, forgiven, guaranteed), and forfeited what a cap without carrying cuts off. The words and mechanics
are those of Siebel's and Xactly's public documents on draws, holds and caps.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.incentives.plans.domain.rules import (
    Clawback,
    ClawbackPolicy,
    Deduction,
    Draw,
    DrawKind,
    Guarantee,
    Holdback,
    NegativeBalance,
    PeriodRules,
    PersonCap,
    Release,
    Rounding,
    RoundingMode,
)
from shared.kernel.money import round_to_minor_unit

_ZERO: Final = Decimal(0)
_WHOLE: Final = Decimal(100)
_MODES: Final[Mapping[RoundingMode, str]] = {
    RoundingMode.HALF_UP: ROUND_HALF_UP,
    RoundingMode.HALF_EVEN: ROUND_HALF_EVEN,
    RoundingMode.UP: ROUND_UP,
    RoundingMode.DOWN: ROUND_DOWN,
}


class LineKind(StrEnum):
    """What a line of a pay is."""

    EARNED = "earned"
    ADJUSTED = "adjusted"
    """A manual adjustment that was approved."""
    WAIVED = "waived"
    """Of what a deal of a closed period does not earn any more: what the clawback policy lets the person keep."""
    BALANCE = "balance"
    """The negative balance of the pay period before."""
    EXCESS = "excess"
    """What a cap left over in earlier pay periods."""
    CAPPED = "capped"
    """What is above the cap, and stays for later."""
    FORFEITED = "forfeited"
    """What is above the cap, and is not paid."""
    HELD_BACK = "held_back"
    RELEASED = "released"
    """What was held back and is paid now, or was held back of a deal that was taken back."""
    RECOVERED = "recovered"
    """Of what a draw advanced in earlier pay periods."""
    CARRIED = "carried"
    """More was taken back than earned: the person owes it from now on."""
    FORGIVEN = "forgiven"
    """More was taken back than earned, and nobody asks for it."""
    GUARANTEED = "guaranteed"
    """What a guarantee or a draw that nobody recovers adds."""
    ADVANCED = "advanced"
    """What a draw adds, which is owed."""
    ROUNDED = "rounded"
    """What rounding of this pay period adds or leaves, with what that of the one before left."""


@dataclass(frozen=True, slots=True)
class PayLine:
    """One step from what was earned to what is paid; above 0 it is in the person's favour."""

    kind: LineKind
    amount: Decimal


@dataclass(frozen=True, slots=True)
class EarnedAmount:
    """What a deal, or nothing but the terms, brought in or took back in this pay period, in whole minor units.

    `is_of_closed` says that it belongs to a period that is closed: what is taken back there is a clawback. For that,
    `term_months` is the deal's whole term, as the rules read it, and `months_served` how many had begun when it ended.
    """

    amount: Decimal
    component: str
    deal_id: UUID | None
    is_of_closed: bool = False
    term_months: int | None = None
    months_served: int = 0

    @property
    def is_clawback(self) -> bool:
        """Whether it takes back what a closed period had."""
        return self.is_of_closed and self.amount < 0


@dataclass(frozen=True, slots=True)
class Advance:
    """What a draw advanced in a pay period and is still owed."""

    number: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Held:
    """What is held back of a deal, or of pay without one, since a pay period."""

    number: int
    deal_id: UUID | None
    amount: Decimal


@dataclass(frozen=True, slots=True)
class PayState:
    """What one pay period leaves to the next, of one person on one plan.

    `advances` are owed by the person, the oldest first; `negative` too. `held` and `excess` are owed to the person.
    `rounding` is what the person is owed (below 0: owes) by rounding, `paid_in_year` what was paid in the fiscal year.
    """

    advances: tuple[Advance, ...] = ()
    held: tuple[Held, ...] = ()
    excess: Decimal = _ZERO
    negative: Decimal = _ZERO
    rounding: Decimal = _ZERO
    paid_in_year: Decimal = _ZERO

    @property
    def owed(self) -> Decimal:
        """What the person owes of draws."""
        return sum((advance.amount for advance in self.advances), _ZERO)

    @property
    def held_back(self) -> Decimal:
        """What is held back."""
        return sum((held.amount for held in self.held), _ZERO)

    @property
    def carried(self) -> Decimal:
        """What the company owes the person after this pay period; below 0 the person owes it."""
        return self.held_back + self.excess + self.rounding - self.owed - self.negative


@dataclass(frozen=True, slots=True)
class PayInput:
    """One pay period: the `number`-th of the assignment, counted from 1, and what happened in it.

    `paid_deals` are those of the deals held back for that have been paid in full by now.
    """

    number: int
    earned: Sequence[EarnedAmount]
    adjusted: Decimal = _ZERO
    paid_deals: Collection[UUID] = ()
    starts_year: bool = False


@dataclass(frozen=True, slots=True)
class PersonPay:
    """What is paid, every step to it, and what is left to the next pay period."""

    paid: Decimal
    lines: tuple[PayLine, ...]
    state: PayState

    def line(self, kind: LineKind) -> Decimal:
        """What the lines of a kind come to."""
        return sum((line.amount for line in self.lines if line.kind is kind), _ZERO)


def pay_of(rules: PeriodRules, currency: str, state: PayState, period: PayInput) -> PersonPay:
    """The pay of a person by a plan in a pay period, after the state the one before left.

    Every line is in whole minor units of the currency.
    """
    run = _Run(rules, currency, replace(state, paid_in_year=_ZERO) if period.starts_year else state, period)
    for deduction in rules.deductions:
        match deduction:
            case Deduction.BALANCE:
                run.take_balance()
            case Deduction.CLAWBACK:
                run.take_clawbacks(rules.clawback)
            case Deduction.CAP:
                run.cap(rules.cap)
            case Deduction.HOLDBACK:
                run.hold_back(rules.holdback)
            case Deduction.RECOVERY:
                run.recover(rules.draw)
    run.settle_negative(rules.negative_balance)
    run.guarantee(rules.guarantee)
    run.draw(rules.draw)
    run.round(rules.rounding)
    return run.finished()


class _Run:
    """The steps of one pay, each of which moves `pay` and what is carried."""

    def __init__(self, rules: PeriodRules, currency: str, state: PayState, period: PayInput) -> None:
        self._rules = rules
        self._currency = currency
        self._period = period
        self._before = state
        self._state = state
        self._lines: list[PayLine] = []
        self.pay = _ZERO
        self._add(LineKind.EARNED, sum((each.amount for each in period.earned if not each.is_clawback), _ZERO))
        self._add(LineKind.ADJUSTED, period.adjusted)

    def take_balance(self) -> None:
        """The negative balance of the pay period before is taken from this one."""
        self._add(LineKind.BALANCE, -self._state.negative)
        self._state = replace(self._state, negative=_ZERO)

    def take_clawbacks(self, clawback: Clawback) -> None:
        """What is not earned any more of closed periods is taken back, as far as the policy has it."""
        taken = [each for each in self._period.earned if each.is_clawback]
        self._add(LineKind.EARNED, sum((each.amount for each in taken), _ZERO))
        self._add(LineKind.WAIVED, sum((self._waived(clawback, each) for each in taken), _ZERO))

    def cap(self, cap: PersonCap | None) -> None:
        """What is above the cap waits, or is lost; what waited is paid where there is room."""
        self._add(LineKind.EXCESS, self._state.excess)
        self._state = replace(self._state, excess=_ZERO)
        if cap is None:
            return
        room = [] if cap.period is None else [cap.period]
        if cap.year is not None:
            room.append(max(_ZERO, cap.year - self._state.paid_in_year))
        above = self.pay - min(room)
        if above > 0:
            self._add(LineKind.CAPPED if cap.carry_excess else LineKind.FORFEITED, -above)
            if cap.carry_excess:
                self._state = replace(self._state, excess=above)

    def hold_back(self, holdback: Holdback | None) -> None:
        """A part of what was earned waits; what waited is released, or goes with the deal that was taken back."""
        held = list(self._state.held)
        released = _ZERO
        if holdback is not None:
            for earned in _by_deal(self._period.earned, holdback):
                share = round_to_minor_unit(earned.amount * holdback.percent / _WHOLE, self._currency)
                if earned.amount > 0:
                    held.append(Held(self._period.number, earned.deal_id, share))
                    self._add(LineKind.HELD_BACK, -share)
                else:
                    held, freed = _freed(held, earned.deal_id, -share)
                    released += freed
        kept = [each for each in held if not self._is_due(holdback, each)]
        released += sum((each.amount for each in held), _ZERO) - sum((each.amount for each in kept), _ZERO)
        self._add(LineKind.RELEASED, released)
        self._state = replace(self._state, held=tuple(kept))

    def recover(self, draw: Draw | None) -> None:
        """What draws advanced is taken from what is above the floor, the oldest advance first."""
        advances = self._state.advances
        if draw is None or draw.kind is DrawKind.NON_RECOVERABLE:
            return
        due = sum((each.amount for each in advances if each.number + draw.recovery_delay < self._period.number), _ZERO)
        above = max(_ZERO, self.pay - draw.recovery_floor)
        share = round_to_minor_unit(above * draw.recovery_share / _WHOLE, self._currency)
        recovered = min(due, share, above)
        self._add(LineKind.RECOVERED, -recovered)
        self._state = replace(self._state, advances=_reduced(advances, recovered))

    def settle_negative(self, policy: NegativeBalance) -> None:
        """Nobody is paid less than nothing: the rest is owed, or forgiven."""
        missing = -self.pay
        if missing <= 0:
            return
        if policy is NegativeBalance.CARRY:
            self._add(LineKind.CARRIED, missing)
            self._state = replace(self._state, negative=missing)
        else:
            self._add(LineKind.FORGIVEN, missing)

    def guarantee(self, guarantee: Guarantee | None) -> None:
        """The pay is at least the guarantee."""
        if guarantee is not None and _is_within(guarantee.periods, self._period.number):
            self._add(LineKind.GUARANTEED, max(_ZERO, guarantee.amount - self.pay))

    def draw(self, draw: Draw | None) -> None:
        """The pay is at least the draw; what that adds is owed, unless it is given."""
        if draw is None:
            return
        if _is_within(draw.periods, self._period.number):
            missing = max(_ZERO, draw.amount - self.pay)
            if draw.kind is DrawKind.NON_RECOVERABLE:
                self._add(LineKind.GUARANTEED, missing)
            elif missing:
                self._add(LineKind.ADVANCED, missing)
                advance = Advance(self._period.number, missing)
                self._state = replace(self._state, advances=(*self._state.advances, advance))
        if draw.forgiven_after is not None:
            lasting = tuple(
                each for each in self._state.advances if each.number + draw.forgiven_after > self._period.number
            )
            self._state = replace(self._state, advances=lasting)

    def round(self, rounding: Rounding | None) -> None:
        """The pay is a multiple of the step; the difference is carried, above 0 and below."""
        exact = self.pay + self._state.rounding
        if rounding is None:
            rounded = max(_ZERO, exact)
        else:
            steps = (exact / rounding.to).quantize(Decimal(1), rounding=_MODES[rounding.mode])
            rounded = max(_ZERO, steps * rounding.to)
        self._add(LineKind.ROUNDED, rounded - self.pay)
        self._state = replace(self._state, rounding=exact - rounded)

    def finished(self) -> PersonPay:
        """The pay with its lines, those of 0 left out."""
        state = replace(self._state, paid_in_year=self._state.paid_in_year + self.pay)
        return PersonPay(self.pay, tuple(line for line in self._lines if line.amount), state)

    def _add(self, kind: LineKind, amount: Decimal) -> None:
        self.pay += amount
        self._lines.append(PayLine(kind, amount))

    def _waived(self, clawback: Clawback, taken: EarnedAmount) -> Decimal:
        """What a person keeps of an amount that is taken back, which is below 0."""
        whole = -taken.amount
        match clawback.policy:
            case ClawbackPolicy.NONE:
                return whole
            case _ if clawback.within_months is not None and taken.months_served > clawback.within_months:
                return whole
            case ClawbackPolicy.PART if clawback.percent is not None:
                share = round_to_minor_unit(whole * clawback.percent / _WHOLE, self._currency)
                return whole - share
            case ClawbackPolicy.PRO_RATA if taken.term_months:
                unserved = max(0, taken.term_months - taken.months_served)
                share = round_to_minor_unit(whole * unserved / taken.term_months, self._currency)
                return whole - share
            case _:
                return _ZERO

    def _is_due(self, holdback: Holdback | None, held: Held) -> bool:
        """Whether what is held back is released now: by the rule, or because there is none any more."""
        if holdback is None:
            return True
        if holdback.release is Release.DEAL_PAID or holdback.periods is None:
            return held.deal_id in self._period.paid_deals
        return held.number + holdback.periods <= self._period.number


def _is_within(periods: int | None, number: int) -> bool:
    return periods is None or number <= periods


def _by_deal(earned: Iterable[EarnedAmount], holdback: Holdback) -> list[EarnedAmount]:
    """What is held back of, deal by deal, in the order the deals appear; without those that came to 0."""
    found: dict[UUID | None, EarnedAmount] = {}
    for each in earned:
        if holdback.components and each.component not in holdback.components:
            continue
        if each.deal_id is None and holdback.release is Release.DEAL_PAID:
            continue
        known = found.get(each.deal_id)
        found[each.deal_id] = each if known is None else replace(each, amount=known.amount + each.amount)
    return [each for each in found.values() if each.amount]


def _freed(held: Sequence[Held], deal_id: UUID | None, amount: Decimal) -> tuple[list[Held], Decimal]:
    """What is held back with up to `amount` less of a deal, and how much less that is."""
    left, kept = amount, []
    for each in held:
        taken = min(left, each.amount) if each.deal_id == deal_id else _ZERO
        left -= taken
        if each.amount > taken:
            kept.append(replace(each, amount=each.amount - taken))
    return kept, amount - left


def _reduced(advances: Iterable[Advance], recovered: Decimal) -> tuple[Advance, ...]:
    """The advances without what was recovered, the oldest first."""
    left, kept = recovered, []
    for each in advances:
        taken = min(left, each.amount)
        left -= taken
        if each.amount > taken:
            kept.append(replace(each, amount=each.amount - taken))
    return tuple(kept)
