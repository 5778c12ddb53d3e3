"""Order lists: orders that depend on each other, and which orders may stand in one.

- OCO, one cancels the other: two orders of one side and quantity, a *profit* leg (LIMIT, TAKE_PROFIT,
  TAKE_PROFIT_LIMIT) and a *stop* leg (STOP, STOP_LIMIT, TRAILING_STOP). When one trades, triggers or ends, the other
  ends, so together they never fill more than the quantity.
- OTO, one triggers the other: a *working* leg that is placed at once and a *waiting* one that is placed when the
  working leg has filled completely. Where the working leg ends otherwise, the waiting one ends too.
- OTOCO, one triggers an OCO: a working leg, and an OCO that waits.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from polaris_synapse.domain.orders import OrderRequest, OrderType, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason

CLIENT_LIST_ID_CHARACTERS_MAX: Final = 64

PROFIT_TYPES: Final = frozenset({OrderType.LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT})
STOP_TYPES: Final = frozenset({OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP})
WORKING_TYPES: Final = frozenset({OrderType.LIMIT, OrderType.MARKET})
_IMMEDIATE: Final = frozenset({TimeInForce.IOC, TimeInForce.FOK})


class ListKind(StrEnum):
    """How the orders of a list depend on each other."""

    OCO = "OCO"
    OTO = "OTO"
    OTOCO = "OTOCO"


#: How many orders a list of each kind has.
LEGS: Final = {ListKind.OCO: 2, ListKind.OTO: 2, ListKind.OTOCO: 3}


class ListState(StrEnum):
    """Where a list stands. EXECUTING is alive, the others are final."""

    EXECUTING = "EXECUTING"
    ALL_DONE = "ALL_DONE"  # every order has ended
    REJECTED = "REJECTED"  # its book or venue turned it away, and nothing of it traded
    REFUSED = "REFUSED"  # by the desk's own checks; never had exposure


class OrderListRequest(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A list as asked for. ``legs``: of OCO its two orders; of OTO and OTOCO the working order first."""

    account: str
    client_list_id: str
    kind: ListKind
    legs: tuple[OrderRequest, ...]


class OrderList(Struct, frozen=True, kw_only=True, gc=False):
    """A list as the desk knows it. ``order_ids`` are its orders in the order of the request's legs."""

    list_id: int
    request: OrderListRequest
    state: ListState
    order_ids: tuple[int, ...] = ()
    reason: Reason = Reason.NONE
    detail: str = ""
    created_time_ns: int = 0
    updated_time_ns: int = 0
    version: int = 0


def list_problem(request: OrderListRequest) -> str:
    """Why these orders make no list of this kind, in words; empty when they do. Each leg has checks of its own."""
    legs, wanted = request.legs, LEGS[request.kind]
    if not request.client_list_id or len(request.client_list_id) > CLIENT_LIST_ID_CHARACTERS_MAX:
        return f"A list needs a client list id of 1 to {CLIENT_LIST_ID_CHARACTERS_MAX} characters"
    if len(legs) != wanted:
        return f"An {request.kind} list has {wanted} orders, not {len(legs)}"
    if {leg.account for leg in legs} != {request.account} or len({leg.symbol for leg in legs}) > 1:
        return "The orders of a list are of one account and one instrument"
    if len({leg.client_order_id for leg in legs}) < wanted:
        return "Each order of a list has a client order id of its own"
    if any(leg.quote_amount_units for leg in legs):
        return "The orders of a list are sized by quantity, not by quote amount"
    if any(leg.decision_id for leg in legs):
        return "An agent's mandate covers single orders, so a decision cannot be carried out by a list"
    if request.kind is ListKind.OCO:
        return pair_problem(legs[0], legs[1])
    if legs[0].type not in WORKING_TYPES:
        return f"The working order is LIMIT or MARKET, not {legs[0].type}"
    return pair_problem(legs[1], legs[2]) if request.kind is ListKind.OTOCO else ""


def pair_problem(one: OrderRequest, other: OrderRequest) -> str:
    """Why two orders make no OCO, in words; empty when they do."""
    profit, stop = (one, other) if one.type in PROFIT_TYPES else (other, one)
    if profit.type not in PROFIT_TYPES or stop.type not in STOP_TYPES:
        return "An OCO needs a LIMIT, TAKE_PROFIT or TAKE_PROFIT_LIMIT and a STOP, STOP_LIMIT or TRAILING_STOP order"
    if one.side is not other.side or one.quantity_lots != other.quantity_lots:
        return "Both orders of an OCO have the same side and quantity"
    if any(leg.min_quantity_lots for leg in (one, other)):
        return "An order of an OCO has no minimum quantity"
    if profit.type is OrderType.LIMIT and profit.time_in_force in _IMMEDIATE:
        return f"The LIMIT order of an OCO has to rest, so it cannot be {profit.time_in_force}"
    level = profit.price_ticks if profit.type is OrderType.LIMIT else profit.stop_price_ticks
    if not stop.stop_price_ticks or not level:
        return ""
    if (level > stop.stop_price_ticks) is not (profit.side is Side.SELL) or level == stop.stop_price_ticks:
        above, below = ("profit", "stop") if profit.side is Side.SELL else ("stop", "profit")
        return f"Of an OCO to {profit.side} the {above} order lies above the {below} order"
    return ""
