"""What books and venues say of orders: states, fills, and the money that they move.

Rules for reports that do not fit, because money that moved must be in the ledger whatever its messenger got wrong:

- A fill posts in every state, after the end of its order too. The same ``trade_id`` on the same order again does
  nothing at all.
- More filled than ordered posts as well; LimitBreached says VENUE_OVERFILL and the symbol's breaker trips, because
  the desk and the venue then disagree about an order and a person must look.
- A report without a fill about an order that has ended changes nothing: delivery is at least once.
- Any other report that the order table does not allow leaves the state as it is and is said in LimitBreached.
- A fill of an order that is no longer in memory (more than ``closed_orders_max`` orders have ended since) cannot be
  attributed; it is said in LimitBreached with ORDER_NOT_FOUND, and reconciliation finds the difference.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from polaris_synapse.domain.messages import ExecutionRecorded, LimitBreached, OrderReport, OrderUpdated, SymbolStopped
from polaris_synapse.domain.orders import TERMINAL_STATES, Fill, Order, OrderEvent, OrderTransitionError, next_state
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import text
from polaris_synapse.risk.core.breakers import trip
from polaris_synapse.risk.core.fees import charge
from polaris_synapse.risk.core.kill_switch import flatten
from polaris_synapse.risk.core.ledger import fill_postings, post, say_balance
from polaris_synapse.risk.core.list_legs import share
from polaris_synapse.risk.core.list_progress import proceed
from polaris_synapse.risk.core.mandates import take_agent_fill
from polaris_synapse.risk.core.members import CANCELLED, FILL, FILLED, NO_REASON, PARTIAL_FILL, REJECT_CANCEL, REPLACE
from polaris_synapse.risk.core.orders import archive_entry
from polaris_synapse.risk.core.positions import position_of, say_position, take_fill
from polaris_synapse.risk.core.reservations import settle
from polaris_synapse.risk.core.state import FILLS_PER_ORDER_MAX, Account, Desk, Market, OrderRecord

_REPLACE_ANSWERS: Final = frozenset({REPLACE, OrderEvent.REJECT_REPLACE})
_VALUE_EVENTS: Final = frozenset(
    {REPLACE, OrderEvent.ACKNOWLEDGE, OrderEvent.ARM, OrderEvent.TRIGGER, PARTIAL_FILL, FILL}
)


def take_report(desk: Desk, report: OrderReport) -> None:
    """Fold one report."""
    record = desk.orders.get(report.order_id)
    if record is None:
        if report.fill is not None:
            _say_breach(
                desk,
                report.account,
                report.symbol,
                Reason.ORDER_NOT_FOUND,
                f"A fill (trade {report.fill.trade_id}) came for order {report.order_id}, which is not known any more.",
            )
        return
    fill, order = report.fill, record.order
    if fill is not None and not _is_new(record, fill.trade_id):
        return
    was_terminal = order.state in TERMINAL_STATES
    if fill is None and was_terminal:
        return
    account = desk.state.accounts[order.request.account]
    market = desk.state.markets[order.request.symbol]
    _take_values(record, report)
    touched: set[str] | None = None
    lots = notional = 0
    if fill is not None:
        lots, notional = fill.quantity_lots, fill.price_ticks * fill.quantity_lots * market.multiplier
        touched = _post_fill(desk, account, market, record, fill, notional)
    _move_state(desk, record, report, lots, notional)
    order = record.order
    has_ended = order.state in TERMINAL_STATES
    if has_ended and not was_terminal:
        _close(desk, account, record)
    is_settled = settle(account, market, record)
    if record.leg is not None and share(desk, account, market, record):
        is_settled = True
    if touched is None:
        if is_settled:
            say_balance(desk, account, record.need_asset)
    else:
        if is_settled:
            touched.add(record.need_asset)
        assets = sorted(touched)
        for asset in assets:
            say_balance(desk, account, asset)
        _watch_overdraft(desk, account, assets)
        if order.filled_lots > order.quantity_lots and not order.request.quote_amount_units:
            _say_overfill(desk, market, order)
    desk.out.append(OrderUpdated(time_ns=desk.time_ns, order=order, event=report.event))
    if record.leg is not None:
        proceed(desk, account, market, record)
    if has_ended:
        flatten(desk, account)


def _is_new(record: OrderRecord, trade_id: str) -> bool:
    """Remember a trade of the order, unless it is known already."""
    if record.trade_ids is None:
        record.trade_ids = {trade_id}
        return True
    if trade_id in record.trade_ids:
        return False
    if len(record.trade_ids) < FILLS_PER_ORDER_MAX:
        record.trade_ids.add(trade_id)
    return True


def _take_values(record: OrderRecord, report: OrderReport) -> None:
    """Take the values that a report says are in force.

    Prices from whatever an open order is told (a post-only order can be repriced on arrival); the total from a REPLACE,
    and from any other report only downwards: self-trade prevention by DECREMENT takes lots off without a trade.
    """
    order, event = record.order, report.event
    if event in _REPLACE_ANSWERS:
        record.pending = None
    if event not in _VALUE_EVENTS or not (report.quantity_lots or report.price_ticks or report.stop_price_ticks):
        return
    total = order.quantity_lots
    is_sized = report.quantity_lots and not order.request.quote_amount_units
    if is_sized and (event is REPLACE or order.filled_lots <= report.quantity_lots < total):
        total = report.quantity_lots
    price_ticks = report.price_ticks or order.price_ticks
    stop_price_ticks = report.stop_price_ticks or order.stop_price_ticks
    # An acknowledgement usually says what is known.
    if (total, price_ticks, stop_price_ticks) != (order.quantity_lots, order.price_ticks, order.stop_price_ticks):
        record.order = structs.replace(
            order, quantity_lots=total, price_ticks=price_ticks, stop_price_ticks=stop_price_ticks
        )


def _post_fill(
    desk: Desk, account: Account, market: Market, record: OrderRecord, fill: Fill, notional: int
) -> set[str]:
    """Post a fill: ledger, execution, position. Answers the assets whose balance changed."""
    order = record.order
    request = order.request
    fill = charge(desk, account, market, order.venue, request.side, fill, notional)
    execution_id = f"{order.order_id}-{fill.trade_id}"
    postings = fill_postings(account, market, order.venue, request.side, fill)
    if record.agent:
        for posting in postings:
            if posting.ledger_account == f"client:{account.name}":
                take_agent_fill(account, record.agent, posting.asset, posting.units)
    post(
        desk,
        account,
        postings,
        cause="fill",
        reference=execution_id,
        symbol=market.symbol,
        notional_units=notional,
    )
    position = position_of(account, market.symbol)
    realised = take_fill(desk, position, market, request.side, fill)
    if record.flattens:
        position.flatten_attempts = 0
    desk.out.append(
        ExecutionRecorded(
            time_ns=desk.time_ns,
            execution_id=execution_id,
            order_id=order.order_id,
            client_order_id=request.client_order_id,
            account=account.name,
            symbol=market.symbol,
            venue=order.venue,
            side=request.side,
            fill=fill,
            notional_units=notional,
            realised_pnl_units=realised,
            decision_id=request.decision_id,
        )
    )
    say_position(desk, account, market, position)
    touched = {market.base, market.quote}
    if fill.fee_units:
        touched.add(fill.fee_asset)
    return touched


def _move_state(desk: Desk, record: OrderRecord, report: OrderReport, lots: int, notional: int) -> None:
    """Move the order by the table, with what the report's fill adds and the values that it leaves behind."""
    order, event = record.order, report.event
    quantity_lots, filled_lots = order.quantity_lots, order.filled_lots + lots
    total = quantity_lots
    if record.pending is not None and record.pending.quantity_lots > total:
        total = record.pending.quantity_lots
    if event is PARTIAL_FILL and filled_lots >= total and not order.request.quote_amount_units:
        # Fills can overtake each other; the one that completes the order ends it, whatever it was called.
        event = FILL
    try:
        state = next_state(order.state, event, filled_lots=filled_lots)
    except OrderTransitionError as error:
        state = order.state
        if not (report.fill is not None and state is FILLED):
            _say_breach(
                desk, order.request.account, order.request.symbol, Reason.INTERNAL_ERROR,
                f"Order {order.order_id}: {error}; its state stays.",
            )  # fmt: skip
    if order.request.quote_amount_units and state in TERMINAL_STATES:
        quantity_lots = filled_lots
    reason = report.reason
    if reason is NO_REASON and state is CANCELLED:
        reason = record.cancel_reason
    if reason is NO_REASON and record.flattens:
        reason = Reason.FLATTENED
    if event is REJECT_CANCEL:
        record.cancel_reason = NO_REASON
    record.order = structs.replace(
        order,
        state=state,
        quantity_lots=quantity_lots,
        filled_lots=filled_lots,
        filled_notional_units=order.filled_notional_units + notional,
        reason=reason,
        detail=report.detail,
        venue_order_id=report.venue_order_id or order.venue_order_id,
        updated_time_ns=desk.time_ns,
        version=order.version + 1,
    )


