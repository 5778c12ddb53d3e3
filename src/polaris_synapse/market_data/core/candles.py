"""Candles from trades, in integers, aligned to UTC.

A candle is closed by the first trade beyond its end, or by the passing of time. A quiet interval becomes an empty
candle at the last price, as Binance does it, as long as the book is healthy: then silence means that nobody traded.
While it is not, silence means nothing, and no candle is made up. A candle knows only the trades seen here: the first
one of each interval after a start begins with the first trade seen.
"""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.messages import Candle
from polaris_synapse.market_data.core.settings import INTERVALS_SECONDS, SECOND_NS


class CandleSeries(Struct):
    """The open candle of one interval, if any (``open_time_ns`` 0: none), and where the closed ones end."""

    interval_seconds: int
    open_time_ns: int = 0
    closed_until_ns: int = 0
    open_ticks: int = 0
    high_ticks: int = 0
    low_ticks: int = 0
    close_ticks: int = 0
    volume_lots: int = 0
    taker_buy_lots: int = 0
    notional_tick_lots: int = 0
    trades: int = 0

    def start(self, open_time_ns: int, price_ticks: int) -> None:
        """Open an empty candle at a price."""
        self.open_time_ns = open_time_ns
        self.open_ticks = self.high_ticks = self.low_ticks = self.close_ticks = price_ticks
        self.volume_lots = self.taker_buy_lots = self.notional_tick_lots = self.trades = 0

    def candle(self, symbol: str) -> Candle:
        """The open candle as it stands."""
        return Candle(
            symbol=symbol,
            interval_seconds=self.interval_seconds,
            open_time_ns=self.open_time_ns,
            open_ticks=self.open_ticks,
            high_ticks=self.high_ticks,
            low_ticks=self.low_ticks,
            close_ticks=self.close_ticks,
            volume_lots=self.volume_lots,
            taker_buy_lots=self.taker_buy_lots,
            notional_tick_lots=self.notional_tick_lots,
            trades=self.trades,
        )

    def close_until(self, now_ns: int, *, symbol: str, carry: bool, carried_max: int) -> list[Candle]:
        """Close what ended at or before ``now_ns``; with ``carry`` quiet intervals follow as empty candles."""
        interval_ns = self.interval_seconds * SECOND_NS
        closed: list[Candle] = []
        while self.open_time_ns and now_ns >= self.open_time_ns + interval_ns:
            if self.trades or carry:
                closed.append(self.candle(symbol))
            self.closed_until_ns = end_ns = self.open_time_ns + interval_ns
            quiet = (now_ns - end_ns) // interval_ns
            if not carry:
                self.open_time_ns = 0
            elif quiet > carried_max:
                self.start(end_ns + quiet * interval_ns, self.close_ticks)
            else:
                self.start(end_ns, self.close_ticks)
        return closed

    def add(self, time_ns: int, price_ticks: int, quantity_lots: int, *, taker_buys: bool) -> bool:
        """Count a trade; call ``close_until(time_ns)`` first. False when the trade's own candle has closed.

        Such a late trade counts in the volume of the open candle, so that volumes add up, and not in its prices.
        """
        late = time_ns < (self.open_time_ns or self.closed_until_ns)
        if not self.open_time_ns:
            interval_ns = self.interval_seconds * SECOND_NS
            self.start(max(time_ns - time_ns % interval_ns, self.closed_until_ns), price_ticks)
        elif not late:
            if not self.trades:
                # The first trade makes the open, as on Binance; only a candle without any repeats the last close.
                self.open_ticks = self.high_ticks = self.low_ticks = price_ticks
            elif price_ticks > self.high_ticks:
                self.high_ticks = price_ticks
            elif price_ticks < self.low_ticks:
                self.low_ticks = price_ticks
            self.close_ticks = price_ticks
        self.volume_lots += quantity_lots
        self.notional_tick_lots += price_ticks * quantity_lots
        self.trades += 1
        if taker_buys:
            self.taker_buy_lots += quantity_lots
        return not late


class CandleBuilder(Struct):
    """All intervals of one symbol. ``late_trades`` came after their one-second candle had closed."""

    series: list[CandleSeries]
    next_close_ns: int = 0
    late_trades: int = 0

    def trade(self, time_ns: int, price_ticks: int, quantity_lots: int, *, taker_buys: bool) -> None:
        """Count a trade; call ``close_until(time_ns)`` first."""
        in_time = [s.add(time_ns, price_ticks, quantity_lots, taker_buys=taker_buys) for s in self.series]
        if not in_time[0]:
            self.late_trades += 1
        self._schedule()

    def close_until(self, now_ns: int, *, symbol: str, carry: bool, carried_max: int) -> list[Candle]:
        """Close what ended, short intervals first."""
        closed: list[Candle] = []
        if now_ns >= self.next_close_ns:
            for series in self.series:
                closed += series.close_until(now_ns, symbol=symbol, carry=carry, carried_max=carried_max)
            self._schedule()
        return closed

    def _schedule(self) -> None:
        shortest = self.series[0]
        self.next_close_ns = (
            shortest.open_time_ns + shortest.interval_seconds * SECOND_NS if shortest.open_time_ns else 0
        )


def candle_builder() -> CandleBuilder:
    """An empty builder of every interval."""
    return CandleBuilder([CandleSeries(interval_seconds) for interval_seconds in INTERVALS_SECONDS])
