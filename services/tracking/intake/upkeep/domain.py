"""How a connection is: each check a sentence with what is the matter and what to do. And what a repair changes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from services.tracking.intake.calling.domain import Circuit, CircuitState
from services.tracking.intake.inbox.domain.backlog import Backlog
from services.tracking.intake.inbox.domain.hook_counts import Sent
from services.tracking.intake.sources.domain import Rejection, Remark, RemarkKind, SourceMapping
from services.tracking.intake.sync.domain import ChannelState, Reconciliation, Run, RunState
from services.tracking.records.domain.uncredited import UncreditedReason
from shared.kernel.alerts import Check, HealthStatus
from shared.kernel.deals import DealStatus
from shared.kernel.errors import FieldError, InvalidInput, NotFound
from shared.kernel.money import currency_minor_units, format_amount, round_to_minor_unit
from shared.kernel.words import counted

QUIET_AFTER: Final = timedelta(days=3)
"""A connection that was sent to and hears nothing for so long needs attention: long enough for a weekend."""
NEW_FOR: Final = timedelta(hours=1)
"""A connection that never heard anything needs attention after so long."""
LAG_ATTENTION: Final = timedelta(minutes=1)
LAG_BROKEN: Final = timedelta(minutes=10)
WORKED_OFF_AFTER: Final = timedelta(seconds=30)
"""What lags behind may have been worked off so soon."""
FETCH_ATTENTION: Final = timedelta(minutes=15)
FETCH_BROKEN: Final = timedelta(hours=6)
DUPLICATES_MIN: Final = 100
"""Fewer in a day are usual."""
DUPLICATES_PER_DELIVERY: Final = 2
REJECTED_MIN: Final = 5
"""Fewer in a day may be somebody trying, or a moment's confusion."""
CHANNEL_ENDS_WITHIN: Final = timedelta(hours=24)
CREDITS_LOW: Final = 1000
RECONCILED_LATE_INTERVALS: Final = 3
RECONCILED_LATE_MIN: Final = timedelta(hours=1)
DAY: Final = timedelta(hours=24)
_RESOLUTION: Final = timedelta(microseconds=1)
MAPPING_ENTRIES_MAX: Final = 500
"""Of each kind; as many as a mapping that is saved as a whole may have."""


class RetranslationNotFound(NotFound):
    """No mapping was saved for the connection after the one it was made with."""

    code = "retranslation_not_found"
    title = "Re-translation not found"


class MappingTooLarge(InvalidInput):
    """With the repair the mapping would have too many entries."""

    code = "mapping_too_large"
    title = "Mapping too large"


class CheckName(StrEnum):
    """What is looked at."""

    DELIVERIES = "deliveries"
    TRANSLATION = "translation"
    DUPLICATES = "duplicates"
    SIGNATURES = "signatures"
    QUARANTINE = "quarantine"
    API_ACCESS = "api_access"
    FETCHING = "fetching"
    CREDITS = "credits"
    CHANNEL = "channel"
    RECONCILIATION = "reconciliation"
    BACKFILL = "backfill"
    MAPPING = "mapping"
    OWNER_MISSING = "owner_missing"
    OWNER_UNKNOWN = "owner_unknown"
    SPLIT_UNKNOWN = "split_unknown"
    NO_CURRENCY = "no_currency"
    NO_CLOSE_DATE = "no_close_date"
    CLOCK = "clock"
    MEMBERS = "members"


@dataclass(frozen=True, slots=True)
class MappingWork:
    """How far the mapping saved last has got with what was translated before it."""

    is_done: bool
    total: int
    done: int
    untranslatable: int


