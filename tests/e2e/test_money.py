"""Money of other currencies and money that comes in, from a webhook and a rate to progress and pay."""

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import JsonValue

from deploy.local.stack import Stack
from tests.stories.company import Seller


@pytest.fixture
async def ann(stack: Stack) -> AsyncIterator[Seller]:
    async with httpx.AsyncClient(timeout=30) as client:
        seller = Seller(stack, client)
        await seller.set_up()
        yield seller


async def test_a_deal_in_euros_counts_in_dollars_at_the_rate_of_its_day_and_follows_its_correction(ann: Seller) -> None:
    goal = await ann.goal("amount")
    await ann.plan("amount")
    await ann.tell(amount="1000", currency="EUR")
    await ann.state_rate("1.10")
    await ann.comes_to(goal, "1100", "110")
    june = await ann.cut_off("2026-06-30")
    await ann.state_rate("1.2")
    await ann.comes_to(goal, "1200", "120")
    # June stays as it was paid; what the rate made of it is paid with July.
    compared = await ann.call("GET", "incentives", f"/v1/pay-periods/{june}/comparison")
    assert isinstance(compared["items"], list)
    (hers,) = compared["items"]
    assert isinstance(hers, dict)
    assert (hers["as_paid"], hers["as_recalculated"], hers["difference"]) == ("110.00", "120.00", "10.00")
    corrections = await ann.call("GET", "incentives", f"/v1/pay-periods/{june}/corrections")
    assert isinstance(corrections["items"], list)
    (correction,) = corrections["items"]
    assert isinstance(correction, dict)
    assert correction["kinds"] == ["exchange_rate"]
    posted = await ann.call("GET", "incentives", "/v1/ledger?posted_in=2026-07-31&origin=2026-06-30")
    assert posted["items"] == [correction["transaction"]]
    # The CRM's own rate, where it states one, is stronger than that of the day.
    await ann.tell(amount="1000", currency="EUR", home_amount="1150", home_currency="USD")
    await ann.comes_to(goal, "1150", "115")


async def test_pay_on_cash_grows_with_every_payment(ann: Seller) -> None:
    goal = await ann.goal("paid_amount")
    await ann.plan("paid_amount")
    first: JsonValue = {"paid_on": "2026-05-20", "amount": "400"}
    second: JsonValue = {"paid_on": "2026-06-20", "amount": "600"}
    await ann.tell(amount="1000", currency="USD", payments=[first])
    await ann.comes_to(goal, "400", "40")
    await ann.tell(amount="1000", currency="USD", payments=[first, second])
    await ann.comes_to(goal, "1000", "100")
    await ann.tell(amount="1000", currency="USD", payments=[second])
    await ann.comes_to(goal, "600", "60")


async def test_each_invoice_is_recognised_in_its_own_quarter_and_a_credit_note_takes_back_its_own(ann: Seller) -> None:
    goal = await ann.goal("invoiced_amount", "invoiced")
    await ann.plan("amount", "invoiced")
    june: JsonValue = {"invoiced_on": "2026-06-20", "amount": "400"}
    july: JsonValue = {"invoiced_on": "2026-07-12", "amount": "600"}
    note: JsonValue = {"invoiced_on": "2026-08-03", "amount": "-600"}
    await ann.tell(amount="1000", currency="USD", invoices=[june])
    await ann.comes_to(goal, "400", "40")
    await ann.tell(amount="1000", currency="USD", invoices=[june, july])
    await ann.comes_to(goal, "400", "100")
    await ann.tell(amount="1000", currency="USD", invoices=[june, july, note])
    await ann.comes_to(goal, "400", "40")
    ledger = await ann.client.get(f"{ann.url('incentives')}/v1/ledger", headers=ann.headers())
    lines = [
        (posted["period"]["start"], entry["amount"])
        for posted in ledger.json()["items"]
        for entry in posted["entries"]
        if entry["account"].startswith("expense")
    ]
    assert sorted(lines) == [("2026-04-01", "40.00"), ("2026-07-01", "-60.00"), ("2026-07-01", "60.00")]
