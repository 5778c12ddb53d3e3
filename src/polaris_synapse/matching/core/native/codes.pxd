"""The numbers of the port and of the reasons; ``book.CODES`` tells them, and ``books`` compares them at import."""

from libc.stdint cimport int64_t

# port.EventKind
cdef enum:
    ACCEPTED = 1
    RESTED = 2
    TRADE = 3
    AUCTION_TRADE = 4
    REFILLED = 5
    CANCELLED = 6
    EXPIRED = 7
    REJECTED = 8
    ARMED = 9
    TRIGGERED = 10
    REPLACED = 11
    REDUCED = 12
    DECREMENTED = 13
    REPRICED = 14
    CANCEL_REFUSED = 15
    AMEND_REFUSED = 16
    STATUS = 17

cdef enum:
    TRADING = 0
    HALTED = 1
    CANCEL_ONLY = 2
    AUCTION = 3
    LIMIT = 0
    MARKET = 1
    STOP = 2
    STOP_LIMIT = 3
    TAKE_PROFIT = 4
    TAKE_PROFIT_LIMIT = 5
    TRAILING_STOP = 6
    GTC = 0
    FOK = 2
    POST_REJECT = 1
    POST_REPRICE = 2
    STP_TAKER = 1
    STP_MAKER = 2
    STP_BOTH = 3
    STP_DECREMENT = 4
    TYPE_SHIFT = 1
    FORCE_SHIFT = 4
    POST_SHIFT = 6
    STP_SHIFT = 8
    TRAILING_BPS = 2048
    RESTING_BITS = 62
    BASIS_POINTS = 10000
    PARTS_PER_MILLION = 1000000

cdef enum:
    ORDER_FIELDS_INVALID = 2038
    REPLACE_INVALID = 2141
    BOOK_POST_ONLY_WOULD_TAKE = 4000
    BOOK_FILL_OR_KILL_UNFILLABLE = 4001
    BOOK_NO_LIQUIDITY = 4002
    BOOK_IMMEDIATE_REMAINDER = 4003
    BOOK_SELF_TRADE_PREVENTED = 4004
    BOOK_NOT_OPEN = 4005
    BOOK_PRICE_BAND = 4006
    BOOK_UNKNOWN_ORDER = 4007
    BOOK_DUPLICATE_ORDER = 4008
    BOOK_EXPIRED = 4009
    BOOK_MIN_QUANTITY_UNMET = 4010
    BOOK_TRIGGER_IMMEDIATE = 4011
    BOOK_FULL = 4012
    BOOK_COMMAND_LIMIT = 4014

# port.PRICE_MAX, QUANTITY_MAX and COLUMN_MAX.
cdef inline int64_t price_max() noexcept:
    return <int64_t>1 << 40


cdef inline int64_t quantity_max() noexcept:
    return <int64_t>1 << 42


cdef inline int64_t column_max() noexcept:
    return <int64_t>1 << 62
