"""What money in another currency adds to a measure, by its rate policy; payments; the prepared readers."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from shared.kernel.deals import DateField, DealFacts, DealKind, DealStatus, Instalment, RecordVersion
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import (
    Aggregate,
    Conversion,
    Counted,
    Exclusion,
    Measure,
    NotCounted,
    RatePolicy,
    fixed_rates_of,
)
from shared.kernel.parts import parts_of
from shared.kernel.periods import FiscalCalendar
from shared.kernel.rates import NO_RATES, ExchangeRates, RateOrigin

CALENDAR = FiscalCalendar()
SIGNED, PAID = date(2026, 3, 2), date(2026, 3, 20)
DEAL = DealFacts(
    deal_id=UUID(int=1),
    source="crm",
    external_id="1",
    version=RecordVersion(datetime(2026, 3, 2, tzinfo=UTC), 0, UUID(int=9)),
    kind=DealKind.UPSERTED,
    status=DealStatus.WON,
    amount=Decimal(1000),
    currency="EUR",
    closed_on=SIGNED,
    payments=(Instalment(PAID, Decimal(400)),),
)
BOOKED = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD", rate_policy=RatePolicy.DEAL_DATE)
RATES = ExchangeRates("USD", {("USD", "EUR"): {SIGNED: Decimal("1.10"), PAID: Decimal("1.20")}})
CONVERTED_BY_CRM = DEAL._replace(home_amount=Decimal(1234), home_currency="USD")


def count(measure: Measure, deal: DealFacts, rates: ExchangeRates = RATES) -> Counted | NotCounted:
    """What becomes of a deal of one part."""
    found = parts_of(measure, deal, CALENDAR, rates)
    return found if isinstance(found, NotCounted) else found[0].outcome


def test_a_deal_in_the_measures_own_currency_needs_no_rate() -> None:
    own = DEAL._replace(currency="USD", home_amount=Decimal(7), home_currency="USD")
    assert count(BOOKED, own, NO_RATES) == Counted(Decimal(1000), SIGNED)


def test_another_currency_counts_at_the_rate_of_the_day_it_counts_on() -> None:
    conversion = Conversion(Decimal(1000), "EUR", Decimal("1.10"), SIGNED, RateOrigin.DAILY)
    assert count(BOOKED, DEAL) == Counted(Decimal(1100), SIGNED, None, conversion)
    when_paid = replace(BOOKED, date_field=DateField.PAID)
    conversion = Conversion(Decimal(400), "EUR", Decimal("1.20"), PAID, RateOrigin.DAILY)
    assert count(when_paid, DEAL) == Counted(Decimal(480), PAID, None, conversion)


def test_what_the_crm_made_of_the_amount_goes_before_the_daily_rate() -> None:
    conversion = Conversion(Decimal(1000), "EUR", Decimal("1.234"), None, RateOrigin.CRM)
    assert count(BOOKED, CONVERTED_BY_CRM) == Counted(Decimal(1234), SIGNED, None, conversion)
    elsewhere = CONVERTED_BY_CRM._replace(home_currency="CNY")
    counted = count(BOOKED, elsewhere)
    assert isinstance(counted, Counted)
    assert counted.value == 1100


def test_what_came_in_counts_at_the_daily_rate_as_the_crm_says_nothing_of_it() -> None:
    cash = replace(BOOKED, value_field="paid_amount")
    counted = count(cash, CONVERTED_BY_CRM)
    assert isinstance(counted, Counted)
    assert (counted.value, counted.day) == (Decimal(440), SIGNED)
    counted = count(replace(cash, date_field=DateField.PAID), CONVERTED_BY_CRM)
    assert isinstance(counted, Counted)
    assert (counted.value, counted.day) == (Decimal(480), PAID)


def test_fixed_rates_are_the_plans_own_whatever_the_day_and_the_crm_say() -> None:
    fixed = replace(BOOKED, rate_policy=RatePolicy.FIXED, fixed_rates=fixed_rates_of({"EUR": "1.05", "CNY": "0.14"}))
    conversion = Conversion(Decimal(1000), "EUR", Decimal("1.05"), None, RateOrigin.FIXED)
    assert count(fixed, CONVERTED_BY_CRM) == Counted(Decimal(1050), SIGNED, None, conversion)
    unnamed = count(fixed, DEAL._replace(currency="GBP"))
    assert unnamed == NotCounted(Exclusion.NO_EXCHANGE_RATE)


@pytest.mark.parametrize(
    ("measure", "deal", "reason"),
    [
        (replace(BOOKED, rate_policy=RatePolicy.NONE), CONVERTED_BY_CRM, Exclusion.CURRENCY_DIFFERS),
        (BOOKED, DEAL._replace(closed_on=date(2026, 3, 1)), Exclusion.NO_EXCHANGE_RATE),
        (BOOKED, DEAL._replace(currency="GBP"), Exclusion.NO_EXCHANGE_RATE),
        (BOOKED, DEAL._replace(currency=None), Exclusion.NO_CURRENCY),
        (BOOKED, CONVERTED_BY_CRM._replace(amount=None), Exclusion.NO_VALUE),
        (replace(BOOKED, value_field="paid_amount"), DEAL._replace(payments=()), Exclusion.NO_VALUE),
        (replace(BOOKED, date_field=DateField.PAID), DEAL._replace(payments=()), Exclusion.NO_DATE),
    ],
)
def test_money_that_cannot_be_converted_says_why(measure: Measure, deal: DealFacts, reason: Exclusion) -> None:
    assert count(measure, deal) == NotCounted(reason)
    convert = measure.converter(RATES)
    assert measure.reader()(deal) is None or reason is Exclusion.NO_DATE
    assert (
        convert is None
        or convert(deal, SIGNED) is None
        or reason
        in (
            Exclusion.NO_CURRENCY,
            Exclusion.NO_EXCHANGE_RATE,
            Exclusion.NO_DATE,
        )
    )


@pytest.mark.parametrize("deal", [DEAL, CONVERTED_BY_CRM, DEAL._replace(currency="USD"), DEAL._replace(currency="GBP")])
@pytest.mark.parametrize("policy", list(RatePolicy))
@pytest.mark.parametrize("value_field", ["amount", "paid_amount"])
def test_the_prepared_readers_agree_with_the_count(deal: DealFacts, policy: RatePolicy, value_field: str) -> None:
    fixed = fixed_rates_of({"EUR": "1.05"}) if policy is RatePolicy.FIXED else ()
    measure = replace(BOOKED, rate_policy=policy, fixed_rates=fixed, value_field=value_field)
    outcome = count(measure, deal)
    added, convert = measure.reader()(deal), measure.converter(RATES)
    if added is None and convert is not None:
        added = convert(deal, SIGNED)
    assert (None if added is None else added.value) == (outcome.value if isinstance(outcome, Counted) else None)


@pytest.mark.parametrize(
    ("aggregate", "field", "currency", "policy", "fixed", "pointer"),
    [
        (Aggregate.SUM, "quantity", None, RatePolicy.DEAL_DATE, {}, "/rate_policy"),
        (Aggregate.COUNT, None, None, RatePolicy.FIXED, {"EUR": "1"}, "/rate_policy"),
        (Aggregate.SUM, "amount", "USD", RatePolicy.FIXED, {}, "/fixed_rates"),
        (Aggregate.SUM, "amount", "USD", RatePolicy.DEAL_DATE, {"EUR": "1"}, "/fixed_rates"),
        (Aggregate.SUM, "amount", "USD", RatePolicy.FIXED, {"USD": "1"}, "/fixed_rates/USD"),
        (Aggregate.SUM, "amount", "USD", RatePolicy.FIXED, {"euro": "1"}, "/fixed_rates/euro"),
        (Aggregate.SUM, "amount", "USD", RatePolicy.FIXED, {"EUR": "0"}, "/fixed_rates/EUR"),
    ],
)
def test_a_rate_policy_that_cannot_be_is_refused(
    aggregate: Aggregate,
    field: str | None,
    currency: str | None,
    policy: RatePolicy,
    fixed: dict[str, str],
    pointer: str,
) -> None:
    with pytest.raises(InvalidInput) as refused:
        Measure(
            aggregate,
            field,
            DateField.CLOSED,
            currency=currency,
            rate_policy=policy,
            fixed_rates=fixed_rates_of(fixed),
        )
    assert refused.value.fields[0].pointer == pointer
