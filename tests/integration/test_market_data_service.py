"""The market data service on a real host, over real sockets: feed in, facts out, views, API and stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import anyio
import httpx2
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.unit.market_data.market_messages import BTCUSDT, ETHUSDT, USDT
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.port import Bus
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import BookChanged, BookUpdated, FeedStatusChanged, Message, Tick
from polaris_synapse.domain.money import Asset
from polaris_synapse.market_data.api import build_api
from polaris_synapse.market_data.bodies import INTERVALS
from polaris_synapse.market_data.core import INTERVALS_SECONDS, MarketDataCore
from polaris_synapse.market_data.feeds.choice import choose_feed
from polaris_synapse.market_data.feeds.port import FeedCounts, Sink
from polaris_synapse.market_data.feeds.simulated import SimulatedFeed
from polaris_synapse.market_data.service import InternalLevels, MarketDataService
from polaris_synapse.market_data.settings import MarketDataSettings
from polaris_synapse.market_data.simulation.exchange import SimulatedExchange
from polaris_synapse.testing.binance_server import running_binance_server
from polaris_synapse.testing.bus import running_host
from polaris_synapse.testing.clock import START_NS, ManualClock
from polaris_synapse.web.server import Listener, serve

pytestmark = pytest.mark.anyio

INTERNAL = Instrument(
    symbol="BTCUSDT.INT", base=Asset("BTC", 8), quote=USDT, tick_units=10**6, lot_units=1000, venue="internal"
)
WAIT_SECONDS_MAX = 20


class FastFeed:
    """A simulated market of some minutes, told all at once, and then one step whenever the test asks."""

    name = "simulated"

    def __init__(self, *, seconds: float = 3) -> None:
        self.counts = FeedCounts()
        self.exchange: SimulatedExchange | None = None
        self.asked: list[str] = []
        self._seconds = seconds
        self._sink: Sink | None = None

    async def run(self, sink: Sink) -> None:
        """Tell the past, with ticks, and wait."""
        self._sink = sink
        span_ns = int(self._seconds * 1e9)
        self.exchange = SimulatedExchange([BTCUSDT, ETHUSDT], seed=3, start_ns=START_NS - span_ns)
        for symbol in self.exchange.symbols:
            time_ns = self.exchange.now_ns
            sink(FeedStatusChanged(time_ns=time_ns, symbol=symbol, source=self.name, connected=True))
        for message in self.exchange.snapshots():
            self.tell(message)
        for number in range(int(self._seconds * 40)):
            self.step()
            if number % 40 == 39:
                sink(Tick(time_ns=self.exchange.now_ns))
            if number % 100 == 0:
                await anyio.lowlevel.checkpoint()
        await anyio.sleep_forever()

    def tell(self, message: Message) -> None:
        """Deliver one message."""
        assert self._sink is not None
        self.counts.frames[type(message).__name__] += 1
        self._sink(message)

    def step(self) -> None:
        """One more step of the market."""
        assert self.exchange is not None
        for message in self.exchange.step():
            self.tell(message)

    async def resync(self, symbol: str) -> None:
        """A fresh snapshot."""
        self.asked.append(symbol)
        if self.exchange is not None:
            self.tell(self.exchange.snapshot(symbol))


class Desk:
    """A host, a service on it, and its API."""

    def __init__(self, bus: Bus, service: MarketDataService, core: MarketDataCore, feed: FastFeed, port: int) -> None:
        self.bus = bus
        self.service = service
        self.core = core
        self.feed = feed
        self.port = port
        self.http = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10)

    async def get(self, path: str, status: int = 200) -> Any:
        """A JSON answer of the API."""
        response = await self.http.get(path)
        assert response.status_code == status, response.text
        return response.json()

    def stream(self, query: str) -> connect:
        """The WebSocket stream."""
        return connect(f"ws://127.0.0.1:{self.port}/stream?{query}", max_queue=1, close_timeout=0.2)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, within a bound."""
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110  # the condition is a state of many parts, no event
            await anyio.sleep(0.005)


