"""Answers of earnings, explanations and statements."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from services.incentives.credits.domain.credit import CreditChanges, PartInCell
from services.incentives.earnings.domain.attribution import AttributedCredit, AttributedStep
from services.incentives.earnings.domain.cells import StoredCell
from services.incentives.earnings.domain.explanation import Explanation
from services.incentives.earnings.domain.inputs import EXACT, exact_sum
from services.incentives.earnings.domain.kinds.commission import reached_of
from services.incentives.earnings.domain.schedule import Schedule, Slice, value_at
from services.incentives.earnings.domain.steps import StepKind
from services.incentives.earnings.explaining import DealInCell, DealInCells, ExplainedEarning, Statement
from services.incentives.earnings.publishing import earning_event
from services.incentives.ledger.schemas import LedgerTransactionAnswer, delivery_url
from services.incentives.plans.content.components import ComponentContent, component_content
from services.incentives.plans.domain.active_days import DayCount, Prorated
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.components import paid_by_rate
from services.incentives.plans.domain.parameters import MAIN, Multiplier
from shared.contracts.base import Currency, Exact, Posted
from shared.contracts.conversion import ConversionAnswer
from shared.contracts.deals import Deal
from shared.contracts.reasons import ReasonAnswer, WordsAnswer
from shared.http.schemas import example
from shared.kernel.filters import Filter, filter_to_json
from shared.kernel.measures import Counted
from shared.kernel.money import round_to_minor_unit

_EARNING: dict[str, JsonValue] = {
    "id": "01935a00-0000-7000-8000-000000000061",
    "version": 17,
    "person_id": "01935a00-0000-7000-8000-000000000011",
    "assignment_id": "01935a00-0000-7000-8000-000000000062",
    "plan_id": "01935a00-0000-7000-8000-000000000063",
    "plan_version": 1,
    "component": "bookings",
    "start": "2026-01-01",
    "end": "2026-04-01",
    "measure": "187320.5",
    "quota": "250000",
    "attainment": "0.749282",
    "earned": "9366.03",
    "currency": "USD",
    "credits": 41,
    "changed_at": "2026-03-31T18:40:03.120000Z",
}
_LINE: dict[str, JsonValue] = {
    "deal_id": "6f1a2c94-40c5-5a7e-9b7e-0c9d3f0e2b11",
    "external_id": "746",
    "name": "Acme",
    "day": "2026-03-31",
    "percent": "100",
    "value": "187320.5",
    "conversion": {
        "amount": "172700",
        "currency": "EUR",
        "rate": "1.0846583671",
        "stated_on": None,
        "origin": "crm",
    },
    "before": "0",
    "after": "187320.5",
    "slices": [{"tier": 1, "value": "187320.5", "rate": "0.05", "step": "0", "amount": "9366.025"}],
    "rerated": "0",
    "multipliers": [],
    "left_out": "0",
    "multiplied": "0",
    "withheld": "0",
    "amount": "9366.03",
    "deal_version": {
        "modified_at": "2026-03-31T18:40:02Z",
        "sequence": 0,
        "delivery_id": "01935a00-0000-7000-8000-000000000051",
        "delivery_url": "/v1/deals/6f1a2c94-40c5-5a7e-9b7e-0c9d3f0e2b11"
        "/deliveries/01935a00-0000-7000-8000-000000000051",
    },
}

_ZERO: Final = Decimal(0)
_FILTER: Final[TypeAdapter[dict[str, JsonValue]]] = TypeAdapter(dict[str, JsonValue])


class EarningAnswer(BaseModel):
    """What an assignment earned on a component in a period."""

    model_config = example(**_EARNING)

    id: UUID
    version: int
    person_id: UUID
    assignment_id: UUID
    plan_id: UUID
    plan_version: int
    component: str
    start: date
    end: date = Field(description="First day after the period.")
    measure: Exact = Field(description="What was credited, in the measure's unit.")
    quota: Exact | None
    attainment: Exact | None = Field(
        description="measure ÷ quota, unclamped, six decimals, rounded down; null without a quota, or with one of 0."
    )
    earned: Posted = Field(
        description="In units of `currency`, with all its decimals: the balance of its ledger entries."
    )
    currency: Currency
    credits: int = Field(description="How many credits count.")
    changed_at: datetime

    @classmethod
    def of(cls, stored: StoredCell) -> Self:
        """What is published of the cell."""
        return cls.model_validate(earning_event(stored), from_attributes=True)


class SliceAnswer(BaseModel):
    """A part of what was credited, at the rate of its tier."""

    tier: int = Field(description="Counted from 1.")
    value: Exact
    rate: Exact
    step: Exact = Field(description="What reaching the tier pays at once.")
    amount: Exact = Field(description="value × rate + step, unrounded; the slope of a line between points is rounded.")

    @classmethod
    def of(cls, part: Slice) -> Self:
        return cls(tier=part.tier + 1, value=part.value, rate=part.rate, step=part.step, amount=part.amount)


class MultiplierAnswer(BaseModel):
    """A multiplier whose filter the deal passes."""

    model_config = ConfigDict(populate_by_name=True)

    name: str
    factor: Exact
    multiplies: Literal["credit", "pay"] = Field(alias="as")

    @classmethod
    def of(cls, multiplier: Multiplier) -> Self:
        return cls(
            name=multiplier.name,
            factor=multiplier.factor,
            multiplies="credit" if multiplier.is_of_credit else "pay",
        )


class StepAnswer(BaseModel):
    """What is paid for all lines together, or without any, and what a threshold, a gate or a cap did to it."""

    kind: StepKind
    why: WordsAnswer
    amount: Posted = Field(description="What it brought in; lines and steps sum to `earned`.")

    @classmethod
    def of(cls, found: AttributedStep, currency: str) -> Self:
        return cls(
            kind=found.step.kind,
            why=WordsAnswer.of(found.step.words),
            amount=round_to_minor_unit(found.amount, currency),
        )


class DealVersionAnswer(BaseModel):
    """The version of the deal that counts, and the delivery that brought it."""

    modified_at: datetime
    sequence: int
    delivery_id: UUID
    delivery_url: str = Field(description="Where the tracking service shows what that delivery stated of the deal.")


class LineAnswer(BaseModel):
    """A credit and what it paid. Lines are in the order in which they reach the tiers: day, then deal id.

    A deal that counts payment by payment has a line for each day of a payment.
    """

    deal_id: UUID
    external_id: str | None
    name: str | None
    day: date = Field(description="The business date it counts on.")
    percent: Exact = Field(description="Share of the deal.")
    value: Exact = Field(description="What was credited, in the measure's unit.")
    conversion: ConversionAnswer | None = Field(
        description="How a deal in another currency became one in the plan's; the share is taken after that."
    )
    before: Exact = Field(description="The running total before it.")
    after: Exact = Field(description="The running total after it.")
    slices: list[SliceAnswer]
    rerated: Exact = Field(description="What reaching another retroactive tier made of everything before it.")
    multipliers: list[MultiplierAnswer]
    left_out: Exact = Field(description="What the rule for giant deals leaves out of the whole deal on this day.")
    multiplied: Exact = Field(description="What multipliers of pay made of what the deal is paid.")
    withheld: Exact = Field(description="What the cap of a deal took.")
    amount: Posted = Field(
        description="What it brought in, in units of the currency with all its decimals: with the steps they sum to "
        "`earned`."
    )
    deal_version: DealVersionAnswer | None

    @classmethod
    def of(cls, earning: ExplainedEarning, line: AttributedCredit, deal: Deal | None) -> Self:
        changes = CreditChanges() if deal is None else earning.changes(deal, line.credit.day)
        return cls(
            deal_id=line.credit.deal_id,
            external_id=None if deal is None else deal.external_id,
            name=None if deal is None else deal.name,
            day=line.credit.day,
            percent=line.credit.percent,
            value=line.credit.value,
            conversion=None if deal is None else ConversionAnswer.of(earning.conversion(deal, line.credit.day)),
            before=line.before,
            after=line.after,
            slices=[SliceAnswer.of(part) for part in line.slices],
            rerated=line.rerated,
            multipliers=[MultiplierAnswer.of(each) for each in changes.multipliers],
            left_out=changes.left_out,
            multiplied=line.multiplied,
            withheld=line.withheld,
            amount=round_to_minor_unit(line.amount, earning.stored.cell.currency),
            deal_version=None if deal is None else _version(deal),
        )


class TierAnswer(BaseModel):
    """A tier in the measure's unit, and what the period has in it."""

    model_config = ConfigDict(populate_by_name=True)

    tier: int = Field(description="Counted from 1.")
    start: Exact = Field(alias="from")
    to: Exact | None = Field(description="First value of the next tier; null when open.")
    rate: Exact
    value: Exact = Field(description="How much of the measure is paid at this tier.")
    step: Exact = Field(description="What reaching the tier pays at once.")
    amount: Exact = Field(description="value × rate + step, unrounded; nothing for what is below a threshold.")


