"""Statements as documents and tables over HTTP, by every role, held against the ledger by other readers."""

import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser
from io import BytesIO
from typing import Final
from uuid import UUID, uuid4
from zipfile import BadZipFile, ZipFile

import httpx
import pytest
from pypdf import PdfReader
from sqlalchemy import text

from services.incentives.statements import archive
from services.incentives.statements.columns import COLUMNS
from services.incentives.statements.domain import statement
from services.incentives.statements.domain.display import posted
from shared.contracts.org import Membership
from shared.db.database import Scope
from shared.http.auth import Role
from shared.kernel.deals import DealStatus
from shared.kernel.ids import deal_id as deal_id_of
from shared.tables.columns import read_rows
from shared.tables.comma_separated import read_csv
from tests.integration.test_http_server import free_port, served
from tests.servers.infrastructure import eventually
from tests.stories.incentives import CONNECTION, SOURCE, deal_event, named
from tests.stories.pay_api import ANN, AUTHOR, BEN, MAX, Company, running_company, won

DAYS: Final = "start=2026-01-01&end=2026-04-01"
NEXT_DAYS: Final = "start=2026-04-01&end=2026-07-01"
STRANGER: Final = named("person", 9)
ANN_FILE: Final = "E-1042_Ann_strong_x_b_b_q_b"
BEN_FILE: Final = "1_1_Ben_王小明"
MARKED_UP: Final = 'Ann #strong[x] *b* <b>& "q"</b>'


class _Text(HTMLParser):
    """What a browser would show of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def shown(response: httpx.Response) -> str:
    """The text of a document, as somebody else's reader sees it."""
    assert response.status_code == 200, response.text
    if response.headers["content-type"] == "application/pdf":
        return "\n".join(page.extract_text() for page in PdfReader(BytesIO(response.content)).pages)
    reader = _Text()
    reader.feed(response.text)
    return "\n".join(reader.found)


BREAKING: Final = """
import sys
from collections.abc import AsyncIterator
from shared.http.server import serve_api
from services.incentives.statements.api import archive_answer
from services.incentives.statements.archive import archive
from services.incentives.statements.domain.english import ENGLISH
from services.incentives.statements.domain.statement import PersonStatement
from services.incentives.statements.rendering import DocumentFormat, Renderer
from tests.servers.api import SETTINGS, streaming_app
from tests.unit.test_incentives_statements import EARNING, of

app = streaming_app([], [])

async def statements(breaks: bool) -> AsyncIterator[PersonStatement]:
    yield of(EARNING)
    if breaks:
        raise OSError("the database went away")

@app.get("/v1/zip")
async def zip(breaks: bool):
    return archive_answer(archive(statements(breaks), Renderer(), DocumentFormat.HTML, ENGLISH), "statements.zip")

sys.exit(serve_api(app, SETTINGS, port=int(sys.argv[1])))
"""


@pytest.fixture(scope="module")
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        plan_id = await running.plan()
        for person in (ANN, BEN):
            await running.assign(plan_id, person)
        await running.found_person(ANN, MARKED_UP, "E-1042", version=2)
        await running.found_person(BEN, "Ben 😀 王小明", "=1+1")
        deals = [deal_event(running.tenant, won(number, 24_999, day=date(2026, 1, number + 1))) for number in range(8)]
        named_deals = [
            deal.model_copy(
                update={
                    "name": f"商机 {deal.external_id} <i>",
                    "account_name": "云帆科技",
                    "amount": Decimal("24999.99"),
                }
            )
            for deal in deals
        ]
        await running.receive(named_deals)
        await running.deal(won(100, 1_000, owner=1))
        yield running


