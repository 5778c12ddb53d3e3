"""The paper exchange: pure and synchronous; the same inputs in the same order give the same fills, on integers only.

Requests are refused in this order: unknown instrument, an instrument that does not trade, an id that an open order
has, fields that do not fit, no room, a time that has run out; then the market decides. See ``paper.market`` for how
fills are made and ``paper.book`` for what liquidity there is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

import msgspec

from polaris_synapse.bus.core import hash_state
from polaris_synapse.domain.instruments import PAPER_VENUE, Instrument, InstrumentStatus
from polaris_synapse.domain.messages import (
    BookHealthChanged,
    BookUpdated,
    MarketTrade,
    Message,
    VenueCancel,
    VenueReplace,
    VenueSubmit,
)
from polaris_synapse.domain.orders import (
    LIMIT_PRICED,
    STOP_PRICED,
    TRIGGERED,
    OrderEvent,
    OrderState,
    OrderType,
    PostOnly,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.paper.market import PaperMarket
from polaris_synapse.execution.paper.orders import PaperOrder, expire_time_ns
from polaris_synapse.execution.paper.outbox import Outbox, Outcome
from polaris_synapse.matching.core.order_lists import Lists

OPEN_ORDERS_MAX: Final = 100_000

#: After these the other orders of a list end.
_ENDS_A_LIST: Final = frozenset(
    {
        OrderEvent.PARTIAL_FILL,
        OrderEvent.FILL,
        OrderEvent.TRIGGER,
        OrderEvent.CANCEL,
        OrderEvent.EXPIRE,
        OrderEvent.REJECT,
    }
)


class PaperExchange:
    """All markets of the paper venue. After each call, ``drain()`` gives what it led to.

    ``next_order`` and ``next_trade`` continue the numbering of a store, so that no id is given twice.
    """

    def __init__(self, *, next_order: int = 1, next_trade: int = 1, open_orders_max: int = OPEN_ORDERS_MAX) -> None:
        self._outbox = Outbox(next_trade=next_trade)
        self._outbox.happened = self._end_list
        self._lists = Lists()
        self._next_order = next_order
        self._open_orders_max = open_orders_max
        self._markets: dict[str, PaperMarket] = {}
        self._by_client_id: dict[str, PaperOrder] = {}
        self._expiries: list[tuple[int, str]] = []

    def drain(self) -> Outcome:
        """What happened since the last call, to be stored and then reported."""
        outcome = self._outbox.drain()
        for order in outcome.orders:
            if not order.is_open:
                self._by_client_id.pop(order.client_id, None)
        return outcome

    def list_instrument(self, instrument: Instrument) -> None:
        """Add an instrument, or take over its new fees and status."""
        market = self._markets.get(instrument.symbol)
        if market is None:
            self._markets[instrument.symbol] = PaperMarket(instrument, self._outbox)
        else:
            market.instrument = instrument

    def knows_instrument(self, symbol: str) -> bool:
        """Whether the symbol is listed."""
        return symbol in self._markets

    def find(self, client_id: str) -> PaperOrder | None:
        """An open order."""
        return self._by_client_id.get(client_id)

    def open_orders(self) -> list[PaperOrder]:
        """Every open order."""
        return list(self._by_client_id.values())

    @property
    def open_order_count(self) -> int:
        """How many orders are open."""
        return len(self._by_client_id)

    def trouble(self, symbol: str) -> str:
        """Why a symbol's book may not be traded on, empty when it may."""
        market = self._markets.get(symbol)
        return market.book.trouble if market is not None else "the instrument is not listed"

    @property
    def symbols(self) -> list[str]:
        """The listed symbols."""
        return sorted(self._markets)

    def restore(self, orders: Iterable[PaperOrder]) -> None:
        """Take over the open orders of a store, in their order of arrival, at the backs of their queues."""
        for order in sorted(orders, key=lambda order: order.sequence):
            self._by_client_id[order.client_id] = order
            self._note_expiry(order)
            self._markets[order.symbol].restore(order)
        together: dict[int, list[int]] = {}
        for order in self._by_client_id.values():
            if order.list_id and order.list_id not in self._lists:
                together.setdefault(order.list_id, []).append(order.order_id)
        for list_id, order_ids in together.items():
            if len(order_ids) > 1:
                self._lists.add(list_id, order_ids)

    def reset(self, orders: Iterable[PaperOrder], *, next_order: int, next_trade: int) -> None:
        """Forget every order and what was not drained, keep the books, and take over these open orders instead."""
        self.drain()
        self._next_order, self._outbox.next_trade = next_order, next_trade
        self._by_client_id.clear()
        self._lists = Lists()
        self._expiries.clear()
        for market in self._markets.values():
            market.clear()
        self.restore(orders)

    def distrust_books(self, cause: str) -> None:
        """Updates were missed: no book may be traded on until its next snapshot."""
        for market in self._markets.values():
            market.book.has_snapshot, market.book.cause = False, cause

    def state_hash(self) -> str:
        """A hash of the open orders and the books, equal for equal states."""
        books = [
            (symbol, sorted(side.levels.items()))
            for symbol, market in sorted(self._markets.items())
            for side in (market.book.bids, market.book.asks)
        ]
        orders = sorted(self._by_client_id.values(), key=lambda order: order.order_id)
        return hash_state(msgspec.msgpack.encode((books, orders, self._next_order, self._outbox.next_trade)))

    # -- requests -----------------------------------------------------------------------------------------------

    def submit(self, command: VenueSubmit, now_ns: int) -> None:
        """A new order, or the orders of an OCO: all or none."""
        self._advance(now_ns)
        commands = (command, *command.also)
        for one in commands:
            if one.venue_client_id in self._by_client_id:
                raise ValueError(f"the client id {one.venue_client_id} is in use")
        if command.also:
            self._lists.add(command.list_id, [one.order_id for one in commands])
        # Those that only wait come first, so that all are there when one trades.
        for one in sorted(commands, key=lambda one: bool(command.also) and one.request.type not in TRIGGERED):
            self._take(one, command.list_id)

    def _take(self, command: VenueSubmit, list_id: int) -> None:
        order = PaperOrder(
            order_id=command.order_id,
            client_id=command.venue_client_id,
            venue_order_id=f"paper-{self._next_order}",
            symbol=command.symbol,
            request=command.request,
            state=OrderState.APPROVED,
            quantity_lots=command.quantity_lots,
            price_ticks=command.price_ticks,
            stop_price_ticks=command.stop_price_ticks,
            sequence=self._next_order,
            accepted_ns=self._outbox.now_ns,
            expire_ns=expire_time_ns(command.request, self._outbox.now_ns),
            list_id=list_id,
        )
        self._next_order += 1
        if list_id and list_id not in self._lists:
            self._outbox.say(order, OrderEvent.REJECT, reason=Reason.BOOK_ORDER_LIST)
            return
        reason, detail = self._refusal(order)
        if reason is not Reason.NONE:
            self._outbox.say(order, OrderEvent.REJECT, reason=reason, detail=detail)
            return
        self._by_client_id[order.client_id] = order
        self._note_expiry(order)
        self._markets[order.symbol].arrive(order)

    def cancel(self, command: VenueCancel, now_ns: int) -> None:
        """Cancel an open order."""
        self._advance(now_ns)
        order = self._open(command.venue_client_id)
        if order is None:
            self._refuse(command, OrderEvent.REJECT_CANCEL)
            return
        self._markets[order.symbol].leave(order)
        self._outbox.say(order, OrderEvent.CANCEL)

    def replace(self, command: VenueReplace, now_ns: int) -> None:
        """Change an open order's total quantity and prices."""
        self._advance(now_ns)
        order = self._open(command.venue_client_id)
        if order is None:
            self._refuse(command, OrderEvent.REJECT_REPLACE)
            return
        market = self._markets[order.symbol]
        reason, detail = self._replace_refusal(market, order, command)
        if reason is not Reason.NONE:
            self._outbox.refuse(order.order_id, order.symbol, OrderEvent.REJECT_REPLACE, reason, detail)
            if order.state is OrderState.ARMED:
                # The refused change leaves it where it was: waiting for its trigger.
                self._outbox.say(order, OrderEvent.ARM)
            return
        market.replace(
            order,
            quantity_lots=command.quantity_lots,
            price_ticks=command.price_ticks,
            stop_price_ticks=command.stop_price_ticks,
        )

    def advance(self, now_ns: int) -> None:
        """Time passes: orders whose time has run out end."""
        self._advance(now_ns)

    def note_watermarks(self) -> None:
        """Let the stored orders know how far trailing stops have come, which nothing reports."""
        for market in self._markets.values():
            for trigger in market.triggers.waiting():
                order = market.orders[trigger.order_id]
                if trigger.trails and order.watermark_ticks != trigger.watermark_ticks:
                    order.watermark_ticks = trigger.watermark_ticks
                    self._outbox.changed(order)

    def on_market(self, message: Message) -> None:
        """A fact of the real market. Other facts than books, trades and health mean nothing here."""
        symbol = getattr(message, "symbol", "")
        market = self._markets.get(symbol)
        if market is None:
            return
        self._advance(message.time_ns)
        if isinstance(message, BookUpdated):
            market.on_book(message)
        elif isinstance(message, MarketTrade):
            market.on_trade(message)
        elif isinstance(message, BookHealthChanged):
            market.on_health(message)

    # -- inside -------------------------------------------------------------------------------------------------

    def _end_list(self, order: PaperOrder, event: OrderEvent) -> None:
        """An order of a list traded, triggered or ended: the others end before anything else happens."""
        if event not in _ENDS_A_LIST:
            return
        market = self._markets.get(order.symbol)
        for order_id in self._lists.end(order.order_id):
            other = market.orders.get(order_id) if market is not None else None
            if market is not None and other is not None:
                market.leave(other)
                ending = OrderEvent.CANCEL if event is OrderEvent.CANCEL else OrderEvent.EXPIRE
                self._outbox.say(other, ending, reason=Reason.BOOK_ORDER_LIST)

    def _open(self, client_id: str) -> PaperOrder | None:
        order = self._by_client_id.get(client_id)
        return order if order is not None and order.is_open else None

    def _refuse(self, command: VenueCancel | VenueReplace, event: OrderEvent) -> None:
        self._outbox.refuse(
            command.order_id,
            command.symbol,
            event,
            Reason.BOOK_UNKNOWN_ORDER,
            f"no order {command.venue_client_id} is open",
        )

    def _refusal(self, order: PaperOrder) -> tuple[Reason, str]:
        market = self._markets.get(order.symbol)
        if market is None:
            return Reason.SYMBOL_NOT_FOUND, f"{PAPER_VENUE} does not list {order.symbol}"
        if market.instrument.status is not InstrumentStatus.TRADING:
            return Reason.BOOK_NOT_OPEN, f"{order.symbol} is {market.instrument.status}"
        problem = _field_problem(order)
        if problem:
            return Reason.ORDER_FIELDS_INVALID, problem
        if len(self._by_client_id) >= self._open_orders_max:
            return Reason.BOOK_FULL, f"{self._open_orders_max} orders are open"
        if order.expire_ns and order.expire_ns <= self._outbox.now_ns:
            return Reason.BOOK_EXPIRED, "its time ran out before it arrived"
        return Reason.NONE, ""

    def _replace_refusal(self, market: PaperMarket, order: PaperOrder, command: VenueReplace) -> tuple[Reason, str]:
        kind, request = order.request.type, order.request
        if request.quote_amount_units or command.quantity_lots <= order.filled_lots:
            return Reason.REPLACE_INVALID, f"{market.instrument.format_quantity(order.filled_lots)} have filled"
        if (kind in LIMIT_PRICED and command.price_ticks <= 0) or (
            kind in STOP_PRICED and command.stop_price_ticks <= 0
        ):
            return Reason.REPLACE_INVALID, "a price is missing"
        if order.state is OrderState.ARMED:
            if kind in STOP_PRICED and market.fires_at_once(order, command.stop_price_ticks):
                return Reason.BOOK_TRIGGER_IMMEDIATE, "the last trade has reached that stop price"
            return Reason.NONE, ""
        moves = command.price_ticks != order.price_ticks or command.quantity_lots > order.quantity_lots
        if moves and market.would_take(request.side, command.price_ticks):
            if request.post_only is PostOnly.REJECT:
                return Reason.BOOK_POST_ONLY_WOULD_TAKE, "at that price it would take"
            if market.book.trouble:
                return Reason.VENUE_UNAVAILABLE, f"{order.symbol}: {market.book.trouble}"
        return Reason.NONE, ""

    def _note_expiry(self, order: PaperOrder) -> None:
        if order.expire_ns:
            heapq.heappush(self._expiries, (order.expire_ns, order.client_id))

    def _advance(self, now_ns: int) -> None:
        self._outbox.now_ns = max(self._outbox.now_ns, now_ns)
        while self._expiries and self._expiries[0][0] <= self._outbox.now_ns:
            _, client_id = heapq.heappop(self._expiries)
            order = self._open(client_id)
            if order is not None:
                self._markets[order.symbol].leave(order)
                self._outbox.say(order, OrderEvent.EXPIRE, reason=Reason.BOOK_EXPIRED)


def _field_problem(order: PaperOrder) -> str:
    """Why an order's numbers do not fit its type, empty when they do."""
    request, kind = order.request, order.request.type
    if request.quote_amount_units:
        if kind is not OrderType.MARKET or order.quantity_lots:
            return "a quote amount goes with MARKET and without a quantity"
        return "" if request.quote_amount_units > 0 else "the quote amount must be positive"
    if order.quantity_lots <= 0:
        return "the quantity must be positive"
    if kind in LIMIT_PRICED and order.price_ticks <= 0:
        return f"{kind} needs a price"
    if kind in STOP_PRICED and order.stop_price_ticks <= 0:
        return f"{kind} needs a stop price"
    if kind is OrderType.TRAILING_STOP and not (request.trailing_offset_ticks > 0) ^ (request.trailing_offset_bps > 0):
        return "TRAILING_STOP needs a distance in ticks or in basis points"
    return ""
