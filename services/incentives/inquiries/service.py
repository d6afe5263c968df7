"""The use cases of inquiries: raise, write, assign, reschedule, resolve, withdraw, reopen, report what is overdue.

Every step is stored with its entry of the thread and published in the same transaction.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from services.incentives.credits.domain.credit import PersonNotInSight
from services.incentives.credits.service import Credits
from services.incentives.earnings.explaining import EarningNotFound, Explanations
from services.incentives.inquiries import store
from services.incentives.inquiries.domain import (
    DAYS_TO_RESOLVE,
    DealInQuestion,
    Entry,
    Inquiry,
    InquiryEntryKind,
    InquiryNotFound,
    InquiryReason,
    InquiryStatus,
    Resolution,
    Subject,
    assigned,
    reopened,
    reported_overdue,
    rescheduled,
    resolved,
    withdrawn,
)
from services.incentives.inquiries.events import inquiry_event
from services.incentives.payouts.adjusting import Adjustments
from services.incentives.payouts.domain.adjustments import AdjustmentNotFound
from services.incentives.plans.service import Plans
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, check_no_own_interest
from shared.kernel.errors import InvalidInput
from shared.kernel.ids import possible_deal_ids
from shared.kernel.sight import WHOLE_TENANT, Sight
from shared.outbox.outbox import Outbox
from shared.outbox.published import Published, each
from shared.outbox.republishing import ReadNext

DUE_CHANNEL = "incentives_inquiries_due"
"""Notified when the next inquiry may be due on another day than before."""
_OVERDUE_AT_ONCE = 200


class Inquiries:
    """The inquiries of every tenant."""

    def __init__(
        self, outbox: Outbox, plans: Plans, credits: Credits, explanations: Explanations, adjustments: Adjustments
    ) -> None:
        self._plans = plans
        self._credits = credits
        self._explanations = explanations
        self._adjustments = adjustments
        self._published = Published(store.INQUIRIES, each(inquiry_event), outbox)

    @property
    def published(self) -> Sequence[ReadNext]:
        """Everything that is published, by kind, to be published again."""
        return [self._published.read_next]

    async def today(self, tx: Transaction, tenant_id: UUID) -> date:
        """The tenant's day of the transaction."""
        chart = await self._credits.chart(tx, tenant_id)
        return chart.calendar.business_date(tx.now)

    async def list_inquiries(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        *,
        person_id: UUID | None,
        status: InquiryStatus | None,
        assignee_id: UUID | None,
        earning_id: UUID | None,
        is_overdue: bool,
        after: UUID | None,
        limit: int,
    ) -> list[Inquiry]:
        """Those about the pay of people in sight, the oldest first."""
        return await store.list_inquiries(
            tx,
            tenant_id,
            sight,
            person_id=person_id,
            status=status,
            assignee_id=assignee_id,
            earning_id=earning_id,
            due_before=await self.today(tx, tenant_id) if is_overdue else None,
            after=after,
            limit=limit,
        )

    async def get_inquiry(self, tx: Transaction, tenant_id: UUID, inquiry_id: UUID, sight: Sight) -> Inquiry:
        """Raises InquiryNotFound, also for one about pay that is out of sight."""
        found = await store.INQUIRIES.get(tx, tenant_id, inquiry_id)
        if not sight.sees_person(found.person_id):
            raise InquiryNotFound(f"There is no inquiry {inquiry_id}.")
        return found

    async def list_entries(
        self, tx: Transaction, tenant_id: UUID, inquiry_id: UUID, sight: Sight, *, after: UUID | None, limit: int
    ) -> list[Entry]:
        """The thread, the oldest first. Raises InquiryNotFound."""
        await self.get_inquiry(tx, tenant_id, inquiry_id, sight)
        return await store.list_entries(tx, tenant_id, inquiry_id, after=after, limit=limit)

    async def raise_inquiry(
        self,
        tx: Transaction,
        tenant_id: UUID,
        person_id: UUID,
        subject: Subject,
        reason: InquiryReason,
        text: str,
        *,
        actor: Actor,
        sight: Sight,
    ) -> Inquiry:
        """Ask about the pay of a person in sight.

        Raises PersonNotInSight; EarningNotFound for one that is not the person's; InvalidInput for a deal that is not
        known under the id given. What the CRM calls a deal need not be known.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        if not sight.sees_person(person_id):
            raise PersonNotInSight(f"There is no person {person_id}.")
        if subject.earning_id is not None:
            stored = await self._explanations.get_earning(tx, tenant_id, subject.earning_id)
            if stored.cell.person_id != person_id:
                raise EarningNotFound(f"Person {person_id} has no earning {subject.earning_id}.")
        raised = Inquiry(
            tx.new_id(),
            1,
            person_id,
            Subject(subject.earning_id, await self._known(tx, tenant_id, subject.deal, sight)),
            reason,
            actor,
            tx.now,
            await self.today(tx, tenant_id) + timedelta(days=DAYS_TO_RESOLVE),
        )
        await self._published.add(tx, tenant_id, raised)
        await self._add_entry(tx, tenant_id, raised, InquiryEntryKind.RAISED, actor, text)
        await tx.notify(DUE_CHANNEL)
        return raised

    async def write(
        self, tx: Transaction, tenant_id: UUID, inquiry_id: UUID, text: str, *, actor: Actor, sight: Sight
    ) -> Entry:
        """A message in the thread, also of an inquiry that has ended. Raises InquiryNotFound."""
        inquiry = await self.get_inquiry(tx, tenant_id, inquiry_id, sight)
        return await self._add_entry(tx, tenant_id, inquiry, InquiryEntryKind.MESSAGE, actor, text)

    async def assign(
        self, tx: Transaction, tenant_id: UUID, inquiry_id: UUID, expected_version: int, assignee_id: UUID, actor: Actor
    ) -> Inquiry:
        """Have somebody work on it. Raises InquiryNotFound, InquiryEnded, VersionMismatch.

        InvalidInput for somebody who is not known, or whose own pay it is about.
        """
        stored = await self._published.for_change(tx, tenant_id, inquiry_id, expected_version)
        if assignee_id == stored.person_id:
            raise InvalidInput.field("/assignee_id", "is whose pay this is about", "somebody else")
        if not await self._plans.person_names(tx, tenant_id, [assignee_id]):
            raise InvalidInput.field("/assignee_id", f"{assignee_id} is nobody who is known", "a person of the tenant")
        saved = assigned(stored, assignee_id)
        before = None if stored.assignee_id is None else str(stored.assignee_id)
        return await self._save(tx, tenant_id, saved, InquiryEntryKind.ASSIGNED, actor, None, before, str(assignee_id))

    async def reschedule(
        self,
        tx: Transaction,
        tenant_id: UUID,
        inquiry_id: UUID,
        expected_version: int,
        due_on: date,
        text: str,
        actor: Actor,
    ) -> Inquiry:
        """Set another day. Raises InquiryNotFound, InquiryEnded, InvalidInput for a day that is over, VersionMismatch,
        and OwnInterest for whose pay it is.
        """
        stored = await self._published.for_change(tx, tenant_id, inquiry_id, expected_version)
        check_no_own_interest(actor, [stored.person_id], "the day an inquiry is due")
        saved = rescheduled(stored, due_on, await self.today(tx, tenant_id))
        before, after = str(stored.due_on), str(due_on)
        return await self._save(tx, tenant_id, saved, InquiryEntryKind.RESCHEDULED, actor, text, before, after)

    async def resolve(
        self,
        tx: Transaction,
        tenant_id: UUID,
        inquiry_id: UUID,
        expected_version: int,
        resolution: Resolution,
        actor: Actor,
    ) -> Inquiry:
        """Answer it. Raises InquiryNotFound, InquiryEnded, VersionMismatch, and OwnInterest for whose pay it is.

        InvalidInput for an adjustment that is not of that person.
        """
        stored = await self._published.for_change(tx, tenant_id, inquiry_id, expected_version)
        if resolution.adjustment_id is not None:
            await self._check_adjustment(tx, tenant_id, stored, resolution.adjustment_id)
        check_no_own_interest(actor, [stored.person_id], "the answer to an inquiry")
        saved, after = resolved(stored, resolution), resolution.outcome.value
        return await self._save(tx, tenant_id, saved, InquiryEntryKind.RESOLVED, actor, resolution.text, None, after)

    async def withdraw(
        self, tx: Transaction, tenant_id: UUID, inquiry_id: UUID, expected_version: int, *, actor: Actor, sight: Sight
    ) -> Inquiry:
        """Take it back. Raises InquiryNotFound, InquiryEnded, NotTheAuthor, VersionMismatch."""
        await self.get_inquiry(tx, tenant_id, inquiry_id, sight)
        stored = await self._published.for_change(tx, tenant_id, inquiry_id, expected_version)
        return await self._save(tx, tenant_id, withdrawn(stored, actor), InquiryEntryKind.WITHDRAWN, actor)

    async def reopen(
        self,
        tx: Transaction,
        tenant_id: UUID,
        inquiry_id: UUID,
        expected_version: int,
        text: str,
        *,
        actor: Actor,
        sight: Sight,
    ) -> Inquiry:
        """Whoever sees it says why the answer does not settle it. Raises InquiryNotFound, InquiryNotEnded."""
        await self.get_inquiry(tx, tenant_id, inquiry_id, sight)
        stored = await self._published.for_change(tx, tenant_id, inquiry_id, expected_version)
        saved = reopened(stored, await self.today(tx, tenant_id) + timedelta(days=DAYS_TO_RESOLVE))
        before = stored.status.value
        return await self._save(
            tx, tenant_id, saved, InquiryEntryKind.REOPENED, actor, text, before, saved.status.value
        )

    async def next_due(self, tx: Transaction) -> list[tuple[UUID, date]]:
        """The day the next inquiry is due that is open and not reported as overdue, of every tenant in scope."""
        return await store.next_due(tx)

    async def end_of_day(self, tx: Transaction, tenant_id: UUID, day: date) -> datetime:
        """The moment a day of the tenant is over."""
        chart = await self._credits.chart(tx, tenant_id)
        return chart.calendar.days.first_instant(day + timedelta(days=1))

    async def report_overdue(self, tx: Transaction, tenant_id: UUID) -> int:
        """Publish some of those that have become overdue, each once; how many those were."""
        await tx.lock_tenants_exclusive([tenant_id])
        found = await store.overdue(tx, tenant_id, await self.today(tx, tenant_id), _OVERDUE_AT_ONCE)
        await self._published.save_many(tx, tenant_id, [reported_overdue(inquiry, tx.now) for inquiry in found])
        return len(found)

    async def _check_adjustment(self, tx: Transaction, tenant_id: UUID, inquiry: Inquiry, adjustment_id: UUID) -> None:
        try:
            found = await self._adjustments.get_adjustment(tx, tenant_id, adjustment_id, WHOLE_TENANT)
        except AdjustmentNotFound:
            found = None
        if found is None or found.person_id != inquiry.person_id:
            raise InvalidInput.field(
                "/adjustment_id", f"{adjustment_id} is no adjustment of this person", "an adjustment of whose pay it is"
            )

    async def _known(
        self, tx: Transaction, tenant_id: UUID, deal: DealInQuestion | None, sight: Sight
    ) -> DealInQuestion | None:
        """The deal with its id, where it has arrived and may be seen."""
        if deal is None:
            return None
        wanted = [deal.deal_id] if deal.deal_id is not None else await self._possible_ids(tx, tenant_id, deal)
        facts = await self._credits.facts(tx, tenant_id, wanted)
        seen = [deal_id for deal_id in wanted if deal_id in facts and sight.sees_record(facts[deal_id])]
        if deal.deal_id is not None and not seen:
            raise InvalidInput.field(
                "/deal/deal_id", f"{deal.deal_id} is no deal that has arrived", "source and external_id as in the CRM"
            )
        found = seen[0] if len(seen) == 1 else None
        return DealInQuestion(found, deal.source, deal.external_id)

    async def _possible_ids(self, tx: Transaction, tenant_id: UUID, deal: DealInQuestion) -> list[UUID]:
        if deal.source is None or deal.external_id is None:
            return []
        connections = await self._credits.connections(tx, tenant_id, deal.source)
        return possible_deal_ids(sorted(connections), deal.external_id)

    async def _save(
        self,
        tx: Transaction,
        tenant_id: UUID,
        saved: Inquiry,
        kind: InquiryEntryKind,
        actor: Actor,
        text: str | None = None,
        before: str | None = None,
        after: str | None = None,
    ) -> Inquiry:
        await self._published.save(tx, tenant_id, saved)
        await self._add_entry(tx, tenant_id, saved, kind, actor, text, before, after)
        await tx.notify(DUE_CHANNEL)
        return saved

    async def _add_entry(
        self,
        tx: Transaction,
        tenant_id: UUID,
        inquiry: Inquiry,
        kind: InquiryEntryKind,
        actor: Actor,
        text: str | None = None,
        before: str | None = None,
        after: str | None = None,
    ) -> Entry:
        entry = Entry(tx.new_id(), inquiry.id, kind, actor, tx.now, text, before, after)
        return await store.add_entry(tx, tenant_id, entry)
