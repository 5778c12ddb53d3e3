"""What clients hear of markets through the cache: turns that gather, and channels heard where somebody listens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.unit.order_gateway.fake_desk import Ear, Gateway, candle, mark, running_gateway, top, trade, until

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.messages import BookHealthChanged, BookUpdated, CandleClosed, MarketTrade, TopOfBook
from polaris_synapse.order_gateway import market_channels
from polaris_synapse.order_gateway.market_channels import (
    BEAT_SECONDS,
    RETRY_SECONDS,
    SILENCE_SECONDS,
    MarketChannelsWriter,
    MarketTurn,
)
from polaris_synapse.order_gateway.metrics import MarketWriterMetrics
from polaris_synapse.storage.cache.memory import MemoryCache
from polaris_synapse.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

CHANNEL = "market:BTCUSDT"


class PublishedCache(MemoryCache):
    """A cache that remembers what was published, by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[dict[str, MarketTurn]] = []

    async def publish(self, payloads: Mapping[str, bytes], /) -> None:
        """See SharedCache."""
        await super().publish(payloads)
        self.published.append(
            {name: msgspec.msgpack.decode(payload, type=MarketTurn) for name, payload in payloads.items()}
        )


def writer_of(cache: MemoryCache, clock: Clock) -> tuple[MarketChannelsWriter, CollectorRegistry]:
    """A writer and where its figures are."""
    registry = CollectorRegistry()
    return MarketChannelsWriter(cache, clock, MarketWriterMetrics(registry)), registry


async def test_a_turn_has_the_newest_top_and_all_trades_and_candles() -> None:
    """However often a top changes in a turn, one publication of the symbol says the last; trades keep their order."""
    cache = PublishedCache()
    writer, registry = writer_of(cache, ManualClock())
    for said in (top(1), trade(1), top(2), candle(5), trade(2), top(3), trade(9, "ETHUSDT")):
        writer.take(said)
    book = BookUpdated(time_ns=1, symbol="BTCUSDT", source="x", sequence=1, bids=(), asks=(), is_snapshot=True)
    for message in (mark(), book, BookHealthChanged(time_ns=1, symbol="BTCUSDT", source="x", healthy=False)):
        writer.take(message)
    assert await writer.publish()
    (turn,) = cache.published
    assert turn.keys() == {CHANNEL, "market:ETHUSDT"}
    assert turn[CHANNEL].messages == (trade(1), candle(5), trade(2), top(3))
    assert turn["market:ETHUSDT"].messages == (trade(9, "ETHUSDT"),)
    assert registry.get_sample_value("polaris_market_data_turns_published_total") == 2
    assert registry.get_sample_value("polaris_market_data_messages_published_total") == 5


async def test_turns_are_numbered_by_symbol() -> None:
    """Each symbol counts its own turns; nothing new is nothing to say, until it is time for a sign of life."""
    cache, clock = PublishedCache(), ManualClock()
    writer, _ = writer_of(cache, clock)
    for number in (1, 2):
        writer.take(trade(number))
        assert await writer.publish()
    writer.take(trade(1, "ETHUSDT"))
    assert await writer.publish()
    assert await writer.publish()
    assert [{name: turn.number for name, turn in one.items()} for one in cache.published] == [
        {CHANNEL: 1}, {CHANNEL: 2}, {"market:ETHUSDT": 1}, {},
    ]  # fmt: skip
    clock.advance(BEAT_SECONDS)
    writer.forget("ETHUSDT")
    assert await writer.publish()
    assert cache.published[-1] == {CHANNEL: MarketTurn(cache.published[0][CHANNEL].writer, 3)}


