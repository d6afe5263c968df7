"""The worker process of the incentives service, `python -m services.incentives.worker`.

Credits deals, follows definitions, works stale assignments out anew, begins periods that pay without deals, reports
overdue inquiries, and publishes earnings.
"""

import sys

from services.incentives.credits.service import Credits
from services.incentives.earnings.consumer import DEALS_GROUP, DEFINITIONS_GROUP, DealsHandler, DefinitionsHandler
from services.incentives.earnings.explaining import Explanations
from services.incentives.earnings.publishing import render
from services.incentives.earnings.service import Earnings
from services.incentives.earnings.work import PeriodBeginnings, Rebuilder
from services.incentives.inquiries.service import Inquiries
from services.incentives.inquiries.work import OverdueInquiries
from services.incentives.metadata import transport
from services.incentives.payouts.adjusting import Adjustments
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.service import Plans
from services.incentives.settings import SERVICE
from shared.contracts import deals, earnings, goals, org
from shared.contracts.topics import TOPICS
from shared.worker.process import ServiceWorkerSettings, WorkerProcess, run_service_worker


async def work(process: WorkerProcess[ServiceWorkerSettings]) -> int:
    """Run until a signal; the process's exit status."""
    plans = Plans()
    credits = Credits(plans)
    paid = Earnings(process.outbox, plans, credits)
    adjustments = Adjustments(plans, credits, PayPeriods(process.outbox))
    inquiries = Inquiries(process.outbox, plans, credits, Explanations(plans, credits), adjustments)
    return await process.run(
        {
            "deals": process.consumer("deals", DEALS_GROUP, [deals.TOPIC], DealsHandler(paid)),
            "definitions": process.consumer(
                "definitions", DEFINITIONS_GROUP, [org.TOPIC, goals.TOPIC], DefinitionsHandler(paid)
            ),
            "rebuilder": Rebuilder(process.database, plans, paid),
            "period_beginnings": PeriodBeginnings(process.database, plans, paid),
            "overdue_inquiries": OverdueInquiries(process.database, inquiries),
        }
    )


def main() -> int:
    return run_service_worker(
        SERVICE,
        ServiceWorkerSettings,
        work,
        tables=transport,
        topics=TOPICS.values(),
        renderers={earnings.TOPIC: render},
    )


if __name__ == "__main__":
    sys.exit(main())
