"""Won deals that nobody is credited with: counted as deals and identities change, on real Postgres, told and mended."""

import random
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from sqlalchemy import text

from services.tracking.measure.progress import verification
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.metadata import transport
from services.tracking.records import service as records
from services.tracking.records.domain.uncredited import GapCount, GapKey, UncreditedReason, gaps_of
from services.tracking.tell.alerts import service as alerts
from services.tracking.worker import CONNECTION_CHECKS
from shared.contracts.deals import Deal, Split
from shared.contracts.org import Identity
from shared.db.database import Scope
from shared.http.auth import Role
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.ids import deal_id
from shared.kernel.org import CrmUser
from shared.outbox.outbox import Outbox
from tests.stories.connections import Answered, Caller

START = datetime(2026, 3, 31, 9, tzinfo=UTC)
SEED = 20260331
SOURCE = "standard_webhooks"


class Company:
    """A tenant whose deals and identities are heard of as the worker hears of them."""

    def __init__(self, caller: Caller, connection: UUID | None = None) -> None:
        self.caller = caller
        self.database = caller.tracking.database
        self.connection = connection or uuid4()
        self.tracker = ProgressTracker(Outbox(transport), DefinitionsCache())
        self._versions: Counter[str] = Counter()

    def deal(
        self,
        external_id: str = "A",
        *,
        status: DealStatus = DealStatus.WON,
        kind: DealKind = DealKind.UPSERTED,
        owner: str | None = "ann",
        amount: str | None = "1000",
        currency: str | None = "EUR",
        closed_on: date | None = date(2026, 3, 31),
        closed_at: datetime | None = None,
        splits: Mapping[str, str] | None = None,
    ) -> Deal:
        self._versions[external_id] += 1
        return Deal(
            tenant_id=self.caller.tenant,
            id=deal_id(self.connection, external_id),
            connection_id=self.connection,
            source=SOURCE,
            external_id=external_id,
            kind=kind,
            modified_at=START + timedelta(minutes=self._versions[external_id]),
            sequence=0,
            delivery_id=uuid4(),
            received_at=START + timedelta(days=1),
            status=status,
            owner_external_id=owner,
            name=None,
            amount=None if amount is None else Decimal(amount),
            currency=currency,
            created_at=None,
            expected_close_on=None,
            closed_at=closed_at,
            closed_on=closed_on,
            stage=None,
            pipeline=None,
            probability=None,
            type=None,
            channel=None,
            region=None,
            account_id=None,
            account_name=None,
            merged_into=None,
            splits=tuple(
                Split(owner_external_id=user, role="owner", percent=Decimal(percent))
                for user, percent in (splits or {}).items()
            ),
            products=(),
            custom={},
        )

    async def hear(self, *deals: Deal, stripe: int = 0) -> None:
        async with self.database.transaction(Scope.of(self.caller.tenant)) as tx:
            await self.tracker.apply(tx, [self.caller.tenant], [deals], stripe=stripe)

    async def identify(self, *users: str, deleted: bool = False, source: str = SOURCE) -> None:
        """Say that these users are somebody, or that they are not any more."""
        said = []
        for user in users:
            self._versions[f"{source}/{user}"] += 1
            said.append(
                Identity(
                    tenant_id=self.caller.tenant,
                    id=UUID(int=sum(ord(letter) << 8 * place for place, letter in enumerate(source[:3] + user))),
                    version=self._versions[f"{source}/{user}"],
                    source=source,
                    external_user_id=user,
                    person_id=UUID(int=1),
                    deleted=deleted,
                )
            )
        async with self.database.transaction(Scope.of(self.caller.tenant)) as tx:
            await self.tracker.define(tx, said)

    async def counts(self, known: set[str]) -> tuple[Mapping[GapKey, GapCount], Mapping[GapKey, GapCount]]:
        async with self.database.transaction(Scope.of(self.caller.tenant)) as tx:
            return await records.uncredited_counts(tx, self.caller.tenant, [CrmUser(SOURCE, user) for user in known])

    async def told(self) -> dict[str, tuple[int, dict[str | None, str]]]:
        """What the health of the tenant says, by reason."""
        answer = await self.caller.client.get("/v1/health/uncredited")
        assert answer.status_code == 200, answer.text
        return {
            each["reason"]: (each["count"], {sum_["currency"]: sum_["amount"] for sum_ in each["amounts"]})
            for each in answer.json()["uncredited"]
        }

    async def listed(self, reason: str) -> list[str]:
        answer = await self.caller.client.get("/v1/deals", params={"uncredited": reason})
        assert answer.status_code == 200, answer.text
        return sorted(each["external_id"] for each in answer.json()["items"])


async def health_of(caller: Caller, connection: Answered) -> dict[str, tuple[str, str]]:
    answer = (await caller.client.get(f"/v1/connections/{connection.id}/health")).json()
    return {check["name"]: (check["status"], check["sentence"]) for check in answer["checks"]}


