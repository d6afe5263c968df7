"""Salesforce: outbound messages and change events, and its REST API."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from services.tracking.crm.source_api import ApiCredentials


class SalesforceCredentials(ApiCredentials):
    """An app with the client-credentials flow, run as a user who may see all opportunities."""

    source: Literal["salesforce"] = "salesforce"
    instance_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+$", max_length=200)] = Field(
        description="My Domain, as https://company.my.salesforce.com."
    )
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    client_secret: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(repr=False)
    api_version: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]\.0$")] = "62.0"
