"""The audit trail over HTTP, and the reason that a request gives for what it changes."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Final, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from shared.contracts.base import Instant
from shared.contracts.texts import Prose, SearchText
from shared.http.paging import Cursor, Page, PageRequest, Paging
from shared.http.reader import RequestReader
from shared.http.sight import Auditor
from shared.http.wiring import handed
from shared.http.writer import RequestWriter, Writer
from shared.kernel.approvals import Actor, ActorKind
from shared.outbox.trail import Change, ChangeFilter, Trail

REASON_CHARACTERS_MAX: Final = 1000

AuditTrail = Annotated[Trail, Depends(handed(Trail))]

router = APIRouter(prefix="/v1/audit", tags=["audit"])
_CHANGES: Final = Cursor(UUID)


async def audited_writer(
    writer: RequestWriter,
    reason: Annotated[
        Prose | None,
        Query(
            max_length=REASON_CHARACTERS_MAX,
            description="Why this is changed, for the audit trail.",
            examples=["The region was split"],
        ),
    ] = None,
) -> Writer:
    """Dependency behind `AuditedWriter`."""
    return writer if reason is None else writer.because(reason)


AuditedWriter = Annotated[Writer, Depends(audited_writer)]
"""A writer of what is on the audit trail, with the reason the request gives."""


class ChangeKind(StrEnum):
    """What a change did."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"


class ActorAnswer(BaseModel):
    """Who did it."""

    kind: ActorKind = Field(description="`unknown` for what was done before this was recorded.")
    person_id: UUID | None = Field(description="The person, where it was one.")

    @classmethod
    def of(cls, actor: Actor) -> Self:
        return cls(kind=actor.kind, person_id=actor.person_id)


class ChangeAnswer(BaseModel):
    """One change of one thing: who, when, why, before, after."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "01976f0e-8a00-7000-8000-000000000009",
                    "subject": "person/01976f0e-8a00-7000-8000-000000000001",
                    "version": 2,
                    "change": "changed",
                    "changed_at": "2026-03-02T09:30:00Z",
                    "actor": {"kind": "person", "person_id": "01976f0e-8a00-7000-8000-000000000002"},
                    "reason": "Left the company",
                    "changed": ["active"],
                    "before": {"id": "01976f0e-8a00-7000-8000-000000000001", "version": 1, "name": "Ada"},
                    "after": {"id": "01976f0e-8a00-7000-8000-000000000001", "version": 2, "name": "Ada"},
                }
            ]
        }
    )

    id: UUID
    subject: str = Field(description="The kind of the thing, and its id where there are several of the kind.")
    version: int = Field(description="The version of the thing that the change made.")
    change: ChangeKind
    changed_at: Instant
    actor: ActorAnswer
    reason: str | None
    changed: list[str] = Field(description="The members that differ, but for the version; empty for a new thing.")
    before: dict[str, JsonValue] | None = Field(
        description="As it was published; null for a new thing, and where that was before anything was recorded. "
        "Moves, scenarios and goal templates, which are not published, as they are stored."
    )
    after: dict[str, JsonValue] = Field(description="As it was published, or stored, with this change.")

    @classmethod
    def of(cls, change: Change) -> Self:
        before, after = change.before, change.after
        if change.version == 1:
            kind = ChangeKind.CREATED
        else:
            kind = ChangeKind.DELETED if after.get("deleted") else ChangeKind.CHANGED
        return cls(
            id=change.id,
            subject=change.subject,
            version=change.version,
            change=kind,
            changed_at=change.changed_at,
            actor=ActorAnswer.of(change.actor),
            reason=change.reason,
            changed=[] if before is None else _differing(before, after),
            before=None if before is None else dict(before),
            after=dict(after),
        )


@router.get("", summary="What was changed, by whom and why")
async def list_changes(
    caller: Auditor,
    reader: RequestReader,
    trail: AuditTrail,
    paging: Paging,
    subject: Annotated[
        SearchText | None,
        Query(
            description="Only changes of this thing.",
            examples=["goal/01976f0e-8a00-7000-8000-000000000001"],
        ),
    ] = None,
    kind: Annotated[
        SearchText | None,
        Query(description="Only changes of this kind of things: the first part of `subject`."),
    ] = None,
    actor_id: Annotated[UUID | None, Query(description="Only what this person changed.")] = None,
    since: Annotated[Instant | None, Query(description="Only changes from this moment on.")] = None,
    until: Annotated[Instant | None, Query(description="Only changes before this moment.")] = None,
) -> Page[ChangeAnswer]:
    """The newest first. For those who see the whole tenant."""
    wanted = ChangeFilter(subject, kind, actor_id, since, until)
    async with reader.transaction() as tx:
        found = await trail.list_changes(
            tx, caller.tenant_id, wanted, after=after_change(paging), limit=paging.fetch_limit
        )
    return page_of_changes(paging, found)


def after_change(paging: PageRequest) -> UUID | None:
    """The change that a page of them comes after. Raises InvalidCursor."""
    return _CHANGES.after(paging)


def page_of_changes(paging: PageRequest, found: Sequence[Change]) -> Page[ChangeAnswer]:
    """A page of what `Trail.list_changes` found."""
    return _CHANGES.page(paging, found, key=lambda change: change.id, item=ChangeAnswer.of)


def _differing(before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> list[str]:
    names = before.keys() | after.keys()
    return sorted(name for name in names - {"version"} if before.get(name) != after.get(name))
