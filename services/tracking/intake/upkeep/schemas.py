"""Upkeep of connections on the wire."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue

from services.tracking.intake.connections.domain import Connection
from services.tracking.intake.connections.schemas import Entries, FieldPaths, MappingModel
from services.tracking.intake.inbox.domain.backlog import Backlog
from services.tracking.intake.inbox.domain.deliveries import Problem
from services.tracking.intake.inbox.retranslation import Tried
from services.tracking.intake.inbox.retranslation_store import Retranslation, RetranslationState
from services.tracking.intake.inbox.schemas import ProblemAnswer
from services.tracking.intake.inbox.state_store import QuarantinedFor
from services.tracking.intake.upkeep.domain import (
    CheckName,
    Facts,
    Health,
    Repair,
    UncreditedFacts,
    uncredited_sentence,
)
from services.tracking.intake.upkeep.service import (
    Difference,
    Owner,
    Repaired,
    Trial,
    UncreditedOfTenant,
    Unmapped,
)
from services.tracking.records.domain.uncredited import UncreditedReason
from shared.contracts.base import Amount, Currency
from shared.contracts.texts import Name
from shared.http.schemas import body_example, example
from shared.kernel.alerts import HealthStatus
from shared.kernel.deals import DealStatus

DELIVERIES_DEFAULT: Final = 50
DELIVERIES_MAX: Final = 200
DIFFERENCES_MAX: Final = 100
_ENTRIES_MAX: Final = 500

_DELIVERY_ID: Final = "01935a00-0000-7000-8000-000000000051"
_QUARANTINE: Final[dict[str, JsonValue]] = {
    "reason": "stage_unmapped",
    "pointer": "/data/stage",
    "detail": "the deal has no status and the connection does not map its stage to one",
}
_RETRANSLATION: Final[dict[str, JsonValue]] = {
    "connection_version": 3,
    "state": "running",
    "saved_at": "2026-03-31T18:40:02Z",
    "started_at": "2026-03-31T18:40:02.1Z",
    "finished_at": None,
    "total": 1200,
    "done": 400,
    "changed": 37,
    "untranslatable": 0,
    "dropped": 0,
    "received_again": 12,
}


class MappingTrial(BaseModel):
    """A mapping to try, and on how many deliveries."""

    model_config = body_example(mapping={"stages": {"5": "won"}}, deliveries_max=50)

    mapping: MappingModel
    deliveries_max: int = Field(
        DELIVERIES_DEFAULT, ge=1, le=DELIVERIES_MAX, description="At most so many of the newest, and 8 MiB of them."
    )


class FieldDifference(BaseModel):
    """What a field of a deal is and would be."""

    before: JsonValue
    after: JsonValue


class DealDifference(BaseModel):
    """A deal that would change."""

    delivery_id: UUID
    external_id: str
    fields: dict[str, FieldDifference]

    @classmethod
    def from_difference(cls, difference: Difference) -> Self:
        return cls.model_validate(
            {
                "delivery_id": difference.delivery_id,
                "external_id": difference.external_id,
                "fields": {
                    name: {"before": before, "after": after} for name, (before, after) in difference.fields.items()
                },
            }
        )


class AffectedDelivery(BaseModel):
    """A delivery and why it cannot be translated."""

    delivery_id: UUID
    quarantine: ProblemAnswer

    @classmethod
    def from_tried(cls, tried: Tried) -> Self:
        if tried.error is None:
            raise ValueError("the delivery can be translated")
        members = {"delivery_id": tried.delivery.id, "quarantine": Problem.of(tried.error)}
        return cls.model_validate(members, from_attributes=True)


class WordAnswer(BaseModel):
    """A name of the source and how many deals name it."""

    name: str
    deals: int


class UnmappedWordsAnswer(BaseModel):
    """What the deliveries name that neither the saved nor the tried mapping knows."""

    stages: list[WordAnswer] = Field(description="They matter where the source does not state a status itself.")
    owners: list[WordAnswer] = Field(description="Users that no identity names either.")
    pipelines: list[WordAnswer]


class MappingTrialAnswer(BaseModel):
    """What would change if the mapping were saved, as far as the newest stored deliveries show."""

    model_config = example(
        tried=50,
        deals=50,
        deals_changed=1,
        changes=[
            {
                "delivery_id": _DELIVERY_ID,
                "external_id": "746",
                "fields": {"status": {"before": "open", "after": "won"}},
            }
        ],
        leaving_quarantine=[{"delivery_id": _DELIVERY_ID, "quarantine": _QUARANTINE}],
        entering_quarantine=[],
        still_in_quarantine=0,
        unmapped={"stages": [{"name": "6", "deals": 2}], "owners": [], "pipelines": []},
    )

    tried: int = Field(description="Deliveries that were translated with both mappings.")
    deals: int = Field(description="Deals they speak of under the tried mapping.")
    deals_changed: int
    changes: list[DealDifference] = Field(description=f"The first {DIFFERENCES_MAX} deals that would change.")
    leaving_quarantine: list[AffectedDelivery] = Field(
        description="Deliveries that only the tried mapping can translate, with why the saved one cannot."
    )
    entering_quarantine: list[AffectedDelivery] = Field(
        description="Deliveries that only the saved mapping can translate, with why the tried one cannot."
    )
    still_in_quarantine: int = Field(description="Deliveries that neither can translate.")
    unmapped: UnmappedWordsAnswer

    @classmethod
    def from_trial(cls, trial: Trial) -> Self:
        return cls(
            tried=trial.tried,
            deals=trial.deals,
            deals_changed=len(trial.differences),
            changes=[DealDifference.from_difference(each) for each in trial.differences[:DIFFERENCES_MAX]],
            leaving_quarantine=[AffectedDelivery.from_tried(each) for each in trial.leaving],
            entering_quarantine=[AffectedDelivery.from_tried(each) for each in trial.entering],
            still_in_quarantine=trial.still_untranslatable,
            unmapped=UnmappedWordsAnswer.model_validate(trial.unmapped, from_attributes=True),
        )


class RetranslationAnswer(BaseModel):
    """How far the mapping saved last has got with what was translated before it. Counts are of deliveries."""

    model_config = example(**_RETRANSLATION)

    connection_version: int = Field(description="Of the connection when the mapping was saved.")
    state: RetranslationState = Field(
        description="waiting, touched, running, settling and finishing follow each other. While touched, the deals "
        "that the mapping is about are translated again, ahead of all that comes in; while running, all others. While "
        "settling, some seconds, it is waited for what was being translated when the mapping was saved, which is then "
        "looked at too."
    )
    saved_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    total: int = Field(description="Those that the newest versions of the connection's deals come from.")
    done: int
    changed: int = Field(description="Those that say something else now, and were translated once more.")
    untranslatable: int = Field(description="Those the mapping cannot translate; their deals stay as they are.")
    dropped: int = Field(description="Those whose bodies are past their retention; their deals stay as they are.")
    received_again: int = Field(description="Those that came out of quarantine to be translated again.")

    @classmethod
    def from_work(cls, work: Retranslation) -> Self:
        return cls.model_validate({**asdict(work), "connection_version": work.version})


class IdentityToMake(BaseModel):
    """The body of `POST /v1/identities` of the goals service that maps the owner to a person."""

    source: str
    external_user_id: str
    person_id: UUID


class SuggestedPerson(BaseModel):
    """The one active person with the same e-mail address."""

    person_id: UUID
    name: str
    identity: IdentityToMake


class SumAnswer(BaseModel):
    """What deals come to in one currency."""

    currency: Currency | None = Field(description="None for deals that state none.")
    amount: Amount


class OwnerAnswer(BaseModel):
    """An owner of deals that no identity names."""

    source: str = Field(description="What identities name it by, with the external user id.")
    external_user_id: str
    name: str | None = Field(description="In the CRM, where its users are known.")
    email: str | None
    deals: int
    amounts: list[SumAnswer]
    suggestion: SuggestedPerson | None

    @classmethod
    def from_owner(cls, owner: Owner, connection: Connection) -> Self:
        user_id, source, person = owner.unmapped.external_id, connection.identity_source, owner.suggestion
        return cls(
            source=source,
            external_user_id=user_id,
            name=owner.name,
            email=owner.email,
            deals=owner.unmapped.deals,
            amounts=[SumAnswer.model_validate(each, from_attributes=True) for each in owner.unmapped.amounts],
            suggestion=None
            if person is None
            else SuggestedPerson(
                person_id=person.id,
                name=person.name,
                identity=IdentityToMake(source=source, external_user_id=user_id, person_id=person.id),
            ),
        )


class QuarantineGroup(BaseModel):
    """Deliveries that are in quarantine for the same reason."""

    reason: str
    deliveries: int
    newest: AffectedDelivery
    received_at: datetime = Field(description="Of the newest.")

    @classmethod
    def from_group(cls, group: QuarantinedFor) -> Self:
        return cls(
            reason=group.reason,
            deliveries=group.deliveries,
            newest=AffectedDelivery(
                delivery_id=group.newest_id,
                quarantine=ProblemAnswer(reason=group.reason, pointer=group.pointer, detail=group.detail),
            ),
            received_at=group.received_at,
        )


class UnmappedAnswer(BaseModel):
    """What is not mapped yet."""

    model_config = example(
        version=2,
        owners=[
            {
                "source": "pipedrive",
                "external_user_id": "12345678",
                "name": "Patricia Boyle",
                "email": "patricia@example.com",
                "deals": 12,
                "amounts": [{"currency": "EUR", "amount": "60000"}],
                "suggestion": {
                    "person_id": "01935a00-0000-7000-8000-000000000011",
                    "name": "Patricia Boyle",
                    "identity": {
                        "source": "pipedrive",
                        "external_user_id": "12345678",
                        "person_id": "01935a00-0000-7000-8000-000000000011",
                    },
                },
            }
        ],
        owners_total=1,
        deals_without_owner=0,
        stages=[{"name": "Signed", "deals": 3}],
        stage_deliveries_read=3,
        quarantine=[
            {
                "reason": "stage_unmapped",
                "deliveries": 3,
                "newest": {"delivery_id": _DELIVERY_ID, "quarantine": _QUARANTINE},
                "received_at": "2026-03-31T18:40:03.12Z",
            }
        ],
    )

    version: int = Field(description="Of the connection; its ETag goes into If-Match of a repair.")
    owners: list[OwnerAnswer] = Field(description="Those of most deals, at most 200.")
    owners_total: int
    deals_without_owner: int = Field(description="Deals that the source gives to nobody.")
    stages: list[WordAnswer] = Field(
        description="Stages without a status, of the newest deliveries that are in quarantine for theirs."
    )
    stage_deliveries_read: int = Field(description="How many deliveries the stages were counted in.")
    quarantine: list[QuarantineGroup]

    @classmethod
    def from_unmapped(cls, unmapped: Unmapped) -> Self:
        return cls(
            version=unmapped.connection.version,
            owners=[OwnerAnswer.from_owner(owner, unmapped.connection) for owner in unmapped.owners],
            owners_total=unmapped.owners_total,
            deals_without_owner=unmapped.deals_without_owner,
            stages=[WordAnswer.model_validate(word, from_attributes=True) for word in unmapped.stages],
            stage_deliveries_read=unmapped.stage_deliveries_read,
            quarantine=[QuarantineGroup.from_group(group) for group in unmapped.quarantine],
        )


class RepairBody(BaseModel):
    """What to add to the mapping; what it has under the same names is replaced, the rest stays."""

    model_config = body_example(stages={"Signed": "won"}, users={"12345678": "patricia.boyle"})

    stages: Annotated[dict[Name, DealStatus], Field(max_length=_ENTRIES_MAX)] = Field(default_factory=dict)
    users: Entries = Field(default_factory=dict)
    pipelines: Entries = Field(default_factory=dict)
    currency: Currency | None = None
    teams: Entries = Field(default_factory=dict)
    fields: FieldPaths = Field(
        default_factory=dict, description="Canonical field → where the source's deal has it, such as when it closed."
    )

    def repair(self) -> Repair:
        """The value the rules use."""
        return Repair(self.stages, self.users, self.pipelines, self.currency, self.teams, self.fields)


class RepairAnswer(BaseModel):
    """What a repair has started. The deals that it is about come first, ahead of what is being sent."""

    model_config = example(
        version=3,
        mapping={"stages": {"Signed": "won"}, "users": {"12345678": "patricia.boyle"}},
        quarantined_deliveries=3,
        retranslation={**_RETRANSLATION, "state": "waiting", "started_at": None, "total": 0, "done": 0},
    )

    version: int = Field(description="Of the connection.")
    mapping: MappingModel
    quarantined_deliveries: int = Field(description="How many come out of quarantine to be translated again.")
    retranslation: RetranslationAnswer | None = Field(
        description="Null where the mapping had all of it already: nothing is changed, and the version stays."
    )

    @classmethod
    def from_repaired(cls, repaired: Repaired) -> Self:
        return cls(
            version=repaired.connection.version,
            mapping=MappingModel.from_mapping(repaired.connection.mapping),
            quarantined_deliveries=repaired.quarantined,
            retranslation=None if repaired.work is None else RetranslationAnswer.from_work(repaired.work),
        )


class CheckAnswer(BaseModel):
    """One thing that was looked at."""

    name: CheckName
    status: HealthStatus
    sentence: str = Field(description="What is the matter and what to do.")


class SentAnswer(BaseModel):
    """What the connection was sent. Counted in memory and added every five seconds."""

    last_at: datetime | None = Field(description="Of the last 90 days.")
    per_minute: Decimal = Field(description="Over about the last hour, to two decimals.", examples=["0.42"])
    received_day: int = Field(description="New deliveries of the last 24 hours.")
    duplicates_day: int
    rejected_day: int
    rejected_signature_day: int
    rejected_timestamp_day: int
    rejected_headers_day: int
    rejected_address_day: int = Field(description="Signed with a valid secret, for another address than ours.")
    rejected_not_allowed_day: int = Field(description="Of an organisation that the connection does not allow.")


class WaitingAnswer(BaseModel):
    """What is still to be done."""

    count: int
    oldest_at: datetime | None
    age_seconds: int | None = Field(description="Of the oldest.")


class RunFacts(BaseModel):
    """A reconciliation or a backfill, in short."""

    id: UUID
    state: str
    seen: int
    missed: int = Field(description="Records that webhooks had missed, or stated otherwise.")
    percent: int | None
    requested_at: datetime
    ended_at: datetime | None
    error: str | None


class UncreditedAnswer(BaseModel):
    """Won deals, or shares of them, that nobody is credited with for one reason."""

    reason: UncreditedReason
    count: int = Field(description="Of deals; for `split_unknown` of shares of deals.")
    amounts: list[SumAnswer] = Field(description="What they come to, of each currency; the largest first.")
    sentence: str = Field(description="What it is and the one call that mends it.")

    @classmethod
    def listed(cls, found: Mapping[UncreditedReason, UncreditedFacts]) -> list[Self]:
        """Of each reason there is, in the order of the reasons."""
        return [
            cls(
                reason=reason,
                count=found[reason].count,
                amounts=[SumAnswer(currency=currency, amount=amount) for currency, amount in found[reason].amounts],
                sentence=uncredited_sentence(reason, found[reason]),
            )
            for reason in UncreditedReason
            if reason in found
        ]


_UNCREDITED: Final[dict[str, JsonValue]] = {
    "reason": "owner_unknown",
    "count": 12,
    "amounts": [{"currency": "EUR", "amount": "60000"}],
    "sentence": uncredited_sentence(UncreditedReason.OWNER_UNKNOWN, UncreditedFacts(12, (("EUR", Decimal(60000)),))),
}


class UncreditedOfConnection(BaseModel):
    """What of one connection nobody is credited with."""

    connection_id: UUID
    uncredited: list[UncreditedAnswer]


class UncreditedOfTenantAnswer(BaseModel):
    """What nobody is credited with."""

    model_config = example(
        uncredited=[_UNCREDITED],
        connections=[{"connection_id": "01935a00-0000-7000-8000-000000000041", "uncredited": [_UNCREDITED]}],
    )

    uncredited: list[UncreditedAnswer] = Field(description="Over all connections.")
    connections: list[UncreditedOfConnection] = Field(description="Those that there is something of.")

    @classmethod
    def from_found(cls, found: UncreditedOfTenant) -> Self:
        return cls(
            uncredited=UncreditedAnswer.listed(found.in_all),
            connections=[
                UncreditedOfConnection(connection_id=connection_id, uncredited=UncreditedAnswer.listed(sums))
                for connection_id, sums in found.of_connection.items()
            ],
        )


_SENT: Final[dict[str, JsonValue]] = {
    "last_at": "2026-03-31T18:39:41Z",
    "per_minute": "4.20",
    "received_day": 5120,
    "duplicates_day": 3,
    "rejected_day": 0,
    "rejected_signature_day": 0,
    "rejected_timestamp_day": 0,
    "rejected_headers_day": 0,
    "rejected_address_day": 0,
    "rejected_not_allowed_day": 0,
}
_NOTHING_WAITS: Final[dict[str, JsonValue]] = {"count": 0, "oldest_at": None, "age_seconds": None}


class HealthAnswer(BaseModel):
    """How a connection is: as its worst check."""

    model_config = example(
        status="attention",
        checks=[
            {
                "name": "quarantine",
                "status": "attention",
                "sentence": "3 deliveries are in quarantine and do not count. See what is unmapped and "
                "repair it, or discard them with a reason.",
            }
        ],
        sent=_SENT,
        untranslated=_NOTHING_WAITS,
        quarantined=3,
        fetching=_NOTHING_WAITS,
        circuit="closed",
        credits_remaining=248120,
        channel_expires_at=None,
        reconciliation=None,
        missed_day=0,
        backfill=None,
        uncredited=[_UNCREDITED],
    )

    status: HealthStatus
    checks: list[CheckAnswer]
    sent: SentAnswer
    untranslated: WaitingAnswer = Field(description="Deliveries that are not translated yet.")
    quarantined: int
    fetching: WaitingAnswer = Field(description="Records that are still to be fetched from the source's API.")
    circuit: str = Field(description="closed, open or half_open: whether the source's API is called.")
    credits_remaining: int | None = Field(description="API calls that are left, where the source states it.")
    channel_expires_at: datetime | None
    reconciliation: RunFacts | None = Field(description="The one requested last.")
    missed_day: int = Field(description="Records that reconciliations of the last 24 hours found to be missed.")
    backfill: RunFacts | None = Field(description="The one requested last.")
    uncredited: list[UncreditedAnswer] = Field(
        description="Won deals nobody is credited with, in whole or in part. `GET /v1/deals?uncredited=` lists them."
    )

    @classmethod
    def from_facts(cls, facts: Facts, health: Health, now: datetime) -> Self:
        sent = facts.sent
        per_minute = (Decimal(sent.last_hour(now)) / 60).quantize(Decimal("0.01"))
        return cls.model_validate(
            {
                "status": health.status,
                "checks": health.checks,
                "sent": {**asdict(sent), "rejected_day": sent.rejected_day, "per_minute": per_minute},
                "untranslated": _waiting(facts.untranslated, now),
                "quarantined": facts.quarantined,
                "fetching": _waiting(facts.fetching, now),
                "circuit": facts.circuit.state,
                "credits_remaining": facts.credits_remaining,
                "channel_expires_at": None if facts.channel is None else facts.channel.expires_at,
                "reconciliation": facts.reconciled,
                "missed_day": facts.missed_day,
                "backfill": facts.backfill,
                "uncredited": UncreditedAnswer.listed(facts.uncredited),
            },
            from_attributes=True,
        )


def _waiting(backlog: Backlog, now: datetime) -> WaitingAnswer:
    oldest_at = backlog.oldest_at
    age = None if oldest_at is None else max(0, int((now - oldest_at).total_seconds()))
    return WaitingAnswer(count=backlog.count, oldest_at=oldest_at, age_seconds=age)
