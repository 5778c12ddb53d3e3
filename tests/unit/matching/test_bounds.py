"""What a book keeps stays bounded by what rests on it."""

from __future__ import annotations

from polaris_synapse.domain.orders import Side
from polaris_synapse.matching.core.book import Book
from polaris_synapse.matching.core.ladder import SPARE_ENTRIES_MAX
from polaris_synapse.matching.core.port import BookOrder
from polaris_synapse.matching.core.state import hash_of


def _limit(order_id: int, lots: int = 1, price: int = 100, *, until: int = 0, side: Side = Side.BUY) -> BookOrder:
    return BookOrder(
        order_id=order_id, side=side, quantity_lots=lots, price_ticks=price, account=order_id, expire_time_ns=until
    )


def test_cancelled_orders_leave_no_trail_in_a_queue() -> None:
    """Behind one resting order thousands can come and go."""
    book = Book()
    book.submit(_limit(1))
    for order_id in range(2, 5_000):
        book.submit(_limit(order_id))
        book.cancel(order_id)
        assert len(book.bids.levels[100].queue) <= 2 + SPARE_ENTRIES_MAX
    book.check()


def test_a_queue_that_is_always_traded_and_joined_does_not_grow() -> None:
    """What has traded away at the front is cleared out."""
    book = Book()
    book.submit(_limit(1))
    for order_id in range(2, 10_000, 2):
        book.submit(_limit(order_id))
        book.submit(_limit(order_id + 1, side=Side.SELL))
        level = book.bids.levels[100]
        assert len(level.queue) <= 2 * level.live + SPARE_ENTRIES_MAX + 2
    book.check()


def test_an_iceberg_that_is_taken_slice_by_slice_does_not_grow_its_queue() -> None:
    """Each slice joins the queue again; passed entries do not pile up."""
    book = Book()
    book.submit(BookOrder(order_id=1, side=Side.BUY, quantity_lots=20_000, price_ticks=100, account=1, display_lots=1))
    for order_id in range(2, 5_000):
        book.submit(_limit(order_id, 2, side=Side.SELL))
        assert len(book.bids.levels[100].queue) <= SPARE_ENTRIES_MAX
    book.check()


def test_orders_that_ended_early_leave_no_trail_in_the_clock() -> None:
    """Orders with an end that are cancelled before it do not pile up."""
    book = Book()
    for order_id in range(1, 10_000):
        book.submit(_limit(order_id, until=10**15))
        book.cancel(order_id)
    assert len(book.expiries) <= 1_100


def test_the_hash_is_the_state() -> None:
    """Two ways to the same state give the same hash; another state gives another."""
    first, second = Book(), Book()
    first.submit(_limit(1))
    second.submit(_limit(1))
    assert first.state_hash() == second.state_hash() == hash_of(first.dump())
    second.submit(_limit(2))
    assert first.state_hash() != second.state_hash()
