"""A person's statement: what was earned in some days, line by line, as values and as a document."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.earnings.domain.inputs import exact_sum
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.statements.domain import display
from services.incentives.statements.domain.layout import Document, Fact, Section, Sheet, TableColumn
from services.incentives.statements.domain.texts import Language, Texts
from shared.kernel.errors import InvalidInput
from shared.kernel.periods import Period
from shared.kernel.reasons import Reason, Words

LINES_MAX: Final = 2000
_BEGINNING: Final = datetime(1980, 1, 1)  # noqa: DTZ001
_NONE: Final = "—"


class DocumentTooLong(InvalidInput):
    """More lines than a document to be read may have: a part of them would be no statement."""

    code = "document_too_long"
    title = "Document too long"


@dataclass(frozen=True, slots=True)
class Payee:
    """Whose statement it is, as far as the organisation has told."""

    person_id: UUID
    name: str | None = None
    employee_number: str | None = None


@dataclass(frozen=True, slots=True)
class StatedSlice:
    """A part of what was credited, at the rate of its tier, counted from 1; `step` is paid for reaching the tier."""

    tier: int
    value: Decimal
    rate: Decimal
    step: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class StatedConversion:
    """What the deal is worth in its own currency, and the rate it was converted at, where there is one to tell."""

    amount: Decimal
    currency: str
    rate: Decimal | None


@dataclass(frozen=True, slots=True)
class StatedLine:
    """What of a deal counts on a day, and what it brought in; `amount` is rounded, and the lines add up."""

    deal_id: UUID
    source: str | None
    external_id: str | None
    deal_name: str | None
    customer: str | None
    day: date
    percent: Decimal
    value: Decimal
    conversion: StatedConversion | None
    slices: Sequence[StatedSlice]
    rerated: Decimal
    amount: Decimal
    multipliers: Sequence[tuple[str, Decimal, bool]] = ()
    """The name and the factor of each that applies, and whether it is one of pay rather than of what counts."""
    left_out: Decimal = Decimal(0)
    """What the rule for giant deals does not count of the whole deal."""
    multiplied: Decimal = Decimal(0)
    """What multipliers of pay made of what the deal is paid."""
    withheld: Decimal = Decimal(0)
    """What the cap of a deal took."""


@dataclass(frozen=True, slots=True)
class StatedTier:
    """A tier, and what the period has in it; the amount is not rounded. `is_exclusive` is of its start."""

    start: Decimal
    rate: Decimal
    value: Decimal
    amount: Decimal
    is_exclusive: bool = False


@dataclass(frozen=True, slots=True)
class StatedEarning:
    """What was earned on a component in a period; `owed` is by the ledger. `kind` is None when nothing pays it."""

    earning_id: UUID
    plan_name: str
    plan_version: int
    component: str
    name: str
    kind: str | None
    is_money: bool
    period: Period
    currency: str
    measure: Decimal
    quota: Decimal | None
    quota_gap: QuotaGap | None
    attainment: Decimal | None
    earned: Decimal
    owed: Decimal
    tiers: Sequence[StatedTier]
    lines: Sequence[StatedLine]
    steps: Sequence[tuple[Words, Decimal]]
    """What became of the pay of all lines together, or how it came about without them."""
    is_stale: bool
    changed_at: datetime
    before: Decimal = Decimal(0)
    """What the running total began with, where it goes on from earlier earnings."""
    rerated_before: Decimal = Decimal(0)
    """What the tiers reached now made of that."""

    @property
    def unit(self) -> str | None:
        """The currency of what is measured; None where it is no money."""
        return self.currency if self.is_money else None

    @property
    def not_by_deals(self) -> Decimal:
        """What of it no single deal brought in."""
        return self.earned - exact_sum(line.amount for line in self.lines)


@dataclass(frozen=True, slots=True)
class AskedDeal:
    """What became of the deal that was asked about: where it counts, or why it does not."""

    deal: str
    reason: Reason | None
    counts: Sequence[tuple[str, Period, Decimal, str | None]] = ()
    """The component's name, the period, the value and its currency."""


