"""Who people are, out of this service's copy of the organisation."""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

from shared.contracts.org import Person
from shared.db.database import Transaction


class KnownPerson(NamedTuple):
    """A person as the organisation names it."""

    id: UUID
    name: str


_BY_EMAIL: Final = text(
    f"""
    SELECT lower(body ->> 'email') AS email, min(body ->> 'id') AS id, min(body ->> 'name') AS name
    FROM tracking.projected_snapshots
    WHERE tenant_id = :tenant_id AND event_type = '{Person.event_type}' AND body ->> 'active' = 'true'
        AND lower(body ->> 'email') = ANY(:emails)
    GROUP BY lower(body ->> 'email') HAVING count(*) = 1
    """
)

_NAME: Final = text(
    """
    SELECT body ->> 'name' AS name FROM tracking.projected_snapshots
    WHERE tenant_id = :tenant_id AND subject = ANY(:subjects)
    """
)


async def name_of(tx: Transaction, tenant_id: UUID, owner_id: UUID) -> str | None:
    """What a person or a team is called; None for one that is not known."""
    subjects = [f"person/{owner_id}", f"team/{owner_id}"]
    row = await tx.one_or_none(_NAME, {"tenant_id": tenant_id, "subjects": subjects})
    return None if row is None else row["name"]


async def by_email(tx: Transaction, tenant_id: UUID, emails: Collection[str]) -> Mapping[str, KnownPerson]:
    """The active person each of these e-mail addresses, in lower case, belongs to; left out where it is not one."""
    if not emails:
        return {}
    rows = await tx.rows(_BY_EMAIL, {"tenant_id": tenant_id, "emails": sorted(emails)})
    return {row["email"]: KnownPerson(UUID(row["id"]), row["name"]) for row in rows}
