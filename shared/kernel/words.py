"""Sentences about what was sent, and about how many things there are."""

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

_NEAR_MAX: Final = 3
_NAME_CHARACTERS_MAX: Final = 100
_SHOWN_MAX: Final = 100

_SHOULD: Final = "should "
# A choice among members of an enumeration is named by their class and name, and by their value.
_ENUM_MEMBER: Final = re.compile(r"<[\w.]+: ([^>]*)>")
_A_DAY: Final = "a day as YYYY-MM-DD"
_A_TIME: Final = "a time with its offset from UTC, such as 2026-03-31T18:40:02Z"
_A_WHOLE_NUMBER: Final = "a whole number"
_ACCEPTED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("uuid_parsing", "uuid_type", "uuid_version"), "a UUID: 01935a00-0000-7000-8000-000000000011"),
    **dict.fromkeys(("date_parsing", "date_type", "date_from_datetime_parsing", "date_from_datetime_inexact"), _A_DAY),
    **dict.fromkeys(("datetime_parsing", "datetime_type", "datetime_from_date_parsing", "timezone_aware"), _A_TIME),
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float", "int_parsing_size"), _A_WHOLE_NUMBER),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    **dict.fromkeys(("decimal_parsing", "decimal_type", "finite_number"), 'a decimal in a string, such as "1200.50"'),
    **dict.fromkeys(("string_type", "string_unicode"), "a string"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "dict_attributes_type"), "a JSON object"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type"), "a list"),
    "none_required": "null",
}


def near_names(given: str, names: Iterable[str]) -> list[str]:
    """The names that may have been meant by one that is not known, the likeliest first: those that hold all its words,
    and those that are spelt alike."""
    known = sorted(names)
    wanted = given[:_NAME_CHARACTERS_MAX].replace("-", "_").lower()
    words = {word for word in wanted.split("_") if word}
    containing = [name for name in known if words and words <= set(name.lower().split("_"))]
    # As people write names: in capitals, with dashes, in one word.
    plain = {name.replace("_", "").lower(): name for name in known}
    alike = get_close_matches(wanted.replace("_", ""), list(plain), n=_NEAR_MAX)
    return list(dict.fromkeys([*containing, *(plain[each] for each in alike)]))[:_NEAR_MAX]


def accepted_names(given: str, names: Iterable[str]) -> str:
    """What would have been accepted in the place of a name that is not known: the nearest ones, then all of them."""
    known = sorted(names)
    if not known:
        return "nothing"
    near = near_names(given, known)
    listed = ", ".join(known)
    return f"{' or '.join(near)}; known are {listed}" if near else listed


def shown(value: object) -> str:
    """A value of a request as it was sent, shortened where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def refusal(kind: str, message: str, about: Mapping[str, object]) -> tuple[str, str]:
    """What is wrong with a value and what would be accepted, by what a schema says of it: the kind of its error, its
    sentence and what that is about. Nothing of how it is checked shows. What would be accepted may be empty."""
    if kind in ("enum", "literal_error"):
        return "is not known", _ENUM_MEMBER.sub(r"\1", str(about["expected"])).replace("'", "")
    if kind in ("value_error", "assertion_error"):
        return "is not accepted", (message.partition(", ")[2] or message).removeprefix("must be ")
    if kind in _ACCEPTED:
        return f"is not {_ACCEPTED[kind].partition(':')[0].partition(',')[0]}", _ACCEPTED[kind]
    accepted = message.partition(_SHOULD)[2].removeprefix("be ")
    return (f"is not {accepted}" if accepted else message), accepted


def counted(number: int, thing: str, things: str | None = None) -> str:
    """A number of things in words: "1 delivery", "2 deliveries", "1,000 deals"."""
    if number == 1:
        return f"1 {thing}"
    if things is None:
        things = f"{thing[:-1]}ies" if thing.endswith("y") and thing[-2:-1] not in "aeiou" else f"{thing}s"
    return f"{number:,} {things}"
