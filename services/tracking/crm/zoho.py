"""Zoho CRM: watch notifications and workflow webhooks, and its API."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from services.tracking.crm.source_api import ApiCredentials
from shared.contracts.base import Currency

_ADDRESS_PATTERN = r"^https?://[^/?#@\s]+$"


class ZohoCredentials(ApiCredentials):
    """A client of the data centre the company's Zoho is in, and a refresh token of a user who may see all deals."""

    source: Literal["zoho"] = "zoho"
    accounts_url: Annotated[str, StringConstraints(pattern=_ADDRESS_PATTERN, max_length=200)] = Field(
        "https://accounts.zoho.com", description="Of the data centre, as https://accounts.zoho.eu."
    )
    api_url: Annotated[str, StringConstraints(pattern=_ADDRESS_PATTERN, max_length=200)] = Field(
        "https://www.zohoapis.com", description="Of the same data centre, as https://www.zohoapis.eu."
    )
    client_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")]
    client_secret: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)
    refresh_token: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)
    home_currency: Currency | None = Field(
        None, description="The organisation's home currency, to which a deal's Exchange_Rate converts."
    )
