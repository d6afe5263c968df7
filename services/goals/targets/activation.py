"""Activating drafts by the thousand, as a job.

Each chunk is one transaction of the job. A draft that cannot be activated stays one, and is counted and listed. Goals
that are made of their parts come last, each once the weights of those of its parts that count come to 1.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Final
from uuid import UUID

from services.goals.jobs.domain import Chunk, Job
from services.goals.jobs.service import Jobs
from services.goals.targets import store
from services.goals.targets.domain import GoalFilter, WeightsNotWhole, check_weights
from services.goals.targets.service import GoalChange, Goals, Verb
from shared.db.database import Transaction
from shared.kernel.errors import Refusals
from shared.kernel.sight import WHOLE_TENANT

ACTIVATE_GOALS: Final = "activate_goals"
"""The kind of job."""

_CHUNK_GOALS: Final = 1000
_WHOLES: Final = "wholes"
"""The cursor once only goals that are made of their parts are left; before, it is the id of the last draft seen."""


class Activation:
    """The drafts of a tenant, activated by a job."""

    def __init__(self, goals: Goals, jobs: Jobs) -> None:
        self._goals = goals
        self._jobs = jobs

    async def request_activation(self, tx: Transaction, tenant_id: UUID, wanted: GoalFilter) -> Job:
        """A job that activates every draft of the filter that there is when it comes to it."""
        total = await store.count_drafts(tx, tenant_id, wanted)
        parameters = {
            "owner_id": None if wanted.owner_id is None else str(wanted.owner_id),
            "parent_id": None if wanted.parent_id is None else str(wanted.parent_id),
            "on": None if wanted.on is None else wanted.on.isoformat(),
        }
        return await self._jobs.request_job(tx, tenant_id, ACTIVATE_GOALS, parameters, total=total)

    async def activate_chunk(self, tx: Transaction, tenant_id: UUID, job: Job) -> Chunk:
        """Activate the next of the drafts of such a job."""
        await tx.lock_tenants_exclusive([tenant_id])
        wanted = _filter(job)
        if job.cursor != _WHOLES:
            after = None if job.cursor is None else UUID(job.cursor)
            drafts = await store.drafts(tx, tenant_id, wanted, made_of_parts=False, after=after, limit=_CHUNK_GOALS)
            chunk = await self._activated(tx, tenant_id, drafts, job, Refusals(leaves_out=True))
            cursor = str(drafts[-1].id) if len(drafts) == _CHUNK_GOALS else _WHOLES
            return Chunk(len(drafts), cursor, chunk.counts, chunk.problems)
        wholes = await store.drafts(tx, tenant_id, wanted, made_of_parts=True, after=None, limit=None)
        weighings = await store.weighings(tx, tenant_id, [goal.id for goal in wholes], are_drafts=True)
        refusals = Refusals(leaves_out=True)
        for weighing in weighings:
            with refusals.at(_pointer(weighing.goal_id)):
                check_weights([weighing])
        chunk = await self._activated(tx, tenant_id, wholes, job, refusals)
        if chunk.counts["activated"]:
            # Others may be ready now, as they are made of these.
            return Chunk(chunk.counts["activated"], _WHOLES, {"activated": chunk.counts["activated"]})
        return Chunk(len(wholes), None, chunk.counts, chunk.problems)

    async def _activated(
        self, tx: Transaction, tenant_id: UUID, drafts: Sequence[store.Draft], job: Job, refusals: Refusals
    ) -> Chunk:
        """Activate those of the drafts that can be, and are not refused already."""
        parents = {goal.parent_id for goal in drafts if goal.parent_id is not None}
        counting = {each.goal_id for each in await store.weighings(tx, tenant_id, parents)}
        for goal in drafts:
            with refusals.at(_pointer(goal.id)):
                if goal.parent_id in counting and goal.weight:
                    raise WeightsNotWhole(
                        f"Goal {goal.parent_id} counts already: the weights of its parts would not come to 1."
                    )
        changes = [
            GoalChange(_pointer(goal.id), Verb.ACTIVATE, goal.id, goal.version)
            for goal in drafts
            if _pointer(goal.id) not in refusals.refused
        ]
        sight = replace(WHOLE_TENANT, viewer=replace(WHOLE_TENANT.viewer, person_id=job.requested_by.person_id))
        actor = job.requested_by
        activated = await self._goals.change_goals(tx, tenant_id, changes, refusals, actor=actor, sight=sight)
        counts = {"activated": len(activated), "refused": len(drafts) - len(activated)}
        return Chunk(len(drafts), None, counts, refusals.fields)


def _pointer(goal_id: UUID) -> str:
    return f"/goals/{goal_id}"


def _filter(job: Job) -> GoalFilter:
    owner_id, parent_id, on = (job.parameters[name] for name in ("owner_id", "parent_id", "on"))
    return GoalFilter(
        owner_id=None if owner_id is None else UUID(str(owner_id)),
        parent_id=None if parent_id is None else UUID(str(parent_id)),
        on=None if on is None else date.fromisoformat(str(on)),
    )
