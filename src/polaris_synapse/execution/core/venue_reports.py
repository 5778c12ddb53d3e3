"""What a venue's stream says about an order. A hint: where it does not fit, the venue is asked for the whole truth."""

from __future__ import annotations

from typing import Final

from polaris_synapse.domain.messages import VenueReport
from polaris_synapse.domain.orders import OrderEvent, OrderState
from polaris_synapse.execution.core.breaks import Breaks
from polaris_synapse.execution.core.fills import book_fill
from polaris_synapse.execution.core.model import NO_TERMS, Terms, VenueOrder
from polaris_synapse.execution.core.orders import Orders, Out, is_legal, take_repriced

_FILLS: Final = frozenset({OrderEvent.PARTIAL_FILL, OrderEvent.FILL})
_ALIVE: Final = frozenset({OrderEvent.ACKNOWLEDGE, OrderEvent.ARM, OrderEvent.TRIGGER})
_ENDS: Final = frozenset({OrderEvent.CANCEL, OrderEvent.EXPIRE, OrderEvent.REJECT})
#: Events of an order that the venue has, so one that the desk does not know is a stranger.
_SIGNS_OF_LIFE: Final = _FILLS | _ALIVE | {OrderEvent.REPLACE}
#: States in which the venue's own acknowledgement has not been heard, or does not count any more.
_UNACKNOWLEDGED: Final = frozenset({OrderState.APPROVED, OrderState.UNKNOWN})


class VenueReports:
    """Folds VenueReport."""

    def __init__(self, orders: Orders, breaks: Breaks) -> None:
        self._orders = orders
        self._breaks = breaks

    def apply(self, out: Out, report: VenueReport) -> None:
        """Fold one report."""
        order = self._orders.state.orders.get(report.order_id)
        if order is None or order.venue != report.venue:
            if report.event in _SIGNS_OF_LIFE:
                self._breaks.open_stranger(
                    out,
                    venue=report.venue,
                    symbol=report.symbol,
                    order_id=report.order_id,
                    venue_order_id=report.venue_order_id,
                )
            return
        if report.venue_order_id and not order.venue_order_id:
            order.venue_order_id = report.venue_order_id
        if report.event in _FILLS:
            self._fill(out, order, report)
        elif report.event in _ALIVE:
            self._alive(out, order, report)
        elif report.event in _ENDS:
            self._end(out, order, report)
        elif report.event in (OrderEvent.REJECT_CANCEL, OrderEvent.REJECT_REPLACE):
            self._refused(out, order, report)
        elif report.event is OrderEvent.REPLACE:
            self._replaced(out, order, report)
        elif report.event is OrderEvent.LOSE and not order.is_terminal:
            if order.oldest_request_ns:
                # Where nothing is awaited any more the stream was faster, and what it said is known already.
                self._orders.lose(out, order, report.detail or "the venue's answer was lost")
            self._orders.query(out, order)
        # REQUEST_CANCEL and REQUEST_REPLACE are the desk's to say; a venue that says them says nothing.

    def _fill(self, out: Out, order: VenueOrder, report: VenueReport) -> None:
        if report.fill is None:
            self._orders.query(out, order)
            return
        self._seen(order)
        completes = report.event is OrderEvent.FILL
        book_fill(
            self._orders,
            self._breaks,
            out,
            order,
            report.fill,
            completes=completes,
            certain=False,
            total_lots=report.quantity_lots,
        )
        if order.is_terminal:
            return
        if completes:
            # The venue calls the order filled, the trades that came say otherwise: some are missing.
            self._orders.query(out, order)
        else:
            self._orders.watch(order)

    def _alive(self, out: Out, order: VenueOrder, report: VenueReport) -> None:
        if order.is_terminal:
            return
        self._seen(order)
        event = report.event
        moved = take_repriced(order, report.price_ticks) if event is OrderEvent.ACKNOWLEDGE else False
        if event is OrderEvent.TRIGGER and order.state in _UNACKNOWLEDGED:
            # Its arming was never heard of; that it works at the venue now is what counts.
            event = OrderEvent.ACKNOWLEDGE
        lost_requests = order.state is OrderState.UNKNOWN and (order.cancel_sent_ns or order.replace_sent_ns)
        if is_legal(order, event) and not lost_requests:
            self._orders.report(out, order, event, terms=order.terms if moved else NO_TERMS)
        self._orders.watch(order)

    def _end(self, out: Out, order: VenueOrder, report: VenueReport) -> None:
        if order.is_terminal:
            return
        self._seen(order)
        if order.enlarges:
            # Fills of the larger quantity may be on their way. An ended order takes no new terms, so the venue is
            # asked first which were in force.
            self._orders.query(out, order)
            return
        event = report.event
        if event is OrderEvent.REJECT and (order.filled_lots or not is_legal(order, event)):
            # Turned away after it had traded: for the ledger and the client that is the end of its rest.
            event = OrderEvent.CANCEL
        self._orders.report(
            out,
            order,
            event,
            quantity_lots=report.quantity_lots,
            reason=report.reason,
            detail=report.detail,
        )

    def _refused(self, out: Out, order: VenueOrder, report: VenueReport) -> None:
        """The venue turned a cancel or a replacement away, most often because the order had ended."""
        if report.event is OrderEvent.REJECT_CANCEL:
            asked, order.cancel_sent_ns = order.cancel_sent_ns, 0
            if not order.submit_sent_ns:
                # A cancel that overtook its own order is wanted still; any other was answered for good.
                order.cancel_wanted = False
        else:
            asked, order.replace_sent_ns = order.replace_sent_ns, 0
        if order.is_terminal or not asked:
            return
        if report.event is OrderEvent.REJECT_CANCEL and order.replace_sent_ns:
            # Back on the book it could take neither the replacement that may be in force nor a fill of its quantity.
            self._orders.lose(out, order, "its cancel was refused while a replacement is in doubt")
        elif is_legal(order, report.event):
            self._orders.report(out, order, report.event, reason=report.reason, detail=report.detail)
        self._orders.query(out, order)

    def _replaced(self, out: Out, order: VenueOrder, report: VenueReport) -> None:
        terms: Terms = (
            report.quantity_lots or order.quantity_lots,
            report.price_ticks or order.price_ticks,
            report.stop_price_ticks or order.stop_price_ticks,
        )
        if order.is_terminal or (terms == order.terms and not order.replace_sent_ns):
            return
        # The report of an earlier replacement, come again, is no answer to the one that is under way.
        repeated = terms == order.terms != order.wanted_terms
        if repeated or not order.replace_sent_ns or not is_legal(order, OrderEvent.REPLACE):
            self._orders.query(out, order)
            return
        self._seen(order)
        order.replace_sent_ns = 0
        order.quantity_lots, order.price_ticks, order.stop_price_ticks = terms
        self._orders.report(out, order, OrderEvent.REPLACE, terms=terms)
        if order.state is OrderState.UNKNOWN:
            self._orders.query(out, order)
        else:
            self._orders.watch(order)

    def _seen(self, order: VenueOrder) -> None:
        order.seen_at_venue = True
        order.submit_sent_ns = 0
        order.denials = order.unanswered = 0
