"""The use cases of pay periods."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import EARNING, PAYABLE, Posted
from services.incentives.periods import store
from services.incentives.periods.domain import CutOff, Move, Mover, PayCalendar, PayPeriod, PayState, moved
from shared.contracts.earnings import PayPeriod as PayPeriodEvent
from shared.db.database import Transaction
from shared.kernel.approvals import Actor
from shared.kernel.difference import Difference
from shared.kernel.errors import check_version
from shared.kernel.money import format_amount
from shared.kernel.periods import FiscalCalendar, Period
from shared.outbox.outbox import Outbox
from shared.outbox.published import Published
from shared.outbox.published import each as published_each
from shared.outbox.republishing import ReadNext

MOVED_CHANNEL: Final = "incentives_pay_periods"
"""Notified of the tenant in the transaction in which a pay period is cut off or closed."""


class PayPeriods:
    """The pay periods of every tenant. Whoever calls says what the tenant's fiscal calendar is."""

    def __init__(self, outbox: Outbox) -> None:
        self._pay_periods = Published(store.PAY_PERIODS, published_each(_event), outbox)

    @property
    def published(self) -> list[ReadNext]:
        """What is published, to be published again."""
        return [self._pay_periods.read_next]

    async def calendar(self, tx: Transaction, tenant_id: UUID, fiscal: FiscalCalendar) -> PayCalendar:
        """The tenant's pay periods."""
        stored = await store.in_order(tx, tenant_id)
        return PayCalendar(tenant_id, fiscal, stored, None if stored else await ledger.first_posted_in(tx, tenant_id))

    async def move(
        self,
        tx: Transaction,
        tenant_id: UUID,
        fiscal: FiscalCalendar,
        pay_period_id: UUID,
        to: PayState,
        *,
        mover: Mover,
        reason: str,
        expected_version: int,
        by_run: bool = False,
    ) -> PayPeriod:
        """Bring a pay period to another state, for good where that is its cut-off; `by_run` is a payout run's step.

        Raises PayPeriodNotFound, VersionMismatch, PayPeriodOutOfTurn, PayPeriodCannotMove, MoverNotAllowed;
        ApprovalNotIndependent when who approves worked it out or is paid by it.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        calendar = await self.calendar(tx, tenant_id, fiscal)
        today = fiscal.business_date(tx.now)
        found = calendar.named(pay_period_id, today)
        check_version(found.version, expected_version)
        posted: list[Posted] = []
        if to is PayState.APPROVED:
            posted = await _posted(tx, tenant_id, calendar.span(found))
        preparers = _preparers(await store.moves(tx, tenant_id, found.id))
        saved = moved(found, to, mover, preparers=preparers, paid={each.person_id for each in posted}, by_run=by_run)
        calendar.check_turn(found, to, today)
        if to is PayState.APPROVED:
            sequence = await ledger.cut_off(tx, tenant_id, calendar.containing(found.period.end).period)
            saved = replace(saved, cut_off=CutOff(tx.now, sequence, _totals(posted)))
        if found.version == 0:
            await self._pay_periods.add(tx, tenant_id, saved)
        else:
            await self._pay_periods.save(tx, tenant_id, saved)
        if to in (PayState.APPROVED, PayState.CLOSED):
            await tx.notify(MOVED_CHANNEL, str(tenant_id))
        move = Move(saved.version, found.state, to, mover.actor, tx.now, reason)
        await store.add_move(tx, tenant_id, found.id, move)
        return saved

    async def check(self, tx: Transaction, tenant_id: UUID, compared: Counter[str]) -> list[Difference]:
        """Where a pay period that was cut off is not what was posted in it, or something was posted in it since."""
        found = []
        calendar = await self.calendar(tx, tenant_id, FiscalCalendar())
        for each in calendar.stored:
            if (cut_off := each.cut_off) is None:
                continue
            compared["pay period"] += 1
            span, subject = calendar.span(each), f"from {each.period.start}"
            posted = _totals(await _posted(tx, tenant_id, span))
            if (posted_text := amounts_text(posted)) != (paid_text := amounts_text(cut_off.as_paid)):
                found.append(Difference("pay period", tenant_id, subject, paid_text, posted_text))
            late = await ledger.count_posted(tx, tenant_id, after=span.start, until=span.end, sequence=cut_off.sequence)
            if late:
                found.append(
                    Difference("pay period", tenant_id, f"{subject}, posted after its cut-off", str(late), "0")
                )
        return found

    async def moves(
        self, tx: Transaction, tenant_id: UUID, pay_period_id: UUID, *, after: int, limit: int
    ) -> list[Move]:
        """The steps of a pay period after its version `after`, oldest first."""
        return await store.moves(tx, tenant_id, pay_period_id, after=after, limit=limit)


async def _posted(tx: Transaction, tenant_id: UUID, span: Period) -> list[Posted]:
    """What was posted of what people earned, in the pay periods whose last day is in a span."""
    return await ledger.posted(tx, tenant_id, PAYABLE, EARNING, after=span.start, until=span.end)


def _totals(posted: Iterable[Posted]) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for each in posted:
        totals[each.currency] += each.amount
    return {currency: total for currency, total in totals.items() if total}


def amounts_text(amounts: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{format_amount(amount)} {currency}" for currency, amount in sorted(amounts.items())) or "nothing"


def _preparers(moves: Sequence[Move]) -> list[Actor]:
    """Everybody who brought it towards its approval since it was last open."""
    found: list[Actor] = []
    for move in moves:
        found = [] if move.after is PayState.OPEN else [*found, move.actor]
    return found


def _event(tenant_id: UUID, stored: PayPeriod) -> PayPeriodEvent:
    return PayPeriodEvent(
        tenant_id=tenant_id,
        version=stored.version,
        start=stored.period.start,
        end=stored.period.end,
        state=stored.state.value,
        cut_off_at=None if stored.cut_off is None else stored.cut_off.at,
    )
