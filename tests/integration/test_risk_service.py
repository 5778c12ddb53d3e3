"""The risk service on a running host: its HTTP interface, its metrics, and limits from the configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import httpx2
import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import HTTPConnection
from tests.unit.risk.bench import BTCUSDT, NOON, Bench, usdt

from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.domain.messages import (
    AccountKind,
    AccountMetrics,
    AccountStanding,
    BreakChanged,
    KycState,
    ListInstrument,
    Mark,
    MoveFunds,
    PositionChanged,
    RiskLimits,
    SubmitOrder,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.api_types import LimitsFields
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.service import RiskService
from polaris_synapse.risk.settings import RiskSettings
from polaris_synapse.storage.port import ReadModels
from polaris_synapse.testing.bus import running_host
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError

pytestmark = pytest.mark.anyio

PEOPLE = {
    "rita": Principal("rita", Role.RISK_OFFICER, ("*",)),
    "root": Principal("root", Role.ADMIN, ("*",)),
    "tom": Principal("tom", Role.TRADER, ("alice",)),
    "vera": Principal("vera", Role.VIEWER, ("bob",)),
}
METRICS = AccountMetrics(
    time_ns=NOON,
    account="alice",
    equity_units=usdt(100),
    day_start_equity_units=usdt(90),
    peak_equity_units=usdt(110),
    exposure_units=usdt(60),
    open_orders_units=0,
)
POSITION = PositionChanged(
    time_ns=NOON,
    account="alice",
    symbol="BTCUSDT",
    quantity_lots=100,
    cost_units=usdt(60),
    realised_pnl_units=usdt(7),
    fees_units=usdt(1),
)
BREAK = BreakChanged(
    time_ns=NOON, break_id="b1", venue="paper", symbol="BTCUSDT", account="alice", is_open=True, detail="2 lots"
)


class HeaderAuthenticator:
    """Believes the header X-Person."""

    async def authenticate(self, connection: HTTPConnection, /) -> Principal:
        """The person named, or NOT_AUTHENTICATED."""
        person = PEOPLE.get(connection.headers.get("x-person", ""))
        if person is None:
            raise ApiError(Reason.NOT_AUTHENTICATED)
        return person


class FixedReadModels:
    """The three questions that the risk service asks, answered with the samples above."""

    async def account_metrics(self, *, account: str | None) -> list[AccountMetrics]:
        """The sample, if it is asked for."""
        return [METRICS] if account in (None, "alice") else []

    async def positions(self, *, account: str | None) -> list[PositionChanged]:
        """The sample, if it is asked for."""
        return [POSITION] if account in (None, "alice") else []

    async def breaks(self, *, open_only: bool = True) -> list[BreakChanged]:
        """The sample, and a resolved one."""
        return [BREAK] if open_only else [structs.replace(BREAK, break_id="b0", is_open=False), BREAK]


class Running:
    """A service at work on a host, and clients for it: one at this machine, one far away."""

    def __init__(self, host: EmbeddedHost, core: RiskCore, service: RiskService, registry: CollectorRegistry) -> None:
        self.host, self.core, self.service, self.registry = host, core, service, registry
        self.app = service.api()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        person: str = "rita",
        body: object = None,
        address: str = "10.1.2.3",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """The status and body of a request from an address."""
        transport = httpx2.ASGITransport(app=self.app, client=(address, 5000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            sent = {"x-person": person, **(headers or {})}
            response = await client.request(method, path, headers=sent, json=body)
            found: dict[str, Any] = response.json()
            return response.status_code, found

    async def order(self, client_order_id: str) -> Reason:
        """Submit a small order of alice."""
        request = structs.replace(Bench().request(lots=1_000), client_order_id=client_order_id)
        return (await self.host.request(SubmitOrder(time_ns=NOON, order=request, actor="user:alice"))).reason

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something has become true."""
        with anyio.fail_after(10):
            while not condition():  # noqa: ASYNC110  # metrics have no event to wait for
                await anyio.sleep(0.002)


