"""When a source may be called, what answers lead to, and what a source's records are worth."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from services.tracking.intake.calling.domain import (
    ATTEMPTS_MAX,
    FAILURES_TO_OPEN,
    RATE_LIMITED_MAX,
    Accept,
    Again,
    Attempts,
    CallLimits,
    CallState,
    CircuitState,
    Full,
    GiveUp,
    Go,
    Later,
    Refresh,
    Refused,
    Trouble,
    admit,
    next_step,
    opened,
    recorded,
    released,
)
from services.tracking.intake.inbox.events import activity_event_of, event_of
from services.tracking.intake.inbox.fetched import FetchedReply
from services.tracking.intake.sources.adapter import Fetch, Statement
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import Judgement, Limit, RecordChange, Source, Verdict
from services.tracking.intake.sources.source_api import Gone, RawRecord
from services.tracking.intake.sync.domain import (
    ChannelState,
    Finding,
    Found,
    Phase,
    Reconciliation,
    Run,
    RunKind,
    RunNotInState,
    RunState,
    channel_id,
    first_phase,
)
from services.tracking.intake.sync.findings import ReadRecord, StoredRecords, finding_of, portions
from shared.contracts.deals import Deal
from shared.kernel.activities import ActivityType
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.ids import activity_id, deal_id
from tests.played.connections import connection_of

NOW = datetime(2026, 3, 31, 18, 40, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TERMS = CallLimits((), concurrent_max=2, wait_max=timedelta(seconds=60), call_max=timedelta(seconds=35))
OK = Judgement(Verdict.OK)
UNWELL = Judgement(Verdict.TRANSIENT, detail="503")


def asked(state: CallState, now: datetime = NOW, *, is_requested: bool = False, terms: CallLimits = TERMS) -> CallState:
    """The state in which a call was let through."""
    state, admission = admit(state, terms, endpoint="", call_id=uuid4(), now=now, is_requested=is_requested)
    assert isinstance(admission, Go)
    return state


def failed(times: int, state: CallState | None = None, now: datetime = NOW) -> CallState:
    state = state or CallState()
    for _ in range(times):
        state = recorded(state, uuid4(), UNWELL, now=now)
    return state


def refusal(state: CallState, now: datetime) -> Later:
    _, admission = admit(state, TERMS, endpoint="", call_id=uuid4(), now=now)
    assert isinstance(admission, Later)
    return admission


def test_a_call_is_made_at_once_when_nothing_speaks_against_it() -> None:
    _, admission = admit(CallState(), TERMS, endpoint="", call_id=uuid4(), now=NOW)
    assert admission == Go(NOW)


def test_no_more_calls_are_under_way_than_the_source_takes_and_a_lost_one_frees_its_place_in_time() -> None:
    state = asked(asked(CallState()))
    same, admission = admit(state, TERMS, endpoint="", call_id=uuid4(), now=NOW + 34 * SECOND)
    assert isinstance(admission, Full)
    assert same is state
    assert asked(state, NOW + 35 * SECOND)


@pytest.mark.parametrize("end", ["recorded", "released"])
def test_an_answered_call_frees_its_place(end: str) -> None:
    first = uuid4()
    state, _ = admit(CallState(), TERMS, endpoint="", call_id=first, now=NOW)
    state = asked(state)
    state = recorded(state, first, OK, now=NOW) if end == "recorded" else released(state, first)
    assert asked(state)


def test_calls_are_spread_as_the_limit_says_and_one_that_would_wait_too_long_is_not_noted() -> None:
    terms = replace(TERMS, limits=(Limit(2, 10 * SECOND),), concurrent_max=100, wait_max=10 * SECOND)
    state, times = CallState(), []
    for _ in range(4):
        state, admission = admit(state, terms, endpoint="", call_id=uuid4(), now=NOW)
        assert isinstance(admission, Go)
        times.append(admission.at)
    assert times == [NOW, NOW, NOW + 10 * SECOND, NOW + 10 * SECOND]
    same, admission = admit(state, terms, endpoint="", call_id=uuid4(), now=NOW)
    assert same is state
    assert isinstance(admission, Later)
    assert (admission.until, admission.trouble) == (NOW + 20 * SECOND, Trouble.RATE_LIMITED)


def test_endpoints_that_are_limited_one_by_one_do_not_hold_up_each_other() -> None:
    terms = replace(TERMS, limits=(Limit(1, 10 * SECOND, is_per_endpoint=True),), concurrent_max=100)
    state, first = admit(CallState(), terms, endpoint="get", call_id=uuid4(), now=NOW)
    state, other = admit(state, terms, endpoint="query", call_id=uuid4(), now=NOW)
    state, again = admit(state, terms, endpoint="get", call_id=uuid4(), now=NOW)
    assert [first, other, again] == [Go(NOW), Go(NOW), Go(NOW + 10 * SECOND)]


def test_the_circuit_opens_after_some_failures_in_a_row_and_says_until_when_and_why() -> None:
    state = failed(FAILURES_TO_OPEN - 1)
    assert state.circuit.state is CircuitState.CLOSED
    state = failed(1, state)
    assert state.circuit.state is CircuitState.OPEN
    assert (state.circuit.since, state.circuit.error) == (NOW, "503")
    assert refusal(state, NOW + 9 * SECOND) == Later(NOW + 10 * SECOND, Trouble.UNWELL, "503")


def test_a_success_between_failures_keeps_the_circuit_closed() -> None:
    state = recorded(failed(FAILURES_TO_OPEN - 1), uuid4(), OK, now=NOW)
    assert failed(FAILURES_TO_OPEN - 1, state).circuit.state is CircuitState.CLOSED


def test_one_probe_is_let_through_after_the_pause_and_its_success_closes_the_circuit() -> None:
    later = NOW + 11 * SECOND
    probing = asked(failed(FAILURES_TO_OPEN), later)
    assert probing.circuit.state is CircuitState.HALF_OPEN
    assert refusal(probing, later).trouble is Trouble.UNWELL
    closed = recorded(probing, uuid4(), OK, now=later)
    assert closed.circuit.state is CircuitState.CLOSED
    assert (closed.circuit.failures, closed.circuit.trouble, closed.circuit.since) == (0, None, later)


def test_a_probe_that_fails_opens_the_circuit_for_twice_as_long_up_to_a_bound() -> None:
    state, now, pauses = failed(FAILURES_TO_OPEN), NOW, []
    for _ in range(9):
        assert state.circuit.until is not None
        pauses.append(state.circuit.until - now)
        now = state.circuit.until
        state = failed(1, asked(state, now), now)
    assert pauses[:4] == [10 * SECOND, 20 * SECOND, 40 * SECOND, 80 * SECOND]
    assert pauses[-1] == timedelta(minutes=15)
    assert state.circuit.since == NOW


def test_a_probe_that_is_lost_is_followed_by_another() -> None:
    probing = asked(failed(FAILURES_TO_OPEN), NOW + 11 * SECOND)
    assert refusal(probing, NOW + 70 * SECOND)
    assert asked(probing, NOW + 71 * SECOND).circuit.state is CircuitState.HALF_OPEN


def test_calls_that_fail_together_open_the_circuit_once() -> None:
    state = failed(FAILURES_TO_OPEN + 3)
    assert state.circuit.until == NOW + 10 * SECOND


def test_a_success_from_before_does_not_close_a_circuit_that_has_opened() -> None:
    state = recorded(CallState(), uuid4(), Judgement(Verdict.QUOTA_EXHAUSTED, detail="none left"), now=NOW)
    state = recorded(state, uuid4(), OK, now=NOW)
    assert refusal(state, NOW).trouble is Trouble.QUOTA_EXHAUSTED


def test_an_exhausted_quota_stops_calls_until_the_source_says_or_for_an_hour() -> None:
    told = Judgement(Verdict.QUOTA_EXHAUSTED, timedelta(hours=5), "tomorrow")
    assert recorded(CallState(), uuid4(), told, now=NOW).circuit.until == NOW + timedelta(hours=5)
    untold = Judgement(Verdict.QUOTA_EXHAUSTED)
    assert recorded(CallState(), uuid4(), untold, now=NOW).circuit.until == NOW + timedelta(hours=1)


def test_somebody_who_asks_whether_it_works_gets_through_an_open_circuit() -> None:
    state = opened(CallState(), Trouble.ACCESS_REFUSED, "invalid_client", now=NOW)
    assert refusal(state, NOW).detail == "invalid_client"
    assert asked(state, NOW, is_requested=True).circuit.state is CircuitState.HALF_OPEN


def test_a_pause_the_source_asks_for_holds_for_everybody_and_opens_nothing() -> None:
    state = CallState()
    for _ in range(FAILURES_TO_OPEN):
        state = recorded(state, uuid4(), Judgement(Verdict.RATE_LIMITED, 7 * SECOND), now=NOW)
    assert state.circuit.state is CircuitState.CLOSED
    _, admission = admit(state, TERMS, endpoint="", call_id=uuid4(), now=NOW + SECOND)
    assert admission == Go(NOW + 7 * SECOND)


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    state = recorded(CallState(), uuid4(), Judgement(Verdict.RATE_LIMITED, 30 * SECOND), now=NOW)
    state = recorded(state, uuid4(), Judgement(Verdict.RATE_LIMITED, 1 * SECOND), now=NOW)
    assert state.not_before == NOW + 30 * SECOND


def test_credits_stay_known_when_an_answer_does_not_tell_them() -> None:
    state = recorded(CallState(), uuid4(), replace(OK, credits_remaining=17), now=NOW)
    assert recorded(state, uuid4(), OK, now=NOW).credits_remaining == 17


def test_an_expired_token_is_replaced_once() -> None:
    expired = Judgement(Verdict.TOKEN_EXPIRED)
    step = next_step(Attempts(), expired, chance=0.5)
    assert isinstance(step, Refresh)
    again = next_step(step.attempts, expired, chance=0.5)
    assert isinstance(again, GiveUp)
    assert again.trouble is Trouble.ACCESS_REFUSED


@pytest.mark.parametrize(
    ("verdict", "tries", "trouble"),
    [
        (Verdict.TRANSIENT, ATTEMPTS_MAX, Trouble.UNWELL),
        (Verdict.RATE_LIMITED, RATE_LIMITED_MAX, Trouble.RATE_LIMITED),
    ],
)
def test_a_call_is_tried_a_few_times_with_growing_pauses(verdict: Verdict, tries: int, trouble: Trouble) -> None:
    attempts, pauses = Attempts(), []
    for _ in range(tries - 1):
        step = next_step(attempts, Judgement(verdict), chance=1)
        assert isinstance(step, Again)
        attempts = step.attempts
        pauses.append(step.after)
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]
    last = next_step(attempts, Judgement(verdict), chance=1)
    assert isinstance(last, GiveUp)
    assert last.trouble is trouble


def test_beside_the_pause_that_a_source_asks_for_there_is_none() -> None:
    asked = Judgement(Verdict.RATE_LIMITED, timedelta(seconds=1))
    attempts = Attempts()
    for _ in range(RATE_LIMITED_MAX - 1):
        step = next_step(attempts, asked, chance=1)
        assert isinstance(step, Again)
        assert step.after == timedelta(0)
        attempts = step.attempts
    last = next_step(attempts, asked, chance=1)
    assert isinstance(last, GiveUp)
    assert last.pause == timedelta(seconds=1)


def test_pauses_are_anything_up_to_their_bound() -> None:
    steps = [next_step(Attempts(), UNWELL, chance=chance) for chance in (0, 0.5, 1)]
    assert [step.after for step in steps if isinstance(step, Again)] == [
        timedelta(0),
        timedelta(milliseconds=500),
        timedelta(seconds=1),
    ]


def test_a_refused_call_is_not_tried_again() -> None:
    assert next_step(Attempts(), Judgement(Verdict.REFUSED), chance=1) == Refused()
    assert next_step(Attempts(), OK, chance=1) == Accept()


CONNECTION = connection_of(Source.HUBSPOT)
DEAL = CanonicalDeal(
    external_id="1", modified_at=NOW, status=DealStatus.WON, amount=Decimal("10"), owner_external_id="7"
)


def found_of(said: Statement | None, held: CanonicalDeal | None = DEAL, *, is_merged: bool = False) -> Finding:
    known: dict[UUID, Deal] = {}
    if held is not None:
        event = event_of(held, CONNECTION, delivery_id=uuid4(), received_at=NOW)
        known[deal_id(CONNECTION.id, held.external_id)] = event
    return finding_of(None if said is None else [said], StoredRecords(known, {}), CONNECTION.id, is_merged=is_merged)


def test_a_record_is_missing_when_it_is_unknown_newer_or_of_the_same_time_and_different() -> None:
    assert found_of(DEAL) is Finding.KNOWN
    assert found_of(DEAL, None) is Finding.NEW
    assert found_of(DEAL.model_copy(update={"modified_at": NOW + SECOND})) is Finding.CHANGED
    assert found_of(DEAL.model_copy(update={"amount": Decimal("11")})) is Finding.CHANGED
    assert found_of(DEAL.model_copy(update={"amount": Decimal("10.00"), "sequence": 99})) is Finding.KNOWN


def test_an_older_state_is_not_missing_whatever_it_says() -> None:
    older = DEAL.model_copy(update={"modified_at": NOW - SECOND, "amount": Decimal("11")})
    assert found_of(older) is Finding.KNOWN


def test_a_deletion_is_missing_for_a_deal_that_is_held_as_present_and_told_of_one_that_is_not_held() -> None:
    deleted = CanonicalDeal(external_id="1", kind=DealKind.DELETED, modified_at=NOW)
    assert found_of(deleted) is Finding.DELETED
    assert found_of(deleted, None) is Finding.UNCOMPARED
    assert found_of(deleted, deleted) is Finding.KNOWN
    assert found_of(deleted, DEAL.model_copy(update={"modified_at": NOW + SECOND})) is Finding.KNOWN


def test_a_deal_that_is_held_as_deleted_at_the_same_time_but_is_there_is_missing() -> None:
    assert found_of(DEAL, DEAL.model_copy(update={"kind": DealKind.DELETED})) is Finding.CHANGED


def test_a_record_put_together_from_changes_is_missing_whatever_differs_although_it_is_as_new() -> None:
    older = DEAL.model_copy(update={"modified_at": NOW - SECOND, "amount": Decimal("11")})
    newer = DEAL.model_copy(update={"modified_at": NOW + SECOND})
    assert found_of(older, is_merged=True) is Finding.CHANGED
    assert found_of(newer, is_merged=True) is Finding.KNOWN
    assert found_of(RecordChange("Opportunity", "1", {}, NOW, is_deleted=True), is_merged=True) is Finding.DELETED
    assert found_of(RecordChange("Opportunity", "1", {}, NOW), is_merged=True) is Finding.KNOWN
    assert found_of(RecordChange("Opportunity", "1", {}, NOW + SECOND), is_merged=True) is Finding.CHANGED
    assert found_of(RecordChange("Opportunity", "1", {}, NOW), None, is_merged=True) is Finding.NEW


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("products", [{"sku": "A", "quantity": "2"}, {"sku": "B", "amount": "7.5"}]),
        ("splits", [{"owner_external_id": "7", "percent": "60"}, {"owner_external_id": "8", "percent": "40"}]),
        ("payments", [{"paid_on": "2026-04-01", "amount": "5"}, {"paid_on": "2026-04-02", "amount": "5"}]),
    ],
)
def test_the_parts_of_a_deal_are_compared_in_whatever_order_they_are_told(
    name: str, parts: list[dict[str, object]]
) -> None:
    def deal(*some: dict[str, object]) -> CanonicalDeal:
        return CanonicalDeal.model_validate({**DEAL.model_dump(), name: some})

    one, other = parts
    assert found_of(deal(one, other), deal(other, one)) is Finding.KNOWN
    assert found_of(deal(one), deal(one, other)) is Finding.CHANGED
    assert found_of(deal(one, one), deal(one, other)) is Finding.CHANGED


def test_an_activity_is_missing_by_the_same_rules() -> None:
    call = CanonicalActivity(external_id="1", modified_at=NOW, type=ActivityType.CALL, owner_external_id="7")
    event = activity_event_of(call, CONNECTION, delivery_id=uuid4(), received_at=NOW)
    known = StoredRecords({}, {activity_id(CONNECTION.id, "1"): event})

    def found_of_activity(held: StoredRecords = known, **changes: object) -> Finding:
        return finding_of([call.model_copy(update=changes)], held, CONNECTION.id)

    assert found_of_activity(StoredRecords({}, {})) is Finding.NEW
    assert found_of_activity() is Finding.KNOWN
    assert found_of_activity(sequence=7) is Finding.KNOWN
    assert found_of_activity(outcome="reached") is Finding.CHANGED
    assert found_of_activity(modified_at=NOW - SECOND, outcome="reached") is Finding.KNOWN
    assert found_of_activity(modified_at=NOW + SECOND) is Finding.CHANGED
    assert found_of_activity(is_deleted=True) is Finding.DELETED
    assert found_of_activity(StoredRecords({}, {}), is_deleted=True) is Finding.UNCOMPARED


def test_what_cannot_be_compared_or_read_is_stored_all_the_same() -> None:
    assert found_of(Fetch("payments", "3")) is Finding.UNCOMPARED
    assert found_of(None) is Finding.UNREADABLE


def read(*numbers: int, said: Sequence[Statement] | None = ()) -> list[ReadRecord]:
    return [ReadRecord(FetchedReply(RawRecord("deals", str(number), {"id": number})), said) for number in numbers]


def test_deliveries_hold_a_hundred_records_at_most_and_what_cannot_be_read_goes_alone() -> None:
    records = read(*range(150)) + read(998, 999, said=None)
    made = list(portions(records, [Gone("deals", "7")]))
    assert [(len(portion.records), len(portion.gone)) for portion in made] == [(100, 0), (50, 1), (1, 0), (1, 0)]


def test_the_same_record_has_the_same_digest_and_a_changed_one_another() -> None:
    first, again, other = read(1)[0], read(1)[0], read(2)[0]
    assert first.digest == again.digest != other.digest


def run(kind: RunKind = RunKind.BACKFILL) -> Run:
    return Run(uuid4(), uuid4(), uuid4(), kind, True, None, NOW, NOW, first_phase(kind))


def test_a_backfill_says_how_far_it_is_how_fast_and_how_long_it_takes() -> None:
    walking = replace(run(), total=1000).worked(Found(seen=250, new=240), calls=3, worked_ms=5000)
    assert (walking.percent, walking.records_per_hour, walking.seconds_left) == (25, 180_000, 15)
    assert (walking.seen, walking.missed, walking.calls) == (250, 240, 3)


def test_a_backfill_of_more_than_was_counted_is_not_done_before_its_end() -> None:
    walking = replace(run(), total=10).worked(Found(seen=12), calls=1, worked_ms=1000)
    assert walking.percent == 99
    assert walking.seconds_left == 0
    done = replace(walking, phase=Phase.CHANGED).moved(None, NOW)
    assert (done.state, done.percent, done.ended_at) == (RunState.DONE, 100, NOW)


def test_a_reconciliation_asks_for_what_changed_what_was_deleted_and_the_users() -> None:
    walking = run(RunKind.RECONCILIATION)
    phases = [walking.phase]
    while (walking := walking.moved(None, NOW)).state is RunState.RUNNING:
        phases.append(walking.phase)
    assert phases == [Phase.CHANGED, Phase.DELETED, Phase.USERS]
    without = replace(run(RunKind.RECONCILIATION), with_users=False, phase=Phase.DELETED)
    assert without.moved(None, NOW).state is RunState.DONE


def test_a_cursor_stays_within_its_phase() -> None:
    walking = replace(run(), phase=Phase.CHANGED).moved("page-2", NOW)
    assert (walking.phase, walking.cursor) == (Phase.CHANGED, "page-2")


def test_a_run_can_be_paused_resumed_and_cancelled_but_not_once_it_has_ended() -> None:
    paused = run().paused()
    assert paused.resumed(NOW).state is RunState.RUNNING
    cancelled = paused.cancelled(NOW)
    for change in (cancelled.paused, lambda: cancelled.resumed(NOW), lambda: cancelled.cancelled(NOW)):
        with pytest.raises(RunNotInState):
            change()
    assert run().failed("refused", NOW).resumed(NOW).ended_at is None


def test_a_run_that_is_resumed_is_no_longer_that_of_the_worker_who_was_at_it() -> None:
    assert replace(run(), lease_id=uuid4()).paused().resumed(NOW).lease_id is None


def test_the_next_reconciliation_starts_some_time_before_what_is_known_to_be_complete() -> None:
    fresh = Reconciliation(uuid4(), uuid4())
    assert fresh.since(NOW) < NOW
    assert replace(fresh, mark=NOW + timedelta(hours=3)).since(NOW) == NOW + timedelta(hours=2, minutes=50)


def test_a_channel_is_renewed_when_half_of_its_time_is_over_and_opened_anew_when_it_was_refused() -> None:
    channel = ChannelState(uuid4(), uuid4(), "1", NOW).opened(uuid4(), NOW + timedelta(days=6), NOW)
    assert channel.due_at == NOW + timedelta(days=3)
    unavailable = channel.failed("503", NOW, until=NOW + timedelta(minutes=10), is_refused=False)
    assert (unavailable.expires_at, unavailable.due_at) == (channel.expires_at, NOW + timedelta(minutes=10))
    assert channel.failed("unknown channel", NOW, until=None, is_refused=True).expires_at is None


def test_a_channels_id_is_of_digits_and_differs_between_connections() -> None:
    ids = {channel_id(uuid4()) for _ in range(100)}
    assert len(ids) == 100
    assert all(each.isdigit() and len(each) == 18 for each in ids)
