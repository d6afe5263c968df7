"""The picture of a plan's simulation: how many people earn how much, by the terms in force and by those tried."""

from decimal import Decimal
from html import escape
from typing import Final

from services.incentives.simulation.domain import Bar, Comparison
from shared.kernel.money import format_posted, round_to_minor_unit

MEDIA_TYPE: Final = "image/svg+xml"
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 760, 340, 48, 56, 44
_CURRENT, _SIMULATED = "#9aa5b1", "#2563eb"


def picture(title: str, found: Comparison) -> str:
    """An SVG of bars, two for each span of pay."""
    most = max(max(bar.current, bar.simulated) for bar in found.bars)
    span = (_WIDTH - _LEFT - 16) / len(found.bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="22" font-size="15" font-weight="700">{escape(title)}</text>',
        _legend(found),
        *(_bars(number, bar, span, most) for number, bar in enumerate(found.bars)),
        _axis(found, span, most),
        "</svg>",
    ]
    return "".join(parts)


def _legend(found: Comparison) -> str:
    entries = ((_CURRENT, "In force", found.cost), (_SIMULATED, "Tried", found.simulated_cost))
    texts = []
    for number, (colour, name, cost) in enumerate(entries):
        x = _LEFT + number * 250
        texts.append(f'<rect x="{x}" y="32" width="11" height="11" fill="{colour}"/>')
        texts.append(f'<text x="{x + 17}" y="42" font-size="12">{name}: {_money(cost, found.currency)}</text>')
    return "".join(texts)


def _bars(number: int, bar: Bar, span: float, most: int) -> str:
    tall = _HEIGHT - _TOP - _BOTTOM
    parts = []
    for which, (count, colour) in enumerate(((bar.current, _CURRENT), (bar.simulated, _SIMULATED))):
        height = tall * count / most
        x = _LEFT + number * span + span * (0.1 + 0.4 * which)
        y = _HEIGHT - _BOTTOM - height
        parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{span * 0.38:.1f}" height="{height:.1f}" fill="{colour}"/>')
    return "".join(parts)


def _axis(found: Comparison, span: float, most: int) -> str:
    base = _HEIGHT - _BOTTOM
    parts = [
        f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - 16}" y2="{base}" stroke="#374151"/>',
        f'<text x="{_LEFT - 8}" y="{_TOP + 4}" font-size="11" text-anchor="end">{most}</text>',
        f'<text x="{_LEFT - 8}" y="{base}" font-size="11" text-anchor="end">0</text>',
    ]
    for number in range(0, len(found.bars), 3):
        x = _LEFT + number * span
        text = _money(found.bars[number].start, found.currency)
        parts.append(f'<text x="{x:.1f}" y="{base + 18}" font-size="11">{text}</text>')
    return "".join(parts)


def _money(amount: Decimal, currency: str) -> str:
    return f"{format_posted(round_to_minor_unit(amount, currency))} {escape(currency)}"
