"""`attain verify`: is every number what the raw deals add up to, and has every service the same stored?

May run beside traffic. Within a service each comparison is made in one snapshot of the database. Between services, what
one has published and another has not applied yet differs: such a difference is looked at again until each has reached
what the other had at first, and is reported if that does not come within SETTLE_SECONDS. Memory is bounded, whatever
the number of deals: they are compared page by page; of differences the first are listed and the others counted.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol
from uuid import UUID

import typer
from rich.console import Console

from deploy.local.commands.republish import definitions, stated_values
from deploy.local.configuration import StackConfiguration
from deploy.local.databases import TRANSPORTS
from services.goals.evidence.service import Evidence
from services.incentives.credits.service import Credits
from services.incentives.earnings.comparing import Comparisons
from services.incentives.earnings.explaining import Explanations
from services.incentives.earnings.verification import Verification as PayVerification
from services.incentives.payouts.service import PayoutRuns
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.assigning import Assignments
from services.incentives.plans.service import Plans
from services.incentives.statements.keeping import PayStatements
from services.incentives.statements.service import Statements
from services.tracking.definitions.service import PublishedDefinitions
from services.tracking.measure.actuals import service as actuals
from services.tracking.measure.progress import stated
from services.tracking.measure.progress import verification as tracking
from services.tracking.records import service as records
from services.tracking.tell.dead_letters import service as dead_letters
from shared.contracts.actuals import Actuals
from shared.db.database import Database, Scope, Transaction
from shared.kernel.deals import RecordVersion
from shared.kernel.difference import Difference
from shared.kernel.words import counted
from shared.outbox.outbox import Outbox
from shared.outbox.republishing import ReadNext, versions

SETTLE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 1.0
_STATEMENT_SECONDS_MAX: Final = 3600
_SHOWN_MAX: Final = 20
_LISTED_MAX: Final = 1000
_PAGE_DEALS: Final = 5000
_PAGE_PEOPLE: Final = 100
_FIRST: Final = UUID(int=0)

Subjects = Sequence[tuple[UUID, str]]
StoredVersions = Callable[[Subjects], Awaitable[Mapping[tuple[UUID, str], int]]]
Versions = Callable[[Transaction, Subjects], Awaitable[Mapping[tuple[UUID, str], int]]]

DealsBetween = Callable[[UUID, UUID, UUID | None], Awaitable[Mapping[UUID, RecordVersion]]]
"""Reads the versions of a tenant's deals behind an id, up to another."""


ActualsOf = Callable[[Transaction, UUID, Sequence[UUID]], Awaitable[Sequence[Actuals]]]
"""Reads every month of people of a tenant, as it is published."""


class DealVersions(Protocol):
    """Reads the versions of a tenant's next deals by id."""

    async def __call__(
        self, tx: Transaction, tenant_id: UUID, *, after: UUID, until: UUID | None, limit: int
    ) -> list[tuple[UUID, RecordVersion]]: ...


class Verification(Protocol):
    """How a service verifies what it has stored."""

    def tenants(self, database: Database) -> Awaitable[list[UUID]]:
        """Every tenant it has something stored of."""
        ...

    def of_tenant(self, database: Database, tenant_id: UUID, compared: Counter[str]) -> AsyncIterator[Difference]:
        """What differs; `compared` counts what was looked at."""
        ...


class _Patience:
    """Waits a moment at a time, and not for longer than so many seconds in all."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    async def waits(self) -> bool:
        """Wait a moment; False, at once, when no time is left."""
        if self._left <= 0:
            return False
        self._left -= _PAUSE_SECONDS
        await asyncio.sleep(_PAUSE_SECONDS)
        return True


@dataclass
class Report:
    """What was found, and how much was compared."""

    differences: list[str] = field(default_factory=list)
    """The first of them."""
    count: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    tenants: set[UUID] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    """What could not be verified, and why."""
    dead_letters: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether all was verified and nothing is amiss."""
        return not (self.count or self.failures or self.dead_letters)

    def add(self, difference: object) -> None:
        """Count a difference, and list it if it is among the first."""
        self.count += 1
        if len(self.differences) < _LISTED_MAX:
            self.differences.append(str(difference))


def verify() -> None:
    """Recompute progress, credits, earnings and the ledger from the stored deals, and compare them and the services.

    Exit status 1 if anything differs, waits in the dead letters, or could not be verified.
    """
    report = asyncio.run(verified(StackConfiguration.from_environment().running_database_url))
    console = Console(soft_wrap=True)
    for line in lines(report):
        console.print(line, markup=False)
    if not report.is_clean:
        raise typer.Exit(1)


def lines(report: Report) -> list[str]:
    """What to say of a report."""
    shown = [*report.differences[:_SHOWN_MAX], *report.failures[:_SHOWN_MAX]]
    left = report.count + len(report.failures) - len(shown)
    return [
        *shown,
        *([f"... and {left} more"] if left > 0 else []),
        "compared: "
        + ", ".join(
            [counted(len(report.tenants), "tenant"), *(_counted(n, what) for what, n in report.compared.items())]
        ),
        f"dead letters: {report.dead_letters}",
        f"verify: {counted(report.count, 'difference')}"
        + (f", {counted(len(report.failures), 'tenant')} not verified" if report.failures else ""),
    ]


