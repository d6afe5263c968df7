"""What becomes of earnings on the way to a person's pay: draws, guarantees, holdback, caps, clawback, and their order.

The rules of a plan stand beside its components and are part of what is approved. They are about one person on one
plan in one pay period: a fiscal month of the tenant. Amounts are in the plan's currency. Rules that say nothing pay
what was earned.
"""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from services.incentives.plans.domain.crediting import PLAIN_CREDITING, CreditingRules
from shared.kernel.deals import CUSTOM_FAMILY, DEAL_FIELDS
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import FieldType
from shared.kernel.money import format_amount, round_to_minor_unit

PAY_PERIODS_MAX: Final = 120
MONTHS_MAX: Final = 120
_WHOLE: Final = Decimal(100)


class DrawKind(StrEnum):
    """What becomes of what a draw pays above what was earned."""

    RECOVERABLE = "recoverable"
    """It is owed, and recovered from what is earned later."""
    NON_RECOVERABLE = "non_recoverable"
    """It is given."""
    RECOVERABLE_THEN_FORGIVEN = "recoverable_then_forgiven"
    """It is owed, and what is not recovered after `forgiven_after` pay periods is given."""


@dataclass(frozen=True, slots=True)
class Draw:
    """At least `amount` is paid each pay period: pay = max(earned − recovered, amount), and the difference is advanced.

    What was advanced is recovered from what is earned above `minimum`, of which at most `recovery_share` percent in one
    pay period, and not before `recovery_delay` further pay periods have passed; the oldest advance first. `periods`
    is for how many pay periods of an assignment there is a draw, from its first on; None is as long as the rules are in
    force. What is owed then is still recovered.
    """

    kind: DrawKind
    amount: Decimal
    minimum: Decimal | None = None
    """What recovery leaves of the pay at least; None is the draw itself."""
    recovery_delay: int = 0
    recovery_share: Decimal = _WHOLE
    forgiven_after: int | None = None
    periods: int | None = None

    def __post_init__(self) -> None:
        _check_above_zero(self.amount, "/amount")
        is_owed = self.kind is not DrawKind.NON_RECOVERABLE
        if not is_owed:
            for name, is_said in (
                ("minimum", self.minimum is not None),
                ("recovery_delay", self.recovery_delay != 0),
                ("recovery_share", self.recovery_share != _WHOLE),
            ):
                if is_said:
                    raise InvalidInput.field(f"/{name}", "is of what nobody recovers", "a recoverable draw, or nothing")
        if self.minimum is not None and self.minimum < self.amount:
            raise InvalidInput.field(
                "/minimum",
                f"{format_amount(self.minimum)} is below the draw, which is always paid",
                f"at least {format_amount(self.amount)}",
            )
        if not 0 <= self.recovery_delay <= PAY_PERIODS_MAX:
            raise InvalidInput.field("/recovery_delay", "is out of range", f"0 to {PAY_PERIODS_MAX} pay periods")
        _check_percent(self.recovery_share, "/recovery_share")
        if (self.kind is DrawKind.RECOVERABLE_THEN_FORGIVEN) != (self.forgiven_after is not None):
            raise InvalidInput.field(
                "/forgiven_after",
                "is left out" if self.forgiven_after is None else "is of what is never forgiven",
                f"with {DrawKind.RECOVERABLE_THEN_FORGIVEN} a number of pay periods, else nothing",
            )
        if self.forgiven_after is not None:
            lowest = self.recovery_delay + 1
            if not lowest <= self.forgiven_after <= PAY_PERIODS_MAX:
                raise InvalidInput.field(
                    "/forgiven_after",
                    f"is {self.forgiven_after}, with recovery delayed by {self.recovery_delay}",
                    f"{lowest} to {PAY_PERIODS_MAX} pay periods",
                )
        _check_periods(self.periods)

    @property
    def recovery_floor(self) -> Decimal:
        """What recovery leaves of the pay at least."""
        return self.amount if self.minimum is None else self.minimum


@dataclass(frozen=True, slots=True)
class Guarantee:
    """At least `amount` is paid in each of the first `periods` pay periods of an assignment, and nothing of it is owed.

    None for `periods` is as long as the rules are in force.
    """

    amount: Decimal
    periods: int | None = None

    def __post_init__(self) -> None:
        _check_above_zero(self.amount, "/amount")
        _check_periods(self.periods)


