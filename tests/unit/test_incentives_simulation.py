"""What a version that is tried replaces, and what grows with the value of deals."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.rates import FlatRate
from services.incentives.plans.domain.versions import VersionStatus
from services.incentives.simulation.domain import compared, tried
from tests.oracles.incentives import DealVersion
from tests.stories.incentives import deal_event
from tests.unit.test_incentives_later_amounts import MONEY, NUMBER, PLAN, TENANT, known

APRIL, JULY = date(2026, 4, 1), date(2026, 7, 1)


def test_a_version_that_is_tried_is_in_force_from_its_day_on_whatever_begins_later() -> None:
    definitions = known(Commission("pay", "Pay", MONEY, FlatRate(Decimal("0.05"))), {})
    [first] = definitions.versions[PLAN]
    later = replace(first, number=2, effective_from=date(2026, 5, 1))
    draft = replace(first, number=3, status=VersionStatus.DRAFT, effective_from=date(2027, 1, 1), note="tried")
    versions = tried(replace(definitions, versions={PLAN: [first, later, draft]}), draft, APRIL)
    found = [versions.version_in_force(PLAN, day) for day in (date(2026, 3, 31), APRIL, date(2026, 6, 1))]
    assert [None if each is None else each.note for each in found] == [first.note, "tried", "tried"]


def test_pay_for_a_number_of_deals_does_not_grow_with_their_value() -> None:
    deal = deal_event(TENANT, DealVersion(0, 1, 0, (), 100_000, True, APRIL, "USD", False)).facts()
    for measure, rate, doubled in ((NUMBER, Decimal(100), Decimal(100)), (MONEY, Decimal("0.1"), Decimal(130))):
        definitions = known(Commission("pay", "Pay", measure, FlatRate(rate)), {})
        found = compared(definitions, definitions, PLAN, [deal], (APRIL, JULY))
        assert found.cost == 100
        assert found.sensitivity[-1] == (Decimal("1.3"), doubled, doubled)
