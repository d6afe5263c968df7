"""Deals that change hands on real Postgres: in any order of their versions, live and worked out anew, with reasons."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import permutations

import pytest
from sqlalchemy import text

from shared.db.database import Scope
from shared.http.auth import Role
from tests.oracles.incentives import DealVersion
from tests.stories.incentives import named
from tests.stories.pay import VERIFICATION, rebuilder
from tests.stories.pay_api import ANN, APPROVER, AUTHOR, BEN, MAX, QUARTER, Company, component, running_company, won


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as opened:
        yield opened


async def paying(company: Company, **crediting: object) -> str:
    """A plan that pays 4 % with these rules about deals that change hands; its id."""
    created = await company.send("POST", "/v1/plans", {"name": "Reps", "currency": "USD", "period": "quarter"})
    plan_id = str(created.json()["id"])
    body = {
        "effective_from": "2026-01-01",
        "components": [component()],
        "rules": {"crediting": crediting},
    }
    drafted = await company.send("POST", f"/v1/plans/{plan_id}/versions", body)
    assert drafted.status_code == 201, drafted.text
    for step, version, person in (("approve", "1", APPROVER), ("activate", "2", AUTHOR)):
        assert (await company.step(plan_id, step, version, person)).status_code == 200
    return plan_id


def at(version: DealVersion, moment: datetime) -> DealVersion:
    """The version as of a moment; `deal_event` counts seconds."""
    return replace(version, version=int(moment.timestamp()) - 1_700_000_000)


def changing(deal: int, *owners: tuple[int, datetime], day: date) -> list[DealVersion]:
    return [at(won(deal, 1000, day=day, owner=owner), moment) for owner, moment in owners]


async def take(company: Company, versions: Sequence[DealVersion]) -> None:
    """Each in a batch of its own."""
    for version in versions:
        await company.deal(version)


async def earned(company: Company) -> dict[str, str]:
    items = (await company.get("/v1/earnings")).json()["items"]
    return {each["person_id"]: each["earned"] for each in items if each["credits"]}


async def differences(company: Company) -> list[object]:
    return [found async for found in VERIFICATION.of_tenant(company.database, company.tenant, Counter())]


async def test_whoever_owned_a_deal_on_its_day_is_credited_in_any_order_of_its_versions(company: Company) -> None:
    plan_id = await paying(company, owner="on_day")
    for person in (ANN, BEN):
        await company.assign(plan_id, person)
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in (5, 10, 20)]
    for number, order in enumerate(permutations(range(3))):
        # Ann's until the tenth, Ben's until the twentieth, then Ann's again.
        versions = changing(number, *zip((0, 1, 0), moments, strict=True), day=date(2026, 1, 15))
        await take(company, [versions[place] for place in order])
    assert await earned(company) == {str(BEN): "240.00"}
    together = changing(6, *zip((0, 1, 0), moments, strict=True), day=date(2026, 1, 15))
    await company.deal(*together, together[0])
    assert await earned(company) == {str(BEN): "280.00"}
    assert await differences(company) == []
    for person, counts, reason in ((BEN, True, None), (ANN, False, "owned_by_another_on_day")):
        found = await company.get(QUARTER, MAX, Role.MANAGER, person_id=person, deal_id=named("deal", 0))
        answer = found.json()["deal"]
        assert (answer["counts"], answer["reason"]) == (counts, reason)
    assert (await company.get(f"/v1/plans/{plan_id}/versions/1")).json()["rules"]["crediting"]["owner"] == "on_day"


async def test_a_leaver_and_the_new_owner_are_worked_out_when_the_leaver_s_last_day_is_approved(
    company: Company,
) -> None:
    plan_id = await paying(company, leaver={"pays": "leaver", "days": 30})
    ann = (await company.assign(plan_id, ANN)).json()
    await company.assign(plan_id, BEN)
    handed = (0, datetime(2026, 1, 5, tzinfo=UTC)), (1, datetime(2026, 2, 10, tzinfo=UTC))
    await take(company, changing(0, *handed, day=date(2026, 2, 20)))
    await take(company, changing(1, *handed, day=date(2026, 3, 20)))
    assert await earned(company) == {str(BEN): "80.00"}
    path = f"/v1/assignments/{ann['id']}"
    await company.approved(await company.send("PATCH", path, {"end": "2026-02-01"}, if_match='"2"'))
    await rebuilder(company.database).rebuild_all()
    # The first deal counts within 30 days of Ann's last one, the second does not.
    assert await earned(company) == {str(ANN): "40.00", str(BEN): "40.00"}
    assert await differences(company) == []
    [earning] = (await company.get("/v1/earnings", person_id=BEN)).json()["items"]
    posted = (await company.get("/v1/ledger", earning_id=earning["id"])).json()["items"]
    assert posted[-1]["cause"]["changes"] == [f"leaver/{ann['id']} v4"]
    answer = (await company.get(f"/v1/earnings/{earning['id']}/explain", deal_id=named("deal", 0))).json()["deal"]
    assert (answer["counts"], answer["reason"]) == (False, "leavers_deal")
    assert "left" in answer["why"]["sentence"]["en"]
    # Live: another deal of hers that changes hands, and one that Ben had before she left.
    await take(company, changing(2, *handed, day=date(2026, 2, 15)))
    before = (0, datetime(2026, 1, 5, tzinfo=UTC)), (1, datetime(2026, 1, 20, tzinfo=UTC))
    await take(company, changing(3, *before, day=date(2026, 2, 15)))
    assert await earned(company) == {str(ANN): "80.00", str(BEN): "80.00"}
    # She stays after all.
    await company.approved(await company.send("PATCH", path, {"end": None}, if_match='"4"'))
    await rebuilder(company.database).rebuild_all()
    assert await earned(company) == {str(BEN): "160.00"}
    assert await differences(company) == []


async def test_owners_from_before_they_were_kept_begin_with_the_deal_that_is_stored(company: Company) -> None:
    plan_id = await paying(company, owner="on_day")
    for person in (ANN, BEN):
        await company.assign(plan_id, person)
    first, second = changing(
        0, (0, datetime(2026, 1, 5, tzinfo=UTC)), (1, datetime(2026, 2, 10, tzinfo=UTC)), day=date(2026, 2, 1)
    )
    await company.deal(first)
    assert await owners(company) == 0
    await company.deal(second)
    assert await owners(company) == 2
    assert await earned(company) == {str(ANN): "40.00"}


async def owners(company: Company) -> int:
    """How many versions of deals are kept with their owner."""
    async with company.database.transaction(Scope.of(company.tenant)) as tx:
        rows = await tx.rows(text("SELECT count(*) AS kept FROM incentives.deal_owners"))
    return int(rows[0]["kept"])
