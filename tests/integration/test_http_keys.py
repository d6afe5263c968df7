"""Signing keys of an identity provider, fetched over real HTTP."""

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared.http.auth import Authenticator, TokenRefused
from shared.http.keys import KeysUnavailable, SigningKeys
from shared.http.settings import HttpSettings
from tests.servers.infrastructure import eventually

TENANT = uuid4()
PRIVATE_KEY = ec.generate_private_key(ec.SECP256R1())


def signed_token(key_id: str) -> str:
    claims = {
        "iss": "attain",
        "aud": "attain",
        "sub": str(uuid4()),
        "tenant": str(TENANT),
        "roles": ["rep"],
        "exp": datetime.now(UTC) + timedelta(minutes=5),
    }
    return jwt.encode(claims, PRIVATE_KEY, "ES256", headers={"kid": key_id})


class IdentityProvider:
    """Serves its keys, counts who asks, and can fail or hold its answers back."""

    def __init__(self) -> None:
        self.kids = ["k1"]
        self.fetches = 0
        self.reachable = True
        self.answers = threading.Event()
        self.answers.set()
        provider = self
        key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(PRIVATE_KEY.public_key()))

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.fetches += 1
                provider.answers.wait(10)
                self.send_response(200 if provider.reachable else 503)
                self.end_headers()
                keys = [key | {"kid": kid, "alg": "ES256", "use": "sig"} for kid in provider.kids]
                self.wfile.write(json.dumps({"keys": keys}).encode())

            def log_message(self, format: str, *args: object) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    serving = IdentityProvider()
    threading.Thread(target=serving.server.serve_forever, args=(0.01,), daemon=True).start()
    yield serving
    serving.answers.set()
    serving.server.shutdown()
    serving.server.server_close()


@pytest.fixture
def jwks_url(provider: IdentityProvider) -> str:
    return provider.url


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def is_not_fetching() -> bool:
    return all(task.get_name() != "signing keys" for task in asyncio.all_tasks())


async def test_known_keys_serve_for_a_bounded_time_while_the_provider_is_away(provider: IdentityProvider) -> None:
    clock = Clock()
    keys = SigningKeys(provider.url, stale_seconds_max=3600, clock=clock)
    assert await keys.key("k1") is not None
    provider.reachable = False
    for _ in range(11):
        clock.seconds += 320
        assert await keys.key("k1") is not None
        await eventually(is_not_fetching)
    assert provider.fetches == 12
    clock.seconds += 320
    with pytest.raises(KeysUnavailable):
        await keys.key("k1")
    provider.reachable = True
    with pytest.raises(KeysUnavailable):
        await keys.key("k1")
    clock.seconds += 5
    assert await keys.key("k1") is not None


async def test_no_request_waits_for_keys_to_be_fetched_again(provider: IdentityProvider) -> None:
    clock = Clock()
    keys = SigningKeys(provider.url, stale_seconds_max=3600, clock=clock)
    await keys.key("k1")
    provider.answers.clear()
    clock.seconds += 301
    async with asyncio.timeout(1):
        found = await asyncio.gather(*(keys.key("k1") for _ in range(100)))
    assert all(found)
    provider.answers.set()
    await eventually(is_not_fetching)
    assert provider.fetches == 2


async def test_unknown_keys_cause_at_most_one_fetch_an_interval(provider: IdentityProvider) -> None:
    clock = Clock()
    keys = SigningKeys(provider.url, stale_seconds_max=3600, clock=clock)
    await keys.key("k1")
    for _ in range(3):
        clock.seconds += 31
        assert not any(await asyncio.gather(*(keys.key(f"unknown-{number}") for number in range(50))))
        assert await keys.key(None) is None
    assert provider.fetches == 4
    provider.kids = ["k2"]
    assert await keys.key("k2") is None
    clock.seconds += 31
    assert await keys.key("k2") is not None
    assert await keys.key("k1") is None


async def test_keys_are_fetched_by_their_id(jwks_url: str) -> None:
    authenticator = Authenticator(HttpSettings(jwt_jwks_url=jwks_url))
    token = signed_token("k1")
    assert (await authenticator.principal(token)).tenant_id == TENANT
    unknown = signed_token("k2")
    with pytest.raises(TokenRefused):
        await authenticator.principal(unknown)


async def test_absent_keys_are_a_passing_failure() -> None:
    authenticator = Authenticator(HttpSettings(jwt_jwks_url="http://127.0.0.1:1/keys"))
    token = signed_token("k1")
    with pytest.raises(KeysUnavailable):
        await authenticator.principal(token)
