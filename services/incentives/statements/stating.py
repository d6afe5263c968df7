"""From what explains a person's earnings to what is on the statement: the same numbers as the JSON answer has."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from uuid import UUID

from services.incentives.earnings.domain.schedule import Schedule
from services.incentives.earnings.explaining import DealInCells, ExplainedEarning
from services.incentives.earnings.schemas import (
    EarningStatementAnswer,
    LineAnswer,
    before_of,
    rerated_before,
    terms_content,
    tiers_of,
)
from services.incentives.plans.domain.components import main_measure
from services.incentives.statements.domain.statement import (
    AskedDeal,
    Payee,
    PersonStatement,
    StatedConversion,
    StatedEarning,
    StatedLine,
    StatedMultiplier,
    StatedSlice,
    StatedStep,
    StatedTier,
    deal_name,
)
from services.incentives.statements.domain.texts import Texts
from services.incentives.statements.service import StatedPerson
from shared.contracts.deals import Deal
from shared.kernel.reasons import Words


def stated(found: StatedPerson, texts: Texts) -> PersonStatement:
    """Everything that is on a person's statement."""
    statement = found.statement
    payee = Payee(statement.person_id, statement.person_name, statement.employee_number)
    earnings = [_earning(each, statement.deals, found.plan_names, found.as_paid) for each in statement.earnings]
    asked = None if statement.deal is None else _asked(statement.deal, earnings, texts)
    return PersonStatement(payee, statement.start, statement.end, earnings, asked, found.payouts, found.pay)


def _earning(
    found: ExplainedEarning,
    deals: Mapping[UUID, Deal],
    plan_names: Mapping[UUID, str],
    as_paid: Mapping[UUID, Decimal] | None,
) -> StatedEarning:
    answer, terms, content = EarningStatementAnswer.of(found, deals), found.terms, terms_content(found)
    measure = None if terms is None else main_measure(terms.component)
    earning = answer.earning
    return StatedEarning(
        earning_id=earning.id,
        plan_name=plan_names.get(earning.plan_id, str(earning.plan_id)),
        plan_version=earning.plan_version,
        component=earning.component,
        name=answer.name,
        kind=None if content is None else content.kind,
        is_money=measure is not None and measure.is_money,
        period=found.stored.cell.key.period,
        currency=earning.currency,
        measure=earning.measure,
        quota=earning.quota,
        quota_gap=answer.quota_gap,
        attainment=earning.attainment,
        earned=earning.earned,
        owed=answer.ledger_balance,
        tiers=_tiers(found),
        lines=[_line(line, deals.get(line.deal_id)) for line in answer.lines],
        steps=[StatedStep(Words(each.why.en, each.why.zh), each.amount) for each in answer.steps],
        is_stale=answer.recalculating,
        changed_at=earning.changed_at,
        before=before_of(found),
        rerated_before=rerated_before(found),
        as_paid=None if as_paid is None else as_paid.get(earning.id, Decimal(0)),
    )


def _tiers(found: ExplainedEarning) -> list[StatedTier]:
    about = found.explanation
    if about is None or not isinstance(about.schedule, Schedule):
        return []
    return [
        StatedTier(answer.start, answer.rate, answer.value, answer.amount, tier.is_exclusive)
        for answer, tier in zip(tiers_of(found), about.schedule.tiers, strict=True)
    ]


def _line(line: LineAnswer, deal: Deal | None) -> StatedLine:
    conversion = line.conversion
    return StatedLine(
        deal_id=line.deal_id,
        source=None if deal is None else deal.source,
        external_id=line.external_id,
        deal_name=line.name,
        customer=None if deal is None else deal.account_name,
        day=line.day,
        percent=line.percent,
        value=line.value,
        conversion=None
        if conversion is None or conversion.currency is None
        else StatedConversion(conversion.amount, conversion.currency, conversion.rate),
        slices=[StatedSlice(each.tier, each.value, each.rate, each.step) for each in line.slices],
        rerated=line.rerated,
        amount=line.amount,
        multipliers=[StatedMultiplier(each.name, each.factor, each.multiplies == "pay") for each in line.multipliers],
        left_out=line.left_out,
        multiplied=line.multiplied,
        withheld=line.withheld,
    )


def _asked(found: DealInCells, earnings: Sequence[StatedEarning], texts: Texts) -> AskedDeal:
    deal = found.deal
    name = str(found.deal_id) if deal is None else deal_name(deal.source, deal.external_id, deal.id, texts)
    by_id = {earning.earning_id: earning for earning in earnings}
    counts = [
        (earning.name, cell.key.period, credit.value, earning.unit)
        for cell in found.cells
        if (earning := by_id.get(cell.key.id)) is not None
        for credit in cell.found.credits
    ]
    return AskedDeal(name, found.why, counts)
