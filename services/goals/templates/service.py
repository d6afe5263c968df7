"""The use cases of goal templates. A goal keeps what it was made with, whatever becomes of its template."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from uuid import UUID

from services.goals.targets.domain import GoalTemplate, check_template
from services.goals.templates import store
from shared.db.database import Transaction
from shared.outbox.recorded import Recorded
from shared.outbox.trail import Trail


class GoalTemplates:
    """The goal templates of every tenant."""

    def __init__(self, trail: Trail) -> None:
        self._templates = Recorded("goal-template", store.TEMPLATES, lambda _, template: store.values(template), trail)

    async def of(self, tx: Transaction, tenant_id: UUID, template_ids: Collection[UUID]) -> Mapping[UUID, GoalTemplate]:
        """Those of these templates that there are, by id."""
        return await store.of(tx, tenant_id, template_ids)

    async def list_templates(
        self, tx: Transaction, tenant_id: UUID, *, after: UUID | None, limit: int
    ) -> list[GoalTemplate]:
        """In the order they were made."""
        return await store.TEMPLATES.page(tx, tenant_id, after, limit)

    async def get_template(self, tx: Transaction, tenant_id: UUID, template_id: UUID) -> GoalTemplate:
        """Raises TemplateNotFound."""
        return await store.TEMPLATES.get(tx, tenant_id, template_id)

    async def create_template(
        self, tx: Transaction, tenant_id: UUID, template_of: Callable[[UUID], GoalTemplate]
    ) -> GoalTemplate:
        """Raises InvalidInput for a pattern or levels that fill nothing."""
        created = template_of(tx.new_id())
        check_template(created)
        return await self._templates.add(tx, tenant_id, created)

    async def change_template(
        self,
        tx: Transaction,
        tenant_id: UUID,
        template_id: UUID,
        expected_version: int,
        change: Callable[[GoalTemplate], GoalTemplate],
    ) -> GoalTemplate:
        """Raises TemplateNotFound, VersionMismatch, InvalidInput."""
        stored = await self._templates.for_change(tx, tenant_id, template_id, expected_version)
        changed = replace(change(stored), version=stored.version + 1)
        check_template(changed)
        return await self._templates.save(tx, tenant_id, changed)

    async def delete_template(self, tx: Transaction, tenant_id: UUID, template_id: UUID, expected_version: int) -> None:
        """Goals made from it stay as they are. Raises TemplateNotFound, VersionMismatch."""
        stored = await self._templates.for_change(tx, tenant_id, template_id, expected_version)
        await self._templates.save(tx, tenant_id, replace(stored, version=stored.version + 1, deleted=True))
