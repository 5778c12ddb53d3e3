"""Orders as clients write them: which fields go together."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import LIMIT_PRICED, STOP_PRICED, OrderRequest, OrderType, Side, TimeInForce
from polaris_synapse.order_gateway.order_params import OrderParams
from polaris_synapse.order_gateway.order_parsing import parse_order
from polaris_synapse.web.errors import ApiError

INSTRUMENT = Instrument(
    symbol="BTCUSDT", base=Asset("BTC", 8), quote=Asset("USDT", 8), tick_units=1_000_000, lot_units=1_000
)
#: The fields that some types need and others refuse, each with what it says and with the field that it becomes.
FIELDS: dict[str, tuple[Any, str, int]] = {
    "quantity": ("0.015", "quantity_lots", 1_500),
    "quote_amount": ("25.5", "quote_amount_units", 2_550_000_000),
    "price": ("61837.64", "price_ticks", 6_183_764),
    "stop_price": ("61000", "stop_price_ticks", 6_100_000),
    "trailing_offset": ("12.5", "trailing_offset_ticks", 1_250),
    "trailing_offset_bps": (50, "trailing_offset_bps", 50),
    "expire_time": ("2026-12-01T00:00:00Z", "expire_time_ns", 1_796_083_200 * 10**9),
}


def goes_together(kind: OrderType, force: TimeInForce | None, given: set[str]) -> bool:
    """The rule, in as few words as it has."""
    return (
        ("quantity" in given) != ("quote_amount" in given)
        and ("quote_amount" not in given or kind is OrderType.MARKET)
        and ("price" in given) == (kind in LIMIT_PRICED)
        and ("stop_price" in given) == (kind in STOP_PRICED)
        and len(given & {"trailing_offset", "trailing_offset_bps"}) == (kind is OrderType.TRAILING_STOP)
        and ("expire_time" in given) == (force is TimeInForce.GTD)
    )


def parse(kind: OrderType, force: TimeInForce | None, given: set[str], **more: Any) -> OrderRequest:
    """The order of a type with some of the fields."""
    values = {name: FIELDS[name][0] for name in given}
    params = OrderParams(symbol="BTCUSDT", side=Side.SELL, type=kind, time_in_force=force, **values, **more)
    return parse_order(params, INSTRUMENT, account="alice", client_order_id="c-1")


@pytest.mark.parametrize("kind", list(OrderType))
def test_each_type_takes_the_fields_that_it_needs_and_no_others(kind: OrderType) -> None:
    """Whatever is given of them: what goes together becomes the order's own numbers, the rest is refused."""
    taken = 0
    for force, chosen in product((None, *TimeInForce), product((False, True), repeat=len(FIELDS))):
        given = {name for name, is_given in zip(FIELDS, chosen, strict=True) if is_given}
        if not goes_together(kind, force, given):
            with pytest.raises(ApiError):
                parse(kind, force, given)
            continue
        taken += 1
        order = parse(kind, force, given)
        for name, (_, field, value) in FIELDS.items():
            assert getattr(order, field) == (value if name in given else 0), (given, field)
        usual = TimeInForce.IOC if kind is OrderType.MARKET else TimeInForce.GTC
        assert order.time_in_force is (force or usual)
    assert taken >= len(TimeInForce) + 1


@pytest.mark.parametrize("name", ["display_quantity", "min_quantity"])
def test_a_part_of_an_order_is_not_larger_than_the_order(name: str) -> None:
    """As much as all of it is a part."""
    assert parse(OrderType.LIMIT, None, {"quantity", "price"}, **{name: "0.015"}).quantity_lots == 1_500
    with pytest.raises(ApiError, match=f"{name} is larger than quantity"):
        parse(OrderType.LIMIT, None, {"quantity", "price"}, **{name: "0.01501"})