@asynccontextmanager
async def running_desk(
    *, seconds: float = 3, internal_levels: InternalLevels | None = None, **settings: int
) -> AsyncIterator[Desk]:
    """A desk that has told its past."""
    # The host's clock stands still, so that no tick of its own comes between the ticks of the feed's market.
    core, clock, registry = MarketDataCore(), ManualClock(), CollectorRegistry()
    feed = FastFeed(seconds=seconds)
    async with running_host([core], clock=clock, registry=registry) as host, anyio.create_task_group() as tasks:
        service = MarketDataService(
            host,
            clock,
            registry,
            MarketDataSettings(feed="simulated", **settings),  # type: ignore[arg-type]  # bounds only
            [BTCUSDT, ETHUSDT, INTERNAL],
            internal_levels=internal_levels,
            feed=feed,
        )
        ports: dict[str, int] = {}
        app = build_api(service, clock, registry)
        listener = Listener(app=app, host="127.0.0.1", port=0, name="market")

        async def run_server() -> None:
            await serve([listener], started=ports.update)

        tasks.start_soon(service.run)
        tasks.start_soon(run_server)
        await until(lambda: "market" in ports and service.not_ready() is None)
        desk = Desk(host, service, core, feed, ports["market"])
        view = service.views.get("BTCUSDT")
        assert view is not None
        await until(lambda: view.sequence == core.markets["BTCUSDT"].sequence)
        yield desk
        await desk.http.aclose()
        tasks.cancel_scope.cancel()


async def test_books_trades_candles_and_marks_are_served_as_text() -> None:
    """The API shows the core's book, the tape newest first, candles oldest first, and marks, in exact decimal text."""
    async with running_desk() as desk:
        book = await desk.get("/book/BTCUSDT?depth=5")
        core_book = desk.core.markets["BTCUSDT"].book
        assert book["healthy"]
        assert book["bids"] == [
            [BTCUSDT.format_price(price), BTCUSDT.format_quantity(lots)] for price, lots in core_book.bids.top(5)
        ]
        assert Decimal(book["bids"][0][0]) < Decimal(book["asks"][0][0])
        trades = (await desk.get("/trades/BTCUSDT?limit=3"))["trades"]
        assert [t["trade_id"] for t in trades] == sorted((t["trade_id"] for t in trades), reverse=True)
        assert len(trades) == 3
        marks = {mark["symbol"]: mark for mark in (await desk.get("/marks"))["marks"]}
        assert set(marks) == {"BTCUSDT", "ETHUSDT"}
        assert Decimal(marks["ETHUSDT"]["bid"]) < Decimal(marks["ETHUSDT"]["ask"])


async def test_candles_of_every_interval_add_up() -> None:
    """The seconds of a minute add up to the minute, and the last candle is the open one."""
    async with running_desk(seconds=62) as desk:
        seconds = (await desk.get("/candles/BTCUSDT?interval=1s&limit=1000"))["candles"]
        minutes = (await desk.get("/candles/BTCUSDT?interval=1m&limit=1000"))["candles"]
        assert len(seconds) >= 60
        start = minutes[1]["open_time_ns"]
        inside = [c for c in seconds if start <= c["open_time_ns"] < start + 60 * 10**9]
        assert sum(Decimal(c["volume"]) for c in inside) == Decimal(minutes[1]["volume"])
        assert sum(c["trades"] for c in inside) == minutes[1]["trades"]
        assert max(Decimal(c["high"]) for c in inside if c["trades"]) == Decimal(minutes[1]["high"])
        for name in ("5m", "15m", "1h", "4h", "1d"):
            assert (await desk.get(f"/candles/BTCUSDT?interval={name}"))["candles"]
        assert len(INTERVALS_SECONDS) == 7


