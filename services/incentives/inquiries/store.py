"""Every statement on inquiries and their threads."""

from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, insert, select, text, true

from services.incentives.inquiries.domain import (
    ENDED,
    DealInQuestion,
    Entry,
    Inquiry,
    InquiryEntryKind,
    InquiryNotFound,
    InquiryOutcome,
    InquiryReason,
    InquiryStatus,
    Resolution,
    Subject,
)
from services.incentives.inquiries.tables import inquiries, inquiry_entries
from shared.db.conditions import among, equal
from shared.db.database import Transaction
from shared.db.versioned import VersionedTable
from shared.kernel.approvals import Actor, ActorKind
from shared.kernel.sight import Sight

# By tenant, as each tenant has days of its own.
_NEXT_DUE: Final = text(
    f"""
    SELECT tenant_id, min(due_on) AS due_on FROM {inquiries.fullname}
    WHERE status IN ('open', 'in_progress') AND overdue_since IS NULL
    GROUP BY tenant_id ORDER BY tenant_id
    """
)


async def list_inquiries(
    tx: Transaction,
    tenant_id: UUID,
    sight: Sight,
    *,
    person_id: UUID | None,
    status: InquiryStatus | None,
    assignee_id: UUID | None,
    earning_id: UUID | None,
    due_before: date | None,
    after: UUID | None,
    limit: int,
) -> list[Inquiry]:
    """Those about the pay of people in sight, the oldest first; `due_before` are those that should have ended."""
    columns = inquiries.c
    overdue = true() if due_before is None else (columns.due_on < due_before) & columns.status.not_in(ENDED)
    return await INQUIRIES.page(
        tx,
        tenant_id,
        after,
        limit,
        among(columns.person_id, sight.narrowed(person_id)),
        equal(columns.status, status),
        equal(columns.assignee_id, assignee_id),
        equal(columns.earning_id, earning_id),
        overdue,
    )


async def add_entry(tx: Transaction, tenant_id: UUID, entry: Entry) -> Entry:
    await tx.execute(
        insert(inquiry_entries).values(
            tenant_id=tenant_id,
            id=entry.id,
            inquiry_id=entry.inquiry_id,
            kind=entry.kind.value,
            actor_kind=entry.actor.kind.value,
            actor_id=entry.actor.person_id,
            at=entry.at,
            text=entry.text,
            before=entry.before,
            after=entry.after,
        )
    )
    return entry


async def list_entries(
    tx: Transaction, tenant_id: UUID, inquiry_id: UUID, *, after: UUID | None, limit: int
) -> list[Entry]:
    """The oldest first."""
    columns = inquiry_entries.c
    statement = (
        select(inquiry_entries)
        .where(
            columns.tenant_id == tenant_id,
            columns.inquiry_id == inquiry_id,
            true() if after is None else columns.id > after,
        )
        .order_by(columns.id)
        .limit(limit)
    )
    return [
        Entry(
            row["id"],
            row["inquiry_id"],
            InquiryEntryKind(row["kind"]),
            Actor(ActorKind(row["actor_kind"]), row["actor_id"]),
            row["at"],
            row["text"],
            row["before"],
            row["after"],
        )
        for row in await tx.rows(statement)
    ]


async def next_due(tx: Transaction) -> list[tuple[UUID, date]]:
    """The day the next inquiry is due that is open and not yet reported as overdue, of every tenant in scope."""
    return [(row["tenant_id"], row["due_on"]) for row in await tx.rows(_NEXT_DUE)]


async def overdue(tx: Transaction, tenant_id: UUID, today: date, limit: int) -> list[Inquiry]:
    """Some of those that are overdue and not reported as such, locked."""
    columns = inquiries.c
    statement = (
        select(columns.id)
        .where(
            columns.tenant_id == tenant_id,
            columns.due_on < today,
            columns.status.in_(("open", "in_progress")),
            columns.overdue_since.is_(None),
        )
        .order_by(columns.id)
        .limit(limit)
    )
    found = [row["id"] for row in await tx.rows(statement)]
    locked = await INQUIRIES.locked_many(tx, tenant_id, found)
    return [each for each in locked.values() if each.is_overdue(today) and each.overdue_since is None]


def _inquiry(row: RowMapping) -> Inquiry:
    deal = None
    if row["deal_id"] is not None or row["external_id"] is not None:
        deal = DealInQuestion(row["deal_id"], row["source"], row["external_id"])
    resolution = None
    if row["outcome"] is not None:
        resolution = Resolution(InquiryOutcome(row["outcome"]), row["resolution"], row["adjustment_id"])
    return Inquiry(
        id=row["id"],
        version=row["version"],
        person_id=row["person_id"],
        subject=Subject(row["earning_id"], deal),
        reason=InquiryReason(row["reason"]),
        author=Actor(ActorKind(row["author_kind"]), row["author_id"]),
        raised_at=row["raised_at"],
        due_on=row["due_on"],
        status=InquiryStatus(row["status"]),
        assignee_id=row["assignee_id"],
        resolution=resolution,
        overdue_since=row["overdue_since"],
    )


def _values(inquiry: Inquiry) -> dict[str, object]:
    deal, resolution = inquiry.subject.deal, inquiry.resolution
    return {
        "id": inquiry.id,
        "version": inquiry.version,
        "person_id": inquiry.person_id,
        "earning_id": inquiry.subject.earning_id,
        "deal_id": None if deal is None else deal.deal_id,
        "source": None if deal is None else deal.source,
        "external_id": None if deal is None else deal.external_id,
        "reason": inquiry.reason.value,
        "author_kind": inquiry.author.kind.value,
        "author_id": inquiry.author.person_id,
        "raised_at": inquiry.raised_at,
        "due_on": inquiry.due_on,
        "status": inquiry.status.value,
        "assignee_id": inquiry.assignee_id,
        "outcome": None if resolution is None else resolution.outcome.value,
        "resolution": None if resolution is None else resolution.text,
        "adjustment_id": None if resolution is None else resolution.adjustment_id,
        "overdue_since": inquiry.overdue_since,
    }


INQUIRIES: Final = VersionedTable("inquiry", inquiries, _inquiry, _values, InquiryNotFound)
