"""One suite over every cache: the twin in memory, and Redis as a single server, a cluster, and behind Sentinel."""

from __future__ import annotations

import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from tests.real_servers import start_or_skip

from polaris_synapse.order_gateway.limits import TokenBuckets
from polaris_synapse.order_gateway.settings import Budget
from polaris_synapse.storage.cache.memory import MemoryCache
from polaris_synapse.storage.cache.port import CacheUnavailableError, ChannelListener, Revocation, SharedCache
from polaris_synapse.storage.cache.redis import RedisCache
from polaris_synapse.storage.cache.revocations import RevocationMirror
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.servers.redis import NativeRedis, RedisCluster, RedisSentinel, RedisServer

pytestmark = pytest.mark.anyio

SECONDS_MAX = 5.0
NS = 1_000_000_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """Six nodes."""
    found = start_or_skip(RedisCluster.create)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def sentinel() -> Iterator[RedisSentinel]:
    """A master, two replicas and three sentinels."""
    found = start_or_skip(RedisSentinel.create)
    yield found
    found.stop()


#: Makes one more client of the same cache.
Open = Callable[[], SharedCache]


@pytest.fixture(params=["memory", "single", "cluster", "sentinel"])
def opener(request: pytest.FixtureRequest) -> Open:
    """How to open the cache of each kind."""
    if request.param == "memory":
        twin = MemoryCache()
        return lambda: twin
    fixture = {"single": "redis_server", "cluster": "cluster", "sentinel": "sentinel"}[request.param]
    server: RedisServer | RedisCluster | RedisSentinel = request.getfixturevalue(fixture)
    return lambda: RedisCache(server.url, operation_seconds_max=SECONDS_MAX)


@asynccontextmanager
async def clients(opener: Open, count: int) -> AsyncIterator[list[SharedCache]]:
    """Several clients of one cache, as several processes are."""
    found = [opener() for _ in range(count)]
    try:
        yield found
    finally:
        for one in found:
            await one.close()


def unique(name: str) -> str:
    """A name that no other test uses in the same server."""
    return f"{name}-{secrets.token_hex(4)}"


async def test_prices_written_by_one_are_read_by_another(opener: Open) -> None:
    """The newest price of each symbol comes back as it was given; unknown symbols are left out."""
    a, b = unique("A"), unique("B")
    async with clients(opener, 2) as (one, other):
        await one.put_prices({a: b"1.5", b: b"\x00\xff"})
        await one.put_prices({a: b"1.6"})
        await one.put_prices({})
        assert await other.prices([a, b, unique("C")]) == {a: b"1.6", b: b"\x00\xff"}
        assert await other.prices([]) == {}


async def test_a_shared_budget_counts_as_the_gateways_own(opener: Open) -> None:
    """Step by step the shared bucket grants and refuses what the gateway's own one does, whoever asks."""
    clock, key = ManualClock(), unique("10.0.0.1")
    own, budget = TokenBuckets(clock, keys_max=10), Budget("log_ins", 0.5, 3)
    async with clients(opener, 2) as both:
        for step, seconds in enumerate((0, 0, 0, 0, 0.5, 1.0, 0.5, 7, 0, 0, 0, 100, 0.001)):
            clock.advance(seconds)
            expected = await own.take(budget, key)
            shared = both[step % 2]
            found = await shared.take(
                budget.name, key, per_second=budget.per_second, burst=budget.burst, now_ns=clock.now_ns()
            )
            assert found == pytest.approx(expected, abs=1e-5), step
            if step == 5:
                await own.give_back(budget, key)
                await shared.give_back(budget.name, key, burst=budget.burst)


async def test_a_budget_is_never_spent_twice(opener: Open) -> None:
    """Forty requests at once over four clients: exactly the burst is granted."""
    key = unique("10.0.0.2")
    granted = 0

    async def ask(client: SharedCache) -> None:
        nonlocal granted
        wait = await client.take("orders", key, per_second=0.001, burst=10, now_ns=NS)
        granted += wait == 0.0

    async with clients(opener, 4) as four, anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(ask, four[number % 4])
    assert granted == 10


