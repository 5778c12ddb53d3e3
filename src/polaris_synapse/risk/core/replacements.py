"""Open orders that are changed: the checks of a new order, the larger of both needs held, and the change sent on.

An order of a list keeps its list's rules. The two orders of an OCO have one side and quantity, so what can change of
one while the other is open are its prices, and these keep to the sides of each other that they had to be placed with.
Together they go on holding what the larger of them needs. An order that waits for its working order is on no book: its
values are changed at once, and what depends on money and positions is checked when it is placed.
"""

from __future__ import annotations

from msgspec import structs

from polaris_synapse.domain.instruments import INTERNAL_VENUE
from polaris_synapse.domain.messages import AmendOrder, ExecuteReplace, OrderUpdated, ReplaceOrder
from polaris_synapse.domain.order_lists import pair_problem
from polaris_synapse.domain.orders import (
    LIMIT_PRICED,
    STOP_PRICED,
    TERMINAL_STATES,
    TRANSITIONS,
    Order,
    OrderEvent,
    OrderRequest,
    OrderState,
    next_state,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.answers import answer
from polaris_synapse.risk.core.check_limits import covering_mandate
from polaris_synapse.risk.core.checks import CHECKS, first_refusal
from polaris_synapse.risk.core.context import AGENT_PREFIX, OrderContext, Refusal
from polaris_synapse.risk.core.ledger import say_balance
from polaris_synapse.risk.core.list_legs import share, sibling_of
from polaris_synapse.risk.core.order_lists import CHECKS_BEFORE_WAITING
from polaris_synapse.risk.core.orders import answer_missing, find_order, use_mandate
from polaris_synapse.risk.core.reservations import settle
from polaris_synapse.risk.core.state import Desk, OrderRecord, Replacement


def replace(desk: Desk, command: ReplaceOrder) -> None:
    """Change an open order's quantity or prices; or refuse, and leave it as it is."""
    record = find_order(desk, command.account, command.order_id, command.client_order_id)
    if record is None:
        answer_missing(desk, command)
        return
    order = record.order
    waits = record.leg is not None and record.leg.waits
    refusal = _problem(order, command, waits=waits)
    if refusal is None:
        request = structs.replace(
            order.request,
            quantity_lots=command.quantity_lots or order.quantity_lots,
            price_ticks=command.price_ticks or order.price_ticks,
            stop_price_ticks=command.stop_price_ticks or order.stop_price_ticks,
        )
        refusal = _list_problem(desk, record, request, command.actor)
    if refusal is None:
        context = OrderContext(desk, request, actor=command.actor, replaces=record)
        refusal = first_refusal(context, CHECKS_BEFORE_WAITING if waits else CHECKS)
    if refusal is not None:
        answer(desk, command, refusal.reason, refusal.detail, order=order)
        return
    if waits:
        _change_waiting(desk, record, request, command.actor)
    else:
        _send(desk, context, record, command.actor)
    answer(desk, command, order=record.order)


def _send(desk: Desk, context: OrderContext, record: OrderRecord, actor: str) -> None:
    """Hold the larger of both needs, and tell the order's book or venue."""
    account, market, request, order = context.account, context.market, context.request, record.order
    assert account is not None
    assert market is not None
    assert context.prospect is not None
    use = covering_mandate(context)
    if use is not None:
        use_mandate(desk, record, use, context.prospect.value_units or 0)
    record.pending = Replacement(request.quantity_lots, request.price_ticks, request.stop_price_ticks)
    state = next_state(order.state, OrderEvent.REQUEST_REPLACE, filled_lots=order.filled_lots)
    record.order = structs.replace(order, state=state, updated_time_ns=desk.time_ns, version=order.version + 1)
    message_type = AmendOrder if order.venue == INTERNAL_VENUE else ExecuteReplace
    desk.out.append(
        message_type(
            time_ns=desk.time_ns,
            symbol=market.symbol,
            order_id=order.order_id,
            quantity_lots=request.quantity_lots,
            price_ticks=request.price_ticks,
            stop_price_ticks=request.stop_price_ticks,
        )
    )
    desk.out.append(
        OrderUpdated(time_ns=desk.time_ns, order=record.order, event=OrderEvent.REQUEST_REPLACE, actor=actor)
    )
    changed = settle(account, market, record)
    if record.leg is not None:
        changed = share(desk, account, market, record) or changed
    if changed:
        say_balance(desk, account, record.need_asset)


def _change_waiting(desk: Desk, record: OrderRecord, request: OrderRequest, actor: str) -> None:
    """Change an order that no book has seen: it is still APPROVED, and holds nothing until it is placed."""
    order = record.order
    record.order = structs.replace(
        order,
        quantity_lots=request.quantity_lots,
        price_ticks=request.price_ticks,
        stop_price_ticks=request.stop_price_ticks,
        updated_time_ns=desk.time_ns,
        version=order.version + 1,
    )
    desk.out.append(OrderUpdated(time_ns=desk.time_ns, order=record.order, event=OrderEvent.REPLACE, actor=actor))


def _problem(order: Order, command: ReplaceOrder, *, waits: bool) -> Refusal | None:
    """Why an order cannot take these values at all; its checks come after."""
    if order.state in TERMINAL_STATES:
        return Refusal(Reason.ORDER_NOT_OPEN, f"Order {order.order_id} is {order.state}.")
    problem = ""
    kind, wanted = order.request.type, (command.quantity_lots, command.price_ticks, command.stop_price_ticks)
    present = (order.quantity_lots, order.price_ticks, order.stop_price_ticks)
    can_change = (order.state, OrderEvent.REQUEST_REPLACE) in TRANSITIONS
    if not can_change and not (waits and order.state is OrderState.APPROVED):
        problem = f"Order {order.order_id} is {order.state}, so it cannot be changed now"
    elif min(wanted) < 0:
        problem = "No number of a replacement may be negative"
    elif order.request.quote_amount_units:
        problem = "An order by quote amount cannot be changed"
    elif command.price_ticks and kind not in LIMIT_PRICED:
        problem = f"A {kind} order has no price to change"
    elif command.stop_price_ticks and kind not in STOP_PRICED:
        problem = f"A {kind} order has no stop price to change"
    elif all(new in (0, old) for new, old in zip(wanted, present, strict=True)):
        problem = "The replacement changes nothing"
    elif 0 < command.quantity_lots <= order.filled_lots:
        problem = f"{order.filled_lots} lots have filled already, the new total must be larger"
    elif 0 < command.quantity_lots < max(order.request.display_lots, order.request.min_quantity_lots):
        problem = "The new quantity is smaller than the order's displayed or minimum quantity"
    return Refusal(Reason.REPLACE_INVALID, f"{problem}.") if problem else None


def _list_problem(desk: Desk, record: OrderRecord, request: OrderRequest, actor: str) -> Refusal | None:
    """Why an order of a list cannot take these values: its list would not have been taken with them."""
    if record.leg is None:
        return None
    if actor.startswith(AGENT_PREFIX):
        return Refusal(Reason.FEATURE_NOT_SUPPORTED, "An agent's mandate covers single orders, not lists.")
    sibling = sibling_of(desk, record)
    if sibling is None or sibling.order.state in TERMINAL_STATES:
        return None
    if request.quantity_lots != record.order.quantity_lots:
        problem = "Both orders of an OCO have the same quantity; cancel the list and place one of another quantity"
        return Refusal(Reason.REPLACE_INVALID, f"{problem}.")
    # A change of the other one that is under way may be taken or refused, so both its old and its new prices count.
    other = sibling.order
    prices = [(other.price_ticks, other.stop_price_ticks)]
    if sibling.pending is not None:
        prices.append((sibling.pending.price_ticks, sibling.pending.stop_price_ticks))
    for price_ticks, stop_price_ticks in prices:
        beside = structs.replace(
            other.request,
            quantity_lots=request.quantity_lots,
            price_ticks=price_ticks,
            stop_price_ticks=stop_price_ticks,
        )
        problem = pair_problem(request, beside)
        if problem:
            return Refusal(Reason.REPLACE_INVALID, f"{problem}.")
    return None
