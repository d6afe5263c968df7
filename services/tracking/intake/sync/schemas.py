"""Access to sources' APIs, reconciliations and backfills on the wire."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue

from services.tracking.intake.calling.domain import CallState, CircuitState
from services.tracking.intake.connections.domain import Connection
from services.tracking.intake.inbox.domain.backlog import Backlog
from services.tracking.intake.inbox.fetch_store import Queued
from services.tracking.intake.sources.domain import Source
from services.tracking.intake.sources.fxiaoke.api import FxiaokeCredentials
from services.tracking.intake.sources.hubspot.api import HubspotCredentials
from services.tracking.intake.sources.pipedrive.api import PipedriveCredentials
from services.tracking.intake.sources.salesforce.api import SalesforceCredentials
from services.tracking.intake.sources.zoho.api import ZohoCredentials
from services.tracking.intake.sync.domain import EVERY_MINUTES_MAX, ChannelState, Phase, Reconciliation, Run, RunState
from shared.http.schemas import body_example, example

AnyCredentials = Annotated[
    ZohoCredentials | FxiaokeCredentials | SalesforceCredentials | HubspotCredentials | PipedriveCredentials,
    Field(discriminator="source"),
]
"""What access to an API takes, by its source."""

CREDENTIALS_EXAMPLE: Final[dict[str, JsonValue]] = {
    "source": "hubspot",
    "api_url": "https://api.hubapi.com",
    "access_token": "pat-eu1-00000000-0000-0000-0000-000000000000",
}

_CIRCUIT_EXAMPLE: Final[dict[str, JsonValue]] = {
    "state": "open",
    "since": "2026-03-31T18:40:02Z",
    "until": "2026-03-31T18:41:22Z",
    "error": "api.hubapi.com did not answer in time",
    "error_at": "2026-03-31T18:40:42Z",
    "what_to_do": "Nothing, if the source is having an outage: it is tried again by itself.",
}
_ACCESS_EXAMPLE: Final[dict[str, JsonValue]] = {
    "version": 4,
    "connection_id": "01935a00-0000-7000-8000-000000000041",
    "source": "hubspot",
    "has_api_access": True,
    "addresses": {"api_url": "https://api.hubapi.com"},
    "circuit": _CIRCUIT_EXAMPLE,
    "credits_remaining": 248120,
    "waiting_records": 3,
    "waiting_since": "2026-03-31T18:40:02Z",
    "channel": None,
}
_RUN_EXAMPLE: Final[dict[str, JsonValue]] = {
    "version": 1,
    "id": "01935a00-0000-7000-8000-000000000061",
    "connection_id": "01935a00-0000-7000-8000-000000000041",
    "state": "running",
    "phase": "changed",
    "since": "2026-03-31T18:15:00Z",
    "seen": 12,
    "missed": 1,
    "missed_new": 0,
    "missed_changed": 1,
    "missed_deleted": 0,
    "unreadable": 0,
    "calls": 3,
    "duration_seconds": 2,
    "error": None,
    "next_try_at": None,
    "requested_at": "2026-03-31T18:40:02Z",
    "started_at": "2026-03-31T18:40:02Z",
    "ended_at": None,
}
_BACKFILL_EXAMPLE: Final[dict[str, JsonValue]] = {
    **_RUN_EXAMPLE,
    "since": None,
    "seen": 25000,
    "missed": 24990,
    "missed_new": 24990,
    "missed_changed": 0,
    "calls": 126,
    "duration_seconds": 250,
    "total": 100000,
    "percent": 25,
    "records_per_hour": 360000,
    "seconds_left": 750,
}


class CircuitAnswer(BaseModel):
    """Whether the source is called."""

    model_config = example(**_CIRCUIT_EXAMPLE)

    state: CircuitState = Field(description="`open`: it is not called before `until`.")
    since: datetime | None
    until: datetime | None
    error: str | None = Field(description="What went wrong last, in the source's words where it had any.")
    error_at: datetime | None
    what_to_do: str | None


class ChannelAnswer(BaseModel):
    """The subscription to the source's notifications, where the source lets it expire."""

    id: str
    expires_at: datetime | None = Field(description="Null while it is not open.")
    renewed_at: datetime | None = Field(description="When it was opened or renewed last; null before that.")
    renews_at: datetime = Field(description="When it is renewed next, or tried again.")
    error: str | None

    @classmethod
    def from_channel(cls, channel: ChannelState) -> Self:
        return cls(
            id=channel.channel_id,
            expires_at=channel.expires_at,
            renewed_at=channel.opened_at,
            renews_at=channel.due_at,
            error=channel.error,
        )


