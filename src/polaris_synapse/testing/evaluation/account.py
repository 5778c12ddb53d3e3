"""A paper account of one market for the baselines: integers, the agents' own costs, fills one step after the wish."""

from __future__ import annotations

from typing import Final

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import MarketSummary
from polaris_synapse.domain.orders import Side

PPM: Final = 1_000_000


def fill_ticks(step: MarketSummary, side: Side, slippage_ppm: int) -> int:
    """What a marketable order gets at a step: the touch, made worse by the slippage, rounded against the order."""
    if side is Side.BUY:
        return -(-step.ask_ticks * (PPM + slippage_ppm) // PPM)
    return step.bid_ticks * (PPM - slippage_ppm) // PPM


def fee_units(instrument: Instrument, notional_units: int) -> int:
    """The taker fee, rounded up to the minor unit as everywhere on the desk."""
    return -(-notional_units * instrument.taker_fee_ppm // PPM)


class PaperAccount:
    """Cash in quote minor units and a holding in lots."""

    def __init__(self, instrument: Instrument, cash_units: int, slippage_ppm: int) -> None:
        self._instrument = instrument
        self._slippage_ppm = slippage_ppm
        self.cash_units = cash_units
        self.lots = 0
        self.trades = 0
        self.turnover_units = 0
        self.fees_units = 0

    def equity_units(self, half_ticks: int) -> int:
        """Cash and the holding at the mid, rounded down."""
        return self.cash_units + half_ticks * self.lots * self._instrument.notional_multiplier // 2

    def hold(self, share_ppm: int, step: MarketSummary) -> None:
        """Trade at ``step`` until the holding is worth ``share_ppm`` of the equity, as far as money and grid allow."""
        half = step.bid_ticks + step.ask_ticks
        unit = self._instrument.notional_multiplier
        wanted_units = self.equity_units(half) * share_ppm // PPM
        change = wanted_units * 2 // (half * unit) - self.lots
        if change > 0:
            self._buy(change, step)
        elif change < 0:
            self._sell(-change, step)

    def _buy(self, lots: int, step: MarketSummary) -> None:
        price = fill_ticks(step, Side.BUY, self._slippage_ppm)
        each = price * self._instrument.notional_multiplier
        # The fee comes out of the same cash.
        lots = min(lots, self.cash_units * PPM // (each * (PPM + self._instrument.taker_fee_ppm)))
        self._trade(lots, lots * each, -1)

    def _sell(self, lots: int, step: MarketSummary) -> None:
        price = fill_ticks(step, Side.SELL, self._slippage_ppm)
        self._trade(-lots, lots * price * self._instrument.notional_multiplier, 1)

    def _trade(self, lots: int, notional_units: int, sign: int) -> None:
        if not lots or notional_units < self._instrument.min_notional_units:
            return
        fee = fee_units(self._instrument, notional_units)
        self.cash_units += sign * notional_units - fee
        self.lots += lots
        self.trades += 1
        self.turnover_units += notional_units
        self.fees_units += fee
