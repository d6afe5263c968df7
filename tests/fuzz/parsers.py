"""A fuzz target for each source, run by libFuzzer through atheris: `python -m tests.fuzz.parsers SOURCE [options]`.

Whatever bytes come, from a valid sender or not: a parser gives a result or refuses in the way it says it does, and ends
in bounded time and memory. Anything else is a crash that libFuzzer reports with the input.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import atheris

with atheris.instrument_imports(include=["services.tracking.intake"]):
    from services.tracking.intake.inbox.events import event_of
    from services.tracking.intake.inbox.fetched import statements_of_records
    from services.tracking.intake.sources.adapter import Adapter, Request, SenderRules
    from services.tracking.intake.sources.canonical import CanonicalDeal
    from services.tracking.intake.sources.domain import InvalidSecret, Source, SourceMapping, Untranslatable, Verdict
    from services.tracking.intake.sources.registry import ADAPTERS
    from services.tracking.intake.sources.source_api import (
        Answer,
        Call,
        ChannelRequest,
        Conversation,
        RecordPage,
        ResultT,
        UnexpectedAnswer,
        UserPage,
    )

from datetime import UTC, datetime
from uuid import UUID

from shared.kernel.deals import DealStatus
from tests.played.connections import connection_of

ANSWERS = Path(__file__).parents[1] / "played" / "answers"
SAMPLES = Path(__file__).parents[1] / "played" / "samples"
_ASKED = "asked.json"
_CALLS_MAX = 12
_PAGES_MAX = 3
_CREDENTIALS: dict[Source, dict[str, object]] = {
    Source.ZOHO: {"client_id": "1000.A", "client_secret": "s", "refresh_token": "1000.r", "home_currency": "EUR"},
    Source.FXIAOKE: {
        "app_id": "FSAID_1",
        "app_secret": "s",
        "permanent_code": "p",
        "corp_id": "FSCID_1",
        "current_open_user_id": "FSUID_1",
    },
    Source.SALESFORCE: {"instance_url": "https://crm.example", "client_id": "3MVG9", "client_secret": "s"},
    Source.HUBSPOT: {"access_token": "pat-eu1-1"},
    Source.PIPEDRIVE: {"api_url": "https://crm.example", "api_token": "t"},
}
_STOP_HERE = 0.15
_DROPPED = 0.1
_VERBATIM = {
    f"verbatim {number}": number
    for number in ("1e999999", "1.5e-999999", "2e99999999999999999999999", "0.1", "-0.0", "1" * 5000)
}
_DEEP = json.loads('[{"x":' * 200 + '"\\u0000"' + "}]" * 200)
_NOW = datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
_MAPPING = SourceMapping(
    stages={"5": DealStatus.WON, "Closed Won": DealStatus.WON},
    fields={"region": "custom_fields.region"},
    users={"1": "2"},
)
_HEADERS = (
    b"authorization",
    b"webhook-id",
    b"webhook-timestamp",
    b"webhook-signature",
    b"x-hubspot-signature-v3",
    b"x-hubspot-request-timestamp",
    b"content-type",
)


def changed(samples: Sequence[object], provider: atheris.FuzzedDataProvider) -> object:
    """One of the documents with some of its parts replaced: what no mutation of bytes gets to."""
    document = provider.PickValueInList(list(samples))
    for _ in range(provider.ConsumeIntInRange(1, 4)):
        document = _with_part_replaced(document, provider, 0)
    return document


def _with_part_replaced(part: object, provider: atheris.FuzzedDataProvider, depth: int) -> object:
    if isinstance(part, dict) and part and (depth == 0 or provider.ConsumeProbability() > _STOP_HERE):
        name = provider.PickValueInList(sorted(part))
        if provider.ConsumeProbability() < _DROPPED:
            return {key: value for key, value in part.items() if key != name}
        return {**part, name: _with_part_replaced(part[name], provider, depth + 1)}
    if isinstance(part, list) and part and (depth == 0 or provider.ConsumeProbability() > _STOP_HERE):
        index = provider.ConsumeIntInRange(0, len(part) - 1)
        return [*part[:index], _with_part_replaced(part[index], provider, depth + 1), *part[index + 1 :]]
    return _strange(provider)


def _strange(provider: atheris.FuzzedDataProvider) -> object:
    text = provider.ConsumeUnicode(20)
    choices: list[object] = [
        None,
        True,
        "",
        text,
        [text],
        {text: text},
        {},
        [],
        0,
        -1,
        10**40,
        provider.ConsumeInt(8),
        provider.ConsumeFloat(),
        1e308,
        "NaN",
        "Infinity",
        "1e999999",
        "9999-12-31T23:59:59+14:00",
        "0001-01-01T00:00:00-14:00",
        "2026-02-30",
        "\x00",
        "９９",
        "١٢٣",
        "1" * 5000,
        _DEEP,
        *_VERBATIM,
    ]
    return provider.PickValueInList(choices)


def encoded(document: object) -> bytes:
    """The document as JSON, with what stands for a number that `json` does not write put as that number."""
    text = json.dumps(document)
    for stand_in, number in _VERBATIM.items():
        text = text.replace(f'"{stand_in}"', number)
    return text.encode()


_PageT = TypeVar("_PageT", RecordPage, UserPage)


class Target:
    """Everything of one source that reads bytes of others."""

    def __init__(self, source: Source) -> None:
        self._adapter: Adapter = ADAPTERS[source]
        self._connection = connection_of(source, mapping=_MAPPING)
        self._secret = self._adapter.new_secret(bytes(range(32)))
        samples = SAMPLES / source.value
        self._said = [json.loads(path.read_bytes()) for path in sorted(samples.glob("*.json")) if path.name != _ASKED]
        self._asked = [json.loads(path.read_bytes()) for path in samples.glob(_ASKED)] or [{}]
        answers = [each for path in ANSWERS.glob(f"{source.value}.json") for each in json.loads(path.read_bytes())]
        self._answers = [(each["path"], each["body"], encoded(each["body"])) for each in answers]
        self._objects = sorted({record["object_name"] for asked in self._asked for record in asked.get("records", ())})

    def __call__(self, data: bytes) -> None:
        """One input: its last byte chooses what reads the rest."""
        provider = atheris.FuzzedDataProvider(data)
        match provider.ConsumeIntInRange(0, 7):
            case 0:
                self._translate(provider.ConsumeBytes(provider.remaining_bytes()))
            case 1:
                self._receive(provider)
            case 2:
                self._translate_record(provider.ConsumeBytes(provider.remaining_bytes()))
            case 3:
                self._judge(provider)
            case 4:
                self._translate(encoded(changed(self._said, provider)))
            case 5:
                self._translate_record(encoded(changed(self._asked, provider)))
            case 6:
                self._ask(provider)
            case _:
                self._check_secret(provider.ConsumeUnicodeNoSurrogates(300))

    def _translate(self, body: bytes) -> None:
        try:
            said = self._adapter.translate(body, _MAPPING)
        except Untranslatable:
            return
        for each in said:
            if isinstance(each, CanonicalDeal):
                event_of(each, self._connection, delivery_id=UUID(int=3), received_at=_NOW).model_dump_json()

    def _translate_record(self, body: bytes) -> None:
        try:
            statements_of_records(self._adapter, body, _MAPPING)
        except Untranslatable:
            return

    def _receive(self, provider: atheris.FuzzedDataProvider) -> None:
        """As the hook does; what a sender that is not known may reach is `verify` alone."""
        headers = {
            name: provider.ConsumeBytes(provider.ConsumeIntInRange(0, 60))
            for name in _HEADERS
            if provider.ConsumeBool()
        }
        trail = self._secret if provider.ConsumeBool() else provider.ConsumeUnicodeNoSurrogates(60)
        if provider.ConsumeBool():
            headers[b"authorization"] = b"Bearer " + self._secret.encode()
        request = Request(
            "POST",
            "https://attain.example",
            f"/hooks/1?{provider.ConsumeUnicodeNoSurrogates(20)}",
            trail,
            headers,
            provider.ConsumeBytes(provider.remaining_bytes()),
        )
        terms = SenderRules((self._secret,))
        if self._adapter.verify(request, terms, now_seconds=int(_NOW.timestamp())) is None:
            self._adapter.dedupe_key(request)
            self._adapter.reply(request, terms, now_ms=0, entropy=bytes)
            self._translate(self._adapter.body_to_store(request, terms))

    def _judge(self, provider: atheris.FuzzedDataProvider) -> None:
        if self._adapter.api is not None:
            status = provider.ConsumeIntInRange(100, 599)
            body = provider.ConsumeBytes(provider.remaining_bytes())
            self._adapter.api.judge(Call("GET", "https://crm.example/x"), Answer(status, {"retry-after": "x"}, body))

    def _ask(self, provider: atheris.FuzzedDataProvider) -> None:
        """Every conversation with the source's API, which answers what it documents with some parts replaced."""
        api = self._adapter.api
        if api is None:
            return
        known = api.credentials.model_validate({"source": self._connection.source} | _CREDENTIALS[self._adapter.source])
        match provider.ConsumeIntInRange(0, 7):
            case 0:
                name = provider.PickValueInList(self._objects)
                self._held(api.fetch(known, name, ["1", "2"]), provider)
            case 1:
                self._walked(lambda cursor: api.changed(known, None, cursor), provider)
            case 2:
                self._walked(lambda cursor: api.changed(known, _NOW, cursor), provider)
            case 3:
                self._walked(lambda cursor: api.deleted(known, _NOW, cursor), provider)
            case 4:
                self._walked(lambda cursor: api.users(known, cursor), provider)
            case 5:
                self._held(api.count(known), provider)
            case 6:
                self._held(api.obtain_token(known), provider)
            case _:
                terms = ChannelRequest("1", "https://attain.example/hooks/1", "s", _NOW, provider.ConsumeBool())
                self._held(api.open_channel(known, terms), provider)

    def _walked(
        self, page_of: Callable[[str | None], Conversation[_PageT]], provider: atheris.FuzzedDataProvider
    ) -> None:
        cursor: str | None = None
        for _ in range(_PAGES_MAX):
            page = self._held(page_of(cursor), provider)
            if page is None or page.next_cursor is None:
                return
            cursor = page.next_cursor

    def _held(self, conversation: Conversation[ResultT] | None, provider: atheris.FuzzedDataProvider) -> ResultT | None:
        """What a conversation returns; None where it finds that it cannot understand, or was cut short."""
        if conversation is None:
            return None
        try:
            call = next(conversation)
            for _ in range(_CALLS_MAX):
                call = conversation.send(self._answered(call, provider))
        except StopIteration as end:
            result: ResultT = end.value
            return result
        except (UnexpectedAnswer, Untranslatable):
            return None
        return None

    def _answered(self, call: Call, provider: atheris.FuzzedDataProvider) -> Answer:
        """As documented for the path called, or for any other. A conversation is told only what is judged to be OK."""
        about = [(body, text) for path, body, text in self._answers if call.url.endswith(path)]
        if not about or provider.ConsumeProbability() < _DROPPED:
            about = [(body, text) for _, body, text in self._answers]
        if provider.ConsumeBool():
            text = encoded(changed([body for body, _ in about], provider))
        else:
            _, text = provider.PickValueInList(about)
        answer = Answer(provider.PickValueInList([200, 200, 200, 202, 204, 207]), {}, text)
        is_ok = self._adapter.api is not None and self._adapter.api.judge(call, answer).verdict is Verdict.OK
        return answer if is_ok else Answer(200, {}, about[0][1])

    def _check_secret(self, value: str) -> None:
        try:
            self._adapter.check_secret(value)
        except InvalidSecret:
            return


def main() -> None:
    """Fuzz the source named first until libFuzzer's options say that it is enough."""
    source = Source(sys.argv.pop(1))
    atheris.Setup(sys.argv, Target(source))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
