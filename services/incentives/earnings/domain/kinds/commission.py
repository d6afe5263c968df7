"""What a commission pays: its rate for what was credited, and what multipliers, the gate and the caps make of it."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.earnings.domain.inputs import EXACT, CapState, PayInputs, exact_sum
from services.incentives.earnings.domain.pay import DealExtra, Pay
from services.incentives.earnings.domain.schedule import Schedule, schedule_of, value_at
from services.incentives.earnings.domain.steps import Step, StepKind, percent
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.kinds.commission import GATE, QUANTITY, Basis, Commission, Gate, Threshold
from services.incentives.plans.domain.parameters import MAIN
from services.incentives.plans.domain.rates import TierScale
from shared.kernel.money import format_amount
from shared.kernel.reasons import Words

_ZERO: Final = Decimal(0)


def schedule_for(component: Commission, inputs: PayInputs) -> Schedule | QuotaGap:
    """The rate that a cell is paid by, or why there is none."""
    is_met = not component.has_gated_tiers or is_gate_met(component.gate, inputs)
    return schedule_of(component, inputs.quotas[MAIN], inputs.target_variable, is_gate_met=is_met)


def reached_of(component: Commission, totals: Mapping[str, Decimal]) -> Decimal | None:
    """What decides on the line of the rate, where that is not the main total."""
    return totals.get(QUANTITY, _ZERO) if component.counts_units_beside_money else None


def is_gate_met(gate: Gate | None, inputs: PayInputs) -> bool:
    """Whether the gate's own measure has reached what it has to; without a gate nothing has to."""
    if gate is None:
        return True
    reached = inputs.totals.get(GATE, _ZERO)
    if gate.at_least is not None:
        return reached >= gate.at_least
    quota, share = inputs.quotas[GATE], gate.at_least_attainment or _ZERO
    return not isinstance(quota, QuotaGap) and quota > 0 and reached >= EXACT.multiply(share, quota)


def pay(component: Commission, inputs: PayInputs) -> Pay:
    """What a commission pays for its credits, and how that came about."""
    schedule = schedule_for(component, inputs)
    if isinstance(schedule, QuotaGap):
        return replace(_capped(component, inputs, _ZERO, {}, []), gap=schedule)
    steps = []
    if component.threshold is not None and schedule.threshold is not None and schedule.basis is not Basis.PER_DEAL:
        steps.append(_threshold_step(component.threshold, schedule.threshold, inputs))
    extras = _extras(component, schedule, inputs)
    by_rate = _by_rate(component, schedule, inputs)
    for extra in extras.values():
        by_rate = EXACT.add(by_rate, EXACT.subtract(extra.multiplied, extra.withheld))
    if component.gate is not None:
        withholds = not component.has_gated_tiers and not is_gate_met(component.gate, inputs)
        steps.append(_gate_step(component.gate, inputs, by_rate if withholds else _ZERO))
    return _capped(component, inputs, by_rate, extras, steps)


def _by_rate(component: Commission, schedule: Schedule, inputs: PayInputs) -> Decimal:
    if schedule.basis is Basis.PER_DEAL:
        is_by_units = component.counts_units_beside_money
        return exact_sum(schedule.deal(deal.value, deal.units if is_by_units else None) for deal in inputs.deals)
    after = schedule.total(inputs.totals[MAIN], reached_of(component, inputs.totals))
    if not inputs.before:
        return after
    return EXACT.subtract(after, schedule.total(inputs.before[MAIN], reached_of(component, inputs.before)))


def _extras(component: Commission, schedule: Schedule, inputs: PayInputs) -> dict[UUID, DealExtra]:
    """What single deals are paid beside the rate: of each what it adds to the total, in order, at the rates of the end.

    So a multiplier of what a deal is paid does not depend on the order in which deals arrived, and what a deal that
    reaches a retroactive tier makes of others is theirs.
    """
    cap = component.caps.deal
    if not component.multiplies_pay and cap is None:
        return {}
    found = {}
    reached = reached_of(component, inputs.totals)
    line = schedule.line(inputs.totals[MAIN] if reached is None else reached)
    total = inputs.before.get(MAIN, _ZERO)
    is_by_units = component.counts_units_beside_money
    for deal in inputs.deals:
        if schedule.basis is Basis.PER_DEAL:
            base = schedule.deal(deal.value, deal.units if is_by_units else None)
        else:
            after = EXACT.add(total, deal.value)
            base = EXACT.subtract(value_at(line, after), value_at(line, total))
            total = after
        multiplied = EXACT.multiply(base, deal.factor)
        capped = multiplied if cap is None else min(max(multiplied, -cap), cap)
        if multiplied != base or capped != multiplied:
            found[deal.deal_id] = DealExtra(EXACT.subtract(multiplied, base), EXACT.subtract(multiplied, capped))
    return found


