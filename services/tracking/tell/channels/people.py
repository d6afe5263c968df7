"""Whom messages are about and who reads them, by this service's copy of the organisation."""

from collections.abc import Collection, Mapping
from uuid import UUID

from services.tracking.definitions import people
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.tell.channels.domain.deliveries import Channel
from services.tracking.tell.channels.domain.messages import Mention
from shared.db.database import Transaction
from shared.kernel.sight import Breadth, Sight, Viewer


class People:
    """Reads them in the caller's transaction."""

    def __init__(self, definitions: DefinitionsCache) -> None:
        self._definitions = definitions

    async def all_see(self, tx: Transaction, tenant_id: UUID, readers: Collection[UUID], owner_id: UUID | None) -> bool:
        """Whether each of these people may see what is a person's or a team's; of the company's, None, nobody may.

        Without readers everybody who reads sees all.
        """
        if not readers:
            return True
        if owner_id is None:
            return False
        chart = (await self._definitions.current(tx, tenant_id)).chart
        today = chart.calendar.business_date(tx.now)
        return all(
            Sight(Viewer(reader, Breadth.SUBTREE, edits=False), chart, today).sees_owner(owner_id) for reader in readers
        )

    async def names(self, tx: Transaction, tenant_id: UUID, owner_id: UUID) -> Mapping[UUID, str]:
        """The name of a person or a team, where it is known."""
        name = await people.name_of(tx, tenant_id, owner_id)
        return {} if name is None else {owner_id: name}

    async def mentions(
        self, tx: Transaction, tenant_id: UUID, person_id: UUID, channel: Channel
    ) -> tuple[Mention, ...]:
        """The person as the channel knows it: by an identity whose source is named like the channel. None without."""
        chart = (await self._definitions.current(tx, tenant_id)).chart
        name = await people.name_of(tx, tenant_id, person_id)
        users = sorted(user.external_id for user in chart.users_of(person_id) if user.source == channel)
        return () if name is None or not users else (Mention(name, users[0]),)
