"""`attain.deals.v1`: every version of every deal, in canonical form, whichever CRM it came from."""

from datetime import date
from decimal import Decimal
from operator import attrgetter
from typing import Annotated, ClassVar, Final

from pydantic import Field

from shared.contracts.base import (
    AMOUNT_LIMITS,
    AS_TEXT,
    NO_FLOAT,
    Amount,
    Currency,
    Instant,
    RecordEvent,
    Value,
    fact_attributes,
)
from shared.kernel.deals import DealFacts, DealKind, DealStatus, Instalment
from shared.kernel.deals import Split as SplitFacts

TOPIC = "attain.deals.v1"

Percent = Annotated[Decimal, AMOUNT_LIMITS, Field(ge=0, le=100), NO_FLOAT, AS_TEXT]


class Split(Value):
    """A share of the deal for one of the source's users."""

    owner_external_id: str
    role: str
    percent: Percent

    def facts(self) -> SplitFacts:
        """The share as the rules see it."""
        return SplitFacts(self.owner_external_id, self.percent, self.role)


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

    def facts(self) -> Instalment:
        """The payment as the rules see it."""
        return Instalment(self.paid_on, self.amount, self.paid_at)


class Invoice(Value):
    """What was invoiced of the deal; a credit note is a negative invoice."""

    invoiced_on: date
    amount: Amount = Field(description="In the deal's currency; negative for a credit note.")
    invoiced_at: Instant | None = Field(
        default=None,
        description="Where the source states the moment: its day in the tenant's calendar counts then, not "
        "`invoiced_on`.",
    )

    def facts(self) -> Instalment:
        """The invoice as the rules see it."""
        return Instalment(self.invoiced_on, self.amount, self.invoiced_at)


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
    invoices: tuple[Invoice, ...] = ()

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
    def invoiced_amount(self) -> Decimal | None:
        """The sum of the invoices, where there are any; in the deal's currency."""
        return sum((invoice.amount for invoice in self.invoices), Decimal(0)) if self.invoices else None

    @property
    def split_facts(self) -> tuple[SplitFacts, ...]:
        """The splits as the rules see them."""
        return tuple([split.facts() for split in self.splits])

    @property
    def payment_facts(self) -> tuple[Instalment, ...]:
        """The payments as the rules see them."""
        return tuple([payment.facts() for payment in self.payments])

    @property
    def invoice_facts(self) -> tuple[Instalment, ...]:
        """The invoices as the rules see them."""
        return tuple([invoice.facts() for invoice in self.invoices])

    def facts(self) -> DealFacts:
        """The deal as the rules see it."""
        return DealFacts(*_FACTS(self))


_FACTS: Final = attrgetter(
    *fact_attributes(DealFacts, deal_id="id", splits="split_facts", payments="payment_facts", invoices="invoice_facts")
)
