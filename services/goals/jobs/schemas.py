"""Answers of jobs."""

from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue

from services.goals.jobs.domain import Failure, Job, JobState
from shared.contracts.base import Instant
from shared.http.schemas import body_example
from shared.kernel.errors import FieldError

_JOB: dict[str, JsonValue] = {
    "id": "01935a00-0000-7000-8000-000000000081",
    "version": 1,
    "kind": "activate_goals",
    "state": "running",
    "requested_by": "01935a00-0000-7000-8000-000000000012",
    "requested_at": "2026-01-02T09:00:00Z",
    "reason": "The year's plan",
    "started_at": "2026-01-02T09:00:01Z",
    "ended_at": None,
    "total": 110000,
    "done": 27500,
    "percent": 25,
    "per_minute": 90000,
    "seconds_left": 55,
    "counts": {"activated": 27499, "refused": 1},
    "problems": [
        {
            "pointer": "/goals/01935a00-0000-7000-8000-000000000031",
            "message": "10.5 can not be counted to",
            "accepted": "a whole number",
        }
    ],
    "failure": None,
}


class FieldAnswer(BaseModel):
    """Something that is wrong."""

    pointer: str = Field(description="JSON pointer to it, in words of the kind of job.")
    message: str
    accepted: str | None = Field(description="What would be accepted.")

    @classmethod
    def of(cls, field: FieldError) -> Self:
        return cls(pointer=field.pointer, message=field.message, accepted=field.accepted)


class FailureAnswer(BaseModel):
    """What ended a job."""

    code: str
    detail: str
    fields: list[FieldAnswer]

    @classmethod
    def of(cls, failure: Failure) -> Self:
        return cls(code=failure.code, detail=failure.detail, fields=[FieldAnswer.of(field) for field in failure.fields])


class JobAnswer(BaseModel):
    """Work on many things, and how far it is."""

    model_config = body_example(**_JOB)

    id: UUID
    version: int = Field(ge=1, description="Grows when it is changed, and at its end; its ETag goes into If-Match.")
    kind: str
    state: JobState
    requested_by: UUID | None = Field(description="The person; null for a service.")
    requested_at: Instant
    reason: str | None = Field(description="Why, in the words of who requested it.")
    started_at: Instant | None
    ended_at: Instant | None
    total: int | None = Field(description="How many things there are to work at; null where nobody knows yet.")
    done: int
    percent: int | None = Field(description="100 only once it is done.")
    per_minute: int | None = Field(description="How many things a minute while it is worked at.")
    seconds_left: int | None = Field(description="At the rate so far.")
    counts: dict[str, int] = Field(description="What became of how many, in words of the kind of job.")
    problems: list[FieldAnswer] = Field(description="The first 100 things that were left out, and why.")
    failure: FailureAnswer | None = Field(description="What ended it, where it has failed.")

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            id=job.id,
            version=job.version,
            kind=job.kind,
            state=job.state,
            requested_by=job.requested_by.person_id,
            requested_at=job.requested_at,
            reason=job.reason,
            started_at=job.started_at,
            ended_at=job.ended_at,
            total=job.total,
            done=job.done,
            percent=job.percent,
            per_minute=job.per_minute,
            seconds_left=job.seconds_left,
            counts=dict(job.counts),
            problems=[FieldAnswer.of(problem) for problem in job.problems],
            failure=None if job.failure is None else FailureAnswer.of(job.failure),
        )
