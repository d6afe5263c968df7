"""The JSON form of what an assignment says: what is sent, stored, approved and compared."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Final

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter

from services.incentives.plans.content.base import Content
from services.incentives.plans.content.quotas import QuotasContent, quotas_content, quotas_of
from services.incentives.plans.domain.active_days import LEAVES_MAX, RAMP_STEPS_MAX, RampStep
from services.incentives.plans.domain.assignments import (
    CHANGES_MAX,
    Assignment,
    PerTime,
    TargetVariable,
)
from shared.contracts.base import Amount, Day
from shared.kernel.errors import InvalidInput
from shared.kernel.periods import DatedRange


class AmountChangeContent(Content):
    """An amount from a day on."""

    model_config = ConfigDict(populate_by_name=True)

    start: Day = Field(
        alias="from",
        description="Its first day, any one: what is paid from the target variable is paid in two parts where it lies "
        "within a period.",
    )
    amount: Amount


class TargetVariableContent(Content):
    """The pay at target, in the plan's currency."""

    amount: Amount = Field(examples=["40000"])
    per: PerTime = Field(description="One for a year is shared evenly by the plan's periods of a year.")
    changes: tuple[AmountChangeContent, ...] = Field(
        default=(), max_length=CHANGES_MAX, description="In the order of their first days."
    )


class RampStepContent(Content):
    """From a day on, up to the next step, only a share of the quota is expected."""

    model_config = ConfigDict(populate_by_name=True)

    start: Day = Field(alias="from")
    share: Amount = Field(gt=0, le=1, description="0.75 is 75 % of the quota; 1 ends the ramp.", examples=["0.75"])


class LeaveContent(Content):
    """Days on which the person is away, from `start` up to, not including, `end`."""

    start: Day
    end: Day


RampContent = Annotated[
    tuple[RampStepContent, ...],
    Field(max_length=RAMP_STEPS_MAX, description="In the order of their days. Before the first one all is expected."),
]
LeavesContent = Annotated[tuple[LeaveContent, ...], Field(max_length=LEAVES_MAX, description="In order, none twice.")]


class AssignmentTermsContent(Content):
    """Everything that is approved of an assignment."""

    start: Day
    end: Day | None
    quotas: QuotasContent
    target_variable: TargetVariableContent | None = None
    ramp: RampContent = ()
    leave: LeavesContent = ()
    prorated: bool = False
    deleted: bool = False


RAMP: Final[TypeAdapter[tuple[RampStepContent, ...]]] = TypeAdapter(RampContent)
LEAVE: Final[TypeAdapter[tuple[LeaveContent, ...]]] = TypeAdapter(LeavesContent)


def target_variable_of(content: TargetVariableContent | None) -> TargetVariable | None:
    """The checked target variable, or InvalidInput that points into `/target_variable`."""
    if content is None:
        return None
    changes: Sequence[tuple[Day, Decimal]] = [(each.start, each.amount) for each in content.changes]
    try:
        return TargetVariable(content.amount, content.per, tuple(changes))
    except InvalidInput as error:
        raise error.under("/target_variable") from None


def target_variable_content(target: TargetVariable | None) -> TargetVariableContent | None:
    """The content that `target_variable_of` turns back into an equal one."""
    if target is None:
        return None
    changes = tuple(AmountChangeContent(start=start, amount=amount) for start, amount in target.changes)
    return TargetVariableContent(amount=target.amount, per=target.per, changes=changes)


def ramp_of(content: Sequence[RampStepContent]) -> tuple[RampStep, ...]:
    """The steps; an assignment checks their order."""
    return tuple(RampStep(step.start, step.share) for step in content)


def ramp_content(ramp: Sequence[RampStep]) -> tuple[RampStepContent, ...]:
    """The content that `ramp_of` turns back into equal steps."""
    return tuple(RampStepContent(start=step.start, share=step.share) for step in ramp)


def leave_of(content: Sequence[LeaveContent]) -> tuple[DatedRange, ...]:
    """The days away, or InvalidInput that points into `/leave`; an assignment checks their order."""
    leave = []
    for index, each in enumerate(content):
        try:
            leave.append(DatedRange(each.start, each.end))
        except InvalidInput as error:
            raise error.under(f"/leave/{index}") from None
    return tuple(leave)


def leave_content(leave: Sequence[DatedRange]) -> tuple[LeaveContent, ...]:
    """The content that `leave_of` turns back into equal days."""
    return tuple(LeaveContent(start=each.start, end=each.end) for each in leave if each.end is not None)


def assignment_terms_content(assignment: Assignment) -> AssignmentTermsContent:
    """What is approved of an assignment."""
    return AssignmentTermsContent(
        start=assignment.range.start,
        end=assignment.range.end,
        quotas=quotas_content(assignment.quotas),
        target_variable=target_variable_content(assignment.target_variable),
        ramp=ramp_content(assignment.ramp),
        leave=leave_content(assignment.leave),
        prorated=assignment.prorated,
        deleted=assignment.deleted,
    )


def assignment_terms_document(assignment: Assignment) -> dict[str, JsonValue]:
    """The same as one JSON document."""
    document: dict[str, JsonValue] = assignment_terms_content(assignment).model_dump(mode="json", by_alias=True)
    return document


def with_terms(assignment: Assignment, document: JsonValue) -> Assignment:
    """The assignment with the terms of a document that `assignment_terms_document` made."""
    content = AssignmentTermsContent.model_validate(document)
    return replace(
        assignment,
        range=DatedRange(content.start, content.end),
        quotas=quotas_of(content.quotas),
        target_variable=target_variable_of(content.target_variable),
        ramp=ramp_of(content.ramp),
        leave=leave_of(content.leave),
        prorated=content.prorated,
        deleted=content.deleted,
        change=None,
    )
