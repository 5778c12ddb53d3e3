"""Properties of positions and of the ledger's fills."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.risk.bench import BTCUSDT

from polaris_synapse.domain.instruments import fee_units
from polaris_synapse.domain.orders import Fill, Liquidity, Side
from polaris_synapse.risk.core.positions import take_fill
from polaris_synapse.risk.core.state import Desk, Market, Position, RiskState

FILLS = st.lists(
    st.tuples(
        st.sampled_from(list(Side)),
        st.integers(1, 10**7),
        st.integers(1, 10**6),
        st.sampled_from([0, 1_000, -200]),
        st.sampled_from(["BTC", "USDT"]),
    ),
    max_size=30,
)


@given(FILLS)
def test_profit_less_cost_is_exactly_the_cash_flow(fills: list[tuple[Side, int, int, int, str]]) -> None:
    """Whatever is rounded on the way, realised profit minus cost equals net quote cash, and a flat position costs 0."""
    market = Market(
        instrument=BTCUSDT,
        symbol="BTCUSDT",
        base="BTC",
        quote="USDT",
        lot_units=BTCUSDT.lot_units,
        multiplier=BTCUSDT.notional_multiplier,
        base_unit_count=10**8,
    )
    desk = Desk(RiskState(partition=0, valuation_asset="USDT"), 10)
    position, cash, base, realised = Position(), 0, 0, 0
    for side, price, lots, fee_ppm, fee_asset in fills:
        sign = 1 if side is Side.BUY else -1
        notional = BTCUSDT.notional_units(price, lots)
        received = BTCUSDT.base_units(lots) if fee_asset == "BTC" else notional
        fee = fee_units(received, fee_ppm)
        cash -= sign * notional + (fee if fee_asset == "USDT" else 0)
        base += sign * BTCUSDT.base_units(lots) - (fee if fee_asset == "BTC" else 0)
        fill = Fill(
            trade_id="t",
            price_ticks=price,
            quantity_lots=lots,
            liquidity=Liquidity.TAKER,
            fee_units=fee,
            fee_asset=fee_asset,
        )
        realised += take_fill(desk, position, market, side, fill)
        assert position.realised_pnl_units - position.cost_units == cash
        assert position.base_units == base
        assert position.realised_pnl_units == realised
        assert position.base_units != 0 or position.cost_units == 0
