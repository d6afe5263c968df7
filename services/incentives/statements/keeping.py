"""Statements of pay periods: kept as they were paid, or as they are while nothing is kept yet.

What a pay period paid for is written down line by line right after its cut-off, when the lines are what was paid: what
changes later posts to another pay period, and would alter the lines. What payout runs made of it is written down once
it is closed. Both come after the transaction that moved the pay period, person by person, so that nobody waits for it.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import PersonNotInSight
from services.incentives.credits.service import Credits
from services.incentives.periods.domain import PayCalendar, PayPeriod, PayState
from services.incentives.periods.service import PayPeriods, amounts_text
from services.incentives.plans.service import Plans
from services.incentives.statements import store
from services.incentives.statements.content import (
    EarnedContent,
    PaidContent,
    earned_content,
    kept_statement,
    paid_content,
)
from services.incentives.statements.domain.english import ENGLISH
from services.incentives.statements.domain.keeping import (
    KeptPart,
    KeptPeriod,
    KeptStatement,
    digest_of,
    digest_of_all,
)
from services.incentives.statements.domain.pay import PaidTotal
from services.incentives.statements.domain.statement import PersonStatement
from services.incentives.statements.service import Statements
from services.incentives.statements.stating import stated
from shared.db.database import Database, Scope, Transaction
from shared.kernel.difference import Difference
from shared.kernel.sight import Sight

_CHECKED_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class DueStatements:
    """A part of the statements of a pay period that is not kept for everybody yet."""

    pay_period: PayPeriod
    part: KeptPart


class PayStatements:
    """Reads and keeps the statements of pay periods."""

    def __init__(self, plans: Plans, credits: Credits, pay_periods: PayPeriods, statements: Statements) -> None:
        self._plans = plans
        self._credits = credits
        self._pay_periods = pay_periods
        self._statements = statements

    async def get(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, pay_period_id: UUID, person_id: UUID, *, later: bool
    ) -> PersonStatement:
        """A person's statement of a pay period, as it was kept; before, as it is now.

        With `later` also what was posted later for what was due in it, and what that is worth now. Raises
        PayPeriodNotFound, PersonNotInSight, StatementTooLong.
        """
        if not sight.sees_person(person_id):
            raise PersonNotInSight(f"There is no person {person_id}.")
        kept = await store.kept(tx, tenant_id, pay_period_id, person_id)
        if KeptPart.EARNED not in kept:
            return stated(await self._statements.of_pay_period(tx, tenant_id, pay_period_id, person_id), ENGLISH)
        earned = EarnedContent.model_validate_json(kept[KeptPart.EARNED].content)
        last = kept.get(KeptPart.PAID)
        paid = None if last is None else PaidContent.model_validate_json(last.content)
        found = kept_statement(earned, paid, (last or kept[KeptPart.EARNED]).digest)
        if paid is None:
            payouts = await self._statements.payouts(tx, tenant_id, [person_id], found.start, found.end)
            found = replace(found, payouts=payouts.get(person_id, []))
        if later and found.pay is not None:
            corrections = await self._statements.corrections(tx, tenant_id, pay_period_id, person_id)
            now = {
                each.currency: each for each in await self._statements.totals(tx, tenant_id, pay_period_id, person_id)
            }
            totals = {each.currency: each for each in found.pay.totals}
            compared = [
                PaidTotal(
                    currency,
                    totals[currency].for_due if currency in totals else Decimal(0),
                    totals[currency].for_earlier if currency in totals else Decimal(0),
                    now[currency].as_recalculated if currency in now else Decimal(0),
                )
                for currency in sorted(totals.keys() | now.keys())
            ]
            found = replace(found, pay=replace(found.pay, totals=compared, later=corrections))
        return found

    async def kept(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, pay_period_id: UUID, person_id: UUID
    ) -> dict[KeptPart, KeptStatement]:
        """The parts of a person's statement that are kept, as they were written.

        Raises PayPeriodNotFound, PersonNotInSight.
        """
        fiscal = (await self._credits.chart(tx, tenant_id)).calendar
        (await self._calendar(tx, tenant_id)).named(pay_period_id, fiscal.business_date(tx.now))
        if not sight.sees_person(person_id):
            raise PersonNotInSight(f"There is no person {person_id}.")
        return await store.kept(tx, tenant_id, pay_period_id, person_id)

    async def digests(self, tx: Transaction, tenant_id: UUID, pay_period_id: UUID) -> dict[KeptPart, dict[UUID, str]]:
        """The digests of what is kept of the statements of a pay period, by part and person."""
        return {part: await store.digests(tx, tenant_id, pay_period_id, part) for part in KeptPart}

    async def kept_periods(self, tx: Transaction, tenant_id: UUID) -> list[KeptPeriod]:
        """Which parts are kept for everybody, of which pay periods."""
        return await store.kept_periods(tx, tenant_id)

    async def due(self, tx: Transaction, tenant_id: UUID) -> list[DueStatements]:
        """What is to be kept now, in the order in which it is."""
        finished = {(each.pay_period_id, each.part) for each in await store.kept_periods(tx, tenant_id)}
        found = []
        for each in (await self._calendar(tx, tenant_id)).stored:
            if each.cut_off is not None and (each.id, KeptPart.EARNED) not in finished:
                found.append(DueStatements(each, KeptPart.EARNED))
            if each.state is PayState.CLOSED and (each.id, KeptPart.PAID) not in finished:
                found.append(DueStatements(each, KeptPart.PAID))
        return found

    async def missing(self, tx: Transaction, tenant_id: UUID, due: DueStatements) -> list[UUID]:
        """Whose part is not kept yet."""
        period = due.pay_period
        kept = await store.digests(tx, tenant_id, period.id, due.part)
        calendar = await self._calendar(tx, tenant_id)
        people = await self._statements.concerned(tx, tenant_id, calendar, period, None)
        if due.part is KeptPart.PAID:
            people |= (await store.digests(tx, tenant_id, period.id, KeptPart.EARNED)).keys()
        return sorted(people - kept.keys())

    async def keep(self, tx: Transaction, tenant_id: UUID, due: DueStatements, person_id: UUID) -> None:
        """Keep a person's part, and where it is the second the first too. What is kept stays as it is."""
        period = due.pay_period
        kept = await store.kept(tx, tenant_id, period.id, person_id)
        earned = kept.get(KeptPart.EARNED)
        if earned is None:
            await self._lock(tx, tenant_id, person_id)
            found = stated(await self._statements.of_pay_period(tx, tenant_id, period.id, person_id), ENGLISH)
            if found.pay is None:
                raise ValueError(f"the statement of pay period {period.id} says nothing about it")
            earned = _written(tx, earned_content(found, found.pay).model_dump_json())
            await store.add_kept(tx, tenant_id, period.id, person_id, KeptPart.EARNED, earned)
        if due.part is KeptPart.PAID:
            start, end = period.period.start, period.period.end
            payouts = await self._statements.payouts(tx, tenant_id, [person_id], start, end)
            content = paid_content(period.id, person_id, earned.digest, payouts.get(person_id, []))
            paid = _written(tx, content.model_dump_json())
            await store.add_kept(tx, tenant_id, period.id, person_id, KeptPart.PAID, paid)

    async def _lock(self, tx: Transaction, tenant_id: UUID, person_id: UUID) -> None:
        """Let nobody settle what the person earns until the end of the transaction: it is read of one moment."""
        await tx.lock_tenants_shared([tenant_id])
        known = await self._credits.definitions(tx, tenant_id)
        own = [each.id for each in known.assignments.values() if each.person_id == person_id]
        await self._plans.lock_assignments(tx, tenant_id, own)

    async def finish(self, tx: Transaction, tenant_id: UUID, due: DueStatements) -> None:
        """Remember that the part is kept for everybody, with the digest of all."""
        found = await store.digests(tx, tenant_id, due.pay_period.id, due.part)
        kept = KeptPeriod(due.pay_period.id, due.part, len(found), digest_of_all(found), tx.now)
        await store.add_kept_period(tx, tenant_id, kept)

    async def tenants(self, database: Database) -> list[UUID]:
        """Every tenant that may have kept statements."""
        async with database.snapshot(Scope.every()) as tx:
            return await self._plans.tenants(tx)

    async def of_tenant(self, database: Database, tenant_id: UUID, compared: Counter[str]) -> AsyncIterator[Difference]:
        """Every kept statement that is not what was written or that the ledger does not bear out."""
        async with database.snapshot(Scope.of(tenant_id)) as tx:
            for each in (await self._calendar(tx, tenant_id)).stored:
                for difference in await self.check(tx, tenant_id, each, compared):
                    yield difference

    async def check(
        self, tx: Transaction, tenant_id: UUID, pay_period: PayPeriod, compared: Counter[str] | None = None
    ) -> list[Difference]:
        """What is amiss with the kept statements of a pay period."""
        found: list[Difference] = []
        compared = Counter() if compared is None else compared
        finished = {
            each.part: each for each in await store.kept_periods(tx, tenant_id) if each.pay_period_id == pay_period.id
        }
        named: dict[UUID, str] = {}
        paid: defaultdict[str, Decimal] = defaultdict(Decimal)
        for part in KeptPart:
            after: UUID | None = None
            while page := await store.kept_page(
                tx, tenant_id, pay_period.id, part, after=after, limit=_CHECKED_AT_ONCE
            ):
                after = page[-1][0]
                for person_id, kept in page:
                    compared["kept statement"] += 1
                    subject = f"{part} of {person_id} from {pay_period.period.start}"
                    if not kept.is_intact:
                        found.append(_altered(tenant_id, subject, kept.digest, digest_of(kept.content)))
                    elif part is KeptPart.EARNED:
                        named[person_id] = kept.digest
                        for total in EarnedContent.model_validate_json(kept.content).totals:
                            paid[total.currency] += total.for_due + total.for_earlier
                    else:
                        names = PaidContent.model_validate_json(kept.content).earned
                        if names != named.get(person_id):
                            found.append(_altered(tenant_id, subject, names, named.get(person_id, "nothing")))
            if part in finished:
                whole = finished[part]
                digests = await store.digests(tx, tenant_id, pay_period.id, part, until=whole.kept_at)
                if digest_of_all(digests) != whole.digest:
                    subject = f"{part} of all from {pay_period.period.start}"
                    found.append(_altered(tenant_id, subject, whole.digest, digest_of_all(digests)))
        if KeptPart.EARNED in finished and pay_period.cut_off is not None and not found:
            stated_amounts = {currency: amount for currency, amount in paid.items() if amount}
            stated_text, posted_text = amounts_text(stated_amounts), amounts_text(pay_period.cut_off.as_paid)
            if stated_text != posted_text:
                subject = f"as paid from {pay_period.period.start}"
                found.append(_altered(tenant_id, subject, stated_text, posted_text))
        return found

    async def _calendar(self, tx: Transaction, tenant_id: UUID) -> PayCalendar:
        fiscal = (await self._credits.chart(tx, tenant_id)).calendar
        return await self._pay_periods.calendar(tx, tenant_id, fiscal)


def _written(tx: Transaction, content: str) -> KeptStatement:
    return KeptStatement(content, digest_of(content), tx.now)


def _altered(tenant_id: UUID, subject: str, stored: str, recomputed: str) -> Difference:
    return Difference("kept statement", tenant_id, subject, stored, recomputed)
