"""Recordings through the market data core as fast as it goes, with the figures that prove the result.

Nothing but the parser and the core runs: no event loop, no bus. Ticks are made from the recording's own time.
"""

from __future__ import annotations

import heapq
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Message, Tick, TradeReceived
from polaris_synapse.domain.money import Asset
from polaris_synapse.market_data.core import MarketDataCore, MarketDataCoreSettings
from polaris_synapse.market_data.core.settings import SECOND_NS
from polaris_synapse.market_data.feeds.frames import FrameError, FrameParser
from polaris_synapse.market_data.recording import RecordedFrame, read_recording
from polaris_synapse.monitoring.figures import Figure

#: Called now and then with how many frames are done.
Progress = Callable[[int], None]


class SymbolFigures(Struct, frozen=True, kw_only=True):
    """What became of one symbol's frames. ``tops_compared`` of ``tops`` could be compared exactly with bookTicker."""

    symbol: str
    frames: int
    depths: int
    depths_old: int
    trade_frames: int
    trades_accepted: int
    trade_duplicates: int
    trade_gaps: int
    tickers: int
    snapshots: int
    malformed: int
    gaps: int
    crossed: int
    tops: int
    tops_compared: int
    tops_equal: int
    healthy_at_end: bool


class ReplayReport(Struct, frozen=True, kw_only=True):
    """What ``runs`` replays showed. Speeds are of the fastest run; ``seconds`` of it include reading and parsing.

    ``memory_mib_max`` is the process's peak. ``repeatable``: all runs ended with the same state.
    """

    figures: tuple[Figure, ...]
    symbols: tuple[SymbolFigures, ...]
    runs: int
    frames: int
    messages_out: int
    recorded_seconds: float
    seconds: float
    core_seconds: float
    frames_per_second: int
    core_messages_per_second: int
    memory_mib_max: float
    state_hash: str
    repeatable: bool


class _Run(Struct, frozen=True, kw_only=True):
    symbols: tuple[SymbolFigures, ...]
    frames: int
    messages_out: int
    recorded_seconds: float
    seconds: float
    core_seconds: float
    state_hash: str


def default_instruments() -> tuple[Instrument, ...]:
    """The instruments of the usual recordings, with Binance's ticks and lots."""
    usdt = Asset("USDT", 8)
    return (
        Instrument(symbol="BTCUSDT", base=Asset("BTC", 8), quote=usdt, tick_units=10**6, lot_units=10**3),
        Instrument(symbol="ETHUSDT", base=Asset("ETH", 8), quote=usdt, tick_units=10**6, lot_units=10**4),
    )


