import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter, Depends
from pydantic import SecretStr, ValidationError

from shared.http.auth import Authenticator, Principal, Role, TokenRefused, issue_token, require
from shared.http.settings import HttpSettings
from tests.servers.api import SETTINGS, check_problem, client_of, service

TENANT = UUID("0199d5a2-0000-7000-8000-000000000001")
PERSON = UUID("0199d5a2-0000-7000-8000-000000000002")
SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef"


def claims(**changed: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "iss": "attain",
        "aud": "attain",
        "sub": str(PERSON),
        "tenant": str(TENANT),
        "roles": ["rep"],
        "exp": datetime.now(UTC) + timedelta(minutes=5),
    }
    return {name: value for name, value in (usual | changed).items() if value is not None}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    router = APIRouter(tags=["people"])

    @router.get("/v1/me")
    async def read_me(principal: Annotated[Principal, Depends(require(Role.REP, Role.MANAGER))]) -> dict[str, str]:
        return {"tenant": str(principal.tenant_id), "person": str(principal.person_id)}

    async with client_of(service(router)) as connected:
        yield connected


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_an_issued_token_stands_for_its_person_and_tenant(client: httpx.AsyncClient) -> None:
    token = issue_token(SETTINGS, tenant_id=TENANT, person_id=PERSON, roles=frozenset({Role.REP}), ttl_seconds=60)
    response = await client.get("/v1/me", headers=bearer(token))
    assert response.json() == {"tenant": str(TENANT), "person": str(PERSON)}


async def test_without_a_token_the_answer_says_how_to_authenticate(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"authorization": "Basic abc"}, {"authorization": "Bearer"}):
        response = await client.get("/v1/me", headers=headers)
        check_problem(response, 401, "token_missing")
        assert response.headers["www-authenticate"] == "Bearer"


async def test_a_token_in_the_url_is_a_parameter_that_is_not_known(client: httpx.AsyncClient) -> None:
    token = jwt.encode(claims(), SECRET, "HS256")
    check_problem(await client.get(f"/v1/me?access_token={token}"), 422, "unknown_parameter")


async def test_a_caller_without_the_role_is_forbidden(client: httpx.AsyncClient) -> None:
    token = jwt.encode(claims(roles=["finance"]), SECRET, "HS256")
    check_problem(await client.get("/v1/me", headers=bearer(token)), 403, "role_missing")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"exp": datetime.now(UTC) - timedelta(minutes=5)}, id="exp=five minutes ago"),
        {"exp": None},
        {"aud": "payroll"},
        {"aud": None},
        {"iss": "someone else"},
        {"iss": None},
        pytest.param({"nbf": datetime.now(UTC) + timedelta(days=1)}, id="nbf=tomorrow"),
        {"tenant": None},
        {"tenant": "acme"},
        {"roles": None},
        {"roles": []},
        {"roles": ["emperor"]},
        {"roles": "rep"},
        {"sub": None},
        {"sub": "darcel"},
    ],
    ids=lambda changed: ",".join(f"{name}={value}" for name, value in changed.items())[:40],
)
async def test_a_token_with_wrong_claims_is_refused(client: httpx.AsyncClient, changed: dict[str, object]) -> None:
    token = jwt.encode(claims(**changed), SECRET, "HS256")
    response = await client.get("/v1/me", headers=bearer(token))
    check_problem(response, 401, "token_refused")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "token",
    [
        jwt.encode(claims(), "", "none"),
        jwt.encode(claims(), SECRET, "HS384"),
        jwt.encode(claims(), SECRET[::-1], "HS256"),
        "not.a.token",
        jwt.encode(claims(), SECRET, "HS256")[:-3],
    ],
    ids=["none", "other algorithm", "other key", "garbage", "cut"],
)
async def test_a_token_not_signed_as_pinned_is_refused(client: httpx.AsyncClient, token: str) -> None:
    check_problem(await client.get("/v1/me", headers=bearer(token)), 401, "token_refused")


async def test_a_service_needs_no_person() -> None:
    token = issue_token(SETTINGS, tenant_id=TENANT, person_id=None, roles=frozenset({Role.SERVICE}), ttl_seconds=60)
    principal = await Authenticator(SETTINGS).principal(token)
    assert principal == Principal(TENANT, None, frozenset({Role.SERVICE}))
    assert principal.expires_at is not None
    assert timedelta(0) < principal.expires_at - datetime.now(UTC) < timedelta(seconds=75)


PRIVATE_KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC_PEM = (
    PRIVATE_KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


async def test_a_public_key_admits_what_its_private_key_signed_and_nothing_else() -> None:
    authenticator = Authenticator(HttpSettings(jwt_public_key=PUBLIC_PEM))
    principal = await authenticator.principal(jwt.encode(claims(), PRIVATE_KEY, "ES256"))
    assert principal.person_id == PERSON
    other_key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(TokenRefused):
        await authenticator.principal(jwt.encode(claims(), other_key, "ES256"))


async def test_the_public_key_is_not_accepted_as_a_shared_secret() -> None:
    authenticator = Authenticator(HttpSettings(jwt_public_key=PUBLIC_PEM))
    forged = _sign_hs256_with(PUBLIC_PEM)
    with pytest.raises(TokenRefused):
        await authenticator.principal(forged)


def _sign_hs256_with(key: str) -> str:
    def part(value: object) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value, default=str).encode()).rstrip(b"=")

    payload = claims(exp=int((datetime.now(UTC) + timedelta(minutes=5)).timestamp()))
    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(payload)
    signature = hmac.new(key.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"jwt_secret": SECRET, "jwt_public_key": PUBLIC_PEM},
        {"jwt_secret": "short"},
        {"jwt_secret": SECRET, "jwt_algorithms": {"RS256"}},
        {"jwt_public_key": PUBLIC_PEM, "jwt_algorithms": {"HS256"}},
        {"jwt_public_key": PUBLIC_PEM, "jwt_algorithms": {"none"}},
    ],
    ids=["no key", "two keys", "short secret", "RS256 for a secret", "HS256 for a public key", "none"],
)
def test_settings_that_would_weaken_authentication_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        HttpSettings.model_validate(wrong)


def test_tokens_are_issued_only_with_the_development_secret() -> None:
    assert SETTINGS.jwt_secret == SecretStr(SECRET)
    with pytest.raises(ValueError, match="identity provider"):
        issue_token(
            HttpSettings(jwt_public_key=PUBLIC_PEM),
            tenant_id=TENANT,
            person_id=PERSON,
            roles=frozenset({Role.ADMIN}),
            ttl_seconds=60,
        )
