"""Every statement on the tables of progress."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

from services.tracking.measure.progress.contributions import DistinctValue, Total
from services.tracking.measure.progress.domain import Movement
from services.tracking.measure.progress.tables import REBUILT_STRIPE
from shared.db.arrays import array_text
from shared.db.database import Statements, Transaction
from shared.kernel.org import CrmUser

GoalKey = tuple[UUID, UUID]
"""Tenant and goal."""


class DefinitionState(NamedTuple):
    """What a batch must know before it may move a tenant's goals."""

    revision: int
    stale: frozenset[UUID] | None
    """None where there are so many that whoever moves goals finds out of which of these: see `stale_among`."""


class State(NamedTuple):
    """Where a goal stands. Equal versions are equal states."""

    tenant_id: UUID
    goal_id: UUID
    stale: bool
    version: int
    value: Decimal
    """Of a ratio or an average the numerator."""
    denominator: Decimal
    deals: int
    changed_at: datetime
    received_at: datetime | None
    definition: str
    """The newest snapshot of the goal, as JSON."""
    has_parts: bool
    """Whether its number is made of what its parts have attained."""
    parts: tuple["State", ...] = ()
    """Those parts, each with its own: read in one statement with the goal itself."""

    def whole(self) -> Iterator["State"]:
        """The goal, and everything that its number is made of."""
        yield self
        for part in self.parts:
            yield from part.whole()

    @property
    def is_stale(self) -> bool:
        """Whether it, or what its number is made of, waits to be rebuilt."""
        return any(each.stale for each in self.whole())


_DEFINITION_STATES: Final = text(
    """
    SELECT tenant_id, revision, ARRAY(
        SELECT goal_id FROM tracking.progress_goals AS goal WHERE goal.tenant_id = stored.tenant_id AND goal.stale
        LIMIT :stale_max + 1
    ) AS stale
    FROM tracking.projection_revisions AS stored WHERE tenant_id = ANY(CAST(:tenant_ids AS uuid[]))
    """
)

_CHANGES_KEPT: Final = 1000
"""Who holds definitions that are older by more revisions reads them before it counts."""
_ADD_CHANGE: Final = text(
    """
    WITH pruned AS (
        DELETE FROM tracking.definition_changes WHERE tenant_id = :tenant_id AND revision < :oldest
    )
    INSERT INTO tracking.definition_changes (tenant_id, revision, users)
    VALUES (:tenant_id, :revision, CAST(:users AS text[]))
    """
)
# A revision of which nothing is stored may concern anybody.
_CONCERNS: Final = text(
    """
    SELECT count(*) < :revisions OR coalesce(bool_or(users IS NULL OR users && CAST(:users AS text[])), false)
        AS concerns
    FROM tracking.definition_changes WHERE tenant_id = :tenant_id AND revision > :known AND revision <= :revision
    """
)
_MOVE: Final = text(
    """
    INSERT INTO tracking.progress_stripes AS stored
        (tenant_id, goal_id, stripe, value, denominator, deals, version, changed_at, received_at)
    SELECT tenant_id, goal_id, :stripe, value, denominator, deals, 1, :now, received_at
    FROM unnest(
        CAST(CAST(:tenant_ids AS text) AS uuid[]), CAST(CAST(:goal_ids AS text) AS uuid[]),
        CAST(CAST(:values AS text) AS numeric[]), CAST(CAST(:denominators AS text) AS numeric[]),
        CAST(CAST(:deals AS text) AS bigint[]), CAST(CAST(:received AS text) AS timestamptz[])
    ) AS moved(tenant_id, goal_id, value, denominator, deals, received_at)
    ON CONFLICT (tenant_id, goal_id, stripe) DO UPDATE SET
        value = stored.value + excluded.value,
        denominator = stored.denominator + excluded.denominator,
        deals = stored.deals + excluded.deals,
        version = stored.version + 1,
        changed_at = excluded.changed_at,
        received_at = greatest(stored.received_at, excluded.received_at)
    """
)

