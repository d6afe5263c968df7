"""`attain.goals.v1`: what is to be reached, by whom, by when."""

from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from shared.contracts.base import Amount, Currency, Event, Instant, Value, Version
from shared.contracts.org import ExchangeRate
from shared.kernel.deals import DateField
from shared.kernel.filters import filter_to_json, parse_filter
from shared.kernel.measures import Aggregate, Combine, Crediting, Measure, RatePolicy, fixed_rates_of
from shared.kernel.records import RECORD_TYPES, RecordKind

TOPIC = "attain.goals.v1"
_FIRST_AGGREGATES = (Aggregate.SUM, Aggregate.COUNT, Aggregate.DISTINCT)
_FIRST_DAYS = (DateField.CLOSED, DateField.CREATED, DateField.EXPECTED_CLOSE)


class GoalStatus(StrEnum):
    """A goal counts from activation on; a closed one still follows late corrections; a cancelled one counts nothing."""

    DRAFT = "draft"
    ACTIVE = "active"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Direction(StrEnum):
    """Whether more or less is better."""

    HIGHER = "higher"
    LOWER = "lower"


class CheckIn(StrEnum):
    """How often the owner is to say how the goal goes."""

    WEEKLY = "weekly"
    BIWEEKLY = "biweekly"
    MONTHLY = "monthly"
    NONE = "none"


class ValueSource(StrEnum):
    """How a stated value came in."""

    API = "api"
    FILE = "file"
    HAND = "hand"


class Subject(Value):
    """Whose records count: one person's, or everyone's who was in the team's subtree on the record's date."""

    kind: Literal["person", "team"]
    id: UUID


class Metric(Value):
    """How deals or activities become the goal's number. `filter` is the JSON form of shared.kernel.filters.

    `aggregate` and `date_field` have what readers of the first release know; a later one has a member beside it. For
    activities, which count on the day they took place, `date_field` means nothing.
    """

    aggregate: Literal[Aggregate.SUM, Aggregate.COUNT, Aggregate.DISTINCT]
    value_field: str | None
    date_field: Literal[DateField.CLOSED, DateField.CREATED, DateField.EXPECTED_CLOSE]
    filter: dict[str, JsonValue]
    currency: Currency | None
    counts_when_paid: bool = Field(
        default=False,
        description="Money counts payment by payment, each on its own day, and anything else on the day of the first; "
        "not on the day that `date_field` names.",
    )
    counts_when_invoiced: bool = Field(
        default=False, description="The same invoice by invoice, each on its own day, or on the day of the first."
    )
    rate_policy: RatePolicy = Field(
        default=RatePolicy.NONE,
        description="How deals in another currency count: `none` not at all; `deal_date` at what the CRM made of the "
        "amount, else at the daily rate; `fixed` at the metric's own rates.",
    )
    fixed_rates: dict[str, ExchangeRate] | None = Field(
        default=None, description="With `fixed`: units of the metric's currency for one unit of each other."
    )
    record: RecordKind = Field(default=RecordKind.DEAL, description="What is counted.")
    crediting: Literal[Crediting.OWNER, Crediting.SPLIT] = Field(
        default=Crediting.OWNER,
        description="Whose number a deal moves: `owner`, all of it its owner's; `split`, that of each on its splits, "
        "by their share, and all of it its owner's where it has no splits.",
    )
    role: str | None = Field(default=None, description="With `split`: only splits with this role count.")
    later_aggregate: Aggregate | None = Field(
        default=None,
        description="The aggregate, where it is none of the first release; `aggregate` then means nothing. To a "
        "`ratio`, in percent, and to an `average` a record adds on both sides, numerator and denominator. Of "
        "`children` and `stated` no record is counted: the one is what the goals whose parent this is have "
        "attained, each by its weight, in percent; the other combines the values that are stated of it, "
        "`attain.stated-value.v1`.",
    )
    numerator_filter: dict[str, JsonValue] | None = Field(
        default=None,
        description="Of a `ratio`: what passes `filter` adds to the denominator, and what passes this too to the "
        "numerator; either 1 for each record, or `value_field`.",
    )
    combine: Combine | None = Field(
        default=None,
        description="Of `stated`: what counts of the values whose day lies in the period, that of the `latest` day, of "
        "several of one day the one that was stated last; their `sum`; or their `average`.",
    )

    def measure(self) -> Measure:
        """The checked rule; InvalidInput names the part that is wrong."""
        return _measure(self.model_dump_json())

    def _made(self) -> Measure:
        fields = RECORD_TYPES[self.record].fields
        return Measure(
            self.later_aggregate or self.aggregate,
            self.value_field,
            self._date_field(),
            parse_filter(self.filter, fields),
            self.currency,
            self.rate_policy,
            fixed_rates_of(self.fixed_rates),
            self.record,
            self.crediting,
            self.role,
            None
            if self.numerator_filter is None
            else parse_filter(self.numerator_filter, fields, pointer="/numerator_filter"),
            self.combine,
        )

    def _date_field(self) -> DateField:
        if self.record is RecordKind.ACTIVITY:
            return DateField.OCCURRED
        if self.counts_when_invoiced:
            return DateField.INVOICED
        return DateField.PAID if self.counts_when_paid else self.date_field

    @classmethod
    def of(cls, measure: Measure) -> "Metric":
        """The metric that `measure()` turns back into an equal rule."""
        return _metric(measure)