async def test_a_clock_that_is_behind_gives_nothing_away(opener: Open) -> None:
    """A process whose clock lags neither refills the bucket nor takes it back."""
    key = unique("10.0.0.3")
    async with clients(opener, 2) as (ahead, behind):
        assert await ahead.take("x", key, per_second=1, burst=1, now_ns=100 * NS) == 0.0
        assert await behind.take("x", key, per_second=1, burst=1, now_ns=50 * NS) == pytest.approx(1.0)
        assert await ahead.take("x", key, per_second=1, burst=1, now_ns=101 * NS) == 0.0


async def test_what_was_used_elsewhere_is_a_debt(opener: Open) -> None:
    """Units that were granted already are taken off, below zero too, though never deeper than one burst."""
    key, clock = unique("ann"), ManualClock()
    async with clients(opener, 2) as (one, other):

        async def spend(client: SharedCache, units: int) -> float:
            return await client.spend("orders", key, units=units, per_second=10, burst=20, now_ns=clock.now_ns())

        assert await spend(one, 15) == 0.0
        assert await spend(other, 5) == 0.0
        assert await spend(one, 10) == pytest.approx(1.0)
        clock.advance(0.5)
        assert await spend(other, 0) == pytest.approx(0.5, abs=1e-5)
        assert await one.take("orders", key, per_second=10, burst=20, now_ns=clock.now_ns()) > 0.5
        assert await spend(other, 1_000) == pytest.approx(2.0)
        clock.advance(4)
        assert await spend(one, 20) == pytest.approx(0.0, abs=1e-5)


async def test_a_name_is_claimed_once(opener: Open) -> None:
    """Of all who ask at once one is the first; after its time the name is free again."""
    name, soon = unique("bot/nonce"), unique("bot/nonce")
    firsts: list[bool] = []

    async def ask(client: SharedCache) -> None:
        firsts.append(await client.claim(name, seconds=60))

    async with clients(opener, 4) as four:
        async with anyio.create_task_group() as group:
            for client in four:
                group.start_soon(ask, client)
        assert sorted(firsts) == [False, False, False, True]
        assert await four[0].claim(soon, seconds=0.2)
        with anyio.fail_after(10):
            while not await four[1].claim(soon, seconds=0.2):
                await anyio.lowlevel.checkpoint()


class Heard:
    """What a listener heard."""

    def __init__(self) -> None:
        self.listener: ChannelListener
        self.said: list[tuple[str, bytes]] = []
        self.lost = anyio.Event()

    def of(self, channel: str) -> list[bytes]:
        """What was said on one channel."""
        return [payload for name, payload in self.said if name == channel]


async def eventually_heard(condition: Callable[[], bool]) -> None:
    """Wait until something was heard."""
    with anyio.fail_after(30):
        while not condition():
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def listening(cache: SharedCache, *channels: str, silence_seconds: float = 5) -> AsyncIterator[Heard]:
    """A listener that has joined some channels, and what it hears; ``lost`` is set where its line is."""
    found = Heard()

    async def follow(listener: ChannelListener) -> None:
        try:
            async for one in listener:
                found.said.append(one)
        except CacheUnavailableError:
            found.lost.set()

    async with cache.listen(silence_seconds=silence_seconds) as listener, anyio.create_task_group() as group:
        found.listener = listener
        group.start_soon(follow, listener)
        await listener.join(channels)
        yield found
        group.cancel_scope.cancel()


async def test_what_is_published_reaches_everybody_who_listens(opener: Open) -> None:
    """All listeners of a channel hear it in order, and no other channel does."""
    a, b = unique("A"), unique("B")
    async with (
        clients(opener, 3) as (sender, one, other),
        listening(one, a, b) as both,
        listening(other, a) as first,
    ):
        await sender.publish({unique("elsewhere"): b"no"})
        await sender.publish({})
        for number in range(3):
            await sender.publish({a: b"a%d" % number, b: b"b%d" % number})
        await sender.publish({a: b"\x00\xff", b: b"end"})
        await eventually_heard(lambda: len(both.said) == 8 and len(first.said) == 4)
        assert both.of(a) == first.of(a) == [b"a0", b"a1", b"a2", b"\x00\xff"]
        assert both.of(b) == [b"b0", b"b1", b"b2", b"end"]


