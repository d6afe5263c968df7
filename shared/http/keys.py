"""The signing keys of an identity provider (JWKS), cached so that its outage is not ours.

A key that is known serves at once, whatever the provider does: the set is fetched again behind it every five minutes,
by one fetch at a time. While the provider cannot be reached the keys of the last set go on serving, for a bounded time:
until then a key that was withdrawn meanwhile is still accepted. A key that is not known makes at most one fetch in half
a minute, however many tokens name it.
"""

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

import anyio.to_thread
from jwt import PyJWK, PyJWKClient

from shared.kernel.errors import Unavailable
from shared.telemetry.logs import get_logger

REFRESH_SECONDS: Final = 300.0
UNKNOWN_KEY_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 5.0
_FETCH_SECONDS_MAX: Final = 5.0

_log = get_logger(__name__)


class KeysUnavailable(Unavailable):
    """The signing keys could not be fetched."""

    code = "keys_unavailable"


class SigningKeys:
    """The keys at a URL, by their `kid`."""

    def __init__(self, url: str, *, stale_seconds_max: float, clock: Callable[[], float] = monotonic) -> None:
        """`stale_seconds_max`: how long after the last successful fetch its keys serve."""
        self._client = PyJWKClient(url, cache_jwk_set=False, timeout=_FETCH_SECONDS_MAX)
        self._stale_seconds_max = stale_seconds_max
        self._clock = clock
        self._keys: Mapping[str, PyJWK] = {}
        self._fetched_at: float | None = None
        self._attempted_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: str | None) -> PyJWK | None:
        """The key of that id; None when the provider has no such key. Raises KeysUnavailable."""
        known = self._known(kid)
        if known is not None:
            if self._age > REFRESH_SECONDS and self._may_fetch(UNKNOWN_KEY_SECONDS):
                self._fetch()
            return known
        usable = self._age <= self._stale_seconds_max
        if self._fetching is None and self._may_fetch(UNKNOWN_KEY_SECONDS if usable else RETRY_SECONDS):
            self._fetch()
        if self._fetching is not None:
            # Whoever leaves meanwhile takes only itself away.
            await asyncio.shield(self._fetching)
        if self._age > self._stale_seconds_max:
            raise KeysUnavailable("The signing keys could not be fetched.", retry_after_seconds=int(RETRY_SECONDS))
        return self._known(kid)

    @property
    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _known(self, kid: str | None) -> PyJWK | None:
        return self._keys.get(kid) if kid is not None and self._age <= self._stale_seconds_max else None

    def _may_fetch(self, pause_seconds: float) -> bool:
        return self._fetching is None and self._clock() - self._attempted_at >= pause_seconds

    def _fetch(self) -> None:
        self._attempted_at = self._clock()
        self._fetching = asyncio.create_task(self._fetched(), name="signing keys")

    async def _fetched(self) -> None:
        try:
            keys = await anyio.to_thread.run_sync(self._client.get_signing_keys)
        except Exception as error:
            _log.warning("signing_keys_not_fetched", error=str(error), age_seconds=round(min(self._age, 1e9)))
        else:
            self._keys = {key.key_id: key for key in keys if key.key_id is not None}
            self._fetched_at = self._clock()
        finally:
            self._fetching = None
