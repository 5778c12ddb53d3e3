"""Orders as clients read them."""

from __future__ import annotations

import pytest

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import Order, OrderRequest, OrderState, OrderType, Side
from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.order_gateway.viewing import order_view

INSTRUMENT = Instrument(
    symbol="BTCUSDT", base=Asset("BTC", 8), quote=Asset("USDT", 8), tick_units=1_000_000, lot_units=1_000
)
REQUEST = OrderRequest(
    account="alice", client_order_id="c-1", symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, quantity_lots=1_500
)


@pytest.mark.parametrize("state", list(OrderState))
@pytest.mark.parametrize("lots", [0, 1_500])
@pytest.mark.parametrize("filled_lots", [0, 500, 1_500])
def test_what_is_open_follows_from_the_state_and_the_fills(state: OrderState, lots: int, filled_lots: int) -> None:
    """An order by quote amount has no quantity of its own; what has ended is not open, whatever is left of it."""
    notional = filled_lots * 6_000_000 * INSTRUMENT.notional_multiplier
    order = Order(
        order_id=7,
        request=REQUEST,
        venue="paper",
        state=state,
        quantity_lots=lots,
        price_ticks=6_000_000,
        stop_price_ticks=0,
        filled_lots=filled_lots,
        filled_notional_units=notional,
        reason=Reason.NONE if filled_lots else Reason.INSUFFICIENT_FUNDS,
    )
    view = order_view(order, INSTRUMENT)
    assert view.quantity == ("0.015" if lots else "")
    assert (view.price, view.stop_price) == ("60000", "")
    assert view.filled_quantity == INSTRUMENT.format_quantity(filled_lots)
    assert view.open_quantity == INSTRUMENT.format_quantity(order.open_lots)
    assert view.open == (state not in {"FILLED", "CANCELLED", "EXPIRED", "REJECTED", "REFUSED"})
    assert view.filled_notional == {0: "0", 500: "300", 1_500: "900"}[filled_lots]
    assert view.average_price == ("60000" if filled_lots else "")
    if filled_lots:
        assert (view.reason_code, view.reason, view.message) == (0, "NONE", "")
    else:
        said = Reason.INSUFFICIENT_FUNDS
        assert (view.reason_code, view.reason, view.message) == (said.value, "INSUFFICIENT_FUNDS", explain(said))
