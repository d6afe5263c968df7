"""When an inquiry is overdue, and what puts that off."""

from datetime import UTC, date, datetime
from uuid import UUID

from services.incentives.inquiries.domain import Inquiry, InquiryReason, Subject, reported_overdue, rescheduled
from shared.kernel.approvals import SERVICE

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ASKED = Inquiry(
    UUID(int=1), 1, UUID(int=2), Subject(UUID(int=3), None), next(iter(InquiryReason)), SERVICE, NOW, date(2026, 6, 8)
)


def test_an_inquiry_is_in_time_on_the_day_it_is_due_and_overdue_the_day_after() -> None:
    assert [ASKED.is_overdue(day) for day in (date(2026, 6, 8), date(2026, 6, 9))] == [False, True]


def test_an_inquiry_that_was_reported_overdue_and_put_off_is_reported_again_when_that_day_is_over() -> None:
    reported = reported_overdue(ASKED, NOW)
    assert reported.overdue_since == NOW
    put_off = rescheduled(reported, date(2026, 6, 20), date(2026, 6, 9))
    assert (put_off.overdue_since, put_off.due_on, put_off.version) == (None, date(2026, 6, 20), 3)
