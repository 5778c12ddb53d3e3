"""Markets through a real Redis: one process publishes, two gateways hear what their clients listen to, and losses."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.real_servers import start_or_skip
from tests.unit.order_gateway.fake_desk import BTCUSDT, Ear, FakeDesk, mark, top, trade

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.order_gateway.hub import Hub
from polaris_synapse.order_gateway.market_channels import SILENCE_SECONDS, MarketChannels, MarketChannelsWriter
from polaris_synapse.order_gateway.markets import Markets
from polaris_synapse.order_gateway.metrics import GatewayMetrics, MarketChannelMetrics, MarketWriterMetrics
from polaris_synapse.order_gateway.settings import GatewaySettings
from polaris_synapse.order_gateway.tracker import OrderTracker
from polaris_synapse.storage.cache.redis import RedisCache
from polaris_synapse.testing.servers.redis import NativeRedis, RedisCluster, RedisSentinel

pytestmark = pytest.mark.anyio

SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
#: Well above what a failover takes on a busy machine.
WAIT_SECONDS_MAX = 40.0
Servers = NativeRedis | RedisCluster | RedisSentinel


async def until(condition: Callable[[], bool], seconds_max: float = WAIT_SECONDS_MAX) -> None:
    """Wait for something that others do."""
    with anyio.fail_after(seconds_max):
        while not condition():  # noqa: ASYNC110  # the condition is not ours to signal
            await anyio.sleep(0.02)


class ThreeMarkets(FakeDesk):
    """A bus without markets but marks, and read models of three instruments."""

    async def instruments(self) -> list[Instrument]:
        """See ReadModels."""
        return [replace(BTCUSDT, symbol=symbol) for symbol in SYMBOLS]


class GatewayHub:
    """The part of a gateway that hands events to its clients, and one client."""

    def __init__(self, url: str) -> None:
        self.clock = SystemClock()
        self.cache = RedisCache(url, operation_seconds_max=2)
        self.desk = ThreeMarkets()
        self.registry = CollectorRegistry()
        self.markets = Markets(self.desk.instruments, self.clock)
        channels = MarketChannels(self.cache, self.clock, MarketChannelMetrics(self.registry))
        metrics = GatewayMetrics(self.registry)
        self.hub = Hub(self.desk, self.markets, OrderTracker(10), metrics, GatewaySettings(), channels)
        self.ear = Ear()
        self.other = Ear()

    async def run(self) -> None:
        """Until cancelled."""
        await self.hub.run(lambda: None)

    async def listen(self, *symbols: str) -> None:
        """The client listens to markets, another to orders."""
        await self.markets.refresh()
        self.hub.listen("orders", self.other)
        channels = [f"market:{symbol}" for symbol in symbols]
        for channel in channels:
            self.hub.listen(channel, self.ear)
        await self.hub.joined(channels, self.ear)

    def told(self) -> set[tuple[str, str]]:
        """Channels and events that came since the last time."""
        found = {(one["channel"], one["event"]) for one in self.ear.heard}
        self.ear.heard.clear()
        return found


class Desk:
    """A publisher that says something of every symbol in every turn, and two gateways."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.cache = RedisCache(servers.url, operation_seconds_max=2)
        self.registry = CollectorRegistry()
        self.writer = MarketChannelsWriter(self.cache, SystemClock(), MarketWriterMetrics(self.registry))
        self.one = GatewayHub(servers.url)
        self.two = GatewayHub(servers.url)

    async def say(self) -> None:
        """Tops and trades, until cancelled."""
        number = 0
        while True:
            number += 1
            for symbol in SYMBOLS:
                self.writer.take(top(number, symbol))
                self.writer.take(trade(number, symbol))
            await anyio.sleep(0.02)

    async def hear(self) -> None:
        """Wait until both clients hear their markets again."""
        for gateway in (self.one, self.two):
            gateway.told()
        ears = (self.one.ear, self.two.ear)
        await until(lambda: all(any(one["event"] == "trade" for one in ear.heard) for ear in ears))

    async def gap(self, gateway: GatewayHub, seconds_max: float = WAIT_SECONDS_MAX) -> None:
        """Wait until a gateway's client was told once that nothing is heard."""
        await until(lambda: any(one["channel"] == "status" for one in gateway.ear.heard), seconds_max)
        assert sum(one["channel"] == "status" for one in gateway.ear.heard) == 1


@asynccontextmanager
async def running(servers: Servers) -> AsyncIterator[Desk]:
    """A desk whose gateways hear different markets."""
    desk = Desk(servers)
    try:
        async with anyio.create_task_group() as group:
            for run in (desk.one.run, desk.two.run, desk.writer.run, desk.say):
                group.start_soon(run)
            await desk.one.listen("BTCUSDT")
            await desk.two.listen("ETHUSDT", "XRPUSDT")
            await desk.hear()
            desk.one.told()
            desk.two.told()
            yield desk
            for gateway in (desk.one, desk.two):
                assert not gateway.other.heard, "who listens to no market hears nothing of this"
            group.cancel_scope.cancel()
    finally:
        for cache in (desk.cache, desk.one.cache, desk.two.cache):
            await cache.close()


def channels_at(node: NativeRedis) -> set[str]:
    """The markets that somebody listens to at a server."""
    found = node.command("PUBSUB", "CHANNELS", "polaris:market:*").split()
    return {one.removeprefix("polaris:market:") for one in found}


@pytest.fixture
def single() -> Iterator[NativeRedis]:
    """A server that a test may kill."""
    found = start_or_skip(NativeRedis.create)
    yield found
    found.stop()


