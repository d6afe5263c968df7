"""What progress must be, by plain integers and dictionaries. Imports nothing of the product.

A story is a list of steps. A step delivers a batch of versions of deals, of activities or of definitions, or lets the
rebuilds run. Days and hours are integers from one epoch; money is in cents, and a rate in ten-thousandths; a user,
person, team, goal, deal and activity is a number.

A deal is counted part by part: one for each of its splits where the goal counts by splits, one for each payment where
payments count, each with its person, its day and its value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from hypothesis import strategies as st

PEOPLE = 3
TEAMS = 4
USERS = 4
DEALS = 4
ACTIVITIES = 4
GOALS = 26
MEMBERSHIPS = 5
DAYS = 12
ZONES_HOURS = (-11, -5, 0, 1, 8, 12)
METRICS = (
    "won amount",
    "won deals",
    "won accounts",
    "created euros",
    "decided of 50 or more",
    "expected quantity",
    "won dollars of all",
    "created euros at plan rates",
    "paid",
    "won and paid",
    "dollars as paid",
    "deals paid",
    "euros as invoiced",
    "done calls",
    "seconds talked",
    "met accounts",
    "win rate",
    "won share of dollars",
    "won share of euros as paid",
    "average won dollars",
    "average paid yuan",
    "reached share of calls",
    "average seconds of calls",
)
ACTIVITY_METRICS = (
    "done calls",
    "seconds talked",
    "met accounts",
    "reached share of calls",
    "average seconds of calls",
)
QUOTIENTS = METRICS[-7:]
"""They divide one sum by another: a share in percent, an average by how many there are."""
SHARES_OF_MONEY = ("won share of dollars", "won share of euros as paid")
_PLAIN_METRICS = tuple(
    metric
    for metric in METRICS
    if metric != "deals paid"
    and metric.split()[-1] not in ("deals", "accounts", "more", "quantity", "calls", "talked")
    and metric not in QUOTIENTS
)
MONEY_METRICS = (*_PLAIN_METRICS, *SHARES_OF_MONEY, "average won dollars", "average paid yuan")
"""Those whose records add money."""
PLAN_RATES = {"USD": 9100, "CNY": 1275}
SERIES = (
    ("CNY", "USD", 0),
    ("CNY", "USD", 1),
    ("CNY", "EUR", 0),
    ("CNY", "EUR", 1),
    ("USD", "EUR", 0),
    ("USD", "EUR", 1),
    ("USD", "GBP", 0),
)
"""Home currency, currency and month of what rates are stated for; the second month begins on MONTH_STARTS."""
MONTH_STARTS = 6


class Deal(NamedTuple):
    """One version of a deal. `closed_hour` counts when there is no `closed_day`."""

    number: int
    version: int
    kind: str
    status: str
    user: int | None
    cents: int | None
    currency: str | None
    quantity: int | None
    account: str | None
    created_hour: int | None
    expected_day: int | None
    closed_hour: int | None
    closed_day: int | None
    home_cents: int | None
    home_currency: str | None
    payments: tuple[tuple[int, int], ...]
    """Day and cents."""
    splits: tuple[tuple[int, int, str], ...] = ()
    """User, thousandths of the deal, role."""
    invoices: tuple[tuple[int, int], ...] = ()
    """Day and cents."""


class Activity(NamedTuple):
    """One version of an activity."""

    number: int
    version: int
    deleted: bool
    type: str
    status: str
    user: int | None
    occurred_hour: int | None
    seconds: int | None
    outcome: str | None
    account: str | None


class Calendar(NamedTuple):
    """What holds from the beginning, and what does from each first day of `changes` on."""

    version: int
    zone_hours: int
    home_currency: str
    changes: tuple[tuple[int, int, str], ...] = ()
    """Day, zone and home currency, in order."""


class Rates(NamedTuple):
    """Every rate of one of SERIES: day and ten-thousandths, each day once."""

    number: int
    version: int
    rates: tuple[tuple[int, int], ...]


class Team(NamedTuple):
    """Below `parent` from the beginning, and below another from each first day of `moves` on."""

    number: int
    version: int
    parent: int | None
    moves: tuple[tuple[int, int | None], ...] = ()
    """Day and parent, in order."""


class Membership(NamedTuple):
    number: int
    version: int
    person: int
    team: int
    start: int
    end: int | None
    deleted: bool


class Identity(NamedTuple):
    user: int
    version: int
    person: int
    deleted: bool


class Goal(NamedTuple):
    number: int
    version: int
    status: str
    team: bool
    owner: int
    metric: str
    start: int
    end: int
    by_splits: bool = False
    role: str | None = None


Definition = Calendar | Team | Membership | Identity | Rates | Goal


class Standing(NamedTuple):
    """Where a goal stands: cents for money, to the last fraction of one, else a number.

    Of a quotient `value` is what is divided, by `below`: cents by cents, cents by records, or a number by a number.
    """

    value: Fraction
    deals: int
    below: Fraction = Fraction(0)


@dataclass(frozen=True)
class Deals:
    """A batch of deal events, in the order they arrive."""

    batch: tuple[Deal, ...]


@dataclass(frozen=True)
class Activities:
    """A batch of activity events, in the order they arrive."""

    batch: tuple[Activity, ...]


@dataclass(frozen=True)
class Definitions:
    """A batch of definition events, in the order they arrive."""

    batch: tuple[Definition, ...]


@dataclass(frozen=True)
class Rebuild:
    """The rebuilds catch up."""


Step = Deals | Activities | Definitions | Rebuild


def subject(definition: Definition) -> tuple[str, int]:
    """What the definition is a version of."""
    return type(definition).__name__, 0 if isinstance(definition, Calendar) else definition[0]


def metrics(story: Sequence[Step]) -> dict[int, str]:
    """The metric of the newest version of every goal that was delivered."""
    batches = (step.batch for step in story if isinstance(step, Definitions))
    goals = sorted(
        (each for batch in batches for each in batch if isinstance(each, Goal)), key=lambda each: each.version
    )
    return {goal.number: goal.metric for goal in goals}


def expected(story: Sequence[Step]) -> dict[int, Standing]:
    """Where every goal that was ever delivered stands in the end; those not counting stand at zero."""
    deals: dict[int, Deal] = {}
    activities: dict[int, Activity] = {}
    definitions: dict[tuple[str, int], Definition] = {}
    for step in story:
        if isinstance(step, Deals):
            for deal in step.batch:
                if deal.number not in deals or deals[deal.number].version < deal.version:
                    deals[deal.number] = deal
        elif isinstance(step, Activities):
            for activity in step.batch:
                if activity.number not in activities or activities[activity.number].version < activity.version:
                    activities[activity.number] = activity
        elif isinstance(step, Definitions):
            for definition in step.batch:
                key = subject(definition)
                if key not in definitions or definitions[key].version < definition.version:
                    definitions[key] = definition
    goals = [each for each in definitions.values() if isinstance(each, Goal)]
    return {
        goal.number: _standing_by_activities(goal, activities, definitions)
        if goal.metric in ACTIVITY_METRICS
        else _standing(goal, deals, definitions)
        for goal in goals
    }


def _standing_by_activities(
    goal: Goal, activities: Mapping[int, Activity], definitions: Mapping[tuple[str, int], Definition]
) -> Standing:
    if goal.status not in ("active", "closed"):
        return Standing(Fraction(0), 0)
    value, count, accounts, below = 0, 0, set(), 0
    for activity in activities.values():
        if activity.deleted or activity.occurred_hour is None:
            continue
        day = day_of(activity.occurred_hour, definitions)
        adds: int | None = None
        adds_below = 0
        if goal.metric == "done calls":
            adds = 1 if activity.type == "call" and activity.status == "done" else None
        elif goal.metric == "seconds talked":
            is_long = activity.seconds is not None and activity.seconds >= 60
            adds = activity.seconds if is_long and activity.status != "cancelled" else None
        elif goal.metric == "reached share of calls":
            if activity.type == "call" and activity.status == "done":
                adds, adds_below = int(activity.outcome == "Connected"), 1
        elif goal.metric == "average seconds of calls":
            if activity.type == "call":
                adds, adds_below = activity.seconds, 1
        elif activity.type in ("call", "meeting") and activity.outcome != "No answer" and activity.account is not None:
            adds = 1
        if adds is not None and goal.start <= day < goal.end and _belongs(goal, activity.user, day, definitions):
            count += 1
            value += adds
            below += adds_below
            accounts.add(activity.account)
    return Standing(Fraction(len(accounts) if goal.metric == "met accounts" else value), count, Fraction(below))


def _standing(goal: Goal, deals: Mapping[int, Deal], definitions: Mapping[tuple[str, int], Definition]) -> Standing:
    if goal.status not in ("active", "closed"):
        return Standing(Fraction(0), 0)
    value, count, accounts, below = Fraction(0), 0, set(), Fraction(0)
    for deal in deals.values():
        parts = [
            (adds * share, adds_below * share)
            for day, adds, adds_below in _sides(goal.metric, deal, definitions)
            for user, share in _shares(goal, deal)
            if goal.start <= day < goal.end and _belongs(goal, user, day, definitions)
        ]
        if parts:
            count += 1
            value += sum(above for above, _ in parts)
            below += sum(under for _, under in parts)
            accounts.add(deal.account)
    return Standing(Fraction(len(accounts)) if goal.metric == "won accounts" else value, count, below)


def _sides(
    metric: str, deal: Deal, definitions: Mapping[tuple[str, int], Definition]
) -> list[tuple[int, Fraction, Fraction]]:
    """The days a deal counts on by a metric, and what it adds on each above the line and, of a quotient, below it."""
    won = Fraction(deal.status == "won")
    if metric == "win rate":
        closed = _counted("won deals", deal._replace(status="won"), definitions)
        return [(day, won, Fraction(1)) for day, _ in closed if deal.status != "open"]
    if metric == "won share of dollars":
        every = _counted("won dollars of all", deal._replace(status="won"), definitions)
        return [(day, cents * won, cents) for day, cents in every]
    if metric == "won share of euros as paid":
        return [(day, cents * won, cents) for day, cents in _counted("paid", deal, definitions)]
    if metric == "average won dollars":
        return [(day, cents, Fraction(1)) for day, cents in _counted("won dollars of all", deal, definitions)]
    if metric == "average paid yuan":
        return [(day, cents, Fraction(1)) for day, cents in _counted("won and paid", deal, definitions)]
    return [(day, adds, Fraction(0)) for day, adds in _counted(metric, deal, definitions)]


def _shares(goal: Goal, deal: Deal) -> list[tuple[int | None, Fraction]]:
    """Who has what share of a deal for a goal: its owner all of it, or those on its splits, where it has some."""
    if not goal.by_splits or not deal.splits:
        return [(deal.user, Fraction(1))]
    return [
        (user, Fraction(thousandths, 1000))
        for user, thousandths, role in deal.splits
        if thousandths and goal.role in (None, role)
    ]


def _counted(metric: str, deal: Deal, definitions: Mapping[tuple[str, int], Definition]) -> list[tuple[int, Fraction]]:
    """The days a deal counts on by a metric and what it adds on each: one a payment or invoice where those count."""
    if deal.kind in ("deleted", "merged"):
        return []
    if metric in ("paid", "dollars as paid") and (metric == "paid" or deal.status == "won"):
        target = "EUR" if metric == "paid" else "USD"
        rates = [(day, cents, daily_rate(deal.currency, target, day, definitions)) for day, cents in deal.payments]
        return [(day, cents * rate) for day, cents, rate in rates if rate is not None]
    if metric == "euros as invoiced":
        rates = [(day, cents, daily_rate(deal.currency, "EUR", day, definitions)) for day, cents in deal.invoices]
        return [(day, cents * rate) for day, cents, rate in rates if rate is not None]
    if metric == "deals paid" and deal.payments:
        return [(min(day for day, _ in deal.payments), Fraction(1))]
    once = _counted_once(metric, deal, definitions)
    return [] if once is None else [once]


def _counted_once(
    metric: str, deal: Deal, definitions: Mapping[tuple[str, int], Definition]
) -> tuple[int, Fraction] | None:
    """Of the metrics that count a deal on one day: that day and what it adds."""
    closed = deal.closed_day
    if closed is None and deal.closed_hour is not None:
        closed = day_of(deal.closed_hour, definitions)
    created = None if deal.created_hour is None else day_of(deal.created_hour, definitions)
    won = deal.status == "won"
    if metric == "won amount" and won and deal.cents is not None and deal.currency == "USD" and closed is not None:
        return closed, Fraction(deal.cents)
    if metric == "won deals" and won and closed is not None:
        return closed, Fraction(1)
    if metric == "won accounts" and won and closed is not None and deal.account is not None:
        return closed, Fraction(1)
    if metric == "created euros" and created is not None and deal.cents is not None and deal.currency == "EUR":
        return created, Fraction(deal.cents)
    if metric == "decided of 50 or more" and deal.status != "open" and (deal.cents or 0) >= 5000 and closed is not None:
        return closed, Fraction(1)
    if metric == "expected quantity" and deal.quantity is not None and deal.expected_day is not None:
        return deal.expected_day, Fraction(deal.quantity)
    return _counted_money(metric, deal, closed, created, definitions)


def _counted_money(
    metric: str,
    deal: Deal,
    closed: int | None,
    created: int | None,
    definitions: Mapping[tuple[str, int], Definition],
) -> tuple[int, Fraction] | None:
    """The metrics that let money in other currencies count."""
    won = deal.status == "won"
    paid = sum(cents for _, cents in deal.payments) if deal.payments else None
    if metric == "won dollars of all" and won and closed is not None and deal.cents is not None:
        if deal.currency != "USD" and deal.home_currency == "USD" and deal.home_cents is not None:
            return closed, Fraction(deal.home_cents)
        rate = daily_rate(deal.currency, "USD", closed, definitions)
        return None if rate is None else (closed, deal.cents * rate)
    if metric == "created euros at plan rates" and created is not None and deal.cents is not None:
        if deal.currency == "EUR":
            return created, Fraction(deal.cents)
        if deal.currency in PLAN_RATES:
            return created, Fraction(deal.cents * PLAN_RATES[deal.currency], 10_000)
    if metric == "won and paid" and won and paid is not None and closed is not None:
        rate = daily_rate(deal.currency, "CNY", closed, definitions)
        return None if rate is None else (closed, paid * rate)
    return None


def day_of(hour: int, definitions: Mapping[tuple[str, int], Definition]) -> int:
    """The day of an hour: a change of zone moves no hour of a day before its first, and none back before that day."""
    calendar = definitions.get(("Calendar", 0))
    if not isinstance(calendar, Calendar):
        return hour // 24
    day = (hour + calendar.zone_hours) // 24
    for start, zone_hours, _ in calendar.changes:
        if day >= start:
            day = max(start, (hour + zone_hours) // 24)
    return day


def daily_rate(
    currency: str | None, target: str, day: int, definitions: Mapping[tuple[str, int], Definition]
) -> Fraction | None:
    """By way of the home currency, or else of another one that rates were stated in, by name."""
    if currency is None or currency == target:
        return None if currency is None else Fraction(1)
    calendar = definitions.get(("Calendar", 0))
    home = calendar.home_currency if isinstance(calendar, Calendar) else ""
    for start, _, currency_from_then in calendar.changes if isinstance(calendar, Calendar) else ():
        home = currency_from_then if start <= day else home
    for base in sorted({base for base, _, _ in SERIES}, key=lambda name: (name != home, name)):
        one, other = (_in_base(base, each, day, definitions) for each in (currency, target))
        if one is None or other is None:
            continue
        if target == base:
            return one
        # Half-up, to 16 decimals.
        return Fraction((2 * one * 10**16 / other + 1) // 2, 10**16)
    return None


def _in_base(base: str, currency: str, day: int, definitions: Mapping[tuple[str, int], Definition]) -> Fraction | None:
    if currency == base:
        return Fraction(1)
    stated = {
        each_day: rate
        for each in definitions.values()
        if isinstance(each, Rates) and SERIES[each.number][:2] == (base, currency)
        for each_day, rate in each.rates
    }
    days = [each for each in stated if each <= day]
    return Fraction(stated[max(days)], 10_000) if days else None


def _belongs(goal: Goal, user: int | None, day: int, definitions: Mapping[tuple[str, int], Definition]) -> bool:
    """Whether whose part it is is the goal's person or was below the goal's team on the day."""
    identity = definitions.get(("Identity", -1 if user is None else user))
    if not isinstance(identity, Identity) or identity.deleted:
        return False
    if not goal.team:
        return identity.person == goal.owner
    parents = {each.number: _parent_on(each, day) for each in definitions.values() if isinstance(each, Team)}
    for stay in definitions.values():
        if not isinstance(stay, Membership) or stay.deleted or stay.person != identity.person:
            continue
        if not stay.start <= day or (stay.end is not None and day >= stay.end):
            continue
        team: int | None = stay.team
        climbed: set[int] = set()
        while team is not None and team not in climbed:
            if team == goal.owner:
                return True
            climbed.add(team)
            team = parents.get(team)
    return False


def _parent_on(team: Team, day: int) -> int | None:
    return [parent for start, parent in ((day, team.parent), *team.moves) if start <= day][-1]


@cache
def _deals() -> st.SearchStrategy[Deal]:
    days = (*range(DAYS + 1), None, None)
    hours = (*range(0, DAYS * 24, 5), *(None,) * 8)
    instalments = st.lists(
        st.tuples(st.integers(0, DAYS), st.sampled_from((1, 333, 5000, -250, 10**12))), max_size=3
    ).map(tuple)
    return st.builds(
        Deal,
        number=st.integers(0, DEALS - 1),
        version=st.just(1),
        kind=st.sampled_from((*("upserted",) * 8, "restored", "deleted", "merged")),
        status=st.sampled_from((*("won",) * 6, "lost", "open")),
        user=st.sampled_from((*range(USERS), *range(USERS), None)),
        cents=st.sampled_from((0, 1, 4999, 5000, -250, 123456789, 10**12, None)),
        currency=st.sampled_from(("USD", "USD", "USD", "EUR", "EUR", "CNY", "GBP", None)),
        quantity=st.sampled_from((0, 1, 7, 1000, None)),
        account=st.sampled_from(("Acme", "Initech", "acme", None)),
        created_hour=st.sampled_from(hours),
        expected_day=st.sampled_from(days),
        closed_hour=st.sampled_from(hours),
        closed_day=st.sampled_from((*days, *(None,) * DAYS)),
        home_cents=st.sampled_from((None, None, 1, 777, 10**10)),
        home_currency=st.sampled_from((None, "USD", "USD", "CNY")),
        payments=instalments,
        invoices=instalments,
        splits=st.one_of(
            st.just(()),
            st.lists(
                st.tuples(
                    st.integers(0, USERS - 1),
                    st.sampled_from((500, 500, 333, 1000, 0, 1)),
                    st.sampled_from(("owner", "owner", "overlay")),
                ),
                min_size=1,
                max_size=3,
            ).map(tuple),
        ),
    )


@cache
def _activities() -> st.SearchStrategy[Activity]:
    return st.builds(
        Activity,
        number=st.integers(0, ACTIVITIES - 1),
        version=st.just(1),
        deleted=st.sampled_from((*(False,) * 7, True)),
        type=st.sampled_from(("call", "call", "call", "meeting", "email", "task")),
        status=st.sampled_from(("done", "done", "done", "planned", "cancelled")),
        user=st.sampled_from((*range(USERS), *range(USERS), None)),
        occurred_hour=st.sampled_from((*range(0, DAYS * 24, 5), None, None)),
        seconds=st.sampled_from((0, 59, 60, 61, 3600, 2**31 - 1, None)),
        outcome=st.sampled_from(("Connected", "No answer", None)),
        account=st.sampled_from(("1", "2", "01", None)),
    )


@cache
def _definitions() -> st.SearchStrategy[Definition]:
    version = st.just(1)
    deleted = st.sampled_from((False, False, False, True))
    zones = st.sampled_from(ZONES_HOURS)
    homes = st.sampled_from(("CNY", "CNY", "USD", "GBP"))
    parents = st.sampled_from((*range(TEAMS), None))
    return st.one_of(
        st.builds(Calendar, version, zones, homes, _dated(zones, homes)),
        st.builds(Team, st.integers(0, TEAMS - 1), version, parents, _dated(parents)),
        st.builds(
            Membership,
            st.integers(0, MEMBERSHIPS - 1),
            version,
            st.integers(0, PEOPLE - 1),
            st.integers(0, TEAMS - 1),
            st.integers(0, DAYS // 2),
            st.sampled_from((*range(DAYS // 2 + 1, DAYS + 1), None, None)),
            deleted,
        ),
        st.builds(Identity, st.integers(0, USERS - 1), version, st.integers(0, PEOPLE - 1), deleted),
        _rates(),
        _goals(),
    )


def _dated(*values: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[tuple[object, ...], ...]]:
    """Up to two changes, each of another day and in order."""
    changes = st.lists(st.tuples(st.integers(1, DAYS), *values), max_size=2, unique_by=lambda change: change[0])
    return changes.map(lambda found: tuple(sorted(found, key=lambda change: change[0])))


@cache
def _changes_of_rates() -> st.SearchStrategy[Definition]:
    homes = st.sampled_from(("CNY", "USD"))
    zones = st.sampled_from((0, 8))
    calendars = st.builds(Calendar, st.just(1), zones, homes, _dated(zones, homes))
    return st.one_of(_rates(), _rates(), _rates(), calendars)


def _rates() -> st.SearchStrategy[Rates]:
    @cache
    def of_month(number: int) -> st.SearchStrategy[Rates]:
        days = st.integers(-2, MONTH_STARTS - 1) if SERIES[number][2] == 0 else st.integers(MONTH_STARTS, DAYS)
        rates = st.dictionaries(days, st.sampled_from((1, 10_000, 11_000, 72_415, 78_541, 999_999_999)), max_size=4)
        return st.builds(Rates, st.just(number), st.just(1), rates.map(lambda stated: tuple(sorted(stated.items()))))

    return st.integers(0, len(SERIES) - 1).flatmap(of_month)


def _goals() -> st.SearchStrategy[Goal]:
    return st.builds(
        Goal,
        st.integers(0, GOALS - 1),
        st.just(1),
        st.sampled_from((*("active",) * 7, "closed", "draft", "cancelled")),
        st.booleans(),
        st.integers(0, PEOPLE - 1),
        st.sampled_from(METRICS),
        st.integers(0, DAYS // 3),
        st.integers(DAYS // 3 + 1, DAYS + 1),
        by_splits=st.just(False),
        role=st.none(),
    ).flatmap(_credited)


_CREDITINGS = st.sampled_from(((False, None), (True, None), (True, None), (True, "overlay")))


def _credited(goal: Goal) -> st.SearchStrategy[Goal]:
    """By its owner or by its splits; activities have none."""
    if goal.metric in ACTIVITY_METRICS:
        return st.just(goal)
    return _CREDITINGS.map(lambda crediting: goal._replace(by_splits=crediting[0], role=crediting[1]))


def _company() -> tuple[Definition, ...]:
    """Something to start from, so that most stories move goals."""
    return (
        *(Team(number, 1, 0 if number else None) for number in range(TEAMS)),
        *(Membership(number, 1, number, number % TEAMS, 0, None, False) for number in range(PEOPLE)),
        *(Identity(user, 1, user % PEOPLE, False) for user in range(USERS)),
        Calendar(1, 0, "CNY"),
        Rates(0, 1, ((-1, 72_000), (3, 71_000))),
        Rates(2, 1, ((0, 78_000),)),
        Rates(3, 1, ((MONTH_STARTS, 79_000),)),
        *(
            Goal(
                number,
                1,
                "active",
                number % 2 == 0,
                0 if number % 2 == 0 else number % PEOPLE,
                metric,
                number % 3,
                DAYS + 1 - number % 6,
                number >= len(METRICS),
            )
            for number, metric in enumerate((*METRICS, "won amount", "paid", "won accounts", "won dollars of all"))
        ),
    )


@st.composite
def stories(
    draw: st.DrawFn,
    *,
    deals_min: int = 4,
    deals_max: int = 16,
    activities_max: int = 10,
    definitions_max: int = 8,
    only_rates: bool = False,
) -> list[Step]:
    """Versions of deals, activities and definitions, each delivered once or more, in any order and in batches.

    Between them are rebuilds.

    With `only_rates` no definitions but rates and the home currency change after the beginning.
    """
    versions: dict[tuple[str, int], int] = {}
    story: list[Step] = []
    if only_rates or draw(st.integers(0, 7)) != 7:
        company = _company()
        versions.update({subject(each): 1 for each in company})
        story = [Definitions(company), Rebuild()]
    deals: list[Deal] = []
    for deal in draw(st.lists(_deals(), min_size=deals_min, max_size=deals_max)):
        key = ("Deal", deal.number)
        versions[key] = versions.get(key, 0) + 1
        deals.append(deal._replace(version=versions[key]))
    activities: list[Activity] = []
    for activity in draw(st.lists(_activities(), max_size=0 if only_rates else activities_max)):
        key = ("Activity", activity.number)
        versions[key] = versions.get(key, 0) + 1
        activities.append(activity._replace(version=versions[key]))
    definitions: list[Definition] = []
    for definition in draw(st.lists(_changes_of_rates() if only_rates else _definitions(), max_size=definitions_max)):
        key = subject(definition)
        versions[key] = versions.get(key, 0) + 1
        definitions.append(definition._replace(version=versions[key]))
    told = (*deals, *activities, *definitions)
    again = [each for each in told if draw(st.integers(0, 3)) == 0]
    events = draw(st.permutations([*told, *again]))
    while events:
        count = draw(st.integers(1, 6))
        batch, events = events[:count], events[count:]
        arrived = [each for each in batch if isinstance(each, Deal)]
        done = [each for each in batch if isinstance(each, Activity)]
        said = [each for each in batch if not isinstance(each, Deal | Activity)]
        steps: list[Step] = [Deals(tuple(arrived))]
        if done:
            steps.append(Activities(tuple(done)))
        if said:
            steps += [Definitions(tuple(said)), Rebuild()]
        story.extend(draw(st.permutations(steps)))
    return story
