"""The use cases of payout runs: calculate, approve, export, mark paid, cancel, reverse."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.service import Credits
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import EARNING, EarnedOnDeal
from services.incentives.payouts import store
from services.incentives.payouts.domain.adjustments import ADJUSTMENT
from services.incentives.payouts.domain.pay import EarnedAmount, PayInput, PayState, pay_of
from services.incentives.payouts.domain.runs import (
    IN_FORCE,
    Anomaly,
    PaidOut,
    Payout,
    PayoutRun,
    PayoutRunOutdated,
    PayoutRunOutOfTurn,
    RunChange,
    RunStatus,
    ToNobody,
    UncreditedDeal,
    anomalies_of,
    moved,
    postings_of,
    proposal_of,
)
from services.incentives.payouts.events import payout_event
from services.incentives.periods.domain import Mover, PayCalendar, PayPeriod
from services.incentives.periods.domain import PayState as PeriodState
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.domain.rules import Clawback, PeriodRules
from shared.contracts.deals import Deal
from shared.db.database import Transaction
from shared.kernel.approvals import Actor
from shared.kernel.deals import CUSTOM_FAMILY
from shared.kernel.periods import Period, PeriodKind
from shared.outbox.outbox import Outbox

_DAY: Final = timedelta(days=1)
_ZERO: Final = Decimal(0)
_PERIODS_MAX: Final = 1200


class PayoutRuns:
    """The payout runs of every tenant."""

    def __init__(self, outbox: Outbox, credits: Credits, pay_periods: PayPeriods) -> None:
        self._outbox = outbox
        self._credits = credits
        self._pay_periods = pay_periods

    async def list_runs(self, tx: Transaction, tenant_id: UUID) -> list[PayoutRun]:
        """All runs, by number."""
        return await store.runs(tx, tenant_id)

    async def get_run(self, tx: Transaction, tenant_id: UUID, run_id: UUID) -> PayoutRun:
        """Raises PayoutRunNotFound."""
        return await store.RUNS.get(tx, tenant_id, run_id)

    async def list_changes(
        self, tx: Transaction, tenant_id: UUID, run_id: UUID, *, after: int, limit: int
    ) -> list[RunChange]:
        """The steps of a run, oldest first. Raises PayoutRunNotFound."""
        await store.RUNS.get(tx, tenant_id, run_id)
        return await store.changes(tx, tenant_id, run_id, after=after, limit=limit)

    async def list_payouts(
        self,
        tx: Transaction,
        tenant_id: UUID,
        *,
        run_id: UUID,
        anomaly: Anomaly | None,
        after: UUID | None,
        limit: int | None,
    ) -> list[Payout]:
        """What a run pays, by id. Raises PayoutRunNotFound."""
        await store.RUNS.get(tx, tenant_id, run_id)
        return await store.list_payouts(
            tx, tenant_id, run_id=run_id, people=None, anomaly=anomaly, after=after, limit=limit
        )

    async def list_uncredited(
        self, tx: Transaction, tenant_id: UUID, run_id: UUID, *, after: UUID | None, limit: int
    ) -> list[UncreditedDeal]:
        """The deals that were credited to nobody when a run was calculated, by id. Raises PayoutRunNotFound."""
        await store.RUNS.get(tx, tenant_id, run_id)
        return await store.uncredited(tx, tenant_id, run_id, after=after, limit=limit)

    async def paid_out(
        self, tx: Transaction, tenant_id: UUID, people: Collection[UUID] | None, start: date, end: date
    ) -> list[PaidOut]:
        """What approved runs for pay periods within [start, end) paid some people (None: everyone), by person and run.

        Runs that were reversed are among them, and their reversals.
        """
        return await store.paid_out(tx, tenant_id, people, start, end)

    async def calculate(
        self, tx: Transaction, tenant_id: UUID, pay_period_id: UUID, *, actor: Actor, reason: str | None
    ) -> PayoutRun:
        """Work out what everybody is paid for a pay period that is no longer open. Nothing is posted.

        Raises PayPeriodNotFound; PayoutRunOutOfTurn where the pay period is open, was paid by a run already, or another
        run is under way.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        known, calendar = await self._known(tx, tenant_id)
        found = calendar.named(pay_period_id, known.chart.calendar.business_date(tx.now))
        if found.state is PeriodState.OPEN:
            raise PayoutRunOutOfTurn(f"The pay period from {found.period.start} is open: begin to calculate it first.")
        runs = await store.runs(tx, tenant_id)
        _require_none_under_way(runs)
        last = _last_in_force(runs)
        if last is not None and last.period.end >= found.period.end:
            raise PayoutRunOutOfTurn(f"Run {last.number} has paid up to {last.period.end}: reverse it first.")
        number = len(runs) + 1
        run_id = tx.new_id()
        payouts = await self._payouts(tx, tenant_id, known, calendar, found, run_id, number, last)
        days = found.period if last is None else Period(last.period.end, found.period.end)
        uncredited, to_nobody = await self._to_nobody(tx, tenant_id, known, days)
        run = await self._add(tx, tenant_id, found, run_id, number, payouts, actor, reason, to_nobody=to_nobody)
        await store.add_uncredited(tx, tenant_id, run.id, uncredited)
        return run

    async def approve(
        self, tx: Transaction, tenant_id: UUID, run_id: UUID, expected_version: int, *, actor: Actor, reason: str | None
    ) -> PayoutRun:
        """Let a run pay: what it takes, adds, holds and pays is posted.

        By a person who did not calculate it and whom it does not pay (ApprovalNotIndependent), once the pay period is
        cut off (PayoutRunOutOfTurn), and only what would be calculated now (PayoutRunOutdated). Raises
        PayoutRunNotFound, PayoutRunCannotMove, VersionMismatch.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        run = await store.RUNS.for_change(tx, tenant_id, run_id, expected_version)
        approved = moved(run, RunStatus.APPROVED)
        payouts = await store.list_payouts(tx, tenant_id, run_id=run.id, people=None)
        authors = [change.actor for change in await store.changes(tx, tenant_id, run.id)]
        proposal_of(run, authors, {each.person_id for each in payouts}).check(actor)
        if run.reverses is not None:
            return await self._approve_reversal(tx, tenant_id, approved, run.reverses, actor, reason)
        known, calendar = await self._known(tx, tenant_id)
        found = calendar.named(run.pay_period_id, known.chart.calendar.business_date(tx.now))
        if found.takes_postings:
            raise PayoutRunOutOfTurn(
                f"Approve the pay period from {found.period.start} first: it takes postings still."
            )
        last = _last_in_force(await store.runs(tx, tenant_id))
        now = await self._payouts(tx, tenant_id, known, calendar, found, run.id, run.number, last)
        if _compared(now) != _compared(payouts):
            raise PayoutRunOutdated(f"Run {run.number} pays something else now: cancel it and calculate another.")
        await ledger.post(tx, tenant_id, [posting for each in payouts for posting in postings_of(each, run.period)])
        return await self._save(tx, tenant_id, approved, actor, reason)

    async def export(
        self, tx: Transaction, tenant_id: UUID, run_id: UUID, expected_version: int, *, mover: Mover, reason: str
    ) -> PayoutRun:
        """Hand a run over to payroll: each payout is published in the transaction that marks it exported, so once.

        Raises PayoutRunNotFound, PayoutRunCannotMove, VersionMismatch, and what moving the pay period does.
        """
        run = await self._step(tx, tenant_id, run_id, expected_version, RunStatus.EXPORTED, mover, reason)
        payouts = await store.list_payouts(tx, tenant_id, run_id=run.id, people=None)
        await self._outbox.publish(tx, [payout_event(tenant_id, run, each) for each in payouts])
        return run

    async def mark_paid(
        self, tx: Transaction, tenant_id: UUID, run_id: UUID, expected_version: int, *, mover: Mover, reason: str
    ) -> PayoutRun:
        """Payroll has paid it. Raises as exporting does."""
        return await self._step(tx, tenant_id, run_id, expected_version, RunStatus.PAID, mover, reason)

    async def cancel(
        self, tx: Transaction, tenant_id: UUID, run_id: UUID, expected_version: int, *, actor: Actor, reason: str
    ) -> PayoutRun:
        """Drop a run that was not approved. Raises PayoutRunNotFound, PayoutRunCannotMove, VersionMismatch."""
        await tx.lock_tenants_exclusive([tenant_id])
        run = await store.RUNS.for_change(tx, tenant_id, run_id, expected_version)
        return await self._save(tx, tenant_id, moved(run, RunStatus.CANCELLED), actor, reason)

    async def reverse(
        self, tx: Transaction, tenant_id: UUID, run_id: UUID, expected_version: int, *, actor: Actor, reason: str
    ) -> PayoutRun:
        """Propose a run that undoes the last one that counts; it is approved as every run is.

        Raises PayoutRunNotFound, PayoutRunCannotMove, VersionMismatch, PayoutRunOutOfTurn.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        reversed_run = await store.RUNS.for_change(tx, tenant_id, run_id, expected_version)
        moved(reversed_run, RunStatus.REVERSED)
        runs = await store.runs(tx, tenant_id)
        _require_none_under_way(runs)
        last = _last_in_force(runs)
        if last is None or last.id != run_id:
            raise PayoutRunOutOfTurn(
                f"Run {reversed_run.number} is not the last that counts: reverse later ones first."
            )
        _, calendar = await self._known(tx, tenant_id)
        found = calendar.containing(reversed_run.period.start)
        reversal_id = tx.new_id()
        payouts = [
            replace(
                each,
                id=tx.new_id(),
                run_id=reversal_id,
                paid=-each.paid,
                earned=-each.earned,
                lines=tuple(replace(line, amount=-line.amount) for line in each.lines),
                anomalies=(),
            )
            for each in await store.list_payouts(tx, tenant_id, run_id=run_id, people=None)
        ]
        return await self._add(
            tx, tenant_id, found, reversal_id, len(runs) + 1, payouts, actor, reason, reverses=reversed_run
        )

    async def _approve_reversal(
        self, tx: Transaction, tenant_id: UUID, approved: PayoutRun, run_id: UUID, actor: Actor, reason: str | None
    ) -> PayoutRun:
        stored = (await store.RUNS.locked_many(tx, tenant_id, [run_id]))[run_id]
        undone = moved(stored, RunStatus.REVERSED)
        originals = await store.list_payouts(tx, tenant_id, run_id=run_id, people=None)
        await ledger.post(
            tx,
            tenant_id,
            [
                posting
                for each in originals
                for posting in postings_of(replace(each, run_id=approved.id), stored.period, is_reversal=True)
            ],
        )
        await self._save(tx, tenant_id, undone, actor, reason)
        return await self._save(tx, tenant_id, approved, actor, reason)

    async def _step(
        self,
        tx: Transaction,
        tenant_id: UUID,
        run_id: UUID,
        expected_version: int,
        to: RunStatus,
        mover: Mover,
        reason: str,
    ) -> PayoutRun:
        """A step of an approved run, and of the pay periods up to its own that have not come so far."""
        await tx.lock_tenants_exclusive([tenant_id])
        run = moved(await store.RUNS.for_change(tx, tenant_id, run_id, expected_version), to)
        if run.reverses is None:
            known, calendar = await self._known(tx, tenant_id)
            before = PeriodState.APPROVED if to is RunStatus.EXPORTED else PeriodState.EXPORTED
            for each in calendar.stored:
                if each.state is before and each.period.end <= run.period.end:
                    await self._pay_periods.move(
                        tx,
                        tenant_id,
                        known.chart.calendar,
                        each.id,
                        PeriodState(to.value),
                        mover=mover,
                        reason=reason,
                        expected_version=each.version,
                        by_run=True,
                    )
        return await self._save(tx, tenant_id, run, mover.actor, reason)

    async def _known(self, tx: Transaction, tenant_id: UUID) -> tuple[Definitions, PayCalendar]:
        known = await self._credits.definitions(tx, tenant_id)
        return known, await self._pay_periods.calendar(tx, tenant_id, known.chart.calendar)

    async def _payouts(
        self,
        tx: Transaction,
        tenant_id: UUID,
        known: Definitions,
        calendar: PayCalendar,
        found: PayPeriod,
        run_id: UUID,
        number: int,
        last: PayoutRun | None,
    ) -> list[Payout]:
        """What everybody is paid, by person and plan."""
        period = found.period
        after = date.min if last is None else last.period.end
        earned: defaultdict[tuple[UUID, UUID], list[EarnedOnDeal]] = defaultdict(list)
        for each in await ledger.earned_on_deals(tx, tenant_id, EARNING, after=after, until=period.end):
            earned[each.person_id, each.plan_id].append(each)
        adjusted: defaultdict[tuple[UUID, UUID], Decimal] = defaultdict(Decimal)
        for each in await ledger.earned_on_deals(tx, tenant_id, ADJUSTMENT, after=after, until=period.end):
            adjusted[each.person_id, each.plan_id] += each.amount
        newest = await store.newest(tx, tenant_id, number)
        earlier = await store.earlier(tx, tenant_id, number)
        starts = _starts(known, period.end)
        keys = earned.keys() | adjusted.keys() | {key for key, payout in newest.items() if _carries(payout.state)}
        keys |= {key for key, start in starts.items() if _tops_up(_rules(known, key[1], period.end))}
        wanted = {each.deal_id for amounts in earned.values() for each in amounts if each.amount < 0 and each.deal_id}
        wanted |= {held.deal_id for payout in newest.values() for held in payout.state.held if held.deal_id is not None}
        deals = await self._credits.deals(tx, tenant_id, wanted)
        fiscal = known.chart.calendar
        starts_year = fiscal.period_of(period.start, PeriodKind.YEAR).start >= after
        payouts = []
        for person_id, plan_id in sorted(keys):
            plan, rules = known.plans[plan_id], _rules(known, plan_id, period.end)
            before = newest.get((person_id, plan_id))
            state = PayState() if before is None else before.state
            amounts = earned.get((person_id, plan_id), [])
            pay = pay_of(
                rules,
                plan.currency,
                state,
                PayInput(
                    number=_number(calendar, starts.get((person_id, plan_id), period.start), period.start),
                    earned=[
                        _earned_amount(known, each, rules.clawback, deals, period.start)
                        for each in amounts
                        if each.currency == plan.currency
                    ],
                    adjusted=adjusted.get((person_id, plan_id), _ZERO),
                    paid_deals=[deal_id for deal_id, deal in deals.items() if _is_paid(deal)],
                    starts_year=starts_year,
                ),
            )
            payouts.append(
                Payout(
                    id=tx.new_id(),
                    run_id=run_id,
                    person_id=person_id,
                    plan_id=plan_id,
                    currency=plan.currency,
                    paid=pay.paid,
                    earned=sum((each.amount for each in amounts), _ZERO),
                    lines=pay.lines,
                    state=pay.state,
                    owed_before=state.owed,
                    anomalies=anomalies_of(pay, earlier.get((person_id, plan_id), [])),
                )
            )
        return payouts

    async def _to_nobody(
        self, tx: Transaction, tenant_id: UUID, known: Definitions, days: Period
    ) -> tuple[list[UncreditedDeal], tuple[ToNobody, ...]]:
        """What was won within some days and is credited to nobody: deal by deal, and by currency."""
        won = await self._credits.won(tx, tenant_id, known, days)
        uncredited = [
            UncreditedDeal(
                deal_id=each.left.deal_id,
                plan_id=each.left.plan_id,
                source=each.source,
                external_id=each.external_id,
                name=each.name,
                day=each.left.day,
                amount=each.left.value,
                currency=each.left.currency,
                reason=each.left.reason,
            )
            for each in won.to_nobody
        ]
        amounts: defaultdict[str, list[Decimal]] = defaultdict(list)
        for each in uncredited:
            amounts[each.currency].append(each.amount)
        return uncredited, tuple(
            ToNobody(currency, sum(found, _ZERO), len(found), won.credited.get(currency, _ZERO))
            for currency, found in sorted(amounts.items())
        )

    async def _add(
        self,
        tx: Transaction,
        tenant_id: UUID,
        found: PayPeriod,
        run_id: UUID,
        number: int,
        payouts: Sequence[Payout],
        actor: Actor,
        reason: str | None,
        *,
        reverses: PayoutRun | None = None,
        to_nobody: tuple[ToNobody, ...] = (),
    ) -> PayoutRun:
        totals: defaultdict[str, Decimal] = defaultdict(Decimal)
        for each in payouts:
            totals[each.currency] += each.paid
        run = PayoutRun(
            id=run_id,
            version=1,
            number=number,
            pay_period_id=found.id,
            period=found.period,
            status=RunStatus.CALCULATED,
            totals=dict(totals),
            payouts=len(payouts),
            author=actor,
            calculated_at=tx.now,
            reverses=None if reverses is None else reverses.id,
            to_nobody=to_nobody,
        )
        await store.RUNS.add(tx, tenant_id, run)
        await store.add_payouts(tx, tenant_id, payouts, json.dumps([store.payout_row(each) for each in payouts]))
        await store.add_change(tx, tenant_id, run.id, RunChange(1, run.status, actor, tx.now, reason))
        return run

    async def _save(
        self, tx: Transaction, tenant_id: UUID, saved: PayoutRun, actor: Actor, reason: str | None
    ) -> PayoutRun:
        await store.RUNS.save(tx, tenant_id, saved)
        await store.add_change(tx, tenant_id, saved.id, RunChange(saved.version, saved.status, actor, tx.now, reason))
        return saved


