"""The worker process of the incentives service, `python -m services.incentives.worker`.

Credits deals, follows definitions, works stale assignments out anew, begins periods that pay without deals, reports
overdue inquiries, keeps statements, and publishes earnings.
"""

import sys

from services.incentives.credits.service import Credits
from services.incentives.earnings.comparing import Comparisons
from services.incentives.earnings.consumer import DEALS_GROUP, DEFINITIONS_GROUP, DealsHandler, DefinitionsHandler
from services.incentives.earnings.explaining import Explanations
from services.incentives.earnings.publishing import render
from services.incentives.earnings.service import Earnings
from services.incentives.earnings.work import PeriodBeginnings, Rebuilder
from services.incentives.inquiries.service import Inquiries
from services.incentives.inquiries.work import OverdueInquiries
from services.incentives.metadata import transport
from services.incentives.payouts.adjusting import Adjustments
from services.incentives.payouts.service import PayoutRuns
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.assigning import Assignments
from services.incentives.plans.service import Plans
from services.incentives.settings import SERVICE
from services.incentives.statements.keeping import PayStatements
from services.incentives.statements.service import Statements
from services.incentives.statements.work import StatementKeeper
from shared.contracts import deals, earnings, goals, org
from shared.contracts.topics import TOPICS
from shared.worker.process import ServiceWorkerSettings, WorkerProcess, run_service_worker


async def work(process: WorkerProcess[ServiceWorkerSettings]) -> int:
    """Run until a signal; the process's exit status."""
    plans = Plans()
    credits = Credits(plans)
    paid = Earnings(process.outbox, plans, credits)
    pay_periods, explanations = PayPeriods(process.outbox), Explanations(plans, credits)
    adjustments = Adjustments(plans, credits, pay_periods)
    inquiries = Inquiries(process.outbox, plans, credits, explanations, adjustments)
    comparisons = Comparisons(plans, Assignments(plans), credits, pay_periods)
    payout_runs = PayoutRuns(process.outbox, credits, pay_periods)
    statements = Statements(plans, credits, explanations, comparisons, payout_runs)
    pay_statements = PayStatements(plans, credits, pay_periods, statements)
    return await process.run(
        {
            "deals": process.consumer("deals", DEALS_GROUP, [deals.TOPIC], DealsHandler(paid)),
            "definitions": process.consumer(
                "definitions", DEFINITIONS_GROUP, [org.TOPIC, goals.TOPIC], DefinitionsHandler(paid)
            ),
            "rebuilder": Rebuilder(process.database, plans, paid),
            "period_beginnings": PeriodBeginnings(process.database, plans, paid),
            "statement_keeper": StatementKeeper(process.database, plans, pay_statements),
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