async def test_a_won_deal_that_nobody_is_credited_with_is_a_check_of_health_with_its_amount_and_its_cure(
    admin: Caller,
) -> None:
    connection = await admin.connect()
    company = Company(admin, UUID(connection.id))
    assert (await health_of(admin, connection))["owner_unknown"] == (
        "ok",
        "Every owner of a won deal is somebody here.",
    )
    await company.identify("ann")
    await company.hear(
        company.deal("credited"),
        company.deal("open", status=DealStatus.OPEN, owner="eve", currency=None, closed_on=None),
        company.deal("gone", kind=DealKind.DELETED, owner="eve"),
        company.deal("unknown", owner="eve", amount="60000"),
        company.deal("unknown too", owner="dan", amount="5", currency="JPY"),
        company.deal("missing", owner=None, amount="7"),
        company.deal("shared", owner="eve", splits={"ann": "60", "eve": "40"}),
        company.deal("bare", currency=None, amount="300"),
        company.deal("undated", closed_on=None, amount="0.5"),
        company.deal("dated by a moment", closed_on=None, closed_at=START),
    )
    health = await health_of(admin, connection)
    assert health["owner_unknown"] == (
        "attention",
        "2 won deals (60,000.00 EUR, 5 JPY) belong to users that no identity names, so nobody is credited with them. "
        "Say who that is with `POST /v1/identities` of the goals service; `GET /v1/connections/{id}/unmapped` has the "
        "body.",
    )
    assert health["split_unknown"][1].startswith("1 share of won deals (400.00 EUR) belongs to a user")
    assert health["owner_missing"][1].startswith("1 won deal (7.00 EUR) has no owner, so nobody is credited with it.")
    assert health["no_currency"] == (
        "attention",
        "1 won deal (300 without a currency) states no currency, so it counts in no goal and no plan in money. Say "
        "which it is with `POST /v1/connections/{id}/repairs` and `currency`.",
    )
    assert health["no_close_date"][1].startswith("1 won deal (0.50 EUR) has no close date, so it counts in no period.")
    assert await company.told() == {
        "owner_missing": (1, {"EUR": "7"}),
        "owner_unknown": (2, {"EUR": "60000", "JPY": "5"}),
        "split_unknown": (1, {"EUR": "400"}),
        "no_currency": (1, {None: "300"}),
        "no_close_date": (1, {"EUR": "0.5"}),
    }
    assert await company.listed("owner_unknown") == ["unknown", "unknown too"]
    assert await company.listed("split_unknown") == ["shared"]
    assert await company.listed("owner_missing") == ["missing"]
    assert await company.listed("no_currency") == ["bare"]
    assert await company.listed("no_close_date") == ["undated"]
    await company.identify("eve", "dan")
    await company.hear(company.deal("missing"), company.deal("bare"), company.deal("undated"))
    assert await company.told() == {}
    assert {status for name, (status, _) in (await health_of(admin, connection)).items() if name in REASONS} == {"ok"}


REASONS = {reason.value for reason in UncreditedReason}


async def test_unmapped_deals_are_also_those_of_which_a_split_is_nobodys(admin: Caller) -> None:
    company = Company(admin)
    await company.identify("ann", "bob")
    await company.hear(
        company.deal("all known", splits={"ann": "60", "bob": "40"}),
        company.deal("a share unknown", splits={"ann": "60", "zoe": "40"}),
        company.deal("owner unknown", owner="zoe"),
        company.deal("no share at all", splits={"ann": "100", "zoe": "0"}),
    )
    answer = await admin.client.get("/v1/deals", params={"unmapped": "true"})
    assert sorted(each["external_id"] for each in answer.json()["items"]) == ["a share unknown", "owner unknown"]
    other = await admin.client.get("/v1/deals", params={"unmapped": "true", "connection_id": str(uuid4())})
    assert other.json()["items"] == []


async def test_what_nobody_is_credited_with_is_counted_of_each_connection_and_of_all_and_seen_by_finance_alone_of_them(
    admin: Caller,
) -> None:
    one, two = Company(admin), Company(admin)
    await one.hear(one.deal("A", amount="1"), one.deal("B", amount="2"))
    await two.hear(two.deal("A", amount="4"))
    finance = Caller(admin.tracking, Role.FINANCE, tenant=admin.tenant)
    found = (await finance.client.get("/v1/health/uncredited")).json()
    assert [(each["count"], each["amounts"][0]["amount"]) for each in found["uncredited"]] == [(3, "7")]
    assert {each["connection_id"]: each["uncredited"][0]["count"] for each in found["connections"]} == {
        str(one.connection): 2,
        str(two.connection): 1,
    }
    for role in (Role.REP, Role.MANAGER):
        assert (
            await Caller(admin.tracking, role, tenant=admin.tenant).client.get("/v1/health/uncredited")
        ).status_code == 403
    stranger = await Caller(admin.tracking, Role.ADMIN).client.get("/v1/health/uncredited")
    assert stranger.json() == {"uncredited": [], "connections": []}


