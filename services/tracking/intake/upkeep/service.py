"""Looking after connections: trying a mapping, what is unmapped, repairing it, and how a connection is."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.tracking.definitions import people
from services.tracking.definitions.people import KnownPerson
from services.tracking.intake.calling import service as calling
from services.tracking.intake.connections import service as crm
from services.tracking.intake.connections import users
from services.tracking.intake.connections.domain import Connection, ConnectionStatus
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.inbox import fetching, retranslation
from services.tracking.intake.inbox import hook_counts as traffic
from services.tracking.intake.inbox import service as inbox
from services.tracking.intake.inbox.retranslation import Tried, tried
from services.tracking.intake.inbox.retranslation_store import Retranslation, RetranslationState
from services.tracking.intake.inbox.state_store import QuarantinedFor
from services.tracking.intake.sources.canonical import CanonicalDeal
from services.tracking.intake.sources.domain import QuarantineReason, SourceMapping
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sync import service as sync
from services.tracking.intake.sync.domain import RunKind, RunState
from services.tracking.intake.upkeep.domain import (
    DAY,
    Facts,
    Health,
    MappingWork,
    Remarked,
    Repair,
    RetranslationNotFound,
    UncreditedFacts,
    health,
    in_raw_words,
    valid_until,
)
from services.tracking.records import service as records
from services.tracking.records.domain.uncredited import EXACT, UncreditedReason
from services.tracking.records.store.deals import UnmappedOwner
from services.tracking.records.store.uncredited import Uncredited
from shared.db.database import Transaction
from shared.kernel.alerts import Findings
from shared.kernel.org import OrgChart

OWNERS_MAX: Final = 200
STAGE_DELIVERIES_MAX: Final = 200
_TRIED_BYTES_MAX: Final = 8 * 1024 * 1024
_RUNS_MAX: Final = 200
_REMARKED_MAX: Final = 1000
"""How many deliveries with remarks are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What another mapping makes of a deal: its fields before and after, by name, as JSON has them."""

    delivery_id: UUID
    external_id: str
    fields: Mapping[str, tuple[object, object]]


@dataclass(frozen=True, slots=True)
class Word:
    """A stage, user or pipeline as the source names it, and how many deals name it."""

    name: str
    deals: int


@dataclass(frozen=True, slots=True)
class UnmappedWords:
    """What deliveries name that neither of two mappings knows; of users those that no identity names either."""

    stages: Sequence[Word]
    owners: Sequence[Word]
    pipelines: Sequence[Word]


@dataclass(frozen=True, slots=True)
class Trial:
    """What would change if a mapping were saved, as far as stored deliveries show."""

    tried: int
    deals: int
    differences: Sequence[Difference]
    leaving: Sequence[Tried]
    """Deliveries that the saved mapping cannot translate and the tried one can, with why the saved one cannot."""
    entering: Sequence[Tried]
    """Deliveries that the saved mapping translates and the tried one cannot, with why."""
    still_untranslatable: int
    unmapped: UnmappedWords


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner of deals that no identity names, who it is in the CRM, and who it may be here."""

    unmapped: UnmappedOwner
    name: str | None
    email: str | None
    suggestion: KnownPerson | None


