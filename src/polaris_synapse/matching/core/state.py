"""The whole state of a book: written down, read back, hashed and checked."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from polaris_synapse.bus.core import encode_state, hash_state
from polaris_synapse.matching.core import port
from polaris_synapse.matching.core.ladder import Entry, Ladder
from polaris_synapse.matching.core.port import BookInvariantError, BookState
from polaris_synapse.matching.core.triggers import TriggerBook

if TYPE_CHECKING:
    from polaris_synapse.matching.core.book import Book

STATE_VERSION = 1


def dump(book: Book) -> BookState:
    """The state of a book in its canonical order."""
    return BookState(
        status=book.status,
        now_ns=book.now_ns,
        last_price=book.last_price,
        reference_price=book.reference_price,
        interruption_end_ns=book.interruption_end_ns,
        entered_lots=book.entered_lots,
        traded_lots=book.traded_lots,
        removed_lots=book.removed_lots,
        orders=[
            (
                entry.order_id,
                entry.account,
                entry.flags,
                entry.price,
                entry.open_lots,
                entry.shown_lots,
                entry.quantity_lots,
                entry.stop_price,
                entry.trailing,
                entry.display_lots,
                entry.minimum_lots,
                entry.expire_ns,
            )
            for entry in book.entries.values()
        ],
        bids=[entry.order_id for entry in book.bids.entries()],
        asks=[entry.order_id for entry in book.asks.entries()],
        triggers=[(trigger.order_id, trigger.watermark_ticks) for trigger in book.triggers.waiting()],
        pending=list(book.pending),
    )


def load(book: Book, state: BookState) -> None:
    """Give a book a state that ``dump`` wrote."""
    book.status, book.now_ns = state.status, state.now_ns
    book.last_price, book.reference_price = state.last_price, state.reference_price
    book.interruption_end_ns = state.interruption_end_ns
    book.entered_lots, book.traded_lots, book.removed_lots = state.entered_lots, state.traded_lots, state.removed_lots
    book.entries = {row[0]: Entry(*row) for row in state.orders}
    book.bids, book.asks, book.triggers = Ladder(1), Ladder(-1), TriggerBook()
    book.pending = deque(state.pending)
    book.note_expiries()
    for ladder, order_ids in ((book.bids, state.bids), (book.asks, state.asks)):
        for order_id in order_ids:
            ladder.append(book.entries[order_id])
    for order_id, watermark in state.triggers:
        book.arm(book.entries[order_id], watermark)


def hash_of(state: BookState) -> str:
    """The hash of a state, 32 hex digits."""
    return hash_state(encode_state(STATE_VERSION, state))


def check(book: Book) -> None:
    """Raise BookInvariantError where a book is crossed while trading, miscounts, or has lost or gained lots."""
    held = 0
    on_ladders: set[int] = set()
    for ladder in (book.bids, book.asks):
        _require(ladder.keys == sorted(ladder.levels), "the keys of a side are its levels in order")
        for key, level in ladder.levels.items():
            alive = level.alive()
            _require(bool(alive) and level.live == len(alive), "a level counts its live orders, and has one")
            _require(level.lots == sum(entry.shown_lots for entry in alive), "a level sums what its orders show")
            for entry in alive:
                _require(book.entries.get(entry.order_id) is entry, "an order on a ladder is the one the book knows")
                _require(entry.price * ladder.sign == key, "an order stands at its price")
                _require(entry.flags & 1 == (ladder.sign < 0), "an order stands on its side")
                _require(0 < entry.shown_lots <= entry.open_lots <= entry.quantity_lots, "lots shown, open and in all")
                on_ladders.add(entry.order_id)
    if book.status == port.TRADING and book.bids.keys and book.asks.keys:
        _require(book.best_bid() < book.best_ask(), "the book is not crossed while it trades")
    for order_id, entry in book.entries.items():
        held += entry.open_lots
        waits, fired = order_id in book.triggers, order_id in book.pending
        _require((order_id in on_ladders) + waits + fired == 1, "an order rests, waits, or has fired")
    counted = 2 * book.traded_lots + book.removed_lots + held
    _require(book.entered_lots == counted, f"lots in ({book.entered_lots}) = traded, ended and held ({counted})")


def _require(holds: bool, invariant: str) -> None:
    if not holds:
        raise BookInvariantError(f"broken: {invariant}")
