"""A payout as `attain.earnings.v1` hands it over to payroll."""

from uuid import UUID

from services.incentives.payouts.domain.runs import Payout, PayoutRun
from shared.contracts import earnings as contract
from shared.kernel.money import round_to_minor_unit


def payout_event(tenant_id: UUID, run: PayoutRun, payout: Payout) -> contract.Payout:
    return contract.Payout(
        tenant_id=tenant_id,
        id=payout.id,
        version=1,
        run_id=run.id,
        run_number=run.number,
        reverses_run_id=run.reverses,
        person_id=payout.person_id,
        plan_id=payout.plan_id,
        start=run.period.start,
        end=run.period.end,
        amount=round_to_minor_unit(payout.paid, payout.currency),
        currency=payout.currency,
    )
