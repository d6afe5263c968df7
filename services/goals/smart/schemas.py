"""Requests and answers of SMART checks."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.goals.evidence.domain import Probability, ProbabilitySource
from services.goals.smart.domain.checks import Acknowledgement, Check, Figure, Letter, Verdict
from services.goals.smart.service import Assessment
from services.goals.targets.schemas import Reason
from shared.contracts.base import Exact, Instant
from shared.http.audit import ActorAnswer
from shared.http.schemas import body_example

_ACKNOWLEDGEMENT: Mapping[str, JsonValue] = {
    "id": "01935a00-0000-7000-8000-000000000041",
    "goal_id": "01935a00-0000-7000-8000-000000000031",
    "goal_version": 1,
    "checks": ["achievable"],
    "reason": "Takes over the northern accounts in May",
    "acknowledged_by": {"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000012"},
    "acknowledged_at": "2026-03-02T09:30:00Z",
}


class AcknowledgementBody(BaseModel):
    """Which checks may warn, and why the goal may count all the same."""

    model_config = body_example(checks=["achievable"], reason="Takes over the northern accounts in May")

    checks: list[Letter] = Field(min_length=1, max_length=len(Letter))
    reason: Reason


class AcknowledgementAnswer(BaseModel):
    """That somebody let checks of one version of a goal warn."""

    model_config = body_example(**_ACKNOWLEDGEMENT)

    id: UUID
    goal_id: UUID
    goal_version: int = Field(description="The version of the draft it is about; an edit needs it again.")
    checks: list[Letter]
    reason: str | None = Field(description="Null where a service activated the goal without one.")
    acknowledged_by: ActorAnswer
    acknowledged_at: Instant

    @classmethod
    def of(cls, acknowledgement: Acknowledgement) -> Self:
        return cls(
            id=acknowledgement.id,
            goal_id=acknowledgement.goal_id,
            goal_version=acknowledgement.goal_version,
            checks=sorted(acknowledgement.checks),
            reason=acknowledgement.reason,
            acknowledged_by=ActorAnswer.of(acknowledgement.actor),
            acknowledged_at=acknowledgement.acknowledged_at,
        )


class FigureAnswer(BaseModel):
    """A number that a check goes by."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        description="`people` and `identified_people` of the owner as of today; `full_time_people`, how many "
        "people who are there in full on all working days those of the period come to; `working_days` of the period; "
        "`reached` and `open_pipeline` in it; `owner_period`, an earlier period of the same length; `peers`, of how "
        "many such periods are known; `median_of_peers`, of what each reached in one on average, told of three or more."
    )
    value: Exact
    start: date | None = Field(description="Of an `owner_period` its first day.")

    @classmethod
    def of(cls, figure: Figure) -> Self:
        return cls(name=figure.name, value=figure.value, start=figure.start)


class ProbabilityAnswer(BaseModel):
    """How probable it is that the target is attained, and of what that is known."""

    value: Exact = Field(description="From 0 to 1: (`attained_in` + 1) ÷ (`sample` + 2) where it goes by history.")
    source: ProbabilitySource = Field(
        description="`reached`: it is reached already; `ended`: it is not, and the period is over."
    )
    sample: int = Field(description="Of so many periods.")
    attained_in: int = Field(description="In so many of them it would have been attained.")
    peer_periods: int = Field(description="So many of them are of peers, scaled to the owner's level.")

    @classmethod
    def of(cls, probability: Probability) -> Self:
        return cls(
            value=probability.value,
            source=probability.source,
            sample=probability.sample,
            attained_in=probability.attained_in,
            peer_periods=probability.peer_periods,
        )


class CheckAnswer(BaseModel):
    """One letter of SMART."""

    check: Letter
    verdict: Verdict
    reason: str = Field(description="Why, in words and numbers.")
    accepted: str | None = Field(description="What would pass; null for what does.")
    fields: list[str] = Field(description="JSON pointers to the terms that are not as they should be.")
    acknowledged: bool = Field(description="Whether it warns and this version of the goal may count all the same.")
    probability: ProbabilityAnswer | None = Field(
        description="Of `achievable`; null where it cannot be told, as too little is known."
    )
    evidence: list[FigureAnswer]

    @classmethod
    def of(cls, check: Check, *, is_acknowledged: bool) -> Self:
        return cls(
            check=check.letter,
            verdict=check.verdict,
            reason=check.reason,
            accepted=check.accepted,
            fields=[finding.pointer for finding in check.findings],
            acknowledged=is_acknowledged,
            probability=None if check.probability is None else ProbabilityAnswer.of(check.probability),
            evidence=[FigureAnswer.of(figure) for figure in check.evidence],
        )


class SmartAnswer(BaseModel):
    """The checks of a goal as of now, and what was acknowledged of this version of it."""

    model_config = body_example(
        goal_id="01935a00-0000-7000-8000-000000000031",
        goal_version=1,
        verdict="warn",
        checks=[
            {
                "check": "achievable",
                "verdict": "warn",
                "reason": "As 1 of 12 periods would have attained it (4 of the owner's own and 8 of peers, scaled to "
                "the owner's level), the probability is 14.29 %. That is out of reach.",
                "accepted": "more than 180000, at most 240000",
                "fields": ["/target"],
                "acknowledged": True,
                "probability": {
                    "value": "0.1429",
                    "source": "history_and_peers",
                    "sample": 12,
                    "attained_in": 1,
                    "peer_periods": 8,
                },
                "evidence": [
                    {"name": "open_pipeline", "value": "96000", "start": None},
                    {"name": "owner_period", "value": "201000", "start": "2025-10-01"},
                ],
            }
        ],
        acknowledgements=[dict(_ACKNOWLEDGEMENT)],
    )

    goal_id: UUID
    goal_version: int
    verdict: Verdict = Field(description="The worst of the checks.")
    checks: list[CheckAnswer]
    acknowledgements: list[AcknowledgementAnswer]

    @classmethod
    def of(cls, assessment: Assessment) -> Self:
        acknowledged = {letter for each in assessment.acknowledgements for letter in each.checks}
        return cls(
            goal_id=assessment.goal.id,
            goal_version=assessment.goal.version,
            verdict=_worst(assessment.checks),
            checks=[
                CheckAnswer.of(check, is_acknowledged=check.verdict is Verdict.WARNS and check.letter in acknowledged)
                for check in assessment.checks
            ],
            acknowledgements=[AcknowledgementAnswer.of(each) for each in assessment.acknowledgements],
        )


def _worst(checks: Sequence[Check]) -> Verdict:
    return max((check.verdict for check in checks), key=list(Verdict).index)
