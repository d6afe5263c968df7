"""Exchange rates as `attain.org.v1` publishes them."""

from uuid import UUID

from services.goals.rates.domain import Month
from shared.contracts import org as contract


def month_event(tenant_id: UUID, month: Month) -> contract.ExchangeRates:
    return contract.ExchangeRates(
        tenant_id=tenant_id,
        version=month.version,
        base_currency=month.base_currency,
        currency=month.currency,
        month=month.name,
        rates=tuple(contract.DatedRate(date=day, rate=rate) for day, rate in month.rates),
    )
