"""What any HTTP answer says about a message, where the channel's own words say nothing."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, TypeVar

from services.tracking.tell.channels.domain.messages import Answered, Outcome, Result, cut

CodeT = TypeVar("CodeT", int, str)
_CODE_BYTES_MAX: Final = 60
_SAID_BYTES_MAX: Final = 300


def json_object(answer: Answered) -> Mapping[str, object] | None:
    """The body, where it is a JSON object."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def text_of(value: object) -> str:
    """A member that should be text."""
    return value if isinstance(value, str) else ""


def retry_after_of(answer: Answered) -> timedelta | None:
    """Retry-After in seconds, up to a day."""
    seconds = answer.headers.get("retry-after", "")
    return timedelta(seconds=min(int(seconds), 86_400)) if seconds.isdigit() and len(seconds) < 10 else None


def judged(answer: Answered) -> Outcome:
    """By the status alone: 429 and 503 with a time did not arrive, other 5xx and a 2xx nobody can read may have."""
    code = str(answer.status)
    if answer.status == 429:
        return Outcome(Result.RETRY, code, retry_after=retry_after_of(answer))
    if answer.status == 503 and retry_after_of(answer) is not None:
        return Outcome(Result.RETRY, code, retry_after=retry_after_of(answer))
    if answer.status in range(300, 500):
        return Outcome(Result.CLOSED, code, f"The address answers with status {code}: see that it is the robot's.")
    return Outcome(Result.UNKNOWN, code)


def refused(code: CodeT, said: str, meaning: Mapping[CodeT, str]) -> Outcome:
    """By a code of the channel's own: what closes the address is among `meaning`, anything else is about the message.

    `said` is the channel's own sentence.
    """
    name = cut(str(code), bytes_max=_CODE_BYTES_MAX)
    if code in meaning:
        return Outcome(Result.CLOSED, name, meaning[code])
    return Outcome(Result.REFUSED, name, f"The channel says: {cut(said, bytes_max=_SAID_BYTES_MAX)}")
