"""The use cases of incentives, wired as its processes wire them."""

from typing import Final

from services.incentives.credits.service import Credits
from services.incentives.earnings.comparing import Comparisons
from services.incentives.earnings.explaining import Explanations
from services.incentives.earnings.previewing import Previews
from services.incentives.earnings.service import Earnings
from services.incentives.earnings.verification import Verification
from services.incentives.earnings.work import Rebuilder
from services.incentives.metadata import transport
from services.incentives.payouts.adjusting import Adjustments
from services.incentives.payouts.service import PayoutRuns
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.assigning import Assignments
from services.incentives.plans.scoring import Scoring
from services.incentives.plans.service import Plans
from services.incentives.statements.keeping import PayStatements
from services.incentives.statements.service import Statements
from services.incentives.statements.work import StatementKeeper
from shared.db.database import Database
from shared.outbox.outbox import Outbox

PLANS: Final = Plans()
ASSIGNMENTS: Final = Assignments(PLANS)
CREDITS: Final = Credits(PLANS)
EARNINGS: Final = Earnings(Outbox(transport), PLANS, CREDITS)
EXPLANATIONS: Final = Explanations(PLANS, CREDITS)
PAY_PERIODS: Final = PayPeriods(Outbox(transport))
ADJUSTMENTS: Final = Adjustments(PLANS, CREDITS, PAY_PERIODS)
PREVIEWS: Final = Previews(PLANS, ASSIGNMENTS, Scoring(PLANS), CREDITS, PAY_PERIODS)
VERIFICATION: Final = Verification(PLANS, CREDITS, PAY_PERIODS)
STATEMENTS: Final = Statements(
    PLANS,
    CREDITS,
    EXPLANATIONS,
    Comparisons(PLANS, ASSIGNMENTS, CREDITS, PAY_PERIODS),
    PayoutRuns(Outbox(transport), CREDITS, PAY_PERIODS),
)
PAY_STATEMENTS: Final = PayStatements(PLANS, CREDITS, PAY_PERIODS, STATEMENTS)


def rebuilder(database: Database) -> Rebuilder:
    return Rebuilder(database, PLANS, EARNINGS)


def keeper(database: Database) -> StatementKeeper:
    return StatementKeeper(database, PLANS, PAY_STATEMENTS)
