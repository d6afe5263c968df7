"""Who a deal belongs to, and on which day and at which rate it counts: a tenant's organisation as pure look-ups."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from functools import cached_property
from uuid import UUID

from shared.kernel.ids import source_user_id
from shared.kernel.periods import DatedRange, FiscalCalendar, Period
from shared.kernel.rates import NO_RATES, ExchangeRates
from shared.kernel.working_days import WorkingDays


class OwnerKind(StrEnum):
    """Whose deals count towards a goal."""

    PERSON = "person"
    TEAM = "team"


@dataclass(frozen=True, slots=True)
class TeamChange:
    """From the day `start` on, a team is below another one or has another manager."""

    start: date
    parent_id: UUID | None
    manager_id: UUID | None


@dataclass(frozen=True, slots=True)
class TeamNode:
    """A team in the tree. Its first state is in force from the beginning of time, a change from its first day on."""

    id: UUID
    parent_id: UUID | None
    manager_id: UUID | None
    changes: tuple[TeamChange, ...] = ()
    """In the order of their days, one a day."""

    def states(self) -> Iterator[tuple[DatedRange, UUID | None, UUID | None]]:
        """The parent and the manager, and when they are, in order and without a gap."""
        parent_id, manager_id, start = self.parent_id, self.manager_id, date.min
        for change in self.changes:
            yield DatedRange(start, change.start), parent_id, manager_id
            parent_id, manager_id, start = change.parent_id, change.manager_id, change.start
        yield DatedRange(start), parent_id, manager_id

    def on(self, day: date) -> tuple[UUID | None, UUID | None]:
        """The parent and the manager on a day."""
        return next((parent_id, manager_id) for dated, parent_id, manager_id in self.states() if day in dated)


@dataclass(frozen=True, slots=True)
class MembershipFact:
    """A person belongs to a team while `range` is in force."""

    person_id: UUID
    team_id: UUID
    range: DatedRange


@dataclass(frozen=True, slots=True, order=True)
class CrmUser:
    """A user as a source names it, the id in the form of `source_user_id`, however it was written."""

    source: str
    external_id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "external_id", source_user_id(self.external_id))


@dataclass(frozen=True, slots=True)
class Reach:
    """On the days of `period` the deals of `person_id` count."""

    person_id: UUID
    period: Period


@dataclass(frozen=True)
class OrgChart:
    """One tenant's organisation. Rebuilt whenever a fact of it changes; every look-up is a pure function of it."""

    calendar: FiscalCalendar = field(default_factory=FiscalCalendar)
    teams: Mapping[UUID, TeamNode] = field(default_factory=dict)
    memberships: Collection[MembershipFact] = ()
    identities: Mapping[CrmUser, UUID] = field(default_factory=dict)
    rates: ExchangeRates = NO_RATES
    work: WorkingDays | None = None
    """Which days are worked; None while no calendar says so."""

    def person_of(self, source: str, external_id: str | None) -> UUID | None:
        """The person a source's user is, or None while no identity names them."""
        return None if external_id is None else self.identities.get(CrmUser(source, external_id))

    def users_of(self, person_id: UUID) -> tuple[CrmUser, ...]:
        """Every CRM user a person is, sorted."""
        return self._users.get(person_id, ())

    def subtree(self, team_id: UUID, on: date) -> frozenset[UUID]:
        """The team and every team below it on a day. A circle in the tree is walked once."""
        return frozenset(team for team, _ in self.dated_subtree(team_id, DatedRange(on, _day_after(on))))

    def dated_subtree(self, team_id: UUID, dated: DatedRange) -> Iterator[tuple[UUID, DatedRange]]:
        """The team and every team below it, each with days of `dated` on which it is; none twice on a day."""
        waiting = [(team_id, dated, frozenset({team_id}))]
        while waiting:
            team, days, path = waiting.pop()
            yield team, days
            for child, below in self._children.get(team, ()):
                shared_days = below.intersection(days)
                if shared_days is not None and child not in path:
                    waiting.append((child, shared_days, path | {child}))

    def teams_over(self, team_id: UUID) -> Iterator[tuple[UUID, DatedRange, int]]:
        """The team and every one above it, when it is, and on which level: 1 is the team itself; one may come twice."""
        waiting = [(team_id, DatedRange(date.min), frozenset({team_id}))]
        while waiting:
            team, days, path = waiting.pop()
            yield team, days, len(path)
            node = self.teams.get(team)
            for dated, parent_id, _ in () if node is None else node.states():
                shared_days = dated.intersection(days)
                if shared_days is not None and parent_id is not None and parent_id not in path:
                    waiting.append((parent_id, shared_days, path | {parent_id}))

    def managers_over(self, team_id: UUID) -> Iterator[tuple[UUID, DatedRange, int]]:
        """Who manages the team or one above it, when, and on which level; somebody may come twice."""
        for team, days, level in self.teams_over(team_id):
            node = self.teams.get(team)
            for dated, _, manager_id in () if node is None else node.states():
                shared_days = dated.intersection(days)
                if shared_days is not None and manager_id is not None:
                    yield manager_id, shared_days, level

    def reach(self, kind: OwnerKind, owner_id: UUID, period: Period) -> tuple[Reach, ...]:
        """Whose deals count towards a goal of this owner and on which days of `period`.

        A person reaches its own deals. A team reaches the deals of everyone who was in its subtree on the day, by the
        tree of that day; someone in two teams of the subtree at once counts once.
        """
        if kind is OwnerKind.PERSON:
            return (Reach(owner_id, period),)
        stays: dict[UUID, list[Period]] = defaultdict(list)
        for team, days in self.dated_subtree(owner_id, DatedRange(period.start, period.end)):
            below = days.within(period)
            for membership in self._members.get(team, ()) if below is not None else ():
                if below is not None and (stay := membership.range.within(below)) is not None:
                    stays[membership.person_id].append(stay)
        return tuple(Reach(person, stay) for person in sorted(stays) for stay in united(stays[person]))

    def managed_people(self, manager_id: UUID, on: date) -> frozenset[UUID]:
        """Everyone in the subtree of a team this person manages on that day, without the manager unless a member."""
        teams = self.managed_teams(manager_id, on)
        return frozenset(m.person_id for m in self.memberships if m.team_id in teams and on in m.range)

    def managed_teams(self, manager_id: UUID, on: date) -> frozenset[UUID]:
        """Every team this person manages on that day, and those below."""
        return frozenset(
            team for node in self.teams.values() if node.on(on)[1] == manager_id for team in self.subtree(node.id, on)
        )

    @cached_property
    def named_users(self) -> Mapping[tuple[str, str], UUID]:
        """The person each user is, by source and id there: quicker to look up than a CrmUser is to make."""
        return {(user.source, user.external_id): person_id for user, person_id in self.identities.items()}

    @cached_property
    def _children(self) -> Mapping[UUID, list[tuple[UUID, DatedRange]]]:
        """The teams right below each team, and when they are."""
        children: dict[UUID, list[tuple[UUID, DatedRange]]] = defaultdict(list)
        for node in self.teams.values():
            for dated, parent_id, _ in node.states():
                if parent_id is not None:
                    children[parent_id].append((node.id, dated))
        return children

    @cached_property
    def _members(self) -> Mapping[UUID, list[MembershipFact]]:
        members: dict[UUID, list[MembershipFact]] = defaultdict(list)
        for membership in self.memberships:
            members[membership.team_id].append(membership)
        return members

    @cached_property
    def _users(self) -> Mapping[UUID, tuple[CrmUser, ...]]:
        users: dict[UUID, list[CrmUser]] = defaultdict(list)
        for user, person in self.identities.items():
            users[person].append(user)
        return {person: tuple(sorted(known)) for person, known in users.items()}


def _day_after(day: date) -> date | None:
    return None if day == date.max else day + timedelta(days=1)


def united(periods: Iterable[Period]) -> tuple[Period, ...]:
    """The same days as disjoint periods in order, touching ones joined."""
    joined: list[Period] = []
    for period in sorted(periods):
        if joined and period.start <= joined[-1].end:
            joined[-1] = Period(joined[-1].start, max(joined[-1].end, period.end))
        else:
            joined.append(period)
    return tuple(joined)
