"""Several plans side by side, by who and when. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from services.goals.planning.domain.numbers import change_ratio, mean
from services.goals.planning.domain.plan import Node
from services.goals.targets.domain import Owner
from shared.kernel.periods import Period


@dataclass(frozen=True, slots=True)
class Planned:
    """What one plan has for an owner and a period."""

    target: Decimal
    mismatch: Decimal
    change: Decimal | None
    """(target - last year) ÷ |last year|, six decimals; None where there is no last year."""


@dataclass(frozen=True, slots=True)
class Compared:
    """An owner's targets for a period, one a plan in the order of the plans; None where a plan has none."""

    owner: Owner
    period: Period
    last_year: Decimal | None
    planned: tuple[Planned | None, ...]


def compared(
    plans: Sequence[Sequence[Node]], last_year: Mapping[tuple[Owner, Period], Decimal]
) -> tuple[Compared, ...]:
    """A row for each owner and period that any of the plans has, by period, kind and id of the owner.

    Plans that come to an owner's period by different steps compare alike. An owner that has several nodes of one
    period, such as a person in two teams, has them added up, or the mean of rates. `last_year` is what an owner reached
    a year before the period; who is not named has no last year. Another order of the plans gives the same rows with
    the other order.
    """
    found: dict[tuple[Owner, Period], list[list[Node]]] = {}
    for number, nodes in enumerate(plans):
        for node in nodes:
            found.setdefault((node.owner, node.period), [[] for _ in plans])[number].append(node)
    return tuple(
        Compared(owner, period, before, tuple(_planned(each, before) for each in row))
        for (owner, period), row in sorted(found.items(), key=_place)
        for before in [last_year.get((owner, period))]
    )


def _planned(nodes: Sequence[Node], before: Decimal | None) -> Planned | None:
    if not nodes:
        return None
    targets, mismatches = [node.target for node in nodes], [node.mismatch for node in nodes]
    if nodes[0].share is not None:
        target, mismatch = mean(targets), mean(mismatches)
    else:
        target, mismatch = sum(targets, Decimal(0)), sum(mismatches, Decimal(0))
    return Planned(target, mismatch, change_ratio(target, before))


def _place(entry: tuple[tuple[Owner, Period], object]) -> tuple[Period, str, UUID]:
    (owner, period), _ = entry
    return period, owner.kind, owner.id
