"""An exchange in memory that misbehaves on request: the hostile twin of every venue adapter.

It keeps its own truth (orders, fills) apart from what it tells: answers can be lost before or after they had their
effect, reports can be held back, dropped, doubled and shuffled by whoever takes them from ``stream``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import anyio
from msgspec import Struct

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    VenueBalance,
    VenueCancel,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import (
    TERMINAL_STATES,
    TRIGGERED,
    Fill,
    Liquidity,
    OrderEvent,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.venues.port import (
    VenueCapabilities,
    VenueError,
    VenueEvents,
    VenueNotSentError,
    VenueState,
)
from polaris_synapse.testing.clock import ManualClock


class Fault(StrEnum):
    """What goes wrong with one request."""

    NONE = "NONE"
    NOT_SENT = "NOT_SENT"  # nothing left the desk, and that is certain
    LOST_BEFORE = "LOST_BEFORE"  # a timeout, and nothing happened at the venue
    LOST_AFTER = "LOST_AFTER"  # a timeout, although it happened; its report is lost too
    REFUSED = "REFUSED"  # the venue turns it away
    HANGS = "HANGS"  # it happened, and the call never returns


_ENDS: Final = {
    OrderState.CANCELLED: OrderEvent.CANCEL,
    OrderState.EXPIRED: OrderEvent.EXPIRE,
    OrderState.REJECTED: OrderEvent.REJECT,
}


class ScriptedOrder(Struct, kw_only=True):
    """The venue's truth about one order."""

    order_id: int
    symbol: str
    client_id: str
    venue_order_id: str
    state: OrderState
    quantity_lots: int
    price_ticks: int
    stop_price_ticks: int
    side: Side = Side.BUY
    fills: list[Fill] = []

    @property
    def filled_lots(self) -> int:
        """Lots that have traded."""
        return sum(fill.quantity_lots for fill in self.fills)


