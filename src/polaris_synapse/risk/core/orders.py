"""Orders coming in: submit, cancel, cancel all. Changes of open orders: replacements."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import structs

from polaris_synapse.domain.instruments import INTERNAL_VENUE
from polaris_synapse.domain.messages import (
    CancelAll,
    CancelOrder,
    ExecuteCancel,
    ExecuteOrder,
    OrderUpdated,
    PlaceOrder,
    RemoveOrder,
    ReplaceOrder,
    SubmitOrder,
)
from polaris_synapse.domain.orders import (
    TERMINAL_STATES,
    Order,
    OrderEvent,
    OrderRequest,
    OrderState,
    RiskApproved,
    Side,
    next_state,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.answers import answer
from polaris_synapse.risk.core.approval_records import answer_held, hold
from polaris_synapse.risk.core.check_limits import covering_mandate
from polaris_synapse.risk.core.checks import first_refusal
from polaris_synapse.risk.core.context import OrderContext
from polaris_synapse.risk.core.ledger import say_balance
from polaris_synapse.risk.core.list_legs import end_waiting
from polaris_synapse.risk.core.members import NO_REASON
from polaris_synapse.risk.core.reservations import settle
from polaris_synapse.risk.core.state import Account, Desk, MandateUse, OrderRecord

#: Cancels of one input. A stop of ten thousand orders would hold up everything else, its own answer too, and one of
#: a hundred thousand is more than one input may cause: the rest follows on the next inputs.
CANCELS_AT_ONCE_MAX: Final = 100

_ENCODER: Final = msgspec.msgpack.Encoder()


def archive_entry(order: Order) -> bytes:
    """What is remembered for ever of an order that leaves memory: 8 bytes of order id, 8 of its request's digest."""
    return order.order_id.to_bytes(8, "big") + _digest(order.request)


def _digest(request: OrderRequest) -> bytes:
    return blake2b(_ENCODER.encode(request), digest_size=8).digest()


def submit(desk: Desk, command: SubmitOrder) -> None:
    """Check an order, reserve what it needs and send it on; or refuse it; or find that it was accepted before."""
    request = command.order
    account = desk.state.accounts.get(request.account)
    if account is not None and _answer_repetition(desk, account, command):
        return
    if desk.state.held and answer_held(desk, command):
        return
    context = OrderContext(desk, request, actor=command.actor, approval_id=command.approval_id)
    refusal = first_refusal(context)
    if refusal is None:
        record = accept(desk, context)
        answer(desk, command, NO_REASON, "", record.order)
        return
    if refusal.reason is Reason.MANDATE_REQUIRES_APPROVAL and not command.approval_id:
        use = covering_mandate(context)
        if use is not None:
            hold(desk, context, use, command, refusal.detail)
            return
    order = Order(
        order_id=0,
        request=request,
        venue=request.venue if context.market is None else context.market.instrument.venue,
        state=OrderState.REFUSED,
        quantity_lots=request.quantity_lots,
        price_ticks=request.price_ticks,
        stop_price_ticks=request.stop_price_ticks,
        reason=refusal.reason,
        detail=refusal.detail,
        created_time_ns=desk.time_ns,
        updated_time_ns=desk.time_ns,
    )
    desk.out.append(OrderUpdated(time_ns=desk.time_ns, order=order, actor=command.actor))
    answer(desk, command, refusal.reason, refusal.detail, order=order)


def _answer_repetition(desk: Desk, account: Account, command: SubmitOrder) -> bool:
    """Answer an order that was accepted before, word for word, with the order that exists."""
    request = command.order
    order_id = account.client_order_ids.get(request.client_order_id)
    if order_id is not None:
        order = desk.orders[order_id].order
        if order.request != request:
            return False
        answer(desk, command, order=order, order_ids=(order_id,), duplicate=True)
        return True
    entry = account.archived_ids.get(request.client_order_id)
    if entry is None or entry[8:] != _digest(request):
        return False
    order_id = int.from_bytes(entry[:8], "big")
    detail = f"Order {order_id} has ended long ago; look it up by its id."
    answer(desk, command, Reason.NONE, detail, order_ids=(order_id,), duplicate=True)
    return True


def accept(desk: Desk, context: OrderContext) -> OrderRecord:
    """Take an order that passed: give it its id, reserve, remember, publish, and send it to its book or venue."""
    account, market, prospect = context.account, context.market, context.prospect
    assert account is not None
    assert market is not None
    assert prospect is not None
    record = prospect.record
    order = record.order
    desk.state.order_number += 1
    order_id = order.order_id
    desk.orders[order_id] = record
    account.open_orders.add(order_id)
    account.client_order_ids[order.request.client_order_id] = order_id
    use = covering_mandate(context)
    if use is not None:
        use_mandate(desk, record, use, prospect.value_units or 0)
    reserved = settle(account, market, record)
    approved = RiskApproved(order)
    out = desk.out
    if order.venue == INTERNAL_VENUE:
        out.append(PlaceOrder(time_ns=desk.time_ns, symbol=market.symbol, approved=approved))
    else:
        out.append(ExecuteOrder(time_ns=desk.time_ns, symbol=market.symbol, approved=approved))
    out.append(OrderUpdated(time_ns=desk.time_ns, order=order, actor=context.actor))
    if reserved:
        say_balance(desk, account, record.need_asset)
    return record


