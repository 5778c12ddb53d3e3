"""The classic indicators, incremental and in integers: one bounded update a value, no history but their own window.

Prices come in as half ticks; averages are micro half ticks (see ``fixed``). What an indicator cannot know yet is None.
Each is a plain struct, so a snapshot holds it whole; running totals are made again from the window after a restore.
"""

from __future__ import annotations

from math import isqrt

from msgspec import Struct

from polaris_synapse.agents.core.fixed import MICRO, PPM, divide_rounding


class Window(Struct, dict=True):
    """The last ``size`` values with their sum and sum of squares, each exact and kept in step."""

    size: int
    values: list[int] = []
    oldest: int = 0

    def __post_init__(self) -> None:
        """Make the totals, which are not part of the snapshot: squares of prices outgrow 64 bits."""
        self.total: int = sum(self.values)
        self.squares: int = sum(value * value for value in self.values)

    def push(self, value: int) -> int | None:
        """Add a value; the one that fell out of the window, if any."""
        self.total += value
        self.squares += value * value
        if len(self.values) < self.size:
            self.values.append(value)
            return None
        gone = self.values[self.oldest]
        self.values[self.oldest] = value
        self.oldest = (self.oldest + 1) % self.size
        self.total -= gone
        self.squares -= gone * gone
        return gone

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def is_full(self) -> bool:
        """Whether every place is taken."""
        return len(self.values) == self.size

    @property
    def first(self) -> int:
        """The oldest value. Only where there is one."""
        return self.values[self.oldest]


class Sma(Struct):
    """Simple moving average of the last ``window.size`` values, in micro of their unit."""

    window: Window

    @classmethod
    def over(cls, size: int) -> Sma:
        """An average over ``size`` values."""
        return cls(window=Window(size=size))

    def push(self, value: int) -> None:
        """Add a value."""
        self.window.push(value)

    @property
    def value(self) -> int | None:
        """The mean of what there is, in micro, or None before the first value."""
        return divide_rounding(self.window.total * MICRO, self.window.count) if self.window.count else None


class Ema(Struct):
    """Exponential moving average with weight ``2 / (period + 1)``, begun at the first value.

    Output has the unit of the input, so the input should be in micro: the error that rounding adds up to stays below
    ``(period + 1) / 4`` units.
    """

    period: int
    value: int = 0
    count: int = 0

    def push(self, value: int) -> None:
        """Add a value."""
        if self.count == 0:
            self.value = value
        else:
            self.value += divide_rounding(2 * (value - self.value), self.period + 1)
        self.count += 1


class Macd(Struct):
    """Moving average convergence and divergence: fast minus slow EMA, and its distance to its own average."""

    fast: Ema
    slow: Ema
    signal: Ema

    @classmethod
    def standard(cls) -> Macd:
        """Periods 12, 26 and 9."""
        return cls(fast=Ema(period=12), slow=Ema(period=26), signal=Ema(period=9))

    def push(self, half_ticks: int) -> None:
        """Add a closing price."""
        self.fast.push(half_ticks * MICRO)
        self.slow.push(half_ticks * MICRO)
        self.signal.push(self.line)

    @property
    def line(self) -> int:
        """Fast minus slow average, micro half ticks."""
        return self.fast.value - self.slow.value

    @property
    def histogram(self) -> int:
        """The line minus its own average, micro half ticks."""
        return self.line - self.signal.value


class Wilder(Struct):
    """Wilder's average: the plain mean of the first ``period`` values, then ``(old * (period - 1) + new) / period``."""

    period: int
    count: int = 0
    seed_total: int = 0
    value: int = 0

    def push(self, value: int) -> None:
        """Add a value; ``self.value`` is in micro of its unit once ``is_ready``."""
        self.count += 1
        if self.count < self.period:
            self.seed_total += value
        elif self.count == self.period:
            self.value = divide_rounding((self.seed_total + value) * MICRO, self.period)
        else:
            self.value = divide_rounding(self.value * (self.period - 1) + value * MICRO, self.period)

    @property
    def is_ready(self) -> bool:
        """Whether the first mean is made."""
        return self.count >= self.period


class Rsi(Struct):
    """Wilder's relative strength index."""

    gain: Wilder
    loss: Wilder
    last: int = 0
    has_last: bool = False

    @classmethod
    def over(cls, period: int) -> Rsi:
        """An index over ``period`` changes."""
        return cls(gain=Wilder(period=period), loss=Wilder(period=period))

    def push(self, half_ticks: int) -> None:
        """Add a closing price."""
        if self.has_last:
            change = half_ticks - self.last
            self.gain.push(max(change, 0))
            self.loss.push(max(-change, 0))
        self.last, self.has_last = half_ticks, True

    @property
    def value(self) -> int | None:
        """0..1,000,000 ppm, where the usual scale says 0..100; 500,000 where nothing moved; None before the first."""
        if not self.gain.is_ready:
            return None
        moved = self.gain.value + self.loss.value
        return divide_rounding(self.gain.value * PPM, moved) if moved else PPM // 2


class Bollinger(Struct):
    """Where the last price lies within its own recent spread."""

    window: Window

    @classmethod
    def over(cls, size: int) -> Bollinger:
        """Bands over ``size`` closing prices."""
        return cls(window=Window(size=size))

    def push(self, half_ticks: int) -> None:
        """Add a closing price."""
        self.window.push(half_ticks)

    def position(self, half_ticks: int) -> int | None:
        """A price's distance from the mean in standard deviations (population), in ppm of one; 2,000,000 is the band.

        0 where prices did not move; None until the window is full.
        """
        if not self.window.is_full:
            return None
        count = self.window.count
        # n² times the variance, exactly; the factor under the root buys six more digits.
        spread = count * self.window.squares - self.window.total * self.window.total
        deviation = isqrt(spread * MICRO * MICRO)
        return divide_rounding((count * half_ticks - self.window.total) * PPM * MICRO, deviation) if deviation else 0


class Atr(Struct):
    """Wilder's average true range of candles, in micro half ticks."""

    average: Wilder
    last_close: int = 0
    has_last: bool = False

    @classmethod
    def over(cls, period: int) -> Atr:
        """A range over ``period`` candles."""
        return cls(average=Wilder(period=period))

    def push(self, high: int, low: int, close: int) -> None:
        """Add a closed candle, in half ticks."""
        reach = high - low
        if self.has_last:
            reach = max(reach, abs(high - self.last_close), abs(low - self.last_close))
        self.average.push(reach)
        self.last_close, self.has_last = close, True

    @property
    def value(self) -> int | None:
        """The average, or None until ``period`` candles have closed."""
        return self.average.value if self.average.is_ready else None
