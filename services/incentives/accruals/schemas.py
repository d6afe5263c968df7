"""Requests and answers of accruals and budgets."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, StringConstraints

from services.incentives.accruals.domain import Accrual, Budget, CostCentre, PlanCost
from shared.contracts.base import Amount, Currency, Instant, Posted
from shared.contracts.texts import NO_NUL
from shared.http.audit import ActorAnswer
from shared.http.schemas import body_example, example
from shared.kernel.money import round_to_minor_unit

_TEAM: Final = "01935a00-0000-7000-8000-000000000021"
_PLAN: Final = "01935a00-0000-7000-8000-000000000063"
_ACTOR: Final[JsonValue] = {"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000014"}
_SAID: Final[Mapping[str, JsonValue]] = {"actor": _ACTOR, "set_at": "2026-01-05T09:30:00Z"}


class CostCentreBody(BaseModel):
    """What a team is booked on."""

    model_config = body_example(code="4100-NORTH")

    code: Annotated[str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True), NO_NUL]


class CostCentreAnswer(BaseModel):
    """From a day on a team, and those below it without one of their own, are booked on a cost centre."""

    model_config = example(team_id=_TEAM, start="2026-01-01", code="4100-NORTH", **_SAID)

    team_id: UUID
    start: date
    code: str
    actor: ActorAnswer
    set_at: Instant

    @classmethod
    def of(cls, centre: CostCentre) -> Self:
        return cls(
            team_id=centre.team_id,
            start=centre.start,
            code=centre.code,
            actor=ActorAnswer.of(centre.actor),
            set_at=centre.set_at,
        )


class BudgetBody(BaseModel):
    """What a plan may cost in a pay period."""

    model_config = body_example(amount="120000")

    amount: Amount = Field(description="In the plan's currency, 0 or more.")


class BudgetAnswer(BaseModel):
    """What a plan may cost in the pay period that starts on a day."""

    model_config = example(plan_id=_PLAN, start="2026-01-01", amount="120000", **_SAID)

    plan_id: UUID
    start: date
    amount: Amount
    actor: ActorAnswer
    set_at: Instant

    @classmethod
    def of(cls, budget: Budget) -> Self:
        return cls(
            plan_id=budget.plan_id,
            start=budget.start,
            amount=budget.amount,
            actor=ActorAnswer.of(budget.actor),
            set_at=budget.set_at,
        )


class AccrualAnswer(BaseModel):
    """What was posted on an account in a pay period for a cost centre."""

    start: date
    end: date = Field(description="First day after the pay period.")
    account: str = Field(description="`payable`, or such as `expense:commission:<plan>`.")
    cost_centre: str = Field(description="Empty for people in no team that has one.")
    currency: Currency
    amount: Posted = Field(description="Debit above 0, credit below. All amounts of a currency sum to 0.")

    @classmethod
    def of(cls, accrual: Accrual) -> Self:
        return cls(
            start=accrual.period.start,
            end=accrual.period.end,
            account=accrual.account,
            cost_centre=accrual.cost_centre,
            currency=accrual.currency,
            amount=round_to_minor_unit(accrual.amount, accrual.currency),
        )


class AccrualsAnswer(BaseModel):
    """What accounting books."""

    model_config = example(
        accruals=[
            {
                "start": "2026-01-01",
                "end": "2026-02-01",
                "account": account,
                "cost_centre": "4100-NORTH",
                "currency": "USD",
                "amount": amount,
            }
            for account, amount in ((f"expense:commission:{_PLAN}", "1100.00"), ("payable", "-1100.00"))
        ]
    )

    accruals: list[AccrualAnswer]


class PlanCostAnswer(BaseModel):
    """What a plan cost in a pay period, and may."""

    start: date
    end: date
    cost: Posted
    budget: Posted | None
    left: Posted | None = Field(description="Of the budget; below 0 what it was exceeded by. Null without one.")
    cost_so_far: Posted
    budget_so_far: Posted

    @classmethod
    def of(cls, cost: PlanCost, currency: str) -> Self:
        def posted(amount: Decimal) -> Decimal:
            return round_to_minor_unit(amount, currency)

        return cls(
            start=cost.period.start,
            end=cost.period.end,
            cost=posted(cost.cost),
            budget=None if cost.budget is None else posted(cost.budget),
            left=None if cost.left is None else posted(cost.left),
            cost_so_far=posted(cost.cost_so_far),
            budget_so_far=posted(cost.budget_so_far),
        )


class PlanCostsAnswer(BaseModel):
    """What a plan cost against its budget."""

    model_config = example(
        plan_id=_PLAN,
        currency="USD",
        periods=[
            {
                "start": "2026-01-01",
                "end": "2026-02-01",
                "cost": "110000.00",
                "budget": "120000.00",
                "left": "10000.00",
                "cost_so_far": "110000.00",
                "budget_so_far": "120000.00",
            }
        ],
    )

    plan_id: UUID
    currency: Currency
    periods: list[PlanCostAnswer]
