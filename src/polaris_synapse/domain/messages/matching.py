"""The internal book: what risk tells it and what it says of itself."""

from __future__ import annotations

from polaris_synapse.domain.messages.base import Message
from polaris_synapse.domain.orders import Order, RiskApproved, Side


class PlaceOrder(Message, frozen=True, kw_only=True, gc=False):
    """Put an approved order on the internal book."""

    symbol: str
    approved: RiskApproved[Order]


class RemoveOrder(Message, frozen=True, kw_only=True, gc=False):
    """Take an order off the internal book."""

    symbol: str
    order_id: int


class AmendOrder(Message, frozen=True, kw_only=True, gc=False):
    """Change an order on the internal book. ``quantity_lots`` is the new total; all three are the values wanted."""

    symbol: str
    order_id: int
    quantity_lots: int
    price_ticks: int
    stop_price_ticks: int


class TradePrinted(Message, frozen=True, kw_only=True, gc=False):
    """A public trade of the internal book."""

    symbol: str
    trade_id: int
    price_ticks: int
    quantity_lots: int
    aggressor: Side
    maker_order_id: int
    taker_order_id: int


class BookChanged(Message, frozen=True, kw_only=True, gc=False):
    """Levels of the internal book after a command: ``(price_ticks, displayed lots)``, 0 lots for a level now gone.

    ``sequence`` grows by one with each message of a symbol.
    """

    symbol: str
    sequence: int
    bids: tuple[tuple[int, int], ...] = ()
    asks: tuple[tuple[int, int], ...] = ()
