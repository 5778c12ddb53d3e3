"""How orders are refused: by risk in the order of its checks, by compliance, by mandates, by books, by stops."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import httpx2
from tests.end_to_end.refusal_world import EMPTY, SILENT, SIZED, UNPRICED, Said, World, said, said_of
from tests.end_to_end.refusals_of_requests import Scenario
from tests.end_to_end.support import Stream, fresh_id, mark_of, price_near, until

from polaris_synapse.domain.reasons import Reason, explain


def _market_buy(world: World, name: str, quantity: str = "0.1") -> Said:
    return said(world.try_order(name, "BTCUSDT", "BUY", "MARKET", quantity=quantity))


def _resting(world: World, name: str, symbol: str = "BTCUSDT", **fields: Any) -> dict[str, Any]:
    """An open order far enough from the market to stay there."""
    price = price_near(world.desk, "-3", symbol.removesuffix(".INT"))
    return world.order(name, symbol, "BUY", "LIMIT", **({"quantity": "0.1", "price": price} | fields))


def kill_switch(world: World) -> Said:
    world.officer("risk", "POST", "/kill-switch", {"level": 1, "account": "halted"})
    try:
        return _market_buy(world, "halted")
    finally:
        world.officer("risk", "POST", "/kill-switch", {"level": 0, "account": "halted"})


def circuit_breaker(world: World) -> Said:
    world.officer("risk", "POST", "/circuit-breaker/activate", {"scope": "account:tripped"})
    try:
        return _market_buy(world, "tripped")
    finally:
        world.officer("risk", "POST", "/circuit-breaker/reset", {"scope": "account:tripped"})


def duplicate_client_order_id(world: World) -> Said:
    client_id = fresh_id()
    world.order("plain", "BTCUSDT", "BUY", "MARKET", quantity="0.01", client_order_id=client_id)
    return said(world.try_order("plain", "BTCUSDT", "BUY", "MARKET", quantity="0.02", client_order_id=client_id))


def account_blocked(world: World) -> Said:
    world.officer("compliance", "POST", "/accounts/blocked/block", {"blocked": True, "note": "a test"})
    try:
        return _market_buy(world, "blocked")
    finally:
        world.officer("compliance", "POST", "/accounts/blocked/block", {"blocked": False})


def kyc_incomplete(world: World) -> Said:
    return _market_buy(world, "unapproved")


def sanctioned(world: World) -> Said:
    world.officer("compliance", "POST", "/accounts/sanctioned/sanctions-hold", {"held": True})
    try:
        return _market_buy(world, "sanctioned")
    finally:
        world.officer("compliance", "POST", "/accounts/sanctioned/sanctions-hold", {"held": False})


def instrument_restricted(world: World) -> Said:
    body = {"account": "restricted", "symbol": "BTCUSDT"}
    world.officer("compliance", "POST", "/restrictions", body | {"restricted": True})
    try:
        return _market_buy(world, "restricted")
    finally:
        world.officer("compliance", "POST", "/restrictions", body | {"restricted": False})


def price_not_on_tick(world: World) -> Said:
    return said(world.try_order("plain", "BTCUSDT", "BUY", "LIMIT", quantity="0.1", price="60000.001"))


def quantity_not_on_lot(world: World) -> Said:
    return said(world.try_order("plain", "BTCUSDT", "BUY", "MARKET", quantity="0.000001"))


def quantity_too_small(world: World) -> Said:
    return said(world.try_order("plain", SIZED, "BUY", "MARKET", quantity="0.005"))


def quantity_too_large(world: World) -> Said:
    return said(world.try_order("plain", SIZED, "BUY", "MARKET", quantity="6"))


def notional_too_small(world: World) -> Said:
    return said(world.try_order("plain", "BTCUSDT", "BUY", "MARKET", quantity="0.00001"))


def order_fields_invalid(world: World) -> Said:
    price = price_near(world.desk, "-1")
    fields = {"quantity": "0.1", "price": price, "time_in_force": "IOC", "post_only": "REJECT"}
    return said(world.try_order("plain", "BTCUSDT", "BUY", "LIMIT", **fields))


def feature_not_supported(world: World) -> Said:
    """A list that an agent asks for: a mandate covers single orders."""
    order = {"side": "SELL", "type": "LIMIT", "quantity": "0.1", "price": price_near(world.desk, "5")}
    stop = {"side": "SELL", "type": "STOP", "quantity": "0.1", "stop_price": price_near(world.desk, "-5")}
    body = {"account": "bot", "kind": "OCO", "symbol": "BTCUSDT", "orders": [order, stop]}
    return said(world.signed(world.agent, "POST", "/order-lists", body))


def market_data_stale(world: World) -> Said:
    """An instrument that nothing prices but its own book, which has emptied."""
    limits = world.officer("risk", "GET", "/limits/ageless")["limits"] | {"market_data_age_seconds_max": 0}
    with world.clean(UNPRICED):
        for name, side, price in (("ada", "SELL", "0.51"), ("ageless", "BUY", "0.49")):
            world.officer("risk", "PUT", f"/limits/{name}", limits)
            world.order(name, UNPRICED, side, "LIMIT", quantity="100", price=price)
        until(lambda: mark_of(world.desk, UNPRICED), what="a price of the new book")
        world.officer("gateway", "DELETE", f"/orders?symbol={UNPRICED}")

        def asked() -> httpx2.Response | None:
            response = world.try_order("stale", UNPRICED, "BUY", "LIMIT", quantity="100", price="0.49")
            if response.status_code >= 400:
                return response
            world.officer("gateway", "DELETE", "/orders?account=stale")
            return None

        response = until(asked, what="a price that is too old")
        assert response is not None
        return said(response)


def market_data_missing(world: World) -> Said:
    return said(world.try_order("plain", SILENT, "BUY", "LIMIT", quantity="10", price="5"))


def price_outside_collar(world: World) -> Said:
    fields = {"quantity": "0.1", "price": price_near(world.desk, "-20")}
    return said(world.try_order("plain", "BTCUSDT", "BUY", "LIMIT", **fields))


def order_quantity_limit(world: World) -> Said:
    limits = world.officer("risk", "GET", "/limits/quantity")["limits"] | {"order_quantity_lots_max": 10}
    world.officer("risk", "PUT", "/limits/quantity", limits)
    return _market_buy(world, "quantity")


def order_value_limit(world: World) -> Said:
    return _market_buy(world, "value")


def message_throttle(world: World) -> Said:
    for _ in range(20):
        response = world.try_order("throttle", "BTCUSDT", "BUY", "MARKET", quantity="0.001")
        if response.status_code >= 400:
            return said(response)
    raise AssertionError("an account that may send one order a second sent twenty")


def repeated_order_throttle(world: World) -> Said:
    """The third like it stops the account; a risk officer lets it go on."""
    price = price_near(world.desk, "-3")
    try:
        for _ in range(5):
            response = world.try_order("repeats", "BTCUSDT", "BUY", "LIMIT", quantity="0.01", price=price)
            if response.status_code >= 400:
                assert "repeats" in world.officer("risk", "GET", "/circuit-breaker")["stopped_accounts"]
                return said(response)
    finally:
        world.officer("risk", "POST", "/accounts/repeats/reenable", {"note": "a test"})
        world.officer("gateway", "DELETE", "/orders?account=repeats")
    raise AssertionError("an account that may send an order twice sent it five times")


def open_orders_limit(world: World) -> Said:
    _resting(world, "orders")
    try:
        return said(world.try_order("orders", "BTCUSDT", "BUY", "MARKET", quantity="0.01"))
    finally:
        for order_id in world.officer("gateway", "DELETE", "/orders?account=orders")["order_ids"]:
            world.trader.ends(order_id)


def self_match(world: World) -> Said:
    with world.clean(EMPTY):
        price = price_near(world.desk, "0")
        world.order("plain", EMPTY, "SELL", "LIMIT", quantity="0.1", price=price)
        fields = {"quantity": "0.1", "price": price, "self_trade_prevention": "NONE"}
        return said(world.try_order("plain", EMPTY, "BUY", "LIMIT", **fields))


def insufficient_funds(world: World) -> Said:
    return _market_buy(world, "poor")


def position_limit(world: World) -> Said:
    return _market_buy(world, "position")


def exposure_limit(world: World) -> Said:
    return _market_buy(world, "exposure")


def concentration_limit(world: World) -> Said:
    return _market_buy(world, "concentration")


def leverage_limit(world: World) -> Said:
    return _market_buy(world, "leverage")


def _after_a_loss(world: World, name: str, reason: Reason) -> Said:
    """Fees are a loss. Whoever comes before the desk's own watch is told the limit, later ones the breaker."""
    for _ in range(20):
        lost = world.try_order(name, "BTCUSDT", "BUY", "MARKET", quantity="0.1")
        told = said(lost if lost.status_code >= 400 else world.try_order(
            name, "BTCUSDT", "BUY", "MARKET", quantity="0.1"
        ))  # fmt: skip
        if told.reason == reason.name:
            break
        assert told.reason == Reason.CIRCUIT_BREAKER.name, told
        world.officer("risk", "POST", "/circuit-breaker/reset", {"scope": f"account:{name}", "note": "a test"})
    scopes = {row["scope"]: row["reason"] for row in world.officer("risk", "GET", "/circuit-breaker")["tripped"]}
    assert scopes.get(f"account:{name}", reason.name) == reason.name
    world.officer("risk", "POST", "/circuit-breaker/reset", {"scope": f"account:{name}", "note": "a test"})
    return told