@asynccontextmanager
async def running(settings: RiskSettings | None = None) -> AsyncIterator[Running]:
    """A host with a risk core, an instrument, a price and two accounts, and the service over it."""
    core, registry, clock = RiskCore(), CollectorRegistry(), ManualClock()
    async with running_host([core], registry=registry, clock=clock) as host:
        await host.request(ListInstrument(time_ns=NOON, instrument=BTCUSDT))
        standing = AccountStanding(
            time_ns=NOON,
            account="alice",
            account_kind=AccountKind.PERSON,
            kyc=KycState.APPROVED,
            sanctions_hold=False,
            blocked=False,
            restricted_symbols=(),
            version=1,
        )
        mark = Mark(
            time_ns=NOON,
            symbol="BTCUSDT",
            source="t",
            mark_ticks=6_000_000,
            bid_ticks=6_000_000,
            ask_ticks=6_000_000,
            last_ticks=6_000_000,
            healthy=True,
        )
        await host.send([standing, structs.replace(standing, account="bob"), mark])
        await host.request(
            MoveFunds(time_ns=NOON, account="alice", asset="USDT", amount_units=usdt(10_000), reference="r")
        )
        service = RiskService(
            host,
            core,
            cast(ReadModels, FixedReadModels()),
            HeaderAuthenticator(),
            clock,
            registry,
            settings or RiskSettings(limits=RiskLimits(market_data_age_seconds_max=0)),
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.run)
            desk = Running(host, core, service, registry)
            await desk.until(lambda: all(check() is None for check in service.readiness().values()))
            yield desk
            tasks.cancel_scope.cancel()


async def test_the_breaker_over_http_blocks_and_resets() -> None:
    """Activate without a body stops the desk, the status says so with who and why, a risk officer resets it."""
    async with running() as desk:
        assert await desk.order("a") is Reason.NONE
        status, body = await desk.ask("POST", "/circuit-breaker/activate")
        assert (status, body["changed"], body["order_ids"], body["journaled"]) == (200, True, [], True)
        assert await desk.order("b") is Reason.CIRCUIT_BREAKER
        status, body = await desk.ask("GET", "/circuit-breaker", person="tom")
        assert status == 200
        (tripped,) = body["tripped"]
        assert (tripped["scope"], tripped["reason"], tripped["actor"]) == ("*", "CIRCUIT_BREAKER", "user:rita")
        status, body = await desk.ask("POST", "/circuit-breaker/reset", person="tom", body={})
        assert (status, body["reason"]) == (403, "ROLE_NOT_ALLOWED")
        assert (await desk.ask("POST", "/circuit-breaker/reset", body={"note": "all clear"}))[0] == 200
        assert await desk.order("b") is Reason.NONE


async def test_anybody_at_the_machine_may_stop_but_no_other_sites_page() -> None:
    """From loopback a trip needs no login; from elsewhere, through a proxy or from a foreign page it is refused."""
    async with running() as desk:
        path = "/circuit-breaker/activate"
        local: dict[str, Any] = {"person": "nobody", "address": "127.0.0.1"}
        assert (await desk.ask("POST", path, person="nobody"))[0] == 401
        assert (await desk.ask("POST", path, person="tom"))[0] == 403
        assert (await desk.ask("POST", path, **local, headers={"x-forwarded-for": "10.0.0.1"}))[0] == 401
        for origin in ("https://evil.example", "null"):
            status, body = await desk.ask("POST", path, **local, headers={"origin": origin})
            assert (status, body["reason"]) == (421, "HOST_NOT_ALLOWED")
        assert desk.core.breakers() == {}
        own = {"origin": "http://localhost"}
        scope = {"scope": "symbol:BTCUSDT", "note": "smoke"}
        assert (await desk.ask("POST", path, **local, headers=own, body=scope))[1]["changed"]
        assert desk.core.breakers()["symbol:BTCUSDT"].actor == "local:loopback"
        assert (await desk.ask("POST", path, **local))[0] == 200
        assert (await desk.ask("POST", "/circuit-breaker/reset", **local, body={}))[0] == 401


@pytest.mark.parametrize(
    "body, status, reason",
    [
        ({"scope": "symbol:NONE"}, 404, "SYMBOL_NOT_FOUND"),
        ({"scope": "account:nobody"}, 404, "ACCOUNT_NOT_FOUND"),
        ({"scope": "all"}, 400, "INVALID_VALUE"),
        ({"scope": ""}, 400, "INVALID_VALUE"),
        ({"scope": "*", "extra": 1}, 400, "UNKNOWN_FIELD"),
        ({"note": "x" * 1_001}, 400, "INVALID_VALUE"),
        ([], 400, "INVALID_VALUE"),
    ],
)
async def test_bad_breaker_requests_are_refused_with_a_sentence(body: object, status: int, reason: str) -> None:
    """Scopes that are none and malformed bodies are refused, each with its code and a sentence."""
    async with running() as desk:
        found_status, found = await desk.ask("POST", "/circuit-breaker/activate", body=body)
        assert (found_status, found["reason"]) == (status, reason)
        assert found["detail"].endswith(".")
        assert desk.core.breakers() == {}