async def test_what_finds_no_room_and_what_the_cache_does_not_take_is_missing_in_the_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A turn's bound drops what comes last, a cache that is away the whole turn; the next number shows either."""
    monkeypatch.setattr(market_channels, "TURN_MESSAGES_MAX", 2)
    cache, clock = PublishedCache(), ManualClock()
    writer, registry = writer_of(cache, clock)
    for number in range(5):
        writer.take(trade(number))
    assert await writer.publish()
    assert cache.published[-1][CHANNEL].number == 2
    assert cache.published[-1][CHANNEL].messages == (trade(0), trade(1))
    cache.available = False
    writer.take(trade(5))
    assert not await writer.publish()
    cache.available = True
    assert registry.get_sample_value("polaris_market_data_messages_not_published_total") == 4
    writer.take(trade(6))
    assert await writer.publish()
    assert cache.published[-1][CHANNEL].number == 4


class World:
    """A gateway that hears markets through a cache, and whoever publishes there."""

    def __init__(self, gateway: Gateway, cache: MemoryCache) -> None:
        self.gateway = gateway
        self.cache = cache
        self.clock = gateway.clock
        self.hub = gateway.service.hub
        self.writer, _ = writer_of(cache, gateway.clock)

    async def say(self, *messages: TopOfBook | MarketTrade | CandleClosed) -> None:
        """One turn."""
        for message in messages:
            self.writer.take(message)
        await self.writer.publish()

    async def listen(self, *ears: Ear) -> None:
        """Listen to the market, and wait until that is so."""
        for ear in ears:
            self.hub.listen(CHANNEL, ear)
            await self.hub.joined([CHANNEL, "status"], ear)

    async def away_and_back(self) -> None:
        """The cache is lost and found."""
        self.cache.available = False
        await until(lambda: not self.cache.channels)
        self.cache.available = True
        await self.back()

    async def back(self) -> None:
        """The gateway tries again."""
        self.clock.advance(RETRY_SECONDS)
        await until(lambda: self.cache.channels == {CHANNEL})

    def gaps(self, cause: str) -> float:
        """How many gaps of a cause were told."""
        labels = {"cause": cause}
        found = self.gateway.service.registry.get_sample_value("polaris_gateway_market_gaps_total", labels)
        return found or 0.0


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    """A gateway and its cache."""
    cache = MemoryCache()
    async with running_gateway(directory, cache=cache, markets_cached=True) as gateway:
        yield World(gateway, cache)


async def test_a_market_is_heard_while_somebody_listens(tmp_path: Path) -> None:
    """The first listener brings its channel, the last takes it along, and the next has it again."""
    async with world(tmp_path) as one:
        first, second = Ear(), Ear()
        assert one.cache.channels == set()
        await one.listen(first, second)
        assert one.cache.channels == {CHANNEL}
        await one.say(trade(1), candle(3), top(4), trade(1, "ETHUSDT"))
        await until(lambda: len(second.heard) == 3)
        assert first.told() == second.told() == [("trade", 1), ("candle", 3), ("top", 4)]
        one.hub.leave(CHANNEL, first)
        await one.say(trade(2))
        await until(lambda: bool(second.heard))
        one.hub.leave(CHANNEL, second)
        await until(lambda: not one.cache.channels)
        await one.say(trade(3))
        await one.listen(second)
        await one.say(trade(4))
        await until(lambda: len(second.heard) == 2)
        assert second.told() == [("trade", 2), ("trade", 4)]
        assert first.told() == []


async def test_marks_and_health_come_over_the_bus(tmp_path: Path) -> None:
    """With the cache the bus is asked for marks and health alone; while the cache is away they still come."""
    async with world(tmp_path) as one:
        subscribed = {topic for topic, queues in one.gateway.desk.subscriptions.items() if queues}
        assert subscribed == {"executions", "risk.events", "trading.decisions", "market_data.marks"}
        ear = Ear()
        await one.listen(ear)
        one.cache.available = False
        await until(lambda: ear.told() == [("gap", True)])
        one.gateway.desk.publish(mark())
        unwell = BookHealthChanged(time_ns=1, symbol="BTCUSDT", source="x", healthy=False, cause="gap")
        one.gateway.desk.publish(unwell)
        await until(lambda: len(ear.heard) == 2)
        assert [event["event"] for event in ear.heard] == ["mark", "health"]
        instrument = one.gateway.service.markets.known("BTCUSDT")
        assert instrument is not None
        assert one.gateway.service.markets.mark(instrument) == mark()
        assert one.gateway.service.hub.listening == 2


