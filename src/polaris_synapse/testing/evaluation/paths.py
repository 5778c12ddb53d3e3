"""The markets that an evaluation runs over: recorded candles, recorded frames, or a seeded simulation."""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from msgspec import Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import MarketSummary
from polaris_synapse.domain.money import Asset, MoneyError

_NS: Final = 10**9
STEPS_MAX: Final = 1_000_000
#: Lots on either side where a recording of candles says nothing about the book: equal, so that it speaks for nobody.
_UNKNOWN_DEPTH_LOTS: Final = 1_000


class PathError(ValueError):
    """A market that cannot be used; the message is one sentence."""


class MarketPath(Struct, frozen=True, kw_only=True):
    """One market over time. ``steps`` are at most ``seconds`` apart where nothing is missing.

    ``sentence`` says where it comes from and what is not in it; a report repeats it.
    """

    name: str
    instrument: Instrument
    seconds: int
    steps: tuple[MarketSummary, ...]
    sentence: str
    is_simulated: bool

    @property
    def days(self) -> float:
        """How long it lasts."""
        return (self.steps[-1].time_ns - self.steps[0].time_ns) / (86_400 * _NS)


def candles_path(
    path: Path, *, symbol: str = "BTCUSDT", spread_ppm: int = 20, steps_max: int = STEPS_MAX
) -> MarketPath:
    """Candles as CSV (also .gz) with the columns timestamp, open, high, low, close. Raises PathError, OSError.

    The book is not in such a file: the touch is put ``spread_ppm`` apart round each close, and no order flow is told.
    """
    instrument = _instrument(symbol)
    steps: list[MarketSummary] = []
    for row in _rows(path):
        if len(steps) == steps_max:
            break
        try:
            mid = instrument.parse_price(_two_decimals(row["close"]))
            moment = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)
        except (KeyError, ValueError, MoneyError) as error:
            raise PathError(f"{path.name}, line {len(steps) + 2}: {error}.") from None
        half = max(mid * spread_ppm // 2_000_000, 1)
        steps.append(_summary(symbol, int(moment.timestamp()) * _NS, mid - half, mid + half, mid, "candles"))
    if len(steps) < 2:
        raise PathError(f"{path.name} holds no two candles.")
    seconds = min(b.time_ns - a.time_ns for a, b in pairwise(steps)) // _NS
    if seconds <= 0:
        raise PathError(f"{path.name} is not in the order of time.")
    return MarketPath(
        name=path.name,
        instrument=instrument,
        seconds=int(seconds),
        steps=tuple(steps),
        sentence=f"Recorded candles of {seconds} s. The book is not in them: the touch is assumed {spread_ppm} ppm "
        "apart round each close, and signals of order flow stay silent.",
        is_simulated=False,
    )


def recording_path(path: Path) -> MarketPath:
    """Recorded frames through the desk's own market data core, one summary a second. Raises PathError, OSError."""
    from polaris_synapse.market_data.recording import RecordingError
    from polaris_synapse.market_data.replay_benchmark import default_instruments, replayed_messages

    try:
        summaries = [m for m in replayed_messages([path], default_instruments()) if isinstance(m, MarketSummary)]
    except RecordingError as error:
        raise PathError(str(error)) from None
    steps = tuple(summary for summary in summaries if summary.healthy and summary.bid_ticks and summary.ask_ticks)
    if len(steps) < 2:
        raise PathError(f"{path.name} holds no two seconds of a healthy book.")
    instrument = next(i for i in default_instruments() if i.symbol == steps[0].symbol)
    return MarketPath(
        name=path.name,
        instrument=instrument,
        seconds=1,
        steps=tuple(step for step in steps if step.symbol == instrument.symbol),
        sentence="Recorded frames of the book and of trades, in summaries of one second.",
        is_simulated=False,
    )


def simulated_path(seed: int, *, hours: int = 24, seconds: int = 60) -> MarketPath:
    """A seeded random walk with clustered volatility and no drift: nobody can have an edge on it."""
    instrument = _instrument("BTCUSDT")
    chance = random.Random(seed)  # noqa: S311  # a market that can be made again
    # Volatility of a step: about 3 % a day, wandering.
    calm = 0.03 * (seconds / 86_400) ** 0.5
    price, volatility = 6_000_000.0, calm
    steps = []
    for number in range(hours * 3_600 // seconds):
        volatility = max(
            0.3 * calm, min(3 * calm, volatility * (1 + 0.1 * chance.gauss(0, 1)) + 0.02 * (calm - volatility))
        )
        price *= 1 + volatility * chance.gauss(0, 1)
        mid = max(round(price), 100)
        half = max(mid // 100_000, 1)
        steps.append(_summary("BTCUSDT", (1_750_000_000 + number * seconds) * _NS, mid - half, mid + half, mid, "walk"))
    return MarketPath(
        name=f"random walk {seed}",
        instrument=instrument,
        seconds=seconds,
        steps=tuple(steps),
        sentence=f"A random walk without drift (seed {seed}): whoever earns on it was lucky.",
        is_simulated=True,
    )


def _instrument(symbol: str) -> Instrument:
    quote = Asset("USDT", 8)
    base = Asset(symbol.removesuffix("USDT") or "BTC", 8)
    return Instrument(
        symbol=symbol, base=base, quote=quote, tick_units=10**6, lot_units=10**3, min_notional_units=5 * 10**8
    )


def _summary(symbol: str, time_ns: int, bid: int, ask: int, last: int, source: str) -> MarketSummary:
    return MarketSummary(
        time_ns=time_ns,
        symbol=symbol,
        source=source,
        bid_ticks=bid,
        ask_ticks=ask,
        last_ticks=last,
        bid_depth_lots=_UNKNOWN_DEPTH_LOTS,
        ask_depth_lots=_UNKNOWN_DEPTH_LOTS,
        bought_lots=0,
        sold_lots=0,
        trades=0,
        healthy=True,
    )


def _two_decimals(text: str) -> str:
    whole, _, part = text.strip().partition(".")
    return f"{whole}.{part[:2]}" if part else whole


def _rows(path: Path) -> Iterator[dict[str, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as text:
        yield from csv.DictReader(text)
