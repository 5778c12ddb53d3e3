"""Gateways that share a cache: signed requests work once anywhere, and without the cache only stops pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.unit.order_gateway.fake_desk import Gateway, buy, mark, running_gateway, until

from polaris_synapse.order_gateway.last_prices import LastPrices, LastPricesWriter
from polaris_synapse.order_gateway.stops import only_stops
from polaris_synapse.storage.cache.memory import MemoryCache
from polaris_synapse.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

_BODY = msgspec.json.encode(buy())


@asynccontextmanager
async def two_gateways(directory: Path, cache: MemoryCache) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two gateways over the same users, keys, clock and cache."""
    clock = ManualClock()
    async with (
        running_gateway(directory, clock=clock, cache=cache, auth_database="auth.sqlite") as one,
        running_gateway(
            directory, desk=one.desk, clock=clock, cache=cache, keys=one.keys, auth_database="auth.sqlite"
        ) as other,
    ):
        other.service.credentials.refresh()
        for gateway in (one, other):
            await until(gateway.service.credentials.certain)
        yield one, other


async def lose(cache: MemoryCache, *gateways: Gateway) -> None:
    """The cache goes, and stays away until nobody knows any more what was revoked."""
    cache.available = False
    gateways[0].clock.advance(6)
    for gateway in gateways:
        await until(lambda gateway=gateway: not gateway.service.credentials.certain())  # type: ignore[misc]  # bound now


async def test_a_signed_request_works_once_at_all_gateways(tmp_path: Path) -> None:
    """A copy of a request that one gateway took is refused at the other."""
    async with two_gateways(tmp_path, MemoryCache()) as (one, other):
        headers = one.headers("trader", "POST", "/orders", _BODY, nonce="once-only")
        assert (await one.client.post("/orders", content=_BODY, headers=headers)).status_code == 201
        copy = await other.client.post("/orders", content=_BODY, headers=headers)
        assert (copy.status_code, copy.json()["reason"]) == (401, "NONCE_REUSED")
        assert (await other.call("trader", "GET", "/orders")).status_code == 200


async def test_while_copies_cannot_be_told_signed_orders_are_refused(tmp_path: Path) -> None:
    """The moment the cache is gone, signed orders are refused; reads, cancels and orders with a token pass."""
    cache = MemoryCache()
    async with two_gateways(tmp_path, cache) as (one, _):
        token = await one.log_in("alice")
        cache.available = False
        refused = await one.client.post(
            "/orders", content=_BODY, headers=one.headers("trader", "POST", "/orders", _BODY)
        )
        assert (refused.status_code, refused.json()["reason"]) == (503, "CACHE_UNAVAILABLE")
        assert refused.headers["retry-after"] == "1"
        assert (await one.call("trader", "GET", "/orders")).status_code == 200
        assert (await one.call("trader", "DELETE", "/orders?account=main")).status_code == 200
        with_token = token | {"content-type": "application/json"}
        assert (await one.client.post("/orders", content=_BODY, headers=with_token)).status_code == 201


async def test_while_revocations_cannot_be_known_only_stops_pass(tmp_path: Path) -> None:
    """Some seconds later reads and orders are refused however they are authenticated; cancels pass, and log-outs."""
    cache = MemoryCache()
    async with two_gateways(tmp_path, cache) as (one, other):
        token = await one.log_in("alice")
        await lose(cache, one, other)
        for answer in (
            await one.call("trader", "GET", "/orders"),
            await one.client.get("/orders", headers=token),
            await one.call("trader", "POST", "/orders", buy()),
            await one.client.post("/orders", content=_BODY, headers=token | {"content-type": "application/json"}),
        ):
            assert (answer.status_code, answer.json()["reason"]) == (503, "CACHE_UNAVAILABLE")
        assert (await other.call("risk_officer", "DELETE", "/orders?account=main")).status_code == 200
        assert (await one.client.delete("/orders?account=main", headers=token)).status_code == 200
        assert (await one.client.post("/logout", headers=token)).status_code == 200
        gone = await one.client.delete("/orders?account=main", headers=token)
        assert (gone.status_code, gone.json()["reason"]) == (401, "TOKEN_EXPIRED")
        cache.available = True
        one.clock.advance(1)
        await until(one.service.credentials.certain)
        assert (await one.call("trader", "GET", "/orders")).status_code == 200


async def test_a_copy_of_a_stop_is_refused_where_it_was_made(tmp_path: Path) -> None:
    """Without the cache each gateway still knows its own nonces."""
    cache = MemoryCache()
    async with two_gateways(tmp_path, cache) as (one, _):
        cache.available = False
        headers = one.headers("trader", "DELETE", "/orders?account=main", nonce="once-only")
        assert (await one.client.delete("/orders?account=main", headers=headers)).status_code == 200
        again = await one.client.delete("/orders?account=main", headers=headers)
        assert again.json()["reason"] == "NONCE_REUSED"


