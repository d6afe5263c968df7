"""Typed errors of the whole product.

A room derives one class per condition from one of the kinds below and gives it a stable `code`. Only the HTTP edge
knows which kind becomes which status.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One refused field: where it is (JSON pointer), what is wrong, and what would be accepted."""

    pointer: str
    message: str
    accepted: str | None = None


def escaped(name: str) -> str:
    """A name as one step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


class AttainError(Exception):
    """Base of every error that a caller can act on. `code` is stable across releases."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"

    def __init__(self, detail: str, *, fields: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields: tuple[FieldError, ...] = tuple(fields)

    def fields_under(self, pointer: str) -> list[FieldError]:
        """What is wrong of a part of something larger, in which that part is found at `pointer`."""
        if not self.fields:
            return [FieldError(pointer, self.detail)]
        return [FieldError(f"{pointer}{field.pointer}", field.message, field.accepted) for field in self.fields]


class InvalidInput(AttainError):
    """The request is understood and refused; `fields` says which field and what would be accepted."""

    code = "invalid_input"
    title = "Invalid input"

    @classmethod
    def field(cls, pointer: str, message: str, accepted: str | None = None) -> "InvalidInput":
        """An error about the one field at `pointer`."""
        return cls(f"{pointer}: {message}", fields=(FieldError(pointer, message, accepted),))

    def under(self, pointer: str) -> "InvalidInput":
        """The same error about a part of something larger, in which that part is found at `pointer`."""
        if not self.fields:
            return type(self)(self.detail)
        fields = self.fields_under(pointer)
        return type(self)("; ".join(f"{field.pointer}: {field.message}" for field in fields), fields=fields)


class ItemsRefused(InvalidInput):
    """Some of many things cannot be taken, so none was; `fields` says of each what is wrong and what would do."""

    code = "items_refused"
    title = "Items refused"


class Refusals:
    """What is wrong with each of many things, of which all are taken or none."""

    def __init__(self, *, alone: bool = False, leaves_out: bool = False) -> None:
        """`alone`: there is one thing, and its error is raised as it is. `leaves_out`: the other things are taken."""
        self._alone = alone
        self._leaves_out = leaves_out
        self.fields: list[FieldError] = []
        """What is wrong, of all of them."""
        self.refused: set[str] = set()
        """Where the refused things are found."""

    @contextmanager
    def at(self, pointer: str) -> Iterator[None]:
        """Notes an error of the block as one about the thing that is found at `pointer`; Unavailable passes through."""
        try:
            yield
        except Unavailable:
            raise
        except AttainError as error:
            if self._alone:
                raise
            self.refused.add(pointer)
            self.fields.extend(error.fields_under(pointer))

    def check(self) -> None:
        """Raises ItemsRefused where something is wrong, unless that is left out."""
        if self.refused and not self._leaves_out:
            raise ItemsRefused(f"{len(self.refused)} of the things are refused: none is taken.", fields=self.fields)


class NotFound(AttainError):
    """Nothing of that name exists, or the caller may not know that it does."""

    code = "not_found"
    title = "Not found"


class Conflict(AttainError):
    """The thing is in a state that does not allow the change."""

    code = "conflict"
    title = "Conflict"


class PreconditionFailed(AttainError):
    """The thing changed since the caller read it."""

    code = "precondition_failed"
    title = "Precondition failed"


class VersionMismatch(PreconditionFailed):
    """The thing changed since the version the change was made from."""

    code = "version_mismatch"
    title = "Version mismatch"


class AnyVersionOf(int):
    """Not one version that a change may be made from but several, or whichever there is; as a number it is none.

    Version 0 is a thing that does not exist yet; it is not among whichever there is.
    """

    versions: frozenset[int] | None

    def __new__(cls, versions: frozenset[int] | None) -> "AnyVersionOf":
        """`versions` are those that may be current; None is any."""
        made = super().__new__(cls, -1)
        made.versions = versions
        return made

    def admits(self, current: int) -> bool:
        """Whether the change may be made from this version."""
        return current > 0 if self.versions is None else current in self.versions


def check_version(current: int, expected: int) -> None:
    """Raises VersionMismatch unless the change was made from the current version."""
    if isinstance(expected, AnyVersionOf):
        if not expected.admits(current):
            raise VersionMismatch(f"This is version {current} by now, which is none of those in If-Match.")
    elif current != expected:
        raise VersionMismatch(f"This is version {current} by now; the change was made from version {expected}.")


class Unauthenticated(AttainError):
    """Who is calling could not be established."""

    code = "unauthenticated"
    title = "Unauthenticated"


class Forbidden(AttainError):
    """The caller is known and may not do this."""

    code = "forbidden"
    title = "Forbidden"


class TooLarge(AttainError):
    """The body or the batch is larger than the stated limit."""

    code = "too_large"
    title = "Too large"


class TooManyRequests(AttainError):
    """The caller has as much under way as it may have; less of it, or later, succeeds."""

    code = "too_many_requests"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after_seconds: int = 5, fields: Sequence[FieldError] = ()) -> None:
        super().__init__(detail, fields=fields)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(AttainError):
    """A dependency is down for the moment; the same request may succeed after `retry_after_seconds`."""

    code = "unavailable"
    title = "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: int = 1, fields: Sequence[FieldError] = ()) -> None:
        super().__init__(detail, fields=fields)
        self.retry_after_seconds = retry_after_seconds
