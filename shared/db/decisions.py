"""Who decided on something that was proposed, when and why, as its table stores it."""

from collections.abc import Mapping

from sqlalchemy import Column, RowMapping, Text, Uuid

from shared.db.tables import instant
from shared.kernel.approvals import Actor, ActorKind, Decision


def decision_columns() -> tuple[Column[object], ...]:
    """Of something on which nobody may have decided yet."""
    return (
        Column("decided_by_kind", Text, nullable=True),
        Column("decided_by", Uuid(), nullable=True),
        instant("decided_at", nullable=True),
        Column("decision_reason", Text, nullable=True),
    )


def decision_in(row: RowMapping) -> Decision | None:
    """What a row has in these columns."""
    if row["decided_by_kind"] is None:
        return None
    return Decision(
        Actor(ActorKind(row["decided_by_kind"]), row["decided_by"]), row["decided_at"], row["decision_reason"]
    )


def decision_values(decision: Decision | None) -> Mapping[str, object]:
    """What these columns have of a decision."""
    return {
        "decided_by_kind": decision and decision.actor.kind.value,
        "decided_by": decision and decision.actor.person_id,
        "decided_at": decision and decision.at,
        "decision_reason": decision and decision.reason,
    }
