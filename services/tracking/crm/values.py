"""The reading of single values that several sources write alike."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from services.tracking.crm.canonical import (
    CUSTOM_CHARACTERS_MAX,
    CUSTOM_FIELDS_MAX,
    LABEL_CHARACTERS_MAX,
    text_of,
)
from services.tracking.crm.domain import QuarantineReason, SourceMapping, Untranslatable
from services.tracking.crm.source_api import Answer, UnexpectedAnswer

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MILLISECONDS_MAX: Final = 32_000_000_000_000
_HEADER_DIGITS_MAX: Final = 12


def only_text(value: object) -> str | None:
    """A text as it is; None for anything else."""
    return value if isinstance(value, str) else None


def text_or_number(value: object) -> str | None:
    """A text, or a number as one; None for anything else and for nothing."""
    text = text_of(value)
    return text if isinstance(text, str) and text else None


def whole_number(value: object, *, digits_max: int = 18) -> int | None:
    """A whole number that is not negative, also as that many digits; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= digits_max:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def header_number(answer: Answer, name: str) -> int | None:
    """The whole number in a header, of twelve digits at most; None where it has none."""
    return whole_number(answer.headers.get(name), digits_max=_HEADER_DIGITS_MAX)


def milliseconds_of(moment: datetime) -> int:
    """Since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def moment_of_milliseconds(value: object) -> datetime | None:
    """The moment of milliseconds since 1970, also as digits; None for anything else."""
    milliseconds = whole_number(value)
    if milliseconds is None or milliseconds > _MILLISECONDS_MAX:
        return None
    return _EPOCH + milliseconds * _MILLISECOND


def told_moment(value: object, pointer: str) -> datetime | None:
    """ISO 8601, without a zone taken as UTC, or milliseconds since 1970 as a number or as digits; None for nothing.

    Raises Untranslatable.
    """
    if value is None or value == "":
        return None
    try:
        if isinstance(value, int) or (isinstance(value, str) and value.isascii() and value.isdigit()):
            return _EPOCH + timedelta(milliseconds=int(value))
        moment = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError):
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a time") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def answered_moment(value: object) -> datetime | None:
    """A moment as `told_moment` reads it, out of an answer. Raises UnexpectedAnswer."""
    try:
        return told_moment(value, "")
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
