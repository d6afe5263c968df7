"""Previews over HTTP: what a change would post, before it is made."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from services.incentives.earnings.domain.preview import Preview
from services.incentives.earnings.preview_schemas import (
    PersonEffectAnswer,
    PreviewAnswer,
    PreviewBody,
    Supposed,
    SupposedAssignments,
    SupposedCalendar,
    SupposedRates,
    SupposedScores,
    SupposedTargets,
    SupposedVersion,
)
from services.incentives.earnings.previewing import Previews, PreviewTooLarge
from services.incentives.plans.assigning import Assignments
from services.incentives.plans.domain.assignments import AssignmentNotFound
from services.incentives.plans.domain.versions import PlanNotFound, PlanVersionNotFound, numbered
from services.incentives.plans.service import Plans
from shared.db.database import Transaction
from shared.http.auth import Principal, Role, RoleMissing, require
from shared.http.paging import Cursor, PageRequest, Paging
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.sight import SEES_TENANT, Auditor, Caller, CurrentCaller
from shared.http.tables import TableFormat, described_file, table_answer, table_file
from shared.http.wiring import handed
from shared.kernel.errors import InvalidInput, ItemsRefused, Refusals
from shared.kernel.money import round_to_minor_unit
from shared.kernel.sight import Sight
from shared.tables.columns import Column, Kind, Value

router = APIRouter(prefix="/v1", tags=["previews"])

UseCases = Annotated[Previews, Depends(handed(Previews))]
KnowsPlans = Annotated[Plans, Depends(handed(Plans))]
Previewer = Annotated[Principal, Depends(require(*SEES_TENANT, Role.MANAGER))]
_PEOPLE: Final = Cursor(tuple[UUID, str])
_NUMBER_MAX: Final = 2**31 - 1
_COLUMNS: Final = (
    Column("person_id", Kind.ID),
    Column("person", Kind.TEXT),
    Column("plan_id", Kind.ID),
    Column("component", Kind.WORD),
    Column("period_start", Kind.DAY),
    Column("period_end", Kind.DAY),
    Column("due_start", Kind.DAY),
    Column("due_state", Kind.WORD),
    Column("posted_in_start", Kind.DAY),
    Column("before", Kind.NUMBER),
    Column("after", Kind.NUMBER),
    Column("difference", Kind.NUMBER),
    Column("currency", Kind.WORD),
)


@router.post(
    "/previews",
    summary="What a change would post",
    responses=responses(ItemsRefused, PreviewTooLarge, PlanNotFound, PlanVersionNotFound),
)
async def preview_change(
    body: PreviewBody,
    previewer: Previewer,
    caller: CurrentCaller,
    previews: UseCases,
    plans: KnowsPlans,
    reader: RequestReader,
    paging: Paging,
) -> PreviewAnswer:
    """Of assignments, versions of plans, the calendar, exchange rates, targets of goals that are quotas, and scores of
    objectives, which nobody has confirmed yet. Nothing is stored and nobody waits. A pay period that was approved is
    left as it is: what belongs to it would be posted in the first open one.

    For those who see the whole tenant; a manager previews scores, and is answered of the people in sight.
    """
    _check_may_preview(previewer, body.change)
    async with previews.turn, reader.snapshot() as tx:
        found = await _previewed(previews, plans, tx, caller, body.change)
        return await _answer(plans, tx, caller, found, paging)


@router.post(
    "/previews/table",
    summary="What a change would post, as a table",
    response_class=Response,
    responses={
        200: described_file(_COLUMNS),
        **responses(ItemsRefused, PreviewTooLarge, PlanNotFound, PlanVersionNotFound),
    },
)
async def preview_change_table(
    body: PreviewBody,
    previewer: Previewer,
    caller: CurrentCaller,
    previews: UseCases,
    plans: KnowsPlans,
    reader: RequestReader,
    table_format: Annotated[TableFormat, Query(alias="format", description="CSV in UTF-8, or a workbook.")] = (
        TableFormat.CSV
    ),
) -> Response:
    """One line for each earning that changes. For the same people as `POST /v1/previews`, and as little is changed."""
    _check_may_preview(previewer, body.change)
    async with previews.turn, reader.snapshot() as tx:
        found = await _previewed(previews, plans, tx, caller, body.change)
        names = await plans.person_names(tx, caller.tenant_id, {each.person_id for each in found.effects})
    file, media_type = await table_file(_COLUMNS, table_format, _pages(found, names))
    return table_answer(file, media_type, f"preview.{table_format}")


@router.get(
    "/plans/{plan_id}/versions/{number}/preview",
    summary="What activating a version would post",
    responses=responses(PlanNotFound, PlanVersionNotFound, PreviewTooLarge),
)
async def preview_plan_version(
    plan_id: UUID,
    number: Annotated[int, Path(ge=1, le=_NUMBER_MAX, description="Which version of the plan.")],
    auditor: Auditor,
    previews: UseCases,
    plans: KnowsPlans,
    caller: CurrentCaller,
    reader: RequestReader,
    paging: Paging,
) -> PreviewAnswer:
    """As things are now, and nothing is changed. Of a version that pays already, what is still to be posted."""
    async with previews.turn, reader.snapshot() as tx:
        sight = await caller.sight(tx)
        version = numbered(await plans.list_versions(tx, auditor.tenant_id, plan_id, sight), number)
        found = await previews.of_version(tx, auditor.tenant_id, version)
        return await _answer(plans, tx, caller, found, paging)


@router.get(
    "/assignments/{assignment_id}/preview",
    summary="What approving what is proposed would post",
    responses=responses(AssignmentNotFound, PreviewTooLarge),
)
async def preview_assignment(
    assignment_id: UUID,
    auditor: Auditor,
    previews: UseCases,
    assignments: Annotated[Assignments, Depends(handed(Assignments))],
    plans: KnowsPlans,
    caller: CurrentCaller,
    reader: RequestReader,
    paging: Paging,
) -> PreviewAnswer:
    """As things are now, and nothing is changed. Where nothing is proposed, what is still to be posted."""
    async with previews.turn, reader.snapshot() as tx:
        stored = await assignments.get(tx, auditor.tenant_id, assignment_id)
        found = await previews.of_assignment(tx, auditor.tenant_id, stored)
        return await _answer(plans, tx, caller, found, paging)


def _check_may_preview(previewer: Principal, change: Supposed) -> None:
    if not isinstance(change, SupposedScores) and not previewer.has(*SEES_TENANT):
        raise RoleMissing(f"This change is previewed by {', '.join(sorted(SEES_TENANT))}.")


async def _previewed(previews: Previews, plans: Plans, tx: Transaction, caller: Caller, change: Supposed) -> Preview:
    """Of the people in the caller's sight."""
    sight = await caller.sight(tx)
    try:
        found = await _of_change(previews, plans, tx, caller.tenant_id, sight, change)
    except ItemsRefused:
        raise
    except InvalidInput as error:
        raise error.under("/change") from None
    return found.seen_by(sight)


