"""Numbers that a source computed: rounded to the decimals that a field has, and listed as corrections. Pure.

CRMs compute in binary fractions, so that a third of 100 comes as 33.333333333333336. Each number is rounded half to
even. Shares of a deal are rounded so that what they add up to, of each role and in all, is what it was before.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Final

from shared.contracts.base import CORRECTED_DECIMALS, Correction
from shared.kernel.money import AMOUNT_DECIMALS_MAX, AMOUNT_MAGNITUDE_MAX, format_amount
from shared.kernel.reading import read_decimal

CORRECTIONS_MAX: Final = 50
"""How many are listed of one record."""
_NUMBERS: Final = ("amount", "home_amount", "probability")
_NUMBERS_OF_PARTS: Final = {
    "splits": ("percent",),
    "products": ("quantity", "amount"),
    "payments": ("amount",),
    "invoices": ("amount",),
}
_UNIT: Final = Decimal(1).scaleb(-AMOUNT_DECIMALS_MAX)
_WHOLE_PERCENT: Final = Decimal(100)
_PRECISE: Final = Context(prec=60)
_STATED_CHARACTERS_MAX: Final = 60


def rounded(fields: Mapping[str, object]) -> tuple[dict[str, object], tuple[Correction, ...]]:
    """The fields of a deal with no more decimals than are stored, and which of its numbers were rounded.

    What is no number, or is too large for one, is left as it is: what checks the fields refuses it.
    """
    result = dict(fields)
    corrections: list[Correction] = []
    for name in _NUMBERS:
        if (computed := _computed(result.get(name))) is not None:
            result[name] = _rounded(computed)
            corrections += _correction(f"/{name}", computed, _rounded(computed))
    for name, numbers in _NUMBERS_OF_PARTS.items():
        stated_parts = result.get(name)
        if not isinstance(stated_parts, Sequence) or isinstance(stated_parts, str):
            continue
        parts = list(stated_parts)
        for (index, number), share in _rounded_numbers(name, parts, numbers).items():
            stated = Decimal(parts[index][number])
            parts[index] = {**parts[index], number: share}
            corrections += _correction(f"/{name}/{index}/{number}", stated, share)
        result[name] = parts
    return result, tuple(corrections[:CORRECTIONS_MAX])


def whole_shares(shares: Sequence[tuple[str, Decimal]]) -> list[Decimal]:
    """The shares of roles, each in percent, in whole millionths; of each role and in all they add up to what they did.

    What they add up to is itself rounded half to even. None is above 100 that was not before.
    """
    with localcontext(_PRECISE):
        scaled = [share / _UNIT for _, share in shares]
        of_role: dict[str, list[int]] = {}
        for index, (role, _) in enumerate(shares):
            of_role.setdefault(role, []).append(index)
        totals = [sum((scaled[index] for index in indices), Decimal(0)) for indices in of_role.values()]
        percents = [Decimal(0)] * len(shares)
        for indices, total in zip(of_role.values(), _whole(totals, _nearest(sum(totals, Decimal(0)))), strict=True):
            for index, whole in zip(indices, _whole([scaled[index] for index in indices], total), strict=True):
                percents[index] = min(whole * _UNIT, max(_WHOLE_PERCENT, shares[index][1]))
        return percents


def _whole(numbers: Sequence[Decimal], total: int) -> list[int]:
    """The nearest whole numbers that add up to a total: those that are moved furthest otherwise give way."""
    whole = [_nearest(number) for number in numbers]
    missing = total - sum(whole)
    step = 1 if missing > 0 else -1
    order = sorted(range(len(numbers)), key=lambda index: (step * (whole[index] - numbers[index]), index))
    for index in order[: abs(missing)]:
        whole[index] += step
    return whole


def _nearest(number: Decimal) -> int:
    return int(number.to_integral_value(ROUND_HALF_EVEN))


def _rounded_numbers(name: str, parts: Sequence[object], numbers: Sequence[str]) -> dict[tuple[int, str], Decimal]:
    """The numbers of a deal's parts as they are stored, where any is not stored as it is."""
    rows = [(index, part) for index, part in enumerate(parts) if isinstance(part, Mapping)]
    computed = {
        (index, number): _rounded(stated)
        for index, part in rows
        for number in numbers
        if (stated := _computed(part.get(number))) is not None
    }
    if name == "splits" and computed:
        shares = [(str(part.get("role", "owner")), _number(part.get("percent"))) for _, part in rows]
        known = [(role, share) for role, share in shares if share is not None and 0 <= share <= _WHOLE_PERCENT + 1]
        if len(known) == len(parts):
            return {(index, "percent"): share for index, share in enumerate(whole_shares(known))}
    return computed


def _number(value: object) -> Decimal | None:
    """A finite number of a size that can be stored; None for anything else."""
    number = read_decimal(value)
    return number if number is not None and abs(number) < AMOUNT_MAGNITUDE_MAX else None


def _computed(value: object) -> Decimal | None:
    """A number with more decimals than are stored."""
    number = _number(value)
    if number is None:
        return None
    exponent = number.as_tuple().exponent
    return number if isinstance(exponent, int) and exponent < -AMOUNT_DECIMALS_MAX else None


def _rounded(number: Decimal) -> Decimal:
    return number.quantize(_UNIT, ROUND_HALF_EVEN, _PRECISE)


def _correction(field: str, stated: Decimal, stored: Decimal) -> Iterator[Correction]:
    if stored != stated:
        text = str(stated)[:_STATED_CHARACTERS_MAX]
        yield Correction(field=field, stated=text, kept=format_amount(stored), reason=CORRECTED_DECIMALS)
