"""A text counts in whichever of Unicode's forms a person, a CRM or the release before wrote it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from unicodedata import normalize
from uuid import UUID, uuid4

import asyncpg
import pytest
from alembic import command

from services.incentives.earnings.consumer import DealsHandler as PayHandler
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.rates import FlatRate
from services.tracking.measure.progress import verification
from services.tracking.measure.progress.consumer import DealsHandler
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.reading import ProgressReader
from services.tracking.records import service as records
from shared.contracts.base import Event
from shared.contracts.envelope import to_message
from shared.contracts.goals import Goal
from shared.db.database import Database, Scope
from shared.db.migration import _configuration, upgrade
from shared.kafka.domain import Record
from shared.kernel.deals import DEAL_FIELDS, DateField
from shared.kernel.filters import parse_filter
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.org import CrmUser
from shared.kernel.records import RecordKind
from shared.kernel.sight import WHOLE_TENANT
from tests.stories.incentives import deal_event
from tests.stories.june import JUNE, Tenant, won
from tests.stories.pay import CREDITS, EARNINGS, VERIFICATION
from tests.stories.pay_company import paying
from tests.stories.pay_company import won as won_by_a_person

ZOE, DECOMPOSED = "Zo\u00eb AG", normalize("NFD", "Zo\u00eb AG")
OWNER, OWNER_DECOMPOSED = "Ren\u00e9e", normalize("NFD", "Ren\u00e9e")
OF_ZOE = {"field": "account_name", "op": "eq", "value": ZOE}
JUNE_15 = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.fixture
async def tracking(module_database: str) -> AsyncIterator[Database]:
    database = Database(module_database, service="tracking")
    yield database
    await database.close()


@pytest.fixture
async def incentives(module_database: str) -> AsyncIterator[Database]:
    database = Database(module_database, service="incentives")
    yield database
    await database.close()


def published(event: Event, **members: object) -> Record:
    """The event as a release that took texts as they came has published it."""
    message = to_message(event, event_id=uuid4(), source="test", time=JUNE_15)
    document = {**json.loads(message.value or b""), **members}
    document.pop("corrections", None)
    value = json.dumps(document, ensure_ascii=False).encode()
    return Record(message.topic, 0, 0, message.key, dict(message.headers), value, 0)


def filtered(goal: Goal, condition: dict[str, object], *, version: int = 1) -> Goal:
    document = goal.model_dump(mode="json")
    document["metric"]["filter"] = {"all": [condition]}
    return Goal.model_validate({**document, "version": version, "revision": version})


@pytest.mark.parametrize("wanted", [ZOE, DECOMPOSED])
async def test_a_filter_meets_a_deal_in_another_form_live_in_recounts_and_when_asked_why(
    tracking: Database, wanted: str
) -> None:
    tenant = Tenant(tracking)
    await tenant.found("UTC")
    terms = filtered(tenant.goal(tenant.june, JUNE), {**OF_ZOE, "value": wanted}, version=2)
    await tenant.define(tenant.mapped().model_copy(update={"external_user_id": OWNER}), terms)
    await tenant.rebuild()
    deal = won(tenant.id, 1, JUNE_15, amount=100)
    told = published(deal, account_name=DECOMPOSED, owner_external_id=OWNER_DECOMPOSED)
    async with tracking.transaction(tenant.scope) as tx:
        await DealsHandler(tenant.tracker).apply(tx, [told])
    assert await tenant.values() == ("100", "0")
    await tenant.define(filtered(terms, {**OF_ZOE, "value": wanted}, version=3))
    await tenant.rebuild()
    assert await tenant.values() == ("100", "0")
    assert [each async for each in verification.of_tenant(tracking, tenant.id, Counter())] == []
    async with tracking.transaction(tenant.scope) as tx:
        _, why = await ProgressReader(tx, DefinitionsCache(), tenant.id, WHOLE_TENANT.viewer).explain(
            tenant.june, RecordKind.DEAL, deal.id
        )
    assert why.root.counts


@pytest.mark.parametrize("wanted", [ZOE, DECOMPOSED])
async def test_a_plan_pays_a_deal_in_another_form_and_verify_agrees(incentives: Database, wanted: str) -> None:
    measure = Measure(
        Aggregate.SUM,
        "amount",
        DateField.CLOSED,
        parse_filter({**OF_ZOE, "value": wanted}, DEAL_FIELDS),
        currency="USD",
    )
    company = await paying(incentives, Commission("bookings", "Bookings", measure, FlatRate(Decimal("0.05"))))
    deal = deal_event(company.tenant, won_by_a_person(1, 1, 100_000))
    async with incentives.transaction(company.scope) as tx:
        await PayHandler(EARNINGS).apply(tx, [published(deal, account_name=DECOMPOSED)])
    assert list((await company.owed()).values()) == [50]
    assert [each async for each in VERIFICATION.of_tenant(incentives, company.tenant, Counter())] == []
    async with incentives.transaction(company.scope) as tx:
        stored = await CREDITS.deal(tx, company.tenant, deal.id)
    assert stored is not None
    assert stored.account_name == ZOE


async def test_texts_that_were_stored_as_they_came_are_composed_and_what_they_decide_is_counted_anew(
    empty_database: str,
) -> None:
    for service, before in (("tracking", "0016"), ("incentives", "0005"), ("goals", "0005")):
        await asyncio.to_thread(command.upgrade, _configuration(service, empty_database), before)
    tenant, other, deal_id, goal, person = (UUID(int=number) for number in range(1, 6))
    source = normalize("NFD", "caf\u00e9")
    # What only seems to compose when it stands in a document: a line break before a mark of its own.
    custom = {normalize("NFD", "r\u00e9gion"): f"a\n\u0301 {DECOMPOSED}"}
    columns: dict[str, object] = {
        "tenant_id": tenant,
        "deal_id": deal_id,
        "modified_at": JUNE_15,
        "sequence": 0,
        "delivery_id": deal_id,
        "connection_id": deal_id,
        "received_at": JUNE_15,
        "source": source,
        "external_id": DECOMPOSED,
        "kind": "upserted",
        "status": "won",
        "owner_external_id": OWNER_DECOMPOSED,
        "account_name": DECOMPOSED,
        "amount": Decimal(100),
        "currency": "EUR",
        "closed_at": JUNE_15,
        "custom": json.dumps(custom),
    }
    connection = await asyncpg.connect(empty_database)

    async def put(table: str, **row: object) -> None:
        names = ", ".join(f'"{name}"' for name in row)
        places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
        await connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", *row.values())

    try:
        await connection.execute("SELECT set_config('app.tenants', '*', false)")
        await put("tracking.deals", **columns)
        await put("tracking.deal_versions", **columns, recorded_at=JUNE_15)
        for user in (OWNER_DECOMPOSED, OWNER):
            for schema in ("tracking", "incentives"):
                await put(
                    f"{schema}.deal_split_users", tenant_id=tenant, source="crm", external_id=user, deal_id=deal_id
                )
        identity = {"source": source, "external_user_id": OWNER, "deleted": False}
        await put(
            "tracking.projected_snapshots",
            tenant_id=tenant,
            subject="identity/1",
            event_type="attain.identity.v1",
            version=1,
            body=json.dumps(identity),
        )
        await put(
            "tracking.uncredited",
            tenant_id=tenant,
            connection_id=deal_id,
            reason="owner_unknown",
            source=source,
            user_id=OWNER_DECOMPOSED,
            currency="EUR",
            stripe=0,
            deals=1,
            amount=Decimal(100),
        )
        for owner in (tenant, other):
            await put(
                "tracking.progress_goals", tenant_id=owner, goal_id=goal, stale=False, version=7, changed_at=JUNE_15
            )
            await put(
                "incentives.assignments",
                tenant_id=owner,
                id=goal,
                person_id=goal,
                plan_id=goal,
                start=JUNE_15.date(),
                quotas="{}",
                version=1,
                deleted=False,
                created_at=JUNE_15,
            )
        body = json.dumps({"account_name": DECOMPOSED, "connection_id": str(deal_id)}, ensure_ascii=False)
        await put(
            "incentives.deals",
            tenant_id=tenant,
            id=deal_id,
            modified_at=JUNE_15,
            sequence=0,
            delivery_id=deal_id,
            source=source,
            owner_external_id=OWNER_DECOMPOSED,
            body=body,
        )
        await put(
            "goals.people", tenant_id=tenant, id=person, version=1, name=DECOMPOSED, active=True, changed_at=JUNE_15
        )
        for number, user in enumerate((OWNER_DECOMPOSED, DECOMPOSED, ZOE)):
            await put(
                "goals.identities",
                tenant_id=tenant,
                id=UUID(int=number),
                version=1,
                source="crm",
                external_user_id=user,
                person_id=person,
                deleted=False,
                changed_at=JUNE_15,
            )
        for service in ("tracking", "incentives", "goals"):
            await asyncio.to_thread(upgrade, service, empty_database)
        for table in ("deals", "deal_versions"):
            row = await connection.fetchrow(f"SELECT * FROM tracking.{table}")
            assert row is not None
            assert (row["deal_id"], row["external_id"], row["account_name"]) == (deal_id, ZOE, ZOE)
            assert (row["source"], row["owner_external_id"]) == ("caf\u00e9", OWNER)
            assert json.loads(row["custom"]) == {"r\u00e9gion": f"a\n\u0301 {ZOE}"}
        for schema in ("tracking", "incentives"):
            users = await connection.fetch(f"SELECT external_id FROM {schema}.deal_split_users")
            assert [each["external_id"] for each in users] == [OWNER]
        goals = await connection.fetch("SELECT tenant_id, stale FROM tracking.progress_goals ORDER BY 1")
        assert [tuple(each) for each in goals] == [(tenant, True), (other, False)]
        stale = await connection.fetch("SELECT tenant_id FROM incentives.stale_assignments")
        assert [each["tenant_id"] for each in stale] == [tenant]
        paid = await connection.fetchrow("SELECT source, owner_external_id, body FROM incentives.deals")
        assert paid is not None
        assert tuple(paid) == ("caf\u00e9", OWNER, body)
        (come_from,) = await connection.fetch(
            "SELECT tenant_id, source, connection_id FROM incentives.deal_connections"
        )
        assert tuple(come_from) == (tenant, "caf\u00e9", deal_id)
        assert await connection.fetchval("SELECT name FROM goals.people") == ZOE
        identities = await connection.fetch("SELECT external_user_id FROM goals.identities ORDER BY id")
        # The third is the user that the second would be.
        assert [each["external_user_id"] for each in identities] == [OWNER, DECOMPOSED, ZOE]
    finally:
        await connection.close()
    database = Database(empty_database, service="tracking")
    try:
        async with database.transaction(Scope.of(tenant)) as tx:
            counted, recounted = await records.uncredited_counts(tx, tenant, [CrmUser("caf\u00e9", OWNER)])
        assert counted == recounted == {}
    finally:
        await database.close()
