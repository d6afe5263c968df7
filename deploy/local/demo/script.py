"""A quarter of a company's deals as its CRMs send it, with everything that goes wrong in a real one.

The script is fixed; only its dates follow the quarter it is played in. Bodies are what the CRMs put on the wire.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from deploy.local.demo.company import (
    BY_KEY,
    CURRENCY,
    PIPEDRIVE_COMPETITOR_FIELD,
    PIPEDRIVE_REGION_FIELD,
    SELLERS,
    Employee,
)

INTERIM_CRM_USER: Final = "u-interim"
"""A user of the CRM whom no identity names until the middle of the stream."""
INTERIM_SELLER: Final = "chloe.martin"

_DEALS: Final = 96
_WINDOW_DAYS_MIN: Final = 20
_LIVES_END_AT: Final = 0.94
_DUPLICATE_EVERY: Final = 29
_OUTCOMES: Final = "WWLWOWWLWOW"
_OWNERS: Final = (
    "ines.carvalho",
    "luca.ferrari",
    "jonas.weber",
    "nadia.haddad",
    "chloe.martin",
    "ines.carvalho",
    "aiko.tanaka",
    "luca.ferrari",
    "diego.morales",
    "aiko.tanaka",
    "luca.ferrari",
    "chloe.martin",
    "nadia.haddad",
)
_TEAM_SIZES: Final = {"enterprise": Decimal(2), "mid-market": Decimal(1), "partners": Decimal("1.2")}
_AMOUNTS: Final = (
    Decimal(18_400),
    Decimal(42_000),
    Decimal("27300.50"),
    Decimal(56_000),
    Decimal(61_500),
    Decimal("12400.90"),
    Decimal(74_200),
    Decimal(35_800),
    Decimal("53900.25"),
    Decimal(22_600),
    Decimal(80_500),
    Decimal(8_700),
    Decimal(31_250),
    Decimal("47900.75"),
    Decimal(66_400),
    Decimal(15_800),
    Decimal(39_900),
)
_ACCOUNTS: Final = (
    "Helio Robotics",
    "Brandt Logistik",
    "Aurea Foods",
    "Nordvik Shipping",
    "Lumen Clinics",
    "Tessera Bank",
    "Caldera Energy",
    "Orchard Retail",
    "Pallas Insurance",
    "Vantage Rail",
    "Sable Studios",
    "Mirabel Hotels",
    "Kontor Nord",
    "Fenwick Mills",
    "Solana Pharma",
    "Baltic Timber",
    "Ardent Motors",
    "Quill & Sons",
    "Zephyr Air",
)
_PRODUCTS: Final = ("Platform", "Insights", "Forecasting", "Data Hub", "Governance")
_REGIONS: Final = ("DACH", "Nordics", "Iberia", "Italy", "Benelux")
_PIPEDRIVE_STAGES: Final = {"Qualification": 1, "Proposal": 2, "Negotiation": 3, "Closed Won": 4, "Closed Lost": 5}
_OPEN_STAGES: Final = ("Qualification", "Proposal", "Negotiation")
_STATUS: Final = {"Closed Won": "won", "Closed Lost": "lost"}


class Channel(StrEnum):
    """Which CRM speaks."""

    CRM = "Kestrel CRM"
    PIPEDRIVE = "Pipedrive"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook to send; a receiver recognises repetitions by `id`. A forged one is signed with another secret."""

    channel: Channel
    id: str
    body: str
    story: str | None = None
    forged: bool = False


@dataclass(frozen=True, slots=True)
class UserMapped:
    """Somebody maps a CRM user to a person over the API."""

    source_user: str
    employee: str
    story: str


Act = Delivery | UserMapped


