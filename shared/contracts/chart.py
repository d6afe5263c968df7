"""From the snapshots of `attain.org.v1` to the organisation the rules look things up in."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from shared.contracts.base import Event
from shared.contracts.org import Calendar, CalendarState, ExchangeRates, Identity, Membership, Team
from shared.kernel.org import CrmUser, MembershipFact, OrgChart
from shared.kernel.periods import DatedRange, FiscalCalendar
from shared.kernel.rates import ExchangeRates as DailyRates
from shared.kernel.working_days import WorkingDays


def org_chart(snapshots: Iterable[Event], *, rates: DailyRates | None = None) -> OrgChart:
    """The chart of one tenant from the newest snapshot of each of its org subjects; other events are passed over.

    `rates`, if given, are those of the snapshots, read before.
    """
    calendar = FiscalCalendar()
    work: WorkingDays | None = None
    homes: tuple[CalendarState, ...] = ()
    teams = {}
    memberships = []
    identities = {}
    stated: defaultdict[tuple[str, str], dict[date, Decimal]] = defaultdict(dict)
    for snapshot in sorted(snapshots, key=lambda event: event.subject):
        if isinstance(snapshot, Calendar):
            calendar = snapshot.fiscal()
            work = snapshot.working_days()
            homes = snapshot.states()
        elif isinstance(snapshot, ExchangeRates):
            of_currency = stated[snapshot.base_currency, snapshot.currency]
            of_currency.update((dated.date, dated.rate) for dated in snapshot.rates)
        elif isinstance(snapshot, Team):
            teams[snapshot.id] = snapshot.node()
        elif isinstance(snapshot, Membership) and not snapshot.deleted:
            dated = DatedRange(snapshot.start, snapshot.end)
            memberships.append(MembershipFact(snapshot.person_id, snapshot.team_id, dated))
        elif isinstance(snapshot, Identity) and not snapshot.deleted:
            identities[CrmUser(snapshot.source, snapshot.external_user_id)] = snapshot.person_id
    if rates is None:
        home = homes[0].currency if homes else None
        changes = [(state.start, state.currency) for state in homes[1:] if state.start is not None]
        rates = DailyRates(home, stated, changes)
    return OrgChart(calendar, teams, memberships, identities, rates, work)
