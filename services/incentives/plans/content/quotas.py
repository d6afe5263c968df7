"""The JSON form of quotas."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from pydantic import Field, TypeAdapter

from services.incentives.plans.content.base import Content
from services.incentives.plans.domain.assignments import Quota
from shared.contracts.base import Amount
from shared.kernel.errors import InvalidInput


class QuotaContent(Content):
    """Either an amount for every period, or goals: the target of the one whose period is the cell's."""

    amount: Amount | None = Field(None, examples=["250000"])
    goal_ids: tuple[UUID, ...] = Field(default=(), max_length=100)


QuotasContent = dict[str, QuotaContent]

QUOTAS: Final[TypeAdapter[dict[str, QuotaContent]]] = TypeAdapter(QuotasContent)


def quotas_of(content: Mapping[str, QuotaContent]) -> dict[str, Quota]:
    """The checked quotas, or InvalidInput that points into `/quotas`."""
    quotas = {}
    for key, item in content.items():
        try:
            quotas[key] = Quota(item.amount, item.goal_ids)
        except InvalidInput as error:
            raise error.under(f"/quotas/{key}") from None
    return quotas


def quotas_content(quotas: Mapping[str, Quota]) -> dict[str, QuotaContent]:
    """The content that `quotas_of` turns back into equal quotas."""
    return {key: QuotaContent(amount=quota.amount, goal_ids=quota.goal_ids) for key, quota in quotas.items()}
