"""The use cases of exchange rates. Every change holds the tenant's lock and publishes the months it changes."""

from collections.abc import Callable, Collection, Sequence
from datetime import date
from uuid import UUID

from services.goals.calendar.domain import CalendarNotSet
from services.goals.calendar.service import Calendars
from services.goals.rates import store
from services.goals.rates.domain import (
    ExchangeRateNotFound,
    HomeCurrencyNotSet,
    StatedRate,
    Statement,
    StoredRate,
    check_statement,
)
from services.goals.rates.events import month_event
from shared.db.database import Transaction
from shared.db.versioned import Key
from shared.kernel.errors import InvalidInput
from shared.outbox.outbox import Outbox
from shared.outbox.republishing import Newest, ReadNext


class ExchangeRates:
    """The exchange rates of every tenant."""

    def __init__(self, outbox: Outbox, calendars: Calendars) -> None:
        self._outbox = outbox
        self._calendars = calendars

    @property
    def published(self) -> Sequence[ReadNext]:
        """Everything that is published, by kind, to be published again."""
        return [self._read_next]

    async def state_rates(
        self, tx: Transaction, tenant_id: UUID, rates: Sequence[StatedRate], *, pointers: Sequence[str]
    ) -> Statement:
        """State rates in the home currency of their days, all or none; one stated before for the same day is replaced.

        `pointers` are to each in the request. Raises HomeCurrencyNotSet; InvalidInput for days with different
        home currencies, and what `check_statement` does.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        home_on = await self._home_currency(tx, tenant_id)
        home = home_on(rates[0].day) if rates else home_on(None)
        for stated, pointer in zip(rates, pointers, strict=True):
            if (other := home_on(stated.day)) != home:
                raise InvalidInput.field(
                    pointer,
                    f"the home currency is {other} on {stated.day} and {home} on {rates[0].day}",
                    "rates for days of one home currency; state the others by themselves",
                )
        check_statement(rates, home, pointers=pointers)
        distinct = {(stated.currency, stated.day): stated for stated in rates}
        changed = await store.state(tx, tenant_id, home, distinct.values())
        await self._publish(tx, tenant_id, home, {(currency, day.replace(day=1)) for currency, day in changed})
        return Statement(home, len(distinct), len(changed))

    async def delete_rate(
        self, tx: Transaction, tenant_id: UUID, currency: str, day: date, *, base_currency: str | None
    ) -> None:
        """Take a day's rate back as if never stated: the one before it is in force. Raises ExchangeRateNotFound."""
        await tx.lock_tenants_exclusive([tenant_id])
        base = base_currency or (await self._home_currency(tx, tenant_id))(day)
        if not await store.delete_rate(tx, tenant_id, base, currency, day):
            raise ExchangeRateNotFound(f"No rate of {currency} in {base} was stated for {day}.")
        await self._publish(tx, tenant_id, base, {(currency, day.replace(day=1))})

    async def list_rates(
        self,
        tx: Transaction,
        tenant_id: UUID,
        *,
        base_currency: str | None,
        currency: str | None,
        start: date | None,
        end: date | None,
        after: tuple[str, date] | None,
        limit: int,
    ) -> list[StoredRate]:
        """What was stated in today's home currency, or in another one, by currency and day.

        Raises HomeCurrencyNotSet.
        """
        base = base_currency or (await self._home_currency(tx, tenant_id))(None)
        return await store.list_rates(
            tx, tenant_id, base, currency=currency, start=start, end=end, after=after, limit=limit
        )

    async def _read_next(self, tx: Transaction, after: Key, limit: int) -> Sequence[Newest]:
        """The months that follow a key, to be published again."""
        return [
            Newest((tenant_id, month_id), month.version, month_event(tenant_id, month))
            for tenant_id, month_id, month in await store.every_month(tx, after, limit)
        ]

    async def _publish(
        self, tx: Transaction, tenant_id: UUID, base_currency: str, months: Collection[store.MonthKey]
    ) -> None:
        if months:
            changed = await store.bump_months(tx, tenant_id, base_currency, months)
            await self._outbox.publish(tx, [month_event(tenant_id, month) for month in changed])

    async def _home_currency(self, tx: Transaction, tenant_id: UUID) -> Callable[[date | None], str]:
        """Which the home currency is on a day; None is the tenant's today."""
        try:
            calendar = await self._calendars.get_calendar(tx, tenant_id)
        except CalendarNotSet:
            raise HomeCurrencyNotSet("Set the calendar first: its currency is the one rates are stated in.") from None
        today = calendar.fiscal.business_date(tx.now)
        return lambda day: calendar.on(today if day is None else day).currency
