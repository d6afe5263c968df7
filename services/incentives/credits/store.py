"""Every SQL statement on deals and credits."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping, TextClause, func, select, text

from services.incentives.credits.domain.credit import (
    CellKey,
    ComponentYear,
    Credit,
    DirectLine,
    OwnerSince,
    PeriodTotal,
    ReceivedDeal,
)
from services.incentives.credits.domain.plain import CreditTotal, PlainComponent
from services.incentives.credits.tables import credits, deal_connections, deal_owners, deal_split_users, deals
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.parameters import MAIN
from shared.db.database import Transaction
from shared.kernel.deals import DealFacts, DealKind, DealStatus, RecordVersion
from shared.kernel.filters import All, Condition, Filter, Operator, Value, conditions_of
from shared.kernel.measures import Measure, RatePolicy
from shared.kernel.org import CrmUser
from shared.kernel.periods import Period

_DAY: Final = timedelta(days=1)

# Look-ups here are lateral with a fence (LIMIT 1, or OFFSET 0 where there may be many), so that no plan, however old
# its statistics, reads a whole table or tenant to find the rows of a few keys. Where a secondary index is meant, the
# tenant's condition is outside the fence: the primary key starts with it, and would seem as good.
_STORE_NEWEST: Final = text(
    f"""
    WITH connections AS (
        INSERT INTO {deal_connections.fullname} (tenant_id, source, connection_id)
        SELECT DISTINCT * FROM unnest(
            CAST(:tenants AS uuid[]), CAST(:sources AS text[]), CAST(:connections AS uuid[])
        ) AS stated(tenant_id, source, connection_id)
        ORDER BY tenant_id, source, connection_id
        ON CONFLICT DO NOTHING
    ), stated AS (
        SELECT * FROM unnest(
            CAST(:owned_tenants AS uuid[]), CAST(:owned_ids AS uuid[]), CAST(:owned_modified AS timestamptz[]),
            CAST(:owned_sequences AS bigint[]), CAST(:owned_deliveries AS uuid[]), CAST(:owned_sources AS text[]),
            CAST(:owned_by AS text[])
        ) AS s(tenant_id, deal_id, modified_at, sequence, delivery_id, source, owner_external_id)
    ), known AS (
        -- In the order of their ids, so that two that lock deals never wait for each other.
        SELECT d.* FROM (SELECT DISTINCT tenant_id, deal_id FROM stated ORDER BY tenant_id, deal_id) AS s
        CROSS JOIN LATERAL (
            SELECT tenant_id, id AS deal_id, modified_at, sequence, delivery_id, source, owner_external_id, body
            FROM {deals.fullname} AS before WHERE before.tenant_id = s.tenant_id AND before.id = s.deal_id LIMIT 1
            FOR NO KEY UPDATE
        ) AS d
    ), owned AS (
        -- The version that was the newest until now is known by its deal alone.
        INSERT INTO {deal_owners.fullname}
            (tenant_id, deal_id, modified_at, sequence, delivery_id, source, owner_external_id)
        SELECT tenant_id, deal_id, modified_at, sequence, delivery_id, source, owner_external_id FROM known
        UNION
        SELECT * FROM stated WHERE (tenant_id, deal_id) IN (
            SELECT tenant_id, deal_id FROM known
            UNION ALL
            SELECT tenant_id, deal_id FROM stated GROUP BY tenant_id, deal_id HAVING count(*) > 1
        )
        ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT DO NOTHING
    ), newer AS (
        INSERT INTO {deals.fullname} AS stored
            (tenant_id, id, modified_at, sequence, delivery_id, source, owner_external_id, won_on, kind, status, amount,
             currency, closed_on, closed_at, body)
        SELECT * FROM unnest(
            CAST(:tenants AS uuid[]), CAST(:ids AS uuid[]), CAST(:modified AS timestamptz[]),
            CAST(:sequences AS bigint[]), CAST(:deliveries AS uuid[]), CAST(:sources AS text[]),
            CAST(:owners AS text[]), CAST(:won AS date[]), CAST(:kinds AS text[]), CAST(:statuses AS text[]),
            CAST(:amounts AS numeric[]), CAST(:currencies AS text[]), CAST(:closed_on AS date[]),
            CAST(:closed_at AS timestamptz[]), CAST(:bodies AS text[])
        )
        -- Not before those that are known are locked and read.
        WHERE (SELECT count(*) FROM known) >= 0
        ON CONFLICT (tenant_id, id) DO UPDATE SET
            modified_at = excluded.modified_at, sequence = excluded.sequence, delivery_id = excluded.delivery_id,
            source = excluded.source, owner_external_id = excluded.owner_external_id, won_on = excluded.won_on,
            kind = excluded.kind, status = excluded.status, amount = excluded.amount, currency = excluded.currency,
            closed_on = excluded.closed_on, closed_at = excluded.closed_at, body = excluded.body
        WHERE (stored.modified_at, stored.sequence, stored.delivery_id)
            < (excluded.modified_at, excluded.sequence, excluded.delivery_id)
        RETURNING tenant_id, id, xmax = 0 AS inserted
    ), replacing AS (
        -- What came to be known while it was to be inserted was locked, and so has an xmax.
        SELECT newer.tenant_id, newer.id, known.body AS before, known.body IS NULL AND newer.inserted AS is_first
        FROM newer LEFT JOIN known ON known.tenant_id = newer.tenant_id AND known.deal_id = newer.id
    )
    SELECT r.tenant_id, r.id, r.is_first, r.before, credited.* FROM replacing AS r LEFT JOIN LATERAL (
        SELECT assignment_id, component, measure, deal_id, day, period_start, period_end, percent, value, factor
        FROM {credits.fullname} AS c
        WHERE NOT r.is_first AND c.tenant_id = r.tenant_id AND c.deal_id = r.id OFFSET 0
    ) AS credited ON true
    """
)
_OWNERS: Final = text(
    f"""
    SELECT o.* FROM unnest(CAST(:ids AS uuid[])) AS wanted(id) CROSS JOIN LATERAL (
        SELECT deal_id, modified_at, sequence, delivery_id, owner_external_id FROM {deal_owners.fullname}
        WHERE tenant_id = :tenant_id AND deal_id = wanted.id OFFSET 0
    ) AS o
    ORDER BY o.deal_id, o.modified_at, o.sequence, o.delivery_id
    """
)
_BODIES_OF_FORMER_OWNERS: Final = text(
    f"""
    WITH users AS (
        SELECT source, external_id
        FROM unnest(CAST(:sources AS text[]), CAST(:users AS text[])) AS u(source, external_id)
    ), found AS (
        SELECT DISTINCT o.tenant_id, o.deal_id AS id FROM users AS u CROSS JOIN LATERAL (
            SELECT tenant_id, deal_id FROM {deal_owners.fullname}
            WHERE owner_external_id = u.external_id AND source = u.source OFFSET 0
        ) AS o
        WHERE o.tenant_id = :tenant_id
    )
    SELECT d.body FROM found CROSS JOIN LATERAL (
        SELECT body FROM {deals.fullname} WHERE tenant_id = :tenant_id AND id = found.id LIMIT 1
    ) AS d
    """
)
_STORE_SPLIT_USERS: Final = text(
    f"""
    INSERT INTO {deal_split_users.fullname} (tenant_id, source, external_id, deal_id)
    SELECT * FROM unnest(
        CAST(:tenants AS uuid[]), CAST(:sources AS text[]), CAST(:users AS text[]), CAST(:deals AS uuid[])
    )
    ON CONFLICT DO NOTHING
    """
)
_BODIES_OF_USERS: Final = text(
    f"""
    WITH users AS (
        SELECT source, external_id
        FROM unnest(CAST(:sources AS text[]), CAST(:users AS text[])) AS u(source, external_id)
    ), found AS (
        SELECT d.id FROM users AS u CROSS JOIN LATERAL (
            SELECT id FROM {deals.fullname}
            WHERE tenant_id = :tenant_id AND source = u.source AND owner_external_id = u.external_id OFFSET 0
        ) AS d
        UNION
        SELECT s.deal_id FROM users AS u CROSS JOIN LATERAL (
            SELECT deal_id FROM {deal_split_users.fullname}
            WHERE tenant_id = :tenant_id AND source = u.source AND external_id = u.external_id OFFSET 0
        ) AS s
    )
    SELECT d.body FROM found CROSS JOIN LATERAL (
        SELECT body FROM {deals.fullname} WHERE tenant_id = :tenant_id AND id = found.id LIMIT 1
    ) AS d
    """
)
_BODIES: Final = text(
    f"""
    SELECT d.* FROM unnest(CAST(:ids AS uuid[])) AS wanted(id) CROSS JOIN LATERAL (
        SELECT id, body FROM {deals.fullname} WHERE tenant_id = :tenant_id AND id = wanted.id LIMIT 1
    ) AS d
    """
)
_FOUND: Final = f"""
    SELECT c.* FROM unnest(CAST(:ids AS uuid[])) AS wanted(id) CROSS JOIN LATERAL (
        SELECT * FROM {credits.fullname} WHERE {{condition}} = wanted.id OFFSET 0
    ) AS c
    WHERE c.tenant_id = :tenant_id
