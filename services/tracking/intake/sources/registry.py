"""Every source there is an adapter for."""

from collections.abc import Mapping
from typing import Final

from services.tracking.intake.sources.adapter import Adapter
from services.tracking.intake.sources.domain import Source
from services.tracking.intake.sources.fxiaoke.adapter import Fxiaoke
from services.tracking.intake.sources.hubspot.adapter import Hubspot
from services.tracking.intake.sources.pipedrive.adapter import Pipedrive
from services.tracking.intake.sources.salesforce.adapter import Salesforce
from services.tracking.intake.sources.standard_webhooks.adapter import StandardWebhooks
from services.tracking.intake.sources.zoho.adapter import Zoho

ADAPTERS: Final[Mapping[Source, Adapter]] = {
    Source.STANDARD_WEBHOOKS: StandardWebhooks(),
    Source.PIPEDRIVE: Pipedrive(),
    Source.ZOHO: Zoho(),
    Source.FXIAOKE: Fxiaoke(),
    Source.SALESFORCE: Salesforce(),
    Source.HUBSPOT: Hubspot(),
}
