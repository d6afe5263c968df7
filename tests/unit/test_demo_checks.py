"""Every check of the demo notices when what it is about did not hold."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import BaseModel

from deploy.local.api import AttainApi, Caller, service_urls
from deploy.local.demo.board import Board, GoalNumber
from deploy.local.demo.closing import Check, ExplainedEarning, Findings, checks
from deploy.local.demo.expectation import Expectation
from deploy.local.demo.month import ClosedMonth
from deploy.local.demo.player import Player, Sent
from deploy.local.demo.script import Channel, Delivery
from deploy.local.demo.seeding import SeededCompany
from deploy.local.ports import Ports
from services.incentives.earnings.schemas import EarningAnswer, ExplanationAnswer, StatementAnswer
from services.incentives.ledger.schemas import LedgerTransactionAnswer
from services.incentives.payouts.schemas import PayoutAnswer, PayoutRunAnswer
from services.incentives.periods.schemas import PayPeriodAnswer
from services.tracking.intake.inbox.schemas import DeliveryAnswer, DeliveryDetail
from shared.http.settings import HttpSettings
from shared.kernel.periods import Period
from tests.servers.callers import TRUSTING_NOBODY

AnswerT = TypeVar("AnswerT", bound=BaseModel)

PERSON, COMPANY_GOAL, COMPANY_DEALS_GOAL = uuid4(), uuid4(), uuid4()
WON = Delivery(Channel.CRM, "msg_1", '{"external_id": "K-1"}')
FORGED = Delivery(Channel.CRM, "msg_2", "{}", forged=True)
ODD = Delivery(Channel.CRM, "msg_3", "{}")


@pytest.fixture
async def api() -> AsyncIterator[AttainApi]:
    async with httpx.AsyncClient(verify=TRUSTING_NOBODY) as client:
        settings = HttpSettings(jwt_secret="a secret that is long enough to sign with")
        yield AttainApi(client, service_urls(Ports.from_base(1024)), settings, Caller(uuid4()))


@pytest.fixture
def board() -> Board:
    board = Board(to_send=4)
    board.moved(_number(COMPANY_GOAL, "1000.50"))
    board.moved(_number(COMPANY_DEALS_GOAL, "1"))
    board.earned = {PERSON: Decimal("40.02")}
    return board


@pytest.fixture
def player(api: AttainApi, board: Board) -> Player:
    seeded = SeededCompany(
        quarter=Period(date(2026, 10, 1), date(2027, 1, 1)),
        root_team_id=uuid4(),
        people={"ines.carvalho": PERSON},
        scenario_ids=[],
        bookings_goals={None: COMPANY_GOAL},
        deals_goals={None: COMPANY_DEALS_GOAL},
        hooks={},
        plan_id=uuid4(),
        created=0,
    )
    expectation = Expectation({None: Decimal("1000.50")}, {None: 1}, {"ines.carvalho": Decimal("40.02")})
    player = Player(api, seeded, expectation, board)
    player.log += [Sent(WON, 202), Sent(FORGED, 401), Sent(ODD, 202), Sent(WON, 202)]
    return player


@pytest.fixture
def month(tmp_path: Path) -> ClosedMonth:
    statement = tmp_path / "statement.pdf"
    statement.write_bytes(b"%PDF-1.7")
    return ClosedMonth(
        period=_documented(PayPeriodAnswer, state="closed"),
        run=_documented(PayoutRunAnswer, status="paid"),
        payouts=[_documented(PayoutAnswer, person_id=PERSON, paid="40.02")],
        names={PERSON: "Ines Carvalho"},
        statement=statement,
    )


def _number(goal_id: UUID, value: str) -> GoalNumber:
    return GoalNumber(goal_id=goal_id, version=1, value=Decimal(value), target=Decimal(1), deals=1, received_at=None)


def _documented(answer: type[AnswerT], **members: object) -> AnswerT:
    """The example of an answer, with other members."""
    return answer.model_validate({**answer.model_json_schema()["examples"][0], **members}, from_attributes=True)


def _findings() -> Findings:
    delivery_id = uuid4()
    earning = _documented(EarningAnswer, person_id=PERSON, component="bookings", earned="40.02")
    component = _documented(StatementAnswer).earnings[0]
    version = component.lines[0].deal_version
    assert version is not None
    line = component.lines[0].model_copy(
        update={
            "external_id": "K-1",
            "name": "Acme",
            "amount": Decimal("40.02"),
            "deal_version": version.model_copy(update={"delivery_id": delivery_id}),
        }
    )
    quarantined = _documented(DeliveryDetail, id=uuid4(), body=ODD.body)
    translated = _documented(DeliveryAnswer, id=delivery_id, state="translated", quarantine=None)
    total = _documented(StatementAnswer).totals[0]
    return Findings(
        deliveries=[quarantined, translated],
        quarantined=[quarantined],
        statement=_documented(
            StatementAnswer,
            person_name="Ines Carvalho",
            earnings=[component.model_copy(update={"earning": earning, "lines": [line]})],
            totals=[total.model_copy(update={"earned": Decimal("40.02"), "ledger_balance": Decimal("40.02")})],
        ),
        earned=Decimal("40.02"),
        explained=ExplainedEarning(
            explanation=_documented(ExplanationAnswer, earning=earning, lines=[line]),
            line=line,
            posted=[_documented(LedgerTransactionAnswer)],
            delivery=_documented(DeliveryDetail, id=delivery_id, state="translated", quarantine=None, body=WON.body),
        ),
    )


def _failed(results: list[Check]) -> list[int]:
    return [index for index, result in enumerate(results) if not result.passed]


def test_all_hold_when_everything_is_as_sent(player: Player, month: ClosedMonth) -> None:
    assert _failed(checks(player, _findings(), month, [])) == []


def test_a_goal_that_stands_elsewhere_is_named(player: Player, board: Board, month: ClosedMonth) -> None:
    board.goals[COMPANY_GOAL] = _number(COMPANY_GOAL, "1000.51")
    results = checks(player, _findings(), month, [])
    assert _failed(results) == [0]
    assert "has booked 1000.51, expected 1000.50" in results[0].text


def test_pay_that_is_a_cent_off_is_named(player: Player, board: Board, month: ClosedMonth) -> None:
    board.earned = {PERSON: Decimal("40.03")}
    results = checks(player, _findings(), month, [])
    assert _failed(results) == [1]
    assert "ines.carvalho earned 40.03, expected 40.02" in results[1].text


@pytest.mark.parametrize("log", [[Sent(FORGED, 202)], [Sent(FORGED, 401), Sent(ODD, 401)], []])
def test_a_forged_webhook_that_gets_in_and_a_genuine_one_that_does_not_are_noticed(
    player: Player, month: ClosedMonth, log: list[Sent]
) -> None:
    player.log = [Sent(WON, 202), Sent(WON, 202), *log, *([] if Sent(ODD, 401) in log else [Sent(ODD, 202)])]
    assert _failed(checks(player, _findings(), month, [])) == [2]


def test_a_duplicate_that_was_stored_is_noticed(player: Player, month: ClosedMonth) -> None:
    findings = _findings()
    again = _documented(DeliveryAnswer, id=uuid4(), state="translated", quarantine=None)
    assert _failed(checks(player, replace(findings, deliveries=[*findings.deliveries, again]), month, [])) == [3]


def test_an_empty_quarantine_is_noticed(player: Player, month: ClosedMonth) -> None:
    assert _failed(checks(player, replace(_findings(), quarantined=[]), month, [])) == [4]


def test_a_statement_that_differs_from_earnings_is_noticed(player: Player, month: ClosedMonth) -> None:
    assert _failed(checks(player, replace(_findings(), earned=Decimal("40.01")), month, [])) == [5]


def test_an_explanation_that_leads_to_another_webhook_is_noticed(player: Player, month: ClosedMonth) -> None:
    findings = _findings()
    elsewhere = findings.explained.delivery.model_copy(update={"body": '{"external_id": "K-11"}'})
    results = checks(player, replace(findings, explained=replace(findings.explained, delivery=elsewhere)), month, [])
    assert _failed(results) == [6]


def test_a_difference_of_verify_is_noticed(player: Player, month: ClosedMonth) -> None:
    results = checks(player, _findings(), month, ["goal x: stored 1, recomputed 2"])
    assert _failed(results) == [8]
    assert results[8].text == "verify: 1 difference"


@pytest.mark.parametrize(
    ("paid", "state", "file", "said"),
    [
        ("40.03", "closed", b"%PDF-1.7", "Ines Carvalho is paid 40.03, expected 40.02"),
        (None, "closed", b"%PDF-1.7", "Ines Carvalho is paid 0, expected 40.02"),
        ("40.02", "paid", b"%PDF-1.7", "is paid, and its run is paid"),
        ("40.02", "closed", b"{}", "1 payout, each what was earned"),
    ],
)
def test_a_month_that_pays_something_else_or_is_not_closed_is_noticed(
    player: Player, month: ClosedMonth, paid: str | None, state: str, file: bytes, said: str
) -> None:
    month.statement.write_bytes(file)
    payouts = [] if paid is None else [_documented(PayoutAnswer, person_id=PERSON, paid=paid)]
    period = month.period.model_copy(update={"state": state})
    results = checks(player, _findings(), replace(month, payouts=payouts, period=period), [])
    assert _failed(results) == [7]
    assert said in results[7].text
