"""Answers in few words, for programs that place many orders and keep their own account of them."""

from __future__ import annotations

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.orders import Order, OrderState
from polaris_synapse.order_gateway.views import OrderAnswer, View


class BriefAnswer(View, frozen=True, kw_only=True, omit_defaults=True):
    """An order that was taken, in few words: who it is and how far it has come."""

    order_id: int
    client_order_id: str
    state: OrderState
    filled_quantity: str
    duplicate: bool = False


def brief_answer(order: Order, instrument: Instrument, *, duplicate: bool) -> BriefAnswer:
    """An order for clients that want to know little."""
    return BriefAnswer(
        order_id=order.order_id,
        client_order_id=order.request.client_order_id,
        state=order.state,
        filled_quantity=instrument.format_quantity(order.filled_lots),
        duplicate=duplicate,
    )


def shortened(answer: OrderAnswer) -> BriefAnswer:
    """A whole answer in few words."""
    order = answer.order
    return BriefAnswer(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        state=OrderState(order.state),
        filled_quantity=order.filled_quantity,
        duplicate=answer.duplicate,
    )
