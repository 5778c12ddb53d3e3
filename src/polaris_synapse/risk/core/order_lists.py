"""Order lists: OCO, OTO and OTOCO, checked leg by leg and reserved for as one.

The orders of an OCO live on one book or venue, which ends one when the other trades, so together they need what the
larger one needs: that one, the *carrier*, holds it, and the other is covered. What one has filled, the other cannot.

The orders that wait in an OTO or OTOCO are orders of the desk in state APPROVED that no book has seen. They hold
nothing: what they spend is mostly what the working order brings, so there is nothing to reserve before. When the
working order has filled, in the same step, what depends on money, positions and stops is checked, they reserve, and are
sent on; or they are rejected with the reason. A SELL that waits for a BUY is cut to what the BUY left after its fee.

A list's own record is kept until it has ended and ``CLOSED_LISTS_MAX`` others have since. After that a repetition is
still not placed twice: its orders' client order ids are taken for ever.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from polaris_synapse.domain.instruments import INTERNAL_VENUE
from polaris_synapse.domain.messages import (
    CancelOrderList,
    ExecuteOrder,
    ExecuteOrderList,
    OrderListUpdated,
    OrderUpdated,
    PlaceOrder,
    PlaceOrderList,
    SubmitOrderList,
)
from polaris_synapse.domain.order_lists import ListKind, ListState, OrderList, list_problem
from polaris_synapse.domain.orders import TERMINAL_STATES, OrderState, RiskApproved
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import check_limits, checks
from polaris_synapse.risk.core.answers import answer
from polaris_synapse.risk.core.capabilities import CAPABILITIES
from polaris_synapse.risk.core.context import AGENT_PREFIX, OrderContext, Refusal
from polaris_synapse.risk.core.ledger import say_balance
from polaris_synapse.risk.core.list_legs import find, pair_of, share
from polaris_synapse.risk.core.orders import request_cancel
from polaris_synapse.risk.core.reservations import settle
from polaris_synapse.risk.core.state import PARTITIONS_MAX, Account, Desk, ListLeg, Market, OrderRecord

#: What depends on money and positions as they are when an order is placed; of a waiting order it is checked then.
_AT_PLACEMENT: Final = frozenset(
    {
        check_limits.check_buying_power,
        check_limits.check_position,
        check_limits.check_exposure,
        check_limits.check_concentration,
        check_limits.check_holding,
        check_limits.check_leverage,
        check_limits.check_losses,
    }
)
#: The checks of an order that waits; the others come when it is placed.
CHECKS_BEFORE_WAITING: Final = tuple(check for check in checks.CHECKS if check not in _AT_PLACEMENT)
_WAITS: Final = "Waits until the working order of its list has filled."


def submit(desk: Desk, command: SubmitOrderList) -> None:
    """Check a list, reserve what it needs and send on what does not wait; or refuse all of it; or find it again."""
    request = command.order_list
    account = desk.state.accounts.get(request.account)
    known = account.client_list_ids.get(request.client_list_id) if account is not None else None
    if known is not None:
        found = desk.state.lists[str(known)]
        if found.request == request:
            answer(desk, command, order_ids=found.order_ids, duplicate=True, order_list=found)
            return
        refusal: Refusal | None = Refusal(
            Reason.DUPLICATE_CLIENT_LIST_ID, f"Client list id {request.client_list_id} belongs to list {known}."
        )
        contexts: list[OrderContext] = []
    else:
        refusal, contexts = _examine(desk, command)
    if refusal is not None:
        order_list = OrderList(
            list_id=0,
            request=request,
            state=ListState.REFUSED,
            reason=refusal.reason,
            detail=refusal.detail,
            created_time_ns=desk.time_ns,
            updated_time_ns=desk.time_ns,
        )
        answer(desk, command, refusal.reason, refusal.detail, order_list=order_list)
        return
    order_list = _accept(desk, contexts, command)
    answer(desk, command, order_ids=order_list.order_ids, order_list=order_list)


def _examine(desk: Desk, command: SubmitOrderList) -> tuple[Refusal | None, list[OrderContext]]:
    """The first reason against any of the orders, in their order; and what was found out about each."""
    request, contexts = command.order_list, []
    problem = list_problem(request)
    if problem:
        return Refusal(Reason.ORDER_LIST_INVALID, f"{problem}."), []
    if command.actor.startswith(AGENT_PREFIX):
        return Refusal(Reason.FEATURE_NOT_SUPPORTED, "An agent's mandate covers single orders, not lists."), []
    for number, leg in enumerate(request.legs):
        context = OrderContext(desk, leg, actor=command.actor)
        waits = request.kind is not ListKind.OCO and number > 0
        for check in CHECKS_BEFORE_WAITING if waits else checks.CHECKS:
            refusal = check(context)
            if refusal is not None:
                detail = f"Order {number + 1} of the list: {refusal.detail}"
                return Refusal(refusal.reason, detail), []
        contexts.append(context)
    market, account = contexts[0].market, contexts[0].account
    assert market is not None
    assert account is not None
    venue, orders_max = market.instrument.venue, contexts[0].limits.open_orders_max
    if not CAPABILITIES[venue].order_lists:
        return Refusal(Reason.FEATURE_NOT_SUPPORTED, f"{venue} does not offer order lists."), []
    if orders_max and len(account.open_orders) + len(contexts) > orders_max:
        detail = f"Account {account.name} has {len(account.open_orders)} open orders of {orders_max}."
        return Refusal(Reason.OPEN_ORDERS_LIMIT, detail), []
    return None, contexts


def _accept(desk: Desk, contexts: list[OrderContext], command: SubmitOrderList) -> OrderList:
    """Take a list that passed: ids, reservations, and what does not wait on its way."""
    state, request = desk.state, command.order_list
    account, market = contexts[0].account, contexts[0].market
    assert account is not None
    assert market is not None
    state.list_number += 1
    list_id = state.list_number * PARTITIONS_MAX + state.partition
    records: list[OrderRecord] = []
    for number, context in enumerate(contexts):
        assert context.prospect is not None
        record = context.prospect.record
        state.order_number += 1
        order_id = state.order_number * PARTITIONS_MAX + state.partition
        waits = request.kind is not ListKind.OCO and number > 0
        record.order = structs.replace(record.order, order_id=order_id, detail=_WAITS if waits else "")
        record.leg = ListLeg(list_id=list_id, waits=waits)
        desk.orders[order_id] = record
        account.open_orders.add(order_id)
        account.client_order_ids[record.order.request.client_order_id] = order_id
        records.append(record)
    order_list = OrderList(
        list_id=list_id,
        request=request,
        state=ListState.EXECUTING,
        order_ids=tuple(record.order.order_id for record in records),
        created_time_ns=desk.time_ns,
        updated_time_ns=desk.time_ns,
    )
    state.lists[str(list_id)] = order_list
    account.client_list_ids[request.client_list_id] = list_id
    desk.out.append(OrderListUpdated(time_ns=desk.time_ns, order_list=order_list, actor=command.actor))
    at_once = records if request.kind is ListKind.OCO else records[:1]
    _send(desk, account, market, at_once)
    for record in records:
        desk.out.append(OrderUpdated(time_ns=desk.time_ns, order=record.order, actor=command.actor))
    return order_list


def _send(desk: Desk, account: Account, market: Market, records: list[OrderRecord]) -> None:
    """Reserve for one order, or for the two of an OCO, and send them to their book or venue."""
    assert records[0].leg is not None
    list_id = records[0].leg.list_id
    changed = share(desk, account, market, records[0]) if len(records) > 1 else settle(account, market, records[0])
    approved = tuple(RiskApproved(record.order) for record in records)
    internal = records[0].order.venue == INTERNAL_VENUE
    if len(records) > 1:
        many = PlaceOrderList if internal else ExecuteOrderList
        desk.out.append(many(time_ns=desk.time_ns, symbol=market.symbol, list_id=list_id, approved=approved))
    else:
        one = PlaceOrder if internal else ExecuteOrder
        desk.out.append(one(time_ns=desk.time_ns, symbol=market.symbol, approved=approved[0]))
    if changed:
        say_balance(desk, account, records[0].need_asset)


def send_waiting(desk: Desk, account: Account, market: Market, records: list[OrderRecord]) -> Refusal | None:
    """The working order has filled: place what waited for it. Answers why that cannot be.

    What its book or venue says of them is the next that is published of these orders.
    """
    for record in records:
        record.order = structs.replace(
            record.order,
            quantity_lots=_what_is_left(account, market, record),
            updated_time_ns=desk.time_ns,
        )
        context = OrderContext(
            desk,
            structs.replace(
                record.order.request,
                quantity_lots=record.order.quantity_lots,
                price_ticks=record.order.price_ticks,
                stop_price_ticks=record.order.stop_price_ticks,
            ),
            actor="desk",
            replaces=record,
        )
        refusal = _placement_refusal(context)
        if refusal is not None:
            return refusal
    for record in records:
        assert record.leg is not None
        record.leg.waits = False
    _send(desk, account, market, records)
    return None


def _placement_refusal(context: OrderContext) -> Refusal | None:
    """The checks of an order that passed all others when its list came in."""
    for check in (
        checks.check_kill_switch,
        checks.check_circuit_breaker,
        checks.check_standing,
        checks.check_status,
        checks.check_break,
        checks.check_instrument_filters,
        check_limits.check_self_match,
        *(check for check in checks.CHECKS if check in _AT_PLACEMENT),
    ):
        refusal = check(context)
        if refusal is not None:
            return refusal
    return None


def _what_is_left(account: Account, market: Market, record: OrderRecord) -> int:
    """The lots of a waiting order: as asked for, or less where the working order's fee took something off them."""
    assert record.leg is not None
    wanted = record.order.quantity_lots
    if record.need_asset != market.base:
        return wanted
    balance = account.balances.get(market.base)
    free = max(balance.free_units, 0) // market.lot_units if balance is not None else 0
    rates = (*account.fee_rates_ppm, market.instrument.maker_fee_ppm, market.instrument.taker_fee_ppm)
    fee_lots = -(-wanted * max(*rates, 0) // 1_000_000)
    least = max(record.order.request.display_lots, record.order.request.min_quantity_lots, wanted - fee_lots)
    return free if least <= free < wanted else wanted


def cancel_list(desk: Desk, command: CancelOrderList) -> None:
    """Ask for the cancellation of every open order of a list. Passes whatever is stopped."""
    order_list = find(desk, command.account, command.list_id, command.client_list_id)
    if order_list is None:
        named = f"list {command.list_id}" if command.list_id else f"client list id {command.client_list_id}"
        answer(desk, command, Reason.ORDER_LIST_NOT_FOUND, f"Account {command.account} has no {named}.")
        return
    if order_list.state is not ListState.EXECUTING:
        detail = f"List {order_list.list_id} is {order_list.state}."
        answer(desk, command, Reason.ORDER_NOT_OPEN, detail, order_list=order_list)
        return
    asked: list[int] = []
    # The waiting ones first, so that nothing is placed any more.
    for order_id in reversed(order_list.order_ids):
        record = desk.orders.get(order_id)
        if record is None or record.order.state in TERMINAL_STATES | {OrderState.PENDING_CANCEL}:
            continue
        request_cancel(desk, record, Reason.CANCELLED_BY_USER, command.actor)
        asked.append(order_id)
    answer(desk, command, order_ids=tuple(sorted(asked)), duplicate=not asked, order_list=order_list)


def problems(desk: Desk) -> list[str]:
    """Where lists break their own invariants, one sentence each; empty when all is well."""
    found: list[str] = []
    for order_list in desk.state.lists.values():
        records = [desk.orders[order_id] for order_id in order_list.order_ids if order_id in desk.orders]
        is_open = [record.order.order_id for record in records if record.order.state not in TERMINAL_STATES]
        if bool(is_open) is not (order_list.state is ListState.EXECUTING):
            found.append(f"list {order_list.list_id} is {order_list.state} and has the open orders {is_open}")
        pair = [desk.orders[order_id] for order_id in pair_of(order_list) if order_id in desk.orders]
        if len(pair) == 2:
            filled, quantity = sum(r.order.filled_lots for r in pair), max(r.order.quantity_lots for r in pair)
            if filled > quantity:
                found.append(f"list {order_list.list_id} of {quantity} lots has filled {filled}")
    return found
