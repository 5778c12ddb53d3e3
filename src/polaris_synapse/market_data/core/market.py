"""One symbol's market: its book, its trades, whether it may be relied on, and what is said about it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from polaris_synapse.domain.instruments import INTERNAL_VENUE
from polaris_synapse.domain.messages import (
    BookHealthChanged,
    BookSnapshotReceived,
    BookTickerReceived,
    BookUpdated,
    CandleClosed,
    DepthReceived,
    FeedStatusChanged,
    Mark,
    MarketSummary,
    MarketTrade,
    Message,
    ResyncNeeded,
    TopOfBook,
    TradeReceived,
)
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.domain.orders import Side
from polaris_synapse.market_data.core.book import Fold, SyncedBook
from polaris_synapse.market_data.core.candles import CandleBuilder, candle_builder
from polaris_synapse.market_data.core.settings import SECOND_NS, MarketDataCoreSettings
from polaris_synapse.market_data.core.tops import TopComparison
from polaris_synapse.market_data.core.trades import TradeSequence

#: Why a book is not to be relied on.
DISCONNECTED, RESYNCING, GAP, CROSSED, STALE, ONE_SIDED = (
    "disconnected", "resyncing", "gap", "crossed", "stale", "one_sided",
)  # fmt: skip

_EMPTY_TOP = (0, 0, 0, 0)


class MarketCounters(Struct):
    """What a symbol's market has seen."""

    snapshots: int = 0
    snapshots_old: int = 0
    depths: int = 0
    depths_old: int = 0
    gaps: int = 0
    crossed: int = 0
    stale: int = 0
    resyncs: int = 0
    disconnects: int = 0
    other_source: int = 0