@dataclass(frozen=True, slots=True)
class UncreditedFacts:
    """Won deals, or shares of them, that nobody is credited with for one reason.

    `amounts` are of each currency, None where the deals state none.
    """

    count: int
    amounts: tuple[tuple[str | None, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Remarked:
    """The remarks on deliveries of the last 24 hours: of how many records, as far as counted, and the newest."""

    count: int
    newest: Remark
    newest_at: datetime
    """When the delivery of the newest was received."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that decides how a connection is."""

    created_at: datetime
    is_active: bool
    hook_path: str
    sent: Sent = field(default_factory=Sent)
    untranslated: Backlog = field(default_factory=Backlog)
    quarantined: int = 0
    has_api: bool = False
    """Whether its source can be called at all."""
    has_access: bool = False
    fetching: Backlog = field(default_factory=Backlog)
    circuit: Circuit = field(default_factory=Circuit)
    credits_remaining: int | None = None
    wants_channel: bool = False
    channel: ChannelState | None = None
    """The subscription of a source that lets it expire."""
    reconciliation: Reconciliation | None = None
    reconciled: Run | None = None
    """The reconciliation requested last; `reconciled_at`: when one last ended well."""
    reconciled_at: datetime | None = None
    missed_day: int = 0
    """How many records reconciliations of the last 24 hours found that webhooks had missed."""
    missed_since: datetime | None = None
    """When the first of these was requested."""
    backfill: Run | None = None
    mapping: MappingWork | None = None
    uncredited: Mapping[UncreditedReason, UncreditedFacts] = field(default_factory=dict)
    """By those reasons that there are."""
    remarks: Mapping[RemarkKind, Remarked] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """How a connection is: as its worst check."""

    status: HealthStatus
    checks: tuple[Check, ...]


Verdict = tuple[HealthStatus, str]
_OK, _ATTENTION, _BROKEN = HealthStatus.OK, HealthStatus.ATTENTION, HealthStatus.BROKEN
_ORDER: Final = (HealthStatus.OK, HealthStatus.ATTENTION, HealthStatus.BROKEN)


def health(facts: Facts, now: datetime) -> Health:
    """How a connection is at a moment."""
    checks = tuple(
        Check(name, *verdict) for name, judge in _JUDGES.items() if (verdict := judge(facts, now)) is not None
    )
    return Health(max((check.status for check in checks), key=_ORDER.index), checks)


def valid_until(facts: Facts, now: datetime) -> datetime | None:
    """Until when no check has another status, as long as the facts are those that are read again; None: for ever."""
    moments = [moment for moment in _moments(facts, now) if moment > now]
    return min(moments, default=None)


def _moments(facts: Facts, now: datetime) -> Iterator[datetime]:
    """When a check may come to another status by time alone, among them moments when none does."""
    sent, expires_at = facts.sent, None if facts.channel is None else facts.channel.expires_at
    lasting = [
        (sent.last_at, QUIET_AFTER),
        (facts.untranslated.oldest_at, LAG_ATTENTION),
        (facts.untranslated.oldest_at, LAG_BROKEN),
        (facts.fetching.oldest_at, FETCH_ATTENTION),
        (facts.fetching.oldest_at, FETCH_BROKEN),
        (expires_at, -CHANNEL_ENDS_WITHIN),
    ]
    if facts.reconciliation is not None:
        lasting.append((facts.reconciled_at or facts.created_at, _late_after(facts.reconciliation)))
    # What is to last longer than so long does not yet at the moment itself.
    yield from (since + length + _RESOLUTION for since, length in lasting if since is not None)
    yield facts.created_at + NEW_FOR
    if expires_at is not None:
        yield expires_at
    windows = [facts.missed_since, *(remarked.newest_at for remarked in facts.remarks.values())]
    yield from (since + DAY for since in windows if since is not None)
    if facts.untranslated.oldest_at is not None and now - facts.untranslated.oldest_at > LAG_ATTENTION:
        yield now + WORKED_OFF_AFTER
    if sent.rejected_day or sent.duplicates_day >= DUPLICATES_MIN:
        # What was counted more than a day ago is left out, hour by hour.
        yield now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _late_after(settings: Reconciliation) -> timedelta:
    return max(timedelta(minutes=settings.every_minutes) * RECONCILED_LATE_INTERVALS, RECONCILED_LATE_MIN)


def _deliveries(facts: Facts, now: datetime) -> Verdict:
    if not facts.is_active:
        return _ATTENTION, "The connection is disabled and takes no deliveries. Set its status to active to go on."
    last_at = facts.sent.last_at
    if last_at is None:
        advice = f"Enter {facts.hook_path} with the secret of this connection as the webhook in the CRM."
        if now - facts.created_at < NEW_FOR:
            return _OK, f"Nothing has come yet. {advice}"
        return _ATTENTION, f"Nothing has ever come in {_span(now - facts.created_at)}. {advice}"
    if now - last_at > QUIET_AFTER:
        return _ATTENTION, (
            f"Nothing has come for {_span(now - last_at)}. Check that the webhook in the CRM is still there and active."
        )
    return _OK, f"The last delivery came {_span(now - last_at)} ago."


def _translation(facts: Facts, now: datetime) -> Verdict:
    oldest_at = facts.untranslated.oldest_at
    if oldest_at is None or now - oldest_at <= LAG_ATTENTION:
        return _OK, "Deliveries are translated as they come."
    waiting = f"The oldest delivery that is not translated has waited for {_span(now - oldest_at)}."
    if now - oldest_at > LAG_BROKEN:
        return _BROKEN, f"{waiting} Check that the worker of tracking runs, and its log."
    return _ATTENTION, f"{waiting} If it does not get less, the worker of tracking is stopped or overloaded."


def _duplicates(facts: Facts, _: datetime) -> Verdict:
    sent = facts.sent
    if sent.duplicates_day >= DUPLICATES_MIN and sent.duplicates_day > DUPLICATES_PER_DELIVERY * sent.received_day:
        return _ATTENTION, (
            f"{counted(sent.duplicates_day, 'delivery')} of the last 24 hours had come before, and only "
            f"{sent.received_day} had not. The CRM repeats what it takes for lost: check that answers get back to it "
            "within its time, and that it has this webhook only once."
        )
    repeated = counted(sent.duplicates_day, "delivery")
    return _OK, f"{repeated} of the last 24 hours had come before; each counts once."


def _signatures(facts: Facts, _: datetime) -> Verdict:
    sent = facts.sent
    rejected = sent.rejected_day
    if not rejected:
        return _OK, "No delivery was refused in the last 24 hours."
    refused = f"{counted(rejected, 'delivery')} of the last 24 hours {_was(rejected)} refused"
    accepted = sent.received_day + sent.duplicates_day
    if accepted and rejected < REJECTED_MIN:
        return _OK, f"{refused}; that few may be somebody trying."
    causes = sorted(((count, cause) for cause, count in sent.rejected_for.items() if count), reverse=True)
    if not accepted:
        refused = f"{refused}, and none accepted"
    if len(causes) == 1:
        return (_ATTENTION if accepted else _BROKEN), f"{refused}, {_REFUSED_AS[causes[0][1]]}"
    each = " ".join(f"{count} {_REFUSED_AS[cause]}" for count, cause in causes)
    return (_ATTENTION if accepted else _BROKEN), f"{refused}: {each}"


_REFUSED_AS: Final[Mapping[Rejection, str]] = {
    Rejection.HEADERS: (
        "as they carry no signature of this source. Check that the webhook is of the kind of the connection."
    ),
    Rejection.TIMESTAMP: (
        "as they were signed more than five minutes away from now. Check the clocks of sender and servers."
    ),
    Rejection.SIGNATURE: (
        "as they were not signed with a valid secret. Enter the secret of this connection in the CRM, or rotate it "
        "and enter the new one."
    ),
    Rejection.ADDRESS: (
        "as they were signed with a valid secret for another address than this service takes for its own. Set "
        "ATTAIN_PUBLIC_URL to the address that the CRM calls; the secret is right."
    ),
    Rejection.NOT_ALLOWED: (
        "as they come from an organisation, portal, channel or action that this connection does not allow. Add its id "
        "to `allowed` of the connection, or take the webhook away there; the secret is right."
    ),
}


def _quarantine(facts: Facts, _: datetime) -> Verdict:
    count = facts.quarantined
    if count:
        are, do, it = ("is", "does", "it") if count == 1 else ("are", "do", "them")
        return _ATTENTION, (
            f"{counted(count, 'delivery')} {are} in quarantine and {do} not count. See what is unmapped "
            f"and repair it, or discard {it} with a reason."
        )
    return _OK, "Nothing is in quarantine."


def _api_access(facts: Facts, now: datetime) -> Verdict | None:
    if not facts.has_api:
        return None
    if not facts.has_access:
        return _ATTENTION, (
            "There is no access to the CRM's API, so what webhooks miss is not found and what they only name is not "
            "fetched. Give the connection API access."
        )
    circuit = facts.circuit
    if circuit.state is CircuitState.CLOSED:
        return _OK, "The CRM's API answers."
    until = "" if circuit.until is None or circuit.until <= now else f" for {_span(circuit.until - now)} more"
    error = "" if not circuit.error else f" It said: {circuit.error}."
    return _BROKEN, f"The CRM's API is not called{until}.{error} {circuit.what_to_do or ''}".rstrip()


def _fetching(facts: Facts, now: datetime) -> Verdict | None:
    if not facts.has_api:
        return None
    oldest_at = facts.fetching.oldest_at
    if oldest_at is None or now - oldest_at <= FETCH_ATTENTION:
        return _OK, "What deliveries name is fetched as they come."
    count = facts.fetching.count
    are = f"{counted(count, 'record')} {'waits' if count == 1 else 'wait'}"
    waiting = f"{are} to be fetched, the oldest for {_span(now - oldest_at)}."
    advice = "Look at the API access: its state says why they wait, and what to do."
    return (_BROKEN if now - oldest_at > FETCH_BROKEN else _ATTENTION), f"{waiting} {advice}"


def _credits(facts: Facts, _: datetime) -> Verdict | None:
    left = facts.credits_remaining
    if not facts.has_access or left is None:
        return None
    if left <= 0:
        return _BROKEN, "No API calls are left. Wait until the CRM renews them, or raise the limit there."
    if left < CREDITS_LOW:
        return _ATTENTION, (
            f"Only {left} API calls are left. Reconcile less often, or find out in the CRM what else uses them."
        )
    return _OK, f"{left} API calls are left."


def _channel(facts: Facts, now: datetime) -> Verdict | None:
    if not (facts.wants_channel and facts.has_access and facts.is_active):
        return None
    channel = facts.channel
    if channel is None or (channel.expires_at is None and channel.error is None):
        return _OK, "The channel for notifications is being opened."
    error = "" if not channel.error else f" The CRM said: {channel.error}."
    advice = "Check that the API access may manage notifications and that the public address of this service is right."
    if channel.expires_at is None or channel.expires_at <= now:
        return _BROKEN, f"The channel for notifications is not open, so none come.{error} {advice}"
    ends = f"The channel for notifications ends in {_span(channel.expires_at - now)}"
    if channel.error is not None or channel.expires_at - now < CHANNEL_ENDS_WITHIN:
        return _ATTENTION, f"{ends} and could not be renewed yet; it is tried again by itself.{error} {advice}"
    return _OK, f"{ends} and is renewed before."


def _reconciliation(facts: Facts, now: datetime) -> Verdict | None:
    if not facts.has_access:
        return None
    run, settings = facts.reconciled, facts.reconciliation
    if run is not None and run.state is RunState.FAILED:
        return _ATTENTION, (
            f"The last reconciliation failed: {run.error or 'it did not say why'}. Look at the API access, then "
            "reconcile again."
        )
    every = timedelta(minutes=settings.every_minutes if settings is not None else 0)
    reference = facts.reconciled_at or facts.created_at
    if settings is not None and every and facts.is_active and now - reference > _late_after(settings):
        last = f"was {_span(now - reference)} ago" if facts.reconciled_at else "has never come to its end"
        return _ATTENTION, (
            f"The last reconciliation {last}, though there should be one every {_span(every)}. Look at the API access, "
            "and check that the worker of tracking runs."
        )
    if facts.missed_day:
        return _ATTENTION, (
            f"Webhooks of the last 24 hours missed {counted(facts.missed_day, 'record')}; reconciliation has brought "
            f"{'it' if facts.missed_day == 1 else 'them'} in. "
            "Check in the CRM that the webhook is there for all changes of deals, and its log of failures."
        )
    if facts.reconciled_at is None:
        return _OK, "The first reconciliation is still to come."
    return _OK, f"Reconciled {_span(now - facts.reconciled_at)} ago; webhooks had missed nothing."


def _backfill(facts: Facts, _: datetime) -> Verdict | None:
    run = facts.backfill
    if run is None:
        return None
    done = "" if run.percent is None else f" at {run.percent} percent"
    match run.state:
        case RunState.FAILED:
            return _ATTENTION, (
                f"The backfill failed{done}: {run.error or 'it did not say why'}. Mend that and resume it; it goes on "
                "where it stopped."
            )
        case RunState.PAUSED:
            return _ATTENTION, f"The backfill is paused{done}. Resume it, or cancel it."
        case RunState.RUNNING:
            return _OK, f"The backfill is running{done}, {counted(run.seen, 'record')} so far."
        case RunState.CANCELLED:
            return _OK, f"The backfill was cancelled after {counted(run.seen, 'record')}."
        case RunState.DONE:
            return _OK, f"The backfill brought in the whole history, {counted(run.seen, 'record')}."


def _mapping(facts: Facts, _: datetime) -> Verdict | None:
    work = facts.mapping
    if work is None:
        return None
    if work.untranslatable:
        return _ATTENTION, (
            f"The mapping saved last cannot translate {counted(work.untranslatable, 'delivery')} that "
            f"{_was(work.untranslatable)} translated before; the deals stay as they were. Test the mapping to see why, "
            "and correct it."
        )
    if not work.is_done:
        return _OK, f"The mapping saved last is being applied to what came before: {work.done} of {work.total}."
    return _OK, "The mapping is applied to everything."


def uncredited_sentence(reason: UncreditedReason, found: UncreditedFacts | None) -> str:
    """What nobody is credited with for a reason, what it comes to, and the one call that mends it."""
    if found is None or not found.count:
        return _CREDITED[reason]
    of = ("share of won deals", "shares of won deals") if reason in _OF_SHARES else ("won deal", "won deals")
    (of_one, of_many), cure = _UNCREDITED[reason]
    what = of_one if found.count == 1 else of_many
    return f"{counted(found.count, *of)} ({_sum_of(found.amounts)}) {what} {cure}"


_OF_SHARES: Final = frozenset({UncreditedReason.SPLIT_UNKNOWN})
_CURRENCIES_MAX: Final = 3
_WHO_THEY_ARE: Final = (
    "Say who that is with `POST /v1/identities` of the goals service; `GET /v1/connections/{id}/unmapped` has the body."
)
_CREDITED: Final[Mapping[UncreditedReason, str]] = {
    UncreditedReason.OWNER_MISSING: "Every won deal has an owner.",
    UncreditedReason.OWNER_UNKNOWN: "Every owner of a won deal is somebody here.",
    UncreditedReason.SPLIT_UNKNOWN: "Every user who shares in a won deal is somebody here.",
    UncreditedReason.NO_CURRENCY: "Every won deal with an amount has a currency.",
    UncreditedReason.NO_CLOSE_DATE: "Every won deal has a close date.",
}
_UNCREDITED: Final[Mapping[UncreditedReason, tuple[tuple[str, str], str]]] = {
    UncreditedReason.OWNER_MISSING: (
        ("has no owner, so nobody is credited with it.", "have no owner, so nobody is credited with them."),
        "Say where the CRM has it with `POST /v1/connections/{id}/repairs` and `fields.owner_external_id`, or enter it "
        "in the CRM.",
    ),
    UncreditedReason.OWNER_UNKNOWN: (
        (
            "belongs to a user that no identity names, so nobody is credited with it.",
            "belong to users that no identity names, so nobody is credited with them.",
        ),
        _WHO_THEY_ARE,
    ),
    UncreditedReason.SPLIT_UNKNOWN: (
        (
            "belongs to a user that no identity names, so nobody is credited with it.",
            "belong to users that no identity names, so nobody is credited with them.",
        ),
        _WHO_THEY_ARE,
    ),
    UncreditedReason.NO_CURRENCY: (
        (
            "states no currency, so it counts in no goal and no plan in money.",
            "state no currency, so they count in no goal and no plan in money.",
        ),
        "Say which it is with `POST /v1/connections/{id}/repairs` and `currency`.",
    ),
    UncreditedReason.NO_CLOSE_DATE: (
        ("has no close date, so it counts in no period.", "have no close date, so they count in no period."),
        "Say where the CRM has it with `POST /v1/connections/{id}/repairs` and `fields.closed_on`, or enter it in the "
        "CRM.",
    ),
}


def _sum_of(amounts: Sequence[tuple[str | None, Decimal]]) -> str:
    """What deals come to, in each currency to its decimals; of many currencies the first."""
    texts = [
        f"{format_amount(amount)} without a currency"
        if currency is None
        else f"{round_to_minor_unit(amount, currency):,.{currency_minor_units(currency)}f} {currency}"
        for currency, amount in amounts[:_CURRENCIES_MAX]
    ]
    more = len(amounts) - _CURRENCIES_MAX
    if more > 0:
        texts.append(counted(more, "more currency"))
    return ", ".join(texts)


def _uncredited(reason: UncreditedReason) -> Callable[[Facts, datetime], Verdict]:
    def judge(facts: Facts, _: datetime) -> Verdict:
        found = facts.uncredited.get(reason)
        return (_OK if found is None else _ATTENTION), uncredited_sentence(reason, found)

    return judge


def _clock(facts: Facts, _: datetime) -> Verdict | None:
    found = facts.remarks.get(RemarkKind.FROM_THE_FUTURE)
    if found is None:
        return None
    of_them = counted(found.count, "version")
    return _ATTENTION, (
        f"{of_them} of the last 24 hours {_was(found.count)} dated more than five minutes after the receipt, and "
        f"{_was(found.count)} ordered by that: {found.newest.detail}. Check the clock of the CRM, and what fills its "
        "modified time."
    )


def _members(facts: Facts, _: datetime) -> Verdict | None:
    found = facts.remarks.get(RemarkKind.UNKNOWN_MEMBER)
    if found is None:
        return None
    of_them = counted(found.count, "member")
    return _ATTENTION, (
        f"{of_them} of what was sent in the last 24 hours {_was(found.count)} not read. The newest: "
        f"{found.newest.pointer} {found.newest.detail}. Have the sender name them as the hook's documentation does."
    )


_JUDGES: Final[Mapping[CheckName, Callable[[Facts, datetime], Verdict | None]]] = {
    CheckName.DELIVERIES: _deliveries,
    CheckName.TRANSLATION: _translation,
    CheckName.DUPLICATES: _duplicates,
    CheckName.SIGNATURES: _signatures,
    CheckName.QUARANTINE: _quarantine,
    CheckName.API_ACCESS: _api_access,
    CheckName.FETCHING: _fetching,
    CheckName.CREDITS: _credits,
    CheckName.CHANNEL: _channel,
    CheckName.RECONCILIATION: _reconciliation,
    CheckName.BACKFILL: _backfill,
    CheckName.MAPPING: _mapping,
    **{CheckName(reason.value): _uncredited(reason) for reason in UncreditedReason},
    CheckName.CLOCK: _clock,
    CheckName.MEMBERS: _members,
}


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _span(length: timedelta) -> str:
    """A length of time in the largest unit that it has one of, rounded down."""
    seconds = max(0, int(length.total_seconds()))
    for unit, unit_seconds in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= unit_seconds:
            return counted(seconds // unit_seconds, unit)
    return counted(seconds, "second")


class EveryStage(Mapping[str, DealStatus]):
    """Stages as a mapping would have them that knows each: what is in quarantine for its stage becomes readable."""

    def __getitem__(self, stage: str) -> DealStatus:
        return DealStatus.OPEN

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 1

    def __contains__(self, stage: object) -> bool:
        return isinstance(stage, str)


def in_raw_words(mapping: SourceMapping) -> SourceMapping:
    """A mapping that leaves stages, users, pipelines and teams in the source's words, and fetches nothing.

    No stage need be mapped.
    """
    return replace(mapping, stages=EveryStage(), users={}, pipelines={}, teams={}, asks_products=False)


@dataclass(frozen=True, slots=True)
class Repair:
    """What is to be added to a mapping; what it has under the same words is replaced."""

    stages: Mapping[str, DealStatus]
    users: Mapping[str, str]
    pipelines: Mapping[str, str]
    currency: str | None
    teams: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)

    def applied(self, mapping: SourceMapping) -> SourceMapping:
        """The mapping with it. Raises MappingTooLarge."""
        repaired = replace(
            mapping,
            stages={**mapping.stages, **self.stages},
            users={**mapping.users, **self.users},
            pipelines={**mapping.pipelines, **self.pipelines},
            teams={**mapping.teams, **self.teams},
            fields={**mapping.fields, **self.fields},
            currency=self.currency or mapping.currency,
        )
        entries = {
            "stages": repaired.stages,
            "users": repaired.users,
            "pipelines": repaired.pipelines,
            "teams": repaired.teams,
        }
        problems = [
            FieldError(f"/{name}", f"would leave {len(values)} in the mapping", f"no more than {MAPPING_ENTRIES_MAX}")
            for name, values in entries.items()
            if len(values) > MAPPING_ENTRIES_MAX
        ]
        if problems:
            raise MappingTooLarge("The mapping would have too many entries.", fields=problems)
        return repaired
