"""Settings of the market data room."""

from __future__ import annotations

from msgspec import Struct, field

from polaris_synapse.market_data.core.settings import MarketDataCoreSettings
from polaris_synapse.market_data.feeds.binance_settings import BinanceFeedSettings
from polaris_synapse.market_data.simulation.settings import SimulationSettings

FEEDS = ("auto", "binance", "replay", "simulated")


class MarketDataSettings(Struct, frozen=True, kw_only=True):
    """Which feed, and how much is kept to look at.

    ``feed``: ``auto`` is live where Binance answers within ``auto_seconds_max``, else simulated. ``replay_speed``: 0 is
    as fast as possible. ``record_folder``: where the live feed's raw frames go, empty for nowhere. ``candles_max`` are
    kept per symbol and interval, ``recent_trades_max`` per symbol.
    """

    feed: str = "auto"
    auto_seconds_max: float = 3.0
    replay_paths: tuple[str, ...] = ()
    replay_speed: float = 1.0
    replay_loop: bool = True
    simulation_seed: int = 1
    record_folder: str = ""
    record_file_bytes_max: int = 256 * 1024 * 1024
    record_files_max: int = 24
    recent_trades_max: int = 1000
    candles_max: int = 1500
    view_backlog_messages_max: int = 50_000
    stream_connections_max: int = 64
    stream_backlog_messages_max: int = 2000
    core: MarketDataCoreSettings = field(default_factory=MarketDataCoreSettings)
    binance: BinanceFeedSettings = field(default_factory=BinanceFeedSettings)
    simulation: SimulationSettings = field(default_factory=SimulationSettings)

    def __post_init__(self) -> None:
        if self.feed not in FEEDS:
            raise ValueError(f"market data: feed is one of {', '.join(FEEDS)}, not {self.feed!r}")
        if self.feed == "replay" and not self.replay_paths:
            raise ValueError("market data: the replay feed needs replay_paths")
        if self.feed != "replay" and self.replay_paths:
            raise ValueError(f"market data: replay_paths contradict the feed {self.feed}")
        if self.replay_speed < 0:
            raise ValueError("market data: replay_speed is 0 (as fast as possible) or positive")
        for name in ("auto_seconds_max", "recent_trades_max", "candles_max", "view_backlog_messages_max",
                     "stream_connections_max", "stream_backlog_messages_max", "record_file_bytes_max",
                     "record_files_max"):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ValueError(f"market data: {name} must be positive")
