"""纷享销客 Fxiaoke: signed and encrypted event callbacks, and its open API."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from services.tracking.crm.source_api import ApiCredentials


class FxiaokeCredentials(ApiCredentials):
    """A company's own app, and an employee who may see all opportunities and orders."""

    source: Literal["fxiaoke"] = "fxiaoke"
    api_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+$", max_length=200)] = Field(
        "https://open.fxiaoke.com", description="Of the cloud the company is in, as https://open.fxiaoke.com."
    )
    app_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] = Field(description="As FSAID_….")
    app_secret: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)
    permanent_code: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)
    corp_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] = Field(
        description="The company as the open platform names it, as FSCID_…."
    )
    current_open_user_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] = Field(
        description="The employee in whose name is asked, as FSUID_…: what they may not see is not found."
    )
