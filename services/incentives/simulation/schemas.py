"""Requests and answers of simulation."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, StringConstraints

from services.incentives.simulation.domain import Bar, CellOutcome, Comparison, PersonOutcome, Spread
from services.incentives.simulation.service import SimulatedEarnings, WonDeal
from shared.contracts.base import Amount, Currency, Day, Exact, Posted
from shared.contracts.texts import NO_NUL
from shared.http.schemas import body_example, example
from shared.kernel.money import round_to_minor_unit

DEALS_MAX: Final = 200
_PERSON: Final = "01935a00-0000-7000-8000-000000000011"
_PLAN: Final = "01935a00-0000-7000-8000-000000000063"
_DEAL: Final[JsonValue] = {"amount": "20000", "currency": "USD", "closed_on": "2026-03-30"}
_Word = Annotated[str, StringConstraints(min_length=1, max_length=200), NO_NUL]


class WonDealBody(BaseModel):
    """A deal that would be won: one that is there (`deal_id`), or a new one of the person."""

    deal_id: UUID | None = Field(None, description="Left out for a deal that does not exist yet.")
    closed_on: Day | None = Field(
        None, description="The day it is won on. Left out: the day it is expected on, else today."
    )
    amount: Amount | None = Field(None, description="Left out: as it is. Required for a new deal.")
    currency: Currency | None = None
    type: _Word | None = None
    channel: _Word | None = None
    region: _Word | None = None

    def deal(self) -> WonDeal:
        return WonDeal(self.deal_id, self.closed_on, self.amount, self.currency, self.type, self.channel, self.region)


class SimulationBody(BaseModel):
    """Whose earnings, with which deals won."""

    model_config = body_example(person_id=_PERSON, deals=[_DEAL])

    person_id: UUID
    deals: Annotated[list[WonDealBody], Field(min_length=1, max_length=DEALS_MAX)]


class CellOutcomeAnswer(BaseModel):
    """An earning as it is and as it would be."""

    earning_id: UUID
    plan_id: UUID
    component: str
    start: date
    end: date
    currency: Currency
    quota: Exact | None
    measure_before: Exact
    measure_after: Exact
    attainment_before: Exact | None = Field(description="Null without a quota.")
    attainment_after: Exact | None
    earned_before: Posted
    earned_after: Posted
    difference: Posted

    @classmethod
    def of(cls, outcome: CellOutcome) -> Self:
        before, after = outcome.before, outcome.after
        return cls(
            earning_id=after.id,
            plan_id=after.plan_id,
            component=after.key.component,
            start=after.key.period.start,
            end=after.key.period.end,
            currency=after.currency,
            quota=after.quota,
            measure_before=Decimal(0) if before is None else before.measure,
            measure_after=after.measure,
            attainment_before=None if before is None else before.attainment,
            attainment_after=after.attainment,
            earned_before=_posted(Decimal(0) if before is None else before.earned, after.currency),
            earned_after=_posted(after.earned, after.currency),
            difference=_posted(outcome.difference, after.currency),
        )


class DifferenceAnswer(BaseModel):
    """What would be earned more in a currency."""

    currency: Currency
    difference: Posted


class SimulatedEarningsAnswer(BaseModel):
    """What a person would earn."""

    model_config = example(
        person_id=_PERSON,
        earnings=[
            {
                "earning_id": "01935a00-0000-7000-8000-000000000061",
                "plan_id": _PLAN,
                "component": "bookings",
                "start": "2026-01-01",
                "end": "2026-04-01",
                "currency": "USD",
                "quota": None,
                "measure_before": "145000",
                "measure_after": "165000",
                "attainment_before": None,
                "attainment_after": None,
                "earned_before": "5800.00",
                "earned_after": "6900.00",
                "difference": "1100.00",
            }
        ],
        totals=[{"currency": "USD", "difference": "1100.00"}],
    )

    person_id: UUID
    earnings: list[CellOutcomeAnswer] = Field(description="Those that would change, by period and component.")
    totals: list[DifferenceAnswer]

    @classmethod
    def of(cls, found: SimulatedEarnings) -> Self:
        totals: dict[str, Decimal] = {}
        for each in found.cells:
            currency = each.after.currency
            totals[currency] = totals.get(currency, Decimal(0)) + each.difference
        return cls(
            person_id=found.person_id,
            earnings=[CellOutcomeAnswer.of(each) for each in found.cells],
            totals=[
                DifferenceAnswer(currency=currency, difference=_posted(amount, currency))
                for currency, amount in sorted(totals.items())
            ],
        )


class PersonOutcomeAnswer(BaseModel):
    """What a person earns by the terms in force and by those that are tried."""

    person_id: UUID
    current: Posted
    simulated: Posted
    difference: Posted

    @classmethod
    def of(cls, person: PersonOutcome, currency: str) -> Self:
        return cls(
            person_id=person.person_id,
            current=_posted(person.current, currency),
            simulated=_posted(person.simulated, currency),
            difference=_posted(person.difference, currency),
        )


class SpreadAnswer(BaseModel):
    """How what people earn is spread: the value that so many percent of them do not exceed."""

    mean: Posted
    p10: Posted
    p25: Posted
    p50: Posted
    p75: Posted
    p90: Posted

    @classmethod
    def of(cls, spread: Spread, currency: str) -> Self:
        quantiles = {f"p{percent}": _posted(value, currency) for percent, value in spread.quantiles.items()}
        return cls.model_validate({"mean": _posted(spread.mean, currency), **quantiles})


class BarAnswer(BaseModel):
    """How many people earn from `start` up to `end`."""

    start: Posted
    end: Posted
    current: int
    simulated: int

    @classmethod
    def of(cls, bar: Bar, currency: str) -> Self:
        return cls(
            start=_posted(bar.start, currency),
            end=_posted(bar.end, currency),
            current=bar.current,
            simulated=bar.simulated,
        )


class SensitivityAnswer(BaseModel):
    """What the plan costs when every deal is worth `factor` times what it was."""

    factor: Exact
    current: Posted
    simulated: Posted


class PlanSimulationAnswer(BaseModel):
    """A version of a plan tried on what really happened, against the terms in force."""

    model_config = example(
        plan_id=_PLAN,
        number=2,
        start="2026-01-01",
        end="2026-04-01",
        currency="USD",
        cost="5800.00",
        simulated_cost="6900.00",
        winners=1,
        losers=0,
        unchanged=0,
        people=[{"person_id": _PERSON, "current": "5800.00", "simulated": "6900.00", "difference": "1100.00"}],
        current=dict.fromkeys(("mean", "p10", "p25", "p50", "p75", "p90"), "5800.00"),
        simulated=dict.fromkeys(("mean", "p10", "p25", "p50", "p75", "p90"), "6900.00"),
        bars=[{"start": "5800.00", "end": "6900.00", "current": 1, "simulated": 1}],
        sensitivity=[{"factor": "1.1", "current": "6380.00", "simulated": "7590.00"}],
    )

    plan_id: UUID
    number: int
    start: date
    end: date
    currency: Currency
    cost: Posted = Field(description="What the terms in force pay for these days.")
    simulated_cost: Posted
    winners: int
    losers: int
    unchanged: int
    people: list[PersonOutcomeAnswer]
    current: SpreadAnswer
    simulated: SpreadAnswer
    bars: list[BarAnswer]
    sensitivity: list[SensitivityAnswer]

    @classmethod
    def of(cls, plan_id: UUID, number: int, days: tuple[date, date], found: Comparison) -> Self:
        currency = found.currency
        return cls(
            plan_id=plan_id,
            number=number,
            start=days[0],
            end=days[1],
            currency=currency,
            cost=_posted(found.cost, currency),
            simulated_cost=_posted(found.simulated_cost, currency),
            winners=found.winners,
            losers=found.losers,
            unchanged=len(found.people) - found.winners - found.losers,
            people=[PersonOutcomeAnswer.of(person, currency) for person in found.people],
            current=SpreadAnswer.of(found.current, currency),
            simulated=SpreadAnswer.of(found.simulated, currency),
            bars=[BarAnswer.of(bar, currency) for bar in found.bars],
            sensitivity=[
                SensitivityAnswer(
                    factor=factor, current=_posted(cost, currency), simulated=_posted(simulated, currency)
                )
                for factor, cost, simulated in found.sensitivity
            ],
        )


def _posted(amount: Decimal, currency: str) -> Decimal:
    return round_to_minor_unit(amount, currency)