class DealPartAnswer(BaseModel):
    """One part of a deal: one share of a payment, an invoice or the whole deal, and whether it counts in an earning."""

    external_id: str | None = Field(
        description="The source's user who has this share; null for a deal without an owner."
    )
    person_id: UUID | None = Field(description="The person that user is; null while the user is not mapped.")
    role: str = Field(description="On the splits; `owner` for a deal that nobody shares in.")
    percent: Exact = Field(description="Share of the deal, before the component's allocation.")
    paid_on: date | None = Field(description="The day of the payment this is a share of, where payments count.")
    invoiced_on: date | None = Field(
        default=None, description="The day of the invoice this is a share of, where invoices count."
    )
    counts: bool
    reason: str | None = Field(description="Null when it counts; else a word as for the whole deal.")
    day: date | None = Field(description="The day it counts on.")
    value: Exact | None = Field(description="What it adds, before the component's allocation.")
    conversion: ConversionAnswer | None = Field(
        description="For money in another currency that counts; the share is taken after that."
    )

    @classmethod
    def of(cls, found: PartInCell) -> Self:
        outcome, share = found.outcome, found.part.share
        counted = outcome if isinstance(outcome, Counted) else None
        return cls(
            external_id=None if share.user is None else share.user.external_id,
            person_id=found.person_id,
            role=share.role,
            percent=share.percent,
            paid_on=found.part.paid_on,
            invoiced_on=found.part.invoiced_on,
            counts=counted is not None,
            reason=None if isinstance(outcome, Counted) else str(outcome.reason),
            day=None if counted is None else counted.day,
            value=None if counted is None else counted.value,
            conversion=None if counted is None else ConversionAnswer.of(counted.conversion),
        )


