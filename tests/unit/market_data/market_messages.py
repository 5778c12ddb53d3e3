"""Short spellings of market data messages for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    BookSnapshotReceived,
    BookTickerReceived,
    DepthReceived,
    FeedStatusChanged,
    Message,
    Tick,
    TradeReceived,
)
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import Side
from polaris_synapse.market_data.core import MarketDataCore

SECOND = 1_000_000_000
#: 2026-01-01T00:00:00Z, so every candle boundary is near.
T0 = 1_767_225_600 * SECOND

USDT = Asset("USDT", 8)
BTCUSDT = Instrument(symbol="BTCUSDT", base=Asset("BTC", 8), quote=USDT, tick_units=10**6, lot_units=1000)
ETHUSDT = Instrument(symbol="ETHUSDT", base=Asset("ETH", 8), quote=USDT, tick_units=10**6, lot_units=10_000)

Levels = Sequence[tuple[int, int]]
M = TypeVar("M", bound=Message)


def snapshot(
    last: int, bids: Levels = ((100, 5),), asks: Levels = ((101, 5),), *, at: float = 0, symbol: str = "BTCUSDT"
) -> BookSnapshotReceived:
    """A book as of update ``last``, ``at`` seconds after T0."""
    return BookSnapshotReceived(
        time_ns=T0 + int(at * SECOND),
        symbol=symbol,
        source="test",
        last_update_id=last,
        bids=tuple(bids),
        asks=tuple(asks),
    )


def depth(
    first: int, last: int, bids: Levels = (), asks: Levels = (), *, at: float = 0, symbol: str = "BTCUSDT"
) -> DepthReceived:
    """Changes of updates ``first`` to ``last``."""
    return DepthReceived(
        time_ns=T0 + int(at * SECOND),
        symbol=symbol,
        source="test",
        first_update_id=first,
        last_update_id=last,
        bids=tuple(bids),
        asks=tuple(asks),
    )


def trade(
    trade_id: int, price: int = 100, lots: int = 1, *, at: float = 0, side: Side = Side.BUY, symbol: str = "BTCUSDT"
) -> TradeReceived:
    """A public trade."""
    time_ns = T0 + int(at * SECOND)
    return TradeReceived(
        time_ns=time_ns,
        symbol=symbol,
        source="test",
        trade_id=trade_id,
        price_ticks=price,
        quantity_lots=lots,
        aggressor=side,
        trade_time_ns=time_ns,
    )


def ticker(update_id: int, bid: tuple[int, int], ask: tuple[int, int], *, at: float = 0) -> BookTickerReceived:
    """The venue's own top."""
    return BookTickerReceived(
        time_ns=T0 + int(at * SECOND),
        symbol="BTCUSDT",
        source="test",
        update_id=update_id,
        bid_ticks=bid[0],
        bid_lots=bid[1],
        ask_ticks=ask[0],
        ask_lots=ask[1],
    )


def status(connected: bool, *, at: float = 0, symbol: str = "BTCUSDT", source: str = "test") -> FeedStatusChanged:
    """The feed's connection."""
    return FeedStatusChanged(time_ns=T0 + int(at * SECOND), symbol=symbol, source=source, connected=connected)


def tick(at: float) -> Tick:
    """Time passes."""
    return Tick(time_ns=T0 + int(at * SECOND))


def fold(core: MarketDataCore, *messages: Message) -> list[Message]:
    """Apply messages; all outputs in order."""
    return [out for message in messages for out in core.apply(message)]


def only(messages: Iterable[Message], kind: type[M]) -> list[M]:
    """The messages of one type."""
    return [message for message in messages if isinstance(message, kind)]
