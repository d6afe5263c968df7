"""Scenarios over HTTP."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query
from pydantic import conint
from starlette.responses import Response

from services.goals.jobs.domain import Job
from services.goals.jobs.schemas import JobAnswer
from services.goals.org.domain import UnknownPerson, UnknownTeam
from services.goals.planning.columns import NODE_EXAMPLE, NODES, node_row, stated_rows
from services.goals.planning.domain.plan import NodeBehind, NodeLocked, NodeNotFound, OutsideTolerance, PlanRefused
from services.goals.planning.domain.scenario import (
    EvidenceLacking,
    ScenarioNotFound,
    ScenarioNotInState,
    ScenarioState,
)
from services.goals.planning.schemas import (
    CHANGE_EXAMPLE,
    CommitmentAnswer,
    CommitmentBody,
    CommitmentsAnswer,
    CommitmentsBody,
    ComparedAnswer,
    GapAnswer,
    NodeAnswer,
    PlanChangeBody,
    PlanChangesBody,
    ScenarioAnswer,
    ScenarioBody,
    ScenarioChanges,
    ScenarioListedAnswer,
)
from services.goals.planning.service import Committed, Place, Planning
from services.goals.targets.domain import GoalNotDraft, GoalOutOfReach
from shared.http.audit import AuditedWriter
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.sight import CurrentCaller
from shared.http.tables import (
    TableFormat,
    Uploaded,
    all_rows,
    described_file,
    described_upload,
    table_answer,
    table_file,
)
from shared.http.wiring import handed
from shared.kernel.errors import ItemsRefused, Refusals, VersionMismatch
from shared.tables.cells import InvalidTable
from shared.tables.columns import Value

router = APIRouter(prefix="/v1/scenarios", tags=["scenarios"])

UseCases = Annotated[Planning, Depends(handed(Planning))]
COMPARED_MAX: Final = 5
_ID: Final = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
TABLE_ROWS_MAX: Final = 250_000
_TABLE_PAGE: Final = 5_000
_IDS: Final = Cursor(UUID)
_POSITIONS: Final = Cursor(conint(ge=0, le=2**31 - 1))
_OWNERS: Final = (UnknownPerson, UnknownTeam)
_NODES: Final = (NodeNotFound, NodeLocked, NodeBehind, OutsideTolerance)
_EDIT: Final = (ScenarioNotFound, GoalOutOfReach, VersionMismatch, PreconditionRequired)
_CHANGE: Final = (*_EDIT, ScenarioNotInState)


@router.get("", summary="List scenarios")
async def list_scenarios(
    caller: CurrentCaller,
    planning: UseCases,
    paging: Paging,
    state: Annotated[ScenarioState | None, Query(description="Only scenarios in this state.")] = None,
) -> Page[ScenarioListedAnswer]:
    """Those with a target for somebody in sight, the oldest first."""
    async with caller.reading() as (tx, sight):
        found = await planning.list_scenarios(
            tx, caller.tenant_id, sight, state, after=_IDS.after(paging), limit=paging.fetch_limit
        )
    return _IDS.page(paging, found, key=lambda scenario: scenario.id, item=ScenarioListedAnswer.listed)


@router.get("/compare", summary="Scenarios side by side", responses=responses(ScenarioNotFound))
async def compare_scenarios(
    caller: CurrentCaller,
    planning: UseCases,
    paging: Paging,
    scenario_ids: Annotated[
        str,
        Query(
            pattern=f"^{_ID}(,{_ID}){{0,{COMPARED_MAX - 1}}}$",
            description=f"Up to {COMPARED_MAX} ids with commas between them, in the order of the answer.",
            examples=["01935a00-0000-7000-8000-000000000061,01935a00-0000-7000-8000-000000000062"],
        ),
    ],
    owner_id: Annotated[UUID | None, Query(description="Only targets of this person or team.")] = None,
) -> Page[ComparedAnswer]:
    """A row for each owner and period that any of them has a target for, with last year's number."""
    async with caller.reading() as (tx, sight):
        found = await planning.compare(
            tx,
            caller.tenant_id,
            [UUID(scenario_id) for scenario_id in scenario_ids.split(",")],
            owner_id,
            sight,
            after=_POSITIONS.after(paging),
            limit=paging.fetch_limit,
        )
    return _POSITIONS.page(paging, found, key=lambda each: each.position, item=ComparedAnswer.of)


