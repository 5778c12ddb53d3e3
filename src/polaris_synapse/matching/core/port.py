"""The port of an order book: packed commands in, packed events out, the same for every implementation.

A *command* is a row of at most twelve integers and an *event* a row of eight, so that rows can stand in an ``int64``
array as they are. Prices are ticks, quantities lots; the book knows no symbol, no currency and no account name.

Command rows, by ``Operation`` (a row may leave off what follows the columns named here, save for SUBMIT's):

- ``SUBMIT, flags, order_id, account, price, quantity, stop_price, trailing, display, minimum, quote_budget, expire_ns``
- ``CANCEL, reason, order_id``
- ``AMEND, 0, order_id, 0, price, quantity, stop_price``: the values wanted; ``quantity`` is the new total
- ``CANCEL_ALL, reason, 0, account or 0, 0, 0, side + 1 or 0``: 0 matches every account or side
- ``SET_STATUS, status``
- ``ADVANCE_TIME, now_ns``, which is less than COLUMN_MAX
- ``SET_REFERENCE, price``: the middle of the static price band
- ``STEP, 0``: the next triggered order takes its turn, where one waits and the book trades

A row is no command where it is too short (or, of SUBMIT, too long) for its operation, where its operation, its status
or its reference price is none, or its time too great. Any other number is answered, however great it is.

Event rows: ``kind, order_id, side, price, quantity, open, reason, extra``; ``EventKind`` says what each column holds.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple, Protocol, TypeAlias

from msgspec import Struct

from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.orders import OrderRequest, OrderType, PostOnly, SelfTradePrevention, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason

#: A packed command: see the module's docstring.
CommandRow = tuple[int, ...]
#: A packed event: see EventKind.
EventRow = tuple[int, int, int, int, int, int, int, int]
#: ``(price_ticks, displayed lots)``.
PriceLevel = tuple[int, int]
#: Rows of COMMAND_COLUMNS or EVENT_COLUMNS numbers each, one behind the other; a memoryview has format ``q``.
PackedRows: TypeAlias = "array[int] | memoryview[int]"

COMMAND_COLUMNS: Final = 12
EVENT_COLUMNS: Final = 8
#: Bounds of what a row may hold, so that an ``int64`` holds every column and the sum of a full level.
PRICE_MAX: Final = 2**40
QUANTITY_MAX: Final = 2**42
COLUMN_MAX: Final = 2**62
#: How many orders a book may be allowed to hold: so many of the greatest quantity still sum up in an ``int64``.
ORDERS_MAX: Final = 2**20


class Operation(IntEnum):
    """What a command row asks for."""

    SUBMIT = 0
    CANCEL = 1
    AMEND = 2
    CANCEL_ALL = 3
    SET_STATUS = 4
    ADVANCE_TIME = 5
    SET_REFERENCE = 6
    STEP = 7


class EventKind(IntEnum):
    """What happened. Columns that are not named are 0; ``quantity`` is what the public sees, ``open`` the truth."""

    #: The order is in. ``quantity``: lots displayed at once (0 for an order that takes first), ``open``: its lots.
    ACCEPTED = 1
    #: What an order that took, or a triggered or replaced one, left on the book. Columns as ACCEPTED.
    RESTED = 2
    #: Taker ``order_id`` of ``side`` traded ``quantity`` at ``price``; ``open`` is left of it. The column of the
    #: reason holds the maker's order id here, ``extra`` what is left of the maker.
    TRADE = 3
    #: The same of a call auction: both orders rested, the one with the higher id stands as the taker. Each then shows
    #: the lesser of what it showed and what is open.
    AUCTION_TRADE = 4
    #: An iceberg shows its next slice, at the back of its level. ``quantity``: lots displayed now.
    REFILLED = 5
    #: Cancelled on request. ``quantity``: displayed lots that left the book, ``open``: all lots that ended.
    CANCELLED = 6
    #: Ended by the book, ``reason`` says why. Columns as CANCELLED. ``price`` 0: it was not resting.
    EXPIRED = 7
    #: Turned away, ``reason`` says why. ``open``: the lots it asked for.
    REJECTED = 8
    #: Waits for its trigger. ``price``: stop price (0 for a trailing stop without a market yet).
    ARMED = 9
    #: The market reached ``price``, the stop price; what becomes of the order follows.
    TRIGGERED = 10
    #: Amended and behind the others of its price. ``extra``: the price before. ``quantity`` 0: it takes, or waits.
    REPLACED = 11
    #: Amended in its place: its quantity went down at the same price. ``extra``: the price before, which is the same.
    REDUCED = 12
    #: Self-trade prevention took ``extra`` lots off the order. ``quantity``: displayed now, ``open``: left.
    DECREMENTED = 13
    #: A post-only order moved behind the far side. ``price``: now, ``extra``: as asked.
    REPRICED = 14
    CANCEL_REFUSED = 15
    AMEND_REFUSED = 16
    #: ``quantity``: the status now (STATUSES index), ``extra``: before. ``price``, ``open``: a call auction's.
    STATUS = 17


BUY: Final = 0
SELL: Final = 1
SIDES: Final = (Side.BUY, Side.SELL)
SIDE_CODES: Final = {side: code for code, side in enumerate(SIDES)}

TRADING: Final = 0
HALTED: Final = 1
CANCEL_ONLY: Final = 2
AUCTION: Final = 3
STATUSES: Final = (
    InstrumentStatus.TRADING,
    InstrumentStatus.HALTED,
    InstrumentStatus.CANCEL_ONLY,
    InstrumentStatus.AUCTION,
)
STATUS_CODES: Final = {status: code for code, status in enumerate(STATUSES)}

LIMIT: Final = 0
MARKET: Final = 1
STOP: Final = 2
STOP_LIMIT: Final = 3
TAKE_PROFIT: Final = 4
TAKE_PROFIT_LIMIT: Final = 5
TRAILING_STOP: Final = 6
TYPES: Final = (
    OrderType.LIMIT,
    OrderType.MARKET,
    OrderType.STOP,
    OrderType.STOP_LIMIT,
    OrderType.TAKE_PROFIT,
    OrderType.TAKE_PROFIT_LIMIT,
    OrderType.TRAILING_STOP,
)
TYPE_CODES: Final = {type_: code for code, type_ in enumerate(TYPES)}

#: How long: an order that ends by time is GTC with an ``expire_ns``.
GTC: Final = 0
IOC: Final = 1
FOK: Final = 2
FORCE_CODES: Final = {
    TimeInForce.GTC: GTC,
    TimeInForce.GTD: GTC,
    TimeInForce.DAY: GTC,
    TimeInForce.IOC: IOC,
    TimeInForce.FOK: FOK,
}

POST_NO: Final = 0
POST_REJECT: Final = 1
POST_REPRICE: Final = 2
POST_CODES: Final = {PostOnly.NO: POST_NO, PostOnly.REJECT: POST_REJECT, PostOnly.REPRICE: POST_REPRICE}

STP_NONE: Final = 0
STP_TAKER: Final = 1
STP_MAKER: Final = 2
STP_BOTH: Final = 3
STP_DECREMENT: Final = 4
STP_CODES: Final = {
    SelfTradePrevention.NONE: STP_NONE,
    SelfTradePrevention.EXPIRE_TAKER: STP_TAKER,
    SelfTradePrevention.EXPIRE_MAKER: STP_MAKER,
    SelfTradePrevention.EXPIRE_BOTH: STP_BOTH,
    SelfTradePrevention.DECREMENT: STP_DECREMENT,
}

#: The bits of ``flags``: side 0, type 1 to 3, time in force 4 and 5, post-only 6 and 7, self-trade prevention 8 to 10,
#: 11 set where ``trailing`` counts basis points instead of ticks.
TYPE_SHIFT: Final = 1
FORCE_SHIFT: Final = 4
POST_SHIFT: Final = 6
STP_SHIFT: Final = 8
TRAILING_BPS: Final = 1 << 11


class BookOrder(Struct, frozen=True, kw_only=True, gc=False):
    """An order for a book, readable; ``pack`` makes the row. Zero means "not given" for every optional number.

    ``account`` is any whole number; orders of the same account are kept from trading with each other by the incoming
    order's ``self_trade_prevention``. ``quote_budget``: what a MARKET order may spend or must raise, in ticks times
    lots. ``minimum_lots`` must fill at once or nothing does. ``expire_time_ns`` ends a resting or waiting order.
    """

    order_id: int
    side: Side
    quantity_lots: int = 0
    price_ticks: int = 0
    account: int = 0
    type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: PostOnly = PostOnly.NO
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.EXPIRE_TAKER
    stop_price_ticks: int = 0
    trailing_offset_ticks: int = 0
    trailing_offset_bps: int = 0
    display_lots: int = 0
    minimum_lots: int = 0
    quote_budget: int = 0
    expire_time_ns: int = 0

    def pack(self) -> CommandRow:
        """The SUBMIT row."""
        return (
            0,
            order_flags(self),
            self.order_id,
            self.account,
            self.price_ticks,
            self.quantity_lots,
            self.stop_price_ticks,
            self.trailing_offset_bps or self.trailing_offset_ticks,
            self.display_lots,
            self.minimum_lots,
            self.quote_budget,
            self.expire_time_ns,
        )


_TYPE_BITS: Final = {type_: code << TYPE_SHIFT for type_, code in TYPE_CODES.items()}
_FORCE_BITS: Final = {force: code << FORCE_SHIFT for force, code in FORCE_CODES.items()}
_POST_BITS: Final = {post: code << POST_SHIFT for post, code in POST_CODES.items()}
_STP_BITS: Final = {prevention: code << STP_SHIFT for prevention, code in STP_CODES.items()}


def order_flags(order: BookOrder | OrderRequest) -> int:
    """The column ``flags`` of an order's SUBMIT row."""
    return (
        SIDE_CODES[order.side]
        | _TYPE_BITS[order.type]
        | _FORCE_BITS[order.time_in_force]
        | _POST_BITS[order.post_only]
        | _STP_BITS[order.self_trade_prevention]
        | (TRAILING_BPS if order.trailing_offset_bps else 0)
    )


