"""What is shown and checked once the numbers have settled, all of it read back over the public APIs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import httpx
from pydantic import BaseModel

from deploy.local.api import AttainApi
from deploy.local.demo import company
from deploy.local.demo.company import BOOKINGS_COMPONENT
from deploy.local.demo.player import EarningNumber, Player, Sent
from deploy.local.demo.script import Delivery
from deploy.local.demo.seeding import SeededCompany
from deploy.local.errors import StackError
from shared.http.auth import Role
from shared.kernel.words import counted

STATEMENT_OF: Final = "ines.carvalho"
_DIFFERENCES_SHOWN_MAX: Final = 3


class Slice(BaseModel):
    """A part of a credit at the rate of its tier."""

    tier: int
    value: Decimal
    rate: Decimal
    amount: Decimal


class DealVersion(BaseModel):
    """The version of a deal that counts, and what brought it."""

    modified_at: datetime
    delivery_id: UUID


class Line(BaseModel):
    """A credit and what it paid."""

    deal_id: UUID
    external_id: str | None
    name: str | None
    day: date
    percent: Decimal
    value: Decimal
    before: Decimal
    after: Decimal
    slices: list[Slice]
    amount: Decimal
    deal_version: DealVersion | None


class Earning(EarningNumber):
    """What a person earned on a component."""

    measure: Decimal
    quota: Decimal | None
    attainment: Decimal | None
    currency: str


class ComponentStatement(BaseModel):
    """One component of a statement."""

    name: str
    earning: Earning
    lines: list[Line]


class Total(BaseModel):
    """A sum over a statement."""

    earned: Decimal
    ledger_balance: Decimal


class Statement(BaseModel):
    """What a person earned in a quarter."""

    person_name: str | None
    start: date
    end: date
    earnings: list[ComponentStatement]
    totals: list[Total]


class Tier(BaseModel):
    """A tier and what lies in it."""

    tier: int
    rate: Decimal
    value: Decimal
    amount: Decimal


class LedgerEntry(BaseModel):
    """One side of a ledger transaction."""

    account: str
    amount: Decimal
    currency: str


class LedgerCause(BaseModel):
    """What made an amount change."""

    deal_id: UUID | None
    delivery_id: UUID | None


class LedgerTransaction(BaseModel):
    """A transaction as it was posted."""

    sequence: int
    posted_at: datetime
    cause: LedgerCause
    entries: list[LedgerEntry]
    hash: str


class Explanation(BaseModel):
    """Where an earning comes from."""

    earning: Earning
    tiers: list[Tier]
    lines: list[Line]


class Quarantine(BaseModel):
    """Why a delivery could not be translated."""

    reason: str
    pointer: str
    detail: str


class DeliverySummary(BaseModel):
    """A delivery in a list."""

    id: UUID
    state: str
    received_at: datetime
    quarantine: Quarantine | None


class DeliveryDetail(DeliverySummary):
    """A delivery as it was sent."""

    headers: dict[str, str]
    body: str | None


@dataclass(frozen=True, slots=True)
class ExplainedEarning:
    """One credit of an earning, all the way down to the webhook."""

    explanation: Explanation
    line: Line
    posted: Sequence[LedgerTransaction]
    delivery: DeliveryDetail


@dataclass(frozen=True, slots=True)
class Findings:
    """What the APIs say in the end."""

    deliveries: Sequence[DeliverySummary]
    quarantined: Sequence[DeliveryDetail]
    statement: Statement
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
        "/v1/statements", Statement, person_id=person_id, start=seeded.quarter.start, end=seeded.quarter.end
    )
    earnings = await api.incentives.items("/v1/earnings", EarningNumber, person_id=person_id)
    deliveries = await api.tracking.items("/v1/deliveries", DeliverySummary)
    quarantined = await api.tracking.items("/v1/deliveries", DeliverySummary, state="quarantined")
    return Findings(
        deliveries=deliveries,
        quarantined=[await api.tracking.get(f"/v1/deliveries/{each.id}", DeliveryDetail) for each in quarantined],
        statement=statement,
        earned=sum((earning.earned for earning in earnings), Decimal(0)),
        explained=await _explained(api, statement),
    )


def checks(player: Player, findings: Findings, differences: Sequence[object]) -> list[Check]:
    """Everything that had to be true."""
    return [
        _goals(player),
        _pay(player),
        _forged(player.log),
        _duplicates(player.log, findings),
        _quarantine(findings),
        _statement(findings),
        _origin(findings.explained),
        Check(not differences, f"verify: {counted(len(differences), 'difference')}"),
    ]


async def _explained(api: AttainApi, statement: Statement) -> ExplainedEarning:
    """The credit that reached into another tier, if there is one: its explanation shows the most."""
    bookings = next((each for each in statement.earnings if each.earning.component == BOOKINGS_COMPONENT), None)
    if bookings is None or not bookings.lines:
        raise StackError(f"The statement of {statement.person_name} has no bookings to explain.")
    path = f"/v1/earnings/{bookings.earning.id}/explain"
    explanation = await api.incentives.get(path, Explanation, limit=200)
    line = max(explanation.lines, key=lambda each: (len(each.slices), each.amount))
    if line.deal_version is None:
        raise StackError(f"The explanation does not say which version of {line.name} counts.")
    posted = await api.incentives.items(
        "/v1/ledger", LedgerTransaction, earning_id=bookings.earning.id, deal_id=line.deal_id
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


def _deliveries(log: Sequence[Sent], *, forged: bool) -> list[Sent]:
    return [sent for sent in log if isinstance(sent.act, Delivery) and sent.act.forged is forged]


def _first(lines: Sequence[str]) -> str:
    more = len(lines) - _DIFFERENCES_SHOWN_MAX
    return "; ".join(lines[:_DIFFERENCES_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")