class DealInEarningAnswer(BaseModel):
    """Why a deal counts or does not in one earning."""

    earning_id: UUID
    assignment_id: UUID
    plan_id: UUID
    component: str
    start: date
    end: date
    counts: bool
    reason: str | None = Field(
        description="Null when it counts; else one of `deleted`, `merged`, `filter_not_met`, `no_date`, `no_value`, "
        "`no_currency`, `currency_differs`, `no_exchange_rate`, `owner_missing`, `owner_unmapped`, "
        "`split_user_unmapped`, `not_owner`, `not_on_split`, `not_in_subtree`, `not_in_team`, "
        "`not_on_plan`, `other_role`, `no_share`, "
        "`owned_by_another_on_day`, `leavers_deal`, `house_account`, "
        "`no_assignment`, `no_plan_version`, `terms_start_later`, `no_component`, `outside_period`."
    )
    why: ReasonAnswer | None = Field(description="The same in words.")
    failing_filter: dict[str, JsonValue] | None = Field(description="The part of the filter the deal does not pass.")
    counts_from: date | None = Field(description="For `outside_period`: first day of the period it counts in.")
    value: Exact | None = Field(description="What is credited of it when it counts.")
    percent: Exact | None = Field(description="Which share of it, or of its payments; null where that changed.")
    conversion: ConversionAnswer | None = Field(
        description="For money in another currency that counts; null where its parts were converted one by one."
    )
    parts: list[DealPartAnswer] = Field(
        description="What each share of it, and each payment where those count, adds, or why it does not. Empty for a "
        "deal that adds nothing whoever has it."
    )

    @classmethod
    def of(cls, deal: DealInCell) -> Self:
        credits, refused = deal.found.credits, deal.found.refusal
        percents = {credit.percent for credit in credits}
        conversions = {part.outcome.conversion for part in deal.found.parts if isinstance(part.outcome, Counted)}
        return cls(
            earning_id=deal.key.id,
            assignment_id=deal.key.assignment_id,
            plan_id=deal.plan_id,
            component=deal.key.component,
            start=deal.key.period.start,
            end=deal.key.period.end,
            counts=refused is None,
            reason=None if refused is None else str(refused.reason),
            why=None if deal.why is None else ReasonAnswer.of(deal.why),
            failing_filter=None if refused is None or refused.failing is None else _json(refused.failing),
            counts_from=None if refused is None or refused.period is None else refused.period.start,
            value=exact_sum(credit.value for credit in credits) if credits else None,
            percent=percents.pop() if len(percents) == 1 else None,
            conversion=ConversionAnswer.of(conversions.pop() if len(conversions) == 1 else None),
            parts=[DealPartAnswer.of(part) for part in deal.found.parts],
        )