@dataclass(frozen=True, slots=True)
class PersonStatement:
    """What a person earned in the periods that lie within [start, end)."""

    payee: Payee
    start: date
    end: date
    earnings: Sequence[StatedEarning]
    asked: AskedDeal | None = None

    @property
    def as_of(self) -> datetime | None:
        """When something on it last changed."""
        return max((earning.changed_at for earning in self.earnings), default=None)

    def check_length(self) -> None:
        """Raise DocumentTooLong for more lines than somebody reads."""
        lines = sum(len(earning.lines) for earning in self.earnings)
        if lines > LINES_MAX:
            raise DocumentTooLong.field(
                "/end", f"makes {lines} lines", f"at most {LINES_MAX}: an earlier day, or the same as a table"
            )


def totals(earnings: Iterable[StatedEarning]) -> dict[str, tuple[Decimal, Decimal]]:
    """What was earned and what the ledger has, by currency."""
    members: dict[str, list[StatedEarning]] = defaultdict(list)
    for earning in earnings:
        members[earning.currency].append(earning)
    return {
        currency: (exact_sum(each.earned for each in found), exact_sum(each.owed for each in found))
        for currency, found in sorted(members.items())
    }


def statement_document(statement: PersonStatement, texts: Texts) -> Document:
    """The statement to be read."""
    payee, as_of = statement.payee, statement.as_of
    period = f"{statement.start} – {display.last_day(statement.end)}"
    sums = totals(statement.earnings)
    sections = [] if statement.asked is None else [_asked(statement.asked, texts)]
    sections.append(_summary(statement.earnings, sums, texts))
    sections += [_earning(earning, texts) for earning in statement.earnings]
    return Document(
        language=texts.language,
        title=texts.statement,
        subject=payee.name or texts.unnamed,
        aside=period,
        facts=(
            Fact(texts.employee_number, payee.employee_number or _NONE),
            Fact(texts.period, period),
            Fact(texts.person_id, str(payee.person_id)),
            Fact(texts.as_of, texts.nothing_yet if as_of is None else display.moment(as_of)),
        ),
        figures=tuple(Fact(texts.earned, display.money(earned, currency)) for currency, (earned, _) in sums.items()),
        sections=tuple(sections),
        footer=texts.statement_footer,
        page_words=texts.page_words,
        as_of=as_of or _BEGINNING,
    )


def _asked(asked: AskedDeal, texts: Texts) -> Section:
    reason = asked.reason
    if reason is None:
        found = [
            texts.asked_counts.format(
                deal=asked.deal,
                value=display.number(value, unit) if unit is None else display.money(value, unit),
                component=name,
                days=display.days(period),
            )
            for name, period, value, unit in asked.counts
        ]
        return Section(texts.asked, paragraphs=tuple(found))
    notes = [texts.asked_counts_nowhere.format(deal=asked.deal, reason=_said(reason.sentence, texts))]
    if reason.found is not None:
        notes.append(texts.found.format(text=reason.found))
    if reason.expected is not None:
        notes.append(texts.expected.format(text=_said(reason.expected, texts)))
    notes.append(texts.remedy.format(text=_said(reason.remedy, texts)))
    return Section(texts.asked, notes=("\n".join(notes),))


