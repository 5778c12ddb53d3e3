"""What one step of the paper exchange says and changes: reports, orders, fills and balances, to be stored together."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct

from polaris_synapse.domain.instruments import PAPER_VENUE, Instrument, fee_units
from polaris_synapse.domain.messages import VenueReport
from polaris_synapse.domain.orders import Fill, Liquidity, OrderEvent, OrderState, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.paper.orders import PaperFill, PaperOrder

_ENDS = {
    OrderEvent.CANCEL: OrderState.CANCELLED,
    OrderEvent.EXPIRE: OrderState.EXPIRED,
    OrderEvent.REJECT: OrderState.REJECTED,
}


class Outcome(Struct):
    """Reports in order, with the orders they changed (copies, as they stand now) and the fills among them.

    ``moved`` is what the fills add to each asset's balance, in its minor units.
    """

    reports: list[VenueReport]
    orders: list[PaperOrder]
    fills: list[PaperFill]
    moved: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.reports or self.orders)


class Outbox:
    """Collects what happens until it is drained. ``now_ns`` is the logical time of the step.

    ``happened`` hears of each event of an order that came with a list, at once: others may end by it.
    """

    def __init__(self, *, next_trade: int = 1) -> None:
        self.now_ns = 0
        self.happened: Callable[[PaperOrder, OrderEvent], None] = _nothing
        self.next_trade = next_trade
        self._reports: list[VenueReport] = []
        self._fills: list[PaperFill] = []
        self._changed: dict[int, PaperOrder] = {}
        self._moved: dict[str, int] = {}

    def drain(self) -> Outcome:
        """Everything since the last time."""
        orders = [msgspec.structs.replace(order) for order in self._changed.values()]
        outcome = Outcome(self._reports, orders, self._fills, self._moved)
        self._reports, self._fills, self._changed, self._moved = [], [], {}, {}
        return outcome

    def changed(self, order: PaperOrder) -> None:
        """Remember to store the order."""
        self._changed[order.order_id] = order

    def say(
        self, order: PaperOrder, event: OrderEvent, *, reason: Reason = Reason.NONE, detail: str = "", total: int = 0
    ) -> None:
        """Report an event that is no fill; an end moves the order to its end state."""
        end = _ENDS.get(event)
        if end is not None:
            order.state, order.reason, order.detail = end, reason, detail
        self.changed(order)
        with_terms = event in (OrderEvent.REPLACE, OrderEvent.ACKNOWLEDGE)
        self._reports.append(
            VenueReport(
                time_ns=self.now_ns,
                venue=PAPER_VENUE,
                symbol=order.symbol,
                order_id=order.order_id,
                event=event,
                venue_order_id=order.venue_order_id,
                quantity_lots=order.quantity_lots if with_terms else total,
                price_ticks=order.price_ticks if with_terms else 0,
                stop_price_ticks=order.stop_price_ticks if with_terms else 0,
                reason=reason,
                detail=detail,
            )
        )
        if order.list_id:
            self.happened(order, event)

    def refuse(self, order_id: int, symbol: str, event: OrderEvent, reason: Reason, detail: str) -> None:
        """Report the refusal of a request that changes no order."""
        self._reports.append(
            VenueReport(
                time_ns=self.now_ns,
                venue=PAPER_VENUE,
                symbol=symbol,
                order_id=order_id,
                event=event,
                reason=reason,
                detail=detail,
            )
        )

    def fill(
        self,
        order: PaperOrder,
        instrument: Instrument,
        *,
        price_ticks: int,
        lots: int,
        liquidity: Liquidity,
        how: str,
        completes: bool = False,
    ) -> None:
        """Fill ``lots`` of an order. ``completes`` matters for orders by quote amount only."""
        order.filled_lots += lots
        order.spent_tick_lots += lots * price_ticks
        if order.request.quote_amount_units:
            done, total = completes, order.filled_lots if completes else 0
        else:
            done, total = order.open_lots == 0, 0
        order.state = OrderState.FILLED if done else OrderState.PARTIALLY_FILLED
        buys = order.request.side is Side.BUY
        base_units, quote_units = instrument.base_units(lots), instrument.notional_units(price_ticks, lots)
        received = base_units if buys else quote_units
        fill = Fill(
            trade_id=f"paper-{self.next_trade}",
            price_ticks=price_ticks,
            quantity_lots=lots,
            liquidity=liquidity,
            fee_units=fee_units(received, instrument.fee_ppm(maker=liquidity is Liquidity.MAKER)),
            fee_asset=(instrument.base if buys else instrument.quote).code,
            simulated=True,
            how=how,
        )
        self._move(instrument.base.code, base_units if buys else -base_units)
        self._move(instrument.quote.code, -quote_units if buys else quote_units)
        self._move(fill.fee_asset, -fill.fee_units)
        number, self.next_trade = self.next_trade, self.next_trade + 1
        self._fills.append(
            PaperFill(number=number, client_id=order.client_id, symbol=order.symbol, time_ns=self.now_ns, fill=fill)
        )
        self.changed(order)
        self._reports.append(
            VenueReport(
                time_ns=self.now_ns,
                venue=PAPER_VENUE,
                symbol=order.symbol,
                order_id=order.order_id,
                event=OrderEvent.FILL if done else OrderEvent.PARTIAL_FILL,
                fill=fill,
                venue_order_id=order.venue_order_id,
                quantity_lots=total,
            )
        )
        if order.list_id:
            self.happened(order, OrderEvent.FILL if done else OrderEvent.PARTIAL_FILL)

    def _move(self, asset: str, units: int) -> None:
        self._moved[asset] = self._moved.get(asset, 0) + units


def _nothing(_: PaperOrder, __: OrderEvent) -> None:
    return None
