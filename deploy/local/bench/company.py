"""The company that is measured: sellers in teams, and goals such that every won deal counts for four of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Final
from uuid import UUID, uuid5

from deploy.local.errors import StackError
from shared.contracts.base import Event
from shared.contracts.deals import Deal
from shared.contracts.envelope import to_message
from shared.contracts.goals import Direction, Goal, GoalStatus, Metric, Subject
from shared.contracts.org import Calendar, Identity, Membership, Person, Team
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kernel.deals import DateField, DealKind, DealStatus
from shared.kernel.filters import Condition, Operator
from shared.kernel.ids import deal_id
from shared.kernel.measures import Aggregate, Measure

TENANT_ID: Final = UUID("01980000-0000-7000-8000-00000000be4c")
SOURCE: Final = "bench"
CURRENCY: Final = "USD"
OWNERS: Final = tuple(f"owner-{number:03}" for number in range(200))
PERIOD_START: Final = date(2026, 1, 1)
PERIOD_END: Final = date(2027, 1, 1)
CLOSED_ON: Final = date(2026, 5, 4)

_TEAMS: Final = 10
TEAM_OF: Final = {owner: f"team/{number % _TEAMS}" for number, owner in enumerate(OWNERS)}
"""The team of every seller, by the name of its goal."""

_WON: Final = Condition("status", Operator.EQ, ("won",))
WON_AMOUNT: Final = Metric.of(Measure(Aggregate.SUM, "amount", DateField.CLOSED, _WON, CURRENCY))
_WON_COUNT: Final = Metric.of(Measure(Aggregate.COUNT, None, DateField.CLOSED, _WON))
_CONNECTION_ID: Final = UUID("01980000-0000-7000-8000-00000000c0de")
_FIRST_MODIFIED_AT: Final = datetime(2026, 5, 4, 8, tzinfo=UTC)
_KNOWN_SHARE: Final = 3
_OWNER_CHANGE_SHARE: Final = 5
_PUBLISHED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Company:
    """Its definitions as the goals service would publish them, and its goals by what they measure."""

    events: tuple[Event, ...]
    company_goal_id: UUID


def company() -> Company:
    """200 sellers in ten teams under one; a goal by amount for everyone, each team and the company; by count a seller.

    So a deal that is won counts for four goals: its seller's two, its team's, the company's.
    """
    root = _id("team/company")
    events: list[Event] = [
        Calendar(tenant_id=TENANT_ID, version=1, start_month=1, time_zone="Europe/Berlin", currency=CURRENCY),
        _team(root, None),
        *(_team(_id(f"team/{number}"), root) for number in range(_TEAMS)),
    ]
    company_goal = goal("company", WON_AMOUNT, Subject(kind="team", id=root))
    events.append(company_goal)
    events.extend(
        goal(f"team/{number}", WON_AMOUNT, Subject(kind="team", id=_id(f"team/{number}"))) for number in range(_TEAMS)
    )
    for external_id, team in TEAM_OF.items():
        events.extend(_seller(external_id, _id(team)))
    return Company(tuple(events), company_goal.id)


def deal_events(count: int) -> Iterator[Deal]:
    """Versions of won deals in the order of time: two in three are of a new deal, the rest change a known one.

    Of the changes four in five are of the amount, the others give the deal to another seller.
    """
    known: list[tuple[int, int]] = []
    for index in range(count):
        change = index // _KNOWN_SHARE
        if index % _KNOWN_SHARE or not known:
            number, owner = len(known), index % len(OWNERS)
            known.append((number, owner))
        else:
            number, owner = known[(change * 7919) % len(known)]
            if change % _OWNER_CHANGE_SHARE == 0:
                owner = (owner + 1) % len(OWNERS)
                known[number] = (number, owner)
        yield deal(index, number, OWNERS[owner])


def differing(values: Mapping[str, Decimal], side: str, events: int) -> list[str]:
    """The goals, by name, whose values are not those that the events add up to, to the cent."""
    return [
        f"{side}: {name} counts {values.get(name)}, expected {expected}"
        for name, expected in _expected_values(events).items()
        if values.get(name) != expected
    ]


@cache
def _expected_values(count: int) -> Mapping[str, Decimal]:
    """What every goal counts after the first `count` events, by its name: the newest version of each deal."""
    values = {event.name: Decimal(0) for event in company().events if isinstance(event, Goal)}
    for event in {event.id: event for event in deal_events(count)}.values():
        owner, amount = event.owner_external_id or "", event.amount or Decimal(0)
        values[f"{owner}/count"] += 1
        for name in (f"{owner}/amount", TEAM_OF[owner], "company"):
            values[name] += amount
    return values


def deal(index: int, number: int, owner: str, tenant_id: UUID = TENANT_ID) -> Deal:
    """Won deal `number`, as in the version of event `index`."""
    external_id = f"deal-{number}"
    modified_at = _FIRST_MODIFIED_AT + timedelta(milliseconds=index)
    return Deal(
        tenant_id=tenant_id,
        id=deal_id(_CONNECTION_ID, external_id),
        connection_id=_CONNECTION_ID,
        source=SOURCE,
        external_id=external_id,
        kind=DealKind.UPSERTED,
        modified_at=modified_at,
        sequence=index,
        delivery_id=_id(f"delivery/{index}"),
        received_at=modified_at,
        status=DealStatus.WON,
        owner_external_id=owner,
        name=f"Deal {number}",
        amount=Decimal(1000 + index % 9000) + Decimal("0.50"),
        currency=CURRENCY,
        created_at=_FIRST_MODIFIED_AT,
        expected_close_on=None,
        closed_at=None,
        closed_on=CLOSED_ON,
        stage="Won",
        pipeline=None,
        probability=None,
        type=None,
        channel="Partner",
        region="West",
        account_id=f"account-{number % 500}",
        account_name=f"Account {number % 500}",
        merged_into=None,
        splits=(),
        products=(),
        custom={},
    )


def goal(
    name: str,
    metric: Metric,
    owner: Subject,
    tenant_id: UUID = TENANT_ID,
    *,
    start: date = PERIOD_START,
    end: date = PERIOD_END,
) -> Goal:
    """An active goal, the one of this name."""
    return Goal(
        tenant_id=tenant_id,
        id=_id(f"goal/{name}", tenant_id),
        version=1,
        revision=1,
        status=GoalStatus.ACTIVE,
        name=name,
        owner=owner,
        metric=metric,
        target=Decimal(1_000_000),
        baseline=Decimal(0),
        unit=CURRENCY if metric.currency else "deals",
        direction=Direction.HIGHER,
        start=start,
        end=end,
        parent_id=None,
        weight=Decimal(1),
    )


async def publish(kafka: KafkaSettings, events: Iterable[Event], *, source: str, topic: str | None = None) -> None:
    """Publish events as the service that owns them would, or to a topic that only the measurement knows.

    `StackError` when the broker does not take them all.
    """
    now = datetime.now(UTC)
    messages = (
        to_message(event, event_id=_id(f"event/{event.subject}"), source=source, time=now)._replace(
            topic=topic or event.topic
        )
        for event in events
    )
    producer = Producer(kafka, client_id="attain-bench")
    await producer.start()
    try:
        while batch := list(islice(messages, _PUBLISHED_AT_ONCE)):
            refused = [error for error in await producer.send_many(batch) if error is not None]
            if refused:
                raise StackError(f"The broker refused {len(refused)} of {len(batch)} events: {refused[0]}.")
    finally:
        await producer.stop()


def seller(external_id: str, tenant_id: UUID = TENANT_ID) -> tuple[Person, Identity]:
    """A person and the CRM user that it is."""
    person = Person(
        tenant_id=tenant_id,
        id=_id(f"person/{external_id}", tenant_id),
        version=1,
        name=external_id,
        email=None,
        active=True,
    )
    identity = Identity(
        tenant_id=tenant_id,
        id=_id(f"identity/{external_id}", tenant_id),
        version=1,
        source=SOURCE,
        external_user_id=external_id,
        person_id=person.id,
        deleted=False,
    )
    return person, identity


def _id(name: str, tenant_id: UUID = TENANT_ID) -> UUID:
    return uuid5(tenant_id, name)


def _team(team_id: UUID, parent_id: UUID | None) -> Team:
    return Team(tenant_id=TENANT_ID, id=team_id, version=1, name="Team", parent_id=parent_id, manager_id=None)


def _seller(external_id: str, team_id: UUID) -> Iterator[Event]:
    person, identity = seller(external_id)
    yield person
    yield Membership(
        tenant_id=TENANT_ID,
        id=_id(f"membership/{external_id}"),
        version=1,
        person_id=person.id,
        team_id=team_id,
        start=PERIOD_START,
        end=None,
        deleted=False,
    )
    yield identity
    owner = Subject(kind="person", id=person.id)
    yield goal(f"{external_id}/amount", WON_AMOUNT, owner)
    yield goal(f"{external_id}/count", _WON_COUNT, owner)
