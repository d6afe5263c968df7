"""The public holidays and make-up days of countries, by the `holidays` library. Only this service loads it."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

from holidays import HolidayBase, country_holidays, list_supported_countries
from holidays.groups.islamic import IslamicHolidays

from shared.kernel.errors import InvalidInput
from shared.kernel.working_days import NationalDays, Region
from shared.kernel.years import Weekday

_YEARS_KNOWN: Final = 10
_YEARS_WITHOUT_MOVED_DAYS: Final = 2
_WEEKDAYS: Final = tuple(Weekday)


class Governments:
    """What is known of public holidays in each country."""

    def days(self, region: Region, today: date) -> NationalDays:
        """The days of a region, ten years before and after today's as far as known. InvalidInput for an unknown one.

        Where a government moves days of work year by year, as China's does, nothing is published of a year after the
        last one with moved days. Where it has decreed holidays for years after that, moving none, all follows from law.
        """
        country, subdivision = region
        countries = list_supported_countries(include_aliases=False)
        if country not in countries:
            raise InvalidInput.field(
                "/country", f"nothing is known of public holidays in {country}", "an ISO 3166-1 code such as CN or US"
            )
        if subdivision is not None and subdivision not in countries[country]:
            known = ", ".join(countries[country])
            raise InvalidInput.field(
                "/subdivision",
                f"{subdivision} is no subdivision of {country} with holidays of its own",
                f"{known}, or null" if known else "null: there are none",
            )
        known_days = _holidays(country, subdivision, today)
        start, end = date(min(known_days.years), 1, 1), date(max(known_days.years) + 1, 1, 1)
        weekend = frozenset(_WEEKDAYS[number] for number in known_days.weekend)
        off, worked = set(), set()
        for day in (start + timedelta(number) for number in range((end - start).days)):
            is_weekend = Weekday.of(day) in weekend
            if known_days.is_working_day(day) and is_weekend:
                worked.add(day)
            elif not known_days.is_working_day(day) and not is_weekend:
                off.add(day)
        return NationalDays(
            start,
            end,
            published_until=min(_published_until(known_days) or end, end),
            weekend=weekend,
            off=frozenset(off),
            worked=frozenset(worked),
            estimated=frozenset(day for day in off if _is_estimated(known_days, day)),
        )


def _holidays(country: str, subdivision: str | None, today: date) -> HolidayBase:
    kind = type(country_holidays(country))
    made: Callable[..., HolidayBase] = kind
    first, last = today.year - _YEARS_KNOWN, today.year + _YEARS_KNOWN
    years = range(max(first, kind.start_year), min(last, kind.end_year) + 1)
    options = {"islamic_show_estimated": True} if issubclass(kind, IslamicHolidays) else {}
    return made(years=years, subdiv=subdivision, language=kind.default_language, **options)


def _published_until(known: HolidayBase) -> date | None:
    """The first day of the year after the last one with moved days; None where they are not moved any more."""
    if not known.has_substituted_holidays:
        return None
    last = max(day.year for day in known.weekend_workdays)
    is_past = last < max(known.special_public_holidays) - _YEARS_WITHOUT_MOVED_DAYS
    return None if is_past else date(last + 1, 1, 1)


def _is_estimated(known: HolidayBase, day: date) -> bool:
    labels = (getattr(known, name, None) for name in ("estimated_label", "observed_estimated_label"))
    patterns = [re.escape(label).replace("%s", ".+") for label in labels if label is not None]
    return any(re.fullmatch(pattern, name) for pattern in patterns for name in known.get_list(day))
