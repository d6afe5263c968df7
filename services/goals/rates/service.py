"""The use cases of exchange rates. Every change holds the tenant's lock and publishes the months it changes."""

from collections.abc import Collection, Sequence
from datetime import date
from uuid import UUID

from services.goals.org import service as org
from services.goals.org.domain import CalendarNotSet
from services.goals.publishing import publish
from services.goals.rates import store
from services.goals.rates.domain import (
    ExchangeRateNotFound,
    HeldRate,
    HomeCurrencyNotSet,
    StatedRate,
    Statement,
    check_statement,
)
from services.goals.rates.events import month_event
from shared.db.database import Transaction


async def state(tx: Transaction, tenant_id: UUID, rates: Sequence[StatedRate], *, pointers: Sequence[str]) -> Statement:
    """State rates in the home currency, all or none; one stated before for the same day is replaced.

    `pointers` say where each stands in the request. Raises HomeCurrencyNotSet and what `check_statement` does.
    """
    await tx.lock_tenants_exclusive([tenant_id])
    home = await _home_currency(tx, tenant_id)
    check_statement(rates, home, pointers=pointers)
    distinct = {(stated.currency, stated.day): stated for stated in rates}
    changed = await store.state(tx, tenant_id, home, distinct.values())
    await _publish(tx, tenant_id, home, {(currency, day.replace(day=1)) for currency, day in changed})
    return Statement(home, len(distinct), len(changed))


async def delete(tx: Transaction, tenant_id: UUID, currency: str, day: date, *, base_currency: str | None) -> None:
    """Take a day's rate back as if never stated: the one before it is in force. Raises ExchangeRateNotFound."""
    await tx.lock_tenants_exclusive([tenant_id])
    base = base_currency or await _home_currency(tx, tenant_id)
    if not await store.delete_rate(tx, tenant_id, base, currency, day):
        raise ExchangeRateNotFound(f"No rate of {currency} in {base} was stated for {day}.")
    await _publish(tx, tenant_id, base, {(currency, day.replace(day=1))})


async def rates(
    tx: Transaction,
    tenant_id: UUID,
    *,
    base_currency: str | None,
    currency: str | None,
    start: date | None,
    end: date | None,
    after: tuple[str, date] | None,
    limit: int,
) -> list[HeldRate]:
    """What was stated in the home currency, or in a former one, by currency and day. Raises HomeCurrencyNotSet."""
    base = base_currency or await _home_currency(tx, tenant_id)
    return await store.list_rates(
        tx, tenant_id, base, currency=currency, start=start, end=end, after=after, limit=limit
    )


async def _publish(tx: Transaction, tenant_id: UUID, base_currency: str, months: Collection[store.MonthKey]) -> None:
    if months:
        changed = await store.bump_months(tx, tenant_id, base_currency, months)
        await publish(tx, [month_event(tenant_id, month) for month in changed])


async def _home_currency(tx: Transaction, tenant_id: UUID) -> str:
    try:
        return (await org.calendar(tx, tenant_id)).currency
    except CalendarNotSet:
        raise HomeCurrencyNotSet("Set the calendar first: its currency is the one rates are told in.") from None
