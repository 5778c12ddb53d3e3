"""The fact agent's reading of a market and the four signals it votes with.

Every signal lies within -1,000,000..1,000,000 ppm; positive speaks for buying. None of them is a claim of an edge: how
often each was right is counted in ``scoring`` and shown.
"""

from __future__ import annotations

from enum import StrEnum
from math import isqrt
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.core.fixed import MICRO, PPM, clamp, divide_rounding, squash
from polaris_synapse.agents.core.flow import NANOSECONDS, spread_ppm
from polaris_synapse.agents.core.market import CANDLES_ENOUGH, CANDLES_MIN, MOMENTUM_CANDLES, Market
from polaris_synapse.agents.core.point_in_time import PointInTime
from polaris_synapse.agents.core.volatility import Regime

#: A market whose last summary is older than this is not looked at.
SUMMARY_AGE_SECONDS_MAX: Final = 10
#: Fewer trades than this in a minute make the flow speak more softly, in proportion.
FLOW_TRADES_ENOUGH: Final = 20


class Signal(StrEnum):
    """What is voted with."""

    TREND = "trend"
    REVERSION = "mean reversion"
    FLOW = "order flow"
    BOOK = "order book"


#: ``{regime: {signal: weight}}`` in ppm, each row summing to one. A calm market tends to come back to its mean, a
#: turbulent one to go on; the resting book is worth least when it is pulled fastest.
WEIGHTS: Final[dict[Regime, dict[Signal, int]]] = {
    Regime.CALM: {
        Signal.TREND: 300_000,
        Signal.REVERSION: 350_000,
        Signal.FLOW: 200_000,
        Signal.BOOK: 150_000,
    },
    Regime.NORMAL: {
        Signal.TREND: 400_000,
        Signal.REVERSION: 250_000,
        Signal.FLOW: 200_000,
        Signal.BOOK: 150_000,
    },
    Regime.TURBULENT: {
        Signal.TREND: 500_000,
        Signal.REVERSION: 100_000,
        Signal.FLOW: 300_000,
        Signal.BOOK: 100_000,
    },
}


class Reading(Struct, frozen=True, kw_only=True):
    """Everything measured for one decision. Prices in half ticks, rates in ppm, returns over candles in ppb."""

    source: str
    time_ns: int
    candle_seconds: int
    candle_time_ns: int
    candles: int
    bid_ticks: int
    ask_ticks: int
    half_ticks: int
    close_half_ticks: int
    spread_ppm: int
    trend_gap_ppm: int
    trend_gap_in_ranges_ppm: int
    histogram_in_ranges_ppm: int
    momentum_ppb: int
    momentum_in_deviations_ppm: int
    rsi_ppm: int
    bollinger_ppm: int
    vwap_distance_ppm: int | None
    volatility_day_ppm: int
    volatility_ratio_ppm: int | None
    regime: Regime
    flow_minute_ppm: int
    flow_long_ppm: int
    flow_trades: int
    book_ppm: int

    @property
    def sufficiency_ppm(self) -> int:
        """How much history there is: from 700,000 at the least that is needed to 1,000,000 where more adds nothing."""
        beyond = min(self.candles, CANDLES_ENOUGH) - CANDLES_MIN
        return 700_000 + divide_rounding(300_000 * beyond, CANDLES_ENOUGH - CANDLES_MIN)


class NoReading(Struct, frozen=True):
    """Why a market cannot be measured, in one sentence. ``candles`` counts those closed, where they are too few."""

    detail: str
    candles: int | None = None


def read_market(market: Market, gate: PointInTime) -> Reading | NoReading:
    """Measure a market at the gate's clock, or say why it cannot be measured.

    Raises LookAheadError where the market holds anything from after the clock.
    """
    summary = market.summary
    if summary is None:
        return NoReading(f"Nothing has been heard of {market.symbol} yet.")
    gate.admit(summary.time_ns, "the last market summary")
    market.close_bar(gate.clock_ns)
    if not market.healthy:
        return NoReading(f"The market data of {market.symbol} is not healthy.")
    if gate.clock_ns - summary.time_ns > SUMMARY_AGE_SECONDS_MAX * NANOSECONDS:
        return NoReading(f"The market data of {market.symbol} is stale.")
    for window in (market.flow_short, market.flow_long):
        window.forget_until(gate.clock_ns - window.seconds * NANOSECONDS)
    return _measure(market) or _too_little_history(market)


def _too_little_history(market: Market) -> NoReading:
    because = f" since it began anew ({market.restarted})" if market.restarted else ""
    return NoReading(f"There is too little history of {market.symbol}{because}.", market.indicators.candles)


