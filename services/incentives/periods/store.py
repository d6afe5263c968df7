"""Every SQL statement on pay periods."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, insert, select

from services.incentives.periods.domain import CutOff, Move, PayPeriod, PayPeriodNotFound, PayState
from services.incentives.periods.tables import pay_period_changes, pay_periods
from shared.db.database import Transaction
from shared.db.versioned import VersionedTable
from shared.kernel.approvals import Actor, ActorKind
from shared.kernel.money import format_amount
from shared.kernel.periods import Period


async def in_order(tx: Transaction, tenant_id: UUID) -> tuple[PayPeriod, ...]:
    """Those that somebody moved, by their days."""
    return tuple(sorted(await PAY_PERIODS.matching(tx, tenant_id), key=lambda each: each.period))


async def add_move(tx: Transaction, tenant_id: UUID, pay_period_id: UUID, move: Move) -> None:
    await tx.execute(
        insert(pay_period_changes).values(
            tenant_id=tenant_id,
            pay_period_id=pay_period_id,
            version=move.version,
            before=move.before.value,
            after=move.after.value,
            actor=move.actor.kind.value,
            person_id=move.actor.person_id,
            at=move.at,
            reason=move.reason,
        )
    )


async def moves(
    tx: Transaction, tenant_id: UUID, pay_period_id: UUID, *, after: int = 0, limit: int | None = None
) -> list[Move]:
    """The steps of a pay period after its version `after`, oldest first."""
    table = pay_period_changes
    statement = select(table).where(
        table.c.tenant_id == tenant_id, table.c.pay_period_id == pay_period_id, table.c.version > after
    )
    return [
        Move(
            row["version"],
            PayState(row["before"]),
            PayState(row["after"]),
            Actor(ActorKind(row["actor"]), row["person_id"]),
            row["at"],
            row["reason"],
        )
        for row in await tx.rows(statement.order_by(table.c.version).limit(limit))
    ]


def _pay_period(row: RowMapping) -> PayPeriod:
    cut_off = None
    if row["cut_off_at"] is not None:
        as_paid = {currency: Decimal(amount) for currency, amount in row["as_paid"].items()}
        cut_off = CutOff(row["cut_off_at"], row["cut_off_sequence"], as_paid)
    return PayPeriod(row["id"], Period(row["start"], row["end"]), PayState(row["state"]), cut_off, row["version"])


def _values(each: PayPeriod) -> Mapping[str, object]:
    cut_off = each.cut_off
    as_paid = None if cut_off is None else {key: format_amount(amount) for key, amount in cut_off.as_paid.items()}
    return {
        "id": each.id,
        "start": each.period.start,
        "end": each.period.end,
        "state": each.state.value,
        "cut_off_at": None if cut_off is None else cut_off.at,
        "cut_off_sequence": None if cut_off is None else cut_off.sequence,
        "as_paid": as_paid,
        "version": each.version,
    }


PAY_PERIODS: Final = VersionedTable("pay period", pay_periods, _pay_period, _values, PayPeriodNotFound)
