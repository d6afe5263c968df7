"""An inquiry as `attain.earnings.v1` publishes it."""

from uuid import UUID

from services.incentives.inquiries.domain import Inquiry
from shared.contracts import earnings as contract


def inquiry_event(tenant_id: UUID, inquiry: Inquiry) -> contract.Inquiry:
    deal, resolution = inquiry.subject.deal, inquiry.resolution
    return contract.Inquiry(
        tenant_id=tenant_id,
        id=inquiry.id,
        version=inquiry.version,
        person_id=inquiry.person_id,
        earning_id=inquiry.subject.earning_id,
        deal_id=None if deal is None else deal.deal_id,
        reason=inquiry.reason.value,
        status=inquiry.status.value,
        assignee_id=inquiry.assignee_id,
        outcome=None if resolution is None else resolution.outcome.value,
        raised_at=inquiry.raised_at,
        due_on=inquiry.due_on,
        overdue_since=inquiry.overdue_since,
    )
