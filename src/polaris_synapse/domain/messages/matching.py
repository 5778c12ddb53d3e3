"""The internal book: what risk tells it and what it says of itself."""

from __future__ import annotations

from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages.base import Message
from polaris_synapse.domain.orders import Order, RiskApproved, Side
from polaris_synapse.domain.reasons import Reason


class PlaceOrder(Message, frozen=True, kw_only=True, gc=False):
    """Put an approved order on the internal book."""

    symbol: str
    approved: RiskApproved[Order]


class PlaceOrderList(Message, frozen=True, kw_only=True, gc=False):
    """Put the orders of an OCO on the internal book: all of them or none, and one ends the others."""

    symbol: str
    list_id: int
    approved: tuple[RiskApproved[Order], ...]


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

    ``sequence`` grows by one with each message of a symbol. ``events`` are the book's own event rows that led there, by
    which the book by order is followed; they hold hidden quantities, so they are not for the public as they are.
    """

    symbol: str
    sequence: int
    bids: tuple[tuple[int, int], ...] = ()
    asks: tuple[tuple[int, int], ...] = ()
    events: tuple[tuple[int, int, int, int, int, int, int, int], ...] = ()


class BookStatusChanged(Message, frozen=True, kw_only=True, gc=False):
    """The internal book stopped or opened, by command or by itself.

    ``reason`` BOOK_PRICE_BAND: a volatility interruption began, and its call auction is due at ``until_ns`` (0: when
    somebody opens the book). Coming out of an auction, ``price_ticks`` and ``quantity_lots`` are what its call traded.
    """

    symbol: str
    status: InstrumentStatus
    before: InstrumentStatus
    reason: Reason = Reason.NONE
    until_ns: int = 0
    price_ticks: int = 0
    quantity_lots: int = 0
