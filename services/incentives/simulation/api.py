"""Simulation over HTTP."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from services.incentives.credits.domain.credit import PersonNotInSight
from services.incentives.plans.domain.versions import PlanNotFound, PlanVersionNotFound, numbered
from services.incentives.plans.service import Plans
from services.incentives.simulation.domain import Comparison
from services.incentives.simulation.picture import MEDIA_TYPE, picture
from services.incentives.simulation.schemas import PlanSimulationAnswer, SimulatedEarningsAnswer, SimulationBody
from services.incentives.simulation.service import HistoryTooLong, PersonUnmapped, Simulations
from shared.http.problems import ParameterError, responses
from shared.http.reader import RequestReader
from shared.http.sight import Auditor, CurrentCaller
from shared.http.tables import TableFormat, table_answer, table_file
from shared.http.wiring import handed
from shared.kernel.errors import InvalidInput
from shared.kernel.sight import WHOLE_TENANT
from shared.tables.columns import Column, Kind, Value

router = APIRouter(prefix="/v1/simulations", tags=["simulation"])

UseCases = Annotated[Simulations, Depends(handed(Simulations))]
_NUMBER_MAX: Final = 2**31 - 1
_COLUMNS: Final = (
    Column("person_id", Kind.ID),
    Column("person", Kind.TEXT),
    Column("current", Kind.NUMBER),
    Column("simulated", Kind.NUMBER),
    Column("difference", Kind.NUMBER),
    Column("currency", Kind.WORD),
)


class SimulationFormat(StrEnum):
    """What a simulation is given as."""

    JSON = "json"
    CSV = "csv"
    XLSX = "xlsx"
    SVG = "svg"


@router.post(
    "/earnings",
    summary="What would I earn if these deals were won?",
    responses=responses(PersonNotInSight, PersonUnmapped),
)
async def simulate_earnings(
    body: SimulationBody, caller: CurrentCaller, simulations: UseCases
) -> SimulatedEarningsAnswer:
    """By the terms and quotas in force, on top of what is credited now. Nothing is stored."""
    async with caller.reading() as (tx, sight):
        found = await simulations.with_deals(
            tx, caller.tenant_id, sight, body.person_id, [deal.deal() for deal in body.deals]
        )
    return SimulatedEarningsAnswer.of(found)


@router.get(
    "/plans/{plan_id}/versions/{number}",
    summary="Try a plan's version on what really happened",
    response_model=PlanSimulationAnswer,
    responses=responses(PlanNotFound, PlanVersionNotFound, HistoryTooLong),
)
async def simulate_plan_version(
    plan_id: UUID,
    number: Annotated[int, Path(ge=1, le=_NUMBER_MAX, description="Which version, a draft as well.")],
    auditor: Auditor,
    plans: Annotated[Plans, Depends(handed(Plans))],
    simulations: UseCases,
    reader: RequestReader,
    start: Annotated[date, Query(description="First day.", examples=["2026-01-01"])],
    end: Annotated[date, Query(description="First day after.", examples=["2026-04-01"])],
    file_format: Annotated[
        SimulationFormat, Query(alias="format", description="`csv` and `xlsx` are a table of people, `svg` a picture.")
    ] = SimulationFormat.JSON,
) -> Response:
    """Everybody on the plan, over the whole periods within [start, end): cost, spread, who wins and who loses, and how
    the cost follows the value of the deals. Nothing is stored.
    """
    if start >= end:
        raise InvalidInput(
            "/end is not after /start.",
            fields=[ParameterError("/end", f"{end} is not after {start}", "a later day", "query")],
        )
    async with reader.snapshot() as tx:
        plan = await plans.get_plan(tx, auditor.tenant_id, plan_id, WHOLE_TENANT)
        version = numbered(await plans.every_version(tx, auditor.tenant_id, plan), number)
        found = await simulations.of_plan(tx, auditor.tenant_id, version, start, end)
        people = [person.person_id for person in found.people]
        names = await plans.person_names(tx, auditor.tenant_id, people)
    match file_format:
        case SimulationFormat.JSON:
            answer = PlanSimulationAnswer.of(plan_id, number, (start, end), found)
            return Response(answer.model_dump_json(), media_type="application/json")
        case SimulationFormat.SVG:
            title = f"{plan.name}, version {number}: {start} to {end}"
            return Response(picture(title, found), media_type=MEDIA_TYPE)
        case _:
            table_format = TableFormat(file_format.value)
            file, media_type = await table_file(_COLUMNS, table_format, _pages(found, names))
            return table_answer(file, media_type, f"simulation-{plan_id}-{number}.{table_format}")


async def _pages(found: Comparison, names: Mapping[UUID, str]) -> AsyncIterator[Sequence[Mapping[str, Value]]]:
    yield [
        {
            "person_id": person.person_id,
            "person": names.get(person.person_id),
            "current": person.current,
            "simulated": person.simulated,
            "difference": person.difference,
            "currency": found.currency,
        }
        for person in found.people
    ]
