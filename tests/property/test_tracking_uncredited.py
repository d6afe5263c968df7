"""Won deals that nobody is credited with: what is counted with each change is what counting them all gives."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.tracking.records.domain.snapshots import Change
from services.tracking.records.domain.uncredited import GapKey, GapMoves
from shared.kernel.deals import DealFacts, DealKind, DealStatus, RecordVersion, Split

TENANT, CONNECTION = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 3, 31, tzinfo=UTC)
KNOWN = {("crm", "ann"), ("other", "bob")}
USERS = st.sampled_from(["ann", "bob", "cat"])
AMOUNTS = st.decimals(-1000, 10**15 - 1, places=6, allow_nan=False)
PERCENTS = st.decimals(0, 100, places=6)


@st.composite
def deals(draw: st.DrawFn) -> DealFacts:
    return DealFacts(
        deal_id=UUID(int=draw(st.integers(1, 3))),
        source="crm",
        external_id="A",
        version=RecordVersion(NOW, 0, UUID(int=3)),
        kind=draw(st.sampled_from(DealKind)),
        status=draw(st.sampled_from([DealStatus.WON, DealStatus.WON, DealStatus.OPEN, DealStatus.LOST])),
        owner_external_id=draw(st.none() | USERS),
        amount=draw(st.none() | AMOUNTS),
        currency=draw(st.sampled_from([None, "EUR", "JPY"])),
        closed_at=draw(st.sampled_from([None, NOW])),
        closed_on=draw(st.sampled_from([None, date(2026, 3, 31)])),
        splits=tuple(draw(st.lists(st.builds(Split, USERS, PERCENTS), max_size=3))),
    )


def by_the_words(deal: DealFacts) -> Counter[tuple[str, str, str]]:
    """For which reasons nobody is credited with a deal, as the README says it; how often."""
    reasons: Counter[tuple[str, str, str]] = Counter()
    currency = deal.currency if deal.currency is not None else ""
    if deal.status.value != "won" or deal.kind.value in ("deleted", "merged"):
        return reasons
    for split in deal.splits:
        if split.owner_external_id != "ann" and split.percent > 0:
            reasons["split_unknown", split.owner_external_id, currency] += 1
    if not deal.splits and deal.owner_external_id is None:
        reasons["owner_missing", "", currency] += 1
    if not deal.splits and deal.owner_external_id in ("bob", "cat"):
        reasons["owner_unknown", deal.owner_external_id, currency] += 1
    if deal.amount is not None and deal.currency is None:
        reasons["no_currency", "", ""] += 1
    if deal.closed_on is None and deal.closed_at is None:
        reasons["no_close_date", "", currency] += 1
    return reasons


def sums(held: Mapping[UUID, DealFacts]) -> dict[tuple[str, str, str], tuple[int, Fraction]]:
    """Deals and amounts by reason, user and currency, in fractions."""
    counted: dict[tuple[str, str, str], tuple[int, Fraction]] = {}
    for deal in held.values():
        amount = Fraction(deal.amount or 0)
        for (reason, user, currency), times in by_the_words(deal).items():
            percent = Fraction(100) * times
            if reason == "split_unknown":
                percent = sum((Fraction(s.percent) for s in deal.splits if s.owner_external_id == user), Fraction(0))
            deals_before, before = counted.get((reason, user, currency), (0, Fraction(0)))
            counted[reason, user, currency] = (deals_before + times, before + amount * percent / 100)
    return counted


@given(st.lists(st.lists(deals(), max_size=4), max_size=4))
def test_what_is_counted_with_each_change_is_what_all_deals_come_to(batches: Sequence[Sequence[DealFacts]]) -> None:
    held: dict[UUID, DealFacts] = {}
    total: dict[GapKey, tuple[int, Fraction]] = {}
    for batch in batches:
        moves = GapMoves()
        for deal in batch:
            change = Change(TENANT, held.get(deal.deal_id), deal, NOW, CONNECTION)
            moves.add([change], KNOWN)
            held[deal.deal_id] = deal
        for key, count in moves.net().items():
            before = total.get(key, (0, Fraction(0)))
            total[key] = (before[0] + count.deals, before[1] + Fraction(count.amount))
    standing = {
        (key.reason.value, key.user, key.currency): (deals_, amount)
        for key, (deals_, amount) in total.items()
        if deals_ or amount
    }
    assert standing == sums(held)
    assert {(key.tenant_id, key.connection_id, key.source) for key in total} <= {(TENANT, CONNECTION, "crm")}


def test_of_forty_percent_of_a_split_that_is_nobodys_forty_percent_of_the_amount_count() -> None:
    deal = DealFacts(
        UUID(int=1),
        "crm",
        "A",
        RecordVersion(NOW, 0, UUID(int=3)),
        DealKind.UPSERTED,
        DealStatus.WON,
        owner_external_id="cat",
        amount=Decimal("1000.01"),
        currency="EUR",
        closed_at=NOW,
        splits=(Split("ann", Decimal(60)), Split("cat", Decimal(40))),
    )
    moves = GapMoves()
    moves.add([Change(TENANT, None, deal, NOW, CONNECTION)], KNOWN)
    ((key, count),) = moves.net().items()
    assert (key.reason.value, key.user, key.currency) == ("split_unknown", "cat", "EUR")
    assert (count.deals, count.amount) == (1, Decimal("400.004"))
