"""Real recordings through the real parser and core: every trade accounted for, every comparable top equal."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import anyio
import pytest
from tests.unit.market_data.market_messages import BTCUSDT, ETHUSDT, SECOND, only

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.domain.messages import (
    BookHealthChanged,
    CandleClosed,
    FeedStatusChanged,
    Mark,
    Message,
    TradeReceived,
)
from polaris_synapse.market_data.core import MarketDataCore, MarketDataCoreSettings
from polaris_synapse.market_data.feeds.frames import FrameParser
from polaris_synapse.market_data.feeds.replay import ReplayFeed
from polaris_synapse.market_data.recording import RecordedFrame, Recorder, RecordingError, read_recording
from polaris_synapse.market_data.replay_benchmark import run
from polaris_synapse.testing.clock import ManualClock

TRADE_FRAMES = {"BTCUSDT": 9757, "ETHUSDT": 6106}
DEPTH_FRAMES = {"BTCUSDT": 3451, "ETHUSDT": 3434}
TICKER_FRAMES = {"BTCUSDT": 28_040, "ETHUSDT": 24_077}


@pytest.fixture(scope="module")
def recordings(market_data_dir: Path) -> list[Path]:
    """The two recordings."""
    return [market_data_dir / "binance-spot" / f"{name}_20240808.gz" for name in ("btcusdt", "ethusdt")]


@pytest.fixture(scope="module")
def btc_frames(recordings: list[Path]) -> list[RecordedFrame]:
    """The frames of the BTC recording."""
    return list(read_recording(recordings[0]))


def record(folder: Path, frames: Iterable[RecordedFrame]) -> Path:
    """A recording of these frames."""
    recorder = Recorder(folder)
    for frame in frames:
        recorder.write(frame.symbol, frame.time_ns, frame.frame)
    recorder.close()
    return recorder.files("BTCUSDT")[0]


def test_every_recorded_frame_is_accounted_for_and_every_top_is_the_venues(recordings: list[Path]) -> None:
    """No frame is malformed, no trade missed or doubled, no book crossed, all tops compared and equal, twice alike."""
    first = run(recordings, runs=2)
    assert first.repeatable
    assert first.frames == 41_249 + 33_618
    for figures in first.symbols:
        symbol = figures.symbol
        assert (figures.trade_frames, figures.trades_accepted) == (TRADE_FRAMES[symbol], TRADE_FRAMES[symbol])
        assert (figures.trade_duplicates, figures.trade_gaps, figures.malformed) == (0, 0, 0)
        assert (figures.depths + figures.depths_old, figures.tickers) == (DEPTH_FRAMES[symbol], TICKER_FRAMES[symbol])
        assert (figures.gaps, figures.crossed, figures.healthy_at_end) == (0, 0, True)
        # One top a depth message after the snapshot and one with it; the sequence numbers allow all to be compared.
        assert figures.tops >= DEPTH_FRAMES[symbol] - 2
        assert figures.tops_compared == figures.tops
        assert figures.tops_equal == figures.tops_compared


def test_a_wrong_level_in_the_recording_is_noticed_by_the_comparison(
    btc_frames: list[RecordedFrame], tmp_path: Path
) -> None:
    """The comparison of tops can fail: one changed quantity at the top of the book shows."""
    frames = btc_frames[:400]
    changed = [
        RecordedFrame(f.time_ns, f.symbol, f.frame.replace(b'["61837.63000000","3.', b'["61837.63000000","9.'))
        if b"@depth" in f.frame[:40]
        else f
        for f in frames
    ]
    (figures,) = run([record(tmp_path, changed)], [BTCUSDT], runs=1).symbols
    assert 0 < figures.tops_equal < figures.tops_compared


def naive_candles(trades: list[TradeReceived], interval_ns: int) -> dict[int, tuple[int, ...]]:
    """Candles of intervals with trades, the slow way: grouped by floor of the trade time."""
    groups: dict[int, list[TradeReceived]] = {}
    for trade in trades:
        groups.setdefault(trade.trade_time_ns // interval_ns * interval_ns, []).append(trade)
    return {
        start: (
            group[0].price_ticks,
            max(t.price_ticks for t in group),
            min(t.price_ticks for t in group),
            group[-1].price_ticks,
            sum(t.quantity_lots for t in group),
            sum(t.quantity_lots for t in group if t.aggressor == "BUY"),
            sum(t.price_ticks * t.quantity_lots for t in group),
            len(group),
        )
        for start, group in groups.items()
    }


@pytest.mark.parametrize("interval", [1, 60, 300])
def test_candles_of_the_recorded_trades_equal_a_naive_twins(btc_frames: list[RecordedFrame], interval: int) -> None:
    """Every closed candle with trades is the twin's, and none of the twin's closed ones is left out."""
    parser = FrameParser([BTCUSDT], source="replay")
    core = MarketDataCore(MarketDataCoreSettings())
    trades: list[TradeReceived] = []
    candles = []
    for frame in btc_frames:
        if frame.is_snapshot:
            message: Message = parser.snapshot(frame.frame, frame.symbol, frame.time_ns)
        else:
            message = parser.stream_frame(frame.frame, frame.time_ns)
        if isinstance(message, TradeReceived):
            trades.append(message)
        candles += [c.candle for c in only(core.apply(message), CandleClosed) if c.candle.interval_seconds == interval]
    twin = naive_candles(trades, interval * SECOND)
    ours = {
        c.open_time_ns: (
            c.open_ticks,
            c.high_ticks,
            c.low_ticks,
            c.close_ticks,
            c.volume_lots,
            c.taker_buy_lots,
            c.notional_tick_lots,
            c.trades,
        )
        for c in candles
        if c.trades
    }
    last = max(twin)
    assert ours == {start: values for start, values in twin.items() if start != last}
    starts = [c.open_time_ns for c in candles]
    assert starts == list(range(starts[0], starts[-1] + 1, interval * SECOND)), "quiet intervals are carried"


async def test_a_replay_at_full_speed_delivers_every_frame_as_of_now(recordings: list[Path]) -> None:
    """Every frame comes out stamped with the desk's clock, and the books are healthy at once."""
    clock = ManualClock()
    out: list[Message] = []
    core = MarketDataCore()
    feed = ReplayFeed(recordings, [BTCUSDT, ETHUSDT], clock, speed=0)
    await feed.run(lambda message: out.extend(core.apply(message)))
    assert feed.counts.progress == 1.0
    assert feed.counts.frames["TradeReceived"] == sum(TRADE_FRAMES.values())
    assert feed.counts.malformed == 0
    assert {m.time_ns for m in out} == {clock.now_ns()}
    assert [m.healthy for m in only(out, BookHealthChanged)] == [True, True, False, False]
    assert [m.cause for m in only(out, BookHealthChanged)][2:] == ["disconnected"] * 2