def _summary(earnings: Sequence[StatedEarning], sums: dict[str, tuple[Decimal, Decimal]], texts: Texts) -> Section:
    if not earnings:
        return Section(texts.summary, paragraphs=(texts.nothing_earned, texts.missing_deal))
    columns = (
        TableColumn(texts.component, is_wide=True),
        TableColumn(texts.period),
        TableColumn(texts.counted, is_number=True),
        TableColumn(texts.quota, is_number=True),
        TableColumn(texts.attainment, is_number=True),
        TableColumn(texts.earned, is_number=True),
    )
    rows = tuple(
        (
            f"{earning.name}\n{earning.plan_name}",
            display.days(earning.period),
            display.number(earning.measure, earning.unit),
            _NONE if earning.quota is None else display.number(earning.quota, earning.unit),
            display.attained(earning.attainment),
            display.money(earning.earned, earning.currency),
        )
        for earning in earnings
    )
    ends, notes = [], []
    for currency, (earned, owed) in sums.items():
        ends.append((texts.total, "", "", "", "", display.money(earned, currency)))
        ends.append((texts.by_the_ledger, "", "", "", "", display.money(owed, currency)))
        if earned != owed:
            ledger = display.money(owed, currency)
            notes.append(texts.ledger_differs.format(ledger=ledger, earned=display.money(earned, currency)))
    sheet = Sheet(columns, rows, tuple(ends))
    return Section(texts.summary, paragraphs=(texts.missing_deal,), tables=(sheet,), notes=tuple(notes))


def _earning(earning: StatedEarning, texts: Texts) -> Section:
    version = texts.version.format(number=earning.plan_version)
    facts = [
        Fact(texts.plan, f"{earning.plan_name}, {version}"),
        Fact(texts.pays_by, texts.no_terms if earning.kind is None else texts.kind(earning.kind)),
        Fact(texts.counted, display.number(earning.measure, earning.unit)),
        Fact(texts.quota, _NONE if earning.quota is None else display.number(earning.quota, earning.unit)),
        Fact(texts.attainment, display.attained(earning.attainment)),
        Fact(texts.earned, display.money(earning.earned, earning.currency)),
    ]
    if earning.before != 0:
        facts.append(Fact(texts.before, display.number(earning.before, earning.unit)))
    notes = []
    if earning.is_stale:
        notes.append(texts.recalculating)
    if earning.quota_gap is not None:
        notes.append(texts.quota_gap.format(reason=texts.gap(earning.quota_gap)))
    sheets = []
    if earning.tiers:
        sheets.append(_tiers(earning, texts))
    if earning.lines:
        sheets.append(_lines(earning, texts))
    if earning.steps:
        sheets.append(_steps(earning, texts))
    paragraphs = (texts.before_rounding,) if earning.lines or earning.steps else (texts.no_deals,)
    heading = f"{earning.name}, {display.days(earning.period)}"
    return Section(heading, facts=tuple(facts), paragraphs=paragraphs, tables=tuple(sheets), notes=tuple(notes))


def _tiers(earning: StatedEarning, texts: Texts) -> Sheet:
    columns = (
        TableColumn(texts.tier, is_wide=True),
        TableColumn(texts.rate, is_number=True),
        TableColumn(texts.in_tier, is_number=True),
        TableColumn(texts.paid_in_tier, is_number=True),
    )
    rows = []
    for index, tier in enumerate(earning.tiers, start=1):
        following = earning.tiers[index] if index < len(earning.tiers) else None
        end = None if following is None else (display.number(following.start, earning.unit), following.is_exclusive)
        start = display.number(tier.start, earning.unit)
        bounds = tier_words(start, end, is_exclusive=tier.is_exclusive, texts=texts)
        rows.append(
            (
                f"{texts.tier_number.format(number=index)}: {bounds}",
                display.rate(tier.rate, is_money=earning.is_money, currency=earning.currency),
                display.number(tier.value, earning.unit),
                display.number(tier.amount, earning.currency),
            )
        )
    if earning.rerated_before != 0:
        rows.append((texts.rerated_before, "", "", display.number(earning.rerated_before, earning.currency)))
    exact = exact_sum((earning.rerated_before, *(tier.amount for tier in earning.tiers)))
    total = (texts.total, "", "", display.number(exact, earning.currency))
    return Sheet(columns, tuple(rows), (total,), caption=texts.tiers)


def _steps(earning: StatedEarning, texts: Texts) -> Sheet:
    columns = (TableColumn(texts.step, is_wide=True), TableColumn(texts.amount, is_number=True))
    rows = tuple((_said(words, texts), display.posted(amount, earning.currency)) for words, amount in earning.steps)
    ends = () if earning.lines else ((texts.total, display.money(earning.earned, earning.currency)),)
    return Sheet(columns, rows, ends, caption=texts.steps)


