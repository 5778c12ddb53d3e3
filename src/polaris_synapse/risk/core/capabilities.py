"""What each venue takes, in one table. What it does not take is refused with its own reason, never dropped."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.domain.instruments import INTERNAL_VENUE, PAPER_VENUE
from polaris_synapse.domain.orders import OrderRequest, OrderType, PostOnly, TimeInForce


class Capabilities(Struct, frozen=True, kw_only=True):
    """What orders a venue takes. ``own_orders_meet``: two orders of one account can match each other there.

    Where they cannot (the paper venue fills against a mirrored market), every self-trade prevention mode holds already.
    """

    types: frozenset[OrderType]
    times_in_force: frozenset[TimeInForce]
    post_only: frozenset[PostOnly]
    quote_amount: bool
    iceberg: bool
    min_quantity: bool
    own_orders_meet: bool
    order_lists: bool = False


CAPABILITIES: Final[dict[str, Capabilities]] = {
    INTERNAL_VENUE: Capabilities(
        types=frozenset(OrderType),
        times_in_force=frozenset(TimeInForce),
        post_only=frozenset(PostOnly),
        quote_amount=True,
        iceberg=True,
        min_quantity=True,
        own_orders_meet=True,
        order_lists=True,
    ),
    PAPER_VENUE: Capabilities(
        types=frozenset(OrderType),
        times_in_force=frozenset(TimeInForce),
        post_only=frozenset(PostOnly),
        quote_amount=True,
        iceberg=True,
        min_quantity=True,
        own_orders_meet=False,
        order_lists=True,
    ),
}


def missing_feature(request: OrderRequest, venue: Capabilities) -> str:
    """The feature of an order that a venue does not offer, in words; empty when it offers all."""
    if request.post_only not in venue.post_only:
        return f"post-only {request.post_only}"
    if request.quote_amount_units and not venue.quote_amount:
        return "orders by quote amount"
    if request.display_lots and not venue.iceberg:
        return "iceberg orders (a displayed quantity)"
    if request.min_quantity_lots and not venue.min_quantity:
        return "a minimum quantity"
    return ""
