"""What the matching service's HTTP interface takes and gives. Prices and quantities are exact decimal text."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from polaris_synapse.domain.instruments import InstrumentStatus


class SymbolPath(Struct, frozen=True, kw_only=True):
    """Which book."""

    symbol: str


class BookQuery(Struct, frozen=True, kw_only=True):
    """``depth``: levels a side."""

    depth: Annotated[int, Meta(ge=1, le=1000)] = 50


class OrdersQuery(Struct, frozen=True, kw_only=True):
    """``limit``: orders a side."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class LevelBody(Struct, frozen=True, kw_only=True):
    """One price. ``quantity`` is what is displayed there."""

    price: str
    quantity: str


class BookBody(Struct, frozen=True, kw_only=True):
    """The book by price, best first, as of ``sequence``, the number of the last change that was published."""

    symbol: str
    sequence: int
    status: InstrumentStatus
    bids: list[LevelBody]
    asks: list[LevelBody]


class BookOrderBody(Struct, frozen=True, kw_only=True):
    """One order as the public sees it: no owner, and of an iceberg only what it displays."""

    order_id: int
    price: str
    quantity: str


class BookOrdersBody(Struct, frozen=True, kw_only=True):
    """The book by order, in the order in which they trade, as of ``sequence``."""

    symbol: str
    sequence: int
    status: InstrumentStatus
    bids: list[BookOrderBody]
    asks: list[BookOrderBody]


class DayBody(Struct, frozen=True, kw_only=True):
    """The last 24 hours, to the minute; prices are "0" without a trade. ``turnover`` is in the quote asset.

    ``sequence``: the ``trade_id`` of the last trade that is counted here. It stays where only time has passed.
    """

    sequence: int
    open: str
    high: str
    low: str
    close: str
    last: str
    volume: str
    turnover: str
    trades: int


class StatisticsBody(DayBody, frozen=True, kw_only=True):
    """The last 24 hours of one book."""

    symbol: str


class SymbolBody(Struct, frozen=True, kw_only=True):
    """One book. ``status`` is the book's own: AUCTION also while a volatility interruption lasts."""

    symbol: str
    base: str
    quote: str
    tick_size: str
    lot_size: str
    status: InstrumentStatus
    maker_fee_ppm: int
    taker_fee_ppm: int
    best_bid: str
    best_ask: str
    last: str
    open_orders: int
    trades: int


class SymbolsBody(Struct, frozen=True, kw_only=True):
    """Every book of the internal venue."""

    symbols: list[SymbolBody]
