"""The one query that says which stored records count for which goals, and what is asked of it.

Rebuilds, the daily series, explanations, the past and verification all read deals and activities through it, by the
same rules as `domain` evaluates one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping, text

from services.tracking.activities import store as activities
from services.tracking.deals import store as deals
from services.tracking.progress.domain import Rule
from services.tracking.progress.filter_sql import FilterCompiler
from shared.db.database import Transaction
from shared.kernel.activities import ActivityFacts
from shared.kernel.deals import DateField, DealFacts
from shared.kernel.measures import Aggregate, Conversion, Measure, RatePolicy
from shared.kernel.rates import RateOrigin, RatesInto, RateSpan, implied_rate
from shared.kernel.records import RecordKind


class _Stored(NamedTuple):
    """Where the records of one kind are, and what of them decides."""

    newest: str
    versions: str
    id: str
    name: str
    is_there: str
    days: Mapping[DateField, str]
    """Its days in the time zone `:time_zone`."""
    stored_days: Mapping[DateField, str]
    """Those of the days that are stored for the newest versions, in UTC."""


_STORED: Final[Mapping[RecordKind, _Stored]] = {
    RecordKind.DEAL: _Stored(
        newest="deals",
        versions="deal_versions",
        id="deal_id",
        name="name",
        is_there="record.kind NOT IN ('deleted', 'merged')",
        days={
            DateField.CLOSED: "coalesce(record.closed_on, CAST(record.closed_at AT TIME ZONE :time_zone AS date))",
            DateField.CREATED: "CAST(record.created_at AT TIME ZONE :time_zone AS date)",
            DateField.EXPECTED_CLOSE: "record.expected_close_on",
            DateField.PAID: "record.last_paid_on",
        },
        stored_days={DateField.CLOSED: "closed_day"},
    ),
    RecordKind.ACTIVITY: _Stored(
        newest="activities",
        versions="activity_versions",
        id="activity_id",
        name="subject",
        is_there="NOT record.is_deleted",
        days={DateField.OCCURRED: "CAST(record.occurred_at AT TIME ZONE :time_zone AS date)"},
        stored_days={DateField.OCCURRED: "occurred_day"},
    ),
}
_IN_TIME_ZONE: Final = frozenset({DateField.CLOSED, DateField.CREATED, DateField.OCCURRED})
_AS_OF: Final = """(
    SELECT DISTINCT ON (tenant_id, {id}) * FROM tracking.{versions}
    WHERE tenant_id = :tenant_id AND recorded_at <= :as_of
    ORDER BY tenant_id DESC, {id} DESC, modified_at DESC, sequence DESC, delivery_id DESC
)"""
# A stored day is in UTC, at most one day away from the business date in any time zone.
_STORED_DAY_IN_REACH: Final = "record.{day} >= reach.start_on - 1 AND record.{day} < reach.end_on + 1"

_COUNTING: Final = """
SELECT reach.goal_id, record.{id} AS id, {day} AS day, {value} AS value, {distinct_value} AS distinct_value, {money},
    record.received_at, record.delivery_id, record.modified_at, record.sequence, record.source,
    record.owner_external_id, record.external_id, record.{name} AS name
FROM unnest(
    CAST(:goal_ids AS uuid[]), CAST(:sources AS text[]), CAST(:users AS text[]),
    CAST(:starts AS date[]), CAST(:ends AS date[])
) AS reach(goal_id, source, owner_external_id, start_on, end_on)
JOIN {records} AS record
    ON record.tenant_id = :tenant_id
    AND record.source = reach.source
    AND record.owner_external_id = reach.owner_external_id
    AND {in_reach}
{rates}
WHERE {is_there} AND {has_value} AND {day} >= reach.start_on AND {day} < reach.end_on
    AND {condition}
"""

_NOT_CONVERTED: Final = """
    CAST(NULL AS text) AS origin, CAST(NULL AS numeric) AS amount, CAST(NULL AS text) AS currency,
    CAST(NULL AS numeric) AS rate, CAST(NULL AS date) AS stated_on"""
_RATES: Final = """
LEFT JOIN unnest(
    CAST(:rate_currencies AS text[]), CAST(:rate_starts AS date[]), CAST(:rate_ends AS date[]),
    CAST(:rates AS numeric[]), CAST(:rate_days AS date[])
) AS rate(currency, start_on, end_on, rate, stated_on)
    ON rate.currency = record.currency AND {day} >= rate.start_on AND {day} < rate.end_on
"""

_TOTALS: Final = """
SELECT goal_id, {value} AS value, count(*) AS deals, max(received_at) AS received_at
FROM ({counting}) AS counting GROUP BY goal_id
"""
_DISTINCT_VALUES: Final = """
SELECT goal_id, distinct_value, count(*) AS deals FROM ({counting}) AS counting GROUP BY goal_id, distinct_value
"""
_SERIES: Final = """
SELECT day, sum(added) AS added, count(*) AS deals FROM (
    SELECT day, {added} AS added FROM ({counting}) AS counting
) AS days GROUP BY day ORDER BY day
"""
# A distinct value is added on the first day a record has it.
_FIRST_OF_VALUE: Final = """
CASE WHEN row_number() OVER (PARTITION BY distinct_value ORDER BY day, id) = 1 THEN 1 ELSE 0 END
"""
_PAGE: Final = """
SELECT * FROM ({counting}) AS counting
WHERE CAST(:after_day AS date) IS NULL
    OR (day, id) > (CAST(:after_day AS date), CAST(:after_id AS uuid))
