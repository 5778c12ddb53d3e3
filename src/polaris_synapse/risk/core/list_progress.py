"""What follows for a list when one of its orders was reported on."""

from __future__ import annotations

from polaris_synapse.domain.order_lists import ListKind, ListState
from polaris_synapse.domain.orders import TERMINAL_STATES, OrderEvent, OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.list_legs import end_waiting, say_list, update_list, waiting_records
from polaris_synapse.risk.core.order_lists import send_waiting
from polaris_synapse.risk.core.orders import request_cancel
from polaris_synapse.risk.core.state import Account, Desk, Market, OrderRecord


def proceed(desk: Desk, account: Account, market: Market, record: OrderRecord) -> None:
    """An order of a list has ended: place what waited for it, or end it; cancel with it what it was cancelled with."""
    assert record.leg is not None
    order_list = desk.state.lists.get(str(record.leg.list_id))
    if order_list is None or order_list.state is not ListState.EXECUTING:
        return
    state = record.order.state
    if state not in TERMINAL_STATES:
        return
    is_working = order_list.request.kind is not ListKind.OCO and record.order.order_id == order_list.order_ids[0]
    waiting = waiting_records(desk, order_list)
    if is_working and state is OrderState.FILLED and waiting:
        refusal = send_waiting(desk, account, market, waiting)
        if refusal is None:
            say_list(desk, order_list, ListState.EXECUTING)
            return
        for one in waiting:
            end_waiting(desk, one, OrderEvent.REJECT, refusal.reason, refusal.detail)
        return
    event = OrderEvent.CANCEL if state is OrderState.CANCELLED else OrderEvent.EXPIRE
    for one in waiting:
        end_waiting(desk, one, event, Reason.BOOK_ORDER_LIST)
    if record.leg.waits and state is OrderState.CANCELLED:
        _cancel_working(desk, order_list.order_ids[0])
    update_list(desk, order_list)


def _cancel_working(desk: Desk, order_id: int) -> None:
    """Somebody cancelled an order that waits, and with it the list."""
    record = desk.orders.get(order_id)
    if record is not None and record.order.state not in TERMINAL_STATES | {OrderState.PENDING_CANCEL}:
        request_cancel(desk, record, Reason.CANCELLED_BY_USER, "desk")
