"""Exchange rates over HTTP."""

from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends, Query
from starlette.responses import Response

from services.goals.rates.columns import RATES, InvalidRatesFile, rates_of
from services.goals.rates.domain import ExchangeRateNotFound, HomeCurrencyNotSet
from services.goals.rates.schemas import (
    CSV_EXAMPLE,
    RATE_EXAMPLE,
    RATES_MAX,
    ExchangeRateAnswer,
    ExchangeRateBody,
    StatementAnswer,
)
from services.goals.rates.service import ExchangeRates
from shared.contracts.base import Currency, Day
from shared.http.audit import AuditedWriter
from shared.http.auth import CurrentPrincipal, Principal, Role, require
from shared.http.etag import Answered
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.tables import Uploaded, described_upload
from shared.http.wiring import handed

router = APIRouter(prefix="/v1/exchange-rates", tags=["exchange rates"])

UseCases = Annotated[ExchangeRates, Depends(handed(ExchangeRates))]
RateEditor = Annotated[Principal, Depends(require(Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.SERVICE))]
"""The caller, who may state exchange rates. 403 for anybody else."""

_RATES: Final = Cursor(tuple[str, date])
BaseCurrency = Annotated[
    Currency | None, Query(description="A former home currency that they were stated in; left out, the present one.")
]


@router.get("", summary="List exchange rates", responses=responses(HomeCurrencyNotSet))
async def list_exchange_rates(
    principal: CurrentPrincipal,
    rates: UseCases,
    reader: RequestReader,
    paging: Paging,
    currency: Annotated[Currency | None, Query(description="Only those of this currency.")] = None,
    start: Annotated[
        Day | None, Query(alias="from", description="Only those stated for this day or a later one.")
    ] = None,
    end: Annotated[Day | None, Query(alias="to", description="Only those stated for a day before this one.")] = None,
    base_currency: BaseCurrency = None,
) -> Page[ExchangeRateAnswer]:
    """What was stated, by currency and day. A rate is in force until the next one; everyone in the tenant may read."""
    async with reader.transaction() as tx:
        found = await rates.list_rates(
            tx,
            principal.tenant_id,
            base_currency=base_currency,
            currency=currency,
            start=start,
            end=end,
            after=_RATES.after(paging),
            limit=paging.fetch_limit,
        )
    return _RATES.page(
        paging, found, key=lambda rate: (rate.stated.currency, rate.stated.day), item=ExchangeRateAnswer.of
    )


@router.put("", summary="State exchange rates", responses=responses(HomeCurrencyNotSet))
async def set_exchange_rates(
    body: Annotated[list[ExchangeRateBody], Body(min_length=1, max_length=RATES_MAX, examples=[[RATE_EXAMPLE]])],
    editor: RateEditor,
    rates: UseCases,
    writer: AuditedWriter,
) -> Answered[StatementAnswer]:
    """All are stored or none; one stated before for the same day is replaced, the others stay.

    What deals in these currencies count for, from these days on, is counted again.
    """
    stated = [rate.stated() for rate in body]
    pointers = [f"/{index}" for index in range(len(stated))]
    return await writer.commit(
        lambda tx: rates.state_rates(tx, editor.tenant_id, stated, pointers=pointers), StatementAnswer.of
    )


@router.post(
    "/import",
    summary="State the exchange rates of a table",
    responses=responses(HomeCurrencyNotSet, InvalidRatesFile),
    openapi_extra=described_upload(RATES, CSV_EXAMPLE),
)
async def import_exchange_rates(
    upload: Uploaded, editor: RateEditor, rates: UseCases, writer: AuditedWriter
) -> Answered[StatementAnswer]:
    """CSV in UTF-8 or a workbook; the first row names the columns `date`, `currency` and `rate`; at most 20,000 rates.

    All are stored or none: a line that cannot be read is named with its column, and nothing is changed.
    """
    stated, pointers = await upload.read(rates_of)
    return await writer.commit(
        lambda tx: rates.state_rates(tx, editor.tenant_id, stated, pointers=pointers), StatementAnswer.of
    )


@router.delete(
    "/{currency}/{date}",
    summary="Take a day's exchange rate back",
    status_code=204,
    responses=responses(ExchangeRateNotFound, HomeCurrencyNotSet),
)
async def delete_exchange_rate(
    currency: Currency,
    date: Day,
    editor: RateEditor,
    rates: UseCases,
    writer: AuditedWriter,
    base_currency: BaseCurrency = None,
) -> Response:
    """As if it had never been stated: from its day on the one before it is in force."""
    return await writer.commit(
        lambda tx: rates.delete_rate(tx, editor.tenant_id, currency, date, base_currency=base_currency), status=204
    )
