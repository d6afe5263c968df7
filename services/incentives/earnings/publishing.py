"""From cells to the events of `attain.earnings.v1`."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from services.incentives.earnings import store
from services.incentives.earnings.domain.cells import StoredCell
from shared.contracts.earnings import TOPIC, Earning
from shared.contracts.envelope import to_message
from shared.db.database import Statements
from shared.kernel.money import round_to_minor_unit
from shared.outbox.message import OutboxMessage
from shared.outbox.republishing import marking

_SUBJECT = "earning/"

publish_next: Final = marking(TOPIC, _SUBJECT, store.ids_after)
"""Has the next earnings published once more."""


async def render(statements: Statements, subjects: Sequence[tuple[UUID, str]]) -> list[OutboxMessage]:
    """The newest state of the cells marked, for the relay."""
    wanted: dict[UUID, list[UUID]] = defaultdict(list)
    for tenant_id, subject in subjects:
        wanted[tenant_id].append(UUID(subject.removeprefix(_SUBJECT)))
    messages = []
    for tenant_id, cell_ids in sorted(wanted.items()):
        for stored in (await store.by_id(statements, tenant_id, cell_ids)).values():
            event, event_id = earning_event(stored), statements.new_id()
            messages.append(to_message(event, event_id=event_id, source="incentives", time=stored.changed_at))
    return messages


def earning_event(stored: StoredCell) -> Earning:
    """A cell as it is published."""
    cell = stored.cell
    return Earning(
        tenant_id=stored.tenant_id,
        id=cell.id,
        version=cell.version,
        person_id=cell.person_id,
        assignment_id=cell.key.assignment_id,
        plan_id=cell.plan_id,
        plan_version=cell.plan_version,
        component=cell.key.component,
        start=cell.key.period.start,
        end=cell.key.period.end,
        measure=cell.measure,
        quota=cell.quota,
        attainment=cell.attainment,
        earned=round_to_minor_unit(cell.earned, cell.currency),
        posted=None if stored.posted is None else round_to_minor_unit(stored.posted, cell.currency),
        currency=cell.currency,
        credits=cell.credits,
        changed_at=stored.changed_at,
    )