# Who moves a value's count across zero adds it to, or takes it from, the goal: the row's lock decides who that is.
_MOVE_DISTINCT: Final = text(
    """
    WITH moved AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:tenant_ids AS uuid[]), CAST(:goal_ids AS uuid[]), CAST(:values AS text[]), CAST(:deals AS bigint[])
        ) AS t(tenant_id, goal_id, value, deals)
    ),
    counted AS (
        INSERT INTO tracking.progress_distinct AS stored (tenant_id, goal_id, value, deals) SELECT * FROM moved
        ON CONFLICT (tenant_id, goal_id, value) DO UPDATE SET deals = stored.deals + excluded.deals
        RETURNING tenant_id, goal_id, value, deals
    )
    SELECT tenant_id, goal_id,
        sum(CAST(counted.deals > 0 AS int) - CAST(counted.deals - moved.deals > 0 AS int)) AS value
    FROM counted JOIN moved USING (tenant_id, goal_id, value) GROUP BY tenant_id, goal_id
    """
)

# Under row-level security only what cannot leak decides an index: a subject that is made in the condition reads every
# snapshot of the tenant for each goal, so it is made before.
_STATES: Final = """
    SELECT goal.tenant_id, goal.goal_id, goal.stale, goal.version + coalesce(stripes.version, 0) AS version,
        coalesce(stripes.value, 0) AS value, coalesce(stripes.denominator, 0) AS denominator,
        coalesce(stripes.deals, 0) AS deals,
        greatest(goal.changed_at, stripes.changed_at) AS changed_at, stripes.received_at,
        CAST(stored.body AS text) AS definition,
        stored.body #> '{{metric,later_aggregate}}' IS NOT DISTINCT FROM '"children"' AS has_parts {columns}
    FROM (SELECT goal.*, 'goal/' || goal.goal_id AS subject FROM {goals} OFFSET 0) AS goal
    CROSS JOIN LATERAL (
        SELECT body FROM tracking.projected_snapshots AS snapshot
        WHERE snapshot.tenant_id = goal.tenant_id AND snapshot.subject = goal.subject LIMIT 1
    ) AS stored
    LEFT JOIN LATERAL (
        SELECT CAST(sum(version) AS bigint) AS version, sum(value) AS value, sum(denominator) AS denominator,
            CAST(sum(deals) AS bigint) AS deals, max(changed_at) AS changed_at, max(received_at) AS received_at
        FROM tracking.progress_stripes AS stripe
        WHERE stripe.tenant_id = goal.tenant_id AND stripe.goal_id = goal.goal_id
    ) AS stripes ON true
"""
_STATES_OF_GOALS: Final = text(
    _STATES.format(
        columns="",
        goals="""unnest(CAST(:tenant_ids AS uuid[]), CAST(:goal_ids AS uuid[])) AS wanted(tenant_id, goal_id)
            CROSS JOIN LATERAL (
                SELECT * FROM tracking.progress_goals AS g
                WHERE g.tenant_id = wanted.tenant_id AND g.goal_id = wanted.goal_id LIMIT 1
            ) AS goal""",
    )
)
# With everything below them, so that a goal's version and what it is made of are of one moment.
_STATES_WITH_PARTS: Final = text(
    """
    WITH RECURSIVE below AS (
        SELECT * FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:goal_ids AS uuid[])) AS wanted(tenant_id, goal_id)
        UNION
        SELECT below.tenant_id, part.goal_id FROM below CROSS JOIN LATERAL (
            SELECT goal_id FROM tracking.progress_parts AS part
            WHERE part.tenant_id = below.tenant_id AND part.parent_id = below.goal_id OFFSET 0
        ) AS part
    )
    """
    + _STATES.format(
        columns=""", ARRAY(
            SELECT part.goal_id FROM tracking.progress_parts AS part
            WHERE part.tenant_id = goal.tenant_id AND part.parent_id = goal.goal_id ORDER BY part.goal_id
        ) AS part_ids""",
        goals="""below CROSS JOIN LATERAL (
            SELECT * FROM tracking.progress_goals AS g
            WHERE g.tenant_id = below.tenant_id AND g.goal_id = below.goal_id LIMIT 1
        ) AS goal""",
    )
)
_STATES_PAGE: Final = text(
    _STATES.format(
        columns="",
        goals="""tracking.progress_goals AS goal
            WHERE goal.tenant_id = :tenant_id AND (CAST(:after AS uuid) IS NULL OR goal.goal_id > CAST(:after AS uuid))
            ORDER BY goal.goal_id""",
    )
    + """
    WHERE (CAST(:owners AS text[]) IS NULL OR stored.body #>> '{owner,id}' = ANY(CAST(:owners AS text[])))
        AND (CAST(:status AS text) IS NULL OR stored.body ->> 'status' = :status)
        AND (CAST(:on AS text) IS NULL OR (stored.body ->> 'start' <= :on AND stored.body ->> 'end' > :on))
    ORDER BY goal.goal_id LIMIT :limit
    """
)