class DealAnswer(BaseModel):
    """What became of the deal in the query."""

    deal_id: UUID
    counts: bool = Field(description="Whether it counts in any of the earnings in question.")
    reason: str | None = Field(
        description="Null when it counts; else why not: of the reasons in `earnings` the one that came furthest, or "
        "why there is none: `deal_unknown` (no version has arrived), `no_assignment` (the person is on no "
        "plan), `no_whole_period` (no period of the plan lies within the days), `no_plan_version`, `terms_start_later`."
    )
    why: ReasonAnswer | None = Field(description="The same in words.")
    deal_version: DealVersionAnswer | None
    earnings: list[DealInEarningAnswer]

    @classmethod
    def of(cls, answer: DealInCells) -> Self:
        return cls(
            deal_id=answer.deal_id,
            counts=any(cell.found.credits for cell in answer.cells),
            reason=None if answer.why is None else answer.why.code,
            why=None if answer.why is None else ReasonAnswer.of(answer.why),
            deal_version=None if answer.deal is None else _version(answer.deal),
            earnings=[DealInEarningAnswer.of(cell) for cell in answer.cells],
        )


class StretchAnswer(BaseModel):
    """Days of a period with one amount for the whole of it, one share of that, and so many of them active."""

    start: date
    end: date
    amount: Exact = Field(description="For the whole period, before the share.")
    share: Exact = Field(description="The ramp's: 0.75 is 75 %.")
    active_days: int = Field(description="Counted days on which the person is there; 0 where no days are counted.")


class ExpectedAnswer(BaseModel):
    """An amount of a period by its days: Σ amount × share × active days ÷ days."""

    value: Exact = Field(description="Half-up to six decimals.")
    counted: DayCount | None = Field(
        description="Which days are counted: the working days of the calendar where those of the whole period are "
        "published. Null where nothing depends on days: the value is amount × share."
    )
    days: int = Field(description="How many days of the period are counted.")
    stretches: list[StretchAnswer]

    @classmethod
    def of(cls, found: Prorated | None) -> Self | None:
        """None for what is not stated."""
        if found is None:
            return None
        return cls(
            value=found.value,
            counted=found.counted,
            days=found.days,
            stretches=[
                StretchAnswer(
                    start=each.period.start,
                    end=each.period.end,
                    amount=each.amount,
                    share=each.share,
                    active_days=each.active_days,
                )
                for each in found.stretches
            ],
        )


class ExplanationAnswer(BaseModel):
    """An earning as a tree: rate and tiers, credits with their deal version and delivery, ledger lines with causes."""

    model_config = example(
        earning={**_EARNING, "credits": 1},
        recalculating=False,
        terms={
            "kind": "commission",
            "key": "bookings",
            "name": "New business",
            "measure": {
                "aggregate": "sum",
                "value_field": "amount",
                "date_field": "closed",
                "filter": {"all": [{"field": "status", "op": "eq", "value": "won"}]},
                "currency": "USD",
                "rate_policy": "deal_date",
                "fixed_rates": None,
            },
            "crediting": "owner",
            "role": None,
            "allocation_percent": "100",
            "basis": "cumulative",
            "rate": {"shape": "flat", "rate": "0.05"},
        },
        quota_gap=None,
        quota={
            "value": "50000",
            "counted": "working_days",
            "days": 90,
            "stretches": [
                {
                    "start": "2026-01-01",
                    "end": "2026-04-01",
                    "amount": "100000",
                    "share": "0.75",
                    "active_days": 60,
                }
            ],
        },
        target_variable=None,
        before="0",
        tiers=[
            {
                "tier": 1,
                "from": "0",
                "to": None,
                "rate": "0.05",
                "value": "187320.5",
                "step": "0",
                "amount": "9366.025",
            }
        ],
        rerated_before="0",
        steps=[],
        rerated="0",
        ledger_balance="9366.03",
        lines=[_LINE],
        next_cursor=None,
        ledger=[],
        ledger_url="/v1/ledger?earning_id=01935a00-0000-7000-8000-000000000061",
        deal=None,
    )

    earning: EarningAnswer
    recalculating: bool = Field(
        description="Definitions changed a moment ago and it is being worked out anew; until then its parts may differ."
    )
    terms: ComponentContent | None = Field(description="The component it is paid by; null when none pays it any more.")
    quota_gap: QuotaGap | None = Field(
        description="Why what is measured on a quota, or is a percent of the target variable, pays nothing."
    )
    quota: ExpectedAnswer | None = Field(None, description="How the quota comes to what it is; null without one.")
    target_variable: ExpectedAnswer | None = Field(
        None, description="How the pay at target comes to what it is; null without one."
    )
    before: Exact = Field(description="What the running total began with, where it goes on from earlier earnings.")
    tiers: list[TierAnswer] = Field(
        description="Their amounts, `rerated_before`, `multiplied` less `withheld` of the lines and what the steps are "
        "before rounding add up to the pay, which `earned` rounds."
    )
    rerated_before: Exact = Field(
        description="What retroactive tiers reached now made of what the running total began with."
    )
    steps: list[StepAnswer] = Field(
        description="What is paid beside the lines, and what a threshold, a gate and caps did."
    )
    rerated: Exact = Field(
        description="Sum over all lines of what retroactive tiers re-rated; the tiers' amounts include it."
    )
    ledger_balance: Posted = Field(description="What its ledger entries sum to; equals `earned`.")
    lines: list[LineAnswer]
    next_cursor: str | None = Field(description="Pass as `cursor` to get the next lines; null on the last page.")
    ledger: list[LedgerTransactionAnswer] = Field(description="Its first ledger transactions; all at `ledger_url`.")
    ledger_url: str
    deal: DealAnswer | None = Field(description="The answer to `deal_id`.")


