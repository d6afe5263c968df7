"""The use cases of plans and assignments.

Every change holds its tenant's lock. One that changes what is paid marks the assignments it touches stale in the same
transaction; the worker, woken at the commit, works them out anew.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Final
from uuid import UUID

from services.incentives.plans import store
from services.incentives.plans.domain.assignments import (
    Assignment,
    AssignmentNotFound,
    Quota,
    check_no_overlap,
    check_quota_keys,
)
from services.incentives.plans.domain.components import Component
from services.incentives.plans.domain.versions import (
    Plan,
    PlanNotFound,
    PlanVersion,
    PlanVersionNotFound,
    VersionStatus,
    activated,
    approved,
    check_effective_from,
    edited,
)
from services.incentives.plans.store import StaleAssignment, Standing
from services.incentives.plans.tables import projection
from services.incentives.publishing import STALE_CHANNEL
from shared.contracts.org import Calendar, Person
from shared.db.database import Transaction
from shared.db.projection import Projection
from shared.kernel.errors import check_version
from shared.kernel.money import parse_currency
from shared.kernel.periods import DatedRange, FiscalCalendar, PeriodKind

PROJECTION: Final = Projection(projection)


async def mark_stale(
    tx: Transaction, tenant_id: UUID, assignment_ids: Collection[UUID], changes: Sequence[str]
) -> None:
    """Have these assignments worked out anew because of `changes` (each `<subject> v<version>`)."""
    if assignment_ids:
        await store.mark_stale(tx, tenant_id, assignment_ids, json.dumps(list(changes)))
        await tx.notify(STALE_CHANNEL)


async def take_stale(tx: Transaction, tenant_id: UUID, limit: int) -> list[StaleAssignment]:
    """The longest stale assignments of a tenant, their marks cleared: the caller works them out before it commits."""
    return await store.take_stale(tx, tenant_id, limit)


async def stale_ids(tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, set[UUID]]:
    """The stale assignments of each of these tenants."""
    return await store.stale_ids(tx, tenant_ids)


async def standings(tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, Standing]:
    """How the definitions of each of these tenants stand."""
    return await store.standings(tx, tenant_ids)


async def stale_tenants(tx: Transaction) -> list[UUID]:
    """Every tenant with stale assignments, as far as the transaction sees tenants."""
    return await store.stale_tenants(tx)


async def fiscal_calendar(tx: Transaction, tenant_id: UUID) -> FiscalCalendar:
    """How the tenant cuts its years; January and UTC until it says so."""
    held = await store.bodies(tx, tenant_id, ["calendar"])
    if not held:
        return FiscalCalendar()
    calendar = Calendar.model_validate_json(held["calendar"])
    return FiscalCalendar(calendar.start_month, calendar.time_zone)


async def person_names(tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> dict[UUID, str]:
    """The names of those people that are known yet."""
    held = await store.bodies(tx, tenant_id, {f"person/{person_id}" for person_id in person_ids})
    people = [Person.model_validate_json(body) for body in held.values()]
    return {person.id: person.name for person in people}


async def plan(tx: Transaction, tenant_id: UUID, plan_id: UUID, *, lock: bool = False) -> Plan:
    """Raises PlanNotFound."""
    found = await store.plan(tx, tenant_id, plan_id, lock=lock)
    if found is None:
        raise PlanNotFound(f"There is no plan {plan_id}.")
    return found


async def list_plans(tx: Transaction, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[Plan]:
    """Plans in the order of their ids."""
    return await store.list_plans(tx, tenant_id, after=after, limit=limit)


async def create_plan(tx: Transaction, tenant_id: UUID, name: str, currency: str, period: PeriodKind) -> Plan:
    """A plan without terms. InvalidInput for what is no currency."""
    created = Plan(tx.new_id(), name, parse_currency(currency), period)
    await store.add_plan(tx, tenant_id, created)
    return created


async def rename_plan(tx: Transaction, tenant_id: UUID, plan_id: UUID, name: str, *, expected_version: int) -> Plan:
    """Raises PlanNotFound, VersionMismatch."""
    held = await plan(tx, tenant_id, plan_id, lock=True)
    check_version(held.version, expected_version)
    renamed = replace(held, name=name, version=held.version + 1)
    await store.save_plan(tx, tenant_id, renamed)
    return renamed


async def versions(tx: Transaction, tenant_id: UUID, plan_id: UUID) -> tuple[Plan, list[PlanVersion]]:
    """The plan and its versions in the order of their numbers. Raises PlanNotFound."""
    held = await plan(tx, tenant_id, plan_id)
    return held, await store.versions(tx, tenant_id, held)


async def version(tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int) -> PlanVersion:
    """Raises PlanNotFound, PlanVersionNotFound."""
    _, held = await versions(tx, tenant_id, plan_id)
    return _numbered(held, number)


async def draft_version(
    tx: Transaction,
    tenant_id: UUID,
    plan_id: UUID,
    *,
    effective_from: date,
    components: tuple[Component, ...],
    note: str | None,
    author_id: UUID | None,
) -> PlanVersion:
    """A draft with the next number. Raises PlanNotFound; InvalidInput when it does not start with a period."""
    held = await plan(tx, tenant_id, plan_id, lock=True)
    check_effective_from(effective_from, held.period, await fiscal_calendar(tx, tenant_id))
    number = 1 + max((known.number for known in await store.versions(tx, tenant_id, held)), default=0)
    draft = PlanVersion(plan_id, number, VersionStatus.DRAFT, effective_from, components, note, author_id)
    await store.add_version(tx, tenant_id, draft)
    return draft


async def edit_version(
    tx: Transaction,
    tenant_id: UUID,
    plan_id: UUID,
    number: int,
    *,
    effective_from: date,
    components: tuple[Component, ...],
    note: str | None,
    expected_version: int,
) -> PlanVersion:
    """Put other terms into a draft. Raises PlanVersionNotDraft, VersionMismatch and what `draft_version` does."""
    held, current = await _locked_version(tx, tenant_id, plan_id, number, expected_version)
    check_effective_from(effective_from, held.period, await fiscal_calendar(tx, tenant_id))
    saved = edited(current, effective_from=effective_from, components=components, note=note)
    await store.save_version(tx, tenant_id, saved)
    return saved


async def approve_version(
    tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int, *, approver_id: UUID | None, expected_version: int
) -> PlanVersion:
    """Raises PlanVersionNotDraft, ApprovalNotIndependent, VersionMismatch."""
    _, current = await _locked_version(tx, tenant_id, plan_id, number, expected_version)
    saved = approved(current, approver_id)
    await store.save_version(tx, tenant_id, saved)
    return saved


async def activate_version(
    tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int, *, expected_version: int
) -> PlanVersion:
    """Let the terms pay; every assignment of the plan is worked out anew. Raises PlanVersionNotApproved."""
    await tx.lock_tenants_exclusive([tenant_id])
    _, current = await _locked_version(tx, tenant_id, plan_id, number, expected_version)
    saved = activated(current)
    await store.save_version(tx, tenant_id, saved)
    await PROJECTION.bump(tx, [tenant_id])
    touched = await store.assignment_ids_of_plan(tx, tenant_id, plan_id)
    await mark_stale(tx, tenant_id, touched, [f"plan/{plan_id} v{number}"])
    return saved


async def list_assignments(
    tx: Transaction,
    tenant_id: UUID,
    *,
    people: Collection[UUID] | None,
    plan_id: UUID | None,
    after: UUID | None,
    limit: int,
) -> list[Assignment]:
    """Assignments in the order of their ids, of some people (None: everyone) and of one plan or all."""
    return await store.list_assignments(tx, tenant_id, people=people, plan_id=plan_id, after=after, limit=limit)


async def assignment(tx: Transaction, tenant_id: UUID, assignment_id: UUID) -> Assignment:
    """Raises AssignmentNotFound, also for a deleted one."""
    held = await store.assignment(tx, tenant_id, assignment_id)
    if held is None or held.deleted:
        raise AssignmentNotFound(f"There is no assignment {assignment_id}.")
    return held


async def assign(
    tx: Transaction,
    tenant_id: UUID,
    *,
    person_id: UUID,
    plan_id: UUID,
    dated: DatedRange,
    quotas: Mapping[str, Quota],
) -> Assignment:
    """Put a person on a plan. The person may not be known here yet; what the plan pays then waits for its deals.

    Raises PlanNotFound, AssignmentOverlaps; InvalidInput for a quota of a component the plan does not have.
    """
    await tx.lock_tenants_exclusive([tenant_id])
    added = Assignment(tx.new_id(), person_id, plan_id, dated, dict(quotas))
    await _check_assignment(tx, tenant_id, added)
    await store.add_assignment(tx, tenant_id, added)
    await _assignment_changed(tx, tenant_id, added)
    return added


async def change_assignment(
    tx: Transaction,
    tenant_id: UUID,
    assignment_id: UUID,
    *,
    dated: DatedRange | None,
    quotas: Mapping[str, Quota] | None,
    expected_version: int,
) -> Assignment:
    """Change the days or the quotas; None leaves them. Raises AssignmentNotFound, VersionMismatch, as `assign` does."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await assignment(tx, tenant_id, assignment_id)
    check_version(held.version, expected_version)
    changed = replace(
        held,
        range=held.range if dated is None else dated,
        quotas=held.quotas if quotas is None else dict(quotas),
        version=held.version + 1,
    )
    await _check_assignment(tx, tenant_id, changed)
    await store.save_assignment(tx, tenant_id, changed)
    await _assignment_changed(tx, tenant_id, changed)
    return changed


