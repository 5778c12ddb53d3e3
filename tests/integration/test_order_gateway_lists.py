"""Order lists over REST and WebSocket, and what becomes of a connection's orders when its client is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.integration.test_order_gateway_websocket import connected, served
from tests.unit.order_gateway.fake_desk import running_gateway, until

from polaris_synapse.domain import messages as m
from polaris_synapse.domain.orders import OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.settings import Budget

pytestmark = pytest.mark.anyio

PROFIT = {"side": "SELL", "type": "LIMIT", "quantity": "0.5", "price": "63000"}
STOP = {"side": "SELL", "type": "STOP", "quantity": "0.5", "stop_price": "59000"}

#: A client that logs in, places an order and a list, says so, and then only waits to be killed.
CLIENT = """
import asyncio, json, sys
from websockets.asyncio.client import connect

async def main():
    async with connect(sys.argv[1]) as socket:
        for number, (method, params) in enumerate(json.loads(sys.argv[2])):
            await socket.send(json.dumps({"id": number, "method": method, "params": params}))
            answer = json.loads(await socket.recv())
            assert "result" in answer, answer
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def oco(**changes: Any) -> dict[str, Any]:
    """An OCO to sell half a BTC."""
    return {"kind": "OCO", "symbol": "BTCUSDT", "orders": [PROFIT, STOP], "client_list_id": "L1", **changes}


async def test_a_list_is_placed_read_and_cancelled_over_rest(tmp_path: Path) -> None:
    """POST answers 201 and then 200, both ids find it, DELETE cancels it, and the list of lists has it."""
    async with running_gateway(tmp_path) as gateway:
        placed = await gateway.call("trader", "POST", "/order-lists", oco())
        assert placed.status_code == 201, placed.text
        body = placed.json()
        assert [order["client_order_id"] for order in body["orders"]] == ["L1-1", "L1-2"]
        assert {order["client_list_id"] for order in body["orders"]} == {"L1"}
        again = await gateway.call("trader", "POST", "/order-lists", oco())
        assert (again.status_code, again.json()["duplicate"]) == (200, True)
        list_id = body["order_list"]["list_id"]
        for path in (f"/order-lists/{list_id}", "/order-lists/by-client-id/L1"):
            found = await gateway.call("trader", "GET", path)
            assert (found.status_code, found.json()["order_list"]["order_ids"]) == (200, [1024, 2048])
        cancelled = await gateway.call("trader", "DELETE", f"/order-lists/{list_id}")
        assert cancelled.json()["order_list"]["state"] == "ALL_DONE"
        assert {order["state"] for order in cancelled.json()["orders"]} == {"CANCELLED"}
        listed = (await gateway.call("trader", "GET", "/order-lists")).json()["order_lists"]
        assert [row["client_list_id"] for row in listed] == ["L1"]
        missing = await gateway.call("trader", "GET", "/order-lists/77")
        assert (missing.status_code, missing.json()["reason"]) == (404, "ORDER_LIST_NOT_FOUND")


async def test_a_malformed_list_names_the_order_that_is_wrong(tmp_path: Path) -> None:
    """A price off the tick, a missing stop price, a field that does not belong: nothing reaches risk."""
    async with running_gateway(tmp_path) as gateway:
        for orders, reason in (
            ([PROFIT | {"price": "63000.001"}, STOP], "PRICE_NOT_ON_TICK"),
            ([PROFIT, {name: value for name, value in STOP.items() if name != "stop_price"}], "MISSING_FIELD"),
            ([PROFIT, STOP | {"quote_amount": "5"}], "UNKNOWN_FIELD"),
            ([PROFIT], "INVALID_VALUE"),
        ):
            answer = await gateway.call("trader", "POST", "/order-lists", oco(orders=orders))
            assert answer.json()["reason"] == reason, answer.text
        assert gateway.desk.commands == []