@router.post(
    "",
    summary="Work out a plan",
    status_code=201,
    responses=responses(GoalOutOfReach, EvidenceLacking, PlanRefused, *_OWNERS),
)
async def create_scenario(
    body: ScenarioBody, caller: CurrentCaller, planning: UseCases, writer: AuditedWriter
) -> Answered[ScenarioAnswer]:
    """A draft that changes no goal. The same wish with the same knowledge comes to the same targets."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: planning.create_scenario(
                tx, caller.tenant_id, body.name, body.pattern(), body.wish, actor=caller.actor, sight=sight
            )
        ),
        ScenarioAnswer.of,
        status=201,
        location=lambda made: f"/v1/scenarios/{made.scenario.id}",
    )


@router.get("/{scenario_id}", summary="A scenario", responses=responses(ScenarioNotFound))
async def get_scenario(
    scenario_id: UUID, caller: CurrentCaller, planning: UseCases, read: ConditionalRead
) -> Answered[ScenarioAnswer]:
    async with caller.reading() as (tx, sight):
        found = await planning.get_scenario(tx, caller.tenant_id, scenario_id, sight)
    return read.answer(ScenarioAnswer.of(found))


@router.get("/{scenario_id}/nodes", summary="The targets of a scenario", responses=responses(ScenarioNotFound))
async def list_scenario_nodes(
    scenario_id: UUID,
    caller: CurrentCaller,
    planning: UseCases,
    paging: Paging,
    parent_id: Annotated[UUID | None, Query(description="Only those right below this node.")] = None,
    owner_id: Annotated[UUID | None, Query(description="Only targets of this person or team.")] = None,
) -> Page[NodeAnswer]:
    """Those of owners in sight, each after the one above it."""
    async with caller.reading() as (tx, sight):
        found = await planning.list_nodes(
            tx,
            caller.tenant_id,
            scenario_id,
            Place(parent_id, owner_id),
            sight,
            after=_POSITIONS.after(paging),
            limit=paging.fetch_limit,
        )
    return _POSITIONS.page(paging, found, key=lambda seen: seen.position, item=NodeAnswer.of)


@router.patch("/{scenario_id}", summary="Rename a scenario", responses=responses(*_EDIT))
async def change_scenario(
    scenario_id: UUID,
    body: ScenarioChanges,
    caller: CurrentCaller,
    planning: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[ScenarioAnswer]:
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: planning.rename_scenario(tx, caller.tenant_id, scenario_id, expected, body.name, sight)
        ),
        ScenarioAnswer.of,
    )


@router.post(
    "/{scenario_id}/changes",
    summary="Change the plan of a scenario",
    responses=responses(PlanRefused, EvidenceLacking, *_NODES, *_CHANGE),
)
async def change_scenario_plan(
    scenario_id: UUID,
    body: Annotated[PlanChangeBody, Body(examples=[CHANGE_EXAMPLE])],
    caller: CurrentCaller,
    planning: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[ScenarioAnswer]:
    """State, lock, unlock or annotate a node, or split anew what is left of it.

    A manager states numbers and notes of its subtree, within the tolerance of the level; RevOps changes everything.
    """
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: planning.change_scenario(
                tx,
                caller.tenant_id,
                scenario_id,
                expected,
                [("", body.change())],
                Refusals(alone=True),
                actor=caller.actor,
                sight=sight,
            )
        ),
        ScenarioAnswer.of,
    )


@router.post(
    "/{scenario_id}/changes/bulk",
    summary="Make many changes of the plan of a scenario",
    responses=responses(PlanRefused, ItemsRefused, *_CHANGE),
)
async def change_scenario_plan_many(
    scenario_id: UUID,
    body: PlanChangesBody,
    caller: CurrentCaller,
    planning: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[ScenarioAnswer]:
    """All of them in their order, or none. Who may make each is as if they were made one by one."""
    wanted = [(f"/changes/{number}", each.change()) for number, each in enumerate(body.changes)]
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: planning.change_scenario(
                tx, caller.tenant_id, scenario_id, expected, wanted, Refusals(), actor=caller.actor, sight=sight
            )
        ),
        ScenarioAnswer.of,
    )


@router.get(
    "/{scenario_id}/table",
    summary="The targets of a scenario as a table",
    response_class=Response,
    responses={200: described_file(NODES), **responses(ScenarioNotFound)},
)
async def export_scenario_nodes(
    scenario_id: UUID,
    caller: CurrentCaller,
    planning: UseCases,
    table_format: Annotated[TableFormat, Query(alias="format", description="CSV in UTF-8, or a workbook.")] = (
        TableFormat.CSV
    ),
) -> Response:
    """All of owners in sight. Sent back with other targets or notes it changes these."""
    async with caller.reading() as (tx, sight):
        nodes = await planning.list_all_nodes(tx, caller.tenant_id, scenario_id, sight)

    async def pages() -> AsyncIterator[Sequence[Mapping[str, Value]]]:
        for start in range(0, len(nodes), _TABLE_PAGE):
            yield [node_row(node, name) for node, name in nodes[start : start + _TABLE_PAGE]]

    file, media_type = await table_file(NODES, table_format, pages())
    return table_answer(file, media_type, f"scenario-{scenario_id}.{table_format}")


@router.post(
    "/{scenario_id}/table",
    summary="Change the targets of a scenario by a table",
    responses=responses(InvalidTable, ItemsRefused, PlanRefused, *_NODES, *_CHANGE),
    openapi_extra=described_upload(NODES, f"node_id,target\n{NODE_EXAMPLE},525000"),
)
async def import_scenario_nodes(
    scenario_id: UUID,
    uploaded: Uploaded,
    caller: CurrentCaller,
    planning: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[ScenarioAnswer]:
    """Targets and notes that differ from those there are are stated, all or none; what is below them follows."""
    async with caller.reading() as (tx, sight):
        await planning.require_seen(tx, caller.tenant_id, scenario_id, sight)
    rows = await uploaded.read(lambda read: all_rows(NODES, read, rows_max=TABLE_ROWS_MAX))
    stated = stated_rows(rows)
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: planning.state_targets(
                tx, caller.tenant_id, scenario_id, expected, stated, Refusals(), actor=caller.actor, sight=sight
            )
        ),
        ScenarioAnswer.of,
    )


@router.post(
    "/{scenario_id}/refresh",
    summary="Work a scenario out by what is known now",
    responses=responses(PlanRefused, EvidenceLacking, *_CHANGE),
)
async def refresh_scenario(
    scenario_id: UUID, caller: CurrentCaller, planning: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[ScenarioAnswer]:
    """By the organisation, the calendar and the actuals of now; what people changed stays."""
    return await writer.commit(
        caller.seeing(lambda tx, sight: planning.refresh_scenario(tx, caller.tenant_id, scenario_id, expected, sight)),
        ScenarioAnswer.of,
    )


@router.post(
    "/{scenario_id}/copy",
    summary="Copy a scenario",
    status_code=201,
    responses=responses(ScenarioNotFound, GoalOutOfReach),
)
async def copy_scenario(
    scenario_id: UUID, body: ScenarioChanges, caller: CurrentCaller, planning: UseCases, writer: AuditedWriter
) -> Answered[ScenarioAnswer]:
    """Another draft with the same plan, under another name."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: planning.copy_scenario(
                tx, caller.tenant_id, scenario_id, body.name, actor=caller.actor, sight=sight
            )
        ),
        ScenarioAnswer.of,
        status=201,
        location=lambda made: f"/v1/scenarios/{made.scenario.id}",
    )