@dataclass(frozen=True, slots=True)
class Unmapped:
    """All of a connection that is not mapped yet."""

    connection: Connection
    owners: Sequence[Owner]
    owners_total: int
    deals_without_owner: int
    stages: Sequence[Word]
    stage_deliveries_read: int
    quarantine: Sequence[QuarantinedFor]


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair has started; `work` None: nothing, as the mapping has all of it already."""

    connection: Connection
    work: Retranslation | None
    quarantined: int
    """How many deliveries come out of quarantine to be translated again."""


@dataclass(frozen=True, slots=True)
class UncreditedOfTenant:
    """What nobody is credited with: in all, and of each connection that there is something of."""

    in_all: Mapping[UncreditedReason, UncreditedFacts]
    of_connection: Mapping[UUID, Mapping[UncreditedReason, UncreditedFacts]]


async def try_mapping(
    tx: Transaction,
    tenant_id: UUID,
    connection_id: UUID,
    mapping: SourceMapping,
    *,
    chart: OrgChart,
    deliveries_max: int,
) -> Trial:
    """Translate the newest stored deliveries under the saved and under another mapping. Changes nothing.

    Raises ConnectionNotFound.
    """
    connection = await crm.get(tx, tenant_id, connection_id)
    deliveries = await inbox.newest_stored(
        tx, tenant_id, connection_id, count_max=deliveries_max, bytes_max=_TRIED_BYTES_MAX
    )
    saved = await tried(tx, connection, deliveries, connection.mapping)
    given = await tried(tx, connection, deliveries, mapping)
    raw = await tried(tx, connection, deliveries, in_raw_words(mapping))
    pairs = list(zip(saved, given, strict=True))
    named = connection.mapping.users.keys() | mapping.users.keys() | _known_users(connection, chart)
    return Trial(
        tried=len(deliveries),
        deals=sum(len(each.deals) for each in given),
        differences=[difference for before, after in pairs for difference in _differences(before, after)],
        leaving=[before for before, after in pairs if before.error is not None and after.error is None],
        entering=[after for before, after in pairs if before.error is None and after.error is not None],
        still_untranslatable=sum(before.error is not None and after.error is not None for before, after in pairs),
        unmapped=UnmappedWords(
            stages=_words(raw, _stage, connection.mapping.stages.keys() | mapping.stages.keys()),
            owners=_words(raw, _owners, named),
            pipelines=_words(raw, _pipeline, connection.mapping.pipelines.keys() | mapping.pipelines.keys()),
        ),
    )


async def unmapped(tx: Transaction, tenant_id: UUID, connection_id: UUID, *, chart: OrgChart) -> Unmapped:
    """What of a connection's deals and deliveries is not mapped yet. Raises ConnectionNotFound.

    Stages are those of the newest deliveries that are in quarantine for theirs.
    """
    connection = await crm.get(tx, tenant_id, connection_id)
    found, total = await records.unmapped_owners(
        tx, tenant_id, connection_id, known=_known_users(connection, chart), limit=OWNERS_MAX
    )
    stopped = await inbox.newest_stored(
        tx,
        tenant_id,
        connection_id,
        reason=QuarantineReason.STAGE_UNMAPPED,
        count_max=STAGE_DELIVERIES_MAX,
        bytes_max=_TRIED_BYTES_MAX,
    )
    read = await tried(tx, connection, stopped, in_raw_words(connection.mapping))
    return Unmapped(
        connection=connection,
        owners=await _named(tx, connection, found),
        owners_total=total,
        deals_without_owner=await records.deals_without_owner(tx, tenant_id, connection_id),
        stages=_words(read, _stage, connection.mapping.stages.keys()),
        stage_deliveries_read=len(stopped),
        quarantine=await inbox.quarantine(tx, tenant_id, connection_id),
    )


async def repair(
    tx: Transaction,
    connections: Connections,
    tenant_id: UUID,
    connection_id: UUID,
    addition: Repair,
    *,
    expected_version: int,
) -> Repaired:
    """Add to a connection's mapping, and have everything translated again that it changes; what was started.

    Nothing is started where the mapping has all of it already.

    Raises ConnectionNotFound, VersionMismatch and MappingTooLarge.
    """
    current = await crm.get(tx, tenant_id, connection_id)
    mapping = addition.applied(current.mapping)
    if mapping == current.mapping and current.version == expected_version:
        return Repaired(current, None, 0)
    quarantined = await retranslation.count_curable(tx, tenant_id, connection_id)
    changed = await connections.edit(
        tx,
        tenant_id,
        connection_id,
        expected_version=expected_version,
        name=None,
        status=None,
        mapping=mapping,
        allowed=None,
    )
    return Repaired(changed, await work_of(tx, tenant_id, connection_id), quarantined)


async def work_of(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Retranslation:
    """How far the mapping saved last has got. Raises ConnectionNotFound and RetranslationNotFound."""
    await crm.get(tx, tenant_id, connection_id)
    work = await retranslation.find(tx, tenant_id, connection_id)
    if work is None:
        raise RetranslationNotFound("No mapping was saved after the one the connection was made with.")
    return work


async def facts_of(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Facts:
    """Everything that decides how a connection is. Raises ConnectionNotFound."""
    return await _facts(tx, await crm.get(tx, tenant_id, connection_id))


async def findings(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Findings | None:
    """How an active connection is, and until when; None for one that is disabled."""
    connection = await crm.get(tx, tenant_id, connection_id)
    if connection.status is not ConnectionStatus.ACTIVE:
        return None
    facts = await _facts(tx, connection)
    return Findings(connection.name, health_of(facts, tx).checks, valid_until(facts, tx.now))


async def _facts(tx: Transaction, connection: Connection) -> Facts:
    tenant_id, connection_id = connection.tenant_id, connection.id
    calls = await calling.call_state(tx, connection)
    runs = await sync.runs(tx, tenant_id, connection_id, RunKind.RECONCILIATION, before=None, limit=_RUNS_MAX)
    backfills = await sync.runs(tx, tenant_id, connection_id, RunKind.BACKFILL, before=None, limit=1)
    work = await retranslation.find(tx, tenant_id, connection_id)
    remarked = await inbox.remarks(tx, tenant_id, connection_id, since=tx.now - DAY, limit=_REMARKED_MAX)
    missed = [run for run in runs if run.missed and run.requested_at > tx.now - DAY]
    return Facts(
        created_at=connection.created_at,
        is_active=connection.status is ConnectionStatus.ACTIVE,
        hook_path=connection.hook_path,
        sent=await traffic.of_connection(tx, tenant_id, connection_id),
        untranslated=await inbox.backlog(tx, tenant_id, connection_id),
        quarantined=await inbox.quarantined(tx, tenant_id, connection_id),
        has_api=ADAPTERS[connection.source].api is not None,
        has_access=connection.has_api_access,
        fetching=await fetching.backlog(tx, tenant_id, connection_id),
        circuit=calls.circuit,
        credits_remaining=calls.credits_remaining,
        wants_channel=sync.has_channel(connection),
        channel=await sync.channel(tx, tenant_id, connection_id),
        reconciliation=await sync.reconciliation(tx, tenant_id, connection_id) if connection.has_api_access else None,
        reconciled=runs[0] if runs else None,
        reconciled_at=next((run.ended_at for run in runs if run.state is RunState.DONE), None),
        missed_day=sum(run.missed for run in missed),
        missed_since=min((run.requested_at for run in missed), default=None),
        backfill=backfills[0] if backfills else None,
        mapping=None
        if work is None
        else MappingWork(work.state is RetranslationState.DONE, work.total, work.done, work.untranslatable),
        uncredited=_by_reason(await records.uncredited(tx, tenant_id, connection_id)),
        remarks={each.newest.kind: Remarked(each.remarks, each.newest, each.newest_at) for each in remarked},
    )


async def uncredited_of(tx: Transaction, tenant_id: UUID) -> UncreditedOfTenant:
    """Everything of a tenant that nobody is credited with, in all and by connection."""
    found = await records.uncredited(tx, tenant_id)
    of_connection: dict[UUID, list[Uncredited]] = {}
    for each in found:
        of_connection.setdefault(each.connection_id, []).append(each)
    return UncreditedOfTenant(
        _by_reason(found), {connection_id: _by_reason(sums) for connection_id, sums in of_connection.items()}
    )


def health_of(facts: Facts, tx: Transaction) -> Health:
    """How a connection is now."""
    return health(facts, tx.now)


def _by_reason(found: Iterable[Uncredited]) -> dict[UncreditedReason, UncreditedFacts]:
    """Over all connections and currencies, of each currency the largest sum first."""
    counts: Counter[UncreditedReason] = Counter()
    amounts: dict[UncreditedReason, dict[str | None, Decimal]] = {}
    for each in found:
        counts[each.reason] += each.deals
        sums = amounts.setdefault(each.reason, {})
        sums[each.currency] = EXACT.add(sums.get(each.currency, Decimal(0)), each.amount)
    return {
        reason: UncreditedFacts(
            counts[reason],
            tuple(sorted(sums.items(), key=lambda item: (-item[1], item[0] or ""))),
        )
        for reason, sums in amounts.items()
    }


async def _named(tx: Transaction, connection: Connection, found: Sequence[UnmappedOwner]) -> list[Owner]:
    """Owners with who they are in the CRM; there they may go by another id that the mapping takes for theirs."""
    raw_ids: dict[str, list[str]] = {}
    for raw, mapped in connection.mapping.users.items():
        raw_ids.setdefault(mapped, []).append(raw)
    seen = {user.external_id: user for user in await users.of(tx, connection.tenant_id, connection.id)}
    in_crm = {
        owner.external_id: next(
            (seen[name] for name in (owner.external_id, *raw_ids.get(owner.external_id, ())) if name in seen), None
        )
        for owner in found
    }
    emails = {user.email.lower() for user in in_crm.values() if user is not None and user.email}
    known = await people.by_email(tx, connection.tenant_id, emails)
    owners = []
    for owner in found:
        user = in_crm[owner.external_id]
        email = None if user is None else user.email
        owners.append(
            Owner(owner, None if user is None else user.name, email, known.get(email.lower()) if email else None)
        )
    return owners


def _known_users(connection: Connection, chart: OrgChart) -> set[str]:
    return {user.external_id for user in chart.identities if user.source == connection.identity_source}


def _differences(before: Tried, after: Tried) -> list[Difference]:
    was = {deal.external_id: deal.model_dump(mode="json") for deal in before.deals}
    differences = []
    for deal in after.deals:
        old, new = was.get(deal.external_id), deal.model_dump(mode="json")
        if old is not None and old != new:
            fields = {name: (old[name], new[name]) for name in new if old[name] != new[name]}
            differences.append(Difference(after.delivery.id, deal.external_id, fields))
    return differences


def _words(
    outcomes: Sequence[Tried], named: Callable[[CanonicalDeal], Iterable[str | None]], known: Collection[str]
) -> list[Word]:
    """What deals name that is not known, the most frequent first."""
    counted = Counter(
        name
        for each in outcomes
        for deal in each.deals
        for name in set(named(deal))
        if name is not None and name not in known
    )
    return [Word(name, deals) for name, deals in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]


def _stage(deal: CanonicalDeal) -> list[str | None]:
    return [deal.stage]


def _pipeline(deal: CanonicalDeal) -> list[str | None]:
    return [deal.pipeline]


def _owners(deal: CanonicalDeal) -> list[str | None]:
    return [deal.owner_external_id, *(split.owner_external_id for split in deal.splits)]