def _close(desk: Desk, account: Account, record: OrderRecord) -> None:
    """An order has ended: it is no longer open, gives back what its mandate did not use, and waits to be forgotten."""
    order = record.order
    account.open_orders.discard(order.order_id)
    record.pending = None
    if record.agent and record.mandate_units:
        use = account.mandates.get(record.agent)
        if use is not None and use.day == record.mandate_day:
            use.used_units -= _unfilled_value(record)
    state = desk.state
    state.closed.append(order.order_id)
    surplus = len(state.closed) - desk.closed_orders_max
    # In batches, because cutting the front off a list costs its length.
    if surplus > desk.closed_orders_max // 10:
        for order_id in state.closed[:surplus]:
            old = desk.orders.pop(order_id).order
            owner = state.accounts[old.request.account]
            del owner.client_order_ids[old.request.client_order_id]
            owner.archived_ids[old.request.client_order_id] = archive_entry(old)
        del state.closed[:surplus]


def _unfilled_value(record: OrderRecord) -> int:
    """The part of an agent order's value that it did not trade, rounded down."""
    order = record.order
    amount = order.request.quote_amount_units
    if amount:
        return record.mandate_units * max(amount - order.filled_notional_units, 0) // amount
    return record.mandate_units * max(order.quantity_lots - order.filled_lots, 0) // order.quantity_lots


