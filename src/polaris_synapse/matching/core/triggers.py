"""Triggers: when a stop, take-profit or trailing stop order goes to the market. Over last trade prices, nothing else.

A BUY stop and a SELL take-profit fire when the last price is at or *above* their stop price; a SELL stop and a BUY
take-profit when it is at or *below*. A trailing stop's stop price follows the market at a distance: a SELL one trails
the highest price seen since it was armed, a BUY one the lowest.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

from msgspec import Struct

from polaris_synapse.domain.orders import OrderType, Side

BASIS_POINTS: Final = 10_000

_STOPS: Final = frozenset({OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP})


def fires_above(order_type: OrderType, side: Side) -> bool:
    """Whether the order fires at or above its stop price; otherwise it fires at or below."""
    return (order_type in _STOPS) == (side is Side.BUY)


def is_triggered(above: bool, stop_price_ticks: int, last_price_ticks: int) -> bool:
    """Whether a last price reaches a stop price; 0 as last price (no trade yet) reaches nothing."""
    if not last_price_ticks:
        return False
    return last_price_ticks >= stop_price_ticks if above else last_price_ticks <= stop_price_ticks


def next_watermark(side: Side, watermark_ticks: int, last_price_ticks: int) -> int:
    """The best price seen by a trailing stop: the highest for SELL, the lowest for BUY. 0 means none yet."""
    if not watermark_ticks:
        return last_price_ticks
    best = max if side is Side.SELL else min
    return best(watermark_ticks, last_price_ticks)


def trailing_stop_price(side: Side, watermark_ticks: int, offset_ticks: int, offset_bps: int) -> int:
    """The stop price of a trailing stop, 0 before it has seen a price.

    A distance in basis points is rounded down to a tick and is never less than one tick. A SELL's stop is at least 1.
    """
    if not watermark_ticks:
        return 0
    offset = max(watermark_ticks * offset_bps // BASIS_POINTS, 1) if offset_bps else offset_ticks
    return max(watermark_ticks - offset, 1) if side is Side.SELL else watermark_ticks + offset


class Trigger(Struct, gc=False):
    """An order that waits. ``stop_price_ticks`` is 0 for a trailing stop, whose own is computed."""

    order_id: int
    side: Side
    above: bool
    stop_price_ticks: int
    trailing_ticks: int = 0
    trailing_bps: int = 0
    watermark_ticks: int = 0

    @property
    def trails(self) -> bool:
        """Whether its stop price follows the market."""
        return bool(self.trailing_ticks or self.trailing_bps)

    @property
    def price_ticks(self) -> int:
        """Where it fires now; 0 for a trailing stop that has seen no price."""
        if not self.trails:
            return self.stop_price_ticks
        return trailing_stop_price(self.side, self.watermark_ticks, self.trailing_ticks, self.trailing_bps)


class TriggerBook:
    """The waiting orders of one market. ``observe`` each trade price in order; it says who fires.

    Those that fire at one price do so in this order: fixed stops above, the lowest first; fixed stops below, the
    highest first; trailing stops. Equal ones go by the order in which they were armed. Finding fixed stops costs
    as much as there are to fire; trailing stops are looked at one by one on each change of price.
    """

    def __init__(self) -> None:
        #: All that wait, in the order in which they were armed.
        self.orders: dict[int, Trigger] = {}
        self._trailing: dict[int, Trigger] = {}
        # Stops above are kept negated, so that on either side the next to fire is the last of the sorted keys.
        self._keys: dict[bool, list[int]] = {True: [], False: []}
        self._waiting: dict[bool, dict[int, dict[int, Trigger]]] = {True: {}, False: {}}

    def __len__(self) -> int:
        return len(self.orders)

    def __contains__(self, order_id: object) -> bool:
        return order_id in self.orders

    def get(self, order_id: int) -> Trigger | None:
        """The waiting order, or None."""
        return self.orders.get(order_id)

    def arm(
        self,
        order_id: int,
        side: Side,
        order_type: OrderType,
        *,
        stop_price_ticks: int = 0,
        trailing_ticks: int = 0,
        trailing_bps: int = 0,
        watermark_ticks: int = 0,
    ) -> Trigger:
        """Add an order; ``watermark_ticks`` is the last price for a trailing stop. Raises ValueError for a known id."""
        if order_id in self.orders:
            raise ValueError(f"order {order_id} waits already")
        above = fires_above(order_type, side)
        trigger = Trigger(order_id, side, above, stop_price_ticks, trailing_ticks, trailing_bps, watermark_ticks)
        self.orders[order_id] = trigger
        if trigger.trails:
            self._trailing[order_id] = trigger
            return trigger
        key = -stop_price_ticks if above else stop_price_ticks
        waiting = self._waiting[above]
        if key in waiting:
            waiting[key][order_id] = trigger
        else:
            waiting[key] = {order_id: trigger}
            insort(self._keys[above], key)
        return trigger

    def disarm(self, order_id: int) -> Trigger | None:
        """Take an order out; None when it does not wait here."""
        trigger = self.orders.pop(order_id, None)
        if trigger is None:
            return None
        if trigger.trails:
            del self._trailing[order_id]
            return trigger
        key = -trigger.stop_price_ticks if trigger.above else trigger.stop_price_ticks
        waiting = self._waiting[trigger.above]
        del waiting[key][order_id]
        if not waiting[key]:
            del waiting[key]
            keys = self._keys[trigger.above]
            del keys[bisect_left(keys, key)]
        return trigger

    def observe(self, price_ticks: int) -> list[Trigger]:
        """A trade at ``price_ticks``: move the trailing stops, and take out and return those that fire, in order."""
        fired: list[Trigger] = []
        for above, reach in ((True, -price_ticks), (False, price_ticks)):
            keys, waiting = self._keys[above], self._waiting[above]
            while keys and keys[-1] >= reach:
                fired.extend(waiting.pop(keys.pop()).values())
        for trigger in self._trailing.values():
            # The old stop is tried first: one price cannot both pull a stop along and hit it.
            if is_triggered(trigger.above, trigger.price_ticks, price_ticks) and trigger.watermark_ticks:
                fired.append(trigger)
            else:
                trigger.watermark_ticks = next_watermark(trigger.side, trigger.watermark_ticks, price_ticks)
        for trigger in fired:
            del self.orders[trigger.order_id]
            self._trailing.pop(trigger.order_id, None)
        return fired

    def waiting(self) -> list[Trigger]:
        """All that wait, in the order in which they were armed."""
        return list(self.orders.values())
