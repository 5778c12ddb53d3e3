"""One cancels the other, above the book: which orders end each other, and the steps in which a book carries that out.

When an order of a list trades, triggers or ends, the list is over and its other orders end. So that they end before
they can do anything, a book with lists runs stepwise (BookSettings.stepwise): what a command does directly is one step,
and so is each order that it triggers. Within one step no two orders of a list can trade, because at most one of them
rests and the others wait for their triggers.

A halted book cancels nothing. What a list owes then is carried out as soon as the book leaves its halt, before it does
anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from polaris_synapse.domain.messages import Message, OrderReport
from polaris_synapse.domain.orders import TRIGGERED, Order, OrderEvent
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core.port import CANCEL_ONLY, HALTED, TRADES, CommandRow, EventKind, EventRow, Operation

if TYPE_CHECKING:
    from polaris_synapse.matching.core.market import Market

_STEP: Final[CommandRow] = (int(Operation.STEP), 0)
_CANCELLED: Final = int(EventKind.CANCELLED)
_EXPIRED: Final = int(EventKind.EXPIRED)
_ENDING: Final = frozenset(
    int(kind) for kind in (EventKind.TRIGGERED, EventKind.CANCELLED, EventKind.EXPIRED, EventKind.REJECTED)
)


class Lists:
    """Lists whose orders still end each other, by id, with their orders."""

    __slots__ = ("_list_of", "orders")

    def __init__(self, lists: Sequence[tuple[int, Sequence[int]]] = ()) -> None:
        self.orders: dict[int, tuple[int, ...]] = {}
        self._list_of: dict[int, int] = {}
        for list_id, order_ids in lists:
            self.add(list_id, order_ids)

    def __len__(self) -> int:
        return len(self.orders)

    def __contains__(self, list_id: object) -> bool:
        return list_id in self.orders

    def add(self, list_id: int, order_ids: Sequence[int]) -> None:
        """A new list. Raises ValueError where one of its orders is in a list already."""
        if any(order_id in self._list_of for order_id in order_ids):
            raise ValueError(f"an order of list {list_id} is in another list")
        self.orders[list_id] = tuple(order_ids)
        for order_id in order_ids:
            self._list_of[order_id] = list_id

    def end(self, order_id: int) -> tuple[int, ...]:
        """An order traded, triggered or ended: its list is over. The orders that end with it; none without a list."""
        list_id = self._list_of.get(order_id)
        if list_id is None:
            return ()
        order_ids = self.orders.pop(list_id)
        for each in order_ids:
            del self._list_of[each]
        return tuple(each for each in order_ids if each != order_id)

    def dump(self) -> list[tuple[int, list[int]]]:
        """All of them."""
        return [(list_id, list(order_ids)) for list_id, order_ids in self.orders.items()]


def placing_order(orders: Sequence[Order]) -> list[Order]:
    """The orders of a list as they are placed: those that only wait first, so that all are there when one trades."""
    return sorted(orders, key=lambda order: order.request.type not in TRIGGERED)


def place_list(market: Market, list_id: int, orders: Sequence[Order], time_ns: int) -> list[Message]:
    """Put the orders of a list on the book, all or none."""
    if any(order.order_id in market.holdings or order.order_id in market.ended for order in orders):
        # Delivery is at least once, and a list has one effect.
        return []
    market.lists.add(list_id, [order.order_id for order in orders])
    market.refresh_guards()
    out: list[Message] = []
    for order in placing_order(orders):
        if list_id in market.lists:
            out += market.place(order, time_ns)
        else:
            out.append(_turned_away(market, order, time_ns))
    return out


def _turned_away(market: Market, order: Order, time_ns: int) -> OrderReport:
    """An order whose list was over before it could be placed."""
    market.placed += 1
    market.rejected += 1
    market.note_ended(order.order_id, order.request.account)
    return OrderReport(
        time_ns=time_ns,
        order_id=order.order_id,
        account=order.request.account,
        symbol=market.symbol,
        event=OrderEvent.REJECT,
        reason=Reason.BOOK_ORDER_LIST,
    )


def steps(market: Market, row: CommandRow, seen: list[EventRow], events_max: int) -> Iterator[EventRow]:
    """Carry out a command on a book with lists, step by step; each event is also added to ``seen``.

    The caller takes each event in before it asks for the next, so that the market knows which orders have ended.
    Triggered orders that are left after ``events_max`` events wait for the next command.
    """
    while len(seen) < events_max and (events := market.book.apply(_STEP)):
        yield from _with_endings(market, events, seen)
    yield from _with_endings(market, market.book.apply(row), seen)
    while len(seen) < events_max and (events := market.book.apply(_STEP)):
        yield from _with_endings(market, events, seen)
    market.refresh_guards()


def _with_endings(market: Market, events: list[EventRow], seen: list[EventRow]) -> Iterator[EventRow]:
    """The events of a step, and then the ends of the orders whose lists it ended."""
    ending: list[tuple[int, int]] = []
    for event in events:
        seen.append(event)
        yield event
        kind, order_id, sixth = event[0], event[1], event[6]
        if kind in TRADES:
            ending += [(other, kind) for each in (sixth, order_id) for other in market.lists.end(each)]
        elif kind in _ENDING:
            ending += [(other, kind) for other in market.lists.end(order_id)]
    for order_id, cause in ending:
        if order_id not in market.holdings:
            continue  # it was not placed yet, or ended in the same step
        if market.book.status == HALTED:
            market.owed.append(order_id)
            continue
        for event in _cancel(market, order_id, cause):
            seen.append(event)
            yield event


def _cancel(market: Market, order_id: int, cause: int) -> list[EventRow]:
    """End an order because its list is over: cancelled where the other was, expired otherwise."""
    row = (int(Operation.CANCEL), int(Reason.BOOK_ORDER_LIST), order_id)
    kind = _CANCELLED if cause == _CANCELLED else _EXPIRED
    return [(kind, *event[1:]) for event in market.book.apply(row)]


def settle_owed(market: Market, seen: list[EventRow]) -> Iterator[EventRow]:
    """The book is about to leave its halt: first end what lists owe. The book is CANCEL_ONLY after it."""
    market.book.apply((int(Operation.SET_STATUS), CANCEL_ONLY))
    owed, market.owed = market.owed, []
    for order_id in owed:
        if order_id in market.holdings:
            for event in _cancel(market, order_id, _EXPIRED):
                seen.append(event)
                yield event
