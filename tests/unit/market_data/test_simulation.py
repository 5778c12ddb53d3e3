"""The simulated market repeats from its seed, keeps Binance's rules, and looks like a market."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from hashlib import blake2b
from itertools import pairwise

import pytest
from tests.unit.market_data.market_messages import BTCUSDT, ETHUSDT, T0

from polaris_synapse.bus.core import encode_message
from polaris_synapse.domain.messages import BookTickerReceived, DepthReceived, Message, TradeReceived
from polaris_synapse.market_data.core import MarketDataCore
from polaris_synapse.market_data.feeds.simulated import simulated_frames
from polaris_synapse.market_data.recording import RecordedFrame
from polaris_synapse.market_data.simulation.exchange import SimulatedExchange
from polaris_synapse.market_data.simulation.settings import SimulationSettings

SECONDS = 100


def exchange(seed: int) -> SimulatedExchange:
    """Both symbols from T0 on."""
    return SimulatedExchange([BTCUSDT, ETHUSDT], seed=seed, start_ns=T0)


def stream_hash(seed: int, steps: int) -> str:
    """A hash of all messages of some steps."""
    market = exchange(seed)
    digest = blake2b()
    for message in (*market.snapshots(), *(m for _ in range(steps) for m in market.step())):
        digest.update(encode_message(message))
    return digest.hexdigest()


class Observed:
    """What a core and a clock saw of some minutes."""

    def __init__(self, seed: int) -> None:
        market = exchange(seed)
        self.core = MarketDataCore()
        self.messages: list[Message] = [*market.snapshots()]
        for message in self.messages:
            self.core.apply(message)
        self.mids: dict[str, list[float]] = {"BTCUSDT": [], "ETHUSDT": []}
        self.spreads: Counter[int] = Counter()
        for step in range(SECONDS * 40):
            for message in market.step():
                self.messages.append(message)
                self.core.apply(message)
            if step % 40 == 39:
                for symbol, mids in self.mids.items():
                    bid, _, ask, _ = self.core.markets[symbol].book.top()
                    mids.append((bid + ask) / 2)
                    self.spreads[ask - bid] += 1

    def returns(self, symbol: str) -> list[float]:
        """Logarithmic returns over a second."""
        mids = self.mids[symbol]
        return [math.log(after / before) for before, after in pairwise(mids)]


@pytest.fixture(scope="module")
def observed() -> Observed:
    """Some time of a market."""
    return Observed(seed=11)


def test_the_same_seed_gives_the_same_stream() -> None:
    """Message for message; and another seed gives another market."""
    assert stream_hash(4, 60) == stream_hash(4, 60)
    assert stream_hash(4, 60) != stream_hash(5, 60)


def test_its_streams_keep_the_venues_rules(observed: Observed) -> None:
    """No gap, no crossed book, trade ids without holes, and every comparable top equal to the ticker."""
    for symbol in ("BTCUSDT", "ETHUSDT"):
        market = observed.core.markets[symbol]
        assert (market.counters.gaps, market.counters.crossed, market.trades.gaps) == (0, 0, 0)
        assert market.healthy
        assert market.tops.compared > 0.99 * market.tops.tops
        assert market.tops.equal == market.tops.compared
        depths = [m for m in observed.messages if isinstance(m, DepthReceived) and m.symbol == symbol]
        assert all(b.first_update_id == a.last_update_id + 1 for a, b in pairwise(depths))


def test_it_looks_like_a_market(observed: Observed) -> None:
    """Spreads of a few ticks, lively streams, heavy tails, volatility that lasts, and symbols that move together."""
    kinds = Counter((type(m), getattr(m, "symbol", "")) for m in observed.messages)
    assert 5 < kinds[TradeReceived, "BTCUSDT"] / SECONDS < 100
    assert 8 < kinds[DepthReceived, "BTCUSDT"] / SECONDS <= 10
    assert 20 < kinds[BookTickerReceived, "BTCUSDT"] / SECONDS < 500
    total = sum(observed.spreads.values())
    assert sum(count for spread, count in observed.spreads.items() if spread <= 10) > 0.7 * total
    returns = observed.returns("BTCUSDT")
    deviation = statistics.pstdev(returns)
    assert 2e-5 < deviation < 1e-3, "between calm and wild for bitcoin over a second"
    kurtosis = statistics.fmean((r / deviation) ** 4 for r in returns)
    assert kurtosis > 3.3
    assert statistics.correlation(returns, observed.returns("ETHUSDT")) > 0.2
    sizes = sorted(m.quantity_lots for m in observed.messages if isinstance(m, TradeReceived) and m.symbol == "BTCUSDT")
    assert statistics.fmean(sizes) > 2 * sizes[len(sizes) // 2], "a few large trades among many small ones"
    for symbol, start in (("BTCUSDT", 61_000), ("ETHUSDT", 2_650)):
        assert all(0.8 * start < mid / 100 < 1.25 * start for mid in observed.mids[symbol])


def test_volatility_comes_in_clusters(observed: Observed) -> None:
    """Large moves follow large moves: absolute returns are correlated over some seconds, on average over symbols."""
    correlations = []
    for symbol in ("BTCUSDT", "ETHUSDT"):
        sizes = [abs(r) for r in observed.returns(symbol)]
        correlations.append(statistics.correlation(sizes[:-1], sizes[1:]))
    assert statistics.fmean(correlations) > 0.03


def test_both_sides_of_the_book_are_deep(observed: Observed) -> None:
    """There is something to trade with: many levels, and real value near the top."""
    for symbol, instrument in (("BTCUSDT", BTCUSDT), ("ETHUSDT", ETHUSDT)):
        book = observed.core.markets[symbol].book
        for side in (book.bids, book.asks):
            assert len(side.keys) > 50
            value = sum(instrument.notional_units(price, lots) for price, lots in side.top(10))
            assert value > 2_000 * instrument.quote.unit_count


def test_frames_of_a_simulation_are_a_recording() -> None:
    """They come as recorded frames, snapshots first, in the order of their times."""
    frames = list(simulated_frames([BTCUSDT], seed=2, seconds=2))
    assert all(isinstance(frame, RecordedFrame) for frame in frames)
    assert [frame.is_snapshot for frame in frames[:2]] == [True, False]
    assert [frame.time_ns for frame in frames] == sorted(frame.time_ns for frame in frames)


def test_impossible_settings_are_refused() -> None:
    """A market without makers or with depth between steps is none."""
    with pytest.raises(ValueError, match="depth_ms"):
        SimulationSettings(depth_ms=110)
    with pytest.raises(ValueError, match="at least one instrument"):
        SimulatedExchange([], seed=1, start_ns=T0)