@dataclass(frozen=True, slots=True)
class _Deal:
    channel: Channel
    external_id: str
    owner: str
    account: str
    product: str
    region: str
    amount: Decimal
    created_at: datetime
    modified_at: datetime
    stage: str = _OPEN_STAGES[0]
    currency: str = CURRENCY
    closed_at: datetime | None = None
    splits: tuple[tuple[str, int], ...] = ()
    seller: str = ""

    @property
    def label(self) -> str:
        return f"{self.account} – {self.product}"

    def moved(self, stage: str, at: datetime) -> "_Deal":
        return replace(self, stage=stage, modified_at=at, closed_at=at if stage in _STATUS else None)


@dataclass(frozen=True, slots=True)
class _Moment:
    """Something is sent at a share (0 to 1) of the stream."""

    at: float
    act: Act


class _Clock:
    """From a share of the stream to an instant of the quarter."""

    def __init__(self, first: date, now: datetime) -> None:
        self._start = datetime.combine(first, time(8), tzinfo=UTC)
        self._length = max(now - self._start, timedelta(days=_WINDOW_DAYS_MIN))

    def at(self, share: float) -> datetime:
        return (self._start + self._length * share).replace(microsecond=0)


def scripted_stream(first_day: date, now: datetime) -> list[Act]:
    """Everything that happens, in the order it is sent, as if the quarter from `first_day` until `now` took seconds."""
    clock = _Clock(first_day, now)
    lives = [_life(number, clock) for number in range(_DEALS)]
    moments = [moment for life in lives for moment in _moments_of(life)]
    moments.extend(_incidents(lives, first_day, clock))
    moments.sort(key=lambda moment: moment.at)
    return _with_duplicates([moment.act for moment in moments])


def _life(number: int, clock: _Clock) -> list[tuple[float, _Deal]]:
    """A deal from its creation on: when it got into which state."""
    owner = _OWNERS[number % len(_OWNERS)]
    employee = BY_KEY[owner]
    channel = Channel.CRM if number % 5 < 3 else Channel.PIPEDRIVE
    amount = _AMOUNTS[number * 5 % len(_AMOUNTS)] * _TEAM_SIZES[str(employee.team)]
    start = number / _DEALS * 0.74
    created_at = clock.at(start)
    deal = _Deal(
        channel=channel,
        external_id=f"K-{2001 + number}" if channel is Channel.CRM else str(7301 + number),
        owner=_user(employee, channel),
        account=_ACCOUNTS[number * 7 % len(_ACCOUNTS)],
        product=_PRODUCTS[number * 3 % len(_PRODUCTS)],
        region=_REGIONS[number % len(_REGIONS)],
        amount=amount if channel is Channel.CRM else amount.to_integral_value(),
        created_at=created_at,
        modified_at=created_at,
        splits=_splits(number, employee) if channel is Channel.CRM else (),
        seller=employee.name,
    )
    life = [(start, deal)]
    outcome = _OUTCOMES[number % len(_OUTCOMES)]
    stages = [*_OPEN_STAGES[1 : 2 + number % 2], *{"W": ["Closed Won"], "L": ["Closed Lost"]}.get(outcome, [])]
    share = start
    for index, stage in enumerate(stages):
        share = min(share + 0.025 + (number * 3 + index * 5) % 7 / 100, _LIVES_END_AT)
        deal = deal.moved(stage, clock.at(share))
        life.append((share, deal))
    return life


def _moments_of(life: list[tuple[float, _Deal]]) -> Iterator[_Moment]:
    before: _Deal | None = None
    for share, deal in life:
        yield _Moment(share, _delivery(deal, before, story=_story_of(deal)))
        before = deal


def _story_of(deal: _Deal) -> str | None:
    if deal.stage == "Closed Won":
        return f"{deal.seller} won {deal.label}, {money(deal.amount)}"
    return None


