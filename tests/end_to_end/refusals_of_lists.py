"""How order lists are refused and end, and what a halted instrument refuses."""

from __future__ import annotations

from typing import Any, Final

import httpx2
from tests.end_to_end.refusal_world import Said, World, said, said_of
from tests.end_to_end.refusals_of_requests import Scenario
from tests.end_to_end.support import fresh_id, price_near

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.testing.desk_process import decoded


def _oco(world: World, **changes: Any) -> httpx2.Response:
    """An OCO of account plain to sell 0.01 BTC on the paper exchange, away from the market."""
    orders = [
        {"side": "SELL", "type": "LIMIT", "quantity": "0.01", "price": price_near(world.desk, "3")},
        {"side": "SELL", "type": "STOP", "quantity": "0.01", "stop_price": price_near(world.desk, "-3")},
    ]
    body = {"kind": "OCO", "account": "plain", "symbol": "BTCUSDT", "orders": orders} | changes
    return world.trader.request("POST", "/order-lists?wait_ms=3000", body)


def _cancel(world: World, list_id: int) -> None:
    decoded(world.trader.request("DELETE", f"/order-lists/{list_id}"))


def order_list_invalid(world: World) -> Said:
    return said(_oco(world, kind="OTOCO"))


def order_list_not_found(world: World) -> Said:
    return said(world.trader.request("GET", "/order-lists/by-client-id/none?account=plain"))


def duplicate_client_list_id(world: World) -> Said:
    world.order("plain", "BTCUSDT", "BUY", "MARKET", quantity="0.01")
    client_list_id = fresh_id()
    placed = decoded(_oco(world, client_list_id=client_list_id))
    try:
        other = {"side": "SELL", "type": "LIMIT", "quantity": "0.02", "price": price_near(world.desk, "3")}
        stop = {"side": "SELL", "type": "STOP", "quantity": "0.02", "stop_price": price_near(world.desk, "-3")}
        return said(_oco(world, client_list_id=client_list_id, orders=[other, stop]))
    finally:
        _cancel(world, placed["order_list"]["list_id"])


def ended_by_its_list(world: World) -> Said:
    world.order("plain", "BTCUSDT", "BUY", "MARKET", quantity="0.01")
    profit, stop = decoded(_oco(world))["orders"]
    decoded(world.trader.request("DELETE", f"/orders/{profit['order_id']}?account=plain"))
    return said_of(world.trader.ends(stop["order_id"]))


def instrument_not_trading(world: World) -> Said:
    world.officer("matching", "PUT", "/symbols/BTCUSDT.INT/status", {"status": "HALTED"})
    try:
        price = price_near(world.desk, "-3")
        return said(world.try_order("plain", "BTCUSDT.INT", "BUY", "LIMIT", quantity="0.01", price=price))
    finally:
        world.officer("matching", "PUT", "/symbols/BTCUSDT.INT/status", {"status": "TRADING"})


SCENARIOS: Final[dict[Reason, Scenario]] = {
    Reason.ORDER_LIST_NOT_FOUND: order_list_not_found,
    Reason.ORDER_LIST_INVALID: order_list_invalid,
    Reason.DUPLICATE_CLIENT_LIST_ID: duplicate_client_list_id,
    Reason.BOOK_ORDER_LIST: ended_by_its_list,
    Reason.INSTRUMENT_NOT_TRADING: instrument_not_trading,
}