def _counted(count: int, what: str) -> str:
    """A number of what was compared: a thing, or a thing and where it was looked for."""
    thing, inside, where = what.partition(" in ")
    return f"{counted(count, thing)}{inside}{where}"


async def differences(url: str) -> list[str]:
    """Everything that is amiss: what differs, what waits in the dead letters, what could not be verified."""
    report = await verified(url)
    waiting = [f"{report.dead_letters} in the dead letters"] if report.dead_letters else []
    return [*report.differences, *report.failures, *waiting]


async def verified(url: str, *, settle_seconds: float = SETTLE_SECONDS) -> Report:
    """Verify every tenant of every service. What one tenant's verification fails with is reported; the others go on."""
    report = Report()
    async with AsyncExitStack() as closing:

        def opened(service: str) -> Database:
            database = Database(url, service=service, pool_size=2, statement_seconds_max=_STATEMENT_SECONDS_MAX)
            closing.push_async_callback(database.close)
            return database

        goals, tracked, credited = opened("goals"), opened("tracking"), opened("incentives")
        plans = Plans()
        credits = Credits(plans)
        outbox = Outbox(TRANSPORTS["incentives"])
        pay_periods = PayPeriods(outbox)
        statements = Statements(
            plans,
            credits,
            Explanations(plans, credits),
            Comparisons(plans, Assignments(plans), credits, pay_periods),
            PayoutRuns(outbox, credits, pay_periods),
        )
        by_service: Sequence[tuple[str, Verification, Database]] = (
            ("tracking", tracking, tracked),
            ("incentives", PayVerification(plans, credits, pay_periods), credited),
            ("incentives", PayStatements(plans, credits, pay_periods, statements), credited),
        )
        for name, service, database in by_service:
            for tenant_id in await service.tenants(database):
                report.tenants.add(tenant_id)
                patience = _Patience(settle_seconds)
                await _isolated(report, name, tenant_id, _within(report, service, database, tenant_id, patience))
        credited_deals = partial(_versions_between, credited, credits.deal_versions)
        for tenant_id in sorted(report.tenants):
            patience = _Patience(settle_seconds)
            await _isolated(report, "deals", tenant_id, _deals_of(report, tracked, credited_deals, tenant_id, patience))
        evidence = Evidence()
        async with goals.snapshot(Scope.every()) as tx:
            planned = await evidence.tenants(tx)
        for tenant_id in sorted({*report.tenants, *planned}):
            patience = _Patience(settle_seconds)
            await _isolated(
                report, "actuals", tenant_id, _actuals_of(report, tracked, goals, evidence, tenant_id, patience)
            )
        published = [each for kinds in definitions().values() for each in kinds]
        for reader, kinds, database, versions_of in (
            ("tracking", published, tracked, PublishedDefinitions().versions),
            ("tracking", stated_values(), tracked, stated.versions),
            ("incentives", published, credited, plans.published_versions),
        ):
            stored_versions = partial(_stored_versions, database, versions_of)
            await _definitions(report, goals, reader, kinds, stored_versions, _Patience(settle_seconds))
        async with tracked.snapshot(Scope.every()) as tx:
            report.dead_letters = sum((await dead_letters.counts(tx)).values())
    return report


async def _isolated(report: Report, what: str, tenant_id: UUID, work: Awaitable[None]) -> None:
    try:
        await work
    except Exception as error:
        report.failures.append(f"{what} of tenant {tenant_id} could not be verified: {type(error).__name__}: {error}")


async def _within(
    report: Report, service: Verification, database: Database, tenant_id: UUID, patience: _Patience
) -> None:
    """What a service has stored of a tenant; once more while something still waits to be worked out anew."""
    while True:
        found, compared = Report(), Counter[str]()
        is_passing = False
        async for difference in service.of_tenant(database, tenant_id, compared):
            found.add(difference)
            is_passing = is_passing or difference.is_passing
        if not is_passing or not await patience.waits():
            break
    report.compared.update(compared)
    for each in found.differences:
        report.add(each)
    report.count += found.count - len(found.differences)


async def _deals_of(
    report: Report, tracked: Database, credited: DealsBetween, tenant_id: UUID, patience: _Patience
) -> None:
    """Have both the same version of the same deals of a tenant?"""
    after = _FIRST
    until: UUID | None = None
    while True:
        async with tracked.snapshot(Scope.of(tenant_id)) as tx:
            page = await records.deal_versions(tx, tenant_id, after=after, until=None, limit=_PAGE_DEALS)
        until = page[-1][0] if len(page) == _PAGE_DEALS else None
        here, there = dict(page), await credited(tenant_id, after, until)
        report.compared["deal in both services"] += len(here.keys() | there.keys())
        differing = {
            deal_id: (here.get(deal_id), there.get(deal_id))
            for deal_id in sorted(here.keys() | there.keys())
            if here.get(deal_id) != there.get(deal_id)
        }
        while differing and await patience.waits():
            now_here = await _versions_between(tracked, records.deal_versions, tenant_id, after, until)
            now_there = await credited(tenant_id, after, until)
            differing = {
                deal_id: (first_here, first_there)
                for deal_id, (first_here, first_there) in differing.items()
                if not _has_reached(now_here.get(deal_id), first_there)
                or not _has_reached(now_there.get(deal_id), first_here)
            }
        for deal_id, (first_here, first_there) in differing.items():
            report.add(
                f"deal {deal_id} (tenant {tenant_id}): tracking has {_version(first_here)},"
                f" incentives has {_version(first_there)}"
            )
        if until is None:
            return
        after = until


