"""What pay periods paid beside what the same is worth now, and what made the difference with whose doing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from services.incentives.credits.service import Credits
from services.incentives.earnings.domain.comparison import PersonComparison, compared
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import EARNING, PAYABLE, LedgerTransaction
from services.incentives.periods.domain import PayCalendar, PayPeriod
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.assigning import Assignments
from services.incentives.plans.domain.assignments import AssignmentChangeKind
from services.incentives.plans.domain.versions import ChangeKind
from services.incentives.plans.service import Plans
from shared.db.database import Transaction
from shared.kernel.approvals import Actor
from shared.kernel.periods import Period

_STEPS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Doing:
    """Who did what of a change that the ledger names, when and why. What was not recorded is None."""

    change: str
    act: str
    actor: Actor
    at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Correction:
    """A transaction that was posted after the pay period its earning was due in, and whose doing it was."""

    transaction: LedgerTransaction
    doings: tuple[Doing, ...]


class Comparisons:
    """Compares pay periods as they were paid with what they are worth now."""

    def __init__(self, plans: Plans, assignments: Assignments, credits: Credits, pay_periods: PayPeriods) -> None:
        self._plans = plans
        self._assignments = assignments
        self._credits = credits
        self._pay_periods = pay_periods

    async def found(self, tx: Transaction, tenant_id: UUID, pay_period_id: UUID) -> tuple[PayCalendar, PayPeriod]:
        """The tenant's pay periods, and that one. Raises PayPeriodNotFound."""
        fiscal = (await self._credits.chart(tx, tenant_id)).calendar
        calendar = await self._pay_periods.calendar(tx, tenant_id, fiscal)
        return calendar, calendar.named(pay_period_id, fiscal.business_date(tx.now))

    async def compare(
        self, tx: Transaction, tenant_id: UUID, pay_period_id: UUID, people: Collection[UUID] | None
    ) -> list[PersonComparison]:
        """Of some people (None: everyone), by person and currency. Raises PayPeriodNotFound."""
        calendar, pay_period = await self.found(tx, tenant_id, pay_period_id)
        after = calendar.span(pay_period).start
        posted = await ledger.posted(tx, tenant_id, PAYABLE, EARNING, after=after, people=people)
        return compared(calendar, pay_period, posted)

    async def people_posted(
        self, tx: Transaction, tenant_id: UUID, span: Period, people: Collection[UUID] | None
    ) -> set[UUID]:
        """Whoever of some people (None: everyone) something was posted for in pay periods with their last day there."""
        posted = await ledger.posted(tx, tenant_id, PAYABLE, EARNING, after=span.start, until=span.end, people=people)
        return {each.person_id for each in posted}

    async def corrections(
        self,
        tx: Transaction,
        tenant_id: UUID,
        pay_period_id: UUID,
        people: Collection[UUID] | None,
        *,
        after: int,
        limit: int,
        of_earlier: bool = False,
    ) -> list[Correction]:
        """What was posted later for what was due in a pay period, in the order of posting.

        Or, `of_earlier`, what was posted in the pay period itself for what was due in earlier ones. Raises
        PayPeriodNotFound.
        """
        calendar, pay_period = await self.found(tx, tenant_id, pay_period_id)
        span = calendar.span(pay_period)
        transactions = await ledger.transactions(
            tx,
            tenant_id,
            after=after,
            limit=limit,
            people=people,
            correcting=None if of_earlier else span,
            correcting_in=span if of_earlier else None,
        )
        doings = await self._doings(
            tx, tenant_id, {each for item in transactions for each in item.posting.cause.changes}
        )
        return [
            Correction(item, tuple(doing for change in item.posting.cause.changes for doing in doings.get(change, ())))
            for item in transactions
        ]

    async def _doings(self, tx: Transaction, tenant_id: UUID, changes: Collection[str]) -> dict[str, Sequence[Doing]]:
        """Whose doing those changes are that were made here, by the name of the change."""
        found: dict[str, Sequence[Doing]] = {}
        for change in changes:
            subject, _, version = change.rpartition(" v")
            kind, _, name = subject.partition("/")
            if kind == "plan":
                found[change] = await self._of_plan_version(tx, tenant_id, change, UUID(name), int(version))
            elif kind == "assignment":
                found[change] = await self._of_assignment(tx, tenant_id, change, UUID(name), int(version))
        return found

    async def _of_plan_version(
        self, tx: Transaction, tenant_id: UUID, change: str, plan_id: UUID, number: int
    ) -> list[Doing]:
        steps = await self._plans.list_version_changes(tx, tenant_id, plan_id, number, after=0, limit=_STEPS_MAX)
        return [Doing(change, ChangeKind(step.kind).value, step.actor, step.at, None) for step in steps]

    async def _of_assignment(
        self, tx: Transaction, tenant_id: UUID, change: str, assignment_id: UUID, version: int
    ) -> list[Doing]:
        """The steps since the approval before that one."""
        steps = await self._assignments.list_changes(tx, tenant_id, assignment_id, after=0, limit=_STEPS_MAX)
        found: list[Doing] = []
        for step in steps:
            if step.version > version:
                break
            found.append(Doing(change, step.kind.value, step.actor, step.at, step.reason))
            if step.kind is AssignmentChangeKind.APPROVED and step.version < version:
                found = []
        return found
