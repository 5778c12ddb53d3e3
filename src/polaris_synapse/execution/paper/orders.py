"""An order at the paper exchange, as it is worked on and as it is stored."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.orders import (
    LIMIT_PRICED,
    TERMINAL_STATES,
    Fill,
    OrderRequest,
    OrderState,
    TimeInForce,
)
from polaris_synapse.domain.reasons import Reason

_DAY_NS: Final = 86_400 * 1_000_000_000


class PaperOrder(Struct, kw_only=True):
    """One order. ``ahead_lots``: real lots before it in its level's queue; it only falls while the order stays there.

    ``arrival_ahead_lots`` and ``traded_lots``: what was ahead when it joined the queue, and what has traded at its
    price since, for the note on its fills. ``shown_lots``: the part of an iceberg that is in the queue.
    ``sequence`` is its place among the paper orders; a lower one is earlier. ``list_id``: the list that it came with.
    """

    order_id: int
    client_id: str
    venue_order_id: str
    symbol: str
    request: OrderRequest
    state: OrderState
    quantity_lots: int
    price_ticks: int
    stop_price_ticks: int
    sequence: int
    accepted_ns: int
    expire_ns: int = 0
    filled_lots: int = 0
    spent_tick_lots: int = 0
    shown_lots: int = 0
    ahead_lots: int = 0
    arrival_ahead_lots: int = 0
    traded_lots: int = 0
    watermark_ticks: int = 0
    triggered: bool = False
    restored: bool = False
    list_id: int = 0
    reason: Reason = Reason.NONE
    detail: str = ""

    @property
    def open_lots(self) -> int:
        """Lots that may still fill; 0 for an order by quote amount, which has no lots."""
        return max(self.quantity_lots - self.filled_lots, 0)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state not in TERMINAL_STATES

    @property
    def limit_ticks(self) -> int:
        """The worst price it may trade at, 0 for any."""
        return self.price_ticks if self.request.type in LIMIT_PRICED else 0

    @property
    def may_rest(self) -> bool:
        """Whether what does not fill at once stays."""
        immediate = self.request.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        return bool(self.limit_ticks) and not immediate


class PaperFill(Struct, frozen=True, kw_only=True):
    """A fill as it is stored: ``number`` is part of its trade id and never given again."""

    number: int
    client_id: str
    symbol: str
    time_ns: int
    fill: Fill


def expire_time_ns(request: OrderRequest, now_ns: int) -> int:
    """When the order's time runs out, 0 for never. A DAY order ends at the next 00:00 UTC."""
    if request.time_in_force is TimeInForce.GTD:
        return request.expire_time_ns
    if request.time_in_force is TimeInForce.DAY:
        return (now_ns // _DAY_NS + 1) * _DAY_NS
    return 0


def price_text(instrument: Instrument, price_ticks: int) -> str:
    """A price as people read it: ``61,837.64``."""
    whole, point, fraction = instrument.format_price(price_ticks).partition(".")
    return f"{int(whole):,}{point}{fraction}"
