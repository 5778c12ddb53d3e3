"""What an amount of any asset is worth in the valuation asset, by the marks seen so far. Whole minor units only."""

from __future__ import annotations

from bisect import insort

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.money import Asset, format_units


def rescale(units: int, decimals: int, target_decimals: int) -> int:
    """Minor units of ``decimals`` places as minor units of ``target_decimals`` places, rounded towards zero."""
    if target_decimals == decimals:
        return units
    if target_decimals > decimals:
        return units * int(10 ** (target_decimals - decimals))
    divisor = int(10 ** (decimals - target_decimals))
    return units // divisor if units >= 0 else -(-units // divisor)


class Valuation:
    """Prices assets by the instruments and marks it is given; both mappings belong to the caller's state."""

    def __init__(self, valuation_asset: Asset, instruments: dict[str, Instrument], marks: dict[str, int]) -> None:
        self._asset = valuation_asset
        self._instruments = instruments
        self._marks = marks
        self._symbols_of: dict[str, list[str]] = {}
        self._decimals_of: dict[str, int] = {}
        for instrument in instruments.values():
            self.listed(instrument)

    def listed(self, instrument: Instrument) -> None:
        """An instrument was listed: where it is quoted in the valuation asset, it prices its base."""
        self._decimals_of[instrument.base.code] = instrument.base.decimals
        self._decimals_of[instrument.quote.code] = instrument.quote.decimals
        if instrument.quote.code == self._asset.code:
            symbols = self._symbols_of.setdefault(instrument.base.code, [])
            if instrument.symbol not in symbols:
                # In the order of their names, so that a restored core asks the same one first.
                insort(symbols, instrument.symbol)

    def amount_text(self, asset_code: str, units: int) -> str:
        """An amount for people: ``"1.5 BTC"``, or its minor units where no instrument tells the asset's decimals."""
        decimals = self._decimals_of.get(asset_code)
        if decimals is None and asset_code == self._asset.code:
            decimals = self._asset.decimals
        if decimals is None:
            return f"{units} minor units of {asset_code}"
        return f"{format_units(units, decimals)} {asset_code}"

    def value_text(self, value_units: int) -> str:
        """A value for people: ``"10000 USDT"``."""
        return f"{format_units(value_units, self._asset.decimals)} {self._asset.code}"

    def value_units(self, asset_code: str, units: int) -> int | None:
        """``units`` minor units of an asset in minor units of the valuation asset; None where no mark prices it.

        The last mark counts however old it is: a rough value finds more than none.
        """
        if asset_code == self._asset.code:
            return rescale(units, self._decimals_of.get(asset_code, self._asset.decimals), self._asset.decimals)
        for symbol in self._symbols_of.get(asset_code, ()):
            mark_ticks = self._marks.get(symbol, 0)
            if mark_ticks > 0:
                instrument = self._instruments[symbol]
                sign = -1 if units < 0 else 1
                quote_units = abs(units) * mark_ticks * instrument.tick_units // instrument.base.unit_count
                return rescale(sign * quote_units, instrument.quote.decimals, self._asset.decimals)
        return None

    def notional_value_units(self, symbol: str, notional_units: int) -> int | None:
        """A trade's notional in quote minor units of ``symbol``, in minor units of the valuation asset."""
        instrument = self._instruments.get(symbol)
        if instrument is None:
            return None
        if instrument.quote.code == self._asset.code:
            return rescale(notional_units, instrument.quote.decimals, self._asset.decimals)
        return self.value_units(instrument.quote.code, notional_units)