_ADD: Final = text(
    """
    INSERT INTO tracking.progress_goals (tenant_id, goal_id, stale, version, changed_at)
    SELECT :tenant_id, goal_id, false, 1, :now FROM unnest(CAST(:goal_ids AS uuid[])) AS t(goal_id)
    ON CONFLICT (tenant_id, goal_id) DO NOTHING RETURNING goal_id
    """
)
_MARK_STALE: Final = text(
    """
    INSERT INTO tracking.progress_goals AS stored (tenant_id, goal_id, stale, version, changed_at)
    SELECT :tenant_id, goal_id, true, 1, :now FROM unnest(CAST(:goal_ids AS uuid[])) AS t(goal_id)
    ON CONFLICT (tenant_id, goal_id) DO UPDATE
    SET stale = true, version = stored.version + 1, changed_at = excluded.changed_at
    """
)
_MARK_KNOWN_STALE: Final = text(
    """
    UPDATE tracking.progress_goals SET stale = true, version = version + 1, changed_at = :now
    WHERE tenant_id = :tenant_id AND goal_id = ANY(CAST(:goal_ids AS uuid[]))
    """
)
_RESTATE: Final = text(
    """
    UPDATE tracking.progress_goals SET version = version + 1, changed_at = :now
    WHERE tenant_id = :tenant_id AND goal_id = ANY(CAST(:goal_ids AS uuid[])) RETURNING goal_id
    """
)
_STALE_GOALS: Final = text(
    "SELECT goal_id FROM tracking.progress_goals WHERE tenant_id = :tenant_id AND stale ORDER BY goal_id LIMIT :limit"
)
# Found one by one by key, however many are stale.
_STALE_AMONG: Final = text(
    """
    SELECT wanted.tenant_id, wanted.goal_id
    FROM unnest(CAST(CAST(:tenant_ids AS text) AS uuid[]), CAST(CAST(:goal_ids AS text) AS uuid[]))
        AS wanted(tenant_id, goal_id)
    CROSS JOIN LATERAL (
        SELECT stale FROM tracking.progress_goals AS goal
        WHERE goal.tenant_id = wanted.tenant_id AND goal.goal_id = wanted.goal_id LIMIT 1
    ) AS goal
    WHERE goal.stale
    """
)
_STALE_READ_MAX: Final = 500
"""Where more goals of a tenant are stale, they are not all read with every batch."""

_STALE_TENANTS: Final = text(
    "SELECT tenant_id, count(*) AS goals FROM tracking.progress_goals WHERE stale GROUP BY tenant_id ORDER BY tenant_id"
)

