"""The live feed against a local Binance: in step whatever happens to its connection, its frames and its REST calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from tests.unit.market_data.market_messages import BTCUSDT, ETHUSDT, only

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import BookHealthChanged, FeedStatusChanged, MarketTrade, Message, ResyncNeeded
from polaris_synapse.market_data.core import MarketDataCore
from polaris_synapse.market_data.core.market import SymbolMarket
from polaris_synapse.market_data.feeds.binance import BinanceFeed
from polaris_synapse.market_data.feeds.binance_settings import BinanceFeedSettings
from polaris_synapse.market_data.feeds.frames import FrameParser
from polaris_synapse.market_data.feeds.simulated import simulated_frames
from polaris_synapse.market_data.recording import RecordedFrame, Recorder, read_recording
from polaris_synapse.testing.binance_server import BinanceServer, running_binance_server

pytestmark = pytest.mark.anyio

WAIT_SECONDS_MAX = 20


@pytest.fixture(scope="module", params=["recorded", "simulated"])
def frames(request: pytest.FixtureRequest) -> list[RecordedFrame]:
    """Frames of the BTC recording where it is there, and of a simulated market everywhere."""
    if request.param == "simulated":
        return list(simulated_frames([BTCUSDT], seed=5, seconds=60))
    folder: Path = request.getfixturevalue("market_data_dir")
    return list(read_recording(folder / "binance-spot" / "btcusdt_20240808.gz"))[:6000]


class Desk:
    """A feed, the core behind it, and all that came out, with the core's wishes carried to the feed."""

    def __init__(self, feed: BinanceFeed, server: BinanceServer) -> None:
        self.feed = feed
        self.server = server
        self.core = MarketDataCore()
        self.out: list[Message] = []
        self.statuses: list[FeedStatusChanged] = []
        self._resyncs: list[str] = []

    def sink(self, message: Message) -> None:
        """Take a message of the feed."""
        if isinstance(message, FeedStatusChanged):
            self.statuses.append(message)
        out = self.core.apply(message)
        self.out.extend(out)
        self._resyncs.extend(m.symbol for m in only(out, ResyncNeeded))

    async def carry_resyncs(self) -> None:
        """What the service does: hand each ResyncNeeded to the feed."""
        while True:
            while self._resyncs:
                await self.feed.resync(self._resyncs.pop())
            await anyio.sleep(0.005)

    def market(self, symbol: str = "BTCUSDT") -> SymbolMarket:
        """The core's market."""
        return self.core.markets[symbol]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, within a bound."""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while not condition():  # noqa: ASYNC110  # the condition is a state of many parts, no event
                await anyio.sleep(0.005)

    async def until_in_step(self, instrument: Instrument = BTCUSDT) -> None:
        """Wait until the book is healthy and as new as the server's, and check that its levels are the server's."""
        symbol = instrument.symbol

        def in_step() -> bool:
            market = self.core.markets.get(symbol)
            return (
                market is not None
                and market.healthy
                and market.book.last_update_id == self.server.book(symbol)["lastUpdateId"]
            )

        await self.until(in_step)
        book, truth = self.market(symbol).book, self.server.book(symbol)
        for side, levels in ((book.bids, truth["bids"]), (book.asks, truth["asks"])):
            ours = [instrument.format_price(price) for price, _ in side.top(200)]
            theirs = [instrument.format_price(instrument.parse_price(price)) for price, _ in levels[:200]]
            assert ours == theirs

    def trade_ids(self) -> list[int]:
        """Ids of the trades that came out, in their order."""
        return [m.trade_id for m in only(self.out, MarketTrade)]


@asynccontextmanager
async def desk_on(
    frames: Iterable[RecordedFrame],
    *,
    instruments: tuple[Instrument, ...] = (BTCUSDT,),
    recorder: Recorder | None = None,
    **settings: float,
) -> AsyncIterator[Desk]:
    """A running feed on a server that has its books."""
    async with running_binance_server(frames, instruments) as server, anyio.create_task_group() as tasks:
        await server.play_until_synced()
        feed = BinanceFeed(
            instruments,
            SystemClock(),
            settings=BinanceFeedSettings(
                stream_url=server.stream_url,
                rest_url=server.rest_url,
                **{  # type: ignore[arg-type]  # all of them are numbers
                    "reconnect_seconds_min": 0.02,
                    "reconnect_seconds_max": 0.1,
                    "resync_seconds_min": 0.01,
                    **settings,
                },
            ),
            recorder=recorder,
        )
        desk = Desk(feed, server)
        tasks.start_soon(feed.run, desk.sink)
        tasks.start_soon(desk.carry_resyncs)
        await desk.until(lambda: server.subscribers == 1)
        yield desk
        tasks.cancel_scope.cancel()


async def test_a_feed_follows_the_servers_book(frames: list[RecordedFrame]) -> None:
    """Stream first, snapshot after it, and from then on every update: the book is the server's, tops are equal."""
    async with desk_on(frames) as desk:
        await desk.server.play(1500)
        await desk.until_in_step()
        tops = desk.market().tops
        assert tops.compared > 5
        assert tops.equal == tops.compared
        assert desk.market().counters.gaps == 0
        assert desk.trade_ids() == desk.server.trade_ids("BTCUSDT")[-len(desk.trade_ids()) :]
        assert desk.feed.counts.malformed == 0


