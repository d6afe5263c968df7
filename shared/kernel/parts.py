"""The parts of what a record adds, each with its person, its day and its value: the rule that progress and pay share.

A deal has one part; one for each split where a measure credits by splits and the deal has some; one for each payment
or invoice where the measure counts those; one for each split of each where both. Nobody else takes a record apart.

A share of a sum or a count is the same share of its value, exactly: shares that total 100 % total the whole. Of a ratio
or an average it is the same share of both sides. A distinct value is not shared: whoever has a part of the deal has the
value.
"""

from dataclasses import dataclass, replace
from datetime import date
from decimal import Context, Decimal
from typing import Final

from shared.kernel.deals import DateField
from shared.kernel.measures import Counted, Crediting, Exclusion, Measure, NotCounted
from shared.kernel.org import CrmUser
from shared.kernel.periods import FiscalCalendar
from shared.kernel.rates import NO_RATES, ExchangeRates
from shared.kernel.records import RecordFacts

WHOLE_PERCENT: Final = Decimal(100)
OWNER_ROLE: Final = "owner"
_EXACT: Final = Context(prec=100)


@dataclass(frozen=True, slots=True)
class Share:
    """Who has which percent of a record, in which role. `refusal` is why the measure does not count it."""

    user: CrmUser | None
    """None for a record without an owner."""
    role: str
    percent: Decimal
    refusal: Exclusion | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One share of one payment or invoice, or of all of a record.

    `instalment` is the place of that among those that count, 0 where none does, and `paid_on` or `invoiced_on` its day.
    Its outcome has the value of the share. What it does not know is the organisation: whether its user is somebody, and
    whether the day lies in a period.
    """

    share: Share
    instalment: int
    paid_on: date | None
    invoiced_on: date | None
    outcome: Counted | NotCounted


def shares_of(measure: Measure, facts: RecordFacts) -> tuple[Share, ...]:
    """Who has which share of a record by the measure's crediting: the splits of a deal that has some, or the owner."""
    if measure.crediting is Crediting.OWNER or not facts.splits:
        owner = facts.owner_external_id
        user = None if owner is None else CrmUser(facts.source, owner)
        return (Share(user, OWNER_ROLE, WHOLE_PERCENT),)
    return tuple(
        Share(
            CrmUser(facts.source, split.owner_external_id),
            split.role,
            split.percent,
            share_refusal(measure.role, split.role, split.percent),
        )
        for split in facts.splits
    )


def share_refusal(wanted_role: str | None, role: str, percent: Decimal) -> Exclusion | None:
    """Why a split does not count for who wants splits of one role (None: of any)."""
    if wanted_role not in (None, role):
        return Exclusion.OTHER_ROLE
    return None if percent else Exclusion.NO_SHARE


def parts_of(
    measure: Measure, facts: RecordFacts, calendar: FiscalCalendar, rates: ExchangeRates = NO_RATES
) -> tuple[Part, ...] | NotCounted:
    """The parts of what a record adds by a measure, each with its outcome; NotCounted where all of it adds nothing.

    Payment by payment or invoice by invoice in the order of the source, and of each split by split.
    """
    wholes = measure.wholes(facts, calendar, rates)
    if isinstance(wholes, NotCounted):
        return wholes
    shares = shares_of(measure, facts)
    is_paid, is_invoiced = (measure.instalments is day for day in (DateField.PAID, DateField.INVOICED))
    return tuple(
        Part(
            share,
            number,
            whole.instalment_on if is_paid else None,
            whole.instalment_on if is_invoiced else None,
            _share_of(whole.outcome, share),
        )
        for number, whole in enumerate(wholes)
        for share in shares
    )


def share_value(value: Decimal, percent: Decimal) -> Decimal:
    """`percent` of a value, exactly."""
    return value if percent == WHOLE_PERCENT else _EXACT.multiply(value, percent).scaleb(-2, context=_EXACT)


def _share_of(outcome: Counted | NotCounted, share: Share) -> Counted | NotCounted:
    if isinstance(outcome, NotCounted):
        return outcome
    if share.refusal is not None:
        return NotCounted(share.refusal)
    if outcome.distinct_value is not None:
        return outcome
    below = None if outcome.denominator is None else share_value(outcome.denominator, share.percent)
    return replace(outcome, value=share_value(outcome.value, share.percent), denominator=below)
