"""What a version of a plan says, for those it pays, and their acceptance of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from hashlib import sha256
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import PersonNotInSight
from services.incentives.credits.service import Credits
from services.incentives.plans.content.assignments import assignment_terms_content
from services.incentives.plans.content.terms import TERMS, terms_document, terms_json
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.versions import ChangeKind, Plan, PlanVersion, effective_until, numbered
from services.incentives.plans.service import Plans
from services.incentives.statements import store
from services.incentives.statements.domain.acceptances import (
    Acceptance,
    NotPaidByPlanVersion,
    check_accepted_by,
    paid_by,
    paying,
)
from services.incentives.statements.domain.plan_document import PersonalTerms, PlanTerms
from services.incentives.statements.domain.statement import Payee
from shared.db.database import Transaction
from shared.kernel.language import Language
from shared.kernel.sight import Sight

_CHANGES_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Accepting:
    """A person whom a version pays, and its acceptance, if it has accepted."""

    payee: Payee
    acceptance: Acceptance | None


class PlanDocuments:
    """Reads the terms of versions for documents, and keeps who accepted them."""

    def __init__(self, plans: Plans, credits: Credits) -> None:
        self._plans = plans
        self._credits = credits

    async def terms(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        plan_id: UUID,
        number: int,
        *,
        person_id: UUID | None = None,
    ) -> PlanTerms:
        """The terms of a version that is in sight, with the acceptance of whoever looks, if it has accepted.

        For a person with its own quotas, target variable, ramp, leave and days, and its own acceptance. Raises
        PlanNotFound, PlanVersionNotFound, PersonNotInSight, NotPaidByPlanVersion.
        """
        if person_id is not None and not sight.sees_person(person_id):
            raise PersonNotInSight(f"There is no person {person_id}.")
        plan, version, versions = await self._version(tx, tenant_id, sight, plan_id, number)
        changes = await self._plans.list_version_changes(tx, tenant_id, plan_id, number, after=0, limit=_CHANGES_MAX)
        viewer = person_id or sight.viewer.person_id
        names = await self._plans.person_names(
            tx, tenant_id, {each for each in (version.approver_id, viewer) if each is not None}
        )
        approved_at = next((each.at for each in changes if each.kind is ChangeKind.APPROVED), None)
        approver = None if version.approver_id is None else names.get(version.approver_id, str(version.approver_id))
        by_whom = approver if approver is None or approved_at is None else f"{approver}, {approved_at:%Y-%m-%d}"
        accepted = None
        if viewer is not None:
            known = await store.acceptances(tx, tenant_id, plan_id, number)
            if viewer in known:
                accepted = names.get(viewer, str(viewer)), known[viewer].accepted_at
        personal = None
        if person_id is not None:
            personal = await self._personal(tx, tenant_id, version, effective_until(version, versions), person_id)
        moments = [each.at for each in changes if each.at is not None]
        first_day = datetime.combine(version.effective_from, time(), UTC)
        return PlanTerms(
            plan=plan,
            version=version,
            until=effective_until(version, versions),
            terms=terms_json(version.effective_from, version.components, version.rules, version.note),
            digest=_digest(plan, version),
            approved_by=by_whom,
            as_of=max([*moments, *([] if accepted is None else [accepted[1]])], default=first_day),
            accepted=accepted,
            personal=personal,
        )

    async def accept(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        plan_id: UUID,
        number: int,
        *,
        language: Language,
    ) -> Accepting:
        """Keep that whoever calls accepts the version; once accepted, it stays as it was.

        Raises PlanNotFound, PlanVersionNotFound, PlanVersionNotActive, NotPaidByPlanVersion.
        """
        plan, version, versions = await self._version(tx, tenant_id, sight, plan_id, number)
        known = await self._credits.definitions(tx, tenant_id)
        paid = paid_by(version, effective_until(version, versions), known.assignments.values())
        person_id = check_accepted_by(version, sight.viewer.person_id, paid)
        personal = await self._personal(tx, tenant_id, version, effective_until(version, versions), person_id)
        added = Acceptance(person_id, tx.now, language, _digest(plan, version), personal.digest)
        await store.add_acceptance(tx, tenant_id, plan_id, number, added)
        kept = (await store.acceptances(tx, tenant_id, plan_id, number))[person_id]
        return Accepting((await self._payees(tx, tenant_id, {person_id}))[person_id], kept)

    async def list_accepting(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, plan_id: UUID, number: int
    ) -> list[Accepting]:
        """Everybody in sight whom the version pays on some day, or who accepted it, by id.

        Raises PlanNotFound, PlanVersionNotFound.
        """
        _, version, versions = await self._version(tx, tenant_id, sight, plan_id, number)
        known = await self._credits.definitions(tx, tenant_id)
        accepted = await store.acceptances(tx, tenant_id, plan_id, number)
        paid = paid_by(version, effective_until(version, versions), known.assignments.values())
        seen = {person_id for person_id in paid | accepted.keys() if sight.sees_person(person_id)}
        payees = await self._payees(tx, tenant_id, seen)
        return [Accepting(payees[person_id], accepted.get(person_id)) for person_id in sorted(seen)]

    async def _personal(
        self, tx: Transaction, tenant_id: UUID, version: PlanVersion, until: date | None, person_id: UUID
    ) -> PersonalTerms:
        known = await self._credits.definitions(tx, tenant_id)
        found = [each for each in paying(version, until, known.assignments.values()) if each.person_id == person_id]
        if not found:
            raise NotPaidByPlanVersion(f"Version {version.number} pays person {person_id} on no day.")
        named = {goal_id for each in found for quota in each.quotas.values() for _, goal_id in quota.named_goals()}
        goals = {goal_id: goal for goal_id in named if (goal := known.goals.get(goal_id)) is not None}
        accepted = (await store.acceptances(tx, tenant_id, version.plan_id, version.number)).get(person_id)
        payee = (await self._payees(tx, tenant_id, {person_id}))[person_id]
        return PersonalTerms(
            payee, found, goals, _personal_digest(found), None if accepted is None else accepted.personal_digest
        )

    async def _version(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, plan_id: UUID, number: int
    ) -> tuple[Plan, PlanVersion, list[PlanVersion]]:
        plan = await self._plans.get_plan(tx, tenant_id, plan_id, sight)
        versions = await self._plans.list_versions(tx, tenant_id, plan_id, sight)
        return plan, numbered(versions, number), versions

    async def _payees(self, tx: Transaction, tenant_id: UUID, person_ids: set[UUID]) -> dict[UUID, Payee]:
        known = await self._plans.people(tx, tenant_id, person_ids)
        return {
            each: Payee(each, known[each].name, known[each].employee_number) if each in known else Payee(each)
            for each in person_ids
        }


def _digest(plan: Plan, version: PlanVersion) -> str:
    """SHA-256 of the terms, without what says nothing: a later release, which knows more members, finds the same."""
    document = TERMS.dump_python(
        terms_document(plan, version), mode="json", by_alias=True, exclude_defaults=True, exclude={"plan": {"name"}}
    )
    return sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _personal_digest(assignments: Sequence[Assignment]) -> str:
    """SHA-256 of the personal terms, without what says nothing, as `_digest` has it."""
    document = [
        assignment_terms_content(each).model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for each in assignments
    ]
    return sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