class Release(StrEnum):
    """When what was held back is paid."""

    DEAL_PAID = "deal_paid"
    """When the deal it was earned on is paid in full. What is not earned on a deal is not held back."""
    AFTER_PERIODS = "after_periods"
    """So many pay periods after the one it was earned in."""


@dataclass(frozen=True, slots=True)
class Holdback:
    """`percent` of what is earned is held back and released later; of a deal that is taken back nothing is released."""

    percent: Decimal
    release: Release
    periods: int | None = None
    components: tuple[str, ...] = ()
    """Of these components only; none is all of them."""

    def __post_init__(self) -> None:
        _check_percent(self.percent, "/percent")
        if (self.release is Release.AFTER_PERIODS) != (self.periods is not None):
            raise InvalidInput.field(
                "/periods",
                "is left out" if self.periods is None else "is of what waits for the deal's payment",
                f"with {Release.AFTER_PERIODS} a number of pay periods, else nothing",
            )
        _check_periods(self.periods)


@dataclass(frozen=True, slots=True)
class PersonCap:
    """At most `period` is paid in a pay period and at most `year` in a fiscal year, counting this plan's pay alone.

    With `carry_excess` what is above stays owed to the person and is paid when there is room; else it is forfeited.
    """

    period: Decimal | None = None
    year: Decimal | None = None
    carry_excess: bool = False

    def __post_init__(self) -> None:
        if self.period is None and self.year is None:
            raise InvalidInput.field("", "caps nothing", "period, year or both")
        for name, amount in (("period", self.period), ("year", self.year)):
            if amount is not None:
                _check_above_zero(amount, f"/{name}")
        if self.period is not None and self.year is not None and self.year < self.period:
            raise InvalidInput.field(
                "/year", "is below the cap of one pay period", f"at least {format_amount(self.period)}"
            )


class ClawbackPolicy(StrEnum):
    """How much of what was earned in a closed period is taken back when its deal shrinks or goes away."""

    FULL = "full"
    """All of what is not earned any more."""
    NONE = "none"
    """Nothing."""
    PART = "part"
    """`percent` of it."""
    PRO_RATA = "pro_rata"
    """The share of the deal's term that was not served: of 12 months 7 where it ended after 5."""


@dataclass(frozen=True, slots=True)
class Clawback:
    """What is taken back of periods that are closed; what is open is earned anew and needs no clawback.

    The term of `pro_rata` is `months`, or the number of months that the deal states in its custom field `term_field`,
    from the day the deal counted on; a month that was begun counts as served. Nothing is taken back after
    `within_months` months from that day; None is never too late.
    """

    policy: ClawbackPolicy = ClawbackPolicy.FULL
    percent: Decimal | None = None
    months: int | None = None
    term_field: str | None = None
    within_months: int | None = None

    def __post_init__(self) -> None:
        if (self.policy is ClawbackPolicy.PART) != (self.percent is not None):
            raise InvalidInput.field(
                "/percent",
                "is left out" if self.percent is None else f"is of no use with {self.policy}",
                f"with {ClawbackPolicy.PART} the percent that is taken back, else nothing",
            )
        if self.percent is not None:
            _check_percent(self.percent, "/percent")
        terms = [each is not None for each in (self.months, self.term_field)]
        if terms.count(True) != (1 if self.policy is ClawbackPolicy.PRO_RATA else 0):
            raise InvalidInput.field(
                "/months",
                f"the term is said {terms.count(True)} times with {self.policy}",
                f"with {ClawbackPolicy.PRO_RATA} either months or term_field, else nothing",
            )
        if self.term_field is not None:
            _check_term_field(self.term_field, "/term_field")
        for name, months in (("months", self.months), ("within_months", self.within_months)):
            if months is not None and not 1 <= months <= MONTHS_MAX:
                raise InvalidInput.field(f"/{name}", "is out of range", f"1 to {MONTHS_MAX}")
        if self.within_months is not None and self.policy is ClawbackPolicy.NONE:
            raise InvalidInput.field("/within_months", "is of what is never taken back", "nothing")


class NegativeBalance(StrEnum):
    """What becomes of a pay period in which more is taken back than was earned."""

    CARRY = "carry"
    """The person owes it, and later pay periods are paid less."""
    FORGIVE = "forgive"
    """The pay is 0, and nothing is owed."""