def daily_loss_limit(world: World) -> Said:
    return _after_a_loss(world, "daily", Reason.DAILY_LOSS_LIMIT)


def drawdown_limit(world: World) -> Said:
    return _after_a_loss(world, "drawdown", Reason.DRAWDOWN_LIMIT)


def _agent_order(world: World, name: str, symbol: str, quantity: str) -> Said:
    body = {"account": name, "symbol": symbol, "side": "BUY", "type": "MARKET", "quantity": quantity}
    return said(world.signed(world.agent, "POST", "/orders", body))


def mandate_symbol(world: World) -> Said:
    return _agent_order(world, "bot", "BTCUSDT", "0.001")


def mandate_order_value(world: World) -> Said:
    return _agent_order(world, "bot", "ETHUSDT", "1")


def mandate_daily_value(world: World) -> Said:
    return _agent_order(world, "bot-day", "ETHUSDT", "0.1")


def mandate_missing(world: World) -> Said:
    return _agent_order(world, "botless", "ETHUSDT", "0.1")


def order_not_open(world: World) -> Said:
    order = world.order("plain", "BTCUSDT", "BUY", "MARKET", quantity="0.01")
    return said(world.trader.request("DELETE", f"/orders/{order['order_id']}"))


def replace_invalid(world: World) -> Said:
    order = _resting(world, "plain")
    try:
        return said(world.trader.request("PATCH", f"/orders/{order['order_id']}", {"stop_price": "60000"}))
    finally:
        world.trader.call("DELETE", f"/orders/{order['order_id']}?wait_ms=3000")


