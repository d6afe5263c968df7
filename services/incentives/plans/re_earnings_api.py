"""Re-earnings over HTTP: whom changes of definitions touch, worked out anew, and how far that is."""

from typing import Annotated, Final, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, Field

from services.incentives.plans.domain.re_earnings import CAUSES_MAX, ReEarning, ReEarningNotFound, ReEarningState
from services.incentives.plans.service import Plans
from shared.contracts.texts import SearchText
from shared.http.audit import ActorAnswer
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.schemas import example
from shared.http.sight import Auditor
from shared.http.wiring import handed

router = APIRouter(prefix="/v1/re-earnings", tags=["earnings"])

UseCases = Annotated[Plans, Depends(handed(Plans))]
_IDS: Final = Cursor(UUID)


class ReEarningAnswer(BaseModel):
    """A change of definitions whose population is worked out anew, and how far that is."""

    model_config = example(
        id="01935a00-0000-7000-8000-000000000091",
        state="running",
        causes=["plan/01935a00-0000-7000-8000-000000000061 v3"],
        requested_by={"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000012"},
        reason="The second half's rates",
        requested_at="2026-07-01T09:00:00Z",
        started_at="2026-07-01T09:00:01Z",
        ended_at=None,
        total=1000,
        done=260,
        percent=26,
        per_minute=1500,
        seconds_left=30,
        failure=None,
    )

    id: UUID
    state: ReEarningState = Field(description="`failed`: the next of it could not be worked out, and is tried again.")
    causes: list[str] = Field(
        description=f"What changed, as ledger lines name it: `<subject> v<version>`; the first {CAUSES_MAX}."
    )
    requested_by: ActorAnswer = Field(description="Whoever changed it; `unknown` for what another service published.")
    reason: str | None = Field(description="Why, in the words of whoever changed it.")
    requested_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    total: int = Field(description="How many assignments the change touches.")
    done: int = Field(description="How many of them are worked out and posted.")
    percent: int = Field(description="100 only once it is done.")
    per_minute: int | None = Field(description="How many assignments a minute while it is worked at.")
    seconds_left: int | None = Field(description="At the rate so far.")
    failure: str | None = Field(description="Why the next of it could not be worked out, where it could not.")

    @classmethod
    def of(cls, found: ReEarning) -> Self:
        return cls(
            id=found.id,
            state=found.state,
            causes=list(found.causes),
            requested_by=ActorAnswer.of(found.requested_by),
            reason=found.reason,
            requested_at=found.requested_at,
            started_at=found.started_at,
            ended_at=found.ended_at,
            total=found.total,
            done=found.done,
            percent=found.percent,
            per_minute=found.per_minute,
            seconds_left=found.seconds_left,
            failure=found.failure,
        )


@router.get("", summary="List re-earnings")
async def list_re_earnings(
    auditor: Auditor,
    plans: UseCases,
    reader: RequestReader,
    paging: Paging,
    state: Annotated[ReEarningState | None, Query(description="Only those in this state.")] = None,
    cause: Annotated[
        SearchText | None,
        Query(description="Only those of this change, such as `plan/<id> v3`, as ledger lines name it."),
    ] = None,
) -> Page[ReEarningAnswer]:
    """In the order of the changes. What a change touches is worked out some at a time, while deals go on being paid."""
    async with reader.transaction() as tx:
        found = await plans.list_re_earnings(
            tx, auditor.tenant_id, state=state, cause=cause, after=_IDS.after(paging), limit=paging.fetch_limit
        )
    return _IDS.page(paging, found, key=lambda each: each.id, item=ReEarningAnswer.of)


@router.get("/{re_earning_id}", summary="A re-earning", responses=responses(ReEarningNotFound))
async def get_re_earning(
    re_earning_id: UUID, auditor: Auditor, plans: UseCases, reader: RequestReader
) -> ReEarningAnswer:
    """How far it is. It moves on with each part of its population, which is worked out and posted as a whole."""
    async with reader.transaction() as tx:
        return ReEarningAnswer.of(await plans.get_re_earning(tx, auditor.tenant_id, re_earning_id))
