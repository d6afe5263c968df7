"""Structured logs: one JSON object a line on stdout, for people and machines.

Every line has `time`, `level`, `service`, `event` and, where there is one, `request_id` and `trace_id`. Secrets and
personal data never reach a line: keys that name them are masked wherever they stand, and texts are scrubbed of tokens,
e-mail addresses and database values. A line that cannot be written is lost and counted, and nothing else happens.
"""

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Final, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from shared.telemetry import metrics, tracing

MASK: Final = "[redacted]"

# The id of the request being served by the current task; the HTTP edge sets it.
request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)

_SECRET_KEY: Final = re.compile(
    r"authorization|cookie|secret|password|passwd|token|api_?key|private_?key|credential|signature|e_?mail|phone",
    re.IGNORECASE,
)
_PERSONAL_KEYS: Final = frozenset(
    {"name", "first_name", "last_name", "full_name", "given_name", "family_name", "display_name", "person_name"}
    | {"owner_name", "user_name", "username", "birthday", "address", "payload", "body"}
)
# A pattern is tried only on a text with its mark: a log line costs a tenth of what it would otherwise.
_SCRUBBED: Final = (
    # "Bearer abc", "Basic abc" in quoted headers.
    (" ", re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE), r"\1 " + MASK),
    # A JWT anywhere.
    ("eyJ", re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), MASK),
    # A Standard Webhooks secret.
    ("whsec_", re.compile(r"\bwhsec_[A-Za-z0-9+/=]+"), MASK),
    # The password in a URL.
    ("://", re.compile(r"(\w+://[^\s:/@]*):[^\s@/]+@"), r"\1:" + MASK + "@"),
    ("@", re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"), MASK),
    # What pydantic writes about a value it refuses.
    ("input_value=", re.compile(r"input_value=.*?, input_type=", re.DOTALL), f"input_value={MASK}, input_type="),
    # What PostgreSQL and SQLAlchemy say about the values of a failed statement.
    ("DETAIL:", re.compile(r"DETAIL:.*"), f"DETAIL: {MASK}"),
    ("[parameters: ", re.compile(r"\[parameters: .*", re.DOTALL), f"[parameters: {MASK}]"),
)


def configure(service: str, *, level: str = "INFO") -> None:
    """Send this process's logs, and those of the libraries it uses, to stdout as JSON. Call once, at start."""

    def add_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        if "logger_name" in event:
            event["logger"] = event.pop("logger_name")
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        add_service,
        _add_ids,
        structlog.processors.format_exc_info,
    ]
    stdout = cast(TextIO, _Unfailing(sys.stdout))
    minimum = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, redact, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.PrintLoggerFactory(stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries speak up only when something is wrong.
    root.setLevel(max(minimum, logging.WARNING))


class _Unfailing:
    """A stream to write to as far as it goes: a full disk or a reader that has left must not end any work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        self._tried(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def _tried(self, attempt: Callable[[], object]) -> None:
        try:
            attempt()
        except (OSError, ValueError):
            metrics.LOG_LINES_LOST.inc()


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger for one module; usable before `configure`, which it then follows."""
    return cast(FilteringBoundLogger, structlog.get_logger(logger_name=name))


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Mask secrets and personal data in a log line, at any depth."""
    return cast(EventDict, _redacted_mapping(event))


def scrub(text: str) -> str:
    """A text without tokens, e-mail addresses, URL passwords and database values."""
    for mark, pattern, replacement in _SCRUBBED:
        if mark in text:
            text = pattern.sub(replacement, text)
    return text


def _add_ids(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    current = request_id.get()
    if current is not None:
        event["request_id"] = current
    trace_id = tracing.current_trace_id()
    if trace_id is not None:
        event["trace_id"] = trace_id
    return event


@lru_cache(maxsize=4096)
def _is_secret(key: str) -> bool:
    return key in _PERSONAL_KEYS or _SECRET_KEY.search(key) is not None


def _redacted_mapping(mapping: Mapping[str, object]) -> MutableMapping[str, object]:
    return {key: MASK if _is_secret(key) else _redacted(value) for key, value in mapping.items()}


def _redacted(value: object) -> object:
    match value:
        case str():
            return scrub(value)
        case Mapping():
            return _redacted_mapping({str(key): item for key, item in value.items()})
        case list() | tuple() | set() | frozenset():
            return [_redacted(item) for item in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return scrub(str(value))
