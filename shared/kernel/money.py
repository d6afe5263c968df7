"""Money: an amount never travels without its currency, and is never a binary floating point number."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation, localcontext

from shared.kernel.errors import InvalidInput

# ISO 4217 minor units that differ from two digits (list one, amendment 177).
_NO_MINOR_UNIT = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DIGITS = "CLF UYW"
_MINOR_UNITS_EXCEPTIONS = {
    code: digits
    for codes, digits in ((_NO_MINOR_UNIT, 0), (_THREE_DIGITS, 3), (_FOUR_DIGITS, 4))
    for code in codes.split()
}

# Limits chosen so that a sum of a million deals, or a deal times a rate, is exact in 28 significant digits.
AMOUNT_MAGNITUDE_MAX = Decimal(10) ** 15
AMOUNT_DECIMALS_MAX = 6
_PRECISE = Context(prec=60)


def currency_minor_units(currency: str) -> int:
    """How many decimal digits the smallest coin of an ISO 4217 currency has."""
    return _MINOR_UNITS_EXCEPTIONS.get(currency, 2)


def parse_currency(value: str, *, pointer: str = "/currency") -> str:
    """An ISO 4217 alphabetic code in capitals, or InvalidInput naming `pointer`."""
    if len(value) == 3 and value.isascii() and value.isalpha() and value.isupper():
        return value
    raise InvalidInput.field(pointer, f"{value!r} is not a currency", "an ISO 4217 code such as USD or CNY")


def parse_amount(value: str | int | Decimal, *, pointer: str = "/amount") -> Decimal:
    """A finite decimal below 10^15 with at most six decimals, or InvalidInput naming `pointer`.

    Floats are refused by type: they have lost the cent before we could see it.
    """
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise InvalidInput.field(
            pointer, f"{value!r} is not a number", 'a decimal in a string, such as "1200.50"'
        ) from None
    if not amount.is_finite() or abs(amount) >= AMOUNT_MAGNITUDE_MAX or not has_decimals_at_most(amount):
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


def round_to_minor_unit(amount: Decimal, currency: str) -> Decimal:
    """Half-up rounding to the currency's minor unit, away from zero on a tie, for debits as for credits."""
    with localcontext(_PRECISE):
        return amount.quantize(Decimal(1).scaleb(-currency_minor_units(currency)), rounding=ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in a currency. Arithmetic between currencies raises ValueError."""

    amount: Decimal
    currency: str

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount - self._same(other), self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.currency)

    def rounded(self) -> "Money":
        """This amount in whole minor units, rounded half-up."""
        return Money(round_to_minor_unit(self.amount, self.currency), self.currency)

    def _same(self, other: "Money") -> Decimal:
        if other.currency != self.currency:
            raise ValueError(f"cannot combine {self.currency} with {other.currency}")
        return other.amount
