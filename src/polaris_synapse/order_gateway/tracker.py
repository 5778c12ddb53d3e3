"""The latest known state of recent orders, and waiting for one to move."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import anyio
from msgspec import Struct

from polaris_synapse.domain.messages import ExecutionRecorded
from polaris_synapse.domain.orders import TERMINAL_STATES, Order, OrderState

#: States in which an order still waits for its venue's word.
_UNANSWERED: Final = frozenset({OrderState.APPROVED, OrderState.PENDING_CANCEL, OrderState.PENDING_REPLACE})
_FILLS_OF_ORDER_MAX: Final = 100


class _Tracked(Struct, gc=False):
    """Most orders have neither fills nor waiters, so neither is an object that the garbage collector must look at."""

    order: Order | None = None
    fills: tuple[ExecutionRecorded, ...] = ()
    waiters: set[anyio.Event] | None = None


def answered(order: Order) -> bool:
    """Whether the venue has acknowledged the order, or it has ended."""
    return order.state not in _UNANSWERED


def ended(order: Order) -> bool:
    """Whether nothing more will come of the order."""
    return order.state in TERMINAL_STATES


class OrderTracker:
    """Follows orders by what is published about them. Remembers the most recent ``orders_max``."""

    def __init__(self, orders_max: int) -> None:
        self._orders_max = orders_max
        self._orders: OrderedDict[int, _Tracked] = OrderedDict()

    def take_order(self, order: Order) -> None:
        """An order changed. Older versions than the known one are ignored."""
        if not order.order_id:
            return
        tracked = self._tracked(order.order_id)
        if tracked.order is None or order.version >= tracked.order.version:
            tracked.order = order
            self._wake(tracked)

    def take_execution(self, execution: ExecutionRecorded) -> None:
        """A fill was posted."""
        tracked = self._tracked(execution.order_id)
        known = any(fill.execution_id == execution.execution_id for fill in tracked.fills)
        if len(tracked.fills) < _FILLS_OF_ORDER_MAX and not known:
            tracked.fills += (execution,)
            self._wake(tracked)

    def order(self, order_id: int) -> Order | None:
        """The latest known state."""
        tracked = self._orders.get(order_id)
        return tracked.order if tracked else None

    def fills(self, order_id: int) -> tuple[ExecutionRecorded, ...]:
        """The known fills, oldest first; of an order with very many, the first hundred."""
        tracked = self._orders.get(order_id)
        return tracked.fills if tracked else ()

    def forget(self) -> None:
        """Facts were missed: what is known may be old."""
        for tracked in self._orders.values():
            self._wake(tracked)
        self._orders.clear()

    def newest(self, order: Order) -> Order:
        """The newest known state of an order that has just been heard of."""
        if not order.order_id:
            return order
        self.take_order(order)
        return self._tracked(order.order_id).order or order

    async def settle(self, order: Order, wait_ms: int) -> Order:
        """Wait at most ``wait_ms`` until the venue has answered, and with fills until they are known too."""
        self.take_order(order)
        tracked = self._tracked(order.order_id)
        if wait_ms == 0 or self._settled(tracked):
            # The usual case, without the cost of a deadline.
            return tracked.order or order
        with anyio.move_on_after(wait_ms / 1_000):
            while not self._settled(tracked):
                woken = anyio.Event()
                if tracked.waiters is None:
                    tracked.waiters = set()
                tracked.waiters.add(woken)
                try:
                    await woken.wait()
                finally:
                    tracked.waiters.discard(woken)
        return tracked.order or order

    def _settled(self, tracked: _Tracked) -> bool:
        order = tracked.order
        if order is None or not answered(order):
            return False
        filled = sum(execution.fill.quantity_lots for execution in tracked.fills)
        return filled >= order.filled_lots or len(tracked.fills) >= _FILLS_OF_ORDER_MAX

    def _tracked(self, order_id: int) -> _Tracked:
        tracked = self._orders.get(order_id)
        if tracked is None:
            tracked = self._orders[order_id] = _Tracked()
            if len(self._orders) > self._orders_max:
                self._orders.popitem(last=False)
        return tracked

    @staticmethod
    def _wake(tracked: _Tracked) -> None:
        for waiter in tracked.waiters or ():
            waiter.set()
