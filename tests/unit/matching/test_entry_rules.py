"""Which submit rows are orders, and that the book refuses the others with one reason."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from polaris_synapse.domain.orders import OrderType, PostOnly, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core.book import Book
from polaris_synapse.matching.core.port import (
    COLUMN_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    BookEvent,
    BookOrder,
    CommandRow,
    EventKind,
)

LIMIT = BookOrder(order_id=1, side=Side.BUY, quantity_lots=10, price_ticks=100)
MARKET = BookOrder(order_id=1, side=Side.BUY, quantity_lots=10, type=OrderType.MARKET)
STOP = replace(MARKET, type=OrderType.STOP, stop_price_ticks=90)
STOP_LIMIT = replace(LIMIT, type=OrderType.STOP_LIMIT, stop_price_ticks=90)
TRAILING = replace(MARKET, type=OrderType.TRAILING_STOP, trailing_offset_ticks=5)

GOOD = {
    "limit": LIMIT,
    "market": MARKET,
    "market by quote": replace(MARKET, quantity_lots=0, quote_budget=500),
    "stop with an end": replace(STOP, expire_time_ns=5),
    "stop-limit iceberg": replace(STOP_LIMIT, display_lots=1),
    "stop-limit post-only": replace(STOP_LIMIT, post_only=PostOnly.REJECT),
    "stop-limit fill-or-kill": replace(STOP_LIMIT, time_in_force=TimeInForce.FOK),
    "trailing in ticks": TRAILING,
    "trailing in basis points": replace(TRAILING, trailing_offset_ticks=0, trailing_offset_bps=100),
}

BAD = {
    "no price": replace(LIMIT, price_ticks=0),
    "a negative price": replace(LIMIT, price_ticks=-1),
    "a price past the bound": replace(LIMIT, price_ticks=PRICE_MAX),
    "no quantity": replace(LIMIT, quantity_lots=0),
    "a negative quantity": replace(LIMIT, quantity_lots=-4),
    "a quantity past the bound": replace(LIMIT, quantity_lots=QUANTITY_MAX),
    "an order id of zero": replace(LIMIT, order_id=0),
    "an order id past the bound": replace(LIMIT, order_id=COLUMN_MAX),
    "a negative account": replace(LIMIT, account=-1),
    "a market order with a price": replace(MARKET, price_ticks=100),
    "a market order that is post-only": replace(MARKET, post_only=PostOnly.REJECT),
    "a market order with an end": replace(MARKET, expire_time_ns=5),
    "a market iceberg": replace(MARKET, display_lots=5),
    "quantity and quote amount": replace(MARKET, quote_budget=500),
    "a limit order by quote amount": replace(LIMIT, quantity_lots=0, quote_budget=500),
    "a quote amount with a minimum": replace(MARKET, quantity_lots=0, quote_budget=500, minimum_lots=1),
    "a limit order with a stop price": replace(LIMIT, stop_price_ticks=90),
    "a stop without a stop price": replace(STOP, stop_price_ticks=0),
    "a stop with a limit price": replace(STOP, price_ticks=90),
    "a stop that trails": replace(STOP, trailing_offset_ticks=3),
    "a trailing stop without a distance": replace(TRAILING, trailing_offset_ticks=0),
    "a trailing stop with a stop price": replace(TRAILING, stop_price_ticks=9),
    "a trailing distance of all": replace(TRAILING, trailing_offset_ticks=0, trailing_offset_bps=10_000),
    "a display above the quantity": replace(LIMIT, display_lots=11),
    "a negative display": replace(LIMIT, display_lots=-1),
    "an iceberg that does not rest": replace(LIMIT, display_lots=5, time_in_force=TimeInForce.IOC),
    "a minimum above the quantity": replace(LIMIT, minimum_lots=11),
    "post-only that does not rest": replace(LIMIT, post_only=PostOnly.REPRICE, time_in_force=TimeInForce.FOK),
    "post-only with a minimum": replace(LIMIT, post_only=PostOnly.REJECT, minimum_lots=1),
    "immediate-or-cancel with an end": replace(LIMIT, time_in_force=TimeInForce.IOC, expire_time_ns=5),
    "a negative end": replace(LIMIT, expire_time_ns=-5),
}


@pytest.mark.parametrize("order", [pytest.param(order, id=name) for name, order in GOOD.items()])
def test_orders_that_fit_are_taken(order: BookOrder) -> None:
    """The book accepts or arms them."""
    first = BookEvent.of(Book().submit(order)[0])
    assert first.kind in (EventKind.ACCEPTED, EventKind.ARMED)


@pytest.mark.parametrize("order", [pytest.param(order, id=name) for name, order in BAD.items()])
def test_orders_that_do_not_fit_are_rejected(order: BookOrder) -> None:
    """The book says ORDER_FIELDS_INVALID and is as before."""
    book = Book()
    before = book.state_hash()
    [event] = map(BookEvent.of, book.submit(order))
    assert (event.kind, event.reason) == (EventKind.REJECTED, Reason.ORDER_FIELDS_INVALID)
    assert book.state_hash() == before


@pytest.mark.parametrize("flags", [7 << 1, 3 << 4, 3 << 6, 5 << 8, 1 << 11, 1 << 12, -1])
def test_flags_that_mean_nothing_are_rejected(flags: int) -> None:
    """Bits outside the table are no order, also on the quick path."""
    [event] = map(BookEvent.of, Book().apply((0, flags, 1, 1, 100, 10, 0, 0, 0, 0, 0, 0)))
    assert (event.kind, event.reason) == (EventKind.REJECTED, Reason.ORDER_FIELDS_INVALID)


@pytest.mark.parametrize("row", [(), (99, 1), (-1,), (0, 0, 1), (4, 9), (6, 0), (6, -3)])
def test_rows_that_are_no_commands_raise(row: CommandRow) -> None:
    """An unknown operation, a short SUBMIT, an unknown status or no reference price is a bug of the caller's."""
    with pytest.raises(ValueError, match=r".+"):
        Book().apply(row)
