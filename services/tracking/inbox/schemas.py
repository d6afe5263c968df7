"""Deliveries on the wire."""

from datetime import datetime
from typing import Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.tracking.crm.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.crm.domain import Untranslatable
from services.tracking.crm.schemas import MappingModel
from services.tracking.inbox.domain import Delivery, DeliveryState, Origin

_DELIVERY: Final[dict[str, JsonValue]] = {
    "id": "01935a00-0000-7000-8000-000000000051",
    "connection_id": "01935a00-0000-7000-8000-000000000041",
    "state": "quarantined",
    "received_at": "2026-03-31T18:40:03.12Z",
    "processed_at": "2026-03-31T18:40:03.2Z",
    "deals": None,
    "quarantine": {
        "reason": "stage_unmapped",
        "pointer": "/data/stage",
        "detail": "the deal has no status and the connection does not map its stage to one",
    },
    "replay_of": None,
    "origin": "webhook",
    "caused_by": None,
}


class QuarantineOut(BaseModel):
    """Why a delivery could not be translated."""

    reason: str
    pointer: str = Field(description="JSON pointer into the body.")
    detail: str

    @classmethod
    def from_error(cls, error: Untranslatable) -> Self:
        return cls(reason=error.reason.value, pointer=error.pointer, detail=error.detail)


class DeliveryOut(BaseModel):
    """A delivery and what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DELIVERY]})

    id: UUID
    connection_id: UUID
    state: DeliveryState
    received_at: datetime
    processed_at: datetime | None
    deals: int | None = Field(description="How many deal events it was translated to.")
    quarantine: QuarantineOut | None
    replay_of: UUID | None = Field(description="The delivery this is a copy of, made to translate it once more.")
    origin: Origin = Field(description="Whether the source sent it, or was asked for it, and why.")
    caused_by: UUID | None = Field(description="The delivery that named what this one was asked for.")

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> Self:
        return cls(**_members(delivery))


class DeliveryDetail(DeliveryOut):
    """A delivery as it was sent. Headers and body are empty once its time of retention is over."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_DELIVERY,
                    "headers": {"content-type": "application/json", "webhook-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"},
                    "body": '{"type": "deal.upserted", "data": {"external_id": "746", "stage": "5"}}',
                }
            ]
        }
    )

    headers: dict[str, str]
    body: str | None = Field(description="The raw body, as UTF-8; bytes that are none are replaced.")

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> Self:
        body = None if delivery.body is None else delivery.body.decode("utf-8", "replace")
        return cls(**_members(delivery), headers=delivery.headers, body=body)


class ReplayQuarantined(BaseModel):
    """Whose quarantined deliveries to translate again."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"connection_id": "01935a00-0000-7000-8000-000000000041"}]}
    )

    connection_id: UUID


class ReplayedOut(BaseModel):
    """How many deliveries wait to be translated again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"deliveries": 3}]})

    deliveries: int


class PreviewRequest(BaseModel):
    """The mapping to try; the connection's own when left out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"mapping": {"stages": {"5": "won"}}}]})

    mapping: MappingModel | None = None


class PreviewOut(BaseModel):
    """What a delivery would be translated to, or why it could not be."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"deals": [], "activities": [], "quarantine": _DELIVERY["quarantine"]}]}
    )

    deals: list[CanonicalDeal]
    activities: list[CanonicalActivity]
    quarantine: QuarantineOut | None


def _members(delivery: Delivery) -> dict[str, object]:
    quarantine = None
    if delivery.state is DeliveryState.QUARANTINED:
        quarantine = QuarantineOut(
            reason=delivery.reason or "", pointer=delivery.pointer or "", detail=delivery.detail or ""
        )
    return {
        "id": delivery.id,
        "connection_id": delivery.connection_id,
        "state": delivery.state,
        "received_at": delivery.received_at,
        "processed_at": delivery.processed_at,
        "deals": delivery.deals,
        "quarantine": quarantine,
        "replay_of": delivery.replay_of,
        "origin": delivery.origin,
        "caused_by": delivery.caused_by,
    }
