"""Pictures in the terminal: candles and book depth, drawn with block characters."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

_FULL, _UPPER, _LOWER, _WICK = "█", "▀", "▄", "│"
_BAR_EIGHTHS = " ▏▎▍▌▋▊▉█"


class CandleShape(NamedTuple):
    """One candle to draw."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


def candle_chart(candles: Sequence[CandleShape], *, height_rows: int = 16) -> list[str]:
    """Candles as rows of rich markup, highest price first, each row with its price at the right.

    A row shows half a character of resolution: bodies are blocks, wicks lines; green where it closed at or above its
    open.
    """
    if not candles:
        return []
    top, bottom = max(c.high for c in candles), min(c.low for c in candles)
    span = top - bottom or Decimal(1)
    steps = height_rows * 2

    def step(price: Decimal) -> int:
        return min(int((price - bottom) / span * steps), steps - 1)

    shapes = [
        (step(c.low), step(min(c.open, c.close)), step(max(c.open, c.close)), step(c.high), c.close >= c.open)
        for c in candles
    ]
    rows: list[str] = []
    for row in range(height_rows - 1, -1, -1):
        cells = "".join(_candle_cell(row * 2, *shape) for shape in shapes)
        price = bottom + span * (2 * row + 1) / steps
        label = f" {price.quantize(Decimal('0.01'))}" if row % 3 == 0 or row == height_rows - 1 else ""
        rows.append(f"{cells}[dim]{label}[/]")
    return rows


def _candle_cell(lower: int, low: int, body_low: int, body_high: int, high: int, rising: bool) -> str:
    upper = lower + 1
    in_lower, in_upper = body_low <= lower <= body_high, body_low <= upper <= body_high
    if in_lower and in_upper:
        mark = _FULL
    elif in_upper:
        mark = _UPPER
    elif in_lower:
        mark = _LOWER
    elif low <= upper and lower <= high:
        mark = _WICK
    else:
        return " "
    return f"[{'green' if rising else 'red'}]{mark}[/]"


def bar(share: float, width: int) -> str:
    """A horizontal bar of ``share`` (0 to 1) of ``width`` characters, to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    text = _FULL * full + (_BAR_EIGHTHS[rest] if rest else "")
    return text.ljust(width)


def sparkline(values: Sequence[Decimal]) -> str:
    """A line of one character a value."""
    marks = "▁▂▃▄▅▆▇█"
    if not values:
        return ""
    low, high = min(values), max(values)
    span = high - low or Decimal(1)
    return "".join(marks[min(int((value - low) / span * len(marks)), len(marks) - 1)] for value in values)
