"""Settings of the live Binance feed."""

from __future__ import annotations

from msgspec import Struct


class BinanceFeedSettings(Struct, frozen=True, kw_only=True):
    """Where Binance is and how it is treated.

    ``silence_seconds_max``: a connection that says nothing for so long is taken for dead, also when it answers pings.
    ``connection_seconds_max``: Binance ends connections after 24 hours; the feed renews its own before that.
    ``request_weight_per_minute_max``: what of Binance's 6000 the feed may use; a snapshot costs 50, old trades 25.
    ``held_trades_max``: live trades of a symbol that wait while missed ones are fetched.
    """

    stream_url: str = "wss://stream.binance.com:9443"
    rest_url: str = "https://api.binance.com"
    open_seconds_max: float = 10.0
    silence_seconds_max: float = 15.0
    ping_seconds: float = 10.0
    connection_seconds_max: float = 23.5 * 3600
    reconnect_seconds_min: float = 0.5
    reconnect_seconds_max: float = 30.0
    request_seconds_max: float = 5.0
    request_weight_per_minute_max: int = 3000
    resync_seconds_min: float = 1.0
    snapshot_levels: int = 1000
    backfill_trades_max: int = 10_000
    held_trades_max: int = 20_000
    clock_check_seconds: float = 60.0
    frame_bytes_max: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not isinstance(value, str) and value <= 0:
                raise ValueError(f"binance feed: {name} must be positive")
        if self.request_weight_per_minute_max < 50:
            raise ValueError("binance feed: request_weight_per_minute_max must allow at least one snapshot, 50")
