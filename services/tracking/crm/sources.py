"""Every source there is an adapter for."""

from collections.abc import Mapping
from typing import Final

from services.tracking.crm.adapter import Adapter
from services.tracking.crm.domain import Source
from services.tracking.crm.fxiaoke import Fxiaoke
from services.tracking.crm.hubspot import Hubspot
from services.tracking.crm.pipedrive import Pipedrive
from services.tracking.crm.salesforce import Salesforce
from services.tracking.crm.standard_webhooks import StandardWebhooks
from services.tracking.crm.zoho import Zoho

ADAPTERS: Final[Mapping[Source, Adapter]] = {
    Source.STANDARD_WEBHOOKS: StandardWebhooks(),
    Source.PIPEDRIVE: Pipedrive(),
    Source.ZOHO: Zoho(),
    Source.FXIAOKE: Fxiaoke(),
    Source.SALESFORCE: Salesforce(),
    Source.HUBSPOT: Hubspot(),
}
