"""HubSpot: webhooks of version 3, and its CRM API."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from services.tracking.crm.source_api import ApiCredentials


class HubspotCredentials(ApiCredentials):
    """The access token of a private app."""

    source: Literal["hubspot"] = "hubspot"
    api_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+$", max_length=200)] = (
        "https://api.hubapi.com"
    )
    access_token: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)
