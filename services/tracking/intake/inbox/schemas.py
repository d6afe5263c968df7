"""Deliveries on the wire."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, StringConstraints

from services.tracking.intake.connections.schemas import MappingModel
from services.tracking.intake.inbox.domain.deliveries import (
    NOT_COUNTED,
    Delivery,
    DeliveryState,
    Origin,
    Problem,
)
from services.tracking.intake.inbox.service import RecordDelivery
from services.tracking.intake.inbox.store import Chosen
from services.tracking.intake.inbox.translation import Translation
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import QuarantineReason, RemarkKind, Source
from shared.contracts.texts import Prose
from shared.http.schemas import body_example, example

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
        "problems": [],
    },
    "not_counted": None,
    "remarks": [],
    "replay_of": None,
    "origin": "webhook",
    "caused_by": None,
    "discard": None,
}
_DISCARD_ID: Final = "01935a00-0000-7000-8000-000000000052"
_CONNECTION_ID: Final = "01935a00-0000-7000-8000-000000000041"
_WHY: Final = "Test messages of the CRM's setup page, which name no deal."
_IDS_MAX: Final = 1000


class ProblemAnswer(BaseModel):
    """Why a record of a delivery could not be translated."""

    reason: str
    pointer: str = Field(description="JSON pointer into the body.")
    detail: str


class QuarantineAnswer(ProblemAnswer):
    """Why a delivery could not be translated: the first reason, and each where there are several records in it."""

    problems: list[ProblemAnswer] = Field(
        default=[],
        description="Each record that could not be translated, the first hundred, where the delivery has several: the"
        " others were translated.",
    )

    @classmethod
    def from_problems(cls, problems: Sequence[Problem]) -> Self | None:
        """None where there are none."""
        if not problems:
            return None
        members = {**asdict(problems[0]), "problems": problems if len(problems) > 1 else []}
        return cls.model_validate(members, from_attributes=True)


class RemarkAnswer(BaseModel):
    """Something of a delivery that was translated all the same."""

    kind: RemarkKind
    pointer: str = Field(description="JSON pointer into the body.")
    detail: str


class DiscardAnswer(BaseModel):
    """That a delivery was discarded, by whom and why, and whether it was restored since."""

    id: UUID = Field(description="Of the call that discarded it, which may have discarded others with it.")
    reason: str
    discarded_at: datetime
    discarded_by: UUID | None = Field(description="The person; null for a service.")
    restored_at: datetime | None
    restored_by: UUID | None


class DeliveryAnswer(BaseModel):
    """A delivery and what became of it."""

    model_config = example(**_DELIVERY)

    id: UUID
    connection_id: UUID
    state: DeliveryState
    received_at: datetime
    processed_at: datetime | None
    deals: int | None = Field(description="How many deal events it was translated to.")
    not_counted: str | None = Field(
        description="What the delivery is about where that is no record here, such as `Account`; else null."
    )
    quarantine: QuarantineAnswer | None
    remarks: list[RemarkAnswer] = Field(
        description="What to know of what was translated, such as members nobody reads."
    )
    replay_of: UUID | None = Field(description="The delivery this is a copy of, made to translate it once more.")
    origin: Origin = Field(description="Whether the source sent it or it was fetched, and why.")
    caused_by: UUID | None = Field(description="The delivery that named what was fetched with this one.")
    discard: DiscardAnswer | None = Field(description="The last time that it was discarded, if it ever was.")

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> Self:
        return cls.model_validate(_members(delivery), from_attributes=True)


class RecordDeliveryAnswer(BaseModel):
    """What of a delivery is of one record: its members in the source's own names, and nothing of other records."""

    model_config = example(
        delivery_id="01935a00-0000-7000-8000-000000000051",
        connection_id="01935a00-0000-7000-8000-000000000041",
        source="standard_webhooks",
        origin="webhook",
        received_at="2026-03-31T18:40:03.12Z",
        body_kept=True,
        members={"type": "deal.upserted", "data": {"external_id": "746", "stage": "5"}},
    )

    delivery_id: UUID
    connection_id: UUID
    source: Source
    origin: Origin = Field(description="Whether the source sent it or it was fetched, and why.")
    received_at: datetime
    body_kept: bool = Field(description="Whether the body is within its time of retention.")
    members: JsonValue = Field(
        description="The body without what it states of other records, numbers as doubles. Null where the body is no "
        "longer stored, and where what is of the record cannot be separated from the rest."
    )

    @classmethod
    def of(cls, shown: RecordDelivery) -> Self:
        return cls(
            delivery_id=shown.delivery.id,
            connection_id=shown.delivery.connection_id,
            source=shown.source,
            origin=shown.delivery.origin,
            received_at=shown.delivery.received_at,
            body_kept=shown.is_body_kept,
            members=shown.members,
        )


