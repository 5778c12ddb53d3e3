"""Settings turned into domain values: instruments, limits, mandates, agents. Text becomes integers here, exactly."""

from __future__ import annotations

import msgspec

from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.settings import (
    AgentSection,
    DeskSettings,
    FeeTierSettings,
    InstrumentSettings,
    LimitSettings,
    MandateSettings,
)
from polaris_synapse.domain.instruments import Instrument, InstrumentError
from polaris_synapse.domain.messages import AgentSettings, FeeTier, Mandate, RiskLimits
from polaris_synapse.domain.money import Asset, MoneyError, parse_amount, parse_units


def assets_of(settings: DeskSettings) -> dict[str, Asset]:
    """Every asset by its code."""
    return {asset.code: Asset(code=asset.code, decimals=asset.decimals) for asset in settings.assets}


def instruments_of(settings: DeskSettings) -> tuple[Instrument, ...]:
    """Every instrument. Raises ConfigurationError where a size does not fit its assets."""
    assets = assets_of(settings)
    return tuple(_instrument(entry, assets) for entry in settings.instruments)


def _instrument(entry: InstrumentSettings, assets: dict[str, Asset]) -> Instrument:
    base, quote = assets[entry.base], assets[entry.quote]
    try:
        grid = Instrument(
            symbol=entry.symbol,
            base=base,
            quote=quote,
            tick_units=parse_amount(entry.tick_size, quote),
            lot_units=parse_amount(entry.lot_size, base),
            venue=entry.venue,
            reference_symbol=entry.reference_symbol or "",
            min_notional_units=parse_amount(entry.min_notional, quote),
            maker_fee_ppm=entry.maker_fee_ppm,
            taker_fee_ppm=entry.taker_fee_ppm,
            price_band_ppm=entry.price_band_ppm,
            interruption_ppm=entry.interruption_ppm,
            interruption_seconds=entry.interruption_seconds,
        )
        smallest = grid.parse_quantity(entry.min_quantity) if entry.min_quantity else grid.min_quantity_lots
        largest = grid.parse_quantity(entry.max_quantity) if entry.max_quantity else grid.max_quantity_lots
    except (MoneyError, InstrumentError, ValueError) as error:
        raise ConfigurationError(f"The instrument {entry.symbol} is not usable: {error}.") from None
    if not 0 < smallest <= largest:
        raise ConfigurationError(f"The instrument {entry.symbol} is not usable: min_quantity is above max_quantity.")
    return msgspec.structs.replace(grid, min_quantity_lots=smallest, max_quantity_lots=largest)


def limits_of(entry: LimitSettings, valuation: Asset) -> RiskLimits:
    """One account's limits in minor units of the valuation asset."""
    return RiskLimits(
        order_value_units_max=_units(entry.order_value_max, valuation),
        position_value_units_max=_units(entry.position_value_max, valuation),
        exposure_units_max=_units(entry.exposure_max, valuation),
        daily_loss_units_max=_units(entry.daily_loss_max, valuation),
        drawdown_ppm_max=entry.drawdown_ppm_max or 0,
        concentration_ppm_max=entry.concentration_ppm_max or 0,
        leverage_ppm_max=entry.leverage_ppm_max,
        price_collar_ppm=entry.price_collar_ppm,
        market_data_age_seconds_max=entry.market_data_age_seconds_max,
        messages_per_second_max=entry.messages_per_second_max,
        message_burst_max=entry.message_burst_max,
        repeated_orders_max=entry.repeated_orders_max,
        repeated_order_window_seconds=entry.repeated_order_window_seconds,
        open_orders_max=entry.open_orders_max,
        breaker_mark_jump_ppm=entry.breaker_mark_jump_ppm,
    )


def fee_tiers_of(tiers: tuple[FeeTierSettings, ...], valuation: Asset) -> tuple[FeeTier, ...]:
    """Fee tiers with their volumes in minor units of the valuation asset."""
    return tuple(
        FeeTier(volume_units_min=_units(tier.volume_min, valuation), maker_ppm=tier.maker_ppm, taker_ppm=tier.taker_ppm)
        for tier in tiers
    )


def mandate_of(entry: MandateSettings, valuation: Asset) -> Mandate:
    """An agent's mandate in minor units of the valuation asset."""
    return Mandate(
        account=entry.account,
        agent=entry.agent,
        symbols=entry.symbols,
        order_value_units_max=_units(entry.order_value_max, valuation),
        daily_value_units_max=_units(entry.daily_value_max, valuation),
        approval_above_units=_units(entry.approval_above, valuation),
    )


def agent_of(entry: AgentSection) -> AgentSettings:
    """The analyst's settings as its core takes them."""
    return AgentSettings(
        agent=entry.name,
        account=entry.account,
        symbols=entry.symbols,
        interval_seconds=entry.interval_seconds,
        confidence_ppm_min=entry.confidence_ppm_min,
        position_ppm_of_equity_max=entry.position_ppm_of_equity_max,
        enabled=entry.enabled,
        candle_seconds=entry.candle_seconds,
        cooldown_seconds=entry.cooldown_seconds,
        horizon_seconds=entry.horizon_seconds,
        slippage_ppm_max=entry.slippage_ppm_max,
        model_roles=entry.model_roles,
        model_seconds_max=entry.model_seconds_max,
    )


def _units(text: str | None, asset: Asset) -> int:
    if text is None:
        return 0
    try:
        return parse_units(text, asset.decimals)
    except MoneyError as error:
        raise ConfigurationError(f"The amount {text} is not usable: {error}.") from None