_CLEAR: Final = text(
    """
    WITH stripes AS (
        DELETE FROM tracking.progress_stripes
        WHERE tenant_id = :tenant_id AND goal_id = ANY(CAST(:goal_ids AS uuid[])) RETURNING goal_id, version
    ),
    versions AS (SELECT goal_id, sum(version) AS version FROM stripes GROUP BY goal_id),
    counts AS (
        DELETE FROM tracking.progress_distinct
        WHERE tenant_id = :tenant_id AND goal_id = ANY(CAST(:goal_ids AS uuid[]))
    ),
    parts AS (
        DELETE FROM tracking.progress_parts
        WHERE tenant_id = :tenant_id AND parent_id = ANY(CAST(:goal_ids AS uuid[]))
    )
    UPDATE tracking.progress_goals AS goal
    SET stale = false, changed_at = :now, version = goal.version + 1 + coalesce(
        (SELECT version FROM versions WHERE versions.goal_id = goal.goal_id), 0
    )
    WHERE tenant_id = :tenant_id AND goal_id = ANY(CAST(:goal_ids AS uuid[]))
    """
)
_REBUILD: Final = text(
    """
    INSERT INTO tracking.progress_stripes
        (tenant_id, goal_id, stripe, value, denominator, deals, version, changed_at, received_at)
    SELECT :tenant_id, goal_id, :stripe, value, denominator, deals, 0, :now, received_at
    FROM unnest(
        CAST(:goal_ids AS uuid[]), CAST(:values AS numeric[]), CAST(:denominators AS numeric[]),
        CAST(:deals AS bigint[]), CAST(:received AS timestamptz[])
    ) AS t(goal_id, value, denominator, deals, received_at)
    """
)
_REBUILD_DISTINCT: Final = text(
    """
    INSERT INTO tracking.progress_distinct (tenant_id, goal_id, value, deals)
    SELECT :tenant_id, goal_id, value, deals
    FROM unnest(CAST(:goal_ids AS uuid[]), CAST(:values AS text[]), CAST(:deals AS bigint[]))
        AS t(goal_id, value, deals)
    """
)
_ADD_PARTS: Final = text(
    """
    INSERT INTO tracking.progress_parts (tenant_id, parent_id, goal_id)
    SELECT :tenant_id, parent_id, goal_id
    FROM unnest(CAST(:parent_ids AS uuid[]), CAST(:goal_ids AS uuid[])) AS t(parent_id, goal_id)
    """
)
_GOALS_AFTER: Final = text(
    """
    SELECT tenant_id, goal_id FROM tracking.progress_goals
    WHERE (tenant_id, goal_id) > (CAST(:after_tenant_id AS uuid), CAST(:after_goal_id AS uuid))
    ORDER BY tenant_id, goal_id LIMIT :limit
    """
)
_TENANTS: Final = text("SELECT tenant_id FROM tracking.projection_revisions ORDER BY tenant_id")


async def definition_states(tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, DefinitionState]:
    """The revision of each tenant's definitions and its stale goals; tenants without definitions are left out."""
    rows = await tx.rows(_DEFINITION_STATES, {"tenant_ids": sorted(tenant_ids), "stale_max": _STALE_READ_MAX})
    return {
        row["tenant_id"]: DefinitionState(
            row["revision"], frozenset(row["stale"]) if len(row["stale"]) <= _STALE_READ_MAX else None
        )
        for row in rows
    }


async def add_change(tx: Transaction, tenant_id: UUID, revision: int, users: Collection[CrmUser] | None) -> None:
    """Store whose records a new revision of the definitions has count otherwise; None: perhaps everybody's."""
    oldest = revision - _CHANGES_KEPT
    parameters = {"tenant_id": tenant_id, "revision": revision, "oldest": oldest, "users": _names(users)}
    await tx.execute(_ADD_CHANGE, parameters)


async def has_changed_for(
    tx: Transaction, tenant_id: UUID, users: Collection[CrmUser], *, since: int, revision: int
) -> bool:
    """Whether records of one of these users may count otherwise at a revision than at an earlier one."""
    [row] = await tx.rows(
        _CONCERNS,
        {
            "tenant_id": tenant_id,
            "known": since,
            "revision": revision,
            "revisions": revision - since,
            "users": _names(users),
        },
    )
    return bool(row["concerns"])


def _names(users: Collection[CrmUser] | None) -> list[str] | None:
    return None if users is None else sorted(f"{user.source}/{user.external_id}" for user in users)


async def stale_among(tx: Transaction, goals: Collection[GoalKey]) -> frozenset[GoalKey]:
    """Those of these goals that are stale."""
    parameters = {
        "tenant_ids": array_text([tenant_id for tenant_id, _ in goals]),
        "goal_ids": array_text([goal_id for _, goal_id in goals]),
    }
    return frozenset((row["tenant_id"], row["goal_id"]) for row in await tx.rows(_STALE_AMONG, parameters))


