"""Statements as a table: a row for each line, and one for each step that no single deal brought in; they add up.

What payout runs made of it has rows of its own, whose amounts stand in a column of their own.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from services.incentives.earnings.domain.inputs import exact_sum
from services.incentives.statements.domain.english import ENGLISH
from services.incentives.statements.domain.pay import StatedCorrection
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
    Column("run_number", Kind.WHOLE),
    Column("paid_on", Kind.DAY),
    Column("pay_step", Kind.TEXT),
    Column("pay_amount", Kind.NUMBER),
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
        yield from ({**shared, "step": each.words.en, "amount": each.amount} for each in earning.steps)
        rest = round_to_minor_unit(
            earning.not_by_deals - exact_sum(each.amount for each in earning.steps), earning.currency
        )
        if rest:
            yield {**shared, "amount": rest}
        if earning.as_paid is not None and earning.as_paid != earning.earned:
            yield {**shared, "step": ENGLISH.posted_later, "amount": earning.as_paid - earning.earned}
    for correction in () if statement.pay is None else statement.pay.earlier:
        yield {**person, **_correction(correction)}
    for payout in statement.payouts:
        paid: dict[str, Value] = {
            **person,
            "plan": payout.plan_name,
            "start": payout.period.start,
            "end": payout.period.end,
            "currency": payout.currency,
            "run_number": payout.run_number,
            "paid_on": payout.paid_on,
        }
        for line in payout.lines:
            amount = round_to_minor_unit(line.amount, payout.currency)
            yield {**paid, "pay_step": ENGLISH.line(line.kind), "pay_amount": amount}


def _correction(correction: StatedCorrection) -> Mapping[str, Value]:
    deal = correction.deal
    return {
        "earning_id": correction.earning_id,
        "plan": correction.plan_name,
        "component": correction.component,
        "start": correction.origin.start,
        "end": correction.origin.end,
        "deal_id": None if deal is None else deal.id,
        "source": None if deal is None else deal.source,
        "external_id": None if deal is None else deal.external_id,
        "deal_name": None if deal is None else deal.name,
        "step": ENGLISH.cause_of(correction.cause),
        "amount": correction.amount,
        "currency": correction.currency,
    }


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
