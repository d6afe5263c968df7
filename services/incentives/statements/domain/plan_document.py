"""A version of a plan as a document: what counts, how it pays, worked examples, and what becomes of what is earned."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import zip_longest
from typing import Final
from uuid import UUID

from services.incentives.earnings.domain.inputs import EXACT
from services.incentives.plans.domain.assignments import Assignment, PerTime, QuotaGoal
from services.incentives.plans.domain.components import Component, main_measure
from services.incentives.plans.domain.history import Json
from services.incentives.plans.domain.kinds.commission import Basis, Commission
from services.incentives.plans.domain.kinds.override import Override
from services.incentives.plans.domain.rates import FlatRate, PointsRate, TieredRate, TierMode, TierScale
from services.incentives.plans.domain.rules import (
    DEDUCTIONS,
    Clawback,
    ClawbackPolicy,
    Draw,
    DrawKind,
    NegativeBalance,
    PeriodRules,
    Release,
    RoundingMode,
)
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus
from services.incentives.plans.domain.wording import members_in_words
from services.incentives.statements.domain import display
from services.incentives.statements.domain.examples import Example, Examples, examples_of
from services.incentives.statements.domain.layout import Document, Fact, Section, Sheet, TableColumn
from services.incentives.statements.domain.statement import Payee, tier_words
from services.incentives.statements.domain.texts import Texts
from shared.kernel.deals import DateField
from shared.kernel.filters import EVERYTHING
from shared.kernel.language import Language
from shared.kernel.measures import Aggregate, Crediting, Measure
from shared.kernel.periods import PeriodKind
from shared.kernel.reasons import Words, condition_words

_DIGEST_SHOWN: Final = 16
_WHOLE: Final = Decimal(100)
_SHARE_STEP: Final = Decimal("0.0001")
_HEAD: Final = frozenset({"kind", "key", "name"})
_SAID: Final = _HEAD | {"measure", "crediting", "role", "allocation_percent", "basis"}
_RULES_SAID: Final = frozenset(
    {"draw", "guarantee", "holdback", "cap", "clawback", "negative_balance", "rounding", "deductions"}
)


@dataclass(frozen=True, slots=True)
class PersonalTerms:
    """What a version means for one person: its assignments while the version is in force, and a digest of them.

    `goals` are those that are quotas.
    """

    payee: Payee
    assignments: Sequence[Assignment]
    goals: Mapping[UUID, QuotaGoal]
    digest: str
    accepted_digest: str | None = None
    """Of what the person accepted; None where it has not, or did before this was kept."""


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """A version with what a reader wants to know of it. `terms` is what was approved, as JSON."""

    plan: Plan
    version: PlanVersion
    until: date | None
    terms: Mapping[str, Json]
    digest: str
    approved_by: str | None
    as_of: datetime
    accepted: tuple[str, datetime] | None = None
    """Who accepted it and when, on a copy of that person."""
    personal: PersonalTerms | None = None


def plan_document(found: PlanTerms, texts: Texts) -> Document:
    """The document that the people it pays are handed, and accept."""
    plan, version = found.plan, found.version
    effective = str(version.effective_from)
    if found.until is not None:
        end = str(display.last_day(found.until))
        effective = texts.in_effect_until.format(start=effective, end=end)
    status = {
        VersionStatus.DRAFT: texts.draft,
        VersionStatus.APPROVED: texts.approved,
        VersionStatus.ACTIVE: texts.active,
    }[version.status]
    facts = [
        Fact(texts.plan, plan.name),
        Fact(texts.in_effect, effective),
        Fact(texts.currency, plan.currency),
        Fact(texts.plan_period, _period(plan.period, texts)),
        Fact(texts.status, status),
        Fact(texts.approved_on, found.approved_by or texts.nothing_yet),
        Fact(texts.terms_digest, found.digest[:_DIGEST_SHOWN]),
    ]
    if version.note is not None:
        facts.append(Fact(texts.note, version.note))
    contents = found.terms.get("components")
    by_key = (
        {str(each["key"]): each for each in contents if isinstance(each, dict)} if isinstance(contents, list) else {}
    )
    sections = [] if found.personal is None else [_personal(found.personal, found, texts)]
    sections += [_component(each, by_key.get(each.key, {}), plan, texts) for each in version.components]
    rules = found.terms.get("rules")
    sections.append(_rules(version.rules, rules if isinstance(rules, dict) else {}, plan.currency, texts))
    sections.append(_acceptance(found, texts))
    return Document(
        language=texts.language,
        title=texts.plan_document,
        subject=f"{plan.name}, {texts.version.format(number=version.number)}",
        aside=effective,
        facts=tuple(facts),
        figures=(),
        sections=tuple(sections),
        footer=texts.plan_footer.format(digest=found.digest),
        page_words=texts.page_words,
        as_of=found.as_of,
    )


def _personal(personal: PersonalTerms, found: PlanTerms, texts: Texts) -> Section:
    payee, plan = personal.payee, found.plan
    facts = [
        Fact(texts.employee_number, payee.employee_number or "—"),
        Fact(texts.personal_digest, personal.digest[:_DIGEST_SHOWN]),
    ]
    quotas: list[tuple[str, ...]] = []
    others: list[tuple[str, ...]] = []
    said = []
    for each in personal.assignments:
        end = texts.open_end if each.range.end is None else str(display.last_day(each.range.end))
        facts.append(Fact(texts.days_on_plan, f"{each.range.start} – {end}"))
        target = each.target_variable
        if target is not None:
            per = _period(plan.period, texts) if target.per is PerTime.PERIOD else texts.years
            for start, amount in ((each.range.start, target.amount), *target.changes):
                words = texts.target_of.format(amount=display.money(amount, plan.currency), per=per)
                others.append((texts.target_variable, str(start), words))
        for key, quota in sorted(each.quotas.items()):
            name, unit = _quota_name(key, found)
            for start, state in quota.states():
                first = max(start, each.range.start)
                if state.amount is not None:
                    quotas.append((name, str(first), display.number(state.amount, unit)))
                for goal_id in state.goal_ids:
                    goal = personal.goals.get(goal_id)
                    shown = (str(goal_id), "—")
                    if goal is not None:
                        shown = (display.days(goal.period), display.number(goal.target, unit))
                    quotas.append((f"{name}\n{texts.by_goal}", *shown))
        others += [(texts.ramp, str(step.start), display.percent(step.share)) for step in each.ramp]
        for away in each.leave:
            last = texts.open_end if away.end is None else str(display.last_day(away.end))
            others.append((texts.leave, str(away.start), texts.until_day.format(day=last)))
        said += [texts.prorated] if each.prorated else []
    tables = []
    if quotas:
        columns = (
            TableColumn(texts.component, is_wide=True),
            TableColumn(texts.from_day),
            TableColumn(f"{texts.quota} ({_period(plan.period, texts)})", is_number=True),
        )
        tables.append(Sheet(columns, tuple(quotas), caption=texts.quota))
    if others:
        columns = (TableColumn(texts.term, is_wide=True), TableColumn(texts.from_day), TableColumn(texts.value))
        tables.append(Sheet(columns, tuple(others)))
    changed = personal.accepted_digest is not None and personal.accepted_digest != personal.digest
    notes = (texts.personal_changed,) if changed else ()
    heading = texts.personal.format(name=payee.name or texts.unnamed)
    return Section(heading, tuple(facts), tuple(said), tuple(tables), notes)


def _quota_name(key: str, found: PlanTerms) -> tuple[str, str | None]:
    """What a quota is of, and its currency where it is money."""
    of, _, of_what = key.partition(".")
    component = next((each for each in found.version.components if each.key == of), None)
    if component is None:
        return key, None
    if of_what:
        return f"{component.name} ({of_what})", None
    measure = main_measure(component)
    return component.name, found.plan.currency if measure is not None and measure.is_money else None


def _period(kind: PeriodKind, texts: Texts) -> str:
    names = {
        PeriodKind.MONTH: texts.months,
        PeriodKind.QUARTER: texts.quarters,
        PeriodKind.HALF: texts.halves,
        PeriodKind.YEAR: texts.years,
    }
    return names.get(kind, str(kind))


def _component(component: Component, content: Mapping[str, Json], plan: Plan, texts: Texts) -> Section:
    measure = main_measure(component)
    facts = [Fact(texts.pays_by, texts.kind(str(content.get("kind", ""))))]
    if measure is not None:
        facts.append(Fact(texts.what_counts, _what_counts(measure, texts)))
        facts.append(Fact(texts.credited, _credited(measure, texts)))
    paragraphs, sheets, said = [], [], _HEAD
    if isinstance(component, Commission | Override):
        if component.allocation_percent != _WHOLE:
            paragraphs.append(texts.allocation.format(percent=display.number(component.allocation_percent)))
        words = _how_it_pays(component, plan.currency, texts)
        if words:
            paragraphs += words
            said = _SAID | {"rate"}
            if isinstance(component.rate, TieredRate):
                sheets.append(_tiers(component, component.rate, plan.currency, texts))
        else:
            said = _SAID
    sheets += _terms(content, said, texts, caption=texts.terms)
    examples = examples_of(component, plan.currency)
    if examples.rows:
        sheets.append(_examples(component, examples, plan.currency, texts))
        paragraphs.append(texts.example_note)
    return Section(component.name, tuple(facts), tuple(paragraphs), tuple(sheets))


def _what_counts(measure: Measure, texts: Texts) -> str:
    deals = texts.every_deal
    if measure.filter != EVERYTHING:
        deals = texts.deals_whose.format(condition=_said(condition_words(measure.filter), texts))
    fields = {
        "amount": texts.field_amount,
        "paid_amount": texts.field_paid_amount,
        "invoiced_amount": texts.field_invoiced_amount,
        "quantity": texts.field_quantity,
    }
    if measure.aggregate is Aggregate.COUNT:
        what = texts.what_counts_deals.format(deals=deals)
    else:
        field = measure.value_field or ""
        what = texts.what_counts_sum.format(field=fields.get(field, field), deals=deals)
    days = {
        DateField.CLOSED: texts.by_closed,
        DateField.CREATED: texts.by_created,
        DateField.EXPECTED_CLOSE: texts.by_expected_close,
        DateField.PAID: texts.by_paid,
        DateField.INVOICED: texts.by_invoiced,
        DateField.OCCURRED: texts.by_occurred,
    }
    return f"{what}\n{days.get(measure.date_field, measure.date_field)}"


def _credited(measure: Measure, texts: Texts) -> str:
    match measure.crediting:
        case Crediting.OWNER:
            return texts.to_owner
        case Crediting.ROLLUP:
            return texts.to_rollup
        case Crediting.TEAM:
            return texts.to_team
        case Crediting.SPLIT:
            return texts.to_split if measure.role is None else texts.to_split_role.format(role=measure.role)


def _how_it_pays(component: Commission | Override, currency: str, texts: Texts) -> list[str]:
    """Sentences about the rate; none for a line between points, which is shown by its terms."""
    is_money = component.measure.is_money
    by = {Basis.PER_DEAL: texts.by_deal, Basis.CUMULATIVE: texts.by_period, Basis.YEAR_TO_DATE: texts.by_year}
    match component.rate:
        case FlatRate(rate=rate):
            shown = display.rate(rate, is_money=is_money, currency=currency)
            return [texts.flat.format(rate=shown) if is_money else texts.each.format(rate=shown)]
        case TieredRate() as tiered:
            said = [texts.marginal if tiered.mode is TierMode.MARGINAL else texts.retroactive, by[component.basis]]
            if not any(tier.is_exclusive for tier in tiered.tiers):
                said.append(texts.bounds)
            if tiered.scale is TierScale.ATTAINMENT:
                said.append(texts.needs_quota)
            if any(tier.is_gated for tier in tiered.tiers):
                said.append(texts.gated)
            if tiered.marginal_from is not None:
                said.append(texts.marginal_from.format(start=_bound(tiered.marginal_from, tiered, component, currency)))
            return [("" if texts.language is Language.CHINESE else " ").join(said)]
        case PointsRate():
            return []


def _bound(start: Decimal, rate: TieredRate, component: Commission | Override, currency: str) -> str:
    if rate.scale is TierScale.ATTAINMENT:
        return display.percent(start)
    is_in_money = component.measure.is_money and rate.scale is TierScale.AMOUNT
    return display.number(start, currency if is_in_money else None)


def _tiers(component: Commission | Override, rate: TieredRate, currency: str, texts: Texts) -> Sheet:
    starts = [_bound(tier.start, rate, component, currency) for tier in rate.tiers]
    rows = []
    for index, (tier, following) in enumerate(zip_longest(rate.tiers, rate.tiers[1:])):
        end = None if following is None else (starts[index + 1], following.is_exclusive)
        shown = display.rate(tier.rate, is_money=component.measure.is_money, currency=currency)
        gated = f" ({texts.gated_tier})" if tier.is_gated else ""
        bounds = tier_words(starts[index], end, is_exclusive=tier.is_exclusive, texts=texts)
        rows.append((texts.tier_number.format(number=index + 1), bounds + gated, shown))
    columns = (
        TableColumn(texts.tier),
        TableColumn(texts.example_total, is_wide=True),
        TableColumn(texts.rate, is_number=True),
    )
    return Sheet(columns, tuple(rows), caption=texts.how_it_pays)


def _examples(component: Component, examples: Examples, currency: str, texts: Texts) -> Sheet:
    measure = main_measure(component)
    unit = currency if measure is not None and measure.is_money else None
    supposed = [texts.examples]
    if examples.quota is not None:
        supposed.append(texts.example_quota.format(quota=display.number(examples.quota, unit)))
    if examples.target_variable is not None:
        supposed.append(texts.example_target.format(amount=display.money(examples.target_variable, currency)))
    columns = [
        TableColumn(heading, is_number=True)
        for heading, is_there in _given(examples.rows[0], is_of_deals=examples.is_of_deals, texts=texts)
        if is_there
    ]
    has_words = any(row.words for row in examples.rows)
    if has_words:
        columns.append(TableColumn(texts.example_how, is_wide=True))
    else:
        columns[0] = TableColumn(columns[0].heading, is_number=True, is_wide=True)
        columns.append(TableColumn(texts.example_share, is_number=True))
    columns.append(TableColumn(f"{texts.example_pays} ({currency})", is_number=True))
    rows = []
    for row in examples.rows:
        given = [
            display.number(value, unit if index == 0 else None)
            for index, value in enumerate((row.credited, row.second, row.score, row.weight))
            if value is not None
        ]
        if has_words:
            how = "\n".join(_said(words, texts) for words in row.words) or "—"
        else:
            how = "—" if not row.credited or unit is None else display.percent(_share(row.pays, row.credited))
        rows.append((*given, how, display.posted(row.pays, currency)))
    return Sheet(tuple(columns), tuple(rows), caption=", ".join(supposed))


def _share(pays: Decimal, credited: Decimal) -> Decimal:
    return EXACT.divide(pays, credited).quantize(_SHARE_STEP, ROUND_HALF_UP, EXACT)


def _given(example: Example, *, is_of_deals: bool, texts: Texts) -> Sequence[tuple[str, bool]]:
    return (
        (texts.example_deal if is_of_deals else texts.example_total, example.credited is not None),
        (texts.example_second, example.second is not None),
        (texts.example_score, example.score is not None),
        (texts.example_weight, example.weight is not None),
    )


def _rules(rules: PeriodRules, content: Mapping[str, Json], currency: str, texts: Texts) -> Section:
    said: list[str] = []
    if rules.draw is not None:
        said.append(_draw(rules.draw, currency, texts))
    if rules.guarantee is not None:
        periods = _for_periods(rules.guarantee.periods, texts)
        said.append(texts.guarantee.format(amount=display.money(rules.guarantee.amount, currency)) + periods)
    if (held := rules.holdback) is not None:
        words = texts.holdback_paid if held.release is Release.DEAL_PAID else texts.holdback_periods
        said.append(words.format(percent=display.number(held.percent), periods=held.periods))
    if (cap := rules.cap) is not None:
        if cap.period is not None:
            said.append(texts.cap_period.format(amount=display.money(cap.period, currency)))
        if cap.year is not None:
            said.append(texts.cap_year.format(amount=display.money(cap.year, currency)))
        said.append(texts.cap_carried if cap.carry_excess else texts.cap_forfeited)
    said.append(_clawback(rules.clawback, texts))
    carries = rules.negative_balance is NegativeBalance.CARRY
    said.append(texts.negative_carry if carries else texts.negative_forgive)
    if rules.rounding is not None:
        said.append(texts.rounding.format(step=display.money(rules.rounding.to, currency)))
    skipped = set(_RULES_SAID)
    if rules.deductions != DEDUCTIONS:
        skipped.remove("deductions")
    if rules.holdback is not None and rules.holdback.components:
        skipped.remove("holdback")
    if rules.rounding is not None and rules.rounding.mode is not RoundingMode.HALF_UP:
        skipped.remove("rounding")
    return Section(texts.rules, paragraphs=tuple(said), tables=tuple(_terms(content, skipped, texts)))


def _terms(content: Mapping[str, Json], skipped: Collection[str], texts: Texts, caption: str = "") -> list[Sheet]:
    """The members of a part of the terms that no sentence says; none where all are said."""
    rows = []
    said = {name: value for name, value in content.items() if value is not False}
    for name, value in members_in_words(said, skipping=skipped):
        label = _said(name, texts)
        rows.append((label[:1].upper() + label[1:], _said(value, texts)))
    columns = (TableColumn(texts.term), TableColumn(texts.value, is_wide=True))
    return [Sheet(columns, tuple(rows), caption=caption)] if rows else []


def _draw(draw: Draw, currency: str, texts: Texts) -> str:
    words = {
        DrawKind.RECOVERABLE: texts.draw_recoverable,
        DrawKind.NON_RECOVERABLE: texts.draw_non_recoverable,
        DrawKind.RECOVERABLE_THEN_FORGIVEN: texts.draw_forgiven,
    }[draw.kind]
    found = words.format(amount=display.money(draw.amount, currency), periods=draw.forgiven_after)
    if draw.kind is not DrawKind.NON_RECOVERABLE:
        minimum = display.money(draw.recovery_floor, currency)
        found += " " + texts.draw_recovery.format(minimum=minimum, share=display.number(draw.recovery_share))
        if draw.recovery_delay:
            found += " " + texts.draw_delay.format(delay=draw.recovery_delay)
    return found + _for_periods(draw.periods, texts)


def _for_periods(periods: int | None, texts: Texts) -> str:
    return "" if periods is None else " " + texts.for_pay_periods.format(periods=periods)


def _clawback(clawback: Clawback, texts: Texts) -> str:
    match clawback.policy:
        case ClawbackPolicy.FULL:
            found = texts.clawback_full
        case ClawbackPolicy.NONE:
            found = texts.clawback_none
        case ClawbackPolicy.PART:
            found = texts.clawback_part.format(percent=display.number(clawback.percent or Decimal(0)))
        case ClawbackPolicy.PRO_RATA if clawback.months is not None:
            found = texts.clawback_pro_rata.format(months=clawback.months)
        case ClawbackPolicy.PRO_RATA:
            found = texts.clawback_pro_rata_field.format(field=clawback.term_field)
    if clawback.within_months is not None:
        found += " " + texts.clawback_within.format(months=clawback.within_months)
    return found


def _acceptance(found: PlanTerms, texts: Texts) -> Section:
    facts: tuple[Fact, ...] = ()
    if found.accepted is not None:
        name, when = found.accepted
        facts = (Fact(texts.accepted_by, texts.accepted_on.format(name=name, when=display.moment(when))),)
    return Section(texts.acceptance, facts, (texts.acceptance_words,))


def _said(words: Words, texts: Texts) -> str:
    return words.zh if texts.language is Language.CHINESE else words.en
