"""A matching core on the test bench: short ways to drive it and to read what it said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from polaris_synapse.domain.instruments import INTERNAL_VENUE, Instrument
from polaris_synapse.domain.messages import AmendOrder, ListInstrument, Message, OrderReport, PlaceOrder, RemoveOrder
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import Order, OrderRequest, OrderState, OrderType, RiskApproved, Side
from polaris_synapse.matching.core import MatchingCore

SYMBOL = "BTCUSDT.INT"
#: 2026-01-01 12:00 UTC.
NOON = 1_767_268_800 * 10**9

M = TypeVar("M", bound=Message)


def instrument(**changes: Any) -> Instrument:
    """BTCUSDT on the internal book: tick 0.01, lot 0.00001, maker 0.05 %, taker 0.1 %."""
    values: dict[str, Any] = {
        "symbol": SYMBOL,
        "base": Asset("BTC", 8),
        "quote": Asset("USDT", 8),
        "tick_units": 1_000_000,
        "lot_units": 1_000,
        "maker_fee_ppm": 500,
        "taker_fee_ppm": 1_000,
        "venue": INTERNAL_VENUE,
    }
    return Instrument(**{**values, **changes})


def core_with_book(**changes: Any) -> MatchingCore:
    """A core that has the instrument's book."""
    core = MatchingCore()
    assert core.apply(ListInstrument(time_ns=NOON, instrument=instrument(**changes))) == ()
    return core


def place(
    order_id: int, side: Side, lots: int = 0, price: int = 0, *, time_ns: int = NOON, **fields: Any
) -> PlaceOrder:
    """An approved order: LIMIT where it has a price and MARKET where it has none, unless ``type`` is given."""
    fields = {"account": f"account-{order_id}", "type": OrderType.LIMIT if price else OrderType.MARKET, **fields}
    request = OrderRequest(
        client_order_id=f"c{order_id}", symbol=SYMBOL, side=side, quantity_lots=lots, price_ticks=price, **fields
    )
    order = Order(
        order_id=order_id,
        request=request,
        venue=INTERNAL_VENUE,
        state=OrderState.APPROVED,
        quantity_lots=lots,
        price_ticks=price,
        stop_price_ticks=request.stop_price_ticks,
    )
    return PlaceOrder(time_ns=time_ns, symbol=SYMBOL, approved=RiskApproved(order))


def remove(order_id: int) -> RemoveOrder:
    """Take an order off."""
    return RemoveOrder(time_ns=NOON, symbol=SYMBOL, order_id=order_id)


def amend(order_id: int, lots: int, price: int, stop: int = 0) -> AmendOrder:
    """Change an order."""
    return AmendOrder(
        time_ns=NOON, symbol=SYMBOL, order_id=order_id, quantity_lots=lots, price_ticks=price, stop_price_ticks=stop
    )


def only(kind: type[M], messages: Sequence[Message]) -> list[M]:
    """The messages of one type."""
    return [message for message in messages if isinstance(message, kind)]


def spoken(messages: Sequence[Message]) -> list[str]:
    """The reports as ``"7 FILL"`` or ``"7 EXPIRE BOOK_NO_LIQUIDITY"``."""
    return [
        f"{report.order_id} {report.event}" + (f" {report.reason.name}" if report.reason else "")
        for report in only(OrderReport, messages)
    ]