def venue_not_configured(world: World) -> Said:
    return said(world.try_order("plain", "BTCUSDT", "BUY", "MARKET", quantity="0.01", venue="binance"))


def post_only_would_take(world: World) -> Said:
    fields = {"quantity": "0.1", "price": price_near(world.desk, "1"), "post_only": "REJECT"}
    return said_of(world.order("plain", "BTCUSDT", "BUY", "LIMIT", **fields))


def fill_or_kill_unfillable(world: World) -> Said:
    return said_of(_resting(world, "plain", time_in_force="FOK"))


def no_liquidity(world: World) -> Said:
    with world.clean(EMPTY):
        return said_of(world.order("plain", EMPTY, "BUY", "MARKET", quantity="0.01"))


def immediate_remainder(world: World) -> Said:
    return said_of(_resting(world, "plain", time_in_force="IOC"))


def self_trade_prevented(world: World) -> Said:
    with world.clean(EMPTY):
        price = price_near(world.desk, "0")
        resting = world.order("plain", EMPTY, "SELL", "LIMIT", quantity="0.1", price=price)
        told = said_of(world.order("plain", EMPTY, "BUY", "LIMIT", quantity="0.1", price=price))
        assert world.trader.placed(resting["order_id"])["state"] == "WORKING"
        return told


