"""What actuals must be over the stories of `progress`, by plain integers. Imports nothing of the product.

A month is that of a day: the days before MONTH_STARTS are in month 0, those from there on in month 1. Values are in
cents of the home currency of the month's first day.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from tests.oracles import progress
from tests.oracles.progress import MONTH_STARTS, Deal, Definition, Definitions, Identity, Step, subject

_FIRST_DAYS = (MONTH_STARTS - 31, MONTH_STARTS)


class Actuals(NamedTuple):
    """Of one person and month."""

    currency: str | None
    won_value: Fraction
    won_number: Fraction
    open_value: Fraction
    open_number: Fraction
    unconverted: Fraction


def expected(story: Sequence[Step]) -> dict[tuple[int, int], Actuals]:
    """By person and month, whatever there is something of."""
    deals: dict[int, Deal] = {}
    definitions: dict[tuple[str, int], Definition] = {}
    for step in story:
        if isinstance(step, progress.Deals):
            for deal in step.batch:
                if deal.number not in deals or deals[deal.number].version < deal.version:
                    deals[deal.number] = deal
        elif isinstance(step, Definitions):
            for definition in step.batch:
                key = subject(definition)
                if key not in definitions or definitions[key].version < definition.version:
                    definitions[key] = definition
    sums: dict[tuple[int, int], list[Fraction]] = {}
    for deal in deals.values():
        day = _day(deal, definitions)
        if day is None:
            continue
        month = 0 if day < MONTH_STARTS else 1
        worth = _worth(deal, day, _home(month, definitions), definitions)
        for user, share in _shares(deal):
            identity = definitions.get(("Identity", user))
            if not isinstance(identity, Identity) or identity.deleted or not share:
                continue
            of_key = sums.setdefault((identity.person, month), [Fraction(0)] * 5)
            place = 0 if deal.status == "won" else 2
            of_key[place + 1] += share
            if worth is None:
                of_key[4] += share
            else:
                of_key[place] += worth * share
    return {key: Actuals(_home(key[1], definitions), *of_key) for key, of_key in sums.items() if any(of_key)}


def _day(deal: Deal, definitions: Mapping[tuple[str, int], Definition]) -> int | None:
    """The day it counts on, if it does at all."""
    if deal.kind in ("deleted", "merged") or deal.status == "lost":
        return None
    if deal.status == "open":
        return deal.expected_day
    if deal.closed_day is not None or deal.closed_hour is None:
        return deal.closed_day
    return progress.day_of(deal.closed_hour, definitions)


def _shares(deal: Deal) -> list[tuple[int, Fraction]]:
    if deal.splits:
        return [(user, Fraction(thousandths, 1000)) for user, thousandths, _ in deal.splits]
    return [] if deal.user is None else [(deal.user, Fraction(1))]


def _home(month: int, definitions: Mapping[tuple[str, int], Definition]) -> str | None:
    calendar = definitions.get(("Calendar", 0))
    if not isinstance(calendar, progress.Calendar):
        return None
    started = [currency for day, _, currency in calendar.changes if day <= _FIRST_DAYS[month]]
    return started[-1] if started else calendar.home_currency


def _worth(
    deal: Deal, day: int, home: str | None, definitions: Mapping[tuple[str, int], Definition]
) -> Fraction | None:
    """Cents of the home currency; None for an amount that cannot be converted."""
    if deal.cents is None:
        return Fraction(0)
    if home is None:
        return None
    if deal.currency != home and deal.home_currency == home and deal.home_cents is not None:
        return Fraction(deal.home_cents)
    rate = progress.daily_rate(deal.currency, home, day, definitions)
    return None if rate is None else deal.cents * rate
