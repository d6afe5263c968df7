"""Somebody changes teams in the middle of a quarter: goals of both people and of both teams follow."""

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import JsonValue

from deploy.local.stack import Stack
from shared.http.auth import Role
from tests.servers.infrastructure import eventually
from tests.stories.company import PERIOD, WON, Seller

BOOKINGS: JsonValue = {"aggregate": "sum", "value_field": "amount", "filter": WON, "currency": "USD"}


@pytest.fixture
async def ann(stack: Stack) -> AsyncIterator[Seller]:
    async with httpx.AsyncClient(timeout=30) as client:
        seller = Seller(stack, client)
        await seller.set_up()
        yield seller


async def test_what_was_sold_stays_with_the_team_of_its_day_and_the_target_goes_on_by_days(ann: Seller) -> None:
    async def made(path: str, body: JsonValue) -> str:
        return str((await ann.call("POST", "goals", path, body))["id"])

    async def goal(kind: str, owner: str, target: str) -> str:
        owned: JsonValue = {"kind": kind, "id": owner}
        return await ann.activated_goal(
            {"name": "Bookings", "owner": owned, "metric": BOOKINGS, "target": target, "period": PERIOD}
        )

    async def only(path: str) -> dict[str, JsonValue]:
        items = (await ann.call("GET", "goals", path))["items"]
        assert isinstance(items, list)
        [item] = items
        assert isinstance(item, dict)
        return item

    async def stands(goal_id: str) -> tuple[str, str] | None:
        answer = await ann.client.get(f"{ann.url('tracking')}/v1/goals/{goal_id}/progress", headers=ann.headers())
        return (answer.json()["value"], answer.json()["target"]) if answer.is_success else None

    north, south = [await made("/v1/teams", {"name": name}) for name in ("North", "South")]
    source = (await only("/v1/identities"))["source"]
    ben = await made("/v1/people", {"name": "Ben"})
    await made("/v1/identities", {"source": source, "external_user_id": "ben", "person_id": ben})
    for person in (ann.person, ben):
        await made("/v1/memberships", {"person_id": person, "team_id": north, "start": "2020-01-01"})
    hers = await goal("person", ann.person, "91000")
    of_north, of_south = await goal("team", north, "182000"), await goal("team", south, "91000")
    deals = (("ann", "2026-04-15", "1000"), ("ann", "2026-05-15", "200"), ("ben", "2026-04-20", "30"))
    for number, (seller, day, amount) in enumerate([*deals, ("ben", "2026-05-20", "4")]):
        await ann.tell(
            external_id=f"D-{number}", owner_external_id=seller, closed_on=day, amount=amount, currency="USD"
        )

    async def is_counted() -> bool:
        return await stands(hers) == ("1200", "91000") and await stands(of_north) == ("1234", "182000")

    await eventually(is_counted, 30.0, expectation="all deals in the north")

    moved: JsonValue = {
        "person_id": ann.person,
        "kind": "transfer",
        "start": "2026-05-01",
        "team_id": south,
        "successor_id": ben,
        "reason": "Opens the south",
    }
    move = await ann.call("POST", "goals", "/v1/moves", moved, role=Role.SERVICE)
    applied = await ann.call("POST", "goals", f"/v1/moves/{move['id']}/apply", {}, version=1, role=Role.SERVICE)
    assert applied["effect"] == move["effect"]
    taken_over = str((await only(f"/v1/goals?owner_id={ben}"))["id"])

    async def has_followed() -> bool:
        return [await stands(each) for each in (hers, taken_over, of_north, of_south)] == [
            ("1200", "30000"),
            ("4", "61000"),
            ("1034", "182000"),
            ("200", "91000"),
        ]

    await eventually(has_followed, 30.0, expectation="both people and both teams after the move")
    # What comes in later for a day before the move is the north's, and for a day after it the south's.
    await ann.tell(external_id="D-8", closed_on="2026-04-30", amount="5000", currency="USD")
    await ann.tell(external_id="D-9", closed_on="2026-05-01", amount="70000", currency="USD")

    async def is_by_day() -> bool:
        return [await stands(each) for each in (hers, of_north, of_south)] == [
            ("76200", "30000"),
            ("6034", "182000"),
            ("70200", "91000"),
        ]

    await eventually(is_by_day, 30.0, expectation="later deals in the team of their day")
