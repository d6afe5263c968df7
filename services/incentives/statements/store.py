"""Every SQL statement on acceptances and on kept statements."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.incentives.statements.domain.acceptances import Acceptance
from services.incentives.statements.domain.keeping import KeptPart, KeptPeriod, KeptStatement
from services.incentives.statements.tables import kept_pay_periods, kept_statements, plan_acceptances
from shared.db.database import Transaction
from shared.kernel.language import Language


async def acceptances(tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int) -> dict[UUID, Acceptance]:
    """Those of a version, by person."""
    table = plan_acceptances
    statement = select(table).where(
        table.c.tenant_id == tenant_id, table.c.plan_id == plan_id, table.c.number == number
    )
    return {
        row["person_id"]: Acceptance(
            row["person_id"], row["accepted_at"], Language(row["language"]), row["terms_digest"], row["personal_digest"]
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
            personal_digest=added.personal_digest,
        )
        .on_conflict_do_nothing()
    )


async def add_kept(
    tx: Transaction, tenant_id: UUID, pay_period_id: UUID, person_id: UUID, part: KeptPart, added: KeptStatement
) -> None:
    """Keep a part of a statement, unless it is kept."""
    await tx.execute(
        insert(kept_statements)
        .values(
            tenant_id=tenant_id,
            pay_period_id=pay_period_id,
            part=part.value,
            person_id=person_id,
            content=added.content,
            digest=added.digest,
            kept_at=added.kept_at,
        )
        .on_conflict_do_nothing()
    )


async def kept(tx: Transaction, tenant_id: UUID, pay_period_id: UUID, person_id: UUID) -> dict[KeptPart, KeptStatement]:
    """What is kept of a person's statement."""
    table = kept_statements
    statement = select(table).where(
        table.c.tenant_id == tenant_id, table.c.pay_period_id == pay_period_id, table.c.person_id == person_id
    )
    return {
        KeptPart(row["part"]): KeptStatement(row["content"], row["digest"], row["kept_at"])
        for row in await tx.rows(statement)
    }


async def digests(
    tx: Transaction, tenant_id: UUID, pay_period_id: UUID, part: KeptPart, *, until: datetime | None = None
) -> dict[UUID, str]:
    """The digests of a part of the statements of a pay period, by person; of those kept by a moment."""
    table = kept_statements
    statement = select(table.c.person_id, table.c.digest).where(
        table.c.tenant_id == tenant_id, table.c.pay_period_id == pay_period_id, table.c.part == part.value
    )
    if until is not None:
        statement = statement.where(table.c.kept_at <= until)
    return {row["person_id"]: row["digest"] for row in await tx.rows(statement)}


async def kept_page(
    tx: Transaction, tenant_id: UUID, pay_period_id: UUID, part: KeptPart, *, after: UUID | None, limit: int
) -> list[tuple[UUID, KeptStatement]]:
    """A part of the statements of a pay period, by person."""
    table = kept_statements
    statement = select(table).where(
        table.c.tenant_id == tenant_id, table.c.pay_period_id == pay_period_id, table.c.part == part.value
    )
    if after is not None:
        statement = statement.where(table.c.person_id > after)
    rows = await tx.rows(statement.order_by(table.c.person_id).limit(limit))
    return [(row["person_id"], KeptStatement(row["content"], row["digest"], row["kept_at"])) for row in rows]


async def add_kept_period(tx: Transaction, tenant_id: UUID, added: KeptPeriod) -> None:
    """Remember that a part is kept for everybody, unless it is known."""
    await tx.execute(
        insert(kept_pay_periods)
        .values(
            tenant_id=tenant_id,
            pay_period_id=added.pay_period_id,
            part=added.part.value,
            statements=added.statements,
            digest=added.digest,
            kept_at=added.kept_at,
        )
        .on_conflict_do_nothing()
    )


async def kept_periods(tx: Transaction, tenant_id: UUID) -> list[KeptPeriod]:
    """Which parts are kept for everybody, of which pay periods."""
    table = kept_pay_periods
    statement = select(table).where(table.c.tenant_id == tenant_id).order_by(table.c.pay_period_id, table.c.part)
    return [
        KeptPeriod(row["pay_period_id"], KeptPart(row["part"]), row["statements"], row["digest"], row["kept_at"])
        for row in await tx.rows(statement)
    ]
