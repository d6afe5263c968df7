"""Keeping deals, knowing the definitions, and working out who is credited with what."""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from services.incentives.credits import store
from services.incentives.credits.domain import Credit, Definitions
from services.incentives.credits.store import StoredDeal
from services.incentives.plans import service as plans
from services.incentives.plans import store as plans_store
from services.incentives.plans.domain.assignments import QuotaGoal
from shared.contracts.base import Event
from shared.contracts.chart import org_chart
from shared.contracts.deals import Deal
from shared.contracts.goals import Goal
from shared.contracts.topics import EVENT_TYPES
from shared.db.database import Transaction
from shared.db.projection import Snapshot
from shared.kernel.org import CrmUser
from shared.kernel.records import RecordFacts

_TENANTS_MAX: Final = 64
_PAGE_DEALS: Final = 2000


class DefinitionsCache:
    """The definitions of the tenants that were worked on last, each as of the revision it was read at."""

    def __init__(self) -> None:
        self._held: OrderedDict[UUID, tuple[int, Definitions]] = OrderedDict()

    def get(self, tenant_id: UUID, revision: int) -> Definitions | None:
        """What is held, if it is of that revision."""
        held = self._held.get(tenant_id)
        if held is None or held[0] != revision:
            return None
        self._held.move_to_end(tenant_id)
        return held[1]

    def put(self, tenant_id: UUID, revision: int, definitions: Definitions) -> None:
        """Hold this one, and let go of the one unused for longest when there are many."""
        self._held[tenant_id] = (revision, definitions)
        self._held.move_to_end(tenant_id)
        while len(self._held) > _TENANTS_MAX:
            self._held.popitem(last=False)


_cache: Final = DefinitionsCache()


class News(NamedTuple):
    """A deal that is newer than what was held, and the credits that are kept of it until now."""

    deal: StoredDeal
    held: list[Credit]


async def definitions(tx: Transaction, tenant_id: UUID, *, revision: int | None = None) -> Definitions:
    """The tenant's definitions as this transaction sees them; `revision` is theirs, if the caller has read it."""
    if revision is None:
        revision = (await plans.PROJECTION.revisions(tx, [tenant_id]))[tenant_id]
    held = _cache.get(tenant_id, revision)
    if held is not None:
        return held
    loaded = await _load(tx, tenant_id)
    # A revision of a transaction that is rolled back will stand for something else.
    tx.after_commit(lambda: _cache.put(tenant_id, revision, loaded))
    return loaded


async def keep_newest(tx: Transaction, incoming: Sequence[StoredDeal]) -> dict[UUID, list[News]]:
    """Keep the newest version of each deal; by tenant and in the order they came, those that are news."""
    newest: dict[tuple[UUID, UUID], StoredDeal] = {}
    for deal in incoming:
        key = deal.tenant_id, deal.facts.deal_id
        held = newest.get(key)
        if held is None or held.facts.version < deal.facts.version:
            newest[key] = deal
    kept = await store.keep_newest(tx, list(newest.values())) if newest else {}
    found: dict[UUID, list[News]] = {}
    for key, deal in newest.items():
        if key in kept:
            found.setdefault(key[0], []).append(News(deal, kept[key]))
    return found


async def worked_out(tx: Transaction, tenant_id: UUID, known: Definitions, only: Collection[UUID]) -> list[Credit]:
    """The credits of some assignments, from the deals that are kept."""
    users: set[CrmUser] = set()
    for assignment_id in only:
        assignment = known.assignments[assignment_id]
        if not assignment.deleted:
            users |= known.users_of(assignment)
    found: list[Credit] = []
    for body in await store.bodies_of_users(tx, tenant_id, users) if users else []:
        found += known.credits(Deal.from_json(body).facts(), only=only)
    return found


async def replace(tx: Transaction, tenant_id: UUID, before: Sequence[Credit], after: Sequence[Credit]) -> None:
    """Keep the credits `after` instead of those `before`."""
    held = {credit.key: credit for credit in before}
    wanted = {credit.key: credit for credit in after}
    await store.delete_credits(tx, tenant_id, [credit for key, credit in held.items() if key not in wanted])
    await store.save_credits(tx, tenant_id, [credit for key, credit in wanted.items() if held.get(key) != credit])


async def deal(tx: Transaction, tenant_id: UUID, deal_id: UUID) -> Deal | None:
    """The newest version of a deal, or None when none has arrived."""
    return (await deals(tx, tenant_id, [deal_id])).get(deal_id)


async def deals(tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> dict[UUID, Deal]:
    """The newest versions of those of these deals that have arrived."""
    held = await store.bodies(tx, tenant_id, deal_ids)
    return {deal_id: Deal.from_json(body) for deal_id, body in held.items()}


async def connections(tx: Transaction, tenant_id: UUID, source: str) -> list[UUID]:
    """The connections that deals of a source have come from."""
    return await store.connections(tx, tenant_id, source)


async def facts(tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> dict[UUID, RecordFacts]:
    """What the rules see of those of these deals that have arrived."""
    return {deal_id: each.facts() for deal_id, each in (await deals(tx, tenant_id, deal_ids)).items()}


async def deals_after(tx: Transaction, tenant_id: UUID, after: UUID | None) -> list[Deal]:
    """A few thousand deals in the order of their ids; none behind the last."""
    page = await store.bodies_page(tx, tenant_id, after=after, limit=_PAGE_DEALS)
    return [Deal.from_json(body) for _, body in page]


async def of_assignments(tx: Transaction, tenant_id: UUID, assignment_ids: Collection[UUID]) -> list[Credit]:
    """The credits that are kept of these assignments."""
    return await store.credits_of_assignments(tx, tenant_id, assignment_ids)


async def of_cells(tx: Transaction, tenant_id: UUID, cell_ids: Collection[UUID]) -> list[Credit]:
    """The credits that are kept of these cells, in the order in which they reach the tiers."""
    return await store.credits_of_cells(tx, tenant_id, cell_ids)


async def _load(tx: Transaction, tenant_id: UUID) -> Definitions:
    found_plans, versions, assignments = await plans_store.everything(tx, tenant_id)
    events = [_event(snapshot) for snapshot in await plans.PROJECTION.load(tx, tenant_id)]
    return Definitions(org_chart(events), _quota_goals(events), found_plans, versions, assignments)


def _event(snapshot: Snapshot) -> Event:
    return EVENT_TYPES[snapshot.event_type].from_json(snapshot.body)


def _quota_goals(events: Sequence[Event]) -> dict[UUID, QuotaGoal]:
    return {event.id: plans.quota_goal(event) for event in events if isinstance(event, Goal)}