BAD_REQUESTS = [
    ("/book/NOPE", 404, "SYMBOL_NOT_FOUND"),
    ("/book/BTCUSDT?depth=0", 400, "INVALID_VALUE"),
    ("/book/BTCUSDT?depth=x", 400, "INVALID_VALUE"),
    ("/book/BTCUSDT?dept=1", 400, "UNKNOWN_FIELD"),
    ("/book/BTCUSDT?depth=1&depth=2", 400, "DUPLICATE_FIELD"),
    ("/trades/BTCUSDT?limit=1001", 400, "INVALID_VALUE"),
    ("/candles/BTCUSDT?interval=2m", 400, "INVALID_VALUE"),
    ("/marks?x=1", 400, "UNKNOWN_FIELD"),
    ("/nothing", 404, "NOT_FOUND"),
]
BAD_STREAMS = [("channels=nonsense", 400), ("symbols=NOPE", 404), ("channel=top", 400), ("channels=", 400)]


async def test_bad_requests_get_a_code_and_a_sentence() -> None:
    """What cannot be answered is refused with a reason, never a 500, and a stream before its handshake is done."""
    async with running_desk(seconds=1) as desk:
        for path, status, reason in BAD_REQUESTS:
            body = await desk.get(path, status)
            assert (path, body["reason"]) == (path, reason)
            assert body["message"]
        for query, status in BAD_STREAMS:
            with pytest.raises(InvalidStatus) as caught:
                await desk.stream(query)
            assert (query, caught.value.response.status_code) == (query, status)


async def test_the_feed_page_readiness_and_metrics_tell_the_truth() -> None:
    """While the feed is down the books are said to be unhealthy everywhere, and afterwards healthy again."""
    async with running_desk() as desk:
        feed = await desk.get("/feed")
        assert (feed["feed"], feed["ended"], feed["malformed"]) == ("simulated", False, 0)
        assert feed["frames"]["TradeReceived"] > 0
        assert (await desk.get("/ready"))["ready"]
        down = FeedStatusChanged(time_ns=START_NS, symbol="BTCUSDT", source="simulated", connected=False)
        desk.feed.tell(down)
        await until(lambda: desk.service.not_ready() is not None)
        assert "BTCUSDT (disconnected)" in (await desk.get("/ready", 503))["failing"]["books"]
        assert not (await desk.get("/book/BTCUSDT"))["healthy"]
        metrics = (await desk.http.get("/metrics")).text
        assert 'polaris_market_data_book_unhealthy_total{cause="disconnected",symbol="BTCUSDT"} 1.0' in metrics
        assert 'polaris_market_data_book_healthy{source="simulated",symbol="BTCUSDT"} 0.0' in metrics
        assert "polaris_market_data_feed_staleness_seconds" in metrics
        desk.feed.tell(replace(down, connected=True))
        await desk.feed.resync("BTCUSDT")
        await until(lambda: desk.service.not_ready() is None)


async def test_a_gap_reaches_the_feed_and_a_snapshot_heals_the_view() -> None:
    """ResyncNeeded travels over the bus to the feed, for that symbol only, and the mirror ends like the core's book."""
    async with running_desk() as desk:
        view = desk.service.views.get("BTCUSDT")
        assert view is not None
        market = desk.core.markets["BTCUSDT"]
        last = market.book.last_update_id
        gap = [m for _ in range(40) for m in desk.feed.exchange.step()] if desk.feed.exchange else []
        depths = [m for m in gap if m.symbol == "BTCUSDT" and hasattr(m, "first_update_id")]  # type: ignore[attr-defined]  # all have one
        desk.feed.tell(depths[-1])
        assert depths[-1].first_update_id > last + 1
        await until(lambda: desk.feed.asked)
        await until(lambda: market.healthy and view.sequence == market.sequence and view.healthy)
        assert desk.feed.asked == ["BTCUSDT"]
        assert view.book(10_000) == (market.book.bids.top(10_000), market.book.asks.top(10_000))


async def test_a_mirror_that_missed_an_update_asks_for_the_book() -> None:
    """A view whose sequence jumps does not show a wrong book, and is whole again after the snapshot."""
    async with running_desk() as desk:
        view = desk.service.views.get("BTCUSDT")
        assert view is not None
        market = desk.core.markets["BTCUSDT"]
        market.sequence += 5
        for _ in range(8):
            desk.feed.step()
        await until(lambda: "BTCUSDT" in desk.feed.asked)
        await until(lambda: view.sequence == market.sequence)
        assert view.book(10_000) == (market.book.bids.top(10_000), market.book.asks.top(10_000))


