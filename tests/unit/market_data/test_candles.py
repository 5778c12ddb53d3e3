"""Candles are made from trades in integers, aligned to UTC, and never change once closed."""

from __future__ import annotations

from tests.unit.market_data.market_messages import SECOND, T0, depth, fold, only, snapshot, status, tick, trade

from polaris_synapse.domain.messages import Candle, CandleClosed
from polaris_synapse.domain.orders import Side
from polaris_synapse.market_data.core import INTERVALS_SECONDS, MarketDataCore, MarketDataCoreSettings


def closed(messages: list[object], interval: int) -> list[Candle]:
    """The candles of one interval."""
    return [m.candle for m in messages if isinstance(m, CandleClosed) and m.candle.interval_seconds == interval]


def healthy_core(**limits: int) -> MarketDataCore:
    """A core whose BTCUSDT book is healthy for the next minutes."""
    core = MarketDataCore(MarketDataCoreSettings(**{"stale_seconds": 1_000_000, **limits}))
    fold(core, snapshot(100))
    return core


def test_a_trade_beyond_the_end_closes_a_candle() -> None:
    """Open, high, low, close, volumes, notional and count are the trades' own, and the next trade starts the next."""
    core = healthy_core()
    out = fold(
        core,
        trade(1, 100, 2, at=0.1),
        trade(2, 103, 1, at=0.2, side=Side.SELL),
        trade(3, 99, 4, at=0.9),
        trade(4, 101, 5, at=1.0),
    )
    (candle,) = closed([*out], 1)
    assert candle == Candle(
        symbol="BTCUSDT",
        interval_seconds=1,
        open_time_ns=T0,
        open_ticks=100,
        high_ticks=103,
        low_ticks=99,
        close_ticks=99,
        volume_lots=7,
        taker_buy_lots=6,
        notional_tick_lots=100 * 2 + 103 + 99 * 4,
        trades=3,
    )


def test_time_alone_closes_a_candle_after_its_grace() -> None:
    """A tick closes what ended, with a little patience for trades still on their way."""
    core = healthy_core(candle_grace_ms=250)
    fold(core, trade(1, at=0.5))
    assert closed([*fold(core, tick(1.2))], 1) == []
    assert len(closed([*fold(core, tick(1.25))], 1)) == 1


def test_the_venues_clock_decides_not_the_desks() -> None:
    """Where the venue's clock runs behind the desk's, its candles end later, and no trade comes late for it."""
    core = healthy_core()
    behind = depth(101, 101, bids=[(100, 6)], at=0.6)
    fold(core, type(behind)(**{**{f: getattr(behind, f) for f in behind.__struct_fields__}, "event_time_ns": T0}))
    fold(core, trade(1, at=0.1))
    assert closed([*fold(core, tick(1.5))], 1) == []
    assert len(closed([*fold(core, tick(1.9))], 1)) == 1


def test_quiet_intervals_repeat_the_last_price_while_the_book_is_healthy() -> None:
    """Like Binance: an interval without trades has the last close as all its prices, and no volume."""
    core = healthy_core()
    fold(core, trade(1, 105, at=0.5))
    quiet = closed([*fold(core, tick(4.5))], 1)[1:]
    assert [(c.open_time_ns, c.open_ticks, c.close_ticks, c.volume_lots, c.trades) for c in quiet] == [
        (T0 + second * SECOND, 105, 105, 0, 0) for second in (1, 2, 3)
    ]


def test_no_candle_is_made_up_while_the_feed_is_down() -> None:
    """Silence of a broken feed says nothing about the market."""
    core = healthy_core()
    fold(core, trade(1, 105, at=0.5), status(False, at=0.6))
    out = fold(core, tick(10), status(True, at=10), snapshot(200, at=10), trade(2, 110, at=10.5), tick(12))
    assert [(c.open_time_ns - T0) // SECOND for c in closed([*out], 1)] == [0, 10]


def test_a_very_long_quiet_spell_is_left_out() -> None:
    """A day of silence does not become 86,400 empty candles in one step."""
    core = healthy_core(carried_candles_max=60)
    fold(core, trade(1, 105, at=0.5))
    out = fold(core, tick(86_400))
    assert len(closed([*out], 1)) == 1
    assert len(closed([*out], 3600)) == 23


def test_a_late_trade_counts_in_the_volume_and_not_in_the_prices() -> None:
    """A closed candle does not change, so what comes late adds to the open one, and volumes still add up."""
    core = healthy_core()
    fold(core, trade(1, 100, 1, at=0.5), trade(2, 101, 1, at=5.5))
    fold(core, trade(3, 500, 7, at=0.9))
    (candle, *_) = closed([*fold(core, tick(6.5))], 1)
    assert (candle.high_ticks, candle.volume_lots) == (101, 8)
    assert core.markets["BTCUSDT"].candles.late_trades == 1


def test_every_interval_is_aligned_to_utc() -> None:
    """Whatever the moment of the first trade, a candle starts at a whole multiple of its interval since midnight."""
    core = healthy_core(carried_candles_max=1)
    start = 13 * 3600 + 37 * 60 + 11.5
    out = fold(core, trade(1, at=start), trade(2, at=start + 2 * 86_400))
    starts = {c.candle.interval_seconds: c.candle.open_time_ns for c in only(out, CandleClosed)[::-1]}
    assert set(starts) == set(INTERVALS_SECONDS)
    assert all(start_ns % (interval * SECOND) == 0 for interval, start_ns in starts.items())
