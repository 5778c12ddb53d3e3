"""The venue's own truth: a port, and an exchange that uses every freedom which the venue port leaves it.

It works orders at one price a symbol, which the world moves. It fills in pieces, learns of trades late, forgets the
client ids of ended orders, and numbers its trades anew for each symbol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Protocol

from msgspec import Struct

from polaris_synapse.domain.instruments import PAPER_VENUE, Instrument, fee_units
from polaris_synapse.domain.messages import (
    VenueCancel,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import (
    LIMIT_PRICED,
    TERMINAL_STATES,
    TRIGGERED,
    Fill,
    Liquidity,
    OrderEvent,
    OrderRequest,
    OrderState,
    OrderType,
    PostOnly,
    Side,
    TimeInForce,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.venues.port import VenueError
from polaris_synapse.testing.simulation.clock import SECOND_NS, SimulatedTime
from polaris_synapse.testing.simulation.faults import Faults

#: A venue that learns of a trade late does so before the desk's last look at an ended order.
HIDDEN_SECONDS_MAX: Final = 4
_DAY_NS: Final = 86_400 * SECOND_NS
_END_EVENTS: Final = {
    OrderState.CANCELLED: OrderEvent.CANCEL,
    OrderState.EXPIRED: OrderEvent.EXPIRE,
    OrderState.REJECTED: OrderEvent.REJECT,
}


class Exchange(Protocol):
    """A venue, synchronous. Its reports wait in ``take_reports``; ``accepted`` counts each client id it took."""

    accepted: Counter[str]

    def submit(self, command: VenueSubmit) -> None:
        """Take or turn away an order. Raises VenueError for a client id that it will not take again."""
        ...

    def cancel(self, command: VenueCancel) -> None:
        """Cancel an order or refuse to."""
        ...

    def replace(self, command: VenueReplace) -> None:
        """Change an order or refuse to."""
        ...

    def query(self, command: VenueQuery) -> VenueOrderStatus:
        """What it says of an order."""
        ...

    def open_orders(self) -> Sequence[VenueOrderStatus]:
        """Every open order."""
        ...

    def orders(self) -> Sequence[tuple[str, VenueOrderStatus]]:
        """The truth about every order that it ever took, by client id."""
        ...

    def balances(self) -> Counter[str]:
        """What its own trades have made of each asset."""
        ...

    def move_price(self, symbol: str, price_ticks: int) -> None:
        """The market moved."""
        ...

    def advance(self) -> None:
        """Time has passed."""
        ...

    def take_reports(self) -> list[VenueReport]:
        """What it has to say since the last time."""
        ...

    def desk_stopped(self) -> None:
        """The desk's process died."""
        ...


class HostileOrder(Struct, kw_only=True):
    """One order. ``hidden`` are trades that the venue will learn of at their times."""

    client_id: str
    order_id: int
    symbol: str
    request: OrderRequest
    venue_order_id: str
    state: OrderState
    quantity_lots: int
    price_ticks: int
    stop_price_ticks: int
    expire_ns: int = 0
    spent_units: int = 0
    fills: list[Fill] = []
    hidden: list[tuple[int, Fill]] = []

    @property
    def filled_lots(self) -> int:
        """Lots traded, as far as the venue knows."""
        return sum(fill.quantity_lots for fill in self.fills)

    @property
    def left_lots(self) -> int:
        """Lots that may still trade."""
        hidden = sum(fill.quantity_lots for _, fill in self.hidden)
        return max(self.quantity_lots - self.filled_lots - hidden, 0)