async def _of_change(
    previews: Previews, plans: Plans, tx: Transaction, tenant_id: UUID, sight: Sight, change: Supposed
) -> Preview:
    match change:
        case SupposedAssignments():
            created, requests = change.created("/change"), change.requests("/change")
            return await previews.of_assignments(tx, tenant_id, created, requests, Refusals())
        case SupposedVersion():
            versions = await plans.list_versions(tx, tenant_id, change.plan_id, sight)
            return await previews.of_version(tx, tenant_id, numbered(versions, change.number))
        case SupposedCalendar():
            return await previews.of_calendar(tx, tenant_id, change.history)
        case SupposedRates():
            return await previews.of_rates(tx, tenant_id, [each.supposed() for each in change.rates])
        case SupposedTargets():
            return await previews.of_targets(tx, tenant_id, change.targets())
        case SupposedScores():
            wanted = [(f"/change/scores/{n}", each.wanted()) for n, each in enumerate(change.scores)]
            return await previews.of_scores(tx, tenant_id, sight, wanted, Refusals())


async def _pages(found: Preview, names: Mapping[UUID, str]) -> AsyncIterator[Sequence[Mapping[str, Value]]]:
    yield [
        {
            "person_id": each.person_id,
            "person": names.get(each.person_id),
            "plan_id": each.plan_id,
            "component": each.component,
            "period_start": each.origin.start,
            "period_end": each.origin.end,
            "due_start": each.due.period.start,
            "due_state": each.due.state.value,
            "posted_in_start": each.posted_in.start,
            "before": round_to_minor_unit(each.before, each.currency),
            "after": round_to_minor_unit(each.after, each.currency),
            "difference": round_to_minor_unit(each.amount, each.currency),
            "currency": each.currency,
        }
        for each in found.effects
    ]


async def _answer(plans: Plans, tx: Transaction, caller: Caller, found: Preview, paging: PageRequest) -> PreviewAnswer:
    after = _PEOPLE.after(paging)
    rest = [each for each in found.people() if after is None or each.key > after][: paging.fetch_limit]
    names = await plans.person_names(tx, caller.tenant_id, {each.person_id for each in rest})
    page = _PEOPLE.page(paging, rest, key=lambda each: each.key, item=lambda each: PersonEffectAnswer.of(each, names))
    return PreviewAnswer.of_page(found, page)
