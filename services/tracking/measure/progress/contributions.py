"""The one query that decides which stored records count for which goals, and the forms in which it is read.

Rebuilds, the daily series, explanations, the past and verification all read deals and activities through it, by the
same rules as `domain` evaluates one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

from services.tracking.measure.progress import stated
from services.tracking.measure.progress.domain import EXACT, Rule, Stated, combined
from services.tracking.measure.progress.filter_sql import FilterCompiler
from services.tracking.records import queries
from shared.db.database import Transaction
from shared.kernel.deals import DateField
from shared.kernel.filters import EVERYTHING, conditions_of
from shared.kernel.measures import Aggregate, Combine, Crediting, Measure, RatePolicy
from shared.kernel.periods import BusinessDays, DaySpan, Period
from shared.kernel.rates import RatesInto, RateSpan
from shared.kernel.records import RecordKind


class _Stored(NamedTuple):
    """What of the stored records of one kind decides."""

    id: str
    is_there: str
    days: Mapping[DateField, str]
    """Its days; those of instants as `_day_of` takes them."""
    stored_days: Mapping[DateField, str]
    """Those of the days that are stored for the newest versions, in UTC."""
    filter_days: Mapping[str, str]
    """The fields of a filter that are such days."""


def _day_of(instant: str) -> str:
    """The day of an instant by the spans that the tenant's calendar decided, see `BusinessDays.spans`."""
    span = f"width_bucket({instant}, CAST(:day_starts AS timestamptz[]))"
    return (
        f"greatest((CAST(:earliest_days AS date[]))[{span}],"
        f" CAST({instant} AT TIME ZONE 'UTC' + (CAST(:day_offsets AS interval[]))[{span}] AS date))"
    )


_EXPECTED_CLOSE: Final = f"coalesce(record.expected_close_on, {_day_of('record.expected_close_at')})"
_STORED: Final[Mapping[RecordKind, _Stored]] = {
    RecordKind.DEAL: _Stored(
        id="deal_id",
        is_there="record.kind NOT IN ('deleted', 'merged')",
        days={
            DateField.CLOSED: f"coalesce(record.closed_on, {_day_of('record.closed_at')})",
            DateField.CREATED: _day_of("record.created_at"),
            DateField.EXPECTED_CLOSE: _EXPECTED_CLOSE,
        },
        stored_days={DateField.CLOSED: "closed_day"},
        filter_days={"expected_close_on": _EXPECTED_CLOSE},
    ),
    RecordKind.ACTIVITY: _Stored(
        id="activity_id",
        is_there="NOT record.is_deleted",
        days={DateField.OCCURRED: _day_of("record.occurred_at")},
        stored_days={DateField.OCCURRED: "occurred_day"},
        filter_days={},
    ),
}
# Records have no instants beyond.
_FIRST: Final = date(1899, 1, 1)
_LAST: Final = date(3001, 1, 1)
_ONE_DAY: Final = timedelta(days=1)
# A stored day is in UTC, at most one day away from the business date in any time zone.
_STORED_DAY_IN_REACH: Final = "record.{day} >= reach.start_on - 1 AND record.{day} < reach.end_on + 1"

_COUNTING: Final = """
SELECT reach.goal_id, record.{id} AS id, {day} AS day, {value} AS value, {denominator} AS denominator,
    {distinct_value} AS distinct_value, record.received_at
FROM unnest(
    CAST(:goal_ids AS uuid[]), CAST(:sources AS text[]), CAST(:users AS text[]),
    CAST(:starts AS date[]), CAST(:ends AS date[])
) AS reach(goal_id, source, external_id, start_on, end_on)
{of_user}
{instalments}
{rates}
WHERE {is_there} AND {has_value} AND {day} >= reach.start_on AND {day} < reach.end_on
    AND {in_reach} AND {condition}
"""
_OWNED: Final = """
JOIN {records} AS record
    ON record.tenant_id = :tenant_id
    AND record.source = reach.source
    AND record.owner_external_id = reach.external_id
"""
# Lateral with a fence, so that no plan, however old its statistics, reads every deal of a tenant.
_SHARED: Final = f"""
CROSS JOIN LATERAL (
    SELECT deal_id FROM {queries.SPLIT_USERS} AS named
    WHERE named.tenant_id = :tenant_id AND named.source = reach.source AND named.external_id = reach.external_id
    OFFSET 0
) AS named
CROSS JOIN LATERAL (
    SELECT * FROM {{records}} AS deal
    WHERE deal.tenant_id = :tenant_id AND deal.deal_id = named.deal_id AND deal.source = reach.source LIMIT 1
) AS record
JOIN LATERAL jsonb_to_recordset(record.splits) AS split(owner_external_id text, role text, percent numeric)
    ON split.owner_external_id = reach.external_id AND split.percent <> 0
    AND (CAST(:role AS text) IS NULL OR split.role = :role)
"""
# A moment before all spans is before every day that counts.
_INSTALMENTS: Final = """
    SELECT amount, CASE WHEN {at} IS NULL THEN {on} ELSE coalesce({day}, '-infinity') END AS day
    FROM jsonb_to_recordset(record.{column}) AS stated({on} date, {at} timestamptz, amount numeric)
"""
_INSTALMENTS_BY: Final = {
    DateField.PAID: _INSTALMENTS.format(column="payments", on="paid_on", at="paid_at", day=_day_of("paid_at")),
    DateField.INVOICED: _INSTALMENTS.format(
        column="invoices", on="invoiced_on", at="invoiced_at", day=_day_of("invoiced_at")
    ),
}
_EVERY_INSTALMENT: Final = "CROSS JOIN LATERAL ({instalments}) AS instalment"
_FIRST_INSTALMENT: Final = "CROSS JOIN LATERAL (SELECT min(day) AS day FROM ({instalments}) AS every) AS instalment"