def _incidents(lives: list[list[tuple[float, _Deal]]], first_day: date, clock: _Clock) -> Iterator[_Moment]:
    """What makes a pipeline a real one."""
    won = {
        channel: [
            (share, deal)
            for share, deal in (life[-1] for life in lives)
            if deal.channel is channel and deal.stage == "Closed Won" and 0.12 < share < 0.8
        ]
        for channel in Channel
    }
    crm, pipedrive = iter(won[Channel.CRM]), iter(won[Channel.PIPEDRIVE])
    yield from _amount_corrected(*next(crm), clock)
    yield from _reopened(*next(pipedrive), clock)
    yield from _owner_changed(*next(crm), clock)
    yield from _deleted(*next(crm), clock)
    next(pipedrive)
    yield from _merged(next(pipedrive), next(pipedrive), clock)
    yield from _out_of_order(clock)
    yield from _out_of_place(first_day, clock)
    yield from _interim_seller(clock)
    yield _Moment(0.45, _untranslatable(clock.at(0.45)))
    yield _Moment(0.6, _forged(clock.at(0.6)))


def _amount_corrected(share: float, deal: _Deal, clock: _Clock) -> Iterator[_Moment]:
    corrected = replace(deal, amount=deal.amount - Decimal("4250.75"), modified_at=clock.at(share + 0.05))
    story = f"{deal.label} is corrected from {money(deal.amount)} to {money(corrected.amount)}"
    yield _Moment(share + 0.05, _delivery(corrected, deal, story=story))


def _reopened(share: float, deal: _Deal, clock: _Clock) -> Iterator[_Moment]:
    reopened = deal.moved("Negotiation", clock.at(share + 0.06))
    story = f"{deal.label} is reopened: {money(deal.amount)} is taken back from {deal.seller}"
    yield _Moment(share + 0.06, _delivery(reopened, deal, story=story))


def _owner_changed(share: float, deal: _Deal, clock: _Clock) -> Iterator[_Moment]:
    heir = next(employee for employee in SELLERS if employee.name != deal.seller and employee.team == "enterprise")
    changed = replace(deal, owner=heir.crm_user, seller=heir.name, splits=(), modified_at=clock.at(share + 0.07))
    story = f"{deal.label} moves from {deal.seller} to {heir.name}, goal and commission with it"
    yield _Moment(share + 0.07, _delivery(changed, deal, story=story))


def _deleted(share: float, deal: _Deal, clock: _Clock) -> Iterator[_Moment]:
    gone = replace(deal, modified_at=clock.at(share + 0.08))
    story = f"{deal.label} is deleted in {deal.channel}: {deal.seller} loses {money(deal.amount)}"
    yield _Moment(share + 0.08, _delivery(gone, deal, action="delete", story=story))


def _merged(one: tuple[float, _Deal], other: tuple[float, _Deal], clock: _Clock) -> Iterator[_Moment]:
    """Pipedrive sends a merge as a deletion and a change."""
    share = max(one[0], other[0]) + 0.05
    gone, survivor = replace(one[1], modified_at=clock.at(share)), other[1]
    whole = replace(survivor, amount=survivor.amount + gone.amount, modified_at=clock.at(share))
    story = f"{gone.label} is merged into {survivor.label}, now {money(whole.amount)}"
    yield _Moment(share, _delivery(gone, one[1], action="delete", merged_to=survivor.external_id))
    yield _Moment(share + 0.001, _delivery(whole, survivor, merged_from=gone.external_id, story=story))


def _out_of_order(clock: _Clock) -> Iterator[_Moment]:
    """The win arrives first, then the states before it, the oldest last."""
    seller = BY_KEY["diego.morales"]
    created = _extra(Channel.CRM, 1, seller, "Granit Bau", Decimal("68250.40"), clock.at(0.28))
    proposed = created.moved("Proposal", clock.at(0.31))
    won = proposed.moved("Closed Won", clock.at(0.34))
    yield _Moment(0.345, _delivery(won, proposed, story=f"{_story_of(won)} – the first that is heard of it"))
    yield _Moment(0.355, _delivery(proposed, created))
    yield _Moment(
        0.365, _delivery(created, None, story=f"{won.label}: its older states arrive now and change no number")
    )