def use_mandate(desk: Desk, record: OrderRecord, use: MandateUse, worth: int) -> None:
    """Count the order's value against the mandate's day."""
    if use.day != desk.state.day:
        use.day, use.used_units = desk.state.day, 0
    use.used_units += worth - (record.mandate_units if record.mandate_day == use.day else 0)
    record.agent, record.mandate_units, record.mandate_day = use.mandate.agent, worth, desk.state.day


def find_order(desk: Desk, account: str, order_id: int, client_order_id: str) -> OrderRecord | None:
    """An account's order by id or, where that is 0, by client order id. Another account's order is not found."""
    known = desk.state.accounts.get(account)
    if known is None:
        return None
    if not order_id:
        order_id = known.client_order_ids.get(client_order_id, 0)
    record = desk.orders.get(order_id)
    return record if record is not None and record.order.request.account == account else None


def answer_missing(desk: Desk, command: CancelOrder | ReplaceOrder) -> None:
    """Answer for an order that is not in memory: it ended long ago, or never was."""
    account = desk.state.accounts.get(command.account)
    entry = account.archived_ids.get(command.client_order_id) if account and not command.order_id else None
    if entry is not None:
        order_id = int.from_bytes(entry[:8], "big")
        answer(desk, command, Reason.ORDER_NOT_OPEN, f"Order {order_id} has ended long ago.", order_ids=(order_id,))
        return
    named = f"order {command.order_id}" if command.order_id else f"client order id {command.client_order_id}"
    answer(desk, command, Reason.ORDER_NOT_FOUND, f"Account {command.account} has no {named}.")


def cancel(desk: Desk, command: CancelOrder) -> None:
    """Ask for one order's cancellation. Passes whatever is stopped."""
    record = find_order(desk, command.account, command.order_id, command.client_order_id)
    if record is None:
        answer_missing(desk, command)
        return
    order = record.order
    if order.state in TERMINAL_STATES:
        answer(desk, command, Reason.ORDER_NOT_OPEN, f"Order {order.order_id} is {order.state}.", order=order)
        return
    repeated = order.state is OrderState.PENDING_CANCEL
    if not repeated:
        request_cancel(desk, record, Reason.CANCELLED_BY_USER, command.actor)
    answer(desk, command, order=record.order, order_ids=(order.order_id,), duplicate=repeated)


def cancel_all(desk: Desk, command: CancelAll) -> None:
    """Ask for the cancellation of every open order that matches."""
    if command.account and command.account not in desk.state.accounts:
        answer(desk, command, Reason.ACCOUNT_NOT_FOUND, f"There is no account {command.account}.")
        return
    if command.symbol and command.symbol not in desk.state.markets:
        answer(desk, command, Reason.SYMBOL_NOT_FOUND, f"There is no instrument {command.symbol}.")
        return
    names = [command.account] if command.account else desk.account_names()
    # What hurries a kill switch on leaves its own orders alone, which close positions.
    own_too = command.reason is not Reason.CANCELLED_BY_KILL_SWITCH
    found = cancellable(desk, names, symbol=command.symbol, side=command.side, flattening=own_too)
    now = found[:CANCELS_AT_ONCE_MAX]
    cancel_these(desk, now, command.reason, command.actor)
    left = len(found) - len(now)
    answer(desk, command, detail=f"{left} more orders are open; ask again for them." if left else "", order_ids=now)


def cancellable(
    desk: Desk, names: Iterable[str], *, symbol: str = "", side: Side | None = None, flattening: bool
) -> tuple[int, ...]:
    """The open orders whose cancellation is not asked for yet, those at venues first.

    ``flattening``: the kill switch's own ones too.
    """
    found: list[tuple[bool, int]] = []
    for name in names:
        for order_id in desk.state.accounts[name].open_orders:
            record = desk.orders[order_id]
            order = record.order
            request = order.request
            if (symbol and request.symbol != symbol) or (side is not None and request.side is not side):
                continue
            if order.state is OrderState.PENDING_CANCEL or (record.flattens and not flattening):
                continue
            if order.state is OrderState.UNKNOWN and record.cancel_reason is not Reason.NONE:
                continue
            found.append((order.venue == INTERNAL_VENUE, order_id))
    return tuple(order_id for _, order_id in sorted(found))


def cancel_these(desk: Desk, order_ids: Iterable[int], reason: Reason, actor: str) -> None:
    """Ask for the cancellation of open orders."""
    for order_id in order_ids:
        request_cancel(desk, desk.orders[order_id], reason, actor)


def request_cancel(desk: Desk, record: OrderRecord, reason: Reason, actor: str) -> None:
    """Move an open order to PENDING_CANCEL (UNKNOWN stays) and tell its book or venue."""
    order = record.order
    state = next_state(order.state, OrderEvent.REQUEST_CANCEL, filled_lots=order.filled_lots)
    record.cancel_reason = reason
    record.order = structs.replace(order, state=state, updated_time_ns=desk.time_ns, version=order.version + 1)
    symbol = order.request.symbol
    if record.leg is not None and record.leg.waits:
        end_waiting(desk, record, OrderEvent.CANCEL)
    elif order.venue == INTERNAL_VENUE:
        desk.out.append(RemoveOrder(time_ns=desk.time_ns, symbol=symbol, order_id=order.order_id))
    else:
        desk.out.append(ExecuteCancel(time_ns=desk.time_ns, symbol=symbol, order_id=order.order_id))
    desk.out.append(
        OrderUpdated(time_ns=desk.time_ns, order=record.order, event=OrderEvent.REQUEST_CANCEL, actor=actor)
    )
