"""How numbers and days are shown to people, in both languages alike where both write them alike."""

from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from services.incentives.earnings.domain.inputs import EXACT
from shared.kernel.money import currency_minor_units, format_amount, round_to_minor_unit
from shared.kernel.periods import Period

_PERCENT_STEP: Final = Decimal("0.01")
_SHOWN_STEP: Final = Decimal("0.000001")


def money(amount: Decimal, currency: str) -> str:
    """1234.5 USD is "USD 1,234.50": with all the decimals that its currency has."""
    return f"{currency} {posted(amount, currency)}"


def posted(amount: Decimal, currency: str) -> str:
    """An amount without its currency, which stands elsewhere. Zero has no sign."""
    rounded = round_to_minor_unit(amount, currency)
    return f"{abs(rounded) if rounded == 0 else rounded:,f}"


def number(value: Decimal, currency: str | None = None) -> str:
    """A value in the unit of a measure: all its decimals up to six, of money at least those of its currency."""
    decimals = 0 if currency is None else currency_minor_units(currency)
    exact = value.quantize(_SHOWN_STEP, ROUND_HALF_UP, EXACT)
    whole, _, rest = format_amount(exact).partition(".")
    rest = rest.ljust(decimals, "0")
    return f"{int(whole):,}{'.' if rest else ''}{rest}" if whole != "-0" else f"-0.{rest}"


def percent(share: Decimal) -> str:
    """0.05 is "5%"; at most six decimals."""
    return f"{number(EXACT.multiply(share, Decimal(100)))}%"


def attained(share: Decimal | None) -> str:
    """An attainment, to two decimals of a percent, rounded down; a dash where there is none."""
    if share is None:
        return "—"
    hundred = EXACT.multiply(share, Decimal(100))
    return f"{(hundred - hundred % _PERCENT_STEP).quantize(_PERCENT_STEP, context=EXACT):,f}%"


def rate(of: Decimal, *, is_money: bool, currency: str) -> str:
    """A rate of pay: a percentage of money, or an amount of the currency for each unit."""
    return percent(of) if is_money else f"{currency} {number(of, currency)}"


def last_day(end: date) -> date:
    """The last day before `end`, which is the first day after."""
    return end - timedelta(days=1)


def days(period: Period) -> str:
    """The first and the last day."""
    return f"{period.start} – {last_day(period.end)}"


def moment(instant: datetime) -> str:
    """To the minute, as it is in UTC."""
    return f"{instant:%Y-%m-%d %H:%M} UTC"
