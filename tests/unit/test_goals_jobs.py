"""The states of a job, and how far it says it is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.goals.jobs.domain import PROBLEMS_MAX, Chunk, Failure, Job, JobNotInState, JobState
from shared.kernel.approvals import SERVICE
from shared.kernel.errors import FieldError

NOW = datetime(2026, 1, 2, 9, tzinfo=UTC)
LATER = NOW + timedelta(seconds=3)


def job(total: int | None = 1000) -> Job:
    return Job(UUID(int=1), "counting", {}, SERVICE, NOW, total=total)


def test_a_job_goes_on_chunk_by_chunk_until_the_one_that_leaves_no_cursor() -> None:
    begun = job().worked(Chunk(250, "250", {"made": 249, "refused": 1}), worked_ms=500, now=NOW)
    assert (begun.state, begun.version, begun.started_at, begun.ended_at) == (JobState.RUNNING, 1, NOW, None)
    assert (begun.percent, begun.per_minute, begun.seconds_left) == (25, 30_000, 2)
    ended = begun.worked(Chunk(750, None, {"made": 750}), worked_ms=1500, now=LATER)
    assert (ended.state, ended.version, ended.started_at, ended.ended_at) == (JobState.DONE, 2, NOW, LATER)
    assert (ended.percent, ended.per_minute, ended.seconds_left) == (100, 30_000, None)
    assert ended.counts == {"made": 999, "refused": 1}


def test_a_job_says_nothing_of_what_it_cannot_know_and_never_that_it_is_done_before_it_is() -> None:
    assert (job().percent, job().per_minute, job().seconds_left) == (0, None, None)
    uncounted = job(None).worked(Chunk(10, "10"), worked_ms=60_000, now=NOW)
    assert (uncounted.percent, uncounted.per_minute, uncounted.seconds_left) == (None, 10, None)
    counted = uncounted.worked(Chunk(10, "20", total=40), worked_ms=60_000, now=NOW)
    assert (counted.percent, counted.seconds_left) == (50, 120)
    more_than_said = job(10).worked(Chunk(12, "12"), worked_ms=1, now=NOW)
    assert (more_than_said.percent, more_than_said.seconds_left) == (99, 0)
    assert job(0).percent == 99


def test_of_many_problems_the_first_are_listed() -> None:
    problems = [FieldError(f"/{number}", "is wrong") for number in range(PROBLEMS_MAX + 1)]
    worked = job().worked(Chunk(1, "1", problems=problems[:60]), worked_ms=1, now=NOW)
    worked = worked.worked(Chunk(1, "2", problems=problems[60:]), worked_ms=1, now=NOW)
    assert worked.problems == tuple(problems[:PROBLEMS_MAX])


def test_a_job_is_changed_only_in_a_state_that_can_be_left_that_way() -> None:
    queued, running = job(), job().worked(Chunk(1, "1"), worked_ms=1, now=NOW)
    paused, done = running.paused(), running.worked(Chunk(1, None), worked_ms=1, now=NOW)
    failed, cancelled = running.failed(Failure("code", "Why"), NOW), running.cancelled(NOW)
    states = [queued, running, paused, done, failed, cancelled]

    def allowed(change: Callable[[Job], Job]) -> list[JobState]:
        found = []
        for each in states:
            try:
                changed = change(each)
            except JobNotInState as error:
                assert each.state in error.detail
                continue
            assert (changed.version, changed.done, changed.cursor) == (each.version + 1, each.done, each.cursor)
            found.append(each.state)
        return found

    assert allowed(Job.paused) == [JobState.QUEUED, JobState.RUNNING]
    assert allowed(Job.resumed) == [JobState.PAUSED, JobState.FAILED]
    assert allowed(lambda each: each.cancelled(LATER)) == [
        JobState.QUEUED,
        JobState.RUNNING,
        JobState.PAUSED,
        JobState.FAILED,
    ]
    assert (failed.failure, failed.ended_at) == (Failure("code", "Why"), NOW)
    assert (failed.resumed().failure, failed.resumed().ended_at) == (None, None)
    with pytest.raises(JobNotInState, match="queued or running"):
        done.paused()
