"""Connections on the wire."""

from datetime import datetime, timedelta
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, JsonValue, StringConstraints, model_validator

from services.tracking.intake.connections.domain import Connection, ConnectionStatus
from services.tracking.intake.connections.service import WithSecret
from services.tracking.intake.sources.canonical import MAPPABLE_FIELDS
from services.tracking.intake.sources.domain import InstalmentFields, ProductFields, Source, SourceMapping, TeamShare
from shared.contracts.base import Currency
from shared.contracts.deals import Percent
from shared.contracts.texts import Name
from shared.http.schemas import body_example, example
from shared.http.secrets import SecretAnswer
from shared.kernel.deals import DealStatus
from shared.kernel.rotation import OVERLAP_DAYS_MAX
from shared.kernel.words import accepted_names

_ENTRIES_MAX: Final = 500

Entries = Annotated[dict[Name, Name], Field(max_length=_ENTRIES_MAX)]


def _mappable(field: str) -> str:
    if field not in MAPPABLE_FIELDS:
        raise ValueError(accepted_names(field, MAPPABLE_FIELDS))
    return field


FieldPaths = Annotated[dict[Annotated[str, AfterValidator(_mappable)], Name], Field(max_length=_ENTRIES_MAX)]
"""Canonical field → where the source's deal has it, as a dotted path."""
AllowList = Annotated[dict[Name, tuple[Name, ...]], Field(max_length=20)]
_ALLOWED_DESCRIPTION: Final = (
    "What the sender may say of itself, such as `organization_id` of Salesforce: name → the values that are accepted."
)

_MAPPING_EXAMPLE: Final[dict[str, JsonValue]] = {
    "stages": {"5": "won", "6": "lost"},
    "fields": {"region": "custom_fields.9dc80c50d78a15643bfc4ca79d76156a73a1ca0e"},
    "custom_fields": {"3b5e8d5a1c": "competitor"},
    "users": {"12345678": "patricia.boyle"},
    "pipelines": {"1": "New business"},
    "currency": "EUR",
    "teams": {"1000": "patricia.boyle"},
    "team_roles": {"4": {"role": "overlay", "percent": "50"}},
    "products": {"lines": "Sold", "sku": "Product.name", "quantity": "Quantity", "amount": "Line_Total"},
    "invoices": {"lines": "Billing", "on": "Invoice_Date", "amount": "Invoice_Total"},
}


class TeamShareModel(BaseModel):
    """What each member with a role has of the deal."""

    model_config = body_example(role="overlay", percent="50")

    role: Name = Field(description="Of the split that it becomes: what plans credit by.")
    percent: Percent = Field(description="Of 100. The shares of a deal may come to more than 100.")


class ProductFieldsModel(BaseModel):
    """Where the source's deal has what is sold with it."""

    model_config = body_example(lines="Sold", sku="Product.name", quantity="Quantity", amount="Line_Total")

    lines: Name = Field(description="The list of lines, as a dotted path into the deal.")
    sku: Name = Field(description="What is sold, as a dotted path into a line.")
    quantity: Name | None = Field(None, description="How many, as a dotted path into a line; one when left out.")
    amount: Name | None = Field(None, description="What the line comes to, as a dotted path into it.")


class InstalmentFieldsModel(BaseModel):
    """Where the source's deal has its payments or its invoices. A line without a day or an amount is none yet."""

    model_config = body_example(lines="Billing", on="Invoice_Date", amount="Invoice_Total")

    lines: Name | None = Field(
        None,
        description=(
            "The list of them, as a dotted path into the deal. Left out: the deal itself has one, such as in fields of"
            " its own."
        ),
    )
    on: Name = Field(
        description=(
            "The day, as a dotted path into a line, or into the deal: a date, or a moment, whose day in the tenant's"
            " calendar it is."
        )
    )
    amount: Name | None = Field(
        None, description="How much, likewise; negative for a credit note. Left out: the deal's amount, without lines."
    )

    @model_validator(mode="after")
    def _amount_of_lines(self) -> Self:
        if self.lines is not None and self.amount is None:
            raise ValueError("must name the amount in each of the lines")
        return self