async def test_a_paced_replay_keeps_marks_fresh_on_the_desks_clock(
    btc_frames: list[RecordedFrame], tmp_path: Path
) -> None:
    """At twenty times the speed, ten recorded seconds take half a second, and no message is older than it should be."""
    path = record(tmp_path, btc_frames[:1000])
    span_seconds = (btc_frames[999].time_ns - btc_frames[0].time_ns) / SECOND
    clock = SystemClock()
    ages: list[int] = []
    trade_times: list[int] = []

    def sink(message: Message) -> None:
        ages.append(clock.now_ns() - message.time_ns)
        if isinstance(message, TradeReceived):
            trade_times.append(message.trade_time_ns - message.time_ns)

    start = clock.now_ns()
    await ReplayFeed([path], [BTCUSDT], clock, speed=20).run(sink)
    took = (clock.now_ns() - start) / SECOND
    assert span_seconds / 20 * 0.95 <= took <= span_seconds / 20 + 5
    assert max(ages) < SECOND
    # The venue's clock was 1.25 s ahead of the recorder's; twenty times as fast that is 62 ms.
    assert all(0 < ahead < SECOND // 10 for ahead in trade_times)


async def test_a_looping_replay_goes_on_with_new_ids_and_healthy_books(
    btc_frames: list[RecordedFrame], tmp_path: Path
) -> None:
    """The second round's trades are new trades, its books sync again, and each round is announced."""
    path = record(tmp_path, btc_frames[:600])
    trades = sum(b"@trade" in f.frame[:40] for f in btc_frames[:600])
    core = MarketDataCore()
    out: list[Message] = []
    statuses: list[bool] = []
    feed = ReplayFeed([path], [BTCUSDT], SystemClock(), speed=0, loop=True)
    with anyio.CancelScope() as scope:

        def sink(message: Message) -> None:
            out.extend(core.apply(message))
            if isinstance(message, FeedStatusChanged):
                statuses.append(message.connected)
            if core.markets["BTCUSDT"].trades.accepted == 3 * trades:
                scope.cancel()

        await feed.run(sink)
    assert statuses[:4] == [True, False, True, False]
    assert core.markets["BTCUSDT"].trades.duplicates == 0
    assert core.markets["BTCUSDT"].trades.gaps == 0
    assert core.markets["BTCUSDT"].counters.gaps == 0
    assert sum(m.healthy for m in only(out, BookHealthChanged)) >= 3
    assert sum(m.healthy for m in only(out, Mark)) >= 3


async def test_malformed_lines_in_a_recording_are_counted_and_passed_over(
    btc_frames: list[RecordedFrame], tmp_path: Path
) -> None:
    """A damaged frame costs itself: it is counted, said, and the replay goes on."""
    frames = [*btc_frames[:5], RecordedFrame(btc_frames[5].time_ns, "BTCUSDT", b'{"stream":"btcusdt@trade","data":{'),
              *btc_frames[5:50]]  # fmt: skip
    received: list[Message] = []
    feed = ReplayFeed([record(tmp_path, frames)], [BTCUSDT], SystemClock(), speed=0)
    await feed.run(received.append)
    assert feed.counts.malformed == 1
    assert feed.counts.malformed_detail
    assert len(received) == 50 + 2


async def test_a_replay_without_its_instrument_or_frames_is_refused(tmp_path: Path) -> None:
    """A recording of an unknown symbol, an empty one, and an impossible speed are errors that say so."""
    text = json.dumps({"stream": "adausdt@trade", "data": {}})
    path = tmp_path / "ada.gz"
    path.write_bytes(gzip.compress(f"1 {text}\n".encode()))
    with pytest.raises(ValueError, match="ADAUSDT"):
        await ReplayFeed([path], [BTCUSDT], SystemClock()).run(lambda _: None)
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(RecordingError):
        await ReplayFeed([path], [BTCUSDT], SystemClock()).run(lambda _: None)
    with pytest.raises(ValueError, match="speed"):
        ReplayFeed([path], [BTCUSDT], SystemClock(), speed=-1)
    with pytest.raises(ValueError, match="at least one"):
        ReplayFeed([], [BTCUSDT], SystemClock())


def test_the_report_gives_the_time_speed_and_memory_of_a_replay(recordings: list[Path]) -> None:
    """The benchmark's report says how much market time it replayed."""
    report = run(recordings[:1], [BTCUSDT], runs=1)
    assert 345 < report.recorded_seconds < 347
    assert report.frames_per_second > 0
    assert report.memory_mib_max > 0
    values = {figure.name: figure.value for figure in report.figures}
    assert values["BTCUSDT, trades accepted"] == values["BTCUSDT, trade frames"] == 9_757