_RATES: Final = """
LEFT JOIN unnest(
    CAST(:rate_currencies AS text[]), CAST(:rate_starts AS date[]), CAST(:rate_ends AS date[]),
    CAST(:rates AS numeric[])
) AS rate(currency, start_on, end_on, rate)
    ON rate.currency = record.currency AND {day} >= rate.start_on AND {day} < rate.end_on
"""

_TOTALS: Final = """
SELECT goal_id, {value} AS value, {denominator} AS denominator, {deals} AS deals, max(received_at) AS received_at
FROM ({counting}) AS counting GROUP BY goal_id
"""
_DISTINCT_VALUES: Final = """
SELECT goal_id, distinct_value, {deals} AS deals FROM ({counting}) AS counting GROUP BY goal_id, distinct_value
"""
_SERIES: Final = """
SELECT day, sum(added) AS added, sum(denominator) AS denominator, {deals} AS deals FROM (
    SELECT day, id, denominator, {added} AS added FROM ({counting}) AS counting
) AS days GROUP BY day ORDER BY day
"""
# A distinct value is added on the first day a record has it.
_FIRST_OF_VALUE: Final = """
CASE WHEN row_number() OVER (PARTITION BY distinct_value ORDER BY day, id) = 1 THEN 1 ELSE 0 END
"""
_PAGE: Final = """
SELECT id, day FROM (
    SELECT id, min(day) AS day FROM ({counting}) AS counting GROUP BY id
) AS records
WHERE CAST(:after_day AS date) IS NULL
    OR (day, id) > (CAST(:after_day AS date), CAST(:after_id AS uuid))
ORDER BY day, id LIMIT :limit
"""


class Total(NamedTuple):
    """Where a goal stands by its stored records, of which `deals` count."""

    value: Decimal
    denominator: Decimal
    deals: int
    received_at: datetime | None


NOTHING: Final = Total(Decimal(0), Decimal(0), 0, None)


class DistinctValue(NamedTuple):
    """How many counting records of a goal have one value."""

    goal_id: UUID
    value: str
    deals: int


class Day(NamedTuple):
    """What the records of one day, `deals` of them, add to a goal."""

    day: date
    added: Decimal
    denominator: Decimal | None
    """Of a ratio or an average what they add to that; `added` is what they add to the numerator."""
    deals: int


def cumulated(days: Sequence[Day]) -> Iterator[tuple[date, Total]]:
    """Where a goal stands at the end of each of these days, in their order."""
    value, denominator, deals = Decimal(0), Decimal(0), 0
    for day in days:
        value, deals = EXACT.add(value, day.added), deals + day.deals
        denominator = EXACT.add(denominator, day.denominator or Decimal(0))
        yield day.day, Total(value, denominator, deals, None)


def stated_by_day(combine: Combine, values: Sequence[Stated]) -> Iterator[tuple[date, Total]]:
    """The same for the days of stated values, which are in the order of their days."""
    for count, each in enumerate(values, start=1):
        yield each.day, Total(*combined(combine, values[:count]), None)