@router.post("/{scenario_id}/archive", summary="Put a scenario away", responses=responses(*_CHANGE))
async def archive_scenario(
    scenario_id: UUID, caller: CurrentCaller, planning: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[ScenarioAnswer]:
    """It stays readable, and can be copied. Goals that it has made stay."""
    return await writer.commit(
        caller.seeing(lambda tx, sight: planning.archive_scenario(tx, caller.tenant_id, scenario_id, expected, sight)),
        ScenarioAnswer.of,
    )


@router.post(
    "/{scenario_id}/commitments",
    summary="Commit to a number from below",
    status_code=201,
    responses=responses(ScenarioNotFound, NodeNotFound, GoalOutOfReach, ScenarioNotInState),
)
async def create_scenario_commitment(
    scenario_id: UUID, body: CommitmentBody, caller: CurrentCaller, planning: UseCases, writer: AuditedWriter
) -> Answered[CommitmentAnswer]:
    """Everybody for themselves, a manager for its subtree. The last one stated of a node counts; all stay on record."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: planning.commit_to(
                tx,
                caller.tenant_id,
                scenario_id,
                [Committed("", body.node_id, body.amount, body.comment)],
                Refusals(alone=True),
                actor=caller.actor,
                sight=sight,
            )
        ),
        lambda commitments: CommitmentAnswer.of(commitments[0]),
        status=201,
    )


@router.post(
    "/{scenario_id}/commitments/bulk",
    summary="Commit to many numbers from below",
    status_code=201,
    responses=responses(ScenarioNotFound, ScenarioNotInState, ItemsRefused),
)
async def create_scenario_commitments(
    scenario_id: UUID, body: CommitmentsBody, caller: CurrentCaller, planning: UseCases, writer: AuditedWriter
) -> Answered[CommitmentsAnswer]:
    """All of them or none; each as if it were stated alone."""
    amounts = [
        Committed(f"/commitments/{number}", each.node_id, each.amount, each.comment)
        for number, each in enumerate(body.commitments)
    ]
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: planning.commit_to(
                tx, caller.tenant_id, scenario_id, amounts, Refusals(), actor=caller.actor, sight=sight
            )
        ),
        CommitmentsAnswer.of,
        status=201,
    )


@router.get(
    "/{scenario_id}/gaps", summary="What is committed against what is planned", responses=responses(ScenarioNotFound)
)
async def list_scenario_gaps(
    scenario_id: UUID, caller: CurrentCaller, planning: UseCases, paging: Paging
) -> Page[GapAnswer]:
    """For nodes of owners in sight, each after the one above it."""
    async with caller.reading() as (tx, sight):
        found = await planning.gaps(
            tx, caller.tenant_id, scenario_id, sight, after=_POSITIONS.after(paging), limit=paging.fetch_limit
        )
    return _POSITIONS.page(paging, found, key=lambda each: each[0], item=lambda each: GapAnswer.of(each[1], each[2]))


@router.post(
    "/{scenario_id}/apply", summary="Draft the goals of a scenario", status_code=202, responses=responses(*_CHANGE)
)
async def apply_scenario(
    scenario_id: UUID, caller: CurrentCaller, planning: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[JobAnswer]:
    """A job drafts one goal a node, each a part of the one above it. They count nothing before they are activated."""
    return await writer.commit(
        caller.seeing(lambda tx, sight: planning.apply_scenario(tx, caller.tenant_id, scenario_id, expected, sight)),
        JobAnswer.of,
        status=202,
        location=_job_path,
    )


@router.post(
    "/{scenario_id}/revert",
    summary="Take back the drafts of a scenario",
    status_code=202,
    responses=responses(GoalNotDraft, *_CHANGE),
)
async def revert_scenario(
    scenario_id: UUID, caller: CurrentCaller, planning: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[JobAnswer]:
    """A job cancels every goal it has drafted, also after half of them; the scenario is a draft again then."""
    return await writer.commit(
        caller.seeing(lambda tx, sight: planning.revert_scenario(tx, caller.tenant_id, scenario_id, expected, sight)),
        JobAnswer.of,
        status=202,
        location=_job_path,
    )


@router.post(
    "/{scenario_id}/activate",
    summary="Approve the goals of a scenario and let them count",
    status_code=202,
    responses=responses(*_CHANGE),
)
async def activate_scenario(
    scenario_id: UUID, caller: CurrentCaller, planning: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[JobAnswer]:
    """A job activates them for the caller. What the caller may not approve is left out and listed as its problems."""
    return await writer.commit(
        caller.seeing(lambda tx, sight: planning.activate_scenario(tx, caller.tenant_id, scenario_id, expected, sight)),
        JobAnswer.of,
        status=202,
        location=_job_path,
    )


def _job_path(job: Job) -> str:
    return f"/v1/jobs/{job.id}"
