"""What the numbers must be, worked out from the bodies that were sent. Shares no code with the services."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final
from zoneinfo import ZoneInfo

from deploy.local.demo.company import (
    BOOKINGS_TIERS,
    CRM_STAGES,
    CURRENCY,
    EMPLOYEES,
    SELLERS,
    TEAM_SELLING_RATE,
    TIME_ZONE,
    Employee,
)
from deploy.local.demo.script import Act, Channel, Delivery, UserMapped

_ZERO: Final = Decimal(0)
_CENT: Final = Decimal("0.01")
_ZONE: Final = ZoneInfo(TIME_ZONE)


@dataclass(frozen=True, slots=True)
class _Deal:
    """The state in one body, and the order of states."""

    order: tuple[datetime, datetime]
    gone: bool
    status: str
    owner: str
    amount: Decimal
    currency: str
    closed_on: date | None
    splits: tuple[tuple[str, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Expectation:
    """Bookings and won deals by employee key, by team key, and under None of the company; pay by employee key."""

    bookings: Mapping[str | None, Decimal]
    deals: Mapping[str | None, int]
    earned: Mapping[str, Decimal]


def expected(acts: Iterable[Act], first_day: date, end: date) -> Expectation:
    """What the acts amount to in the quarter from `first_day` up to, not including, `end`."""
    newest: dict[tuple[Channel, str], _Deal] = {}
    people = {(Channel.CRM, employee.crm_user): employee for employee in EMPLOYEES}
    people |= {(Channel.PIPEDRIVE, employee.pipedrive_user): employee for employee in EMPLOYEES}
    for act in acts:
        if isinstance(act, UserMapped):
            people[Channel.CRM, act.source_user] = _employee(act.employee)
        elif not act.forged:
            for external_id, deal in _deals(act):
                current = newest.get((act.channel, external_id))
                if current is None or deal.order > current.order:
                    newest[act.channel, external_id] = deal
    bookings: defaultdict[str | None, Decimal] = defaultdict(Decimal)
    deals: defaultdict[str | None, int] = defaultdict(int)
    shared: defaultdict[str, Decimal] = defaultdict(Decimal)
    for (channel, _), deal in newest.items():
        owner = people.get((channel, deal.owner))
        in_quarter = deal.closed_on is not None and first_day <= deal.closed_on < end
        if deal.gone or deal.status != "won" or not in_quarter:
            continue
        if owner is not None:
            for subject in (owner.key, owner.team, None):
                deals[subject] += 1
        if deal.currency != CURRENCY:
            continue
        if owner is not None:
            for subject in (owner.key, owner.team, None):
                bookings[subject] += deal.amount
        for user, percent in deal.splits or ((deal.owner, Decimal(100)),):
            if (person := people.get((channel, user))) is not None:
                shared[person.key] += deal.amount * percent / 100
    earned = {
        seller.key: _cents(_commission(bookings.get(seller.key, _ZERO), seller.bookings_target or _ZERO))
        + _cents(shared.get(seller.key, _ZERO) * TEAM_SELLING_RATE)
        for seller in SELLERS
    }
    return Expectation(bookings, deals, earned)


def _commission(total: Decimal, quota: Decimal) -> Decimal:
    paid = _ZERO
    starts = [start * quota for start, _ in BOOKINGS_TIERS]
    for index, (_, rate) in enumerate(BOOKINGS_TIERS):
        upper = min(total, starts[index + 1]) if index + 1 < len(starts) else total
        paid += max(upper - starts[index], _ZERO) * rate
    return paid


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)


def _employee(key: str) -> Employee:
    return next(employee for employee in EMPLOYEES if employee.key == key)


def _deals(delivery: Delivery) -> Iterator[tuple[str, _Deal]]:
    document = json.loads(delivery.body, parse_float=Decimal)
    if delivery.channel is Channel.PIPEDRIVE:
        yield _pipedrive_deal(document)
        return
    data = document["data"]
    if "," in data["amount"]:
        return
    modified_at = datetime.fromisoformat(data["modified_at"])
    yield (
        data["external_id"],
        _Deal(
            order=(modified_at, modified_at),
            gone=document["type"] == "deal.deleted",
            status=CRM_STAGES[data["stage"]],
            owner=data["owner_external_id"],
            amount=Decimal(data["amount"]),
            currency=data["currency"],
            closed_on=None if data["closed_on"] is None else date.fromisoformat(data["closed_on"]),
            splits=tuple((split["owner_external_id"], Decimal(split["percent"])) for split in data["splits"]),
        ),
    )


def _pipedrive_deal(document: Mapping[str, Mapping[str, object]]) -> tuple[str, _Deal]:
    gone = document["meta"]["action"] == "delete"
    data = document["previous"] if gone else document["data"]
    happened_at = _instant(document["meta"]["timestamp"])
    won_time = data["won_time"]
    deal = _Deal(
        order=(happened_at if gone else _instant(data["update_time"]), happened_at),
        gone=gone,
        status=str(data["status"]),
        owner=str(data["owner_id"]),
        amount=Decimal(str(data["value"])),
        currency=str(data["currency"]),
        closed_on=None if won_time is None else _instant(won_time).astimezone(_ZONE).date(),
        splits=(),
    )
    return str(data["id"]), deal


def _instant(text: object) -> datetime:
    return datetime.fromisoformat(str(text)).astimezone(UTC)
