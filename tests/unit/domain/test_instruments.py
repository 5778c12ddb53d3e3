"""Instruments: prices on ticks, quantities on lots, notional exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_synapse.domain.instruments import Instrument, InstrumentError
from polaris_synapse.domain.money import Asset

USDT, BTC = Asset("USDT", 8), Asset("BTC", 8)
BTCUSDT = Instrument(symbol="BTCUSDT", base=BTC, quote=USDT, tick_units=1_000_000, lot_units=1_000)


def test_price_and_quantity_text_become_ticks_and_lots() -> None:
    """Text on the grid turns into the grid's integers and back."""
    assert BTCUSDT.parse_price("61837.64") == 6_183_764
    assert BTCUSDT.parse_quantity("0.02") == 2_000
    assert BTCUSDT.format_price(6_183_764) == "61837.64"
    assert BTCUSDT.format_quantity(2_000) == "0.02"
    assert (BTCUSDT.tick_size, BTCUSDT.lot_size) == ("0.01", "0.00001")


def test_off_the_grid_is_refused_by_field() -> None:
    """A price between ticks or a quantity between lots is refused and says which of the two it is."""
    with pytest.raises(InstrumentError) as price:
        BTCUSDT.parse_price("61837.645")
    assert price.value.field == "price"
    with pytest.raises(InstrumentError) as quantity:
        BTCUSDT.parse_quantity("0.000001")
    assert quantity.value.field == "quantity"


@given(st.integers(0, 10**9), st.integers(0, 10**12))
def test_notional_is_exact(ticks: int, lots: int) -> None:
    """The notional in minor units is price times quantity without any rounding."""
    price_units, base_units = ticks * BTCUSDT.tick_units, BTCUSDT.base_units(lots)
    assert BTCUSDT.notional_units(ticks, lots) * 10**8 == price_units * base_units


def test_a_grid_that_would_lose_money_is_refused() -> None:
    """When one tick times one lot is no whole minor unit of the quote, the instrument cannot exist."""
    with pytest.raises(ValueError, match="more decimals"):
        Instrument(symbol="X", base=BTC, quote=Asset("USD", 2), tick_units=1, lot_units=1)