class MappingModel(BaseModel):
    """How the source's words become ours. What is not mapped is taken as the source states it."""

    model_config = body_example(**_MAPPING_EXAMPLE)

    stages: Annotated[dict[Name, DealStatus], Field(max_length=_ENTRIES_MAX)] = Field(
        default_factory=dict, description="Stage as the source names it → status. Stronger than the source's status."
    )
    fields: FieldPaths = Field(
        default_factory=dict,
        description=(
            "Canonical field → where the source's deal has it, as a dotted path. `modified_at` counts beside the"
            " source's own time: the later of the two."
        ),
    )
    custom_fields: Entries = Field(
        default_factory=dict,
        description="Custom field as the source names it → the name filters use (`custom.<name>`).",
    )
    users: Entries = Field(
        default_factory=dict, description="User as the source names it → the external user id that identities know."
    )

    pipelines: Entries = Field(
        default_factory=dict, description="Pipeline as the source names it → the name filters use."
    )
    currency: Currency | None = Field(None, description="Of deals for which the source states no currency.")
    split_type: Name | None = Field(
        None, description="Which of the source's kinds of split count, where it has several; all when left out."
    )

    teams: Entries = Field(
        default_factory=dict,
        description=(
            "Team or department as the source names it → the external user id that owns what only it owns."
            " Until then the owner is `team:` and what the source names it."
        ),
    )
    team_roles: Annotated[dict[Name, TeamShareModel], Field(max_length=_ENTRIES_MAX)] = Field(
        default_factory=dict,
        description=(
            "Role in a deal's team as the source names it → the share of each member with it, beside the deal's splits."
            " An owner whom neither states has the whole."
        ),
    )
    products: ProductFieldsModel | None = Field(
        None,
        description=(
            "Where a deal has what is sold with it, such as a subform of Zoho's: goes before the source's own place."
        ),
    )
    asks_products: bool = Field(
        False,
        description=(
            "Pipedrive's webhooks do not have what is sold with a deal. True: they just name the deal, which is then"
            " fetched together with that."
        ),
    )
    payments: InstalmentFieldsModel | None = Field(
        None, description="Where a deal has what was paid for it: goes before the source's own place."
    )
    invoices: InstalmentFieldsModel | None = Field(
        None, description="Where a deal has what was invoiced of it: goes before the source's own place."
    )

    @classmethod
    def from_mapping(cls, mapping: SourceMapping) -> Self:
        return cls.model_validate(mapping, from_attributes=True)

    def mapping(self) -> SourceMapping:
        """The value the rules use."""
        return SourceMapping(
            self.stages,
            self.fields,
            self.custom_fields,
            self.users,
            self.pipelines,
            self.currency,
            self.split_type,
            self.teams,
            {name: TeamShare(share.role, share.percent) for name, share in self.team_roles.items()},
            None if self.products is None else ProductFields(**self.products.model_dump()),
            self.asks_products,
            *(
                None if each is None else InstalmentFields(**each.model_dump())
                for each in (self.payments, self.invoices)
            ),
        )


class ConnectionBody(BaseModel):
    """A connection to be."""

    model_config = body_example(source="pipedrive", name="Pipedrive EU", mapping=_MAPPING_EXAMPLE)

    source: Source
    name: Name
    identity_source: Name | None = Field(
        None, description="What its deals carry as `source` and identities are looked up by; the source by default."
    )
    secret: Annotated[str, StringConstraints(max_length=200)] | None = Field(
        None, description="The sender's own secret, where it brings one: `whsec_…`, `whpk_…`, or `user:password`."
    )
    mapping: MappingModel = Field(default_factory=MappingModel)
    allowed: AllowList = Field(default_factory=dict, description=_ALLOWED_DESCRIPTION)


class ConnectionChanges(BaseModel):
    """What is to change; what is left out stays. A mapping is replaced as a whole."""

    model_config = body_example(mapping=_MAPPING_EXAMPLE)

    name: Name | None = None
    status: ConnectionStatus | None = None
    mapping: MappingModel | None = None
    allowed: AllowList | None = Field(None, description=_ALLOWED_DESCRIPTION)


class Rotation(BaseModel):
    """A new secret, and for how long the old one stays valid beside it."""

    model_config = body_example(overlap_seconds=86400)

    secret: Annotated[str, StringConstraints(max_length=200)] | None = Field(
        None, description="The sender's own secret; a new one is made when left out."
    )
    overlap_seconds: int = Field(86_400, ge=0, le=OVERLAP_DAYS_MAX * 86_400)

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)


_CONNECTION_EXAMPLE: Final[dict[str, JsonValue]] = {
    "id": "01935a00-0000-7000-8000-000000000041",
    "version": 2,
    "source": "pipedrive",
    "name": "Pipedrive EU",
    "identity_source": "pipedrive",
    "status": "active",
    "hook_path": "/hooks/01935a00-0000-7000-8000-000000000041",
    "secrets": [
        {
            "id": "01935a00-0000-7000-8000-000000000042",
            "created_at": "2026-01-05T09:12:44Z",
            "expires_at": None,
        }
    ],
    "mapping": _MAPPING_EXAMPLE,
    "allowed": {},
    "has_api_access": True,
    "created_at": "2026-01-05T09:12:44Z",
    "updated_at": "2026-01-05T09:12:44Z",
}


class ConnectionAnswer(BaseModel):
    """A connection."""

    model_config = example(**_CONNECTION_EXAMPLE)

    id: UUID
    version: int
    source: Source
    name: str
    identity_source: str
    status: ConnectionStatus
    hook_path: str = Field(description="Where the source sends to, on this service.")
    secrets: list[SecretAnswer]
    mapping: MappingModel
    allowed: dict[str, list[str]]
    has_api_access: bool = Field(description="Whether the source's API may be called for this connection.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_connection(cls, connection: Connection) -> Self:
        return cls.model_validate(connection, from_attributes=True)


class ConnectionWithSecret(ConnectionAnswer):
    """A connection and its new secret, which is not shown again."""

    model_config = example(**{**_CONNECTION_EXAMPLE, "secret": "attain:the-password-shown-once"})

    secret: str

    @classmethod
    def from_result(cls, result: WithSecret) -> Self:
        return cls(**vars(ConnectionAnswer.from_connection(result.connection)), secret=result.secret)
