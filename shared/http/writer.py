"""One POST or PATCH is one transaction, committed before it is answered."""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import Annotated, Final, Protocol, TypeVar, cast, overload

from fastapi import Depends, Header, Request
from pydantic import BaseModel, JsonValue

from shared.db.database import Database, Scope, Transaction
from shared.db.tables import TransportTables
from shared.http.auth import CurrentPrincipal, Principal
from shared.http.etag import Answered, Versioned, etag
from shared.http.idempotency import StoredAnswer, claim, remember
from shared.kernel.errors import InvalidInput
from shared.telemetry.metrics import HTTP_IDEMPOTENT_REPLAYS

ResultT = TypeVar("ResultT")
AnswerT = TypeVar("AnswerT", bound=BaseModel | None)

IDEMPOTENCY_KEY_CHARACTERS_MAX: Final = 200
_ESCAPED_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class NulCharacter(InvalidInput):
    """A text or a name in the body has the character U+0000, which cannot be stored."""

    code = "nul_character"
    title = "NUL character"


class Seal(Protocol):
    """What makes a text unreadable to whoever reads the database."""

    def seal(self, value: str) -> str: ...

    def open(self, ciphertext: str) -> str: ...


class Writer:
    """Commits the use case of one request, in the caller's tenant."""

    def __init__(
        self,
        database: Database,
        tables: TransportTables,
        *,
        principal: Principal,
        idempotency_key: str | None,
        fingerprint: bytes,
    ) -> None:
        self._database = database
        self._tables = tables
        self._principal = principal
        self._idempotency_key = idempotency_key
        self._fingerprint = fingerprint
        self._reason: str | None = None

    def because(self, reason: str) -> "Writer":
        """The same, with the reason of what it commits."""
        self._reason = reason
        return self

    @overload
    async def commit(
        self,
        use_case: Callable[[Transaction], Awaitable[AnswerT]],
        *,
        status: int = 200,
        location: Callable[[AnswerT], str] | None = None,
        seal: Seal | None = None,
    ) -> Answered[AnswerT]: ...

    @overload
    async def commit(
        self,
        use_case: Callable[[Transaction], Awaitable[ResultT]],
        answer: Callable[[ResultT], AnswerT],
        *,
        status: int = 200,
        location: Callable[[ResultT], str] | None = None,
        seal: Seal | None = None,
    ) -> Answered[AnswerT]: ...

    async def commit(
        self,
        use_case: Callable[[Transaction], Awaitable[ResultT]],
        answer: Callable[[ResultT], AnswerT] | None = None,
        *,
        status: int = 200,
        location: Callable[[ResultT], str] | None = None,
        seal: Seal | None = None,
    ) -> Answered[AnswerT]:
        """Do the work in a transaction, commit it, and only then respond with what it returned, or `answer` of that.

        An answer with a `version` gets its ETag; None is an empty body (pass `status=204`). An error of the use case
        rolls everything back, the Idempotency-Key included, and passes through.

        With an Idempotency-Key the answer is stored in the same transaction and repeated, with
        `Idempotent-Replayed: true`, when the same caller sends the same request again; another request under the key
        is refused (IdempotencyKeyReused). The work is then also done again by itself after a deadlock or a lost
        connection, so `use_case` must not have state between calls. An answer with a secret in it is stored under
        `seal`.
        """

        async def answered(tx: Transaction) -> StoredAnswer:
            tx.actor, tx.reason = self._principal.actor, self._reason
            result = await use_case(tx)
            model = cast(AnswerT, result) if answer is None else answer(result)
            return _answer(model, status, None if location is None else location(result))

        scope = Scope.of(self._principal.tenant_id)
        key = self._idempotency_key
        if key is None:
            async with self._database.transaction(scope) as tx:
                written = await answered(tx)
            return _sent(written)

        async def once(tx: Transaction) -> tuple[StoredAnswer, bool]:
            tenant_id = self._principal.tenant_id
            stored = await claim(tx, self._tables, tenant_id=tenant_id, key=key, fingerprint=self._fingerprint)
            if stored is not None:
                return stored if seal is None else replace(stored, body=seal.open(stored.body.decode()).encode()), True
            fresh = await answered(tx)
            sealed = fresh if seal is None else replace(fresh, body=seal.seal(fresh.body.decode()).encode())
            await remember(tx, self._tables, tenant_id=tenant_id, key=key, answer=sealed)
            return fresh, False

        written, replayed = await self._database.run(scope, once)
        response: Answered[AnswerT] = _sent(written)
        if replayed:
            HTTP_IDEMPOTENT_REPLAYS.inc()
            response.headers["idempotent-replayed"] = "true"
        return response


def _nul_at(body: bytes) -> str | None:
    """The pointer to a text with a NUL in a JSON body; for a member's name, to the object it is in."""
    try:
        waiting: list[tuple[str, JsonValue]] = [("", json.loads(body))]
    except ValueError:
        return None
    while waiting:
        pointer, value = waiting.pop()
        if isinstance(value, str) and "\0" in value:
            return pointer
        if isinstance(value, list):
            waiting.extend((f"{pointer}/{index}", item) for index, item in enumerate(value))
        elif isinstance(value, dict):
            if any("\0" in name for name in value):
                return pointer
            waiting.extend((f"{pointer}/{name}", item) for name, item in value.items())
    return None


async def request_writer(
    request: Request,
    principal: CurrentPrincipal,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=IDEMPOTENCY_KEY_CHARACTERS_MAX,
            pattern=r"^[\x21-\x7e]+$",
            description="Makes the request safe to send again: the same key and request get the same answer "
            "for a day. Use a fresh key, such as a UUID, for every new request.",
        ),
    ] = None,
) -> Writer:
    """Dependency behind `RequestWriter`. Raises NulCharacter."""
    body = await request.body()
    if _ESCAPED_NUL.search(body) and (pointer := _nul_at(body)) is not None:
        raise NulCharacter.field(pointer, "has the character U+0000, which cannot be stored", "a text without it")
    fingerprint = b""
    if idempotency_key is not None:
        head = f"{principal.person_id}\n{request.method}\n{request.url.path}?{request.url.query}\n"
        fingerprint = sha256(head.encode() + body).digest()
    return Writer(
        request.app.state.database,
        request.app.state.transport_tables,
        principal=principal,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
    )


RequestWriter = Annotated[Writer, Depends(request_writer)]


def _answer(model: BaseModel | None, status: int, location: str | None) -> StoredAnswer:
    headers: list[tuple[str, str]] = []
    if location is not None:
        headers.append(("location", location))
    if model is None:
        return StoredAnswer(status, headers, b"")
    body = model.model_dump_json(by_alias=True).encode()
    if isinstance(model, Versioned):
        headers.append(("etag", etag(model.version, body)))
    headers.append(("content-type", "application/json"))
    return StoredAnswer(status, headers, body)


def _sent(answer: StoredAnswer) -> Answered[AnswerT]:
    return Answered(answer.body, status_code=answer.status, headers=dict(answer.headers))
