"""Who calls an API in a test: the headers of a token, and a client of an app in this process."""

import ssl
from collections.abc import Mapping
from typing import Final
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI

from shared.http.auth import Role, issue_token
from shared.http.settings import HttpSettings

TRUSTING_NOBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""What a client of http:// alone takes as `verify`: to read what this machine trusts takes a fiftieth of a second."""


def bearer(settings: HttpSettings, tenant: UUID, *roles: Role, person: UUID | None = None) -> dict[str, str]:
    """The headers of a person with these roles, of somebody new without one; a service is nobody."""
    somebody = None if roles == (Role.SERVICE,) else uuid4()
    token = issue_token(
        settings, tenant_id=tenant, person_id=person or somebody, roles=frozenset(roles), ttl_seconds=900
    )
    return {"authorization": f"Bearer {token}"}


def client_of(app: FastAPI, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """What the app fails with is answered, as it would be outside."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers)
