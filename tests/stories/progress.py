"""The oracle's plain stories as the events a service gets."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID, uuid5

from shared.contracts import activities, deals, goals, org
from shared.contracts.base import Event
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DateField, DealKind, DealStatus
from shared.kernel.ids import activity_id, deal_id
from shared.kernel.measures import Aggregate, RatePolicy
from shared.kernel.records import RecordKind
from tests.oracles import actuals as actuals_oracle
from tests.oracles import progress as oracle

# Six days before a month begins, as the oracle has it.
_EPOCH = date(2025, 12, 26)
_START = datetime.combine(_EPOCH, time.min, tzinfo=UTC)
_WON = {"field": "status", "op": "eq", "value": "won"}
_METRICS = {
    "won amount": goals.Metric(
        aggregate=Aggregate.SUM,
        value_field="amount",
        date_field=DateField.CLOSED,
        filter={"all": [_WON]},
        currency="USD",
    ),
    "won deals": goals.Metric(
        aggregate=Aggregate.COUNT, value_field=None, date_field=DateField.CLOSED, filter={"all": [_WON]}, currency=None
    ),
    "won accounts": goals.Metric(
        aggregate=Aggregate.DISTINCT,
        value_field="account_name",
        date_field=DateField.CLOSED,
        filter={"any": [_WON]},
        currency=None,
    ),
    "created euros": goals.Metric(
        aggregate=Aggregate.SUM, value_field="amount", date_field=DateField.CREATED, filter={"all": []}, currency="EUR"
    ),
    "decided of 50 or more": goals.Metric(
        aggregate=Aggregate.COUNT,
        value_field=None,
        date_field=DateField.CLOSED,
        filter={
            "all": [
                {"field": "status", "op": "in", "value": ["won", "lost"]},
                {"field": "amount", "op": "gte", "value": "50"},
            ]
        },
        currency=None,
    ),
    "expected quantity": goals.Metric(
        aggregate=Aggregate.SUM,
        value_field="quantity",
        date_field=DateField.EXPECTED_CLOSE,
        filter={"all": []},
        currency=None,
    ),
    "won dollars of all": goals.Metric(
        aggregate=Aggregate.SUM,
        value_field="amount",
        date_field=DateField.CLOSED,
        filter={"all": [_WON]},
        currency="USD",
        rate_policy=RatePolicy.DEAL_DATE,
    ),
    "created euros at plan rates": goals.Metric(
        aggregate=Aggregate.SUM,
        value_field="amount",
        date_field=DateField.CREATED,
        filter={"all": []},
        currency="EUR",
        rate_policy=RatePolicy.FIXED,
        fixed_rates={currency: Decimal(rate).scaleb(-4) for currency, rate in oracle.PLAN_RATES.items()},
    ),
    "paid": goals.Metric(
        aggregate=Aggregate.SUM,
        value_field="paid_amount",
        date_field=DateField.CLOSED,
        filter={"all": []},
        currency="EUR",
        counts_when_paid=True,
        rate_policy=RatePolicy.DEAL_DATE,
    ),
    "won and paid": goals.Metric(
        aggregate=Aggregate.SUM,
        value_field="paid_amount",
        date_field=DateField.CLOSED,
        filter={"all": [_WON]},
        currency="CNY",
        rate_policy=RatePolicy.DEAL_DATE,
    ),
    "dollars as paid": goals.Metric(
        aggregate=Aggregate.SUM,
        value_field="amount",
        date_field=DateField.CLOSED,
        filter={"all": [_WON]},
        currency="USD",
        counts_when_paid=True,
        rate_policy=RatePolicy.DEAL_DATE,
    ),
    "deals paid": goals.Metric(
        aggregate=Aggregate.COUNT,
        value_field=None,
        date_field=DateField.CLOSED,
        filter={"all": []},
        currency=None,
        counts_when_paid=True,
    ),
    "euros as invoiced": goals.Metric(
        aggregate=Aggregate.SUM,
        value_field="invoiced_amount",
        date_field=DateField.CLOSED,
        filter={"all": []},
        currency="EUR",
        counts_when_invoiced=True,
        rate_policy=RatePolicy.DEAL_DATE,
    ),
    "done calls": goals.Metric(
        record=RecordKind.ACTIVITY,
        aggregate=Aggregate.COUNT,
        value_field=None,
        date_field=DateField.CLOSED,
        filter={
            "all": [{"field": "type", "op": "eq", "value": "call"}, {"field": "status", "op": "eq", "value": "done"}]
        },
        currency=None,
    ),
    "seconds talked": goals.Metric(
        record=RecordKind.ACTIVITY,
        aggregate=Aggregate.SUM,
        value_field="duration_seconds",
        date_field=DateField.CLOSED,
        filter={
            "all": [
                {"field": "duration_seconds", "op": "gte", "value": "60"},
                {"field": "status", "op": "ne", "value": "cancelled"},
            ]
        },
        currency=None,
    ),
    "met accounts": goals.Metric(
        record=RecordKind.ACTIVITY,
        aggregate=Aggregate.DISTINCT,
        value_field="account_id",
        date_field=DateField.CLOSED,
        filter={
            "all": [
                {"field": "type", "op": "in", "value": ["call", "meeting"]},
                {"field": "outcome", "op": "ne", "value": "No answer"},
            ]
        },
        currency=None,
    ),
    "win rate": goals.Metric(
        aggregate=Aggregate.COUNT,
        later_aggregate=Aggregate.RATIO,
        value_field=None,
        date_field=DateField.CLOSED,
        filter={"all": [{"field": "status", "op": "in", "value": ["won", "lost"]}]},
        numerator_filter=_WON,
        currency=None,
    ),
    "won share of dollars": goals.Metric(
        aggregate=Aggregate.COUNT,
        later_aggregate=Aggregate.RATIO,
        value_field="amount",
        date_field=DateField.CLOSED,
        filter={"all": []},
        numerator_filter=_WON,
        currency="USD",
        rate_policy=RatePolicy.DEAL_DATE,
    ),
    "won share of euros as paid": goals.Metric(
        aggregate=Aggregate.COUNT,
        later_aggregate=Aggregate.RATIO,
        value_field="paid_amount",
        date_field=DateField.CLOSED,
        filter={"all": []},
        numerator_filter={"any": [_WON]},
        currency="EUR",
        counts_when_paid=True,
        rate_policy=RatePolicy.DEAL_DATE,
    ),
    "average won dollars": goals.Metric(
        aggregate=Aggregate.COUNT,
        later_aggregate=Aggregate.AVERAGE,
        value_field="amount",
        date_field=DateField.CLOSED,
        filter={"all": [_WON]},
        currency="USD",
        rate_policy=RatePolicy.DEAL_DATE,
    ),
    "average paid yuan": goals.Metric(
        aggregate=Aggregate.COUNT,
        later_aggregate=Aggregate.AVERAGE,
        value_field="paid_amount",
        date_field=DateField.CLOSED,
        filter={"all": [_WON]},
        currency="CNY",
        rate_policy=RatePolicy.DEAL_DATE,
    ),
    "reached share of calls": goals.Metric(
        record=RecordKind.ACTIVITY,
        aggregate=Aggregate.COUNT,
        later_aggregate=Aggregate.RATIO,
        value_field=None,
        date_field=DateField.CLOSED,
        filter={
            "all": [{"field": "type", "op": "eq", "value": "call"}, {"field": "status", "op": "eq", "value": "done"}]
        },
        numerator_filter={"field": "outcome", "op": "eq", "value": "Connected"},
        currency=None,
    ),
    "average seconds of calls": goals.Metric(
        record=RecordKind.ACTIVITY,
        aggregate=Aggregate.COUNT,
        later_aggregate=Aggregate.AVERAGE,
        value_field="duration_seconds",
        date_field=DateField.CLOSED,
        filter={"field": "type", "op": "eq", "value": "call"},
        currency=None,
    ),
}


class Storyteller:
    """Turns the numbers of stories into the ids of one tenant."""

    def __init__(self, tenant_id: UUID) -> None:
        self.tenant_id = tenant_id
        self._connection_id = self.id_of("connection", 0)

    def id_of(self, kind: str, number: int) -> UUID:
        return uuid5(self.tenant_id, f"{kind}/{number}")

    def goal_id(self, number: int) -> UUID:
        return self.id_of("goal", number)

    def deal_events(self, batch: Sequence[oracle.Deal]) -> list[deals.Deal]:
        return [self._deal(deal) for deal in batch]

    def activity_events(self, batch: Sequence[oracle.Activity]) -> list[activities.Activity]:
        return [self._activity(activity) for activity in batch]

    def definition_events(self, batch: Sequence[oracle.Definition]) -> list[Event]:
        return [self._definition(definition) for definition in batch]

    def value(self, metric: str, value: Decimal) -> Fraction:
        """The number in the units of the oracle."""
        return Fraction(value) * (100 if metric in oracle.MONEY_METRICS else 1)

    def below(self, metric: str, denominator: Decimal) -> Fraction:
        """What a quotient is divided by, in the units of the oracle."""
        return Fraction(denominator) * (100 if metric in oracle.SHARES_OF_MONEY else 1)

    def actuals_key(self, person_id: UUID, month: date) -> tuple[int, int]:
        """The person and the month as the oracle has them."""
        people = {self.id_of("person", number): number for number in range(oracle.PEOPLE)}
        return people[person_id], 0 if month < _EPOCH + timedelta(days=oracle.MONTH_STARTS) else 1

    def _deal(self, deal: oracle.Deal) -> deals.Deal:
        external_id = f"D-{deal.number}"
        return deals.Deal(
            tenant_id=self.tenant_id,
            id=deal_id(self._connection_id, external_id),
            connection_id=self._connection_id,
            source="crm",
            external_id=external_id,
            kind=DealKind(deal.kind),
            # Of three versions in a row, the time, the sequence and the delivery each decide once.
            modified_at=_START + timedelta(seconds=deal.version // 3),
            sequence=deal.version // 2,
            delivery_id=UUID(int=deal.version),
            received_at=_START + timedelta(seconds=deal.version),
            status=DealStatus(deal.status),
            owner_external_id=None if deal.user is None else f"u{deal.user}",
            name=None,
            amount=None if deal.cents is None else Decimal(deal.cents).scaleb(-2),
            currency=deal.currency,
            created_at=_instant(deal.created_hour),
            expected_close_on=_day(deal.expected_day),
            closed_at=_instant(deal.closed_hour),
            closed_on=_day(deal.closed_day),
            stage=None,
            pipeline=None,
            probability=None,
            type=None,
            channel=None,
            region=None,
            account_id=None,
            account_name=deal.account,
            merged_into=None,
            splits=tuple(
                deals.Split(owner_external_id=f"u{user}", percent=Decimal(thousandths).scaleb(-1), role=role)
                for user, thousandths, role in deal.splits
            ),
            products=()
            if deal.quantity is None
            else (deals.Product(sku="x", quantity=Decimal(deal.quantity), amount=None),),
            custom={},
            home_amount=None if deal.home_cents is None else Decimal(deal.home_cents).scaleb(-2),
            home_currency=deal.home_currency,
            payments=tuple(
                deals.Payment(paid_on=_EPOCH + timedelta(days=day), amount=Decimal(cents).scaleb(-2))
                for day, cents in deal.payments
            ),
            invoices=tuple(
                deals.Invoice(invoiced_on=_EPOCH + timedelta(days=day), amount=Decimal(cents).scaleb(-2))
                for day, cents in deal.invoices
            ),
        )

    def _activity(self, activity: oracle.Activity) -> activities.Activity:
        external_id = f"A-{activity.number}"
        return activities.Activity(
            tenant_id=self.tenant_id,
            id=activity_id(self._connection_id, external_id),
            connection_id=self._connection_id,
            source="crm",
            external_id=external_id,
            is_deleted=activity.deleted,
            modified_at=_START + timedelta(seconds=activity.version // 3),
            sequence=activity.version // 2,
            delivery_id=UUID(int=activity.version),
            received_at=_START + timedelta(seconds=activity.version),
            type=ActivityType(activity.type),
            status=ActivityStatus(activity.status),
            owner_external_id=None if activity.user is None else f"u{activity.user}",
            subject=None,
            occurred_at=_instant(activity.occurred_hour),
            duration_seconds=activity.seconds,
            outcome=activity.outcome,
            deal_external_id=None,
            account_id=activity.account,
            custom={},
        )

    def _definition(self, definition: oracle.Definition) -> Event:
        tenant_id, version = self.tenant_id, definition.version
        match definition:
            case oracle.Calendar():
                first = (None, definition.zone_hours, definition.home_currency)
                states = tuple(
                    org.CalendarState(start=_day(start), start_month=1, time_zone=_zone(hours), currency=currency)
                    for start, hours, currency in (first, *definition.changes)
                )
                return org.Calendar(
                    tenant_id=tenant_id,
                    version=version,
                    start_month=1,
                    time_zone=states[-1].time_zone,
                    currency=states[-1].currency,
                    # What has no changes is said as releases before the history said it.
                    history=states if definition.changes else (),
                )
            case oracle.Rates():
                base_currency, currency, month = oracle.SERIES[definition.number]
                return org.ExchangeRates(
                    tenant_id=tenant_id,
                    version=version,
                    base_currency=base_currency,
                    currency=currency,
                    month="2026-01" if month else "2025-12",
                    rates=tuple(
                        org.DatedRate(date=_EPOCH + timedelta(days=day), rate=Decimal(rate).scaleb(-4))
                        for day, rate in definition.rates
                    ),
                )
            case oracle.Team():
                moves = ((None, definition.parent), *definition.moves)
                places = tuple(
                    org.TeamState(
                        start=_day(start),
                        parent_id=None if parent is None else self.id_of("team", parent),
                        manager_id=None,
                    )
                    for start, parent in moves
                )
                return org.Team(
                    tenant_id=tenant_id,
                    version=version,
                    id=self.id_of("team", definition.number),
                    name="Team",
                    parent_id=places[-1].parent_id,
                    manager_id=None,
                    history=places if definition.moves else (),
                )
            case oracle.Membership():
                return org.Membership(
                    tenant_id=tenant_id,
                    version=version,
                    id=self.id_of("membership", definition.number),
                    person_id=self.id_of("person", definition.person),
                    team_id=self.id_of("team", definition.team),
                    start=_EPOCH + timedelta(days=definition.start),
                    end=_day(definition.end),
                    deleted=definition.deleted,
                )
            case oracle.Identity():
                return org.Identity(
                    tenant_id=tenant_id,
                    version=version,
                    id=self.id_of("identity", definition.user),
                    source="crm",
                    external_user_id=f"u{definition.user}",
                    person_id=self.id_of("person", definition.person),
                    deleted=definition.deleted,
                )
            case oracle.Goal():
                return self._goal(definition)

    def _goal(self, goal: oracle.Goal) -> goals.Goal:
        kind = "team" if goal.team else "person"
        return goals.Goal.model_validate(
            {
                "tenant_id": self.tenant_id,
                "id": self.goal_id(goal.number),
                "version": goal.version,
                "revision": goal.version,
                "status": goal.status,
                "name": f"Goal {goal.number}",
                "owner": {"kind": kind, "id": self.id_of(kind, goal.owner)},
                "metric": {
                    **_METRICS[goal.metric].model_dump(),
                    "crediting": "split" if goal.by_splits else "owner",
                    "role": goal.role,
                },
                "target": Decimal(1000),
                "baseline": Decimal(0),
                "unit": "USD",
                "direction": "higher",
                "start": _EPOCH + timedelta(days=goal.start),
                "end": _EPOCH + timedelta(days=goal.end),
                "parent_id": None,
                "weight": Decimal(1),
            }
        )


def actuals_of(
    currency: str | None,
    won_value: Fraction | Decimal,
    won_number: Fraction | Decimal,
    open_value: Fraction | Decimal,
    open_number: Fraction | Decimal,
    unconverted: Fraction | Decimal,
) -> actuals_oracle.Actuals:
    """A month's numbers in the units of the oracle."""
    values = (100 * Fraction(won_value), Fraction(won_number), 100 * Fraction(open_value), Fraction(open_number))
    return actuals_oracle.Actuals(currency, *values, Fraction(unconverted))


def _day(number: int | None) -> date | None:
    return None if number is None else _EPOCH + timedelta(days=number)


def _zone(hours: int) -> str:
    # The names of these zones count hours west of Greenwich.
    return f"Etc/GMT{-hours:+d}"


def _instant(hour: int | None) -> datetime | None:
    return None if hour is None else _START + timedelta(hours=hour)
