"""`attain republish`: fill a topic again from Postgres."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import typer
from rich.console import Console

from deploy.local.configuration import StackConfiguration
from deploy.local.databases import TRANSPORTS, opened
from deploy.local.errors import StackError
from services.goals.calendar.service import Calendars
from services.goals.evidence.service import Evidence
from services.goals.metadata import audit as goals_audit
from services.goals.moves.service import strengths
from services.goals.org.service import Organisation
from services.goals.rates.service import ExchangeRates
from services.goals.smart.service import SmartChecks
from services.goals.stated.service import StatedValues
from services.goals.targets.service import Goals
from services.incentives.credits.service import Credits
from services.incentives.earnings import publishing as earnings_publishing
from services.incentives.earnings.explaining import Explanations
from services.incentives.inquiries.service import Inquiries
from services.incentives.payouts.adjusting import Adjustments
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.service import Plans
from services.tracking.measure.actuals import service as actuals_service
from services.tracking.measure.progress import service as progress_service
from services.tracking.records.service import ACTIVITIES, DEALS
from services.tracking.tell.alerts import service as alerts_service
from shared.contracts import activities, actuals, alerts, deals, earnings, goals, org, progress
from shared.contracts.topics import TOPICS
from shared.db.database import Database
from shared.kernel.words import counted
from shared.outbox import republishing
from shared.outbox.outbox import Outbox
from shared.outbox.republishing import PublishNext, ReadNext, appending
from shared.outbox.trail import Trail


def definitions() -> Mapping[str, Sequence[ReadNext]]:
    """What the goals service publishes and every other service stores, by topic."""
    outbox = Outbox(TRANSPORTS["goals"])
    calendars = Calendars(outbox)
    organisation = Organisation(outbox, calendars)
    return {
        org.TOPIC: [*calendars.published, *organisation.published, *ExchangeRates(outbox, calendars).published],
        goals.TOPIC: _goals(outbox, organisation, calendars).published,
    }


def stated_values() -> Sequence[ReadNext]:
    """What the goals service publishes and tracking alone stores."""
    outbox = Outbox(TRANSPORTS["goals"])
    calendars = Calendars(outbox)
    goals_of = _goals(outbox, Organisation(outbox, calendars), calendars)
    return StatedValues(outbox, calendars, goals_of).published


def _inquiries() -> Sequence[ReadNext]:
    plans = Plans()
    credits = Credits(plans)
    outbox = Outbox(TRANSPORTS["incentives"])
    adjustments = Adjustments(plans, credits, PayPeriods(outbox))
    return Inquiries(outbox, plans, credits, Explanations(plans, credits), adjustments).published


def _goals(outbox: Outbox, organisation: Organisation, calendars: Calendars) -> Goals:
    checks = SmartChecks(organisation, calendars, Evidence(), strengths)
    return Goals(outbox, organisation, calendars, Trail(goals_audit), checks)


_KINDS: Final[Mapping[str, Sequence[PublishNext]]] = {
    org.TOPIC: [appending(read_next) for read_next in definitions()[org.TOPIC]],
    goals.TOPIC: [appending(read_next) for read_next in (*definitions()[goals.TOPIC], *stated_values())],
    deals.TOPIC: [DEALS.publish_next],
    activities.TOPIC: [ACTIVITIES.publish_next],
    alerts.TOPIC: [alerts_service.publish_next],
    progress.TOPIC: [progress_service.publish_next],
    actuals.TOPIC: [actuals_service.publish_next],
    earnings.TOPIC: [
        earnings_publishing.publish_next,
        *map(appending, [*_inquiries(), *PayPeriods(Outbox(TRANSPORTS["incentives"])).published]),
    ],
}


def republish(topic: Annotated[str, typer.Argument(help=f"One of {', '.join(TOPICS)}.")]) -> None:
    """Publish the newest snapshot of everything on a topic again, for a topic that was lost; readers lose nothing."""
    if topic not in TOPICS:
        raise StackError(f"{topic!r} is not a topic; expected one of {', '.join(TOPICS)}.")
    producer = TOPICS[topic].producer
    count = asyncio.run(_republished(StackConfiguration.from_environment().running_database_url, topic, producer))
    Console().print(f"In the outbox: {counted(count, 'snapshot')} of {topic}; the {producer} worker publishes them.")


async def republished(database: Database, topic: str) -> int:
    """Publish everything on a topic again, of all tenants; how much that is. ValueError for another service's topic."""
    service = database.service
    if TOPICS[topic].producer != service:
        raise ValueError(f"{topic} is not published by {service}")
    return await republishing.republish(database, Outbox(TRANSPORTS[service]), _KINDS[topic])


async def _republished(url: str, topic: str, service: str) -> int:
    async with opened(url, service) as database:
        return await republished(database, topic)
