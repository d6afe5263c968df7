"""Conversations with sources held over real HTTP, as a worker would hold them but without limits and waiting."""

import json
from collections.abc import Callable

import httpx

from services.tracking.intake.sources.domain import Judgement, Verdict
from services.tracking.intake.sources.source_api import (
    Answer,
    AnySourceApi,
    ApiCredentials,
    Call,
    Conversation,
    RecordPage,
    ResultT,
    UserPage,
)

_CALLS_MAX = 200


class NotOk(Exception):
    """An answer that no conversation gets to see."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(f"{judgement.verdict}: {judgement.detail}")
        self.judgement = judgement


class Caller:
    """Holds conversations with one source. A token that has ended is replaced once a call; `calls` are all made."""

    def __init__(self, client: httpx.AsyncClient, api: AnySourceApi, credentials: ApiCredentials) -> None:
        self._client = client
        self._api = api
        self._credentials = credentials
        self._token: str | None = None
        self.calls: list[Call] = []
        self.judgements: list[Judgement] = []

    async def result(self, conversation: Conversation[ResultT]) -> ResultT:
        """What a conversation returns. Raises NotOk."""
        try:
            call = next(conversation)
            for _ in range(_CALLS_MAX):
                call = conversation.send(await self._answered(call))
        except StopIteration as end:
            result: ResultT = end.value
            return result
        raise AssertionError("the conversation does not end")

    async def every_page(self, page_of: Callable[[str | None], Conversation[RecordPage]]) -> list[RecordPage]:
        """Page after page from the first."""
        pages = [await self.result(page_of(None))]
        while (cursor := pages[-1].next_cursor) is not None:
            assert len(pages) < _CALLS_MAX, "the pages do not end"
            pages.append(await self.result(page_of(cursor)))
        return pages

    async def every_user_page(self) -> list[UserPage]:
        """All users, page after page."""
        pages = [await self.result(self._api.users(self._credentials, None))]
        while (cursor := pages[-1].next_cursor) is not None:
            assert len(pages) < _CALLS_MAX, "the pages do not end"
            pages.append(await self.result(self._api.users(self._credentials, cursor)))
        return pages

    async def _answered(self, call: Call) -> Answer:
        if self._token is None:
            await self._renew()
        answer, judgement = await self._made(call)
        if judgement.verdict is Verdict.TOKEN_EXPIRED:
            await self._renew()
            answer, judgement = await self._made(call)
        if judgement.verdict is not Verdict.OK:
            raise NotOk(judgement)
        return answer

    async def _renew(self) -> None:
        conversation = self._api.obtain_token(self._credentials)
        if conversation is None:
            return
        try:
            call = next(conversation)
            while True:
                answer, judgement = await self._made(call)
                if judgement.verdict is not Verdict.OK:
                    raise NotOk(judgement)
                call = conversation.send(answer)
        except StopIteration as end:
            self._token = end.value.value

    async def _made(self, call: Call) -> tuple[Answer, Judgement]:
        ready = self._api.authorised(call, self._credentials, self._token)
        self.calls.append(call)
        response = await self._client.request(
            ready.method,
            ready.url,
            params=dict(ready.params) or None,
            headers=dict(ready.headers),
            content=None if ready.json is None else json.dumps(ready.json),
            data=None if ready.form is None else dict(ready.form),
        )
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status_code, headers, response.content)
        judgement = self._api.judge(call, answer)
        self.judgements.append(judgement)
        return answer, judgement