async def test_the_budget_of_reads_is_one_over_all_gateways(tmp_path: Path) -> None:
    """What a principal used at one gateway is missing at the other a moment later."""
    async with two_gateways(tmp_path, MemoryCache()) as (one, other):
        for gateway in (one, other):
            for _ in range(300):
                assert gateway.service.limiter.take_now(gateway.service.settings.reads, "key:trader") == 0.0
        one.clock.advance(0.1)
        await until(lambda: bool(other.service.limiter.take_now(other.service.settings.reads, "key:trader")))
        refused = await other.call("trader", "GET", "/orders")
        assert (refused.status_code, refused.json()["reason"]) == (429, "RATE_LIMITED")


async def test_a_gateway_that_starts_knows_the_last_prices(tmp_path: Path) -> None:
    """A mark that was written before a gateway came is its price until it hears a newer one, which is kept."""
    cache = MemoryCache()
    async with running_gateway(tmp_path, cache=cache) as gateway:
        markets, clock = gateway.service.markets, gateway.clock
        instrument = await markets.instrument("BTCUSDT")
        assert markets.mark(instrument) is None
        old, new = mark(6_000_000), mark(6_000_100)
        marks = [old]
        writer = LastPricesWriter(cache, clock, lambda: marks)
        await writer.write()
        await LastPrices(cache, clock, markets).read()
        assert markets.mark(instrument) == old
        markets.take_mark(new)
        await LastPrices(cache, clock, markets).read()
        assert markets.mark(instrument) == new


async def test_prices_are_written_again_when_the_cache_is_back(tmp_path: Path) -> None:
    """Only changes are written; after a loss everything is, since the cache may have forgotten. Rubbish is left out."""
    cache = MemoryCache()
    async with running_gateway(tmp_path) as gateway:
        markets, clock = gateway.service.markets, gateway.clock
        symbol = mark().symbol
        writer = LastPricesWriter(cache, clock, lambda: [mark()])
        await writer.write()
        cache.lose()
        await writer.write()
        assert await cache.prices([symbol]) == {}
        cache.available = False
        await writer.write()
        await LastPrices(cache, clock, markets).read()
        cache.available = True
        await cache.put_prices({symbol: b"\xc1"})
        await LastPrices(cache, clock, markets).read()
        assert symbol not in markets.marks()
        await writer.write()
        await LastPrices(cache, clock, markets).read()
        assert symbol in markets.marks()


@pytest.mark.parametrize(
    "method, path, body, stops",
    [
        ("DELETE", "/orders", b"", True),
        ("DELETE", "/orders/17", b"", True),
        ("DELETE", "/orders/by-client-id/a-1", b"", True),
        ("DELETE", "/order-lists/by-client-id/a-1", b"", True),
        ("DELETE", "/standing/s-1", b"", True),
        ("DELETE", "/users/ann", b"", False),
        ("DELETE", "/keys/bot", b"", False),
        ("POST", "/orders", b"{}", False),
        ("PATCH", "/orders/17", b"{}", False),
        ("POST", "/circuit-breaker/activate", b"", True),
        ("POST", "/circuit-breaker/reset", b"", False),
        ("POST", "/kill-switch", b'{"level": 1}', True),
        ("POST", "/kill-switch", b'{"level": 3, "note": "x"}', True),
        ("POST", "/kill-switch", b'{"level": 0}', False),
        ("POST", "/kill-switch", b'{"level": true}', False),
        ("POST", "/kill-switch", b"", False),
        ("POST", "/kill-switch", b"[1]", False),
        ("POST", "/accounts/main/sanctions-hold", b'{"held": true}', True),
        ("POST", "/accounts/main/sanctions-hold", b'{"held": false}', False),
        ("POST", "/accounts/main/block", b'{"blocked": true}', True),
        ("POST", "/accounts/main/block", b"{}", False),
        ("POST", "/restrictions", b'{"restricted": true}', True),
        ("POST", "/restrictions", b'{"restricted": false}', False),
        ("PUT", "/symbols/BTCUSDT/status", b'{"status": "HALTED"}', True),
        ("PUT", "/symbols/BTCUSDT/status", b'{"status": "TRADING"}', False),
        ("POST", "/approvals/a1/reject", b"{}", True),
        ("POST", "/approvals/a1/approve", b"{}", False),
        ("GET", "/orders", b"", False),
    ],
)
def test_what_only_stops(method: str, path: str, body: bytes, stops: bool) -> None:
    """Cancels, trips, holds and halts stop; orders, resets, lifted holds and reads do not."""
    assert only_stops(method, path, body) is stops