async def test_the_kill_switch_over_http() -> None:
    """A risk officer sets any level; a trader may raise the level of their own account only."""
    async with running() as desk:
        assert await desk.order("a") is Reason.NONE
        status, body = await desk.ask("POST", "/kill-switch", body={"level": 2, "note": "drill"})
        assert (status, len(body["order_ids"])) == (200, 1)
        assert await desk.order("b") is Reason.KILL_SWITCH
        assert (await desk.ask("GET", "/kill-switch", person="vera")) == (200, {"level": 2, "accounts": {}})
        assert (await desk.ask("POST", "/kill-switch", body={"level": 0}))[0] == 200
        for refused in ({"level": 1}, {"level": 1, "account": "bob"}):
            assert (await desk.ask("POST", "/kill-switch", person="tom", body=refused))[0] == 403
        assert (await desk.ask("POST", "/kill-switch", person="vera", body={"level": 1, "account": "bob"}))[0] == 403
        assert (await desk.ask("POST", "/kill-switch", person="tom", body={"level": 3, "account": "alice"}))[0] == 200
        assert (await desk.ask("POST", "/kill-switch", person="tom", body={"level": 0, "account": "alice"}))[0] == 403
        assert (await desk.ask("GET", "/kill-switch", person="tom"))[1]["accounts"] == {"alice": 3}
        assert (await desk.ask("GET", "/kill-switch", person="vera"))[1]["accounts"] == {}
        assert (await desk.ask("POST", "/kill-switch", body={"level": 4}))[0] == 400


async def test_limits_are_read_and_set() -> None:
    """Every field is shown, also at its default; a new set replaces the old; others' accounts stay closed."""
    async with running() as desk:
        status, body = await desk.ask("GET", "/limits/alice", person="tom")
        assert (status, body["limits"]["market_data_age_seconds_max"]) == (200, 0)
        assert set(body["limits"]) == set(RiskLimits.__struct_fields__)
        status, body = await desk.ask("PUT", "/limits/alice", body={"order_value_units_max": 5})
        assert (status, body["limits"]["order_value_units_max"]) == (200, 5)
        assert desk.core.limits_of("alice") == RiskLimits(order_value_units_max=5)
        status, body = await desk.ask("PATCH", "/limits/alice", body={"open_orders_max": 7})
        assert (status, desk.core.limits_of("alice")) == (200, RiskLimits(order_value_units_max=5, open_orders_max=7))
        assert (body["valuation_asset"], body["valuation_decimals"]) == ("USDT", 8)
        assert (await desk.ask("PATCH", "/limits/alice", body={"open_orders": 7}))[0] == 400
        assert (await desk.ask("PATCH", "/limits/alice", body={"open_orders_max": None}))[0] == 400
        assert (await desk.ask("PATCH", "/limits/alice", person="tom", body={}))[0] == 403
        assert (await desk.ask("PATCH", "/limits/nobody", body={}))[0] == 404
        assert (await desk.ask("PUT", "/limits/alice", person="tom", body={}))[0] == 403
        assert (await desk.ask("GET", "/limits/alice", person="vera"))[0] == 403
        assert (await desk.ask("GET", "/limits/nobody"))[0] == 404
        assert (await desk.ask("PUT", "/limits/nobody", body={}))[0] == 404
        assert (await desk.ask("PUT", "/limits/*", body={"open_orders_max": -1}))[0] == 400
        assert (await desk.ask("PUT", "/limits/*", body={"open_orders_max": "5"}))[0] == 400


async def test_fee_tiers_are_read_and_set() -> None:
    """Everybody's tiers and an account's own; nonsense, strangers and traders are refused."""
    tier = {"volume_units_min": 0, "maker_ppm": 100, "taker_ppm": 200}
    async with running() as desk:
        status, body = await desk.ask("PUT", "/fees/*", body={"tiers": [tier]})
        assert (status, body["account"], body["tier"], body["tiers"]) == (200, "*", 0, [tier])
        status, body = await desk.ask("GET", "/fees/alice", person="tom")
        assert (status, body["tier"], body["taker_ppm"], body["volume_days"]) == (200, 1, 200, 30)
        status, body = await desk.ask("PUT", "/fees/alice", body={"tiers": [tier | {"taker_ppm": 150}]})
        assert (status, body["taker_ppm"]) == (200, 150)
        assert (await desk.ask("GET", "/fees/*", person="tom"))[1]["tiers"] == [tier]
        assert (await desk.ask("GET", "/fees/alice", person="vera"))[0] == 403
        assert (await desk.ask("PUT", "/fees/alice", person="tom", body={"tiers": []}))[0] == 403
        assert (await desk.ask("PUT", "/fees/nobody", body={"tiers": []}))[0] == 404
        status, body = await desk.ask("PUT", "/fees/*", body={"tiers": [tier, tier]})
        assert (status, body["reason"]) == (400, "INVALID_VALUE")
        assert (await desk.ask("PUT", "/fees/*", body={"tiers": [tier | {"taker_ppm": 0.5}]}))[0] == 400
        assert (await desk.ask("PUT", "/fees/alice", body={"tiers": []}))[1]["taker_ppm"] == 200


