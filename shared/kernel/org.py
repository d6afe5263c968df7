"""Who a deal belongs to, and on which day and at which rate it counts: a tenant's organisation as pure look-ups."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import cached_property
from uuid import UUID

from shared.kernel.periods import DatedRange, FiscalCalendar, Period
from shared.kernel.rates import NO_RATES, ExchangeRates


class OwnerKind(StrEnum):
    """Whose deals count towards a goal."""

    PERSON = "person"
    TEAM = "team"


@dataclass(frozen=True, slots=True)
class TeamNode:
    """A team in the tree as it stands now."""

    id: UUID
    parent_id: UUID | None
    manager_id: UUID | None


@dataclass(frozen=True, slots=True)
class MembershipFact:
    """A person belongs to a team while `range` is in force."""

    person_id: UUID
    team_id: UUID
    range: DatedRange


@dataclass(frozen=True, slots=True, order=True)
class CrmUser:
    """A user as a source names it."""

    source: str
    external_id: str


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

    def person_of(self, source: str, external_id: str | None) -> UUID | None:
        """The person a source's user is, or None while nobody has said so."""
        return None if external_id is None else self.identities.get(CrmUser(source, external_id))

    def users_of(self, person_id: UUID) -> tuple[CrmUser, ...]:
        """Every CRM user a person is, sorted."""
        return self._users.get(person_id, ())

    def subtree(self, team_id: UUID) -> frozenset[UUID]:
        """The team and every team below it. A circle in the tree is walked once."""
        seen: set[UUID] = set()
        waiting = [team_id]
        while waiting:
            current = waiting.pop()
            if current not in seen:
                seen.add(current)
                waiting.extend(self._children.get(current, ()))
        return frozenset(seen)

    def reach(self, kind: OwnerKind, owner_id: UUID, period: Period) -> tuple[Reach, ...]:
        """Whose deals count towards a goal of this owner and on which days of `period`.

        A person reaches its own deals. A team reaches the deals of everyone who was in its subtree on the day; someone
        in two teams of the subtree at once counts once.
        """
        if kind is OwnerKind.PERSON:
            return (Reach(owner_id, period),)
        teams = self.subtree(owner_id)
        stays: dict[UUID, list[Period]] = defaultdict(list)
        for team in teams:
            for membership in self._members.get(team, ()):
                if (stay := membership.range.within(period)) is not None:
                    stays[membership.person_id].append(stay)
        return tuple(Reach(person, stay) for person in sorted(stays) for stay in united(stays[person]))

    def managed_people(self, manager_id: UUID, on: date) -> frozenset[UUID]:
        """Everyone in the subtree of a team this person manages on that day, without the manager unless a member."""
        teams = self.managed_teams(manager_id)
        return frozenset(m.person_id for m in self.memberships if m.team_id in teams and on in m.range)

    def managed_teams(self, manager_id: UUID) -> frozenset[UUID]:
        """Every team this person manages, and those below."""
        return frozenset(
            team for node in self.teams.values() if node.manager_id == manager_id for team in self.subtree(node.id)
        )

    @cached_property
    def _children(self) -> Mapping[UUID, list[UUID]]:
        children: dict[UUID, list[UUID]] = defaultdict(list)
        for node in self.teams.values():
            if node.parent_id is not None:
                children[node.parent_id].append(node.id)
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


def united(periods: Iterable[Period]) -> tuple[Period, ...]:
    """The same days as disjoint periods in order, touching ones joined."""
    joined: list[Period] = []
    for period in sorted(periods):
        if joined and period.start <= joined[-1].end:
            joined[-1] = Period(joined[-1].start, max(joined[-1].end, period.end))
        else:
            joined.append(period)
    return tuple(joined)
