"""Other matching engines behind one way to call them. Runs in an environment of theirs, without this project's package.

    python adapters.py PEER STREAM ROWS

STREAM is a file of packed commands (twelve 64-bit integers a row, as in ``polaris_synapse.matching.core.port``), ROWS
how many of them to use. Prints one JSON object: seconds, what was applied and skipped, and how many trades were seen.

Each adapter is as thin as the peer's interface allows: ``submit(order_id, side, kind, price, lots)`` and
``cancel(order_id)`` make the peer's own call. Where a peer has no immediate-or-cancel or no market order, a limit order
and a cancellation of its rest stand for it. Self-trade prevention, which the stream asks for, no peer has: it is left
off, so the books drift apart by the few trades that it prevents.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLUMNS = 12
LIMIT, IOC, MARKET = range(3)
#: Beyond every price of the streams.
FAR = 10_000_000


class Liquibook:
    """The C++ book through its SWIG wrapper, trades told to a listener in Python as its own examples do."""

    package = "liquibook"

    def __init__(self) -> None:
        import liquibook

        outer = self

        class Listener(liquibook.OrderListener):  # type: ignore[misc]
            def __init__(self) -> None:
                liquibook.OrderListener.__init__(self)

            def on_fill(self, taker: Any, maker: Any, lots: int, cost: int) -> None:
                # The wrapper leaves it to the listener to keep the orders' own counts.
                maker.fill(lots, cost, 0)
                taker.fill(lots, cost, 0)
                outer.trades += 1

            def on_accept(self, order: Any) -> None: ...

            def on_reject(self, order: Any, reason: str) -> None: ...

            def on_cancel(self, order: Any) -> None: ...

            def on_cancel_reject(self, order: Any, reason: str) -> None: ...

            def on_replace(self, order: Any, change: int, price: int) -> None: ...

            def on_replace_reject(self, order: Any, reason: str) -> None: ...

        self.trades = 0
        self._listener = Listener()
        self._book = liquibook.DepthOrderBook()
        self._book.set_order_listener(self._listener)
        self._make, self._ioc = liquibook.SimpleOrder, liquibook.oc_immediate_or_cancel
        self._orders: dict[int, Any] = {}

    def submit(self, order_id: int, side: int, kind: int, price: int, lots: int) -> None:
        if kind == LIMIT:
            order = self._orders[order_id] = self._make(not side, price, lots)
            self._book.add(order)
        elif kind == IOC:
            # A reference is kept, since the book holds the order by its address.
            order = self._orders[order_id] = self._make(not side, price, lots, 0, self._ioc)
            self._book.add(order, self._ioc)
        else:
            order = self._orders[order_id] = self._make(not side, 0, lots, 0, self._ioc)
            self._book.add(order, self._ioc)

    def cancel(self, order_id: int) -> None:
        self._book.cancel(self._orders[order_id])


class LimitOrderBook:
    """A C++ book through ctypes. It tells nobody of trades."""

    package = "limit-order-book"

    def __init__(self) -> None:
        from limit_order_book import LimitOrderBook as Book

        self.trades = -1
        self._book = Book()

    def submit(self, order_id: int, side: int, kind: int, price: int, lots: int) -> None:
        book = self._book
        if kind == MARKET:
            (book.market_sell if side else book.market_buy)(order_id, lots)
            return
        (book.limit_sell if side else book.limit_buy)(order_id, lots, price)
        if kind == IOC and book.has(order_id):
            book.cancel(order_id)

    def cancel(self, order_id: int) -> None:
        # It must not be asked to cancel what it does not hold.
        if self._book.has(order_id):
            self._book.cancel(order_id)


class Litebook:
    """A book in Rust. Prices and quantities are floats, ids are texts that it makes."""

    package = "litebook"

    def __init__(self) -> None:
        import litebook

        self.trades = 0
        self._sides = (litebook.OrderType.Buy, litebook.OrderType.Sell)
        self._book = litebook.OrderBook(tick_size=1.0)
        self._ids: dict[int, str] = {}

    def submit(self, order_id: int, side: int, kind: int, price: int, lots: int) -> None:
        if kind == MARKET:
            price = 1 if side else FAR
        order = self._book.create_order(self._sides[side], float(price), float(lots))
        self.trades += len(self._book.add(order))
        if kind == LIMIT:
            self._ids[order_id] = order.id
        else:
            self._book.cancel(order.id)

    def cancel(self, order_id: int) -> None:
        self._book.cancel(self._ids[order_id])


class LightMatchingEngine:
    """Plain Python. It numbers orders itself, and must not be asked to cancel one that is done."""

    package = "lightmatchingengine"

    def __init__(self) -> None:
        from lightmatchingengine.lightmatchingengine import LightMatchingEngine as Engine

        self.trades = 0
        self._engine = Engine()
        self._orders: dict[int, Any] = {}

    def submit(self, order_id: int, side: int, kind: int, price: int, lots: int) -> None:
        order, trades = self._engine.add_order("X", 0 if kind == MARKET else price, lots, side + 1)
        # The taker's own share of each price comes on top of the makers'.
        self.trades += sum(trade.order_id != order.order_id for trade in trades)
        if kind == LIMIT:
            self._orders[order_id] = order
        elif order.leaves_qty:
            self._engine.cancel_order(order.order_id, "X")

    def cancel(self, order_id: int) -> None:
        order = self._orders[order_id]
        if order.leaves_qty:
            self._engine.cancel_order(order.order_id, "X")


class OrderMatching:
    """Plain Python with dataclasses and timestamps; placing and matching are two calls."""

    package = "order-matching"

    def __init__(self) -> None:
        from datetime import UTC, datetime

        from loguru import logger
        from order_matching.enums import Side
        from order_matching.matching_engine import MatchingEngine
        from order_matching.order import LimitOrder, MarketOrder
        from order_matching.orders import Orders

        logger.remove()
        self.trades = 0
        self._engine = MatchingEngine(seed=1)
        self._limit, self._market, self._orders = LimitOrder, MarketOrder, Orders
        self._sides = (Side.BUY, Side.SELL)
        self._now = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)

    def submit(self, order_id: int, side: int, kind: int, price: int, lots: int) -> None:
        fields = {
            "side": self._sides[side], "size": lots, "timestamp": self._now, "order_id": str(order_id),
            "trader_id": "x",
        }  # fmt: skip
        order = self._market(**fields) if kind == MARKET else self._limit(price=price, **fields)
        self._engine.place(self._orders([order]))
        self.trades += len(self._engine.match(timestamp=self._now).trades)
        if kind != LIMIT:
            self.cancel(order_id)

    def cancel(self, order_id: int) -> None:
        if self._engine.unprocessed_orders.find_order_by_id(str(order_id)) is not None:
            self._engine.cancel_order(str(order_id))


PEERS: dict[str, Callable[[], Any]] = {
    "liquibook": Liquibook,
    "limit-order-book": LimitOrderBook,
    "litebook": Litebook,
    "lightmatchingengine": LightMatchingEngine,
    "order-matching": OrderMatching,
}


def read_rows(path: Path, rows: int) -> list[tuple[int, ...]]:
    """The first rows of a stream."""
    packed = array("q", path.read_bytes()[: rows * COLUMNS * 8])
    columns = iter(packed)
    return list(zip(*[columns] * COLUMNS, strict=True))


def run(peer: Any, rows: list[tuple[int, ...]]) -> dict[str, Any]:
    """Carry out the rows; adds, cancels, immediate-or-cancel and market orders are all that the streams hold."""
    submit, cancel, skipped = peer.submit, peer.cancel, 0
    start = time.perf_counter()
    for row in rows:
        if row[0] == 0:
            flags = row[1]
            kind = MARKET if flags >> 1 & 7 == 1 else IOC if flags >> 4 & 3 == 1 else LIMIT
            submit(row[2], flags & 1, kind, row[4], row[5])
        elif row[0] == 1:
            cancel(row[2])
        else:
            skipped += 1
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "applied": len(rows) - skipped, "skipped": skipped, "trades": peer.trades}


def main() -> None:
    """One peer, one stream."""
    name, path, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if name == "nautilus_trader":
        from nautilus import run as run_nautilus

        result, package = run_nautilus(read_rows(path, rows)), "nautilus_trader"
    else:
        peer = PEERS[name]()
        result, package = run(peer, read_rows(path, rows)), peer.package
    print(json.dumps({**result, "version": importlib.metadata.version(package)}))


if __name__ == "__main__":
    main()
