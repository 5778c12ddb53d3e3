"""Limits of the market data core. Part of what makes a replay repeatable: the same settings, the same outputs."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

SECOND_NS: Final = 1_000_000_000

#: Candle intervals in seconds: 1s, 1m, 5m, 15m, 1h, 4h, 1d. All divide a day, so all are aligned to UTC.
INTERVALS_SECONDS: Final = (1, 60, 300, 900, 3600, 14_400, 86_400)


class MarketDataCoreSettings(Struct, frozen=True, kw_only=True):
    """What the core may keep and how often it may speak.

    ``levels_max``: levels kept a side. Deeper ones are forgotten, so a book that loses many levels at once may end
    before the venue's does; its top is right as long as any level is left.
    ``stale_seconds``: a book without a depth message for so long is not to be traded on.
    ``resync_seconds``: how long a book waits for its snapshot before it asks again.
    ``candle_grace_ms``: how long after its end, on the venue's clock, a candle waits for trades still on their way.
    ``carried_candles_max``: a quiet spell of more intervals than this is left out instead of filled with empty candles.
    """

    symbols_max: int = 1000
    levels_max: int = 5000
    stale_seconds: int = 5
    resync_seconds: int = 10
    marks_per_second_max: int = 4
    buffered_depths_max: int = 1000
    compared_tops_max: int = 1024
    missing_trade_ranges_max: int = 64
    candle_grace_ms: int = 250
    carried_candles_max: int = 120
    summary_levels: int = 10

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < (0 if name == "candle_grace_ms" else 1):
                raise ValueError(f"market data: {name} must be positive")
