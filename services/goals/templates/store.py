"""Every statement on goal templates."""

from collections.abc import Collection
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping

from services.goals.targets.domain import CheckIn, Direction, GoalTemplate, StretchShare
from services.goals.templates.domain import TemplateNotFound
from services.goals.templates.tables import goal_templates
from shared.contracts.goals import Metric
from shared.db.conditions import among
from shared.db.database import Transaction
from shared.db.versioned import VersionedTable
from shared.kernel.money import format_amount


async def of(tx: Transaction, tenant_id: UUID, template_ids: Collection[UUID]) -> dict[UUID, GoalTemplate]:
    """Those of these templates that there are, by id."""
    wanted = among(goal_templates.c.id, frozenset(template_ids))
    return {template.id: template for template in await TEMPLATES.matching(tx, tenant_id, wanted)}


def _template(row: RowMapping) -> GoalTemplate:
    return GoalTemplate(
        id=row["id"],
        version=row["version"],
        name=row["name"],
        name_pattern=row["name_pattern"],
        measure=Metric.model_validate(row["metric"]).measure(),
        unit=row["unit"],
        direction=Direction(row["direction"]),
        stretch=tuple(StretchShare(share["name"], Decimal(share["percent"])) for share in row["stretch"]),
        check_in=CheckIn(row["check_in"]),
        deleted=row["deleted"],
    )


def values(template: GoalTemplate) -> dict[str, object]:
    """What is stored of a template, and said of it on the audit trail."""
    return {
        "id": template.id,
        "version": template.version,
        "name": template.name,
        "name_pattern": template.name_pattern,
        "metric": Metric.of(template.measure).model_dump(mode="json"),
        "unit": template.unit,
        "direction": template.direction.value,
        "stretch": [{"name": share.name, "percent": format_amount(share.percent)} for share in template.stretch],
        "check_in": template.check_in.value,
        "deleted": template.deleted,
    }


TEMPLATES: Final = VersionedTable(
    "goal template", goal_templates, _template, values, TemplateNotFound, present=~goal_templates.c.deleted
)
