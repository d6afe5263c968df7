"""Every statement on cost centres and budgets."""

from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, insert, text

from services.incentives.accruals.domain import Budget, CostCentre
from services.incentives.accruals.tables import cost_centres, plan_budgets
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, ActorKind

_CENTRES: Final = text(
    f"""
    SELECT DISTINCT ON (team_id, start) * FROM {cost_centres.fullname} WHERE tenant_id = :tenant_id
    ORDER BY team_id, start, id DESC
    """
)
_BUDGETS: Final = text(
    f"""
    SELECT DISTINCT ON (start) * FROM {plan_budgets.fullname} WHERE tenant_id = :tenant_id AND plan_id = :plan_id
    ORDER BY start, id DESC
    """
)


async def add_cost_centre(tx: Transaction, tenant_id: UUID, added: CostCentre) -> CostCentre:
    values = {"id": added.id, "team_id": added.team_id, "start": added.start, "code": added.code}
    await tx.execute(insert(cost_centres).values(**values, **_said(tenant_id, added)))
    return added


async def list_cost_centres(tx: Transaction, tenant_id: UUID) -> list[CostCentre]:
    """What was said last of each team and day, by team and day."""
    rows = await tx.rows(_CENTRES, {"tenant_id": tenant_id})
    return [
        CostCentre(row["id"], row["team_id"], row["start"], row["code"], _actor(row), row["set_at"]) for row in rows
    ]


async def add_budget(tx: Transaction, tenant_id: UUID, added: Budget) -> Budget:
    values = {"id": added.id, "plan_id": added.plan_id, "start": added.start, "amount": added.amount}
    await tx.execute(insert(plan_budgets).values(**values, **_said(tenant_id, added)))
    return added


async def list_budgets(tx: Transaction, tenant_id: UUID, plan_id: UUID) -> list[Budget]:
    """What was said last of each day, in order."""
    rows = await tx.rows(_BUDGETS, {"tenant_id": tenant_id, "plan_id": plan_id})
    return [Budget(row["id"], plan_id, row["start"], row["amount"], _actor(row), row["set_at"]) for row in rows]


def _said(tenant_id: UUID, said: CostCentre | Budget) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "set_by_kind": said.actor.kind.value,
        "set_by": said.actor.person_id,
        "set_at": said.set_at,
    }


def _actor(row: RowMapping) -> Actor:
    return Actor(ActorKind(row["set_by_kind"]), row["set_by"])
