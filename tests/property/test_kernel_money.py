from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.contracts.base import Amount
from shared.kernel.errors import InvalidInput
from shared.kernel.money import (
    currency_minor_units,
    format_amount,
    has_decimals_at_most,
    parse_amount,
    round_to_minor_unit,
)

AMOUNT: TypeAdapter[Decimal] = TypeAdapter(Amount)
decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**18), max_value=10**18)
currencies = st.sampled_from(["USD", "JPY", "KWD", "CLF"])


@given(decimals)
def test_a_written_amount_reads_back_equal(amount: Decimal) -> None:
    text = format_amount(amount)
    assert Decimal(text) == amount
    assert "E" not in text
    assert not (text.endswith("0") and "." in text)


@given(st.integers(min_value=-(10**21) + 1, max_value=10**21 - 1))
def test_every_millionth_below_the_limit_is_an_amount(millionths: int) -> None:
    amount = parse_amount(f"{millionths}e-6")
    assert int(amount.scaleb(6)) == millionths


@given(st.decimals(min_value=-(10**16), max_value=10**16) | st.integers(-(10**16), 10**16))
def test_events_and_rules_accept_the_same_amounts(raw: Decimal | int) -> None:
    try:
        parsed = parse_amount(raw)
    except InvalidInput:
        parsed = None
    try:
        received = AMOUNT.validate_python(str(raw))
    except ValidationError:
        received = None
    assert received == parsed


@given(st.integers(min_value=-(10**24), max_value=10**24), currencies)
def test_rounding_is_half_up_in_plain_integers(ten_thousandths: int, currency: str) -> None:
    step = 10 ** (4 - currency_minor_units(currency))
    whole, rest = divmod(abs(ten_thousandths), step)
    units = whole + (1 if 2 * rest >= step and rest else 0)
    expected = units if ten_thousandths >= 0 else -units
    rounded = round_to_minor_unit(Decimal(ten_thousandths).scaleb(-4), currency)
    assert rounded == Decimal(expected).scaleb(-currency_minor_units(currency))


@given(decimals, currencies)
def test_rounding_a_negative_is_the_negative_of_rounding(amount: Decimal, currency: str) -> None:
    assert round_to_minor_unit(-amount, currency) == -round_to_minor_unit(amount, currency)


@given(decimals, st.integers(0, 12))
def test_an_amount_has_at_most_the_decimals_it_is_written_with(amount: Decimal, decimal_places: int) -> None:
    _, _, fraction = format_amount(amount).partition(".")
    assert has_decimals_at_most(amount, decimal_places) == (len(fraction) <= decimal_places)
