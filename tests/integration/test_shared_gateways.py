"""Two gateways over one cache: what one revokes the other refuses, and budgets of an address are one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from msgspec.structs import replace
from tests.real_servers import start_or_skip

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.credentials import ApiKey, User
from polaris_synapse.order_gateway.credentials_sqlite import SqliteCredentials
from polaris_synapse.order_gateway.limits import TokenBuckets
from polaris_synapse.order_gateway.settings import Budget
from polaris_synapse.order_gateway.shared import SharedBudgets, SharedCredentials
from polaris_synapse.order_gateway.tokens import Tokens
from polaris_synapse.storage.cache.memory import MemoryCache
from polaris_synapse.storage.cache.revocations import RevocationMirror
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.servers.redis import NativeRedis
from polaris_synapse.web.authentication import Role
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.signing import Algorithm

BUY = {"account": "main", "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
pytestmark = pytest.mark.anyio

LOG_INS = Budget("logins_of_address", 0.5, 4)
ORDERS = Budget("orders", 10.0, 20)


class Gateway:
    """The part of a gateway that knows who may come in, with a store of its own."""

    def __init__(self, directory: Path, cache: MemoryCache, clock: ManualClock) -> None:
        self.clock = clock
        self.mirror = RevocationMirror(cache, clock)
        self.store = SharedCredentials(SqliteCredentials(directory / "auth.sqlite3"), self.mirror)
        self.store.open(now_ns=clock.now_ns())
        self.tokens = Tokens(b"s" * 32, self.store, session_minutes=60, cached_max=10)
        own = TokenBuckets(clock, keys_max=10)
        self.budgets = SharedBudgets(cache, clock, own, frozenset({LOG_INS.name}), frozenset({ORDERS.name}))


@pytest.fixture
def cache() -> MemoryCache:
    """What the two share."""
    return MemoryCache()


@pytest.fixture
def pair(tmp_path: Path, cache: MemoryCache) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways with the same user and key."""
    clock = ManualClock()
    found = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        gateway = Gateway(tmp_path / name, cache, clock)
        gateway.store.put_user(
            User(name="ann", password_hash="x", role=Role.TRADER, accounts=("main",), created_time_ns=1)
        )
        gateway.store.put_key(
            ApiKey(
                key_id="bot",
                algorithm=Algorithm.HMAC_SHA256,
                verifier=b"k" * 32,
                role=Role.TRADER,
                accounts=("main",),
                created_time_ns=1,
            )
        )
        found.append(gateway)
    yield found[0], found[1]
    for gateway in found:
        gateway.store.close()


async def test_a_log_out_at_one_gateway_ends_the_session_at_the_other(pair: tuple[Gateway, Gateway]) -> None:
    """A token that one gateway voided is expired for the other at its next look, and a revoked key is revoked."""
    one, other = pair
    for gateway in pair:
        assert await gateway.mirror.compare()
    user = one.store.user("ann")
    assert user is not None
    now = one.clock.now_ns()
    token = one.tokens.issue(user, now).token
    assert other.tokens.read(token, now).name == "ann"
    await anyio.to_thread.run_sync(one.tokens.revoke, token, now)
    key = one.store.key("bot")
    assert key is not None
    await anyio.to_thread.run_sync(one.store.put_key, replace(key, revoked=True))
    assert await other.mirror.compare()
    with pytest.raises(ApiError) as refused:
        other.tokens.read(token, now)
    assert refused.value.reason is Reason.TOKEN_EXPIRED
    seen = other.store.key("bot")
    assert seen is not None
    assert seen.revoked


async def test_a_changed_user_is_void_at_the_other_gateway(pair: tuple[Gateway, Gateway]) -> None:
    """A user changed at one gateway is locked out of the other until that has seen what they are now."""
    one, other = pair
    for gateway in pair:
        assert await gateway.mirror.compare()
    user = other.store.user("ann")
    assert user is not None
    token = other.tokens.issue(user, other.clock.now_ns()).token
    await anyio.to_thread.run_sync(one.store.put_user, replace(user, role=Role.VIEWER))
    changed = one.store.user("ann")
    assert changed is not None
    assert not changed.disabled
    assert await other.mirror.compare()
    seen = other.store.user("ann")
    assert seen is not None
    assert seen.disabled
    with pytest.raises(ApiError) as refused:
        other.tokens.read(token, other.clock.now_ns())
    assert refused.value.reason is Reason.TOKEN_EXPIRED


async def test_a_gateway_that_cannot_know_is_not_certain(pair: tuple[Gateway, Gateway], cache: MemoryCache) -> None:
    """Before the first look, and some seconds after the cache has gone, nothing that was revoked here is certain."""
    one, _ = pair
    for _ in range(2):
        assert not one.store.certain()
        assert await one.mirror.compare()
        assert one.store.certain()
        cache.available = False
        one.clock.advance(6)
        assert not await one.mirror.compare()
        assert not one.store.certain()
        cache.available = True
        one.clock.advance(6)