class ScriptedVenue:
    """A venue whose every outcome is decided by the test. ``now_ns`` comes from ``clock``.

    The ``*_now`` methods are the whole venue, synchronous, for simulations; the port's methods wrap them.
    """

    def __init__(self, *, name: str = "scripted", simulated: bool = True, clock: Clock | None = None) -> None:
        self.name: str = name
        self.capabilities: VenueCapabilities = VenueCapabilities(
            simulated=simulated,
            order_types=frozenset(OrderType),
            times_in_force=frozenset(TimeInForce),
            icebergs=True,
            quote_amounts=True,
            replace=True,
        )
        self.clock: Clock = clock or ManualClock()
        self.orders: dict[str, ScriptedOrder] = {}
        #: How often each client id was accepted: never more than once.
        self.accepted: Counter[str] = Counter()
        #: How often each client id was sent.
        self.submits: Counter[str] = Counter()
        self.queries = 0
        #: Reports on their way to the desk; a test may reorder, double or drop them.
        self.stream: deque[VenueReport] = deque()
        #: False: it answers no queries.
        self.answers = True
        #: False: it looks an order up by its id only and says nothing of trades.
        self.checks_trades = True
        self._faults: dict[str, deque[Fault]] = {}
        #: What it holds besides what its trades make; a test may move it.
        self.deposits: Counter[str] = Counter()
        #: The instruments whose trades move its balances.
        self.instruments: dict[str, Instrument] = {}
        self._trades = 0
        self._woken = anyio.Event()

    @property
    def state(self) -> VenueState:
        """Always connected: what fails here are requests."""
        return VenueState(connected=True)

    def script(self, request: str, *faults: Fault) -> None:
        """The faults of the next requests of a kind: ``submit``, ``cancel``, ``replace`` or ``query``."""
        self._faults.setdefault(request, deque()).extend(faults)

    # -- what happens at the venue -------------------------------------------------------------------------------

    def fill(self, client_id: str, lots: int, price_ticks: int, *, heard: bool = True, trade_id: str = "") -> Fill:
        """Trade some of an order, also one that has ended; ``heard`` false: no report of it is sent."""
        order = self.orders[client_id]
        self._trades += 1
        fill = Fill(
            trade_id=trade_id or f"t{self._trades}",
            price_ticks=price_ticks,
            quantity_lots=lots,
            liquidity=Liquidity.MAKER,
            fee_units=0,
            fee_asset="USDT",
            simulated=True,
            how="scripted",
        )
        order.fills.append(fill)
        done = order.filled_lots >= order.quantity_lots > 0
        if done:
            order.state = OrderState.FILLED
        elif order.state not in TERMINAL_STATES:
            order.state = OrderState.PARTIALLY_FILLED
        self._report(order, OrderEvent.FILL if done else OrderEvent.PARTIAL_FILL, heard=heard, fill=fill)
        return fill

    def end(self, client_id: str, state: OrderState, *, heard: bool = True) -> None:
        """The venue ends an order by itself."""
        order = self.orders[client_id]
        order.state = state
        self._report(order, _ENDS[state], heard=heard)

    def trigger(self, client_id: str, *, heard: bool = True) -> None:
        """A waiting order's trigger price is reached."""
        order = self.orders[client_id]
        order.state = OrderState.WORKING
        self._report(order, OrderEvent.TRIGGER, heard=heard)

    def _report(
        self,
        order: ScriptedOrder,
        event: OrderEvent,
        *,
        heard: bool = True,
        fill: Fill | None = None,
        reason: Reason = Reason.NONE,
    ) -> None:
        if not heard:
            return
        with_terms = event is OrderEvent.REPLACE
        self.stream.append(
            VenueReport(
                time_ns=self.clock.now_ns(),
                venue=self.name,
                symbol=order.symbol,
                order_id=order.order_id,
                event=event,
                fill=fill,
                venue_order_id=order.venue_order_id,
                quantity_lots=order.quantity_lots if with_terms else 0,
                price_ticks=order.price_ticks if with_terms else 0,
                stop_price_ticks=order.stop_price_ticks if with_terms else 0,
                reason=reason,
            )
        )
        self._woken.set()

    # -- requests ------------------------------------------------------------------------------------------------

    def _fault(self, request: str) -> Fault:
        faults = self._faults.get(request)
        fault = faults.popleft() if faults else Fault.NONE
        if fault is Fault.NOT_SENT:
            raise VenueNotSentError("scripted: the connection was refused")
        if fault is Fault.LOST_BEFORE:
            raise VenueError("scripted: timed out")
        return fault

    def submit_now(self, command: VenueSubmit) -> Fault:
        """Take an order. Raises VenueError as scripted."""
        client_id = command.venue_client_id
        fault = self._fault("submit")
        self.submits[client_id] += 1
        if client_id in self.orders:
            raise VenueError("scripted: duplicate client id")
        if fault is Fault.REFUSED:
            self._refuse(command, OrderEvent.REJECT, Reason.VENUE_REJECTED)
            return fault
        self.accepted[client_id] += 1
        waits = command.request.type in TRIGGERED
        order = ScriptedOrder(
            order_id=command.order_id,
            symbol=command.symbol,
            client_id=client_id,
            venue_order_id=f"v{len(self.orders) + 1}",
            state=OrderState.ARMED if waits else OrderState.WORKING,
            quantity_lots=command.quantity_lots,
            price_ticks=command.price_ticks,
            stop_price_ticks=command.stop_price_ticks,
            side=command.request.side,
        )
        self.orders[client_id] = order
        self._report(order, OrderEvent.ARM if waits else OrderEvent.ACKNOWLEDGE, heard=fault is not Fault.LOST_AFTER)
        return self._answered(fault)

    def cancel_now(self, command: VenueCancel) -> Fault:
        """Cancel an order. Raises VenueError as scripted."""
        fault = self._fault("cancel")
        order = self.orders.get(command.venue_client_id)
        if order is None or order.state in TERMINAL_STATES or fault is Fault.REFUSED:
            self._refuse(command, OrderEvent.REJECT_CANCEL, Reason.BOOK_UNKNOWN_ORDER)
            return fault
        order.state = OrderState.CANCELLED
        self._report(order, OrderEvent.CANCEL, heard=fault is not Fault.LOST_AFTER)
        return self._answered(fault)

    def replace_now(self, command: VenueReplace) -> Fault:
        """Change an order. Raises VenueError as scripted."""
        fault = self._fault("replace")
        order = self.orders.get(command.venue_client_id)
        ended = order is None or order.state in TERMINAL_STATES
        if order is None or ended or fault is Fault.REFUSED or command.quantity_lots <= order.filled_lots:
            self._refuse(command, OrderEvent.REJECT_REPLACE, Reason.BOOK_UNKNOWN_ORDER)
            return fault
        order.quantity_lots, order.price_ticks = command.quantity_lots, command.price_ticks
        order.stop_price_ticks = command.stop_price_ticks
        self._report(order, OrderEvent.REPLACE, heard=fault is not Fault.LOST_AFTER)
        return self._answered(fault)

    def query_now(self, command: VenueQuery) -> VenueOrderStatus:
        """The truth about an order, or that it cannot be asked for."""
        self.queries += 1
        order = self.orders.get(command.venue_client_id)
        try:
            answered = self.answers and self._fault("query") is not Fault.LOST_AFTER
        except VenueError:
            answered = False
        if not answered or order is None:
            return VenueOrderStatus(
                time_ns=self.clock.now_ns(),
                venue=self.name,
                symbol=command.symbol,
                order_id=command.order_id,
                answered=answered,
                trades_checked=answered and self.checks_trades,
            )
        return self._status(order)

    def _answered(self, fault: Fault) -> Fault:
        if fault is Fault.LOST_AFTER:
            raise VenueError("scripted: the answer was lost")
        return fault

    def _refuse(self, command: VenueSubmit | VenueCancel | VenueReplace, event: OrderEvent, reason: Reason) -> None:
        self.stream.append(
            VenueReport(
                time_ns=self.clock.now_ns(),
                venue=self.name,
                symbol=command.symbol,
                order_id=command.order_id,
                event=event,
                reason=reason,
            )
        )
        self._woken.set()

    def _status(self, order: ScriptedOrder) -> VenueOrderStatus:
        return VenueOrderStatus(
            time_ns=self.clock.now_ns(),
            venue=self.name,
            symbol=order.symbol,
            order_id=order.order_id,
            answered=True,
            found=True,
            trades_checked=True,
            state=order.state,
            venue_order_id=order.venue_order_id,
            quantity_lots=order.quantity_lots,
            price_ticks=order.price_ticks,
            stop_price_ticks=order.stop_price_ticks,
            filled_lots=order.filled_lots,
            fills=tuple(order.fills),
        )

    # -- the port ------------------------------------------------------------------------------------------------

    async def run(self, events: VenueEvents, /) -> None:
        """Deliver what stands in the stream, until cancelled."""
        while True:
            if not self.stream:
                self._woken = anyio.Event()
                await self._woken.wait()
            reports = list(self.stream)
            self.stream.clear()
            await events.deliver(reports)

    async def submit(self, command: VenueSubmit, /) -> Sequence[VenueReport]:
        """See Venue."""
        return await self._returned(self.submit_now(command))

    async def cancel(self, command: VenueCancel, /) -> Sequence[VenueReport]:
        """See Venue."""
        return await self._returned(self.cancel_now(command))

    async def replace(self, command: VenueReplace, /) -> Sequence[VenueReport]:
        """See Venue."""
        return await self._returned(self.replace_now(command))

    async def _returned(self, fault: Fault) -> Sequence[VenueReport]:
        if fault is Fault.HANGS:
            await anyio.sleep_forever()
        return ()

    async def query(self, command: VenueQuery, /) -> VenueOrderStatus:
        """See Venue."""
        return self.query_now(command)

    async def open_orders(self) -> Sequence[VenueOrderStatus]:
        """See Venue."""
        return [self._status(order) for order in self.orders.values() if order.state not in TERMINAL_STATES]

    async def balances(self) -> Sequence[VenueBalance]:
        """See Venue."""
        return self.balances_now()

    def balances_now(self) -> list[VenueBalance]:
        """The deposits and what the trades of known instruments made of them."""
        held = Counter(self.deposits)
        for order in self.orders.values():
            instrument = self.instruments.get(order.symbol)
            if instrument is None:
                continue
            for fill in order.fills:
                sign = 1 if order.side is Side.BUY else -1
                held[instrument.base.code] += sign * instrument.base_units(fill.quantity_lots)
                held[instrument.quote.code] -= sign * instrument.notional_units(fill.price_ticks, fill.quantity_lots)
                held[fill.fee_asset] -= fill.fee_units
        return [VenueBalance(asset=asset, total_units=units) for asset, units in sorted(held.items())]
