"""Indicators against hand-worked values and against plain reference implementations in fractions and floats."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_synapse.agents.core.fixed import MICRO, PPB, PPM, divide_rounding, root_of_mean, share_ppm, squash
from polaris_synapse.agents.core.flow import NANOSECONDS, BookPressure, FlowWindow, Vwap, spread_ppm
from polaris_synapse.agents.core.indicators import Atr, Bollinger, Ema, Macd, Rsi, Sma, Window
from polaris_synapse.agents.core.volatility import Momentum, Regime, Volatility

prices = st.lists(st.integers(1, 10**12), min_size=1, max_size=120)
believable = st.lists(st.integers(5_000_000, 7_000_000), min_size=30, max_size=120)


@pytest.mark.parametrize(
    "numerator, denominator, expected", [(5, 2, 3), (-5, 2, -3), (4, 3, 1), (-4, 3, -1), (5, 3, 2), (0, 7, 0)]
)
def test_rounding_is_to_nearest_and_symmetric(numerator: int, denominator: int, expected: int) -> None:
    """Halves go away from zero on both sides."""
    assert divide_rounding(numerator, denominator) == expected


@given(st.integers(-(10**15), 10**15))
def test_squash_keeps_sign_and_bounds(value: int) -> None:
    """A squashed value lies within one and on the same side, and mirrors."""
    assert abs(squash(value)) <= PPM
    assert squash(-value) == -squash(value)
    assert squash(value) * value >= 0


@given(prices, st.integers(1, 30))
def test_window_totals_are_those_of_its_values(values: list[int], size: int) -> None:
    """Running sums equal the sums of the last values, and survive a snapshot."""
    window = Window(size=size)
    for value in values:
        window.push(value)
    kept = values[-size:]
    assert (window.total, window.squares, window.first) == (sum(kept), sum(v * v for v in kept), kept[0])
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(window), type=Window)
    assert (again, again.total, again.squares) == (window, window.total, window.squares)


@given(prices, st.integers(1, 30))
def test_sma_is_the_mean(values: list[int], size: int) -> None:
    """Within half a micro of the exact mean."""
    average = Sma.over(size)
    assert Sma.over(size).value is None
    for number in values:
        average.push(number)
    exact = Fraction(sum(values[-size:]), len(values[-size:]))
    assert average.value is not None
    assert abs(Fraction(average.value, MICRO) - exact) <= Fraction(1, 2 * MICRO)


@given(prices, st.integers(1, 30))
def test_ema_follows_its_definition(values: list[int], period: int) -> None:
    """Within the documented error of the exact recursion with weight 2 / (period + 1)."""
    average = Ema(period=period)
    exact = Fraction(values[0])
    for index, value in enumerate(values):
        average.push(value * MICRO)
        exact = Fraction(value) if index == 0 else exact + Fraction(2, period + 1) * (value - exact)
        # Fractions of many steps grow without bound; a nanotick of noise is far below the tolerance.
        exact = Fraction(round(exact * 10**12), 10**12)
    assert abs(Fraction(average.value, MICRO) - exact) <= Fraction(period + 1, 4 * MICRO) + Fraction(1, 10**6)


def test_ema_worked_by_hand() -> None:
    """Period 3 has weight one half: 2, then (2 + 4) / 2 = 3, then (3 + 8) / 2 = 5.5."""
    average = Ema(period=3)
    seen = []
    for value in (2, 4, 8):
        average.push(value * MICRO)
        seen.append(average.value)
    assert seen == [2_000_000, 3_000_000, 5_500_000]


def test_rsi_worked_by_hand() -> None:
    """Over two changes: gains 2 and 0, losses 0 and 1 give 2/3; a further gain of 4 gives (1+4)/2 against 0.5/2."""
    index = Rsi.over(2)
    seen = []
    for value in (10, 12, 11, 15):
        index.push(value)
        seen.append(index.value)
    assert seen == [None, None, 666_667, divide_rounding(2_500_000 * PPM, 2_750_000)]


@given(believable)
def test_rsi_agrees_with_floats(values: list[int]) -> None:
    """Within ten parts per million of Wilder's formula in floating point."""
    index = Rsi.over(14)
    changes = [after - before for before, after in pairwise(values)]
    for value in values:
        index.push(value)
    gain = sum(max(c, 0) for c in changes[:14]) / 14
    loss = sum(max(-c, 0) for c in changes[:14]) / 14
    for change in changes[14:]:
        gain, loss = (gain * 13 + max(change, 0)) / 14, (loss * 13 + max(-change, 0)) / 14
    expected = gain / (gain + loss) if gain + loss else 0.5
    assert index.value is not None
    assert abs(index.value / PPM - expected) < 1e-5


def test_rsi_of_a_flat_market_is_in_the_middle() -> None:
    """Where nothing moves neither side has strength."""
    index = Rsi.over(2)
    for _ in range(5):
        index.push(7)
    assert index.value == PPM // 2


@given(believable)
def test_macd_agrees_with_floats(values: list[int]) -> None:
    """Line and histogram within a hundred-thousandth of a half tick."""
    macd = Macd.standard()
    fast = slow = float(values[0])
    signal = 0.0
    for index, value in enumerate(values):
        macd.push(value)
        if index:
            fast += (value - fast) * 2 / 13
            slow += (value - slow) * 2 / 27
            signal += (fast - slow - signal) * 2 / 10
    assert abs(macd.line / MICRO - (fast - slow)) < 3e-5
    assert abs(macd.histogram / MICRO - (fast - slow - signal)) < 5e-5


