"""Volatility, its regime and momentum, from the closing prices of candles."""

from __future__ import annotations

from enum import StrEnum
from math import isqrt
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.core.fixed import PPB, PPM, divide_rounding, root_of_mean
from polaris_synapse.agents.core.indicators import Window

RECENT_RETURNS: Final = 15
HISTORY_RETURNS: Final = 240
#: Fewer candles than this are no history to compare with.
HISTORY_RETURNS_MIN: Final = 60
SECONDS_A_DAY: Final = 86_400

#: Recent volatility relative to history, in ppm, below which a market is calm and above which it is turbulent.
CALM_BELOW_PPM: Final = 700_000
TURBULENT_ABOVE_PPM: Final = 1_500_000


class Regime(StrEnum):
    """How much a market moves compared with its own longer history."""

    CALM = "calm"
    NORMAL = "normal"
    TURBULENT = "turbulent"


class Volatility(Struct):
    """Realised volatility: the root of the mean squared return of the last candles, without a mean taken off."""

    recent: Window
    history: Window
    candle_seconds: int
    last: int = 0

    @classmethod
    def standard(cls, candle_seconds: int) -> Volatility:
        """Over 15 candles, against 240."""
        return cls(
            recent=Window(size=RECENT_RETURNS),
            history=Window(size=HISTORY_RETURNS),
            candle_seconds=candle_seconds,
        )

    def push(self, half_ticks: int) -> None:
        """Add a closing price."""
        if self.last:
            change = divide_rounding((half_ticks - self.last) * PPB, self.last)
            self.recent.push(change)
            self.history.push(change)
        self.last = half_ticks

    @property
    def per_candle_ppb(self) -> int | None:
        """Of the last 15 returns, in parts per billion a candle; None until there are 15."""
        return root_of_mean(self.recent.squares, self.recent.count) if self.recent.is_full else None

    @property
    def per_day_ppm(self) -> int | None:
        """The same scaled to a day by the square root of time, in parts per million; rounded down."""
        if not self.recent.is_full:
            return None
        return isqrt(self.recent.squares * SECONDS_A_DAY // (self.recent.count * self.candle_seconds)) * PPM // PPB

    @property
    def ratio_ppm(self) -> int | None:
        """Recent over historic volatility; None where history is too short or the market never moved."""
        usual = root_of_mean(self.history.squares, self.history.count)
        recent = self.per_candle_ppb
        if recent is None or not usual or self.history.count < HISTORY_RETURNS_MIN:
            return None
        return divide_rounding(recent * PPM, usual)

    @property
    def regime(self) -> Regime:
        """NORMAL as long as there is nothing to compare with."""
        ratio = self.ratio_ppm
        if ratio is None:
            return Regime.NORMAL
        if ratio < CALM_BELOW_PPM:
            return Regime.CALM
        return Regime.TURBULENT if ratio > TURBULENT_ABOVE_PPM else Regime.NORMAL


class Momentum(Struct):
    """The return over the last ``closes.size - 1`` closed candles."""

    closes: Window

    @classmethod
    def over(cls, candles: int) -> Momentum:
        """The return over ``candles`` candles."""
        return cls(closes=Window(size=candles + 1))

    def push(self, half_ticks: int) -> None:
        """Add a closing price."""
        self.closes.push(half_ticks)

    def value_ppb(self, last: int) -> int | None:
        """From the window's first close to ``last``, the newest close, in parts per billion; None until it is full."""
        if not self.closes.is_full:
            return None
        return divide_rounding((last - self.closes.first) * PPB, self.closes.first)
