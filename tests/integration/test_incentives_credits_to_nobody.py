"""What was won and is credited to nobody, as a payout run over HTTP on real Postgres says it."""

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from sqlalchemy import text

from services.incentives.payouts.schemas import PayoutRunAnswer
from shared.db.database import Scope, Transaction
from shared.http.auth import Role
from tests.integration.test_incentives_payouts import FAY, FLAT, calculated, monthly, move, step
from tests.oracles.incentives import DealVersion
from tests.stories.incentives import deal_event, named
from tests.stories.pay_api import ANN, APPROVER, AUTHOR, BEN, MAX, Company, Json, component, running_company, won

ANNS, BENS, NOBODYS = 0, 1, 9
"""The users of two people, and one whom no identity names."""


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running


async def listed(company: Company, run: Json, query: str = "") -> list[Json]:
    path = f"/v1/payout-runs/{run['id']}/uncredited-deals{query}"
    answer = await company.get(path, role=Role.FINANCE)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def in_january(deal: int, amount: int, owner: int | None, day: int = 10, **other: object) -> DealVersion:
    return replace(won(deal, amount, version=deal, day=date(2026, 1, day), owner=owner), **other)  # type: ignore[arg-type]


async def test_a_run_says_what_was_won_and_is_credited_to_nobody_and_which_deals_those_are(company: Company) -> None:
    await monthly(company)
    await company.deal(
        in_january(1, 80_000, ANNS),
        in_january(2, 10_000, None),
        in_january(3, 5_000, NOBODYS, day=31),
        in_january(4, 4_000, BENS, day=1),
        in_january(5, 3_000, NOBODYS, currency="EUR"),
        in_january(6, 2_000, NOBODYS, won=False),
        in_january(7, 1_000, NOBODYS, gone=True),
        won(8, 9_000, version=8, day=date(2026, 2, 1), owner=NOBODYS),
        won(9, 9_000, version=9, day=date(2025, 12, 31), owner=NOBODYS),
    )
    await move(company, 1, "calculating")
    run = await calculated(company, 1)
    expected = {"currency": "USD", "amount": "19000", "deals": 3, "share": "0.1919", "is_anomaly": True}
    assert run["to_nobody"] == [expected]
    assert (await company.get(f"/v1/payout-runs/{run['id']}", role=Role.FINANCE)).json()["to_nobody"] == [expected]
    found = {each["external_id"]: (each["amount"], each["day"], each["reason"]) for each in await listed(company, run)}
    assert found == {
        "2": ("10000", "2026-01-10", "owner_missing"),
        "3": ("5000", "2026-01-31", "owner_unmapped"),
        "4": ("4000", "2026-01-01", "no_assignment"),
    }
    first = await company.get(f"/v1/payout-runs/{run['id']}/uncredited-deals", role=Role.FINANCE, limit=2)
    rest = await listed(company, run, f"?limit=2&cursor={first.json()['next_cursor']}")
    assert len({each["deal_id"] for each in [*first.json()["items"], *rest]}) == 3

    # Once they have an owner who is paid, little is left; what the run before said of it stays.
    await company.deal(
        in_january(2, 10_000, ANNS, version=20), in_january(3, 5_000, ANNS, version=21), in_january(10, 500, None)
    )
    assert (await step(company, run, "cancel", FAY)).status_code == 200
    again = await calculated(company, 1)
    assert again["to_nobody"] == [
        {"currency": "USD", "amount": "4500", "deals": 2, "share": "0.0452", "is_anomaly": False}
    ]
    assert len(await listed(company, run)) == 3


async def test_a_house_account_is_nobody_and_a_share_of_a_split_is_what_its_user_has(company: Company) -> None:
    created = await company.send("POST", "/v1/plans", {"name": "Shared", "currency": "USD", "period": "month"})
    plan_id = str(created.json()["id"])
    terms = {
        "effective_from": "2026-01-01",
        "components": [component(rate=FLAT, crediting="split")],
        "rules": {"crediting": {"house_accounts": [str(BEN)]}},
    }
    drafted = await company.send("POST", f"/v1/plans/{plan_id}/versions", terms)
    assert drafted.status_code == 201, drafted.text
    assert (await company.step(plan_id, "approve", "1", APPROVER)).status_code == 200
    assert (await company.step(plan_id, "activate", "2")).status_code == 200
    for person in (ANN, BEN):
        assert (await company.assign(plan_id, person)).status_code == 200
    await company.deal(
        in_january(1, 10_000, ANNS, splits=((ANNS, 60, "direct"), (NOBODYS, 40, "direct"))),
        in_january(2, 1_000, BENS),
        in_january(3, 2_000, ANNS, splits=((ANNS, 50, "direct"), (BENS, 50, "direct"))),
    )
    moment = deal_event(company.tenant, in_january(4, 300, NOBODYS)).model_copy(
        # In Berlin, where nothing here is: the tenant's calendar has UTC.
        update={"closed_on": None, "closed_at": datetime(2026, 1, 31, 23, 59, tzinfo=UTC)}
    )
    await company.receive([moment])
    await move(company, 1, "calculating")
    run = await calculated(company, 1)
    assert run["to_nobody"] == [
        {"currency": "USD", "amount": "6300", "deals": 4, "share": "0.4737", "is_anomaly": True}
    ]
    found = {each["external_id"]: (each["amount"], each["reason"]) for each in await listed(company, run)}
    assert found == {
        "1": ("4000", "owner_unmapped"),
        "2": ("1000", "house_account"),
        "3": ("1000", "house_account"),
        "4": ("300", "owner_unmapped"),
    }


