"""The API process of the incentives service: `python -m deploy.api_process services.incentives.app:create_app PORT`."""

from functools import partial

from fastapi import FastAPI

from services.incentives.accruals.api import router as accruals_router
from services.incentives.accruals.service import Accruals
from services.incentives.credits.service import Credits
from services.incentives.earnings.api import router as earnings_router
from services.incentives.earnings.comparing import Comparisons
from services.incentives.earnings.comparison_api import router as comparison_router
from services.incentives.earnings.explaining import Explanations
from services.incentives.earnings.preview_api import router as previews_router
from services.incentives.earnings.previewing import Previews
from services.incentives.inquiries.api import router as inquiries_router
from services.incentives.inquiries.service import Inquiries
from services.incentives.ledger.api import router as ledger_router
from services.incentives.metadata import transport
from services.incentives.payouts.adjusting import Adjustments
from services.incentives.payouts.adjustments_api import router as adjustments_router
from services.incentives.payouts.api import router as payout_runs_router
from services.incentives.payouts.service import PayoutRuns
from services.incentives.periods.api import router as pay_periods_router
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.api import router as plans_router
from services.incentives.plans.assigning import Assignments
from services.incentives.plans.assignments_api import router as assignments_router
from services.incentives.plans.re_earnings_api import router as re_earnings_router
from services.incentives.plans.scores_api import router as scores_router
from services.incentives.plans.scoring import Scoring
from services.incentives.plans.service import Plans
from services.incentives.settings import SERVICE, ApiSettings
from services.incentives.simulation.api import router as simulation_router
from services.incentives.simulation.service import Simulations
from services.incentives.statements.api import router as statements_router
from services.incentives.statements.keeping import PayStatements
from services.incentives.statements.pay_api import router as pay_statements_router
from services.incentives.statements.plan_documents import PlanDocuments
from services.incentives.statements.plan_documents_api import router as plan_documents_router
from services.incentives.statements.rendering import Renderer
from services.incentives.statements.service import Statements
from shared.db.database import Database
from shared.db.migration import require_current_schema
from shared.http.app import create_service_app
from shared.http.named_deals import DealFinder
from shared.http.settings import read_settings
from shared.http.sight import Organisation
from shared.outbox.outbox import Outbox

_DESCRIPTION = """\
What people earn on deals, why, and the ledger that proves it.

A plan's version is drafted, approved by another person and activated; people are assigned to plans. Every deal is
credited as it arrives; each earning is explained down to the webhook that brought its deals, and always equals the
balance of its ledger entries. What is read has an `ETag`; a change sends it back in `If-Match` and loses with 412 when
someone else was faster; in `If-None-Match` it spares reading the same again (304). A `POST` with an `Idempotency-Key`
can safely be sent again.

Amounts are decimal strings in units of their currency, never in cents. What is posted to the ledger, and so what is
earned, has all the decimals of its currency: `"2.50"` USD, `"3"` JPY. Every other number is exact and has no decimals
that it does not need: values, rates, attainment, and the amounts of slices and tiers, which are not rounded yet.
"""


def create_app() -> FastAPI:
    """The app, by the settings of the environment; connects to the database when it first needs it."""
    settings = read_settings(ApiSettings)
    database = Database(settings.database_url, service=SERVICE)
    plans = Plans()
    credits = Credits(plans)
    assignments, scoring, pay_periods = Assignments(plans), Scoring(plans), PayPeriods(Outbox(transport))
    explanations = Explanations(plans, credits)
    adjustments = Adjustments(plans, credits, pay_periods)
    comparisons = Comparisons(plans, assignments, credits, pay_periods)
    payout_runs = PayoutRuns(Outbox(transport), credits, pay_periods)
    statements = Statements(plans, credits, explanations, comparisons, payout_runs)
    return create_service_app(
        title="Attain incentives",
        description=_DESCRIPTION,
        settings=settings,
        database=database,
        transport_tables=transport,
        routers=[
            accruals_router,
            adjustments_router,
            comparison_router,
            earnings_router,
            inquiries_router,
            ledger_router,
            payout_runs_router,
            pay_periods_router,
            plans_router,
            previews_router,
            re_earnings_router,
            simulation_router,
            statements_router,
            pay_statements_router,
            plan_documents_router,
            assignments_router,
            scores_router,
        ],
        readiness={"schema": partial(require_current_schema, database)},
        parts=[
            Organisation(credits.chart),
            DealFinder(credits.connections, credits.facts),
            plans,
            assignments,
            pay_periods,
            scoring,
            credits,
            explanations,
            comparisons,
            Previews(plans, assignments, scoring, credits, pay_periods),
            Simulations(plans, credits),
            statements,
            PayStatements(plans, credits, pay_periods, statements),
            PlanDocuments(plans, credits),
            Renderer(),
            Accruals(credits, pay_periods),
            payout_runs,
            adjustments,
            Inquiries(Outbox(transport), plans, credits, explanations, adjustments),
        ],
    )
