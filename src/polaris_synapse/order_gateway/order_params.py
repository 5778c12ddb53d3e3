"""Orders as clients write them: decimal text, names, ISO times. ``order_parsing`` makes the desk's integers of them."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from polaris_synapse.domain.orders import OrderType, PostOnly, SelfTradePrevention, Side, TimeInForce

#: Ticks, lots and minor units that a request may carry: far above any market, far below 64 bits.
COUNT_MAX: Final = 10**15
#: Minor units that one movement of funds may carry.
FUNDS_UNITS_MAX: Final = 10**18
#: Orders in one batch: what a body of the usual size holds.
BATCH_ORDERS_MAX: Final = 100

_TEXT_PATTERN: Final = r"^[0-9]{1,30}(\.[0-9]{1,18})?$"
Decimal = Annotated[
    str, Meta(max_length=40, extra_json_schema={"pattern": _TEXT_PATTERN, "examples": ["61837.64", "0.015"]})
]
Symbol = Annotated[str, Meta(pattern=r"^[A-Z0-9][A-Z0-9._-]{0,31}(?!\n)$", max_length=32)]
Account = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?!\n)$", max_length=64)]
ClientOrderId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}(?!\n)$", max_length=64)]
ShortId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{0,64}(?!\n)$", max_length=64)]
OrderId = Annotated[int, Meta(ge=1, le=2**53)]


class OrderParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An order as asked for. Every price, quantity and amount is decimal text.

    ``account`` may be left out by whoever has just one; ``client_order_id`` is made up when absent and returned.
    ``quantity`` in the base asset, or for MARKET ``quote_amount`` in the quote asset. ``trailing_offset`` is a price
    difference, ``trailing_offset_bps`` hundredths of a percent.
    """

    symbol: Symbol
    side: Side
    type: OrderType
    account: Account | None = None
    client_order_id: ClientOrderId | None = None
    quantity: Decimal | None = None
    quote_amount: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trailing_offset: Decimal | None = None
    trailing_offset_bps: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    time_in_force: TimeInForce | None = None
    expire_time: Annotated[str, Meta(max_length=32)] | None = None
    post_only: PostOnly = PostOnly.NO
    display_quantity: Decimal | None = None
    min_quantity: Decimal | None = None
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.EXPIRE_TAKER
    venue: ShortId = ""
    decision_id: ShortId = ""
    approval_id: ShortId = ""


class BatchParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Orders to be placed together, each judged on its own."""

    orders: Annotated[list[OrderParams], Meta(min_length=1, max_length=BATCH_ORDERS_MAX)]


class ReplaceParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to change of an open order; what is absent stays. ``quantity`` is the new total, filled part included."""

    account: Account | None = None
    quantity: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
