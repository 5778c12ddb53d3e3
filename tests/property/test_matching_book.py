"""The book against a naive twin: the same commands, the same events, the same state after each one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.matching_naive import NaiveBook

from polaris_synapse.matching.core.book import Book
from polaris_synapse.matching.core.port import BookSettings, CommandRow, EventKind, EventRow
from polaris_synapse.matching.core.state import hash_of

LIMIT, MARKET, STOP, STOP_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT, TRAILING = range(7)
MID = 100

SETTINGS = {
    "plain": BookSettings(),
    "small": BookSettings(orders_max=12, command_events_max=6),
    "guarded": BookSettings(price_band_ppm=80_000, interruption_ppm=30_000, interruption_ns=7),
}


def submit_row(draw: random.Random, order_id: int) -> CommandRow:
    """An order near the mid, of any type; most are sound, some are not."""
    side = draw.randrange(2)
    type_ = draw.choice(
        (LIMIT, LIMIT, LIMIT, LIMIT, MARKET, STOP, STOP_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT, TRAILING)
    )
    force = draw.choice((0, 0, 0, 1, 2))
    post = draw.choice((0, 0, 0, 0, 1, 2)) if force == 0 else 0
    lots = draw.randint(1, 20)
    limit = type_ in (LIMIT, STOP_LIMIT, TAKE_PROFIT_LIMIT)
    price = MID + draw.randint(-8, 8) if limit else 0
    stop = MID + draw.randint(-6, 6) if type_ in (STOP, STOP_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT) else 0
    in_bps = type_ == TRAILING and draw.random() < 0.5
    trailing = draw.randint(50, 400) if in_bps else draw.randint(1, 4) if type_ == TRAILING else 0
    display = draw.randint(1, lots) if limit and force == 0 and draw.random() < 0.3 else 0
    minimum = draw.randint(1, lots) if not post and draw.random() < 0.15 else 0
    expire = draw.randint(1, 60) if force == 0 and type_ != MARKET and draw.random() < 0.3 else 0
    budget = 0
    if type_ == MARKET and draw.random() < 0.4:
        budget, lots, display, minimum = draw.randint(1, 3000), 0, 0, 0
    if draw.random() < 0.03:
        price, lots = draw.choice(((0, lots), (-1, lots), (price, 0), (price, -5), (2**40, lots)))
    flags = side | type_ << 1 | force << 4 | (post if limit else 0) << 6 | draw.randrange(5) << 8 | in_bps << 11
    return (0, flags, order_id, draw.randint(1, 4), price, lots, stop, trailing, display, minimum, budget, expire)


def command_rows(seed: int, count: int) -> list[CommandRow]:
    """Random commands over a few accounts and prices, so that they meet each other."""
    draw = random.Random(seed)
    rows: list[CommandRow] = []
    placed: dict[int, tuple[int, int, int]] = {}
    next_id, now = 1, 0
    auctions = draw.random() < 0.5
    for _ in range(count):
        chance = draw.random()
        recent = draw.randint(max(1, next_id - 25), next_id)
        if chance < 0.68:
            row = submit_row(draw, recent if draw.random() < 0.02 else next_id)
            placed[row[2]] = (row[4], row[5], row[6])
            rows.append(row)
            next_id += 1
        elif chance < 0.80:
            rows.append((1, 8000, recent))
        elif chance < 0.90:
            # Half the time only the quantity changes; then it matters whether it goes down.
            price, lots, stop = placed.get(recent, (0, 20, 0))
            if draw.random() < 0.5:
                price = draw.choice((0, MID + draw.randint(-8, 8), MID + draw.randint(-8, 8)))
                stop = draw.choice((0, 0, MID + draw.randint(-6, 6)))
            rows.append((2, 0, recent, 0, price, draw.randint(1, max(lots, 1) + 3), stop))
        elif chance < 0.96:
            now += draw.randint(0, 5)
            rows.append((5, now))
        elif chance < 0.97:
            rows.append((3, 8001, 0, draw.randrange(5), 0, 0, draw.randrange(3)))
        elif chance < 0.98:
            rows.append((6, MID + draw.randint(-3, 3)))
        elif auctions:
            rows.extend([(4, draw.choice((1, 2, 3, 3, 3))), *(submit_row(draw, next_id + n) for n in range(8)), (4, 0)])
            next_id += 8
    return rows


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


@pytest.mark.parametrize("name", sorted(SETTINGS))
@given(seed=st.integers(0, 2**32))
def test_the_events_tell_the_whole_public_book(name: str, seed: int) -> None:
    """Who hears every event knows each order on the book, what it displays, and its place in the queue."""
    book, public = Book(SETTINGS[name]), PublicBook()
    for row in command_rows(seed, 100):
        for event in book.apply(row):
            public.hear(event)
        assert [public.queue(side) for side in (0, 1)] == [book.queue(side) for side in (0, 1)]


@given(seed=st.integers(0, 2**32), cut=st.integers(1, 80))
def test_a_book_that_was_written_down_goes_on_as_before(seed: int, cut: int) -> None:
    """A book loaded from a dump gives the same events as the one that went on."""
    settings = SETTINGS["guarded"]
    rows = command_rows(seed, 120)
    book = Book(settings)
    book.apply_batch(rows[:cut])
    copy = Book(settings)
    copy.load(book.dump())
    assert copy.state_hash() == book.state_hash()
    assert copy.apply_batch(rows[cut:]) == book.apply_batch(rows[cut:])
    assert copy.state_hash() == book.state_hash()
