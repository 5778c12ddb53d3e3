"""What the market looks like now: mirrors of the published facts, for the API and for whoever asks in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from polaris_synapse.domain.messages import (
    BookHealthChanged,
    BookUpdated,
    Candle,
    CandleClosed,
    Mark,
    MarketSummary,
    MarketTrade,
    Message,
    TopOfBook,
)
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.domain.orders import Side
from polaris_synapse.market_data.core.candles import CandleSeries
from polaris_synapse.market_data.core.levels import BookSide
from polaris_synapse.market_data.core.settings import INTERVALS_SECONDS, SECOND_NS


class SymbolView:
    """One symbol. ``sequence`` 0 means that the book's levels are not known."""

    def __init__(self, symbol: str, *, trades_max: int, candles_max: int) -> None:
        self.symbol = symbol
        self.source = ""
        self.sequence = 0
        self.updated_ns = 0
        self.bids, self.asks = BookSide(1), BookSide(-1)
        self.healthy = False
        self.cause = "resyncing"
        self.top: TopOfBook | None = None
        self.mark: Mark | None = None
        self.summary: MarketSummary | None = None
        self.trades: deque[MarketTrade] = deque(maxlen=trades_max)
        self._closed = {interval: deque[Candle](maxlen=candles_max) for interval in INTERVALS_SECONDS}
        self._open = {interval: CandleSeries(interval) for interval in INTERVALS_SECONDS}

    def book(self, depth: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """The best ``depth`` levels of both sides, best first."""
        return self.bids.top(depth), self.asks.top(depth)

    def candles(self, interval_seconds: int, limit: int) -> list[Candle]:
        """The latest candles, oldest first; the last one is still open. Raises KeyError for another interval."""
        series = self._open[interval_seconds]
        closed = list(self._closed[interval_seconds])
        if series.open_time_ns:
            closed.append(series.candle(self.symbol))
        return closed[-limit:]

    def book_updated(self, message: BookUpdated) -> bool:
        """Follow the book; False when an update is missing, and then a snapshot is needed."""
        if message.is_snapshot:
            self.bids.replace(message.bids, len(message.bids))
            self.asks.replace(message.asks, len(message.asks))
        elif not self.sequence or message.sequence != self.sequence + 1:
            self.sequence = 0
            return False
        else:
            self.bids.change(message.bids)
            self.asks.change(message.asks)
        self.sequence = message.sequence
        self.updated_ns = message.time_ns
        return True

    def traded(self, message: MarketTrade) -> None:
        """A trade for the tape and the open candles."""
        self.trades.append(message)
        for interval, series in self._open.items():
            interval_ns = interval * SECOND_NS
            if not series.open_time_ns or message.time_ns >= series.open_time_ns + 2 * interval_ns:
                # After an outage the candle in between was never made: the open one starts with this trade.
                series.start(message.time_ns - message.time_ns % interval_ns, message.price_ticks)
            series.add(
                max(message.time_ns, series.open_time_ns),
                message.price_ticks,
                message.quantity_lots,
                taker_buys=message.aggressor is Side.BUY,
            )

    def closed(self, candle: Candle) -> None:
        """A closed candle takes the place of the open one."""
        self._closed[candle.interval_seconds].append(candle)
        end_ns = candle.open_time_ns + candle.interval_seconds * SECOND_NS
        self._open[candle.interval_seconds].start(end_ns, candle.close_ticks)


class MarketViews:
    """Every symbol that facts were published about."""

    def __init__(self, *, trades_max: int, candles_max: int) -> None:
        self._trades_max = trades_max
        self._candles_max = candles_max
        self._symbols: dict[str, SymbolView] = {}

    def get(self, symbol: str) -> SymbolView | None:
        """One symbol's view, if anything is known of it."""
        return self._symbols.get(symbol)

    def symbols(self) -> Iterable[SymbolView]:
        """All views, by symbol."""
        return [self._symbols[symbol] for symbol in sorted(self._symbols)]

    def last_ticks(self, symbol: str) -> int:
        """The last traded price, 0 when nothing has traded yet."""
        view = self._symbols.get(symbol)
        return view.trades[-1].price_ticks if view is not None and view.trades else 0

    def marks(self) -> list[Mark]:
        """The latest marks, by symbol."""
        return [view.mark for view in self.symbols() if view.mark is not None]

    def forget_books(self) -> list[str]:
        """Facts were lost: no book can be followed further. Returns the symbols that need a snapshot."""
        for view in self._symbols.values():
            view.sequence = 0
        return sorted(self._symbols)

    def take(self, message: Message) -> bool:
        """Follow one fact; False when its symbol's book needs a snapshot."""
        if isinstance(message, CandleClosed):
            self._view(message.candle.symbol).closed(message.candle)
        elif isinstance(message, BookUpdated):
            view = self._view(message.symbol)
            view.source = message.source
            return view.book_updated(message)
        elif isinstance(message, MarketTrade):
            self._view(message.symbol).traded(message)
        elif isinstance(message, TopOfBook):
            self._view(message.symbol).top = message
        elif isinstance(message, Mark):
            self._view(message.symbol).mark = message
        elif isinstance(message, MarketSummary):
            self._view(message.symbol).summary = message
        elif isinstance(message, BookHealthChanged):
            view = self._view(message.symbol)
            view.source, view.healthy, view.cause = message.source, message.healthy, message.cause
        return True

    def _view(self, symbol: str) -> SymbolView:
        view = self._symbols.get(symbol)
        if view is None:
            view = self._symbols[symbol] = SymbolView(
                symbol, trades_max=self._trades_max, candles_max=self._candles_max
            )
        return view
