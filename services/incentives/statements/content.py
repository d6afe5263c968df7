"""What is kept of statements, as JSON: what a pay period paid somebody as of its cut-off, and what runs made of it.

The bytes are kept, and never written anew. What a later release adds has a default, so that what was kept is read.
"""

from datetime import date
from typing import Final, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter

from services.incentives.earnings.domain.comparison import CauseKind
from services.incentives.payouts.domain.pay import LineKind
from services.incentives.payouts.domain.runs import RunStatus
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.statements.domain.pay import PaidTotal, PeriodPay, StatedCorrection, StatedPayout
from services.incentives.statements.domain.statement import Payee, PersonStatement, StatedEarning
from shared.contracts.base import Currency, Exact


class StatedDays(BaseModel):
    """The first day, and the first day after."""

    start: date
    end: date


class PayeeContent(BaseModel):
    """Whose statement it is."""

    person_id: UUID
    name: str | None = Field(description="Null where the organisation has not published the person.")
    employee_number: str | None = Field(description="What payroll knows the person by.")


class StatedSliceContent(BaseModel):
    """A part of what was credited, at the rate of its tier, counted from 1."""

    tier: int
    value: Exact
    rate: Exact
    step: Exact = Field(description="Paid for reaching the tier.")


class StatedConversionContent(BaseModel):
    """What the deal is worth in its own currency, and the rate it was converted at."""

    amount: Exact
    currency: str
    rate: Exact | None


class StatedMultiplierContent(BaseModel):
    """A multiplier that applies."""

    name: str
    factor: Exact
    is_of_pay: bool = Field(description="Whether it is one of pay rather than of what counts.")


class WordsContent(BaseModel):
    """A sentence."""

    en: str
    zh: str


class StatedStepContent(BaseModel):
    """What became of the pay of all lines together."""

    words: WordsContent
    amount: Exact


class StatedLineContent(BaseModel):
    """What of a deal counts on a day, and what it brought in."""

    deal_id: UUID
    source: str | None
    external_id: str | None = Field(description="What the CRM knows the deal by.")
    deal_name: str | None
    customer: str | None
    day: date
    percent: Exact
    value: Exact
    conversion: StatedConversionContent | None
    slices: list[StatedSliceContent]
    rerated: Exact
    amount: Exact
    multipliers: list[StatedMultiplierContent]
    left_out: Exact
    multiplied: Exact
    withheld: Exact


class StatedTierContent(BaseModel):
    """A tier, and what the period has in it."""

    start: Exact
    rate: Exact
    value: Exact
    amount: Exact
    is_exclusive: bool = Field(description="Whether the start belongs to the tier below.")


class StatedEarningContent(BaseModel):
    """What was earned on a component in a period, and what the pay period paid for it."""

    earning_id: UUID
    plan_name: str
    plan_version: int
    component: str
    name: str
    kind: str | None
    is_money: bool
    period: StatedDays
    currency: Currency
    measure: Exact
    quota: Exact | None
    quota_gap: QuotaGap | None
    attainment: Exact | None
    earned: Exact
    owed: Exact = Field(description="By the ledger.")
    tiers: list[StatedTierContent]
    lines: list[StatedLineContent]
    steps: list[StatedStepContent]
    is_stale: bool
    changed_at: AwareDatetime
    before: Exact
    rerated_before: Exact
    as_paid: Exact | None = Field(description="What the pay period paid for it.")


class StatedDealContent(BaseModel):
    """A deal by the ids and the name that people know it by."""

    id: UUID
    source: str | None
    external_id: str | None
    name: str | None


class StatedCorrectionContent(BaseModel):
    """What was posted in a pay period for an earlier one, with what made it."""

    earning_id: UUID
    plan_name: str
    component: str
    origin: StatedDays = Field(description="The period it belongs to.")
    posted_in: StatedDays
    posted_at: AwareDatetime
    amount: Exact
    currency: Currency
    cause: CauseKind
    deal: StatedDealContent | None
    changes: list[str] = Field(description="As the ledger names them.")
    by: str | None = Field(description="Who approved it. Null where it was not done here.")


class PaidTotalContent(BaseModel):
    """What the pay period paid in one currency."""

    currency: Currency
    for_due: Exact = Field(description="For what was due in it.")
    for_earlier: Exact = Field(description="For what was due earlier.")


class StatedPayLineContent(BaseModel):
    """One step from what was earned to what is paid."""

    kind: LineKind
    amount: Exact


class StatedPayoutContent(BaseModel):
    """What a payout run paid by a plan, and what it left for later."""

    run_number: int
    status: RunStatus
    period: StatedDays
    plan_name: str
    currency: Currency
    earned: Exact
    paid: Exact
    lines: list[StatedPayLineContent]
    carried: Exact
    owed: Exact = Field(description="Of draws.")
    held_back: Exact
    paid_on: date | None = Field(description="When payroll had paid it.")
    reverses: int | None = Field(description="The number of the run that this one undoes.")


class EarnedContent(BaseModel):
    """What a pay period paid somebody for, line by line, as of its cut-off."""

    format: Literal[1] = 1
    pay_period_id: UUID
    period: StatedDays
    cut_off_at: AwareDatetime | None
    payee: PayeeContent
    earnings: list[StatedEarningContent]
    totals: list[PaidTotalContent]
    earlier: list[StatedCorrectionContent]


class PaidContent(BaseModel):
    """What payout runs made of it, as of the closing of the pay period. `earned` is the digest of the part above."""

    format: Literal[1] = 1
    pay_period_id: UUID
    person_id: UUID
    earned: str
    payouts: list[StatedPayoutContent]


_EARNINGS: Final = TypeAdapter(list[StatedEarning])
_CORRECTIONS: Final = TypeAdapter(list[StatedCorrection])
_PAYOUTS: Final = TypeAdapter(list[StatedPayout])


def earned_content(statement: PersonStatement, pay: PeriodPay) -> EarnedContent:
    """What is kept of a statement at the cut-off of its pay period."""
    return EarnedContent.model_validate(
        {
            "pay_period_id": pay.pay_period_id,
            "period": StatedDays(start=statement.start, end=statement.end),
            "cut_off_at": pay.cut_off_at,
            "payee": statement.payee,
            "earnings": statement.earnings,
            "totals": pay.totals,
            "earlier": pay.earlier,
        },
        from_attributes=True,
    )


def paid_content(pay_period_id: UUID, person_id: UUID, earned: str, payouts: list[StatedPayout]) -> PaidContent:
    """What is kept of the payouts at the closing of the pay period."""
    return PaidContent.model_validate(
        {"pay_period_id": pay_period_id, "person_id": person_id, "earned": earned, "payouts": payouts},
        from_attributes=True,
    )


def kept_statement(earned: EarnedContent, paid: PaidContent | None, digest: str) -> PersonStatement:
    """The statement that was kept. While the payouts are not, it has none."""
    totals = [PaidTotal(each.currency, each.for_due, each.for_earlier, each.for_due) for each in earned.totals]
    earlier = _CORRECTIONS.validate_python([each.model_dump() for each in earned.earlier])
    return PersonStatement(
        Payee(earned.payee.person_id, earned.payee.name, earned.payee.employee_number),
        earned.period.start,
        earned.period.end,
        _EARNINGS.validate_python([each.model_dump() for each in earned.earnings]),
        payouts=[] if paid is None else _PAYOUTS.validate_python([each.model_dump() for each in paid.payouts]),
        pay=PeriodPay(earned.pay_period_id, earned.cut_off_at, totals, earlier, digest=digest),
    )