def expired(world: World) -> Said:
    until_ = (datetime.now(UTC) + timedelta(seconds=0.7)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    order = _resting(world, "plain", EMPTY, time_in_force="GTD", expire_time=until_)
    return said_of(world.trader.ends(order["order_id"]))


def min_quantity_unmet(world: World) -> Said:
    with world.clean(EMPTY):
        price = price_near(world.desk, "0")
        world.order("other", EMPTY, "SELL", "LIMIT", quantity="0.1", price=price)
        fields = {"quantity": "0.5", "price": price, "time_in_force": "IOC", "min_quantity": "0.3"}
        return said_of(world.order("plain", EMPTY, "BUY", "LIMIT", **fields))


def trigger_immediate(world: World) -> Said:
    stop = price_near(world.desk, "-1")
    return said_of(world.order("plain", "BTCUSDT", "BUY", "STOP", quantity="0.1", stop_price=stop))


def cancelled_by_user(world: World) -> Said:
    order = _resting(world, "plain")
    return said_of(world.trader.call("DELETE", f"/orders/{order['order_id']}?wait_ms=3000")["order"])


def cancelled_by_kill_switch(world: World) -> Said:
    order = _resting(world, "halted")
    answer = world.officer("risk", "POST", "/kill-switch", {"level": 2, "account": "halted"})
    try:
        assert answer["order_ids"] == [order["order_id"]]
        return said_of(world.trader.ends(order["order_id"]))
    finally:
        world.officer("risk", "POST", "/kill-switch", {"level": 0, "account": "halted"})


def cancelled_on_disconnect(world: World) -> Said:
    with Stream(world.desk, token=world.trader.token, cancel_on_disconnect=True) as stream:
        order = stream.result(
            "submit", account="other", symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.1", wait_ms=3000,
            price=price_near(world.desk, "-3"),
        )["order"]  # fmt: skip
    return said_of(world.trader.ends(order["order_id"]))


def flattened(world: World) -> Said:
    """The kill switch's own order says what it is for."""
    world.order("flat", "BTCUSDT", "BUY", "MARKET", quantity="0.1")
    world.officer("risk", "POST", "/kill-switch", {"level": 3, "account": "flat"})
    try:

        def sold() -> Any:
            orders = world.trader.get("/orders?account=flat")["orders"]
            return next((row for row in orders if row["side"] == "SELL" and not row["open"]), None)

        order = until(sold, what="the order that flattens")
        assert order["state"] == "FILLED", order
        until(lambda: _is_flat(world), what="the end of the position")
        return said_of(order)
    finally:
        world.officer("risk", "POST", "/kill-switch", {"level": 0, "account": "flat"})


def _is_flat(world: World) -> bool:
    rows = world.trader.get("/positions?account=flat")["positions"]
    return all(Decimal(row["quantity"]) == 0 for row in rows)


def amount_invalid(world: World) -> Said:
    body = {"account": "plain", "asset": "USDT", "reference": fresh_id("funds")}
    world.officer("gateway", "POST", "/funds", body | {"amount": "10"})
    return said(world.desk.request("gateway", "POST", "/funds", body | {"amount": "11"}))


def account_exists(world: World) -> Said:
    body = {"account": "plain", "holder_name": "Somebody Else"}
    return said(world.desk.request("compliance", "POST", "/accounts", body))


def kyc_transition_not_allowed(world: World) -> Said:
    return said(world.desk.request("compliance", "POST", "/accounts/unapproved/kyc", {"state": "EXPIRED"}))


def case_not_found(world: World) -> Said:
    body = {"disposition": "FALSE_POSITIVE"}
    return said(world.desk.request("compliance", "POST", "/alerts/large_transaction-00/review", body))


def audit_chain_broken(world: World) -> Said:
    """Somebody wrote into the file of signed checkpoints; what was there is put back."""
    path = world.desk.directory / "audit-checkpoints" / "checkpoints.jsonl"
    path.parent.mkdir(exist_ok=True)
    before = path.read_bytes() if path.exists() else b""
    path.write_bytes(before + b'{"number": "one"}\n')
    try:
        return said(world.desk.request("compliance", "GET", "/audit/checkpoints"))
    finally:
        path.write_bytes(before)


def agent_cooling_down(world: World) -> Said:
    for _ in range(5):
        response = world.desk.request("llm_agents", "POST", "/agents/jarvis/analyse", {"symbol": "BTCUSDT"})
        if response.status_code >= 400:
            return said(response)
    raise AssertionError("an agent decides on one instrument as often as it is asked")


def agent_no_view(world: World) -> Said:
    """Too few candles make no view, and the decision says so."""

    def decided() -> Any:
        response = world.desk.request("llm_agents", "POST", "/agents/jarvis/analyse", {"symbol": "ETHUSDT"})
        if response.status_code >= 400:
            time.sleep(0.2)
            return None
        return response.json()["decision_id"]

    decision_id = until(decided, what="a decision")
    why = world.officer("llm_agents", "GET", f"/decisions/{decision_id}")
    reason = Reason[why["decision"]["reason"]]
    return Said(int(reason), reason.name, explain(reason))


SCENARIOS: Final[dict[Reason, Scenario]] = {
    Reason.KILL_SWITCH: kill_switch,
    Reason.CIRCUIT_BREAKER: circuit_breaker,
    Reason.DUPLICATE_CLIENT_ORDER_ID: duplicate_client_order_id,
    Reason.COMPLIANCE_ACCOUNT_BLOCKED: account_blocked,
    Reason.COMPLIANCE_KYC_INCOMPLETE: kyc_incomplete,
    Reason.COMPLIANCE_SANCTIONED: sanctioned,
    Reason.COMPLIANCE_INSTRUMENT_RESTRICTED: instrument_restricted,
    Reason.PRICE_NOT_ON_TICK: price_not_on_tick,
    Reason.QUANTITY_NOT_ON_LOT: quantity_not_on_lot,
    Reason.QUANTITY_TOO_SMALL: quantity_too_small,
    Reason.QUANTITY_TOO_LARGE: quantity_too_large,
    Reason.NOTIONAL_TOO_SMALL: notional_too_small,
    Reason.ORDER_FIELDS_INVALID: order_fields_invalid,
    Reason.FEATURE_NOT_SUPPORTED: feature_not_supported,
    Reason.MARKET_DATA_STALE: market_data_stale,
    Reason.MARKET_DATA_MISSING: market_data_missing,
    Reason.PRICE_OUTSIDE_COLLAR: price_outside_collar,
    Reason.ORDER_QUANTITY_LIMIT: order_quantity_limit,
    Reason.ORDER_VALUE_LIMIT: order_value_limit,
    Reason.MESSAGE_THROTTLE: message_throttle,
    Reason.REPEATED_ORDER_THROTTLE: repeated_order_throttle,
    Reason.OPEN_ORDERS_LIMIT: open_orders_limit,
    Reason.SELF_MATCH: self_match,
    Reason.INSUFFICIENT_FUNDS: insufficient_funds,
    Reason.POSITION_LIMIT: position_limit,
    Reason.EXPOSURE_LIMIT: exposure_limit,
    Reason.CONCENTRATION_LIMIT: concentration_limit,
    Reason.LEVERAGE_LIMIT: leverage_limit,
    Reason.DAILY_LOSS_LIMIT: daily_loss_limit,
    Reason.DRAWDOWN_LIMIT: drawdown_limit,
    Reason.MANDATE_SYMBOL: mandate_symbol,
    Reason.MANDATE_ORDER_VALUE: mandate_order_value,
    Reason.MANDATE_DAILY_VALUE: mandate_daily_value,
    Reason.MANDATE_MISSING: mandate_missing,
    Reason.ORDER_NOT_OPEN: order_not_open,
    Reason.REPLACE_INVALID: replace_invalid,
    Reason.AMOUNT_INVALID: amount_invalid,
    Reason.ACCOUNT_EXISTS: account_exists,
    Reason.KYC_TRANSITION_NOT_ALLOWED: kyc_transition_not_allowed,
    Reason.CASE_NOT_FOUND: case_not_found,
    Reason.AUDIT_CHAIN_BROKEN: audit_chain_broken,
    Reason.BOOK_POST_ONLY_WOULD_TAKE: post_only_would_take,
    Reason.BOOK_FILL_OR_KILL_UNFILLABLE: fill_or_kill_unfillable,
    Reason.BOOK_NO_LIQUIDITY: no_liquidity,
    Reason.BOOK_IMMEDIATE_REMAINDER: immediate_remainder,
    Reason.BOOK_SELF_TRADE_PREVENTED: self_trade_prevented,
    Reason.BOOK_EXPIRED: expired,
    Reason.BOOK_MIN_QUANTITY_UNMET: min_quantity_unmet,
    Reason.BOOK_TRIGGER_IMMEDIATE: trigger_immediate,
    Reason.VENUE_NOT_CONFIGURED: venue_not_configured,
    Reason.AGENT_COOLING_DOWN: agent_cooling_down,
    Reason.AGENT_NO_VIEW: agent_no_view,
    Reason.CANCELLED_BY_USER: cancelled_by_user,
    Reason.CANCELLED_BY_KILL_SWITCH: cancelled_by_kill_switch,
    Reason.CANCELLED_ON_DISCONNECT: cancelled_on_disconnect,
    Reason.FLATTENED: flattened,
}