def _out_of_place(first_day: date, clock: _Clock) -> Iterator[_Moment]:
    """Won, but not in this quarter, or not in the currency of the goals."""
    seller = BY_KEY["aiko.tanaka"]
    late = _extra(Channel.CRM, 2, seller, "Harbour Trust", Decimal("91000.00"), clock.at(0.2))
    closed_at = datetime.combine(first_day - timedelta(days=3), time(12), tzinfo=UTC)
    late = replace(late, created_at=closed_at, stage="Closed Won", closed_at=closed_at)
    yield _Moment(0.2, _delivery(late, None, story=f"{late.label} turns up, but was won last quarter: it counts there"))
    foreign = _extra(Channel.PIPEDRIVE, 3, seller, "Delmarva Freight", Decimal(57_000), clock.at(0.5))
    foreign = replace(foreign, currency="USD").moved("Closed Won", clock.at(0.5))
    yield _Moment(
        0.5, _delivery(foreign, None, story=f"{foreign.label} is won in USD: a goal in EUR does not count it")
    )


def _interim_seller(clock: _Clock) -> Iterator[_Moment]:
    """An unmapped user wins a deal; then somebody maps the user to a person."""
    seller = BY_KEY[INTERIM_SELLER]
    won = _extra(Channel.CRM, 4, seller, "Isar Werke", Decimal("52300.30"), clock.at(0.52)).moved(
        "Closed Won", clock.at(0.55)
    )
    won = replace(won, owner=INTERIM_CRM_USER)
    yield _Moment(
        0.55, _delivery(won, None, story=f"{won.label} is won by {INTERIM_CRM_USER}, who is mapped to nobody yet")
    )
    story = f"{INTERIM_CRM_USER} is {seller.name}, says RevOps: what it won counts at once"
    yield _Moment(0.7, UserMapped(INTERIM_CRM_USER, INTERIM_SELLER, story))


def _untranslatable(at: datetime) -> Delivery:
    deal = _extra(Channel.CRM, 5, BY_KEY["nadia.haddad"], "Merano Kellerei", Decimal("48200.00"), at)
    body = json.loads(_crm_body(deal.moved("Closed Won", at), "deal.upserted"))
    body["data"]["amount"] = "48.200,00 €"
    return Delivery(
        Channel.CRM,
        _message_id("untranslatable"),
        json.dumps(body, ensure_ascii=False),
        story=f"{deal.label} says its amount is '48.200,00 €': quarantined, nothing waits for it",
    )


def _forged(at: datetime) -> Delivery:
    deal = _extra(Channel.CRM, 6, BY_KEY["diego.morales"], "Phantom Holdings", Decimal("950000.00"), at)
    return Delivery(
        Channel.CRM,
        _message_id("forged"),
        _crm_body(deal.moved("Closed Won", at), "deal.upserted"),
        story=f"someone without the secret claims {money(deal.amount)} for Diego Morales",
        forged=True,
    )