@pytest.mark.parametrize("cache", [None, MemoryCache()], ids=["none", "for other purposes"])
async def test_without_a_cache_everything_comes_over_the_bus(tmp_path: Path, cache: MemoryCache | None) -> None:
    """A gateway by itself, and one whose cache serves other purposes, hear whole markets from the bus."""
    async with running_gateway(tmp_path, cache=cache) as gateway:
        assert gateway.desk.subscriptions["market_data.normalized"]
        assert "market_data.marks" not in gateway.desk.subscriptions
        ear = Ear()
        gateway.service.hub.listen(CHANNEL, ear)
        await gateway.service.hub.joined([CHANNEL], ear)
        gateway.desk.publish(trade(1))
        await until(lambda: ear.told() == [("trade", 1)])


async def test_a_cache_that_is_lost_is_one_gap_and_comes_back_by_itself(tmp_path: Path) -> None:
    """Who listens to markets is told once; nobody else; when it is back and nothing was missed, all just goes on."""
    async with world(tmp_path) as one:
        ear, other = Ear(), Ear()
        one.hub.listen("status", ear)
        one.hub.listen("orders", other)
        await one.listen(ear)
        await one.say(trade(1))
        await until(lambda: ear.told() == [("trade", 1)])
        one.cache.available = False
        await until(lambda: ear.told() == [("gap", True)])
        for _ in range(3):
            one.clock.advance(RETRY_SECONDS)
            await until(lambda: one.clock.sleepers > 0)
        one.cache.available = True
        await one.back()
        await one.say(trade(2))
        await until(lambda: bool(ear.heard))
        assert ear.told() == [("trade", 2)]
        assert other.told() == []
        assert (one.gaps("lost"), one.gaps("missed")) == (1, 0)


async def test_what_was_missed_meanwhile_is_a_gap_of_its_market(tmp_path: Path) -> None:
    """Turns that nobody could hear show in the next one's number, which tells the market's clients to read again."""
    async with world(tmp_path) as one:
        ear = Ear()
        await one.listen(ear)
        await one.say(trade(1))
        await until(lambda: ear.told() == [("trade", 1)])
        one.cache.available = False
        await until(lambda: ear.told() == [("gap", True)])
        await one.say(trade(2))
        one.cache.available = True
        await one.back()
        await one.say(trade(3))
        await until(lambda: len(ear.heard) == 2)
        assert ear.heard[0]["channel"] == CHANNEL
        assert ear.told() == [("gap", True), ("trade", 3)]
        assert (one.gaps("lost"), one.gaps("missed")) == (1, 1)


async def test_who_begins_to_listen_without_the_cache_is_told_so(tmp_path: Path) -> None:
    """A gap at once, since nothing comes; and one at the first turn, since what came before it was not heard."""
    async with world(tmp_path) as one:
        before, ear = Ear(), Ear()
        await one.listen(before)
        one.cache.available = False
        await until(lambda: before.told() == [("gap", True)])
        await one.listen(ear)
        assert ear.told() == [("gap", True)]
        one.cache.available = True
        await one.back()
        await one.say(trade(1))
        await one.say(trade(2))
        await until(lambda: len(ear.heard) == 3)
        assert before.told() == ear.told() == [("gap", True), ("trade", 1), ("trade", 2)]


async def test_who_comes_after_a_loss_that_was_not_theirs_has_no_gap(tmp_path: Path) -> None:
    """The last listener left while the cache was away: what was missed until somebody listens again is nobody's."""
    async with world(tmp_path) as one:
        before, after = Ear(), Ear()
        await one.listen(before)
        await one.say(trade(1))
        await until(lambda: before.told() == [("trade", 1)])
        one.cache.available = False
        await until(lambda: before.told() == [("gap", True)])
        one.hub.leave(CHANNEL, before)
        await one.say(trade(2))
        one.cache.available = True
        one.clock.advance(RETRY_SECONDS)
        await until(lambda: one.hub.listening == 2)
        await anyio.wait_all_tasks_blocked()
        await one.listen(after)
        await one.say(trade(3))
        await until(lambda: bool(after.heard))
        assert after.told() == [("trade", 3)]


