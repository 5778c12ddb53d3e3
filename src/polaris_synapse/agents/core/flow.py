"""Who trades and who waits: taker flow, book imbalance, spread and the distance to the average price paid."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.agents.core.fixed import MICRO, PPM, divide_rounding, share_ppm
from polaris_synapse.agents.core.indicators import Window

NANOSECONDS: int = 1_000_000_000
#: Summaries come once a second; more than this many for each second of a window push the oldest out early.
SUMMARIES_A_SECOND_MAX: int = 2


class FlowWindow(Struct, dict=True):
    """Lots bought and sold by takers within the last ``seconds``, by message time."""

    seconds: int
    #: ``(time_ns, bought_lots, sold_lots, trades)``, oldest first.
    entries: list[tuple[int, int, int, int]] = []

    def __post_init__(self) -> None:
        """Make the totals, which the snapshot leaves out."""
        self.bought: int = sum(entry[1] for entry in self.entries)
        self.sold: int = sum(entry[2] for entry in self.entries)
        self.trades: int = sum(entry[3] for entry in self.entries)

    def push(self, time_ns: int, bought_lots: int, sold_lots: int, trades: int) -> None:
        """Add one second and forget what has become too old."""
        self.entries.append((time_ns, bought_lots, sold_lots, trades))
        self.bought += bought_lots
        self.sold += sold_lots
        self.trades += trades
        self.forget_until(time_ns - self.seconds * NANOSECONDS)
        surplus = len(self.entries) - self.seconds * SUMMARIES_A_SECOND_MAX
        if surplus > 0:
            self._drop(surplus)

    def forget_until(self, time_ns: int) -> None:
        """Drop what is from ``time_ns`` or before."""
        gone = 0
        for entry in self.entries:
            if entry[0] > time_ns:
                break
            gone += 1
        if gone:
            self._drop(gone)

    def _drop(self, count: int) -> None:
        for _, bought, sold, trades in self.entries[:count]:
            self.bought -= bought
            self.sold -= sold
            self.trades -= trades
        del self.entries[:count]

    @property
    def imbalance_ppm(self) -> int:
        """(bought - sold) / (bought + sold): 1,000,000 when takers only bought; 0 without trades."""
        return share_ppm(self.bought, self.sold)


class BookPressure(Struct):
    """The lean of the resting depth, averaged over the last summaries because single books flicker."""

    window: Window

    @classmethod
    def over(cls, summaries: int) -> BookPressure:
        """Averaged over ``summaries`` seconds."""
        return cls(window=Window(size=summaries))

    def push(self, bid_depth_lots: int, ask_depth_lots: int) -> None:
        """Add the depth of one summary."""
        self.window.push(share_ppm(bid_depth_lots, ask_depth_lots))

    @property
    def imbalance_ppm(self) -> int | None:
        """(bids - asks) / (bids + asks), averaged; None before the first summary."""
        return divide_rounding(self.window.total, self.window.count) if self.window.count else None


class Vwap(Struct, dict=True):
    """The volume-weighted average price of the last candles: their own averages weighted with their volumes."""

    size: int
    #: ``(average price in micro half ticks, lots)`` of each candle, oldest first.
    candles: list[tuple[int, int]] = []

    def __post_init__(self) -> None:
        """Make the totals, which the snapshot leaves out: they outgrow 64 bits."""
        self.weighted: int = sum(price * lots for price, lots in self.candles)
        self.lots: int = sum(lots for _, lots in self.candles)

    def push(self, price_micro: int, lots: int) -> None:
        """Add a closed candle."""
        self.candles.append((price_micro, lots))
        self.weighted += price_micro * lots
        self.lots += lots
        if len(self.candles) > self.size:
            gone_price, gone_lots = self.candles.pop(0)
            self.weighted -= gone_price * gone_lots
            self.lots -= gone_lots

    @property
    def value(self) -> int | None:
        """In micro half ticks; None where nothing traded."""
        return divide_rounding(self.weighted, self.lots) if self.lots else None

    def distance_ppm(self, half_ticks: int) -> int | None:
        """How far a price lies above (positive) or below the average, in ppm of the average."""
        average = self.value
        return divide_rounding((half_ticks * MICRO - average) * PPM, average) if average else None


def spread_ppm(bid_ticks: int, ask_ticks: int) -> int:
    """Ask minus bid in ppm of the mid."""
    return divide_rounding((ask_ticks - bid_ticks) * 2 * PPM, bid_ticks + ask_ticks)
