"""The JSON form of quotas."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from pydantic import ConfigDict, Field, TypeAdapter

from services.incentives.plans.content.base import Content
from services.incentives.plans.domain.assignments import CHANGES_MAX, GOAL_IDS_MAX, Quota, QuotaState
from shared.contracts.base import Amount, Day
from shared.kernel.errors import InvalidInput


class QuotaStateContent(Content):
    """Either an amount for every period, or goals: the target of the one whose period is the cell's."""

    amount: Amount | None = Field(None, examples=["250000"])
    goal_ids: tuple[UUID, ...] = Field(default=(), max_length=GOAL_IDS_MAX)


class QuotaChangeContent(QuotaStateContent):
    """What a quota is from a day on."""

    model_config = ConfigDict(populate_by_name=True)

    start: Day = Field(
        alias="from",
        description="Its first day, any one: what is paid by the quota is paid in two parts where it lies within a "
        "period. What lies before it is never paid again.",
    )


class QuotaContent(QuotaStateContent):
    """A quota, and what it becomes later."""

    changes: tuple[QuotaChangeContent, ...] = Field(
        default=(), max_length=CHANGES_MAX, description="In the order of their first days."
    )


QuotasContent = dict[str, QuotaContent]

QUOTAS: Final[TypeAdapter[QuotasContent]] = TypeAdapter(QuotasContent)


def quotas_of(content: Mapping[str, QuotaContent]) -> dict[str, Quota]:
    """The checked quotas, or InvalidInput that points into `/quotas`."""
    quotas = {}
    for key, item in content.items():
        try:
            changes = []
            for index, each in enumerate(item.changes):
                try:
                    changes.append((each.start, QuotaState(each.amount, each.goal_ids)))
                except InvalidInput as error:
                    raise error.under(f"/changes/{index}") from None
            quotas[key] = Quota(item.amount, item.goal_ids, tuple(changes))
        except InvalidInput as error:
            raise error.under(f"/quotas/{key}") from None
    return quotas


def quotas_content(quotas: Mapping[str, Quota]) -> dict[str, QuotaContent]:
    """The content that `quotas_of` turns back into equal quotas."""
    return {
        key: QuotaContent(
            amount=quota.amount,
            goal_ids=quota.goal_ids,
            changes=tuple(
                QuotaChangeContent(start=start, amount=state.amount, goal_ids=state.goal_ids)
                for start, state in quota.changes
            ),
        )
        for key, quota in quotas.items()
    }
