"""Triggers: which way each type fires, how a trailing stop follows, and who fires first."""

from __future__ import annotations

import pytest

from polaris_synapse.domain.orders import OrderType, Side
from polaris_synapse.matching.core.triggers import (
    TriggerBook,
    fires_above,
    is_triggered,
    next_watermark,
    trailing_stop_price,
)

BUY, SELL = Side.BUY, Side.SELL


@pytest.mark.parametrize(
    "order_type,buy_above",
    [
        (OrderType.STOP, True),
        (OrderType.STOP_LIMIT, True),
        (OrderType.TRAILING_STOP, True),
        (OrderType.TAKE_PROFIT, False),
        (OrderType.TAKE_PROFIT_LIMIT, False),
    ],
)
def test_stops_and_take_profits_fire_on_opposite_sides(order_type: OrderType, buy_above: bool) -> None:
    """A buy stop fires above and a buy take-profit below; sells the other way round."""
    assert fires_above(order_type, BUY) is buy_above
    assert fires_above(order_type, SELL) is not buy_above


def test_a_trigger_fires_at_its_price_and_beyond_but_never_without_a_market() -> None:
    """Touching is enough; 0 as last price means that there is none."""
    assert [is_triggered(True, 100, last) for last in (0, 99, 100, 101)] == [False, False, True, True]
    assert [is_triggered(False, 100, last) for last in (0, 99, 100, 101)] == [False, True, True, False]


def test_a_trailing_stop_keeps_its_distance_from_the_best_price() -> None:
    """In ticks, or in basis points rounded down to a tick but at least one; a sell's stop is at least 1."""
    assert next_watermark(SELL, 0, 100) == 100
    assert next_watermark(SELL, 100, 90) == 100
    assert next_watermark(BUY, 100, 90) == 90
    assert trailing_stop_price(SELL, 100, 3, 0) == 97
    assert trailing_stop_price(BUY, 100, 3, 0) == 103
    assert trailing_stop_price(SELL, 10_050, 0, 100) == 9_950
    assert trailing_stop_price(SELL, 10, 0, 100) == 9
    assert trailing_stop_price(SELL, 2, 50, 0) == 1
    assert trailing_stop_price(SELL, 0, 3, 0) == 0


def test_a_trailing_stop_fires_when_the_market_turns_by_its_distance() -> None:
    """It follows up, stays on the way down, and fires at its stop."""
    book = TriggerBook()
    book.arm(1, SELL, OrderType.TRAILING_STOP, trailing_ticks=3, watermark_ticks=100)
    assert [[trigger.order_id for trigger in book.observe(price)] for price in (102, 101, 100, 104, 102, 101)] == [
        [], [], [], [], [], [1],
    ]  # fmt: skip
    assert len(book) == 0


def test_who_fires_first() -> None:
    """Above from the lowest stop, below from the highest, then trailing; equal stops as they were armed."""
    book = TriggerBook()
    book.arm(1, BUY, OrderType.STOP, stop_price_ticks=100)
    book.arm(2, BUY, OrderType.TRAILING_STOP, trailing_ticks=1, watermark_ticks=90)
    book.arm(3, SELL, OrderType.STOP, stop_price_ticks=100)
    book.arm(4, SELL, OrderType.STOP, stop_price_ticks=101)
    book.arm(5, BUY, OrderType.STOP, stop_price_ticks=99)
    book.arm(6, BUY, OrderType.STOP, stop_price_ticks=100)
    assert [trigger.order_id for trigger in book.observe(100)] == [5, 1, 6, 4, 3, 2]


def test_waiting_orders_can_be_taken_out() -> None:
    """A disarmed order does not fire, an unknown one is None, and an id waits once."""
    book = TriggerBook()
    book.arm(1, BUY, OrderType.STOP, stop_price_ticks=100)
    book.arm(2, SELL, OrderType.TRAILING_STOP, trailing_bps=100, watermark_ticks=100)
    with pytest.raises(ValueError, match="waits already"):
        book.arm(1, BUY, OrderType.STOP, stop_price_ticks=90)
    assert {trigger.order_id for trigger in book.waiting()} == {1, 2}
    assert 1 in book
    for order_id in (1, 2):
        taken = book.disarm(order_id)
        assert taken is not None
        assert taken.order_id == order_id
    assert book.disarm(1) is None
    assert book.observe(100) == []
