"""Worker component: opens sources' channels for notifications, and renews them well before they expire."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from services.tracking.intake.calling.caller import ApiCaller
from services.tracking.intake.calling.domain import ApiAccessMissing, SourceRefused, SourceUnavailable
from services.tracking.intake.connections import service as crm
from services.tracking.intake.connections.domain import Connection, ConnectionStatus
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.sources.source_api import ChannelRequest
from services.tracking.intake.sync import store
from services.tracking.intake.sync.domain import ChannelState
from shared.db.database import Database, Scope
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

_POLL_SECONDS: Final = 30.0
_LEASE: Final = timedelta(minutes=5)
_AT_ONCE_MAX: Final = 8
_log = get_logger(__name__)


class ChannelRenewer(Rounds):
    """Renews channels. Any number may run; each takes what no other is at."""

    def __init__(self, database: Database, caller: ApiCaller, connections: Connections, *, public_url: str) -> None:
        """`public_url`: where sources reach this service."""
        super().__init__("channels", every_seconds=_POLL_SECONDS, woken_by=database.channels(store.CHANNELS_CHANNEL))
        self._database = database
        self._caller = caller
        self._connections = connections
        self._public_url = public_url.rstrip("/")

    async def round(self) -> bool:
        await self.renew_due()
        async with self._database.transaction(Scope.every()) as tx:
            self.come_again_at(await store.next_channel_due_at(tx), tx.now)
        return False

    async def renew_due(self) -> None:
        """Open or renew every channel that is due. Raises Unavailable."""
        async with self._database.transaction(Scope.every()) as tx:
            due = await store.due_channels(tx, until=tx.now + _LEASE, limit=_AT_ONCE_MAX)
            connections = await crm.by_id(tx, [each.connection_id for each in due])
        outcomes = await asyncio.gather(
            *(self._renewed(each, connections.get(each.connection_id)) for each in due), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                _log.error("channel_not_renewed", exc_info=outcome)

    async def _renewed(self, channel: ChannelState, connection: Connection | None) -> None:
        try:
            if connection is None or connection.status is not ConnectionStatus.ACTIVE:
                raise ApiAccessMissing("The connection is disabled.")
            state: ChannelState | None = await self._opened(channel, connection)
        except ApiAccessMissing:
            state = None
        except SourceUnavailable as error:
            state = channel.failed(error.detail, datetime.now(UTC), until=error.until, is_refused=False)
        except SourceRefused as error:
            state = channel.failed(error.detail, datetime.now(UTC), until=None, is_refused=True)
        async with self._database.transaction(Scope.of(channel.tenant_id)) as tx:
            if state is None:
                await store.drop_channel(tx, channel.tenant_id, channel.connection_id)
            else:
                await store.save_channel(tx, state)

    async def _opened(self, channel: ChannelState, connection: Connection) -> ChannelState | None:
        """The channel as it is then; None for a source that has none."""
        access = self._caller.access(connection)
        if not self._public_url:
            raise SourceRefused("Where sources reach this service is not known: set ATTAIN_PUBLIC_URL of the worker.")
        secret_id, secret = self._connections.newest_secret(connection)
        now = datetime.now(UTC)
        lifetime = access.api.channel_lifetime
        if lifetime is None:
            return None
        conversation = access.api.open_channel(
            access.credentials,
            ChannelRequest(
                id=channel.channel_id,
                notify_url=f"{self._public_url}{connection.hook_path}",
                secret=secret,
                # A little less than the source allows, as clocks differ.
                expires_at=(now + lifetime - timedelta(minutes=5)).replace(microsecond=0),
                is_renewal=channel.expires_at is not None and now < channel.expires_at,
            ),
        )
        if conversation is None:
            return None
        opened = await access.run(conversation)
        return channel.opened(secret_id, opened.expires_at, datetime.now(UTC))
