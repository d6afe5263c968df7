"""Statements as a table: a row for each line, and one for each step that no single deal brought in; they add up."""

from collections.abc import Iterator, Mapping
from typing import Final

from services.incentives.earnings.domain.inputs import exact_sum
from services.incentives.statements.domain.statement import PersonStatement, StatedLine, StatedSlice
from shared.kernel.money import format_amount, round_to_minor_unit
from shared.tables.columns import Column, Kind, Value

COLUMNS: Final = (
    Column("person_id", Kind.ID),
    Column("employee_number", Kind.TEXT),
    Column("person_name", Kind.TEXT),
    Column("earning_id", Kind.ID),
    Column("plan", Kind.TEXT),
    Column("plan_version", Kind.WHOLE),
    Column("component", Kind.WORD),
    Column("start", Kind.DAY),
    Column("end", Kind.DAY),
    Column("deal_id", Kind.ID),
    Column("source", Kind.TEXT),
    Column("external_id", Kind.TEXT),
    Column("deal_name", Kind.TEXT),
    Column("customer", Kind.TEXT),
    Column("day", Kind.DAY),
    Column("percent", Kind.NUMBER),
    Column("value", Kind.NUMBER),
    Column("original_amount", Kind.NUMBER),
    Column("original_currency", Kind.WORD),
    Column("exchange_rate", Kind.RATE),
    Column("slices", Kind.TEXT),
    Column("rerated", Kind.NUMBER),
    Column("multiplied", Kind.NUMBER),
    Column("withheld", Kind.NUMBER),
    Column("step", Kind.TEXT),
    Column("amount", Kind.NUMBER),
    Column("currency", Kind.WORD),
)


def rows_of(statement: PersonStatement) -> Iterator[Mapping[str, Value]]:
    """The rows of a statement, in its order."""
    payee = statement.payee
    person: dict[str, Value] = {
        "person_id": payee.person_id,
        "employee_number": payee.employee_number,
        "person_name": payee.name,
    }
    for earning in statement.earnings:
        shared = {
            **person,
            "earning_id": earning.earning_id,
            "plan": earning.plan_name,
            "plan_version": earning.plan_version,
            "component": earning.component,
            "start": earning.period.start,
            "end": earning.period.end,
            "currency": earning.currency,
        }
        yield from ({**shared, **_line(line)} for line in earning.lines)
        yield from ({**shared, "step": words.en, "amount": amount} for words, amount in earning.steps)
        rest = round_to_minor_unit(
            earning.not_by_deals - exact_sum(amount for _, amount in earning.steps), earning.currency
        )
        if rest:
            yield {**shared, "amount": rest}


def _line(line: StatedLine) -> Mapping[str, Value]:
    conversion = line.conversion
    return {
        "deal_id": line.deal_id,
        "source": line.source,
        "external_id": line.external_id,
        "deal_name": line.deal_name,
        "customer": line.customer,
        "day": line.day,
        "percent": line.percent,
        "value": line.value,
        "original_amount": None if conversion is None else conversion.amount,
        "original_currency": None if conversion is None else conversion.currency,
        "exchange_rate": None if conversion is None else conversion.rate,
        "slices": " + ".join(_slice(each) for each in line.slices),
        "rerated": line.rerated,
        "multiplied": line.multiplied,
        "withheld": line.withheld,
        "amount": line.amount,
    }


def _slice(part: StatedSlice) -> str:
    paid = f"{format_amount(part.value)} × {format_amount(part.rate)}"
    return f"{paid} + {format_amount(part.step)}" if part.step else paid