class ApiAccessAnswer(BaseModel):
    """Whether and how the source's API is called. The credentials are never shown."""

    model_config = example(**_ACCESS_EXAMPLE)

    version: int = Field(description="That of the connection.")
    connection_id: UUID
    source: Source
    has_api_access: bool
    addresses: dict[str, str] = Field(description="Which addresses the access is for.")
    circuit: CircuitAnswer
    credits_remaining: int | None = Field(description="How many calls are left, where the source states it.")
    waiting_records: int = Field(description="Records still to be fetched.")
    waiting_since: datetime | None
    channel: ChannelAnswer | None

    @classmethod
    def from_parts(
        cls,
        connection: Connection,
        *,
        addresses: dict[str, str],
        calls: CallState,
        backlog: Backlog,
        channel: ChannelState | None,
    ) -> Self:
        return cls(
            version=connection.version,
            connection_id=connection.id,
            source=connection.source,
            has_api_access=connection.has_api_access,
            addresses=addresses,
            circuit=CircuitAnswer.model_validate(calls.circuit, from_attributes=True),
            credits_remaining=calls.credits_remaining,
            waiting_records=backlog.count,
            waiting_since=backlog.oldest_at,
            channel=None if channel is None else ChannelAnswer.from_channel(channel),
        )


class ApiCheckAnswer(BaseModel):
    """Whether the access works."""

    model_config = example(
        works=False, detail="invalid_client", what_to_do="Check that the credentials are right and may read deals."
    )

    works: bool
    detail: str = Field(description="The source's message.")
    what_to_do: str | None


class QueuedAnswer(BaseModel):
    """A record that is still to be fetched."""

    model_config = example(
        object_name="deals",
        external_id="1246965",
        delivery_id="01935a00-0000-7000-8000-000000000051",
        asked_at="2026-03-31T18:40:02Z",
        due_at="2026-04-01T18:40:03Z",
        attempts=1,
        error="This app does not have the scope crm.objects.deals.read.",
    )

    object_name: str
    external_id: str
    delivery_id: UUID = Field(description="The delivery that named it last.")
    asked_at: datetime
    due_at: datetime = Field(description="When it is tried next.")
    attempts: int
    error: str | None = Field(description="Why it could not be fetched so far.")

    @classmethod
    def from_queued(cls, queued: Queued) -> Self:
        return cls.model_validate(queued, from_attributes=True)


class ReconciliationSettings(BaseModel):
    """How often a connection is reconciled."""

    model_config = body_example(every_minutes=15)

    every_minutes: int = Field(ge=0, le=EVERY_MINUTES_MAX, description="0: only on demand.")


class ReconciliationAnswer(BaseModel):
    """How a connection is reconciled."""

    model_config = example(
        version=1, every_minutes=15, next_at="2026-03-31T18:55:00Z", complete_until="2026-03-31T18:40:02Z"
    )

    version: int
    every_minutes: int
    next_at: datetime | None
    complete_until: datetime | None = Field(description="Everything modified before has been fetched.")

    @classmethod
    def from_reconciliation(cls, reconciliation: Reconciliation) -> Self:
        return cls(
            version=reconciliation.version,
            every_minutes=reconciliation.every_minutes,
            next_at=reconciliation.due_at,
            complete_until=reconciliation.mark,
        )


class RunAnswer(BaseModel):
    """A walk through what changed at the source."""

    model_config = example(**_RUN_EXAMPLE)

    version: int
    id: UUID
    connection_id: UUID
    state: RunState
    phase: Phase = Field(description="What it fetches, or fetched last.")
    since: datetime | None = Field(description="Everything modified or deleted from then on; null for everything.")
    seen: int = Field(description="Records and deletions the source gave.")
    missed: int = Field(description="Of these, those that were not stored as the source has them.")
    missed_new: int
    missed_changed: int
    missed_deleted: int
    unreadable: int = Field(description="Records that cannot be translated: see the deliveries in quarantine.")
    calls: int
    duration_seconds: int = Field(description="How long it was worked at.")
    error: str | None
    next_try_at: datetime | None = Field(description="When it is gone on with, after an error.")
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def from_run(cls, run: Run) -> Self:
        return cls.model_validate(
            {
                **asdict(run),
                "missed": run.missed,
                "missed_new": run.new,
                "missed_changed": run.changed,
                "missed_deleted": run.deleted,
                "duration_seconds": run.worked_ms // 1000,
                "next_try_at": run.due_at if run.state is RunState.RUNNING and run.error is not None else None,
                "percent": run.percent,
                "records_per_hour": run.records_per_hour,
                "seconds_left": run.seconds_left,
            }
        )


class BackfillAnswer(RunAnswer):
    """A walk through a source's whole history."""

    model_config = example(**_BACKFILL_EXAMPLE)

    total: int | None = Field(description="About how many records there are, where the source states it.")
    percent: int | None
    records_per_hour: int | None = Field(description="While it is worked at.")
    seconds_left: int | None = Field(description="At the rate so far.")
