"""The orders in memory: their mirror of risk's state, their trades, and when each has to be looked at again."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from polaris_synapse.domain.messages import Message, OrderReport, VenueOrderStatus, VenueQuery
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.orders import TRANSITIONS, Fill, OrderEvent, OrderState, PostOnly, next_state
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.core.model import NO_TERMS, ExecutionRules, ExecutionState, Terms, VenueOrder

Out = list[Message]

#: About how far apart ticks are: only says when it is worth asking, the ticks themselves are counted.
_TICK_NS = 1_000_000_000
#: An index of times is made afresh when it holds this many more entries than there are orders.
_STALE_ENTRIES_MAX = 10_000

#: After these ends a venue may still owe fills, so it is asked once more.
_ENDS_THAT_MAY_OWE_FILLS = frozenset({OrderState.CANCELLED, OrderState.EXPIRED})


def trade_key(venue: str, symbol: str, trade_id: str) -> str:
    """What makes a venue's trade id unique."""
    return f"{venue}/{symbol}/{trade_id}"


def assets_of(state: ExecutionState, symbol: str) -> tuple[str, ...]:
    """The codes of what an instrument trades; none where it is not known."""
    instrument = state.instruments.get(symbol)
    return () if instrument is None else (instrument.base.code, instrument.quote.code)


def is_legal(order: VenueOrder, event: OrderEvent) -> bool:
    """Whether the order table lets the event happen to the order."""
    return (order.state, event) in TRANSITIONS


def take_repriced(order: VenueOrder, price_ticks: int) -> bool:
    """A post-only order that the venue may move: take over the price it has there; whether it had moved."""
    if order.request.post_only is not PostOnly.REPRICE or price_ticks in (0, order.price_ticks):
        return False
    order.price_ticks = price_ticks
    return True


