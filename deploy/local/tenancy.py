"""The tenant of local development, and who works there."""

from uuid import UUID

DEVELOPMENT_TENANT_ID = UUID("01980000-0000-7000-8000-000000000001")
"""The tenant of seeded data and of `attain token` by default."""

DEVELOPMENT_PERSON_ID = UUID("01980000-0000-7000-8000-000000000002")
"""The person of `attain token` by default; a service is nobody."""