async def test_the_internal_book_starts_from_the_matching_cores_levels() -> None:
    """At start and after a gap the internal book is asked for its levels; its changes follow on."""
    levels = {"BTCUSDT.INT": (7, [(100, 3)], [(102, 4)])}
    async with running_desk(seconds=1, internal_levels=lambda symbol: levels[symbol]) as desk:
        await until(lambda: "BTCUSDT.INT" in desk.core.markets and desk.core.markets["BTCUSDT.INT"].healthy)
        now = START_NS
        desk.bus.post(BookChanged(time_ns=now, symbol="BTCUSDT.INT", sequence=8, bids=((101, 1),)))
        await until(lambda: (v := desk.service.views.get("BTCUSDT.INT")) is not None and v.bids.best() == (101, 1))
        levels["BTCUSDT.INT"] = (12, [(90, 1)], [(95, 1)])
        desk.bus.post(BookChanged(time_ns=now, symbol="BTCUSDT.INT", sequence=11, bids=((99, 9),)))
        await until(lambda: desk.core.markets["BTCUSDT.INT"].book.top() == (90, 1, 95, 1))
        assert desk.core.markets["BTCUSDT.INT"].healthy


async def receive(websocket: ClientConnection) -> dict[str, Any]:
    """The next event."""
    with anyio.fail_after(WAIT_SECONDS_MAX):
        event: dict[str, Any] = json.loads(await websocket.recv())
    return event


async def test_the_stream_lets_a_client_keep_the_book() -> None:
    """A client that applies what the book channel says holds the core's book, sequence by sequence."""
    async with running_desk() as desk, desk.stream("channels=book&symbols=BTCUSDT") as websocket:
        first = await receive(websocket)
        assert (first["channel"], first["symbol"], first["data"]["is_snapshot"]) == ("book", "BTCUSDT", True)
        sides = {side: dict(first["data"][side]) for side in ("bids", "asks")}
        sequence = first["data"]["sequence"]
        for _ in range(40):
            desk.feed.step()
        market = desk.core.markets["BTCUSDT"]
        while sequence < market.sequence:
            data = (await receive(websocket))["data"]
            assert data["sequence"] == sequence + 1
            sequence = data["sequence"]
            for side, book in sides.items():
                book.update(data[side])
        for side, levels in (("bids", market.book.bids), ("asks", market.book.asks)):
            ours = {price: quantity for price, quantity in sides[side].items() if Decimal(quantity)}
            assert ours == {
                BTCUSDT.format_price(price): BTCUSDT.format_quantity(lots) for price, lots in levels.top(10_000)
            }


async def test_the_stream_tells_what_was_asked_for_and_nothing_else() -> None:
    """Channels and symbols narrow the stream; trades, tops, candles and marks come as text."""
    async with running_desk() as desk, desk.stream("channels=trades,top,candles&symbols=ETHUSDT") as websocket:
        for _ in range(200):
            desk.feed.step()
        seen: dict[str, dict[str, Any]] = {}
        while set(seen) != {"trades", "top", "candles"}:
            event = await receive(websocket)
            assert event["symbol"] == "ETHUSDT"
            seen[event["channel"]] = event["data"]
        assert Decimal(seen["trades"]["price"]) > 0
        assert Decimal(seen["top"]["bid"][0]) < Decimal(seen["top"]["ask"][0])
        assert seen["candles"]["interval"] in INTERVALS


async def read_to_the_end(websocket: ClientConnection) -> None:
    """Read until the connection is closed, which raises."""
    while True:
        await websocket.recv()


async def test_a_client_that_does_not_read_is_dropped_and_others_go_on() -> None:
    """The bound on a client's queue holds: it is dropped, counted, and everybody else still hears."""
    async with (
        running_desk(stream_backlog_messages_max=50) as desk,
        desk.stream("channels=book") as slow,
        desk.stream("channels=marks&symbols=BTCUSDT") as other,
    ):
        await until(lambda: desk.service.metrics.stream_clients == 2)
        slow.transport.pause_reading()
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while not desk.service.metrics.stream_clients_dropped:
                for _ in range(40):
                    desk.feed.step()
                await anyio.sleep(0.001)
        assert (await receive(other))["channel"] == "marks"
        slow.transport.resume_reading()
        with anyio.fail_after(WAIT_SECONDS_MAX):
            with pytest.raises(ConnectionClosed):
                await read_to_the_end(slow)
        assert slow.close_code == 1013


