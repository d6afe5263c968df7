"""A stated value as `attain.goals.v1` publishes it."""

from uuid import UUID

from services.goals.stated.domain import StatedValue
from shared.contracts import goals as contract


def stated_value_event(tenant_id: UUID, value: StatedValue) -> contract.StatedValue:
    statement = value.statement
    return contract.StatedValue(
        tenant_id=tenant_id,
        id=value.id,
        version=value.version,
        goal_id=value.goal_id,
        day=statement.day,
        value=statement.value,
        source=contract.ValueSource(statement.source.value),
        note=statement.note,
        stated_by=value.stated_by,
        stated_at=value.stated_at,
        deleted=value.deleted,
    )