# Thousands of goals have equal metrics, and reading and writing a filter is most of reading and writing a goal.
@lru_cache(maxsize=1024)
def _measure(document: str) -> Measure:
    return Metric.model_validate_json(document)._made()


@lru_cache(maxsize=1024)
def _metric(measure: Measure) -> Metric:
    return Metric.model_validate(
        {
            "aggregate": measure.aggregate if measure.aggregate in _FIRST_AGGREGATES else Aggregate.COUNT,
            "value_field": measure.value_field,
            "date_field": measure.date_field if measure.date_field in _FIRST_DAYS else DateField.CLOSED,
            "filter": filter_to_json(measure.filter),
            "currency": measure.currency,
            "counts_when_paid": measure.date_field is DateField.PAID,
            "counts_when_invoiced": measure.date_field is DateField.INVOICED,
            "rate_policy": measure.rate_policy,
            "fixed_rates": dict(measure.fixed_rates) or None,
            "record": measure.record,
            "crediting": measure.crediting,
            "role": measure.role,
            "later_aggregate": None if measure.aggregate in _FIRST_AGGREGATES else measure.aggregate,
            "numerator_filter": None if measure.numerator_filter is None else filter_to_json(measure.numerator_filter),
            "combine": measure.combine,
        }
    )


class StretchLevel(Value):
    """More than what was promised, by a name."""

    name: str
    target: Amount


class Goal(Event):
    """The newest revision of one goal. `version` counts every change, `revision` those of its terms."""

    event_type: ClassVar[str] = "attain.goal.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    revision: Version
    status: GoalStatus
    name: str
    owner: Subject
    metric: Metric
    target: Amount
    baseline: Amount
    unit: str
    direction: Direction
    start: date
    end: date = Field(description="First day after the period.")
    parent_id: UUID | None
    weight: Amount
    stretch: tuple[StretchLevel, ...] = Field(
        default=(), description="Levels beyond the target, the nearest first; each in the goal's unit and direction."
    )
    top: bool = Field(default=False, description="Whether it is meant to be no part of another goal.")
    check_in: CheckIn = CheckIn.NONE

    @property
    def subject(self) -> str:
        return f"goal/{self.id}"


class StatedValue(Event):
    """A value that somebody states of a goal, as no CRM knows it. A deleted one counts as never stated."""

    event_type: ClassVar[str] = "attain.stated-value.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    goal_id: UUID
    day: date = Field(description="The day it is of; it counts while that lies in the goal's period.")
    value: Amount
    source: ValueSource = Field(description="Where it came from: another system, a file, or somebody's hand.")
    note: str | None
    stated_by: UUID | None = Field(description="The person who stated this version; null for a service.")
    stated_at: Instant = Field(description="When this version was stated.")
    deleted: bool

    @property
    def subject(self) -> str:
        return f"stated-value/{self.id}"