class EarningStatementAnswer(BaseModel):
    """One earning of a statement, line by line."""

    earning: EarningAnswer
    name: str = Field(description="The component's name.")
    recalculating: bool
    quota_gap: QuotaGap | None
    ledger_balance: Posted
    lines: list[LineAnswer]
    steps: list[StepAnswer] = Field(
        description="What is paid beside the lines, and what a threshold, a gate and caps did."
    )

    @classmethod
    def of(cls, found: ExplainedEarning, deals: Mapping[UUID, Deal]) -> Self:
        return cls(
            earning=EarningAnswer.of(found.stored),
            name=found.stored.cell.key.component if found.terms is None else found.terms.component.name,
            recalculating=found.stale,
            quota_gap=quota_gap(found),
            ledger_balance=round_to_minor_unit(found.owed, found.stored.cell.currency),
            lines=[LineAnswer.of(found, line, deals.get(line.credit.deal_id)) for line in found.lines],
            steps=steps_of(found),
        )


class TotalAnswer(BaseModel):
    """A sum over the statement."""

    component: str | None = Field(description="Null for the sum over all components.")
    currency: Currency
    earned: Posted
    ledger_balance: Posted = Field(description="What is owed by the ledger; equals `earned` to the cent.")
    lines: int


class StatementAnswer(BaseModel):
    """What a person earned in the periods within [start, end)."""

    model_config = example(
        person_id="01935a00-0000-7000-8000-000000000011",
        person_name="Darcel Schlecht",
        employee_number="E-1042",
        start="2026-01-01",
        end="2026-04-01",
        earnings=[
            {
                "earning": {**_EARNING, "credits": 1},
                "name": "New business",
                "recalculating": False,
                "quota_gap": None,
                "ledger_balance": "9366.03",
                "lines": [_LINE],
                "steps": [],
            }
        ],
        component_totals=[
            {
                "component": "bookings",
                "currency": "USD",
                "earned": "9366.03",
                "ledger_balance": "9366.03",
                "lines": 1,
            }
        ],
        totals=[{"component": None, "currency": "USD", "earned": "9366.03", "ledger_balance": "9366.03", "lines": 1}],
        deal=None,
    )

    person_id: UUID
    person_name: str | None = Field(description="Null while the organisation has not published the person.")
    employee_number: str | None = Field(description="What payroll knows the person by.")
    start: date
    end: date
    earnings: list[EarningStatementAnswer]
    component_totals: list[TotalAnswer]
    totals: list[TotalAnswer] = Field(description="One for each currency.")
    deal: DealAnswer | None = Field(description="The answer to `deal_id`.")

    @classmethod
    def of(cls, found: Statement) -> Self:
        return cls(
            person_id=found.person_id,
            person_name=found.person_name,
            employee_number=found.employee_number,
            start=found.start,
            end=found.end,
            earnings=[EarningStatementAnswer.of(each, found.deals) for each in found.earnings],
            component_totals=_totals(found.earnings, by_component=True),
            totals=_totals(found.earnings, by_component=False),
            deal=None if found.deal is None else DealAnswer.of(found.deal),
        )