async def test_a_stopped_account_is_reenabled_by_an_officer() -> None:
    """The throttle's stop shows in the status and a named officer lifts it."""
    async with running(RiskSettings(limits=RiskLimits(repeated_orders_max=1, market_data_age_seconds_max=0))) as desk:
        assert await desk.order("a") is Reason.NONE
        assert await desk.order("b") is Reason.REPEATED_ORDER_THROTTLE
        assert (await desk.ask("GET", "/circuit-breaker", person="tom"))[1]["stopped_accounts"] == ["alice"]
        assert (await desk.ask("GET", "/circuit-breaker", person="vera"))[1]["stopped_accounts"] == []
        assert (await desk.ask("POST", "/accounts/alice/reenable", person="tom", body={}))[0] == 403
        assert (await desk.ask("POST", "/accounts/alice/reenable", body={"note": "fixed"}))[1]["changed"]
        assert (await desk.ask("POST", "/accounts/nobody/reenable", body={}))[0] == 404
        assert await desk.order("b") is Reason.NONE


async def test_exposure_and_breaks_show_only_ones_own_accounts() -> None:
    """Equity and positions together; other people's accounts are refused or left out."""
    async with running() as desk:
        for person in ("rita", "tom"):
            status, body = await desk.ask("GET", "/exposure", person=person)
            assert status == 200
            (account,) = body["accounts"]
            assert (account["equity_units"], account["positions"][0]["quantity_lots"]) == (usdt(100), 100)
        assert (await desk.ask("GET", "/exposure", person="vera"))[1] == {"accounts": []}
        assert (await desk.ask("GET", "/exposure?account=alice", person="vera"))[0] == 403
        assert (await desk.ask("GET", "/exposure?acount=alice"))[0] == 400
        assert len((await desk.ask("GET", "/breaks?open_only=false"))[1]["breaks"]) == 2
        assert (await desk.ask("GET", "/breaks", person="vera"))[1] == {"breaks": []}
        assert (await desk.ask("GET", "/breaks", person="nobody"))[0] == 401


async def test_metrics_tell_refusals_stops_and_money() -> None:
    """Refusals by reason, breakers, the kill level, and equity by account and in total."""
    async with running() as desk:
        await desk.ask("POST", "/circuit-breaker/activate")
        await desk.order("a")
        await desk.ask("POST", "/kill-switch", body={"level": 1})
        await desk.until(lambda: "polaris_risk_kill_level 1.0" in generate_latest(desk.registry).decode())
        text = generate_latest(desk.registry).decode()
        for line in (
            'polaris_risk_refusals_total{reason="CIRCUIT_BREAKER"} 1.0',
            'polaris_risk_breakers_tripped{kind="desk"} 1.0',
            'polaris_risk_equity{account="alice"} 100.0',
            'polaris_risk_equity{account="*"} 100.0',
            'polaris_risk_day_profit{account="alice"} 10.0',
            'polaris_risk_realised_profit{account="*"} 7.0',
        ):
            assert line in text


async def test_the_limits_of_the_settings_are_put_into_force_through_the_log() -> None:
    """At the start the default limits become the configuration's."""
    limits = RiskLimits(open_orders_max=3, market_data_age_seconds_max=0)
    async with running(RiskSettings(limits=limits)) as desk:
        assert desk.core.limits_of("*") == desk.core.limits_of("alice") == limits


async def test_every_refusal_of_every_route_is_documented() -> None:
    """The OpenAPI document names each route with its 4xx answers."""
    async with running() as desk:
        _, document = await desk.ask("GET", "/openapi.json")
        assert set(document["paths"]) >= {
            "/circuit-breaker/activate",
            "/circuit-breaker/reset",
            "/circuit-breaker",
            "/kill-switch",
            "/limits/{account}",
            "/accounts/{account}/reenable",
            "/exposure",
            "/breaks",
        }
        activate = document["paths"]["/circuit-breaker/activate"]["post"]["responses"]
        assert {"200", "400", "401", "403", "404", "421"} <= set(activate)


def test_the_limits_over_http_are_the_limits() -> None:
    """The HTTP body has exactly the fields and defaults of the message."""
    assert LimitsFields().limits() == RiskLimits()
    assert LimitsFields.__struct_fields__ == RiskLimits.__struct_fields__