class DeliveryDetail(DeliveryAnswer):
    """A delivery as it was sent. Headers and body are empty once its time of retention is over."""

    model_config = example(
        **_DELIVERY,
        headers={"content-type": "application/json", "webhook-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"},
        body='{"type": "deal.upserted", "data": {"external_id": "746", "stage": "5"}}',
    )

    headers: dict[str, str]
    body: str | None = Field(description="The raw body, as UTF-8; bytes that are none are replaced.")

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> Self:
        body = None if delivery.body is None else delivery.body.decode("utf-8", "replace")
        return cls.model_validate({**_members(delivery), "body": body}, from_attributes=True)


class ReplayQuarantined(BaseModel):
    """Whose quarantined deliveries to translate again."""

    model_config = body_example(connection_id="01935a00-0000-7000-8000-000000000041")

    connection_id: UUID


class ReplayedAnswer(BaseModel):
    """How many deliveries wait to be translated again."""

    model_config = example(deliveries=3)

    deliveries: int


DiscardReason = Annotated[Prose, StringConstraints(max_length=500)]


class DiscardBody(BaseModel):
    """Why a delivery will never be of use."""

    model_config = body_example(reason=_WHY)

    reason: DiscardReason


class DiscardMany(DiscardBody):
    """Which quarantined deliveries of a connection to discard; all of them when neither reasons nor ids are given."""

    model_config = body_example(connection_id=_CONNECTION_ID, quarantined_for=["unknown_type"], reason=_WHY)

    connection_id: UUID
    quarantined_for: Annotated[list[QuarantineReason], Field(min_length=1)] | None = Field(
        None, description="Only those that are in quarantine for one of these reasons."
    )
    delivery_ids: Annotated[list[UUID], Field(min_length=1, max_length=_IDS_MAX)] | None = Field(
        None, description="Only those of these that are in quarantine."
    )

    def chosen(self) -> Chosen:
        """The value the statements use."""
        return Chosen(self.connection_id, self.quarantined_for, self.delivery_ids)


class DiscardedAnswer(BaseModel):
    """What was discarded."""

    model_config = example(discard_id=_DISCARD_ID, deliveries=12, left=0)

    discard_id: UUID = Field(description="What all of them can be restored by.")
    deliveries: int
    left: int = Field(description="How many more there are; one call discards 10,000 at most, the oldest first.")


class RestoreDiscarded(BaseModel):
    """Which discard to take back."""

    model_config = body_example(discard_id=_DISCARD_ID)

    discard_id: UUID


class RestoredAnswer(BaseModel):
    """How many deliveries are in quarantine again."""

    model_config = example(deliveries=12)

    deliveries: int


class PreviewBody(BaseModel):
    """The mapping to try; the connection's own when left out."""

    model_config = body_example(mapping={"stages": {"5": "won"}})

    mapping: MappingModel | None = None


class PreviewAnswer(BaseModel):
    """What a delivery would be translated to, or why it could not be."""

    model_config = example(deals=[], activities=[], quarantine=_DELIVERY["quarantine"])

    deals: list[CanonicalDeal]
    activities: list[CanonicalActivity]
    quarantine: QuarantineAnswer | None

    @classmethod
    def from_translation(cls, translation: Translation) -> Self:
        problems = [Problem.of(each) for each in translation.problems]
        return cls(
            deals=translation.deals,
            activities=translation.activities,
            quarantine=QuarantineAnswer.from_problems(problems),
        )


def _members(delivery: Delivery) -> dict[str, object]:
    quarantine = None
    if delivery.state in (DeliveryState.QUARANTINED, DeliveryState.DISCARDED):
        quarantine = {
            "reason": delivery.reason or "",
            "pointer": delivery.pointer or "",
            "detail": delivery.detail or "",
            "problems": delivery.problems or [],
        }
    return {
        **asdict(delivery),
        "not_counted": delivery.detail if delivery.reason == NOT_COUNTED else None,
        "quarantine": quarantine,
        "remarks": delivery.remarks or [],
    }
