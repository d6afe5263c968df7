"""Scores of objectives over HTTP."""

from datetime import date
from typing import Annotated, Final, Self
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import AwareDatetime, BaseModel, Field, JsonValue, conint

from services.incentives.plans.content.base import Key
from services.incentives.plans.domain.assignments import AssignmentNotFound
from services.incentives.plans.domain.scores import EVIDENCE_CHARACTERS_MAX, Score, ScorerNotPerson
from services.incentives.plans.scoring import Scoring
from shared.contracts.base import Amount, Day, Exact
from shared.contracts.texts import Prose
from shared.db.database import Transaction
from shared.http.audit import ActorAnswer
from shared.http.auth import Principal, Role, require
from shared.http.etag import Answered
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import responses
from shared.http.schemas import body_example
from shared.http.sight import CurrentCaller
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.approvals import OwnInterest
from shared.kernel.sight import Sight

router = APIRouter(prefix="/v1", tags=["scores"])

UseCases = Annotated[Scoring, Depends(handed(Scoring))]
Scorer = Annotated[Principal, Depends(require(Role.MANAGER, Role.REVOPS, Role.ADMIN))]
_NUMBERS: Final = Cursor(conint(ge=1, le=2**31 - 1))
_SCORE: dict[str, JsonValue] = {
    "component": "mbo",
    "objective": "pipeline",
    "start": "2026-01-01",
    "percent": "80",
    "evidence": "Pipeline of three quarters on 31 March: 2.4 of 3.0 million, see the report of that day",
}


class ScoreBody(BaseModel):
    """What an objective is scored with in a period, and by which evidence."""

    model_config = body_example(**_SCORE)

    component: Key
    objective: Key
    start: Day = Field(description="The first day of one of the plan's periods.")
    percent: Amount = Field(description="From 0 to the component's `score_max`.")
    evidence: Annotated[Prose, Field(max_length=EVIDENCE_CHARACTERS_MAX)] = Field(
        description="What the score is founded on."
    )


class ScoreAnswer(BaseModel):
    """One score, who gave it, when and why. `number` counts the scores of the assignment."""

    model_config = body_example(
        assignment_id="01935a00-0000-7000-8000-000000000062",
        number=1,
        end="2026-04-01",
        scorer={"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000013"},
        at="2026-04-02T09:30:00Z",
        **_SCORE,
    )

    assignment_id: UUID
    number: int
    component: str
    objective: str
    start: date
    end: date = Field(description="First day after the period.")
    percent: Exact
    evidence: str
    scorer: ActorAnswer
    at: AwareDatetime

    @classmethod
    def of(cls, score: Score) -> Self:
        return cls(
            assignment_id=score.assignment_id,
            number=score.number,
            component=score.component,
            objective=score.objective,
            start=score.period.start,
            end=score.period.end,
            percent=score.percent,
            evidence=score.evidence,
            scorer=ActorAnswer.of(score.scorer),
            at=score.at,
        )


@router.post(
    "/assignments/{assignment_id}/scores",
    summary="Score an objective",
    status_code=201,
    responses=responses(AssignmentNotFound, OwnInterest, ScorerNotPerson),
)
async def score_objective(
    assignment_id: UUID,
    body: ScoreBody,
    scorer: Scorer,
    caller: CurrentCaller,
    scoring: UseCases,
    writer: RequestWriter,
) -> Answered[ScoreAnswer]:
    """By a manager over the person, by revops or by an admin, and never by the person.

    It replaces the score before, which is kept; what the objective pays follows within moments.
    """

    async def score(tx: Transaction, sight: Sight) -> Score:
        return await scoring.score(
            tx,
            caller.tenant_id,
            assignment_id,
            sight,
            component=body.component,
            objective=body.objective,
            start=body.start,
            percent=body.percent,
            evidence=body.evidence,
            scorer=scorer.actor,
        )

    return await writer.commit(
        caller.seeing(score), ScoreAnswer.of, status=201, location=lambda _: f"/v1/assignments/{assignment_id}/scores"
    )


@router.get(
    "/assignments/{assignment_id}/scores",
    summary="List the scores that count",
    responses=responses(AssignmentNotFound),
)
async def list_scores(
    assignment_id: UUID, caller: CurrentCaller, scoring: UseCases, paging: Paging
) -> Page[ScoreAnswer]:
    """Of each objective in each period the newest one. The person sees its own, a manager those of its subtree."""
    return await _page(assignment_id, caller, scoring, paging, counting=True)


@router.get(
    "/assignments/{assignment_id}/scores/history",
    summary="List every score that was given",
    responses=responses(AssignmentNotFound),
)
async def list_score_history(
    assignment_id: UUID, caller: CurrentCaller, scoring: UseCases, paging: Paging
) -> Page[ScoreAnswer]:
    """In the order in which they were given, also those that were replaced. Nobody can alter one."""
    return await _page(assignment_id, caller, scoring, paging, counting=False)


async def _page(
    assignment_id: UUID, caller: CurrentCaller, scoring: Scoring, paging: Paging, *, counting: bool
) -> Page[ScoreAnswer]:
    async with caller.reading() as (tx, sight):
        found = await scoring.list_scores(
            tx,
            caller.tenant_id,
            assignment_id,
            sight,
            counting=counting,
            after=_NUMBERS.after(paging) or 0,
            limit=paging.fetch_limit,
        )
    return _NUMBERS.page(paging, found, key=lambda score: score.number, item=ScoreAnswer.of)
