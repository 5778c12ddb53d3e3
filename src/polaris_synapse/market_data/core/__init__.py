"""The pure core of market data: book integrity, candles, marks."""

from polaris_synapse.market_data.core.market_data import MarketDataCore
from polaris_synapse.market_data.core.settings import INTERVALS_SECONDS, MarketDataCoreSettings

__all__ = ["INTERVALS_SECONDS", "MarketDataCore", "MarketDataCoreSettings"]
