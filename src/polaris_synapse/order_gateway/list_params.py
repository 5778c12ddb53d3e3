"""Order lists as clients write them and as they read them."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.order_lists import ListKind, ListState, OrderList, OrderListRequest
from polaris_synapse.domain.orders import OrderType, PostOnly, SelfTradePrevention, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.order_gateway.order_params import Account, ClientOrderId, Decimal, OrderParams, Symbol
from polaris_synapse.order_gateway.order_parsing import parse_order
from polaris_synapse.order_gateway.viewing import iso_time
from polaris_synapse.order_gateway.views import OrderView, View
from polaris_synapse.web.errors import ApiError

#: Shorter than a client order id, since its orders' ids are made from it where they have none.
ClientListId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,60}(?!\n)$", max_length=60)]
ListId = Annotated[int, Meta(ge=1, le=2**53)]

_ORDERS_MAX: Final = 3


class ListOrderParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One order of a list, as a single one would be asked for; the account and the instrument are the list's."""

    side: Side
    type: OrderType
    quantity: Decimal
    client_order_id: ClientOrderId | None = None
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


class ListParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A list. ``orders``: of OCO its two; of OTO and OTOCO the working order first, then what waits for it.

    ``client_list_id`` is made up when absent and returned; the same one again never orders twice.
    """

    kind: ListKind
    symbol: Symbol
    orders: Annotated[list[ListOrderParams], Meta(min_length=2, max_length=_ORDERS_MAX)]
    account: Account | None = None
    client_list_id: ClientListId | None = None


class ListView(View, frozen=True, kw_only=True):
    """A list as it stands. ``order_ids`` in the order of the request."""

    list_id: int
    client_list_id: str
    account: str
    symbol: str
    kind: str
    state: str
    open: bool
    order_ids: tuple[int, ...]
    reason_code: int
    reason: str
    message: str
    detail: str
    created_time: str
    created_time_ns: int
    updated_time_ns: int
    version: int


class ListAnswer(View, frozen=True, kw_only=True):
    """A list and its orders. ``duplicate``: it existed already, and nothing was placed."""

    order_list: ListView
    orders: tuple[OrderView, ...]
    duplicate: bool = False


class ListsAnswer(View, frozen=True, kw_only=True):
    """Lists, newest first."""

    order_lists: tuple[ListView, ...]


def parse_list(params: ListParams, instrument: Instrument, *, account: str, client_list_id: str) -> OrderListRequest:
    """The list in ticks and lots. Raises ApiError with the order and the field that is wrong."""
    legs = []
    for number, order in enumerate(params.orders, start=1):
        fields = {name: getattr(order, name) for name in order.__struct_fields__}
        client_order_id = fields.pop("client_order_id") or f"{client_list_id}-{number}"
        try:
            leg = parse_order(
                OrderParams(symbol=params.symbol, **fields),
                instrument,
                account=account,
                client_order_id=client_order_id,
            )
        except ApiError as error:
            raise ApiError(error.reason, f"orders[{number - 1}]: {error.detail}") from None
        legs.append(msgspec.structs.replace(leg, client_list_id=client_list_id))
    return OrderListRequest(account=account, client_list_id=client_list_id, kind=params.kind, legs=tuple(legs))


def list_view(order_list: OrderList) -> ListView:
    """A list for clients."""
    request = order_list.request
    return ListView(
        list_id=order_list.list_id,
        client_list_id=request.client_list_id,
        account=request.account,
        symbol=request.legs[0].symbol,
        kind=request.kind,
        state=order_list.state,
        open=order_list.state is ListState.EXECUTING,
        order_ids=order_list.order_ids,
        reason_code=int(order_list.reason),
        reason=order_list.reason.name,
        message="" if order_list.reason is Reason.NONE else explain(order_list.reason),
        detail=order_list.detail,
        created_time=iso_time(order_list.created_time_ns),
        created_time_ns=order_list.created_time_ns,
        updated_time_ns=order_list.updated_time_ns,
        version=order_list.version,
    )
