"""`attain.deals.v1`: every version of every deal, in canonical form, whichever CRM it came from."""

from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import Field

from shared.contracts.base import AMOUNT_LIMITS, AS_TEXT, NO_FLOAT, Amount, Currency, Instant, RecordEvent, Value
from shared.kernel.deals import DealFacts, DealKind, DealStatus, DealVersion
from shared.kernel.deals import Payment as PaymentFacts
from shared.kernel.deals import Split as SplitFacts

TOPIC = "attain.deals.v1"

Percent = Annotated[Decimal, AMOUNT_LIMITS, Field(ge=0, le=100), NO_FLOAT, AS_TEXT]


class Split(Value):
    """A share of the deal for one of the source's users."""

    owner_external_id: str
    role: str
    percent: Percent


class Product(Value):
    """One line of the deal."""

    sku: str
    quantity: Amount
    amount: Amount | None


class Payment(Value):
    """Money that came in for the deal."""

    paid_on: date
    amount: Amount = Field(description="In the deal's currency; negative for money given back.")
    paid_at: Instant | None = Field(
        default=None,
        description="When it came in, where the source tells the moment: its day in the tenant's calendar counts then,"
        " not `paid_on`.",
    )


class Deal(RecordEvent):
    """One version of one deal. Order: `modified_at`, then `sequence`, then `delivery_id`; a lower one is older.

    A `modified_at` later than five minutes after `received_at`, which events of earlier releases may have, is read as
    `received_at`.
    """

    event_type: ClassVar[str] = "attain.deal.v1"
    topic: ClassVar[str] = TOPIC

    kind: DealKind
    status: DealStatus
    owner_external_id: str | None
    name: str | None
    amount: Amount | None
    currency: Currency | None
    created_at: Instant | None
    expected_close_on: date | None
    closed_at: Instant | None
    closed_on: date | None
    stage: str | None
    pipeline: str | None
    probability: Percent | None
    type: str | None
    channel: str | None
    region: str | None
    account_id: str | None
    account_name: str | None
    merged_into: str | None = Field(description="External id of the deal this one became part of.")
    splits: tuple[Split, ...]
    products: tuple[Product, ...]
    home_amount: Amount | None = Field(
        default=None, description="What the source itself makes of the amount in `home_currency`."
    )
    home_currency: Currency | None = None
    payments: tuple[Payment, ...] = ()
    expected_close_at: Instant | None = Field(
        default=None,
        description="Where the source states an instant and no date: the tenant's calendar decides which day that is.",
    )

    @property
    def subject(self) -> str:
        return f"deal/{self.id}"

    @property
    def quantity(self) -> Decimal | None:
        """The sum over the products, where there are any."""
        return sum((line.quantity for line in self.products), Decimal(0)) if self.products else None

    @property
    def paid_amount(self) -> Decimal | None:
        """The sum of the payments, where there are any; in the deal's currency."""
        return sum((payment.amount for payment in self.payments), Decimal(0)) if self.payments else None

    @property
    def version(self) -> DealVersion:
        """Where this snapshot stands among those of the same deal."""
        return DealVersion(self.modified_at, self.sequence, self.delivery_id)

    def facts(self) -> DealFacts:
        """The deal as the rules see it."""
        return DealFacts(
            deal_id=self.id,
            source=self.source,
            external_id=self.external_id,
            version=self.version,
            kind=self.kind,
            status=self.status,
            owner_external_id=self.owner_external_id,
            name=self.name,
            amount=self.amount,
            currency=self.currency,
            quantity=self.quantity,
            created_at=self.created_at,
            expected_close_on=self.expected_close_on,
            closed_at=self.closed_at,
            closed_on=self.closed_on,
            stage=self.stage,
            pipeline=self.pipeline,
            probability=self.probability,
            deal_type=self.type,
            channel=self.channel,
            region=self.region,
            account_id=self.account_id,
            account_name=self.account_name,
            custom=self.custom,
            splits=tuple([SplitFacts(s.owner_external_id, s.percent, s.role) for s in self.splits]),
            home_amount=self.home_amount,
            home_currency=self.home_currency,
            payments=tuple([PaymentFacts(each.paid_on, each.amount, each.paid_at) for each in self.payments]),
            expected_close_at=self.expected_close_at,
        )
