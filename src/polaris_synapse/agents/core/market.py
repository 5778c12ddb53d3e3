"""One market as an analyst sees it: candles of one length made from summaries, and the indicators over them.

Only closed candles reach an indicator, so nothing is decided on the candle that is still being made. Candles are of the
mid, in half ticks: a thin market has a mid in every second, but not a trade.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.agents.core.fixed import LOTS_MAX, MICRO, PRICE_TICKS_MAX, divide_rounding
from polaris_synapse.agents.core.flow import NANOSECONDS, BookPressure, FlowWindow, Vwap
from polaris_synapse.agents.core.indicators import Atr, Bollinger, Macd, Rsi
from polaris_synapse.agents.core.volatility import Momentum, Volatility
from polaris_synapse.domain.messages import MarketSummary

#: The usual length of a candle.
CANDLE_SECONDS: Final = 60
#: A hole of up to this many candles is filled with flat ones; after a longer one the indicators begin anew.
FILLED_CANDLES_MAX: Final = 3

BOLLINGER_CANDLES: Final = 20
RSI_CANDLES: Final = 14
ATR_CANDLES: Final = 14
MOMENTUM_CANDLES: Final = 15
VWAP_CANDLES: Final = 60
FLOW_SHORT_SECONDS: Final = 60
FLOW_LONG_SECONDS: Final = 300
BOOK_SUMMARIES: Final = 10
#: Candles before an analyst says anything: the longest window that a signal cannot do without.
CANDLES_MIN: Final = BOLLINGER_CANDLES
#: Candles after which there is nothing more to learn from waiting.
CANDLES_ENOUGH: Final = 60


class Bar(Struct):
    """A candle of the mid, in half ticks, with what takers traded. ``number`` counts candles since 1970.

    ``vwap_micro`` is in micro half ticks.
    """

    number: int
    open: int
    high: int
    low: int
    close: int
    lots: int = 0
    vwap_micro: int = 0

    def add(self, half_ticks: int, trade_half_ticks: int, lots: int) -> None:
        """Take one summary in: its mid, and the lots that traded around ``trade_half_ticks``."""
        self.high = max(self.high, half_ticks)
        self.low = min(self.low, half_ticks)
        self.close = half_ticks
        if lots:
            self.lots += lots
            self.vwap_micro += divide_rounding((trade_half_ticks * MICRO - self.vwap_micro) * lots, self.lots)


class BarIndicators(Struct):
    """Everything that is computed from closed candles."""

    macd: Macd
    rsi: Rsi
    bollinger: Bollinger
    atr: Atr
    volatility: Volatility
    momentum: Momentum
    vwap: Vwap
    candles: int = 0

    @classmethod
    def standard(cls, candle_seconds: int) -> BarIndicators:
        """With the periods above and no history."""
        return cls(
            macd=Macd.standard(),
            rsi=Rsi.over(RSI_CANDLES),
            bollinger=Bollinger.over(BOLLINGER_CANDLES),
            atr=Atr.over(ATR_CANDLES),
            volatility=Volatility.standard(candle_seconds),
            momentum=Momentum.over(MOMENTUM_CANDLES),
            vwap=Vwap(size=VWAP_CANDLES),
        )

    def push(self, bar: Bar) -> None:
        """Add a closed candle."""
        self.macd.push(bar.close)
        self.rsi.push(bar.close)
        self.bollinger.push(bar.close)
        self.atr.push(bar.high, bar.low, bar.close)
        self.volatility.push(bar.close)
        self.momentum.push(bar.close)
        self.vwap.push(bar.vwap_micro, bar.lots)
        self.candles += 1


class Market(Struct):
    """The state of one market. ``summary`` is the last one received; ``time_ns`` of the last that could be used."""

    symbol: str
    candle_seconds: int
    indicators: BarIndicators
    flow_short: FlowWindow
    flow_long: FlowWindow
    pressure: BookPressure
    summary: MarketSummary | None = None
    healthy: bool = False
    time_ns: int = 0
    bar: Bar | None = None
    closed_number: int = 0
    closed_half_ticks: int = 0
    #: What broke the history last, in words, for an agent that has to say why it has none.
    restarted: str = ""

    @classmethod
    def of(cls, symbol: str, candle_seconds: int = CANDLE_SECONDS) -> Market:
        """A market nobody has seen yet."""
        return cls(
            symbol=symbol,
            candle_seconds=candle_seconds,
            indicators=BarIndicators.standard(candle_seconds),
            flow_short=FlowWindow(seconds=FLOW_SHORT_SECONDS),
            flow_long=FlowWindow(seconds=FLOW_LONG_SECONDS),
            pressure=BookPressure.over(BOOK_SUMMARIES),
        )

    def fold(self, summary: MarketSummary) -> None:
        """Take a summary in. An unusable one (unhealthy, one-sided, crossed, absurd) changes no indicator."""
        before = self.summary
        self.summary = summary
        self.healthy = is_usable(summary)
        if not self.healthy:
            return
        if before is not None and before.source != summary.source:
            # Another feed is another market: its prices say nothing about this one's history.
            self._restart(f"the feed changed from {before.source} to {summary.source}")
        self.close_bar(summary.time_ns)
        half_ticks = summary.bid_ticks + summary.ask_ticks
        lots = summary.bought_lots + summary.sold_lots
        trade_half_ticks = 2 * summary.last_ticks if 0 < summary.last_ticks <= PRICE_TICKS_MAX else half_ticks
        number = self._number(summary.time_ns)
        if self.bar is None and number > self.closed_number:
            self._open(number, half_ticks)
        # A summary that is late for a candle that has closed must not change it; it still is news about the flow.
        if self.bar is not None and number == self.bar.number:
            self.bar.add(half_ticks, trade_half_ticks, lots)
        for window in (self.flow_short, self.flow_long):
            window.push(summary.time_ns, summary.bought_lots, summary.sold_lots, summary.trades)
        self.pressure.push(summary.bid_depth_lots, summary.ask_depth_lots)
        self.time_ns = max(self.time_ns, summary.time_ns)

    def close_bar(self, time_ns: int) -> None:
        """Close the candle in the making if its time is over at ``time_ns``."""
        bar = self.bar
        if bar is not None and self._number(time_ns) > bar.number:
            self.indicators.push(bar)
            self.closed_number, self.closed_half_ticks = bar.number, bar.close
            self.bar = None

    @property
    def closed_time_ns(self) -> int:
        """When the last closed candle ended."""
        return (self.closed_number + 1) * self.candle_seconds * NANOSECONDS

    def _number(self, time_ns: int) -> int:
        return time_ns // (self.candle_seconds * NANOSECONDS)

    def _open(self, number: int, half_ticks: int) -> None:
        missing = number - self.closed_number - 1
        if self.closed_number and missing > FILLED_CANDLES_MAX:
            self._restart(f"{missing} candles without data")
        elif self.closed_number:
            flat = self.closed_half_ticks
            for absent in range(self.closed_number + 1, number):
                self.indicators.push(Bar(number=absent, open=flat, high=flat, low=flat, close=flat))
        self.bar = Bar(number=number, open=half_ticks, high=half_ticks, low=half_ticks, close=half_ticks)

    def _restart(self, why: str) -> None:
        self.indicators = BarIndicators.standard(self.candle_seconds)
        self.flow_short = FlowWindow(seconds=FLOW_SHORT_SECONDS)
        self.flow_long = FlowWindow(seconds=FLOW_LONG_SECONDS)
        self.pressure = BookPressure.over(BOOK_SUMMARIES)
        self.bar = None
        self.closed_number = self.closed_half_ticks = 0
        self.restarted = why


def market_key(symbol: str, candle_seconds: int) -> str:
    """The name of a symbol's market measured in candles of one length."""
    return f"{symbol}/{candle_seconds}"


def is_usable(summary: MarketSummary) -> bool:
    """Whether a summary may be computed with: a healthy, two-sided, uncrossed market of believable numbers."""
    amounts = (summary.bid_depth_lots, summary.ask_depth_lots, summary.bought_lots, summary.sold_lots, summary.trades)
    return (
        summary.healthy
        and 0 < summary.bid_ticks < summary.ask_ticks <= PRICE_TICKS_MAX
        and all(0 <= amount <= LOTS_MAX for amount in amounts)
    )
