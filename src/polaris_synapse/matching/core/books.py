"""Which book is used: the compiled one where it was built with this very port, otherwise the plain one."""

from __future__ import annotations

from enum import IntEnum
from types import ModuleType
from typing import Final

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import port
from polaris_synapse.matching.core.book import Book
from polaris_synapse.matching.core.port import BookSettings, OrderBook

_native: ModuleType | None
try:
    import polaris_synapse.matching.core.native.book as _native
except ModuleNotFoundError:
    _native = None
    _why_not = (
        "the compiled one is not built yet, or could not be, for want of a C compiler or because POLARIS_PURE_PYTHON "
        "was set at the installation"
    )
except ImportError as error:
    _native = None
    _why_not = f"the compiled one cannot be loaded ({error})"
else:
    _why_not = ""


def changed_codes(compiled: dict[str, dict[str, int]]) -> list[str]:
    """The names whose numbers are not those that a book was compiled with, and the commands that it does not know."""
    sources: dict[str, type[IntEnum] | ModuleType] = {
        "EventKind": port.EventKind,
        "Operation": port.Operation,
        "Reason": Reason,
        "port": port,
    }
    changed = [
        f"{source}.{name}"
        for source, numbers in compiled.items()
        for name, number in numbers.items()
        if getattr(sources[source], name, None) != number
    ]
    known = compiled.get("Operation", {})
    return changed + [f"Operation.{operation.name}" for operation in port.Operation if operation.name not in known]


if _native is not None and (_changed := changed_codes(_native.CODES)):
    _native, _why_not = None, f"the compiled one is out of date ({', '.join(_changed)})"

#: Whether ``new_book`` gives compiled books.
BOOK_IS_COMPILED: Final = _native is not None
#: One sentence for people: which book is in use, and why.
BOOK_IN_USE: Final = (
    "The compiled order book is in use."
    if BOOK_IS_COMPILED
    else f"The plain Python order book is in use, which is slower: {_why_not}."
)


def new_book(settings: BookSettings | None = None, *, status: int = port.TRADING) -> OrderBook:
    """An empty book."""
    if _native is not None:
        compiled: OrderBook = _native.FastBook(settings, status=status)
        return compiled
    return Book(settings, status=status)
