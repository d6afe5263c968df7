"""Exchange rates as a table."""

from collections.abc import Iterator
from typing import Final

from services.goals.rates.domain import StatedRate
from services.goals.rates.schemas import ExchangeRateBody
from shared.http.tables import read_bodies
from shared.tables.cells import InvalidTable, Row, place
from shared.tables.columns import Column, Kind

RATES: Final = (
    Column("date", Kind.DAY, required=True),
    Column("currency", Kind.WORD, required=True),
    Column("rate", Kind.RATE, required=True),
)
LINES_MAX: Final = 20_000


class InvalidRatesFile(InvalidTable):
    """Lines of a file of exchange rates that cannot be read; nothing of it was stored."""

    code = "invalid_rates_file"
    title = "Invalid file of exchange rates"


def rates_of(rows: Iterator[Row]) -> tuple[list[StatedRate], list[str]]:
    """The rates of a table, and a pointer to each. Raises InvalidRatesFile naming line and column."""
    try:
        read = read_bodies(ExchangeRateBody, RATES, rows, rows_max=LINES_MAX)
    except InvalidTable as error:
        raise InvalidRatesFile(error.detail, fields=error.fields) from None
    return [body.stated() for _, body in read], [place(number) for number, _ in read]
