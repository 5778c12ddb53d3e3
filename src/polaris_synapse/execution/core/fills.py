"""Booking fills: each trade of a venue once, never more than was ordered, never on an order that was turned away."""

from __future__ import annotations

from polaris_synapse.domain.orders import Fill, OrderEvent
from polaris_synapse.execution.core import breaks as kinds
from polaris_synapse.execution.core.breaks import Breaks
from polaris_synapse.execution.core.model import VenueOrder
from polaris_synapse.execution.core.orders import Orders, Out, is_legal, trade_key


def book_fill(
    orders: Orders,
    breaks: Breaks,
    out: Out,
    order: VenueOrder,
    fill: Fill,
    *,
    completes: bool,
    certain: bool,
    total_lots: int = 0,
) -> bool:
    """Tell risk of a fill unless it is known; returns whether it was new and booked.

    ``completes``: the venue calls it the last one, which counts for orders by quote amount only, because for every
    other order the quantities say it; ``total_lots`` is then what such an order traded in all, where the venue says
    it, and the order is filled once its trades add up to that. ``certain``: the terms in force are known from the same
    answer. A fill that the order cannot have is not booked: it opens a break, or a query where a replacement under way
    might explain it.
    """
    if fill.trade_id in order.trade_ids:
        return False
    if fill.quantity_lots <= 0 or fill.price_ticks <= 0 or not fill.trade_id:
        breaks.open(out, order, kinds.TRADE, "the venue reports a trade without an id, a price or a quantity")
        return False
    key = trade_key(order.venue, order.request.symbol, fill.trade_id)
    owner = orders.state.trades.get(key)
    if owner is not None:
        breaks.open(
            out,
            order,
            kinds.TRADE_ID,
            f"the venue gives it trade {fill.trade_id}, which belongs to order {owner}",
            difference_lots=fill.quantity_lots,
            trade_id=fill.trade_id,
        )
        return False
    filled_lots = order.filled_lots + order.settled_lots + fill.quantity_lots
    if order.by_quote_amount:
        # The last trade can overtake the others, or be heard alone where a gap swallowed them.
        order.total_lots = total_lots if completes else order.total_lots
        completes = filled_lots == order.total_lots if order.total_lots else completes
        event = OrderEvent.FILL if completes else OrderEvent.PARTIAL_FILL
        fits = True
    else:
        event = OrderEvent.FILL if filled_lots == order.quantity_lots else OrderEvent.PARTIAL_FILL
        fits = filled_lots <= order.quantity_lots
    if order.enlarges and not certain and order.quantity_lots <= filled_lots <= order.wanted_terms[0]:
        # The larger quantity may be in force before its report is here, so this may be too much or not yet all: the
        # venue's status brings terms and trades in order.
        orders.query(out, order)
        return False
    if not fits or not is_legal(order, event):
        text = orders.lots_text(order.request.symbol, fill.quantity_lots)
        why = f"it would fill more than the {orders.lots_text(order.request.symbol, order.quantity_lots)} ordered"
        breaks.open(
            out,
            order,
            kinds.TRADE,
            f"the venue reports trade {fill.trade_id} of {text}, but "
            + (why if not fits else f"the order is {order.state}"),
            difference_lots=fill.quantity_lots,
            trade_id=fill.trade_id,
        )
        return False
    order.trade_ids.append(fill.trade_id)
    orders.state.trades[key] = order.order_id
    # Only an order by quote amount learns its quantity from its last fill. An older count of the venue's must not cut
    # down the quantity of any other.
    total_lots = order.total_lots if order.by_quote_amount and event is OrderEvent.FILL else 0
    orders.report(out, order, event, fill=fill, quantity_lots=total_lots)
    return True