def _require_none_under_way(runs: Sequence[PayoutRun]) -> None:
    for run in runs:
        if run.status is RunStatus.CALCULATED:
            raise PayoutRunOutOfTurn(f"Run {run.number} waits for its approval: approve or cancel it first.")


def _last_in_force(runs: Sequence[PayoutRun]) -> PayoutRun | None:
    return next((run for run in reversed(runs) if run.status in IN_FORCE and run.reverses is None), None)


def _compared(payouts: Sequence[Payout]) -> list[tuple[object, ...]]:
    """What has to be the same for two calculations to be."""
    return sorted((each.person_id, each.plan_id, each.paid, each.earned, each.lines, each.state) for each in payouts)


def _rules(known: Definitions, plan_id: UUID, end: date) -> PeriodRules:
    """The rules in force on the last day of a pay period."""
    version = known.version_in_force(plan_id, end - _DAY)
    return PeriodRules() if version is None else version.rules


def _starts(known: Definitions, end: date) -> Mapping[tuple[UUID, UUID], date]:
    """The first day of each person on each plan, of those who have begun by then."""
    found: dict[tuple[UUID, UUID], date] = {}
    for each in known.assignments.values():
        key = each.person_id, each.plan_id
        if not each.deleted and each.range.start < end:
            found[key] = min(each.range.start, found.get(key, each.range.start))
    return found


