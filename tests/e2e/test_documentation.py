"""A newcomer opens `/docs` in a browser on a machine without the internet."""

import asyncio
import json
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from deploy.local.stack import Stack
from shared.http.auth import Role, issue_token
from shared.http.settings import HttpSettings
from tests.contract.operations import operation_ids
from tests.servers.browser.browser import browser_folder, in_browser

_TRIED = {"goals": "list_teams", "tracking": "list_connections", "incentives": "list_plans"}


@pytest.mark.timeout(300)
async def test_the_documentation_pages_need_no_internet_and_their_operations_can_be_tried(stack: Stack) -> None:
    await asyncio.to_thread(browser_folder)
    urls = {service: stack.url(f"{service}-api") for service in _TRIED}
    token = issue_token(
        HttpSettings(jwt_secret=stack.secrets.jwt_secret),
        tenant_id=uuid4(),
        person_id=uuid4(),
        roles=frozenset({Role.ADMIN}),
        ttl_seconds=600,
    )
    pages = [argument for service, url in urls.items() for argument in (f"{url}/docs", _TRIED[service])]
    printed = await asyncio.to_thread(in_browser, "documentation.js", token, *pages)
    for (service, url), seen in zip(urls.items(), json.loads(printed), strict=True):
        # Trying without a token is refused, and browsers say so of every refusal.
        assert [complaint for complaint in seen["complaints"] if "status of 401" not in complaint] == []
        assert sorted(block.rsplit("-", 1)[1] for block in seen["operations"]) == operation_ids(service)
        loaded = [request for request in seen["requests"] if not request.startswith("data:")]
        assert {urlsplit(request).netloc for request in loaded} == {urlsplit(url).netloc}
        assert seen["statuses"] == [401, 200]
        assert json.loads(seen["body"]) == {"items": [], "next_cursor": None}
