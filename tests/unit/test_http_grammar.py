"""HTTP's own grammar: If-Match, Accept and Content-Type, as RFC 9110 has them."""

from collections.abc import AsyncIterator
from typing import ClassVar

import httpx
import pytest
from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_serializer

from shared.http.etag import Answered, ConditionalRead, ExpectedVersion, entity_tags, etag
from shared.http.negotiation import accepts
from shared.kernel.errors import check_version
from tests.servers.api import NewDeal, check_problem, client_of, service


class Thing(BaseModel):
    written: ClassVar[list[int]] = []

    version: int
    name: str

    @field_serializer("version")
    def write(self, version: int) -> int:
        self.written.append(version)
        return version


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    router = APIRouter(tags=["things"])

    @router.put("/v1/things/{current}")
    async def change_thing(current: int, expected_version: ExpectedVersion) -> int:
        check_version(current, expected_version)
        return current + 1

    @router.post("/v1/things")
    async def make_thing(body: NewDeal) -> NewDeal:
        return body

    @router.get("/v1/things/stream", response_class=EventSourceResponse)
    async def stream_things() -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(data=1)

    @router.get("/v1/things/{current}")
    async def read_thing(current: int, read: ConditionalRead, name: str = "a") -> Answered[Thing]:
        return read.answer(Thing(version=current, name=name))

    async with client_of(service(router)) as connected:
        yield connected


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ('"7"', 200),
        (' "7" ', 200),
        ("*", 200),
        ('"6", "7"', 200),
        ('"6","7",, W/"9"', 200),
        ('"a,b", "7"', 200),
        ('"7.0123456789abcdef"', 200),
        ('"6.0123456789abcdef"', 412),
        ('"7.0123456789ABCDEF"', 412),
        ('"7."', 412),
        ('"6"', 412),
        ('"6", "8"', 412),
        ('W/"7"', 412),
        ('"7-gzip"', 412),
        ('"07"', 412),
        ('""', 412),
        ('"99999999999999999999"', 412),
        ("7", 422),
        ('"7', 422),
        ("", 422),
        (",", 422),
        ('"6" "7"', 422),
        ('w/"7"', 422),
        ('*, "7"', 422),
    ],
)
async def test_if_match_is_a_list_of_etags_compared_strongly_or_a_star(
    client: httpx.AsyncClient, if_match: str, status: int
) -> None:
    response = await client.put("/v1/things/7", headers={"if-match": if_match})
    if status == 200:
        assert response.json() == 8
    else:
        check_problem(response, status, {412: "version_mismatch", 422: "invalid_input"}[status])


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"x", W/"y", {tag}', 304),
        ("*", 304),
        (" * ", 304),
        ('"7"', 200),
        ('"x", "6"', 200),
        ('""', 200),
        ("7", 422),
        ("", 422),
        ('*, "7"', 422),
    ],
)
async def test_a_read_of_what_the_caller_has_is_answered_without_a_body(
    client: httpx.AsyncClient, if_none_match: str, status: int
) -> None:
    tag = (await client.get("/v1/things/7")).headers["etag"]
    response = await client.get("/v1/things/7", headers={"if-none-match": if_none_match.format(tag=tag)})
    if status == 422:
        problem = check_problem(response, 422, "invalid_input")
        assert problem["errors"] == [
            {
                "location": "header",
                "pointer": "/If-None-Match",
                "message": "is no ETag",
                "accepted": "the ETag of what you read before, or *",
            }
        ]
        return
    assert (response.status_code, response.headers["etag"]) == (status, tag)
    if status == 304:
        assert response.content == b""
        assert not {"content-type", "content-length"} & response.headers.keys()


async def test_an_answer_that_says_something_else_under_the_same_version_is_sent_again(
    client: httpx.AsyncClient,
) -> None:
    tag = (await client.get("/v1/things/7")).headers["etag"]
    changed = await client.get("/v1/things/7", params={"name": "b"}, headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()) == (200, {"version": 7, "name": "b"})
    assert changed.headers["etag"] != tag
    for each in (tag, changed.headers["etag"]):
        assert (await client.put("/v1/things/7", headers={"if-match": each})).status_code == 200


async def test_an_answer_is_written_once_for_its_etag_and_its_body(client: httpx.AsyncClient) -> None:
    Thing.written.clear()
    response = await client.get("/v1/things/12")
    assert Thing.written == [12]
    assert response.headers["etag"] == etag(12, response.content)


async def test_the_openapi_says_that_a_read_may_be_conditional(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    read = document["paths"]["/v1/things/{current}"]["get"]
    assert "if-none-match" in {parameter["name"] for parameter in read["parameters"]}
    assert "ETag" in read["responses"]["200"]["headers"]
    assert read["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Thing"}
    assert read["responses"]["304"] == {"$ref": "#/components/responses/NotModified"}
    unchanged = document["components"]["responses"]["NotModified"]
    assert "ETag" in unchanged["headers"]
    assert "content" not in unchanged


async def test_a_star_does_not_match_what_is_not_there_yet(client: httpx.AsyncClient) -> None:
    check_problem(await client.put("/v1/things/0", headers={"if-match": "*"}), 412, "version_mismatch")
    assert (await client.put("/v1/things/0", headers={"if-match": '"0"'})).status_code == 200


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("", 200),
        ("*/*", 200),
        ("application/*", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/html, application/xhtml+xml, */*;q=0.8", 200),
        ("text/csv;q=1, application/json;q=0.1", 200),
        ("text/csv", 406),
        ("text/*", 406),
        ("application/json;q=0", 406),
        ("*/*;q=0", 406),
        ("application/json;q=high", 406),
        ("application/json;q", 406),
        ("*/*, application/json;q=0", 406),
        ("text/event-stream", 406),
    ],
)
async def test_what_is_served_is_what_accept_names(client: httpx.AsyncClient, accept: str | None, status: int) -> None:
    client.headers.pop("accept", None)
    headers = {"if-match": '"7"'} | ({} if accept is None else {"accept": accept})
    response = await client.put("/v1/things/7", headers=headers)
    assert response.status_code == status
    if status == 406:
        assert "application/json" in str(check_problem(response, 406, "not_acceptable")["detail"])


async def test_a_stream_is_offered_as_events(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/things/stream", headers={"accept": "text/event-stream"})).status_code == 200
    check_problem(await client.get("/v1/things/stream", headers={"accept": "application/json"}), 406, "not_acceptable")


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "application/xml"])
async def test_a_body_that_is_not_sent_as_json_gets_415(client: httpx.AsyncClient, content_type: str) -> None:
    response = await client.post("/v1/things", content=b"a=1", headers={"content-type": content_type})
    check_problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "application/x+json"])
async def test_json_of_any_name_is_read(client: httpx.AsyncClient, content_type: str) -> None:
    response = await client.post("/v1/things", content=b"{}", headers={"content-type": content_type})
    check_problem(response, 422, "invalid_input")


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
def test_any_header_is_parsed_or_refused(text: str) -> None:
    tags = entity_tags(text)
    assert all('"' not in tag for _, tag in tags)
    accepts(text, "application/json")


@given(
    st.lists(st.tuples(st.booleans(), st.text(alphabet="abc,W/ -!", max_size=5).map(lambda tag: tag.replace(" ", ""))))
)
def test_what_is_written_as_a_list_is_read_as_it(tags: list[tuple[bool, str]]) -> None:
    written = " , ".join(f'{"W/" if weak else ""}"{tag}"' for weak, tag in tags)
    assert entity_tags(written) == tags