"""
_OF_ASSIGNMENTS: Final = text(_FOUND.format(condition="assignment_id"))
_OF_CELLS: Final = text(f"{_FOUND.format(condition='cell_id')} ORDER BY c.day, c.deal_id")
_OF_YEARS: Final = text(
    f"""
    SELECT c.* FROM unnest(
        CAST(:assignments AS uuid[]), CAST(:components AS text[]), CAST(:starts AS date[]), CAST(:ends AS date[])
    ) AS wanted(assignment_id, component, start, "end") CROSS JOIN LATERAL (
        SELECT * FROM {credits.fullname} WHERE assignment_id = wanted.assignment_id OFFSET 0
    ) AS c
    WHERE c.tenant_id = :tenant_id AND c.component = wanted.component
        AND c.period_start >= wanted.start AND c.period_start < wanted."end"
    """
)
_TOTALS_OF_YEARS: Final = text(
    f"""
    SELECT assignment_id, component, period_start, period_end, measure,
        CASE measure WHEN '{MAIN}' THEN period_start ELSE day END AS counted_on,
        sum(value) AS value, count(*) AS credits
    FROM ({_OF_YEARS.text}) AS found GROUP BY assignment_id, component, period_start, period_end, measure, counted_on
    """
)
_OF_DEALS: Final = text(_FOUND.format(condition="tenant_id = :tenant_id AND deal_id"))
_NEWEST_VERSIONS: Final = text(
    f"""
    SELECT id, modified_at, sequence, delivery_id FROM {deals.fullname}
    WHERE tenant_id = :tenant_id AND id > :after
        AND (CAST(:until AS uuid) IS NULL OR id <= CAST(:until AS uuid))
    ORDER BY id LIMIT :limit
    """
)
_DELETE: Final = text(
    f"""
    DELETE FROM {credits.fullname} WHERE ctid = ANY(ARRAY(
        SELECT stored.ctid
        FROM unnest(
            CAST(:deals AS uuid[]), CAST(:assignments AS uuid[]), CAST(:components AS text[]),
            CAST(:measures AS text[]), CAST(:days AS date[])
        ) AS gone(deal_id, assignment_id, component, measure, day)
        CROSS JOIN LATERAL (
            SELECT c.ctid FROM {credits.fullname} AS c
            WHERE c.tenant_id = :tenant_id AND c.deal_id = gone.deal_id
                AND c.assignment_id = gone.assignment_id AND c.component = gone.component
                AND c.measure = gone.measure AND c.day = gone.day
            LIMIT 1
        ) AS stored
    ))
    """
)
# Of the deals won around some days: what each direct line credits of them, every deal once, by the line that credits
# the largest share of it; and the ids of those of which a share, or all, is left. Fenced as look-ups are above.
_WON: Final = text(
    f"""
    WITH direct AS (
        SELECT * FROM unnest(
            CAST(:assignments AS uuid[]), CAST(:components AS text[]), CAST(:lines AS int[]), CAST(:wholes AS numeric[])
        ) AS d(assignment_id, component, line, whole)
    ), won AS MATERIALIZED (
        SELECT id FROM {deals.fullname}
        WHERE won_on BETWEEN :first_day AND :last_day AND tenant_id = :tenant_id
    ), credited AS (
        SELECT c.deal_id, direct.line, sum(c.percent / direct.whole) / count(DISTINCT c.day) AS share,
            sum(c.value) FILTER (WHERE c.day >= :start AND c.day < :end) AS value
        FROM won CROSS JOIN LATERAL (
            SELECT deal_id, assignment_id, component, day, percent, value FROM {credits.fullname}
            WHERE tenant_id = :tenant_id AND deal_id = won.id AND measure = :measure OFFSET 0
        ) AS c
        JOIN direct ON direct.assignment_id = c.assignment_id AND direct.component = c.component
        GROUP BY c.deal_id, direct.line
    ), best AS (
        SELECT DISTINCT ON (deal_id) deal_id, line, share, value FROM credited ORDER BY deal_id, share DESC, line
    )
    SELECT line, sum(value) AS value, NULL AS deal_id FROM best GROUP BY line
    UNION ALL
    SELECT NULL, NULL, won.id FROM won LEFT JOIN best ON best.deal_id = won.id
    WHERE best.deal_id IS NULL OR best.share < 1
    """
)
_SAVE: Final = text(
    f"""
    INSERT INTO {credits.fullname}
        (tenant_id, deal_id, assignment_id, component, measure, cell_id, day, period_start, period_end, percent, value,
         factor)
    SELECT :tenant_id, * FROM unnest(
        CAST(:deals AS uuid[]), CAST(:assignments AS uuid[]), CAST(:components AS text[]), CAST(:measures AS text[]),
        CAST(:cells AS uuid[]), CAST(:days AS date[]), CAST(:starts AS date[]), CAST(:ends AS date[]),
        CAST(:percents AS numeric[]), CAST(:values AS numeric[]), CAST(:factors AS numeric[])
    )
    ON CONFLICT (tenant_id, deal_id, assignment_id, component, measure, day) DO UPDATE SET
        cell_id = excluded.cell_id, period_start = excluded.period_start, period_end = excluded.period_end,
        percent = excluded.percent, value = excluded.value, factor = excluded.factor
    """
)
# The credits of a plain component, for some assignments at once: what is stored and not wanted goes, and what is wanted
# and not stored is added after that. A full join is of hashes or merged, whatever a plan expects of either side. The
# deals of an assignment that are beyond this rule are left, with all others of it, to the one that knows every deal.
_CREDIT_PLAIN: Final = """
    WITH counted AS MATERIALIZED (
        SELECT u.number, d.id, d.closed_on AS day, {value} AS value,
            width_bucket(d.closed_on, CAST(:starts AS date[])) AS place, {is_beyond} AS is_beyond
        FROM unnest(
            CAST(:numbers AS int[]), CAST(:sources AS text[]), CAST(:users AS text[]), CAST(:firsts AS date[]),
            CAST(:lasts AS date[])
        ) AS u(number, source, external_id, first, last)
        CROSS JOIN LATERAL (
            SELECT * FROM {deals}
            WHERE tenant_id = :tenant_id AND source = u.source AND owner_external_id = u.external_id OFFSET 0
        ) AS d{texts}
        WHERE d.kind IS NULL OR d.kind <> ALL(CAST(:gone AS text[])) AND {filter} AND {has_value}
            AND (d.closed_on BETWEEN u.first AND u.last OR d.closed_on IS NULL AND d.closed_at IS NOT NULL)
    ), beyond AS MATERIALIZED (
        SELECT DISTINCT number FROM counted WHERE is_beyond
    ), wanted AS MATERIALIZED (
        SELECT number, id AS deal_id, day, place, (CAST(:cells AS uuid[]))[(number - 1) * :width + place] AS cell_id,
            (CAST(:starts AS date[]))[place] AS period_start, (CAST(:ends AS date[]))[place] AS period_end,
            CAST(:percent AS numeric) AS percent, value, CAST(1 AS numeric) AS factor, '{main}' AS measure
        FROM counted
        WHERE place > 0 AND day < (CAST(:ends AS date[]))[place] AND number NOT IN (SELECT number FROM beyond)
    ), stored AS MATERIALIZED (
        SELECT a.number, c.*
        FROM unnest(CAST(:assignments AS uuid[])) WITH ORDINALITY AS a(id, number) CROSS JOIN LATERAL (
            SELECT ctid AS row, * FROM {credits} WHERE assignment_id = a.id OFFSET 0
        ) AS c
        WHERE c.tenant_id = :tenant_id AND c.component = :component AND a.number NOT IN (SELECT number FROM beyond)
    ), differing AS MATERIALIZED (
        SELECT stored.row, wanted.*
        FROM wanted FULL JOIN stored ON stored.number = wanted.number AND stored.deal_id = wanted.deal_id
            AND stored.day = wanted.day AND stored.measure = wanted.measure AND stored.cell_id = wanted.cell_id
            AND stored.period_end = wanted.period_end AND stored.percent = wanted.percent
            AND stored.value = wanted.value AND stored.factor = wanted.factor
        WHERE stored.number IS NULL OR wanted.number IS NULL
    ), removed AS (
        DELETE FROM {credits} WHERE ctid = ANY(ARRAY(SELECT row FROM differing WHERE number IS NULL)) RETURNING 1
    ), added AS (
        INSERT INTO {credits}
            (tenant_id, deal_id, assignment_id, component, measure, cell_id, day, period_start, period_end, percent,
             value, factor)
        SELECT :tenant_id, deal_id, (CAST(:assignments AS uuid[]))[number], :component, measure, cell_id, day,
            period_start, period_end, percent, value, factor
        FROM differing WHERE number IS NOT NULL AND (SELECT count(*) FROM removed) >= 0 ORDER BY deal_id, number
    )
    SELECT number, place, sum(value) AS value, count(*) AS credits FROM wanted GROUP BY number, place
    UNION ALL
    SELECT number, NULL, NULL, NULL FROM beyond
