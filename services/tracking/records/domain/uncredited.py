"""Which won deals, and shares of them, nobody is credited with, and by how much changed deals change that."""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from services.tracking.records.domain.snapshots import Change
from shared.kernel.deals import DealFacts, DealStatus
from shared.kernel.parts import share_value

_ZERO: Final = Decimal(0)
EXACT: Final = Context(prec=100)
"""Wide enough that shares and sums of amounts lose nothing."""


class UncreditedReason(StrEnum):
    """Why a won deal, or a share of one, is credited to nobody. A deal may have several."""

    OWNER_MISSING = "owner_missing"
    """The source gives it to nobody."""
    OWNER_UNKNOWN = "owner_unknown"
    """No identity names its owner."""
    SPLIT_UNKNOWN = "split_unknown"
    """No identity names the user of one of its splits; that share counts. A deal with splits belongs to their users."""
    NO_CURRENCY = "no_currency"
    """It states an amount and no currency."""
    NO_CLOSE_DATE = "no_close_date"
    """It states no day on which it was won."""


class Gap(NamedTuple):
    """A won deal, or a share of one, that nobody is credited with. `user` and `currency` may be empty."""

    reason: UncreditedReason
    user: str
    currency: str
    amount: Decimal


class GapKey(NamedTuple):
    """What uncredited deals are counted by."""

    tenant_id: UUID
    connection_id: UUID
    reason: UncreditedReason
    source: str
    user: str
    currency: str


@dataclass(slots=True)
class GapCount:
    """How many deals, or shares of deals, and what they come to; or by how much that changes."""

    deals: int = 0
    amount: Decimal = _ZERO


Known = Container[tuple[str, str]]
"""The users that identities name, each as its source and its id there."""


def gaps_of(deal: DealFacts, known: Known) -> Iterator[Gap]:
    """Everything for which nobody is credited with a won deal; of one that is gone, nothing. Shares are exact."""
    if deal.status is not DealStatus.WON or deal.is_gone:
        return
    amount, currency, owner = deal.amount or _ZERO, deal.currency or "", deal.owner_external_id
    if deal.splits:
        for split in deal.splits:
            if split.percent and (deal.source, split.owner_external_id) not in known:
                share = share_value(amount, split.percent)
                yield Gap(UncreditedReason.SPLIT_UNKNOWN, split.owner_external_id, currency, share)
    elif owner is None:
        yield Gap(UncreditedReason.OWNER_MISSING, "", currency, amount)
    elif (deal.source, owner) not in known:
        yield Gap(UncreditedReason.OWNER_UNKNOWN, owner, currency, amount)
    if deal.amount is not None and deal.currency is None:
        yield Gap(UncreditedReason.NO_CURRENCY, "", "", amount)
    if deal.closed_on is None and deal.closed_at is None:
        yield Gap(UncreditedReason.NO_CLOSE_DATE, "", currency, amount)


def _is_plainly_credited(deal: DealFacts, known: Known) -> bool:
    """Whether a won deal plainly has no gap: true of nearly all, and cheaper to decide than to look for gaps."""
    return (
        not deal.splits
        and (deal.source, deal.owner_external_id) in known
        and deal.currency is not None
        and (deal.closed_at is not None or deal.closed_on is not None)
    )


class GapMoves:
    """By how much changed deals change what nobody is credited with, given in any number of pieces."""

    def __init__(self) -> None:
        self._moved: dict[GapKey, GapCount] = {}

    def add(self, changes: Iterable[Change[DealFacts]], known: Known) -> None:
        """Take these changes into account; `known` are the users of their tenant."""
        for change in changes:
            before, after = change.before, change.after
            if before is not None and before.status is DealStatus.WON and not _is_plainly_credited(before, known):
                self._add(change, before, known, -1)
            if after.status is DealStatus.WON and not _is_plainly_credited(after, known):
                self._add(change, after, known, 1)

    def net(self) -> Mapping[GapKey, GapCount]:
        """What does not come to nothing."""
        return {key: count for key, count in self._moved.items() if count.deals or count.amount}

    def _add(self, change: Change[DealFacts], deal: DealFacts, known: Known, sign: int) -> None:
        for reason, user, currency, amount in gaps_of(deal, known):
            key = GapKey(change.tenant_id, change.connection_id, reason, deal.source, user, currency)
            count = self._moved.setdefault(key, GapCount())
            count.deals += sign
            count.amount = (EXACT.add if sign > 0 else EXACT.subtract)(count.amount, amount)