async def test_an_alert_is_raised_for_won_deals_of_nobody_and_cleared_once_they_are_somebodys(admin: Caller) -> None:
    connection = await admin.connect()
    company = Company(admin, UUID(connection.id))
    await company.hear(company.deal("A", owner="eve"))

    async def alerts_after_looks(looks: int) -> list[tuple[str, str, str]]:
        for _ in range(looks):
            async with admin.tracking.database.transaction(Scope.every()) as tx:
                for watch in await alerts.due(tx, CONNECTION_CHECKS, None, interval=timedelta(0)):
                    await alerts.look_at(tx, Outbox(transport), CONNECTION_CHECKS, watch, every=timedelta(0))
        found = (await admin.client.get("/v1/alerts", params={"subject_id": connection.id})).json()["items"]
        return [(each["check"], each["state"], each["sentence"]) for each in found if each["check"] in REASONS]

    ((check, state, sentence),) = await alerts_after_looks(2)
    assert (check, state) == ("owner_unknown", "raised")
    assert sentence.startswith("1 won deal (1,000.00 EUR) belongs to a user that no identity names")
    assert len(await alerts_after_looks(3)) == 1
    await company.identify("eve")
    ((check, state, _),) = await alerts_after_looks(2)
    assert (check, state) == ("owner_unknown", "cleared")


async def test_counts_kept_with_each_change_equal_a_recount_and_the_rule_over_all_deals(admin: Caller) -> None:
    chance = random.Random(SEED)
    company = Company(admin)
    users = ["ann", "bob", "cat", "dan"]
    known: set[str] = set()
    newest: dict[str, Deal] = {}
    for _ in range(60):
        if chance.random() < 0.35:
            changed = chance.sample(users, chance.randint(1, 3))
            deleted = chance.random() < 0.45
            await company.identify(*changed, deleted=deleted)
            known = known - set(changed) if deleted else known | set(changed)
            await company.identify("ann", source="another", deleted=chance.random() < 0.5)
        told = []
        for name in chance.sample("ABCDEFGH", chance.randint(1, 5)):
            parts = chance.sample(users, chance.randint(0, 3))
            told.append(
                company.deal(
                    name,
                    status=chance.choice([DealStatus.WON, DealStatus.WON, DealStatus.WON, DealStatus.OPEN]),
                    kind=chance.choice([DealKind.UPSERTED, DealKind.RESTORED, DealKind.UPSERTED, DealKind.DELETED]),
                    owner=chance.choice([None, *users]),
                    amount=chance.choice([None, "999999999999999.999999", "-10.5", "33.333333", "0"]),
                    currency=chance.choice([None, "EUR", "JPY"]),
                    closed_on=chance.choice([None, date(2026, 3, 31)]),
                    splits={user: chance.choice(["0", "33.333333", "50", "100"]) for user in parts},
                )
            )
        newest |= {deal.external_id: deal for deal in told}
        # Versions that were superseded, and whatever order they come in, change nothing.
        order = [*told, *chance.sample(sorted(newest.values(), key=lambda deal: deal.external_id), 1)]
        chance.shuffle(order)
        await company.hear(*order, stripe=chance.randint(0, 2))
        kept, recounted = await company.counts(known)
        assert kept == recounted, f"seed {SEED}"
        by_rule: Counter[tuple[str, str, str]] = Counter()
        for deal in newest.values():
            for gap in gaps_of(deal.facts(), {(SOURCE, user) for user in known}):
                by_rule[gap.reason.value, gap.user, gap.currency] += 1
        assert {(key.reason.value, key.user, key.currency): count.deals for key, count in kept.items()} == by_rule
        for reason in UncreditedReason:
            listed = {
                deal.external_id
                for deal in newest.values()
                if any(gap.reason is reason for gap in gaps_of(deal.facts(), {(SOURCE, user) for user in known}))
            }
            assert await company.listed(reason.value) == sorted(listed)


async def test_verify_finds_a_count_of_uncredited_deals_that_is_not_what_the_deals_come_to(admin: Caller) -> None:
    company = Company(admin)
    await company.hear(company.deal("A", owner="eve"))

    async def differences() -> list[str]:
        return [str(each) async for each in verification.of_tenant(admin.tracking.database, admin.tenant, Counter())]

    assert await differences() == []
    async with admin.tracking.database.transaction(Scope.of(admin.tenant)) as tx:
        await tx.execute(text("UPDATE tracking.uncredited SET amount = amount - 1"))
    (difference,) = await differences()
    assert "owner_unknown of eve in EUR" in difference
    assert "999 by 1 deal stored, 1000 by 1 deal recomputed" in difference
