"""A fuzz target for each source, run by libFuzzer through atheris: `python -m tests.fuzz.parsers SOURCE [options]`.

Whatever bytes come, from a valid sender or not: a parser gives a result or refuses in the way it says it does, and ends
in bounded time and memory. Anything else is a crash that libFuzzer reports with the input.
"""

import json
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["services.tracking.crm", "services.tracking.inbox"]):
    from services.tracking.crm.adapter import Adapter, Request, Terms
    from services.tracking.crm.canonical import CanonicalDeal, event_of
    from services.tracking.crm.domain import (
        Connection,
        ConnectionStatus,
        InvalidSecret,
        Source,
        SourceMapping,
        Untranslatable,
    )
    from services.tracking.crm.source_api import Answer, Call
    from services.tracking.crm.sources import ADAPTERS
    from services.tracking.inbox.asked import said_by_records

from datetime import UTC, datetime
from uuid import UUID

from shared.kernel.deals import DealStatus

SAMPLES = Path(__file__).parents[1] / "crm" / "samples"
_ASKED = "asked.json"
_STOP_HERE = 0.15
_DROPPED = 0.1
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


def _connection(source: Source) -> Connection:
    return Connection(
        tenant_id=UUID(int=1),
        id=UUID(int=2),
        source=source,
        name="fuzzed",
        identity_source=source.value,
        status=ConnectionStatus.ACTIVE,
        secrets=(),
        mapping=_MAPPING,
        version=1,
        created_at=_NOW,
        updated_at=_NOW,
    )


def changed(samples: Sequence[object], provider: atheris.FuzzedDataProvider) -> object:
    """One of the documents with some of its parts replaced: what no mutation of bytes gets to."""
    document = deepcopy(provider.PickValueInList(list(samples)))
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
    ]
    return provider.PickValueInList(choices)


class Target:
    """Everything of one source that reads bytes of others."""

    def __init__(self, source: Source) -> None:
        self._adapter: Adapter = ADAPTERS[source]
        self._connection = _connection(source)
        self._secret = self._adapter.new_secret(bytes(range(32)))
        samples = SAMPLES / source.value
        self._said = [json.loads(path.read_bytes()) for path in sorted(samples.glob("*.json")) if path.name != _ASKED]
        self._asked = [json.loads(path.read_bytes()) for path in samples.glob(_ASKED)] or [{}]

    def __call__(self, data: bytes) -> None:
        """One input: its last byte chooses what reads the rest."""
        provider = atheris.FuzzedDataProvider(data)
        match provider.ConsumeIntInRange(0, 6):
            case 0:
                self._translate(provider.ConsumeBytes(provider.remaining_bytes()))
            case 1:
                self._receive(provider)
            case 2:
                self._translate_record(provider.ConsumeBytes(provider.remaining_bytes()))
            case 3:
                self._judge(provider)
            case 4:
                self._translate(json.dumps(changed(self._said, provider)).encode())
            case 5:
                self._translate_record(json.dumps(changed(self._asked, provider)).encode())
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
            said_by_records(self._adapter, body, _MAPPING)
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
        terms = Terms((self._secret,))
        if self._adapter.verify(request, terms, now_seconds=int(_NOW.timestamp())) is None:
            self._adapter.dedupe_key(request)
            self._adapter.reply(request, terms, now_ms=0, entropy=bytes)
            self._translate(self._adapter.kept(request, terms))

    def _judge(self, provider: atheris.FuzzedDataProvider) -> None:
        if self._adapter.api is not None:
            status = provider.ConsumeIntInRange(100, 599)
            body = provider.ConsumeBytes(provider.remaining_bytes())
            self._adapter.api.judge(Call("GET", "https://crm.example/x"), Answer(status, {"retry-after": "x"}, body))

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