async def test_connections_to_the_stream_are_bounded() -> None:
    """One too many is told so."""
    async with running_desk(seconds=1, stream_connections_max=1) as desk, desk.stream("channels=top"):
        with pytest.raises(InvalidStatus) as caught:
            async with desk.stream("channels=top"):
                pass
        assert caught.value.response.status_code in {429, 503}


async def test_auto_takes_binance_where_it_answers_and_says_so() -> None:
    """With a Binance in reach the feed is live; the sentence names it."""
    async with running_binance_server([], [BTCUSDT]) as server:
        base = MarketDataSettings()
        settings = replace(base, binance=replace(base.binance, stream_url=server.stream_url, rest_url=server.rest_url))
        feed, sentence = await choose_feed(settings, [BTCUSDT], SystemClock())
        assert feed.name == "binance"
        assert "Binance" in sentence
        server.faults.refuse_rest.append((418, 5))
        feed, sentence = await choose_feed(settings, [BTCUSDT], SystemClock())
        assert (feed.name, "418" in sentence) == ("simulated", True)


async def test_auto_falls_back_quickly_and_says_why() -> None:
    """Without a network, or with one that swallows packets, the market is simulated within the bound."""
    base = MarketDataSettings(auto_seconds_max=0.5)
    unreachable = replace(base.binance, stream_url="ws://127.0.0.1:9", rest_url="http://127.0.0.1:9")
    feed, sentence = await choose_feed(replace(base, binance=unreachable), [BTCUSDT], SystemClock())
    assert feed.name == "simulated"
    assert "cannot be reached" in sentence
    async with running_binance_server([], [BTCUSDT]) as server:
        server.faults.delay_seconds = 1.5
        mute = replace(base.binance, stream_url=server.stream_url, rest_url=server.rest_url)
        with anyio.fail_after(5):
            feed, sentence = await choose_feed(replace(base, binance=mute), [BTCUSDT], SystemClock())
    assert (feed.name, "did not answer within 0.5 s" in sentence) == ("simulated", True)


async def test_impossible_choices_are_refused() -> None:
    """A replay of nothing, of a missing file, or without instruments is an error at start."""
    with pytest.raises(ValueError, match="replay_paths"):
        MarketDataSettings(feed="replay")
    with pytest.raises(ValueError, match="contradict"):
        MarketDataSettings(feed="simulated", replay_paths=("x.gz",))
    with pytest.raises(ValueError, match="feed is one of"):
        MarketDataSettings(feed="coinbase")
    with pytest.raises(ValueError, match="no recording"):
        await choose_feed(MarketDataSettings(feed="replay", replay_paths=("/no/x.gz",)), [BTCUSDT], SystemClock())
    with pytest.raises(ValueError, match="no instrument"):
        await choose_feed(MarketDataSettings(feed="simulated"), [], SystemClock())


async def test_the_simulated_feed_runs_in_real_time() -> None:
    """A second on the desk is a second of the market: stamped with now, healthy at once, resynced on request."""
    core, clock = MarketDataCore(), SystemClock()
    ages: list[int] = []
    updates: list[Message] = []
    feed = SimulatedFeed([BTCUSDT], clock, seed=1)

    def sink(message: Message) -> None:
        ages.append(clock.now_ns() - message.time_ns)
        updates.extend(m for m in core.apply(message) if isinstance(m, BookUpdated))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run, sink)
        await until(lambda: len(updates) >= 8)
        await feed.resync("BTCUSDT")
        await until(lambda: sum(m.is_snapshot for m in updates if isinstance(m, BookUpdated)) == 2)
        tasks.cancel_scope.cancel()
    assert core.markets["BTCUSDT"].healthy
    assert core.markets["BTCUSDT"].counters.gaps == 0
    assert max(ages) < 10**9