def _with_duplicates(acts: list[Act]) -> list[Act]:
    """Every so often a CRM did not hear the answer and sends again, a little later."""
    sent = list(acts)
    genuine = [act for act in acts if isinstance(act, Delivery) and not act.forged]
    for count, original in enumerate(genuine[_DUPLICATE_EVERY // 2 :: _DUPLICATE_EVERY]):
        again = replace(original, story=f"{original.channel} sends {original.id[:12]}… again: it is known already")
        sent.insert(sent.index(original) + 3 + count % 5, again)
    return sent


def _extra(channel: Channel, number: int, seller: Employee, account: str, amount: Decimal, at: datetime) -> _Deal:
    return _Deal(
        channel=channel,
        external_id=f"K-{2900 + number}" if channel is Channel.CRM else str(7900 + number),
        owner=_user(seller, channel),
        account=account,
        product=_PRODUCTS[number % len(_PRODUCTS)],
        region=_REGIONS[number % len(_REGIONS)],
        amount=amount,
        created_at=at,
        modified_at=at,
        seller=seller.name,
    )


def _user(employee: Employee, channel: Channel) -> str:
    return employee.crm_user if channel is Channel.CRM else employee.pipedrive_user


def _splits(number: int, owner: Employee) -> tuple[tuple[str, int], ...]:
    """Every fourth deal of the CRM was sold by two."""
    if number % 4:
        return ()
    partner = SELLERS[number % len(SELLERS)]
    return ((owner.crm_user, 70), (partner.crm_user, 30)) if partner is not owner else ()


def _delivery(
    deal: _Deal,
    before: _Deal | None,
    *,
    action: str | None = None,
    merged_to: str | None = None,
    merged_from: str | None = None,
    story: str | None = None,
) -> Delivery:
    name = f"{deal.external_id}/{deal.modified_at.isoformat()}/{deal.stage}/{action}/{deal.amount}"
    if deal.channel is Channel.CRM:
        kind = "deal.deleted" if action == "delete" else "deal.upserted"
        return Delivery(deal.channel, _message_id(name), _crm_body(deal, kind), story)
    event_id = str(uuid5(NAMESPACE_URL, f"pipedrive/{name}"))
    meta: dict[str, object] = {
        "action": action or ("create" if before is None else "change"),
        "entity": "deal",
        "entity_id": deal.external_id,
        "company_id": "9310044",
        "id": event_id,
        "attempt": 1,
        "timestamp": deal.modified_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "version": "2.0",
        "webhook_id": "77102",
        "user_id": deal.owner,
        "change_source": "app",
    }
    if merged_to is not None:
        meta["merged_to_id"] = int(merged_to)
    if merged_from is not None:
        meta["merged_from_id"] = int(merged_from)
    after = _pipedrive_deal(deal)
    previous = None if before is None else _pipedrive_deal(before)
    if meta["action"] == "change" and previous is not None:
        previous = {field: value for field, value in previous.items() if after[field] != value}
    document = {"meta": meta, "data": None if action == "delete" else after, "previous": previous}
    return Delivery(deal.channel, event_id, json.dumps(document, ensure_ascii=False), story)


def _message_id(name: str) -> str:
    return f"msg_{uuid5(NAMESPACE_URL, f'kestrel/{name}').hex[:24]}"


def _crm_body(deal: _Deal, kind: str) -> str:
    data: dict[str, object] = {
        "external_id": deal.external_id,
        "modified_at": deal.modified_at.isoformat(),
        "stage": deal.stage,
        "owner_external_id": deal.owner,
        "name": deal.label,
        "amount": str(deal.amount),
        "currency": deal.currency,
        "created_at": deal.created_at.isoformat(),
        "closed_on": None if deal.closed_at is None else deal.closed_at.date().isoformat(),
        "region": deal.region,
        "account_name": deal.account,
        "products": [{"sku": deal.product, "quantity": "1", "amount": str(deal.amount)}],
        "splits": [{"owner_external_id": user, "role": "owner", "percent": str(share)} for user, share in deal.splits],
    }
    return json.dumps({"type": kind, "data": data}, ensure_ascii=False)


def _pipedrive_deal(deal: _Deal) -> dict[str, object]:
    status = _STATUS.get(deal.stage, "open")
    return {
        "id": int(deal.external_id),
        "title": deal.label,
        "value": int(deal.amount),
        "currency": deal.currency,
        "status": status,
        "stage_id": _PIPEDRIVE_STAGES[deal.stage],
        "pipeline_id": 1,
        "owner_id": int(deal.owner),
        "org_id": 400 + len(deal.account),
        "probability": None,
        "won_time": _pipedrive_time(deal.closed_at if status == "won" else None),
        "lost_time": _pipedrive_time(deal.closed_at if status == "lost" else None),
        "add_time": _pipedrive_time(deal.created_at),
        "update_time": _pipedrive_time(deal.modified_at),
        "custom_fields": {
            PIPEDRIVE_REGION_FIELD: deal.region,
            PIPEDRIVE_COMPETITOR_FIELD: "none",
        },
    }


def _pipedrive_time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def money(amount: Decimal) -> str:
    """For people: euros, cents only where there are any."""
    return f"€{amount:,.0f}" if amount == amount.to_integral_value() else f"€{amount:,.2f}"