async def test_a_disconnect_is_healed_and_the_trades_missed_are_fetched(frames: list[RecordedFrame]) -> None:
    """After a cut the book is in step again, and the tape has every trade in order, those of the outage included."""
    async with desk_on(frames) as desk:
        await desk.server.play(400)
        await desk.until_in_step()
        await desk.until(lambda: len(desk.trade_ids()) > 0)
        desk.server.disconnect_all()
        missed = await desk.server.play(400)
        assert missed == 400
        await desk.until(lambda: desk.server.subscribers == 1)
        await desk.server.play(600)
        await desk.until_in_step()
        await desk.until(lambda: desk.trade_ids()[-1] == desk.server.trade_ids("BTCUSDT")[-1])
        assert desk.trade_ids() == list(range(desk.trade_ids()[0], desk.trade_ids()[-1] + 1))
        assert desk.feed.counts.trades_backfilled > 0
        assert desk.feed.counts.reconnects == 1
        assert [s.connected for s in desk.statuses] == [True, False, True]
        assert "disconnected" in [m.cause for m in only(desk.out, BookHealthChanged)]


async def test_a_lost_depth_frame_resyncs_that_symbol_only() -> None:
    """A gap in one symbol costs one snapshot of that symbol; the other's book is not touched."""
    both = list(simulated_frames([BTCUSDT, ETHUSDT], seed=9, seconds=30))
    async with desk_on(both, instruments=(BTCUSDT, ETHUSDT)) as desk:
        await desk.server.play(300)
        await desk.until_in_step(BTCUSDT)
        await desk.until_in_step(ETHUSDT)
        before = [path for path in desk.server.requests if "/depth" in path]
        desk.server.faults.skip_frames["depth"] = 1
        await desk.server.play(600)
        await desk.until_in_step(BTCUSDT)
        await desk.until_in_step(ETHUSDT)
        asked = [path for path in desk.server.requests if "/depth" in path][len(before) :]
        gaps = {symbol: desk.market(symbol).counters.gaps for symbol in ("BTCUSDT", "ETHUSDT")}
        assert sorted(gaps.values()) == [0, 1]
        hurt = max(gaps, key=lambda symbol: gaps[symbol])
        assert asked
        assert all(f"symbol={hurt}" in path for path in asked)
        assert desk.feed.counts.reconnects == 0


async def test_a_lost_trade_frame_is_fetched(frames: list[RecordedFrame]) -> None:
    """A jump of trade ids in a healthy stream is filled over REST, in order."""
    async with desk_on(frames) as desk:
        await desk.server.play(600)
        await desk.until(lambda: len(desk.trade_ids()) > 0)
        desk.server.faults.skip_frames["trade"] = 2
        await desk.server.play(1500)
        await desk.until(lambda: desk.trade_ids()[-1] == desk.server.trade_ids("BTCUSDT")[-1])
        assert desk.trade_ids() == list(range(desk.trade_ids()[0], desk.trade_ids()[-1] + 1))
        assert desk.feed.counts.trades_backfilled == 2


async def test_old_trades_come_from_the_public_list_where_a_key_is_asked_for(frames: list[RecordedFrame]) -> None:
    """Where historicalTrades is refused, the latest trades fill the hole."""
    async with desk_on(frames) as desk:
        desk.server.faults.historical_trades_need_key = True
        await desk.server.play(600)
        await desk.until(lambda: len(desk.trade_ids()) > 0)
        desk.server.faults.skip_frames["trade"] = 1
        await desk.server.play(1500)
        await desk.until(lambda: desk.trade_ids()[-1] == desk.server.trade_ids("BTCUSDT")[-1])
        assert desk.trade_ids() == list(range(desk.trade_ids()[0], desk.trade_ids()[-1] + 1))


async def test_snapshots_that_are_too_old_or_wrong_are_not_trusted(frames: list[RecordedFrame]) -> None:
    """A snapshot from before the stream is asked for again; a crossed one is noticed and replaced."""
    async with desk_on(frames) as desk:
        await desk.server.play(300)
        await desk.until_in_step()
        desk.server.faults.old_snapshots = 2
        desk.server.faults.skip_frames["depth"] = 1
        await desk.server.play(400)
        await desk.until_in_step()
        assert desk.server.faults.old_snapshots == 0
        desk.server.faults.foreign_snapshots = 1
        desk.server.faults.skip_frames["depth"] = 1
        await desk.server.play(400)
        await desk.until_in_step()
        assert desk.server.faults.foreign_snapshots == 0
        assert desk.market().counters.crossed >= 1


