"""From the snapshots of `attain.org.v1` to the organisation the rules look things up in."""

from collections.abc import Iterable

from shared.contracts.base import Event
from shared.contracts.org import Calendar, Identity, Membership, Team
from shared.kernel.org import CrmUser, MembershipFact, OrgChart, TeamNode
from shared.kernel.periods import DatedRange, FiscalCalendar


def org_chart(snapshots: Iterable[Event]) -> OrgChart:
    """The chart of one tenant from the newest snapshot of each of its org subjects; other events are passed over."""
    calendar = FiscalCalendar()
    teams = {}
    memberships = []
    identities = {}
    for snapshot in sorted(snapshots, key=lambda event: event.subject):
        if isinstance(snapshot, Calendar):
            calendar = FiscalCalendar(snapshot.start_month, snapshot.time_zone)
        elif isinstance(snapshot, Team):
            teams[snapshot.id] = TeamNode(snapshot.id, snapshot.parent_id, snapshot.manager_id)
        elif isinstance(snapshot, Membership) and not snapshot.deleted:
            dated = DatedRange(snapshot.start, snapshot.end)
            memberships.append(MembershipFact(snapshot.person_id, snapshot.team_id, dated))
        elif isinstance(snapshot, Identity) and not snapshot.deleted:
            identities[CrmUser(snapshot.source, snapshot.external_user_id)] = snapshot.person_id
    return OrgChart(calendar, teams, memberships, identities)
