"""A deal that a query is about, named by the id that its source gave it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from unicodedata import normalize
from uuid import UUID

import httpx
import pytest

from services.incentives.credits.domain.credit import ReceivedDeal
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.metadata import transport
from shared.db.database import Scope, Transaction
from shared.http.auth import Role
from shared.kernel.ids import deal_id
from shared.outbox.outbox import Outbox
from tests.stories.connections import Caller, Tracking
from tests.stories.incentives import CONNECTION, SOURCE, deal_event, named
from tests.stories.june import Tenant
from tests.stories.june import won as won_in_june
from tests.stories.pay import EARNINGS
from tests.stories.pay_api import ANN, AUTHOR, BEN, QUARTER, Company, running_company, won

JUNE_15 = datetime(2026, 6, 15, 12, tzinfo=UTC)
ZOE = "Zo\u00eb-1"


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running


def refused(answer: httpx.Response) -> dict[str, str]:
    """What of the query is refused, and what would be accepted."""
    assert answer.status_code == 422, answer.text
    return {field["pointer"]: field["accepted"] for field in answer.json()["errors"]}


async def paid(company: Company, external_id: str, *, connection: UUID = CONNECTION, owner: int = 0) -> UUID:
    """A won deal that its connection knows by this id, in the form it is written in."""
    number = len(external_id) + owner + connection.int % 97
    event = deal_event(company.tenant, won(number, 1000, owner=owner))
    known = event.model_copy(
        update={
            "id": deal_id(connection, external_id),
            "external_id": normalize("NFC", external_id),
            "connection_id": connection,
        }
    )

    async def apply(tx: Transaction) -> None:
        stored = ReceivedDeal(company.tenant, known.facts(), known.model_dump_json(), connection)
        await EARNINGS.apply_deals(tx, [company.tenant], [stored])

    await company.database.run(Scope.of(company.tenant), apply)
    return known.id


async def asked(
    company: Company, path: str, person: UUID = AUTHOR, role: Role = Role.ADMIN, /, **query: str
) -> httpx.Response:
    return await company.get(str(httpx.URL(path).copy_merge_params(query)), person, role)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_pay_is_explained_stated_and_listed_of_a_deal_by_its_id_in_the_crm(company: Company, form: str) -> None:
    await company.found()
    await company.assign(await company.plan(), ANN)
    deal = await paid(company, normalize("NFD", ZOE))
    await paid(company, "Another")
    by_source = {"external_id": ZOE if form == "NFC" else normalize("NFD", ZOE), "source": SOURCE}
    (earning,) = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    for path in (f"/v1/earnings/{earning['id']}/explain?limit=9", f"{QUARTER}&person_id={ANN}", "/v1/ledger?limit=9"):
        told = await asked(company, path, **by_source)
        assert told.status_code == 200, told.text
        assert told.json() == (await asked(company, path, deal_id=str(deal))).json()
    (posted,) = (await asked(company, "/v1/ledger", **by_source)).json()["items"]
    assert posted["cause"]["deal_id"] == str(deal)
    assert (await asked(company, "/v1/ledger", external_id="Nobody's", source=SOURCE)).json()["items"] == []


async def test_half_of_a_name_and_two_names_are_refused_naming_both(company: Company) -> None:
    await company.found()
    one_of_two = "deal_id, or external_id together with source"
    for path in ("/v1/ledger", f"{QUARTER}&person_id={ANN}"):
        for half in ({"external_id": "1"}, {"source": SOURCE}):
            assert refused(await asked(company, path, **half)) == {"/external_id": one_of_two, "/source": one_of_two}
        twice = {"deal_id": str(named("deal", 1)), "external_id": "1", "source": SOURCE}
        assert refused(await asked(company, path, **twice)) == dict.fromkeys((f"/{name}" for name in twice), one_of_two)
        assert set(refused(await asked(company, path, external_id="1", source="nowhere"))) == {"/source"}


async def test_an_id_that_two_connections_gave_names_the_deal_that_the_caller_sees(company: Company) -> None:
    await company.found()
    await company.assign(await company.plan(), ANN)
    of_ann = await paid(company, "7", owner=0)
    of_ben = await paid(company, "7", connection=UUID(int=77), owner=1)
    query = {"external_id": "7", "source": SOURCE}
    told = (await asked(company, f"{QUARTER}&person_id={ANN}", ANN, Role.REP, **query)).json()["deal"]
    assert told["deal_id"] == str(of_ann)
    accepted = refused(await asked(company, f"{QUARTER}&person_id={ANN}", **query))["/external_id"]
    assert accepted in (f"deal_id with {of_ann} or {of_ben}", f"deal_id with {of_ben} or {of_ann}")
    told = (await asked(company, f"{QUARTER}&person_id={BEN}", BEN, Role.REP, **query)).json()["deal"]
    assert told["deal_id"] == str(of_ben)


async def test_progress_is_explained_of_a_deal_by_its_id_in_the_crm(tracking: Tracking) -> None:
    admin = Caller(tracking, Role.ADMIN)
    connection = UUID((await admin.connect(identity_source="crm")).id)
    tenant = Tenant(tracking.database)
    tenant.id, tenant.scope = admin.tenant, Scope.of(admin.tenant)
    tenant.tracker = ProgressTracker(Outbox(transport), DefinitionsCache())
    await tenant.found("UTC")
    await tenant.define(tenant.mapped())
    told = normalize("NFD", ZOE)
    deal = won_in_june(tenant.id, 1, JUNE_15, amount=100).model_copy(
        update={"id": deal_id(connection, told), "connection_id": connection, "external_id": ZOE}
    )
    await tenant.take([deal])
    path = f"/v1/goals/{tenant.june}/progress/explain"
    by_name = await admin.client.get(path, params={"external_id": ZOE, "source": "crm"})
    assert by_name.status_code == 200, by_name.text
    assert by_name.json() == (await admin.client.get(path, params={"deal_id": str(deal.id)})).json()
    assert by_name.json()["items"][0]["counts"] is True
    unknown = await admin.client.get(path, params={"external_id": "Nobody's", "source": "crm"})
    assert unknown.status_code == 404
    assert set(refused(await admin.client.get(path, params={"external_id": ZOE}))) == {"/external_id", "/source"}