async def move(tx: Transaction, movements: Mapping[GoalKey, Movement], *, stripe: int) -> None:
    """Add each movement to its goal's stripe."""
    keys = sorted(movements)
    distinct = await _move_distinct(tx, movements, keys)
    moved = [movements[key] for key in keys]
    await tx.execute(
        _MOVE,
        {
            "stripe": stripe,
            "now": tx.now,
            "tenant_ids": array_text([tenant_id for tenant_id, _ in keys]),
            "goal_ids": array_text([goal_id for _, goal_id in keys]),
            "values": array_text(
                [distinct.get(key, movement.value) for key, movement in zip(keys, moved, strict=True)]
            ),
            "denominators": array_text([movement.denominator for movement in moved]),
            "deals": array_text([movement.deals for movement in moved]),
            "received": array_text([movement.received_at for movement in moved]),
        },
    )


async def _move_distinct(
    tx: Transaction, movements: Mapping[GoalKey, Movement], keys: Sequence[GoalKey]
) -> dict[GoalKey, Decimal]:
    rows = [
        (tenant_id, goal_id, value, change)
        for tenant_id, goal_id in keys
        for value, change in sorted(movements[tenant_id, goal_id].distinct.items())
        if change
    ]
    if not rows:
        return {}
    tenant_ids, goal_ids, values, deals = (list(column) for column in zip(*rows, strict=True))
    moved = await tx.rows(
        _MOVE_DISTINCT, {"tenant_ids": tenant_ids, "goal_ids": goal_ids, "values": values, "deals": deals}
    )
    return {(row["tenant_id"], row["goal_id"]): Decimal(row["value"]) for row in moved}


async def states(tx: Statements, goals: Sequence[GoalKey]) -> list[State]:
    """Where these goals stand; those without progress are left out."""
    parameters = {"tenant_ids": [tenant_id for tenant_id, _ in goals], "goal_ids": [goal_id for _, goal_id in goals]}
    return await _with_parts(tx, [State(**row) for row in await tx.rows(_STATES_OF_GOALS, parameters)])


async def states_page(
    tx: Transaction,
    tenant_id: UUID,
    *,
    owners: Collection[UUID] | None,
    status: str | None,
    on: str | None,
    after: UUID | None,
    limit: int,
) -> list[State]:
    """Up to `limit` goals with progress, by id: those of `owners`, in `status`, whose period holds the ISO day `on`."""
    rows = await tx.rows(
        _STATES_PAGE,
        {
            "tenant_id": tenant_id,
            "owners": None if owners is None else sorted(str(owner) for owner in owners),
            "status": status,
            "on": on,
            "after": after,
            "limit": limit,
        },
    )
    return await _with_parts(tx, [State(**row) for row in rows])


async def _with_parts(tx: Statements, states: list[State]) -> list[State]:
    """The states, those of goals that are made of their parts with these, all of it as of one moment."""
    roots = [(state.tenant_id, state.goal_id) for state in states if state.has_parts]
    if not roots:
        return states
    parameters = {"tenant_ids": [tenant_id for tenant_id, _ in roots], "goal_ids": [goal_id for _, goal_id in roots]}
    found: dict[GoalKey, State] = {}
    part_ids: dict[GoalKey, Sequence[UUID]] = {}
    for row in await tx.rows(_STATES_WITH_PARTS, parameters):
        key = (row["tenant_id"], row["goal_id"])
        found[key] = State(**{name: value for name, value in row.items() if name != "part_ids"})
        part_ids[key] = row["part_ids"]

    def whole(key: GoalKey, above: frozenset[UUID]) -> State:
        # Goals arrive one by one, so that for a moment one may seem to be above itself.
        below = [(key[0], each) for each in part_ids[key] if each not in above]
        parts = tuple(whole(each, above | {each[1]}) for each in below if each in found)
        return found[key]._replace(parts=parts)

    keys = [(state.tenant_id, state.goal_id) for state in states]
    return [
        whole(key, frozenset({key[1]})) if state.has_parts and key in found else state
        for key, state in zip(keys, states, strict=True)
    ]