async def _versions_between(
    database: Database, versions: DealVersions, tenant_id: UUID, after: UUID, until: UUID | None
) -> dict[UUID, RecordVersion]:
    found: dict[UUID, RecordVersion] = {}
    while True:
        async with database.snapshot(Scope.of(tenant_id)) as tx:
            page = await versions(tx, tenant_id, after=after, until=until, limit=_PAGE_DEALS)
        found.update(page)
        if len(page) < _PAGE_DEALS:
            return found
        after = page[-1][0]


async def _actuals_of(
    report: Report, tracked: Database, goals: Database, evidence: Evidence, tenant_id: UUID, patience: _Patience
) -> None:
    """Does goals plan with what tracking published of every month of everybody?"""
    scope = Scope.of(tenant_id)
    async with tracked.snapshot(scope) as here, goals.snapshot(scope) as there:
        people = sorted({*await actuals.people(here, tenant_id), *await evidence.people(there, tenant_id)})
    for first in range(0, len(people), _PAGE_PEOPLE):
        page = people[first : first + _PAGE_PEOPLE]
        published = await _months(tracked, actuals.published_of, tenant_id, page)
        stored = await _months(goals, evidence.published_of, tenant_id, page)
        report.compared["month in both services"] += len(published.keys() | stored.keys())
        differing = {
            month: published.get(month)
            for month in sorted(published.keys() | stored.keys())
            if published.get(month) != stored.get(month)
        }
        while differing and await patience.waits():
            stored = await _months(goals, evidence.published_of, tenant_id, page)
            published = await _months(tracked, actuals.published_of, tenant_id, page)
            differing = {
                month: first_published
                for month, first_published in differing.items()
                if published.get(month) != stored.get(month)
                and not _has_passed(published.get(month), stored.get(month), first_published)
            }
        for month in differing:
            report.add(
                f"actuals of person {month[0]} in {month[1]} (tenant {tenant_id}): tracking published"
                f" {_month(published.get(month))}, goals has {_month(stored.get(month))}"
            )


async def _months(
    database: Database, actuals_of: ActualsOf, tenant_id: UUID, people: Sequence[UUID]
) -> dict[tuple[UUID, str], Actuals]:
    async with database.snapshot(Scope.of(tenant_id)) as tx:
        return {(each.person_id, each.month): each for each in await actuals_of(tx, tenant_id, people)}


def _has_passed(published: Actuals | None, stored: Actuals | None, first_published: Actuals | None) -> bool:
    """Whether what differs now is another difference than the first: what was published then has been applied since."""
    if published is None or stored is None or first_published is None:
        return False
    return first_published.version <= stored.version < published.version


def _month(found: Actuals | None) -> str:
    if found is None:
        return "nothing"
    return (
        f"version {found.version} of {found.won_value} won by {found.won_number}, {found.open_value} open in"
        f" {found.open_number}, {found.unconverted} unconverted, in {found.currency}"
    )


def _has_reached(now: RecordVersion | None, other: RecordVersion | None) -> bool:
    return other is None or (now is not None and now >= other)


def _version(version: RecordVersion | None) -> str:
    if version is None:
        return "none"
    return f"{version.modified_at.isoformat()}/{version.sequence}/{version.delivery_id}"


async def _definitions(
    report: Report,
    goals: Database,
    reader: str,
    kinds: Sequence[ReadNext],
    stored_versions: StoredVersions,
    patience: _Patience,
) -> None:
    """Has a service stored what goals has published of these kinds, at the version it has there or a later one?"""
    async for published in versions(goals, kinds):
        report.compared[f"definition in {reader}"] += len(published)
        behind = dict(published)
        while True:
            stored = await stored_versions(sorted(behind))
            behind = {key: version for key, version in behind.items() if stored.get(key, 0) < version}
            if not behind or not await patience.waits():
                break
        for (tenant_id, subject), version in behind.items():
            report.add(
                f"{subject} (tenant {tenant_id}): goals published version {version}, {reader} has"
                f" {stored.get((tenant_id, subject), 'none')}"
            )


async def _stored_versions(database: Database, versions_of: Versions, keys: Subjects) -> Mapping[tuple[UUID, str], int]:
    async with database.snapshot(Scope.of(*{tenant_id for tenant_id, _ in keys})) as tx:
        return await versions_of(tx, keys)
