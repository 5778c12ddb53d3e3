"""Orders: what is asked for, where it stands, and the one literal table of how it moves."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Generic, TypeVar

from msgspec import Struct

from polaris_synapse.domain.reasons import Reason


class Side(StrEnum):
    """Which way an order trades."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """How an order's price is made. STOP, TAKE_PROFIT and TRAILING_STOP become MARKET when they trigger."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_LIMIT = "STOP_LIMIT"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"
    TRAILING_STOP = "TRAILING_STOP"


#: Types that carry a limit price.
LIMIT_PRICED: Final = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
#: Types that wait for a trigger before they touch the book.
TRIGGERED: Final = frozenset(
    {
        OrderType.STOP,
        OrderType.STOP_LIMIT,
        OrderType.TAKE_PROFIT,
        OrderType.TAKE_PROFIT_LIMIT,
        OrderType.TRAILING_STOP,
    }
)
#: Triggered types whose trigger is a fixed stop price.
STOP_PRICED: Final = TRIGGERED - {OrderType.TRAILING_STOP}


class TimeInForce(StrEnum):
    """How long an order lives. DAY ends at the next 00:00 UTC, GTD at its ``expire_time_ns``."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTD = "GTD"
    DAY = "DAY"


class PostOnly(StrEnum):
    """What becomes of an order that must not take: REJECT refuses it, REPRICE puts it one tick behind the far side."""

    NO = "NO"
    REJECT = "REJECT"
    REPRICE = "REPRICE"


class SelfTradePrevention(StrEnum):
    """What gives way when an account would trade with itself. NONE is refused by risk where a match could happen."""

    NONE = "NONE"
    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"
    DECREMENT = "DECREMENT"


class Liquidity(StrEnum):
    """Whether a fill added or took liquidity."""

    MAKER = "MAKER"
    TAKER = "TAKER"


class OrderRequest(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """An order as asked for, in ticks, lots and minor units. Zero means "not given" for every optional number.

    ``quantity_lots`` or ``quote_amount_units`` (MARKET only), never both. ``display_lots`` makes it an iceberg.
    ``trailing_offset_ticks`` or ``trailing_offset_bps`` for TRAILING_STOP. ``venue`` empty: the instrument's own.
    ``decision_id`` names the agent decision that it carries out, empty for a person's order. ``client_list_id`` names
    the list that it belongs to, empty for a single order.
    """

    account: str
    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    quantity_lots: int = 0
    quote_amount_units: int = 0
    price_ticks: int = 0
    stop_price_ticks: int = 0
    trailing_offset_ticks: int = 0
    trailing_offset_bps: int = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_time_ns: int = 0
    post_only: PostOnly = PostOnly.NO
    display_lots: int = 0
    min_quantity_lots: int = 0
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.EXPIRE_TAKER
    venue: str = ""
    decision_id: str = ""
    client_list_id: str = ""


class OrderState(StrEnum):
    """Where an order stands. See TRANSITIONS for how it moves."""

    APPROVED = "APPROVED"  # risk said yes and reserved; on its way to a book or venue
    ARMED = "ARMED"  # waiting for its trigger price
    WORKING = "WORKING"  # acknowledged and resting, nothing filled
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    PENDING_CANCEL = "PENDING_CANCEL"
    PENDING_REPLACE = "PENDING_REPLACE"
    UNKNOWN = "UNKNOWN"  # the outcome at the venue is not known: exposure stays reserved, nothing is sent again
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"  # by the book or the venue
    REFUSED = "REFUSED"  # by the desk's own checks; never had exposure


TERMINAL_STATES: Final = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.REFUSED}
)
OPEN_STATES: Final = frozenset(OrderState) - TERMINAL_STATES


class OrderEvent(StrEnum):
    """What can happen to an order after risk approved it."""

    ARM = "ARM"
    ACKNOWLEDGE = "ACKNOWLEDGE"
    TRIGGER = "TRIGGER"
    PARTIAL_FILL = "PARTIAL_FILL"
    FILL = "FILL"
    REQUEST_CANCEL = "REQUEST_CANCEL"
    CANCEL = "CANCEL"
    REJECT_CANCEL = "REJECT_CANCEL"
    REQUEST_REPLACE = "REQUEST_REPLACE"
    REPLACE = "REPLACE"
    REJECT_REPLACE = "REJECT_REPLACE"
    EXPIRE = "EXPIRE"
    REJECT = "REJECT"
    LOSE = "LOSE"  # timeout, 5xx, crash between send and answer


class OrderTransitionError(RuntimeError):
    """An event that the order table does not allow: a bug or a venue that breaks its own protocol."""


_S, _E = OrderState, OrderEvent
_LIVE: Final = (_S.APPROVED, _S.ARMED, _S.WORKING, _S.PARTIALLY_FILLED)

#: ``{(state, event): next state}``. What is not here raises. Where an event leaves the visible state to the amount
#: already filled (a refused cancel, say), the target names the state of an order without fills and ``next_state``
#: answers PARTIALLY_FILLED for one with fills.
TRANSITIONS: Final[dict[tuple[OrderState, OrderEvent], OrderState]] = {
    (_S.APPROVED, _E.ARM): _S.ARMED,
    (_S.APPROVED, _E.ACKNOWLEDGE): _S.WORKING,
    # A venue may report the fill before (or instead of) the acknowledgement.
    (_S.APPROVED, _E.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.APPROVED, _E.FILL): _S.FILLED,
    (_S.APPROVED, _E.REJECT): _S.REJECTED,
    (_S.APPROVED, _E.EXPIRE): _S.EXPIRED,
    (_S.APPROVED, _E.CANCEL): _S.CANCELLED,
    (_S.APPROVED, _E.LOSE): _S.UNKNOWN,
    (_S.APPROVED, _E.REQUEST_CANCEL): _S.PENDING_CANCEL,
    (_S.ARMED, _E.TRIGGER): _S.WORKING,
    (_S.ARMED, _E.REQUEST_CANCEL): _S.PENDING_CANCEL,
    (_S.ARMED, _E.REQUEST_REPLACE): _S.PENDING_REPLACE,
    (_S.ARMED, _E.CANCEL): _S.CANCELLED,
    (_S.ARMED, _E.EXPIRE): _S.EXPIRED,
    # The trigger fired into a halted or empty book.
    (_S.ARMED, _E.REJECT): _S.REJECTED,
    # A venue's trigger and its first fill can arrive as one report.
    (_S.ARMED, _E.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.ARMED, _E.FILL): _S.FILLED,
    (_S.ARMED, _E.LOSE): _S.UNKNOWN,
    (_S.WORKING, _E.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.WORKING, _E.FILL): _S.FILLED,
    (_S.WORKING, _E.REQUEST_CANCEL): _S.PENDING_CANCEL,
    (_S.WORKING, _E.REQUEST_REPLACE): _S.PENDING_REPLACE,
    (_S.WORKING, _E.CANCEL): _S.CANCELLED,
    (_S.WORKING, _E.EXPIRE): _S.EXPIRED,
    # A triggered order that its venue turns away after the trigger, or a halt that clears the book.
    (_S.WORKING, _E.REJECT): _S.REJECTED,
    (_S.WORKING, _E.LOSE): _S.UNKNOWN,
    # A repeated acknowledgement after a reconnect says nothing new.
    (_S.WORKING, _E.ACKNOWLEDGE): _S.WORKING,
    # A stop that was replaced, or whose cancel was refused, still waits for its trigger: its book says so.
    (_S.WORKING, _E.ARM): _S.ARMED,
    (_S.PARTIALLY_FILLED, _E.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.PARTIALLY_FILLED, _E.FILL): _S.FILLED,
    (_S.PARTIALLY_FILLED, _E.REQUEST_CANCEL): _S.PENDING_CANCEL,
    (_S.PARTIALLY_FILLED, _E.REQUEST_REPLACE): _S.PENDING_REPLACE,
    (_S.PARTIALLY_FILLED, _E.CANCEL): _S.CANCELLED,
    (_S.PARTIALLY_FILLED, _E.EXPIRE): _S.EXPIRED,
    (_S.PARTIALLY_FILLED, _E.LOSE): _S.UNKNOWN,
    # The acknowledgement can be overtaken by the first fill.
    (_S.PARTIALLY_FILLED, _E.ACKNOWLEDGE): _S.PARTIALLY_FILLED,
    (_S.PENDING_CANCEL, _E.CANCEL): _S.CANCELLED,
    (_S.PENDING_CANCEL, _E.REJECT_CANCEL): _S.WORKING,
    # Cancel and fill race: fills keep coming until the venue says CANCELLED.
    (_S.PENDING_CANCEL, _E.PARTIAL_FILL): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, _E.FILL): _S.FILLED,
    (_S.PENDING_CANCEL, _E.EXPIRE): _S.EXPIRED,
    (_S.PENDING_CANCEL, _E.REJECT): _S.REJECTED,
    (_S.PENDING_CANCEL, _E.LOSE): _S.UNKNOWN,
    # The order's own acknowledgement, trigger or arming can arrive after the cancel was asked for.
    (_S.PENDING_CANCEL, _E.ACKNOWLEDGE): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, _E.ARM): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, _E.TRIGGER): _S.PENDING_CANCEL,
    # Asking twice changes nothing; the kill switch asks without looking.
    (_S.PENDING_CANCEL, _E.REQUEST_CANCEL): _S.PENDING_CANCEL,
    (_S.PENDING_REPLACE, _E.REPLACE): _S.WORKING,
    (_S.PENDING_REPLACE, _E.REJECT_REPLACE): _S.WORKING,
    (_S.PENDING_REPLACE, _E.PARTIAL_FILL): _S.PENDING_REPLACE,
    (_S.PENDING_REPLACE, _E.FILL): _S.FILLED,
    (_S.PENDING_REPLACE, _E.TRIGGER): _S.PENDING_REPLACE,
    (_S.PENDING_REPLACE, _E.ACKNOWLEDGE): _S.PENDING_REPLACE,
    # A person or the kill switch overrules a replace that is under way.
    (_S.PENDING_REPLACE, _E.REQUEST_CANCEL): _S.PENDING_CANCEL,
    (_S.PENDING_REPLACE, _E.CANCEL): _S.CANCELLED,
    (_S.PENDING_REPLACE, _E.EXPIRE): _S.EXPIRED,
    (_S.PENDING_REPLACE, _E.REJECT): _S.REJECTED,
    (_S.PENDING_REPLACE, _E.LOSE): _S.UNKNOWN,
    # A replace that was overtaken by a cancel request still reports.
    (_S.PENDING_CANCEL, _E.REPLACE): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, _E.REJECT_REPLACE): _S.PENDING_CANCEL,
    # UNKNOWN is left only by what the venue itself says.
    (_S.UNKNOWN, _E.ACKNOWLEDGE): _S.WORKING,
    (_S.UNKNOWN, _E.ARM): _S.ARMED,
    (_S.UNKNOWN, _E.TRIGGER): _S.UNKNOWN,
    (_S.UNKNOWN, _E.PARTIAL_FILL): _S.UNKNOWN,
    (_S.UNKNOWN, _E.FILL): _S.FILLED,
    (_S.UNKNOWN, _E.CANCEL): _S.CANCELLED,
    (_S.UNKNOWN, _E.EXPIRE): _S.EXPIRED,
    # Absence proved by id and by trade history.
    (_S.UNKNOWN, _E.REJECT): _S.REJECTED,
    (_S.UNKNOWN, _E.REQUEST_CANCEL): _S.UNKNOWN,
    (_S.UNKNOWN, _E.REPLACE): _S.UNKNOWN,
    (_S.UNKNOWN, _E.REJECT_CANCEL): _S.UNKNOWN,
    (_S.UNKNOWN, _E.REJECT_REPLACE): _S.UNKNOWN,
    (_S.UNKNOWN, _E.LOSE): _S.UNKNOWN,
    # Venues do report fills after they reported the end of an order; money moved, so it is posted.
    (_S.CANCELLED, _E.PARTIAL_FILL): _S.CANCELLED,
    (_S.CANCELLED, _E.FILL): _S.FILLED,
    (_S.EXPIRED, _E.PARTIAL_FILL): _S.EXPIRED,
    (_S.EXPIRED, _E.FILL): _S.FILLED,
    # The cancel that lost the race is told so after the fill.
    (_S.FILLED, _E.REJECT_CANCEL): _S.FILLED,
    (_S.FILLED, _E.REJECT_REPLACE): _S.FILLED,
}

#: Rows whose target depends on whether anything has filled.
_BACK_TO_THE_BOOK: Final = frozenset({_E.REJECT_CANCEL, _E.REJECT_REPLACE, _E.REPLACE, _E.ACKNOWLEDGE})


def next_state(state: OrderState, event: OrderEvent, *, filled_lots: int) -> OrderState:
    """The state that follows. Raises OrderTransitionError for a pair that is not in TRANSITIONS."""
    target = TRANSITIONS.get((state, event))
    if target is None:
        raise OrderTransitionError(f"an order that is {state} cannot {event}")
    if filled_lots and target is _S.WORKING and event in _BACK_TO_THE_BOOK:
        return _S.PARTIALLY_FILLED
    return target


class Order(Struct, frozen=True, kw_only=True, gc=False):
    """An order as the desk knows it. Replaced, never changed.

    ``filled_notional_units`` is the exact sum of its fills in quote minor units, so the average price is exact.
    ``open_lots`` is what may still fill: zero in every terminal state. ``price_ticks``, ``quantity_lots`` and
    ``stop_price_ticks`` start as the request's and follow replacements.
    """

    order_id: int
    request: OrderRequest
    venue: str
    state: OrderState
    quantity_lots: int
    price_ticks: int
    stop_price_ticks: int
    filled_lots: int = 0
    filled_notional_units: int = 0
    reason: Reason = Reason.NONE
    detail: str = ""
    venue_order_id: str = ""
    created_time_ns: int = 0
    updated_time_ns: int = 0
    version: int = 0

    @property
    def open_lots(self) -> int:
        """Lots that may still fill."""
        return 0 if self.state in TERMINAL_STATES else max(self.quantity_lots - self.filled_lots, 0)


class Fill(Struct, frozen=True, kw_only=True, gc=False):
    """One execution of an order.

    ``trade_id`` is the venue's and unique per venue and symbol. ``fee_units`` are minor units of ``fee_asset``,
    negative for a rebate. ``simulated`` is true for every fill that no real market made, and ``how`` then says in a
    short sentence how it came about.
    """

    trade_id: str
    price_ticks: int
    quantity_lots: int
    liquidity: Liquidity
    fee_units: int
    fee_asset: str
    simulated: bool = False
    how: str = ""


T = TypeVar("T")


class RiskApproved(Struct, Generic[T], frozen=True):
    """Proof that risk approved ``subject`` and reserved what it needs. Only the risk core makes one."""

    subject: T