def test_bollinger_worked_by_hand() -> None:
    """2, 4, 4, 4, 5, 5, 7, 9 have mean 5 and standard deviation 2, so 9 lies two deviations above."""
    bands = Bollinger.over(8)
    for value in (2, 4, 4, 4, 5, 5, 7):
        bands.push(value)
    assert bands.position(7) is None
    bands.push(9)
    assert (bands.position(9), bands.position(4)) == (2_000_000, -500_000)


@given(believable)
def test_bollinger_agrees_with_floats(values: list[int]) -> None:
    """Within ten parts per million of a deviation."""
    bands = Bollinger.over(20)
    for value in values:
        bands.push(value)
    kept = values[-20:]
    mean = sum(kept) / 20
    deviation = math.sqrt(sum((v - mean) ** 2 for v in kept) / 20)
    expected = (values[-1] - mean) / deviation if deviation else 0.0
    position = bands.position(values[-1])
    assert position is not None
    assert abs(position / PPM - expected) < 1e-5


def test_atr_worked_by_hand() -> None:
    """Ranges 4, then max(2, |13-9|, |11-9|) = 4, mean 4; then max(1, 8, 7) = 8 makes (4 + 8) / 2 = 6."""
    ranges = Atr.over(2)
    seen = []
    for high, low, close in ((12, 8, 9), (13, 11, 12), (20, 19, 19)):
        ranges.push(high, low, close)
        seen.append(ranges.value)
    assert seen == [None, 4 * MICRO, 6 * MICRO]


@given(believable)
def test_volatility_agrees_with_floats(values: list[int]) -> None:
    """Per minute within two parts per billion; a day's is that times the root of 1440, within two parts per million."""
    volatility = Volatility.standard(60)
    for value in values:
        volatility.push(value)
    returns = [(after - before) / before for before, after in pairwise(values)][-15:]
    expected = math.sqrt(sum(r * r for r in returns) / 15)
    assert volatility.per_candle_ppb is not None
    assert volatility.per_day_ppm is not None
    assert abs(volatility.per_candle_ppb - expected * PPB) <= 2
    assert abs(volatility.per_day_ppm - expected * math.sqrt(1440) * PPM) <= 2


def test_regime_compares_a_market_with_itself() -> None:
    """The same moves as ever are normal, tiny ones calm, large ones turbulent, and short history is no history."""
    base = Volatility.standard(60)
    price = 1_000_000
    seen = []
    for minutes, move in ((40, 1_000), (200, 1_000), (16, 10), (16, 20_000)):
        for minute in range(minutes):
            base.push(price + (minute % 2) * move)
        seen.append((base.ratio_ppm is None, base.regime))
    assert seen == [
        (True, Regime.NORMAL), (False, Regime.NORMAL), (False, Regime.CALM), (False, Regime.TURBULENT),
    ]  # fmt: skip


def test_momentum_is_the_return_over_its_candles() -> None:
    """Over two candles from 100 by way of 50 to 110 it is ten percent."""
    momentum = Momentum.over(2)
    for value in (100, 50):
        momentum.push(value)
    assert momentum.value_ppb(50) is None
    momentum.push(110)
    assert momentum.value_ppb(110) == PPB // 10


@given(st.lists(st.tuples(st.integers(0, 3), *[st.integers(0, 10**15)] * 3), max_size=200))
def test_flow_counts_only_its_own_time(seconds: list[tuple[int, int, int, int]]) -> None:
    """Totals are those of the entries within the window, exactly, and the window stays bounded."""
    window = FlowWindow(seconds=5)
    now = 0
    pushed: list[tuple[int, int, int, int]] = []
    for step, bought, sold, trades in seconds:
        now += step * NANOSECONDS
        window.push(now, bought, sold, trades)
        pushed.append((now, bought, sold, trades))
        kept = [entry for entry in pushed if entry[0] > now - 5 * NANOSECONDS][-10:]
        assert (window.bought, window.sold, window.trades) == tuple(sum(e[i] for e in kept) for i in (1, 2, 3))
        assert len(window.entries) <= 10
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(window), type=FlowWindow)
    assert (again.bought, again.sold, again.trades) == (window.bought, window.sold, window.trades)


def test_imbalances_worked_by_hand() -> None:
    """Three bought for one sold lean by a half; an empty market leans nowhere; the book's lean is averaged."""
    window = FlowWindow(seconds=60)
    assert window.imbalance_ppm == 0
    window.push(NANOSECONDS, 3, 1, 4)
    assert window.imbalance_ppm == 500_000
    book = BookPressure.over(2)
    assert BookPressure.over(2).imbalance_ppm is None
    for bids, asks in ((1, 0), (3, 1), (1, 3)):
        book.push(bids, asks)
    assert book.imbalance_ppm == 0
    assert share_ppm(0, 0) == 0


def test_vwap_worked_by_hand() -> None:
    """One lot at 100 and three at 104 average 103; 206 is twice that; the oldest candle falls out."""
    vwap = Vwap(size=2)
    assert vwap.distance_ppm(100) is None
    vwap.push(100 * MICRO, 1)
    vwap.push(104 * MICRO, 3)
    assert vwap.value == 103 * MICRO
    assert vwap.distance_ppm(206) == PPM
    vwap.push(96 * MICRO, 1)
    assert vwap.value == 102 * MICRO
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(vwap), type=Vwap)
    assert again.value == vwap.value


def test_spread_worked_by_hand() -> None:
    """Two ticks at a mid of a thousand are two thousand parts per million."""
    assert spread_ppm(999, 1_001) == 2_000
    assert root_of_mean(0, 0) == 0