async def test_a_listener_joins_and_leaves_channels_while_it_listens(opener: Open) -> None:
    """What is published after a join is heard, after a leave not, and after another join again."""
    a, b = unique("A"), unique("B")
    async with clients(opener, 2) as (sender, one), listening(one, a) as found:
        await sender.publish({b: b"too early", a: b"1"})
        await eventually_heard(lambda: found.of(a) == [b"1"])
        await found.listener.join([b])
        await sender.publish({a: b"2", b: b"2"})
        await eventually_heard(lambda: found.of(a) == [b"1", b"2"] and found.of(b) == [b"2"])
        await found.listener.leave([a])
        # Once another channel is joined, the server has heard of that, too.
        await found.listener.join([unique("C")])
        await sender.publish({a: b"3"})
        await sender.publish({b: b"3"})
        await eventually_heard(lambda: found.of(b) == [b"2", b"3"])
        await found.listener.join([a])
        await sender.publish({a: b"4"})
        await eventually_heard(lambda: found.of(a) == [b"1", b"2", b"4"])
        assert not found.lost.is_set()


async def test_quiet_is_no_silence(opener: Open) -> None:
    """While nothing is said the line proves that it lives, and the next message still arrives."""
    channel = unique("quiet")
    async with clients(opener, 2) as (sender, one), listening(one, channel, silence_seconds=0.4) as found:
        # Long enough for several questions whether the line lives.
        await anyio.sleep(1.5)
        assert not found.lost.is_set()
        await sender.publish({channel: b"at last"})
        await eventually_heard(lambda: found.said == [(channel, b"at last")])


async def test_revocations_are_read_once_and_in_order(opener: Open) -> None:
    """A cursor goes on where it was; the empty one begins at the beginning."""
    names = [unique("token") for _ in range(3)]
    async with clients(opener, 2) as (one, other):
        before = await other.revoked_since("")
        await one.revoke([Revocation(names[0], 5), Revocation(names[1], 0)])
        page = await other.revoked_since(before.cursor)
        assert page.revocations == (Revocation(names[0], 5), Revocation(names[1], 0))
        assert page.epoch == before.epoch
        await other.revoke([Revocation(names[2], 7)])
        assert (await one.revoked_since(page.cursor)).revocations == (Revocation(names[2], 7),)
        assert {one.name for one in (await one.revoked_since("")).revocations} >= set(names)


async def test_every_process_learns_of_a_revocation(opener: Open) -> None:
    """Log out at one gateway, and the others know at their next look; expired ones are forgotten."""
    clock, name, short = ManualClock(), unique("token"), unique("token")
    async with clients(opener, 2) as (one, other):
        here, there = RevocationMirror(one, clock), RevocationMirror(other, clock)
        assert not there.is_current()
        assert await here.compare()
        assert await there.compare()
        here.add(name, 0)
        here.add(short, clock.now_ns() + NS)
        assert here.is_revoked(name)
        assert await here.publish()
        assert await there.compare()
        assert there.is_current()
        assert there.is_revoked(name)
        assert there.is_revoked(short)
        clock.advance(2)
        assert await there.compare()
        assert there.is_revoked(name)
        assert not there.is_revoked(short)


@pytest.fixture
def single() -> Iterator[NativeRedis]:
    """A server that a test may kill."""
    found = start_or_skip(NativeRedis.create)
    yield found
    found.stop()


