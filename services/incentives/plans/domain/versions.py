"""Plans and their versions: draft → approved by another person → active, and which one is in force when."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from uuid import UUID

from services.incentives.plans.domain.components import Component
from services.incentives.plans.domain.rules import NO_RULES, PeriodRules
from shared.kernel.approvals import Actor, Proposal
from shared.kernel.errors import Conflict, NotFound
from shared.kernel.periods import DatedRange, PeriodKind


class PlanNotFound(NotFound):
    """There is no such plan."""

    code = "plan_not_found"
    title = "Plan not found"


class PlanVersionNotFound(NotFound):
    """The plan has no such version."""

    code = "plan_version_not_found"
    title = "Plan version not found"


class PlanVersionNotDraft(Conflict):
    """Only a draft can be edited or approved."""

    code = "plan_version_not_draft"
    title = "Plan version is not a draft"


class PlanVersionNotApproved(Conflict):
    """Only an approved version can be activated."""

    code = "plan_version_not_approved"
    title = "Plan version is not approved"


class ChangeKind(StrEnum):
    """What was done to a plan version."""

    DRAFTED = "drafted"
    EDITED = "edited"
    APPROVED = "approved"
    ACTIVATED = "activated"


class VersionStatus(StrEnum):
    """How far a plan version has come. Only an active one pays."""

    DRAFT = "draft"
    APPROVED = "approved"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Plan:
    """A named plan. `version` counts its changes, not its versions of terms."""

    id: UUID
    name: str
    currency: str
    period: PeriodKind
    version: int = 1


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """The terms of a plan from `effective_from` on, until an active version with a later one takes over.

    `revision` counts every change of this version, for ETags. `author_id` is None when a service wrote it.
    """

    plan_id: UUID
    number: int
    status: VersionStatus
    effective_from: date
    components: tuple[Component, ...]
    note: str | None
    author_id: UUID | None
    approver_id: UUID | None = None
    revision: int = 1
    rules: PeriodRules = NO_RULES

    @property
    def precedence(self) -> tuple[date, int]:
        """Of two active versions that both have begun, the higher one is in force."""
        return self.effective_from, self.number

    def component(self, key: str) -> Component | None:
        """The component of that key, if these terms have one."""
        return next((component for component in self.components if component.key == key), None)


def numbered(versions: Collection[PlanVersion], number: int) -> PlanVersion:
    """The version of that number. Raises PlanVersionNotFound."""
    for candidate in versions:
        if candidate.number == number:
            return candidate
    raise PlanVersionNotFound(f"The plan has no version {number}.")


def edited(
    version: PlanVersion,
    *,
    effective_from: date,
    components: tuple[Component, ...],
    rules: PeriodRules,
    note: str | None,
) -> PlanVersion:
    """The draft with other terms. Raises PlanVersionNotDraft."""
    _require_draft(version)
    return replace(
        version,
        effective_from=effective_from,
        components=components,
        rules=rules,
        note=note,
        revision=version.revision + 1,
    )


def proposal_of(plan: Plan, version: PlanVersion, authors: Collection[Actor], paid: Collection[UUID]) -> Proposal:
    """The terms as something to approve: `authors` wrote a part of them, `paid` are paid by them."""
    subject = f"version {version.number} of the plan {plan.name}"
    return Proposal(subject, authors, paid, "an admin or somebody of revops")


def approved(version: PlanVersion, approver: Actor, proposal: Proposal) -> PlanVersion:
    """The version with its approval. Raises PlanVersionNotDraft, ApprovalNotIndependent."""
    _require_draft(version)
    proposal.check(approver)
    return replace(
        version, status=VersionStatus.APPROVED, approver_id=approver.person_id, revision=version.revision + 1
    )


def activated(version: PlanVersion, proposal: Proposal) -> PlanVersion:
    """The version in effect. Raises PlanVersionNotApproved.

    ApprovalNotIndependent when the approval is no longer valid: whoever gave it is paid by the terms by now.
    """
    if version.status is not VersionStatus.APPROVED:
        raise PlanVersionNotApproved(f"Version {version.number} is {version.status}; approve it first.")
    proposal.check(Actor.of(version.approver_id))
    return replace(version, status=VersionStatus.ACTIVE, revision=version.revision + 1)


def timeline(versions: Collection[PlanVersion]) -> tuple[PlanVersion, ...]:
    """The active versions that are in force at some time, each from its first day up to that of the next."""
    by_start: dict[date, PlanVersion] = {}
    for version in versions:
        if version.status is VersionStatus.ACTIVE:
            other = by_start.get(version.effective_from)
            if other is None or other.number < version.number:
                by_start[version.effective_from] = version
    return tuple(by_start[start] for start in sorted(by_start))


def effective_until(version: PlanVersion, versions: Collection[PlanVersion]) -> date | None:
    """First day an active version is no longer in force, None while nothing follows it.

    Equal to `effective_from` for one that was replaced before it ever applied.
    """
    later = [
        other.effective_from
        for other in versions
        if other.status is VersionStatus.ACTIVE and other.precedence > version.precedence
    ]
    return min(later, default=None)


def approved_days(version: PlanVersion, versions: Collection[PlanVersion], person_id: UUID) -> DatedRange | None:
    """The days on which this version pays by this person's approval; None when there are none."""
    if version.status is not VersionStatus.ACTIVE or version.approver_id != person_id:
        return None
    until = effective_until(version, versions)
    return None if until == version.effective_from else DatedRange(version.effective_from, until)


def _require_draft(version: PlanVersion) -> None:
    if version.status is not VersionStatus.DRAFT:
        raise PlanVersionNotDraft(f"Version {version.number} is {version.status}; make a new version.")
