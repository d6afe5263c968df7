"""Numbers of things in words."""

import pytest

from shared.kernel.words import counted


@pytest.mark.parametrize(
    ("number", "thing", "text"),
    [
        (1, "delivery", "1 delivery"),
        (2, "delivery", "2 deliveries"),
        (0, "day", "0 days"),
        (1, "ledger transaction", "1 ledger transaction"),
        (1_234_567, "deal", "1,234,567 deals"),
        (3, "more currency", "3 more currencies"),
    ],
)
def test_one_thing_is_told_in_the_singular_and_many_in_the_plural(number: int, thing: str, text: str) -> None:
    assert counted(number, thing) == text


def test_a_plural_of_its_own_is_named() -> None:
    assert [counted(number, "person", "people") for number in (1, 12)] == ["1 person", "12 people"]