class SymbolMarket(Struct):
    """The state of one symbol. Every method takes a message of this symbol and appends what follows to ``out``."""

    symbol: str
    source: str = ""
    connected: bool = True
    healthy: bool = False
    cause: str = RESYNCING
    book: SyncedBook = field(default_factory=SyncedBook)
    trades: TradeSequence = field(default_factory=TradeSequence)
    tops: TopComparison = field(default_factory=TopComparison)
    candles: CandleBuilder = field(default_factory=candle_builder)
    counters: MarketCounters = field(default_factory=MarketCounters)
    sequence: int = 0
    top: tuple[int, int, int, int] = _EMPTY_TOP
    last_ticks: int = 0
    last_book_time_ns: int = 0
    resync_asked_ns: int = 0
    venue_ahead_ns: int = 0
    mark_ticks: int = 0
    mark_time_ns: int = 0
    marked: tuple[int, int, int, bool] = (0, 0, 0, False)
    bought_lots: int = 0
    sold_lots: int = 0
    trades_in_summary: int = 0
    summary_second: int = 0

    def takes(self, source: str) -> bool:
        """Whether ``source`` is where this market's data comes from; the first one to speak is."""
        if not self.source:
            self.source = source
        elif self.source != source:
            self.counters.other_source += 1
            return False
        return True

    def feed_status(self, message: FeedStatusChanged, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        """A connection came up or went down. Another source that connects takes the market over."""
        if message.connected and message.source != self.source:
            self.source = message.source
            self.trades = TradeSequence()
        elif not self.takes(message.source):
            return
        self.connected = message.connected
        self.book.desync()
        self.tops.restart()
        if message.connected:
            self.resync_asked_ns = message.time_ns
            self._judge(message.time_ns, settings, out, RESYNCING)
        else:
            self.counters.disconnects += 1
            self._judge(message.time_ns, settings, out, DISCONNECTED)

    def snapshot(self, message: BookSnapshotReceived, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        """The whole book as of an update id."""
        if not self.takes(message.source):
            return
        fold = self.book.snapshot(message, settings.levels_max)
        if fold is Fold.OLD:
            # The book is ahead already. Whoever asked for the snapshot (a mirror that lost its place) gets the book.
            self.counters.snapshots_old += 1
            self._say_book(message.time_ns, settings, out)
            return
        if fold is Fold.TOO_OLD:
            self._resync(message.time_ns, "the snapshot is older than the stream", out)
            return
        self.counters.snapshots += 1
        self.last_book_time_ns = message.time_ns
        self._say_book(message.time_ns, settings, out)
        self._book_moved(message.time_ns, settings, out)

    def depth(self, message: DepthReceived, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        """Level changes."""
        if not self.takes(message.source):
            return
        if message.event_time_ns:
            self.venue_ahead_ns = message.event_time_ns - message.time_ns
        fold = self.book.depth(message, settings.buffered_depths_max)
        if fold is Fold.OLD:
            self.counters.depths_old += 1
            return
        self.counters.depths += 1
        if fold is Fold.GAP:
            self.counters.gaps += 1
            self.tops.restart()
            self._judge(message.time_ns, settings, out, GAP)
            self._resync(message.time_ns, GAP, out)
        elif fold is Fold.APPLIED:
            self.last_book_time_ns = message.time_ns
            self.sequence += 1
            bids: Sequence[Level] = message.bids
            asks: Sequence[Level] = message.asks
            if max(len(self.book.bids.keys), len(self.book.asks.keys)) > settings.levels_max:
                trimmed_bids, trimmed_asks = self.book.trim(settings.levels_max)
                bids, asks = (*bids, *trimmed_bids), (*asks, *trimmed_asks)
            out.append(
                BookUpdated(
                    time_ns=message.time_ns,
                    symbol=self.symbol,
                    source=self.source,
                    sequence=self.sequence,
                    bids=tuple(bids),
                    asks=tuple(asks),
                )
            )
            self._book_moved(message.time_ns, settings, out)

    def ticker(self, message: BookTickerReceived, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        """The venue's own top: compared with ours, never used instead of it."""
        if not self.takes(message.source):
            return
        self.tops.ticker(
            (message.update_id, message.bid_ticks, message.bid_lots, message.ask_ticks, message.ask_lots),
            settings.compared_tops_max,
        )
        if self.marked != (*self.top[::2], self.last_ticks, self.healthy):
            self._mark(message.time_ns, settings, out)

    def trade(self, message: TradeReceived, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        """A public trade."""
        if not self.takes(message.source):
            return
        newest = message.trade_id > self.trades.last_id
        if not self.trades.accept(message.trade_id, settings.missing_trade_ranges_max):
            return
        price, lots = message.price_ticks, message.quantity_lots
        trade_time_ns = message.trade_time_ns or message.time_ns
        taker_buys = message.aggressor is Side.BUY
        self._close_candles(message.time_ns, trade_time_ns, settings, out)
        self.candles.trade(trade_time_ns, price, lots, taker_buys=taker_buys)
        out.append(
            MarketTrade(
                time_ns=message.time_ns,
                symbol=self.symbol,
                source=self.source,
                trade_id=message.trade_id,
                price_ticks=price,
                quantity_lots=lots,
                aggressor=message.aggressor,
            )
        )
        self.trades_in_summary += 1
        if taker_buys:
            self.bought_lots += lots
        else:
            self.sold_lots += lots
        if newest:
            self.last_ticks = price
            self._mark(message.time_ns, settings, out)

    def tick(self, time_ns: int, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        """Time passes: staleness, candles, unanswered resyncs, and the second's mark and summary."""
        internal = self.source == INTERNAL_VENUE
        if self.healthy and not internal and time_ns - self.last_book_time_ns >= settings.stale_seconds * SECOND_NS:
            self.counters.stale += 1
            self._judge(time_ns, settings, out, STALE)
        waiting = self.connected and not self.book.synced and self.source
        if waiting and time_ns - self.resync_asked_ns >= settings.resync_seconds * SECOND_NS:
            self._resync(time_ns, self.cause, out)
        # What the venue's clock shows now, as far as its last message tells, less the time trades take to get here.
        venue_now_ns = time_ns + self.venue_ahead_ns - settings.candle_grace_ms * 1_000_000
        self._close_candles(time_ns, venue_now_ns, settings, out)
        if self.healthy:
            if time_ns - self.mark_time_ns >= SECOND_NS:
                self._say_mark(time_ns, out)
            else:
                self._mark(time_ns, settings, out)
        if time_ns // SECOND_NS != self.summary_second and (self.sequence or self.trades.accepted):
            self._summarise(time_ns, settings, out)

    def _close_candles(self, time_ns: int, until_ns: int, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        if until_ns < self.candles.next_close_ns:
            return
        closed = self.candles.close_until(
            until_ns, symbol=self.symbol, carry=self.healthy, carried_max=settings.carried_candles_max
        )
        out.extend(CandleClosed(time_ns=time_ns, source=self.source, candle=candle) for candle in closed)

    def _say_book(self, time_ns: int, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        self.sequence += 1
        out.append(
            BookUpdated(
                time_ns=time_ns,
                symbol=self.symbol,
                source=self.source,
                sequence=self.sequence,
                bids=self.book.bids.top(settings.levels_max),
                asks=self.book.asks.top(settings.levels_max),
                is_snapshot=True,
            )
        )

    def _book_moved(self, time_ns: int, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        book = self.book
        top = book.top()
        if book.crossed():
            self.counters.crossed += 1
            book.desync()
            self.tops.restart()
            self._judge(time_ns, settings, out, CROSSED)
            self._resync(time_ns, CROSSED, out)
            return
        self.tops.top((book.last_update_id, *top), settings.compared_tops_max)
        if top != self.top:
            self.top = top
            bid, bid_lots, ask, ask_lots = top
            out.append(
                TopOfBook(
                    time_ns=time_ns,
                    symbol=self.symbol,
                    source=self.source,
                    sequence=self.sequence,
                    bid_ticks=bid,
                    bid_lots=bid_lots,
                    ask_ticks=ask,
                    ask_lots=ask_lots,
                )
            )
            if bid and ask:
                self.mark_ticks = (bid + ask) // 2
        self._judge(time_ns, settings, out)
        self._mark(time_ns, settings, out)

    def _judge(self, time_ns: int, settings: MarketDataCoreSettings, out: list[Message], cause: str = "") -> None:
        """Settle whether the book is healthy; with a change goes a mark at once, so that nobody trades on the old one.

        Without a ``cause``, the book was just brought in step, and what is left to find fault with is its shape and
        the connection.
        """
        if not cause and not self.connected:
            cause = DISCONNECTED
        elif not cause and not (self.top[0] and self.top[2]):
            cause = ONE_SIDED
        healthy = not cause
        if (healthy, cause) == (self.healthy, self.cause):
            return
        changed = healthy != self.healthy
        self.healthy, self.cause = healthy, cause
        out.append(
            BookHealthChanged(
                time_ns=time_ns, symbol=self.symbol, source=self.source, healthy=healthy, cause=self.cause
            )
        )
        if changed:
            self._say_mark(time_ns, out)

    def _resync(self, time_ns: int, cause: str, out: list[Message]) -> None:
        self.counters.resyncs += 1
        self.resync_asked_ns = time_ns
        out.append(ResyncNeeded(time_ns=time_ns, symbol=self.symbol, source=self.source, cause=cause))

    def _mark(self, time_ns: int, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        """Say the mark if it changed and the rate allows; what the rate holds back is said with a later message."""
        bid, _, ask, _ = self.top
        if (
            time_ns - self.mark_time_ns >= SECOND_NS // settings.marks_per_second_max
            and self.marked != (bid, ask, self.last_ticks, self.healthy)
            and self.healthy
        ):
            self._say_mark(time_ns, out)

    def _say_mark(self, time_ns: int, out: list[Message]) -> None:
        if not self.mark_ticks:
            return
        bid, _, ask, _ = self.top
        self.mark_time_ns = time_ns
        self.marked = (bid, ask, self.last_ticks, self.healthy)
        out.append(
            Mark(
                time_ns=time_ns,
                symbol=self.symbol,
                source=self.source,
                mark_ticks=self.mark_ticks,
                bid_ticks=bid,
                ask_ticks=ask,
                last_ticks=self.last_ticks,
                healthy=self.healthy,
            )
        )

    def _summarise(self, time_ns: int, settings: MarketDataCoreSettings, out: list[Message]) -> None:
        bid, _, ask, _ = self.top
        self.summary_second = time_ns // SECOND_NS
        out.append(
            MarketSummary(
                time_ns=time_ns,
                symbol=self.symbol,
                source=self.source,
                bid_ticks=bid,
                ask_ticks=ask,
                last_ticks=self.last_ticks,
                bid_depth_lots=self.book.bids.depth_lots(settings.summary_levels),
                ask_depth_lots=self.book.asks.depth_lots(settings.summary_levels),
                bought_lots=self.bought_lots,
                sold_lots=self.sold_lots,
                trades=self.trades_in_summary,
                healthy=self.healthy,
            )
        )
        self.bought_lots = self.sold_lots = self.trades_in_summary = 0