async def add(tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> list[UUID]:
    """Begin the progress of those of these goals that never had any; which those are.

    Before the transaction ends `stand` has to follow, under the tenant's lock.
    """
    rows = await tx.rows(_ADD, {"tenant_id": tenant_id, "goal_ids": sorted(goal_ids), "now": tx.now})
    return [row["goal_id"] for row in rows]


async def mark_stale(tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> None:
    """Nothing moves these goals until they are rebuilt."""
    await tx.execute(_MARK_STALE, {"tenant_id": tenant_id, "goal_ids": sorted(goal_ids), "now": tx.now})


async def mark_known_stale(tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> None:
    """The same for those of the goals that have progress."""
    await tx.execute(_MARK_KNOWN_STALE, {"tenant_id": tenant_id, "goal_ids": sorted(goal_ids), "now": tx.now})


async def restate(tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> list[UUID]:
    """Give a new version to those of the goals that have progress; which those are."""
    rows = await tx.rows(_RESTATE, {"tenant_id": tenant_id, "goal_ids": sorted(goal_ids), "now": tx.now})
    return [row["goal_id"] for row in rows]


async def stale_goals(tx: Transaction, tenant_id: UUID, *, limit: int) -> list[UUID]:
    """Goals that wait to be rebuilt."""
    return [row["goal_id"] for row in await tx.rows(_STALE_GOALS, {"tenant_id": tenant_id, "limit": limit})]


async def stale_tenants(tx: Transaction) -> dict[UUID, int]:
    """The tenants with goals that wait to be rebuilt, and how many."""
    return {row["tenant_id"]: row["goals"] for row in await tx.rows(_STALE_TENANTS)}


async def clear(tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> None:
    """Forget whatever moved these goals; they are no longer stale. `stand` has to follow."""
    await tx.execute(_CLEAR, {"tenant_id": tenant_id, "goal_ids": sorted(goal_ids), "now": tx.now})


async def stand(
    tx: Transaction,
    tenant_id: UUID,
    totals: Mapping[UUID, Total],
    distinct_values: Sequence[DistinctValue],
    parts: Sequence[tuple[UUID, UUID]],
) -> None:
    """Let these goals, which nothing has moved, stand where the totals say.

    `parts` are those that the numbers of some of them are made of, each behind its goal.
    """
    goal_ids = sorted(totals)
    rebuilt = [totals[goal_id] for goal_id in goal_ids]
    await tx.execute(
        _REBUILD,
        {
            "tenant_id": tenant_id,
            "stripe": REBUILT_STRIPE,
            "now": tx.now,
            "goal_ids": goal_ids,
            "values": [total.value for total in rebuilt],
            "denominators": [total.denominator for total in rebuilt],
            "deals": [total.deals for total in rebuilt],
            "received": [total.received_at for total in rebuilt],
        },
    )
    if parts:
        parent_ids, part_ids = [parent_id for parent_id, _ in parts], [part_id for _, part_id in parts]
        await tx.execute(_ADD_PARTS, {"tenant_id": tenant_id, "parent_ids": parent_ids, "goal_ids": part_ids})
    if distinct_values:
        await tx.execute(
            _REBUILD_DISTINCT,
            {
                "tenant_id": tenant_id,
                "goal_ids": [counted.goal_id for counted in distinct_values],
                "values": [counted.value for counted in distinct_values],
                "deals": [counted.deals for counted in distinct_values],
            },
        )


async def goals_after(tx: Transaction, after: GoalKey, limit: int) -> list[GoalKey]:
    """The next goals with progress, of every tenant in the transaction's scope."""
    parameters = {"after_tenant_id": after[0], "after_goal_id": after[1], "limit": limit}
    return [(row["tenant_id"], row["goal_id"]) for row in await tx.rows(_GOALS_AFTER, parameters)]


async def tenants(tx: Transaction) -> list[UUID]:
    """Every tenant with definitions."""
    return [row["tenant_id"] for row in await tx.rows(_TENANTS)]
