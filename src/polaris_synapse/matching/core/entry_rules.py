"""Which fields fit together in a SUBMIT row, and what a triggered order becomes."""

from __future__ import annotations

from typing import Final

from polaris_synapse.matching.core.port import (
    COLUMN_MAX,
    COMMAND_COLUMNS,
    FORCE_SHIFT,
    GTC,
    LIMIT,
    MARKET,
    POST_REPRICE,
    POST_SHIFT,
    PRICE_MAX,
    QUANTITY_MAX,
    STOP,
    STOP_LIMIT,
    STP_DECREMENT,
    STP_SHIFT,
    TAKE_PROFIT,
    TAKE_PROFIT_LIMIT,
    TRAILING_BPS,
    TRAILING_STOP,
    TYPE_SHIFT,
    CommandRow,
)

_LIMIT_PRICED: Final = frozenset({LIMIT, STOP_LIMIT, TAKE_PROFIT_LIMIT})
_STOP_PRICED: Final = frozenset({STOP, STOP_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT})
_FLAGS_MAX: Final = 2 * TRAILING_BPS - 1
_BPS_MAX: Final = 10_000
_TYPE_MASK: Final = 0b111 << TYPE_SHIFT


def fields_fit(row: CommandRow) -> bool:
    """Whether the columns of a SUBMIT row make an order.

    A limit price exactly for the types that have one; a stop price or a trailing distance exactly for those; a quantity
    or (MARKET only) a quote budget, not both. Post-only, iceberg, and an end by time are for limit-priced orders that
    may rest; a stop that becomes a market order may end by time while it waits. A post-only order has no minimum
    quantity, since it never fills at once.
    """
    if len(row) != COMMAND_COLUMNS:
        return False
    _, flags, order_id, account, price, quantity, stop, trailing, display, minimum, budget, expire = row
    type_, force = flags >> TYPE_SHIFT & 7, flags >> FORCE_SHIFT & 3
    post, prevention = flags >> POST_SHIFT & 3, flags >> STP_SHIFT & 7
    limit_priced = type_ in _LIMIT_PRICED
    if not 0 <= flags <= _FLAGS_MAX or type_ > TRAILING_STOP or force > 2:
        return False
    if post > POST_REPRICE or prevention > STP_DECREMENT:
        return False
    if not 0 < order_id < COLUMN_MAX or not 0 <= account < COLUMN_MAX or not 0 <= expire < COLUMN_MAX:
        return False
    if not (0 < price < PRICE_MAX if limit_priced else price == 0):
        return False
    if not (0 < stop < PRICE_MAX if type_ in _STOP_PRICED else stop == 0):
        return False
    trailing_max = _BPS_MAX if flags & TRAILING_BPS else PRICE_MAX
    if not (0 < trailing < trailing_max if type_ == TRAILING_STOP else trailing == 0 and not flags & TRAILING_BPS):
        return False
    if budget:
        return type_ == MARKET and 0 < budget < COLUMN_MAX and not (quantity or display or minimum or expire or post)
    if not 0 < quantity < QUANTITY_MAX or not 0 <= display <= quantity or not 0 <= minimum <= quantity:
        return False
    rests = limit_priced and force == GTC
    if (post or display) and not rests:
        return False
    if expire and (type_ == MARKET or (type_ == LIMIT and force != GTC)):
        return False
    return not (post and minimum)


def triggered_flags(flags: int) -> int:
    """The flags of an order whose trigger fired: a limit order where it has a limit price, otherwise a market order."""
    type_ = LIMIT if flags >> TYPE_SHIFT & 7 in _LIMIT_PRICED else MARKET
    return flags & ~_TYPE_MASK & ~TRAILING_BPS | type_ << TYPE_SHIFT