async def test_an_address_has_one_budget_at_all_gateways(pair: tuple[Gateway, Gateway], cache: MemoryCache) -> None:
    """Attempts are counted together; while the cache is gone each gateway goes on with what it saw itself."""
    one, other = pair
    waits = [await (one, other)[number % 2].budgets.take(LOG_INS, "10.0.0.1") for number in range(5)]
    assert [wait == 0.0 for wait in waits] == [True] * 4 + [False]
    assert one.budgets.take_now(LOG_INS, "10.0.0.1") is None
    cache.available = False
    assert await one.budgets.take(LOG_INS, "10.0.0.1") == 0.0
    assert await one.budgets.take(LOG_INS, "10.0.0.1") > 0.0
    own = Budget("pings", 1.0, 1)
    assert one.budgets.take_now(own, "ann") == 0.0
    assert other.budgets.take_now(own, "ann") == 0.0


async def test_orders_of_a_client_are_counted_over_all_gateways(pair: tuple[Gateway, Gateway]) -> None:
    """Each gateway grants at once; told of the sum, both grant nothing until the client has paid its debt back."""
    one, other = pair
    assert [gateway.budgets.take_now(ORDERS, "ann") for gateway in pair for _ in range(15)] == [0.0] * 30
    for gateway in pair:
        await gateway.budgets.share()
    # The second to tell learns of ten too many, which take a second; the first at its next order.
    assert other.budgets.take_now(ORDERS, "ann") == pytest.approx(1.0)
    assert one.budgets.take_now(ORDERS, "ann") == 0.0
    await one.budgets.share()
    assert one.budgets.take_now(ORDERS, "ann") == pytest.approx(1.1)
    assert one.budgets.take_now(ORDERS, "bob") == 0.0
    one.clock.advance(1.2)
    assert other.budgets.take_now(ORDERS, "ann") == 0.0


async def test_without_the_cache_each_gateway_counts_for_itself(
    pair: tuple[Gateway, Gateway], cache: MemoryCache
) -> None:
    """While the cache is gone orders are granted by what each gateway saw, and no more than that."""
    one, other = pair
    cache.available = False
    for gateway in pair:
        assert [gateway.budgets.take_now(ORDERS, "ann") for _ in range(20)] == [0.0] * 20
        await gateway.budgets.share()
        assert gateway.budgets.take_now(ORDERS, "ann") == pytest.approx(0.1)
    cache.available = True
    one.clock.advance(2)
    assert other.budgets.take_now(ORDERS, "ann") == 0.0
    await other.budgets.share()
    assert other.budgets.take_now(ORDERS, "ann") == 0.0


def test_a_desk_over_redis_lets_only_stops_pass_while_redis_is_gone(tmp_path: Path) -> None:
    """Without its Redis a real desk refuses signed reads and orders, lets cancels and stops pass, and recovers."""
    server = start_or_skip(NativeRedis.create)
    url = server.url.replace(f":{server.password}@", "")
    environment = {
        "POLARIS_CACHE__URL": url,
        "REDIS_PASSWORD": server.password,
        # A busy machine is no cache that has gone.
        "POLARIS_CACHE__OPERATION_SECONDS_MAX": "2",
    }
    try:
        with DeskProcess(tmp_path / "desk", environment=environment) as desk:
            until(lambda: desk.request("gateway", "GET", "/orders").status_code == 200)
            server.kill()
            until(lambda: "CACHE_UNAVAILABLE" in desk.request("gateway", "GET", "/orders").text)
            assert desk.request("gateway", "GET", "/orders").status_code == 503
            refused = desk.request("gateway", "POST", "/orders", BUY)
            assert (refused.status_code, refused.json()["reason"]) == (503, "CACHE_UNAVAILABLE")
            assert desk.request("gateway", "DELETE", "/orders?account=main").status_code == 200
            pulled = desk.request("risk", "POST", "/kill-switch", {"level": 2, "note": "test"})
            assert pulled.status_code == 200, pulled.text
            assert desk.request("risk", "POST", "/kill-switch", {"level": 0, "note": "test"}).status_code == 503
            server.start()
            until(lambda: desk.request("risk", "POST", "/kill-switch", {"level": 0}).status_code == 200)
            until(lambda: desk.request("gateway", "GET", "/orders").status_code == 200)
            assert server.password not in desk.log_tail(lines=400)
    finally:
        server.stop()


def until(condition: object) -> None:
    """Ask until it holds; pytest's own timeout ends the wait."""
    assert callable(condition)
    while not condition():
        pass
