import json
from base64 import urlsafe_b64encode
from datetime import date, datetime
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter
from pydantic import JsonValue

from shared.http.paging import Cursor, InvalidCursor, Page, PageRequest, Paging
from tests.servers.api import check_problem, client_of, service

DEALS = Cursor(tuple[date, UUID])
ROWS = [(date(2026, 1, 1 + number // 2), UUID(int=number)) for number in range(7)]


def deals_client() -> httpx.AsyncClient:
    router = APIRouter(tags=["deals"])

    @router.get("/v1/deals")
    async def list_deals(paging: Paging) -> Page[UUID]:
        after = DEALS.after(paging)
        rows = [row for row in ROWS if after is None or row > after][: paging.fetch_limit]
        return DEALS.page(paging, rows, key=lambda row: row, item=lambda row: row[1])

    return client_of(service(router))


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
async def test_pages_neither_skip_nor_repeat(limit: int) -> None:
    seen: list[str] = []
    pages = 0
    async with deals_client() as client:
        parameters: dict[str, str] = {"limit": str(limit)}
        while True:
            page = (await client.get("/v1/deals", params=parameters)).json()
            pages += 1
            assert len(page["items"]) <= limit
            seen += page["items"]
            if page["next_cursor"] is None:
                break
            parameters["cursor"] = page["next_cursor"]
    assert seen == [str(row[1]) for row in ROWS]
    assert pages == -(-len(ROWS) // limit)


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "%", "ä", "bm90IGpzb24", urlsafe_b64encode(b'["2026-01-01"]').decode(), "W10", "e30"],
)
async def test_a_cursor_of_another_list_is_refused_by_name(cursor: str) -> None:
    async with deals_client() as client:
        problem = check_problem(await client.get("/v1/deals", params={"cursor": cursor}), 422, "invalid_cursor")
    assert problem["errors"] == [
        {
            "location": "query",
            "pointer": "/cursor",
            "message": "is not a cursor of this list",
            "accepted": "next_cursor of a page",
        }
    ]


@pytest.mark.parametrize("limit", ["0", "201", "-1", "many"])
async def test_a_limit_out_of_bounds_is_refused_by_name(limit: str) -> None:
    async with deals_client() as client:
        problem = check_problem(await client.get("/v1/deals", params={"limit": limit}), 422, "invalid_input")
    errors = problem["errors"]
    assert isinstance(errors, list)
    assert [(error["location"], error["pointer"]) for error in errors] == [("query", "/limit")]


def test_a_cursor_holds_its_key_whatever_its_length() -> None:
    words = Cursor(str)
    for length in range(20):
        cursor = words.encode("ü" * length)
        assert words.after(PageRequest(1, cursor)) == "ü" * length
    with pytest.raises(InvalidCursor):
        words.after(PageRequest(1, DEALS.encode(ROWS[0])))


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (tuple[datetime, int, UUID], ["0001-01-01T00:00:00+14:00", 1, str(UUID(int=1))]),
        (tuple[datetime, int, UUID], ["9999-12-31T23:59:59-14:00", 1, str(UUID(int=1))]),
        (tuple[datetime, int, UUID], ["2026-01-01T00:00:00", 1, str(UUID(int=1))]),
        (tuple[datetime, int, UUID], ["2026-01-01T00:00:00Z", 2**63, str(UUID(int=1))]),
        (int, 2**63),
        (int, -(2**64)),
        (tuple[str, str], ["deals", "a\0b"]),
    ],
)
def test_a_cursor_with_a_key_that_no_column_holds_is_refused(kind: type[object], key: JsonValue) -> None:
    forged = urlsafe_b64encode(json.dumps(key).encode()).decode()
    with pytest.raises(InvalidCursor) as refused:
        Cursor(kind).after(PageRequest(1, forged))
    assert [each.pointer for each in refused.value.fields] == ["/cursor"]


@pytest.mark.parametrize("depth", [10, 500, 5000])
def test_a_cursor_that_is_nested_without_end_is_refused(depth: int) -> None:
    with pytest.raises(InvalidCursor):
        Cursor(tuple[str, str]).after(PageRequest(1, urlsafe_b64encode(b"[" * depth).decode()))
