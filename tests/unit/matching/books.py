"""The order books that must behave the same."""

from __future__ import annotations

from collections.abc import Callable

from polaris_synapse.matching.core.book import Book
from polaris_synapse.matching.core.books import BOOK_IS_COMPILED, new_book
from polaris_synapse.matching.core.port import BookSettings, OrderBook

#: By name; the compiled one only where it was built.
IMPLEMENTATIONS: dict[str, Callable[[BookSettings], OrderBook]] = {"python": Book}
if BOOK_IS_COMPILED:
    IMPLEMENTATIONS["compiled"] = new_book
