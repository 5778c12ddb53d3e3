"""Candles from summaries: closed ones only, holes, late and unusable summaries, changing feeds."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.agents.markets import SECOND, START, summary

from polaris_synapse.agents.core.fixed import LOTS_MAX, MICRO, PRICE_TICKS_MAX
from polaris_synapse.agents.core.market import Market, is_usable
from polaris_synapse.agents.core.point_in_time import LookAheadError, PointInTime
from polaris_synapse.agents.core.signals import NoReading, read_market

MINUTE = 60 * SECOND


def test_a_candle_is_made_of_its_minute() -> None:
    """Open, high, low, close and the average price paid are those of the mids and trades within the minute."""
    market = Market.of("BTCUSDT")
    for second, mid in ((1, 100), (20, 110), (40, 95), (59, 105)):
        market.fold(summary(START + second * SECOND, mid, bought=second, sold=0))
    bar = market.bar
    assert bar is not None
    assert (bar.open, bar.high, bar.low, bar.close) == (200, 220, 190, 210)
    exact = 2 * (100 * 1 + 110 * 20 + 95 * 40 + 105 * 59) / 120
    assert bar.lots == 120
    assert abs(bar.vwap_micro / MICRO - exact) < 1e-5
    assert market.indicators.candles == 0


def test_a_candle_reaches_the_indicators_only_when_its_minute_is_over() -> None:
    """Nothing inside a minute changes an indicator; the next minute's first summary, or the clock, closes it."""
    market = Market.of("BTCUSDT")
    market.fold(summary(START + SECOND, 100))
    market.close_bar(START + MINUTE - 1)
    assert market.indicators.candles == 0
    market.close_bar(START + MINUTE)
    assert (market.indicators.candles, market.closed_half_ticks) == (1, 200)
    market.fold(summary(START + MINUTE + SECOND, 300))
    market.fold(summary(START + 2 * MINUTE, 400))
    assert (market.indicators.candles, market.closed_half_ticks) == (2, 600)


def test_a_late_summary_does_not_change_a_closed_candle() -> None:
    """A summary of a minute that has closed is news about the flow and nothing else."""
    market = Market.of("BTCUSDT")
    market.fold(summary(START + SECOND, 100))
    market.close_bar(START + MINUTE)
    market.fold(summary(START + 30 * SECOND, 999, bought=7, sold=0))
    assert market.bar is None
    assert (market.indicators.candles, market.closed_half_ticks) == (1, 200)
    assert market.flow_short.bought == 507


def test_a_short_hole_is_filled_flat_and_a_long_one_starts_anew() -> None:
    """Up to three missing minutes become flat candles; after more the indicators forget what was before."""
    market = Market.of("BTCUSDT")
    market.fold(summary(START + SECOND, 100))
    market.fold(summary(START + 4 * MINUTE, 120))
    assert market.indicators.candles == 4
    assert market.indicators.momentum.closes.values == [200, 200, 200, 200]
    market.fold(summary(START + 9 * MINUTE, 130))
    assert (market.indicators.candles, market.restarted) == (0, "4 candles without data")


def test_another_feed_is_another_market() -> None:
    """When the source changes, prices of the old one say nothing about the new one's history."""
    market = Market.of("BTCUSDT")
    for minute in range(3):
        market.fold(summary(START + minute * MINUTE + SECOND, 100))
    assert market.indicators.candles == 2
    market.fold(summary(START + 3 * MINUTE, 5_000, source="replay"))
    assert market.indicators.candles == 0
    assert market.restarted == "the feed changed from simulated to replay"


@pytest.mark.parametrize(
    "changes",
    [
        {"healthy": False},
        {"bid_ticks": 0},
        {"ask_ticks": 0},
        {"bid_ticks": 200},
        {"bid_ticks": 101},
        {"ask_ticks": PRICE_TICKS_MAX + 1},
        {"bought_lots": LOTS_MAX + 1},
        {"sold_lots": -1},
    ],
)
def test_unusable_summaries_change_no_indicator(changes: dict[str, int]) -> None:
    """Unhealthy, one-sided, crossed, locked or absurd data is only noted as such."""
    market = Market.of("BTCUSDT")
    bad = replace(summary(START + SECOND, 100), **changes)
    assert not is_usable(bad)
    market.fold(bad)
    assert market == replace(Market.of("BTCUSDT"), summary=bad)


def test_the_gate_lets_nothing_through_from_the_future() -> None:
    """A market that holds a summary from after the decision's clock raises, whatever else it holds."""
    market = Market.of("BTCUSDT")
    market.fold(summary(START + SECOND, 100))
    with pytest.raises(LookAheadError, match="the last market summary is from 1 ns after"):
        read_market(market, PointInTime(START + SECOND - 1))
    assert isinstance(read_market(market, PointInTime(START + SECOND)), NoReading)


def test_stale_and_unhealthy_markets_are_not_read() -> None:
    """Old data and data that is called unhealthy give a sentence instead of numbers."""
    market = Market.of("BTCUSDT")
    nothing = read_market(market, PointInTime(START))
    assert nothing == NoReading("Nothing has been heard of BTCUSDT yet.")
    market.fold(summary(START, 100))
    late = read_market(market, PointInTime(START + 11 * SECOND))
    assert late == NoReading("The market data of BTCUSDT is stale.")
    market.fold(summary(START + 11 * SECOND, 100, healthy=False))
    sick = read_market(market, PointInTime(START + 11 * SECOND))
    assert sick == NoReading("The market data of BTCUSDT is not healthy.")
