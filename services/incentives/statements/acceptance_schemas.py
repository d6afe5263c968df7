"""Requests and answers of acceptances."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field

from services.incentives.statements.plan_documents import Accepting
from shared.http.schemas import body_example, example
from shared.kernel.language import Language


class AcceptanceBody(BaseModel):
    """The person accepts the version."""

    model_config = body_example(language="zh")

    language: Language = Field(Language.ENGLISH, description="What the document was read in.")


class PlanAcceptanceAnswer(BaseModel):
    """A person whom the version pays, and whether it has accepted it."""

    model_config = example(
        person_id="01935a00-0000-7000-8000-000000000011",
        person_name="Darcel Schlecht",
        employee_number="E-1042",
        accepted_at="2026-01-05T08:30:00Z",
        language="zh",
        terms_digest="5f0c7c3a9a1c8f2b6d1e4a7b9c0d3e5f60718293a4b5c6d7e8f9012345678abc",
        personal_digest="0b1c7c3a9a1c8f2b6d1e4a7b9c0d3e5f60718293a4b5c6d7e8f9012345678abc",
    )

    person_id: UUID
    person_name: str | None = Field(description="Null while the organisation has not published the person.")
    employee_number: str | None
    accepted_at: datetime | None = Field(description="Null until it has accepted.")
    language: Language | None = Field(description="What the document was read in.")
    terms_digest: str | None = Field(description="SHA-256 of the terms that were accepted, as it is on the document.")
    personal_digest: str | None = Field(
        description="SHA-256 of the person's own quotas, target variable, ramp, leave and days when it accepted, as it "
        "is on the document for the person. Null where it was not kept yet."
    )

    @classmethod
    def of(cls, found: Accepting) -> Self:
        payee, acceptance = found.payee, found.acceptance
        return cls(
            person_id=payee.person_id,
            person_name=payee.name,
            employee_number=payee.employee_number,
            accepted_at=None if acceptance is None else acceptance.accepted_at,
            language=None if acceptance is None else acceptance.language,
            terms_digest=None if acceptance is None else acceptance.terms_digest,
            personal_digest=None if acceptance is None else acceptance.personal_digest,
        )
