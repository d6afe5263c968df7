"""Terms that can hardly be meant: nothing is refused for these, and whoever writes or approves terms sees them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Final

from services.incentives.plans.domain.components import Component
from services.incentives.plans.domain.kinds.bonus import Bonus, Curve
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.kinds.matrix import Matrix
from services.incentives.plans.domain.kinds.override import Override
from services.incentives.plans.domain.parameters import WHOLE_PERCENT, ComponentMeasure
from services.incentives.plans.domain.rates import FlatRate, Rate, TieredRate, TierMode, TierScale
from services.incentives.plans.domain.rules import PeriodRules
from shared.kernel.filters import conditions_of
from shared.kernel.measures import Measure
from shared.kernel.money import format_amount
from shared.kernel.reasons import Words

HIGH_RATE: Final = Decimal("0.5")
ATTAINMENT_LIKE: Final = Decimal(10)
_PERIODS_OF_A_YEAR: Final = 12


@dataclass(frozen=True, slots=True)
class TermsWarning:
    """What of the terms can hardly be meant, and where."""

    pointer: str
    words: Words


def warnings_of(components: Sequence[Component], rules: PeriodRules) -> list[TermsWarning]:
    """Everything about these terms that their author may not have meant."""
    found = [
        TermsWarning(f"/components/{index}{pointer}", words)
        for index, component in enumerate(components)
        for pointer, words in _of_component(component)
    ]
    found += [TermsWarning(f"/components/{index}/measure", words) for index, words in _paid_twice(components)]
    return found + [TermsWarning(f"/rules{pointer}", words) for pointer, words in _of_rules(rules)]


_Found = Iterator[tuple[str, Words]]


def _of_component(component: Component) -> _Found:
    for counted in component.measures:
        yield from _of_measure(counted)
    match component:
        case Commission():
            yield from _of_rate(component.rate, component.measure)
            yield from _of_limits(component)
        case Override():
            yield from _of_rate(component.rate, component.measure)
        case Bonus(condition=Curve() as curve):
            yield from _of_curve(curve)
        case Matrix():
            yield from _of_cells(component.cells)
        case _:
            pass


def _of_measure(counted: ComponentMeasure) -> _Found:
    measure = counted.measure
    if not any(condition.field == "status" for condition in conditions_of(measure.filter)):
        yield (
            f"{counted.pointer}/filter",
            Words(
                "Deals of every status count, also open and lost ones.",
                "任何状态的商机都会计入，包括进行中和已输单的。",
            ),
        )
    if counted.allocation_percent > WHOLE_PERCENT:
        percent = format_amount(counted.allocation_percent)
        yield (
            "/allocation_percent",
            Words(f"{percent} % credits more than the deal.", f"{percent}% 会使计入的业绩超过商机本身。"),
        )


def _of_rate(rate: Rate, measure: Measure) -> _Found:
    if isinstance(rate, FlatRate):
        if rate.rate == 0:
            yield "/rate/rate", Words("A rate of 0 pays nothing.", "费率为 0，不会支付任何金额。")
        yield from _of_height(rate.rate, measure, "/rate/rate")
    elif isinstance(rate, TieredRate):
        yield from _of_tiers(rate, measure)
    else:
        for index, (lower, upper) in enumerate(pairwise(rate.points), start=1):
            if upper.value < lower.value:
                yield f"/rate/points/{index}", Words("Whoever reaches more is paid less.", "达成越多，支付越少。")


def _of_limits(component: Commission) -> _Found:
    caps = component.caps
    if caps.period is not None and caps.year is not None and caps.year < caps.period:
        words = Words(
            "The cap of the year is reached before that of a period.", "年度上限低于期间上限，期间上限不会起作用。"
        )
        yield "/caps/period", words
    for index, multiplier in enumerate(component.multipliers):
        if multiplier.factor == 0:
            words = Words(
                f"“{multiplier.name}” leaves nothing of its deals: a filter of the measure says that plainly.",
                f"“{multiplier.name}”使这些商机完全不计：用指标的筛选条件更直接。",
            )
            yield f"/multipliers/{index}/factor", words


def _of_tiers(rate: TieredRate, measure: Measure) -> _Found:
    for index, tier in enumerate(rate.tiers):
        yield from _of_height(tier.rate, measure, f"/rate/tiers/{index}/rate")
    if all(tier.rate == 0 for tier in rate.tiers):
        yield "/rate/tiers", Words("No tier pays anything.", "所有档位的费率都为 0，不会支付任何金额。")
    for index, (lower, upper) in enumerate(pairwise(rate.tiers), start=1):
        if rate.mode is TierMode.RETROACTIVE and upper.rate < lower.rate:
            words = Words(
                "Whoever reaches this tier is paid less for everything than just before it.",
                "达到此档后，全部业绩的报酬反而低于达到之前。",
            )
            yield f"/rate/tiers/{index}/rate", words
        elif upper.rate < lower.rate:
            words = Words("This tier pays less than the one below it.", "此档的费率低于前一档。")
            yield f"/rate/tiers/{index}/rate", words
    highest = rate.tiers[-1].start
    if rate.scale is TierScale.AMOUNT and measure.is_money and 0 < highest <= ATTAINMENT_LIKE:
        at = format_amount(highest)
        words = Words(
            f"Every bound is an amount of at most {at}: shares of the quota may have been meant.",
            f"所有界限都是不超过 {at} 的金额：可能本意是按配额的达成率。",
        )
        yield "/rate/by", words


def _of_height(rate: Decimal, measure: Measure, pointer: str) -> _Found:
    if measure.is_money and rate > HIGH_RATE:
        percent = format_amount(rate * 100)
        yield pointer, Words(f"{percent} % of a deal is paid.", f"将支付商机金额的 {percent}%。")
    if not measure.is_money and 0 < rate < 1:
        shown = format_amount(rate)
        words = Words(
            f"{shown} of the currency is paid for each unit: of what is no money, a rate is no percentage.",
            f"每单位支付 {shown}（方案币种）：指标不是金额时，费率不是百分比。",
        )
        yield pointer, words


def _of_curve(curve: Curve) -> _Found:
    first = curve.points[0]
    if first.at == 0 and first.percent > 0:
        percent = format_amount(first.percent)
        words = Words(f"{percent} % is paid for nothing at all.", f"毫无业绩也会支付 {percent}%。")
        yield "/condition/points/0", words
    for index, (lower, upper) in enumerate(pairwise(curve.points), start=1):
        if upper.percent < lower.percent:
            words = Words("Whoever reaches more is paid less.", "达成越多，支付越少。")
            yield f"/condition/points/{index}/percent", words


def _of_cells(cells: Sequence[Sequence[Decimal]]) -> _Found:
    if not any(cell for row in cells for cell in row):
        yield "/cells", Words("No cell pays anything.", "所有单元格都为 0，不会支付任何金额。")
    for row, values in enumerate(cells):
        for column, cell in enumerate(values):
            is_less = (row > 0 and cell < cells[row - 1][column]) or (column > 0 and cell < values[column - 1])
            if is_less:
                words = Words("A better result pays less here.", "此处业绩更好，支付却更少。")
                yield f"/cells/{row}/{column}", words


def _paid_twice(components: Sequence[Component]) -> Iterator[tuple[int, Words]]:
    seen: dict[Measure, str] = {}
    for index, component in enumerate(components):
        if not isinstance(component, Commission):
            continue
        if component.measure in seen:
            other = seen[component.measure]
            yield (
                index,
                Words(f"“{other}” pays a commission on the same deals.", f"“{other}”已对同样的商机支付佣金。"),
            )
        seen.setdefault(component.measure, component.name)


def _of_rules(rules: PeriodRules) -> _Found:
    draw, guarantee, cap, clawback = rules.draw, rules.guarantee, rules.cap, rules.clawback
    if draw is not None and guarantee is not None and guarantee.periods is None and guarantee.amount >= draw.amount:
        words = Words(
            "The guarantee always pays as much: nothing is ever advanced.", "保底金额不低于预支，预支永远不会发生。"
        )
        yield "/draw", words
    if rules.holdback is not None and rules.holdback.percent == WHOLE_PERCENT:
        yield "/holdback/percent", Words("Everything is held back.", "全部金额都被暂扣。")
    if cap is not None and cap.period and cap.year and cap.year >= cap.period * _PERIODS_OF_A_YEAR:
        words = Words(
            "Twelve pay periods at their cap never reach the cap of the year.",
            "十二个发薪期都达到上限，也不会达到年度上限。",
        )
        yield "/cap/year", words
    if clawback.months and clawback.within_months and clawback.within_months < clawback.months:
        words = Words("Nothing is taken back in the last months of the term.", "在期限的最后几个月不会追回任何金额。")
        yield "/clawback/within_months", words
