"""A sender of its own making played: canonical deals, signed as Standard Webhooks say, and no API."""

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hmac import digest

from starlette.routing import Route

from tests.played.crms import PlainDeal, PlayedCrm, Webhook


@dataclass
class PlayedStandardWebhooks(PlayedCrm):
    """The sender. A webhook keeps its id and its signature however often it is sent."""

    _told: int = 0

    def connection(self) -> dict[str, object]:
        given = {"secret": self.secret} if self.secret else {}
        return {"source": "standard_webhooks", "name": "Sender", **given}

    def access(self) -> dict[str, object]:
        return {}

    def routes(self) -> list[Route]:
        return []

    def told(self, deal: PlainDeal, before: PlainDeal | None) -> list[Webhook]:
        data: dict[str, object] = {
            "external_id": deal.id,
            "modified_at": deal.modified_at.isoformat(),
            "status": deal.status,
            "owner_external_id": self.user(deal.owner_id),
            "name": deal.name,
            "amount": str(deal.amount),
            "currency": deal.currency,
            "created_at": deal.created_at.isoformat(),
            "closed_on": None if deal.closed_on is None else deal.closed_on.isoformat(),
            "expected_close_on": None if deal.expected_close_on is None else deal.expected_close_on.isoformat(),
        }
        return [self.signed("deal.upserted", data)]

    def told_deleted(self, deal: PlainDeal, at: datetime) -> list[Webhook]:
        return [self.signed("deal.deleted", {"external_id": deal.id, "modified_at": at.isoformat()})]

    def signed(self, what: str, data: Mapping[str, object]) -> Webhook:
        """A webhook about a canonical deal, signed now."""
        self._told += 1
        body = json.dumps({"type": what, "data": data}).encode()
        webhook_id, seconds = f"msg_{self._told}", str(int(time.time()))
        key = b64decode(self.secret.removeprefix("whsec_"))
        signature = b64encode(digest(key, f"{webhook_id}.{seconds}.".encode() + body, "sha256")).decode()
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": seconds,
            "webhook-signature": f"v1,{signature}",
        }
        return Webhook("POST", "", headers, body, frozenset({str(data["external_id"])}))
