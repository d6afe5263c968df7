"""Who sees what: the one rule by which every service decides what a caller is shown.

An admin, revops, finance and a service see all of their tenant. A manager sees itself, the teams it manages with those
below, and whoever is in them. Anybody else sees itself. What lies out of sight is answered as if it did not exist.

- A number (progress, an earning, a statement) is seen by who sees the person or the team whose it is.
- A record is seen by who sees one of the people it concerns: its owner and those on its splits. Who saw one of them on
  a day on which the record may count sees it too, since it is in a number of theirs: that of a team somebody has left.
- A plan is seen by who sees somebody that it pays. Terms that are not approved are seen by those who may change plans;
  approved ones also by who sees the tenant; those in effect by everybody who sees the plan.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Final
from uuid import UUID

from shared.kernel.deals import DealFacts
from shared.kernel.org import CrmUser, OrgChart
from shared.kernel.records import RECORD_TYPES, RecordFacts


class Breadth(StrEnum):
    """How far somebody sees."""

    TENANT = "tenant"
    SUBTREE = "subtree"
    ITSELF = "itself"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is looking. `edits` is whether it may change plans, and so sees those that are being written."""

    person_id: UUID | None
    breadth: Breadth
    edits: bool = False


@dataclass(frozen=True)
class Sight:
    """What a viewer sees today. For one that sees the tenant the chart is not looked at.

    `people`, `teams` and `users` (as the CRMs know those people) are None where nothing of the kind is out of sight.
    """

    viewer: Viewer
    chart: OrgChart
    today: date

    @property
    def is_whole(self) -> bool:
        """Whether all of the tenant is in sight."""
        return self.viewer.breadth is Breadth.TENANT

    @cached_property
    def people(self) -> frozenset[UUID] | None:
        return None if self.is_whole else self._people_on(self.today)

    @cached_property
    def teams(self) -> frozenset[UUID] | None:
        if self.is_whole:
            return None
        if self.viewer.breadth is Breadth.ITSELF or self.viewer.person_id is None:
            return frozenset()
        return self.chart.managed_teams(self.viewer.person_id, self.today)

    @cached_property
    def owners(self) -> frozenset[UUID] | None:
        """People and teams."""
        return None if self.people is None or self.teams is None else self.people | self.teams

    @cached_property
    def users(self) -> frozenset[CrmUser] | None:
        return None if self.people is None else self._users_of(self.people)

    def sees_person(self, person_id: UUID | None) -> bool:
        return self.people is None or person_id in self.people

    def sees_owner(self, owner_id: UUID | None) -> bool:
        """Whether the person or the team is in sight."""
        return self.owners is None or owner_id in self.owners

    def narrowed(self, person_id: UUID | None) -> frozenset[UUID] | None:
        """The people in sight (None: everybody), only the one wanted if one is; nobody when that one is not."""
        if person_id is None:
            return self.people
        return frozenset({person_id}) if self.sees_person(person_id) else frozenset()

    def sees_record(self, record: RecordFacts) -> bool:
        """Whether one of the people whom the record concerns is in sight, or was on one of its days."""
        if self.users is None:
            return True
        concerned = users_of(record)
        if not self.users.isdisjoint(concerned):
            return True
        return any(
            not self._users_of(self._people_on(day)).isdisjoint(concerned)
            for day in set(_days(record, self.chart)) - {self.today}
        )

    def sees_plan(self, paid: Collection[UUID]) -> bool:
        """Whether somebody of those whom the plan pays is in sight."""
        return self.people is None or not self.people.isdisjoint(paid)

    def sees_terms(self, *, is_approved: bool, is_active: bool) -> bool:
        """Whether terms of a plan that is in sight are."""
        return is_active or self.viewer.edits or (is_approved and self.is_whole)

    def _people_on(self, day: date) -> frozenset[UUID]:
        person_id = self.viewer.person_id
        if person_id is None:
            return frozenset()
        if self.viewer.breadth is Breadth.ITSELF:
            return frozenset({person_id})
        return self.chart.managed_people(person_id, day) | {person_id}

    def _users_of(self, people: frozenset[UUID]) -> frozenset[CrmUser]:
        return frozenset(user for person in people for user in self.chart.users_of(person))


WHOLE_TENANT: Final = Sight(Viewer(None, Breadth.TENANT, edits=True), OrgChart(), date.min)
"""Of whoever has been let in to change something."""


def users_of(record: RecordFacts) -> frozenset[CrmUser]:
    """Everybody whom a record concerns: its owner, and who is on its splits."""
    splits = record.splits if isinstance(record, DealFacts) else ()
    ids = {record.owner_external_id, *(split.owner_external_id for split in splits)}
    return frozenset(CrmUser(record.source, each) for each in ids if each is not None)


def _days(record: RecordFacts, chart: OrgChart) -> Iterator[date]:
    for kind in RECORD_TYPES.values():
        if isinstance(record, kind.facts):
            for date_field in kind.days:
                day = record.day(date_field, chart.calendar)
                if day is not None:
                    yield day
    dated = record.dated(chart.calendar)
    yield from (each.on for each in (*dated.payments, *dated.invoices))
