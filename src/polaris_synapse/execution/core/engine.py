"""The execution core: carries approved orders out at venues and tells risk what became of them.

It holds four promises. The client id of an order at its venue is a function of the order's id, so the journaled intent
names it before anything is sent. What was sent and not answered is UNKNOWN, and is never sent again: only the venue's
own answer, by id and by trade history, ends that. Each trade is booked once. A difference that the venue repeats and
nothing explains opens a break.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from polaris_synapse.bus.core import NOTHING, Handler, decode_state, dispatch, encode_state, hash_state
from polaris_synapse.domain.messages import (
    Answer,
    ConfigureVenues,
    ExecuteCancel,
    ExecuteOrder,
    ExecuteOrderList,
    ExecuteReplace,
    HostStarted,
    ListInstrument,
    Message,
    ResolveBreak,
    Tick,
    VenueBalances,
    VenueOrderStatus,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import Order, OrderEvent, OrderState, RiskApproved
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.core.balances import Balances
from polaris_synapse.execution.core.breaks import Breaks
from polaris_synapse.execution.core.model import (
    SNAPSHOT_VERSION,
    ExecutionRules,
    ExecutionState,
    SavedState,
    VenueOrder,
)
from polaris_synapse.execution.core.orders import Orders, Out, is_legal
from polaris_synapse.execution.core.statuses import VenueStatuses, cancel_command
from polaris_synapse.execution.core.venue_reports import VenueReports

#: The longest client order id that every venue takes.
CLIENT_ID_CHARACTERS_MAX: Final = 36

#: States in which a replacement can be sent to the venue.
_REPLACEABLE: Final = frozenset({OrderState.ARMED, OrderState.WORKING, OrderState.PARTIALLY_FILLED})


class ExecutionCore:
    """Folds the execution inbox. See the module for its promises and ExecutionRules for its times and limits."""

    name = "execution"

    def __init__(self, *, partition: int = 0, rules: ExecutionRules | None = None) -> None:
        self._rules = rules or ExecutionRules()
        self._handlers: dict[type[Message], Handler] = {
            Tick: self._tick,
            HostStarted: self._host_started,
            ListInstrument: self._list_instrument,
            ConfigureVenues: self._configure_venues,
            ExecuteOrder: self._execute_order,
            ExecuteOrderList: self._execute_order_list,
            ExecuteCancel: self._execute_cancel,
            ExecuteReplace: self._execute_replace,
            VenueReport: self._venue_report,
            VenueOrderStatus: self._venue_order_status,
            VenueBalances: self._venue_balances,
            ResolveBreak: self._resolve_break,
        }
        self._take_over(ExecutionState(partition=partition))

    def _take_over(self, state: ExecutionState) -> None:
        self._state = state
        self._orders = Orders(self._rules, state)
        self._breaks = Breaks(self._orders)
        self._balances = Balances(self._orders, self._breaks)
        self._orders.booked = self._balances.traded
        self._reports = VenueReports(self._orders, self._breaks)
        self._statuses = VenueStatuses(self._orders, self._breaks)

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Fold one message."""
        self._state.now_ns = max(self._state.now_ns, message.time_ns)
        return dispatch(self._handlers, message, self.name)

    def snapshot(self) -> bytes:
        """The whole state, versioned."""
        orders = [order for _, order in sorted(self._state.orders.items())]
        return encode_state(SNAPSHOT_VERSION, SavedState(orders=orders, rest=replace(self._state, orders={})))

    def restore(self, snapshot: bytes, /) -> None:
        """Replace the state by a snapshot's. Raises SnapshotError."""
        saved = decode_state(SNAPSHOT_VERSION, SavedState, snapshot)
        self._take_over(replace(saved.rest, orders={order.order_id: order for order in saved.orders}))

    def state_hash(self) -> str:
        """A hash of the state."""
        return hash_state(self.snapshot())

    @property
    def open_orders(self) -> int:
        """How many orders have not ended."""
        return sum(not order.is_terminal for order in self._state.orders.values())

    # -- the desk -----------------------------------------------------------------------------------------------

    def _tick(self, _: Tick) -> Sequence[Message]:
        self._state.ticks += 1
        out: Out = []
        self._work_off_due(out)
        return out

    def _host_started(self, _: HostStarted) -> Sequence[Message]:
        """Whatever was on its way has an unknown outcome, and what rested may have moved: ask about everything."""
        out: Out = []
        orders, now_ns = self._orders, self._state.now_ns
        for order in sorted(self._state.orders.values(), key=lambda order: order.order_id):
            if order.is_terminal:
                continue
            order.unanswered = 0
            in_flight = order.oldest_request_ns
            if in_flight:
                orders.lose(out, order, "the desk stopped before the venue's answer was here")
            # What was on its way is asked about first.
            orders.look_again(order, now_ns - 1 if in_flight or order.state is OrderState.UNKNOWN else now_ns)
        self._work_off_due(out)
        return out

    def _work_off_due(self, out: Out) -> None:
        for order in self._orders.take_due():
            if order.is_terminal:
                if order.final_check:
                    self._orders.query(out, order)
                continue
            oldest_ns = order.oldest_request_ns
            if oldest_ns and order.state is not OrderState.UNKNOWN:
                if self._state.now_ns - oldest_ns < self._rules.acknowledge_timeout_ns:
                    self._orders.watch(order)
                    continue
                self._orders.lose(out, order, "the venue did not answer in time")
            self._orders.query(out, order)

    def _list_instrument(self, message: ListInstrument) -> Sequence[Message]:
        self._state.instruments[message.instrument.symbol] = message.instrument
        return NOTHING

    def _configure_venues(self, message: ConfigureVenues) -> Sequence[Message]:
        self._state.venues = {listing.name: listing for listing in message.venues}
        self._state.real_trading = message.real_trading
        return NOTHING

    def _resolve_break(self, message: ResolveBreak) -> Sequence[Message]:
        out: Out = []
        reason, duplicate = self._breaks.resolve(out, message.break_id, message.actor, message.note)
        detail = f"there is no break {message.break_id}" if reason is Reason.NOT_FOUND else ""
        out.append(
            Answer(
                time_ns=self._state.now_ns,
                request_id=message.request_id,
                reason=reason,
                detail=detail,
                duplicate=duplicate,
            )
        )
        return out

    # -- risk ---------------------------------------------------------------------------------------------------

    def _execute_order(self, message: ExecuteOrder) -> Sequence[Message]:
        if not isinstance(message.approved, RiskApproved):
            raise TypeError("an order without the proof that risk approved it")
        subject: Order = message.approved.subject
        if subject.order_id in self._state.orders:
            return NOTHING  # delivered twice
        order = VenueOrder(
            order_id=subject.order_id,
            venue=subject.venue,
            client_id=f"ps{self._state.partition}-{subject.order_id}",
            request=subject.request,
            state=OrderState.APPROVED,
            quantity_lots=subject.quantity_lots,
            price_ticks=subject.price_ticks,
            stop_price_ticks=subject.stop_price_ticks,
        )
        assert len(order.client_id) <= CLIENT_ID_CHARACTERS_MAX
        self._state.orders[order.order_id] = order
        out: Out = []
        reason, detail = self._refusal(order.venue)
        if reason is not Reason.NONE:
            self._orders.report(out, order, OrderEvent.REJECT, reason=reason, detail=detail)
            return out
        order.submit_sent_ns, order.submit_tick = self._state.now_ns, self._state.ticks
        self._orders.watch(order)
        out.append(
            VenueSubmit(
                time_ns=self._state.now_ns,
                venue=order.venue,
                symbol=order.request.symbol,
                order_id=order.order_id,
                venue_client_id=order.client_id,
                request=order.request,
                quantity_lots=order.quantity_lots,
                price_ticks=order.price_ticks,
                stop_price_ticks=order.stop_price_ticks,
            )
        )
        return out

    def _execute_order_list(self, message: ExecuteOrderList) -> Sequence[Message]:
        """The orders of an OCO go to their venue as one request, with the first of them."""
        out = [
            said
            for approved in message.approved
            for said in self._execute_order(
                ExecuteOrder(time_ns=message.time_ns, symbol=message.symbol, approved=approved)
            )
        ]
        submits = [said for said in out if isinstance(said, VenueSubmit)]
        if len(submits) < len(message.approved):
            return out
        return [replace(submits[0], list_id=message.list_id, also=tuple(submits[1:]))]

    def _refusal(self, venue: str) -> tuple[Reason, str]:
        listing = self._state.venues.get(venue)
        if listing is None:
            configured = ", ".join(sorted(self._state.venues)) or "none"
            return Reason.VENUE_NOT_CONFIGURED, f"no adapter for {venue}; configured: {configured}"
        if not listing.simulated and not self._state.real_trading:
            return Reason.REAL_TRADING_DISABLED, f"{venue} trades for real"
        return Reason.NONE, ""

    def _execute_cancel(self, message: ExecuteCancel) -> Sequence[Message]:
        out: Out = []
        order = self._state.orders.get(message.order_id)
        if order is None:
            return NOTHING  # ended so long ago that it is forgotten
        if order.is_terminal:
            if is_legal(order, OrderEvent.REJECT_CANCEL):
                detail = "it was filled before the cancel reached it"
                self._orders.report(out, order, OrderEvent.REJECT_CANCEL, reason=Reason.ORDER_NOT_OPEN, detail=detail)
            return out
        if is_legal(order, OrderEvent.REQUEST_CANCEL):
            self._orders.follow(order, OrderEvent.REQUEST_CANCEL)
        order.cancel_wanted = True
        asked_ns, now_ns = order.cancel_sent_ns, self._state.now_ns
        if asked_ns and now_ns - asked_ns < self._rules.acknowledge_timeout_ns:
            return NOTHING  # the first one is still on its way
        order.cancel_sent_ns, order.changed_tick = now_ns, self._state.ticks
        self._orders.watch(order)
        return [cancel_command(self._orders, order)]

    def _execute_replace(self, message: ExecuteReplace) -> Sequence[Message]:
        out: Out = []
        order = self._state.orders.get(message.order_id)
        if order is None:
            return NOTHING
        if order.state not in _REPLACEABLE:
            if is_legal(order, OrderEvent.REJECT_REPLACE):
                detail = f"the order is {order.state}"
                self._orders.report(out, order, OrderEvent.REJECT_REPLACE, reason=Reason.REPLACE_INVALID, detail=detail)
            return out
        self._orders.follow(order, OrderEvent.REQUEST_REPLACE)
        order.replace_sent_ns, order.changed_tick = self._state.now_ns, self._state.ticks
        order.wanted_terms = (message.quantity_lots, message.price_ticks, message.stop_price_ticks)
        self._orders.watch(order)
        out.append(
            VenueReplace(
                time_ns=self._state.now_ns,
                venue=order.venue,
                symbol=order.request.symbol,
                order_id=order.order_id,
                venue_client_id=order.client_id,
                venue_order_id=order.venue_order_id,
                quantity_lots=message.quantity_lots,
                price_ticks=message.price_ticks,
                stop_price_ticks=message.stop_price_ticks,
            )
        )
        return out

    # -- venues -------------------------------------------------------------------------------------------------

    def _venue_report(self, message: VenueReport) -> Sequence[Message]:
        out: Out = []
        self._reports.apply(out, message)
        return out

    def _venue_order_status(self, message: VenueOrderStatus) -> Sequence[Message]:
        out: Out = []
        self._statuses.apply(out, message)
        return out

    def _venue_balances(self, message: VenueBalances) -> Sequence[Message]:
        out: Out = []
        self._balances.apply(out, message)
        return out
