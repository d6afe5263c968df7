"""What records become on their topics."""

from datetime import datetime
from uuid import UUID

from services.tracking.intake.connections.domain import Connection
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.kernel.deals import DealStatus
from shared.kernel.ids import activity_id, deal_id
from shared.kernel.text import composed


def event_of(deal: CanonicalDeal, connection: Connection, *, delivery_id: UUID, received_at: datetime) -> Deal:
    """The event of one deal of a delivery. A deleted or merged deal without a status counts as open."""
    # The canonical deal has been checked, and its limits are at least those of the event.
    return Deal.model_construct(
        **{
            **vars(deal),
            "tenant_id": connection.tenant_id,
            "id": deal_id(connection.id, deal.external_id),
            "external_id": composed(deal.external_id),
            "connection_id": connection.id,
            "source": connection.identity_source,
            "delivery_id": delivery_id,
            "received_at": received_at,
            "status": deal.status or DealStatus.OPEN,
        }
    )


def activity_event_of(
    activity: CanonicalActivity, connection: Connection, *, delivery_id: UUID, received_at: datetime
) -> Activity:
    """The event of one activity of a delivery."""
    # As with deals: the limits of the canonical activity are at least those of the event.
    return Activity.model_construct(
        **{
            **vars(activity),
            "tenant_id": connection.tenant_id,
            "id": activity_id(connection.id, activity.external_id),
            "external_id": composed(activity.external_id),
            "connection_id": connection.id,
            "source": connection.identity_source,
            "delivery_id": delivery_id,
            "received_at": received_at,
        }
    )
