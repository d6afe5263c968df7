"""Whatever fails and whenever: order holds within a key, nothing is lost, nothing unsent is deleted."""

import random
from collections.abc import Collection, Iterator, Mapping
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.outbox.domain import Lane, after_round, begin
from shared.outbox.handover import HandOver
from shared.outbox.message import Appended, OutboxMessage

_KEYS = st.integers(min_value=0, max_value=3)


@settings(max_examples=100, deadline=None)
@given(keys=st.lists(_KEYS, max_size=40), seed=st.integers(), failing_share=st.sampled_from([0, 10, 50, 90]))
def test_a_relay_that_obeys_delivers_every_key_in_order(keys: list[int], seed: int, failing_share: int) -> None:
    chance = random.Random(seed)
    unsent = list(enumerate(keys))
    arrived: list[tuple[int, int]] = []
    for attempt in range(2000):
        if not unsent:
            break
        failing_now = failing_share if attempt < 1000 else 0
        held = {key for _, key in unsent if chance.randrange(100) < failing_now // 2}
        page = [(item, key) for item, key in unsent if key not in held][: chance.randrange(1, 12)]
        progress = begin((item, Lane("topic", str(key))) for item, key in page)
        while progress.next_round:
            lanes = [lane for _, lane in progress.next_round]
            assert len(set(lanes)) == len(lanes)
            succeeded = [chance.randrange(100) >= failing_now for _ in lanes]
            arrived += [
                (item, keys[item])
                for (item, _), went_out in zip(progress.next_round, succeeded, strict=True)
                if went_out
            ]
            progress = after_round(progress, succeeded)
        assert progress.acknowledged <= {item for item, _ in page}
        assert progress.acknowledged == {item for item, _ in arrived} & {item for item, _ in page}
        unsent = [(item, key) for item, key in unsent if item not in progress.acknowledged]
    assert unsent == []
    assert sorted(item for item, _ in arrived) == list(range(len(keys)))
    for key in set(keys):
        of_key = [item for item, other in arrived if other == key]
        assert of_key == sorted(of_key)


class _Writing:
    """A transaction that has written one message to each of some lanes and holds their locks until it ends."""

    def __init__(self, ids: Mapping[int, str], ahead: Collection[int], handover: HandOver | None) -> None:
        self.ids = ids
        self.ahead = ahead
        self.handover = handover


class _Outbox:
    """An outbox, writers of this process and of others, and a relay that looks at it or is handed what they wrote."""

    def __init__(self, chance: random.Random, failing_share: int) -> None:
        self._chance = chance
        self.failing_share = failing_share
        self._last_id = 0
        self.rows: dict[int, str] = {}
        self.committed: dict[int, str] = {}
        self.writing: list[_Writing] = []
        self.offers: list[_Writing] = []
        self.held: set[str] = set()
        self.sent: list[int] = []
        self.handover = HandOver(rows_max=6, bytes_max=100)
        self.relaying = self._relay()

    def write(self) -> None:
        """Begin a transaction, unless its lanes are locked."""
        lanes = self._chance.sample("abcd", self._chance.randrange(1, 3))
        if any(lane in each.ids.values() for each in self.writing for lane in lanes):
            return
        first = self._last_id + 1
        self._last_id += len(lanes)
        is_ours = self._chance.random() < 0.7 and len(self.rows) < 10
        ahead = [row_id for row_id, lane in self.rows.items() if lane in lanes]
        ids = dict(enumerate(lanes, start=first))
        self.writing.append(_Writing(ids, ahead, self.handover if is_ours else None))

    def end(self) -> None:
        """Commit or roll back a transaction; that it is committed is heard of later, or never."""
        if not self.writing:
            return
        ended = self.writing.pop(self._chance.randrange(len(self.writing)))
        if self._chance.random() < 0.2:
            return
        self.rows |= ended.ids
        self.committed |= ended.ids
        if ended.handover is not None and self._chance.random() < 0.95:
            self.offers.append(ended)

    def hear(self) -> None:
        """Hand over what was committed, in whatever order the process hears of it."""
        if self.offers:
            heard = self.offers.pop(self._chance.randrange(len(self.offers)))
            assert heard.handover is not None
            heard.handover.offer([_row(row_id, lane) for row_id, lane in heard.ids.items()], heard.ahead)

    def release(self) -> None:
        """Let a lane that failed be tried again."""
        if self.held:
            self.held.remove(self._chance.choice(sorted(self.held)))

    def crash(self) -> None:
        """Lose everything that is in memory, the lock with it."""
        self.handover = HandOver(rows_max=6, bytes_max=100)
        self.relaying = self._relay()

    def relay(self) -> None:
        """Let the relay go on until it waits for a server again."""
        next(self.relaying)

    def _relay(self) -> Iterator[None]:
        handover = self.handover
        while True:
            if handover.is_empty or self._chance.random() < 0.2:
                unsent = [
                    _row(row_id, self.rows[row_id])
                    for row_id in sorted(self.rows)
                    if row_id not in handover.published and self.rows[row_id] not in self.held
                ]
                for row_id in handover.published:
                    del self.rows[row_id]
                page = unsent[: self._chance.randrange(1, 8)]
                yield
                handover.looked(page, [])
            else:
                page, _ = handover.take((), ())
            progress = begin((row.id, row.message.lane) for row in page)
            while progress.next_round:
                succeeded = [self._chance.randrange(100) >= self.failing_share for _ in progress.next_round]
                self.sent += [row_id for (row_id, _), ok in zip(progress.next_round, succeeded, strict=True) if ok]
                yield
                progress = after_round(progress, succeeded)
            self.held |= {lane.key for lane in progress.stuck}
            handover.settle(progress.acknowledged, [], progress.stuck)
            yield


def _row(row_id: int, lane: str) -> Appended:
    return Appended(row_id, OutboxMessage(UUID(int=0), "topic", lane, (), bytes(row_id % 7)), 0.0)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(), failing_share=st.sampled_from([0, 10, 50]), crashes=st.booleans())
def test_what_is_handed_over_goes_out_in_order_with_what_is_found(seed: int, failing_share: int, crashes: bool) -> None:
    chance = random.Random(seed)
    outbox = _Outbox(chance, failing_share)
    acts = [outbox.write, outbox.end, outbox.hear, outbox.relay, outbox.relay, outbox.release]
    for _ in range(400):
        chance.choice(acts)()
        if crashes and chance.random() < 0.01:
            outbox.crash()
    outbox.failing_share = 0
    outbox.writing.clear()
    for _ in range(400):
        outbox.hear()
        outbox.release()
        outbox.relay()
    assert outbox.rows == {}
    assert set(outbox.sent) == set(outbox.committed)
    assert crashes or len(outbox.sent) == len(outbox.committed)
    for lane in "abcd":
        sent = [row_id for row_id in outbox.sent if outbox.committed[row_id] == lane]
        first_times = list(dict.fromkeys(sent))
        assert first_times == sorted(first_times)
        assert sent[-1:] == first_times[-1:]
