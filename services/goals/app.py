"""The API process of the goals service: `python -m deploy.api_process services.goals.app:create_app PORT`."""

from functools import partial

from fastapi import FastAPI

from services.goals.agreements.api import router as agreements_router
from services.goals.agreements.service import Agreements
from services.goals.calendar.api import router as calendar_router
from services.goals.calendar.national import Governments
from services.goals.calendar.service import Calendars
from services.goals.evidence.api import router as evidence_router
from services.goals.evidence.service import Evidence
from services.goals.files.api import router as files_router
from services.goals.files.kinds import Tables
from services.goals.files.service import Uploads
from services.goals.jobs.api import router as jobs_router
from services.goals.jobs.service import Jobs
from services.goals.metadata import audit, transport
from services.goals.moves.api import router as moves_router
from services.goals.moves.service import Moves, strengths
from services.goals.org.api import router as org_router
from services.goals.org.service import Organisation
from services.goals.planning.api import router as planning_router
from services.goals.planning.knowing import Knowledge
from services.goals.planning.service import Planning
from services.goals.rates.api import router as rates_router
from services.goals.rates.service import ExchangeRates
from services.goals.settings import SERVICE, ApiSettings
from services.goals.smart.api import router as smart_router
from services.goals.smart.service import Smart, SmartChecks
from services.goals.stated.api import router as stated_router
from services.goals.stated.service import StatedValues
from services.goals.targets.activation import Activation
from services.goals.targets.api import router as targets_router
from services.goals.targets.service import Goals, TemplateSource
from services.goals.templates.api import router as templates_router
from services.goals.templates.service import GoalTemplates
from shared.db.database import Database
from shared.db.migration import require_current_schema
from shared.http import sight
from shared.http.app import create_service_app
from shared.http.audit import router as audit_router
from shared.http.settings import read_settings
from shared.outbox.outbox import Outbox
from shared.outbox.trail import Trail

_DESCRIPTION = """\
Who sells, in which team, under which name in each CRM, what each person and team has promised to reach, and what other
currencies are worth in the home currency, day by day.

Every change is one event on `attain.org.v1` or `attain.goals.v1`. What is read has an `ETag`; a change sends it back in
`If-Match` and loses with 412 when someone else was faster; in `If-None-Match` it spares reading the
same again (304). A `POST` with an `Idempotency-Key` can safely be sent again.
"""


def create_app() -> FastAPI:
    """The app, by the settings of the environment; connects to the database with the first request."""
    settings = read_settings(ApiSettings)
    database = Database(settings.database_url, service=SERVICE)
    trail = Trail(audit)
    outbox = Outbox(transport, trail=trail)
    calendars = Calendars(outbox)
    organisation = Organisation(outbox, calendars)
    jobs, evidence = Jobs(), Evidence()
    smart_checks = SmartChecks(organisation, calendars, evidence, strengths)
    goals = Goals(outbox, organisation, calendars, trail, smart_checks)
    templates = GoalTemplates(trail)
    return create_service_app(
        title="Attain goals",
        description=_DESCRIPTION,
        settings=settings,
        database=database,
        transport_tables=transport,
        routers=[
            agreements_router,
            moves_router,
            files_router,
            targets_router,
            smart_router,
            templates_router,
            stated_router,
            planning_router,
            calendar_router,
            org_router,
            rates_router,
            evidence_router,
            jobs_router,
            audit_router,
        ],
        readiness={"schema": partial(require_current_schema, database)},
        parts=[
            calendars,
            Governments(),
            organisation,
            sight.Organisation(organisation.chart),
            goals,
            StatedValues(outbox, calendars, goals),
            Agreements(goals),
            Moves(organisation, calendars, goals, trail),
            Tables(organisation, goals),
            Uploads(jobs),
            ExchangeRates(outbox, calendars),
            jobs,
            Planning(
                goals,
                organisation,
                calendars,
                Knowledge(organisation, calendars, evidence, strengths),
                jobs,
                smart_checks.chances,
                trail,
            ),
            Activation(goals, jobs),
            evidence,
            Smart(goals, smart_checks),
            templates,
            TemplateSource(templates.of, organisation),
            trail,
        ],
    )
