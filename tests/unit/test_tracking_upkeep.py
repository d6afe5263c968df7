"""How a connection is: which numbers make which check what, and what the sentence says to do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.tracking.intake.calling.domain import WHAT_TO_DO, Circuit, CircuitState, Trouble
from services.tracking.intake.inbox.domain.backlog import Backlog
from services.tracking.intake.inbox.domain.hook_counts import Sent
from services.tracking.intake.inbox.retranslation import StoredVersions, content, differs_from_stored
from services.tracking.intake.sources.domain import Remark, RemarkKind, SourceMapping
from services.tracking.intake.sync.domain import ChannelState, Phase, Reconciliation, Run, RunKind, RunState
from services.tracking.intake.upkeep.domain import (
    CREDITS_LOW,
    CheckName,
    Facts,
    MappingTooLarge,
    MappingWork,
    Remarked,
    Repair,
    health,
)
from services.tracking.records.domain.uncredited import UncreditedReason
from shared.contracts.deals import Deal
from shared.contracts.examples import EXAMPLES
from shared.kernel.alerts import Check, HealthStatus
from shared.kernel.deals import DealStatus

NOW = datetime(2026, 4, 1, 12, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OK, ATTENTION, BROKEN = HealthStatus.OK, HealthStatus.ATTENTION, HealthStatus.BROKEN
FINE = Facts(
    created_at=NOW - 30 * DAY,
    is_active=True,
    hook_path="/hooks/1",
    sent=Sent(last_at=NOW - MINUTE, received_day=100),
)
ASKED = replace(
    FINE,
    has_api=True,
    has_access=True,
    reconciliation=Reconciliation(UUID(int=1), UUID(int=2), every_minutes=15),
    reconciled_at=NOW - 5 * MINUTE,
)
REFUSED = Circuit(CircuitState.OPEN, until=NOW + HOUR, trouble=Trouble.ACCESS_REFUSED, error="invalid token")


def run(state: RunState, *, kind: RunKind = RunKind.RECONCILIATION, error: str | None = None, seen: int = 0) -> Run:
    return Run(
        tenant_id=UUID(int=1),
        id=UUID(int=3),
        connection_id=UUID(int=2),
        kind=kind,
        with_users=False,
        since=None,
        requested_at=NOW - MINUTE,
        due_at=NOW,
        phase=Phase.CHANGED,
        state=state,
        seen=seen,
        total=200,
        error=error,
    )


def channel(expires_at: datetime | None, error: str | None) -> ChannelState:
    return ChannelState(UUID(int=1), UUID(int=2), "1", NOW, expires_at=expires_at, error=error)


def check(facts: Facts, name: CheckName) -> Check:
    (found,) = [each for each in health(facts, NOW).checks if each.name is name]
    return found


def test_a_connection_of_which_nothing_is_the_matter_is_ok() -> None:
    assert health(FINE, NOW).status is OK
    assert health(ASKED, NOW).status is OK


def test_a_connection_is_as_its_worst_check() -> None:
    attention = replace(FINE, quarantined=1)
    assert health(attention, NOW).status is ATTENTION
    assert health(replace(attention, untranslated=Backlog(1, NOW - HOUR)), NOW).status is BROKEN


@pytest.mark.parametrize(
    ("facts", "name", "status", "says"),
    [
        (replace(FINE, is_active=False), "deliveries", ATTENTION, "Set its status to active"),
        (replace(FINE, sent=Sent(last_at=NOW - 3 * DAY)), "deliveries", OK, "3 days ago"),
        (
            replace(FINE, sent=Sent(last_at=NOW - 3 * DAY - MINUTE)),
            "deliveries",
            ATTENTION,
            "Check that the webhook",
        ),
        (replace(FINE, sent=Sent(), created_at=NOW - 59 * MINUTE), "deliveries", OK, "Enter /hooks/1"),
        (
            replace(FINE, sent=Sent(), created_at=NOW - HOUR),
            "deliveries",
            ATTENTION,
            "ever come in 1 hour. Enter",
        ),
        (replace(FINE, untranslated=Backlog(5, NOW - MINUTE)), "translation", OK, "as they come"),
        (replace(FINE, untranslated=Backlog(5, NOW - 2 * MINUTE)), "translation", ATTENTION, "waited for 2 minutes"),
        (replace(FINE, untranslated=Backlog(5, NOW - 11 * MINUTE)), "translation", BROKEN, "worker of tracking runs"),
        (replace(FINE, sent=Sent(NOW, duplicates_day=99)), "duplicates", OK, "99 deliveries"),
        (replace(FINE, sent=Sent(NOW, duplicates_day=1)), "duplicates", OK, "1 delivery of"),
        (replace(FINE, sent=Sent(NOW, duplicates_day=100)), "duplicates", ATTENTION, "answers get back to it"),
        (replace(FINE, sent=Sent(NOW, received_day=50, duplicates_day=100)), "duplicates", OK, "counts once"),
        (replace(FINE, sent=Sent(NOW, received_day=9, rejected_signature_day=4)), "signatures", OK, "that few"),
        (
            replace(FINE, sent=Sent(NOW, received_day=9, rejected_signature_day=5)),
            "signatures",
            ATTENTION,
            "rotate it",
        ),
        (replace(FINE, sent=Sent(NOW, rejected_signature_day=1)), "signatures", BROKEN, "none accepted"),
        (replace(FINE, sent=Sent(NOW, rejected_timestamp_day=1)), "signatures", BROKEN, "Check the clocks"),
        (replace(FINE, sent=Sent(NOW, rejected_headers_day=1)), "signatures", BROKEN, "of the kind"),
        (replace(FINE, sent=Sent(NOW, rejected_address_day=2)), "signatures", BROKEN, "Set ATTAIN_PUBLIC_URL"),
        (
            replace(FINE, sent=Sent(NOW, rejected_not_allowed_day=1)),
            "signatures",
            BROKEN,
            "to `allowed` of the connection",
        ),
        (replace(FINE, quarantined=1), "quarantine", ATTENTION, "1 delivery is in quarantine and does not count"),
        (replace(FINE, quarantined=7), "quarantine", ATTENTION, "7 deliveries are in quarantine and do not count"),
        (replace(FINE, has_api=True), "api_access", ATTENTION, "Give the connection API access"),
        (
            replace(
                ASKED,
                circuit=Circuit(
                    CircuitState.OPEN, until=NOW + HOUR, trouble=Trouble.ACCESS_REFUSED, error="invalid token"
                ),
            ),
            "api_access",
            BROKEN,
            f"for 1 hour more. It said: invalid token. {WHAT_TO_DO[Trouble.ACCESS_REFUSED]}",
        ),
        (replace(ASKED, fetching=Backlog(3, NOW - 15 * MINUTE)), "fetching", OK, "is fetched"),
        (replace(ASKED, fetching=Backlog(3, NOW - 16 * MINUTE)), "fetching", ATTENTION, "3 records wait"),
        (replace(ASKED, fetching=Backlog(3, NOW - 7 * HOUR)), "fetching", BROKEN, "oldest for 7 hours"),
        (replace(ASKED, credits_remaining=0), "credits", BROKEN, "No API calls are left"),
        (replace(ASKED, credits_remaining=CREDITS_LOW - 1), "credits", ATTENTION, "Only 999"),
        (replace(ASKED, credits_remaining=CREDITS_LOW), "credits", OK, "1000 API calls are left"),
        (replace(ASKED, wants_channel=True), "channel", OK, "being opened"),
        (
            replace(ASKED, wants_channel=True, channel=channel(NOW + 2 * DAY, None)),
            "channel",
            OK,
            "ends in 2 days and is renewed before",
        ),
        (
            replace(ASKED, wants_channel=True, channel=channel(NOW + 23 * HOUR, None)),
            "channel",
            ATTENTION,
            "ends in 23 hours and could not be renewed",
        ),
        (
            replace(ASKED, wants_channel=True, channel=channel(NOW - MINUTE, "no scope")),
            "channel",
            BROKEN,
            "The CRM said: no scope.",
        ),
        (
            replace(ASKED, wants_channel=True, channel=channel(None, "no scope")),
            "channel",
            BROKEN,
            "is not open",
        ),
        (replace(ASKED, reconciled=run(RunState.FAILED, error="403")), "reconciliation", ATTENTION, "failed: 403"),
        (replace(ASKED, reconciled_at=NOW - HOUR), "reconciliation", OK, "Reconciled 1 hour ago"),
        (replace(ASKED, reconciled_at=NOW - 61 * MINUTE), "reconciliation", ATTENTION, "one every 15 minutes"),
        (replace(ASKED, reconciled_at=None), "reconciliation", ATTENTION, "has never come to its end"),
        (replace(ASKED, missed_day=4), "reconciliation", ATTENTION, "missed 4 records"),
        (
            replace(ASKED, missed_day=1),
            "reconciliation",
            ATTENTION,
            "missed 1 record; reconciliation has brought it in",
        ),
        (
            replace(ASKED, backfill=run(RunState.RUNNING, kind=RunKind.BACKFILL, seen=50)),
            "backfill",
            OK,
            "running at 25 percent, 50 records",
        ),
        (
            replace(ASKED, backfill=run(RunState.FAILED, kind=RunKind.BACKFILL, seen=50, error="410")),
            "backfill",
            ATTENTION,
            "failed at 25 percent: 410. Mend that and resume it",
        ),
        (replace(ASKED, backfill=run(RunState.PAUSED, kind=RunKind.BACKFILL)), "backfill", ATTENTION, "Resume it"),
        (replace(FINE, mapping=MappingWork(False, 200, 50, 0)), "mapping", OK, "50 of 200"),
        (replace(FINE, mapping=MappingWork(True, 200, 200, 3)), "mapping", ATTENTION, "cannot translate 3"),
    ],
)
def test_each_check_says_what_is_the_matter_and_what_to_do(
    facts: Facts, name: str, status: HealthStatus, says: str
) -> None:
    found = check(facts, CheckName(name))
    assert (found.status, says in found.sentence) == (status, True), found


def test_what_does_not_concern_a_connection_is_not_among_its_checks() -> None:
    names = {each.name for each in health(FINE, NOW).checks}
    assert names == {
        CheckName.DELIVERIES,
        CheckName.TRANSLATION,
        CheckName.DUPLICATES,
        CheckName.SIGNATURES,
        CheckName.QUARANTINE,
        *(CheckName(reason.value) for reason in UncreditedReason),
    }
    assert CheckName.CHANNEL not in {each.name for each in health(replace(ASKED, is_active=False), NOW).checks}


def test_a_reconciliation_on_demand_is_never_late() -> None:
    on_demand = Reconciliation(UUID(int=1), UUID(int=2), every_minutes=0)
    assert check(replace(ASKED, reconciliation=on_demand, reconciled_at=None), CheckName.RECONCILIATION).status is OK


def test_of_a_day_with_more_than_one_reason_each_has_its_number_and_its_own_cure() -> None:
    sent = Sent(NOW, rejected_signature_day=1, rejected_address_day=3)
    sentence = check(replace(FINE, sent=sent), CheckName.SIGNATURES).sentence
    assert sentence.startswith(
        "4 deliveries of the last 24 hours were refused, and none accepted: 3 as they were signed"
    )
    assert (
        "Set ATTAIN_PUBLIC_URL to the address that the CRM calls; the secret is right. 1 as they were not" in sentence
    )


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        (
            RemarkKind.FROM_THE_FUTURE,
            CheckName.CLOCK,
            "3 versions of the last 24 hours were dated more than five minutes after the receipt, and were ordered by "
            "that: A1 was early. Check the clock of the CRM, and what fills its modified time.",
        ),
        (
            RemarkKind.UNKNOWN_MEMBER,
            CheckName.MEMBERS,
            "3 members of what was sent in the last 24 hours were not read. The newest: /data/owner A1 was early. Have "
            "the sender name them as the hook's documentation does.",
        ),
    ],
)
def test_what_is_told_of_deliveries_needs_somebody_and_nothing_told_is_no_check(
    kind: RemarkKind, name: CheckName, says: str
) -> None:
    assert name not in {each.name for each in health(FINE, NOW).checks}
    found = check(replace(FINE, remarks={kind: Remarked(3, Remark(kind, "/data/owner", "A1 was early"), NOW)}), name)
    assert (found.status, found.sentence) == (ATTENTION, says)


@pytest.mark.parametrize(
    ("minute", "this_hour", "previous_hour", "expected"), [(0, 0, 60, 60), (30, 10, 60, 40), (59, 10, 60, 11)]
)
def test_the_last_hour_takes_its_share_of_the_hour_before(
    minute: int, this_hour: int, previous_hour: int, expected: int
) -> None:
    sent = Sent(this_hour=this_hour, previous_hour=previous_hour)
    assert sent.last_hour(NOW.replace(minute=minute)) == expected


def test_a_repair_adds_and_replaces_and_leaves_the_rest() -> None:
    mapping = SourceMapping(
        stages={"a": DealStatus.OPEN, "b": DealStatus.OPEN}, users={"1": "x"}, currency="EUR", fields={"region": "r"}
    )
    repaired = Repair({"b": DealStatus.WON}, {"2": "y"}, {"p": "q"}, None).applied(mapping)
    assert repaired == replace(
        mapping,
        stages={"a": DealStatus.OPEN, "b": DealStatus.WON},
        users={"1": "x", "2": "y"},
        pipelines={"p": "q"},
    )
    assert Repair({}, {}, {}, "USD").applied(mapping).currency == "USD"
    assert Repair({}, {}, {}, None, {"7": "lead"}).applied(mapping).teams == {"7": "lead"}


def test_a_repair_that_makes_the_mapping_too_large_names_what_is() -> None:
    mapping = SourceMapping(users={str(number): "x" for number in range(500)})
    assert Repair({}, {"7": "y"}, {}, None).applied(mapping).users["7"] == "y"
    with pytest.raises(MappingTooLarge) as refused:
        Repair({}, {"new": "y"}, {}, None).applied(mapping)
    assert [field.pointer for field in refused.value.fields] == ["/users"]


def told(**fields: object) -> Deal:
    example = EXAMPLES[Deal.event_type]
    assert isinstance(example, Deal)
    return example.model_copy(update=fields)


DELIVERY = told().delivery_id
FIRST, EARLIER, LATER = (UUID(int=DELIVERY.int + step) for step in (-2, -1, 1))


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (told(), False),
        (told(received_at=NOW), False),
        (told(stage="other"), True),
        (told(stage="other", delivery_id=LATER), False),
        (told(delivery_id=EARLIER), True),
        (told(sequence=told().sequence + 1, stage="other"), False),
        (None, True),
    ],
)
def test_a_delivery_is_translated_once_more_only_where_it_says_something_else_or_is_not_recorded(
    held: Deal | None, expected: bool
) -> None:
    event = told()
    known = StoredVersions({} if held is None else {event.id: held})
    assert differs_from_stored([event], DELIVERY, known, merges_records=False) is expected


@pytest.mark.parametrize(
    ("held", "expected"), [(told(delivery_id=EARLIER), False), (told(delivery_id=LATER, stage="other"), True)]
)
def test_where_records_are_merged_only_what_is_said_matters(held: Deal, expected: bool) -> None:
    event = told()
    assert differs_from_stored([event], DELIVERY, StoredVersions({event.id: held}), merges_records=True) is expected


@pytest.mark.parametrize(
    ("held", "originals", "expected"),
    [
        (told(delivery_id=FIRST), {}, True),
        (told(delivery_id=EARLIER), {}, False),
        (told(delivery_id=EARLIER), {EARLIER: FIRST}, True),
        (told(delivery_id=LATER), {LATER: FIRST}, False),
        (told(delivery_id=LATER), {LATER: UUID(int=1)}, True),
    ],
)
def test_a_copy_is_not_made_again_for_what_others_had_changed_since_its_original(
    held: Deal, originals: dict[UUID, UUID], expected: bool
) -> None:
    event = told()
    known = StoredVersions({event.id: held}, originals)
    assert differs_from_stored([event], FIRST, known, merges_records=False) is expected


def test_every_field_of_a_deal_but_its_version_is_its_content() -> None:
    assert Deal.model_fields.keys() - content(told()).keys() == {
        "modified_at",
        "sequence",
        "delivery_id",
        "received_at",
    }
