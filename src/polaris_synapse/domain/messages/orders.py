"""The life of an order: commands in, reports back, facts out."""

from __future__ import annotations

from polaris_synapse.domain.messages.base import Command, Message
from polaris_synapse.domain.order_lists import OrderList, OrderListRequest
from polaris_synapse.domain.orders import Fill, Order, OrderEvent, OrderRequest, Side
from polaris_synapse.domain.reasons import Reason


class SubmitOrder(Command, frozen=True, kw_only=True, gc=False):
    """Place an order. ``approval_id`` names a person's approval of an agent's order, where its mandate asks for one."""

    order: OrderRequest
    approval_id: str = ""


class CancelOrder(Command, frozen=True, kw_only=True, gc=False):
    """Cancel one order of ``account``, by ``order_id`` or, when that is 0, by ``client_order_id``."""

    account: str
    order_id: int = 0
    client_order_id: str = ""


class CancelAll(Command, frozen=True, kw_only=True, gc=False):
    """Cancel every open order that matches; an empty field matches all. An empty ``account`` means every account."""

    account: str = ""
    symbol: str = ""
    side: Side | None = None
    reason: Reason = Reason.CANCELLED_BY_USER


class SubmitOrderList(Command, frozen=True, kw_only=True, gc=False):
    """Place a list of orders that depend on each other: all of it, or nothing."""

    order_list: OrderListRequest


class CancelOrderList(Command, frozen=True, kw_only=True, gc=False):
    """Cancel what is open of a list of ``account``, by ``list_id`` or, when that is 0, by ``client_list_id``."""

    account: str
    list_id: int = 0
    client_list_id: str = ""


class ReplaceOrder(Command, frozen=True, kw_only=True, gc=False):
    """Change an open order's quantity or prices; 0 leaves a value as it is.

    ``quantity_lots`` is the new total, filled lots included. Reducing it alone keeps the order's place in the queue.
    """

    account: str
    order_id: int = 0
    client_order_id: str = ""
    quantity_lots: int = 0
    price_ticks: int = 0
    stop_price_ticks: int = 0


class OrderReport(Message, frozen=True, kw_only=True, gc=False):
    """What the book or a venue did with an order; goes to risk, which moves the state and the ledger.

    ``fill`` comes with PARTIAL_FILL and FILL. For REPLACE, ``quantity_lots``, ``price_ticks`` and
    ``stop_price_ticks`` are the values now in force. For a MARKET order by quote amount that ends, ``quantity_lots``
    is what was bought or sold in total. ``cancelled_lots`` with DECREMENT self-trade prevention lowers the total.
    """

    order_id: int
    account: str
    symbol: str
    event: OrderEvent
    fill: Fill | None = None
    quantity_lots: int = 0
    price_ticks: int = 0
    stop_price_ticks: int = 0
    venue_order_id: str = ""
    reason: Reason = Reason.NONE
    detail: str = ""


class OrderUpdated(Message, frozen=True, kw_only=True, gc=False):
    """An order after a change, complete. Refused orders are published too (``order_id`` 0)."""

    order: Order
    event: OrderEvent | None = None
    actor: str = ""


class OrderListUpdated(Message, frozen=True, kw_only=True, gc=False):
    """A list after a change, complete. Its orders are told of by OrderUpdated, each for itself."""

    order_list: OrderList
    actor: str = ""


class ExecutionRecorded(Message, frozen=True, kw_only=True, gc=False):
    """A fill after the ledger has posted it. ``execution_id`` is unique over the desk."""

    execution_id: str
    order_id: int
    client_order_id: str
    account: str
    symbol: str
    venue: str
    side: Side
    fill: Fill
    notional_units: int
    realised_pnl_units: int = 0
    decision_id: str = ""
