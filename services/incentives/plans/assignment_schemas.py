"""Requests and answers of assignments."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Annotated, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, JsonValue, with_config
from typing_extensions import TypedDict

from services.incentives.plans.assigning import Act, AssignmentRequest
from services.incentives.plans.content.assignments import (
    AssignmentTermsContent,
    LeaveContent,
    LeavesContent,
    RampContent,
    RampStepContent,
    TargetVariableContent,
    assignment_terms_content,
    leave_of,
    ramp_of,
    target_variable_of,
)
from services.incentives.plans.content.quotas import QuotaContent, QuotasContent, quotas_of
from services.incentives.plans.domain.assignments import (
    Assignment,
    AssignmentChangeKind,
    AssignmentStatus,
    QuotaGoal,
    assignment_warnings,
)
from services.incentives.plans.domain.history import AssignmentChange, differences
from services.incentives.plans.schemas import ChangeAnswer
from shared.contracts.base import Day
from shared.http.schemas import ITEMS_MAX, VersionedItem, body_example
from shared.kernel.approvals import ActorKind
from shared.kernel.errors import FieldError
from shared.kernel.periods import DatedRange

_ID = "01935a00-0000-7000-8000-000000000062"
_PLAN = "01935a00-0000-7000-8000-000000000063"
_PERSON = "01935a00-0000-7000-8000-000000000011"
_GOAL = "01935a00-0000-7000-8000-000000000031"
_TERMS: dict[str, JsonValue] = {
    "start": "2026-01-01",
    "end": None,
    "quotas": {"bookings": {"goal_ids": [_GOAL]}, "renewals": {"amount": "100000"}},
    "target_variable": {"amount": "40000", "per": "year"},
    "ramp": [{"from": "2026-01-01", "share": "0.5"}, {"from": "2026-04-01", "share": "1"}],
    "leave": [{"start": "2026-08-03", "end": "2026-08-31"}],
    "prorated": True,
}
_ASSIGNMENT: dict[str, JsonValue] = {"person_id": _PERSON, "plan_id": _PLAN, **_TERMS}
Version = Annotated[int, Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")]
Quotas = Annotated[QuotasContent, Field(max_length=20, description="By component key.")]
IsProrated = Annotated[
    bool,
    Field(
        description="Whether a quota by amounts and the target variable are only for the days of a period that lie "
        "within the assignment. Leave always reduces them."
    ),
]


class AssignmentBody(BaseModel):
    """A person is on a plan from `start` up to, not including, `end`."""

    model_config = body_example(**_ASSIGNMENT)

    person_id: UUID
    plan_id: UUID
    start: Day
    end: Day | None = None
    quotas: Quotas = Field(default_factory=dict)
    target_variable: TargetVariableContent | None = None
    ramp: RampContent = ()
    leave: LeavesContent = ()
    prorated: IsProrated = False

    def made(self, assignment_id: UUID) -> Assignment:
        """Raises InvalidInput for days that are none, and for quotas and amounts that cannot be."""
        return Assignment(
            assignment_id,
            self.person_id,
            self.plan_id,
            DatedRange(self.start, self.end),
            quotas_of(self.quotas),
            target_variable=target_variable_of(self.target_variable),
            ramp=ramp_of(self.ramp),
            leave=leave_of(self.leave),
            prorated=self.prorated,
        )


@with_config(body_example(end="2026-07-01"))
class AssignmentChanges(TypedDict, total=False):
    """What is to change; what is left out stays."""

    start: Day
    end: Day | None
    quotas: Quotas
    target_variable: TargetVariableContent | None
    ramp: RampContent
    leave: LeavesContent
    prorated: IsProrated


@with_config(body_example(id=_ID, version=1, end="2026-07-01"))
class AssignmentItem(VersionedItem, AssignmentChanges, total=False):
    """What is to change of one of many assignments; what is left out stays."""


def edited(wanted: Assignment, changes: AssignmentChanges | AssignmentItem) -> Assignment:
    """The assignment with what is to change. Raises InvalidInput."""
    dated = DatedRange(changes.get("start", wanted.range.start), changes.get("end", wanted.range.end))
    after = replace(wanted, range=dated, prorated=changes.get("prorated", wanted.prorated), deleted=False)
    if "quotas" in changes:
        after = replace(after, quotas=quotas_of(changes["quotas"]))
    if "target_variable" in changes:
        after = replace(after, target_variable=target_variable_of(changes["target_variable"]))
    if "ramp" in changes:
        after = replace(after, ramp=ramp_of(changes["ramp"]))
    if "leave" in changes:
        after = replace(after, leave=leave_of(changes["leave"]))
    return after


class AssignmentsBody(BaseModel):
    """Many assignments at once: all of it happens or nothing."""

    model_config = body_example(
        create=[_ASSIGNMENT], change=[{"id": _ID, "version": 1, "end": "2026-07-01"}], approve=[], delete=[]
    )

    create: list[AssignmentBody] = Field(default=[], max_length=ITEMS_MAX)
    change: list[AssignmentItem] = Field(default=[], max_length=ITEMS_MAX)
    approve: list[VersionedItem] = Field(default=[], max_length=ITEMS_MAX, description="What others proposed of them.")
    delete: list[VersionedItem] = Field(default=[], max_length=ITEMS_MAX, description="Taken back as if never made.")

    def created(self, at: str = "") -> list[tuple[str, Callable[[UUID], Assignment]]]:
        """What makes each new assignment, and the pointer to it in a request that has these `at` a pointer."""
        return [(f"{at}/create/{index}", each.made) for index, each in enumerate(self.create)]

    def requests(self, at: str = "") -> list[AssignmentRequest]:
        """What is to be done to assignments that are there, in a request that has these `at` a pointer."""
        return [
            *(
                AssignmentRequest(f"{at}/{name}/{index}", each["id"], each["version"], act)
                for name, act, items in (("approve", Act.APPROVE, self.approve), ("delete", Act.TAKE_BACK, self.delete))
                for index, each in enumerate(items)
            ),
            *(
                AssignmentRequest(
                    f"{at}/change/{index}", each["id"], each["version"], Act.PROPOSE, partial(edited, changes=each)
                )
                for index, each in enumerate(self.change)
            ),
        ]


class AssignmentWarningAnswer(BaseModel):
    """Something that was accepted and is hardly meant for long."""

    pointer: str = Field(description="JSON pointer to the member.", examples=["/quotas/bookings/goal_ids/0"])
    message: str
    accepted: str | None = Field(description="What would do.")

    @classmethod
    def of(cls, found: FieldError) -> Self:
        return cls(pointer=found.pointer, message=found.message, accepted=found.accepted)


class AssignmentAnswer(BaseModel):
    """Who is on which plan. One that was never approved has the terms that are proposed, and pays nothing."""

    model_config = body_example(
        id=_ID,
        version=2,
        person_name="Darcel Schlecht",
        status="approved",
        change=None,
        preview=f"/v1/assignments/{_ID}/preview",
        warnings=[],
        **_ASSIGNMENT,
    )

    id: UUID
    version: Version
    person_id: UUID
    person_name: str | None = Field(description="Null while the organisation has not published the person.")
    plan_id: UUID
    start: date
    end: date | None
    quotas: dict[str, QuotaContent]
    target_variable: TargetVariableContent | None = None
    ramp: tuple[RampStepContent, ...] = ()
    leave: tuple[LeaveContent, ...] = ()
    prorated: bool = False
    status: AssignmentStatus = Field(AssignmentStatus.APPROVED, description="Only what is approved pays.")
    change: AssignmentTermsContent | None = Field(
        None,
        description="The terms that wait for an approval; `deleted` to take it back. For those who see the tenant.",
    )
    preview: str | None = Field(
        None,
        description="Where to read what approving it would post, and once it is approved what is still to be posted."
        " For those who see the tenant.",
    )
    warnings: list[AssignmentWarningAnswer] = Field(
        description="Quotas that pay nothing for now, and a person who left."
    )

    @classmethod
    def of(
        cls,
        assignment: Assignment,
        person_name: str | None,
        goals: Mapping[UUID, QuotaGoal],
        *,
        with_change: bool = True,
        is_active: bool = True,
    ) -> Self:
        terms = assignment_terms_content(assignment)
        change = assignment.change if with_change else None
        return cls(
            id=assignment.id,
            version=assignment.version,
            person_id=assignment.person_id,
            person_name=person_name,
            plan_id=assignment.plan_id,
            start=terms.start,
            end=terms.end,
            quotas=terms.quotas,
            target_variable=terms.target_variable,
            ramp=terms.ramp,
            leave=terms.leave,
            prorated=terms.prorated,
            status=assignment.status,
            change=None if change is None else assignment_terms_content(change),
            preview=f"/v1/assignments/{assignment.id}/preview" if with_change else None,
            warnings=[
                AssignmentWarningAnswer.of(found)
                for found in assignment_warnings(assignment, goals, is_active=is_active)
            ],
        )


class AssignmentsAnswer(BaseModel):
    """What became of many assignments."""

    model_config = body_example(created=[], changed=[])

    created: list[AssignmentAnswer]
    changed: list[AssignmentAnswer] = Field(description="Changed, approved, or proposed to be taken back.")


class AssignmentChangeAnswer(BaseModel):
    """One step in the life of an assignment: who did what, when and why, and what it changed in the terms."""

    model_config = body_example(
        version=2,
        kind="proposed",
        actor="person",
        person_id=_PERSON,
        person_name="Hana Kovač",
        at="2026-01-05T09:30:00Z",
        reason="Promoted",
        changes=[{"pointer": "/quotas/renewals/amount", "before": "100000", "after": "120000"}],
    )

    version: Version
    kind: AssignmentChangeKind
    actor: ActorKind
    person_id: UUID | None
    person_name: str | None = Field(description="Null while the organisation has not published the person.")
    at: AwareDatetime
    reason: str | None = Field(description="Why, in the words of the request.")
    changes: list[ChangeAnswer] = Field(
        description="Against the terms in force: of a new assignment all of them, and what was withdrawn."
    )

    @classmethod
    def of(cls, change: AssignmentChange, names: Mapping[UUID, str]) -> Self:
        return cls(
            version=change.version,
            kind=change.kind,
            actor=change.actor.kind,
            person_id=change.actor.person_id,
            person_name=None if change.actor.person_id is None else names.get(change.actor.person_id),
            at=change.at,
            reason=change.reason,
            changes=[
                ChangeAnswer(pointer=at, before=was, after=now)
                for at, was, now in differences(change.before, change.after)
            ],
        )
