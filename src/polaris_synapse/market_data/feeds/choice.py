"""Which feed the desk runs on, and the one line that says so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import anyio
import httpx2
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.market_data.feeds.binance import BinanceFeed
from polaris_synapse.market_data.feeds.binance_settings import BinanceFeedSettings
from polaris_synapse.market_data.feeds.port import Feed
from polaris_synapse.market_data.feeds.replay import ReplayFeed
from polaris_synapse.market_data.feeds.simulated import SimulatedFeed
from polaris_synapse.market_data.recording import Recorder
from polaris_synapse.market_data.settings import MarketDataSettings


async def binance_problem(settings: BinanceFeedSettings, symbol: str, seconds_max: float) -> str:
    """Why Binance cannot be used from here, in a few words; empty when both its REST and its stream answer in time."""
    try:
        with anyio.fail_after(seconds_max):
            async with httpx2.AsyncClient(base_url=settings.rest_url, timeout=seconds_max) as client:
                response = await client.get("/api/v3/time")
            if response.status_code != 200:
                # 451 and 403: Binance does not serve this place.
                return f"Binance answered {response.status_code}"
            async with connect(
                f"{settings.stream_url}/stream?streams={symbol.lower()}@bookTicker",
                open_timeout=seconds_max,
                close_timeout=0.2,
            ):
                return ""
    except TimeoutError:
        return f"Binance did not answer within {seconds_max:g} s"
    except (OSError, httpx2.HTTPError, WebSocketException) as error:
        return f"Binance cannot be reached ({type(error).__name__})"


async def choose_feed(
    settings: MarketDataSettings, instruments: Iterable[Instrument], clock: Clock
) -> tuple[Feed, str]:
    """The feed that the settings ask for, and one sentence for people. Raises ValueError for an impossible choice."""
    known = tuple(instruments)
    if not known:
        raise ValueError("market data: there is no instrument to feed")
    if settings.feed == "replay":
        paths = [Path(path) for path in settings.replay_paths]
        for path in paths:
            if not path.is_file():
                raise ValueError(f"market data: there is no recording {path}")
        feed = ReplayFeed(paths, known, clock, speed=settings.replay_speed, loop=settings.replay_loop)
        pace = f"at {settings.replay_speed:g} times its speed" if settings.replay_speed else "as fast as possible"
        return feed, f"Market data: replay of {', '.join(path.name for path in paths)}, {pace}."
    if settings.feed == "simulated":
        return _simulated(settings, known, clock), f"Market data: simulated market, seed {settings.simulation_seed}."
    if settings.feed == "binance":
        return _live(settings, known, clock), f"Market data: live from Binance ({settings.binance.stream_url})."
    problem = await binance_problem(settings.binance, known[0].symbol, settings.auto_seconds_max)
    if not problem:
        return _live(settings, known, clock), "Market data: live from Binance, which answers from here."
    sentence = f"Market data: simulated market, seed {settings.simulation_seed}, because {problem}."
    return _simulated(settings, known, clock), sentence


def _simulated(settings: MarketDataSettings, instruments: tuple[Instrument, ...], clock: Clock) -> Feed:
    return SimulatedFeed(instruments, clock, seed=settings.simulation_seed, settings=settings.simulation)


def _live(settings: MarketDataSettings, instruments: tuple[Instrument, ...], clock: Clock) -> Feed:
    recorder = None
    if settings.record_folder:
        recorder = Recorder(
            Path(settings.record_folder),
            file_bytes_max=settings.record_file_bytes_max,
            files_max=settings.record_files_max,
        )
    return BinanceFeed(instruments, clock, settings=settings.binance, recorder=recorder)
