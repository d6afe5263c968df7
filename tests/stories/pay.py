"""The use cases of incentives, wired as its processes wire them."""

from typing import Final

from services.incentives.credits.service import Credits
from services.incentives.earnings.explaining import Explanations
from services.incentives.earnings.previewing import Previews
from services.incentives.earnings.service import Earnings
from services.incentives.earnings.verification import Verification
from services.incentives.earnings.work import Rebuilder
from services.incentives.metadata import transport
from services.incentives.payouts.adjusting import Adjustments
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.assigning import Assignments
from services.incentives.plans.scoring import Scoring
from services.incentives.plans.service import Plans
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


def rebuilder(database: Database) -> Rebuilder:
    return Rebuilder(database, PLANS, EARNINGS)
