"""Scripts for books: a command a line, and under it, indented, exactly the events that it must give.

Commands: ``buy 1 10@100 words…`` (no ``@price``: a market order), ``cancel 1``, ``amend 1 5@100``, ``cancel_all``,
``status AUCTION``, ``time 5``, ``reference 100``. Words: ``ioc fok post reprice show=3 min=2 until=9 acct=7
stp=MAKER stop=101 tp=99 trail=3 trailbps=50 budget=700``. An order's account is its id unless ``acct`` says otherwise.
``book`` as a command gives the levels instead of events: bids, a bar, asks.
"""

from __future__ import annotations

from polaris_synapse.domain.orders import OrderType, PostOnly, SelfTradePrevention, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core.port import (
    STATUSES,
    BookEvent,
    BookOrder,
    CommandRow,
    EventKind,
    EventRow,
    OrderBook,
)

_PREVENTION = {
    "NONE": SelfTradePrevention.NONE,
    "TAKER": SelfTradePrevention.EXPIRE_TAKER,
    "MAKER": SelfTradePrevention.EXPIRE_MAKER,
    "BOTH": SelfTradePrevention.EXPIRE_BOTH,
    "DECREMENT": SelfTradePrevention.DECREMENT,
}


def command(line: str) -> CommandRow:
    """The row of a script line."""
    verb, *rest = line.split()
    words = {word.partition("=")[0]: word.partition("=")[2] for word in rest if not word[0].isdigit()}
    numbers = [word for word in rest if word[0].isdigit()]
    if verb in ("buy", "sell"):
        return _order(Side(verb.upper()), numbers, words).pack()
    if verb == "cancel":
        return (1, int(Reason.CANCELLED_BY_USER), int(numbers[0]))
    if verb == "amend":
        lots, price = _lots_at(numbers[1])
        return (2, 0, int(numbers[0]), 0, price, lots, int(words.get("stop", 0)))
    if verb == "cancel_all":
        side = {"buy": 1, "sell": 2}.get(words.get("side", ""), 0)
        return (3, int(Reason.CANCELLED_BY_USER), 0, int(words.get("acct", 0)), 0, 0, side)
    if verb == "status":
        return (4, [status.value for status in STATUSES].index(rest[0]))
    return ({"time": 5, "reference": 6}[verb], int(numbers[0]))


def _lots_at(text: str) -> tuple[int, int]:
    lots, _, price = text.partition("@")
    return int(lots), int(price or 0)


def _order(side: Side, numbers: list[str], words: dict[str, str]) -> BookOrder:
    lots, price = _lots_at(numbers[1]) if len(numbers) > 1 else (0, 0)
    kind = OrderType.LIMIT if price else OrderType.MARKET
    if "stop" in words:
        kind = OrderType.STOP_LIMIT if price else OrderType.STOP
    elif "tp" in words:
        kind = OrderType.TAKE_PROFIT_LIMIT if price else OrderType.TAKE_PROFIT
    elif "trail" in words or "trailbps" in words:
        kind = OrderType.TRAILING_STOP
    force = TimeInForce.IOC if "ioc" in words else TimeInForce.FOK if "fok" in words else TimeInForce.GTC
    return BookOrder(
        order_id=int(numbers[0]),
        side=side,
        quantity_lots=lots,
        price_ticks=price,
        account=int(words.get("acct", numbers[0])),
        type=kind,
        time_in_force=force,
        post_only=PostOnly.REJECT if "post" in words else PostOnly.REPRICE if "reprice" in words else PostOnly.NO,
        self_trade_prevention=_PREVENTION[words.get("stp", "TAKER")],
        stop_price_ticks=int(words.get("stop", words.get("tp", 0))),
        trailing_offset_ticks=int(words.get("trail", 0)),
        trailing_offset_bps=int(words.get("trailbps", 0)),
        display_lots=int(words.get("show", 0)),
        minimum_lots=int(words.get("min", 0)),
        quote_budget=int(words.get("budget", 0)),
        expire_time_ns=int(words.get("until", 0)),
    )


def _why(reason: Reason) -> str:
    return reason.name.removeprefix("BOOK_")


def spell(row: EventRow) -> str:
    """An event as a script says it."""
    event = BookEvent.of(row)
    name, number = event.kind.name.lower(), event.order_id
    match event.kind:
        case EventKind.TRADE | EventKind.AUCTION_TRADE:
            return f"{name} {number}x{event.other_id} {event.quantity}@{event.price} left {event.open}/{event.extra}"
        case EventKind.ACCEPTED | EventKind.RESTED | EventKind.REFILLED:
            return f"{name} {number} shows {event.quantity} of {event.open}@{event.price}"
        case EventKind.CANCELLED:
            return f"{name} {number} with {event.open}"
        case EventKind.EXPIRED | EventKind.REJECTED:
            return f"{name} {number} with {event.open}: {_why(event.reason)}"
        case EventKind.ARMED | EventKind.TRIGGERED:
            return f"{name} {number} at {event.price}"
        case EventKind.REPLACED | EventKind.REDUCED:
            return f"{name} {number} to {event.open}@{event.price}"
        case EventKind.DECREMENTED:
            return f"{name} {number} by {event.extra} to {event.open}"
        case EventKind.REPRICED:
            return f"{name} {number} from {event.extra} to {event.price}"
        case EventKind.STATUS:
            status = STATUSES[row[4]].value
            return f"{name} {status}" + (f" after {event.open}@{event.price}" if event.open else "")
        case _:
            return f"{name} {number}: {_why(event.reason)}"


def spell_levels(book: OrderBook) -> str:
    """The book as a script says it: best first on both sides."""
    bids, asks = book.levels()
    return " ".join([*(f"{lots}@{price}" for price, lots in bids), "|", *(f"{lots}@{price}" for price, lots in asks)])


def play(book: OrderBook, script: str) -> None:
    """Run a script; the events of each command must be the lines under it, and the invariants hold after each."""
    lines = [line for line in script.splitlines() if line.strip()]
    margin = len(lines[0]) - len(lines[0].lstrip())
    blocks: list[tuple[str, list[str]]] = []
    for line in lines:
        if line[margin].isspace():
            blocks[-1][1].append(line.strip())
        else:
            blocks.append((line.strip(), []))
    for head, expected in blocks:
        found = [spell_levels(book)] if head == "book" else [spell(event) for event in book.apply(command(head))]
        assert found == expected, f"after {head!r}: {found} instead of {expected}"
        book.check()