def _measure(market: Market) -> Reading | None:
    summary, indicators = market.summary, market.indicators
    close = market.closed_half_ticks
    rsi, atr = indicators.rsi.value, indicators.atr.value
    position, momentum = indicators.bollinger.position(close), indicators.momentum.value_ppb(close)
    per_candle, per_day = indicators.volatility.per_candle_ppb, indicators.volatility.per_day_ppm
    book = market.pressure.imbalance_ppm
    if summary is None or rsi is None or atr is None or position is None or momentum is None:
        return None
    if per_candle is None or per_day is None or book is None:
        return None
    half_ticks = summary.bid_ticks + summary.ask_ticks
    # A momentum over n candles has a standard deviation of sqrt(n) times that of one.
    usual_move = isqrt(per_candle * per_candle * MOMENTUM_CANDLES)
    return Reading(
        source=summary.source,
        time_ns=summary.time_ns,
        candle_seconds=market.candle_seconds,
        candle_time_ns=market.closed_time_ns,
        candles=indicators.candles,
        bid_ticks=summary.bid_ticks,
        ask_ticks=summary.ask_ticks,
        half_ticks=half_ticks,
        close_half_ticks=close,
        spread_ppm=spread_ppm(summary.bid_ticks, summary.ask_ticks),
        trend_gap_ppm=divide_rounding(indicators.macd.line * PPM, close * MICRO),
        trend_gap_in_ranges_ppm=divide_rounding(indicators.macd.line * PPM, atr) if atr else 0,
        histogram_in_ranges_ppm=divide_rounding(indicators.macd.histogram * PPM, atr) if atr else 0,
        momentum_ppb=momentum,
        momentum_in_deviations_ppm=divide_rounding(momentum * PPM, usual_move) if usual_move else 0,
        rsi_ppm=rsi,
        bollinger_ppm=position,
        vwap_distance_ppm=indicators.vwap.distance_ppm(half_ticks),
        volatility_day_ppm=per_day,
        volatility_ratio_ppm=indicators.volatility.ratio_ppm,
        regime=indicators.volatility.regime,
        flow_minute_ppm=market.flow_short.imbalance_ppm,
        flow_long_ppm=market.flow_long.imbalance_ppm,
        flow_trades=market.flow_short.trades,
        book_ppm=book,
    )


def signals_of(reading: Reading) -> dict[Signal, int]:
    """The four votes, in ppm."""
    trend = _trend(reading)
    # A stretched price within a strong trend is the trend, so the stronger one is, the less its opposite says.
    reversion = divide_rounding(_reversion(reading) * (PPM - abs(trend)), PPM)
    return {
        Signal.TREND: trend,
        Signal.REVERSION: reversion,
        Signal.FLOW: _flow(reading),
        Signal.BOOK: clamp(reading.book_ppm, PPM),
    }


def _trend(reading: Reading) -> int:
    """Half the gap between the averages, measured in usual candle ranges; then momentum; then its acceleration."""
    parts = (
        5 * squash(reading.trend_gap_in_ranges_ppm)
        + 3 * squash(reading.momentum_in_deviations_ppm)
        + 2 * squash(reading.histogram_in_ranges_ppm)
    )
    return clamp(divide_rounding(parts, 10), PPM)


def _reversion(reading: Reading) -> int:
    """Against the last move, and only where the price is stretched.

    Silent within one standard deviation, between an RSI of 30 and 70, and near the average price paid; otherwise it
    would oppose every trend there is.
    """
    stretched = _beyond(reading.bollinger_ppm, PPM, 1_500_000)
    strength = _beyond(reading.rsi_ppm - PPM // 2, 200_000, 300_000)
    usual_hour = isqrt(reading.volatility_day_ppm * reading.volatility_day_ppm // 24)
    distance = reading.vwap_distance_ppm or 0
    dear = _beyond(distance, 2 * usual_hour, 2 * usual_hour) if usual_hour else 0
    return clamp(-divide_rounding(5 * stretched + 3 * strength + 2 * dear, 10), PPM)


def _beyond(value: int, dead_zone: int, full_scale: int) -> int:
    """How far a value lies outside its dead zone, in ppm of ``full_scale``, at most one."""
    outside = max(abs(value) - dead_zone, 0)
    reach = min(divide_rounding(outside * PPM, full_scale), PPM)
    return reach if value >= 0 else -reach


def _flow(reading: Reading) -> int:
    """The last minute counts more than the last five; few trades count little."""
    lean = divide_rounding(3 * reading.flow_minute_ppm + 2 * reading.flow_long_ppm, 5)
    trades = min(reading.flow_trades, FLOW_TRADES_ENOUGH)
    return clamp(divide_rounding(lean * trades, FLOW_TRADES_ENOUGH), PPM)
