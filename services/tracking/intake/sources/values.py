"""The reading of single values that several sources write alike."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from services.tracking.intake.sources.canonical import (
    CUSTOM_CHARACTERS_MAX,
    CUSTOM_FIELDS_MAX,
    LABEL_CHARACTERS_MAX,
    text_of,
)
from services.tracking.intake.sources.domain import QuarantineReason, SourceMapping, Untranslatable
from services.tracking.intake.sources.source_api import Answer, UnexpectedAnswer
from shared.kernel.reading import (
    read_http_date,
    read_instant,
    read_retry_after,
    read_unix_milliseconds,
    read_whole_number,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_HEADER_NUMBER_MAX: Final = 10**12 - 1
_RETRY_AFTER_MAX: Final = timedelta(days=1)


def only_text(value: object) -> str | None:
    """A text as it is; None for anything else."""
    return value if isinstance(value, str) else None


def text_or_number(value: object) -> str | None:
    """A text, or a number as one; None for anything else and for nothing."""
    text = text_of(value)
    return text if isinstance(text, str) and text else None


def header_number(answer: Answer, name: str) -> int | None:
    """The whole number in a header, of twelve digits at most; None where it has none."""
    return read_whole_number(answer.headers.get(name), maximum=_HEADER_NUMBER_MAX)


def retry_after(answer: Answer) -> timedelta | None:
    """How long the answer states to wait, a day at most; a date is after the answer's own."""
    now = read_http_date(answer.headers.get("date", ""))
    return read_retry_after(answer.headers.get("retry-after", ""), now=now, maximum=_RETRY_AFTER_MAX)


def milliseconds_of(moment: datetime) -> int:
    """Since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def stated_moment(value: object, pointer: str) -> datetime | None:
    """ISO 8601, without a zone taken as UTC, or milliseconds since 1970 as a number or as digits; None for nothing.

    Raises Untranslatable.
    """
    if value is None or value == "":
        return None
    moment = read_unix_milliseconds(value) or read_instant(str(value), assume_utc=True)
    if moment is None:
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a time")
    return moment


def answered_moment(value: object) -> datetime | None:
    """A moment as `stated_moment` reads it, out of an answer. Raises UnexpectedAnswer."""
    try:
        return stated_moment(value, "")
    except Untranslatable as error:
        raise UnexpectedAnswer(f"{str(value)[:100]} is not a time") from error


def custom_texts(values: Mapping[str, object], mapping: SourceMapping) -> dict[str, object]:
    """Those of the fields with a plain value, as texts: no long ones, and of too many the mapped ones first."""
    texts: dict[str, object] = {}
    for name in sorted(values, key=lambda name: (name not in mapping.custom_fields, name)):
        value = values[name]
        text = ("true" if value else "false") if isinstance(value, bool) else text_or_number(value)
        if text is None or len(text) > CUSTOM_CHARACTERS_MAX or len(name) > LABEL_CHARACTERS_MAX:
            continue
        if len(texts) < CUSTOM_FIELDS_MAX:
            texts[name] = text
    return texts
