"""A calendar and exchange rates as somebody supposes them, in the snapshots that would be published of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from shared.contracts.base import Event
from shared.contracts.chart import org_chart
from shared.contracts.org import Calendar, CalendarRules, CalendarState, DatedRate, ExchangeRates
from shared.kernel.errors import InvalidInput
from shared.kernel.money import known_currency
from shared.kernel.periods import FiscalCalendar
from shared.kernel.working_days import WorkRule


@dataclass(frozen=True, slots=True)
class SupposedRate:
    """From `day` on, up to the next one stated, a unit of `currency` is `rate` units of the home currency.

    None takes back what is stated for that day.
    """

    currency: str
    day: date
    rate: Decimal | None


def supposed_calendar(tenant_id: UUID, known: Mapping[str, Event], states: Sequence[CalendarState]) -> Calendar:
    """The tenant's calendar with other states, and with the public holidays that are known.

    Raises InvalidInput for what is no calendar, and for a country whose public holidays are not known here.
    """
    for number, state in enumerate(states):
        before = states[number - 1].start if number else None
        if (state.start is None) != (number == 0) or (before and state.start and state.start <= before):
            raise InvalidInput.field(
                f"/history/{number}/start", "is out of order", "null for the first state, then later and later days"
            )
        try:
            known_currency(state.currency)
            FiscalCalendar(state.start_month, state.time_zone, weeks=state.weeks)
            WorkRule(state.country, state.subdivision, frozenset(state.days_off), frozenset(state.extra_working_days))
        except InvalidInput as error:
            raise error.under(f"/history/{number}") from None
    stored = known.get("calendar")
    calendar = Calendar(
        tenant_id=tenant_id,
        version=1,
        **states[-1].model_dump(include=set(CalendarRules.model_fields)),
        history=tuple(states),
        national_days=stored.national_days if isinstance(stored, Calendar) else (),
    )
    try:
        calendar.fiscal()
    except InvalidInput as error:
        raise error.under("/history") from None
    if calendar.working_days() is None:
        regions = {(each.country, each.subdivision) for each in calendar.national_days}
        unknown = next(
            number
            for number, state in enumerate(states)
            if state.country is not None and (state.country, state.subdivision) not in regions
        )
        raise InvalidInput.field(
            f"/history/{unknown}/country",
            "has public holidays that have not arrived here",
            "null, or a country and subdivision that the calendar has had before",
        )
    return calendar


def supposed_rates(tenant_id: UUID, known: Mapping[str, Event], rates: Sequence[SupposedRate]) -> list[ExchangeRates]:
    """The months of rates in which these are stated, each in the home currency of its day.

    Raises InvalidInput for what is no currency, or the home currency, and where there is none; for two of one currency
    and day; and for taking back what is not stated.
    """
    homes = org_chart([known["calendar"]] if "calendar" in known else []).rates
    months: dict[tuple[str, str, str], dict[date, Decimal]] = {}
    seen = defaultdict[str, set[date]](set)
    for number, each in enumerate(rates):
        pointer = f"/rates/{number}"
        known_currency(each.currency, pointer=f"{pointer}/currency")
        home = homes.home_currency(each.day)
        if home is None or home == each.currency:
            message = "has no home currency to be stated in" if home is None else "is the home currency"
            raise InvalidInput.field(f"{pointer}/currency", message, "another currency than the calendar's")
        if each.day in seen[each.currency]:
            raise InvalidInput.field(pointer, "is stated twice", "one rate a currency and day")
        seen[each.currency].add(each.day)
        key = home, each.currency, each.day.isoformat()[:7]
        month = months.setdefault(key, _stated(known, *key))
        if each.rate is not None:
            month[each.day] = each.rate
        elif month.pop(each.day, None) is None:
            raise InvalidInput.field(f"{pointer}/rate", f"no rate is stated for {each.day}", "a rate")
    return [
        ExchangeRates(
            tenant_id=tenant_id,
            version=1,
            base_currency=home,
            currency=currency,
            month=month,
            rates=tuple(DatedRate(date=day, rate=rate) for day, rate in sorted(stated.items())),
        )
        for (home, currency, month), stated in months.items()
    ]


def _stated(known: Mapping[str, Event], home: str, currency: str, month: str) -> dict[date, Decimal]:
    stored = known.get(f"exchange-rates/{home}/{currency}/{month}")
    return {each.date: each.rate for each in stored.rates} if isinstance(stored, ExchangeRates) else {}