"""
_DELETE_OTHERS: Final = text(
    f"""
    DELETE FROM {credits.fullname} WHERE ctid = ANY(ARRAY(
        SELECT c.ctid FROM unnest(CAST(:assignments AS uuid[])) AS a(id) CROSS JOIN LATERAL (
            SELECT ctid, tenant_id, component FROM {credits.fullname} WHERE assignment_id = a.id OFFSET 0
        ) AS c
        WHERE c.tenant_id = :tenant_id AND c.component <> ALL(CAST(:components AS text[]))
    ))
    """
)


class ReplacedDeal(NamedTuple):
    """What was stored of a deal, as far as the statement that stored a newer version saw it.

    `before` is the event of the version that was replaced. There is none of a deal that `is_first`, nor where somebody
    else stored the first version at the same time.
    """

    credits: list[Credit]
    before: str | None
    is_first: bool


async def store_newest(
    tx: Transaction, newest: Collection[ReceivedDeal], incoming: Sequence[ReceivedDeal]
) -> dict[tuple[UUID, UUID], ReplacedDeal]:
    """Store each deal that is newer than what is stored; (tenant, deal) of those, with what was stored of them.

    Nobody else stores a version of any of these deals until the end of the transaction.

    `newest` has the newest version of each that is `incoming`; of these all the owner is kept where there are several.
    """
    ordered = sorted(newest, key=lambda deal: (deal.tenant_id, deal.facts.deal_id))
    rows = await tx.rows(
        _STORE_NEWEST,
        {
            "tenants": [deal.tenant_id for deal in ordered],
            "ids": [deal.facts.deal_id for deal in ordered],
            "modified": [deal.facts.version.modified_at for deal in ordered],
            "sequences": [deal.facts.version.sequence for deal in ordered],
            "deliveries": [deal.facts.version.delivery_id for deal in ordered],
            "sources": [deal.facts.source for deal in ordered],
            "owners": [deal.facts.owner_external_id for deal in ordered],
            "won": [_won_on(deal.facts) for deal in ordered],
            "kinds": [deal.facts.kind for deal in ordered],
            "statuses": [deal.facts.status for deal in ordered],
            "amounts": [deal.facts.amount for deal in ordered],
            "currencies": [deal.facts.currency for deal in ordered],
            "closed_on": [deal.facts.closed_on for deal in ordered],
            "closed_at": [deal.facts.closed_at for deal in ordered],
            "bodies": [deal.body for deal in ordered],
            "connections": [deal.connection_id for deal in ordered],
            "owned_tenants": [deal.tenant_id for deal in incoming],
            "owned_ids": [deal.facts.deal_id for deal in incoming],
            "owned_modified": [deal.facts.version.modified_at for deal in incoming],
            "owned_sequences": [deal.facts.version.sequence for deal in incoming],
            "owned_deliveries": [deal.facts.version.delivery_id for deal in incoming],
            "owned_sources": [deal.facts.source for deal in incoming],
            "owned_by": [deal.facts.owner_external_id for deal in incoming],
        },
    )
    newer = {(row["tenant_id"], row["id"]): ReplacedDeal([], row["before"], row["is_first"]) for row in rows}
    credited = [row for row in rows if row["deal_id"] is not None]
    for row, credit in zip(credited, _credits(credited), strict=True):
        newer[row["tenant_id"], row["id"]].credits.append(credit)
    users = sorted(
        {
            (deal.tenant_id, deal.facts.source, split.owner_external_id, deal.facts.deal_id)
            for deal in ordered
            if deal.facts.splits and (deal.tenant_id, deal.facts.deal_id) in newer
            for split in deal.facts.splits
        }
    )
    if users:
        names = ("tenants", "sources", "users", "deals")
        await tx.execute(
            _STORE_SPLIT_USERS, {name: list(each) for name, each in zip(names, zip(*users, strict=True), strict=True)}
        )
    return newer


class WonDeals(NamedTuple):
    """What each line credits of the deals that were won, and the deals of which something is left."""

    credited: dict[int, Decimal]
    left: list[UUID]


async def won(tx: Transaction, tenant_id: UUID, days: Period, lines: Sequence[DirectLine], measure: str) -> WonDeals:
    """Of deals won within some days, or a day from these; each is counted once, by the line that credits most of it."""
    rows = await tx.rows(
        _WON,
        {
            "tenant_id": tenant_id,
            "assignments": [each.assignment_id for each in lines],
            "components": [each.component for each in lines],
            "lines": [each.line for each in lines],
            "wholes": [each.whole_percent for each in lines],
            "measure": measure,
            "start": days.start,
            "end": days.end,
            "first_day": days.start - timedelta(days=1),
            "last_day": days.end,
        },
    )
    return WonDeals(
        {row["line"]: row["value"] or Decimal(0) for row in rows if row["line"] is not None},
        [row["deal_id"] for row in rows if row["deal_id"] is not None],
    )


async def owners(tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> dict[UUID, tuple[OwnerSince, ...]]:
    """The owner of every version of those of these deals of which more than one has arrived, in their order."""
    found: defaultdict[UUID, list[OwnerSince]] = defaultdict(list)
    for row in await tx.rows(_OWNERS, {"tenant_id": tenant_id, "ids": sorted(deal_ids)}):
        found[row["deal_id"]].append(OwnerSince(row["modified_at"], row["owner_external_id"]))
    return {deal_id: tuple(each) for deal_id, each in found.items()}


async def bodies_of_former_owners(tx: Transaction, tenant_id: UUID, users: Collection[CrmUser]) -> list[str]:
    """The newest events of every deal of which a version has or had one of these users as its owner."""
    ordered = sorted(users)
    rows = await tx.rows(
        _BODIES_OF_FORMER_OWNERS,
        {
            "tenant_id": tenant_id,
            "sources": [user.source for user in ordered],
            "users": [user.external_id for user in ordered],
        },
    )
    return [row["body"] for row in rows]


async def bodies_of_users(tx: Transaction, tenant_id: UUID, users: Collection[CrmUser]) -> list[str]:
    """The newest events of every deal that one of these users owns or is, or was, on the splits of."""
    ordered = sorted(users)
    rows = await tx.rows(
        _BODIES_OF_USERS,
        {
            "tenant_id": tenant_id,
            "sources": [user.source for user in ordered],
            "users": [user.external_id for user in ordered],
        },
    )
    return [row["body"] for row in rows]


async def bodies(tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> dict[UUID, str]:
    rows = await tx.rows(_BODIES, {"tenant_id": tenant_id, "ids": sorted(deal_ids)})
    return {row["id"]: row["body"] for row in rows}


async def bodies_page(tx: Transaction, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[tuple[UUID, str]]:
    """The tenant's deals in the order of their ids."""
    statement = select(deals.c.id, deals.c.body).where(deals.c.tenant_id == tenant_id)
    if after is not None:
        statement = statement.where(deals.c.id > after)
    return [(row["id"], row["body"]) for row in await tx.rows(statement.order_by(deals.c.id).limit(limit))]


