"""A CRM's end of the line: webhooks signed by Standard Webhooks, or sent as Pipedrive does, over HTTP."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from standardwebhooks import Webhook

from deploy.local.errors import StackError

_CONNECTIONS_MAX = 16
_TIMEOUT_SECONDS = 30.0
_RETRY_SECONDS = 0.5
_RETRY_SECONDS_MAX = 90.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook to send: `id` is what a receiver recognises a repetition by."""

    id: str
    type: str
    data: Mapping[str, object]


def _ignore(_status: int) -> None:
    """The default of `sent`."""


class WebhookSender:
    """Sends signed deliveries to one hook, again while the receiver is away, as a CRM would."""

    def __init__(self, client: httpx.AsyncClient, hook_url: str, secret: str) -> None:
        self._client = client
        self._hook_url = hook_url
        self._signer = Webhook(secret)

    def sign(self, webhook_id: str, body: str, at: datetime) -> dict[str, str]:
        """The three headers of a signed delivery."""
        return {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": self._signer.sign(webhook_id, at, body),
        }

    async def send(self, delivery: Delivery) -> int:
        """The status of the answer. A receiver that is away is tried again for up to 90 s, then `StackError`."""
        body = json.dumps({"type": delivery.type, "data": delivery.data}, ensure_ascii=False)
        return await self.send_body(delivery.id, body)

    async def send_body(self, webhook_id: str, body: str) -> int:
        """Send a body as it is; as `send` otherwise."""
        return await _post(self._client, self._hook_url, body, lambda: self.sign(webhook_id, body, datetime.now(UTC)))

    async def send_all(
        self,
        deliveries: Iterable[Delivery],
        *,
        per_second_max: float | None = None,
        sent: Callable[[int], None] = _ignore,
    ) -> None:
        """Send in order of start, up to 16 at once, at most `per_second_max` a second; call `sent` with each status.

        Raises `StackError` at the first delivery that is refused or cannot be sent.
        """
        waiting = iter(deliveries)
        started_at = time.monotonic()
        count = 0

        async def work() -> None:
            nonlocal count
            for delivery in waiting:
                count += 1
                if per_second_max is not None:
                    await asyncio.sleep(max(0.0, started_at + count / per_second_max - time.monotonic()))
                status = await self.send(delivery)
                if status >= 400:
                    raise StackError(f"{self._hook_url} refused delivery {delivery.id} with status {status}.")
                sent(status)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_CONNECTIONS_MAX):
                    group.create_task(work())
        except* StackError as errors:
            raise errors.exceptions[0] from None


class PipedriveSender:
    """Sends deliveries as Pipedrive does: the body as it is, behind HTTP Basic with `user:password`."""

    def __init__(self, client: httpx.AsyncClient, hook_url: str, secret: str) -> None:
        self._client = client
        self._hook_url = hook_url
        self._headers = {
            "content-type": "application/json",
            "user-agent": "Pipedrive Webhooks",
            "authorization": f"Basic {b64encode(secret.encode()).decode()}",
        }

    async def send_body(self, body: str) -> int:
        """The status of the answer. A receiver that is away is tried again for up to 90 s, then `StackError`."""
        return await _post(self._client, self._hook_url, body, lambda: self._headers)


async def _post(client: httpx.AsyncClient, hook_url: str, body: str, headers: Callable[[], Mapping[str, str]]) -> int:
    give_up_at = time.monotonic() + _RETRY_SECONDS_MAX
    while True:
        try:
            response = await client.post(hook_url, content=body.encode(), headers=headers())
            if response.status_code < 500:
                return response.status_code
            problem = f"answers {response.status_code}"
        except httpx.TransportError as error:
            problem = f"cannot be reached ({type(error).__name__})"
        if time.monotonic() > give_up_at:
            raise StackError(f"{hook_url} {problem} for {_RETRY_SECONDS_MAX:.0f} s; gave up.")
        await asyncio.sleep(_RETRY_SECONDS)


@asynccontextmanager
async def webhook_sender(hook_url: str, secret: str) -> AsyncIterator[WebhookSender]:
    """A sender with its own connections, closed at the end."""
    limits = httpx.Limits(max_connections=_CONNECTIONS_MAX)
    async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, limits=limits, trust_env=False) as client:
        yield WebhookSender(client, hook_url, secret)
