"""Keeping credits, cells and the ledger equal to the deals and definitions as they are.

A change comes in one of two ways. A batch of deals is settled credit by credit, at once. A change of definitions marks
the assignments whose inputs it altered stale; the rebuild then works them out anew from the deals that are stored, some
at a time, and until then batches of deals leave them alone.

Who settles holds the tenant's lock together with everybody else who does, and alone the assignments it settles. So what
touches different people goes on side by side; whoever changes definitions or cuts a pay period off holds the tenant's
lock alone, and waits for all of it. Locks are taken in one order, so that nobody waits in a circle: the deals, by their
ids; the assignments, by theirs; and once everything is worked out and stored, the end of the ledger's chain.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from time import perf_counter
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import ComponentYear, Credit, PeriodTotal, ReceivedDeal
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.service import Credits, NewerDeal
from services.incentives.earnings import store
from services.incentives.earnings.domain.settlement import Settlement
from services.incentives.earnings.domain.years import LinkedCells, YearCredits
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import Cause, Posting
from services.incentives.plans.service import Plans
from services.incentives.plans.store import StaleAssignment
from shared.contracts.earnings import TOPIC
from shared.contracts.org import Person
from shared.db.database import Transaction
from shared.db.projection import Snapshot
from shared.outbox.outbox import Outbox

_LEAVER: Final = "leaver/"
REBUILD_ASSIGNMENTS = 20
"""How many stale assignments are worked out in one transaction."""


class Earnings:
    """What is earned, kept equal to deals and definitions."""

    def __init__(self, outbox: Outbox, plans: Plans, credits: Credits) -> None:
        self._outbox = outbox
        self._plans = plans
        self._credits = credits

    async def apply_deals(
        self, tx: Transaction, tenant_ids: Collection[UUID], incoming: Sequence[ReceivedDeal]
    ) -> None:
        """Settle what changed with these deals: their credits, the cells of those, a posting for each cell and deal."""
        await tx.lock_tenants_shared(tenant_ids)
        newer = await self._credits.store_newest(tx, incoming)
        tenants = {deal.tenant_id for deal in incoming}
        states = await self._plans.states(tx, tenants) if tenants else {}
        postings: dict[UUID, Sequence[Posting]] = {}
        for tenant_id in sorted(tenants):
            state = states[tenant_id]
            # Of a tenant that nobody is paid at no definitions are read, however many there are.
            if not state.has_assignments:
                continue
            known = await self._credits.definitions(tx, tenant_id, revision=state.revision)
            changed = newer.get(tenant_id, [])
            if known.asks_for_owners:
                of_newer = {each.deal.facts.deal_id for each in changed}
                of_tenant = {deal.facts.deal_id for deal in incoming if deal.tenant_id == tenant_id}
                changed = [*changed, *await self._credits.stored(tx, tenant_id, of_tenant - of_newer)]
            if known.assignments and changed:
                postings[tenant_id] = await self._settle_deals(tx, tenant_id, known, changed, state.stale_ids)
        for tenant_id, posted in postings.items():
            await ledger.post(tx, tenant_id, posted)

    async def apply_definitions(
        self, tx: Transaction, tenant_ids: Collection[UUID], snapshots: Sequence[Snapshot]
    ) -> None:
        """Store what goals published, and mark the assignments stale that it changes anything for."""
        await tx.lock_tenants_exclusive(tenant_ids)
        by_tenant: dict[UUID, list[Snapshot]] = defaultdict(list)
        for snapshot in snapshots:
            by_tenant[snapshot.tenant_id].append(snapshot)
        for tenant_id, arrived in sorted(by_tenant.items()):
            if not await self._plans.has_assignments(tx, tenant_id):
                await self._plans.store_newest(tx, arrived)
                continue
            before = await self._credits.definitions(tx, tenant_id)
            changes = await self._plans.store_newest(tx, arrived)
            if not changes:
                continue
            after = await self._credits.definitions(tx, tenant_id)
            touched = after.touched_since(before)
            # Whoever someone is, nothing is paid by a name.
            causes = [f"{now.subject} v{now.version}" for now in changes if now.event_type != Person.event_type]
            await self._plans.mark_stale(tx, tenant_id, dict.fromkeys(touched, causes))

    async def rebuild(self, tx: Transaction, tenant_id: UUID) -> int:
        """Work out the longest stale assignments of a tenant anew; how many those were, 0 when none is left to take."""
        await tx.lock_tenants_shared([tenant_id])
        began = perf_counter()
        stale = await self._plans.take_stale(tx, tenant_id, REBUILD_ASSIGNMENTS)
        if not stale:
            return 0
        known = await self._credits.definitions(tx, tenant_id)
        causes = {item.assignment_id: Cause.of_definitions(item.changes) for item in stale}
        await self._plans.lock_assignments(tx, tenant_id, causes.keys())
        await self._mark_takers(tx, tenant_id, known, stale)
        plain = await self._credits.credit_plain(tx, tenant_id, known, causes.keys())
        others = causes.keys() - plain.assignments
        before = await self._credits.of_assignments(tx, tenant_id, others)
        after = await self._credits.worked_out(tx, tenant_id, known, others)
        stored = await store.of_assignments(tx, tenant_id, causes.keys())
        settlement = Settlement(known, {key: each.cell for key, each in stored.items()})
        settlement.rebuild(causes, stored, after, plain.totals)
        await self._credits.replace(tx, tenant_id, before, after)
        postings = await self._saved(tx, tenant_id, settlement)
        worked_ms = max(1, round((perf_counter() - began) * 1000))
        await self._plans.advance_re_earnings(tx, tenant_id, stale, worked_ms=worked_ms)
        await ledger.post(tx, tenant_id, postings)
        return len(stale)

    async def _mark_takers(
        self, tx: Transaction, tenant_id: UUID, known: Definitions, stale: Sequence[StaleAssignment]
    ) -> None:
        """Whoever takes over the deals of somebody who may have left is worked out anew when that one's assignment is.

        One that is stale for such a reason alone passes it on to nobody.
        """
        leavers = [
            item.assignment_id
            for item in stale
            if known.hands_over(known.assignments[item.assignment_id])
            and not all(each.startswith(_LEAVER) for each in item.changes)
        ]
        takers = await self._credits.takers(tx, tenant_id, known, leavers)
        marks: dict[UUID, list[str]] = {}
        for assignment_id, others in takers.items():
            cause = f"{_LEAVER}{assignment_id} v{known.assignments[assignment_id].version}"
            for other in others:
                marks.setdefault(other, []).append(cause)
        await self._plans.mark_stale(tx, tenant_id, marks)

    async def begin_periods(self, tx: Transaction, tenant_id: UUID) -> None:
        """Have everybody worked out who is paid without deals for a period that has begun, and has no earning of it."""
        await tx.lock_tenants_shared([tenant_id])
        known = await self._credits.definitions(tx, tenant_id)
        begun = {
            cell.key.id: cell.key
            for assignment in known.assignments.values()
            for year in known.uncounted_years(assignment)
            if known.today in year.year
            for cell in LinkedCells(known, year).worked_out(YearCredits(()))
            if cell.is_there
        }
        if not begun:
            return
        there = {key.id for key in await store.by_id(tx, tenant_id, begun.keys())}
        missing = {key.assignment_id: [f"period/{key.period.start} v1"] for id, key in begun.items() if id not in there}
        await self._plans.mark_stale(tx, tenant_id, missing)

    async def _settle_deals(
        self,
        tx: Transaction,
        tenant_id: UUID,
        known: Definitions,
        changed: Sequence[NewerDeal],
        stale: Set[UUID],
    ) -> Sequence[Posting]:
        """What is to be posted for these deals, whose credits and cells are stored."""
        owners = await self._credits.owners(tx, tenant_id, known, [each.deal.facts.deal_id for each in changed])
        worked_out = [known.credits(deal.facts, owners.get(deal.facts.deal_id, ())) for deal, _ in changed]
        wanted = {credit.assignment_id for credits in worked_out for credit in credits}
        if stale:
            wanted |= self._credits.being_credited(known, changed, owners, stale)
        changed = await self._locked(tx, tenant_id, changed, wanted)
        if stale:
            # Whoever was worked out meanwhile was so without these deals.
            stale = (await self._plans.stale_ids(tx, [tenant_id])).get(tenant_id, set())
        before: list[Credit] = []
        after: list[Credit] = []
        moves: list[tuple[Cause, list[Credit], list[Credit]]] = []
        for (deal, replaced), credited in zip(changed, worked_out, strict=True):
            old = [credit for credit in replaced.credits if credit.assignment_id not in stale]
            new = [credit for credit in credited if credit.assignment_id not in stale]
            if old or new:
                moves.append((Cause.of_deal(deal.facts.deal_id, deal.facts.version), old, new))
                before += old
                after += new
        if not before and not after:
            return ()
        touched: set[UUID] = set()
        linked: set[ComponentYear] = set()
        for credit in (*before, *after):
            year = known.year_of(credit)
            if year is None:
                touched.add(credit.cell.id)
            else:
                linked.add(year)
        cells = await store.by_id(tx, tenant_id, touched)
        years: Mapping[ComponentYear, YearCredits] = {}
        if linked:
            cells |= await store.of_years(tx, tenant_id, linked)
            years = await self._of_years(tx, tenant_id, known, linked)
        settlement = Settlement(known, {key: stored.cell for key, stored in cells.items()}, years)
        for cause, old, new in moves:
            settlement.recredit(cause, old, new)
        await self._credits.replace(tx, tenant_id, before, after)
        return await self._saved(tx, tenant_id, settlement)

    async def _of_years(
        self, tx: Transaction, tenant_id: UUID, known: Definitions, years: Set[ComponentYear]
    ) -> Mapping[ComponentYear, YearCredits]:
        """What is credited in these; credit by credit only where that decides what is paid."""
        by_deal = {year for year in years if known.needs_deals(year)}
        credits: dict[ComponentYear, list[Credit]] = {year: [] for year in by_deal}
        totals: dict[ComponentYear, list[PeriodTotal]] = {year: [] for year in years - by_deal}
        for credit in await self._credits.of_years(tx, tenant_id, credits):
            year = known.year_of(credit)
            if year in credits:
                credits[year].append(credit)
        for total in await self._credits.totals_of_years(tx, tenant_id, totals):
            year = known.linked_year(total.cell)
            if year in totals:
                totals[year].append(total)
        return {year: YearCredits(credits.get(year, ()), totals.get(year)) for year in years}

    async def _locked(
        self, tx: Transaction, tenant_id: UUID, changed: Sequence[NewerDeal], wanted: Set[UUID]
    ) -> Sequence[NewerDeal]:
        """The deals with their credits as they stay from now on: who is `wanted` or has one is locked."""
        locked: set[UUID] = set()
        missing = wanted | _credited(changed)
        while True:
            if missing:
                await self._plans.lock_assignments(tx, tenant_id, missing)
                locked |= missing
            # Somebody may have been given one, by a rebuild, until then.
            changed = await self._credits.as_stored(tx, tenant_id, changed)
            missing = _credited(changed) - locked
            if not missing:
                return changed

    async def _saved(self, tx: Transaction, tenant_id: UUID, settlement: Settlement) -> Sequence[Posting]:
        """What is to be posted for cells that are stored."""
        changed = settlement.changed_cells()
        await store.save(tx, tenant_id, changed)
        await self._outbox.mark(tx, TOPIC, [(tenant_id, f"earning/{cell.id}") for cell in changed])
        return settlement.postings


def _credited(changed: Iterable[NewerDeal]) -> set[UUID]:
    return {credit.assignment_id for each in changed for credit in each.replaced.credits}