async def credits_of_assignments(tx: Transaction, tenant_id: UUID, assignment_ids: Collection[UUID]) -> list[Credit]:
    return _credits(await tx.rows(_OF_ASSIGNMENTS, {"tenant_id": tenant_id, "ids": sorted(assignment_ids)}))


async def credits_of_deals(tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> list[Credit]:
    return _credits(await tx.rows(_OF_DEALS, {"tenant_id": tenant_id, "ids": sorted(deal_ids)}))


async def count_credits(tx: Transaction, tenant_id: UUID) -> int:
    """How many credits are stored of a tenant."""
    rows = await tx.rows(select(func.count().label("credits")).where(credits.c.tenant_id == tenant_id))
    return int(rows[0]["credits"])


async def connections(tx: Transaction, tenant_id: UUID, source: str) -> list[UUID]:
    """The connections that deals of a source have come from."""
    statement = select(deal_connections.c.connection_id).where(
        deal_connections.c.tenant_id == tenant_id, deal_connections.c.source == source
    )
    return [row["connection_id"] for row in await tx.rows(statement)]


async def tenants(tx: Transaction) -> list[UUID]:
    """The tenants in scope that have deals."""
    return [row["tenant_id"] for row in await tx.rows(select(deals.c.tenant_id).group_by(deals.c.tenant_id))]


async def newest_versions(
    tx: Transaction, tenant_id: UUID, *, after: UUID, until: UUID | None, limit: int
) -> list[tuple[UUID, RecordVersion]]:
    """The version that is stored of the tenant's next deals by id, up to and with `until`."""
    rows = await tx.rows(_NEWEST_VERSIONS, {"tenant_id": tenant_id, "after": after, "until": until, "limit": limit})
    return [(row["id"], RecordVersion(row["modified_at"], row["sequence"], row["delivery_id"])) for row in rows]


async def credits_of_cells(tx: Transaction, tenant_id: UUID, cell_ids: Collection[UUID]) -> list[Credit]:
    """In the order in which they reach the tiers."""
    return _credits(await tx.rows(_OF_CELLS, {"tenant_id": tenant_id, "ids": sorted(cell_ids)}))


async def credits_of_years(tx: Transaction, tenant_id: UUID, years: Collection[ComponentYear]) -> list[Credit]:
    """By every measure of the components."""
    return _credits(await tx.rows(_OF_YEARS, _wanted(tenant_id, years))) if years else []


async def totals_of_years(tx: Transaction, tenant_id: UUID, years: Collection[ComponentYear]) -> list[PeriodTotal]:
    """What these come to, by measure and period."""
    return [
        PeriodTotal(
            CellKey(row["assignment_id"], row["component"], Period(row["period_start"], row["period_end"])),
            row["measure"],
            row["counted_on"],
            row["value"],
            row["credits"],
        )
        for row in (await tx.rows(_TOTALS_OF_YEARS, _wanted(tenant_id, years)) if years else ())
    ]


def _wanted(tenant_id: UUID, years: Collection[ComponentYear]) -> dict[str, object]:
    ordered = sorted(years, key=lambda each: (each.assignment_id, each.component, each.year.start))
    return {
        "tenant_id": tenant_id,
        "assignments": [each.assignment_id for each in ordered],
        "components": [each.component for each in ordered],
        "starts": [each.year.start for each in ordered],
        "ends": [each.year.end for each in ordered],
    }


async def delete_credits(tx: Transaction, tenant_id: UUID, gone: Sequence[Credit]) -> None:
    if gone:
        ordered = sorted(gone, key=lambda credit: credit.key)
        await tx.execute(
            _DELETE,
            {
                "tenant_id": tenant_id,
                "deals": [credit.deal_id for credit in ordered],
                "assignments": [credit.assignment_id for credit in ordered],
                "components": [credit.component for credit in ordered],
                "measures": [credit.measure for credit in ordered],
                "days": [credit.day for credit in ordered],
            },
        )


async def save_credits(tx: Transaction, tenant_id: UUID, saved: Sequence[Credit]) -> None:
    if saved:
        ordered = sorted(saved, key=lambda credit: credit.key)
        await tx.execute(
            _SAVE,
            {
                "tenant_id": tenant_id,
                "deals": [credit.deal_id for credit in ordered],
                "assignments": [credit.assignment_id for credit in ordered],
                "components": [credit.component for credit in ordered],
                "measures": [credit.measure for credit in ordered],
                "cells": [credit.cell.id for credit in ordered],
                "days": [credit.day for credit in ordered],
                "starts": [credit.period.start for credit in ordered],
                "ends": [credit.period.end for credit in ordered],
                "percents": [credit.percent for credit in ordered],
                "values": [credit.value for credit in ordered],
                "factors": [credit.factor for credit in ordered],
            },
        )


def _won_on(facts: DealFacts) -> date | None:
    """The day to find a won deal by."""
    if facts.status is not DealStatus.WON:
        return None
    if facts.closed_on is None and facts.closed_at is not None:
        return facts.closed_at.astimezone(UTC).date()
    return facts.closed_on


async def credit_plain(
    tx: Transaction,
    tenant_id: UUID,
    component: PlainComponent,
    assignments: Sequence[Assignment],
    users: Mapping[UUID, Sequence[CrmUser]],
) -> tuple[dict[CellKey, CreditTotal], set[UUID]]:
    """Have the credits of a component be those of the stored deals of the users of each of these assignments.

    The totals of cells with credits; and the assignments with a deal that the rule does not know, of which nothing is
    changed: one in a currency to be converted, on a day that a time zone decides, or after the cells of the component.
    """
    measure, cells = component.measure, component.cells
    keys = [CellKey(each.id, component.key, period) for each in assignments for period in cells]
    owned = [(number, each, user) for number, each in enumerate(assignments, start=1) for user in users[each.id]]
    statement, compared = _plain_statement(measure)
    rows = await tx.rows(
        statement,
        {
            "tenant_id": tenant_id,
            "assignments": [each.id for each in assignments],
            "numbers": [number for number, _, _ in owned],
            "sources": [user.source for _, _, user in owned],
            "users": [user.external_id for _, _, user in owned],
            "firsts": [each.range.start for _, each, _ in owned],
            "lasts": [date.max if (end := each.range.end) is None else end - _DAY for _, each, _ in owned],
            "gone": [DealKind.DELETED, DealKind.MERGED],
            "component": component.key,
            "starts": [period.start for period in cells],
            "ends": [period.end for period in cells],
            "cells": [key.id for key in keys],
            "width": len(cells),
            "until": component.until,
            "percent": component.percent,
            "share": component.percent.scaleb(-2),
            "currency": measure.currency,
            **compared,
        },
    )
    totals = {
        keys[(row["number"] - 1) * len(cells) + row["place"] - 1]: CreditTotal(row["value"], row["credits"])
        for row in rows
        if row["place"] is not None
    }
    return totals, {assignments[row["number"] - 1].id for row in rows if row["place"] is None}


async def delete_other_credits(
    tx: Transaction, tenant_id: UUID, assignment_ids: Collection[UUID], components: Collection[str]
) -> None:
    """Delete what is credited to these assignments by any other component than these."""
    if assignment_ids:
        await tx.execute(
            _DELETE_OTHERS,
            {"tenant_id": tenant_id, "assignments": sorted(assignment_ids), "components": sorted(components)},
        )


@lru_cache(maxsize=256)
def _plain_statement(measure: Measure) -> tuple[TextClause, Mapping[str, list[Value]]]:
    """The statement that credits plain components by a measure, and the parameters with what its filter compares."""
    compared: dict[str, list[Value]] = {}
    condition = _sql_of(measure.filter, compared)
    beyond, has_value, value = "d.closed_on IS NULL OR d.closed_on >= :until", "true", "CAST(:share AS numeric)"
    if measure.sums_money:
        converts = measure.rate_policy is not RatePolicy.NONE
        has_value = "d.amount IS NOT NULL" if converts else "d.amount IS NOT NULL AND d.currency = :currency"
        beyond = f"{beyond} OR d.currency IS DISTINCT FROM :currency"
        value = "d.amount * CAST(:share AS numeric)"
    texts = sorted({each.field for each in conditions_of(measure.filter)} - set(deals.c.keys()))
    members = ", ".join(f"{field} text" for field in texts)
    statement = _CREDIT_PLAIN.format(
        deals=deals.fullname,
        credits=credits.fullname,
        value=value,
        is_beyond=f"d.kind IS NULL OR {beyond}",
        has_value=has_value,
        filter=condition,
        texts=f" CROSS JOIN LATERAL json_to_record(CAST(d.body AS json)) AS r({members})" if texts else "",
        main=MAIN,
    )
    return text(statement), compared


def _sql_of(node: Filter, compared: dict[str, list[Value]]) -> str:
    """A filter that compares texts alone; what it compares them with is added to the parameters."""
    if not isinstance(node, Condition):
        word = "AND" if isinstance(node, All) else "OR"
        members = [_sql_of(member, compared) for member in node.members]
        return f"({f' {word} '.join(members)})" if members else "true"
    field = f"d.{node.field}" if node.field in deals.c else f"r.{node.field}"
    if node.op is Operator.EXISTS:
        return f"{field} IS {'NOT ' if node.expected else ''}NULL"
    name = f"compared_{len(compared)}"
    compared[name] = list(node.values)
    is_one = f"{field} = ANY(CAST(:{name} AS text[]))"
    # What is missing is not equal to anything, and differs from everything.
    return is_one if node.op in (Operator.EQ, Operator.IN) else f"({is_one}) IS NOT TRUE"


def _credits(rows: Sequence[RowMapping]) -> list[Credit]:
    periods: dict[tuple[date, date], Period] = {}
    found = []
    for row in rows:
        bounds = row["period_start"], row["period_end"]
        period = periods.get(bounds)
        if period is None:
            period = periods[bounds] = Period(*bounds)
        found.append(
            Credit(
                row["assignment_id"],
                row["component"],
                row["deal_id"],
                row["day"],
                period,
                row["percent"],
                row["value"],
                row["measure"],
                row["factor"],
            )
        )
    return found
