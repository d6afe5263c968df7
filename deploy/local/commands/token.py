"""`attain token`: a development token on standard output."""

from typing import Annotated
from uuid import UUID

import typer

from deploy.local.configuration import state_folder
from deploy.local.secrets import jwt_secret
from deploy.local.tenancy import DEVELOPMENT_PERSON_ID, DEVELOPMENT_TENANT_ID
from shared.http.auth import Role, issue_token
from shared.http.settings import HttpSettings


def token(
    role: Annotated[list[Role], typer.Option(help="May be given more than once.")],
    person: Annotated[
        UUID | None,
        typer.Option(help="Id of the person the token is for; else the developer, or nobody for a service."),
    ] = None,
    tenant: Annotated[UUID, typer.Option(help="Id of the tenant.")] = DEVELOPMENT_TENANT_ID,
    ttl_seconds: Annotated[int, typer.Option(min=60, help="How long it is valid.")] = 86_400,
) -> None:
    """Print a token signed with ATTAIN_JWT_SECRET, or with the key of the state folder."""
    if person is None and set(role) != {Role.SERVICE}:
        person = DEVELOPMENT_PERSON_ID
    settings = HttpSettings(jwt_secret=jwt_secret(state_folder()))
    typer.echo(
        issue_token(settings, tenant_id=tenant, person_id=person, roles=frozenset(role), ttl_seconds=ttl_seconds)
    )
