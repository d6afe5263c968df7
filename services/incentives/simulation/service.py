"""The use cases of simulation: they read what pay reads, and neither lock nor write anything."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from services.incentives.credits.domain.credit import PersonNotInSight
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.service import Credits
from services.incentives.plans.domain.versions import PlanVersion
from services.incentives.plans.service import Plans
from services.incentives.simulation.domain import CellOutcome, Comparison, compared, tried, with_deals
from shared.contracts.deals import Deal
from shared.db.database import Transaction
from shared.kernel.deals import DealFacts, DealKind, DealStatus
from shared.kernel.errors import InvalidInput
from shared.kernel.org import CrmUser
from shared.kernel.sight import Sight

DEALS_MAX: Final = 100_000
"""On how many deals a plan is tried at most."""
_NEW_DEALS: Final = UUID("01935a00-0000-7000-8000-00000000d0a1")


class HistoryTooLong(InvalidInput):
    """A plan is tried on more deals than one answer can be worked out from."""

    code = "history_too_long"
    title = "History is too long"


class PersonUnmapped(InvalidInput):
    """A deal that does not exist is one of a CRM user, and no identity says who that is."""

    code = "person_unmapped"
    title = "Person is no user of a CRM"


@dataclass(frozen=True, slots=True)
class WonDeal:
    """A deal as it would be won: one that is there, or a new one of the person. None is as it is."""

    deal_id: UUID | None
    closed_on: date | None
    amount: Decimal | None
    currency: str | None
    type: str | None = None
    channel: str | None = None
    region: str | None = None


class SimulatedEarnings(NamedTuple):
    """What a person's earnings would be, of the cells that would change."""

    person_id: UUID
    cells: Sequence[CellOutcome]


class Simulations:
    """Answers what would be earned."""

    def __init__(self, plans: Plans, credits: Credits) -> None:
        self._plans = plans
        self._credits = credits

    async def with_deals(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, person_id: UUID, deals: Sequence[WonDeal]
    ) -> SimulatedEarnings:
        """What a person would earn if these deals were won.

        Raises PersonNotInSight; PersonUnmapped for a new deal of somebody who is no user of a CRM; InvalidInput for a
        deal that is not known, or out of sight, and where a new one has no amount.
        """
        if not sight.sees_person(person_id):
            raise PersonNotInSight(f"There is no person {person_id}.")
        known = await self._credits.definitions(tx, tenant_id)
        own = [each.id for each in known.assignments.values() if each.person_id == person_id and not each.deleted]
        stored = await self._credits.of_assignments(tx, tenant_id, own)
        there = await self._credits.deals(tx, tenant_id, [each.deal_id for each in deals if each.deal_id is not None])
        today = known.chart.calendar.business_date(tx.now)
        facts = []
        for number, wanted in enumerate(deals):
            if wanted.deal_id is None:
                facts.append(_new(tx, tenant_id, known, person_id, wanted, number, today))
                continue
            deal = there.get(wanted.deal_id)
            if deal is None or not sight.sees_record(deal.facts()):
                raise InvalidInput.field(
                    f"/deals/{number}/deal_id", f"{wanted.deal_id} is no deal that is known", "a deal in sight"
                )
            facts.append(_won(deal, wanted, today))
        owners = await self._credits.owners(tx, tenant_id, known, list(there))
        return SimulatedEarnings(person_id, with_deals(known, stored, facts, own, owners))

    async def of_plan(
        self, tx: Transaction, tenant_id: UUID, version: PlanVersion, start: date, end: date
    ) -> Comparison:
        """A plan's version tried on what really happened in the whole periods within [start, end), against the terms in
        force. InvalidInput where nobody is on the plan; HistoryTooLong.
        """
        known = await self._credits.definitions(tx, tenant_id)
        people = [
            each.id for each in known.assignments.values() if each.plan_id == version.plan_id and not each.deleted
        ]
        simulated = tried(known, version, start)
        asking = simulated if simulated.asks_for_owners else known
        deals = await self._credits.facts_of_assignments(tx, tenant_id, asking, people, limit=DEALS_MAX + 1)
        if len(deals) > DEALS_MAX:
            raise HistoryTooLong.field("/plan_id", f"has more than {DEALS_MAX} deals", "a plan with fewer of them")
        owners = await self._credits.owners(tx, tenant_id, asking, [deal.deal_id for deal in deals])
        # Pure and long: other requests are answered meanwhile.
        return await asyncio.to_thread(compared, known, simulated, version.plan_id, deals, (start, end), owners)


def _won(deal: Deal, wanted: WonDeal, today: date) -> DealFacts:
    """A deal that is there, as it would be won."""
    changes = {
        name: value
        for name in ("amount", "currency", "type", "channel", "region")
        if (value := getattr(wanted, name)) is not None
    }
    day = wanted.closed_on or deal.closed_on or deal.expected_close_on or today
    if wanted.amount is not None:
        # What the source made of another amount is not what it would make of this one.
        changes |= {"home_amount": None, "home_currency": None}
    won = {"kind": DealKind.UPSERTED, "status": DealStatus.WON, "closed_on": day, "closed_at": None, **changes}
    return deal.model_copy(update=won).facts()


def _new(
    tx: Transaction,
    tenant_id: UUID,
    known: Definitions,
    person_id: UUID,
    wanted: WonDeal,
    number: int,
    today: date,
) -> DealFacts:
    """A deal of the person that there is not."""
    if wanted.amount is None or wanted.currency is None:
        raise InvalidInput.field(f"/deals/{number}/amount", "is missing", "amount and currency of a new deal")
    user = _user_of(known, person_id)
    if user is None:
        raise PersonUnmapped.field(
            f"/deals/{number}/deal_id",
            "a new deal is one of a CRM user, and the person is none",
            "a deal that is there",
        )
    deal_id = uuid5(_NEW_DEALS, str(number))
    return Deal(
        tenant_id=tenant_id,
        id=deal_id,
        connection_id=_NEW_DEALS,
        source=user.source,
        external_id=str(number),
        kind=DealKind.UPSERTED,
        modified_at=tx.now,
        sequence=0,
        delivery_id=deal_id,
        received_at=tx.now,
        status=DealStatus.WON,
        owner_external_id=user.external_id,
        name=None,
        amount=wanted.amount,
        currency=wanted.currency,
        created_at=None,
        expected_close_on=None,
        closed_at=None,
        closed_on=wanted.closed_on or today,
        stage=None,
        pipeline=None,
        probability=None,
        type=wanted.type,
        channel=wanted.channel,
        region=wanted.region,
        account_id=None,
        account_name=None,
        merged_into=None,
        splits=(),
        products=(),
        custom={},
    ).facts()


def _user_of(known: Definitions, person_id: UUID) -> CrmUser | None:
    users: Iterable[CrmUser] = known.chart.users_of(person_id)
    return next(iter(users), None)
