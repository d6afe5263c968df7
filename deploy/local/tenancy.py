"""The tenant of local development, and who works there."""

from uuid import UUID

DEVELOPMENT_TENANT_ID = UUID("01980000-0000-7000-8000-000000000001")
"""Whom seeded data belongs to and `attain token` speaks for unless told otherwise."""

DEVELOPMENT_PERSON_ID = UUID("01980000-0000-7000-8000-000000000002")
"""Who holds the tokens of `attain token` unless told otherwise; a service is nobody."""
