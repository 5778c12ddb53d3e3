"""What the market data API takes and gives. Prices and quantities are decimal text, times nanoseconds."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Candle, Mark, MarketTrade
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.orders import Side

INTERVALS: Final = {"1s": 1, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}
INTERVAL_NAMES: Final = {seconds: name for name, seconds in INTERVALS.items()}

Depth = Annotated[int, Meta(ge=1, le=5000)]
Limit = Annotated[int, Meta(ge=1, le=1000)]


class SymbolPath(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which instrument."""

    symbol: Annotated[str, Meta(min_length=1, max_length=40)]


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class BookQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many levels a side."""

    depth: Depth = 20


class TradesQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of the latest trades."""

    limit: Limit = 100


class CandlesQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which candles: ``interval`` is one of 1s, 1m, 5m, 15m, 1h, 4h, 1d."""

    interval: str = "1m"
    limit: Limit = 100


class BookBody(Struct, frozen=True, kw_only=True):
    """A book: ``[price, quantity]`` pairs, best first. Not healthy: do not trade on it; ``cause`` says why."""

    symbol: str
    source: str
    sequence: int
    time_ns: int
    healthy: bool
    cause: str
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


class TradeBody(Struct, frozen=True, kw_only=True):
    """A public trade. ``aggressor`` is the side that took."""

    trade_id: int
    time_ns: int
    price: str
    quantity: str
    aggressor: Side


class TradesBody(Struct, frozen=True, kw_only=True):
    """The latest trades, newest first."""

    symbol: str
    trades: list[TradeBody]


class CandleBody(Struct, frozen=True, kw_only=True):
    """One candle; ``volume`` in base units, ``quote_volume`` in quote units."""

    open_time_ns: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    quote_volume: str
    taker_buy_volume: str
    trades: int


class CandlesBody(Struct, frozen=True, kw_only=True):
    """Candles, oldest first; the last one is still open."""

    symbol: str
    interval: str
    candles: list[CandleBody]


class MarkBody(Struct, frozen=True, kw_only=True):
    """The price that decisions on money use. Empty texts where there is no such price."""

    symbol: str
    source: str
    time_ns: int
    mark: str
    bid: str
    ask: str
    last: str
    healthy: bool


class MarksBody(Struct, frozen=True, kw_only=True):
    """All marks, by symbol."""

    marks: list[MarkBody]


class FeedBookBody(Struct, frozen=True, kw_only=True):
    """One symbol of the feed. ``age_seconds`` since its book last changed."""

    symbol: str
    source: str
    healthy: bool
    cause: str
    age_seconds: float | None


class FeedBody(Struct, frozen=True, kw_only=True):
    """Which feed runs and how it does. ``sentence`` is for people; ``progress`` is a replay's, from 0 to 1."""

    feed: str
    sentence: str
    ended: bool
    books: list[FeedBookBody]
    frames: dict[str, int]
    malformed: int
    malformed_detail: str
    reconnects: int
    snapshots_requested: int
    snapshots_failed: int
    rate_limited: int
    trades_backfilled: int
    clock_offset_ms: float | None
    progress: float | None
    instrument_faults: list[str]


def level_texts(instrument: Instrument, levels: tuple[Level, ...]) -> list[tuple[str, str]]:
    """Levels as text."""
    return [(instrument.format_price(price), instrument.format_quantity(lots)) for price, lots in levels]


def trade_body(instrument: Instrument, trade: MarketTrade) -> TradeBody:
    """A trade as text."""
    return TradeBody(
        trade_id=trade.trade_id,
        time_ns=trade.time_ns,
        price=instrument.format_price(trade.price_ticks),
        quantity=instrument.format_quantity(trade.quantity_lots),
        aggressor=trade.aggressor,
    )


def candle_body(instrument: Instrument, candle: Candle) -> CandleBody:
    """A candle as text."""
    price, quantity = instrument.format_price, instrument.format_quantity
    return CandleBody(
        open_time_ns=candle.open_time_ns,
        open=price(candle.open_ticks),
        high=price(candle.high_ticks),
        low=price(candle.low_ticks),
        close=price(candle.close_ticks),
        volume=quantity(candle.volume_lots),
        quote_volume=format_units(
            candle.notional_tick_lots * instrument.notional_multiplier, instrument.quote.decimals
        ),
        taker_buy_volume=quantity(candle.taker_buy_lots),
        trades=candle.trades,
    )


def mark_body(instrument: Instrument, mark: Mark) -> MarkBody:
    """A mark as text."""

    def price(ticks: int) -> str:
        return instrument.format_price(ticks) if ticks else ""

    return MarkBody(
        symbol=mark.symbol,
        source=mark.source,
        time_ns=mark.time_ns,
        mark=price(mark.mark_ticks),
        bid=price(mark.bid_ticks),
        ask=price(mark.ask_ticks),
        last=price(mark.last_ticks),
        healthy=mark.healthy,
    )