ORDER BY day, id LIMIT :limit
"""

_DEAL: Final = text(
    f"SELECT {deals.columns_of('record')} FROM tracking.deals AS record"
    " WHERE record.tenant_id = :tenant_id AND record.deal_id = :id"
)
_ACTIVITY: Final = text(
    f"SELECT {activities.columns_of('record')} FROM tracking.activities AS record"
    " WHERE record.tenant_id = :tenant_id AND record.activity_id = :id"
)


class Total(NamedTuple):
    """Where a goal stands by its stored records, of which `deals` count."""

    value: Decimal
    deals: int
    received_at: datetime | None


NOTHING: Final = Total(Decimal(0), 0, None)


class DistinctValue(NamedTuple):
    """How many counting records of a goal have one value."""

    goal_id: UUID
    value: str
    deals: int


class Day(NamedTuple):
    """What the records of one day, `deals` of them, add to a goal."""

    day: date
    added: Decimal
    deals: int


class CountingRecord(NamedTuple):
    """A deal or an activity that counts for a goal, with the version of it that does."""

    id: UUID
    day: date
    value: Decimal
    distinct_value: str | None
    source: str
    external_id: str
    owner_external_id: str
    name: str | None
    """The subject of an activity."""
    delivery_id: UUID
    modified_at: datetime
    sequence: int
    received_at: datetime
    conversion: Conversion | None
    """How money in another currency was converted."""


_PLAIN_FIELDS: Final = tuple(name for name in CountingRecord._fields if name != "conversion")


async def totals(
    tx: Transaction, tenant_id: UUID, rules: Mapping[UUID, Rule], *, as_of: datetime | None = None
) -> dict[UUID, Total]:
    """Where the goals stand by the newest versions of the records, or by those recorded up to `as_of`."""
    found = dict.fromkeys(rules, NOTHING)
    for members in _alike(rules):
        measure, counting, parameters = _counting(tenant_id, members, as_of)
        value = "count(DISTINCT distinct_value)" if measure.aggregate is Aggregate.DISTINCT else "sum(value)"
        for row in await tx.rows(text(_TOTALS.format(counting=counting, value=value)), parameters):
            found[row["goal_id"]] = Total(Decimal(row["value"]), row["deals"], row["received_at"])
    return found


async def distinct_values(tx: Transaction, tenant_id: UUID, rules: Mapping[UUID, Rule]) -> list[DistinctValue]:
    """For the goals among these that count distinct values: each value and how many records have it."""
    found: list[DistinctValue] = []
    for members in _alike(rules):
        measure, counting, parameters = _counting(tenant_id, members, None)
        if measure.aggregate is Aggregate.DISTINCT:
            rows = await tx.rows(text(_DISTINCT_VALUES.format(counting=counting)), parameters)
            found.extend(DistinctValue(row["goal_id"], row["distinct_value"], row["deals"]) for row in rows)
    return found


async def series(tx: Transaction, tenant_id: UUID, goal_id: UUID, rule: Rule) -> list[Day]:
    """What each day that has counting records adds to a goal, in order."""
    _, counting, parameters = _counting(tenant_id, {goal_id: rule}, None)
    added = _FIRST_OF_VALUE if rule.measure.aggregate is Aggregate.DISTINCT else "value"
    rows = await tx.rows(text(_SERIES.format(counting=counting, added=added)), parameters)
    return [Day(row["day"], Decimal(row["added"]), row["deals"]) for row in rows]


async def page(
    tx: Transaction, tenant_id: UUID, goal_id: UUID, rule: Rule, *, after: tuple[date, UUID] | None, limit: int
) -> Sequence[CountingRecord]:
    """Up to `limit` records that count for a goal, by day and id, after the one whose day and id are given."""
    _, counting, parameters = _counting(tenant_id, {goal_id: rule}, None)
    after_day, after_id = after or (None, None)
    rows = await tx.rows(
        text(_PAGE.format(counting=counting)),
        {**parameters, "after_day": after_day, "after_id": after_id, "limit": limit},
    )
    return [CountingRecord(**{name: row[name] for name in _PLAIN_FIELDS}, conversion=_conversion(row)) for row in rows]


async def stored_deal(tx: Transaction, tenant_id: UUID, deal_id: UUID) -> DealFacts | None:
    """The newest version of a deal."""
    row = await tx.one_or_none(_DEAL, {"tenant_id": tenant_id, "id": deal_id})
    return None if row is None else deals.facts_of(list(row.values()))


async def stored_activity(tx: Transaction, tenant_id: UUID, activity_id: UUID) -> ActivityFacts | None:
    """The newest version of an activity."""
    row = await tx.one_or_none(_ACTIVITY, {"tenant_id": tenant_id, "id": activity_id})
    return None if row is None else activities.facts_of(list(row.values()))


def _conversion(row: RowMapping) -> Conversion | None:
    if row["origin"] is None:
        return None
    origin = RateOrigin(row["origin"])
    rate = implied_rate(row["amount"], row["value"]) if origin is RateOrigin.CRM else row["rate"]
    stated_on = row["stated_on"] if origin is RateOrigin.DAILY else None
    return Conversion(row["amount"], row["currency"], rate, stated_on, origin)


def _alike(rules: Mapping[UUID, Rule]) -> Iterable[Mapping[UUID, Rule]]:
    """The rules that reach some records, by equal measure and rates."""
    grouped: dict[tuple[Measure, RatesInto], dict[UUID, Rule]] = {}
    for goal_id, rule in rules.items():
        if rule.spans:
            grouped.setdefault((rule.measure, rule.rates), {})[goal_id] = rule
    return grouped.values()


def _counting(
    tenant_id: UUID, rules: Mapping[UUID, Rule], as_of: datetime | None
) -> tuple[Measure, str, dict[str, object]]:
    """The measure of goals of one measure and the same rates, the query for them, and its parameters."""
    one = next(iter(rules.values()))
    measure = one.measure
    stored = _STORED[measure.record]
    compiler = FilterCompiler("record", measure.record_type.fields)
    condition = compiler.condition(measure.filter)
    day = stored.days[measure.date_field]
    value, distinct_value, has_value = "CAST(1 AS numeric)", "CAST(NULL AS text)", "true"
    money, rates = _NOT_CONVERTED, ""
    if measure.aggregate is Aggregate.SUM:
        value = compiler.field(measure.value_field or "")
        has_value = f"{value} IS NOT NULL"
    elif measure.aggregate is Aggregate.DISTINCT:
        distinct_value = compiler.field(measure.value_field or "")
        has_value = f"{distinct_value} IS NOT NULL"
    parameters: dict[str, object] = {"tenant_id": tenant_id, **compiler.parameters}
    if measure.is_money:
        parameters["currency"] = measure.currency
        if measure.rate_policy is RatePolicy.NONE:
            has_value += " AND record.currency = :currency"
        else:
            value, money = _converted(measure, value)
            has_value += f" AND {value} IS NOT NULL"
            rates = _RATES.format(day=day)
            parameters |= _rate_parameters(measure, one.rates)
    if measure.date_field in _IN_TIME_ZONE:
        parameters["time_zone"] = one.time_zone
    if as_of is not None:
        parameters["as_of"] = as_of
    reach = [(goal_id, span) for goal_id in sorted(rules) for span in rules[goal_id].spans]
    parameters |= {
        "goal_ids": [goal_id for goal_id, _ in reach],
        "sources": [span.user.source for _, span in reach],
        "users": [span.user.external_id for _, span in reach],
        "starts": [span.period.start for _, span in reach],
        "ends": [span.period.end for _, span in reach],
    }
    stored_day = stored.stored_days.get(measure.date_field) if as_of is None else None
    statement = _COUNTING.format(
        day=day,
        value=value,
        distinct_value=distinct_value,
        money=money,
        records=f"tracking.{stored.newest}" if as_of is None else _AS_OF.format(id=stored.id, versions=stored.versions),
        id=stored.id,
        name=stored.name,
        in_reach="true" if stored_day is None else _STORED_DAY_IN_REACH.format(day=stored_day),
        is_there=stored.is_there,
        rates=rates,
        has_value=has_value,
        condition=condition,
    )
    return measure, statement, parameters


def _converted(measure: Measure, amount: str) -> tuple[str, str]:
    """What an amount comes to in the measure's currency, NULL without a rate; and columns that say how it did."""
    origin = RateOrigin.FIXED if measure.rate_policy is RatePolicy.FIXED else RateOrigin.DAILY
    cases = [("record.currency = :currency", amount, "CAST(NULL AS text)")]
    if measure.counts_home_amount:
        stated = "record.home_currency = :currency AND record.home_amount IS NOT NULL"
        cases.append((stated, "record.home_amount", f"'{RateOrigin.CRM}'"))
    values = " ".join(f"WHEN {condition} THEN {value}" for condition, value, _ in cases)
    origins = " ".join(f"WHEN {condition} THEN {named}" for condition, _, named in cases)
    return (
        f"(CASE {values} ELSE {amount} * rate.rate END)",
        f"(CASE {origins} ELSE '{origin}' END) AS origin, {amount} AS amount, record.currency, rate.rate,"
        " rate.stated_on",
    )


def _rate_parameters(measure: Measure, rates: RatesInto) -> dict[str, object]:
    spans = rates.spans
    if measure.rate_policy is RatePolicy.FIXED:
        spans = tuple(RateSpan(currency, date.min, date.max, rate, date.min) for currency, rate in measure.fixed_rates)
    return {
        "rate_currencies": [span.currency for span in spans],
        "rate_starts": [span.start for span in spans],
        "rate_ends": [span.end for span in spans],
        "rates": [span.rate for span in spans],
        "rate_days": [span.stated_on for span in spans],
    }
