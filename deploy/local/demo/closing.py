"""What is shown and checked once the numbers have settled, all of it read back over the public APIs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import httpx

from deploy.local.api import AttainApi
from deploy.local.demo import company
from deploy.local.demo.company import BOOKINGS_COMPONENT
from deploy.local.demo.month import ClosedMonth
from deploy.local.demo.player import Player, Sent
from deploy.local.demo.script import Delivery
from deploy.local.demo.seeding import SeededCompany
from deploy.local.errors import StackError
from services.incentives.earnings.schemas import EarningAnswer, ExplanationAnswer, LineAnswer, StatementAnswer
from services.incentives.ledger.schemas import LedgerTransactionAnswer
from services.tracking.intake.inbox.schemas import DeliveryAnswer, DeliveryDetail
from shared.http.auth import Role
from shared.kernel.words import counted

STATEMENT_OF: Final = "ines.carvalho"
_DIFFERENCES_SHOWN_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class ExplainedEarning:
    """One credit of an earning, all the way down to the webhook."""

    explanation: ExplanationAnswer
    line: LineAnswer
    posted: Sequence[LedgerTransactionAnswer]
    delivery: DeliveryDetail


@dataclass(frozen=True, slots=True)
class Findings:
    """What the APIs say in the end."""

    deliveries: Sequence[DeliveryAnswer]
    quarantined: Sequence[DeliveryDetail]
    statement: StatementAnswer
    earned: Decimal
    explained: ExplainedEarning


@dataclass(frozen=True, slots=True)
class Check:
    """Something that had to be true, and what was seen."""

    passed: bool
    text: str


async def read_findings(api: AttainApi, seeded: SeededCompany) -> Findings:
    """Read everything back: the statement as the person itself, the rest as a service."""
    person_id = seeded.people[STATEMENT_OF]
    own = api.acting_as(person_id, Role.REP).incentives
    statement = await own.get(
        "/v1/statements", StatementAnswer, person_id=person_id, start=seeded.quarter.start, end=seeded.quarter.end
    )
    earnings = await api.incentives.items("/v1/earnings", EarningAnswer, person_id=person_id)
    deliveries = await api.tracking.items("/v1/deliveries", DeliveryAnswer)
    quarantined = await api.tracking.items("/v1/deliveries", DeliveryAnswer, state="quarantined")
    return Findings(
        deliveries=deliveries,
        quarantined=[await api.tracking.get(f"/v1/deliveries/{each.id}", DeliveryDetail) for each in quarantined],
        statement=statement,
        earned=sum((earning.earned for earning in earnings), Decimal(0)),
        explained=await _explained(api, statement),
    )


def checks(player: Player, findings: Findings, month: ClosedMonth, differences: Sequence[object]) -> list[Check]:
    """Everything that had to be true."""
    return [
        _goals(player),
        _pay(player),
        _forged(player.log),
        _duplicates(player.log, findings),
        _quarantine(findings),
        _statement(findings),
        _origin(findings.explained),
        _month(player, month),
        Check(not differences, f"verify: {counted(len(differences), 'difference')}"),
    ]


async def _explained(api: AttainApi, statement: StatementAnswer) -> ExplainedEarning:
    """The credit that reached into another tier, if there is one: its explanation shows the most."""
    bookings = next((each for each in statement.earnings if each.earning.component == BOOKINGS_COMPONENT), None)
    if bookings is None or not bookings.lines:
        raise StackError(f"The statement of {statement.person_name} has no bookings to explain.")
    path = f"/v1/earnings/{bookings.earning.id}/explain"
    explanation = await api.incentives.get(path, ExplanationAnswer, limit=200)
    line = max(explanation.lines, key=lambda each: (len(each.slices), each.amount))
    if line.deal_version is None:
        raise StackError(f"The explanation does not say which version of {line.name} counts.")
    posted = await api.incentives.items(
        "/v1/ledger", LedgerTransactionAnswer, earning_id=bookings.earning.id, deal_id=line.deal_id
    )
    delivery = await api.tracking.get(f"/v1/deliveries/{line.deal_version.delivery_id}", DeliveryDetail)
    return ExplainedEarning(explanation, line, posted, delivery)


def _goals(player: Player) -> Check:
    wrong = player.goals_differ()
    if wrong:
        return Check(False, f"goals differ from what was sent: {_first(wrong)}")
    bookings, deals = player.expected_of_company()
    return Check(
        True,
        f"{company.NAME} booked {bookings:,.2f} {company.CURRENCY} in {counted(deals, 'deal')}, and every team and "
        "person is where the bodies that were sent put it",
    )


def _pay(player: Player) -> Check:
    wrong = player.pay_differs()
    if wrong:
        return Check(False, f"pay differs from what was sent: {_first(wrong)}")
    return Check(True, "everyone has earned what the plan makes of those deals, to the cent")


def _forged(log: Sequence[Sent]) -> Check:
    forged = [sent.status for sent in _deliveries(log, forged=True)]
    refused = [sent for sent in _deliveries(log, forged=False) if sent.status not in (200, 202)]
    passed = forged == [httpx.codes.UNAUTHORIZED] and not refused
    return Check(passed, f"the forged webhook got {', '.join(map(str, forged))}; genuine ones refused: {len(refused)}")


def _duplicates(log: Sequence[Sent], findings: Findings) -> Check:
    genuine = [sent.act for sent in _deliveries(log, forged=False)]
    distinct = {act.id for act in genuine if isinstance(act, Delivery)}
    stored = len(findings.deliveries)
    return Check(
        stored == len(distinct) < len(genuine),
        f"{counted(len(genuine), 'webhook')} accepted, of them {counted(len(genuine) - len(distinct), 'duplicate')}: "
        f"{stored:,} stored",
    )


def _quarantine(findings: Findings) -> Check:
    waiting = [each for each in findings.deliveries if each.state == "received"]
    return Check(
        len(findings.quarantined) == 1 and not waiting,
        f"{counted(len(findings.quarantined), 'delivery')} in quarantine, {len(waiting)} waiting to be translated",
    )


def _statement(findings: Findings) -> Check:
    total = sum((total.earned for total in findings.statement.totals), Decimal(0))
    ledger = sum((total.ledger_balance for total in findings.statement.totals), Decimal(0))
    lines = sum((line.amount for each in findings.statement.earnings for line in each.lines), Decimal(0))
    return Check(
        total == findings.earned == ledger == lines,
        f"the statement's lines sum to {lines:,.2f}, its total is {total:,.2f}, earnings say {findings.earned:,.2f}, "
        f"the ledger {ledger:,.2f}",
    )


def _origin(explained: ExplainedEarning) -> Check:
    body = explained.delivery.body or ""
    reached = explained.line.external_id is not None and json.dumps(explained.line.external_id) in body
    return Check(
        reached and bool(explained.posted),
        f"the credit of {explained.line.name} leads to delivery {explained.delivery.id} and "
        f"{counted(len(explained.posted), 'ledger transaction')}",
    )


def _month(player: Player, month: ClosedMonth) -> Check:
    paid = {payout.person_id: payout.paid for payout in month.payouts}
    must = {person_id: amount for person_id, amount in player.expected_pay().items() if amount}
    wrong = [
        f"{month.names.get(person_id, person_id)} is paid {paid.get(person_id, 0)}, expected {must.get(person_id, 0)}"
        for person_id in must.keys() | paid.keys()
        if paid.get(person_id, 0) != must.get(person_id, 0)
    ]
    if wrong:
        return Check(False, f"payouts differ from what was earned: {_first(sorted(wrong))}")
    is_document = month.statement.read_bytes().startswith(b"%PDF")
    return Check(
        is_document and (month.period.state, month.run.status) == ("closed", "paid"),
        f"the month from {month.period.start} is {month.period.state}, and its run is {month.run.status}: "
        f"{counted(len(paid), 'payout')}, each what was earned",
    )


def _deliveries(log: Sequence[Sent], *, forged: bool) -> list[Sent]:
    return [sent for sent in log if isinstance(sent.act, Delivery) and sent.act.forged is forged]


def _first(lines: Sequence[str]) -> str:
    more = len(lines) - _DIFFERENCES_SHOWN_MAX
    return "; ".join(lines[:_DIFFERENCES_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")
