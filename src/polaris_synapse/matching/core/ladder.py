"""One side of a book: price levels, each a queue in time priority."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from polaris_synapse.matching.core.port import PriceLevel

#: How many entries beyond twice the live ones a queue may hold before the dead and the passed ones are cleared out.
SPARE_ENTRIES_MAX: Final = 16


class Entry(Struct, gc=False):
    """An order that the book holds.

    ``open_lots`` 0 marks a dead entry that its queue still holds. ``shown_lots`` is what the public sees: 0 for
    an order that waits for its trigger. ``quantity_lots`` is the total in force, so ``quantity - open`` has filled.
    ``arrival`` tells orders with an ``expire_ns`` apart: the book numbers them as they come.
    """

    order_id: int
    account: int
    flags: int
    price: int
    open_lots: int
    shown_lots: int
    quantity_lots: int
    stop_price: int = 0
    trailing: int = 0
    display_lots: int = 0
    minimum_lots: int = 0
    expire_ns: int = 0
    arrival: int = 0

    def slice_lots(self) -> int:
        """What an order shows when it (again) joins a queue."""
        display, lots = self.display_lots, self.open_lots
        return display if 0 < display < lots else lots


class Level:
    """One price: displayed lots, how many entries live, and the queue, whose entries before ``head`` are history.

    A list with a moving head makes a cheaper level than a deque, and most levels are short and live briefly. No Struct:
    that is made sooner than an object of a plain class but written to later, and levels are mostly written to.
    """

    __slots__ = ("head", "live", "lots", "queue")

    def __init__(self, first: Entry) -> None:
        self.lots = first.shown_lots
        self.live = 1
        self.queue = [first]
        self.head = 0

    def alive(self) -> list[Entry]:
        """The live entries in time priority."""
        return [entry for entry in self.queue[self.head :] if entry.open_lots]

    def tidy(self) -> None:
        """Clear out what is dead or has been passed; due when the queue has outgrown SPARE_ENTRIES_MAX."""
        self.queue[:] = self.alive()
        self.head = 0


class Ladder:
    """Levels by *key*, the price signed so that a greater one is better: ``price`` for bids, ``-price`` for asks.

    ``keys`` is sorted, the best last, where inserting and removing are cheapest because most is done there. A cancelled
    entry is only marked; its queue drops it when it comes to the front or when too many are dead.
    """

    __slots__ = ("keys", "levels", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}

    def append(self, entry: Entry) -> None:
        """Put an entry at the back of its price's queue."""
        key = entry.price * self.sign
        level = self.levels.get(key)
        if level is None:
            self.levels[key] = Level(entry)
            insort(self.keys, key)
        else:
            level.lots += entry.shown_lots
            level.live += 1
            level.queue.append(entry)

    def remove(self, entry: Entry) -> None:
        """Take a live entry out and mark it dead."""
        key = entry.price * self.sign
        level = self.levels[key]
        entry.open_lots = 0
        # A match that removes its maker looks here whether the level goes on.
        level.live = live = level.live - 1
        if not live:
            self.drop(key)
            return
        level.lots -= entry.shown_lots
        if len(level.queue) > 2 * live + SPARE_ENTRIES_MAX:
            level.tidy()

    def drop(self, key: int) -> None:
        """Remove a level that has no live entry left."""
        del self.levels[key]
        keys = self.keys
        if keys[-1] == key:
            keys.pop()
        else:
            del keys[bisect_left(keys, key)]

    def reduce(self, entry: Entry, open_lots: int) -> None:
        """Lower an entry's open lots to a number above 0, in its place."""
        shown = min(entry.shown_lots, open_lots)
        self.levels[entry.price * self.sign].lots -= entry.shown_lots - shown
        entry.open_lots, entry.shown_lots = open_lots, shown

    def front(self) -> Entry | None:
        """The live entry with the best price and, among those, the longest wait."""
        if not self.keys:
            return None
        level = self.levels[self.keys[-1]]
        while not level.queue[level.head].open_lots:
            level.head += 1
        return level.queue[level.head]

    def best(self) -> int:
        """The best price, 0 where the side is empty."""
        return self.keys[-1] * self.sign if self.keys else 0

    def entries(self) -> Iterator[Entry]:
        """Live entries in priority order."""
        for key in reversed(self.keys):
            yield from self.levels[key].alive()

    def depth(self, levels_max: int) -> list[PriceLevel]:
        """``(price, displayed lots)``, best first; ``levels_max`` 0 means all."""
        keys = self.keys[-levels_max:] if levels_max else self.keys
        sign, levels = self.sign, self.levels
        return [(key * sign, levels[key].lots) for key in reversed(keys)]