async def delete_assignment(tx: Transaction, tenant_id: UUID, assignment_id: UUID, *, expected_version: int) -> None:
    """Take the assignment back as if never made; the ledger takes back what it earned. Raises as changing does."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await assignment(tx, tenant_id, assignment_id)
    check_version(held.version, expected_version)
    deleted = replace(held, deleted=True, version=held.version + 1)
    await store.save_assignment(tx, tenant_id, deleted)
    await _assignment_changed(tx, tenant_id, deleted)


async def _check_assignment(tx: Transaction, tenant_id: UUID, candidate: Assignment) -> None:
    _, held = await versions(tx, tenant_id, candidate.plan_id)
    check_quota_keys(candidate.quotas.keys(), {item.key for known in held for item in known.components})
    others = await store.assignments_of(tx, tenant_id, candidate.person_id, candidate.plan_id)
    check_no_overlap(candidate, others)


async def _assignment_changed(tx: Transaction, tenant_id: UUID, changed: Assignment) -> None:
    await PROJECTION.bump(tx, [tenant_id])
    await mark_stale(tx, tenant_id, [changed.id], [f"assignment/{changed.id} v{changed.version}"])


async def _locked_version(
    tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int, expected_version: int
) -> tuple[Plan, PlanVersion]:
    held = await plan(tx, tenant_id, plan_id, lock=True)
    current = _numbered(await store.versions(tx, tenant_id, held), number)
    check_version(current.revision, expected_version)
    return held, current


def _numbered(known: Sequence[PlanVersion], number: int) -> PlanVersion:
    for candidate in known:
        if candidate.number == number:
            return candidate
    raise PlanVersionNotFound(f"The plan has no version {number}.")