@pytest.fixture
def cluster() -> Iterator[RedisCluster]:
    """Six nodes."""
    found = start_or_skip(RedisCluster.create)
    yield found
    found.stop()


@pytest.fixture
def sentinel() -> Iterator[RedisSentinel]:
    """A master, two replicas and three sentinels."""
    found = start_or_skip(RedisSentinel.create)
    yield found
    found.stop()


async def test_each_gateway_hears_the_markets_of_its_clients(single: NativeRedis) -> None:
    """Channels come and go with those who listen; a client hears its own markets and no other."""
    async with running(single) as desk:
        await desk.hear()
        await anyio.sleep(0.3)
        assert desk.one.told() == {("market:BTCUSDT", "trade"), ("market:BTCUSDT", "top")}
        assert {channel for channel, _ in desk.two.told()} == {"market:ETHUSDT", "market:XRPUSDT"}
        assert channels_at(single) == set(SYMBOLS)
        desk.two.hub.leave("market:XRPUSDT", desk.two.ear)
        await until(lambda: channels_at(single) == {"BTCUSDT", "ETHUSDT"})
        # Fifty changes of each symbol a second leave as some twenty turns, with all trades and one top each.
        before, messages = (_published(desk, what) for what in ("turns", "messages"))
        await anyio.sleep(1)
        turns, said = _published(desk, "turns") - before, _published(desk, "messages") - messages
        assert turns <= 3 * 25
        assert turns < said < 3 * (50 + 25)
        assert desk.one.registry.get_sample_value("polaris_gateway_markets_heard") == 1


def _published(desk: Desk, what: str) -> float:
    return desk.registry.get_sample_value(f"polaris_market_data_{what}_published_total") or 0.0


async def test_a_redis_that_is_killed_is_a_gap_and_then_all_goes_on(single: NativeRedis) -> None:
    """Told at once and once; marks still come; soon after it is back, empty, both hear their markets again."""
    async with running(single) as desk:
        await anyio.to_thread.run_sync(single.kill)
        for gateway in (desk.one, desk.two):
            await desk.gap(gateway, 5)
        # Some attempts to hear again fail without another word.
        await anyio.sleep(3)
        desk.one.desk.publish(mark())
        await until(lambda: len(desk.one.ear.heard) == 2)
        assert desk.one.told() == {("status", "gap"), ("market:BTCUSDT", "mark")}
        assert len(desk.two.ear.heard) == 1
        await anyio.to_thread.run_sync(single.start)
        started = time.monotonic()
        await until(lambda: any(one["event"] == "trade" for one in desk.one.ear.heard))
        assert time.monotonic() - started < 10
        assert ("market:BTCUSDT", "gap") in desk.one.told()


async def test_a_redis_that_is_flushed_loses_no_event(single: NativeRedis) -> None:
    """Nothing that is published is kept there, so there is nothing to lose."""
    async with running(single) as desk:
        for _ in range(5):
            single.command("FLUSHALL")
            await anyio.sleep(0.1)
        assert not {one for gateway in (desk.one, desk.two) for one in gateway.told() if one[1] == "gap"}
        await desk.hear()


async def test_a_redis_that_hangs_is_noticed_within_seconds(single: NativeRedis) -> None:
    """A connection that is open and dead is a gap; when the server wakes up, both hear again."""
    async with running(single) as desk:
        single.process.send(signal.SIGSTOP)
        for gateway in (desk.one, desk.two):
            await desk.gap(gateway, SILENCE_SECONDS + 5)
        single.process.send(signal.SIGCONT)
        await desk.hear()


async def test_a_failover_behind_sentinel_is_a_gap_and_then_all_goes_on(sentinel: RedisSentinel) -> None:
    """The master dies; both hear again from the one that was promoted."""
    async with running(sentinel) as desk:
        await anyio.to_thread.run_sync(sentinel.master().kill)
        for gateway in (desk.one, desk.two):
            await desk.gap(gateway)
        await desk.hear()


async def test_a_node_of_a_cluster_that_dies_is_a_gap_for_those_who_listen_there(cluster: RedisCluster) -> None:
    """Whoever listened at it goes to another node; those who publish find a node too."""
    async with running(cluster) as desk:
        victim = next(node for node in cluster.nodes if "BTCUSDT" in channels_at(node))
        await anyio.to_thread.run_sync(victim.kill)
        await desk.gap(desk.one)
        await desk.hear()
        await anyio.to_thread.run_sync(victim.start)
        await anyio.to_thread.run_sync(cluster.wait_for_replicas)
        await desk.hear()


async def test_a_line_that_is_cut_while_listeners_come_and_go_is_only_a_gap(single: NativeRedis) -> None:
    """Whichever of reading, joining and leaving meets the cut first, the gateway goes on and hears again."""
    async with running(single) as desk, anyio.create_task_group() as group:
        gateway, visitor = desk.one, Ear()

        async def come_and_go() -> None:
            while True:
                for symbol in SYMBOLS:
                    gateway.hub.listen(f"market:{symbol}", visitor)
                    await gateway.hub.joined([f"market:{symbol}"], visitor)
                    await anyio.sleep(0.001)
                    gateway.hub.leave(f"market:{symbol}", visitor)

        group.start_soon(come_and_go)
        for _ in range(6):
            single.command("CLIENT", "KILL", "TYPE", "pubsub")
            await desk.gap(gateway)
            await desk.hear()
            gateway.told()
        group.cancel_scope.cancel()