async def owed(company: Company, person: UUID) -> Decimal:
    """What the ledger owes a person, asked of the database itself."""
    account = f"payable:{person}"
    async with company.database.transaction(Scope.of(company.tenant)) as tx:
        statement_sum = text("SELECT -sum(amount) AS owed FROM incentives.ledger_entries WHERE account = :account")
        [row] = await tx.rows(statement_sum, {"account": account})
    return Decimal(row["owed"])


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("document_format", ["pdf", "html"])
async def test_a_document_has_every_line_and_totals_that_equal_the_ledger(
    company: Company, document_format: str, language: str
) -> None:
    path = f"/v1/statements/document?{DAYS}&person_id={ANN}&format={document_format}&language={language}"
    response = await company.get(path)
    found = shown(response)
    total = await owed(company, ANN)
    # 150,000 at 4 % and what is above at 6 %, half up.
    assert total == (Decimal(150_000 * 4) / 100 + (Decimal("24999.99") * 8 - 150_000) * 6 / 100).quantize(
        Decimal("0.01")
    )
    assert found.count(f"USD {posted(total, 'USD')}") >= 3
    assert "E-1042" in found
    assert MARKED_UP in found
    for number in range(8):
        assert f"商机 {number} <i>" in found
        assert re.search(rf"{SOURCE}(: |：){number}\b", found), found
    assert found.count("云帆科技") == 8
    assert ("Incentive statement" in found) is (language == "en")
    assert ("激励对账单" in found) is (language == "zh")
    statement_json = (await company.get(f"/v1/statements?{DAYS}", person_id=ANN)).json()
    assert statement_json["employee_number"] == "E-1042"
    [earning] = statement_json["earnings"]
    assert sum(Decimal(line["amount"]) for line in earning["lines"]) == total
    for line in earning["lines"]:
        assert posted(Decimal(line["amount"]), "USD") in found
    again = await company.get(path)
    assert again.content == response.content


async def test_a_document_shows_an_emoji_as_a_box_and_is_made_all_the_same(company: Company) -> None:
    response = await company.get(f"/v1/statements/document?{DAYS}", person_id=BEN)
    assert response.headers["content-disposition"].startswith('inline; filename="1_1_Ben__')
    assert "王小明" in shown(response)
    standard = await company.get(f"/v1/statements/document?{DAYS}", person_id=ANN)
    assert b"pdfaid:part" in standard.content
    assert b"pdfaid:part" not in response.content


async def test_a_page_runs_and_fetches_nothing(company: Company) -> None:
    response = await company.get(f"/v1/statements/document?{DAYS}", person_id=ANN, format="html")
    assert response.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert "<script" not in response.text
    assert "http" not in response.text
    assert "<i>" not in response.text


async def test_a_missing_deal_is_answered_by_the_id_that_the_crm_gave_it(company: Company) -> None:
    lost = deal_event(company.tenant, won(200, 5_000)).model_copy(
        update={"id": deal_id_of(CONNECTION, "200"), "status": DealStatus.OPEN}
    )
    await company.receive([lost])
    asked = f"/v1/statements/document?{DAYS}&person_id={ANN}&source={SOURCE}&external_id={lost.external_id}"
    assert "status is won" in shown(await company.get(asked))
    assert "状态为 won" in shown(await company.get(asked, language="zh"))
    counted = await company.get(
        f"/v1/statements/document?{DAYS}", person_id=ANN, deal_id=str(named("deal", 3)), format="html"
    )
    assert f"{SOURCE}: 3 counts: USD 24,999.99 on New business" in shown(counted)
    unknown = await company.get(f"/v1/statements/document?{DAYS}", person_id=ANN, deal_id=str(uuid4()))
    assert "No version of such a deal has arrived." in shown(unknown)