async def test_a_turn_that_comes_twice_is_heard_once(tmp_path: Path) -> None:
    """A number that was heard already says nothing new; another writer begins with 1, or something is missing."""
    async with world(tmp_path) as one:
        ear = Ear()
        await one.listen(ear)

        async def turn(writer: str, number: int) -> None:
            payload = msgspec.msgpack.encode(MarketTurn(writer, number, (trade(number),)))
            await one.cache.publish({CHANNEL: payload})

        for writer, number in (("a", 7), ("a", 7), ("a", 8), ("b", 1), ("b", 2), ("a", 9)):
            await turn(writer, number)
        await until(lambda: len(ear.heard) == 6)
        assert ear.told() == [
            ("trade", 7), ("trade", 8), ("trade", 1), ("trade", 2), ("gap", True), ("trade", 9),
        ]  # fmt: skip


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1",
        b"",
        msgspec.msgpack.encode(["w", "1", []]),
        msgspec.msgpack.encode(["w", 1, [{"kind": "order_updated"}]]),
        msgspec.msgpack.encode(["w", 1, [mark()]]),
        msgspec.msgpack.encode(MarketTurn("w", 1, (trade(1, "ETHUSDT"),))),
    ],
)
async def test_what_cannot_be_read_is_left_out(tmp_path: Path, payload: bytes) -> None:
    """Rubbish, other messages than tops, trades and candles, and those of another symbol reach nobody."""
    async with world(tmp_path) as one:
        ear = Ear()
        await one.listen(ear)
        await one.cache.publish({CHANNEL: payload})
        await one.say(trade(2))
        await until(lambda: bool(ear.heard))
        assert ear.told() == [("trade", 2)]
        assert one.gateway.service.markets.marks() == {}


async def test_a_market_that_falls_silent_is_a_gap_once(tmp_path: Path) -> None:
    """Signs of life keep a quiet market; without them its clients are told once, and again when it is back."""
    async with world(tmp_path) as one:
        ear = Ear()
        await one.listen(ear)
        await one.say(trade(1))
        await until(lambda: ear.told() == [("trade", 1)])

        async def pass_seconds(seconds: float, *, alive: bool) -> None:
            for _ in range(int(seconds)):
                one.clock.advance(1)
                if alive:
                    await one.writer.publish()
                await until(lambda: one.clock.sleepers > 0)

        await pass_seconds(3 * SILENCE_SECONDS, alive=True)
        assert ear.told() == []
        await pass_seconds(3 * SILENCE_SECONDS, alive=False)
        await until(lambda: bool(ear.heard))
        assert ear.told() == [("gap", True)]
        assert one.gaps("silent") == 1
        await one.say(trade(2))
        await until(lambda: bool(ear.heard))
        assert ear.told() == [("trade", 2)]


async def test_the_writer_goes_on_by_itself() -> None:
    """It publishes turn by turn, waits longer where the cache is away, and goes on when it is back."""
    cache, clock = PublishedCache(), ManualClock()
    writer, _ = writer_of(cache, clock)

    async def until_published(turns: int) -> None:
        await until(lambda: len(cache.published) == turns)

    async with anyio.create_task_group() as group:
        group.start_soon(writer.run)
        await until(lambda: clock.sleepers == 1)
        for number in (1, 2):
            writer.take(trade(number))
            clock.advance(market_channels.GATHER_SECONDS)
            await until_published(1 + number)
        cache.available = False
        clock.advance(market_channels.GATHER_SECONDS)
        await until(lambda: clock.sleepers == 1)
        cache.available = True
        writer.take(trade(3))
        clock.advance(RETRY_SECONDS)
        await until(lambda: cache.published[-1].get(CHANNEL, MarketTurn("", 0)).messages == (trade(3),))
        group.cancel_scope.cancel()
