"""Acceptances: that a person it pays has accepted a version of a plan, and when. Nothing of that ever changes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.versions import PlanVersion, VersionStatus
from shared.kernel.errors import Conflict
from shared.kernel.language import Language
from shared.kernel.periods import DatedRange


class PlanVersionNotActive(Conflict):
    """Only a version that is in effect is accepted: another one may still change, or never pay."""

    code = "plan_version_not_active"
    title = "Plan version is not in effect"


class NotPaidByPlanVersion(Conflict):
    """Whoever accepts terms does so for themselves, and is paid by them on some day."""

    code = "not_paid_by_plan_version"
    title = "Not paid by the plan version"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who accepted which version, when, in which language it was read, and the digest of the terms on the document."""

    person_id: UUID
    accepted_at: datetime
    language: Language
    terms_digest: str
    personal_digest: str | None = None
    """That of the person's own quotas, target variable and days at that moment; None where it was not kept yet."""


def paid_by(version: PlanVersion, until: date | None, assignments: Iterable[Assignment]) -> set[UUID]:
    """Who is on the version's plan on a day on which it is in force; nobody where another replaced it before it began.

    `until` is the first day on which it is not in force any more.
    """
    return {each.person_id for each in paying(version, until, assignments)}


def paying(version: PlanVersion, until: date | None, assignments: Iterable[Assignment]) -> list[Assignment]:
    """The assignments that the version pays on some day, by their first day; none as `paid_by` has it."""
    if until is not None and until <= version.effective_from:
        return []
    days = DatedRange(version.effective_from, until)
    found = [
        each
        for each in assignments
        if each.plan_id == version.plan_id and not each.deleted and each.range.intersection(days) is not None
    ]
    return sorted(found, key=lambda each: (each.range.start, each.id))


def check_accepted_by(version: PlanVersion, person_id: UUID | None, paid: set[UUID]) -> UUID:
    """The person, who may accept the version. Raises PlanVersionNotActive, NotPaidByPlanVersion."""
    if version.status is not VersionStatus.ACTIVE:
        raise PlanVersionNotActive(f"Version {version.number} is {version.status}; accept it once it is in effect.")
    if person_id is None or person_id not in paid:
        raise NotPaidByPlanVersion(f"Version {version.number} pays you on no day; nobody accepts for somebody else.")
    return person_id