def terms_content(found: ExplainedEarning) -> ComponentContent | None:
    """The component an earning is paid by."""
    return None if found.terms is None else component_content(found.terms.component)


def quota_gap(found: ExplainedEarning) -> QuotaGap | None:
    """Why an earning's tiers pay nothing, if that is so."""
    schedule = None if found.explanation is None else found.explanation.schedule
    return schedule if isinstance(schedule, QuotaGap) else None


def steps_of(found: ExplainedEarning) -> list[StepAnswer]:
    """What became of the pay of all lines together."""
    return [StepAnswer.of(step, found.stored.cell.currency) for step in found.steps]


def before_of(found: ExplainedEarning) -> Decimal:
    """What the running total began with."""
    return _ZERO if found.explanation is None else found.explanation.inputs.before.get(MAIN, _ZERO)


def rerated_before(found: ExplainedEarning) -> Decimal:
    """What the rates that are reached now make of what the running total began with, against what they were."""
    about = found.explanation
    if about is None or not isinstance(about.schedule, Schedule) or not about.inputs.before:
        return _ZERO
    totals, before = about.inputs.totals, about.inputs.before
    reached = _reached(about, totals)
    line = about.schedule.line(totals[MAIN] if reached is None else reached)
    earlier = about.schedule.total(before[MAIN], _reached(about, before))
    return EXACT.subtract(value_at(line, before[MAIN]), earlier)


def _reached(about: Explanation, totals: Mapping[str, Decimal]) -> Decimal | None:
    rated = paid_by_rate(about.terms.component)
    return None if rated is None else reached_of(rated, totals)


def tiers_of(found: ExplainedEarning) -> list[TierAnswer]:
    """The tiers with what lies in each: of the period's total, or of all deals where each is paid by itself."""
    about = found.explanation
    if about is None or not isinstance(about.schedule, Schedule):
        return []
    tiers = about.schedule.tiers
    values: dict[int, Decimal] = defaultdict(Decimal)
    amounts: dict[int, Decimal] = defaultdict(Decimal)
    steps: dict[int, Decimal] = defaultdict(Decimal)
    reached = _reached(about, about.inputs.totals)
    after = about.inputs.totals.get(MAIN, _ZERO)
    for part in about.schedule.parts(before_of(found), after, about.inputs.deals, reached):
        values[part.tier] = EXACT.add(values[part.tier], part.value)
        amounts[part.tier] = EXACT.add(amounts[part.tier], part.amount)
        steps[part.tier] = EXACT.add(steps[part.tier], part.step)
    starts = [*(tier.start for tier in tiers), None]
    return [
        TierAnswer(
            tier=index + 1,
            start=tiers[index].start,
            to=end,
            rate=tiers[index].rate,
            value=values[index],
            step=steps[index],
            amount=amounts[index],
        )
        for index, (_, end) in enumerate(pairwise(starts))
    ]


def _totals(earnings: Sequence[ExplainedEarning], *, by_component: bool) -> list[TotalAnswer]:
    groups: dict[tuple[str | None, str], list[ExplainedEarning]] = defaultdict(list)
    for found in earnings:
        cell = found.stored.cell
        groups[cell.key.component if by_component else None, cell.currency].append(found)
    return [
        TotalAnswer(
            component=component,
            currency=currency,
            earned=round_to_minor_unit(exact_sum(found.stored.cell.earned for found in members), currency),
            ledger_balance=round_to_minor_unit(exact_sum(found.owed for found in members), currency),
            lines=sum(len(found.lines) for found in members),
        )
        for (component, currency), members in sorted(groups.items(), key=lambda item: (item[0][0] or "", item[0][1]))
    ]


def _version(deal: Deal) -> DealVersionAnswer:
    return DealVersionAnswer(
        modified_at=deal.modified_at,
        sequence=deal.sequence,
        delivery_id=deal.delivery_id,
        delivery_url=delivery_url(deal.id, deal.delivery_id),
    )


def _json(failing: Filter) -> dict[str, JsonValue]:
    return _FILTER.validate_python(filter_to_json(failing))
