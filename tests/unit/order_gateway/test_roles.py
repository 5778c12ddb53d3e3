"""Every route with every role: who gets in, who is refused, and what they see."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest
from tests.unit.order_gateway.fake_desk import buy, mark, running_gateway

from polaris_synapse.domain import messages as m
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.authentication import Role
from polaris_synapse.web.routes import ApiRoute

pytestmark = pytest.mark.anyio

_BODIES: dict[tuple[str, str], object] = {
    ("POST", "/orders"): buy(),
    ("POST", "/orders/batch"): {"orders": [buy()]},
    ("POST", "/orders/preview"): buy(),
    ("PATCH", "/orders/{order_id}"): {"price": "1.00"},
    ("PATCH", "/orders/by-client-id/{client_order_id}"): {"price": "1.00"},
    ("POST", "/order-lists"): {
        "kind": "OCO",
        "symbol": "BTCUSDT",
        "orders": [
            {"side": "SELL", "type": "LIMIT", "quantity": "0.1", "price": "63000"},
            {"side": "SELL", "type": "STOP", "quantity": "0.1", "stop_price": "59000"},
        ],
    },
    ("POST", "/funds"): {"account": "main", "asset": "USDT", "amount": "5", "reference": "r"},
    ("POST", "/users"): {"username": "x", "password": "long enough", "role": "VIEWER"},
    ("POST", "/keys"): {"key_id": "x", "public_key": "A" * 43 + "=", "role": "VIEWER"},
}
_NAMES = {
    "{order_id}": "1024",
    "{client_order_id}": "c",
    "{list_id}": "1024",
    "{client_list_id}": "L",
    "{decision_id}": "D1",
    "{username}": "x",
    "{key_id}": "x",
}


async def test_every_role_on_every_route(tmp_path: Path) -> None:
    """A role gets in where the documentation says so, and is refused with ROLE_NOT_ALLOWED everywhere else."""
    async with running_gateway(tmp_path) as gateway:
        routes = [route for route in gateway.app._router.routes if isinstance(route, ApiRoute)]  # type: ignore[attr-defined]
        closed = [route for route in routes if route.docs.roles is not None]
        assert len(closed) > 20
        for route in closed:
            for role in Role:
                target = route.path
                for name, value in _NAMES.items():
                    target = target.replace(name, value)
                if route.path == "/logout":
                    continue  # takes a token, not a signature
                response = await gateway.call(
                    role.value.lower(), route.method, target, _BODIES.get((route.method, route.path))
                )
                allowed = role is Role.ADMIN or not route.docs.roles or role in route.docs.roles
                refused = response.status_code == 403 and response.json()["reason"] == "ROLE_NOT_ALLOWED"
                assert refused != allowed, (route.method, route.path, role, response.text)
                assert response.status_code < 500


async def test_nothing_is_open_but_what_must_be(tmp_path: Path) -> None:
    """Without credentials only health, readiness, metrics, the documentation and the log-in answer."""
    async with running_gateway(tmp_path) as gateway:
        routes = [route for route in gateway.app._router.routes if isinstance(route, ApiRoute)]  # type: ignore[attr-defined]
        open_paths = {route.path for route in routes if route.docs.roles is None}
        assert open_paths == {"/health", "/ready", "/metrics", "/openapi.json", "/docs", "/login"}
        for route in routes:
            if route.docs.roles is not None:
                response = await gateway.client.request(route.method, route.path.replace("{", "").replace("}", ""))
                assert response.status_code in {400, 401}, route.path
                assert response.json()["reason"] in {"NOT_AUTHENTICATED"}, route.path


async def test_funds_move_once(tmp_path: Path) -> None:
    """An administrator moves paper money in minor units; amounts that cannot be are refused."""
    async with running_gateway(tmp_path) as gateway:
        body = {"account": "main", "asset": "USDT", "amount": "-0.5", "reference": "r1"}
        assert (await gateway.call("admin", "POST", "/funds", body)).json()["amount"] == "-0.5"
        command = gateway.desk.commands[-1]
        assert isinstance(command, m.MoveFunds)
        assert (command.amount_units, command.actor) == (-50_000_000, "key:admin")
        for change in ({"amount": "0"}, {"amount": "1e3"}, {"amount": "9" * 30}, {"asset": "DOGE"}, {"amount": 5}):
            response = await gateway.call("admin", "POST", "/funds", body | change)
            assert response.status_code in {400, 422}, change
        assert len(gateway.desk.commands) == 1


async def test_reads_are_decimal_text_at_marks(tmp_path: Path) -> None:
    """Positions and profit are valued at the mark and name it; without a price they say so."""
    async with running_gateway(tmp_path) as gateway:
        gateway.desk.position_rows = [
            m.PositionChanged(
                time_ns=1,
                account="main",
                symbol="BTCUSDT",
                quantity_lots=1_000,
                cost_units=600 * 10**8,
                realised_pnl_units=-3 * 10**8,
                fees_units=10**8,
            )
        ]
        gateway.desk.metrics_rows = [
            m.AccountMetrics(
                time_ns=1_767_225_600_000_000_000,
                account="main",
                equity_units=1_010 * 10**8,
                day_start_equity_units=1_000 * 10**8,
                peak_equity_units=1_010 * 10**8,
                exposure_units=610 * 10**8,
                open_orders_units=0,
            )
        ]
        blind = (await gateway.call("viewer", "GET", "/pnl")).json()["accounts"][0]
        assert (blind["unrealised_pnl"], blind["unpriced_assets"]) == ("0", ["BTC"])
        gateway.desk.publish(mark(6_100_000))
        position: dict[str, object] = {}
        while position.get("mark_price") != "61000":
            await anyio.lowlevel.checkpoint()
            position = (await gateway.call("viewer", "GET", "/positions")).json()["positions"][0]
        assert (position["quantity"], position["average_price"], position["unrealised_pnl"]) == ("0.01", "60000", "10")
        assert position["mark_source"] == "mark:BTCUSDT:test"
        pnl = (await gateway.call("viewer", "GET", "/pnl")).json()["accounts"][0]
        assert (pnl["equity"], pnl["day_pnl"], pnl["unrealised_pnl"]) == ("1010", "10", "10")
        assert (pnl["realised_pnl"], pnl["fees"], pnl["valued_time"]) == ("-3", "1", "2026-01-01T00:00:00.000Z")
        balances = (await gateway.call("viewer", "GET", "/balances")).json()["balances"]
        assert balances == [{"account": "main", "asset": "USDT", "total": "1000", "reserved": "100", "free": "900"}]
        status = (await gateway.call("viewer", "GET", "/status")).json()
        assert status["markets"][0]["mark_price"] == "61000"
        assert status["ready"] is True
        assert [row["symbol"] for row in (await gateway.call("viewer", "GET", "/instruments")).json()["instruments"]]
        assert [row["account"] for row in (await gateway.call("viewer", "GET", "/accounts")).json()["accounts"]] == [
            "main"
        ]


async def test_decisions_of_other_accounts_are_not_shown(tmp_path: Path) -> None:
    """A principal reads decisions on their own accounts, and others' do not exist for them."""
    async with running_gateway(tmp_path) as gateway:
        decision = m.DecisionRecorded(
            time_ns=1,
            decision_id="D1",
            agent="jarvis",
            account="other",
            symbol="BTCUSDT",
            view="HOLD",
            confidence_ppm=1,
            action="NONE",
            thesis="",
            facts=(),
            reason=Reason.AGENT_NO_VIEW,
        )
        mine = msgspec.structs.replace(decision, decision_id="D2", account="main")
        gateway.desk.decision_rows = [decision, mine]
        listed = (await gateway.call("viewer", "GET", "/decisions?limit=1")).json()["decisions"]
        assert [row["decision_id"] for row in listed] == ["D2"]
        assert (await gateway.call("viewer", "GET", "/decisions/D2")).status_code == 200
        assert (await gateway.call("viewer", "GET", "/decisions/D1")).json()["reason"] == "DECISION_NOT_FOUND"


async def test_lists_continue_where_they_ended(tmp_path: Path) -> None:
    """A full page names where the next begins, and the last page names nothing."""
    async with running_gateway(tmp_path) as gateway:
        for _ in range(3):
            await gateway.call("trader", "POST", "/orders", buy())
        first = (await gateway.call("trader", "GET", "/orders?limit=2")).json()
        assert ([row["order_id"] for row in first["orders"]], first["next_before_order_id"]) == ([3072, 2048], 2048)
        rest = (await gateway.call("trader", "GET", "/orders?limit=2&before_order_id=2048")).json()
        assert ([row["order_id"] for row in rest["orders"]], rest["next_before_order_id"]) == ([1024], 0)
        assert len((await gateway.call("trader", "GET", "/open-orders")).json()["orders"]) == 3