async def test_a_table_reads_back_as_it_is_and_adds_up_to_the_ledger(company: Company) -> None:
    response = await company.get(f"/v1/statements/table?{DAYS}", AUTHOR, Role.FINANCE)
    assert response.headers["content-type"].startswith("text/csv")
    plain = list(csv.DictReader(io.StringIO(response.text)))
    for person in (ANN, BEN):
        amounts = [Decimal(row["amount"]) for row in plain if row["person_id"] == str(person)]
        assert sum(amounts) == await owed(company, person)
    rows = list(read_rows(COLUMNS, read_csv(BytesIO(response.content))))
    assert not any(row.errors for row in rows)
    lines = [line for line in rows if line.values["person_id"] == ANN]
    found = (await company.get(f"/v1/statements?{DAYS}", person_id=ANN)).json()["earnings"][0]
    for row, line in zip(lines, found["lines"], strict=True):
        assert (str(row.values["deal_id"]), row.values["external_id"]) == (line["deal_id"], line["external_id"])
        assert (row.values["value"], row.values["amount"]) == (Decimal(line["value"]), Decimal(line["amount"]))
        assert (row.values["deal_name"], str(row.values["day"])) == (line["name"], line["day"])
        assert (row.values["person_name"], row.values["employee_number"]) == (MARKED_UP, "E-1042")
    assert rows[-2].values["slices"] or rows[-1].values["slices"]
    one = await company.get(f"/v1/statements/table?{DAYS}", person_id=BEN)
    assert [row["external_id"] for row in csv.DictReader(io.StringIO(one.text))] == ["100"]
    both = await company.get(f"/v1/statements/table?{DAYS}", person_id=BEN, team_id=named("team", 0))
    assert (both.status_code, both.json()["errors"][0]["pointer"]) == (422, "/team_id")