async def totals(
    tx: Transaction, tenant_id: UUID, rules: Mapping[UUID, Rule], *, as_of: datetime | None = None
) -> dict[UUID, Total]:
    """Where the goals stand by the newest versions of the records, or by those recorded up to `as_of`."""
    found = dict.fromkeys(rules, NOTHING)
    for members in _alike(rules):
        measure, counting, parameters = _counting(tenant_id, members, as_of)
        value = "count(DISTINCT distinct_value)" if measure.aggregate is Aggregate.DISTINCT else "sum(value)"
        denominator = "sum(denominator)" if measure.aggregate.is_quotient else "0"
        statement = _TOTALS.format(counting=counting, value=value, denominator=denominator, deals=_records_in(measure))
        for row in await tx.rows(text(statement), parameters):
            found[row["goal_id"]] = Total(
                Decimal(row["value"]), Decimal(row["denominator"]), row["deals"], row["received_at"]
            )
    for goal_id, values in (await stated.counting(tx, tenant_id, rules, as_of=as_of)).items():
        combine = rules[goal_id].measure.combine or Combine.LATEST
        received_at = max((each.stated_at for each in values), default=None)
        found[goal_id] = Total(*combined(combine, values), received_at)
    return found


async def distinct_values(tx: Transaction, tenant_id: UUID, rules: Mapping[UUID, Rule]) -> list[DistinctValue]:
    """For the goals among these that count distinct values: each value and how many records have it."""
    found: list[DistinctValue] = []
    for members in _alike(rules):
        measure, counting, parameters = _counting(tenant_id, members, None)
        if measure.aggregate is Aggregate.DISTINCT:
            statement = _DISTINCT_VALUES.format(counting=counting, deals=_records_in(measure))
            rows = await tx.rows(text(statement), parameters)
            found.extend(DistinctValue(row["goal_id"], row["distinct_value"], row["deals"]) for row in rows)
    return found


async def series(tx: Transaction, tenant_id: UUID, goal_id: UUID, rule: Rule) -> list[Day]:
    """What each day that has counting records adds to a goal, in order; a record may count on several days."""
    if not rule.spans:
        return []
    measure, counting, parameters = _counting(tenant_id, {goal_id: rule}, None)
    added = _FIRST_OF_VALUE if rule.measure.aggregate is Aggregate.DISTINCT else "value"
    statement = _SERIES.format(counting=counting, added=added, deals=_records_in(measure))
    rows = await tx.rows(text(statement), parameters)
    return [Day(row["day"], Decimal(row["added"]), row["denominator"], row["deals"]) for row in rows]


async def page(
    tx: Transaction, tenant_id: UUID, goal_id: UUID, rule: Rule, *, after: tuple[date, UUID] | None, limit: int
) -> list[tuple[date, UUID]]:
    """Up to `limit` records that count for a goal, each once by its first day and id, after the one given."""
    if not rule.spans:
        return []
    _, counting, parameters = _counting(tenant_id, {goal_id: rule}, None)
    after_day, after_id = after or (None, None)
    rows = await tx.rows(
        text(_PAGE.format(counting=counting)),
        {**parameters, "after_day": after_day, "after_id": after_id, "limit": limit},
    )
    return [(row["day"], row["id"]) for row in rows]


def _alike(rules: Mapping[UUID, Rule]) -> Iterable[Mapping[UUID, Rule]]:
    """The rules that reach some records, by equal measure and rates."""
    grouped: dict[tuple[Measure, RatesInto], dict[UUID, Rule]] = {}
    for goal_id, rule in rules.items():
        if rule.spans:
            grouped.setdefault((rule.measure, rule.rates), {})[goal_id] = rule
    return grouped.values()


def _records_in(measure: Measure) -> str:
    """How many records are in rows that may be several parts of one."""
    several = measure.by_instalment or measure.crediting is not Crediting.OWNER
    return "count(DISTINCT id)" if several else "count(*)"


