from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid5

import pytest

from shared.kernel.ids import activity_id, deal_id, unix_milliseconds, uuid7


def test_a_uuid7_is_one_by_the_rfcs_own_example() -> None:
    # RFC 9562, appendix A.6: 2022-02-22 14:22:22.00 GMT-05:00, rand_a CC3, rand_b 18C4DC0C0C07398F.
    entropy = ((0xCC3 << 68) | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    made = uuid7(0x017F22E279B0, entropy)
    assert made == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert (made.version, made.variant) == (7, "specified in RFC 4122")


def test_a_uuid7_of_a_later_millisecond_sorts_after() -> None:
    assert uuid7(1, b"\xff" * 10) < uuid7(2, b"\0" * 10)
    assert uuid7(1_700_000_000_123, b"\xaa" * 10).int >> 80 == 1_700_000_000_123


@pytest.mark.parametrize(("milliseconds", "entropy"), [(-1, b"\0" * 10), (1 << 48, b"\0" * 10), (0, b"\0" * 9)])
def test_a_time_or_entropy_that_does_not_fit_is_refused(milliseconds: int, entropy: bytes) -> None:
    with pytest.raises(ValueError, match=r"unix_milliseconds|entropy"):
        uuid7(milliseconds, entropy)


@pytest.mark.parametrize(
    ("moment", "milliseconds"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(2026, 3, 2, 9, 30, 0, 999_999, tzinfo=UTC), 1_772_443_800_999),
        # As a float of seconds it would be a millisecond later.
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253_402_300_799_999),
        (datetime(2026, 3, 2, 15, 0, 0, 1_000, tzinfo=timezone(timedelta(hours=5, minutes=30))), 1_772_443_800_001),
    ],
)
def test_the_milliseconds_of_a_moment_are_those_that_are_over(moment: datetime, milliseconds: int) -> None:
    assert unix_milliseconds(moment) == milliseconds


def test_a_deal_is_the_same_on_its_own_connection_only() -> None:
    here, there = UUID(int=1), UUID(int=2)
    assert deal_id(here, "746") == deal_id(here, "746") == uuid5(here, "746")
    assert deal_id(here, "746") != deal_id(there, "746")
    assert deal_id(here, "746") != deal_id(here, "747")


def test_an_activity_is_never_the_deal_of_the_same_external_id_nor_that_of_another_connection() -> None:
    here, there = UUID(int=1), UUID(int=2)
    assert activity_id(here, "746") == activity_id(here, "746")
    others = [activity_id(there, "746"), activity_id(here, "747"), deal_id(here, "746")]
    assert activity_id(here, "746") not in others
    assert len(set(others)) == len(others)