async def test_what_risk_says_of_a_list_reaches_the_client(tmp_path: Path) -> None:
    """A refusal with its reason and status; an outcome that is not known with where to ask."""
    async with running_gateway(tmp_path) as gateway:
        gateway.desk.refuse = Reason.ORDER_LIST_INVALID
        refused = await gateway.call("trader", "POST", "/order-lists", oco())
        assert (refused.status_code, refused.json()["reason"]) == (422, "ORDER_LIST_INVALID")
        gateway.desk.refuse, gateway.desk.fail = Reason.NONE, Reason.TIMED_OUT
        unknown = await gateway.call("trader", "POST", "/order-lists", oco())
        assert unknown.status_code == 202
        assert unknown.json()["link"] == "/order-lists/by-client-id/L1?account=main"


async def test_a_cancel_can_wait_until_the_orders_have_ended(tmp_path: Path) -> None:
    """DELETE with wait_ms answers with orders that are over, or after that time with what is known then."""
    async with running_gateway(tmp_path) as gateway:
        gateway.desk.acknowledge = False
        placed = (await gateway.call("trader", "POST", "/order-lists", oco())).json()
        path = f"/order-lists/{placed['order_list']['list_id']}"
        early = await gateway.call("trader", "DELETE", f"{path}?wait_ms=20")
        assert (early.status_code, {order["state"] for order in early.json()["orders"]}) == (200, {"PENDING_CANCEL"})

        async def end() -> None:
            for order_id in (1024, 2048):
                await asyncio.sleep(0.05)
                gateway.desk.move(order_id, OrderState.CANCELLED, reason=Reason.CANCELLED_BY_USER)

        async with anyio.create_task_group() as group:
            group.start_soon(end)
            answer = await gateway.call("trader", "DELETE", f"{path}?wait_ms=5000")
        assert {order["state"] for order in answer.json()["orders"]} == {"CANCELLED"}
        gateway.desk.fail = Reason.TIMED_OUT
        unknown = await gateway.call("trader", "DELETE", path)
        assert (unknown.status_code, unknown.json()["link"]) == (202, "/order-lists/by-client-id/L1?account=main")
        assert (await gateway.call("trader", "DELETE", f"{path}?wait_ms=5001")).json()["reason"] == "INVALID_VALUE"


async def test_lists_over_the_websocket(tmp_path: Path) -> None:
    """submit_list and cancel_list answer like REST, and the channel tells of the list's changes."""
    async with served(tmp_path) as (gateway, url), connected(gateway, url) as client:
        await client.call("subscribe", channels=["lists"])
        placed = (await client.call("submit_list", **oco()))["result"]
        assert placed["order_list"]["state"] == "EXECUTING"
        assert (await client.event("lists", "order_list"))["list_id"] == placed["order_list"]["list_id"]
        cancelled = await client.call("cancel_list", client_list_id="L1", wait_ms=1000)
        assert cancelled["result"]["order_list"]["state"] == "ALL_DONE"
        assert (await client.event("lists", "order_list"))["open"] is False
        assert (await client.call("cancel_list"))["error"]["reason"] == "CONTRADICTORY_FIELDS"


async def test_the_orders_of_a_killed_client_are_cancelled(tmp_path: Path) -> None:
    """The client dies by SIGKILL: its order and its list are cancelled, its budget for cancels used up or not."""
    async with served(tmp_path, cancels=Budget("cancels", 0.001, 1)) as (gateway, url):
        await gateway.call("trader", "DELETE", "/orders")  # uses up the budget
        headers = gateway.headers("trader", "GET", "/ws")
        login: dict[str, Any] = {name.removeprefix("x-polaris-"): value for name, value in headers.items()}
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.1", "price": "60000"}
        script = json.dumps(
            [("login", login | {"cancel_on_disconnect": True}), ("submit", order), ("submit_list", oco())]
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, url, script, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            with anyio.fail_after(20):
                assert (await process.stdout.readline()).strip() == b"ready"
            assert len(gateway.desk.orders_by_id) == 3
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await until(
                lambda: all(found.state is OrderState.CANCELLED for found in gateway.desk.orders_by_id.values())
            )
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        cancels = [command for command in gateway.desk.commands if isinstance(command, m.CancelAll)]
        assert cancels[-1].reason is Reason.CANCELLED_ON_DISCONNECT