async def test_what_a_manager_gets_for_somebody_who_is_not_paid_is_credited_to_somebody(company: Company) -> None:
    await monthly(company)
    created = await company.send("POST", "/v1/plans", {"name": "Managers", "currency": "USD", "period": "month"})
    plan_id = str(created.json()["id"])
    terms = {"effective_from": "2026-01-01", "components": [component(rate=FLAT, crediting="rollup")]}
    assert (await company.send("POST", f"/v1/plans/{plan_id}/versions", terms)).status_code == 201
    assert (await company.step(plan_id, "approve", "1", APPROVER)).status_code == 200
    assert (await company.step(plan_id, "activate", "2")).status_code == 200
    assert (await company.assign(plan_id, MAX)).status_code == 200
    await company.deal(in_january(1, 1_000, ANNS), in_january(2, 700, BENS), in_january(3, 300, NOBODYS))
    await move(company, 1, "calculating")
    run = await calculated(company, 1)
    assert run["to_nobody"] == [{"currency": "USD", "amount": "300", "deals": 1, "share": "0.2308", "is_anomaly": True}]


@pytest.mark.parametrize("seed", [1, 2])
async def test_any_deals_leave_to_nobody_what_plain_sums_leave(company: Company, seed: int) -> None:
    chance = random.Random(seed)
    await monthly(company)
    versions: dict[int, DealVersion] = {}
    for number in range(1, 400):
        deal = chance.randint(1, 90)
        day = date(2026, 1, 1).replace(month=chance.choice((1, 1, 1, 2)), day=chance.randint(1, 28))
        versions[deal] = DealVersion(
            deal,
            number,
            chance.choice((ANNS, ANNS, BENS, NOBODYS, None)),
            (),
            chance.randint(1, 9_999_99),
            chance.random() < 0.8,
            chance.choice((day, day, day, None)),
            chance.choice(("USD", "USD", "EUR")),
            chance.random() < 0.1,
        )
        await company.deal(versions[deal])
    counted = [
        each
        for each in versions.values()
        if each.won and not each.gone and each.currency == "USD" and each.day is not None and each.day.month == 1
    ]
    left = [each for each in counted if each.owner != ANNS]
    await move(company, 1, "calculating")
    run = await calculated(company, 1)
    whole, lost = sum(each.cents for each in counted), sum(each.cents for each in left)
    answer = PayoutRunAnswer.model_validate(run)
    assert answer.to_nobody is not None
    [found] = answer.to_nobody
    assert (found.amount, found.deals) == (Decimal(lost) / 100, len(left))
    assert found.share is not None
    assert abs(found.share * whole - lost) <= whole / Decimal(20_000)
    assert {each["deal_id"] for each in await listed(company, run, "?limit=200")} == {
        str(named("deal", each.deal)) for each in left
    }


async def test_nobody_but_those_who_see_the_whole_tenant_sees_these_deals_and_nobody_changes_them(
    company: Company,
) -> None:
    await monthly(company)
    await company.deal(in_january(1, 1_000, NOBODYS))
    await move(company, 1, "calculating")
    run = await calculated(company, 1)
    path = f"/v1/payout-runs/{run['id']}/uncredited-deals"
    for person, role in ((ANN, Role.REP), (MAX, Role.MANAGER)):
        assert (await company.get(path, person, role)).status_code == 403
    for role in (Role.REVOPS, Role.FINANCE, Role.ADMIN):
        assert len((await company.get(path, AUTHOR, role)).json()["items"]) == 1
    unknown = await company.get(f"/v1/payout-runs/{named('run', 1)}/uncredited-deals")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "payout_run_not_found")

    async def change(tx: Transaction) -> None:
        await tx.execute(text("DELETE FROM incentives.uncredited_deals"))

    with pytest.raises(Exception, match="permission denied"):
        await company.database.run(Scope.of(company.tenant), change)
