"""The book against a naive twin: the same commands, the same events, the same state after each one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.matching_commands import SETTINGS, command_rows
from tests.property.matching_naive import NaiveBook
from tests.unit.matching.books import IMPLEMENTATIONS

from polaris_synapse.matching.core.book import Book
from polaris_synapse.matching.core.port import BookSettings, CommandRow, EventKind, EventRow, OrderBook
from polaris_synapse.matching.core.state import hash_of

MAKERS = [pytest.param(make, id=name) for name, make in IMPLEMENTATIONS.items()]


def compare(settings: BookSettings, rows: list[CommandRow]) -> None:
    """Run both books over the commands and compare them after each."""
    book, naive = Book(settings), NaiveBook(settings)
    for number, row in enumerate(rows):
        expected = naive.apply(row)
        assert book.apply(row) == expected, f"command {number} of {rows[: number + 1]}"
        book.check()
        assert book.dump() == naive.dump(), f"command {number} of {rows[: number + 1]}"
    assert book.state_hash() == hash_of(naive.dump())


@pytest.mark.parametrize("name", sorted(SETTINGS))
@given(seed=st.integers(0, 2**32), count=st.integers(1, 120))
def test_the_book_does_what_its_naive_twin_does(name: str, seed: int, count: int) -> None:
    """Over random commands of every kind both books give the same events and reach the same state."""
    compare(SETTINGS[name], command_rows(seed, count))


class PublicBook:
    """Rebuilds the order-by-order book from events alone, as a subscriber to market data would."""

    def __init__(self) -> None:
        #: ``{order id: [side, price, displayed lots]}``, each price's orders in their order of joining.
        self.orders: dict[int, list[int]] = {}

    def hear(self, row: EventRow) -> None:
        """Take an event."""
        kind, order_id, side, price, shown, left, sixth, extra = row
        if kind in (EventKind.ACCEPTED, EventKind.RESTED, EventKind.REFILLED) and shown:
            self.orders.pop(order_id, None)
            self.orders[order_id] = [side, price, shown]
        elif kind == EventKind.TRADE:
            self._take(sixth, self.orders[sixth][2] - shown)
        elif kind == EventKind.AUCTION_TRADE:
            for known, open_lots in ((order_id, left), (sixth, extra)):
                self._take(known, min(self.orders[known][2], open_lots))
        elif kind in (EventKind.REDUCED, EventKind.DECREMENTED) and price:
            self.orders[order_id][2] = shown
        elif kind in (EventKind.CANCELLED, EventKind.EXPIRED, EventKind.REPLACED):
            self.orders.pop(order_id, None)

    def _take(self, order_id: int, shown: int) -> None:
        self.orders[order_id][2] = shown
        if not shown:
            # Gone, or an iceberg whose next slice is announced next and joins at the back.
            del self.orders[order_id]

    def queue(self, side: int) -> list[tuple[int, int, int]]:
        """As OrderBook.queue."""
        mine = [(order_id, price, shown) for order_id, (own, price, shown) in self.orders.items() if own == side]
        return sorted(mine, key=lambda order: order[1] if side else -order[1])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", sorted(SETTINGS))
@given(seed=st.integers(0, 2**32))
def test_the_events_tell_the_whole_public_book(make: Callable[[BookSettings], OrderBook], name: str, seed: int) -> None:
    """Who hears every event knows each order on the book, what it displays, and its place in the queue."""
    book, public = make(SETTINGS[name]), PublicBook()
    for row in command_rows(seed, 100):
        for event in book.apply(row):
            public.hear(event)
        assert [public.queue(side) for side in (0, 1)] == [book.queue(side) for side in (0, 1)]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("make_copy", MAKERS)
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 80))
def test_a_book_that_was_written_down_goes_on_as_before(
    make: Callable[[BookSettings], OrderBook], make_copy: Callable[[BookSettings], OrderBook], seed: int, cut: int
) -> None:
    """A book loaded from a dump, its own or the other implementation's, gives the events of the one that went on."""
    settings = SETTINGS["guarded"]
    rows = command_rows(seed, 120)
    book = make(settings)
    book.apply_batch(rows[:cut])
    copy = make_copy(settings)
    copy.load(book.dump())
    assert copy.state_hash() == book.state_hash()
    assert copy.apply_batch(rows[cut:]) == book.apply_batch(rows[cut:])
    assert copy.state_hash() == book.state_hash()
