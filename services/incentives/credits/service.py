"""Storing deals, knowing the definitions, and working out who is credited with what."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from services.incentives.credits import store
from services.incentives.credits.domain.credit import (
    CellKey,
    ComponentYear,
    Credit,
    CreditedToNobody,
    Owners,
    PeriodTotal,
    ReceivedDeal,
)
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.domain.plain import CreditTotal, PlainComponent, PlainCredits, plain_components
from services.incentives.credits.store import ReplacedDeal
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.parameters import MAIN
from services.incentives.plans.service import Plans, quota_goal
from shared.contracts.base import Event
from shared.contracts.chart import org_chart
from shared.contracts.deals import Deal
from shared.contracts.goals import Goal
from shared.contracts.topics import EVENT_TYPES
from shared.db.database import Transaction
from shared.kernel.deals import DealFacts, RecordVersion
from shared.kernel.org import CrmUser, OrgChart
from shared.kernel.periods import Period
from shared.kernel.records import RecordFacts

_TENANTS_MAX: Final = 64
_PAGE_DEALS: Final = 2000
_ZERO: Final = Decimal(0)


class _Known(NamedTuple):
    """A tenant's definitions at a revision, and the snapshots of the organisation that they are made of."""

    revision: int
    organisation: Mapping[str, Event]
    definitions: Definitions


_UNREAD: Final = _Known(-1, {}, Definitions())


class DefinitionsCache:
    """The definitions of the tenants that were worked on last."""

    def __init__(self) -> None:
        self._known: OrderedDict[UUID, _Known] = OrderedDict()

    def get(self, tenant_id: UUID) -> _Known:
        """What was read last of a tenant."""
        known = self._known.get(tenant_id, _UNREAD)
        if known is not _UNREAD:
            self._known.move_to_end(tenant_id)
        return known

    def put(self, tenant_id: UUID, known: _Known) -> None:
        """Remember this one, and forget the one unused for longest when there are many."""
        self._known[tenant_id] = known
        self._known.move_to_end(tenant_id)
        while len(self._known) > _TENANTS_MAX:
            self._known.popitem(last=False)


class NewerDeal(NamedTuple):
    """A deal that may be credited otherwise from now on, and what was stored of it until then."""

    deal: ReceivedDeal
    replaced: ReplacedDeal


class LeftDeal(NamedTuple):
    """What of a deal is credited to nobody, with what the CRM calls it."""

    left: CreditedToNobody
    source: str
    external_id: str
    name: str | None


class WonValue(NamedTuple):
    """What was won and counts for a plan: by currency what is credited, and the deals that nobody is credited with."""

    credited: Mapping[str, Decimal]
    to_nobody: Sequence[LeftDeal]