async def eventually(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Try until it works."""
    with anyio.fail_after(30):
        while not await attempt():
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("loss", ["flush", "restart"])
async def test_a_cache_that_forgets_is_told_again(single: NativeRedis, loss: str) -> None:
    """After a flush or a restart without its data, revocations come back from whoever knows them."""
    clock, name = ManualClock(), unique("key")
    async with clients(lambda: RedisCache(single.url, operation_seconds_max=SECONDS_MAX), 2) as (one, other):
        here = RevocationMirror(one, clock)
        here.add(name, 0)
        assert await here.compare()
        if loss == "flush":
            single.command("FLUSHALL")
        else:
            await anyio.to_thread.run_sync(single.kill)
            await anyio.to_thread.run_sync(single.start)
        await eventually(here.compare)
        late = RevocationMirror(other, clock)
        await eventually(late.compare)
        assert late.is_revoked(name)


async def test_without_the_cache_nothing_is_certain(single: NativeRedis) -> None:
    """While the cache is gone every call says so, and the mirror soon is no longer current; afterwards all is well."""
    clock = ManualClock()
    cache = RedisCache(single.url, operation_seconds_max=0.5)
    mirror = RevocationMirror(cache, clock, stale_seconds_max=5)
    assert await mirror.compare()
    await anyio.to_thread.run_sync(single.kill)
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: cache.prices(["A"]),
        lambda: cache.put_prices({"A": b"1"}),
        lambda: cache.take("x", "y", per_second=1, burst=1, now_ns=0),
        lambda: cache.give_back("x", "y", burst=1),
        lambda: cache.spend("x", "y", units=1, per_second=1, burst=1, now_ns=0),
        lambda: cache.claim("x", seconds=1),
        lambda: cache.publish({"x": b"y"}),
        lambda: cache.revoke([Revocation("z", 0)]),
        lambda: cache.revoked_since(""),
    )
    for call in calls:
        with pytest.raises(CacheUnavailableError):
            await call()
    with pytest.raises(CacheUnavailableError):
        async with cache.listen(silence_seconds=1):
            pass
    clock.advance(4)
    assert not await mirror.compare()
    assert mirror.is_current()
    clock.advance(2)
    assert not mirror.is_current()
    await anyio.to_thread.run_sync(single.start)
    await eventually(mirror.compare)
    assert mirror.is_current()
    await cache.close()


async def test_a_listener_notices_that_its_server_is_gone(single: NativeRedis) -> None:
    """A server that is killed, one that hangs and one that cuts the line end the listening; a flush does not."""
    cache = RedisCache(single.url, operation_seconds_max=SECONDS_MAX)
    async with listening(cache, "x") as found:
        single.command("FLUSHALL")
        await cache.publish({"x": b"still"})
        await eventually_heard(lambda: found.said == [("x", b"still")])
        single.command("CLIENT", "KILL", "TYPE", "pubsub")
        with anyio.fail_after(5):
            await found.lost.wait()
    async with listening(cache, "x", silence_seconds=1) as found:
        single.process.send(signal.SIGSTOP)
        with anyio.fail_after(5):
            await found.lost.wait()
        single.process.send(signal.SIGCONT)
    async with listening(cache, "x") as found:
        await anyio.to_thread.run_sync(single.kill)
        with anyio.fail_after(5):
            await found.lost.wait()
        with pytest.raises(CacheUnavailableError):
            await found.listener.join(["y"])
    await anyio.to_thread.run_sync(single.start)

    async def says() -> bool:
        # The first attempt may be on a connection that the server's end has ended too.
        try:
            await cache.publish({"x": b"again"})
        except CacheUnavailableError:
            return False
        return True

    async with listening(cache, "x") as found:
        await eventually(says)
        await eventually_heard(lambda: found.said == [("x", b"again")])
    await cache.close()


async def test_a_listener_that_is_too_slow_is_cut_off(single: NativeRedis) -> None:
    """What the server keeps for it has a bound; beyond it the line is lost, and nothing is made up for."""
    single.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1048576 1048576 1")
    cache = RedisCache(single.url, operation_seconds_max=SECONDS_MAX)
    async with cache.listen(silence_seconds=SECONDS_MAX) as listener:
        said = aiter(listener)
        async with anyio.create_task_group() as group:

            async def hear_one() -> None:
                await anext(said)

            group.start_soon(hear_one)
            await listener.join(["x"])
            await cache.publish({"x": b"first"})
        # Far more than the operating system takes for a connection that nobody reads.
        for _ in range(128):
            await cache.publish({"x": b"x" * 262_144})

        async def hear_the_rest() -> None:
            with anyio.fail_after(10):
                while True:
                    await anext(said)

        with pytest.raises(CacheUnavailableError):
            await hear_the_rest()
    await cache.close()


@asynccontextmanager
async def hearing_again_after(publisher: SharedCache, other: SharedCache) -> AsyncIterator[None]:
    """Before and after what is done within, somebody who listens anew hears what is published."""
    channel = unique("failover")
    async with listening(other, channel, silence_seconds=2) as found:
        await publisher.publish({channel: b"before"})
        await eventually_heard(lambda: bool(found.said))
    yield

    async def hears() -> bool:
        found: Heard | None = None
        try:
            async with listening(other, channel, silence_seconds=2) as found:
                await publisher.publish({channel: b"after"})
                with anyio.move_on_after(1):
                    await eventually_heard(lambda: bool(found.said))
        except* CacheUnavailableError:
            pass
        return found is not None and bool(found.said)

    await eventually(hears)


async def test_channels_survive_a_failover_of_the_cluster(cluster: RedisCluster) -> None:
    """Masters die one after the other, and whoever listens and publishes anew finds nodes that live."""
    await anyio.to_thread.run_sync(cluster.wait_for_replicas)
    async with clients(lambda: RedisCache(cluster.url, operation_seconds_max=SECONDS_MAX), 2) as (one, other):
        for victim in cluster.masters()[:2]:
            async with hearing_again_after(one, other):
                await anyio.to_thread.run_sync(victim.kill)
            await anyio.to_thread.run_sync(victim.start)
            await anyio.to_thread.run_sync(cluster.wait_for_replicas)


async def test_a_failover_of_the_cluster_is_survived(cluster: RedisCluster) -> None:
    """A master dies: its slots answer again from its replica, and revocations are still known to everybody."""
    clock, name = ManualClock(), unique("token")
    await anyio.to_thread.run_sync(cluster.wait_for_replicas)
    async with clients(lambda: RedisCache(cluster.url, operation_seconds_max=SECONDS_MAX), 2) as (one, other):
        here, there = RevocationMirror(one, clock), RevocationMirror(other, clock)
        here.add(name, 0)
        assert await here.compare()
        assert await there.compare()
        victim = cluster.masters()[0]
        await anyio.to_thread.run_sync(victim.kill)
        try:
            await eventually(here.compare)
            await eventually(there.compare)
            assert there.is_revoked(name)

            async def takes() -> bool:
                try:
                    for number in range(20):
                        await one.take("x", f"{name}{number}", per_second=1, burst=5, now_ns=NS)
                except CacheUnavailableError:
                    return False
                return True

            await eventually(takes)
        finally:
            await anyio.to_thread.run_sync(victim.start)
            await anyio.to_thread.run_sync(cluster.wait_for_replicas)


async def test_a_failover_behind_sentinel_is_survived(sentinel: RedisSentinel) -> None:
    """The master dies: the promoted replica answers under the same URL, channels too, and what was revoked stays so."""
    clock, name = ManualClock(), unique("token")
    async with clients(lambda: RedisCache(sentinel.url, operation_seconds_max=SECONDS_MAX), 2) as (one, other):
        mirror = RevocationMirror(one, clock)
        mirror.add(name, 0)
        assert await mirror.compare()
        victim = sentinel.master()
        async with hearing_again_after(one, other):
            await anyio.to_thread.run_sync(victim.kill)
        try:
            await eventually(mirror.compare)
            assert sentinel.master().port != victim.port
            assert name in {one.name for one in (await one.revoked_since("")).revocations}
        finally:
            await anyio.to_thread.run_sync(victim.start)


def test_a_password_is_in_no_error() -> None:
    """A cache's URL with its password never shows in what it raises or is."""
    cache = RedisCache("redis://:very-secret@127.0.0.1:1/0")
    assert "very-secret" not in repr(cache)