def _lines(earning: StatedEarning, texts: Texts) -> Sheet:
    columns = (
        TableColumn(texts.day),
        TableColumn(texts.deal, is_wide=True),
        TableColumn(texts.counted, is_number=True),
        TableColumn(texts.share, is_number=True),
        TableColumn(texts.how, is_number=True),
        TableColumn(f"{texts.amount} ({earning.currency})", is_number=True),
    )
    rows = tuple(
        (
            str(line.day),
            _deal(line, texts),
            display.number(line.value, earning.unit),
            f"{display.number(line.percent)}%",
            _slices(line, earning, texts),
            display.posted(line.amount, earning.currency),
        )
        for line in earning.lines
    )
    ends = []
    rest = earning.not_by_deals
    if rest != 0:
        ends.append(("", texts.not_by_deals, "", "", "", display.posted(rest, earning.currency)))
    value = display.number(exact_sum(line.value for line in earning.lines), earning.unit)
    count = texts.deal_count.format(number=len(earning.lines))
    ends.append((texts.total, count, value, "", "", display.posted(earning.earned, earning.currency)))
    return Sheet(columns, rows, tuple(ends), caption=texts.deals)


def _deal(line: StatedLine, texts: Texts) -> str:
    found = [] if line.deal_name is None else [line.deal_name]
    if line.customer is not None and line.customer != line.deal_name:
        found.append(texts.customer.format(name=line.customer))
    found.append(deal_name(line.source, line.external_id, line.deal_id, texts))
    conversion = line.conversion
    if conversion is not None:
        rate = _NONE if conversion.rate is None else display.number(conversion.rate)
        amount = display.number(conversion.amount, conversion.currency)
        found.append(texts.converted.format(currency=conversion.currency, amount=amount, rate=rate))
    return "\n".join(found)


def _slices(line: StatedLine, earning: StatedEarning, texts: Texts) -> str:
    found = []
    for part in line.slices:
        rate = display.rate(part.rate, is_money=earning.is_money, currency=earning.currency)
        tier = f"{texts.tier_number.format(number=part.tier)}: " if len(earning.tiers) > 1 else ""
        step = f" + {display.posted(part.step, earning.currency)}" if part.step else ""
        found.append(f"{tier}{display.number(part.value, earning.unit)} × {rate}{step}")
    for name, factor, is_of_pay in line.multipliers:
        words = texts.multiplier_of_pay if is_of_pay else texts.multiplier_of_credit
        found.append(words.format(name=name, factor=display.number(factor)))
    for words, amount in (
        (texts.multiplied, line.multiplied),
        (texts.withheld, line.withheld),
        (texts.left_out, line.left_out),
    ):
        if amount != 0:
            found.append(words.format(amount=display.number(amount, earning.currency)))
    if line.rerated != 0:
        found.append(texts.rerated.format(amount=display.number(line.rerated, earning.currency)))
    return "\n".join(found) or _NONE


def tier_words(start: str, end: tuple[str, bool] | None, *, is_exclusive: bool, texts: Texts) -> str:
    """From where to where a tier is; with its end comes whether that belongs to this tier, as the next begins above."""
    begins = texts.more_than.format(start=start) if is_exclusive else start
    if end is None:
        return begins if is_exclusive else texts.tier_open.format(start=begins)
    bound, is_within = end
    return (texts.tier_range_closed if is_within else texts.tier_range).format(start=begins, end=bound)


def deal_name(source: str | None, external_id: str | None, deal_id: UUID, texts: Texts) -> str:
    """A deal by the id that its source gave it, or by its id here while nothing else is known of it."""
    if source is None or external_id is None:
        return str(deal_id)
    return texts.crm_id.format(source=source, id=external_id)


def _said(words: Words, texts: Texts) -> str:
    return words.zh if texts.language is Language.CHINESE else words.en
