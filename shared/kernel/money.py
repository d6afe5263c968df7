"""Amounts of money and their currencies; an amount is never a binary floating point number."""

from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from difflib import get_close_matches

import iso4217

from shared.kernel.errors import InvalidInput
from shared.kernel.reading import read_decimal

_WITHDRAWN = {
    "ANG": 2, "BGN": 2, "BYR": 0, "CUC": 2, "EEK": 2, "HRK": 2, "LTL": 2, "LVL": 2, "MRO": 2, "SLL": 2, "STD": 2,
    "TMM": 2, "VEF": 2, "ZMK": 2, "ZWL": 2, "ZWR": 2,
}  # fmt: skip
"""Withdrawn from ISO 4217 between 2008 and 2026; deals and goals of those years still have them."""
_MINOR_UNITS = _WITHDRAWN | {each.code: each.exponent for each in iso4217.Currency if each.exponent is not None}
"""By code, as ISO 4217 lists them. Codes that are no money (metals, units of account, tests) have no smallest coin."""

# Limits chosen so that a sum of a million deals, or a deal times a rate, is exact in 28 significant digits.
AMOUNT_MAGNITUDE_MAX = Decimal(10) ** 15
AMOUNT_DECIMALS_MAX = 6
_PRECISE = Context(prec=60)


def currency_minor_units(currency: str) -> int:
    """How many decimal digits the smallest coin of an ISO 4217 currency has; 2 for a code that is none."""
    return _MINOR_UNITS.get(currency, 2)


def known_currency(value: str, *, pointer: str = "/currency") -> str:
    """A currency that new terms may be stated in, or InvalidInput naming `pointer` and codes that look alike."""
    if parse_currency(value, pointer=pointer) not in _MINOR_UNITS:
        near = get_close_matches(value, sorted(_MINOR_UNITS), n=3)
        raise InvalidInput.field(
            pointer, f"{value!r} is not a currency", f"an ISO 4217 code such as {' or '.join(near) or 'USD or CNY'}"
        )
    return value


def parse_currency(value: str, *, pointer: str = "/currency") -> str:
    """A text of the form of an ISO 4217 code, or InvalidInput naming `pointer`: see `known_currency` for new terms."""
    if len(value) == 3 and value.isascii() and value.isalpha() and value.isupper():
        return value
    raise InvalidInput.field(pointer, f"{value!r} is not a currency", "an ISO 4217 code such as USD or CNY")


def parse_amount(value: str | int | Decimal, *, pointer: str = "/amount") -> Decimal:
    """A finite decimal below 10^15 with at most six decimals, or InvalidInput naming `pointer`.

    Floats are refused by type: they have lost the cent before we could see it.
    """
    amount = read_decimal(value)
    if amount is None:
        raise InvalidInput.field(pointer, f"{value!r} is not a number", 'a decimal in a string, such as "1200.50"')
    if abs(amount) >= AMOUNT_MAGNITUDE_MAX or not has_decimals_at_most(amount):
        raise InvalidInput.field(
            pointer, f"{value!r} is out of range", "a finite decimal below 10^15 with at most six decimals"
        )
    return amount


def has_decimals_at_most(amount: Decimal, decimals: int = AMOUNT_DECIMALS_MAX) -> bool:
    """Whether a finite amount is a whole number of 10^-decimals."""
    return amount == amount.quantize(Decimal(1).scaleb(-decimals), context=_PRECISE)


def format_amount(amount: Decimal) -> str:
    """Plain decimal notation without an exponent and without needless zeros: 1200.50 → "1200.5", 1E+3 → "1000"."""
    if amount == 0:
        return "0"
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_posted(amount: Decimal) -> str:
    """Plain decimal notation with the decimals an amount has: those of its currency, once it is rounded to them.

    Zero has no sign, also where less than half a minor unit was owed back.
    """
    return format(abs(amount) if amount == 0 else amount, "f")


def round_to_minor_unit(amount: Decimal, currency: str) -> Decimal:
    """Half-up rounding to the currency's minor unit, away from zero on a tie, for debits as for credits."""
    with localcontext(_PRECISE):
        return amount.quantize(Decimal(1).scaleb(-currency_minor_units(currency)), rounding=ROUND_HALF_UP)