class Orders:
    """Every order that the core remembers, with an index of when it is next due. Limits: see ExecutionRules."""

    def __init__(self, rules: ExecutionRules, state: ExecutionState) -> None:
        self.rules = rules
        self.state = state
        #: Called with each trade that is booked.
        self.booked: Callable[[VenueOrder, Fill], None] = lambda order, fill: None
        self._due: list[tuple[int, int]] = []
        self._index_afresh()

    def _index_afresh(self) -> None:
        self._due = [(order.check_ns, order.order_id) for order in self.state.orders.values() if order.check_ns]
        heapq.heapify(self._due)

    @property
    def now_ns(self) -> int:
        """Logical time: the latest that any message carried."""
        return self.state.now_ns

    def lots_text(self, symbol: str, lots: int) -> str:
        """Lots as people write them."""
        instrument = self.state.instruments.get(symbol)
        if instrument is None:
            return f"{lots} lots"
        return f"{instrument.format_quantity(lots)} {instrument.base.code}"

    def units_text(self, asset: str, units: int) -> str:
        """Minor units of an asset as people write them."""
        for instrument in self.state.instruments.values():
            for known in (instrument.base, instrument.quote):
                if known.code == asset:
                    return f"{format_units(units, known.decimals)} {asset}"
        return f"{units} units of {asset}"

    def look_again(self, order: VenueOrder, at_ns: int) -> None:
        """Make the order due at a time; 0 for never."""
        order.check_ns = at_ns
        if not at_ns:
            return
        heapq.heappush(self._due, (at_ns, order.order_id))
        if len(self._due) > 2 * len(self.state.orders) + _STALE_ENTRIES_MAX:
            self._index_afresh()

    def take_due(self) -> list[VenueOrder]:
        """The orders that are due now, oldest first, at most ``queries_per_tick_max`` of them."""
        found: list[VenueOrder] = []
        while self._due and self._due[0][0] <= self.now_ns and len(found) < self.rules.queries_per_tick_max:
            at_ns, order_id = heapq.heappop(self._due)
            order = self.state.orders.get(order_id)
            if order is not None and order.check_ns == at_ns:
                order.check_ns = 0
                found.append(order)
        return found

    def query(self, out: Out, order: VenueOrder) -> None:
        """Ask the venue for the whole truth about the order, and again later, less and less often."""
        out.append(
            VenueQuery(
                time_ns=self.now_ns,
                venue=order.venue,
                symbol=order.request.symbol,
                order_id=order.order_id,
                venue_client_id=order.client_id,
                venue_order_id=order.venue_order_id,
            )
        )
        wait_ns = min(self.rules.query_wait_ns << min(order.unanswered, 20), self.rules.query_wait_max_ns)
        order.unanswered += 1
        order.queried_ns, order.queried_tick = self.now_ns, self.state.ticks
        self.look_again(order, self.now_ns + wait_ns)

    def counts(self, order: VenueOrder, status: VenueOrderStatus) -> bool:
        """Whether an answer may be counted against the order.

        It is the first one to the latest question, and what is known here is not newer: an answer that reports have
        overtaken contradicts nothing.
        """
        if status.true_at_ns < max(order.queried_ns, order.heard_ns) or order.counted_ns >= order.queried_ns:
            return False
        order.counted_ns = order.queried_ns
        return True

    def settled(self, order: VenueOrder, status: VenueOrderStatus, since_tick: int) -> bool:
        """Whether the question was asked so late that what left the desk at a tick had arrived, or never would."""
        asked = status.true_at_ns >= order.queried_ns
        return asked and order.queried_tick - since_tick >= self.rules.settle_ticks

    def watch(self, order: VenueOrder) -> None:
        """Set the time at which an order that was heard of is looked at again if nothing else comes."""
        rules, oldest_ns = self.rules, order.oldest_request_ns
        if order.is_terminal:
            return
        if order.state is OrderState.UNKNOWN:
            self.look_again(order, self.now_ns + rules.query_wait_ns)
        elif oldest_ns:
            self.look_again(order, max(oldest_ns + rules.acknowledge_timeout_ns, self.now_ns + 1))
        else:
            self.look_again(order, self.now_ns + rules.freshness_ns)

    def report(
        self,
        out: Out,
        order: VenueOrder,
        event: OrderEvent,
        *,
        fill: Fill | None = None,
        quantity_lots: int = 0,
        terms: Terms = NO_TERMS,
        reason: Reason = Reason.NONE,
        detail: str = "",
    ) -> None:
        """Tell risk and move the mirror. The event must be legal: ask ``is_legal`` where a venue decides it."""
        was_terminal = order.is_terminal
        if fill is not None:
            order.filled_lots += fill.quantity_lots
            self.booked(order, fill)
        order.state = next_state(order.state, event, filled_lots=order.filled_lots)
        order.heard_ns = self.now_ns
        out.append(
            OrderReport(
                time_ns=self.now_ns,
                order_id=order.order_id,
                account=order.request.account,
                symbol=order.request.symbol,
                event=event,
                fill=fill,
                quantity_lots=terms[0] or quantity_lots,
                price_ticks=terms[1],
                stop_price_ticks=terms[2],
                venue_order_id=order.venue_order_id,
                reason=reason,
                detail=detail,
            )
        )
        if order.is_terminal:
            self._end(order)
            if not was_terminal:
                order.ended_ns = self.now_ns
                order.ended_tick = self.state.ticks
                self._remember_end(order)

    def follow(self, order: VenueOrder, event: OrderEvent) -> None:
        """Move the mirror as risk moved the order when it asked for a cancel or a replacement."""
        order.state = next_state(order.state, event, filled_lots=order.filled_lots)

    def lose(self, out: Out, order: VenueOrder, detail: str) -> None:
        """The outcome of what was asked is not known: say so and ask the venue."""
        if is_legal(order, OrderEvent.LOSE) and order.state is not OrderState.UNKNOWN:
            self.report(out, order, OrderEvent.LOSE, reason=Reason.VENUE_UNKNOWN_OUTCOME, detail=detail)
        order.denials = 0

    def _end(self, order: VenueOrder) -> None:
        """An order reached an end, or had a late fill after it."""
        order.submit_sent_ns = order.cancel_sent_ns = order.replace_sent_ns = 0
        order.cancel_wanted = False
        order.disputes = order.denials = order.unanswered = 0
        if order.state in _ENDS_THAT_MAY_OWE_FILLS:
            order.final_check = True
            self.look_again(order, self.now_ns + self.rules.settle_ticks * _TICK_NS)
        else:
            # Also where a late trade filled what had been cancelled: nothing is owed any more.
            order.final_check = False
            self.look_again(order, 0)

    def _remember_end(self, order: VenueOrder) -> None:
        """Put an order that has just ended among the closed ones and forget the oldest of those beyond the limit."""
        closed = self.state.closed
        closed.append(order.order_id)
        if len(closed) <= self.rules.closed_orders_max + self.rules.closed_orders_max // 10:
            return
        # A tenth at a time: taking one from the front of a long list costs as much as taking many.
        surplus = len(closed) - self.rules.closed_orders_max
        for order_id in closed[:surplus]:
            forgotten = self.state.orders.pop(order_id)
            for trade_id in forgotten.trade_ids:
                key = trade_key(forgotten.venue, forgotten.request.symbol, trade_id)
                if self.state.trades.get(key) == order_id:
                    del self.state.trades[key]
        del closed[:surplus]