class Credits:
    """Who is credited with what of which deals, and the definitions that decide it."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._cache = DefinitionsCache()

    async def definitions(self, tx: Transaction, tenant_id: UUID, *, revision: int | None = None) -> Definitions:
        """The tenant's definitions as this transaction sees them; `revision` is theirs, if the caller has read it."""
        return (await self._current(tx, tenant_id, revision)).definitions

    async def supposing(
        self, tx: Transaction, tenant_id: UUID, arriving: Callable[[Mapping[str, Event]], Iterable[Event]]
    ) -> tuple[Definitions, Definitions]:
        """The tenant's definitions, and as they would be if other snapshots arrived; nothing is stored.

        `arriving` gives those from the newest ones of the organisation, its calendar and its rates, by subject.
        """
        known = await self._current(tx, tenant_id, None)
        supposed = {each.subject: each for each in arriving(known.organisation)}
        chart = org_chart({**known.organisation, **supposed}.values())
        today = chart.calendar.business_date(tx.now)
        return known.definitions, replace(known.definitions, chart=chart, today=today)

    async def chart(self, tx: Transaction, tenant_id: UUID) -> OrgChart:
        """The tenant's organisation as this transaction sees it."""
        return (await self.definitions(tx, tenant_id)).chart

    async def store_newest(self, tx: Transaction, incoming: Sequence[ReceivedDeal]) -> dict[UUID, list[NewerDeal]]:
        """Store the newest version of each deal; by tenant and in the order they came, those that are newer."""
        newest: dict[tuple[UUID, UUID], ReceivedDeal] = {}
        for deal in incoming:
            key = deal.tenant_id, deal.facts.deal_id
            stored = newest.get(key)
            if stored is None or stored.facts.version < deal.facts.version:
                newest[key] = deal
        newer = await store.store_newest(tx, newest.values(), incoming) if newest else {}
        found: dict[UUID, list[NewerDeal]] = {}
        for key, deal in newest.items():
            if key in newer:
                found.setdefault(key[0], []).append(NewerDeal(deal, newer[key]))
        return found

    async def stored(self, tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> list[NewerDeal]:
        """These deals as they are stored, of which an older version has arrived: it may tell who owned one before."""
        if not deal_ids:
            return []
        credits: dict[UUID, list[Credit]] = {deal_id: [] for deal_id in deal_ids}
        for credit in await store.credits_of_deals(tx, tenant_id, deal_ids):
            credits[credit.deal_id].append(credit)
        found = []
        for deal_id, body in (await store.bodies(tx, tenant_id, deal_ids)).items():
            event = Deal.from_json(body)
            received = ReceivedDeal(tenant_id, event.facts(), body, event.connection_id)
            found.append(NewerDeal(received, ReplacedDeal(credits[deal_id], body, is_first=False)))
        return found

    async def credit_plain(
        self, tx: Transaction, tenant_id: UUID, known: Definitions, only: Collection[UUID]
    ) -> PlainCredits:
        """Credit those of some assignments anew that have plain components alone, from the deals that are stored.

        Which those are, and what their cells come to. Nobody else may credit them until the end of the transaction.
        """
        found = {
            assignment_id: components
            for assignment_id in only
            if (components := plain_components(known, known.assignments[assignment_id])) is not None
        }
        by_component: dict[PlainComponent, list[Assignment]] = defaultdict(list)
        by_keys: dict[tuple[str, ...], list[UUID]] = defaultdict(list)
        for assignment_id, components in found.items():
            by_keys[tuple(component.key for component in components)].append(assignment_id)
            for component in components:
                by_component[component].append(known.assignments[assignment_id])
        totals: dict[CellKey, CreditTotal] = {}
        for component, assignments in by_component.items():
            users = {each.id: known.chart.users_of(each.person_id) for each in assignments}
            credited, others = await store.credit_plain(tx, tenant_id, component, assignments, users)
            totals |= credited
            for assignment_id in others:
                found.pop(assignment_id, None)
        for keys, assignment_ids in by_keys.items():
            await store.delete_other_credits(tx, tenant_id, [each for each in assignment_ids if each in found], keys)
        return PlainCredits(
            frozenset(found), {key: total for key, total in totals.items() if key.assignment_id in found}
        )

    def being_credited(
        self, known: Definitions, changed: Sequence[NewerDeal], owners: Mapping[UUID, Owners], stale: Set[UUID]
    ) -> set[UUID]:
        """The assignments that a rebuild under way may credit with these deals as they were: it sees no newer version.

        Who else may be is marked stale meanwhile, and could be credited with what is known of the deals as well.
        """
        found: set[UUID] = set()
        for deal, replaced in changed:
            if replaced.before is not None:
                before = Deal.from_json(replaced.before).facts()
                found.update(known.concerned(before, owners.get(deal.facts.deal_id, ())))
            elif not replaced.is_first:
                found |= stale
        return found

    async def as_stored(self, tx: Transaction, tenant_id: UUID, changed: Sequence[NewerDeal]) -> Sequence[NewerDeal]:
        """The same deals with the credits that are stored of them now."""
        # Of one that nobody else has seen yet there are none.
        credits: dict[UUID, list[Credit]] = {
            each.deal.facts.deal_id: [] for each in changed if not each.replaced.is_first
        }
        if not credits:
            return changed
        for credit in await store.credits_of_deals(tx, tenant_id, credits):
            credits[credit.deal_id].append(credit)
        return [
            each._replace(replaced=each.replaced._replace(credits=credits.get(each.deal.facts.deal_id, [])))
            for each in changed
        ]

    async def worked_out(
        self, tx: Transaction, tenant_id: UUID, known: Definitions, only: Collection[UUID]
    ) -> list[Credit]:
        """The credits of some assignments, from the deals that are stored."""
        deals = await self.facts_of_assignments(tx, tenant_id, known, only)
        owners = await self.owners(tx, tenant_id, known, [facts.deal_id for facts in deals])
        return [credit for facts in deals for credit in known.credits(facts, owners.get(facts.deal_id, ()), only=only)]

    async def facts_of_assignments(
        self, tx: Transaction, tenant_id: UUID, known: Definitions, only: Collection[UUID], *, limit: int | None = None
    ) -> list[DealFacts]:
        """Every deal that is stored and could be credited to one of these assignments, or only so many of them."""
        users: set[CrmUser] = set()
        for assignment_id in only:
            assignment = known.assignments[assignment_id]
            if not assignment.deleted:
                users |= known.users_of(assignment)
        bodies = await store.bodies_of_users(tx, tenant_id, users) if users else []
        if users and known.asks_for_owners:
            bodies = list({*bodies, *await store.bodies_of_former_owners(tx, tenant_id, users)})
        # Long where there are many: whatever else the process does goes on meanwhile.
        return await asyncio.to_thread(_facts, bodies[:limit])

    async def owners(
        self, tx: Transaction, tenant_id: UUID, known: Definitions, deal_ids: Collection[UUID]
    ) -> Mapping[UUID, Owners]:
        """The owners of the versions of those of these deals of which there are several, where a rule asks for them."""
        return await store.owners(tx, tenant_id, deal_ids) if known.asks_for_owners and deal_ids else {}

    async def won(self, tx: Transaction, tenant_id: UUID, known: Definitions, days: Period) -> WonValue:
        """What of the deals that were won within some days is credited to people, and what to nobody.

        Of what multipliers, windfalls and overlay credits make of a deal nothing is counted twice: each deal counts
        once, as the component credits it that credits most of it.
        """
        lines = known.direct_lines()
        found = await store.won(tx, tenant_id, days, lines, MAIN)
        credited: dict[str, Decimal] = {}
        for line, currency in {each.line: each.currency for each in lines}.items():
            credited[currency] = credited.get(currency, _ZERO) + found.credited.get(line, _ZERO)
        to_nobody = []
        for start in range(0, len(found.left), _PAGE_DEALS):
            page = found.left[start : start + _PAGE_DEALS]
            owners = await self.owners(tx, tenant_id, known, page)
            for deal in (await self.deals(tx, tenant_id, page)).values():
                left = known.to_nobody(deal.facts(), days, owners.get(deal.id, ()))
                if left is not None:
                    to_nobody.append(LeftDeal(left, deal.source, deal.external_id, deal.name))
        return WonValue(credited, to_nobody)

    async def takers(
        self, tx: Transaction, tenant_id: UUID, known: Definitions, leavers: Collection[UUID]
    ) -> dict[UUID, list[UUID]]:
        """By assignment of somebody who left: the other assignments that its open deals could be credited to."""
        found: dict[UUID, list[UUID]] = {}
        for assignment_id in leavers:
            leaver = known.assignments[assignment_id]
            users = known.users_of(leaver)
            bodies = await store.bodies_of_former_owners(tx, tenant_id, users) if users else []
            takers = {taker for body in bodies for taker in known.concerned(Deal.from_json(body).facts())}
            takers |= {
                each.id
                for each in known.assignments.values()
                if each.person_id == leaver.person_id and not each.deleted
            }
            found[assignment_id] = sorted(takers - {assignment_id})
        return found

    async def replace(
        self, tx: Transaction, tenant_id: UUID, before: Sequence[Credit], after: Sequence[Credit]
    ) -> None:
        """Store the credits `after` instead of those `before`."""
        stored = {credit.key: credit for credit in before}
        wanted = {credit.key: credit for credit in after}
        await store.delete_credits(tx, tenant_id, [credit for key, credit in stored.items() if key not in wanted])
        await store.save_credits(tx, tenant_id, [credit for key, credit in wanted.items() if stored.get(key) != credit])

    async def deal(self, tx: Transaction, tenant_id: UUID, deal_id: UUID) -> Deal | None:
        """The newest version of a deal, or None when none has arrived."""
        return (await self.deals(tx, tenant_id, [deal_id])).get(deal_id)

    async def deals(self, tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> dict[UUID, Deal]:
        """The newest versions of those of these deals that have arrived."""
        stored = await store.bodies(tx, tenant_id, deal_ids)
        return {deal_id: Deal.from_json(body) for deal_id, body in stored.items()}

    async def connections(self, tx: Transaction, tenant_id: UUID, source: str) -> list[UUID]:
        """The connections that deals of a source have come from."""
        return await store.connections(tx, tenant_id, source)

    async def facts(self, tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> dict[UUID, RecordFacts]:
        """What the rules see of those of these deals that have arrived."""
        return {deal_id: each.facts() for deal_id, each in (await self.deals(tx, tenant_id, deal_ids)).items()}

    async def deals_after(self, tx: Transaction, tenant_id: UUID, after: UUID | None) -> list[Deal]:
        """A few thousand deals in the order of their ids; none behind the last."""
        page = await store.bodies_page(tx, tenant_id, after=after, limit=_PAGE_DEALS)
        return [Deal.from_json(body) for _, body in page]

    async def of_assignments(self, tx: Transaction, tenant_id: UUID, assignment_ids: Collection[UUID]) -> list[Credit]:
        """The credits that are stored of these assignments."""
        return await store.credits_of_assignments(tx, tenant_id, assignment_ids)

    async def of_cells(self, tx: Transaction, tenant_id: UUID, cell_ids: Collection[UUID]) -> list[Credit]:
        """The credits that are stored of these cells, in the order in which they reach the tiers."""
        return await store.credits_of_cells(tx, tenant_id, cell_ids)

    async def of_years(self, tx: Transaction, tenant_id: UUID, years: Collection[ComponentYear]) -> list[Credit]:
        """The credits that are stored of components in fiscal years, by every measure."""
        return await store.credits_of_years(tx, tenant_id, years)

    async def totals_of_years(
        self, tx: Transaction, tenant_id: UUID, years: Collection[ComponentYear]
    ) -> list[PeriodTotal]:
        """What these come to, by measure and period."""
        return await store.totals_of_years(tx, tenant_id, years)

    async def of_deals(self, tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> list[Credit]:
        """The credits that are stored of these deals."""
        return await store.credits_of_deals(tx, tenant_id, deal_ids)

    async def count(self, tx: Transaction, tenant_id: UUID) -> int:
        """How many credits of a tenant are stored."""
        return await store.count_credits(tx, tenant_id)

    async def deal_versions(
        self, tx: Transaction, tenant_id: UUID, *, after: UUID, until: UUID | None, limit: int
    ) -> list[tuple[UUID, RecordVersion]]:
        """The version that is stored of the tenant's next deals by id, up to and with `until`."""
        return await store.newest_versions(tx, tenant_id, after=after, until=until, limit=limit)

    async def tenants(self, tx: Transaction) -> list[UUID]:
        """The tenants in scope that have deals."""
        return await store.tenants(tx)

    async def _current(self, tx: Transaction, tenant_id: UUID, revision: int | None) -> _Known:
        if revision is None:
            revision = await self._plans.revision(tx, tenant_id)
        known = self._cache.get(tenant_id)
        today = known.definitions.chart.calendar.business_date(tx.now)
        if known.revision == revision and known.definitions.today == today:
            return known
        if known.revision == revision:
            newer = known._replace(definitions=replace(known.definitions, today=today))
        else:
            newer = await self._newer(tx, tenant_id, known, revision)
        # The number of a revision that is rolled back will belong to another one.
        tx.after_commit(lambda: self._cache.put(tenant_id, newer))
        return newer

    async def _newer(self, tx: Transaction, tenant_id: UUID, known: _Known, revision: int) -> _Known:
        """What is known, with what was stored since. Of the published definitions just that is read."""
        snapshots, plans, versions, assignments = await self._plans.since(tx, tenant_id, known.revision)
        events = [EVENT_TYPES[snapshot.event_type].from_json(snapshot.body) for snapshot in snapshots]
        goals = {event.id: quota_goal(event) for event in events if isinstance(event, Goal)}
        changed = {event.subject: event for event in events if not isinstance(event, Goal)}
        organisation = {**known.organisation, **changed} if changed else known.organisation
        chart = org_chart(organisation.values()) if changed else known.definitions.chart
        scores = await self._plans.scores(tx, tenant_id)
        goals_now, today = known.definitions.goals.changed(goals), chart.calendar.business_date(tx.now)
        definitions = Definitions(chart, goals_now, plans, versions, assignments, scores, today)
        return _Known(revision, organisation, definitions)


def _facts(bodies: Sequence[str]) -> list[DealFacts]:
    return [Deal.from_json(body).facts() for body in bodies]
