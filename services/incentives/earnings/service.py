"""Keeping credits, cells and the ledger equal to the deals and definitions as they stand.

A change comes in one of two ways. A batch of deals is settled credit by credit, at once. A change of definitions marks
the assignments whose inputs it altered stale; the rebuild then works them out anew from the deals that are kept, some
at a time, and until then batches of deals leave them alone.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from uuid import UUID

from services.incentives.credits import service as credits
from services.incentives.credits.domain import CellKey, Credit, Definitions
from services.incentives.credits.service import News
from services.incentives.credits.store import StoredDeal
from services.incentives.earnings import store
from services.incentives.earnings.domain.settlement import Settlement
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import Cause
from services.incentives.plans import service as plans
from services.incentives.plans import store as plans_store
from services.incentives.publishing import OUTBOX
from shared.contracts.earnings import TOPIC
from shared.contracts.org import Person
from shared.db.database import Transaction
from shared.db.projection import Snapshot

REBUILD_ASSIGNMENTS = 20
"""How many stale assignments are worked out in one transaction."""


async def apply_deals(tx: Transaction, tenant_ids: Collection[UUID], incoming: Sequence[StoredDeal]) -> None:
    """Settle what changed with these deals: their credits, the cells of those, one posting for each cell and deal."""
    await tx.lock_tenants_exclusive(tenant_ids)
    news = await credits.keep_newest(tx, incoming)
    standings = await plans.standings(tx, news.keys()) if news else {}
    for tenant_id, changed in sorted(news.items()):
        standing = standings[tenant_id]
        known = await credits.definitions(tx, tenant_id, revision=standing.revision)
        if known.assignments:
            await _settle_deals(tx, tenant_id, known, changed, standing.stale_ids)


async def apply_definitions(tx: Transaction, tenant_ids: Collection[UUID], snapshots: Sequence[Snapshot]) -> None:
    """Keep what goals published, and mark the assignments stale that it changes anything for."""
    await tx.lock_tenants_exclusive(tenant_ids)
    by_tenant: dict[UUID, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        by_tenant[snapshot.tenant_id].append(snapshot)
    for tenant_id, arrived in sorted(by_tenant.items()):
        if not await plans_store.has_assignments(tx, tenant_id):
            await plans.PROJECTION.keep_newest(tx, arrived)
            continue
        before = await credits.definitions(tx, tenant_id)
        changes = await plans.PROJECTION.keep_newest(tx, arrived)
        if not changes:
            continue
        after = await credits.definitions(tx, tenant_id)
        touched = [
            assignment.id
            for assignment in after.assignments.values()
            if not assignment.deleted and before.inputs(assignment) != after.inputs(assignment)
        ]
        # Whoever someone is, nothing is paid by a name.
        causes = [f"{now.subject} v{now.version}" for _, now in changes if now.event_type != Person.event_type]
        await plans.mark_stale(tx, tenant_id, touched, causes)


async def rebuild(tx: Transaction, tenant_id: UUID) -> int:
    """Work out the longest stale assignments of a tenant anew; how many those were, 0 when none is stale."""
    await tx.lock_tenants_exclusive([tenant_id])
    stale = await plans.take_stale(tx, tenant_id, REBUILD_ASSIGNMENTS)
    if not stale:
        return 0
    known = await credits.definitions(tx, tenant_id)
    causes = {item.assignment_id: Cause.of_definitions(item.changes) for item in stale}
    before = await credits.of_assignments(tx, tenant_id, causes.keys())
    after = await credits.worked_out(tx, tenant_id, known, causes.keys())
    held = await store.of_assignments(tx, tenant_id, causes.keys())
    by_cell: dict[CellKey, list[Credit]] = {known.cut_now(key): [] for key in held}
    for credit in after:
        by_cell.setdefault(credit.cell, []).append(credit)
    settlement = Settlement(known, {key: stored.cell for key, stored in held.items()})
    for key in sorted(by_cell, key=lambda cell: cell.id):
        settlement.rebuild(causes[key.assignment_id], key, by_cell[key])
    await credits.replace(tx, tenant_id, before, after)
    await _save(tx, tenant_id, settlement)
    return len(stale)


async def _settle_deals(
    tx: Transaction, tenant_id: UUID, known: Definitions, changed: Sequence[News], stale: Collection[UUID]
) -> None:
    before: list[Credit] = []
    after: list[Credit] = []
    moves: list[tuple[Cause, list[Credit], list[Credit]]] = []
    for deal, held in changed:
        facts = deal.facts
        old = [credit for credit in held if credit.assignment_id not in stale]
        new = known.credits(facts, skipping=stale)
        if old or new:
            moves.append((Cause.of_deal(facts.deal_id, facts.version), old, new))
            before += old
            after += new
    touched = {credit.cell.id for credit in before} | {credit.cell.id for credit in after}
    if not touched:
        return
    cells = await store.by_id(tx, tenant_id, touched)
    settlement = Settlement(known, {key: stored.cell for key, stored in cells.items()})
    for cause, old, new in moves:
        settlement.recredit(cause, old, new)
    await credits.replace(tx, tenant_id, before, after)
    await _save(tx, tenant_id, settlement)


async def _save(tx: Transaction, tenant_id: UUID, settlement: Settlement) -> None:
    changed = settlement.changed_cells()
    await store.save(tx, tenant_id, changed)
    await ledger.post(tx, tenant_id, settlement.postings)
    await OUTBOX.mark(tx, TOPIC, [(tenant_id, f"earning/{cell.id}") for cell in changed])
