"""What a market knows of the orders on its book, and its whole state as a snapshot has it."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.matching.core.port import BookState
from polaris_synapse.matching.core.statistics import Minute


class Holding(Struct, gc=False):
    """An order on the book as its owner knows it. ``by_quote``: it counts in quote money; ``traded_lots`` in all."""

    order_id: int
    account: str
    quantity_lots: int
    by_quote: bool = False
    traded_lots: int = 0
    acknowledged: bool = False


class MarketState(Struct, frozen=True, kw_only=True):
    """All that a market knows. ``accounts``: their numbers on the book are their places here, from 1.

    ``lists``: lists whose orders end each other; ``owed``: orders that end when the book leaves its halt.
    """

    instrument: Instrument
    book: BookState
    accounts: list[str]
    holdings: list[Holding]
    ended: list[tuple[int, str]]
    sequence: int
    placed: int
    rejected: int
    trades: int
    day: int
    minutes: list[Minute]
    lists: list[tuple[int, list[int]]] = []
    owed: list[int] = []
