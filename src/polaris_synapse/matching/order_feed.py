"""The public book of one symbol by order, followed event by event, with the sequence number of each change.

It begins with what the core's book shows as of its sequence, and skips what was published before that. Each change is
a list of operations to be carried out in order: ``add`` puts an order at the back of its price, ``change`` sets what
one shows in its place, ``remove`` takes one off. Of an iceberg only what it shows is in here; its next slice is a
``remove`` and an ``add``.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from polaris_synapse.domain.messages import BookChanged
from polaris_synapse.matching.core.market import Market
from polaris_synapse.matching.core.port import BUY, SELL, TRADES, EventKind, EventRow, PriceLevel

_K = EventKind
_SHOWN: Final = frozenset({_K.ACCEPTED, _K.RESTED, _K.REFILLED})
_GONE: Final = frozenset({_K.CANCELLED, _K.EXPIRED, _K.REPLACED, _K.REJECTED})
_SET: Final = frozenset({_K.REDUCED, _K.DECREMENTED})


class Operation(Struct, frozen=True):
    """One step from a book by order to the next: ticks, displayed lots, and 0 for BUY or 1 for SELL."""

    kind: Literal["add", "change", "remove"]
    order_id: int
    side: int
    price_ticks: int
    lots: int


class _Shown(Struct):
    side: int
    price_ticks: int
    lots: int


class OrderFeed:
    """What the public sees of one book. ``take`` its changes in the order in which they are published."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.symbol = market.symbol
        self.instrument = market.instrument
        self.sequence = market.sequence
        # Insertion order is priority among the orders of one price.
        self._orders: dict[int, _Shown] = {
            order_id: _Shown(side, price, lots)
            for side in (BUY, SELL)
            for order_id, price, lots in market.book.queue(side)
        }

    def take(self, change: BookChanged) -> list[Operation] | None:
        """Follow a change; None where it is older than what is known here. Raises LookupError where one is missing."""
        if change.sequence <= self.sequence:
            return None
        if change.sequence != self.sequence + 1 or (not change.events and (change.bids or change.asks)):
            raise LookupError(f"{self.symbol}: change {change.sequence} does not follow {self.sequence}")
        self.sequence = change.sequence
        operations: list[Operation] = []
        for event in change.events:
            self._follow(event, operations)
        return operations

    def orders(self, side: int) -> list[tuple[int, int, int]]:
        """``(order_id, price ticks, displayed lots)`` of one side in priority order."""
        found = [
            (order_id, shown.price_ticks, shown.lots) for order_id, shown in self._orders.items() if shown.side == side
        ]
        # Sorting is stable, so each price keeps its queue.
        return sorted(found, key=lambda row: row[1] if side == SELL else -row[1])

    def levels(self, side: int) -> list[PriceLevel]:
        """``(price ticks, displayed lots)`` of one side, best first."""
        totals: dict[int, int] = {}
        for _, price_ticks, lots in self.orders(side):
            totals[price_ticks] = totals.get(price_ticks, 0) + lots
        return list(totals.items())

    def _follow(self, event: EventRow, operations: list[Operation]) -> None:
        kind, order_id, side, price, lots, left, sixth, extra = event
        if kind == _K.TRADE:
            maker = self._orders[sixth]
            self._show(sixth, maker.lots - lots, operations)
        elif kind in TRADES:
            for each, open_lots in ((order_id, left), (sixth, extra)):
                shown = self._orders[each].lots
                self._show(each, min(shown, open_lots), operations)
        elif kind in _SHOWN:
            if lots:
                self._remove(order_id, operations)
                self._orders[order_id] = _Shown(side, price, lots)
                operations.append(Operation("add", order_id, side, price, lots))
        elif kind in _SET:
            if order_id in self._orders:
                self._show(order_id, lots, operations)
        elif kind in _GONE:
            self._remove(order_id, operations)

    def _show(self, order_id: int, lots: int, operations: list[Operation]) -> None:
        """An order shows this much now, in its place."""
        if not lots:
            self._remove(order_id, operations)
            return
        shown = self._orders[order_id]
        if shown.lots != lots:
            shown.lots = lots
            operations.append(Operation("change", order_id, shown.side, shown.price_ticks, lots))

    def _remove(self, order_id: int, operations: list[Operation]) -> None:
        shown = self._orders.pop(order_id, None)
        if shown is not None:
            operations.append(Operation("remove", order_id, shown.side, shown.price_ticks, 0))
