"""Who was under, over or beside whom in the teams of a tenant, and when."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from uuid import UUID

from shared.kernel.org import OrgChart
from shared.kernel.periods import DatedRange


class Hierarchy:
    """The stays of people in teams and the managers over these, as the organisation chart has them."""

    def __init__(self, chart: OrgChart) -> None:
        self._chart = chart
        self._managers: dict[UUID, Mapping[UUID, Sequence[tuple[DatedRange, int]]]] = {}
        self._teams: dict[UUID, Sequence[tuple[UUID, DatedRange]]] = {}

    @cached_property
    def stays(self) -> Mapping[UUID, Sequence[tuple[UUID, DatedRange]]]:
        """By person, the teams with the days in each."""
        found: dict[UUID, list[tuple[UUID, DatedRange]]] = defaultdict(list)
        for membership in self._chart.memberships:
            found[membership.person_id].append((membership.team_id, membership.range))
        return found

    def managers_of_team(self, team: UUID) -> Mapping[UUID, Sequence[tuple[DatedRange, int]]]:
        """Who has managed a team or one above it, when, and how many levels up."""
        found = self._managers.get(team)
        if found is None:
            managers: dict[UUID, list[tuple[DatedRange, int]]] = defaultdict(list)
            for manager, dated, level in self._chart.managers_over(team):
                managers[manager].append((dated, level))
            found = self._managers[team] = managers
        return found

    def teams_of_team(self, team: UUID) -> Sequence[tuple[UUID, DatedRange]]:
        """The team and every one above it, and when it is."""
        found = self._teams.get(team)
        if found is None:
            found = self._teams[team] = [(over, days) for over, days, _ in self._chart.teams_over(team)]
        return found

    def stays_under(self, manager: UUID, person: UUID, depth: int | None = None) -> Iterator[DatedRange]:
        """When a person was in a team that the manager managed then, or at most `depth` levels below one."""
        for team, stay in self.stays.get(person, ()):
            for managed, level in self.managers_of_team(team).get(manager, ()):
                under = stay.intersection(managed)
                if under is not None and (depth is None or level <= depth):
                    yield under

    def stays_beside(self, member: UUID, person: UUID) -> Iterator[DatedRange]:
        """When a person was in a team that the member was in then, or in one below it."""
        own = self.stays.get(member, ())
        for team, stay in self.stays.get(person, ()):
            for over, days in self.teams_of_team(team):
                below = stay.intersection(days)
                for own_team, own_stay in own if below is not None else ():
                    beside = own_stay.intersection(below) if own_team == over and below is not None else None
                    if beside is not None:
                        yield beside
