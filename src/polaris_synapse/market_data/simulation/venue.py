"""One simulated symbol's venue: the desk's own order book, and the streams that Binance would make of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    BookSnapshotReceived,
    BookTickerReceived,
    DepthReceived,
    Message,
    TradeReceived,
)
from polaris_synapse.domain.orders import PostOnly, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core.books import new_book
from polaris_synapse.matching.core.port import BUY, SELL, BookOrder, EventKind, EventRow, Operation

SOURCE: Final = "simulated"

_SNAPSHOT_LEVELS: Final = 1000
_TRADE: Final = int(EventKind.TRADE)
#: Events that change the displayed lots at their own price and side.
_LEVEL_EVENTS: Final = frozenset(
    int(kind)
    for kind in (
        EventKind.ACCEPTED,
        EventKind.RESTED,
        EventKind.REFILLED,
        EventKind.CANCELLED,
        EventKind.EXPIRED,
        EventKind.DECREMENTED,
        EventKind.REPRICED,
    )
)


class SimulatedVenue:
    """Takes orders, matches them, and writes trades, tickers and depth with ids as Binance numbers them.

    Every change of a level's displayed quantity is one update. ``out`` collects messages until ``take`` is called.
    Ids start at ``first_id``, so that those of an earlier run are not used again.
    """

    def __init__(self, instrument: Instrument, *, first_id: int) -> None:
        self.instrument = instrument
        self.book = new_book()
        self.now_ns = 0
        self.trades = 0
        self._update_id = first_id
        self._flushed_id = first_id
        self._trade_id = first_id
        self._order_id = 0
        self._shown: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._touched: set[tuple[int, int]] = set()
        self._top = (0, 0, 0, 0)
        self._out: list[Message] = []

    def place(
        self,
        side: int,
        price: int,
        lots: int,
        *,
        account: int,
        take: bool = False,
        expire_ns: int = 0,
    ) -> int:
        """A limit order, and its id. ``take``: immediate or cancel; else it rests, behind the far side if it must."""
        self._order_id += 1
        order = BookOrder(
            order_id=self._order_id,
            side=Side.BUY if side == BUY else Side.SELL,
            quantity_lots=lots,
            price_ticks=price,
            account=account,
            time_in_force=TimeInForce.IOC if take else TimeInForce.GTC,
            post_only=PostOnly.NO if take else PostOnly.REPRICE,
            expire_time_ns=expire_ns,
        )
        self._follow(self.book.apply(order.pack()))
        return self._order_id

    def cancel(self, order_ids: Iterable[int]) -> None:
        """Cancel orders, those that are gone already included."""
        for order_id in order_ids:
            if order_id in self.book:
                self._follow(self.book.apply((int(Operation.CANCEL), int(Reason.CANCELLED_BY_USER), order_id)))

    def advance(self, now_ns: int) -> None:
        """Time passes: orders end."""
        self.now_ns = now_ns
        self._follow(self.book.apply((int(Operation.ADVANCE_TIME), now_ns)))

    def flush_depth(self) -> None:
        """Say what changed since the last time, as one depth message, if anything did."""
        if self._update_id == self._flushed_id:
            return
        levels: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for side, price in sorted(self._touched):
            levels[side].append((price, self._shown[side].get(price, 0)))
        self._touched.clear()
        self._out.append(
            DepthReceived(
                time_ns=self.now_ns,
                symbol=self.instrument.symbol,
                source=SOURCE,
                first_update_id=self._flushed_id + 1,
                last_update_id=self._update_id,
                bids=tuple(reversed(levels[BUY])),
                asks=tuple(levels[SELL]),
                event_time_ns=self.now_ns,
            )
        )
        self._flushed_id = self._update_id

    def snapshot(self) -> BookSnapshotReceived:
        """The book as of the last update."""
        bids, asks = self.book.levels(_SNAPSHOT_LEVELS)
        return BookSnapshotReceived(
            time_ns=self.now_ns,
            symbol=self.instrument.symbol,
            source=SOURCE,
            last_update_id=self._update_id,
            bids=tuple(bids),
            asks=tuple(asks),
        )

    def take(self) -> list[Message]:
        """What was said since the last time."""
        out, self._out = self._out, []
        return out

    def _follow(self, rows: list[EventRow]) -> None:
        """Turn the book's events into updates and trades."""
        if not rows:
            return
        for kind, _, side, price, quantity, _, _, extra in rows:
            if kind == _TRADE:
                self._trade(side, price, quantity)
                self._look(1 - side, price)
            elif kind in _LEVEL_EVENTS and price:
                self._look(side, price)
                if kind == EventKind.REPRICED and extra:
                    self._look(side, extra)
        self._say_top()

    def _look(self, side: int, price: int) -> None:
        lots = self.book.level_lots(side, price)
        shown = self._shown[side]
        if shown.get(price, 0) == lots:
            return
        if lots:
            shown[price] = lots
        else:
            del shown[price]
        self._update_id += 1
        self._touched.add((side, price))

    def _trade(self, side: int, price: int, quantity: int) -> None:
        self._trade_id += 1
        self.trades += 1
        self._out.append(
            TradeReceived(
                time_ns=self.now_ns,
                symbol=self.instrument.symbol,
                source=SOURCE,
                trade_id=self._trade_id,
                price_ticks=price,
                quantity_lots=quantity,
                aggressor=Side.BUY if side == BUY else Side.SELL,
                trade_time_ns=self.now_ns,
            )
        )

    def _say_top(self) -> None:
        bid, ask = self.book.best_bid(), self.book.best_ask()
        top = (
            bid,
            self.book.level_lots(BUY, bid) if bid else 0,
            ask,
            self.book.level_lots(SELL, ask) if ask else 0,
        )
        if top == self._top:
            return
        self._top = top
        if bid and ask:
            self._out.append(
                BookTickerReceived(
                    time_ns=self.now_ns,
                    symbol=self.instrument.symbol,
                    source=SOURCE,
                    update_id=self._update_id,
                    bid_ticks=top[0],
                    bid_lots=top[1],
                    ask_ticks=top[2],
                    ask_lots=top[3],
                )
            )