def run(
    paths: Sequence[Path],
    instruments: Iterable[Instrument] | None = None,
    *,
    runs: int = 2,
    settings: MarketDataCoreSettings | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Replay recordings ``runs`` times, merged by receive time.

    ``instruments`` are BTCUSDT and ETHUSDT where none are given. Raises RecordingError, or ValueError for a symbol
    without an instrument.
    """
    if runs < 1:
        raise ValueError("a benchmark runs at least once")
    known = {instrument.symbol: instrument for instrument in instruments or default_instruments()}
    results = [_replay(paths, known, settings, progress) for _ in range(runs)]
    best = min(results, key=lambda result: result.seconds)
    report = ReplayReport(
        figures=(),
        symbols=best.symbols,
        runs=runs,
        frames=best.frames,
        messages_out=best.messages_out,
        recorded_seconds=best.recorded_seconds,
        seconds=best.seconds,
        core_seconds=best.core_seconds,
        frames_per_second=round(best.frames / best.seconds),
        core_messages_per_second=round(best.frames / best.core_seconds),
        memory_mib_max=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        state_hash=best.state_hash,
        repeatable=len({result.state_hash for result in results}) == 1,
    )
    return replace(report, figures=tuple(_figures(report)))


def replayed_messages(paths: Sequence[Path], instruments: Iterable[Instrument] | None = None) -> Iterator[Message]:
    """Everything that the core says while it replays recordings, merged by receive time. Raises as ``run`` does."""
    known = {instrument.symbol: instrument for instrument in instruments or default_instruments()}
    recordings = [read_recording(path) for path in paths]
    parser = FrameParser(known.values(), source="replay")
    core = MarketDataCore()
    tally = _Tally()
    for batch in _batches(heapq.merge(*recordings, key=lambda frame: frame.time_ns)):
        for message in tally.parse(batch, parser, known):
            yield from core.apply(message)


def _figures(report: ReplayReport) -> Iterator[Figure]:
    for symbol in report.symbols:
        name = symbol.symbol
        yield Figure(f"{name}, trade frames", symbol.trade_frames, "frames")
        yield Figure(f"{name}, trades accepted", symbol.trades_accepted, "trades")
        yield Figure(f"{name}, trades doubled or missing", symbol.trade_duplicates + symbol.trade_gaps, "trades")
        yield Figure(f"{name}, book gaps", symbol.gaps, "gaps")
        yield Figure(f"{name}, crossed books", symbol.crossed, "books")
        yield Figure(f"{name}, malformed frames", symbol.malformed, "frames")
        yield Figure(f"{name}, book tops", symbol.tops, "tops")
        yield Figure(f"{name}, tops comparable with bookTicker", _percent(symbol.tops_compared, symbol.tops), "%")
        yield Figure(f"{name}, tops equal, of the comparable", _percent(symbol.tops_equal, symbol.tops_compared), "%")
    yield Figure("frames", report.frames, "frames")
    yield Figure("recorded time", round(report.recorded_seconds, 1), "s")
    yield Figure("time taken, fastest run", round(report.seconds, 3), "s")
    yield Figure("reading, parsing and core", report.frames_per_second, "frames/s")
    yield Figure("core alone", report.core_messages_per_second, "messages/s")
    yield Figure("peak memory of the process", round(report.memory_mib_max, 1), "MiB")
    yield Figure("runs", report.runs, "runs")
    yield Figure("runs with the same state hash", report.runs if report.repeatable else 0, "runs")


def _percent(part: int, whole: int) -> float:
    """0 where there is nothing to take a part of."""
    return round(100 * part / whole, 3) if whole else 0.0


def _replay(
    paths: Sequence[Path],
    known: Mapping[str, Instrument],
    settings: MarketDataCoreSettings | None,
    progress: Progress | None,
) -> _Run:
    recordings = [read_recording(path) for path in paths]
    parser = FrameParser(known.values(), source="replay")
    core = MarketDataCore(settings)
    tally = _Tally()
    started = time.perf_counter()
    core_seconds = 0.0
    messages_out = 0
    for batch in _batches(heapq.merge(*recordings, key=lambda frame: frame.time_ns)):
        messages = tally.parse(batch, parser, known)
        before = time.perf_counter()
        for message in messages:
            messages_out += len(core.apply(message))
        core_seconds += time.perf_counter() - before
        if progress is not None:
            progress(tally.frames)
    return _Run(
        symbols=tuple(tally.figures(symbol, core) for symbol in sorted(tally.frames_by_symbol)),
        frames=tally.frames,
        messages_out=messages_out,
        recorded_seconds=(tally.last_ns - tally.first_ns) / SECOND_NS,
        seconds=time.perf_counter() - started,
        core_seconds=core_seconds,
        state_hash=core.state_hash(),
    )


_BATCH_FRAMES = 2000


def _batches(frames: Iterable[RecordedFrame]) -> Iterator[list[RecordedFrame]]:
    iterator = iter(frames)
    while batch := list(islice(iterator, _BATCH_FRAMES)):
        yield batch


class _Tally:
    """Counts frames on their way in and makes the ticks between them."""

    def __init__(self) -> None:
        self.frames = 0
        self.first_ns = 0
        self.last_ns = 0
        self.frames_by_symbol: Counter[str] = Counter()
        self.trade_frames: Counter[str] = Counter()
        self.malformed: Counter[str] = Counter()
        self._next_tick_ns = 0

    def parse(
        self, batch: Sequence[RecordedFrame], parser: FrameParser, known: Mapping[str, Instrument]
    ) -> list[Message]:
        """The batch as messages, with a tick at each full second."""
        messages: list[Message] = []
        for recorded in batch:
            time_ns, symbol = recorded.time_ns, recorded.symbol
            if symbol not in known:
                raise ValueError(f"there is no instrument for the recorded symbol {symbol}")
            self.frames += 1
            self.frames_by_symbol[symbol] += 1
            if not self._next_tick_ns:
                self.first_ns = time_ns
                self._next_tick_ns = time_ns - time_ns % SECOND_NS + SECOND_NS
            self.last_ns = time_ns
            while time_ns >= self._next_tick_ns:
                messages.append(Tick(time_ns=self._next_tick_ns))
                self._next_tick_ns += SECOND_NS
            try:
                if recorded.is_snapshot:
                    message: Message = parser.snapshot(recorded.frame, symbol, time_ns)
                else:
                    message = parser.stream_frame(recorded.frame, time_ns)
            except FrameError:
                self.malformed[symbol] += 1
                continue
            if type(message) is TradeReceived:
                self.trade_frames[symbol] += 1
            messages.append(message)
        return messages

    def figures(self, symbol: str, core: MarketDataCore) -> SymbolFigures:
        """The figures of a symbol."""
        market = core.markets[symbol]
        return SymbolFigures(
            symbol=symbol,
            frames=self.frames_by_symbol[symbol],
            depths=market.counters.depths,
            depths_old=market.counters.depths_old,
            trade_frames=self.trade_frames[symbol],
            trades_accepted=market.trades.accepted,
            trade_duplicates=market.trades.duplicates,
            trade_gaps=market.trades.gaps,
            tickers=market.tops.tickers,
            snapshots=market.counters.snapshots,
            malformed=self.malformed[symbol],
            gaps=market.counters.gaps,
            crossed=market.counters.crossed,
            tops=market.tops.tops,
            tops_compared=market.tops.compared,
            tops_equal=market.tops.equal,
            healthy_at_end=market.healthy,
        )
