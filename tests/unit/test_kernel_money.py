from collections.abc import Mapping
from decimal import Decimal
from itertools import product
from string import ascii_uppercase
from typing import Final

import pytest

from shared.kernel import money
from shared.kernel.errors import InvalidInput
from shared.kernel.money import (
    currency_minor_units,
    format_amount,
    format_posted,
    known_currency,
    parse_amount,
    parse_currency,
    round_to_minor_unit,
)

ACCEPTED: Final[Mapping[int, str]] = {
    0: "BIF BYR CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE "
    "CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EEK EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD "
    "HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL LTL LVL MAD MDL MGA MKD MMK MNT "
    "MOP MRO MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD "
    "SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STD STN SVC SYP SZL THB TJS TMM TMT TOP TRY TTD TWD TZS UAH USD USN UYU "
    "UZS VED VEF VES WST XAD XCD XCG YER ZAR ZMK ZMW ZWG ZWL ZWR",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
"""Every currency by its minor units. A new edition of the list may add some; what was accepted once stays."""


def test_every_currency_is_accepted_with_its_minor_units_and_no_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(money, "get_close_matches", lambda *_, **__: [])  # Seconds, for some 17,000 codes.
    accepted = {code: digits for digits, codes in ACCEPTED.items() for code in codes.split()}
    found = {}
    for code in map("".join, product(ascii_uppercase, repeat=3)):
        try:
            found[known_currency(code)] = currency_minor_units(code)
        except InvalidInput:
            assert currency_minor_units(code) == 2, code
    assert found == accepted


@pytest.mark.parametrize(
    ("currency", "digits"), [("USD", 2), ("CNY", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("XXX", 2)]
)
def test_a_currency_has_its_iso_minor_units(currency: str, digits: int) -> None:
    assert currency_minor_units(currency) == digits


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("0.005", "USD", "0.01"),
        ("-0.005", "USD", "-0.01"),
        ("0.0049999", "USD", "0"),
        ("2.5", "JPY", "3"),
        ("-2.5", "JPY", "-3"),
        ("1.0005", "KWD", "1.001"),
        ("123456789012345678901234567890.125", "EUR", "123456789012345678901234567890.13"),
    ],
)
def test_rounding_is_half_up_and_away_from_zero_on_a_tie(amount: str, currency: str, rounded: str) -> None:
    assert round_to_minor_unit(Decimal(amount), currency) == Decimal(rounded)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("2.5", "USD", "2.50"),
        ("4E+3", "USD", "4000.00"),
        ("0", "EUR", "0.00"),
        ("-0.001", "EUR", "0.00"),
        ("2.5", "JPY", "3"),
        ("-0.0005", "BHD", "-0.001"),
        ("1", "BHD", "1.000"),
    ],
)
def test_a_posted_amount_has_all_the_decimals_of_its_currency(amount: str, currency: str, text: str) -> None:
    assert format_posted(round_to_minor_unit(Decimal(amount), currency)) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1200.50", "1200.5"), ("1E+3", "1000"), ("-0.00", "0"), ("0E-10", "0"), ("100", "100"), ("0.000001", "0.000001")],
)
def test_an_amount_is_written_without_exponent_and_needless_zeros(amount: str, text: str) -> None:
    assert format_amount(Decimal(amount)) == text


@pytest.mark.parametrize(
    "raw", ["1e15", "-1e15", "0.0000001", "NaN", "Infinity", "sNaN", "1e-400", "", "twelve", "1,5"]
)
def test_an_amount_out_of_range_or_that_is_none_is_refused_by_name(raw: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_amount(raw, pointer="/target")
    assert [field.pointer for field in refused.value.fields] == ["/target"]
    assert refused.value.fields[0].accepted


@pytest.mark.parametrize("raw", ["999999999999999.999999", "-999999999999999.999999", "0.000001", "1.0000000", "-0"])
def test_an_amount_at_the_limits_is_kept_exactly(raw: str) -> None:
    assert parse_amount(raw) == Decimal(raw)


@pytest.mark.parametrize("raw", ["usd", "US", "USDT", "U$D", "", "ÄÖÜ"])
def test_what_is_no_iso_code_is_no_currency(raw: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_currency(raw, pointer="/metric/currency")
    assert refused.value.fields[0].pointer == "/metric/currency"
