"""What a venue answers when it is asked: the whole truth about one order, and what to do where it differs from ours.

One contradicting answer proves nothing, since it may have been overtaken by a report; the venue is asked again, and a
difference that it repeats opens a break. Nothing is ever invented to close a gap.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.domain.messages import VenueCancel, VenueOrderStatus
from polaris_synapse.domain.orders import LIMIT_PRICED, STOP_PRICED, TERMINAL_STATES, OrderEvent, OrderState, PostOnly
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.core import breaks as kinds
from polaris_synapse.execution.core.breaks import Breaks
from polaris_synapse.execution.core.fills import book_fill
from polaris_synapse.execution.core.model import NO_TERMS, Terms, VenueOrder
from polaris_synapse.execution.core.orders import Orders, Out, is_legal, take_repriced

_END_EVENTS: Final = {
    OrderState.CANCELLED: OrderEvent.CANCEL,
    OrderState.EXPIRED: OrderEvent.EXPIRE,
    OrderState.REJECTED: OrderEvent.REJECT,
    OrderState.REFUSED: OrderEvent.REJECT,
}


class Difference(Struct, frozen=True):
    """One way in which an answer contradicts what is known here."""

    kind: str
    detail: str
    lots: int = 0
    terms: Terms = NO_TERMS


class VenueStatuses:
    """Folds VenueOrderStatus."""

    def __init__(self, orders: Orders, breaks: Breaks) -> None:
        self._orders = orders
        self._breaks = breaks

    def apply(self, out: Out, status: VenueOrderStatus) -> None:
        """Fold one answer."""
        order = self._orders.state.orders.get(status.order_id)
        if order is None or order.venue != status.venue:
            if status.answered and status.found and status.state not in TERMINAL_STATES:
                self._breaks.open_stranger(
                    out,
                    venue=status.venue,
                    symbol=status.symbol,
                    order_id=status.order_id,
                    venue_order_id=status.venue_order_id,
                )
            return
        if not status.answered:
            return  # asked again at the time that the query set
        order.unanswered = 0
        if status.true_at_ns >= order.queried_ns:
            order.answered_tick = order.queried_tick
        # A trade of the order is as good as the order itself.
        if status.found or status.fills:
            self._found(out, order, status)
        else:
            self._absent(out, order, status)

    def _found(self, out: Out, order: VenueOrder, status: VenueOrderStatus) -> None:
        order.denials = 0
        order.seen_at_venue = True
        order.submit_sent_ns = 0
        order.venue_order_id = order.venue_order_id or status.venue_order_id
        self._breaks.explain(out, order, kinds.VANISHED)
        terms = self._take_terms(out, order, status)
        self._take_fills(out, order, status)
        difference = self._compare_fills(out, order, status) or terms or self._take_state(out, order, status)
        if difference is not None:
            self._dispute(out, order, status, difference)
        elif not order.is_terminal:
            order.disputes = 0
            self._orders.watch(order)
        elif status.state in TERMINAL_STATES:
            order.disputes = 0
            self._looked_after_the_end(order, status)

    def _looked_after_the_end(self, order: VenueOrder, status: VenueOrderStatus) -> None:
        """An ended order and the venue agree. Final only where the venue had the time to learn of its last trades."""
        orders = self._orders
        if order.final_check and not orders.settled(order, status, order.ended_tick):
            orders.look_again(order, orders.now_ns + orders.rules.query_wait_ns)
            return
        order.final_check = False
        self._orders.look_again(order, 0)

    def _absent(self, out: Out, order: VenueOrder, status: VenueOrderStatus) -> None:
        """The venue has no such order. Proof only with the trades looked through, late enough, and more than once."""
        rules = self._orders.rules
        if order.is_terminal:
            self._looked_after_the_end(order, status)
            return
        # The send alone counts: cancels that are asked for again and again must not put the proof off for ever.
        late_enough = self._orders.settled(order, status, order.submit_tick)
        if status.trades_checked and late_enough and self._orders.counts(order, status):
            order.denials += 1
        if order.denials < rules.confirmations:
            self._orders.look_again(order, self._orders.now_ns + rules.query_wait_ns)
        elif order.seen_at_venue or order.filled_lots:
            self._breaks.open(out, order, kinds.VANISHED, "the venue acknowledged it and has no such order any more")
            self._orders.look_again(order, self._orders.now_ns + rules.freshness_ns)
        elif order.state is OrderState.UNKNOWN:
            detail = f"{order.venue} has neither an order {order.client_id} nor a trade of it"
            self._orders.report(out, order, OrderEvent.REJECT, reason=Reason.VENUE_ORDER_ABSENT, detail=detail)
        else:
            # Sent and not timed out yet: what is only slow is not absent.
            self._orders.watch(order)

    def _take_terms(self, out: Out, order: VenueOrder, status: VenueOrderStatus) -> Difference | None:
        """Take over quantity and prices of a replacement whose report was lost."""
        if order.is_terminal:
            return None
        theirs = self._comparable(order, status)
        if order.request.post_only is PostOnly.REPRICE and not order.replace_sent_ns:
            take_repriced(order, theirs[1])
        if order.replace_sent_ns and theirs == order.wanted_terms and is_legal(order, OrderEvent.REPLACE):
            order.replace_sent_ns = 0
            order.quantity_lots, order.price_ticks, order.stop_price_ticks = theirs
            self._orders.report(out, order, OrderEvent.REPLACE, terms=theirs)
            return None
        if status.state in TERMINAL_STATES:
            return None  # terms of an order that has ended bind nobody
        if theirs in (order.terms, order.accepted_terms):
            self._breaks.explain(out, order, kinds.TERMS)
            return None
        detail = f"quantity, price and stop price are {theirs} in lots and ticks at the venue and {order.terms} here"
        return Difference(kinds.TERMS, detail, terms=theirs)

    def _comparable(self, order: VenueOrder, status: VenueOrderStatus) -> Terms:
        """The venue's values where it gives them and where the order's type fixes them, ours elsewhere."""
        kind = order.request.type
        quantity_lots = 0 if order.by_quote_amount else status.quantity_lots
        price_ticks = status.price_ticks if kind in LIMIT_PRICED else 0
        stop_price_ticks = status.stop_price_ticks if kind in STOP_PRICED else 0
        return (
            quantity_lots or order.quantity_lots,
            price_ticks or order.price_ticks,
            stop_price_ticks or order.stop_price_ticks,
        )

    def _take_fills(self, out: Out, order: VenueOrder, status: VenueOrderStatus) -> None:
        """Book what the stream missed, each trade once."""
        missing = [fill for fill in status.fills if fill.trade_id not in order.trade_ids]
        whole = status.state is OrderState.FILLED
        for number, fill in enumerate(missing, start=1):
            completes = whole and number == len(missing)
            book_fill(
                self._orders,
                self._breaks,
                out,
                order,
                fill,
                completes=completes,
                certain=True,
                total_lots=status.filled_lots,
            )

    def _compare_fills(self, out: Out, order: VenueOrder, status: VenueOrderStatus) -> Difference | None:
        ours_lots = order.filled_lots + order.settled_lots
        theirs_lots = status.filled_lots if status.found else sum(fill.quantity_lots for fill in status.fills)
        if theirs_lots == ours_lots:
            self._breaks.explain(out, order, kinds.FILLS)
            return None
        symbol = order.request.symbol
        detail = (
            f"the venue counts {self._orders.lots_text(symbol, theirs_lots)} as filled, "
            f"the trades known here add up to {self._orders.lots_text(symbol, ours_lots)}"
        )
        return Difference(kinds.FILLS, detail, lots=theirs_lots - ours_lots)

    def _take_state(self, out: Out, order: VenueOrder, status: VenueOrderStatus) -> Difference | None:
        """Move to where the venue says the order stands."""
        if order.is_terminal:
            if status.state in TERMINAL_STATES:
                self._breaks.explain(out, order, kinds.REVIVED)
            elif status.state is not OrderState.UNKNOWN:
                return Difference(kinds.REVIVED, f"it ended here as {order.state} and lives at the venue")
            return None
        total_lots = order.filled_lots if order.by_quote_amount else 0
        if status.state is OrderState.FILLED:
            # Everything is accounted for and yet no trade completed it: the last one was settled by a person.
            detail = "the venue calls it filled; no further trade of it is due"
            self._orders.report(out, order, OrderEvent.CANCEL, quantity_lots=total_lots, detail=detail)
            return None
        end = _END_EVENTS.get(status.state)
        if end is not None:
            if not is_legal(order, end) or (end is OrderEvent.REJECT and order.filled_lots):
                end = OrderEvent.CANCEL
            self._orders.report(out, order, end, quantity_lots=total_lots, reason=status.reason, detail=status.detail)
        elif status.state is not OrderState.UNKNOWN:
            self._alive(out, order, status)
        return None

    def _alive(self, out: Out, order: VenueOrder, status: VenueOrderStatus) -> None:
        """The venue has the order and it is open."""
        armed = status.state is OrderState.ARMED
        if order.state is OrderState.UNKNOWN and not self._requests_are_settled(out, order, status):
            return
        if order.state in (OrderState.UNKNOWN, OrderState.APPROVED):
            repriced = order.request.post_only is PostOnly.REPRICE and order.price_ticks != order.request.price_ticks
            self._orders.report(
                out,
                order,
                OrderEvent.ARM if armed else OrderEvent.ACKNOWLEDGE,
                terms=order.terms if repriced else NO_TERMS,
            )
        elif order.state is OrderState.ARMED and not armed:
            self._orders.report(out, order, OrderEvent.TRIGGER)
        elif order.state is OrderState.WORKING and armed:
            # Its cancel or replacement was refused, which says nothing of the trigger that it still waits for.
            self._orders.report(out, order, OrderEvent.ARM)
        if order.cancel_wanted and not order.cancel_sent_ns:
            # The cancel was lost on the way. To cancel twice is safe, and whoever asked still wants it.
            order.cancel_sent_ns, order.changed_tick = self._orders.now_ns, self._orders.state.ticks
            out.append(cancel_command(self._orders, order))

    def _requests_are_settled(self, out: Out, order: VenueOrder, status: VenueOrderStatus) -> bool:
        """Whether a lost cancel or replacement can be given up: it was sent long enough before this answer."""
        latest_ns = max(order.cancel_sent_ns, order.replace_sent_ns)
        if not latest_ns:
            return True
        if status.true_at_ns < latest_ns or not self._orders.settled(order, status, order.changed_tick):
            return False
        order.cancel_sent_ns = 0
        if order.replace_sent_ns:
            order.replace_sent_ns = 0
            detail = "the venue's answer was lost and its values have not changed"
            self._orders.report(
                out, order, OrderEvent.REJECT_REPLACE, reason=Reason.VENUE_UNKNOWN_OUTCOME, detail=detail
            )
        return True

    def _dispute(self, out: Out, order: VenueOrder, status: VenueOrderStatus, difference: Difference) -> None:
        """Count a contradiction and ask again; repeated often enough it opens a break."""
        rules = self._orders.rules
        if self._orders.counts(order, status):
            order.disputes += 1
        order.final_check = order.is_terminal
        if order.disputes < rules.confirmations:
            self._orders.look_again(order, self._orders.now_ns + rules.query_wait_ns)
            return
        self._breaks.open(
            out, order, difference.kind, difference.detail, difference_lots=difference.lots, terms=difference.terms
        )
        if difference.kind == kinds.REVIVED:
            # Nobody here wants it any more, so to cancel it is always safe.
            out.append(cancel_command(self._orders, order))
        self._orders.look_again(order, self._orders.now_ns + rules.freshness_ns)


def cancel_command(orders: Orders, order: VenueOrder) -> VenueCancel:
    """The cancel of an order at its venue."""
    return VenueCancel(
        time_ns=orders.now_ns,
        venue=order.venue,
        symbol=order.request.symbol,
        order_id=order.order_id,
        venue_client_id=order.client_id,
        venue_order_id=order.venue_order_id,
    )
