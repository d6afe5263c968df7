"""Finance closes the last month of the quarter over HTTP: worked out by one, approved by another, paid, closed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from deploy.local.api import AttainApi, Resource, ServiceApi
from deploy.local.demo.company import ANALYST, BY_KEY, CHIEF
from deploy.local.demo.seeding import SeededCompany
from deploy.local.errors import StackError
from services.incentives.payouts.schemas import PayoutAnswer, PayoutRunAnswer
from services.incentives.periods.schemas import PayPeriodAnswer
from shared.http.auth import Role

_REASON: Final = "The month is over"


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """The pay period as it is in the end, the run that paid it, what it paid whom, and a statement that was written."""

    period: PayPeriodAnswer
    run: PayoutRunAnswer
    payouts: Sequence[PayoutAnswer]
    names: Mapping[UUID, str]
    statement: Path


async def close_month(api: AttainApi, seeded: SeededCompany, statement_of: str, folder: Path) -> ClosedMonth:
    """The analyst works it out and the chief approves: neither is paid by it. `StackError` has what was refused."""
    analyst = api.acting_as(seeded.people[ANALYST], Role.FINANCE).incentives
    chief = api.acting_as(seeded.people[CHIEF], Role.ADMIN).incentives
    last_day = seeded.quarter.end - timedelta(days=1)
    found = await analyst.items("/v1/pay-periods", PayPeriodAnswer, containing=last_day)
    if len(found) != 1:
        raise StackError(f"There is no pay period with {last_day}.")
    period = found[0]
    for caller, state in ((analyst, "calculating"), (analyst, "in_review"), (chief, "approved")):
        period = await _moved(caller, period, state)
    body = {"pay_period_id": str(period.id), "reason": _REASON}
    run = await analyst.post("/v1/payout-runs", PayoutRunAnswer, body, idempotency_key=f"demo/{period.id}")
    for step in ("approve", "export", "paid"):
        path = f"/v1/payout-runs/{run.id}/{step}"
        run = await chief.post(path, PayoutRunAnswer, {"reason": _REASON}, version=run.version)
    version = (await chief.get(f"/v1/pay-periods/{period.id}", Resource)).version
    period = await _moved(chief, period.model_copy(update={"version": version}), "closed")
    person_id = seeded.people[statement_of]
    document = await analyst.document(
        "/v1/statements/document", person_id=person_id, start=seeded.quarter.start, end=seeded.quarter.end
    )
    statement = folder / f"statement-{statement_of}-{seeded.quarter.start}.pdf"
    statement.write_bytes(document)
    return ClosedMonth(
        period=period,
        run=run,
        payouts=await analyst.items(f"/v1/payout-runs/{run.id}/payouts", PayoutAnswer),
        names={person_id: BY_KEY[key].name for key, person_id in seeded.people.items()},
        statement=statement,
    )


async def _moved(caller: ServiceApi, period: PayPeriodAnswer, state: str) -> PayPeriodAnswer:
    path = f"/v1/pay-periods/{period.id}/move"
    return await caller.post(path, PayPeriodAnswer, {"state": state, "reason": _REASON}, version=period.version)
