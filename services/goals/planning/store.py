"""Every statement on scenarios and commitments."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, insert, select, true
from sqlalchemy.dialects.postgresql import distinct_on

from services.goals.planning.codec import (
    log_from_json,
    log_to_json,
    pattern_from_json,
    pattern_to_json,
    plan_from_json,
    plan_to_json,
    wish_from_json,
    wish_to_json,
)
from services.goals.planning.domain.scenario import Commitment, Scenario, ScenarioNotFound, ScenarioState
from services.goals.planning.tables import scenario_commitments, scenarios
from shared.db.conditions import equal
from shared.db.database import Transaction
from shared.db.versioned import VersionedTable
from shared.kernel.approvals import Actor, ActorKind
from shared.kernel.sight import Sight


async def list_scenarios(
    tx: Transaction, tenant_id: UUID, sight: Sight, state: ScenarioState | None, *, after: UUID | None, limit: int
) -> list[Scenario]:
    """Those with a target for somebody in sight, the oldest first."""
    return await SCENARIOS.page(
        tx,
        tenant_id,
        after,
        limit,
        scenario_in(sight),
        equal(scenarios.c.state, None if state is None else state.value),
    )


def scenario_in(sight: Sight) -> ColumnElement[bool]:
    """Whether a scenario has a target for somebody in sight."""
    return true() if sight.owners is None else scenarios.c.owner_ids.overlap(sorted(sight.owners))


async def add_commitments(
    tx: Transaction, tenant_id: UUID, scenario_id: UUID, commitments: Sequence[Commitment]
) -> None:
    values = [
        {
            "tenant_id": tenant_id,
            "scenario_id": scenario_id,
            "node_id": commitment.node_id,
            "id": tx.new_id(),
            "amount": commitment.amount,
            "comment": commitment.comment,
            "author_kind": commitment.author.kind.value,
            "author_id": commitment.author.person_id,
            "committed_at": commitment.committed_at,
        }
        for commitment in commitments
    ]
    await tx.execute(insert(scenario_commitments), values)


async def commitments(tx: Transaction, tenant_id: UUID, scenario_id: UUID) -> Mapping[UUID, Commitment]:
    """The last one of each node."""
    columns = scenario_commitments.c
    statement = (
        select(scenario_commitments)
        .where(columns.tenant_id == tenant_id, columns.scenario_id == scenario_id)
        .ext(distinct_on(columns.node_id))
        .order_by(columns.node_id, columns.committed_at.desc(), columns.id.desc())
    )
    return {
        row["node_id"]: Commitment(
            row["node_id"],
            row["amount"],
            row["comment"],
            Actor(ActorKind(row["author_kind"]), row["author_id"]),
            row["committed_at"],
        )
        for row in await tx.rows(statement)
    }


def _scenario(row: RowMapping) -> Scenario:
    return Scenario(
        id=row["id"],
        version=row["version"],
        name=row["name"],
        state=ScenarioState(row["state"]),
        pattern=pattern_from_json(row["pattern"]),
        wish=wish_from_json(row["wish"]),
        plan=plan_from_json(row["plan"]),
        author=Actor(ActorKind(row["author_kind"]), row["author_id"]),
        known_at=row["known_at"],
        log=log_from_json(row["log"]),
        applied_at=row["applied_at"],
        job_id=row["job_id"],
    )


def _values(scenario: Scenario) -> dict[str, object]:
    return {
        "id": scenario.id,
        "version": scenario.version,
        "name": scenario.name,
        "state": scenario.state.value,
        "owner_ids": sorted(scenario.owner_ids),
        "pattern": pattern_to_json(scenario.pattern),
        "wish": wish_to_json(scenario.wish),
        "plan": plan_to_json(scenario.plan),
        "log": log_to_json(scenario.log),
        "author_kind": scenario.author.kind.value,
        "author_id": scenario.author.person_id,
        "known_at": scenario.known_at,
        "applied_at": scenario.applied_at,
        "job_id": scenario.job_id,
    }


SCENARIOS: Final = VersionedTable("scenario", scenarios, _scenario, _values, ScenarioNotFound)
