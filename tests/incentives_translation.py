"""From the steps of the oracle's history to the values of the product."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid5

from services.incentives.plans.domain.assignments import Quota
from services.incentives.plans.domain.components import (
    Basis,
    Component,
    Crediting,
    FlatRate,
    Rate,
    Tier,
    TieredRate,
    TierMode,
    TierScale,
)
from shared.contracts.deals import Deal, Split
from shared.kernel.deals import DateField, DealKind, DealStatus
from shared.kernel.filters import Condition, Operator
from shared.kernel.measures import Aggregate, Measure
from tests.incentives_oracle import DealVersion, Paying

SPACE = UUID(int=7)
CONNECTION = UUID(int=8)
SOURCE = "crm"
WON = Measure(Aggregate.SUM, "amount", DateField.CLOSED, Condition("status", Operator.EQ, ("won",)), "USD")


def named(kind: str, number: int) -> UUID:
    return uuid5(SPACE, f"{kind} {number}")


def cents(amount: int) -> Decimal:
    return Decimal(amount).scaleb(-2)


def deal_event(tenant_id: UUID, version: DealVersion) -> Deal:
    """The event of a deal's version; its external id is the deal's number."""
    moment = datetime.fromtimestamp(1_700_000_000 + version.version, UTC)
    return Deal(
        tenant_id=tenant_id,
        id=named("deal", version.deal),
        connection_id=CONNECTION,
        source=SOURCE,
        external_id=str(version.deal),
        kind=DealKind.DELETED if version.gone else DealKind.UPSERTED,
        modified_at=moment,
        sequence=0,
        delivery_id=named("delivery", version.version),
        received_at=moment,
        status=DealStatus.WON if version.won else DealStatus.OPEN,
        owner_external_id=None if version.owner is None else str(version.owner),
        name=None,
        amount=cents(version.cents),
        currency=version.currency,
        created_at=None,
        expected_close_on=None,
        closed_at=None,
        closed_on=version.day,
        stage=None,
        pipeline=None,
        probability=None,
        type=None,
        channel=None,
        region=None,
        account_id=None,
        account_name=None,
        merged_into=None,
        splits=tuple(
            Split(owner_external_id=str(user), role=role, percent=Decimal(percent))
            for user, percent, role in version.splits
        ),
        products=(),
        custom={},
    )


def component(paying: Paying) -> Component:
    rate: Rate
    if paying.mode == "flat":
        rate = FlatRate(Decimal(paying.tiers[0][1]).scaleb(-4))
    else:
        tiers = tuple(Tier(Decimal(start).scaleb(-2), Decimal(rate).scaleb(-4)) for start, rate in paying.tiers)
        rate = TieredRate(TierMode(paying.mode), TierScale(paying.by), tiers)
    return Component(
        paying.key,
        paying.key,
        WON,
        rate,
        Crediting(paying.crediting),
        paying.role,
        Decimal(paying.allocation),
        Basis(paying.basis),
    )


def quotas(stated: tuple[tuple[str, int | None], ...]) -> dict[str, Quota]:
    goals = (named("goal", 0), named("goal", 1))
    return {key: Quota(goal_ids=goals) if amount is None else Quota(cents(amount)) for key, amount in stated}


def cell_id(assignment_id: UUID, key: str, start: date) -> UUID:
    return uuid5(assignment_id, f"{key}/{start.isoformat()}")