class BookEvent(NamedTuple):
    """An event row with names, for people and tests: ``BookEvent.of(row)``."""

    kind: EventKind
    order_id: int
    side: Side
    price: int
    quantity: int
    open: int
    reason: Reason
    other_id: int
    extra: int

    @classmethod
    def of(cls, row: EventRow) -> BookEvent:
        """Name the columns of a row."""
        kind, order_id, side, price, quantity, open_lots, sixth, extra = row
        trade = kind in TRADES
        reason = Reason.NONE if trade else Reason(sixth)
        other = sixth if trade else 0
        return cls(EventKind(kind), order_id, SIDES[side], price, quantity, open_lots, reason, other, extra)


#: The kinds whose sixth column is the maker's id and not a reason.
TRADES: Final = frozenset({int(EventKind.TRADE), int(EventKind.AUCTION_TRADE)})


class BookSettings(Struct, frozen=True, kw_only=True):
    """Bounds and guards of one book. 0 switches a guard off.

    ``price_band_ppm``: how far from the static reference price anything may be priced or trade. ``interruption_ppm``:
    how far from the last trade before the command the next one may lie; beyond it trading stops for a call auction,
    which ends by itself after ``interruption_ns`` (0: by SET_STATUS only). ``command_events_max``: where a command has
    made this many events, what is left of its taker ends, and further triggered orders wait for the next command.
    ``stepwise``: a triggered order takes its turn at a STEP and at nothing else, so that somebody above the book may
    act between what made it trigger and what it does.
    """

    orders_max: int = 1_000_000
    command_events_max: int = 20_000
    price_band_ppm: int = 0
    interruption_ppm: int = 0
    interruption_ns: int = 0
    stepwise: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no book can keep to."""
        if not 0 < self.orders_max <= ORDERS_MAX:
            raise ValueError(f"a book holds 1 to {ORDERS_MAX} orders, not {self.orders_max}")
        for name in ("command_events_max", "price_band_ppm", "interruption_ppm", "interruption_ns"):
            if not 0 <= getattr(self, name) < COLUMN_MAX:
                raise ValueError(f"{name} is out of range: {getattr(self, name)}")


class BookState(Struct, frozen=True, kw_only=True):
    """All that a book knows, in a canonical order; equal states mean equal behaviour from here on.

    ``orders``: a row for each order in order of arrival (ORDER_COLUMNS). ``bids`` and ``asks``: order ids, best first.
    ``triggers``: ``(order_id, watermark)`` in the order in which equal stops fire. ``pending``: triggered orders that
    wait for their turn.
    """

    status: int
    now_ns: int
    last_price: int
    reference_price: int
    interruption_end_ns: int
    entered_lots: int
    traded_lots: int
    removed_lots: int
    orders: list[tuple[int, ...]]
    bids: list[int]
    asks: list[int]
    triggers: list[tuple[int, int]]
    pending: list[int]


class OrderBook(Protocol):
    """One order book. Synchronous, deterministic; raises only for rows that are no commands (ValueError)."""

    @property
    def settings(self) -> BookSettings:
        """The bounds and guards in force."""
        ...

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def now_ns(self) -> int:
        """The time that the book was told last."""
        ...

    @property
    def last_price(self) -> int:
        """The last trade's price in ticks, 0 before there is one."""
        ...

    def apply(self, row: CommandRow, /) -> list[EventRow]:
        """Carry out one command; its events in order."""
        ...

    def apply_batch(self, rows: Iterable[CommandRow], /) -> list[EventRow]:
        """Carry out commands one after the other; all their events in order."""
        ...

    def apply_packed(self, commands: PackedRows, /) -> memoryview[int]:
        """Carry out packed commands and return their packed events, the caller's to keep.

        Raises ValueError, and carries out nothing, where one of them is no command.
        """
        ...

    def configure(self, settings: BookSettings) -> None:
        """Change the bounds and guards; what the book holds already stays."""
        ...

    def best_bid(self) -> int:
        """The best bid in ticks, 0 where there is none."""
        ...

    def best_ask(self) -> int:
        """The best ask in ticks, 0 where there is none."""
        ...

    def level_count(self, side: int) -> int:
        """How many prices a side has."""
        ...

    def levels(self, depth: int = 0) -> tuple[list[PriceLevel], list[PriceLevel]]:
        """Bids and asks, best first; ``depth`` 0 means all."""
        ...

    def level_lots(self, side: int, price: int) -> int:
        """Displayed lots at a price, 0 where there is no level."""
        ...

    def queue(self, side: int, limit: int = 0) -> list[tuple[int, int, int]]:
        """``(order_id, price, displayed lots)`` of one side in priority order: the public order-by-order book.

        ``limit`` 0 means all.
        """
        ...

    def __len__(self) -> int: ...

    def __contains__(self, order_id: object) -> bool: ...

    def waits(self, order_id: int) -> bool:
        """Whether an order waits for its trigger, or has fired and waits for its turn."""
        ...

    def waiting_orders(self) -> int:
        """How many wait for their trigger, or have fired and wait for their turn."""
        ...

    def stop_price(self, order_id: int) -> int:
        """An order's stop price in ticks, 0 for one without and for an order that the book does not hold."""
        ...

    def dump(self) -> BookState:
        """The whole state."""
        ...

    def load(self, state: BookState, /) -> None:
        """Replace the state."""
        ...

    def state_hash(self) -> str:
        """A hash of ``dump()``, equal for equal states in every implementation and process."""
        ...

    def check(self) -> None:
        """Raise BookInvariantError where an invariant does not hold."""
        ...


class BookInvariantError(AssertionError):
    """The book broke a promise: a bug."""
