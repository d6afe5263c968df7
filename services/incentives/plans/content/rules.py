"""The JSON form of the rules between what was earned and what is paid."""

from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field, JsonValue, TypeAdapter

from services.incentives.plans.content.base import Content, Key
from services.incentives.plans.domain.components import COMPONENTS_MAX
from services.incentives.plans.domain.crediting import (
    HOUSE_ACCOUNTS_MAX,
    LEAVER_DAYS_MAX,
    CreditedOwner,
    CreditingRules,
    Inheritor,
    LeaverRule,
)
from services.incentives.plans.domain.rules import (
    DEDUCTIONS,
    MONTHS_MAX,
    PAY_PERIODS_MAX,
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
from shared.contracts.base import Amount
from shared.kernel.errors import InvalidInput

PayPeriods = Annotated[int, Field(ge=1, le=PAY_PERIODS_MAX)]
Months = Annotated[int, Field(ge=1, le=MONTHS_MAX)]


class DrawContent(Content):
    """At least so much is paid each pay period, and what was not earned of it is advanced."""

    kind: DrawKind = Field(
        description="`recoverable`: what was advanced is owed. `non_recoverable`: it is given. "
        "`recoverable_then_forgiven`: what is not recovered after `forgiven_after` pay periods is given."
    )
    amount: Amount = Field(description="Of each pay period.", examples=["2000"])
    minimum: Amount | None = Field(
        None, description="What recovery leaves of the pay at least; left out, the draw.", examples=["2500"]
    )
    recovery_delay: int = Field(
        0, ge=0, le=PAY_PERIODS_MAX, description="How many pay periods pass before an advance is recovered."
    )
    recovery_share: Amount = Field(
        Decimal(100), description="Percent of what is earned above the minimum that recovery takes at most."
    )
    forgiven_after: PayPeriods | None = Field(None, description="After how many pay periods an advance is given.")
    periods: PayPeriods | None = Field(
        None, description="For how many pay periods of an assignment there is a draw; left out, for all."
    )


class GuaranteeContent(Content):
    """At least so much is paid, and nothing of it is owed."""

    amount: Amount = Field(description="Of each pay period.", examples=["3000"])
    periods: PayPeriods | None = Field(
        None, description="For how many pay periods of an assignment, from its first on; left out, for all."
    )


class HoldbackContent(Content):
    """A part of what is earned is paid later."""

    percent: Amount = Field(examples=["30"])
    release: Release = Field(
        description="`deal_paid`: when the deal is paid in full. `after_periods`: after `periods` pay periods."
    )
    periods: PayPeriods | None = None
    components: list[Key] = Field(
        default=[], max_length=COMPONENTS_MAX, description="The components it is held back of; none named, of all."
    )


class PersonCapContent(Content):
    """The most that the plan pays a person."""

    period: Amount | None = Field(None, description="In a pay period.", examples=["10000"])
    year: Amount | None = Field(None, description="In a fiscal year.", examples=["90000"])
    carry_excess: bool = Field(False, description="What is above is paid when there is room; else it is forfeited.")


class ClawbackContent(Content):
    """How much is taken back of what was earned in a closed period on a deal that shrank or went away."""

    policy: ClawbackPolicy = Field(
        ClawbackPolicy.FULL,
        description="`full`: all of it. `none`: nothing. `part`: `percent` of it. `pro_rata`: the share of the deal's "
        "term that was not served.",
    )
    percent: Amount | None = Field(None, description="With `part`.", examples=["50"])
    months: Months | None = Field(None, description="With `pro_rata`, the term of every deal.", examples=[12])
    term_field: str | None = Field(
        None,
        max_length=200,
        description="With `pro_rata`, the custom field of deals with the number of months.",
        examples=["custom.term_months"],
    )
    within_months: Months | None = Field(
        None, description="Nothing is taken back later than this after the day the deal counted on."
    )


class RoundingContent(Content):
    """The pay of a period is a multiple of something; what is left or added is carried."""

    to: Amount = Field(examples=["10"])
    mode: RoundingMode = RoundingMode.HALF_UP


class LeaverContent(Content):
    """Who is credited with the deals that somebody who left had open on the last day."""

    pays: Inheritor = Field(
        Inheritor.NEW_OWNER,
        description="`leaver`: who left, for `days` days, then the new owner. `house`: nobody, for `days` days or for "
        "good. `new_owner`: whoever owns them.",
    )
    days: int | None = Field(None, ge=1, le=LEAVER_DAYS_MAX, description="Days after the last one.", examples=[30])


class CreditingRulesContent(Content):
    """Who is credited with deals that change hands."""

    owner: CreditedOwner = Field(
        CreditedOwner.NOW,
        description="`now`: whoever owns a deal now. `on_day`: whoever owned it on the day it counts on, as far as its "
        "versions tell.",
    )
    leaver: LeaverContent = Field(default_factory=lambda: LeaverContent())
    house_accounts: tuple[UUID, ...] = Field(
        default=(), max_length=HOUSE_ACCOUNTS_MAX, description="People, such as a house account, nobody is paid on."
    )


class RulesContent(Content):
    """What becomes of earnings on the way to a person's pay. Left out, what was earned is paid."""

    draw: DrawContent | None = None
    guarantee: GuaranteeContent | None = None
    holdback: HoldbackContent | None = None
    cap: PersonCapContent | None = None
    clawback: ClawbackContent = Field(default_factory=lambda: ClawbackContent())
    negative_balance: NegativeBalance = Field(
        NegativeBalance.CARRY,
        description="Where more is taken back than was earned: `carry`, it is owed; `forgive`, the pay is 0.",
    )
    rounding: RoundingContent | None = None
    deductions: list[Deduction] = Field(
        default=list(DEDUCTIONS), description="The order in which they are taken, each named once."
    )
    crediting: CreditingRulesContent = Field(default_factory=lambda: CreditingRulesContent())


RULES: Final[TypeAdapter[RulesContent]] = TypeAdapter(RulesContent)


def rules_of(content: RulesContent) -> PeriodRules:
    """The rules that are meant, or InvalidInput that points into `/rules`."""
    draw, guarantee, held, cap = content.draw, content.guarantee, content.holdback, content.cap
    clawback, rounding = content.clawback, content.rounding
    at = "/rules"
    try:
        at = "/rules/draw"
        drawn = None if draw is None else Draw(**dict(draw))
        at = "/rules/guarantee"
        guaranteed = None if guarantee is None else Guarantee(**dict(guarantee))
        at = "/rules/holdback"
        holdback = None if held is None else Holdback(held.percent, held.release, held.periods, tuple(held.components))
        at = "/rules/cap"
        capped = None if cap is None else PersonCap(**dict(cap))
        at = "/rules/clawback"
        clawed = Clawback(**dict(clawback))
        at = "/rules/rounding"
        rounded = None if rounding is None else Rounding(**dict(rounding))
        at = "/rules/crediting/leaver"
        leaver = LeaverRule(**dict(content.crediting.leaver))
        at = "/rules/crediting"
        crediting = CreditingRules(content.crediting.owner, leaver, content.crediting.house_accounts)
        at = "/rules"
        return PeriodRules(
            drawn,
            guaranteed,
            holdback,
            capped,
            clawed,
            content.negative_balance,
            rounded,
            tuple(content.deductions),
            crediting,
        )
    except InvalidInput as error:
        raise error.under(at) from None


def rules_content(rules: PeriodRules) -> RulesContent:
    """The content that `rules_of` turns back into equal rules."""
    return RulesContent.model_validate(rules, from_attributes=True)


def rules_json(rules: PeriodRules) -> JsonValue:
    """The content as a JSON document."""
    document: JsonValue = RULES.dump_python(rules_content(rules), mode="json")
    return document
