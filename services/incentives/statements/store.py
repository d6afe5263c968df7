"""Every statement on acceptances."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.incentives.statements.domain.acceptances import Acceptance
from services.incentives.statements.domain.texts import Language
from services.incentives.statements.tables import plan_acceptances
from shared.db.database import Transaction


async def acceptances(tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int) -> dict[UUID, Acceptance]:
    """Those of a version, by person."""
    table = plan_acceptances
    statement = select(table).where(
        table.c.tenant_id == tenant_id, table.c.plan_id == plan_id, table.c.number == number
    )
    return {
        row["person_id"]: Acceptance(
            row["person_id"], row["accepted_at"], Language(row["language"]), row["terms_digest"]
        )
        for row in await tx.rows(statement)
    }


async def add_acceptance(tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int, added: Acceptance) -> None:
    """Keep an acceptance, unless the person has accepted the version before."""
    await tx.execute(
        insert(plan_acceptances)
        .values(
            tenant_id=tenant_id,
            plan_id=plan_id,
            number=number,
            person_id=added.person_id,
            accepted_at=added.accepted_at,
            language=added.language.value,
            terms_digest=added.terms_digest,
        )
        .on_conflict_do_nothing()
    )