class HostileExchange:
    """See the module. ``stamp`` is the desk's clock, by which an adapter would stamp what it hears."""

    def __init__(
        self,
        rng: Random,
        faults: Faults,
        time: SimulatedTime,
        stamp: Callable[[], int],
        instruments: Sequence[Instrument],
        prices: dict[str, int],
    ) -> None:
        self.accepted: Counter[str] = Counter()
        self._rng = rng
        self._faults = faults
        self._time = time
        self._stamp = stamp
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._prices = dict(prices)
        self._orders: dict[str, HostileOrder] = {}
        self._reports: list[VenueReport] = []
        self._trades: Counter[str] = Counter()
        self._numbers: Counter[str] = Counter()
        self._held: Counter[str] = Counter()

    # -- requests ------------------------------------------------------------------------------------------------

    def submit(self, command: VenueSubmit) -> None:
        """See Exchange."""
        known = self._orders.get(command.venue_client_id)
        if known is not None and not (self._faults.ids_reused and known.state in TERMINAL_STATES):
            raise VenueError("duplicate client id")
        request, symbol = command.request, command.symbol
        self._numbers[symbol] += 1
        order = HostileOrder(
            client_id=command.venue_client_id,
            order_id=command.order_id,
            symbol=symbol,
            request=request,
            venue_order_id=str(self._numbers[symbol]),
            state=OrderState.WORKING,
            quantity_lots=command.quantity_lots,
            price_ticks=command.price_ticks,
            stop_price_ticks=command.stop_price_ticks,
            expire_ns=_expire_ns(request, self._stamp()),
        )
        self._orders[order.client_id] = order
        self.accepted[order.client_id] += 1
        taking = request.type is OrderType.LIMIT and self._crosses(order)
        if self._rng.random() < self._faults.refused or (taking and request.post_only is not PostOnly.NO):
            self._end(order, OrderState.REJECTED, Reason.VENUE_REJECTED)
        elif request.type in TRIGGERED:
            order.state = OrderState.ARMED
            self._say(order, OrderEvent.ARM)
        else:
            if request.type is OrderType.LIMIT:
                self._say(order, OrderEvent.ACKNOWLEDGE)
            self._work(order)

    def cancel(self, command: VenueCancel) -> None:
        """See Exchange."""
        order = self._orders.get(command.venue_client_id)
        if order is None or order.state in TERMINAL_STATES or self._rng.random() < self._faults.refused:
            self._refuse(command, OrderEvent.REJECT_CANCEL)
            return
        self._end(order, OrderState.CANCELLED)

    def replace(self, command: VenueReplace) -> None:
        """See Exchange."""
        order = self._orders.get(command.venue_client_id)
        unable = order is None or order.state in TERMINAL_STATES or self._rng.random() < self._faults.refused
        hidden = 0 if order is None else sum(fill.quantity_lots for _, fill in order.hidden)
        if order is None or unable or command.quantity_lots <= order.filled_lots + hidden:
            self._refuse(command, OrderEvent.REJECT_REPLACE)
            return
        order.quantity_lots, order.price_ticks = command.quantity_lots, command.price_ticks
        order.stop_price_ticks = command.stop_price_ticks
        self._say(order, OrderEvent.REPLACE)
        if order.state is not OrderState.ARMED:
            self._work(order)

    def query(self, command: VenueQuery) -> VenueOrderStatus:
        """See Exchange."""
        order = self._orders.get(command.venue_client_id)
        if order is not None:
            return self._status(order)
        return VenueOrderStatus(
            time_ns=self._stamp(),
            venue=PAPER_VENUE,
            symbol=command.symbol,
            order_id=command.order_id,
            answered=True,
            trades_checked=True,
        )

    def open_orders(self) -> Sequence[VenueOrderStatus]:
        """See Exchange."""
        return [self._status(order) for order in self._orders.values() if order.state not in TERMINAL_STATES]

    def orders(self) -> Sequence[tuple[str, VenueOrderStatus]]:
        """See Exchange."""
        return [(client_id, self._status(order)) for client_id, order in self._orders.items()]

    def balances(self) -> Counter[str]:
        """See Exchange."""
        return Counter(self._held)

    def take_reports(self) -> list[VenueReport]:
        """See Exchange."""
        reports, self._reports = self._reports, []
        return reports

    def desk_stopped(self) -> None:
        """See Exchange: somebody else's desk."""

    # -- the market ----------------------------------------------------------------------------------------------

    def move_price(self, symbol: str, price_ticks: int) -> None:
        """See Exchange."""
        self._prices[symbol] = price_ticks
        for order in list(self._orders.values()):
            if order.symbol != symbol or order.state in TERMINAL_STATES:
                continue
            if order.state is OrderState.ARMED:
                if self._triggers(order):
                    order.state = OrderState.WORKING
                    self._say(order, OrderEvent.TRIGGER)
                    self._work(order)
            else:
                self._work(order)

    def advance(self) -> None:
        """See Exchange."""
        now_ns = self._time.true_ns
        for order in list(self._orders.values()):
            for at_ns, fill in [one for one in order.hidden if one[0] <= now_ns]:
                order.hidden.remove((at_ns, fill))
                self._learn(order, fill)
            if order.state not in TERMINAL_STATES and 0 < order.expire_ns <= self._stamp():
                self._end(order, OrderState.EXPIRED, Reason.BOOK_EXPIRED)

    def _crosses(self, order: HostileOrder) -> bool:
        market = self._prices[order.symbol]
        if order.request.type not in LIMIT_PRICED:
            return True
        if order.request.side is Side.BUY:
            return order.price_ticks >= market
        return order.price_ticks <= market

    def _triggers(self, order: HostileOrder) -> bool:
        market, request = self._prices[order.symbol], order.request
        if request.type is OrderType.TRAILING_STOP:
            return self._rng.random() < 0.2
        rising = request.type in (OrderType.STOP, OrderType.STOP_LIMIT)
        if (request.side is Side.BUY) == rising:
            return market >= order.stop_price_ticks
        return market <= order.stop_price_ticks

    def _work(self, order: HostileOrder) -> None:
        """Trade what may be traded now, in up to three pieces; what may not rest ends."""
        immediate = order.request.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        rests = order.request.type in LIMIT_PRICED and not immediate
        if self._crosses(order):
            if order.request.quote_amount_units:
                self._spend(order)
                return
            pieces = 1 if order.request.time_in_force is TimeInForce.FOK else self._rng.randint(1, 3)
            for _ in range(pieces):
                left = order.left_lots
                if left and order.state not in TERMINAL_STATES:
                    whole = pieces == 1 and (self._rng.random() < 0.5 or order.request.time_in_force is TimeInForce.FOK)
                    self._trade(order, left if whole else self._rng.randint(1, left))
        if not rests and order.state not in TERMINAL_STATES and order.left_lots:
            self._end(order, OrderState.EXPIRED, Reason.BOOK_NO_LIQUIDITY)

    def _spend(self, order: HostileOrder) -> None:
        """An order by quote amount trades at once, in up to three pieces."""
        instrument, price = self._instruments[order.symbol], self._prices[order.symbol]
        lots = order.request.quote_amount_units // (price * instrument.notional_multiplier)
        pieces = self._rng.randint(1, 3)
        if self._rng.random() < 0.2 or lots < pieces:
            lots = lots // 2
            for _ in range(min(lots, 1)):
                self._learn(order, self._fill(order, lots))
            self._end(order, OrderState.EXPIRED, Reason.BOOK_NO_LIQUIDITY)
            return
        for number in range(pieces, 0, -1):
            piece = lots if number == 1 else self._rng.randint(1, lots - number + 1)
            lots -= piece
            self._learn(order, self._fill(order, piece), completes=number == 1)

    def _trade(self, order: HostileOrder, lots: int) -> None:
        fill = self._fill(order, lots)
        if self._rng.random() < self._faults.fill_hidden:
            wait_ns = self._rng.randint(1, HIDDEN_SECONDS_MAX * SECOND_NS)
            order.hidden.append((self._time.true_ns + wait_ns, fill))
        else:
            self._learn(order, fill)

    def _fill(self, order: HostileOrder, lots: int) -> Fill:
        instrument, request = self._instruments[order.symbol], order.request
        price = self._prices[order.symbol]
        maker = self._rng.random() < 0.5
        buys = request.side is Side.BUY
        received = instrument.base_units(lots) if buys else instrument.notional_units(price, lots)
        self._trades[order.symbol] += 1
        return Fill(
            trade_id=str(self._trades[order.symbol]),
            price_ticks=price,
            quantity_lots=lots,
            liquidity=Liquidity.MAKER if maker else Liquidity.TAKER,
            fee_units=fee_units(received, instrument.fee_ppm(maker=maker)),
            fee_asset=(instrument.base if buys else instrument.quote).code,
            simulated=True,
            how="simulated",
        )

    def _learn(self, order: HostileOrder, fill: Fill, *, completes: bool = False) -> None:
        """The venue's own books have a trade now."""
        order.fills.append(fill)
        instrument, sign = self._instruments[order.symbol], 1 if order.request.side is Side.BUY else -1
        self._held[instrument.base.code] += sign * instrument.base_units(fill.quantity_lots)
        self._held[instrument.quote.code] -= sign * instrument.notional_units(fill.price_ticks, fill.quantity_lots)
        self._held[fill.fee_asset] -= fill.fee_units
        if not order.request.quote_amount_units:
            completes = order.filled_lots >= order.quantity_lots
        if completes:
            order.state = OrderState.FILLED
        elif order.state not in TERMINAL_STATES:
            order.state = OrderState.PARTIALLY_FILLED
        self._say(order, OrderEvent.FILL if completes else OrderEvent.PARTIAL_FILL, fill=fill)

    def _end(self, order: HostileOrder, state: OrderState, reason: Reason = Reason.NONE) -> None:
        order.state = state
        self._say(order, _END_EVENTS[state], reason=reason)

    # -- what it says --------------------------------------------------------------------------------------------

    def _say(
        self, order: HostileOrder, event: OrderEvent, *, fill: Fill | None = None, reason: Reason = Reason.NONE
    ) -> None:
        terms = event is OrderEvent.REPLACE
        by_amount = order.request.quote_amount_units and event in (
            OrderEvent.FILL,
            OrderEvent.CANCEL,
            OrderEvent.EXPIRE,
        )
        self._reports.append(
            VenueReport(
                time_ns=self._stamp(),
                venue=PAPER_VENUE,
                symbol=order.symbol,
                order_id=order.order_id,
                event=event,
                fill=fill,
                venue_order_id=order.venue_order_id,
                quantity_lots=order.quantity_lots if terms else order.filled_lots if by_amount else 0,
                price_ticks=order.price_ticks if terms else 0,
                stop_price_ticks=order.stop_price_ticks if terms else 0,
                reason=reason,
            )
        )

    def _refuse(self, command: VenueCancel | VenueReplace, event: OrderEvent) -> None:
        self._reports.append(
            VenueReport(
                time_ns=self._stamp(),
                venue=PAPER_VENUE,
                symbol=command.symbol,
                order_id=command.order_id,
                event=event,
                reason=Reason.BOOK_UNKNOWN_ORDER,
            )
        )

    def _status(self, order: HostileOrder) -> VenueOrderStatus:
        return VenueOrderStatus(
            time_ns=self._stamp(),
            venue=PAPER_VENUE,
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


def _expire_ns(request: OrderRequest, now_ns: int) -> int:
    if request.time_in_force is TimeInForce.GTD:
        return request.expire_time_ns
    if request.time_in_force is TimeInForce.DAY:
        return (now_ns // _DAY_NS + 1) * _DAY_NS
    return 0
