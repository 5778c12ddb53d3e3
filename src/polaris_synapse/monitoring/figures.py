"""What a benchmark reports: named numbers with their units."""

from __future__ import annotations

from msgspec import Struct


class Figure(Struct, frozen=True):
    """One measured or counted number. ``value`` is a plain number, so that programs can compare two reports."""

    name: str
    value: float
    unit: str


def figure_text(value: float) -> str:
    """A figure's value for people: thousands separated, and as many decimals as its size deserves."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
