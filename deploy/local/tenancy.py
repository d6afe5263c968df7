"""The tenant of local development."""

from uuid import UUID

DEVELOPMENT_TENANT_ID = UUID("01980000-0000-7000-8000-000000000001")
"""Whom seeded data belongs to and `attain token` speaks for unless told otherwise."""