class RoundingMode(StrEnum):
    """Which multiple of the step a pay becomes."""

    HALF_UP = "half_up"
    """The nearest, away from zero on a tie."""
    HALF_EVEN = "half_even"
    UP = "up"
    """Away from zero."""
    DOWN = "down"
    """Towards zero."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """The pay of a period is a multiple of `to`; what rounding leaves or adds is carried to the next pay period."""

    to: Decimal
    mode: RoundingMode = RoundingMode.HALF_UP

    def __post_init__(self) -> None:
        _check_above_zero(self.to, "/to")


class Deduction(StrEnum):
    """What takes something from the pay of a period, each from what those before it left."""

    BALANCE = "balance"
    """The negative balance that was carried."""
    CLAWBACK = "clawback"
    CAP = "cap"
    HOLDBACK = "holdback"
    RECOVERY = "recovery"
    """Of what a draw advanced."""


DEDUCTIONS: Final = tuple(Deduction)
"""The order where a plan says none."""


@dataclass(frozen=True, slots=True)
class PeriodRules:
    """All rules of a plan version between what was earned and what is paid, and whose a deal is that changes hands.

    A draw and a guarantee top up what the deductions left, and rounding comes last.
    """

    draw: Draw | None = None
    guarantee: Guarantee | None = None
    holdback: Holdback | None = None
    cap: PersonCap | None = None
    clawback: Clawback = Clawback()
    negative_balance: NegativeBalance = NegativeBalance.CARRY
    rounding: Rounding | None = None
    deductions: tuple[Deduction, ...] = DEDUCTIONS
    crediting: CreditingRules = PLAIN_CREDITING
    """Who is credited with deals that change hands, before anything is earned."""

    def __post_init__(self) -> None:
        if sorted(self.deductions) != sorted(DEDUCTIONS):
            raise InvalidInput.field(
                "/deductions", "does not name each deduction once", f"{', '.join(DEDUCTIONS)} in any order"
            )
        cap = None if self.cap is None else self.cap.period
        for name, floor in (("draw", self.draw), ("guarantee", self.guarantee)):
            if cap is not None and floor is not None and floor.amount > cap:
                raise InvalidInput.field(
                    f"/{name}/amount", "is above the cap of a pay period", f"at most {format_amount(cap)}"
                )


NO_RULES: Final = PeriodRules()
"""Rules that say nothing."""


def check_rules(rules: PeriodRules, component_keys: Collection[str], currency: str) -> None:
    """Raise InvalidInput unless these can be the rules of a version with those components, in `currency`."""
    if rules.holdback is not None:
        for index, key in enumerate(rules.holdback.components):
            if key not in component_keys:
                raise InvalidInput.field(
                    f"/rules/holdback/components/{index}",
                    f"{key!r} is no component of these terms",
                    " or ".join(sorted(component_keys)),
                )
    if rules.rounding is not None and rules.rounding.to != round_to_minor_unit(rules.rounding.to, currency):
        raise InvalidInput.field(
            "/rules/rounding/to",
            f"{format_amount(rules.rounding.to)} is less than the smallest amount of {currency}",
            "a multiple of it",
        )


def _check_above_zero(amount: Decimal, pointer: str) -> None:
    if amount <= 0:
        raise InvalidInput.field(pointer, f"is {format_amount(amount)}", "an amount above 0")


def _check_percent(percent: Decimal, pointer: str) -> None:
    if not 0 < percent <= _WHOLE:
        raise InvalidInput.field(pointer, f"is {format_amount(percent)}", "above 0, up to 100")


def _check_periods(periods: int | None) -> None:
    if periods is not None and not 1 <= periods <= PAY_PERIODS_MAX:
        raise InvalidInput.field("/periods", f"is {periods}", f"1 to {PAY_PERIODS_MAX} pay periods")


def _check_term_field(name: str, pointer: str) -> None:
    if DEAL_FIELDS.type_of(name) is not FieldType.TEXT or not name.startswith(CUSTOM_FAMILY):
        raise InvalidInput.field(
            pointer, f"{name!r} is no custom field of deals", f"such as {CUSTOM_FAMILY}term_months"
        )
