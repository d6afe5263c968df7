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
from services.incentives.statements.domain.pay import PeriodPay, StatedCorrection, StatedPayout
from services.incentives.statements.domain.texts import Texts
from shared.kernel.errors import InvalidInput
from shared.kernel.language import Language
from shared.kernel.periods import Period
from shared.kernel.reasons import Reason, Words

LINES_MAX: Final = 2000
_BEGINNING: Final = datetime(1980, 1, 1)  # noqa: DTZ001
_NONE: Final = "—"
_DIGEST_SHOWN: Final = 16


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
class StatedMultiplier:
    """A multiplier that applies; `is_of_pay` tells one of pay from one of what counts."""

    name: str
    factor: Decimal
    is_of_pay: bool


@dataclass(frozen=True, slots=True)
class StatedStep:
    """What became of the pay of all lines together, or how it came about without them."""

    words: Words
    amount: Decimal


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
    multipliers: Sequence[StatedMultiplier] = ()
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
    steps: Sequence[StatedStep]
    is_stale: bool
    changed_at: datetime
    before: Decimal = Decimal(0)
    """What the running total began with, where it goes on from earlier earnings."""
    rerated_before: Decimal = Decimal(0)
    """What the tiers reached now made of that."""
    as_paid: Decimal | None = None
    """What the pay period of the statement paid for it; None on a statement of some days."""

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
    """What a person earned in the periods that lie within [start, end), and what runs for pay periods there paid.

    With `pay` it is the statement of a pay period: its earnings are those that are due in it.
    """

    payee: Payee
    start: date
    end: date
    earnings: Sequence[StatedEarning]
    asked: AskedDeal | None = None
    payouts: Sequence[StatedPayout] = ()
    pay: PeriodPay | None = None

    @property
    def as_of(self) -> datetime | None:
        """When something on it last changed."""
        changes = [earning.changed_at for earning in self.earnings]
        if self.pay is not None:
            changes += [each.posted_at for each in (*self.pay.earlier, *self.pay.later)]
            changes += [] if self.pay.cut_off_at is None else [self.pay.cut_off_at]
        return max(changes, default=None)

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
    payee, as_of, pay = statement.payee, statement.as_of, statement.pay
    period = f"{statement.start} – {display.last_day(statement.end)}"
    sums = totals(statement.earnings)
    sections = [] if statement.asked is None else [_asked(statement.asked, texts)]
    sections.append(_summary(statement, sums, texts))
    if statement.payouts:
        sections.append(_payment(statement.payouts, texts))
    if pay is not None and pay.earlier:
        sections.append(Section(texts.for_earlier, tables=(_corrections(pay.earlier, texts),)))
    if pay is not None and any(total.difference for total in pay.totals):
        sections.append(_recalculated(pay, texts))
    sections += [_earning(earning, texts) for earning in statement.earnings]
    facts = [
        Fact(texts.employee_number, payee.employee_number or _NONE),
        Fact(texts.period if pay is None else texts.pay_period, period),
        Fact(texts.person_id, str(payee.person_id)),
        Fact(texts.as_of, texts.nothing_yet if as_of is None else display.moment(as_of)),
    ]
    if pay is not None:
        cut_off = texts.takes_postings if pay.cut_off_at is None else display.moment(pay.cut_off_at)
        facts.append(Fact(texts.cut_off, cut_off))
        facts.append(Fact(texts.kept_digest, texts.nothing_yet if pay.digest is None else pay.digest[:_DIGEST_SHOWN]))
        figures = [Fact(texts.as_paid, display.money(each.as_paid, each.currency)) for each in pay.totals]
    else:
        figures = [Fact(texts.earned, display.money(earned, currency)) for currency, (earned, _) in sums.items()]
    figures += [Fact(texts.paid, display.money(paid, currency)) for currency, paid in _paid(statement.payouts).items()]
    footer = texts.statement_footer
    if pay is not None and pay.digest is not None:
        footer = texts.kept_footer.format(digest=pay.digest)
    return Document(
        language=texts.language,
        title=texts.statement if pay is None else texts.pay_statement,
        subject=payee.name or texts.unnamed,
        aside=period,
        facts=tuple(facts),
        figures=tuple(figures),
        sections=tuple(sections),
        footer=footer,
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


def _paid(payouts: Sequence[StatedPayout]) -> dict[str, Decimal]:
    paid: dict[str, Decimal] = defaultdict(Decimal)
    for each in payouts:
        paid[each.currency] += each.paid
    return dict(sorted(paid.items()))


def _summary(statement: PersonStatement, sums: dict[str, tuple[Decimal, Decimal]], texts: Texts) -> Section:
    earnings, pay = statement.earnings, statement.pay
    if not earnings:
        return Section(texts.summary, paragraphs=(texts.nothing_earned, texts.missing_deal))
    columns = (
        TableColumn(texts.component, is_wide=True),
        TableColumn(texts.period),
        TableColumn(texts.counted, is_number=True),
        TableColumn(texts.quota, is_number=True),
        TableColumn(texts.attainment, is_number=True),
        TableColumn(texts.earned if pay is None else texts.as_paid, is_number=True),
    )
    rows = tuple(
        (
            f"{earning.name}\n{earning.plan_name}",
            display.days(earning.period),
            display.number(earning.measure, earning.unit),
            _NONE if earning.quota is None else display.number(earning.quota, earning.unit),
            display.attained(earning.attainment),
            display.money(earning.earned if earning.as_paid is None else earning.as_paid, earning.currency),
        )
        for earning in earnings
    )
    ends, notes = [], []
    for total in () if pay is None else pay.totals:
        ends.append((texts.for_due, "", "", "", "", display.money(total.for_due, total.currency)))
        if total.for_earlier:
            ends.append((texts.for_earlier, "", "", "", "", display.money(total.for_earlier, total.currency)))
            ends.append((texts.as_paid, "", "", "", "", display.money(total.as_paid, total.currency)))
    for currency, (earned, owed) in sums.items() if pay is None else ():
        ends.append((texts.total, "", "", "", "", display.money(earned, currency)))
        ends.append((texts.by_the_ledger, "", "", "", "", display.money(owed, currency)))
        if earned != owed:
            ledger = display.money(owed, currency)
            notes.append(texts.ledger_differs.format(ledger=ledger, earned=display.money(earned, currency)))
    sheet = Sheet(columns, rows, tuple(ends))
    return Section(texts.summary, paragraphs=(texts.missing_deal,), tables=(sheet,), notes=tuple(notes))


def _payment(payouts: Sequence[StatedPayout], texts: Texts) -> Section:
    columns = (TableColumn(texts.step, is_wide=True), TableColumn(texts.amount, is_number=True))
    sheets = []
    for each in payouts:
        rows = tuple((texts.line(line.kind), display.posted(line.amount, each.currency)) for line in each.lines)
        ends = [(texts.paid, display.money(each.paid, each.currency))]
        for label, amount in (
            (texts.carried, each.carried),
            (texts.owed_of_draws, each.owed),
            (texts.held_back, each.held_back),
        ):
            if amount:
                ends.append((label, display.money(amount, each.currency)))
        when = texts.run_state(each.status)
        if each.paid_on is not None:
            when = texts.paid_on.format(day=each.paid_on)
        caption = texts.run_of.format(number=each.run_number, plan=each.plan_name, days=display.days(each.period))
        if each.reverses is not None:
            caption = texts.run_reverses.format(run=caption, number=each.reverses)
        sheets.append(Sheet(columns, rows, tuple(ends), caption=f"{caption}, {when}"))
    return Section(texts.payment, tables=tuple(sheets))


def _recalculated(pay: PeriodPay, texts: Texts) -> Section:
    columns = (
        TableColumn(texts.currency, is_wide=True),
        TableColumn(texts.as_paid, is_number=True),
        TableColumn(texts.as_recalculated, is_number=True),
        TableColumn(texts.difference, is_number=True),
    )
    rows = tuple(
        (
            each.currency,
            display.posted(each.for_due, each.currency),
            display.posted(each.as_recalculated, each.currency),
            display.posted(each.difference, each.currency),
        )
        for each in pay.totals
    )
    tables = [Sheet(columns, rows)]
    if pay.later:
        tables.append(_corrections(pay.later, texts))
    return Section(texts.recalculated, paragraphs=(texts.recalculated_words,), tables=tuple(tables))


def _corrections(corrections: Sequence[StatedCorrection], texts: Texts) -> Sheet:
    columns = (
        TableColumn(texts.cause, is_wide=True),
        TableColumn(texts.origin),
        TableColumn(texts.posted_in),
        TableColumn(texts.amount, is_number=True),
    )
    rows = tuple(
        (
            _cause(each, texts),
            display.days(each.origin),
            f"{display.days(each.posted_in)}\n{display.moment(each.posted_at)}",
            display.money(each.amount, each.currency),
        )
        for each in corrections
    )
    sums: dict[str, list[Decimal]] = defaultdict(list)
    for each in corrections:
        sums[each.currency].append(each.amount)
    ends = tuple(
        (texts.total, "", "", display.money(exact_sum(amounts), currency)) for currency, amounts in sorted(sums.items())
    )
    return Sheet(columns, rows, ends, caption=texts.corrections)


def _cause(correction: StatedCorrection, texts: Texts) -> str:
    found = [texts.cause_of(correction.cause)]
    deal = correction.deal
    if deal is not None:
        found += [] if deal.name is None else [deal.name]
        found.append(deal_name(deal.source, deal.external_id, deal.id, texts))
    if correction.by is not None:
        found.append(texts.approved_by.format(name=correction.by))
    return "\n".join([*found, f"{correction.component}, {correction.plan_name}"])


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
    if earning.as_paid is not None and earning.as_paid != earning.earned:
        notes.append(texts.paid_otherwise.format(amount=display.money(earning.as_paid, earning.currency)))
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
    rows = tuple((_said(each.words, texts), display.posted(each.amount, earning.currency)) for each in earning.steps)
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
    for each in line.multipliers:
        words = texts.multiplier_of_pay if each.is_of_pay else texts.multiplier_of_credit
        found.append(words.format(name=each.name, factor=display.number(each.factor)))
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