async def files(company: Company, person: UUID, role: Role, query: str = "") -> dict[str, bytes]:
    response = await company.get(f"/v1/statements/documents?{DAYS}{query}", person, role)
    assert response.status_code == 200, response.text
    with ZipFile(BytesIO(response.content)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


async def test_everybody_in_sight_has_a_document_in_one_file(company: Company) -> None:
    team = f"&team_id={named('team', 0)}"
    whole = await files(company, AUTHOR, Role.FINANCE)
    names = {f"{ANN_FILE}.pdf", f"{BEN_FILE}.pdf"}
    assert whole.keys() == {*names, archive.INDEX}
    for caller, role, query in ((MAX, Role.MANAGER, ""), (MAX, Role.MANAGER, team), (AUTHOR, Role.REVOPS, team)):
        assert await files(company, caller, role, query) == whole
    assert (await files(company, ANN, Role.REP)).keys() == {f"{ANN_FILE}.pdf", archive.INDEX}
    assert (await files(company, STRANGER, Role.REP)).keys() == {archive.INDEX}
    index = {row["person_id"]: row for row in csv.DictReader(io.StringIO(whole[archive.INDEX].decode()))}
    for person in (ANN, BEN):
        row = index[str(person)]
        assert row["file"] in names
        assert Decimal(row["earned"]) == Decimal(row["ledger_balance"]) == await owed(company, person)
    alone = await company.get(f"/v1/statements/document?{DAYS}", person_id=ANN)
    assert whole[f"{ANN_FILE}.pdf"] == alone.content
    pages = await files(company, AUTHOR, Role.FINANCE, "&format=html&language=zh")
    assert "激励对账单" in pages[f"{BEN_FILE}.html"].decode()


async def test_a_statement_that_is_too_long_to_read_is_a_table(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement, "LINES_MAX", 7)
    response = await company.get(f"/v1/statements/document?{DAYS}", person_id=ANN)
    assert (response.status_code, response.json()["code"]) == (422, "document_too_long")
    found = await files(company, AUTHOR, Role.FINANCE)
    rows = csv.DictReader(io.StringIO(found[f"{ANN_FILE}.csv"].decode()))
    assert sum(Decimal(row["amount"]) for row in rows) == await owed(company, ANN)
    assert f"{BEN_FILE}.pdf" in found


async def test_who_sees_nothing_of_somebody_gets_nothing(company: Company) -> None:
    for path in ("/v1/statements", "/v1/statements/document"):
        for person, role, status in (
            (ANN, Role.REP, 200),
            (BEN, Role.REP, 404),
            (MAX, Role.MANAGER, 200),
            (STRANGER, Role.MANAGER, 404),
            (STRANGER, Role.FINANCE, 200),
            (STRANGER, Role.REVOPS, 200),
            (STRANGER, Role.ADMIN, 200),
        ):
            response = await company.get(f"{path}?{DAYS}", person, role, person_id=ANN)
            assert response.status_code == status, (path, role)
            assert status == 200 or response.json()["code"] == "person_not_found"
    hidden = await company.get(f"/v1/statements/table?{DAYS}", BEN, Role.REP, person_id=ANN)
    assert (hidden.status_code, hidden.json()["code"]) == (404, "person_not_found")
    for path in ("/v1/statements/documents", "/v1/statements/table"):
        for person, role in ((ANN, Role.REP), (STRANGER, Role.MANAGER)):
            response = await company.get(f"{path}?{DAYS}", person, role, team_id=named("team", 0))
            assert (response.status_code, response.json()["code"]) == (404, "team_not_found")
        nowhere = await company.get(f"{path}?{DAYS}", AUTHOR, Role.ADMIN, team_id=uuid4())
        assert (nowhere.status_code, nowhere.json()["code"]) == (404, "team_not_found")


async def test_days_that_end_before_they_start_are_refused(company: Company) -> None:
    for path in ("", "/document", "/documents", "/table"):
        whose = "" if path == "/documents" else f"&person_id={ANN}"
        response = await company.get(f"/v1/statements{path}?start=2026-04-01&end=2026-04-01{whose}")
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/end")


async def test_who_is_on_a_plan_and_earned_nothing_has_a_statement_that_says_so(company: Company) -> None:
    found = await company.get(f"/v1/statements/documents?{NEXT_DAYS}")
    with ZipFile(BytesIO(found.content)) as opened:
        assert len(opened.namelist()) == 3
    empty = await company.get(f"/v1/statements/document?{NEXT_DAYS}", person_id=ANN)
    assert "Nothing was credited in this period." in shown(empty)


async def test_a_team_is_who_was_in_it_on_the_last_of_the_days(company: Company) -> None:
    left = Membership(
        tenant_id=company.tenant,
        id=named("stay", 1),
        version=2,
        person_id=BEN,
        team_id=named("team", 0),
        start=date(2020, 1, 1),
        end=date(2026, 3, 1),
        deleted=False,
    )
    await company.publish([left], version=2)
    for end, people in (("2026-03-01", {ANN_FILE, BEN_FILE}), ("2026-04-01", {ANN_FILE})):
        path = f"/v1/statements/documents?start=2026-01-01&end={end}&format=html&team_id={named('team', 0)}"
        response = await company.get(path, AUTHOR, Role.REVOPS)
        with ZipFile(BytesIO(response.content)) as opened:
            assert set(opened.namelist()) == {archive.INDEX, *(f"{name}.html" for name in people)}
    assert f"{BEN_FILE}.pdf" in await files(company, AUTHOR, Role.FINANCE)


async def test_a_zip_that_fails_midway_is_broken_off_and_is_no_zip() -> None:
    port = free_port()
    async with served(port, BREAKING), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:

        async def answers() -> bool:
            try:
                return (await http.get("/v1/zip?breaks=false")).status_code == 200
            except httpx.ConnectError:
                return False

        await eventually(answers, 30.0, expectation="a server")
        whole = await http.get("/v1/zip?breaks=false")
        with ZipFile(BytesIO(whole.content)) as opened:
            assert len(opened.namelist()) == 2
        arrived = bytearray()
        with pytest.raises(httpx.RemoteProtocolError):
            async with http.stream("GET", "/v1/zip?breaks=true") as response:
                assert response.status_code == 200
                async for piece in response.aiter_bytes():
                    arrived += piece
        with pytest.raises(BadZipFile):
            ZipFile(BytesIO(arrived))