async def test_a_rate_limit_is_obeyed_before_asking_again(frames: list[RecordedFrame]) -> None:
    """After 429 nothing is asked for as long as Retry-After says; then the book comes in step."""
    async with desk_on(frames) as desk:
        await desk.server.play(300)
        await desk.until_in_step()
        # The feed's other calls of its start are over, so the next one is the snapshot's.
        await desk.until(lambda: desk.feed.counts.clock_offset_ms is not None)
        await desk.until(lambda: any("exchangeInfo" in path for path in desk.server.requests))
        desk.server.faults.refuse_rest.extend([(429, 1)])
        desk.server.faults.skip_frames["depth"] = 1
        started = anyio.current_time()
        await desk.server.play(300)
        await desk.until(lambda: not desk.server.faults.refuse_rest)
        refused = len(desk.server.requests)
        await desk.until_in_step()
        assert anyio.current_time() - started >= 1.0
        assert desk.feed.counts.rate_limited == 1
        assert len(desk.server.requests) == refused + 1


async def test_malformed_frames_are_counted_and_break_nothing(frames: list[RecordedFrame]) -> None:
    """Nonsense on the stream costs nothing but a count."""
    async with desk_on(frames) as desk:
        await desk.server.play(300)
        for nonsense in ("", "{", '{"stream":"btcusdt@trade","data":{"p":"1e9"}}', '{"result":null,"id":1}', "\x00"):
            await desk.server.send(nonsense)
        await desk.server.play(300)
        await desk.until_in_step()
        assert desk.feed.counts.malformed == 5
        assert desk.feed.counts.reconnects == 0


async def test_a_silent_connection_is_replaced(frames: list[RecordedFrame]) -> None:
    """A half-open connection, up but mute, is given up after the limit, and the next one brings the book in step."""
    async with desk_on(frames, silence_seconds_max=0.4) as desk:
        await desk.server.play(300)
        await desk.until_in_step()
        desk.server.go_silent()
        await desk.until(lambda: desk.server.connections_accepted >= 2 and desk.server.subscribers == 1)
        assert "silent" in next(s.detail for s in desk.statuses if not s.connected)
        await desk.server.play(300)
        await desk.until_in_step()


async def test_an_announced_shutdown_and_an_old_connection_lead_to_a_new_one(frames: list[RecordedFrame]) -> None:
    """The feed leaves by itself when Binance says it will stop, and before a connection's life is over."""
    async with desk_on(frames, connection_seconds_max=0.5, silence_seconds_max=1.0) as desk:
        await desk.server.play(300)
        await desk.until_in_step()
        await desk.server.send('{"stream":"","data":{"e":"serverShutdown","E":1}}')
        await desk.until(lambda: desk.server.connections_accepted == 2 and desk.server.subscribers >= 1)
        await desk.server.play(50)
        await desk.until(lambda: any("renewed" in s.detail for s in desk.statuses))
        await desk.until(lambda: desk.server.subscribers >= 1)


async def test_what_is_recorded_live_can_be_replayed(frames: list[RecordedFrame], tmp_path: Path) -> None:
    """The recorder keeps the frames as they came, snapshot included, and a fresh core makes the same book of them."""
    recorder = Recorder(tmp_path)
    async with desk_on(frames, recorder=recorder) as desk:
        await desk.server.play(900)
        await desk.until_in_step()
        live = desk.market().book.top()
        live_id = desk.market().book.last_update_id
    recorder.close()
    core = MarketDataCore()
    feed_frames = [frame for path in recorder.files("BTCUSDT") for frame in read_recording(path)]
    assert sum(frame.is_snapshot for frame in feed_frames) == 1
    replay_into(core, feed_frames)
    assert core.markets["BTCUSDT"].book.last_update_id == live_id
    assert core.markets["BTCUSDT"].book.top() == live


def replay_into(core: MarketDataCore, frames: Iterable[RecordedFrame]) -> None:
    """Parse frames and fold them."""
    parser = FrameParser([BTCUSDT], source="replay")
    for frame in frames:
        if frame.is_snapshot:
            core.apply(parser.snapshot(frame.frame, frame.symbol, frame.time_ns))
        else:
            core.apply(parser.stream_frame(frame.frame, frame.time_ns))


async def test_the_feed_knows_the_clock_and_the_instruments_of_the_venue(frames: list[RecordedFrame]) -> None:
    """The clock's offset is measured, and an instrument with another tick than the venue's is named."""
    async with desk_on(frames) as desk:
        await desk.until(lambda: desk.feed.counts.clock_offset_ms is not None)
        assert abs(desk.feed.counts.clock_offset_ms or 0) < 1000
        assert desk.feed.counts.instrument_faults == ()


async def test_no_server_at_all_is_retried_without_end() -> None:
    """While nothing answers, the feed keeps trying and says nothing untrue."""
    statuses: list[Message] = []
    feed = BinanceFeed(
        [BTCUSDT],
        SystemClock(),
        settings=BinanceFeedSettings(
            stream_url="ws://127.0.0.1:9",
            rest_url="http://127.0.0.1:9",
            reconnect_seconds_min=0.01,
            reconnect_seconds_max=0.02,
        ),
    )
    with anyio.move_on_after(WAIT_SECONDS_MAX) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed.run, statuses.append)
            while feed.counts.reconnects < 3:  # noqa: ASYNC110  # a count, no event
                await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert statuses == []
