"""Market data: what feeds deliver, and what the market data core says after checking it."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.messages.base import Message
from polaris_synapse.domain.orders import Side

#: ``(price_ticks, quantity_lots)``; 0 lots removes the level.
Level = tuple[int, int]


class BookSnapshotReceived(Message, frozen=True, kw_only=True, gc=False):
    """From a feed: the whole book as of ``last_update_id``."""

    symbol: str
    source: str
    last_update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class DepthReceived(Message, frozen=True, kw_only=True, gc=False):
    """From a feed: level changes with update ids ``first_update_id..last_update_id`` (Binance's U and u)."""

    symbol: str
    source: str
    first_update_id: int
    last_update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    event_time_ns: int = 0


class TradeReceived(Message, frozen=True, kw_only=True, gc=False):
    """From a feed: a public trade. ``aggressor`` is the side that took."""

    symbol: str
    source: str
    trade_id: int
    price_ticks: int
    quantity_lots: int
    aggressor: Side
    trade_time_ns: int = 0


class BookTickerReceived(Message, frozen=True, kw_only=True, gc=False):
    """From a feed: the venue's own best bid and ask as of ``update_id``."""

    symbol: str
    source: str
    update_id: int
    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int


class FeedStatusChanged(Message, frozen=True, kw_only=True, gc=False):
    """From a feed: the connection behind a symbol came up or went down."""

    symbol: str
    source: str
    connected: bool
    detail: str = ""


class BookUpdated(Message, frozen=True, kw_only=True, gc=False):
    """The normalised book changed. With ``is_snapshot`` the levels replace all that was known."""

    symbol: str
    source: str
    sequence: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    is_snapshot: bool = False


class TopOfBook(Message, frozen=True, kw_only=True, gc=False):
    """Best bid and ask after a change; 0 where a side is empty."""

    symbol: str
    source: str
    sequence: int
    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int


class MarketTrade(Message, frozen=True, kw_only=True, gc=False):
    """A public trade after checking."""

    symbol: str
    source: str
    trade_id: int
    price_ticks: int
    quantity_lots: int
    aggressor: Side


class Candle(Struct, frozen=True, kw_only=True, gc=False):
    """Open, high, low, close in ticks; volumes in lots. ``notional_tick_lots``: the sum of price times quantity."""

    symbol: str
    interval_seconds: int
    open_time_ns: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int
    taker_buy_lots: int
    notional_tick_lots: int
    trades: int


class CandleClosed(Message, frozen=True, kw_only=True, gc=False):
    """A candle that will not change any more."""

    source: str
    candle: Candle


class BookHealthChanged(Message, frozen=True, kw_only=True, gc=False):
    """A book became usable or stopped being so: ``gap``, ``crossed``, ``stale``, ``disconnected``, ``resyncing``."""

    symbol: str
    source: str
    healthy: bool
    cause: str = ""


class Mark(Message, frozen=True, kw_only=True, gc=False):
    """The price that decisions on money use, at a bounded rate. Journaled.

    ``mark_ticks`` is the mid rounded down to a tick; ``last_ticks`` the last trade. ``healthy`` false: do not trade.
    """

    symbol: str
    source: str
    mark_ticks: int
    bid_ticks: int
    ask_ticks: int
    last_ticks: int
    healthy: bool


class MarketSummary(Message, frozen=True, kw_only=True, gc=False):
    """One second of a market in integers, for the agents. Journaled.

    Depth is the sum of lots over the best ten levels of a side; bought and sold lots are by aggressor.
    """

    symbol: str
    source: str
    bid_ticks: int
    ask_ticks: int
    last_ticks: int
    bid_depth_lots: int
    ask_depth_lots: int
    bought_lots: int
    sold_lots: int
    trades: int
    healthy: bool


class ResyncNeeded(Message, frozen=True, kw_only=True, gc=False):
    """To the feed: fetch a fresh snapshot of this symbol, and of this symbol only."""

    symbol: str
    source: str
    cause: str
