"""Whose statements there are, and each of them as it is now: of some days, and of a pay period.

A statement is read in a snapshot of its own, so that what is on it is of one moment; the statements of many people are
of one moment each.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import PersonNotInSight, TeamNotInSight
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.service import Credits
from services.incentives.earnings.comparing import Comparisons, Correction
from services.incentives.earnings.domain.comparison import PersonComparison, kinds_of
from services.incentives.earnings.explaining import Explanations, Statement
from services.incentives.ledger.domain import EARNING, PAYABLE
from services.incentives.payouts.domain.runs import PaidOut
from services.incentives.payouts.service import PayoutRuns
from services.incentives.periods.domain import PayCalendar, PayPeriod
from services.incentives.plans.service import Plans
from services.incentives.statements.domain.pay import (
    PaidTotal,
    PeriodPay,
    StatedCorrection,
    StatedDeal,
    StatedPayout,
    collected,
)
from services.incentives.statements.domain.statement import Payee
from shared.contracts.deals import Deal
from shared.db.database import Transaction
from shared.kernel.errors import InvalidInput
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, Period
from shared.kernel.sight import Sight

PEOPLE_MAX: Final = 5000
_CORRECTIONS_READ: Final = 1000


class TooManyPeople(InvalidInput):
    """More people than one file has statements of."""

    code = "too_many_people"
    title = "Too many people"


@dataclass(frozen=True, slots=True)
class StatedPerson:
    """A person's statement, with the names of the plans on it and what runs paid.

    Of a pay period also what it paid, and of that what for each earning.
    """

    statement: Statement
    plan_names: Mapping[UUID, str]
    payouts: Sequence[StatedPayout]
    pay: PeriodPay | None = None
    as_paid: Mapping[UUID, Decimal] | None = None


class Statements:
    """Reads statements of people, of teams, and of everybody."""

    def __init__(
        self,
        plans: Plans,
        credits: Credits,
        explanations: Explanations,
        comparisons: Comparisons,
        payout_runs: PayoutRuns,
    ) -> None:
        self._plans = plans
        self._credits = credits
        self._explanations = explanations
        self._comparisons = comparisons
        self._payout_runs = payout_runs

    async def get(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        person_id: UUID,
        start: date,
        end: date,
        deal_id: UUID | None = None,
    ) -> StatedPerson:
        """What a person earned in the periods that lie within [start, end), and what became of one deal.

        Raises PersonNotInSight, StatementTooLong.
        """
        if not sight.sees_person(person_id):
            raise PersonNotInSight(f"There is no person {person_id}.")
        found = await self._explanations.get_statement(tx, tenant_id, sight, person_id, start, end, deal_id)
        payouts = await self.payouts(tx, tenant_id, [person_id], start, end)
        return StatedPerson(found, await self._plan_names(tx, tenant_id), payouts.get(person_id, ()))

    async def of_pay_period(
        self, tx: Transaction, tenant_id: UUID, pay_period_id: UUID, person_id: UUID
    ) -> StatedPerson:
        """What is due to a person in a pay period, what that paid, and what was posted for it later.

        Raises PayPeriodNotFound, StatementTooLong.
        """
        calendar, pay_period = await self._comparisons.found(tx, tenant_id, pay_period_id)
        period = pay_period.period
        found = await self._explanations.get_due(tx, tenant_id, person_id, period, calendar.span(pay_period))
        compared = await self._comparisons.compare(tx, tenant_id, pay_period_id, [person_id])
        payouts = await self.payouts(tx, tenant_id, [person_id], period.start, period.end)
        pay = PeriodPay(
            pay_period_id,
            None if pay_period.cut_off is None else pay_period.cut_off.at,
            totals_of(compared),
            await self.corrections(tx, tenant_id, pay_period_id, person_id, of_earlier=True),
            await self.corrections(tx, tenant_id, pay_period_id, person_id),
        )
        as_paid = {earning.earning_id: earning.as_paid for each in compared for earning in each.due}
        names = await self._plan_names(tx, tenant_id)
        return StatedPerson(found, names, payouts.get(person_id, ()), pay, as_paid)

    async def totals(
        self, tx: Transaction, tenant_id: UUID, pay_period_id: UUID, person_id: UUID
    ) -> Sequence[PaidTotal]:
        """What a pay period paid a person, and what that is worth now, by currency. Raises PayPeriodNotFound."""
        return totals_of(await self._comparisons.compare(tx, tenant_id, pay_period_id, [person_id]))

    async def payouts(
        self, tx: Transaction, tenant_id: UUID, people: Collection[UUID], start: date, end: date
    ) -> dict[UUID, list[StatedPayout]]:
        """What approved runs for the pay periods within [start, end) paid some people, by run."""
        known = await self._credits.definitions(tx, tenant_id)
        found: dict[UUID, list[StatedPayout]] = {}
        for each in await self._payout_runs.paid_out(tx, tenant_id, people, start, end):
            found.setdefault(each.payout.person_id, []).append(_payout(each, known))
        return found

    async def corrections(
        self, tx: Transaction, tenant_id: UUID, pay_period_id: UUID, person_id: UUID, *, of_earlier: bool = False
    ) -> list[StatedCorrection]:
        """What was posted later for what was due to a person in a pay period, each with what made it.

        Or, `of_earlier`, what was posted in it for what was due earlier. Raises PayPeriodNotFound.
        """
        found: list[Correction] = []
        after: int | None = 0
        while after is not None:
            page = await self._comparisons.corrections(
                tx,
                tenant_id,
                pay_period_id,
                [person_id],
                after=after,
                limit=_CORRECTIONS_READ,
                of_earlier=of_earlier,
            )
            found += [each for each in page if each.transaction.posting.subject.kind == EARNING]
            after = page[-1].transaction.sequence if len(page) == _CORRECTIONS_READ else None
        if not found:
            return []
        deal_ids = {cause.deal_id for each in found if (cause := each.transaction.posting.cause).deal_id is not None}
        deals = await self._credits.deals(tx, tenant_id, deal_ids)
        actors = {doing.actor.person_id for each in found for doing in each.doings} - {None}
        names = await self._plans.person_names(tx, tenant_id, {each for each in actors if each is not None})
        known = await self._credits.definitions(tx, tenant_id)
        return collected(_correction(each, known, deals, names) for each in found)

    async def payees(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, team_id: UUID | None, start: date, end: date
    ) -> list[Payee]:
        """Everybody in sight who was on a plan within [start, end) or has an earning there, by name.

        With a team, who of them is in its subtree on the last of these days, or today while that lies ahead.
        Raises TeamNotInSight, TooManyPeople.
        """
        people = await self.people(tx, tenant_id, sight, team_id, end)
        earned = await self._explanations.paid_within(tx, tenant_id, people, start, end)
        return await self._named(tx, tenant_id, earned | await self._on_plan(tx, tenant_id, people, start, end))

    async def due_payees(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, team_id: UUID | None, pay_period_id: UUID
    ) -> list[Payee]:
        """Everybody in sight who was on a plan in a pay period, has something due in it or was paid by it, by name.

        With a team as `payees` has it. Raises PayPeriodNotFound, TeamNotInSight, TooManyPeople.
        """
        calendar, pay_period = await self._comparisons.found(tx, tenant_id, pay_period_id)
        people = await self.people(tx, tenant_id, sight, team_id, pay_period.period.end)
        return await self._named(tx, tenant_id, await self.concerned(tx, tenant_id, calendar, pay_period, people))

    async def concerned(
        self,
        tx: Transaction,
        tenant_id: UUID,
        calendar: PayCalendar,
        pay_period: PayPeriod,
        people: Collection[UUID] | None,
    ) -> set[UUID]:
        """Whoever of some people (None: everyone) has a statement of a pay period."""
        period, span = pay_period.period, calendar.span(pay_period)
        due = await self._explanations.people_due(tx, tenant_id, people, span)
        posted = await self._comparisons.people_posted(tx, tenant_id, span, people)
        paid = await self._payout_runs.paid_out(tx, tenant_id, people, period.start, period.end)
        on_plan = await self._on_plan(tx, tenant_id, people, period.start, period.end)
        return due | posted | on_plan | {each.payout.person_id for each in paid}

    async def people(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, team_id: UUID | None, end: date
    ) -> Collection[UUID] | None:
        """Those in sight, or of them those in a team's subtree on the last day before `end`; None: everyone.

        Raises TeamNotInSight.
        """
        people = sight.people
        if team_id is not None:
            chart = (await self._credits.definitions(tx, tenant_id)).chart
            if team_id not in chart.teams or not sight.sees_owner(team_id):
                raise TeamNotInSight(f"There is no team {team_id}.")
            day = min(end - timedelta(days=1), chart.calendar.business_date(tx.now))
            members = chart.reach(OwnerKind.TEAM, team_id, Period(day, day + timedelta(days=1)))
            below = frozenset(member.person_id for member in members)
            people = below if people is None else people & below
        return people

    async def _on_plan(
        self, tx: Transaction, tenant_id: UUID, people: Collection[UUID] | None, start: date, end: date
    ) -> set[UUID]:
        known, asked = await self._credits.definitions(tx, tenant_id), DatedRange(start, end)
        return {
            each.person_id
            for each in known.assignments.values()
            if not each.deleted
            and each.range.intersection(asked) is not None
            and (people is None or each.person_id in people)
        }

    async def _named(self, tx: Transaction, tenant_id: UUID, wanted: Collection[UUID]) -> list[Payee]:
        if len(wanted) > PEOPLE_MAX:
            raise TooManyPeople.field("/team_id", f"{len(wanted)} people", f"a team of at most {PEOPLE_MAX}")
        named = await self._plans.people(tx, tenant_id, wanted)
        found = [
            Payee(each, named[each].name, named[each].employee_number) if each in named else Payee(each)
            for each in wanted
        ]
        return sorted(found, key=lambda payee: (payee.name or "", payee.person_id))

    async def _plan_names(self, tx: Transaction, tenant_id: UUID) -> dict[UUID, str]:
        known = await self._credits.definitions(tx, tenant_id)
        return {plan.id: plan.name for plan in known.plans.values()}


def totals_of(compared: Sequence[PersonComparison]) -> list[PaidTotal]:
    """What a pay period paid, by currency."""
    return [
        PaidTotal(each.currency, each.paid_for_due, each.paid_for_earlier, each.as_recalculated) for each in compared
    ]


def _payout(found: PaidOut, known: Definitions) -> StatedPayout:
    payout = found.payout
    plan = known.plans.get(payout.plan_id)
    return StatedPayout(
        run_number=found.run_number,
        status=found.status,
        period=found.period,
        plan_name=str(payout.plan_id) if plan is None else plan.name,
        currency=payout.currency,
        earned=payout.earned,
        paid=payout.paid,
        lines=payout.lines,
        carried=payout.state.carried,
        owed=payout.state.owed,
        held_back=payout.state.held_back,
        paid_on=None if found.paid_at is None else known.chart.calendar.business_date(found.paid_at),
        reverses=found.reverses,
    )


def _correction(
    found: Correction, known: Definitions, deals: Mapping[UUID, Deal], names: Mapping[UUID, str]
) -> StatedCorrection:
    transaction = found.transaction
    posting = transaction.posting
    subject, origin, posted_in = posting.subject, posting.period, posting.posted_in
    if origin is None or posted_in is None:
        raise ValueError(f"transaction {transaction.sequence} names no pay period and corrects none")
    plan = None if subject.plan_id is None else known.plans.get(subject.plan_id)
    deal, deal_id = None, posting.cause.deal_id
    if deal_id is not None:
        arrived = deals.get(deal_id)
        deal = StatedDeal(deal_id)
        if arrived is not None:
            deal = StatedDeal(deal_id, arrived.source, arrived.external_id, arrived.name)
    approved = [each for each in found.doings if each.act == "approved"] or found.doings
    by = approved[-1].actor.person_id if approved else None
    payable = [entry for entry in posting.entries if entry.account.kind == PAYABLE]
    return StatedCorrection(
        earning_id=subject.id,
        plan_name="" if plan is None else plan.name,
        component=_component_name(known, subject.plan_id, subject.component),
        origin=origin,
        posted_in=posted_in,
        posted_at=transaction.posted_at,
        amount=-sum((entry.amount for entry in payable), Decimal(0)),
        currency=posting.entries[0].currency,
        cause=kinds_of(posting.cause)[0],
        deal=deal,
        changes=posting.cause.changes,
        by=None if by is None else names.get(by, str(by)),
    )


def _component_name(known: Definitions, plan_id: UUID | None, key: str | None) -> str:
    """What the newest version that has the component calls it, else its key."""
    versions = () if plan_id is None else known.versions.get(plan_id, ())
    names = [each.name for version in versions for each in version.components if each.key == key]
    return names[-1] if names else key or ""