def _tops_up(rules: PeriodRules) -> bool:
    return rules.draw is not None or rules.guarantee is not None


def _carries(state: PayState) -> bool:
    return bool(state.advances or state.held or state.excess or state.negative or state.rounding)


def _number(calendar: PayCalendar, start: date, pay_start: date) -> int:
    """Which pay period it is since the first of the person on the plan, counted from 1."""
    number, period = 1, calendar.containing(start).period
    while period.end <= pay_start and number < _PERIODS_MAX:
        number, period = number + 1, calendar.containing(period.end).period
    return number


def _earned_amount(
    known: Definitions, each: EarnedOnDeal, clawback: Clawback, deals: Mapping[UUID, Deal], pay_start: date
) -> EarnedAmount:
    deal = None if each.deal_id is None else deals.get(each.deal_id)
    term, served = None, 0
    if deal is not None:
        began = deal.closed_on or known.chart.calendar.business_date(deal.modified_at)
        served = _months_begun(began, known.chart.calendar.business_date(deal.modified_at))
        stated = (
            deal.custom.get(clawback.term_field.removeprefix(CUSTOM_FAMILY), "")
            if clawback.term_field is not None
            else ""
        )
        term = clawback.months or (int(stated) if stated.isdecimal() else None)
    return EarnedAmount(each.amount, each.component or "", each.deal_id, each.origin_end <= pay_start, term, served)


def _months_begun(start: date, day: date) -> int:
    """How many months from a day had begun by a later one."""
    if day <= start:
        return 0
    months = (day.year - start.year) * 12 + day.month - start.month
    return months + (1 if day.day > start.day else 0)


def _is_paid(deal: Deal) -> bool:
    return deal.amount is not None and deal.paid_amount is not None and deal.paid_amount >= deal.amount
