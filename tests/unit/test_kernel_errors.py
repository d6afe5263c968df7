import pytest

from shared.kernel.errors import (
    FieldError,
    InvalidInput,
    PreconditionFailed,
    Unavailable,
    VersionMismatch,
    check_version,
)


class Refused(InvalidInput):
    code = "refused"


def test_an_error_about_a_part_can_be_told_about_the_whole() -> None:
    part = Refused("x", fields=[FieldError("/filter", "is wrong", "a filter"), FieldError("/currency", "is missing")])
    whole = part.under("/metric")
    assert isinstance(whole, Refused)
    assert whole.fields == (
        FieldError("/metric/filter", "is wrong", "a filter"),
        FieldError("/metric/currency", "is missing"),
    )
    assert whole.detail == "/metric/filter: is wrong; /metric/currency: is missing"


def test_a_change_from_an_old_version_is_refused() -> None:
    check_version(3, 3)
    with pytest.raises(VersionMismatch, match="version 3 by now"):
        check_version(3, 2)
    assert issubclass(VersionMismatch, PreconditionFailed)


def test_what_is_unavailable_says_when_to_come_back() -> None:
    assert Unavailable("down", retry_after_seconds=7).retry_after_seconds == 7