def _watch_overdraft(desk: Desk, account: Account, assets: list[str]) -> None:
    """Say once when fills took more than was free, as a market order far beyond its collar can."""
    short = [asset for asset in assets if account.balances[asset].free_units < 0]
    if short and not account.overdrawn_told:
        lacking = ", ".join(text.amount(desk, asset, -account.balances[asset].free_units) for asset in short)
        _say_breach(
            desk, account.name, "", Reason.INSUFFICIENT_FUNDS, f"Fills left account {account.name} short of {lacking}."
        )
    account.overdrawn_told = bool(short)


def _say_overfill(desk: Desk, market: Market, order: Order) -> None:
    detail = (
        f"Order {order.order_id} of {text.quantity(market, order.quantity_lots)} has filled "
        f"{text.quantity(market, order.filled_lots)} at {order.venue}."
    )
    _say_breach(desk, order.request.account, market.symbol, Reason.VENUE_OVERFILL, detail)
    note = detail.removesuffix(".")
    if trip(desk, f"symbol:{market.symbol}", Reason.VENUE_OVERFILL, note=note, actor="desk"):
        # A venue that fills too much does so for the accounts of other partitions too. Here it has had its effect.
        desk.out.append(
            SymbolStopped(time_ns=desk.time_ns, symbol=market.symbol, reason=Reason.VENUE_OVERFILL, note=note)
        )


def _say_breach(desk: Desk, account: str, symbol: str, reason: Reason, detail: str) -> None:
    desk.out.append(LimitBreached(time_ns=desk.time_ns, account=account, symbol=symbol, reason=reason, detail=detail))
