"""Amounts in the sentences of refusals: exact decimal text with the asset's code."""

from __future__ import annotations

from polaris_synapse.domain.money import format_units
from polaris_synapse.risk.core.state import Desk, Market


def amount(desk: Desk, asset: str, units: int) -> str:
    """``"12.5 USDT"``; minor units where the asset's decimals are not known."""
    decimals = desk.state.decimals.get(asset)
    return f"{units} minor units of {asset}" if decimals is None else f"{format_units(units, decimals)} {asset}"


def value(desk: Desk, units: int) -> str:
    """An amount of the valuation asset."""
    return amount(desk, desk.state.valuation_asset, units)


def quantity(market: Market, lots: int) -> str:
    """Lots as a quantity of the base asset."""
    return f"{market.instrument.format_quantity(lots)} {market.base}"


def price(market: Market, ticks: int) -> str:
    """Ticks as a price in the quote asset."""
    return f"{market.instrument.format_price(ticks)} {market.quote}"


def percent(ppm: int) -> str:
    """Parts per million as a percentage: ``50000 -> "5 %"``."""
    return f"{format_units(ppm, 4)} %"
