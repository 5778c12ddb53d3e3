"""The port of quarantined readers: text goes in, a few bounded numbers and names from closed lists come out.

A reader is the only part of the desk that sees a text from outside. Nothing it returns can hold a word of that text: a
symbol is one of the desk's instruments, a score is an integer within bounds, everything else is a member of an enum.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Protocol

from msgspec import Struct

from polaris_synapse.agents.sources.normalise import Flag
from polaris_synapse.agents.sources.port import Item

PPM: Final = 1_000_000


class Category(StrEnum):
    """What a text is about."""

    MARKET = "MARKET"  # prices, trading, technical talk
    REGULATION = "REGULATION"
    SECURITY = "SECURITY"  # hacks, exploits, fraud
    SOLVENCY = "SOLVENCY"  # bankruptcies, halted withdrawals
    LISTING = "LISTING"
    TECHNOLOGY = "TECHNOLOGY"
    ADOPTION = "ADOPTION"
    FLOWS = "FLOWS"  # money moving in or out
    MACRO = "MACRO"
    OTHER = "OTHER"


class SymbolView(Struct, frozen=True, kw_only=True):
    """What a text says of one instrument. ``score_ppm`` -1,000,000..1,000,000, ``confidence_ppm`` 0..1,000,000."""

    symbol: str
    score_ppm: int
    confidence_ppm: int


class Reading(Struct, frozen=True, kw_only=True):
    """What a text was read as. No view: it says nothing about any instrument of the desk."""

    views: tuple[SymbolView, ...] = ()
    category: Category = Category.OTHER
    flags: tuple[Flag, ...] = ()
    #: Whether a language model had a part in it.
    by_model: bool = False
    #: Written for machines: it is shown to people and published to nobody.
    withheld: bool = False


class Reader(Protocol):
    """Reads one item."""

    async def read(self, item: Item, /) -> Reading:
        """What the item says. Never raises for what the text holds."""
        ...


def bounded(reading: Reading, symbols: Iterable[str]) -> Reading:
    """A reading that holds what the port promises, whatever a reader made of it.

    Views of unknown symbols and second views of a symbol are dropped, numbers are clamped.
    """
    known = frozenset(symbols)
    views: dict[str, SymbolView] = {}
    for view in reading.views:
        if view.symbol in known and view.symbol not in views:
            views[view.symbol] = SymbolView(
                symbol=view.symbol,
                score_ppm=max(-PPM, min(PPM, int(view.score_ppm))),
                confidence_ppm=max(0, min(PPM, int(view.confidence_ppm))),
            )
    return Reading(
        views=tuple(views[symbol] for symbol in sorted(views)),
        category=Category(reading.category),
        flags=tuple(sorted(set(reading.flags))),
        by_model=bool(reading.by_model),
        withheld=bool(reading.withheld),
    )