def _capped(
    component: Commission,
    inputs: PayInputs,
    by_rate: Decimal,
    extras: Mapping[UUID, DealExtra],
    steps: list[Step],
) -> Pay:
    """What is left of the pay by rate after the gate, with what was carried in, and after the caps.

    A cap is one of what all cells of its period come to, so that no order of them matters.
    """
    caps, known = component.caps, inputs.caps
    due = EXACT.add(by_rate, exact_sum(step.amount for step in steps))
    if known.carried:
        steps.append(_carried_step(known.carried))
        due = EXACT.add(due, known.carried)
    within = _room(caps.period, known.due, due)
    if within != due:
        steps.append(
            _cap_step(StepKind.CAP_OF_PERIOD, caps.period, EXACT.subtract(within, due), carries=caps.carry_excess)
        )
    amount = _room(caps.year, known.year, within)
    if amount != within:
        steps.append(_cap_step(StepKind.CAP_OF_YEAR, caps.year, EXACT.subtract(amount, within), carries=False))
    return Pay(amount, by_rate, extras, tuple(steps), due, within)


def _room(cap: Decimal | None, before: Decimal, due: Decimal) -> Decimal:
    """What is paid of `due` where `before` was due already and `cap` is the most that is paid of both."""
    if cap is None:
        return due
    return EXACT.subtract(min(cap, EXACT.add(before, due)), min(cap, before))


def next_caps(component: Commission, known: CapState, found: Pay, *, ends_period: bool) -> CapState:
    """What the next cell of the fiscal year begins with."""
    due = EXACT.add(known.due, found.due)
    paid = EXACT.add(known.paid, found.within_period)
    year = EXACT.add(known.year, found.within_period)
    if not ends_period:
        return CapState(due, paid, _ZERO, year)
    excess = EXACT.subtract(due, paid) if component.caps.carry_excess else _ZERO
    return CapState(carried=max(_ZERO, excess), year=year)


def _threshold_step(threshold: Threshold, start: Decimal, inputs: PayInputs) -> Step:
    reached = inputs.totals[MAIN]
    at = format_amount(start)
    if threshold.scale is TierScale.ATTAINMENT:
        at = f"{at} ({percent(threshold.start)} %)"
    if reached < start:
        words = Words(
            f"{format_amount(reached)} is reached of the {at} below which nothing is paid.",
            f"已达到 {format_amount(reached)}，未达到起付线 {at}，暂不计付。",
        )
    elif threshold.only_above:
        words = Words(f"What is above {at} is paid.", f"仅对超过起付线 {at} 的部分计付。")
    else:
        words = Words(f"At least {at} is reached: all of it is paid.", f"已达到起付线 {at}，全部计付。")
    return Step(StepKind.THRESHOLD, words, reached, None, _ZERO)


def _gate_step(gate: Gate, inputs: PayInputs, withheld: Decimal) -> Step:
    reached = inputs.totals.get(GATE, _ZERO)
    at = (
        format_amount(gate.at_least) if gate.at_least is not None else f"{percent(gate.at_least_attainment or _ZERO)} %"
    )
    shown = format_amount(reached)
    quota = inputs.quotas.get(GATE, QuotaGap.MISSING)
    if gate.at_least is None:
        shown = f"{shown} / {'—' if isinstance(quota, QuotaGap) else format_amount(quota)}"
    if is_gate_met(gate, inputs):
        words = Words(
            f"The second condition is met: {shown}, at least {at}.", f"附加条件已满足：{shown}，要求至少 {at}。"
        )
    else:
        words = Words(
            f"The second condition is not met: {shown}, at least {at}. What depends on it is paid once it is.",
            f"附加条件未满足：{shown}，要求至少 {at}；满足后再计付相关部分。",
        )
    return Step(StepKind.GATE, words, reached, None, withheld.copy_negate())


def _carried_step(carried: Decimal) -> Step:
    shown = format_amount(carried)
    words = Words(
        f"{shown} that the cap of earlier periods withheld is earned now, as far as there is room.",
        f"此前期间因封顶未计付的 {shown} 结转至本期，在额度内计付。",
    )
    return Step(StepKind.CARRIED, words, carried, None, carried)


def _cap_step(kind: StepKind, cap: Decimal | None, amount: Decimal, *, carries: bool) -> Step:
    most = format_amount(cap or _ZERO)
    what = (
        Words("A period of the plan", "每个方案期间")
        if kind is StepKind.CAP_OF_PERIOD
        else Words("A fiscal year", "每个财年")
    )
    then = Words("is carried into the next period", "结转至下一期间") if carries else Words("is not paid", "不予计付")
    words = Words(
        f"{what.en} pays at most {most}; what was earned above that {then.en}.",
        f"{what.zh}最多计付 {most}，超出部分{then.zh}。",
    )
    return Step(kind, words, cap or _ZERO, None, amount)
