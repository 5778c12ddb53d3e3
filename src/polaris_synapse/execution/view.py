"""The venue's side of the open orders as the service last heard of it: for people, and for asking about all of them."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.messages import (
    Message,
    VenueCancel,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import TERMINAL_STATES, OrderEvent, OrderState

_AFTER = {
    OrderEvent.ACKNOWLEDGE: OrderState.WORKING,
    OrderEvent.ARM: OrderState.ARMED,
    OrderEvent.TRIGGER: OrderState.WORKING,
    OrderEvent.PARTIAL_FILL: OrderState.PARTIALLY_FILLED,
    OrderEvent.LOSE: OrderState.UNKNOWN,
}
_ENDS = frozenset({OrderEvent.FILL, OrderEvent.CANCEL, OrderEvent.EXPIRE, OrderEvent.REJECT})


class VenueOrderView(Struct, kw_only=True):
    """One open order at a venue. ``state`` is what the venue said last, APPROVED before it said anything."""

    order_id: int
    venue: str
    symbol: str
    venue_client_id: str
    venue_order_id: str
    state: OrderState
    filled_lots: int
    heard_time_ns: int


class OpenOrdersView:
    """Open orders by id, of every venue. It forgets an order when it ends, and starts empty."""

    def __init__(self) -> None:
        self._orders: dict[int, VenueOrderView] = {}

    def __contains__(self, order_id: object) -> bool:
        return order_id in self._orders

    def of_venue(self, venue: str) -> list[VenueOrderView]:
        """The open orders at a venue."""
        return [order for order in self._orders.values() if order.venue == venue]

    def all(self) -> list[VenueOrderView]:
        """Every open order, newest first."""
        return sorted(self._orders.values(), key=lambda order: -order.order_id)

    def count(self, venue: str) -> int:
        """How many orders are open at a venue."""
        return sum(order.venue == venue for order in self._orders.values())

    def note(self, message: Message) -> None:
        """Take in a command to a venue, or what came back."""
        if isinstance(message, VenueSubmit):
            for other in message.also:
                self.note(other)
        if isinstance(message, VenueSubmit | VenueQuery | VenueCancel | VenueReplace):
            if message.order_id not in self._orders:
                self._orders[message.order_id] = VenueOrderView(
                    order_id=message.order_id,
                    venue=message.venue,
                    symbol=message.symbol,
                    venue_client_id=message.venue_client_id,
                    venue_order_id="" if isinstance(message, VenueSubmit) else message.venue_order_id,
                    state=OrderState.APPROVED if isinstance(message, VenueSubmit) else OrderState.UNKNOWN,
                    filled_lots=0,
                    heard_time_ns=message.time_ns,
                )
        elif isinstance(message, VenueReport):
            self._report(message)
        elif isinstance(message, VenueOrderStatus) and message.answered:
            self._status(message)

    def _report(self, report: VenueReport) -> None:
        if report.event in _ENDS:
            self._orders.pop(report.order_id, None)
            return
        order = self._orders.get(report.order_id)
        if order is None:
            return
        order.state = _AFTER.get(report.event, order.state)
        order.venue_order_id = report.venue_order_id or order.venue_order_id
        order.heard_time_ns = report.time_ns
        if report.fill is not None:
            order.filled_lots += report.fill.quantity_lots

    def _status(self, status: VenueOrderStatus) -> None:
        if status.state in TERMINAL_STATES or (not status.found and status.trades_checked):
            self._orders.pop(status.order_id, None)
            return
        order = self._orders.get(status.order_id)
        if order is not None and status.found:
            order.state, order.filled_lots = status.state, status.filled_lots
            order.venue_order_id = status.venue_order_id or order.venue_order_id
            order.heard_time_ns = status.time_ns
