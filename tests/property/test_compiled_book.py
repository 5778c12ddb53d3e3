"""The compiled book against the plain one: the same commands, the same events, the same state after each one."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.matching_commands import SETTINGS, command_rows
from tests.real_servers import must_be_compiled

from polaris_synapse.matching.core.book import Book
from polaris_synapse.matching.core.books import BOOK_IN_USE, BOOK_IS_COMPILED, new_book
from polaris_synapse.matching.core.packed import pack_commands, unpack_commands
from polaris_synapse.matching.core.port import (
    COLUMN_MAX,
    COMMAND_COLUMNS,
    EVENT_COLUMNS,
    PRICE_MAX,
    QUANTITY_MAX,
    TRADING,
    BookSettings,
    CommandRow,
    EventKind,
    EventRow,
    Operation,
    OrderBook,
)
from polaris_synapse.testing import matching_streams

#: In continuous integration a compiled form that is missing fails, unless it was left out on purpose.
pytestmark = pytest.mark.skipif(not BOOK_IS_COMPILED and not must_be_compiled(), reason=BOOK_IN_USE)


def test_the_compiled_form_is_in_use() -> None:
    """What is compared below are two forms and not one with itself."""
    assert BOOK_IS_COMPILED, BOOK_IN_USE


#: Numbers at which a range ends, or a machine word does.
EDGES = [
    edge + step
    for edge in (0, 100, PRICE_MAX, QUANTITY_MAX, COLUMN_MAX, 2**63 - 1, -(2**63))
    for step in (-2, -1, 0, 1, 2)
]
EDGES_64 = [edge for edge in EDGES if -(2**63) <= edge < 2**63]


def rows_of(packed: memoryview[int]) -> list[EventRow]:
    """Packed events as rows."""
    columns = iter(packed)
    return list(zip(*[columns] * EVENT_COLUMNS, strict=True))


def answer(ask: Callable[[Any], object], rows: object) -> object:
    """What a book gives, or the words in which it says that something is no command."""
    try:
        return ask(rows)
    except ValueError as error:
        return str(error)


def same_answer(plain: OrderBook, compiled: OrderBook, row: CommandRow) -> None:
    """Both books give the same events, or both say that the row is no command, and are in the same state then."""
    assert answer(compiled.apply, row) == answer(plain.apply, row), row
    compiled.check()
    assert compiled.dump() == plain.dump(), row


@pytest.mark.parametrize("name", sorted(SETTINGS))
@given(seed=st.integers(0, 2**32), count=st.integers(1, 200))
def test_both_books_do_the_same(name: str, seed: int, count: int) -> None:
    """Over random commands of every kind both books give the same events and reach the same state."""
    plain, compiled = Book(SETTINGS[name]), new_book(SETTINGS[name])
    for row in command_rows(seed, count):
        same_answer(plain, compiled, row)
        assert compiled.levels() == plain.levels()
        assert [compiled.queue(side) for side in (0, 1)] == [plain.queue(side) for side in (0, 1)]
    assert compiled.state_hash() == plain.state_hash()


@given(seed=st.integers(0, 2**32))
def test_both_books_answer_every_question_alike(seed: int) -> None:
    """What can be asked of a book has the same answer in both."""
    plain, compiled = Book(SETTINGS["plain"]), new_book(SETTINGS["plain"])
    rows = command_rows(seed, 80)
    for book in (plain, compiled):
        book.apply_batch(rows)

    def answers(book: OrderBook) -> list[object]:
        ids = range(120)
        return [
            (book.status, book.now_ns, book.last_price, len(book), book.waiting_orders()),
            (book.best_bid(), book.best_ask(), book.levels(2), book.queue(0, 3), book.queue(1, 3)),
            [(book.level_count(side), book.level_lots(side, price)) for side in (0, 1) for price in range(85, 115)],
            [(order_id in book, book.waits(order_id), book.stop_price(order_id)) for order_id in ids],
        ]

    assert answers(compiled) == answers(plain)


@pytest.mark.parametrize("name", sorted(SETTINGS))
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 150), max_size=4))
def test_single_calls_batches_and_packed_batches_are_the_same(name: str, seed: int, cuts: list[int]) -> None:
    """However commands are put together, events and state are those of single calls, in both books."""
    rows = command_rows(seed, 120)
    single, *others = (make(SETTINGS[name]) for make in (new_book, new_book, new_book, Book, Book))
    expected = [event for row in rows for event in single.apply(row)]
    found: list[list[EventRow]] = [[] for _ in others]
    ends = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    kept: list[memoryview[int]] = []
    for start, end in pairwise(ends):
        chunk = rows[start:end]
        for book, events in zip(others[::2], found[::2], strict=True):
            events += book.apply_batch(chunk)
        for book, events in zip(others[1::2], found[1::2], strict=True):
            # Events once handed out stay as they are, whatever the book does next.
            kept.append(book.apply_packed(pack_commands(chunk)))
            events += rows_of(kept[-1])
    assert found == [expected] * len(others)
    assert {book.state_hash() for book in others} == {single.state_hash()}
    assert [event for view in kept[::2] for event in rows_of(view)] == expected


@given(seed=st.integers(0, 2**32), cut=st.integers(0, 120))
def test_a_loaded_book_forgets_what_it_held(seed: int, cut: int) -> None:
    """Loading replaces everything: what was on the book before has no effect any more."""
    rows = command_rows(seed, 120)
    plain, compiled = Book(SETTINGS["guarded"]), new_book(SETTINGS["guarded"])
    plain.apply_batch(rows[:cut])
    compiled.apply_batch(command_rows(seed + 1, 60))
    compiled.load(plain.dump())
    for row in rows[cut:]:
        same_answer(plain, compiled, row)


def wild_row(draw: random.Random, edges: list[int]) -> CommandRow:
    """Any numbers: small ones, ends of ranges, and whatever else fits."""
    greatest = max(edges)

    def column() -> int:
        kind = draw.randrange(10)
        if kind < 5:
            return draw.randrange(-2, 14)
        return draw.choice(edges) if kind < 8 else draw.randint(-greatest, greatest)

    return (draw.randrange(-1, 8), *(column() for _ in range(COMMAND_COLUMNS - 1)))


@given(seed=st.integers(0, 2**32), short=st.booleans())
def test_wild_rows_do_no_harm(seed: int, short: bool) -> None:
    """Rows of arbitrary numbers, beyond 64 bits and too short ones too, have the same answer in both books."""
    draw = random.Random(seed)
    plain, compiled = Book(SETTINGS["small"]), new_book(SETTINGS["small"])
    for sound in command_rows(seed, 60):
        row = wild_row(draw, EDGES)
        if draw.random() < 0.5:
            # One column of a sound row gone wild reaches further than twelve wild ones.
            column = draw.randrange(len(sound))
            row = (*sound[:column], draw.choice(EDGES), *sound[column + 1 :])
        if short and draw.random() < 0.3:
            row = row[: draw.randrange(1, COMMAND_COLUMNS + 1)]
        same_answer(plain, compiled, row)
        same_answer(plain, compiled, sound)


@given(seed=st.integers(0, 2**32))
def test_wild_packed_rows_do_no_harm(seed: int) -> None:
    """A packed batch of arbitrary numbers is carried out as by the plain book, or refused whole by both."""
    draw = random.Random(seed)
    plain, compiled = Book(SETTINGS["guarded"]), new_book(SETTINGS["guarded"])
    for _ in range(20):
        rows = [wild_row(draw, EDGES_64) for _ in range(draw.randrange(5))]
        packed = pack_commands(rows + command_rows(draw.randrange(2**32), 5))
        if draw.random() < 0.1:
            packed.append(0)
        before = plain.dump()
        found = answer(plain.apply_packed, packed)
        assert answer(compiled.apply_packed, packed) == found
        assert not isinstance(found, str) or plain.dump() == before
        compiled.check()
        assert compiled.dump() == plain.dump()


@given(data=st.binary(max_size=600))
def test_bytes_as_packed_rows_do_no_harm(data: bytes) -> None:
    """Whatever bytes are taken for packed rows, the books agree about them."""
    packed = array("q")
    packed.frombytes(data[: len(data) // 8 * 8])
    # Most operations are real ones, otherwise nothing would ever be carried out.
    for start in range(0, len(packed), COMMAND_COLUMNS):
        packed[start] %= 9
    plain, compiled = Book(), new_book()
    assert answer(compiled.apply_packed, packed) == answer(plain.apply_packed, packed)
    compiled.check()
    assert compiled.dump() == plain.dump()


class Lots:
    """Counts, from events alone, what each order still has open."""

    def __init__(self) -> None:
        self.open: dict[int, int] = {}
        self.entered = self.filled = self.ended = 0

    def hear(self, row: EventRow) -> None:
        """Take an event."""
        kind, order_id, _, _, lots, left, sixth, extra = row
        if kind in (EventKind.ACCEPTED, EventKind.ARMED):
            self.entered += left
            self.open[order_id] = left
        elif kind in (EventKind.TRADE, EventKind.AUCTION_TRADE):
            for known, still in ((order_id, left), (sixth, extra)):
                self.open[known] -= lots
                self.filled += lots
                assert self.open[known] == still
                if not still:
                    del self.open[known]
        elif kind in (EventKind.CANCELLED, EventKind.EXPIRED) or (kind == EventKind.REJECTED and order_id in self.open):
            assert self.open.pop(order_id) == left
            self.ended += left
        elif kind == EventKind.DECREMENTED:
            self.open[order_id] -= extra
            self.ended += extra
        elif kind in (EventKind.REPLACED, EventKind.REDUCED):
            self.ended += self.open[order_id]
            self.entered += left
            self.open[order_id] = left


@pytest.mark.parametrize("name", sorted(SETTINGS))
@given(seed=st.integers(0, 2**32))
def test_no_lot_is_lost_and_no_book_is_crossed(name: str, seed: int) -> None:
    """After each command, lots in are lots filled, resting and ended, order by order; a trading book is not crossed."""
    book, lots = new_book(SETTINGS[name]), Lots()
    for row in command_rows(seed, 120):
        if row[0] == 0 and len(row) == COMMAND_COLUMNS and row[10]:
            # An order by quote amount has no lots of its own to lose.
            continue
        if row[0] == 0 and row[2] in book:
            # It would be rejected, in the words of an order that ends.
            continue
        for event in book.apply(row):
            lots.hear(event)
        written = book.dump()
        assert {order[0]: order[4] for order in written.orders} == {
            key: left for key, left in lots.open.items() if left
        }
        assert lots.entered == lots.filled + lots.ended + sum(lots.open.values())
        assert written.status != TRADING or not book.best_ask() or book.best_bid() < book.best_ask()


@given(lots=st.integers(1, QUANTITY_MAX - 1), price=st.integers(1, PRICE_MAX - 1), count=st.integers(1, 40))
def test_the_greatest_numbers_add_up(lots: int, price: int, count: int) -> None:
    """Orders of the greatest sizes and prices are summed, spent and counted without overflow."""
    plain, compiled = (
        Book(BookSettings(price_band_ppm=COLUMN_MAX - 1)),
        new_book(BookSettings(price_band_ppm=COLUMN_MAX - 1)),
    )
    rows: list[CommandRow] = [(0, 1, number, 1, price, lots, 0, 0, 0, 0, 0, 0) for number in range(1, count + 1)]
    rows += [(0, 2, 100, 2, 0, 0, 0, 0, 0, 0, COLUMN_MAX - 1, 0), (0, 2 | 2 << 4, 101, 2, 0, 0, 0, 0, 0, 0, 10**9, 0)]
    rows += [(0, 0, 102 + number, 3, price, lots, 0, 0, 0, 0, 0, 0) for number in range(count)]
    for row in rows:
        same_answer(plain, compiled, row)


def test_a_batch_that_looks_ahead_does_what_single_calls_do() -> None:
    """A book so large that batches fetch ahead what their rows need: the same events and the same book as without."""
    fill = pack_commands(matching_streams.deep_fill(180_000, seed=3))
    ahead, apart = new_book(), new_book()
    for book in (ahead, apart):
        book.apply_packed(fill)
    # Five eighths of 2**12 cells, of orders and of levels: from here on both tables have the 2**13 of ahead.pxd.
    assert len(ahead) > 2_560
    assert ahead.level_count(0) + ahead.level_count(1) > 2_560
    draw = random.Random(3)
    rows = matching_streams.deep(180_000, 20_000, seed=3)
    carried_out = 0
    for start in range(0, len(rows), 500):
        batch = rows[start : start + 500] + [wild_row(draw, EDGES_64) for _ in range(3)]
        # A status that stops the book would leave nothing to fetch for.
        packed = pack_commands([row for row in batch if row[0] not in (Operation.SET_STATUS, Operation.CANCEL_ALL)])
        one_by_one: list[int] = []
        found: Any = answer(ahead.apply_packed, packed)
        if not isinstance(found, str):
            carried_out += 1
            for row in unpack_commands(packed):
                for event in apart.apply(row):
                    one_by_one += event
            assert list(found) == one_by_one
    assert carried_out > 10
    ahead.check()
    assert ahead.state_hash() == apart.state_hash()
