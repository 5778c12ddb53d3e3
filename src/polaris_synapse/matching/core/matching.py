"""The matching core: the internal venue's books, folded from one ordered inbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from polaris_synapse.bus.core import NOTHING, Handler, decode_state, dispatch, encode_state, hash_state
from polaris_synapse.domain.instruments import INTERNAL_VENUE
from polaris_synapse.domain.messages import (
    AmendOrder,
    HostStarted,
    ListInstrument,
    Message,
    OrderReport,
    PlaceOrder,
    PlaceOrderList,
    RemoveOrder,
    SetInstrumentStatus,
    Tick,
)
from polaris_synapse.domain.orders import OrderEvent
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core.holdings import MarketState
from polaris_synapse.matching.core.market import Market
from polaris_synapse.matching.core.order_lists import place_list
from polaris_synapse.matching.core.port import Operation, PriceLevel

SNAPSHOT_VERSION: Final = 1


class MatchingState(Struct, frozen=True, kw_only=True):
    """The snapshot: markets in order of symbol."""

    markets: list[MarketState]


class MatchingCore:
    """Instruments of venue "internal" get a book here; all others are somebody else's."""

    name = "matching"

    def __init__(self) -> None:
        self.markets: dict[str, Market] = {}
        self._handlers: dict[type[Message], Handler] = {
            ListInstrument: self._list_instrument,
            SetInstrumentStatus: self._set_status,
            PlaceOrder: self._place,
            PlaceOrderList: self._place_list,
            RemoveOrder: self._remove,
            AmendOrder: self._amend,
            Tick: self._tick,
            HostStarted: self._host_started,
        }

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Fold one message."""
        handler = self._handlers.get(type(message))
        # The table's own look-up, since this is on every order's path; what is not in it is a bug.
        return dispatch(self._handlers, message, self.name) if handler is None else handler(message)

    def snapshot(self) -> bytes:
        """The whole state."""
        return encode_state(
            SNAPSHOT_VERSION, MatchingState(markets=[self.markets[symbol].dump() for symbol in sorted(self.markets)])
        )

    def restore(self, snapshot: bytes, /) -> None:
        """Replace the state. Raises SnapshotError for bytes that are no snapshot of this version."""
        state = decode_state(SNAPSHOT_VERSION, MatchingState, snapshot)
        self.markets = {market.instrument.symbol: Market.of(market) for market in state.markets}

    def state_hash(self) -> str:
        """A hash of the state."""
        return hash_state(self.snapshot())

    def levels(self, symbol: str, depth: int = 0) -> tuple[list[PriceLevel], list[PriceLevel]]:
        """Bids and asks of a book, best first, ``depth`` 0 for all; empty for a symbol without a book here."""
        market = self.markets.get(symbol)
        return market.book.levels(depth) if market else ([], [])

    def _list_instrument(self, command: ListInstrument) -> Sequence[Message]:
        instrument = command.instrument
        market = self.markets.get(instrument.symbol)
        if market is None:
            if instrument.venue == INTERNAL_VENUE:
                self.markets[instrument.symbol] = Market(instrument)
            return NOTHING
        old = market.instrument
        # Risk refuses these changes; a book counts in the old steps and cannot follow them.
        if (instrument.base, instrument.quote, instrument.tick_units, instrument.lot_units, instrument.venue) != (
            old.base, old.quote, old.tick_units, old.lot_units, old.venue,
        ):  # fmt: skip
            return NOTHING
        return market.relist(instrument, command.time_ns)

    def _set_status(self, command: SetInstrumentStatus) -> Sequence[Message]:
        market = self.markets.get(command.symbol)
        return NOTHING if market is None else market.set_status(command.status, command.time_ns)

    def _place(self, message: PlaceOrder) -> Sequence[Message]:
        order = message.approved.subject
        market = self.markets.get(message.symbol)
        if market is not None:
            return market.place(order, message.time_ns)
        return [
            _lost(message.symbol, order.order_id, OrderEvent.REJECT, message.time_ns, account=order.request.account)
        ]

    def _place_list(self, message: PlaceOrderList) -> Sequence[Message]:
        orders = [approved.subject for approved in message.approved]
        market = self.markets.get(message.symbol)
        if market is not None:
            return place_list(market, message.list_id, orders, message.time_ns)
        return [
            _lost(message.symbol, order.order_id, OrderEvent.REJECT, message.time_ns, account=order.request.account)
            for order in orders
        ]

    def _remove(self, message: RemoveOrder) -> Sequence[Message]:
        market = self.markets.get(message.symbol)
        if market is None:
            return [_lost(message.symbol, message.order_id, OrderEvent.REJECT_CANCEL, message.time_ns)]
        # Why it is cancelled is risk's to say, which asked for it.
        row = (int(Operation.CANCEL), int(Reason.NONE), message.order_id)
        return market.apply(row, message.time_ns)

    def _amend(self, message: AmendOrder) -> Sequence[Message]:
        market = self.markets.get(message.symbol)
        if market is None:
            return [_lost(message.symbol, message.order_id, OrderEvent.REJECT_REPLACE, message.time_ns)]
        row = (
            int(Operation.AMEND),
            0,
            message.order_id,
            0,
            message.price_ticks,
            message.quantity_lots,
            message.stop_price_ticks,
        )
        return market.apply(row, message.time_ns)

    def _tick(self, tick: Tick) -> Sequence[Message]:
        return [message for market in self.markets.values() for message in market.tick(tick.time_ns)]

    def _host_started(self, message: HostStarted) -> Sequence[Message]:
        """Market data starts with empty books, so each one is said in full."""
        return [market.restate(message.time_ns) for market in self.markets.values()]


def _lost(symbol: str, order_id: int, event: OrderEvent, time_ns: int, *, account: str = "") -> OrderReport:
    """A refusal because there is no such book."""
    return OrderReport(
        time_ns=time_ns,
        order_id=order_id,
        account=account,
        symbol=symbol,
        event=event,
        reason=Reason.SYMBOL_NOT_FOUND,
        detail=f"The desk's own venue has no book for {symbol}.",
    )
