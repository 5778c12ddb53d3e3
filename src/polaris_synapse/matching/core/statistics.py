"""Trading of the last 24 hours, in buckets of a minute, so that it is bounded and survives a restart exactly."""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec import Struct

MINUTE_NS: Final = 60 * 10**9
DAY_MINUTES: Final = 1_440


class Minute(Struct, gc=False):
    """The trades of one minute. ``turnover``: the sum of price ticks times lots."""

    number: int
    open: int
    high: int
    low: int
    close: int
    lots: int
    turnover: int
    trades: int


class DayStatistics(Struct, frozen=True, kw_only=True):
    """The last 24 hours of a book; prices in ticks and 0 without a trade, ``turnover`` in ticks times lots."""

    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int
    turnover: int
    trades: int


class RollingDay:
    """The minutes of the last 24 hours that had trades. Time that runs backwards counts as the latest minute."""

    def __init__(self, minutes: list[Minute] | None = None) -> None:
        self.minutes: deque[Minute] = deque(minutes or ())

    def advance(self, now_ns: int) -> None:
        """Forget what is a day old."""
        oldest = now_ns // MINUTE_NS - DAY_MINUTES
        while self.minutes and self.minutes[0].number <= oldest:
            self.minutes.popleft()

    def trade(self, now_ns: int, price: int, lots: int) -> None:
        """Count a trade."""
        number = now_ns // MINUTE_NS
        if self.minutes and (last := self.minutes[-1]).number >= number:
            if price > last.high:
                last.high = price
            elif price < last.low:
                last.low = price
            last.close = price
            last.lots += lots
            last.turnover += price * lots
            last.trades += 1
            return
        self.minutes.append(Minute(number, price, price, price, price, lots, price * lots, 1))
        self.advance(now_ns)

    def summary(self) -> DayStatistics:
        """The day so far."""
        minutes = self.minutes
        return DayStatistics(
            open_ticks=minutes[0].open if minutes else 0,
            high_ticks=max((minute.high for minute in minutes), default=0),
            low_ticks=min((minute.low for minute in minutes), default=0),
            close_ticks=minutes[-1].close if minutes else 0,
            volume_lots=sum(minute.lots for minute in minutes),
            turnover=sum(minute.turnover for minute in minutes),
            trades=sum(minute.trades for minute in minutes),
        )
