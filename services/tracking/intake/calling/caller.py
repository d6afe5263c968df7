"""Calling sources' APIs: authorised, within their limits, again where that helps, and not at all while it cannot.

What is decided in `domain` is obeyed here. All workers share the state of a connection's calls in Postgres; no
transaction is open while a source is called. Nothing that could be a secret is logged or raised.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import SystemRandom
from time import monotonic
from typing import Final, NoReturn, TypeVar
from uuid import UUID, uuid4

import httpx
from sqlalchemy import text

from services.tracking.intake.calling import store
from services.tracking.intake.calling.domain import (
    Accept,
    Again,
    ApiAccessMissing,
    Attempts,
    CalledConnection,
    CallLimits,
    Full,
    GiveUp,
    Go,
    Later,
    Refresh,
    Refused,
    SourceRefused,
    SourceUnavailable,
    Trouble,
    admit,
    next_step,
    opened,
    recorded,
    released,
)
from services.tracking.intake.sources.domain import Judgement, Untranslatable, Verdict
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.source_api import (
    Answer,
    AnySourceApi,
    ApiCredentials,
    Call,
    Conversation,
    Token,
    UnexpectedAnswer,
)
from shared.db.database import Database, Scope, Transaction, advisory_lock_key
from shared.db.sealing import SecretsBox
from shared.db.shielding import to_the_end
from shared.http.outbound import (
    AddressRefused,
    OutboundError,
    OutboundSettings,
    ResponseCompressed,
    ResponseTooLarge,
    UrlRefused,
    outbound_client,
)
from shared.kernel.errors import AttainError
from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import (
    SOURCE_CALL_SECONDS,
    SOURCE_CALLS,
    SOURCE_CIRCUITS_OPENED,
    SOURCE_TOKENS,
    SOURCE_WAIT_SECONDS,
)

ResultT = TypeVar("ResultT")

CALL_SECONDS_MAX: Final = 30.0
_RESPONSE_BYTES_MAX: Final = 16 * 1024 * 1024
_CONVERSATION_CALLS_MAX: Final = 2000
_WAIT_MAX: Final = timedelta(seconds=60)
"""A call that would have to wait longer is given up."""
_FULL_SECONDS: Final = 0.05
_FULL_SECONDS_MAX: Final = 60.0
_TOKEN_POLL_SECONDS: Final = 0.1
_TOKEN_SECONDS_MAX: Final = 60.0
_TOKEN_MARGIN_MAX: Final = timedelta(seconds=60)
_DETAIL_CHARACTERS_MAX: Final = 500
_OF_TOKEN: Final = "token"  # noqa: S105
_TRY_LOCK: Final = "SELECT pg_try_advisory_lock($1)"
_CLOCK: Final = text("SELECT clock_timestamp() AS now")
_chance: Final = SystemRandom()
_log = get_logger(__name__)


def source_client(settings: OutboundSettings) -> httpx.AsyncClient:
    """The client that sources are called with; close it."""
    return outbound_client(settings, timeout_seconds=CALL_SECONDS_MAX, response_bytes_max=_RESPONSE_BYTES_MAX)


class ApiCaller:
    """Calls the sources of any connections; one for a process."""

    def __init__(
        self,
        database: Database,
        box: SecretsBox,
        client: httpx.AsyncClient,
        *,
        chance: Callable[[], float] = _chance.random,
    ) -> None:
        """`client` is one of `shared.http.outbound`; `chance` gives random numbers from 0 to 1."""
        self.database = database
        self.box = box
        self.client = client
        self.chance = chance

    def access(self, connection: CalledConnection, *, is_requested: bool = False) -> "ApiAccess":
        """The access of a connection to its source's API. Raises ApiAccessMissing.

        `is_requested`: by somebody who wants to know whether it works, so also while the source is not to be called.
        """
        api = ADAPTERS[connection.source].api
        if api is None or connection.api is None:
            raise ApiAccessMissing("The connection has no access to its source's API.")
        credentials = api.credentials.model_validate_json(self.box.open(connection.api))
        return ApiAccess(self, connection, api, credentials, is_requested)


@dataclass(frozen=True, slots=True)
class _KnownToken:
    value: str
    expires_at: datetime


class ApiAccess:
    """One connection's way to its source, for some conversations one after another or at once."""

    def __init__(
        self,
        caller: ApiCaller,
        connection: CalledConnection,
        api: AnySourceApi,
        credentials: ApiCredentials,
        is_requested: bool,
    ) -> None:
        self.api = api
        self.credentials = credentials
        self.calls = 0
        """How many calls were made."""
        self._caller = caller
        self._connection = connection
        self._is_requested = is_requested
        self._token: _KnownToken | None = None
        self._limits = CallLimits(
            api.limits, api.concurrent_calls_max, _WAIT_MAX, timedelta(seconds=CALL_SECONDS_MAX + 5)
        )

    async def run(self, conversation: Conversation[ResultT]) -> ResultT:
        """Carry a conversation to its end. Raises SourceUnavailable, SourceRefused and DatabaseUnavailable."""
        return await self._run(conversation, is_authorised=True)

    async def _run(self, conversation: Conversation[ResultT], *, is_authorised: bool) -> ResultT:
        try:
            call = next(conversation)
            for _ in range(_CONVERSATION_CALLS_MAX):
                answer = await self._answered(call, is_authorised=is_authorised)
                call = conversation.send(answer)
            raise SourceRefused(f"The source's answer does not end with {_CONVERSATION_CALLS_MAX} calls.")
        except StopIteration as end:
            result: ResultT = end.value
            return result
        except UnexpectedAnswer as error:
            raise SourceRefused(f"The source answered what it does not document: {_printable(error.detail)}") from error
        except Untranslatable as error:
            raise SourceRefused(f"The source's answer cannot be read: {_printable(error.detail)}") from error
        except AttainError:
            raise
        except Exception as error:
            _log.error("adapter_failed", source=self._connection.source.value, exc_info=error)
            raise SourceRefused(f"The source's answer cannot be understood: {type(error).__name__}.") from error
        finally:
            conversation.close()

    async def _answered(self, call: Call, *, is_authorised: bool) -> Answer:
        """The answer to a call that is found to be `OK`."""
        attempts = Attempts()
        token = await self._current_token(None) if is_authorised else None
        while True:
            sent = self.api.authorised(call, self.credentials, token) if is_authorised else call
            answer, judgement = await self._attempt(sent)
            if not is_authorised and judgement.verdict is Verdict.TOKEN_EXPIRED:
                judgement = replace(judgement, verdict=Verdict.REFUSED)
            step = next_step(attempts, judgement, chance=self._caller.chance())
            match step:
                case Accept():
                    if answer is None:
                        raise TypeError("no answer is never judged to be OK")
                    return answer
                case Refresh():
                    attempts = step.attempts
                    token = await self._current_token(token)
                    if token is None:
                        await self._refused_access(judgement.detail)
                case Again():
                    attempts = step.attempts
                    await asyncio.sleep(step.after.total_seconds())
                case Refused():
                    raise SourceRefused(_printable(judgement.detail) or "The source refused the call.")
                case GiveUp(trouble=Trouble.ACCESS_REFUSED):
                    await self._refused_access(judgement.detail)
                case GiveUp():
                    raise SourceUnavailable(
                        _printable(judgement.detail) or "The source gave no usable answer.",
                        trouble=step.trouble,
                        until=datetime.now(UTC) + step.pause,
                    )

    async def _attempt(self, call: Call) -> tuple[Answer | None, Judgement]:
        """Make a call when it may be made, and record what came of it."""
        source = self._connection.source.value
        call_id = uuid4()
        waiting_since = monotonic()
        await self._admitted(call, call_id)
        started = monotonic()
        SOURCE_WAIT_SECONDS.labels(source).observe(started - waiting_since)
        self.calls += 1
        try:
            answer, judgement = await self._sent(call)
        except BaseException:
            await to_the_end(self._release(call_id))
            raise
        SOURCE_CALL_SECONDS.labels(source).observe(monotonic() - started)
        SOURCE_CALLS.labels(source, judgement.verdict.value).inc()
        await to_the_end(self._record(call_id, judgement))
        return answer, judgement

    async def _sent(self, call: Call) -> tuple[Answer | None, Judgement]:
        try:
            response = await self._caller.client.request(
                call.method,
                call.url,
                params=dict(call.params) or None,
                headers=dict(call.headers),
                json=call.json,
                data=None if call.form is None else dict(call.form),
            )
        except (AddressRefused, UrlRefused, ResponseTooLarge, ResponseCompressed) as error:
            return None, Judgement(Verdict.REFUSED, detail=error.detail)
        except OutboundError as error:
            return None, Judgement(Verdict.TRANSIENT, detail=error.detail)
        answer = Answer(
            response.status_code,
            {name.lower(): value for name, value in response.headers.items()},
            response.content,
        )
        return answer, self.api.judge(call, answer)

    async def _admitted(self, call: Call, call_id: UUID) -> None:
        """Wait until the call may be made. Raises SourceUnavailable."""
        deadline = monotonic() + _FULL_SECONDS_MAX

        async def admitted(tx: Transaction) -> tuple[Go | Full | Later, datetime]:
            locked = await store.lock(tx, self._connection)
            if not locked.is_current:
                return Later(locked.now, Trouble.ACCESS_REFUSED, "The access was changed."), locked.now
            calls, admission = admit(
                locked.calls,
                self._limits,
                endpoint=call.endpoint,
                call_id=call_id,
                now=locked.now,
                is_requested=self._is_requested,
            )
            if calls is not locked.calls:
                await store.save(tx, self._connection, locked, calls)
            return admission, locked.now

        while True:
            admission, now = await self._caller.database.run(self._scope, admitted)
            match admission:
                case Go(at=at):
                    try:
                        await asyncio.sleep(max(0.0, (at - now).total_seconds()))
                    except asyncio.CancelledError:
                        await to_the_end(self._release(call_id))
                        raise
                    return
                case Later():
                    raise SourceUnavailable(admission.detail, trouble=admission.trouble, until=admission.until)
                case Full() if monotonic() > deadline:
                    raise SourceUnavailable(
                        "As many calls as the source takes at once are under way.",
                        trouble=Trouble.RATE_LIMITED,
                        until=now + timedelta(seconds=5),
                    )
                case Full():
                    await asyncio.sleep(_FULL_SECONDS * (0.5 + self._caller.chance()))

    async def _record(self, call_id: UUID, judgement: Judgement) -> None:
        detail = _printable(judgement.detail)

        async def record(tx: Transaction) -> bool:
            locked = await store.lock(tx, self._connection)
            if not locked.is_current:
                return False
            calls = recorded(locked.calls, call_id, replace(judgement, detail=detail), now=locked.now)
            await store.save(tx, self._connection, locked, calls)
            return calls.circuit.openings > locked.calls.circuit.openings

        if await self._caller.database.run(self._scope, record):
            self._log_opened(judgement.verdict.value)

    async def _release(self, call_id: UUID) -> None:
        async def release(tx: Transaction) -> None:
            locked = await store.lock(tx, self._connection)
            if locked.is_current:
                await store.save(tx, self._connection, locked, released(locked.calls, call_id))

        await self._caller.database.run(self._scope, release)

    async def _refused_access(self, detail: str) -> NoReturn:
        """Call no more until the access is another one, or after a long while. Raises SourceUnavailable."""
        reason = _printable(detail) or "The source does not accept the access."

        async def refuse(tx: Transaction) -> datetime:
            locked = await store.lock(tx, self._connection)
            if not locked.is_current:
                return locked.now
            calls = opened(locked.calls, Trouble.ACCESS_REFUSED, reason, now=locked.now)
            await store.save(tx, self._connection, locked, calls)
            return calls.circuit.until or locked.now

        until = await self._caller.database.run(self._scope, refuse)
        self._log_opened(Trouble.ACCESS_REFUSED.value)
        raise SourceUnavailable(reason, trouble=Trouble.ACCESS_REFUSED, until=until)

    async def _current_token(self, rejected: str | None) -> str | None:
        """A token other than the rejected one, obtained by one worker at a time; None where there are no tokens."""
        conversation = self.api.obtain_token(self.credentials)
        if conversation is None:
            return None
        try:
            if self._token is not None and self._is_usable(self._token, rejected):
                return self._token.value
            known = await self._stored_token()
            if not self._is_usable(known, rejected):
                async with self._alone():
                    known = await self._stored_token()
                    if not self._is_usable(known, rejected):
                        known = await self._obtained(conversation)
            self._token = known
            return None if known is None else known.value
        finally:
            conversation.close()

    async def _obtained(self, conversation: Conversation[Token]) -> _KnownToken:
        try:
            token = await self._run(conversation, is_authorised=False)
        except SourceRefused as error:
            await self._refused_access(error.detail)
        SOURCE_TOKENS.labels(self._connection.source.value).inc()
        sealed = self._caller.box.seal(token.value)

        async def put_token(tx: Transaction) -> datetime:
            (row,) = await tx.rows(_CLOCK)
            now: datetime = row["now"]
            expires_at = now + token.expires_in - min(_TOKEN_MARGIN_MAX, token.expires_in / 10)
            await store.put_token(tx, self._connection, sealed, expires_at)
            return expires_at

        return _KnownToken(token.value, await self._caller.database.run(self._scope, put_token))

    async def _stored_token(self) -> _KnownToken | None:
        async with self._caller.database.transaction(self._scope) as tx:
            stored = await store.token(tx, self._connection)
        return None if stored is None else _KnownToken(self._caller.box.open(stored.ciphertext), stored.expires_at)

    @staticmethod
    def _is_usable(token: _KnownToken | None, rejected: str | None) -> bool:
        return token is not None and token.value != rejected and datetime.now(UTC) < token.expires_at

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the only one of all processes to obtain a token for the connection.

        The lock is one of a session of its own: no transaction is open meanwhile, and it ends with the process.
        """
        key = advisory_lock_key(self._caller.database.service, _OF_TOKEN, self._connection.id.hex)
        session = await self._caller.database.connect()
        try:
            deadline = monotonic() + _TOKEN_SECONDS_MAX
            while not await session.fetchval(_TRY_LOCK, key):
                if monotonic() > deadline:
                    raise SourceUnavailable(
                        "Another worker has been getting access for a minute.",
                        trouble=Trouble.UNWELL,
                        until=datetime.now(UTC) + timedelta(seconds=10),
                    )
                await asyncio.sleep(_TOKEN_POLL_SECONDS)
            yield
        finally:
            await to_the_end(session.close(timeout=2))

    @property
    def _scope(self) -> Scope:
        return Scope.of(self._connection.tenant_id)

    def _log_opened(self, why: str) -> None:
        SOURCE_CIRCUITS_OPENED.labels(self._connection.source.value).inc()
        _log.warning(
            "source_not_called_for_a_while",
            connection_id=str(self._connection.id),
            source=self._connection.source.value,
            why=why,
        )


def _printable(detail: str) -> str:
    return detail.encode("utf-8", "replace").decode().replace("\x00", "")[:_DETAIL_CHARACTERS_MAX]