def _counting(
    tenant_id: UUID, rules: Mapping[UUID, Rule], as_of: datetime | None
) -> tuple[Measure, str, dict[str, object]]:
    """The measure of goals of one measure and the same rates, the query for their parts, and its parameters."""
    one = next(iter(rules.values()))
    measure = one.measure
    stored = _STORED[measure.record]
    compiler = FilterCompiler("record", measure.record_type.fields, stored.filter_days)
    condition = compiler.condition(measure.filter)
    day, instalments = stored.days.get(measure.date_field, "instalment.day"), ""
    if measure.date_field in _INSTALMENTS_BY:
        joined = _EVERY_INSTALMENT if measure.by_instalment else _FIRST_INSTALMENT
        instalments = joined.format(instalments=_INSTALMENTS_BY[measure.date_field])
    value, distinct_value, has_value = "CAST(1 AS numeric)", "CAST(NULL AS text)", "true"
    rates = ""
    if measure.aggregate is Aggregate.DISTINCT:
        distinct_value = compiler.field(measure.value_field or "")
        has_value = f"{distinct_value} IS NOT NULL"
    elif measure.value_field is not None:
        value = "instalment.amount" if measure.by_instalment else compiler.field(measure.value_field)
        has_value = f"{value} IS NOT NULL"
    parameters: dict[str, object] = {"tenant_id": tenant_id}
    if measure.sums_money:
        parameters["currency"] = measure.currency
        if measure.rate_policy is RatePolicy.NONE:
            has_value += " AND record.currency = :currency"
        else:
            value = _converted(measure, value)
            has_value += f" AND {value} IS NOT NULL"
            rates = _RATES.format(day=day)
            parameters |= _rate_parameters(measure, one.rates)
    denominator = "CAST(NULL AS numeric)"
    if measure.aggregate is Aggregate.AVERAGE:
        denominator = "CAST(1 AS numeric)"
    elif measure.numerator_filter is not None:
        value, denominator = f"CASE WHEN {compiler.condition(measure.numerator_filter)} THEN {value} ELSE 0 END", value
    parameters |= compiler.parameters
    day_conditions = [
        each
        for node in (measure.filter, measure.numerator_filter or EVERYTHING)
        for each in conditions_of(node)
        if each.field in stored.filter_days
    ]
    periods = [span.period for rule in rules.values() for span in rule.spans]
    days = [max(_FIRST, min(day, _LAST)) for each in day_conditions for day in each.values if isinstance(day, date)]
    parameters |= _day_parameters(one.days, [*periods, *(Period(day, day + _ONE_DAY) for day in days)])
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
    records = (queries.NEWEST if as_of is None else queries.AS_OF)[measure.record]
    stored_day = stored.stored_days.get(measure.date_field) if as_of is None else None
    in_reach = "true" if stored_day is None else _STORED_DAY_IN_REACH.format(day=stored_day)

    def of(users: str, value: str, denominator: str, in_reach: str) -> str:
        return _COUNTING.format(
            of_user=users.format(records=records),
            value=value,
            denominator=denominator,
            in_reach=in_reach,
            id=stored.id,
            day=day,
            distinct_value=distinct_value,
            instalments=instalments,
            rates=rates,
            is_there=stored.is_there,
            has_value=has_value,
            condition=condition,
        )

    if measure.crediting is Crediting.OWNER:
        return measure, of(_OWNED, value, denominator, in_reach), parameters
    parameters["role"] = measure.role
    share = value if measure.aggregate is Aggregate.DISTINCT else f"{value} * (split.percent * 0.01)"
    owned = of(_OWNED, value, denominator, f"record.splits IS NULL AND {in_reach}")
    shared = of(_SHARED, share, f"{denominator} * (split.percent * 0.01)", in_reach)
    return measure, f"{owned} UNION ALL {shared}", parameters


def _converted(measure: Measure, amount: str) -> str:
    """What an amount comes to in the measure's currency, NULL without a rate."""
    cases = [("record.currency = :currency", amount)]
    if measure.counts_home_amount:
        stated = "record.home_currency = :currency AND record.home_amount IS NOT NULL"
        cases.append((stated, "record.home_amount"))
    values = " ".join(f"WHEN {condition} THEN {value}" for condition, value in cases)
    return f"(CASE {values} ELSE {amount} * rate.rate END)"


def _day_parameters(days: BusinessDays, periods: Sequence[Period]) -> dict[str, object]:
    """What `_day_of` needs to decide the days of these periods; without any, no record is in reach to have a day."""
    spans: Sequence[DaySpan] = ()
    if periods:
        spans = days.spans(Period(min(period.start for period in periods), max(period.end for period in periods)))
    return {
        "day_starts": [span.start for span in spans],
        "day_offsets": [span.offset for span in spans],
        "earliest_days": [span.earliest for span in spans],
    }


def _rate_parameters(measure: Measure, rates: RatesInto) -> dict[str, object]:
    spans = rates.spans
    if measure.rate_policy is RatePolicy.FIXED:
        spans = tuple(RateSpan(currency, date.min, date.max, rate, date.min) for currency, rate in measure.fixed_rates)
    return {
        "rate_currencies": [span.currency for span in spans],
        "rate_starts": [span.start for span in spans],
        "rate_ends": [span.end for span in spans],
        "rates": [span.rate for span in spans],
    }
